package revocation_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
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

	mu      sync.Mutex
	silent  bool          // the writer keeps no heartbeat
	beat    time.Duration // between heartbeats
	skew    time.Duration // of the follower's clock
	logSkew time.Duration // of the log's clock
}

// start runs f in a bubble, in a world that follows.
func start(t *testing.T, change func(*world, *revocation.FollowerConfig), f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, beat: revocation.Heartbeat}
		w.log = newLog(func() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return time.Now().Add(w.logSkew) })
		var err error
		if w.list, err = revocation.NewList(revocation.ListConfig{}); err != nil {
			t.Fatal(err)
		}
		cfg := revocation.FollowerConfig{Source: w.log, List: w.list, Events: &w.events, Now: w.clock}
		if change != nil {
			change(w, &cfg)
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
				silent, beat := w.silent, w.beat
				w.mu.Unlock()
				if !silent {
					w.log.Append(ctx)
				}
				select {
				case <-time.After(beat):
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

// set changes the world under its lock.
func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

func (w *world) quiet(on bool) { w.set(func() { w.silent = on }) }

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
	if _, err := w.log.Append(w.t.Context(), revocation.Entry{Kind: revocation.KindSession, At: time.Now().UnixMilli(), Session: s}); err != nil {
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
		if w.freshness().Fresh {
			t.Fatal("fresh at the start")
		}
		synctest.Wait() // what is in the log before the first read is no event
		before := w.revoke(1)
		began := time.Now()
		if err := w.follower.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 2*revocation.Heartbeat {
			t.Fatalf("ready after %v", took)
		}
		synctest.Wait() // what the read brought that made it ready is told a moment later
		w.wantFresh("once ready")
		w.wantRevoked("once ready", before)
		w.wantEvents("once ready", revocation.EventRevoked)
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

// TestFollowerStaleSaysWhy: the event has what an operator has to mend, if reads fail.
func TestFollowerStaleSaysWhy(t *testing.T) {
	for name, c := range map[string]struct {
		fault func(*world)
		want  string
	}{
		"the log cannot be read":   {func(w *world) { w.log.Cut(errDown) }, "list too old; the last read: " + errDown.Error()},
		"nobody writes to the log": {func(w *world) { w.quiet(true) }, "list too old"},
	} {
		t.Run(name, func(t *testing.T) {
			var told []revocation.Event
			start(t, func(_ *world, cfg *revocation.FollowerConfig) {
				cfg.Events = revocation.EventFunc(func(e revocation.Event) { told = append(told, e) })
			}, func(t *testing.T, w *world) {
				w.after(3 * time.Second)
				c.fault(w)
				w.after(time.Minute)
				if len(told) != 1 || told[0].Kind != revocation.EventStale || told[0].Reason != c.want {
					t.Errorf("got %+v, want that the list is stale: %s", told, c.want)
				}
			})
		})
	}
}

// TestFollowerNeverFresh: a list that does not become fresh is told as one that does not stay so, once, and when it is fresh at last that is told too.
func TestFollowerNeverFresh(t *testing.T) {
	for _, x := range []struct {
		name, reason string
		wrong, right func(*world)
	}{
		{"the log cannot be read", "log not read yet", func(w *world) { w.log.Cut(errDown) }, func(w *world) { w.log.Cut(nil) }},
		{"nobody keeps the heartbeat", "log has no epoch", func(w *world) { w.silent = true }, func(w *world) { w.quiet(false) }},
		{"the log's clock is behind", "list too old", func(w *world) { w.logSkew = -time.Hour }, func(w *world) { w.set(func() { w.logSkew = 0 }) }},
		{"the log's clock is ahead", "newest record in the future", func(w *world) { w.skew = -time.Hour }, func(w *world) { w.set(func() { w.skew = 0 }) }},
	} {
		t.Run(x.name, func(t *testing.T) {
			start(t, func(w *world, _ *revocation.FollowerConfig) { x.wrong(w) }, func(t *testing.T, w *world) {
				w.after(9 * time.Second)
				w.wantEvents("9 s after the start")
				w.after(21 * time.Second)
				w.wantStale("30 s after the start", x.reason)
				w.wantEvents("30 s after the start", revocation.EventStale)
				x.right(w)
				w.after(5 * time.Second)
				w.wantFresh("put right")
				if got := w.events.kinds(); !slices.Contains(got, revocation.EventHealed) || slices.Contains(got, revocation.EventStale) {
					t.Errorf("put right: events %v", got)
				}
			})
		})
	}
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

// TestFollowerUnites: whatever happens to the log, what was known stays known, the list says that it is stale until the log can be trusted
// again, and then it is fresh.
func TestFollowerUnites(t *testing.T) {
	const stale, healed, fork, epoch = revocation.EventStale, revocation.EventHealed, revocation.EventFork, revocation.EventEpoch
	for name, tc := range map[string]struct {
		fault  func(w *world, earlier logContent)
		within time.Duration // until it is fresh again
		events []revocation.EventKind
	}{
		"log lost": {func(w *world, _ logContent) { w.log.Lose() },
			4 * time.Second, []revocation.EventKind{stale, epoch, healed}},
		"log lost, read while it is empty": {func(w *world, _ logContent) {
			w.quiet(true)
			w.log.Lose()
			w.after(4 * time.Second)
			w.wantStale("without an epoch", "log has no epoch")
			w.quiet(false)
		}, 5 * time.Second, []revocation.EventKind{epoch, stale, epoch, healed}},
		"rolled back": {func(w *world, earlier logContent) { w.log.Restore(earlier) },
			3 * time.Second, []revocation.EventKind{stale, fork, healed}},
		"rolled back, and the clock too": {func(w *world, earlier logContent) {
			for range 20 { // the follower is far ahead of what the log goes back to
				w.log.Append(w.t.Context())
			}
			synctest.Wait()
			w.log.Rewind(earlier)
		},
			5 * time.Second, []revocation.EventKind{fork, stale, healed}},
		"the last record lost": {func(w *world, _ logContent) { w.log.Drop(w.log.Len() - 1) },
			3 * time.Second, []revocation.EventKind{stale, fork, healed}},
		"the last position given again": {func(w *world, earlier logContent) {
			content := w.log.Content()
			newest := content.records[len(content.records)-1]
			w.log.Restore(earlier)
			newest.Entry, _ = revocation.Entry{Kind: revocation.KindSession, At: newest.Time, Session: id(9)}.AppendBinary(nil)
			w.log.AppendRecord(newest)
			w.quiet(true)
			w.after(3 * time.Second) // silence makes it read the whole log
			w.wantRevoked("after the fault", id(9))
			w.quiet(false)
		}, 3 * time.Second, []revocation.EventKind{revocation.EventRevoked, fork, stale, healed}},
		"another log of the same epoch": {func(w *world, earlier logContent) {
			for i := range earlier.records {
				earlier.records[i].Position = "other " + earlier.records[i].Position
				earlier.records[i].Prev = "other " + earlier.records[i].Prev
			}
			w.log.Restore(earlier)
		}, 5 * time.Second, []revocation.EventKind{stale, fork, healed}},
	} {
		t.Run(name, func(t *testing.T) {
			start(t, nil, func(t *testing.T, w *world) {
				w.after(3500 * time.Millisecond)
				old := w.revoke(1)
				earlier := w.log.Content()
				earlier.records = slices.Clone(earlier.records)
				w.after(100 * time.Millisecond)
				known := w.revoke(2)
				w.after(100 * time.Millisecond)
				w.events.kinds()
				tc.fault(w, earlier)
				w.after(tc.within)
				w.wantFresh("after the fault")
				w.wantRevoked("after the fault", old, known)
				w.wantEvents("after the fault", tc.events...)
				news := w.revoke(3)
				synctest.Wait()
				w.wantRevoked("after the fault", news)
				w.wantEvents("a new revocation", revocation.EventRevoked)
			})
		})
	}
}

// TestFollowerNeverFreshOnBrokenChain: not for a moment is a list fresh by a record that does not continue what was read.
func TestFollowerNeverFreshOnBrokenChain(t *testing.T) {
	start(t, nil, func(t *testing.T, w *world) {
		w.after(3 * time.Second)
		w.quiet(true)
		w.log.AppendRecord(revocation.Record{Prev: "from nowhere", Entry: nil})
		synctest.Wait()
		w.wantStale("on a gap", "log does not continue what was read")
		w.after(5 * time.Second)
		w.wantStale("until a record continues it", "log does not continue what was read")
		w.quiet(false)
		w.after(3 * time.Second)
		w.wantFresh("when one did")
	})
}

// TestFollowerHole: a record that was taken out of the middle of the log is not known to a new follower, but that it is missing is.
func TestFollowerHole(t *testing.T) {
	start(t, func(w *world, _ *revocation.FollowerConfig) {
		for random := range byte(5) {
			w.revoke(random)
		}
		w.log.Drop(2)
	}, func(t *testing.T, w *world) {
		w.after(3 * time.Second)
		w.wantFresh("with a hole")
		if !w.list.Incomplete(time.Now()) {
			t.Fatal("the list believes that it is complete")
		}
		w.wantRevoked("beside the hole", id(1), id(3))
		w.after(revocation.Horizon)
		if w.list.Incomplete(time.Now()) {
			t.Fatal("the hole matters longer than what fell through it")
		}
	})
}

// TestFollowerClocks: a difference of clocks beyond the leeway is stale, in whichever direction, for as long as it lasts.
func TestFollowerClocks(t *testing.T) {
	const old, future = "list too old", "newest record in the future"
	for name, tc := range map[string]struct {
		follower, log time.Duration
		reason        string // "" = fresh
	}{
		"right":                 {0, 0, ""},
		"follower 9 s ahead":    {9 * time.Second, 0, ""},
		"follower 9 s behind":   {-9 * time.Second, 0, ""},
		"follower 60 s ahead":   {time.Minute, 0, old},
		"follower 60 s behind":  {-time.Minute, 0, future},
		"follower 1 h ahead":    {time.Hour, 0, old},
		"follower 1 h behind":   {-time.Hour, 0, future},
		"log 60 s ahead":        {0, time.Minute, future},
		"log 60 s behind":       {0, -time.Minute, old},
		"log 1 h ahead":         {0, time.Hour, future},
		"log 1 h behind":        {0, -time.Hour, old},
		"both 1 h ahead":        {time.Hour, time.Hour, ""},
		"an hour to both sides": {-30 * time.Minute, 30 * time.Minute, future},
	} {
		t.Run(name, func(t *testing.T) {
			start(t, func(w *world, _ *revocation.FollowerConfig) { w.skew, w.logSkew = tc.follower, tc.log }, func(t *testing.T, w *world) {
				entry := revocation.Entry{Kind: revocation.KindSession, At: time.Now().Add(tc.log).UnixMilli(), Session: id(1)}
				if _, err := w.log.Append(t.Context(), entry); err != nil {
					t.Fatal(err)
				}
				w.after(20 * time.Second)
				w.wantRevoked("whatever the clocks say", id(1))
				if tc.reason == "" {
					w.wantFresh("within the leeway")
				} else {
					w.wantStale("beyond the leeway", tc.reason)
				}
				w.set(func() { w.skew, w.logSkew = 0, 0 })
				w.after(3 * time.Second)
				if tc.log >= 0 { // otherwise its time is long past by the right clock, as are the tokens that it hits
					w.wantRevoked("after the clocks were set", id(1))
				}
				w.wantFresh("after the clocks were set")
			})
		})
	}
}

// TestFollowerForgets what has expired, and only by the earlier of the two clocks.
func TestFollowerForgets(t *testing.T) {
	for name, tc := range map[string]struct{ follower, log time.Duration }{
		"right clocks":         {0, 0},
		"follower 1 h ahead":   {time.Hour, 0},
		"log 1 h ahead of it":  {0, time.Hour},
		"log 1 h behind":       {0, -time.Hour},
		"follower 1 h behind":  {-time.Hour, 0},
		"follower 1 min ahead": {time.Minute, 0},
	} {
		t.Run(name, func(t *testing.T) {
			start(t, func(w *world, _ *revocation.FollowerConfig) { w.skew, w.logSkew = tc.follower, tc.log }, func(t *testing.T, w *world) {
				// Entries have the right time: they are older than the clock that goes wrong.
				for random := range byte(200) {
					w.revoke(random)
					now := time.Now().UnixMilli()
					e := revocation.Entry{Kind: revocation.KindSubject, At: now, Subject: [16]byte{1, random}, NotBefore: now}
					if _, err := w.log.Append(t.Context(), e); err != nil {
						t.Fatal(err)
					}
				}
				w.after(revocation.Horizon - time.Second)
				for random := range byte(200) {
					w.wantRevoked("before the horizon", id(random))
				}
				w.after(-min(0, tc.follower, tc.log) + 20*time.Second)
				if n := w.list.Len(); n > 0 {
					t.Fatalf("%d entries long after the horizon", n)
				}
			})
		})
	}
}

// TestFollowerReplicated: once heartbeats say how far the replicas are, the list is as old as that.
func TestFollowerReplicated(t *testing.T) {
	start(t, nil, func(t *testing.T, w *world) {
		w.after(3 * time.Second)
		w.quiet(true)
		w.after(time.Second)
		acknowledged := time.Now().UnixMilli() // and nothing after: an old primary that was cut off from its replicas
		w.log.AppendRecord(revocation.Record{Replicated: acknowledged})
		synctest.Wait()
		w.wantFresh("as long as the replicas follow")
		for range 19 {
			w.after(time.Second)
			w.log.AppendRecord(revocation.Record{Replicated: acknowledged})
			w.revoke(byte(time.Now().Unix())) // entries do not say it, and prove nothing more
		}
		w.wantFresh("19 s later, within MaxStale and leeway")
		w.after(1500 * time.Millisecond)
		w.log.AppendRecord(revocation.Record{Replicated: acknowledged})
		synctest.Wait()
		w.wantStale("21 s later", "list too old")
		w.quiet(false) // heartbeats that say nothing of replicas: none are configured any more
		w.after(2 * time.Second)
		w.wantFresh("without replicas")
	})
}

// TestFollowerReplicatedAtStart: a new follower learns it from the records that are there.
func TestFollowerReplicatedAtStart(t *testing.T) {
	start(t, func(w *world, _ *revocation.FollowerConfig) {
		w.silent = true
		w.log.AppendRecord(revocation.Record{Replicated: time.Now().Add(-time.Minute).UnixMilli()})
	}, func(t *testing.T, w *world) {
		w.after(time.Second)
		w.revoke(1)
		synctest.Wait()
		w.wantRevoked("at the start", id(1))
		w.wantStale("on a node whose replicas are a minute behind", "list too old")
	})
}

// counted counts reads, and can hang as a half-open connection does.
type counted struct {
	revocation.Source
	mu           sync.Mutex
	whole, parts int
	hang         bool
	stuck        []time.Duration // how long each read hung
}

func (c *counted) Read(ctx context.Context, after revocation.Position, wait time.Duration) (revocation.Batch, error) {
	c.mu.Lock()
	if after == "" {
		c.whole++
	} else {
		c.parts++
	}
	hang := c.hang
	c.mu.Unlock()
	if hang {
		began := time.Now()
		<-ctx.Done()
		c.mu.Lock()
		c.stuck = append(c.stuck, time.Since(began))
		c.mu.Unlock()
		return revocation.Batch{}, ctx.Err()
	}
	return c.Source.Read(ctx, after, wait)
}

func (c *counted) reset() (whole, parts int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	whole, parts = c.whole, c.parts
	c.whole, c.parts = 0, 0
	return
}

func TestFollowerNoticesHalfOpen(t *testing.T) {
	var c counted
	start(t, func(w *world, cfg *revocation.FollowerConfig) { c.Source, cfg.Source = cfg.Source, &c }, func(t *testing.T, w *world) {
		w.after(3 * time.Second)
		c.mu.Lock()
		c.hang = true
		c.mu.Unlock()
		w.after(5 * time.Second)
		c.mu.Lock()
		if len(c.stuck) == 0 || c.stuck[0] > 2*time.Second {
			t.Errorf("a dead connection was noticed after %v", c.stuck)
		}
		c.hang = false
		c.mu.Unlock()
		w.after(30 * time.Second)
		w.wantFresh("after that")
	})
}

// TestFollowerReadsSparingly: how often the log is read, and read whole, in every state that may last.
func TestFollowerReadsSparingly(t *testing.T) {
	for name, tc := range map[string]struct {
		enter        func(w *world)
		whole, parts int // at most, in a minute
	}{
		"idle":               {func(w *world) {}, 0, 125},
		"slow heartbeat":     {func(w *world) { w.beat = 2 * time.Second }, 1, 100},
		"slower heartbeat":   {func(w *world) { w.beat = 4 * time.Second }, 2, 100},
		"no writer":          {func(w *world) { w.silent = true }, 8, 65},
		"no log":             {func(w *world) { w.silent = true; w.log.Lose() }, 60, 1},
		"always another gap": {func(w *world) { w.silent = true; go gaps(w) }, 45, 45},
	} {
		t.Run(name, func(t *testing.T) {
			var c counted
			start(t, func(w *world, cfg *revocation.FollowerConfig) { c.Source, cfg.Source = cfg.Source, &c }, func(t *testing.T, w *world) {
				w.after(5 * time.Second)
				w.set(func() { tc.enter(w) })
				w.after(5 * time.Second)
				c.reset()
				w.after(time.Minute)
				whole, parts := c.reset()
				t.Logf("in a minute %d whole reads, %d others", whole, parts)
				if whole > tc.whole || parts > tc.parts {
					t.Errorf("in a minute %d whole reads, %d others; want at most %d, %d", whole, parts, tc.whole, tc.parts)
				}
			})
		})
	}
}

// gaps appends records that continue nothing, for 64 s.
func gaps(w *world) {
	for range 640 {
		time.Sleep(100 * time.Millisecond)
		w.log.AppendRecord(revocation.Record{Prev: "from nowhere"})
	}
}

func TestFollowerDamage(t *testing.T) {
	start(t, nil, func(t *testing.T, w *world) {
		w.after(3 * time.Second)
		for name, b := range map[string]string{
			"empty": "", "too long": string(make([]byte, 65)), "half a session": "s\x00\x00\x01", "odd time": "s\xff\xff\xff\xff\xff\xff\xff\xff",
		} {
			before := w.follower.Stats().Unknown
			w.log.AppendRecord(revocation.Record{Entry: []byte(b)})
			synctest.Wait()
			w.wantEvents(name, revocation.EventUnknown)
			if s := w.follower.Stats(); s.Unknown != before+1 || !s.Fresh {
				t.Fatalf("%s: %+v", name, s)
			}
		}
		// It counts from when it was appended or when it was read, whichever is later.
		for _, late := range []time.Duration{-10 * time.Second, 10 * time.Second} {
			w.log.AppendRecord(revocation.Record{Entry: []byte("s?"), Time: time.Now().Add(late).UnixMilli()})
			synctest.Wait()
			if want := time.Now().Add(max(0, late) + revocation.Horizon).UnixMilli(); w.list.UnknownUntil() != want {
				t.Fatalf("asks until %d, want %d", w.list.UnknownUntil(), want)
			}
		}
		if s := w.follower.Stats(); s.Heartbeats < 3 || s.Records < s.Heartbeats+6 {
			t.Fatalf("%+v", s)
		}
	})
}

func TestFollowerFull(t *testing.T) {
	start(t, func(w *world, cfg *revocation.FollowerConfig) {
		w.list = newList(w.t, revocation.ListConfig{Max: 3})
		cfg.List = w.list
	}, func(t *testing.T, w *world) {
		w.after(3 * time.Second)
		const revoked, full = revocation.EventRevoked, revocation.EventFull
		for random := range byte(6) {
			w.revoke(random)
		}
		synctest.Wait()
		w.wantEvents("six where three fit", revoked, revoked, revoked, full)
		if s := w.follower.Stats(); s.Dropped != 3 || s.Entries != 3 || !w.list.Incomplete(time.Now()) {
			t.Fatalf("%+v", s)
		}
		w.after(revocation.Horizon + 20*time.Second)
		if w.list.Incomplete(time.Now()) {
			t.Fatal("incomplete for ever")
		}
		w.wantFresh("when all of them have expired")
		w.revoke(9)
		synctest.Wait()
		w.wantEvents("one that fits again", revoked)
		w.wantRevoked("one that fits again", id(9))
	})
}

// TestFollowerFullOfExpired: what has expired makes room at once, not only when the sweep comes to it.
func TestFollowerFullOfExpired(t *testing.T) {
	start(t, func(w *world, cfg *revocation.FollowerConfig) {
		w.list = newList(w.t, revocation.ListConfig{Max: 200})
		cfg.List = w.list
	}, func(t *testing.T, w *world) {
		for random := range byte(200) {
			w.revoke(random)
		}
		w.after(revocation.Horizon + 1500*time.Millisecond)
		if n := w.list.Len(); n < 50 {
			t.Fatalf("only %d entries left: the test tests nothing", n)
		}
		for random := range byte(50) {
			w.revoke(200 + random)
		}
		synctest.Wait()
		if s := w.follower.Stats(); s.Dropped > 0 || s.Entries > 200 {
			t.Fatalf("%+v", s)
		}
	})
}

// TestFollowerTellsOnce: a revocation is told when it is news, whatever its kind.
func TestFollowerTellsOnce(t *testing.T) {
	start(t, nil, func(t *testing.T, w *world) {
		w.after(3 * time.Second)
		now := time.Now().UnixMilli()
		for _, e := range []revocation.Entry{
			{Kind: revocation.KindSession, At: now, Session: id(1)},
			{Kind: revocation.KindSubject, At: now, Subject: [16]byte{1}, NotBefore: now},
			{Kind: revocation.KindAll, At: now, NotBefore: now},
			{Kind: revocation.KindKey, At: now, KeyID: "key"},
		} {
			for _, want := range [][]revocation.EventKind{{revocation.EventRevoked}, nil} {
				if _, err := w.log.Append(t.Context(), e); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				w.wantEvents(e.Kind.String(), want...)
			}
		}
	})
}

// TestFollowerGivesBack: writers append what the log has lost, all of it, and when two do it at once, each leaves some of it to the other.
func TestFollowerGivesBack(t *testing.T) {
	for name, fault := range map[string]func(w *world, earlier logContent){
		"log lost":    func(w *world, _ logContent) { w.log.Lose() },
		"rolled back": func(w *world, earlier logContent) { w.log.Restore(earlier) },
	} {
		t.Run(name, func(t *testing.T) {
			var second *revocation.Follower
			start(t, func(w *world, cfg *revocation.FollowerConfig) {
				cfg.Log = w.log
				other := *cfg
				other.List = newList(w.t, revocation.ListConfig{})
				other.Events = nil
				var err error
				if second, err = revocation.NewFollower(other); err != nil {
					w.t.Fatal(err)
				}
			}, func(t *testing.T, w *world) {
				ctx, stop := context.WithCancel(t.Context())
				var running sync.WaitGroup
				running.Go(func() { second.Follow(ctx) })
				defer func() { stop(); running.Wait() }()

				w.after(3 * time.Second)
				earlier := w.log.Content()
				now := time.Now().UnixMilli()
				entries := []revocation.Entry{
					{Kind: revocation.KindAll, At: now, NotBefore: now - 1},
					{Kind: revocation.KindKey, At: now, KeyID: "key"},
					{Kind: revocation.KindSubject, At: now, Subject: [16]byte{1}, NotBefore: now},
				}
				for _, session := range randomIDs(1000, 1) {
					entries = append(entries, revocation.Entry{Kind: revocation.KindSession, At: now, Session: session})
				}
				if _, err := w.log.Append(t.Context(), entries...); err != nil {
					t.Fatal(err)
				}
				w.after(time.Second)
				fault(w, earlier)
				w.after(10 * time.Second)
				w.wantFresh("after the fault")

				// Somebody who comes only now knows everything.
				late := newList(t, revocation.ListConfig{})
				f, err := revocation.NewFollower(revocation.FollowerConfig{List: late})
				if err != nil {
					t.Fatal(err)
				}
				b, err := w.log.Read(t.Context(), "", 0)
				if err != nil {
					t.Fatal(err)
				}
				f.Apply(b, time.Now())
				for _, e := range entries {
					switch e.Kind {
					case revocation.KindSession:
						if !late.Has(e.Session) {
							t.Fatalf("session %v is lost", e.Session)
						}
					case revocation.KindSubject:
						if late.SubjectNotBefore(e.Subject) != now {
							t.Fatal("a subject's not-before is lost")
						}
					}
				}
				if late.AllNotBefore() != now-1 || !late.HasKey("key") {
					t.Fatal("a permanent entry is lost")
				}
				if w.follower.Healing() || second.Healing() {
					t.Fatal("still giving back")
				}
				given := w.follower.Stats().Reappended + second.Stats().Reappended
				if given < uint64(len(entries)) || given > uint64(len(entries))*9/5 {
					t.Fatalf("%d entries were lost, %d were appended again", len(entries), given)
				}
			})
		})
	}
}

// TestFollowerGivesBackWhatMatters: an entry about to expire is not worth the risk that the log refuses all of them for it.
func TestFollowerGivesBackWhatMatters(t *testing.T) {
	start(t, func(w *world, cfg *revocation.FollowerConfig) { cfg.Log = w.log }, func(t *testing.T, w *world) {
		w.after(3 * time.Second)
		w.revoke(1)
		w.after(50 * time.Second)
		young := w.revoke(2)
		w.after(revocation.Horizon - 90*time.Second)
		w.log.Lose()
		w.after(10 * time.Second)
		w.wantRevoked("after the fault", id(1), young)
		if s := w.follower.Stats(); s.Reappended != 1 || w.follower.Healing() {
			t.Fatalf("%d entries given back", s.Reappended)
		}
	})
}

// failing is a log that cannot be written for a while.
type failing struct {
	*memoryLog
	mu   sync.Mutex
	left int
}

func (f *failing) Append(ctx context.Context, entries ...revocation.Entry) (revocation.Appended, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left > 0 {
		f.left--
		return revocation.Appended{}, errDown
	}
	return f.memoryLog.Append(ctx, entries...)
}

func TestFollowerGivesBackLater(t *testing.T) {
	var log failing
	start(t, func(w *world, cfg *revocation.FollowerConfig) {
		log.memoryLog, log.left = w.log, 3
		cfg.Log = &log
	}, func(t *testing.T, w *world) {
		w.after(3 * time.Second)
		lost := w.revoke(1)
		w.after(time.Second)
		w.log.Lose()
		w.after(15 * time.Second)
		w.wantFresh("after the fault")
		w.wantRevoked("after the fault", lost)
		if s := w.follower.Stats(); s.Reappended != 1 || log.left != 0 || w.follower.Healing() {
			t.Fatalf("appended %d again, %d failures left", s.Reappended, log.left)
		}
	})
}

// strict is a log that refuses entries that are past, as they are by its clock, and what comes with them.
type strict struct {
	*memoryLog
	ahead time.Duration // of its clock
	mu    sync.Mutex
	down  bool
	asked int
}

func (l *strict) Append(ctx context.Context, entries ...revocation.Entry) (revocation.Appended, error) {
	l.mu.Lock()
	l.asked++
	down := l.down
	l.mu.Unlock()
	if down {
		return revocation.Appended{}, errDown
	}
	for _, e := range entries {
		if !e.Permanent() && time.UnixMilli(e.At).Add(revocation.Horizon).Before(time.Now().Add(l.ahead)) {
			return revocation.Appended{}, revocation.ErrPast
		}
	}
	return l.memoryLog.Append(ctx, entries...)
}

// TestFollowerGivesBackNothingPast: what is past by the log's clock, whatever the follower's clock says, keeps nothing else from being given back.
func TestFollowerGivesBackNothingPast(t *testing.T) {
	const old, young = 300, 20
	for _, c := range []struct {
		name  string
		skew  time.Duration // of the follower's clock
		ahead time.Duration // of the log's clock before its records
		past  time.Duration // the age of the old entries
		most  int           // appends
	}{
		{"clocks agree", 0, 0, revocation.Horizon + time.Minute, 2},
		{"follower an hour behind", -time.Hour, 0, revocation.Horizon + time.Minute, 2},
		{"follower an hour ahead", time.Hour, 0, revocation.Horizon + time.Minute, 2},
		{"log refuses more than its records say", 0, 3 * time.Minute, revocation.Horizon - 2*time.Minute, old + young + 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log *strict
			start(t, func(w *world, cfg *revocation.FollowerConfig) {
				log = &strict{memoryLog: w.log, ahead: c.ahead}
				cfg.Log, w.skew = log, c.skew
			}, func(t *testing.T, w *world) {
				revoke := func(random uint64, n int) (ids []token.SessionID) {
					now := time.Now().UnixMilli()
					for _, id := range randomIDs(n, random) {
						if _, err := w.log.Append(t.Context(), revocation.Entry{Kind: revocation.KindSession, At: now, Session: id}); err != nil {
							t.Fatal(err)
						}
						ids = append(ids, id)
					}
					return ids
				}
				w.after(3 * time.Second)
				revoke(1, old)
				w.after(c.past)
				lost := revoke(2, young)
				w.after(time.Second)
				log.mu.Lock()
				log.down, log.asked = true, 0
				log.mu.Unlock()
				w.log.Lose()
				w.after(5 * time.Second)
				if s := w.follower.Stats(); !errors.Is(s.LastError, errDown) {
					t.Errorf("while nothing can be given back the last error is %v", s.LastError)
				}
				log.mu.Lock()
				log.down, log.asked = false, 0
				log.mu.Unlock()
				w.after(5 * time.Second)
				if s := w.follower.Stats(); s.Reappended != young || s.LastError != nil || w.follower.Healing() {
					t.Errorf("%d entries given back, want %d; last error %v, still at it %v", s.Reappended, young, s.LastError, w.follower.Healing())
				}
				late := newList(t, revocation.ListConfig{})
				f, err := revocation.NewFollower(revocation.FollowerConfig{List: late})
				if err != nil {
					t.Fatal(err)
				}
				b, err := w.log.Read(t.Context(), "", 0)
				if err != nil {
					t.Fatal(err)
				}
				f.Apply(b, time.Now())
				for _, id := range lost {
					if !late.Has(id) {
						t.Fatal("an entry that matters is lost")
					}
				}
				if log.asked > c.most {
					t.Errorf("appended %d times, want at most %d", log.asked, c.most)
				}
			})
		})
	}
}

func TestFollowerPermanent(t *testing.T) {
	start(t, nil, func(t *testing.T, w *world) {
		w.after(3 * time.Second)
		now := time.Now().UnixMilli()
		for _, e := range []revocation.Entry{{Kind: revocation.KindAll, At: now, NotBefore: now}, {Kind: revocation.KindKey, At: now, KeyID: "key"}} {
			if _, err := w.log.Append(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		w.after(2 * revocation.Horizon)
		late := newList(t, revocation.ListConfig{})
		f, err := revocation.NewFollower(revocation.FollowerConfig{List: late})
		if err != nil {
			t.Fatal(err)
		}
		b, err := w.log.Read(t.Context(), "", 0)
		if err != nil {
			t.Fatal(err)
		}
		b.Records = b.Records[len(b.Records)-1:] // the rest was trimmed long ago
		f.Apply(b, time.Now())
		for name, list := range map[string]*revocation.List{"this list": w.list, "a new one": late} {
			if list.AllNotBefore() != now || !list.HasKey("key") {
				t.Errorf("%s has forgotten what is permanent", name)
			}
		}
	})
}

func TestFollowTwice(t *testing.T) {
	start(t, nil, func(t *testing.T, w *world) {
		w.after(time.Second)
		if err := w.follower.Follow(t.Context()); err == nil || t.Context().Err() != nil {
			t.Fatalf("a second Follow at once: %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		log := newLog(nil)
		list := newList(t, revocation.ListConfig{})
		f, err := revocation.NewFollower(revocation.FollowerConfig{Source: log, List: list})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // one after the other is fine
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			if err := f.Follow(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			if err := f.Ready(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("ready without a log: %v", err)
			}
			cancel()
		}
	})
}

// TestReadySaysWhy: whoever waited in vain is told what for, and finds the errors.
func TestReadySaysWhy(t *testing.T) {
	refused := errors.New("connection refused")
	for name, c := range map[string]struct {
		begin func(*memoryLog) // nil: nobody follows
		want  string
		read  error
	}{
		"nobody follows":            {nil, "log not read yet; Follow is not running", nil},
		"the log cannot be reached": {func(log *memoryLog) { log.Cut(refused) }, "log not read yet; the last read: connection refused", refused},
		"nobody writes to the log":  {func(*memoryLog) {}, "log has no epoch: nobody has begun it, or it is not the one that the application writes to", nil},
		"the log has no heartbeat":  {func(log *memoryLog) { log.Append(t.Context()) }, "nothing newer than the start of following", nil},
		"the log's clock is ahead": {func(log *memoryLog) {
			log.now = func() time.Time { return time.Now().Add(time.Hour) }
			log.Append(t.Context())
			time.AfterFunc(time.Second, func() { log.Append(t.Context()) })
		}, "newest record in the future", nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := newLog(nil)
				f, err := revocation.NewFollower(revocation.FollowerConfig{Source: log, List: newList(t, revocation.ListConfig{})})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				following, stop := context.WithCancel(t.Context())
				var running sync.WaitGroup
				if c.begin != nil {
					c.begin(log)
					running.Go(func() { f.Follow(following) })
				}
				err = f.Ready(ctx)
				if want := "revocation: not ready: " + c.want + "; context deadline exceeded"; err == nil || err.Error() != want {
					t.Errorf("got %q, want %q", err, want)
				}
				if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, refused) != (c.read != nil) {
					t.Errorf("what it wraps is wrong: %v", err)
				}
				stop()
				running.Wait()
			})
		})
	}
}

// TestFollowerHook: the hook may ask the follower what it has just heard of.
func TestFollowerHook(t *testing.T) {
	var heard atomic.Int64
	start(t, func(w *world, cfg *revocation.FollowerConfig) {
		cfg.Events = revocation.EventFunc(func(e revocation.Event) {
			if w.follower.Stats().Entries > 0 && e.Kind.String() != "unknown" && !e.Time.IsZero() {
				heard.Add(1)
			}
		})
	}, func(t *testing.T, w *world) {
		w.after(3 * time.Second)
		w.revoke(1)
		w.quiet(true)
		w.after(15 * time.Second)
		if heard.Load() != 2 {
			t.Fatalf("heard %d events, want a revocation and that the list is stale", heard.Load())
		}
	})
}

func TestNewFollowerRefuses(t *testing.T) {
	good := revocation.FollowerConfig{Source: newLog(nil), List: newList(t, revocation.ListConfig{})}
	for name, change := range map[string]func(*revocation.FollowerConfig){
		"no list":            func(c *revocation.FollowerConfig) { c.List = nil },
		"negative wait":      func(c *revocation.FollowerConfig) { c.Wait = -1 },
		"long wait":          func(c *revocation.FollowerConfig) { c.Wait = time.Minute },
		"negative MaxStale":  func(c *revocation.FollowerConfig) { c.MaxStale = -1 },
		"unlimited MaxStale": func(c *revocation.FollowerConfig) { c.MaxStale = 1<<63 - 1 },
		"negative leeway":    func(c *revocation.FollowerConfig) { c.Leeway = -1 },
	} {
		cfg := good
		change(&cfg)
		if f, err := revocation.NewFollower(cfg); err == nil || f != nil {
			t.Errorf("%s: made %v, %v", name, f, err)
		}
	}
	f, err := revocation.NewFollower(revocation.FollowerConfig{List: good.List})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Follow(t.Context()); err == nil {
		t.Error("followed nothing")
	}
}
