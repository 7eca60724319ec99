package revocation

import (
	"math/rand/v2"
	"testing"
)

// bytes returns what the arrays of the table take.
func (t *table) bytes() (n int) {
	for i := range t.segments {
		if s := t.segments[i].Load(); s != nil {
			n += 8*cap(s.tags) + 24*cap(s.slots)
		}
	}
	return n
}

// reads returns how many words of tags a look-up of the key reads.
func (t *table) reads(a, b uint64) int {
	place, tags := t.key.hash(a, b)
	s := t.segments[segmentOf(place)].Load()
	if s == nil {
		return 0
	}
	i := homeOf(place, len(s.slots))
	for n := 1; ; {
		if s.tags[i>>2].Load()&passedOf(tags, i) == 0 {
			return n
		}
		if i++; i == len(s.slots) {
			i = 0
		}
		if i&3 == 0 {
			n++
		}
	}
}

func newTable(seed byte) *table {
	return &table{key: newHashKey([32]byte{seed}, 0), last: sessionAt, mask: tagMask}
}

// TestTableMemory: a key takes at most 56 bytes at every size, not only at the one that is measured.
func TestTableMemory(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	tab := newTable(1)
	worst := 0.0
	for n := 1; n <= 50_000; n++ {
		tab.put(r.Uint64(), r.Uint64(), 1, 0)
		if n >= 10_000 && n%100 == 0 {
			worst = max(worst, float64(tab.bytes())/float64(n))
		}
	}
	t.Logf("at worst %.1f bytes a key", worst)
	if worst > 56 {
		t.Fatalf("%.1f bytes a key", worst)
	}
}

// TestTableExact: keys that differ by few bits of one word, or by the bits of the mask alone, are not taken for one another.
func TestTableExact(t *testing.T) {
	const n = 1 << 13
	for name, key := range map[string]func(i uint64) (a, b, word uint64){
		"first word, second all ones":    func(i uint64) (a, b, word uint64) { return i, ^uint64(0), 1 << 40 },
		"first word, second zero":        func(i uint64) (a, b, word uint64) { return i, 0, 1 << 40 },
		"second word, first all ones":    func(i uint64) (a, b, word uint64) { return ^uint64(0), i, 1 << 40 },
		"second word, first zero":        func(i uint64) (a, b, word uint64) { return 0, i, 1 << 40 },
		"both words alike":               func(i uint64) (a, b, word uint64) { return i, i, 1 << 40 },
		"the mask":                       func(i uint64) (a, b, word uint64) { return i >> 3, 7, (i&7 + 1) << 40 },
		"the mask, all ones in the rest": func(i uint64) (a, b, word uint64) { return ^(i >> 3), ^uint64(0), (i&7 + 1) << 40 },
	} {
		t.Run(name, func(t *testing.T) {
			tab := newTable(1)
			for i := range uint64(n) {
				a, b, word := key(2 * i)
				if tab.find(a, b, word, tagMask) != nil {
					t.Fatalf("key %d is there before it is put", 2*i)
				}
				tab.put(a, b, word|2*i, 0)
			}
			for i := range uint64(2 * n) {
				a, b, word := key(i)
				switch w := tab.find(a, b, word, tagMask); {
				case i%2 == 1 && w != nil:
					t.Fatalf("key %d is there and was never put", i)
				case i%2 == 0 && (w == nil || w.Load() != word|i):
					t.Fatalf("key %d is lost, or another one's", i)
				}
			}
		})
	}
}

// TestTableSegments: every segment has its share, so building one again is a sixty-fourth of the work.
func TestTableSegments(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	tab := newTable(1)
	const n = 20_000
	for range n {
		tab.put(r.Uint64(), r.Uint64(), 1, 0)
	}
	for i := range tab.segments {
		if s := tab.segments[i].Load(); s == nil || s.n < n/segments*3/4 || s.n > n/segments*5/4 {
			t.Fatalf("segment %d has not its share", i)
		}
	}
}

