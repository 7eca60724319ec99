package revocation_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

// origin is an Asker that takes time, and that can be asked what happened to it.
type origin struct {
	mu    sync.Mutex
	takes time.Duration
	err   error
	dead  map[token.SessionID]bool
	asked int
	now   int // questions under way
	most  int
	hangs bool // until the context ends
}

func (o *origin) Ask(ctx context.Context, v token.Verified) (revocation.Answer, error) {
	o.mu.Lock()
	o.asked++
	o.now++
	o.most = max(o.most, o.now)
	answer, err, takes, hangs := revocation.Answer{Live: !o.dead[v.Session()]}, o.err, o.takes, o.hangs
	o.mu.Unlock()
	defer func() {
		o.mu.Lock()
		o.now--
		o.mu.Unlock()
	}()
	if hangs {
		<-ctx.Done()
		return answer, ctx.Err()
	}
	time.Sleep(takes)
	return answer, err
}

func (o *origin) set(change func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change()
}

func (o *origin) reset() (asked int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	asked, o.asked = o.asked, 0
	return asked
}

// stampede runs a check for each session at once and returns how they ended.
func stampede(f *fixture, ctx context.Context, raw []string) map[string]int {
	var mu sync.Mutex
	outcomes := map[string]int{}
	var checks sync.WaitGroup
	for _, r := range raw {
		checks.Go(func() {
			_, err := f.guard.Check(ctx, r)
			mu.Lock()
			defer mu.Unlock()
			outcomes[outcome(err)]++
		})
	}
	checks.Wait()
	return outcomes
}

// asking runs f in a bubble with a strict guard whose list is stale, and tokens of n sessions.
func asking(t *testing.T, n int, run func(t *testing.T, f *fixture, o *origin, raw []string)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := &origin{takes: 10 * time.Millisecond, dead: map[token.SessionID]bool{}}
		began := time.Now()
		var f *fixture
		f = newFixture(t, revocation.GuardConfig{Ask: o, Now: func() time.Time { return f.Clock.Now().Add(time.Since(began)) }})
		var raw []string
		for _, session := range randomIDs(n, 1) {
			raw = append(raw, f.Mint(token.Claims{Session: session}))
		}
		f.Clock.Add(time.Minute)
		run(t, f, o, raw)
	})
}

func TestAskOncePerSession(t *testing.T) {
	asking(t, 1, func(t *testing.T, f *fixture, o *origin, raw []string) {
		many := make([]string, 1000)
		for i := range many {
			many[i] = raw[0]
		}
		got := stampede(f, t.Context(), many)
		if got["ok"] != 1000 {
			t.Fatalf("%v", got)
		}
		// One for the first, one for all who came while it was under way.
		if asked := o.reset(); asked != 2 || o.most != 1 {
			t.Fatalf("asked %d times, %d at once", asked, o.most)
		}
		if n := f.guard.Flights(); n != 0 {
			t.Fatalf("%d flights are left", n)
		}
	})
}

// TestAskNeverOlder: a check never goes by an answer to a question that was sent before it.
func TestAskNeverOlder(t *testing.T) {
	asking(t, 1, func(t *testing.T, f *fixture, o *origin, raw []string) {
		o.takes = 100 * time.Millisecond
		session := randomIDs(1, 1)[0]
		var first, second error
		var checks sync.WaitGroup
		checks.Go(func() { _, first = f.guard.Check(t.Context(), raw[0]) })
		time.Sleep(50 * time.Millisecond)
		o.set(func() { o.dead[session] = true }) // revoked while the question is under way, and acknowledged
		checks.Go(func() { _, second = f.guard.Check(t.Context(), raw[0]) })
		checks.Wait()
		if first != nil || outcome(second) != "revoked" {
			t.Fatalf("before the revocation %v, after it %v", first, second)
		}
	})
}

func TestAskBounded(t *testing.T) {
	asking(t, 2000, func(t *testing.T, f *fixture, o *origin, raw []string) {
		got := stampede(f, t.Context(), raw)
		if o.most > 128 {
			t.Fatalf("%d questions at once", o.most)
		}
		if got["ok"] != len(raw) {
			t.Fatalf("a quick origin answers all: %v", got)
		}
		o.set(func() { o.takes = 300 * time.Millisecond })
		began := time.Now()
		got = stampede(f, t.Context(), raw)
		if took := time.Since(began); took > time.Second {
			t.Fatalf("checks took %v", took)
		}
		if got["ok"] < 128 || got["ok"]+got["stale"] != len(raw) {
			t.Fatalf("a slow origin answers some, the others are refused: %v", got)
		}
	})
}

func TestAskDeadline(t *testing.T) {
	asking(t, 1, func(t *testing.T, f *fixture, o *origin, raw []string) {
		o.hangs = true
		began := time.Now()
		_, err := f.guard.Check(t.Context(), raw[0])
		if took := time.Since(began); outcome(err) != "stale" || !errors.Is(err, context.DeadlineExceeded) || took != 500*time.Millisecond {
			t.Fatalf("%v after %v", err, took)
		}
		if got := err.Error(); got != "revocation: cannot tell whether the token is revoked: list too old, nobody answered" {
			t.Fatalf("%q", got)
		}
	})
}

