package revocation_test

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/tokentest"
)

// fixture is a guard with everything around it, on a clock that stands still.
type fixture struct {
	*tokentest.Issuer
	log      *memoryLog
	list     *revocation.List
	follower *revocation.Follower
	guard    *revocation.Guard
}

// newFixture makes a guard over an empty list that is fresh: its log has an epoch that began a minute ago.
func newFixture(t testing.TB, cfg revocation.GuardConfig) *fixture {
	t.Helper()
	f := &fixture{Issuer: tokentest.New(t)}
	f.log = newLog(f.Clock.Now)
	f.Clock.Add(-time.Minute)
	f.append(t)
	f.Clock.Add(time.Minute)
	var err error
	if f.list, err = revocation.NewList(revocation.ListConfig{Max: 1000}); err != nil {
		t.Fatal(err)
	}
	if f.follower, err = revocation.NewFollower(revocation.FollowerConfig{List: f.list, Now: f.Clock.Now}); err != nil {
		t.Fatal(err)
	}
	cfg.Verifier, cfg.List = f.Verifier(), f.list
	if cfg.Now == nil {
		cfg.Now = f.Clock.Now
	}
	if f.guard, err = revocation.NewGuard(cfg); err != nil {
		t.Fatal(err)
	}
	f.follow(t)
	f.append(t)
	f.follow(t)
	return f
}

func (f *fixture) append(t testing.TB, entries ...revocation.Entry) {
	t.Helper()
	if _, err := f.log.Append(t.Context(), entries...); err != nil {
		t.Fatal(err)
	}
}

// follow reads the log once.
func (f *fixture) follow(t testing.TB) {
	t.Helper()
	sent := f.Clock.Now()
	b, err := f.log.Read(t.Context(), f.follower.Next(), 0)
	if err != nil {
		t.Fatal(err)
	}
	f.follower.Apply(b, sent)
}

func (f *fixture) now() int64 { return f.Clock.Now().UnixMilli() }

// answer is an Asker that always says the same and counts.
type answer struct {
	revocation.Answer
	err   error
	asked int
}

func (a *answer) Ask(context.Context, token.Verified) (revocation.Answer, error) {
	a.asked++
	return a.Answer, a.err
}

var errDown = errors.New("down")

