package counterfoil_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/rig"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/store/embedded"
	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/issuer"
)

// registry is a log that knows who follows it. What followers report it keeps in memory.
type registry struct {
	*rig.Faults

	mu        sync.Mutex
	followers map[string]report
	behind    map[string]bool // names, without what tells them apart, whose reports get lost
	fails     error
}

type report struct {
	at   revocation.Position
	sent time.Time
}

func (g *registry) Report(_ context.Context, name string, at revocation.Position, age time.Duration) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	short, _, _ := strings.Cut(name, "/")
	switch {
	case g.behind[short]:
	case at == "":
		delete(g.followers, name)
	default:
		g.followers[name] = report{at, time.Now().Add(-age)}
	}
	return nil
}

func (g *registry) Followers(context.Context) ([]revocation.Progress, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fails != nil {
		return nil, g.fails
	}
	var all []revocation.Progress
	for _, name := range slices.Sorted(maps.Keys(g.followers)) {
		f := g.followers[name]
		all = append(all, revocation.Progress{Follower: name, Position: f.at, Silent: time.Since(f.sent)})
	}
	return all, nil
}

// Holding: this log loses nothing.
func (g *registry) Holding(ctx context.Context, _ revocation.Position, _ revocation.Entry) ([]revocation.Progress, bool, error) {
	all, err := g.Followers(ctx)
	return all, true, err
}

func (g *registry) Before(a, b revocation.Position) bool {
	number := func(p revocation.Position) (n [2]uint64) {
		ms, seq, _ := strings.Cut(string(p), "-")
		n[0], _ = strconv.ParseUint(ms, 10, 64)
		n[1], _ = strconv.ParseUint(seq, 10, 64)
		return n
	}
	x, y := number(a), number(b)
	return slices.Compare(x[:], y[:]) < 0
}

func (g *registry) set(change func()) { g.mu.Lock(); defer g.mu.Unlock(); change() }

// counted returns a registry and two processes whose log it is, both of the name "app".
func counted(t *testing.T, change ...func(*counterfoil.Config)) (g *registry, one, two *rig.Rig) {
	t.Helper()
	r := rig.New(t, rig.Embedded, change...)
	g = &registry{Faults: r.Faults, followers: map[string]report{}, behind: map[string]bool{}}
	use := func(c *counterfoil.Config) { c.Log, c.Source, c.Name = g, g, "app" }
	one, two = r.Again(t, use), r.Again(t, use)
	rig.Poll(t, "both follow", func() bool { all, _ := g.Followers(t.Context()); return len(all) == 2 })
	return g, one, two
}

func TestRevokeWaitsUntilAllKnow(t *testing.T) {
	t.Parallel()
	g, one, two := counted(t)
	ctx := t.Context()
	for name, what := range map[string]func(v token.Verified, kept token.SessionID) counterfoil.Revocation{
		"a session": func(v token.Verified, _ token.SessionID) counterfoil.Revocation {
			return counterfoil.Revocation{Session: v.Session()}
		},
		"all but one of a subject": func(_ token.Verified, kept token.SessionID) counterfoil.Revocation {
			return counterfoil.Revocation{Subject: "alice", Keep: kept}
		},
		"all of a subject": func(token.Verified, token.SessionID) counterfoil.Revocation {
			return counterfoil.Revocation{Subject: "alice"}
		},
	} {
		v, tokens := login(t, one, "alice")
		kept, keptTokens := login(t, one, "alice")
		rev := what(v, kept.Session())
		rev.Wait = 10 * time.Second
		done, err := one.Revoke(ctx, rev)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(done.Confirmed) != 2 || len(done.Missing) != 0 || done.Position == "" {
			t.Fatalf("%s: %+v, want two that have confirmed", name, done)
		}
		for _, c := range done.Confirmed {
			if !strings.HasPrefix(c.Follower, "app/") || c.After < 0 || c.After > rev.Wait {
				t.Errorf("%s: confirmed by %+v", name, c)
			}
		}
		if done.Confirmed[0].Follower == done.Confirmed[1].Follower {
			t.Errorf("%s: two processes of one name count as one", name)
		}
		if _, err := two.Guard().Check(ctx, tokens.Access.Reveal()); !errors.Is(err, revocation.ErrRevoked) {
			t.Errorf("%s: the other process confirmed and says %v", name, err)
		}
		if _, err := two.Guard().Check(ctx, keptTokens.Access.Reveal()); errors.Is(err, revocation.ErrRevoked) != (name == "all of a subject") {
			t.Errorf("%s: the other session: %v", name, err)
		}
		if done.NotBefore.IsZero() != (name != "all of a subject") {
			t.Errorf("%s: not before %v", name, done.NotBefore)
		}
	}
	// Who ends is not waited for.
	two.Close()
	if all, _ := g.Followers(ctx); len(all) != 1 {
		t.Errorf("after one has been closed: %+v", all)
	}
}

