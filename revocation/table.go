package revocation

import (
	"hash/maphash"
	"math/bits"
	"sync/atomic"
)

// table is an exact set of 128-bit keys, each with one word beside it. Readers take no lock and write nothing; writers are serialised by
// the owner.
//
// It is open addressing in two arrays. The first holds one word for each group of seven slots: a byte for each slot, 0 if it is empty, otherwise
// eight bits of the key's hash; and in the last byte which keys that belong here had to go on to the next group, by another three bits of the hash. A
// look-up that finds nothing reads one such word, nearly always, and is done. The second holds the slots: two words of key and the word beside it.
//
// A slot is written once, before its byte is published, and never reused, so a reader that sees the byte sees the key. Only the
// word beside it changes later, by an atomic store. Forgetting and growing build the segment again and publish it whole; readers that are
// still in the old one find there what was true when they began.
//
// The table is cut into segments by the hash so that building one again is short and needs little memory besides.
//
// The hash is keyed. Whoever does not know the key cannot choose keys that fall together; the IDs that are looked up come
// from attackers, though they are random where they are made.
type table struct {
	key  hashKey
	last func(word uint64) int64 // Unix ms of the newest moment that the word speaks of
	mask uint64                  // bits of the word that belong to the key

	segments [segments]atomic.Pointer[segment]
	n        int // keys, forgotten or not; the writer's
}

const (
	segmentBits = 6
	segments    = 1 << segmentBits
	groupSlots  = 7

	// Segments are built with 10 keys in 3 groups (48 %) and built again at 5 keys a group (71 %). So at most one key in ten is in a
	// second group, hardly one look-up in forty goes there for nothing, and a key takes 35 to 53 bytes: a group is 8 + 7 * 24.
	builtKeys, builtGroups = 10, 3
	groupGrow              = 5
)

type segment struct {
	tags  []atomic.Uint64 // one for each group
	slots []slot          // groupSlots for each group

	// The writer's:
	n      int
	oldest int64 // no word in here speaks of a moment before this one; maxMilli when empty
}

type slot struct{ a, b, word atomic.Uint64 }

// is reports whether the slot holds the key. It compares without a branch for each word, because the processor goes on with what comes next before the words are there.
func (s *slot) is(a, b, word, mask uint64) bool {
	return (s.a.Load()^a)|(s.b.Load()^b)|(s.word.Load()^word)&mask == 0
}

type hashKey [4]uint64

// newHashKey derives the key from the seed, or draws one if the seed is zero.
func newHashKey(seed [32]byte, salt uint64) hashKey {
	var k hashKey
	drawn := seed == [32]byte{}
	for i := range k {
		if drawn {
			k[i] = maphash.Bytes(maphash.MakeSeed(), nil)
			continue
		}
		for j := range 8 {
			k[i] |= uint64(seed[8*i+j]) << (8 * j)
		}
		k[i] ^= fold(salt+uint64(i)+1, 0x9e3779b97f4a7c15)
	}
	return k
}

// fold multiplies to 128 bits and folds the halves together, the step of wyhash, which Go's own maps use where there is no AES.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

func (k *hashKey) hash(a, b uint64) uint64 {
	return fold(fold(a^k[0], b^k[1])^k[2], k[3]|1)
}

const (
	bytesOnes  = 0x0001010101010101 // of the seven slots
	bytesHighs = 0x0080808080808080
	passed     = 1 << 56 // the first of the eight that say that a key went on to the next group
)

func segmentOf(h uint64) uint64 { return h >> (64 - segmentBits) }

// groupOf spreads 32 bits of the hash, none of which are in the tag or choose the segment, over n groups.
func groupOf(h uint64, n int) int { return int((h >> 8 & 0xffffffff) * uint64(n) >> 32) }

// tagOf returns the byte that stands for a key, never 0.
func tagOf(h uint64) uint64 {
	t := h & 0xff
	return t + (t-1)>>63
}

// passedOf returns the bit that says that a key went on to the next group. There are eight, so that a key that went on
// sends an eighth of the look-ups after it.
func passedOf(h uint64) uint64 { return passed << (h >> 40 & 7) }

// zeros marks the bytes that are zero. It may mark a byte above a zero one that is not, which comparing the key corrects.
func zeros(x uint64) uint64 { return (x - bytesOnes) &^ x & bytesHighs }

// find returns the word beside the key, or nil. If several keys differ only by the bits of the mask in their words, those of word decide.
func (t *table) find(a, b, word, mask uint64) *atomic.Uint64 {
	h := t.key.hash(a, b)
	s := t.segments[segmentOf(h)].Load()
	if s == nil {
		return nil
	}
	g := groupOf(h, len(s.tags))
	tags := s.tags[g].Load()
	if m := zeros(tags ^ tagOf(h)*bytesOnes); m != 0 {
		if c := &s.slots[groupSlots*g+bits.TrailingZeros64(m)/8]; c.is(a, b, word, mask) {
			return &c.word // what is there is nearly always found here
		}
	} else if tags&passedOf(h) == 0 {
		return nil // and what is not there is nearly always missed here
	}
	return s.search(h, g, a, b, word, mask)
}