// TestGuardPolicies is the table of the design: what each policy does in each state of the list, with each answer.
func TestGuardPolicies(t *testing.T) {
	fresh := func(*testing.T, *fixture) {}
	stale := func(_ *testing.T, f *fixture) { f.Clock.Add(10*time.Second + time.Millisecond) }
	lost := func(t *testing.T, f *fixture) { // and begun again, with the follower fresh on the new one
		f.log.Lose()
		f.Clock.Add(time.Second)
		f.append(t)
		f.follow(t) // sees that this does not continue what was read
		f.follow(t) // reads it whole
		f.append(t)
		f.follow(t)
	}
	unknown := func(t *testing.T, f *fixture) {
		b := []byte("z\x00\x00\x00\x00\x00\x00\x00\x00")
		for i := range 8 {
			b[8-i] = byte(f.now() >> (8 * i))
		}
		f.log.AppendRecord(revocation.Record{Entry: b})
		f.follow(t)
	}
	damaged := func(t *testing.T, f *fixture) {
		f.log.AppendRecord(revocation.Record{Entry: []byte("s?")})
		f.follow(t)
	}
	full := func(t *testing.T, f *fixture) {
		for i := range 1001 {
			id, err := token.NewSessionID("abc", [16]byte{byte(i), byte(i >> 8)})
			if err != nil {
				t.Fatal(err)
			}
			f.append(t, revocation.Entry{Kind: revocation.KindSession, At: f.now(), Session: id})
		}
		f.follow(t)
	}
	const (
		ok      = "ok"
		revoked = "revoked"
		isStale = "stale"
		expired = "expired"
	)
	live, dead, down := revocation.Answer{Live: true}, revocation.Answer{}, errors.New("down")
	for name, state := range map[string]struct {
		enter func(*testing.T, *fixture)
		// what comes of: best effort; strict with the answers live, dead, none; paranoid with the same
		want   [7]string
		reason string // of strict without an answer
	}{
		"fresh":         {fresh, [7]string{ok, ok, ok, ok, ok, revoked, isStale}, ""},
		"stale":         {stale, [7]string{ok, ok, revoked, isStale, isStale, isStale, isStale}, "list too old"},
		"log lost":      {lost, [7]string{ok, expired, expired, expired, isStale, isStale, isStale}, "issued before the log's birth"},
		"unknown entry": {unknown, [7]string{ok, ok, revoked, isStale, ok, revoked, isStale}, "entry of an unknown kind in force"},
		"damaged entry": {damaged, [7]string{ok, ok, revoked, isStale, ok, revoked, isStale}, "entry of an unknown kind in force"},
		"list full":     {full, [7]string{ok, ok, revoked, isStale, ok, revoked, isStale}, "list incomplete"},
	} {
		for i, tc := range []struct {
			name   string
			policy revocation.Policy
			answer revocation.Answer
			err    error
		}{
			{"best-effort", revocation.BestEffort, dead, down},
			{"strict, live", revocation.Strict, live, nil},
			{"strict, dead", revocation.Strict, dead, nil},
			{"strict, down", revocation.Strict, live, down},
			{"paranoid, live", revocation.Paranoid, live, nil},
			{"paranoid, dead", revocation.Paranoid, dead, nil},
			{"paranoid, down", revocation.Paranoid, live, down},
		} {
			t.Run(name+"/"+tc.name, func(t *testing.T) {
				a := &answer{Answer: tc.answer, err: tc.err}
				f := newFixture(t, revocation.GuardConfig{Policy: tc.policy, Ask: a})
				raw := f.Mint(token.Claims{Subject: "alice"})
				state.enter(t, f)
				v, err := f.guard.Check(t.Context(), raw)
				if got := outcome(err); got != state.want[i] {
					t.Fatalf("got %s (%v), want %s", got, err, state.want[i])
				}
				if v.Valid() != (err == nil) {
					t.Fatalf("a token beside an error: %v, %v", v, err)
				}
				if err != nil && revocation.Reason(err) == "" {
					t.Fatalf("refused without a reason: %v", err)
				}
				if tc.name == "strict, down" && revocation.Reason(err) != state.reason {
					t.Fatalf("reason %q, want %q", revocation.Reason(err), state.reason)
				}
				doubted := f.guard.Stats().Doubted
				// Of a token that the list does not revoke and vouches for, the age of the list decides alone.
				ask, err := f.guard.Decide(f.Verified(token.Claims{}), tc.policy, f.Clock.Now())
				if got := f.guard.Settled(tc.policy, f.Clock.Now()); got != (err == nil && !ask) {
					t.Fatalf("settled: %v, but ask %v, %v", got, ask, err)
				}
				if want := tc.policy == revocation.BestEffort && (name != "fresh" && name != "log lost"); (doubted > 0) != want {
					t.Fatalf("counted %d checks in doubt", doubted)
				}
			})
		}
	}
}

func outcome(err error) string {
	var expired *token.ExpiredError
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, revocation.ErrRevoked):
		return "revoked"
	case errors.Is(err, revocation.ErrStale):
		return "stale"
	case errors.As(err, &expired):
		return "expired"
	case errors.Is(err, token.ErrInvalid):
		return "invalid"
	}
	return "another error: " + err.Error()
}