// TestTableFlood: keys that somebody chose, without knowing the seed, cost no more to look up than random ones.
func TestTableFlood(t *testing.T) {
	const n = 1 << 13
	for name, key := range map[string]func(i uint64) (a, b uint64){
		"counting in the first word":   func(i uint64) (a, b uint64) { return i, 0 },
		"counting in the second word":  func(i uint64) (a, b uint64) { return 0, i },
		"counting in the high bits":    func(i uint64) (a, b uint64) { return i << 49, 7 },
		"the same in both words":       func(i uint64) (a, b uint64) { return i, i },
		"opposite in both words":       func(i uint64) (a, b uint64) { return i, ^i },
		"multiples of a large number":  func(i uint64) (a, b uint64) { return i * 0x9e3779b97f4a7c15, 1 },
		"one bit of each byte":         func(i uint64) (a, b uint64) { return spread(i), spread(i >> 8) },
		"collisions of another seed's": collisions(newTable(99)),
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range byte(3) {
				tab := newTable(seed + 1)
				for i := range uint64(n) {
					a, b := key(i)
					if tab.find(a, b, 0, 0) == nil {
						tab.put(a, b, 1, 0)
					}
				}
				sum, most := 0, 0
				for i := range uint64(n) {
					a, b := key(i)
					reads := tab.reads(a, b)
					sum += reads
					most = max(most, reads)
				}
				if mean := float64(sum) / n; mean > 1.5 || most > 24 {
					t.Fatalf("seed %d: a look-up reads %.2f words, %d at most", seed, mean, most)
				}
			}
		})
	}
}

func spread(i uint64) (w uint64) {
	for bit := range 8 {
		w |= i >> bit & 1 << (8*bit + int(i>>16&7))
	}
	return w ^ i<<40
}

// collisions makes keys that all fall in one segment of the given table.
func collisions(of *table) func(uint64) (a, b uint64) {
	var keys [][2]uint64
	for i := uint64(0); len(keys) < 1<<13; i++ {
		if place, _ := of.key.hash(i, 5); segmentOf(place) == 0 {
			keys = append(keys, [2]uint64{i, 5})
		}
	}
	return func(i uint64) (a, b uint64) { return keys[i][0], keys[i][1] }
}

func TestHashKey(t *testing.T) {
	seen := map[hashKey]bool{}
	for _, k := range []hashKey{
		newHashKey([32]byte{}, 0), newHashKey([32]byte{}, 0), newHashKey([32]byte{}, 4),
		newHashKey([32]byte{1}, 0), newHashKey([32]byte{1}, 4), newHashKey([32]byte{31: 1}, 0),
	} {
		if seen[k] {
			t.Fatal("two tables share a key")
		}
		seen[k] = true
	}
	if one, again := newHashKey([32]byte{1}, 0), newHashKey([32]byte{1}, 0); one != again {
		t.Fatal("one seed makes two keys")
	}
}

// TestTableSmall: while a table grows from nothing, and its segments are now half full and now nearly, it holds just what was put, be it the key that is all zeros.
func TestTableSmall(t *testing.T) {
	const n = 1 << 10
	for name, seed := range map[string]byte{"one seed": 1, "another": 2, "a third": 3} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(seed), 2))
			tab := newTable(seed)
			keys := make([][2]uint64, n)
			for i := range keys[1:] {
				keys[i+1] = [2]uint64{r.Uint64(), r.Uint64()}
			}
			r.Shuffle(n, func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
			for i, put := range keys {
				for j := max(0, i-100); j < min(n, i+100); j++ {
					if there := tab.find(keys[j][0], keys[j][1], 1<<40, tagMask) != nil; there != (j < i) {
						t.Fatalf("with %d keys, key %d is there: %v", i, j, there)
					}
				}
				tab.put(put[0], put[1], 1<<40, 0)
			}
		})
	}
}

// TestSubjectWord: packing never makes an entry expire before its time, and keeps the not-before exact.
func TestSubjectWord(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	check := func(word uint64, notBefore, last int64) {
		t.Helper()
		if subjectNotBefore(word) != notBefore {
			t.Fatalf("not-before %d became %d", notBefore, subjectNotBefore(word))
		}
		const days = 3 * 24 * 3600 * 1000
		if got := subjectLast(word); got < last && last-notBefore < days || got > max(last, notBefore)+1024 {
			t.Fatalf("not-before %d, last %d became %d", notBefore, last, got)
		}
	}
	for range 100_000 {
		notBefore, at := r.Int64N(1<<41), r.Int64N(1<<41)
		if r.IntN(2) == 0 {
			at = notBefore + r.Int64N(2_000_000) - 1_000_000
		}
		word := subjectWord(notBefore, at)
		check(word, notBefore, max(at, notBefore))
		notBefore2, at2 := notBefore+r.Int64N(2_000_000)-1_000_000, at+r.Int64N(2_000_000)-1_000_000
		merged := laterSubject(word, subjectWord(max(notBefore2, 1), max(at2, 1)))
		if subjectNotBefore(merged) != max(notBefore, notBefore2, 1) {
			t.Fatal("merging does not keep the later not-before")
		}
		if subjectLast(merged) < max(notBefore2, 1) {
			t.Fatal("merging makes an entry expire early")
		}
		if again := subjectWord(subjectNotBefore(word), subjectLast(word)); again != word {
			t.Fatalf("a word written again drifts: %x, %x", word, again)
		}
	}
}
