package revocation_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/counterfoil/counterfoil/revocation"
)

// reportedLog is a log that takes reports.
type reportedLog struct {
	*memoryLog
	mu      sync.Mutex
	reports []reported
	err     error
	hangs   bool
	knows   func() bool // asked at each report
}

type reported struct {
	name string
	at   revocation.Position
	when time.Time
	age  time.Duration
	knew bool
}

func (l *reportedLog) Report(ctx context.Context, follower string, at revocation.Position, age time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reports = append(l.reports, reported{follower, at, time.Now(), age, l.knows != nil && l.knows()})
	if l.hangs {
		l.mu.Unlock()
		<-ctx.Done()
		l.mu.Lock()
		return ctx.Err()
	}
	return l.err
}

// all returns the reports since the last call.
func (l *reportedLog) all() []reported {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.reports
	l.reports = nil
	return all
}

func (l *reportedLog) fail(err error, hangs bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err, l.hangs = err, hangs
}

// startReporting is start for a follower of the name "edge".
func startReporting(t *testing.T, f func(t *testing.T, w *world, log *reportedLog)) {
	t.Helper()
	var log *reportedLog
	start(t, func(w *world, cfg *revocation.FollowerConfig) {
		log = &reportedLog{memoryLog: w.log}
		cfg.Source, cfg.Name = log, "edge"
	}, func(t *testing.T, w *world) { f(t, w, log) })
}

func last(reports []reported) reported {
	if len(reports) == 0 {
		return reported{}
	}
	return reports[len(reports)-1]
}

func TestFollowerReports(t *testing.T) {
	startReporting(t, func(t *testing.T, w *world, log *reportedLog) {
		w.after(3 * time.Second)
		name := w.follower.Name()
		if !strings.HasPrefix(name, "edge/") || len(name) < len("edge/")+8 {
			t.Errorf("the follower is called %q", name)
		}
		for _, r := range log.all() {
			if r.name != name {
				t.Errorf("reported as %q", r.name)
			}
		}
		// News is reported at once.
		w.after(300 * time.Millisecond)
		log.all()
		w.revoke(1)
		synctest.Wait()
		content := w.log.Content().records
		if got := last(log.all()).at; got != content[len(content)-1].Position {
			t.Errorf("reported %q, the newest is %q", got, content[len(content)-1].Position)
		}
		// Much news is reported together, and the last of it soon.
		began := time.Now()
		for i := range 200 {
			w.revoke(byte(i))
			time.Sleep(5 * time.Millisecond)
		}
		content = w.log.Content().records
		newest, wrote := content[len(content)-1].Position, time.Now()
		w.after(400 * time.Millisecond)
		all := log.all()
		if n := len(all); n < 5 || n > 15 {
			t.Errorf("%d reports in %v", n, time.Since(began))
		}
		told := false
		for _, r := range all {
			if !told && number(r.at) >= number(newest) {
				told = true
				if late := r.when.Sub(wrote); late > 110*time.Millisecond {
					t.Errorf("the last position was reported %v later", late)
				}
			}
		}
		if !told {
			t.Error("the last position was never reported")
		}
		if s := w.follower.Stats(); s.Reported == 0 || s.Unreported != 0 {
			t.Errorf("%+v", s)
		}
		// A log that is silent does not make a follower silent.
		w.quiet(true)
		w.after(revocation.Live)
		if all := log.all(); len(all) < 2 {
			t.Errorf("%d reports in half a minute without news", len(all))
		}
	})
}

// Whoever ends is not to be waited for.
func TestFollowerLeaves(t *testing.T) {
	var log *reportedLog
	startReporting(t, func(t *testing.T, w *world, l *reportedLog) {
		log = l
		w.after(3 * time.Second)
	})
	if got := last(log.all()); got.at != "" || got.name == "" {
		t.Errorf("the last report is %+v, want one that says nothing follows", got)
	}
}

// Reports that fail never stop a follower, and are not tried all the time.
func TestFollowerReportsFail(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		startReporting(t, func(t *testing.T, w *world, log *reportedLog) {
			w.after(3 * time.Second)
			log.fail(errors.New("no"), hangs)
			log.all()
			w.after(time.Minute)
			w.wantFresh("while reports fail")
			if n := len(log.all()); n == 0 || n > 20 {
				t.Errorf("hangs %v: %d reports in a minute", hangs, n)
			}
			id := w.revoke(1)
			w.after(1500 * time.Millisecond)
			w.wantRevoked("while reports fail", id)
			log.fail(nil, false)
			w.after(15 * time.Second)
			log.all()
			w.after(2 * time.Second)
			if n := len(log.all()); n < 2 {
				t.Errorf("hangs %v: %d reports in two seconds when they are taken again", hangs, n)
			}
		})
	}
}

// What the list lacks, or does not understand, it does not refuse: the follower stays where it was.
func TestFollowerReportsOnlyWhatItHas(t *testing.T) {
	startReporting(t, func(t *testing.T, w *world, log *reportedLog) {
		w.after(3 * time.Second)
		before := last(log.all()).at
		entry := append([]byte{'?'}, make([]byte, 8)...)
		for i, b := 0, uint64(time.Now().UnixMilli()); i < 8; i++ {
			entry[8-i] = byte(b >> (8 * i))
		}
		w.log.AppendRecord(revocation.Record{Entry: entry})
		w.after(15 * time.Second)
		all := log.all()
		for _, r := range all {
			if number(r.at) > number(before)+1 { // a heartbeat may have come before the entry
				t.Fatalf("reported %q with an entry that nobody here understands; before it was %q", r.at, before)
			}
		}
		if len(all) == 0 {
			t.Error("it counts as silent")
		}
		w.after(revocation.Horizon + time.Minute)
		if got := last(log.all()).at; number(got) <= number(before)+1 {
			t.Errorf("once that has expired: %q", got)
		}
	})
	t.Run("full", func(t *testing.T) {
		var log *reportedLog
		start(t, func(w *world, cfg *revocation.FollowerConfig) {
			log = &reportedLog{memoryLog: w.log}
			w.list = newList(t, revocation.ListConfig{Max: 2})
			cfg.Source, cfg.List, cfg.Name = log, w.list, "edge"
		}, func(t *testing.T, w *world) {
			w.after(3 * time.Second)
			for i := range 3 {
				w.revoke(byte(i))
			}
			content := w.log.Content().records
			newest := content[len(content)-1].Position
			w.after(5 * time.Second)
			if got := last(log.all()).at; number(got) >= number(newest) {
				t.Errorf("reported %q with a list that was full before %q", got, newest)
			}
		})
	})
}