// TestGuardRevoked: what the list holds is refused under every policy, fresh or not, and nothing else is.
func TestGuardRevoked(t *testing.T) {
	session, began := id(1), tokentest.Start.Add(-time.Minute)
	for name, tc := range map[string]struct {
		entry  func(*fixture) revocation.Entry
		token  token.Claims
		want   string
		reason string
	}{
		"session": {
			func(f *fixture) revocation.Entry {
				return revocation.Entry{Kind: revocation.KindSession, Session: session}
			},
			token.Claims{Session: session}, "revoked", "session revoked"},
		"another session": {
			func(f *fixture) revocation.Entry {
				return revocation.Entry{Kind: revocation.KindSession, Session: session}
			},
			token.Claims{Session: id(2)}, "ok", ""},
		"same random part, another tag": {
			func(f *fixture) revocation.Entry {
				return revocation.Entry{Kind: revocation.KindSession, Session: session}
			},
			token.Claims{Session: taggedID("abd", 1)}, "ok", ""},
		"subject, issued at the not-before": {
			func(f *fixture) revocation.Entry {
				return revocation.Entry{Kind: revocation.KindSubject, Subject: token.SubjectHash(tokentest.IssuerName, "alice"), NotBefore: f.now()}
			},
			token.Claims{Subject: "alice"}, "revoked", "subject revoked"},
		"subject, issued a millisecond later": {
			func(f *fixture) revocation.Entry {
				return revocation.Entry{Kind: revocation.KindSubject, Subject: token.SubjectHash(tokentest.IssuerName, "alice"), NotBefore: f.now() - 1}
			},
			token.Claims{Subject: "alice"}, "ok", ""},
		"subject, renewed after the not-before": {
			func(f *fixture) revocation.Entry {
				return revocation.Entry{Kind: revocation.KindSubject, Subject: token.SubjectHash(tokentest.IssuerName, "alice"), NotBefore: began.UnixMilli()}
			},
			token.Claims{Subject: "alice", Began: began}, "revoked", "subject revoked"},
		"subject, begun a millisecond after the not-before and renewed": {
			func(f *fixture) revocation.Entry {
				return revocation.Entry{Kind: revocation.KindSubject, Subject: token.SubjectHash(tokentest.IssuerName, "alice"), NotBefore: began.UnixMilli() - 1}
			},
			token.Claims{Subject: "alice", Began: began}, "ok", ""},
		"another subject": {
			func(f *fixture) revocation.Entry {
				return revocation.Entry{Kind: revocation.KindSubject, Subject: token.SubjectHash(tokentest.IssuerName, "bob"), NotBefore: f.now()}
			},
			token.Claims{Subject: "alice"}, "ok", ""},
		"anonymous beside a subject": {
			func(f *fixture) revocation.Entry {
				return revocation.Entry{Kind: revocation.KindSubject, Subject: token.SubjectHash(tokentest.IssuerName, "bob"), NotBefore: f.now()}
			},
			token.Claims{}, "ok", ""},
		"everything": {
			func(f *fixture) revocation.Entry {
				return revocation.Entry{Kind: revocation.KindAll, NotBefore: f.now()}
			},
			token.Claims{}, "revoked", "everything revoked"},
		"everything, renewed after it": {
			func(f *fixture) revocation.Entry {
				return revocation.Entry{Kind: revocation.KindAll, NotBefore: began.UnixMilli()}
			},
			token.Claims{Began: began}, "revoked", "everything revoked"},
		"everything before": {
			func(f *fixture) revocation.Entry {
				return revocation.Entry{Kind: revocation.KindAll, NotBefore: f.now() - 1}
			},
			token.Claims{}, "ok", ""},
		"its key": {
			func(f *fixture) revocation.Entry {
				return revocation.Entry{Kind: revocation.KindKey, KeyID: f.Keys().Keys()[0].ID()}
			},
			token.Claims{}, "revoked", "key revoked"},
		"another key": {
			func(f *fixture) revocation.Entry { return revocation.Entry{Kind: revocation.KindKey, KeyID: "another"} },
			token.Claims{}, "ok", ""},
	} {
		for _, policy := range []revocation.Policy{revocation.BestEffort, revocation.Strict, revocation.Paranoid} {
			for _, stale := range []bool{false, true} {
				if stale && tc.want == "ok" {
					continue
				}
				t.Run(name+"/"+policy.String(), func(t *testing.T) {
					a := &answer{Answer: revocation.Answer{Live: true}}
					f := newFixture(t, revocation.GuardConfig{Policy: policy, Ask: a})
					e := tc.entry(f)
					e.At = f.now()
					f.append(t, e)
					f.follow(t)
					raw := f.Mint(tc.token)
					if stale {
						f.Clock.Add(time.Minute)
					}
					_, err := f.guard.Check(t.Context(), raw)
					if outcome(err) != tc.want || revocation.Reason(err) != tc.reason {
						t.Fatalf("got %s, %q (%v); want %s, %q", outcome(err), revocation.Reason(err), err, tc.want, tc.reason)
					}
					if tc.want == "revoked" && a.asked > 0 {
						t.Fatal("asked about a token that the list revokes")
					}
				})
			}
		}
	}
}