func TestRevokeSaysWhoIsMissing(t *testing.T) {
	t.Parallel()
	g, r, _ := counted(t)
	ctx := t.Context()
	// One that hangs, one that goes on reporting but is behind, and one whose report is from before the revocation: from a log that was ahead of this one.
	g.set(func() {
		g.followers["hangs/1"] = report{"1-0", time.Now()}
		g.followers["behind/1"] = report{"1-0", time.Now().Add(time.Hour)}
		g.followers["ahead/1"] = report{"9999999999999-0", time.Now().Add(-10 * time.Second)}
	})
	v, _ := login(t, r, "alice")
	began := time.Now()
	done, err := r.Revoke(ctx, counterfoil.Revocation{Session: v.Session(), Wait: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if len(done.Confirmed) != 2 || !slices.Equal(done.Missing, []string{"ahead/1", "behind/1", "hangs/1"}) {
		t.Errorf("%+v", done)
	}
	if took := time.Since(began); took < 300*time.Millisecond {
		t.Errorf("it waited %v", took)
	}
	// Who comes while it waits is not waited for; who is behind and catches up is.
	g.set(func() {
		delete(g.followers, "ahead/1")
		delete(g.followers, "behind/1")
	})
	v, _ = login(t, r, "alice")
	result := make(chan counterfoil.Revoked)
	go func() {
		done, err := r.Revoke(ctx, counterfoil.Revocation{Session: v.Session(), Wait: 20 * time.Second})
		if err != nil {
			t.Error(err)
		}
		result <- done
	}()
	rig.Poll(t, "it has ended", func() bool { return len(r.SessionKeys(t)) == 0 })
	select {
	case done := <-result:
		t.Fatalf("it did not wait: %+v", done)
	case <-time.After(50 * time.Millisecond):
	}
	g.set(func() {
		g.followers["late/1"] = report{"1-0", time.Now()}
		g.followers["hangs/1"] = report{"9999999999999-0", time.Now().Add(time.Hour)} // it has ended, but the log need not say so yet
	})
	if done := <-result; len(done.Confirmed) != 3 || len(done.Missing) != 0 {
		t.Errorf("%+v", done)
	}
}

func TestRevokeWithoutCensus(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	ctx := t.Context()
	cfg := r.Config
	cfg.Store = struct{ counterfoil.Store }{r.Faults}
	cfg.Log = struct{ revocation.Appender }{r.Faults}
	cfg.Source = struct{ revocation.Source }{r.Faults}
	cfg.Policy = revocation.BestEffort // such a store cannot be asked
	m, err := counterfoil.New(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	v, _ := login(t, r, "alice")
	done, err := m.Revoke(ctx, counterfoil.Revocation{Session: v.Session(), Wait: time.Second})
	if !errors.Is(err, counterfoil.ErrNoCensus) || done.Position == "" {
		t.Errorf("%+v, %v; want ErrNoCensus", done, err)
	}
	if len(r.SessionKeys(t)) != 0 {
		t.Error("it was not revoked")
	}
	if _, err := m.Revoke(ctx, counterfoil.Revocation{Session: v.Session()}); err != nil {
		t.Errorf("without waiting: %v", err)
	}
}

func TestRevokeWhileTheCensusFails(t *testing.T) {
	t.Parallel()
	g, r, _ := counted(t)
	v, _ := login(t, r, "alice")
	g.set(func() { g.fails = rig.ErrFault })
	done, err := r.Revoke(t.Context(), counterfoil.Revocation{Session: v.Session(), Wait: 100 * time.Millisecond})
	if !errors.Is(err, counterfoil.ErrUnavailable) || !errors.Is(err, rig.ErrFault) || done.Position == "" || len(r.SessionKeys(t)) != 0 {
		t.Errorf("%+v, %v", done, err)
	}
}

func TestRevocationIsChecked(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	v, tokens := login(t, r, "alice")
	id := v.Session()
	for name, what := range map[string]counterfoil.Revocation{
		"nothing":                   {},
		"nothing but waiting":       {Wait: time.Second},
		"keep without subject":      {Keep: id},
		"session and subject":       {Session: id, Subject: "alice"},
		"session and keep":          {Session: id, Keep: id},
		"everything and a subject":  {Everything: true, Subject: "alice"},
		"a key and everything":      {Key: "kid", Everything: true},
		"a key that cannot be one":  {Key: "no key!"},
		"a subject that cannot be":  {Subject: "a\x00b"},
		"the only key of this ring": {Key: v.KeyID()},
	} {
		if done, err := r.Revoke(t.Context(), what); err == nil || done.Position != "" {
			t.Errorf("%s: %+v, %v", name, done, err)
		}
	}
	if _, err := r.Guard().Check(t.Context(), tokens.Access.Reveal()); err != nil {
		t.Errorf("something was revoked: %v", err)
	}
}

func TestRevokeEverything(t *testing.T) {
	t.Parallel()
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		ctx := t.Context()
		leeway := func(c *counterfoil.Config) { c.Leeway = time.Second }
		here, there := r.Again(t, leeway), r.Again(t, leeway)
		there.Fresh(t)
		v, tokens := login(t, here, "alice")
		before := time.Now()
		done, err := here.Revoke(ctx, counterfoil.Revocation{Everything: true})
		if err != nil {
			t.Fatal(err)
		}
		if left := done.NotBefore.Sub(before); left < time.Second || left > 10*time.Second {
			t.Errorf("sessions begin again %v later, want 2 s", left)
		}
		rig.Poll(t, "the other process has heard", func() bool {
			_, err := there.Guard().Check(ctx, tokens.Access.Reveal())
			return errors.Is(err, revocation.ErrRevoked)
		})
		for name, r := range map[string]*rig.Rig{"here": here, "there": there} {
			if _, err := visits.Get(ctx, r.Open(v)); !errors.Is(err, counterfoil.ErrNotFound) {
				t.Errorf("%s: loading: %v, want ErrNotFound", name, err)
			}
			if _, _, err := r.Refresh(ctx, tokens.Refresh.Reveal(), token.Verified{}); !errors.Is(err, counterfoil.ErrNotFound) {
				t.Errorf("%s: renewing: %v, want ErrNotFound", name, err)
			}
			if list, err := r.Sessions(ctx, "alice"); len(list) != 0 || err != nil {
				t.Errorf("%s: sessions %v, %v", name, list, err)
			}
			var paused *counterfoil.PausedError
			steps := &replicas{}
			r.Faults.On(steps.hook)
			if _, err := r.Login(ctx, nil, "bob", counterfoil.LoginOptions{}); !errors.As(err, &paused) || !paused.Until.Equal(done.NotBefore) {
				t.Errorf("%s: a login: %v, want to be told until %v", name, err, done.NotBefore)
			}
			if _, err := visits.Incr(ctx, r.Anonymous(), 1); !errors.As(err, &paused) {
				t.Errorf("%s: a visitor's first write: %v", name, err)
			}
			if n := steps.count("Create"); n != 0 {
				t.Errorf("%s: %d sessions were made and thrown away", name, n)
			}
			r.Faults.On(nil)
		}
		rig.Poll(t, "somebody can log in again", func() bool {
			s, err := there.Login(ctx, nil, "bob", counterfoil.LoginOptions{})
			if err != nil {
				return false
			}
			tokens, _ := s.Issued()
			if v := here.Verify(t, tokens.Access); !v.IssuedAt().After(done.NotBefore) {
				t.Errorf("issued at %v, not after %v", v.IssuedAt(), done.NotBefore)
			}
			return true
		})
		if _, err := here.Guard().Check(ctx, tokens.Access.Reveal()); !errors.Is(err, revocation.ErrRevoked) {
			t.Errorf("the old token then: %v", err)
		}
	})
}

// lose has everybody hear that alice's sessions until a time, Unix ms, have ended, which the store does not know: as after a failover that has lost it. v is
// one of them.
func lose(t *testing.T, r *rig.Rig, v token.Verified, notBefore int64) {
	t.Helper()
	e := revocation.Entry{Kind: revocation.KindSubject, At: v.BeganMilli(), Subject: token.SubjectHash(r.Config.Issuer, "alice"), NotBefore: notBefore}
	if _, err := r.Faults.Redis.Append(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	rig.Poll(t, "it is heard", func() bool {
		return errors.Is(r.Guard().CheckVerified(t.Context(), v, revocation.Strict), revocation.ErrRevoked)
	})
}

// A failover may lose that a subject was logged out everywhere, and give the store a clock that is behind. Then a session that begins would be one of
// those that have ended, at every verifier that has heard of it: there is none, and whoever logs in is told until when.
func TestLoginAtAStoreThatIsBehind(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	r.Fresh(t)
	ctx := t.Context()
	v, _ := login(t, r, "alice")
	ends := r.Config.Now().UnixMilli() + 5000
	hear := sync.OnceFunc(func() { lose(t, r, v, ends) })
	r.Faults.On(func(step string, after bool) error {
		if step == "Create" && !after {
			hear()
		}
		return nil
	})
	if _, err := r.Rotate(ctx, r.Open(v), counterfoil.RotateOptions{}); !errors.Is(err, counterfoil.ErrNotFound) {
		t.Errorf("a rotation meanwhile: %v, want ErrNotFound: its session has ended", err)
	}
	var paused *counterfoil.PausedError
	if _, err := r.Login(ctx, nil, "alice", counterfoil.LoginOptions{}); !errors.As(err, &paused) || paused.Until.UnixMilli() != ends {
		t.Fatalf("a login: %v, want to be told until %d", err, ends)
	}
	if status, _ := counterfoil.Status(paused); status != 503 {
		t.Errorf("its status is %d", status)
	}
	if _, err := r.Login(ctx, nil, "bob", counterfoil.LoginOptions{}); err != nil {
		t.Errorf("somebody else's: %v", err)
	}
	r.Advance(6 * time.Second)
	list, err := r.Config.Store.Sessions(ctx, "alice")
	if err != nil || slices.ContainsFunc(list, func(r counterfoil.Record) bool { return !r.Frozen }) { // the one that was to be replaced
		t.Errorf("left behind: %v, %v", list, err)
	}
	s, err := r.Login(ctx, nil, "alice", counterfoil.LoginOptions{})
	if err != nil {
		t.Fatalf("a login afterwards: %v", err)
	}
	tokens, _ := s.Issued()
	r.Verify(t, tokens.Access)
}

// What the cap has ended for such a session has ended, and verifiers have to hear of it.
func TestCapAtAStoreThatIsBehind(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded, func(c *counterfoil.Config) { c.MaxSessions = 1 })
	r.Fresh(t)
	ctx := t.Context()
	v, _ := login(t, r, "alice")
	lose(t, r, v, r.Config.Now().UnixMilli()+5000)
	if _, err := r.Login(ctx, nil, "alice", counterfoil.LoginOptions{}); !errors.As(err, new(*counterfoil.PausedError)) {
		t.Fatalf("a login: %v", err)
	}
	log := must[revocation.Batch](t)(r.Faults.Redis.Read(ctx, "", 0))
	if !slices.ContainsFunc(log.Records, func(record revocation.Record) bool {
		e, err := revocation.ParseEntry(record.Entry)
		return err == nil && e.Session == v.Session()
	}) {
		t.Error("the log does not say that the session has ended which the cap has ended")
	}
}

// Nor is a session listed as one that lives which has ended for every verifier.
func TestSessionsAtAStoreThatHasLostAnEnd(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	r.Fresh(t)
	ctx := t.Context()
	v, _ := login(t, r, "alice")
	lose(t, r, v, v.BeganMilli())
	if list, err := r.Sessions(ctx, "alice"); len(list) != 0 || err != nil {
		t.Errorf("sessions: %v, %v, want none", list, err)
	}
	r.Advance(time.Second)
	other, _ := login(t, r, "alice")
	if list, err := r.Devices(ctx, r.Open(other)); len(list) != 1 || err != nil {
		t.Errorf("devices: %v, %v, want the new one alone", list, err)
	}
}

// The clock of the log's server is ahead, and is then set right: everything until now is also what began by the time that it showed before.
func TestEverythingAfterTheClockWasSetBack(t *testing.T) {
	t.Parallel()
	server := must[*embedded.Server](t)(embedded.Start(""))
	t.Cleanup(server.Close)
	start := time.Now()
	var ahead atomic.Int64
	set := func(d time.Duration) {
		ahead.Store(int64(d))
		server.SetTime(start.Add(d))
	}
	set(45 * time.Second)
	r := rig.At(t, server.URL(), server.Close, listOnly, func(c *counterfoil.Config) {
		c.Now = func() time.Time { return start.Add(time.Duration(ahead.Load())) }
	})
	ctx := t.Context()
	v, tokens := login(t, r, "alice")
	set(0)
	done := must[counterfoil.Revoked](t)(r.Revoke(ctx, counterfoil.Revocation{Everything: true}))
	if done.NotBefore.Before(v.Began()) {
		t.Errorf("what began until %v has ended, and a session began %v later that there was", done.NotBefore, v.Began().Sub(done.NotBefore))
	}
	if _, _, err := r.Refresh(ctx, tokens.Refresh.Reveal(), token.Verified{}); !errors.Is(err, counterfoil.ErrNotFound) {
		t.Errorf("renewing: %v, want ErrNotFound", err)
	}
	set(46 * time.Second)
	if _, err := r.Guard().Check(ctx, tokens.Access.Reveal()); !errors.Is(err, revocation.ErrRevoked) {
		t.Errorf("the access token: %v, want ErrRevoked", err)
	}
}

// A log that answers late has the not-before chosen anew, and if it always does nobody is told a lie.
func TestEverythingIsLateEnough(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	for _, tt := range []struct{ late, tries int }{{0, 1}, {2, 3}, {9, 5}} {
		log := &slowLog{Appender: r.Faults, late: tt.late}
		other := r.Again(t, func(c *counterfoil.Config) { c.Log = log })
		log.mu.Lock()
		log.counting = true
		log.mu.Unlock()
		done, err := other.Revoke(t.Context(), counterfoil.Revocation{Everything: true})
		log.mu.Lock()
		tries := log.tries
		log.mu.Unlock()
		if tries != tt.tries || (err == nil) != (tt.late < 5) || (done.Position != "") != (err == nil) {
			t.Errorf("late %d times: %d tries, %+v, %v", tt.late, tries, done, err)
		}
		if err != nil && !errors.Is(err, counterfoil.ErrUnavailable) {
			t.Errorf("%v, want ErrUnavailable", err)
		}
	}
}

// slowLog takes its first so many entries at a time that is later than it should be.
type slowLog struct {
	revocation.Appender
	mu          sync.Mutex
	counting    bool
	late, tries int
}

func (l *slowLog) Append(ctx context.Context, entries ...revocation.Entry) (revocation.Appended, error) {
	a, err := l.Appender.Append(ctx, entries...)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.counting && len(entries) > 0 {
		if l.tries++; l.tries <= l.late {
			a.Now += 2000 * int64(l.tries)
		}
	}
	return a, err
}

func newKey(t *testing.T) *issuer.Key { return must[*issuer.Key](t)(issuer.GenerateKey("EdDSA")) }

// ring makes a ring of its own, as another process has one.
func ring(t *testing.T, keys ...*issuer.Key) func(*counterfoil.Config) {
	return func(c *counterfoil.Config) { c.Keys = must[*issuer.Ring](t)(issuer.NewRing(keys...)) }
}

func TestRevokeKey(t *testing.T) {
	t.Parallel()
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		ctx := t.Context()
		leaked, next := newKey(t), newKey(t)
		here := r.Again(t, ring(t, leaked, next))
		there := r.Again(t, ring(t, leaked, next))
		lonely := r.Again(t, ring(t, leaked))
		v, tokens := login(t, here, "alice")
		if v.KeyID() != leaked.ID() {
			t.Fatal("the first key of a ring does not sign")
		}
		if _, err := here.Revoke(ctx, counterfoil.Revocation{Key: leaked.ID()}); err != nil {
			t.Fatal(err)
		}
		for name, r := range map[string]*rig.Rig{"here": here, "there": there} {
			rig.Poll(t, name+" no token of that key counts", func() bool {
				_, err := r.Guard().Check(ctx, tokens.Access.Reveal())
				return errors.Is(err, revocation.ErrRevoked) || errors.Is(err, token.ErrInvalid)
			})
			rig.Poll(t, name+" the key is published no longer", func() bool { // a guard whose list is stale hears it by asking, and sooner
				keys := r.PublicKeys()
				return len(keys) == 1 && keys[0].ID() == next.ID()
			})
			// The session lives, and its refresh token is no work of that key.
			_, renewed, err := r.Refresh(ctx, tokens.Refresh.Reveal(), token.Verified{})
			if err != nil {
				t.Fatalf("%s: renewing: %v", name, err)
			}
			if id := r.Verify(t, renewed.Access).KeyID(); id != next.ID() {
				t.Errorf("%s: signs with another key than the one that is left", name)
			}
			jar := counterfoil.Request{Method: "GET", Cookie: []string{cookies(tokens)}}
			if x, err := r.Begin(ctx, jar); err != nil || x.Session().Subject() != "alice" {
				t.Errorf("%s: a browser with a token of that key: %v, refusal %v", name, err, x.Refusal())
			}
		}

		// A process that has no other key says so, to everybody.
		rig.Poll(t, "a process without another key has heard", func() bool { return errors.Is(lonely.Ready(ctx), counterfoil.ErrKeyRevoked) })
		if _, err := lonely.Login(ctx, nil, "bob", counterfoil.LoginOptions{}); !errors.Is(err, counterfoil.ErrKeyRevoked) {
			t.Errorf("a login: %v, want ErrKeyRevoked", err)
		}
		if _, _, err := lonely.Refresh(ctx, tokens.Refresh.Reveal(), token.Verified{}); !errors.Is(err, counterfoil.ErrKeyRevoked) {
			t.Errorf("a renewal: %v, want ErrKeyRevoked", err)
		}
		if keys := lonely.PublicKeys(); len(keys) != 0 {
			t.Error("it publishes the key")
		}
		if !strings.Contains(lonely.Logs.String(), "level=ERROR") {
			t.Error("nothing was logged as an error")
		}
		if err := lonely.Config.Keys.Add(next, time.Now()); err != nil {
			t.Fatal(err)
		}
		rig.Poll(t, "it goes on with another key", func() bool {
			_, err := lonely.Login(ctx, nil, "bob", counterfoil.LoginOptions{})
			return err == nil
		})
		// A file that nobody has changed brings the key back.
		if err := lonely.Config.Keys.Add(leaked, time.Now()); err != nil {
			t.Fatal(err)
		}
		s := must[*counterfoil.Session](t)(lonely.Login(ctx, nil, "bob", counterfoil.LoginOptions{}))
		issued, _ := s.Issued()
		if id := lonely.Verify(t, issued.Access).KeyID(); id != next.ID() {
			t.Error("it signs with the revoked key again")
		}

		// It is revoked for good, whatever becomes of the log.
		r.ForgetLog(t)
		cfg := r.Config
		ring(t, leaked)(&cfg)
		if m, err := counterfoil.New(ctx, cfg); !errors.Is(err, counterfoil.ErrKeyRevoked) {
			if err == nil {
				m.Close()
			}
			t.Errorf("a process that starts with it: %v, want ErrKeyRevoked", err)
		}
		ring(t, leaked, next)(&cfg)
		m, err := counterfoil.New(ctx, cfg)
		if err != nil {
			t.Fatalf("a process that starts with it and another one: %v", err)
		}
		defer m.Close()
		if keys := m.PublicKeys(); len(keys) != 1 || keys[0].ID() != next.ID() {
			t.Errorf("it publishes %d keys", len(keys))
		}
	})
}

