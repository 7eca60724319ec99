package revocation

import (
	"hash/maphash"
	"math/bits"
	"sync/atomic"

	"github.com/counterfoil/counterfoil/token"
)

// table is an exact set of 128-bit keys, each with one word beside it. Readers take no lock and write nothing; writers are serialised by
// the owner.
//
// It is open addressing with linear probing, in two arrays. The first holds sixteen bits for each slot, four slots in a word: a tag, which is seven bits
// of the key's hash and one that says that the slot is taken; and which keys that came by had to go on to the next slot, by another three bits of
// the hash. A look-up that finds nothing reads one such word, nearly always, and is done. The second holds the slots: two words of key and the word beside it.
//
// A key is in its home slot if that was free. So a look-up asks for that slot's tag alone first, and where the slot would be follows from the hash and not from
// what the tags say: a processor that has guessed the answer fetches both at once. Where memory is slow, what a look-up costs is how many of them
// the processor works on at the same time; so they are kept short.
//
// A slot is written once, before its tag is published, and never reused, so a reader that sees the tag may read the key. Only the
// word beside it changes later, by an atomic store. Forgetting and growing build the segment again and publish it whole; readers that are
// still in the old one find there what was true when they began.
//
// The table is cut into segments by the hash so that building one again is short and needs little memory besides.
//
// The hash is keyed. Whoever does not know the key cannot choose keys that fall together; the IDs that are looked up come
// from attackers, though they are random where they are made.
type table struct {
	segments [segments]atomic.Pointer[segment]

	key  hashKey
	last func(word uint64) int64 // Unix ms of the newest moment that the word speaks of
	mask uint64                  // bits of the word that belong to the key
	n    int                     // keys, forgotten or not; the writer's
}

const (
	segmentBits = 6
	segments    = 1 << segmentBits

	// Segments are built half full and built again when they are at 65 %. So three keys in four are at home, hardly one look-up in twenty goes on for
	// nothing, and a key takes 40 to 52 bytes: a slot is 24 and its tag 2.
	builtSlots       = 2 // for each key
	growKeys, growOf = 13, 20
)

type segment struct {
	tags  []atomic.Uint64 // one for four slots
	slots []slot

	// The writer's:
	n      int
	oldest int64 // no word in here speaks of a moment before this one; maxMilli when empty
}

type slot struct {
	a, b uint64
	word atomic.Uint64
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
	k[3] |= 1
	return k
}

// fold multiplies to 128 bits and folds the halves together, the step of wyhash, which Go's own maps use where there is no AES.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// hash returns where a key belongs, and its tags, one for each of the four slots of a word.
func (k *hashKey) hash(a, b uint64) (place, tags uint64) {
	tags = fold(a^k[0], b^k[1]) ^ k[2]
	return fold(tags, k[3]), tags | taken
}

// A slot's sixteen bits: eight that say that a key went on to the next slot, then that it is taken, then seven of the key.
const taken = 0x0100_0100_0100_0100

var tagBits = [4]uint64{0xff00, 0xff00 << 16, 0xff00 << 32, 0xff00 << 48}

func segmentOf(place uint64) uint64 { return place >> (64 - segmentBits) }

// homeOf spreads 32 bits, none of which choose the segment, over n slots.
func homeOf(place uint64, n int) int { return int(uint64(uint32(place)) * uint64(n) >> 32) }

// passedOf returns the bit that says that a key went on to the slot after i. There are eight, so that a key that went on
// sends an eighth of the look-ups after it. The bits of tags that choose one are in no slot's tag.
func passedOf(tags uint64, i int) uint64 { return 1 << ((uint64(i)<<4 | tags&7) & 63) }

// find returns the word beside the key, or nil. If several keys differ only by the bits of the mask in their words, those of word decide.
//
// It comes to an end in a full segment too: nobody went past the slot that was taken last.
func (t *table) find(a, b, word, mask uint64) *atomic.Uint64 {
	place, tags := t.key.hash(a, b)
	s := t.segments[segmentOf(place)].Load()
	if s == nil {
		return nil
	}
	for i := homeOf(place, len(s.slots)); ; {
		w := s.tags[i>>2].Load()
		if (w^tags)&tagBits[i&3] == 0 {
			if c := &s.slots[i]; c.a == a && c.b == b && (c.word.Load()^word)&mask == 0 {
				return &c.word
			}
		}
		if w&passedOf(tags, i) == 0 {
			return nil
		}
		if i++; i == len(s.slots) {
			i = 0
		}
	}
}