// search is find from a group on.
//
//go:noinline
func (s *segment) search(h uint64, g int, a, b, word, mask uint64) *atomic.Uint64 {
	for range s.tags {
		tags := s.tags[g].Load()
		for m := zeros(tags ^ tagOf(h)*bytesOnes); m != 0; m &= m - 1 {
			if c := &s.slots[groupSlots*g+bits.TrailingZeros64(m)/8]; c.is(a, b, word, mask) {
				return &c.word
			}
		}
		if tags&passedOf(h) == 0 {
			return nil
		}
		if g++; g == len(s.tags) {
			g = 0
		}
	}
	return nil
}

// put adds a key that is not there. The writer's.
func (t *table) put(a, b, word uint64, now int64) {
	h := t.key.hash(a, b)
	p := &t.segments[segmentOf(h)]
	s := p.Load()
	switch {
	case s == nil:
		s = newSegment(1)
		p.Store(s)
	case s.n >= groupGrow*len(s.tags):
		dead, _ := t.dead(s, now)
		s = t.rebuild(s, now, s.n-dead)
		p.Store(s)
	}
	s.insert(h, a, b, word)
	s.oldest = min(s.oldest, t.last(word))
	t.n++
}

func newSegment(keys int) *segment {
	groups := (keys*builtGroups + builtKeys - 1) / builtKeys
	return &segment{
		tags:   make([]atomic.Uint64, groups),
		slots:  make([]slot, groupSlots*groups),
		oldest: maxMilli,
	}
}

// insert writes a key that is not there into a segment that has room.
func (s *segment) insert(h, a, b, word uint64) {
	g := groupOf(h, len(s.tags))
	for {
		tags := s.tags[g].Load()
		if free := zeros(tags); free != 0 {
			i := bits.TrailingZeros64(free) / 8 // the lowest mark is always right
			c := &s.slots[groupSlots*g+i]
			c.a.Store(a)
			c.b.Store(b)
			c.word.Store(word)
			s.tags[g].Store(tags | tagOf(h)<<(8*i)) // publishes the three stores above
			s.n++
			return
		}
		// A reader that comes between this and the store above misses the key, as if it had come before both.
		s.tags[g].Store(tags | passedOf(h))
		if g++; g == len(s.tags) {
			g = 0
		}
	}
}

// each calls f for every key of the segment until it returns false. Readers may use it.
func (s *segment) each(f func(a, b, word uint64) bool) bool {
	for g := range s.tags {
		tags := s.tags[g].Load()
		for i := range groupSlots {
			if tags>>(8*i)&0xff == 0 {
				break // slots are filled from the first on
			}
			c := &s.slots[groupSlots*g+i]
			if !f(c.a.Load(), c.b.Load(), c.word.Load()) {
				return false
			}
		}
	}
	return true
}

// dead counts what in the segment is no longer needed at now, and returns the bound for the rest.
func (t *table) dead(s *segment, now int64) (dead int, oldest int64) {
	oldest = maxMilli
	s.each(func(_, _, word uint64) bool {
		if last := t.last(word); over(last, now) {
			dead++
		} else {
			oldest = min(oldest, last)
		}
		return true
	})
	return dead, oldest
}

// rebuild returns a segment of what is still needed at now, so many keys, with room for more. Old and new groups have one order, so both are gone
// through from end to end. The writer's.
func (t *table) rebuild(s *segment, now int64, live int) *segment {
	fresh := newSegment(live + 1)
	s.each(func(a, b, word uint64) bool {
		if last := t.last(word); !over(last, now) {
			fresh.insert(t.key.hash(a, b), a, b, word)
			fresh.oldest = min(fresh.oldest, last)
		}
		return true
	})
	t.n -= s.n - fresh.n
	return fresh
}

// sweep forgets what is no longer needed at now in one segment, if that is worth the work. The writer's.
func (t *table) sweep(i int, now int64, all bool) {
	p := &t.segments[i]
	s := p.Load()
	if s == nil || !over(s.oldest, now) {
		return
	}
	dead, oldest := t.dead(s, now)
	switch {
	case dead == 0:
		s.oldest = oldest // words are raised without a look at this bound
	case dead == s.n:
		t.n -= s.n
		p.Store(nil)
	case all || dead >= s.n/8:
		p.Store(t.rebuild(s, now, s.n-dead))
	}
}

// over reports whether what was last needed for a moment is no longer needed at now.
func over(last, now int64) bool { return last+Horizon.Milliseconds() <= now }