// lateReader reads nothing before it is told to.
type lateReader struct {
	revocation.Source
	begin chan struct{}
}

func (l lateReader) Read(ctx context.Context, after revocation.Position, wait time.Duration) (revocation.Batch, error) {
	select {
	case <-l.begin:
		return l.Source.Read(ctx, after, wait)
	case <-ctx.Done():
		return revocation.Batch{}, ctx.Err()
	}
}

// A process signs no token that its own list refuses, from the moment at which the list knows. Of what the first read brings no event tells.
func TestRevokedKeySignsNothing(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	leaked, next := newKey(t), newKey(t)
	begin := make(chan struct{})
	there := r.Again(t, ring(t, leaked, next), func(c *counterfoil.Config) { c.Source = lateReader{c.Store.(revocation.Source), begin} })
	if _, err := r.Revoke(t.Context(), counterfoil.Revocation{Key: leaked.ID()}); err != nil {
		t.Fatal(err)
	}
	close(begin)
	rig.Poll(t, "the list knows", func() bool { return len(there.PublicKeys()) == 1 })
	s := must[*counterfoil.Session](t)(there.Login(t.Context(), nil, "alice", counterfoil.LoginOptions{}))
	tokens, _ := s.Issued()
	if id := there.Verify(t, tokens.Access).KeyID(); id != next.ID() {
		t.Error("it signs with the revoked key")
	}
}

