package revocation_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

// recorder keeps the events it is told, but not the revocations unless asked for.
type recorder struct {
	mu     sync.Mutex
	events []revocation.Event
}

func (r *recorder) Event(e revocation.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// kinds returns the kinds of the events since the last call.
func (r *recorder) kinds() []revocation.EventKind {
	r.mu.Lock()
	defer r.mu.Unlock()
	var kinds []revocation.EventKind
	for _, e := range r.events {
		kinds = append(kinds, e.Kind)
	}
	r.events = nil
	return kinds
}

// world is a log with a writer that keeps its heartbeat, and a follower of it, in a bubble of its own time.
type world struct {
	t        *testing.T
	log      *memoryLog
	list     *revocation.List
	follower *revocation.Follower
	events   recorder
	silent   bool // the writer keeps no heartbeat

	mu   sync.Mutex
	skew time.Duration // of the follower's wall clock
}

// start runs f in a bubble, in a world that follows.
func start(t *testing.T, change func(*revocation.FollowerConfig), f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, log: newLog(nil)}
		var err error
		if w.list, err = revocation.NewList(revocation.ListConfig{}); err != nil {
			t.Fatal(err)
		}
		cfg := revocation.FollowerConfig{Source: w.log, List: w.list, Events: &w.events, Now: w.clock}
		if change != nil {
			change(&cfg)
		}
		if w.follower, err = revocation.NewFollower(cfg); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if err := w.follower.Follow(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("Follow returned %v", err)
			}
		})
		running.Go(func() {
			for ctx.Err() == nil {
				w.mu.Lock()
				silent := w.silent
				w.mu.Unlock()
				if !silent {
					w.log.Append(ctx)
				}
				select {
				case <-time.After(revocation.Heartbeat):
				case <-ctx.Done():
				}
			}
		})
		f(t, w)
		stop()
		running.Wait()
	})
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.skew)
}

func (w *world) quiet(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.silent = on
}

// after lets time pass.
func (w *world) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (w *world) freshness() revocation.Freshness {
	return w.list.Freshness(w.clock(), 0, 0)
}

func (w *world) wantFresh(when string) {
	w.t.Helper()
	if f := w.freshness(); !f.Fresh {
		w.t.Fatalf("%s: stale: %s, age %v", when, f.Reason, f.Age)
	}
}

func (w *world) wantStale(when, reason string) {
	w.t.Helper()
	if f := w.freshness(); f.Fresh || f.Reason != reason {
		w.t.Fatalf("%s: fresh %v, reason %q; want stale: %s", when, f.Fresh, f.Reason, reason)
	}
}

func (w *world) wantEvents(when string, want ...revocation.EventKind) {
	w.t.Helper()
	if got := w.events.kinds(); !slices.Equal(got, want) {
		w.t.Fatalf("%s: events %v, want %v", when, got, want)
	}
}

func (w *world) revoke(random byte) token.SessionID {
	w.t.Helper()
	s := id(random)
	if err := w.log.Append(w.t.Context(), revocation.Entry{Kind: revocation.KindSession, At: time.Now().UnixMilli(), Session: s}); err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) wantRevoked(when string, sessions ...token.SessionID) {
	w.t.Helper()
	for _, s := range sessions {
		if !w.list.Has(s) {
			w.t.Fatalf("%s: session %v is not revoked", when, s)
		}
	}
}

func TestFollowerFreshAfterFirstHeartbeat(t *testing.T) {
	start(t, nil, func(t *testing.T, w *world) {
		w.wantStale("at the start", "log not read yet")
		before := w.revoke(1)
		began := time.Now()
		if err := w.follower.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 2*revocation.Heartbeat {
			t.Fatalf("ready after %v", took)
		}
		w.wantFresh("once ready")
		w.wantRevoked("once ready", before)
		after := w.revoke(2)
		synctest.Wait()
		w.wantRevoked("at once", after)
		w.wantEvents("a revocation", revocation.EventRevoked)
		w.after(time.Minute)
		w.wantFresh("after a minute")
		w.wantEvents("in an idle minute")
		if s := w.follower.Stats(); s.Whole > 2 || s.Failed > 0 || s.Entries != 2 || s.Position == "" {
			t.Fatalf("%+v", s)
		}
	})
}

func TestFollowerStaleWithoutHeartbeat(t *testing.T) {
	start(t, nil, func(t *testing.T, w *world) {
		w.after(3 * time.Second)
		w.wantFresh("with a heartbeat")
		w.quiet(true)
		w.after(9 * time.Second)
		w.wantFresh("9 s later")
		w.after(2 * time.Second)
		w.wantStale("11 s later", "list too old")
		w.wantEvents("when it gets stale", revocation.EventStale)
		w.quiet(false)
		w.after(time.Second)
		w.wantFresh("with a heartbeat again")
		w.wantEvents("when it is fresh again", revocation.EventHealed)
	})
}

func TestFollowerSurvivesCut(t *testing.T) {
	start(t, nil, func(t *testing.T, w *world) {
		w.after(3 * time.Second)
		first := w.revoke(1)
		synctest.Wait()
		w.log.Cut(errDown)
		w.after(30 * time.Second)
		w.wantStale("cut off for 30 s", "list too old")
		w.wantEvents("cut off", revocation.EventRevoked, revocation.EventStale)
		w.wantRevoked("cut off", first)
		if s := w.follower.Stats(); s.Failed < 10 || s.Failed > 60 || !errors.Is(s.LastError, errDown) {
			t.Fatalf("%d failures in 30 s, last %v", s.Failed, s.LastError)
		}
		w.log.Cut(nil)
		second := w.revoke(2)
		w.after(3 * time.Second)
		w.wantFresh("3 s after the cut")
		w.wantRevoked("after the cut", first, second)
		w.wantEvents("after the cut", revocation.EventRevoked, revocation.EventHealed)
	})
}

func TestFollowerUnites(t *testing.T) {
	for name, tc := range map[string]struct {
		fault  func(w *world, earlier logContent)
		events []revocation.EventKind
	}{
		"log lost": {func(w *world, _ logContent) { w.log.Lose() },
			[]revocation.EventKind{revocation.EventStale, revocation.EventEpoch, revocation.EventHealed}},
		"rolled back": {func(w *world, earlier logContent) { w.log.Restore(earlier) },
			[]revocation.EventKind{revocation.EventStale, revocation.EventFork, revocation.EventHealed}},
	} {
		t.Run(name, func(t *testing.T) {
			start(t, nil, func(t *testing.T, w *world) {
				w.after(3500 * time.Millisecond)
				old := w.revoke(1)
				earlier := w.log.Content()
				known := w.revoke(2)
				w.after(100 * time.Millisecond)
				w.events.kinds()
				tc.fault(w, earlier)
				w.after(6 * time.Second)
				w.wantFresh("6 s after the fault")
				w.wantRevoked("after the fault", old, known)
				news := w.revoke(3)
				synctest.Wait()
				w.wantRevoked("after the fault", news)
				got := w.events.kinds()
				if i := slices.Index(got, revocation.EventRevoked); i >= 0 {
					got = slices.Delete(got, i, i+1)
				}
				if !slices.Equal(got, tc.events) {
					t.Fatalf("events %v, want %v", got, tc.events)
				}
			})
		})
	}
}
