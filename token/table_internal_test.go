package token

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

func testEntry(raw string, generation uint64, until int64) *entry {
	return &entry{raw: raw, generation: generation, until: until}
}

// TestTableComparesTheWholeToken: tokens that share their last 16 characters, and so the mix, are told apart.
func TestTableComparesTheWholeToken(t *testing.T) {
	tab := newTable(64)
	tail := strings.Repeat("t", tailLen)
	for i := range ways {
		tab.insert(testEntry(fmt.Sprintf("token %d %s", i, tail), 1, 100), 0)
	}
	for i := range ways {
		raw := fmt.Sprintf("token %d %s", i, tail)
		if e := tab.find(raw, 1); e == nil || e.raw != raw {
			t.Errorf("%q: %v", raw, e)
		}
	}
	for _, raw := range []string{tail, "token 9 " + tail, "token 0 " + tail + "t", "oken 0 " + tail, strings.Repeat("x", maxEntryLen+1) + tail, "short", ""} {
		if e := tab.find(raw, 1); e != nil {
			t.Errorf("%q found as %q", raw, e.raw)
		}
	}
}

func TestTableIsBoundToTheGeneration(t *testing.T) {
	tab := newTable(4)
	raw := strings.Repeat("a", 40)
	tab.insert(testEntry(raw, 1, 100), 0)
	if tab.find(raw, 1) == nil || tab.find(raw, 2) != nil || tab.find(raw, 0) != nil {
		t.Error("an entry is a hit under another generation of keys")
	}
	tab.insert(testEntry(raw, 2, 100), 0)
	if tab.find(raw, 2) == nil {
		t.Error("the newer entry was not kept")
	}
}

// TestTableReplaces: first what can be a hit no more, then what expires first; never more than there are ways.
func TestTableReplaces(t *testing.T) {
	tab := newTable(ways) // one set
	raws := make([]string, 8)
	for i := range raws {
		raws[i] = fmt.Sprintf("%032d", i)
	}
	for i, until := range []int64{400, 200, 300, 500} {
		tab.insert(testEntry(raws[i], 1, until), 0)
	}
	has := func(want ...int) {
		t.Helper()
		for i := range raws {
			wanted := false
			for _, w := range want {
				wanted = wanted || w == i
			}
			if (tab.find(raws[i], 1) != nil) != wanted {
				t.Errorf("entry %d: found is %v", i, !wanted)
			}
		}
	}
	has(0, 1, 2, 3)
	tab.insert(testEntry(raws[2], 1, 300), 0) // the same again takes no other's place
	has(0, 1, 2, 3)
	tab.insert(testEntry(raws[4], 1, 600), 0) // 1 expires first
	has(0, 2, 3, 4)
	tab.insert(testEntry(raws[5], 1, 650), 450) // 0 and 2 are over
	tab.insert(testEntry(raws[6], 1, 700), 450)
	has(3, 4, 5, 6)
}

func TestTableIsBounded(t *testing.T) {
	for n, sets := range map[int]int{1: 1, 4: 1, 5: 2, 4096: 1024} {
		if got := len(newTable(n).sets); got != sets {
			t.Errorf("%d entries: %d sets", n, got)
		}
	}
	if newTable(0) != nil || (*table)(nil).find(strings.Repeat("x", 100), 0) != nil {
		t.Error("a verifier without a table finds something")
	}
	tab := newTable(16)
	for i := range 1000 {
		tab.insert(testEntry(fmt.Sprintf("%032d", i), 1, 100), 0)
	}
	n := 0
	for i := range tab.sets {
		for j := range tab.sets[i].entries {
			if e := tab.sets[i].entries[j].Load(); e != nil {
				n++
			}
		}
	}
	if n > 16 {
		t.Errorf("%d entries in a table of 16", n)
	}
}

// TestTableConcurrently: whatever readers find is the token they asked for, in the generation they asked for.
func TestTableConcurrently(t *testing.T) {
	tab := newTable(8) // so small that everybody evicts everybody
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for n := range 5000 {
				raw := fmt.Sprintf("%040d%s", (n*7+g)%50, strings.Repeat("t", n%3*8))
				generation := uint64(n % 3)
				if e := tab.find(raw, generation); e != nil && (e.raw != raw || e.generation != generation) {
					t.Errorf("asked for %q, got %q", raw, e.raw)
				}
				tab.insert(testEntry(raw, generation, int64(n)), int64(n/2))
			}
		})
	}
	wg.Wait()
}

func TestSeedIsNotShared(t *testing.T) {
	a, b := newTable(4), newTable(4)
	if a.k0 == b.k0 || a.k1 == b.k1 || a.k0 == a.k1 {
		t.Error("two tables with one seed")
	}
}

func TestAlphabet(t *testing.T) {
	for n := range 40 {
		for at := range n {
			for b := range 256 {
				s := []byte(strings.Repeat("aZ0-_9zA", 5)[:n])
				s[at] = byte(b)
				want := strings.IndexByte(alphabet, byte(b)) >= 0
				if isAlphabet(string(s)) != want {
					t.Fatalf("length %d, byte %#x at %d: %v", n, b, at, !want)
				}
			}
		}
	}
}

// TestEqual: no byte and no bit is overlooked, wherever it is, and differences do not undo each other.
func TestEqual(t *testing.T) {
	for name, equal := range map[string]func(a, b string) bool{"equal": equal, "equalWords": equalWords} {
		text := strings.Repeat("0123456789", 12)
		for n := range len(text) {
			a, b := text[:n], []byte(text[:n])
			if !equal(a, string(b)) || equal(a, text[:n+1]) || equal(text[:n+1], a) {
				t.Fatalf("%s: %d bytes", name, n)
			}
			for i := range b {
				for bit := range 8 {
					b[i] ^= 1 << bit
					if equal(a, string(b)) || equal(string(b), a) {
						t.Fatalf("%s: %d bytes: bit %d of byte %d differs", name, n, bit, i)
					}
					b[i] ^= 1 << bit
				}
				for _, other := range []int{i + 8, i + 16, i + 24, i + 32} {
					if other >= n {
						continue
					}
					b[i] ^= 1
					b[other] ^= 1
					if equal(a, string(b)) {
						t.Fatalf("%s: %d bytes: bytes %d and %d differ", name, n, i, other)
					}
					b[i] ^= 1
					b[other] ^= 1
				}
			}
		}
	}
}