// TestFollowerReportsItsNews takes the log back to before what the follower has read, on a node whose clock is behind, and revokes something there under a position
// that the follower is past. Whatever it reports then is not younger than that revocation, unless it has it: a report counts for what was revoked before
// its news came.
func TestFollowerReportsItsNews(t *testing.T) {
	for _, c := range []struct {
		name  string
		beat  time.Duration
		fails bool // reports do, before
		more  int  // heartbeats after the revocation
		wait  time.Duration
	}{
		{"a report that failed is tried again", revocation.Heartbeat, true, 0, 10 * time.Second},
		{"what was said is said again", 12 * time.Second, false, 0, 40 * time.Second},
		{"the log is read past the fork", revocation.Heartbeat, true, 8, 10 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			startReporting(t, func(t *testing.T, w *world, log *reportedLog) {
				w.set(func() { w.beat = c.beat })
				w.after(4*c.beat + 100*time.Millisecond)
				content := w.log.Content()
				for i := range 5 {
					w.revoke(byte(10 + i))
				}
				w.after(c.beat)
				if c.fails {
					log.fail(errors.New("no"), false)
					w.revoke(20)
					w.after(0)
				}
				w.quiet(true)
				w.after(100 * time.Millisecond)
				log.all()
				w.log.Rewind(content)
				w.after(100 * time.Millisecond)
				missed := time.Now()
				lost := w.revoke(1)
				log.mu.Lock()
				log.knows = func() bool { return w.list.Has(lost) }
				log.mu.Unlock()
				records := w.log.Content().records
				at := records[len(records)-1].Position
				log.fail(nil, false)
				for range c.more {
					w.log.Append(t.Context())
				}
				w.after(c.wait - time.Second)
				w.quiet(false)
				w.after(c.beat + c.wait)
				early, good := 0, 0
				for _, r := range log.all() {
					confirms := number(r.at) >= number(at) && !r.when.Add(-r.age).Before(missed)
					switch {
					case r.knew && confirms:
						good++
					case confirms:
						t.Errorf("reported %q, known for %v, %v after it lost %q without hearing of it", r.at, r.age, r.when.Sub(missed), at)
					case number(r.at) >= number(at):
						early++
					}
				}
				if good == 0 {
					t.Error("when it has heard of it, it does not say so")
				}
				if early == 0 && c.more == 0 {
					t.Error("it reported nothing meanwhile: this shows nothing")
				}
			})
		})
	}
}

func TestFollowerName(t *testing.T) {
	log := &reportedLog{memoryLog: newLog(nil)}
	names := map[string]bool{}
	for range 100 {
		f, err := revocation.NewFollower(revocation.FollowerConfig{Source: log, List: newList(t, revocation.ListConfig{}), Name: "a.B-9_"})
		if err != nil {
			t.Fatal(err)
		}
		names[f.Name()] = true
	}
	if len(names) != 100 {
		t.Errorf("100 followers of one name have %d names", len(names))
	}
	for _, bad := range []string{"a b", "a/b", "é", "a\n", strings.Repeat("x", 65)} {
		if _, err := revocation.NewFollower(revocation.FollowerConfig{Source: log, List: newList(t, revocation.ListConfig{}), Name: bad}); err == nil {
			t.Errorf("the name %q was accepted", bad)
		}
	}
	f, err := revocation.NewFollower(revocation.FollowerConfig{Source: log, List: newList(t, revocation.ListConfig{})})
	if err != nil || f.Name() != "" {
		t.Errorf("without a name: %q, %v", f.Name(), err)
	}
}

// What is in the log is done, also if too few replicas have it: otherwise a healer would append for as long as one of them is down.
func TestHealWithoutReplicas(t *testing.T) {
	short := &shortLog{}
	start(t, func(w *world, cfg *revocation.FollowerConfig) {
		short.memoryLog = w.log
		cfg.Log = short
	}, func(t *testing.T, w *world) {
		w.after(3 * time.Second)
		ids := []byte{1, 2, 3}
		for _, b := range ids {
			w.revoke(b)
		}
		w.after(time.Second)
		w.log.Lose()
		w.after(time.Minute)
		if n := w.follower.Stats().Reappended; n != 3 {
			t.Errorf("%d entries appended again, want 3", n)
		}
		if n := short.count(); n != 1 {
			t.Errorf("appended %d times, want once", n)
		}
	})
}

// shortLog has too few replicas.
type shortLog struct {
	*memoryLog
	mu sync.Mutex
	n  int
}

func (l *shortLog) count() int { l.mu.Lock(); defer l.mu.Unlock(); return l.n }

func (l *shortLog) Append(ctx context.Context, entries ...revocation.Entry) (revocation.Appended, error) {
	l.mu.Lock()
	l.n++
	l.mu.Unlock()
	a, err := l.memoryLog.Append(ctx, entries...)
	if err == nil {
		err = errors.New("not enough replicas")
	}
	return a, err
}