// TestGuardAnswer: every part of an answer counts.
func TestGuardAnswer(t *testing.T) {
	for name, tc := range map[string]struct {
		answer func(f *fixture) revocation.Answer
		want   string
		reason string
	}{
		"live":                 {func(f *fixture) revocation.Answer { return revocation.Answer{Live: true} }, "ok", ""},
		"dead":                 {func(f *fixture) revocation.Answer { return revocation.Answer{} }, "revoked", "session not alive"},
		"subject's not-before": {func(f *fixture) revocation.Answer { return revocation.Answer{Live: true, NotBefore: f.now()} }, "revoked", "subject revoked"},
		"an earlier one":       {func(f *fixture) revocation.Answer { return revocation.Answer{Live: true, NotBefore: f.now() - 1001} }, "ok", ""},
		"one between the session's beginning and its token": {func(f *fixture) revocation.Answer {
			return revocation.Answer{Live: true, NotBefore: f.now() - 1}
		}, "revoked", "subject revoked"},
		"everything between the session's beginning and its token": {func(f *fixture) revocation.Answer {
			return revocation.Answer{Live: true, AllNotBefore: f.now() - 1}
		}, "revoked", "everything revoked"},
		"everything": {func(f *fixture) revocation.Answer { return revocation.Answer{Live: true, AllNotBefore: f.now()} },
			"revoked", "everything revoked"},
		"key": {func(f *fixture) revocation.Answer {
			return revocation.Answer{Live: true, RevokedKeys: []string{"another", f.Keys().Keys()[0].ID()}}
		}, "revoked", "key revoked"},
	} {
		t.Run(name, func(t *testing.T) {
			a := &answer{}
			f := newFixture(t, revocation.GuardConfig{Policy: revocation.Paranoid, Ask: a})
			a.Answer = tc.answer(f)
			_, err := f.guard.Check(t.Context(), f.Mint(token.Claims{Subject: "alice", Began: f.Clock.Now().Add(-time.Second)}))
			if outcome(err) != tc.want || revocation.Reason(err) != tc.reason {
				t.Fatalf("got %s, %q (%v); want %s, %q", outcome(err), revocation.Reason(err), err, tc.want, tc.reason)
			}
		})
	}
}

// TestGuardStrictestWins: a route can ask for more than the guard's own policy, never for less.
func TestGuardStrictestWins(t *testing.T) {
	policies := []revocation.Policy{revocation.BestEffort, revocation.Strict, revocation.Paranoid}
	asks := map[revocation.Policy]int{revocation.Paranoid: 1}
	for _, own := range policies {
		for _, route := range append(policies, 99, -99) {
			a := &answer{Answer: revocation.Answer{Live: true}}
			f := newFixture(t, revocation.GuardConfig{Policy: own, Ask: a})
			if _, err := f.guard.CheckPolicy(t.Context(), f.Mint(token.Claims{}), route); err != nil {
				t.Fatal(err)
			}
			want := asks[max(own, min(route, revocation.Paranoid))]
			if a.asked != want {
				t.Errorf("guard %v, route %d: asked %d times on a fresh list, want %d", own, route, a.asked, want)
			}
		}
	}
}

func TestGuardTokenErrors(t *testing.T) {
	a := &answer{Answer: revocation.Answer{Live: true}}
	f := newFixture(t, revocation.GuardConfig{Policy: revocation.Paranoid, Ask: a})
	good := f.Mint(token.Claims{})
	for name, tc := range map[string]struct {
		raw  string
		late time.Duration
		want string
	}{
		"nothing": {"", 0, "invalid"},
		"forged":  {good[:len(good)-4] + "AAAA", 0, "invalid"},
		"expired": {good, 6 * time.Minute, "expired"},
	} {
		t.Run(name, func(t *testing.T) {
			f.Clock.Add(tc.late)
			v, err := f.guard.Check(t.Context(), tc.raw)
			if outcome(err) != tc.want || v.Valid() || revocation.Reason(err) == "" {
				t.Fatalf("got %v, %v, %q; want %s", v, err, revocation.Reason(err), tc.want)
			}
		})
	}
	if a.asked > 0 {
		t.Fatal("asked about a token that is none")
	}
}

