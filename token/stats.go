package token

import (
	"sync/atomic"
	"unsafe"
)

// Stats counts what a verifier has decided since it was made.
type Stats struct {
	Hits    uint64 // tokens accepted from the warm table
	Misses  uint64 // tokens accepted after full verification
	Refused uint64 // tokens refused, expired ones included
	Entries int    // tokens that the warm table can hold
}

// counters are striped, so that readers of the warm table do not contend for one cache line: two cores in one counter would make a hit slower on two
// cores than on one.
type counters struct {
	_       [64]byte // away from what every reader reads
	misses  atomic.Uint64
	refused atomic.Uint64
	_       [64]byte
	hits    [stripes]struct {
		n atomic.Uint64
		_ [120]byte // two cache lines, because processors fetch them in pairs
	}
}

const stripes = 64

// hit counts in the stripe of this goroutine's stack: goroutines that run at the same time have different stacks, and one that stays on its stack
// stays in its stripe.
func (c *counters) hit() {
	var here byte
	at := uint64(uintptr(unsafe.Pointer(&here))) >> 11 // the smallest stack has 2 KiB
	c.hits[at*0x9e3779b97f4a7c15>>58].n.Add(1)
}

// Stats returns the counts. They are read one after the other, so under load they may differ by a few.
func (v *Verifier) Stats() Stats {
	s := Stats{Misses: v.stats.misses.Load(), Refused: v.stats.refused.Load()}
	for i := range v.stats.hits {
		s.Hits += v.stats.hits[i].n.Load()
	}
	if v.table != nil {
		s.Entries = len(v.table.sets) * ways
	}
	return s
}
