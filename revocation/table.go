package revocation

import (
	"hash/maphash"
	"math/bits"
	"sync/atomic"
)

// table is an exact set of 128-bit keys, each with one word beside it. Readers take no lock and write nothing; writers are serialised by
// the owner.
//
// It is open addressing in two arrays. The first holds one byte for each slot, eight of them in a word: 0 for an empty slot, otherwise
// seven bits of the key's hash with the high bit set. A look-up that finds nothing reads one word of it and is done. The second holds the slots:
// two words of key and the word beside it.
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
	groupSlots  = 8
	slotWords   = 3

	// A group is full when all eight slots are taken; then its keys go on in the next one. Segments are built half full
	// and built again at three quarters, so that few groups are full and a key takes at most 50 bytes (25 for a slot).
	groupBuilt = 4
	groupGrow  = 6
)

type segment struct {
	tags  []atomic.Uint64 // one for each group
	slots []atomic.Uint64 // key, key, word for each slot

	// The writer's:
	n      int
	oldest int64 // no word in here speaks of a moment before this one; maxMilli when empty
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
	bytesOnes  = 0x0101010101010101
	bytesHighs = 0x8080808080808080
)

func tagOf(h uint64) uint64 { return h&0x7f | 0x80 }

func segmentOf(h uint64) uint64 { return h >> (64 - segmentBits) }

// groupOf spreads 32 bits of the hash, none of which are in the tag or choose the segment, over n groups.
func groupOf(h uint64, n int) int { return int((h >> 7 & 0xffffffff) * uint64(n) >> 32) }

// find returns the word beside the key. Of the word that is looked for only the bits in the mask count.
func (t *table) find(a, b, word uint64) (uint64, bool) {
	h := t.key.hash(a, b)
	s := t.segments[segmentOf(h)].Load()
	if s == nil {
		return 0, false
	}
	if w := s.slot(h, a, b, word, t.mask); w != nil {
		return w.Load(), true
	}
	return 0, false
}

// slot returns the word beside the key, or nil.
func (s *segment) slot(h, a, b, word, mask uint64) *atomic.Uint64 {
	g := groupOf(h, len(s.tags))
	pattern := tagOf(h) * bytesOnes
	for range s.tags {
		tags := s.tags[g].Load()
		// The bytes that are equal become zero, and zero bytes are found by a borrow. A borrow may run into the next byte: a false alarm
		// that comparing the key corrects.
		x := tags ^ pattern
		for m := (x - bytesOnes) &^ x & bytesHighs; m != 0; m &= m - 1 {
			i := slotWords * (groupSlots*g + bits.TrailingZeros64(m)/8)
			c := s.slots[i : i+slotWords : i+slotWords]
			if c[0].Load() == a && c[1].Load() == b && (c[2].Load()^word)&mask == 0 {
				return &c[2]
			}
		}
		if ^tags&bytesHighs != 0 {
			return nil // an empty slot: the key would be here
		}
		if g++; g == len(s.tags) {
			g = 0
		}
	}
	return nil
}

// put adds the key, or merges its word with the one that is there. The writer's.
func (t *table) put(a, b, word uint64, merge func(old, new uint64) uint64, now int64) (added bool) {
	h := t.key.hash(a, b)
	p := &t.segments[segmentOf(h)]
	s := p.Load()
	if s == nil {
		s = newSegment(1)
		p.Store(s)
	}
	if w := s.slot(h, a, b, word, t.mask); w != nil {
		old := w.Load()
		if merged := merge(old, word); merged != old {
			w.Store(merged)
		}
		return false
	}
	if s.n >= groupGrow*len(s.tags) {
		s = t.rebuild(s, now)
		p.Store(s)
	}
	s.insert(h, a, b, word)
	s.oldest = min(s.oldest, t.last(word))
	t.n++
	return true
}

func newSegment(keys int) *segment {
	groups := (keys + groupBuilt - 1) / groupBuilt
	return &segment{
		tags:   make([]atomic.Uint64, groups),
		slots:  make([]atomic.Uint64, slotWords*groupSlots*groups),
		oldest: maxMilli,
	}
}

// insert writes a key that is not there into a segment that has room.
func (s *segment) insert(h, a, b, word uint64) {
	g := groupOf(h, len(s.tags))
	for {
		tags := s.tags[g].Load()
		if free := ^tags & bytesHighs; free != 0 {
			i := bits.TrailingZeros64(free) / 8
			c := s.slots[slotWords*(groupSlots*g+i):]
			c[0].Store(a)
			c[1].Store(b)
			c[2].Store(word)
			s.tags[g].Store(tags | tagOf(h)<<(8*i)) // publishes the three stores above
			s.n++
			return
		}
		if g++; g == len(s.tags) {
			g = 0
		}
	}
}

// each calls f for every key of the segment until it returns false. Readers may use it.
func (s *segment) each(f func(a, b, word uint64) bool) bool {
	for g := range s.tags {
		for tags := s.tags[g].Load() & bytesHighs; tags != 0; tags &= tags - 1 {
			c := s.slots[slotWords*(groupSlots*g+bits.TrailingZeros64(tags)/8):]
			if !f(c[0].Load(), c[1].Load(), c[2].Load()) {
				return false
			}
		}
	}
	return true
}

// rebuild returns a segment of what is still needed at now, with room for more. The writer's.
func (t *table) rebuild(s *segment, now int64) *segment {
	live := 0
	s.each(func(_, _, word uint64) bool {
		if !over(t.last(word), now) {
			live++
		}
		return true
	})
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
	dead, oldest := 0, int64(maxMilli)
	s.each(func(_, _, word uint64) bool {
		if last := t.last(word); over(last, now) {
			dead++
		} else {
			oldest = min(oldest, last)
		}
		return true
	})
	switch {
	case dead == 0:
		s.oldest = oldest // words are raised without a look at this bound
	case dead == s.n:
		t.n -= s.n
		p.Store(nil)
	case all || dead >= s.n/8:
		p.Store(t.rebuild(s, now))
	}
}

// over reports whether what was last needed for a moment is no longer needed at now.
func over(last, now int64) bool { return last+Horizon.Milliseconds() <= now }
