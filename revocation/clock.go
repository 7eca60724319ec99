//go:build !wasm && !edge

package revocation

import (
	"sync"
	"sync/atomic"
	"time"
)

// Asking the machine for the time costs as much as all the rest of a check, so checks use what a timer saw, four times a second. What it
// sees is judged by how old the list will be when the next one is due; so as long as timers fire when they should, nothing older than
// MaxStale is taken for fresh. A new batch is looked at by the first check after it.
//
// There is no goroutine and nothing to close. The timer runs for a lease of a minute; the first check after that looks
// itself and sets it going again, so an idle guard costs nothing.
const (
	keepsLooking = true

	sightTick  = 250 * time.Millisecond
	sightLease = time.Minute
)

type sights struct {
	last atomic.Pointer[sight] // nil: nobody is looking

	mu    sync.Mutex
	timer *time.Timer // of the present lease
	ticks int         // left in the lease
}

// look returns how the list looks now.
func (g *Guard) look() *sight {
	if s := g.sights.last.Load(); s != nil && s.log == g.list.log.Load() {
		return s
	}
	return g.lookAnew()
}

//go:noinline
func (g *Guard) lookAnew() *sight {
	s := &g.sights
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := g.see()
	if s.timer == nil {
		s.ticks = int(sightLease / sightTick)
		s.timer = time.AfterFunc(sightTick, g.tick)
	}
	return seen
}

// see looks, and keeps what it sees until the next tick.
func (g *Guard) see() *sight {
	now := time.Now()
	seen := g.lookAt(now)
	if seen.stale == "" {
		seen.stale = seen.log.stale(now.Add(sightTick), g.maxStale, g.leeway)
	}
	g.sights.last.Store(&seen)
	return &seen
}

func (g *Guard) tick() {
	s := &g.sights
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ticks--; s.ticks == 0 {
		s.timer = nil
		s.last.Store(nil)
		return
	}
	g.see()
	s.timer.Reset(sightTick)
}
