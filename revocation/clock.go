//go:build !wasm && !edge

package revocation

import (
	"sync/atomic"
	"time"
)

// Nothing that runs beside the checks can tell them the time: when the process was suspended, the first check afterwards comes before any timer. So every
// check asks how long ago somebody looked, which takes the monotonic clock alone, half of what the time costs. The first after an eighth of a
// second, or after a new batch, looks anew, for all; what it sees is judged by how old the list will be when the next one is due. So nothing older
// than MaxStale is taken for fresh, whatever held the process up; only a monotonic clock that stood still with it hides that, for one tick.
const (
	keepsLooking = true

	sightTick = 125 * time.Millisecond
)

type sights struct {
	last atomic.Pointer[sight] // nil: nobody has looked yet
}

// look returns how the list looked at most a tick ago, and the time.
func (g *Guard) look() (*sight, time.Time) {
	if s := g.sights.last.Load(); s != nil && s.log == g.list.log.Load() {
		if d := time.Since(s.taken); uint64(d) < uint64(sightTick) { // a negative one is of no use either
			return s, time.UnixMilli(s.ms + d.Milliseconds())
		}
	}
	now := time.Now()
	return g.lookAnew(now), now
}

// seen returns what was seen last, nil if that was nothing.
func (g *Guard) seen() *sight { return g.sights.last.Load() }

// holds says whether a sight of the list still serves at a time (Unix ms) that a caller has read.
func (s *sight) holds(l *List, ms int64) bool {
	return s.log == l.log.Load() && uint64(ms-s.ms) < uint64(sightTick/time.Millisecond)
}

//go:noinline
func (g *Guard) lookAnew(now time.Time) *sight {
	s := g.lookAt(now)
	if s.stale == "" {
		s.stale = s.log.stale(now.Add(2*sightTick), g.maxStale, g.leeway) // twice: the wall clock may be set back by less than a tick meanwhile
	}
	g.sights.last.Store(&s)
	// Nobody is to find it later. To holds it is new again when the wall clock is set back by as much as went by since, and to compare the monotonic clock
	// as well costs each check a tenth of all its time.
	time.AfterFunc(sightTick, func() { g.sights.last.CompareAndSwap(&s, nil) })
	return &s
}