func TestNewGuardRefuses(t *testing.T) {
	f := newFixture(t, revocation.GuardConfig{})
	good := revocation.GuardConfig{Verifier: f.Verifier(), List: f.list}
	for name, change := range map[string]func(*revocation.GuardConfig){
		"no verifier":          func(c *revocation.GuardConfig) { c.Verifier = nil },
		"no list":              func(c *revocation.GuardConfig) { c.List = nil },
		"unknown policy":       func(c *revocation.GuardConfig) { c.Policy = 2 },
		"negative MaxStale":    func(c *revocation.GuardConfig) { c.MaxStale = -1 },
		"unlimited MaxStale":   func(c *revocation.GuardConfig) { c.MaxStale = 1<<63 - 1 },
		"negative leeway":      func(c *revocation.GuardConfig) { c.Leeway = -1 },
		"leeway over a minute": func(c *revocation.GuardConfig) { c.Leeway = time.Minute + 1 },
		"negative AskTimeout":  func(c *revocation.GuardConfig) { c.AskTimeout = -1 },
		"long AskTimeout":      func(c *revocation.GuardConfig) { c.AskTimeout = time.Minute },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good
			change(&cfg)
			if g, err := revocation.NewGuard(cfg); err == nil || g != nil {
				t.Fatalf("made %v, %v", g, err)
			}
		})
	}
	if _, err := revocation.NewGuard(good); err != nil {
		t.Fatal(err)
	}
}

func TestPolicyText(t *testing.T) {
	for _, p := range []revocation.Policy{revocation.BestEffort, revocation.Strict, revocation.Paranoid} {
		text, err := p.MarshalText()
		var back revocation.Policy = 7
		if err != nil || back.UnmarshalText(text) != nil || back != p {
			t.Errorf("%v became %q, %v", p, text, back)
		}
	}
	var p revocation.Policy
	if p != revocation.Strict {
		t.Error("the zero policy is not Strict")
	}
	for _, bad := range []string{"", "Strict", "none", "best effort"} {
		if p.UnmarshalText([]byte(bad)) == nil {
			t.Errorf("%q is a policy", bad)
		}
	}
}

// TestGuardAllocates nothing, for a token seen before.
func TestGuardAllocates(t *testing.T) {
	f := newFixture(t, revocation.GuardConfig{})
	raw := f.Mint(token.Claims{Subject: "alice"})
	ctx := t.Context()
	check := func() {
		if _, err := f.guard.Check(ctx, raw); err != nil {
			t.Fatal(err)
		}
	}
	check()
	if n := testing.AllocsPerRun(1000, check); n != 0 {
		t.Fatalf("%v allocations a check", n)
	}
}

// TestGuardBirth: the log vouches for tokens issued at its birth, not for those issued a millisecond before. When their session began says nothing: with a
// renewal the store has looked at the session.
func TestGuardBirth(t *testing.T) {
	f := newFixture(t, revocation.GuardConfig{})
	birth := f.guard.Status().Birth
	for _, tc := range []struct {
		iat, began time.Time
		want       string
	}{
		{birth.Add(-time.Millisecond), time.Time{}, "expired"},
		{birth, time.Time{}, "ok"},
		{birth.Add(-time.Millisecond), birth.Add(-time.Hour), "expired"},
		{birth, birth.Add(-time.Millisecond), "ok"},
		{birth, birth.Add(-time.Hour), "ok"},
	} {
		_, err := f.guard.Check(t.Context(), f.Mint(token.Claims{IssuedAt: tc.iat, Began: tc.began}))
		if outcome(err) != tc.want {
			t.Errorf("issued %v after the birth, in a session of %v: %v, want %s", tc.iat.Sub(birth), tc.began, err, tc.want)
		}
	}
	if s := f.guard.Stats(); s.BeforeBirth != 2 {
		t.Errorf("%+v", s)
	}
}