// A key that is in no ring is revoked as well, for it may have been taken out. But whoever mistyped an ID hears of it; whoever repeats a revocation does not.
func TestRevokedKeyOfNoRing(t *testing.T) {
	t.Parallel()
	ours, next := newKey(t), newKey(t)
	r := rig.New(t, rig.Embedded, ring(t, ours, next))
	for range 2 {
		if _, err := r.Revoke(t.Context(), counterfoil.Revocation{Key: ours.ID()}); err != nil {
			t.Fatal(err)
		}
	}
	const warning = "no key of this ring"
	if strings.Contains(r.Logs.String(), warning) {
		t.Errorf("a key of the ring: %s", r.Logs)
	}
	if _, err := r.Revoke(t.Context(), counterfoil.Revocation{Key: newKey(t).ID()}); err != nil || strings.Count(r.Logs.String(), warning) != 1 {
		t.Errorf("a key of no ring: %v: %s", err, r.Logs)
	}
}

// deaf never reads the log, so a Manager that is given it has a stale list.
type deaf struct{}

func (deaf) Read(ctx context.Context, _ revocation.Position, _ time.Duration) (revocation.Batch, error) {
	<-ctx.Done()
	return revocation.Batch{}, ctx.Err()
}

// While a process cannot know by its own list that everything was revoked it asks, and if it gets no answer it does what its policy says.
func TestEverythingEndsWhereTheListIsStale(t *testing.T) {
	t.Parallel()
	for _, policy := range []revocation.Policy{revocation.BestEffort, revocation.Strict, revocation.Paranoid} {
		for _, answered := range []bool{true, false} {
			t.Run(fmt.Sprintf("%v, answered %v", policy, answered), func(t *testing.T) {
				t.Parallel()
				r := rig.New(t, rig.Embedded)
				ctx := t.Context()
				stale := r.Again(t, func(c *counterfoil.Config) { c.Source, c.Policy = deaf{}, policy })
				v, tokens := login(t, r, "alice")
				if answered {
					if n, err := visits.Get(ctx, stale.Open(v)); n != 0 || err != nil {
						t.Errorf("before: %v", err)
					}
				}
				r.EndEverything(t)
				want := counterfoil.ErrNotFound
				if !answered {
					stale.Faults.On(rig.Never("Ask"))
					want = counterfoil.ErrUnavailable
					if policy == revocation.BestEffort {
						want = nil // it goes by what it knows
					}
				}
				if _, err := visits.Get(ctx, stale.Open(v)); !errors.Is(err, want) {
					t.Errorf("loading: %v, want %v", err, want)
				}
				if _, _, err := stale.Refresh(ctx, tokens.Refresh.Reveal(), token.Verified{}); !errors.Is(err, want) {
					t.Errorf("renewing: %v, want %v", err, want)
				}
				if gone := len(r.SessionKeys(t)) == 0; gone != answered {
					t.Errorf("the record is gone: %v", gone)
				}
			})
		}
	}
}

