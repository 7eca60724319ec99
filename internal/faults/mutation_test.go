package faults_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/faults"
	"github.com/counterfoil/counterfoil/internal/redistest"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/store"
)

// liar is a store whose End says that it has ended what it has not, whose log takes nothing but heartbeats, whose loads answer another's data, or whose
// census has everybody confirm everything.
type liar struct {
	*store.Redis
	ends, forgets, mixes, confirms bool
	last                           atomic.Pointer[counterfoil.Record]
}

func (l *liar) Holding(ctx context.Context, at revocation.Position, e revocation.Entry) ([]revocation.Progress, bool, error) {
	list, holds, err := l.Redis.Holding(ctx, at, e)
	for i := range list {
		if l.confirms {
			list[i].Position, list[i].Silent = revocation.Position(fmt.Sprintf("%d-0", time.Now().Add(time.Hour).UnixMilli())), 0
			list[i].Apart = false
		}
	}
	return list, holds || l.confirms, err
}

func (l *liar) End(ctx context.Context, e counterfoil.Ending) (counterfoil.Ended, error) {
	if l.ends && e.Subject == "" {
		return counterfoil.Ended{At: time.Now().UnixMilli()}, nil
	}
	return l.Redis.End(ctx, e)
}

func (l *liar) Append(ctx context.Context, entries ...revocation.Entry) (revocation.Appended, error) {
	if l.forgets && len(entries) > 0 {
		return revocation.Appended{Position: "1-0", Now: time.Now().UnixMilli()}, nil
	}
	return l.Redis.Append(ctx, entries...)
}

func (l *liar) Load(ctx context.Context, ref counterfoil.Ref) (counterfoil.Record, error) {
	r, err := l.Redis.Load(ctx, ref)
	if !l.mixes || err != nil {
		return r, err
	}
	if other := l.last.Swap(&r); other != nil { // of a load before
		return *other, nil
	}
	return r, nil
}

// TestBrokenIsFound has parts lie that the promises stand on. Each lie must be found, in its own column.
func TestBrokenIsFound(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		begin func(*run)
		after time.Duration
		found func(faults.Row) int
		says  string // a line that the row must have
	}{
		{"a verifier that goes by a frozen list (BestEffort)", func(r *run) {
			r.follow = func(_ *revocation.FollowerConfig, g *revocation.GuardConfig, name string) {
				if name == "edge 1" {
					g.Policy = revocation.BestEffort
				}
			}
			_, b := r.solo(redistest.Options{})
			r.begin(b, true)
			r.named("edge 1").gate.Shut()
		}, 4 * time.Second, func(row faults.Row) int { return min(row.Late, row.Lost) }, "edge 1 accepted a session"},
		{"a store that ends nothing, and tells nobody", func(r *run) { // one that only ended nothing would be mended by the list
			r.forgetful = true
			r.lie = func(s *store.Redis) counterfoil.Store { return &liar{Redis: s, ends: true, forgets: true} }
			_, b := r.solo(redistest.Options{})
			r.begin(b, true)
		}, time.Second, func(row faults.Row) int { return min(row.Late, row.Lost) }, "lost: edge 1 accepts the token"},
		{"a log that takes no revocations", func(r *run) {
			r.forgetful = true
			r.lie = func(s *store.Redis) counterfoil.Store { return &liar{Redis: s, forgets: true} }
			_, b := r.solo(redistest.Options{})
			r.begin(b, true)
		}, 2 * time.Second, func(row faults.Row) int { return min(row.Late, row.Lost) }, "has no order that keeps the promises"},
		{"a follower that confirms what it does not know", func(r *run) {
			r.lie = func(s *store.Redis) counterfoil.Store { return &liar{Redis: s, confirms: true} }
			_, b := r.solo(redistest.Options{})
			r.begin(b, true)
			r.named("edge 1").gate.Shut()
		}, 2 * time.Second, func(row faults.Row) int { return row.Late }, "accepted a session after it had confirmed"},
		{"loads that answer another's data", func(r *run) {
			r.lie = func(s *store.Redis) counterfoil.Store {
				return &liar{Redis: s, mixes: true}
			}
			_, b := r.solo(redistest.Options{})
			r.begin(b, true)
		}, time.Second, func(row faults.Row) int { return row.Mixed }, "mixed up"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRun(t, tc.name)
			tc.begin(r)
			r.hold(tc.after)
			row := r.finish()
			if tc.found(row) == 0 || !row.Failed() {
				t.Errorf("not found: %d lost, %d late, %d mixed up", row.Lost, row.Late, row.Mixed)
			}
			if all := strings.Join(row.Broken, "\n"); !strings.Contains(all, tc.says) {
				t.Errorf("nothing said that %q:\n%s", tc.says, all)
			}
		})
	}
}