// TestAskCallerGivesUp: the others still have their answer.
func TestAskCallerGivesUp(t *testing.T) {
	asking(t, 1, func(t *testing.T, f *fixture, o *origin, raw []string) {
		o.takes = 100 * time.Millisecond
		ctx, cancel := context.WithCancel(t.Context())
		var errs [4]error
		var checks sync.WaitGroup
		check := func(i int, ctx context.Context) {
			checks.Go(func() { _, errs[i] = f.guard.Check(ctx, raw[0]) })
			synctest.Wait()
		}
		check(0, ctx)         // asks
		check(1, ctx)         // would ask next
		check(2, t.Context()) // waits with it
		check(3, t.Context())
		time.Sleep(10 * time.Millisecond)
		cancel()
		checks.Wait()
		if errs[0] != nil || outcome(errs[1]) != "stale" || errs[2] != nil || errs[3] != nil {
			t.Fatalf("%v", errs)
		}
		if asked := o.reset(); asked != 2 {
			t.Fatalf("asked %d times", asked)
		}
		// All who waited for the next one give up: nothing of it is left, and the next check asks for itself.
		ctx, cancel = context.WithCancel(t.Context())
		check(0, t.Context())
		check(1, ctx)
		cancel()
		checks.Wait()
		check(0, t.Context())
		checks.Wait()
		if asked := o.reset(); asked != 2 || errs[0] != nil {
			t.Fatalf("asked %d times, %v", asked, errs[0])
		}
		if n := f.guard.Flights(); n != 0 {
			t.Fatalf("%d flights are left", n)
		}
	})
}

// TestAskLastToLeave: a question that nobody waits for any more is not sent, and nothing of it is left.
func TestAskLastToLeave(t *testing.T) {
	asking(t, 1, func(t *testing.T, f *fixture, o *origin, raw []string) {
		o.hangs = true
		var checks sync.WaitGroup
		for i := range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(100+i)*time.Millisecond)
			defer cancel()
			checks.Go(func() { f.guard.Check(ctx, raw[0]) })
			synctest.Wait()
		}
		checks.Wait()
		if n := f.guard.Flights(); n != 0 || o.reset() != 1 {
			t.Fatalf("%d flights are left", n)
		}
	})
}

func TestAskBreaker(t *testing.T) {
	asking(t, 500, func(t *testing.T, f *fixture, o *origin, raw []string) {
		o.set(func() { o.err = errDown })
		one := func() string {
			_, err := f.guard.Check(t.Context(), raw[0])
			return outcome(err)
		}
		for range 5 {
			if got := one(); got != "stale" {
				t.Fatal(got)
			}
		}
		if asked := o.reset(); asked != 5 {
			t.Fatalf("asked %d times", asked)
		}
		// Open: nobody is asked, and nobody waits.
		began := time.Now()
		if got := stampede(f, t.Context(), raw); got["stale"] != len(raw) || time.Since(began) > 0 {
			t.Fatalf("%v after %v", got, time.Since(began))
		}
		if asked := o.reset(); asked != 0 {
			t.Fatalf("asked %d times with the breaker open", asked)
		}
		// A stampede against an origin that stays down reaches it a few times in a minute.
		for range 120 {
			stampede(f, t.Context(), raw)
			time.Sleep(500 * time.Millisecond)
		}
		if asked := o.reset(); asked < 5 || asked > 15 {
			t.Fatalf("asked %d times in a minute", asked)
		}
		// It comes back: one trial, then all of them.
		o.set(func() { o.err = nil })
		time.Sleep(9 * time.Second)
		stampede(f, t.Context(), raw)
		o.reset()
		if got := stampede(f, t.Context(), raw); got["ok"] != len(raw) {
			t.Fatalf("%v", got)
		}
		if s := f.guard.Stats(); s.Asked < 500 || s.AskFailed < 500 || s.Stale != s.AskFailed {
			t.Fatalf("%+v", s)
		}
	})
}

// TestAskBreakerClockSetBack: a clock that is set back does not keep the breaker open for as long as it was set back by.
func TestAskBreakerClockSetBack(t *testing.T) {
	a := &answer{err: errDown}
	f := newFixture(t, revocation.GuardConfig{Ask: a})
	raw := f.Mint(token.Claims{})
	f.Clock.Add(4 * time.Minute) // the list is stale, whatever is taken from that
	check := func() string {
		_, err := f.guard.Check(t.Context(), raw)
		return outcome(err)
	}
	for range 10 {
		if got := check(); got != "stale" {
			t.Fatal(got)
		}
	}
	if a.asked != 5 {
		t.Fatalf("asked %d times: the breaker is not open", a.asked)
	}
	a.Answer, a.err = revocation.Answer{Live: true}, nil
	f.Clock.Add(-100 * time.Millisecond)
	if got := check(); got != "stale" || a.asked != 5 {
		t.Fatalf("a moment back: %s, asked %d times", got, a.asked)
	}
	f.Clock.Add(-3 * time.Minute)
	if got := check(); got != "ok" || a.asked != 6 {
		t.Fatalf("minutes back: %s, asked %d times", got, a.asked)
	}
}

// TestAskPanic: an asker that panics does so for its own check only.
func TestAskPanic(t *testing.T) {
	var calls atomic.Int32
	f := newFixture(t, revocation.GuardConfig{Policy: revocation.Paranoid, Ask: revocation.AskFunc(
		func(context.Context, token.Verified) (revocation.Answer, error) {
			if calls.Add(1) == 1 {
				panic("asker")
			}
			return revocation.Answer{Live: true}, nil
		})})
	raw := f.Mint(token.Claims{})
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		f.guard.Check(t.Context(), raw)
	}()
	if _, err := f.guard.Check(t.Context(), raw); err != nil {
		t.Fatal(err)
	}
}

func TestAskNobody(t *testing.T) {
	f := newFixture(t, revocation.GuardConfig{})
	raw := f.Mint(token.Claims{})
	f.Clock.Add(time.Minute)
	_, err := f.guard.Check(t.Context(), raw)
	if outcome(err) != "stale" || revocation.Reason(err) != "list too old" {
		t.Fatal(err)
	}
	_, err = f.guard.CheckPolicy(t.Context(), raw, revocation.Paranoid)
	if outcome(err) != "stale" {
		t.Fatal(err)
	}
}
