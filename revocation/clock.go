//go:build !wasm && !edge

package revocation

import (
	"sync/atomic"
	"time"
)

// Nothing that runs beside the checks can tell them the time: when the process was suspended, the first check afterwards comes before any timer. So every
// check asks how long ago somebody looked, which takes the monotonic clock alone, half of what the time costs. The first after a quarter of a
// second, or after a new batch, looks anew, for all; what it sees is judged by how old the list will be when the next one is due. So nothing older
// than MaxStale is taken for fresh, whatever held the process up; only a monotonic clock that stood still with it hides that, for one tick.
const (
	keepsLooking = true

	sightTick = 250 * time.Millisecond
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

// lookBy is look for a caller who has read the clock.
func (g *Guard) lookBy(now time.Time) *sight {
	if s := g.sights.last.Load(); s != nil && s.log == g.list.log.Load() {
		if d := now.Sub(s.taken); uint64(d) < uint64(sightTick) {
			return s
		}
	}
	return g.lookAnew(now)
}

//go:noinline
func (g *Guard) lookAnew(now time.Time) *sight {
	s := g.lookAt(now)
	if s.stale == "" {
		s.stale = s.log.stale(now.Add(sightTick), g.maxStale, g.leeway)
	}
	g.sights.last.Store(&s)
	return &s
}