// TestGuardDecide: hosts that ask in their own way come to the same decision.
func TestGuardDecide(t *testing.T) {
	f := newFixture(t, revocation.GuardConfig{})
	v := f.Verified(token.Claims{Subject: "alice", Session: id(1)})
	for _, tc := range []struct {
		name   string
		late   time.Duration
		policy revocation.Policy
		ask    bool
		want   string
	}{
		{"fresh", 0, revocation.Strict, false, "ok"},
		{"fresh, paranoid", 0, revocation.Paranoid, true, "stale"},
		{"stale", time.Minute, revocation.Strict, true, "stale"},
		{"stale, paranoid", time.Minute, revocation.Paranoid, false, "stale"},
	} {
		ask, err := f.guard.Decide(v, tc.policy, f.Clock.Now().Add(tc.late))
		if ask != tc.ask || outcome(err) != tc.want {
			t.Errorf("%s: ask %v, %v; want %v, %s", tc.name, ask, err, tc.ask, tc.want)
		}
	}
	f.append(t, revocation.Entry{Kind: revocation.KindSession, At: f.now(), Session: id(1)})
	f.follow(t)
	if !f.list.Contains(v) {
		t.Error("the list does not contain what was revoked")
	}
	if ask, err := f.guard.Decide(v, revocation.Strict, f.Clock.Now()); ask || outcome(err) != "revoked" {
		t.Errorf("revoked: ask %v, %v", ask, err)
	}
	if err := f.guard.CheckVerified(t.Context(), v, revocation.BestEffort); outcome(err) != "revoked" {
		t.Errorf("revoked: %v", err)
	}
	if err := f.guard.CheckVerified(t.Context(), f.Verified(token.Claims{}), revocation.BestEffort); err != nil {
		t.Errorf("another: %v", err)
	}

	// What was never verified is refused everywhere.
	var none token.Verified
	if ask, err := f.guard.Decide(none, revocation.BestEffort, f.Clock.Now()); ask || outcome(err) != "invalid" {
		t.Errorf("nothing: ask %v, %v", ask, err)
	}
	if err := f.guard.CheckVerified(t.Context(), none, revocation.BestEffort); outcome(err) != "invalid" {
		t.Errorf("nothing: %v", err)
	}
	if err := (revocation.Answer{Live: true}).Judge(none); outcome(err) != "invalid" {
		t.Errorf("nothing: %v", err)
	}
}

// TestGuardOutlived: a verified token that was kept is good no longer than its text is. The list forgets what was revoked, because by then no token is left that it hits.
func TestGuardOutlived(t *testing.T) {
	const leeway = 10 * time.Second
	for name, decide := range map[string]func(*fixture, token.Verified, revocation.Policy) error{
		"CheckVerified": func(f *fixture, v token.Verified, p revocation.Policy) error {
			return f.guard.CheckVerified(t.Context(), v, p)
		},
		"Decide": func(f *fixture, v token.Verified, p revocation.Policy) error {
			_, err := f.guard.Decide(v, p, f.Clock.Now())
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, revocation.GuardConfig{Policy: revocation.BestEffort, Ask: &answer{Answer: revocation.Answer{Live: true}}})
			v := f.Verified(token.Claims{Session: id(1)})
			f.append(t, revocation.Entry{Kind: revocation.KindSession, At: f.now(), Session: id(1)})
			f.follow(t)
			if err := decide(f, v, revocation.Strict); outcome(err) != "revoked" {
				t.Fatalf("revoked: %v", err)
			}
			f.Clock.Add(revocation.Horizon + time.Second)
			f.append(t)
			f.follow(t)
			f.list.Sweep(f.Clock.Now())
			if f.list.Has(id(1)) {
				t.Fatal("the list forgets nothing: the test tests nothing")
			}
			for _, p := range []revocation.Policy{revocation.BestEffort, revocation.Strict, revocation.Paranoid} {
				if err := decide(f, v, p); outcome(err) != "expired" {
					t.Errorf("forgotten, %v: %v", p, err)
				}
			}

			v = f.Verified(token.Claims{})
			f.Clock.Add(5*time.Minute + leeway - time.Millisecond)
			if err := decide(f, v, revocation.BestEffort); err != nil {
				t.Errorf("a millisecond before its end: %v", err)
			}
			f.Clock.Add(time.Millisecond)
			err := decide(f, v, revocation.BestEffort)
			if expired, ok := errors.AsType[*token.ExpiredError](err); !ok || expired.ExpiresMilli != v.ExpiresMilli() {
				t.Errorf("at its end: %v", err)
			}
		})
	}
}