// The same for a key: whoever cannot know by the list asks, and the session goes on with a token of another key.
func TestKeyIsRevokedWhereTheListIsStale(t *testing.T) {
	t.Parallel()
	for _, policy := range []revocation.Policy{revocation.BestEffort, revocation.Strict, revocation.Paranoid} {
		t.Run(policy.String(), func(t *testing.T) {
			t.Parallel()
			r := rig.New(t, rig.Embedded)
			ctx := t.Context()
			leaked, next := newKey(t), newKey(t)
			here := r.Again(t, ring(t, leaked, next))
			stale := r.Again(t, ring(t, leaked, next), func(c *counterfoil.Config) { c.Source, c.Policy = deaf{}, policy })
			_, tokens := login(t, here, "alice")
			if _, err := here.Revoke(ctx, counterfoil.Revocation{Key: leaked.ID()}); err != nil {
				t.Fatal(err)
			}
			switch _, err := stale.Guard().Check(ctx, tokens.Access.Reveal()); policy {
			case revocation.BestEffort:
				if err != nil {
					t.Errorf("a policy that goes by what it knows: %v", err)
				}
			case revocation.Strict:
				if !errors.Is(err, revocation.ErrRevoked) {
					t.Errorf("%v, want ErrRevoked", err)
				}
				x, err := stale.Begin(ctx, counterfoil.Request{Method: "GET", Cookie: []string{cookies(tokens)}})
				if err != nil || x.Session().Subject() != "alice" {
					t.Errorf("a browser: %v, refusal %v", err, x.Refusal())
				}
			case revocation.Paranoid:
				if !errors.Is(err, revocation.ErrStale) {
					t.Errorf("%v, want ErrStale", err)
				}
			}
			_, renewed, err := stale.Refresh(ctx, tokens.Refresh.Reveal(), token.Verified{})
			if err != nil {
				t.Fatal(err)
			}
			if id := here.Verify(t, renewed.Access).KeyID(); id != next.ID() {
				t.Error("it signs with the revoked key")
			}
		})
	}
}

