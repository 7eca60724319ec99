package token

import "sync/atomic"

// Stats counts what a verifier has decided since it was made.
type Stats struct {
	Hits    uint64 // tokens accepted from the warm table
	Misses  uint64 // tokens accepted after full verification
	Refused uint64 // tokens refused, expired ones included
	Entries int    // tokens that the warm table can hold
}

type counters struct{ hits, misses, refused atomic.Uint64 }

func (c *counters) hit() { c.hits.Add(1) }

// Stats returns the counts. They are read one after the other, so under load they may differ by a few.
func (v *Verifier) Stats() Stats {
	s := Stats{Hits: v.stats.hits.Load(), Misses: v.stats.misses.Load(), Refused: v.stats.refused.Load()}
	if v.table != nil {
		s.Entries = len(v.table.sets) * ways
	}
	return s
}
