package token

import (
	"hash/maphash"
	"math/bits"
	"sync/atomic"
)

// The warm table: verified tokens by their own text. Fixed in size, four ways to a set, one cache line a set. Readers take no lock and write
// nothing; writers replace whole immutable entries behind atomic pointers.
//
// The index is a keyed mix of the last 16 characters of the token, which are the end of its signature: 96 bits that nobody without the signing key chooses freely.
// Hashing the whole token would cost more than the comparison, which decides in any case: a collision can evict, never deceive.

const (
	ways        = 4
	tailLen     = 16
	maxEntryLen = 2 << 10 // bytes of text that an entry owns
)

// slots is one set. A tag is the mix of the entry in the same place; it spares readers the visit to an entry that is another token's. Tag and entry are
// written one after the other, so either may be stale: then the comparison fails, and the token is verified again.
type slots struct {
	tags    [ways]atomic.Uint64
	entries [ways]atomic.Pointer[entry]
}

type table struct {
	sets   []slots
	k0, k1 uint64
}

// newTable makes a table of at least n entries, rounded up to whole sets; none for 0.
func newTable(n int) *table {
	if n == 0 {
		return nil
	}
	seed := maphash.MakeSeed()
	return &table{
		sets: make([]slots, (n+ways-1)/ways),
		k0:   maphash.String(seed, "0"),
		k1:   maphash.String(seed, "1"),
	}
}

func (t *table) mix(raw string) uint64 {
	tail := raw[len(raw)-tailLen:]
	hi, lo := bits.Mul64(load64(tail, 0)^t.k0, load64(tail, 8)^t.k1)
	return hi ^ lo
}

func (t *table) set(mix uint64) *slots {
	i, _ := bits.Mul64(mix, uint64(len(t.sets)))
	return &t.sets[i]
}

// find returns the entry of this very token if it was verified under this generation of the keys, else nil.
func (t *table) find(raw string, generation uint64) *entry {
	if t == nil || len(raw) < tailLen || len(raw) > maxEntryLen {
		return nil
	}
	mix := t.mix(raw)
	s := t.set(mix)
	for i := range ways {
		if s.tags[i].Load() != mix {
			continue
		}
		if e := s.entries[i].Load(); e != nil && e.generation == generation && equal(e.raw, raw) {
			return e
		}
	}
	return nil
}

// insert puts e in the place of the same token, of nothing, of one that can be a hit no more, or of the one that expires first.
func (t *table) insert(e *entry, now int64) {
	mix := t.mix(e.raw)
	s := t.set(mix)
	victim, best := 0, int64(1)<<62
	for i := range ways {
		old := s.entries[i].Load()
		value := int64(-1)
		switch {
		case old == nil || old.generation != e.generation || old.until <= now:
		case equal(old.raw, e.raw):
			value = -2
		default:
			value = old.until
		}
		if value < best {
			victim, best = i, value
		}
	}
	s.entries[victim].Store(e)
	s.tags[victim].Store(mix)
}