func TestAskedOnlyWhileStale(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	ctx := t.Context()
	r.Fresh(t)
	v, tokens := login(t, r, "alice")
	asked := &replicas{}
	r.Faults.On(asked.hook)
	if _, err := visits.Get(ctx, r.Open(v)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Refresh(ctx, tokens.Refresh.Reveal(), token.Verified{}); err != nil {
		t.Fatal(err)
	}
	if r.Guard().Status().Fresh && asked.count("Ask") != 0 {
		t.Errorf("asked %d times by a fresh list", asked.count("Ask"))
	}
}

func TestConfirmed(t *testing.T) {
	t.Parallel()
	g, here, there := counted(t)
	ctx := t.Context()
	v, _ := login(t, here, "alice")
	for name, end := range map[string]func(*counterfoil.Session, string) error{
		"here":  func(s *counterfoil.Session, handle string) error { return here.EndDevice(ctx, s, handle) },
		"there": func(s *counterfoil.Session, handle string) error { return there.EndDevice(ctx, s, handle) },
	} {
		other, _ := login(t, here, "alice")
		s := here.Open(v)
		list, err := here.Devices(ctx, s)
		if err != nil || len(list) != 2 {
			t.Fatal(list, err)
		}
		handle := list[1].Handle
		if list[1].Current {
			handle = list[0].Handle
		}
		if _, known, err := here.Confirmed(ctx, s, handle); known || err != nil {
			t.Errorf("%s: while it lives: %v, %v", name, known, err)
		}
		g.set(func() { g.followers["hangs/1"] = report{"1-0", time.Now()} })
		begin := time.Now()
		if err := end(there.Open(v), handle); err != nil {
			t.Fatal(err)
		}
		rig.Poll(t, name+" both have confirmed", func() bool {
			done, known, err := here.Confirmed(ctx, s, handle)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range done.Confirmed {
				if at := done.Told.Add(c.After); at.Before(begin) || at.After(time.Now()) {
					t.Errorf("%s: confirmed at %v, and it was between %v and now", name, at, begin)
				}
			}
			return known && len(done.Confirmed) == 2 && slices.Equal(done.Missing, []string{"hangs/1"})
		})
		g.set(func() { delete(g.followers, "hangs/1") })
		if done, known, err := here.Confirmed(ctx, s, handle); !known || err != nil || len(done.Missing) != 0 {
			t.Errorf("%s: %+v, %v, %v", name, done, known, err)
		}
		_ = other
	}
	for _, handle := range []string{"", "nothing"} {
		if _, known, err := here.Confirmed(ctx, here.Open(v), handle); known || err != nil {
			t.Errorf("handle %q: %v, %v", handle, known, err)
		}
	}
}
