package revocation

import "github.com/counterfoil/counterfoil/internal/lean/time"

// sight is how the list looked at some moment.
type sight struct {
	log   *logState
	stale string // why it is not provably fresh, "" if it is
	ms    int64  // of the wall clock
	taken time.Time
}

// lookAt judges the list's age at now, and tells the hook, once, when it has become stale or fresh again.
func (g *Guard) lookAt(now time.Time) sight {
	log := g.list.log.Load()
	s := sight{log, log.stale(now, g.maxStale, g.leeway), now.UnixMilli(), now}
	if (s.stale != "") != g.wasStale.Load() {
		g.notice(s, now)
	}
	return s
}

func (g *Guard) notice(s sight, now time.Time) {
	if !g.wasStale.CompareAndSwap(s.stale == "", s.stale != "") || g.events == nil {
		return
	}
	e := Event{Kind: EventHealed, Time: now, Epoch: s.log.epoch, Reason: s.stale}
	if s.stale != "" {
		e.Kind = EventStale
	}
	if s.log.why == "" {
		since, wall := s.log.age(now)
		e.Age = max(since, wall)
	}
	g.events.Event(e)
}