// has is find for a session, the look-up that each check of a token makes. What it needs fits in the processor's registers, and the condition
// of the loop, which always holds, leaves nothing in it that could panic: so it has no frame.
func (t *table) has(id token.SessionID) bool {
	a, b, tag := id.Words()
	place, tags := t.key.hash(a, b)
	s := t.segments[segmentOf(place)].Load()
	if s == nil {
		return false
	}
	slots := s.slots
	for i := homeOf(place, len(slots)); uint(i) < uint(len(slots)) && uint(i>>2) < uint(len(s.tags)); {
		w := s.tags[i>>2].Load()
		if (w^tags)&tagBits[i&3] == 0 {
			if c := &slots[i]; c.a == a && c.b == b && uint32(c.word.Load()>>40) == tag {
				return true
			}
		}
		if w&passedOf(tags, i) == 0 {
			break
		}
		if i++; i == len(slots) {
			i = 0
		}
	}
	return false
}

// put adds a key that is not there. The writer's.
func (t *table) put(a, b, word uint64, now int64) {
	place, tags := t.key.hash(a, b)
	p := &t.segments[segmentOf(place)]
	s := p.Load()
	switch {
	case s == nil:
		s = newSegment(1)
		p.Store(s)
	case s.n*growOf >= growKeys*len(s.slots):
		dead, _ := t.dead(s, now)
		s = t.rebuild(s, now, s.n-dead)
		p.Store(s)
	}
	s.insert(place, tags, a, b, word)
	s.oldest = min(s.oldest, t.last(word))
	t.n++
}

func newSegment(keys int) *segment {
	n := builtSlots * keys
	return &segment{
		tags:   make([]atomic.Uint64, (n+3)/4),
		slots:  make([]slot, n),
		oldest: maxMilli,
	}
}

// insert writes a key that is not there into a segment that has room.
func (s *segment) insert(place, tags, a, b, word uint64) {
	for i := homeOf(place, len(s.slots)); ; {
		p := &s.tags[i>>2]
		w := p.Load()
		if w&tagBits[i&3] == 0 {
			c := &s.slots[i]
			c.a, c.b = a, b
			c.word.Store(word)
			p.Store(w | tags&tagBits[i&3]) // publishes what the slot holds
			s.n++
			return
		}
		// A reader that comes between this and the store above misses the key, as if it had come before both.
		p.Store(w | passedOf(tags, i))
		if i++; i == len(s.slots) {
			i = 0
		}
	}
}

// each calls f for every key of the segment until it returns false. Readers may use it.
func (s *segment) each(f func(a, b, word uint64) bool) bool {
	for i := range s.slots {
		if s.tags[i>>2].Load()&tagBits[i&3] == 0 {
			continue
		}
		if c := &s.slots[i]; !f(c.a, c.b, c.word.Load()) {
			return false
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

// rebuild returns a segment of what is still needed at now, so many keys, with room for more: first those that find their home slots free, then the
// rest, so that nobody is kept from home by a stranger. Old and new slots have one order, so both are gone through from end to end. The writer's.
func (t *table) rebuild(s *segment, now int64, live int) *segment {
	fresh := newSegment(live + 1)
	for _, rest := range [...]bool{false, true} {
		s.each(func(a, b, word uint64) bool {
			last := t.last(word)
			if over(last, now) {
				return true
			}
			place, tags := t.key.hash(a, b)
			i := homeOf(place, len(fresh.slots))
			full := fresh.tags[i>>2].Load()&tagBits[i&3] != 0
			c := &fresh.slots[i]
			if there := full && c.a == a && c.b == b && c.word.Load() == word; !there && full == rest {
				fresh.insert(place, tags, a, b, word)
				fresh.oldest = min(fresh.oldest, last)
			}
			return true
		})
	}
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