func TestGuardStatusAndEvents(t *testing.T) {
	var events recorder
	f := newFixture(t, revocation.GuardConfig{Events: &events})
	raw := f.Mint(token.Claims{})
	if s := f.guard.Status(); !s.Fresh || !s.Known || s.Reason != "" || s.Epoch == "" || s.Birth.IsZero() || !s.AsOf.Equal(f.Clock.Now()) {
		t.Fatalf("%+v", s)
	}
	f.guard.Check(t.Context(), raw)
	f.Clock.Add(time.Minute)
	f.guard.Check(t.Context(), raw)
	f.guard.Check(t.Context(), raw)
	if s := f.guard.Status(); s.Fresh || !s.Known || s.Age != time.Minute || s.Reason != "list too old" {
		t.Fatalf("%+v", s)
	}
	f.append(t)
	f.follow(t)
	f.guard.Check(t.Context(), raw)
	if got := events.kinds(); len(got) != 2 || got[0] != revocation.EventStale || got[1] != revocation.EventHealed {
		t.Fatalf("told %v", got)
	}
	if s := f.guard.Stats(); s.Stale != 2 || f.guard.Policy() != revocation.Strict {
		t.Fatalf("%+v", s)
	}
}

// TestReason: every error that a Guard returns has one, and an error of somebody else has none.
func TestReason(t *testing.T) {
	for _, err := range []error{nil, errDown, context.Canceled} {
		if got := revocation.Reason(err); got != "" {
			t.Errorf("%v has the reason %q", err, got)
		}
	}
	f := newFixture(t, revocation.GuardConfig{Policy: revocation.Paranoid, Ask: &answer{err: errDown}})
	_, err := f.guard.Check(t.Context(), f.Mint(token.Claims{}))
	if !errors.Is(err, errDown) || !errors.Is(err, revocation.ErrStale) || errors.Is(err, revocation.ErrRevoked) || revocation.Reason(err) != "policy asks always" {
		t.Errorf("%v", err)
	}
}

// TestSubjectsOfTokens: each token is judged by the not-before of its own subject, whatever the newest of any is.
func TestSubjectsOfTokens(t *testing.T) {
	f := newFixture(t, revocation.GuardConfig{})
	verified := func(subject string) token.Verified { return f.Verified(token.Claims{Subject: subject}) }
	alice, bob, nobody := verified("alice"), verified("bob"), verified("")
	iat := alice.IssuedAtMilli()
	list := newList(t, revocation.ListConfig{})
	for _, step := range []struct {
		subject          string
		notBefore        int64
		alice, bob, none bool
	}{
		{"alice", iat - 2, false, false, false},
		{"carol", iat + 1000, false, false, false},
		{"bob", iat, false, true, false},
		{"alice", iat - 1, false, true, false},
		{"alice", iat, true, true, false},
	} {
		add(t, list, revocation.Entry{Kind: revocation.KindSubject, At: iat, Subject: token.SubjectHash(tokentest.IssuerName, step.subject), NotBefore: step.notBefore})
		if list.Contains(alice) != step.alice || list.Contains(bob) != step.bob || list.Contains(nobody) != step.none {
			t.Errorf("after %s: alice %v, bob %v, nobody %v", step.subject, list.Contains(alice), list.Contains(bob), list.Contains(nobody))
		}
		hash := alice.SubjectHash()
		if a, b := alice.SubjectWords(); a != binary.LittleEndian.Uint64(hash[:8]) || b != binary.LittleEndian.Uint64(hash[8:]) {
			t.Error("the subject's words are not its hash")
		}
	}
	if a, b := nobody.SubjectWords(); a|b != 0 {
		t.Error("nobody has a hash")
	}
}