// TestNotWhole shows that a system which does not come back is found.
func TestNotWhole(t *testing.T) {
	t.Parallel()
	r := newRun(t, "a server that stays away")
	s, b := r.solo(redistest.Options{})
	r.begin(b, true)
	s.Kill()
	r.patience = 2 * time.Second
	r.heal()
	row := r.finish()
	if !row.Failed() || !strings.Contains(strings.Join(row.Broken, "\n"), "not whole again") {
		t.Errorf("got %+v", row)
	}
}

// TestOracle puts single calls to the oracle.
func TestOracle(t *testing.T) {
	edge, record := faults.Where{Name: "edge", Bound: time.Minute}, faults.Where{Name: "record"}
	now := time.Now()
	for _, tc := range []struct {
		name  string
		calls func(o *faults.Oracle, s *faults.Session)
		late  int
		order bool // the history has one
	}{
		{"accepted before the end", func(o *faults.Oracle, s *faults.Session) {
			o.Used(s, record, now, faults.Accepted)
			o.Ended(s, time.Now(), faults.Acknowledged)
		}, 0, true},
		{"accepted within the bound", func(o *faults.Oracle, s *faults.Session) {
			o.Ended(s, time.Now(), faults.Acknowledged)
			o.Used(s, edge, time.Now().Add(59*time.Second), faults.Accepted)
		}, 0, true},
		{"accepted beyond the bound", func(o *faults.Oracle, s *faults.Session) {
			o.Ended(s, time.Now(), faults.Acknowledged)
			o.Used(s, faults.Where{Name: "edge", Bound: time.Nanosecond}, time.Now(), faults.Accepted)
		}, 1, false},
		{"loaded after the end", func(o *faults.Oracle, s *faults.Session) {
			o.Ended(s, time.Now(), faults.Acknowledged)
			o.Used(s, record, time.Now(), faults.Accepted)
		}, 1, false},
		{"loaded after an end that was not acknowledged", func(o *faults.Oracle, s *faults.Session) {
			o.Ended(s, time.Now(), faults.Failed)
			o.Used(s, record, time.Now(), faults.Accepted)
		}, 0, true},
		{"loaded after all of the subject's ended", func(o *faults.Oracle, s *faults.Session) {
			o.EndedAll(s.Subject, time.Now(), faults.Acknowledged)
			o.Used(s, record, time.Now(), faults.Accepted)
		}, 1, false},
		{"loaded after all of another subject's ended", func(o *faults.Oracle, s *faults.Session) {
			o.EndedAll("bob", time.Now(), faults.Acknowledged)
			o.Used(s, record, time.Now(), faults.Accepted)
		}, 0, true},
		{"refused here and then accepted there, while an end is half done", func(o *faults.Oracle, s *faults.Session) {
			o.Used(s, record, time.Now(), faults.Refused)
			o.Ended(s, now, faults.Failed)
			o.Used(s, record, time.Now(), faults.Accepted)
		}, 0, true},
		{"loaded after an end that is excused", func(o *faults.Oracle, s *faults.Session) {
			o.Excuse(now, time.Now().Add(time.Minute))
			o.Ended(s, time.Now(), faults.Acknowledged)
			o.Used(s, record, time.Now(), faults.Accepted)
		}, 0, true},
		{"loaded after an end before what is excused", func(o *faults.Oracle, s *faults.Session) {
			o.Ended(s, time.Now(), faults.Acknowledged)
			o.Excuse(time.Now(), time.Now().Add(time.Minute))
			o.Used(s, record, time.Now(), faults.Accepted)
		}, 1, false},
		{"accepted by who has confirmed", func(o *faults.Oracle, s *faults.Session) {
			o.Confirmed(s, "edge", faults.Accepted)
			o.Ended(s, time.Now(), faults.Acknowledged)
		}, 1, true},
		{"refused before the end", func(o *faults.Oracle, s *faults.Session) {
			o.Used(s, record, time.Now(), faults.Refused)
			o.Ended(s, time.Now(), faults.Acknowledged)
		}, 0, false},
		{"accepted after it was refused", func(o *faults.Oracle, s *faults.Session) {
			called := time.Now()
			o.Used(s, record, time.Now(), faults.Refused)
			o.Used(s, record, time.Now(), faults.Accepted)
			o.Ended(s, called, faults.Acknowledged)
		}, 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := faults.NewOracle(time.Minute, true)
			tc.calls(o, o.Begun("alice", now))
			_, broken := o.CheckHistories(10 * time.Second)
			if c := o.Counts(); c.Late != tc.late || (len(broken) == 0) != tc.order {
				t.Errorf("%d late, histories %q", c.Late, broken)
			}
		})
	}
}
