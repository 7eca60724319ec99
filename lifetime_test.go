package counterfoil_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/rig"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/issuer"
)

func TestRemember(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	ctx := t.Context()
	lines, tokens := setCookies(t, r, counterfoil.Request{}, func(x *counterfoil.Exchange) error {
		return x.Login(ctx, "alice", counterfoil.LoginOptions{Remember: true})
	})
	if len(lines) != 2 || !strings.Contains(lines[0], "; Max-Age=2592000; ") || !strings.Contains(lines[1], "; Max-Age=2592000; ") {
		t.Fatalf("a login to be remembered sets %q", lines)
	}
	// Twenty-nine days later, and again: each renewal extends the idle life, and the cookies with it, until the absolute life is over.
	for day := 29; day <= 29*6; day += 29 {
		r.Advance(29 * 24 * time.Hour)
		var next counterfoil.Tokens
		lines, next = setCookies(t, r, counterfoil.Request{Cookie: []string{cookies(tokens)}}, func(x *counterfoil.Exchange) error {
			if x.Session().Subject() != "alice" {
				t.Fatalf("on day %d: session of %q, %v", day, x.Session().Subject(), x.Refusal())
			}
			return nil
		})
		if len(lines) != 2 || !strings.Contains(lines[0], "; Max-Age=") || !strings.Contains(lines[1], "; Max-Age=") {
			t.Fatalf("on day %d: %q", day, lines)
		}
		tokens = next
	}
	r.Advance(7 * 24 * time.Hour) // day 181
	setCookies(t, r, counterfoil.Request{Cookie: []string{cookies(tokens)}}, func(x *counterfoil.Exchange) error {
		if x.Session().Subject() != "" {
			t.Error("the session outlived its absolute life")
		}
		return nil
	})
}

func TestLivesAreChosenAtLogin(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	ctx := t.Context()
	_, err := r.Login(ctx, nil, "alice", counterfoil.LoginOptions{Idle: 10 * time.Minute, Absolute: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	_, long := login(t, r, "bob") // as configured
	r.Advance(11 * time.Minute)
	if list, err := r.Sessions(ctx, "alice"); len(list) != 0 || err != nil {
		t.Errorf("idle for longer than chosen: %+v, %v", list, err)
	}
	if _, _, err := r.Refresh(ctx, long.Refresh.Reveal(), token.Verified{}); err != nil {
		t.Errorf("the one with the configured life: %v", err)
	}
	for what, opt := range map[string]counterfoil.LoginOptions{
		"idle shorter than twice the access life": {Idle: time.Minute},
		"absolute shorter than idle":              {Idle: time.Hour, Absolute: 30 * time.Minute},
		"absolute longer than browsers keep":      {Absolute: 401 * 24 * time.Hour},
		"negative":                                {Idle: -time.Hour},
	} {
		if _, err := r.Login(ctx, nil, "alice", opt); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}

// TestOneLifeIsChosen: where one of the two is chosen, the other gives way to it.
func TestOneLifeIsChosen(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	for subject, c := range map[string]struct {
		opt            counterfoil.LoginOptions
		idle, absolute time.Duration
	}{
		"longer idle":                 {counterfoil.LoginOptions{Idle: 24 * time.Hour}, 24 * time.Hour, 24 * time.Hour},
		"shorter absolute":            {counterfoil.LoginOptions{Absolute: 20 * time.Minute}, 20 * time.Minute, 20 * time.Minute},
		"remembered for an hour":      {counterfoil.LoginOptions{Remember: true, Absolute: time.Hour}, time.Hour, time.Hour},
		"remembered, idle for a year": {counterfoil.LoginOptions{Remember: true, Idle: 365 * 24 * time.Hour}, 365 * 24 * time.Hour, 365 * 24 * time.Hour},
	} {
		if _, err := r.Login(t.Context(), nil, subject, c.opt); err != nil {
			t.Errorf("%s: %v", subject, err)
			continue
		}
		list, err := r.Sessions(t.Context(), subject)
		if err != nil || len(list) != 1 {
			t.Errorf("%s: %+v, %v", subject, list, err)
		} else if absolute := list[0].Expires - list[0].Created; list[0].Idle != c.idle || absolute != c.absolute.Milliseconds() {
			t.Errorf("%s: idle %v and absolute %d ms, want %v and %v", subject, list[0].Idle, absolute, c.idle, c.absolute)
		}
	}
}

func TestShorten(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded, func(c *counterfoil.Config) {
		c.Claims = func(context.Context, *counterfoil.Session) ([]token.Claim, error) {
			return []token.Claim{{Name: "plan", JSON: `"pro"`}}, nil
		}
	})
	ctx := t.Context()
	_, first := login(t, r, "alice")
	r.Advance(time.Second)
	_, renewed, err := r.Refresh(ctx, first.Refresh.Reveal(), token.Verified{})
	if err != nil {
		t.Fatal(err)
	}
	v := r.Verify(t, renewed.Access)
	short, err := r.Shorten(ctx, v, 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	s := r.Verify(t, short)
	if s.Session() != v.Session() || s.Subject() != "alice" || !s.IssuedAt().Equal(v.IssuedAt()) || !s.Began().Equal(v.Began()) || s.Expires().After(time.Now().Add(31*time.Second)) {
		t.Errorf("the short one is of %q, issued %v, expires %v", s.Subject(), s.IssuedAt(), s.Expires())
	}
	if plan, _ := s.Claim("plan"); plan != `"pro"` {
		t.Errorf("claim is %s", plan)
	}
	long, err := r.Shorten(ctx, s, time.Hour)
	if err != nil || r.Verify(t, long).Expires().After(s.Expires()) {
		t.Errorf("a short token was made longer: %v", err)
	}
	r.Advance(45 * time.Second) // past the life and the leeway
	var expired *token.ExpiredError
	if _, err := r.Guard().Check(ctx, short.Reveal()); !errors.As(err, &expired) {
		t.Errorf("after its time: %v", err)
	}
	if _, err := r.Shorten(ctx, s, time.Minute); !errors.As(err, &expired) {
		t.Errorf("shortening what has expired: %v", err)
	}
	if _, err := r.Shorten(ctx, v, -time.Second); err == nil {
		t.Error("a negative life was accepted")
	}
	if _, err := r.Shorten(ctx, token.Verified{}, time.Second); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("the zero token: %v", err)
	}
	if err := r.End(ctx, v.Session()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Guard().Check(ctx, long.Reveal()); !errors.Is(err, revocation.ErrRevoked) && !errors.As(err, &expired) {
		t.Errorf("after the end of the session: %v", err)
	}
}

func TestRotate(t *testing.T) {
	t.Parallel()
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		ctx := t.Context()
		s := must[*counterfoil.Session](t)(r.Login(ctx, nil, "alice", counterfoil.LoginOptions{Remember: true, Device: "laptop"}))
		issued, _ := s.Issued()
		v := r.Verify(t, issued.Access)
		s = r.Open(v)
		_ = name.Set(s, "kept")
		if _, err := visits.Incr(ctx, s, 3); err != nil {
			t.Fatal(err)
		}
		before, _ := r.Sessions(ctx, "alice")
		next := must[*counterfoil.Session](t)(r.Rotate(ctx, s, counterfoil.RotateOptions{}))
		tokens, ok := next.Issued()
		if !ok || next.ID() == v.Session() || next.Subject() != "alice" || tokens.CookieAge == 0 {
			t.Fatalf("rotated: issued %v, cookie age %v", ok, tokens.CookieAge)
		}
		if got, _, err := name.Get(ctx, next); got != "kept" || err != nil {
			t.Errorf("field: %q, %v", got, err)
		}
		if n, err := visits.Get(ctx, next); n != 3 || err != nil {
			t.Errorf("counter: %d, %v", n, err)
		}
		list, err := r.Devices(ctx, next)
		if err != nil || len(list) != 1 || list[0].Label != "laptop" || !list[0].Persistent || !list[0].Current {
			t.Errorf("devices: %+v, %v", list, err)
		}
		if after, _ := r.Sessions(ctx, "alice"); after[0].Expires != before[0].Expires || after[0].AuthTime != before[0].AuthTime || after[0].Created != before[0].Created || after[0].Idle != before[0].Idle {
			t.Errorf("lives: before %+v, after %+v", before[0], after[0])
		}
		if _, err := r.Guard().Check(ctx, issued.Access.Reveal()); !errors.Is(err, revocation.ErrRevoked) {
			t.Errorf("the old token: %v, want ErrRevoked", err)
		}
		if _, err := visits.Incr(ctx, r.Open(v), 1); !errors.Is(err, counterfoil.ErrNotFound) {
			t.Errorf("the old session: %v, want ErrNotFound", err)
		}
		if _, err := r.Rotate(ctx, r.Open(v), counterfoil.RotateOptions{}); !errors.Is(err, counterfoil.ErrNotFound) {
			t.Errorf("rotating what has ended: %v, want ErrNotFound", err)
		}
		if _, err := r.Rotate(ctx, r.Anonymous(), counterfoil.RotateOptions{}); !errors.Is(err, counterfoil.ErrNotFound) {
			t.Errorf("rotating what was never stored: %v, want ErrNotFound", err)
		}
	})
}

func TestStepUp(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	ctx := t.Context()
	v, tokens := login(t, r, "alice")
	const recent = 2 * time.Minute
	now := func() time.Time { return r.Config.Now() }
	if err := counterfoil.RequireFresh(v, recent, now()); err != nil {
		t.Errorf("right after the login: %v", err)
	}
	at, _ := v.AuthTime()
	for after, want := range map[time.Duration]error{recent: nil, recent + 1: counterfoil.ErrNotFresh} {
		if err := counterfoil.RequireFresh(v, recent, at.Add(after)); !errors.Is(err, want) {
			t.Errorf("%v after the login: %v, want %v", after, err, want)
		}
	}
	r.Advance(3 * time.Minute)
	if err := counterfoil.RequireFresh(v, recent, now()); !errors.Is(err, counterfoil.ErrNotFresh) {
		t.Errorf("later: %v, want ErrNotFresh", err)
	}
	if err := counterfoil.RequireFresh(token.Verified{}, recent, now()); !errors.Is(err, counterfoil.ErrNotFresh) {
		t.Errorf("nobody: %v, want ErrNotFresh", err)
	}
	jar := counterfoil.Request{Cookie: []string{cookies(tokens)}}
	_, renewed := setCookies(t, r, jar, func(x *counterfoil.Exchange) error {
		if err := x.RequireFresh(recent); !errors.Is(err, counterfoil.ErrNotFresh) {
			t.Errorf("the request: %v, want ErrNotFresh", err)
		}
		return nil
	})
	if err := counterfoil.RequireFresh(r.Verify(t, renewed.Access), recent, now()); !errors.Is(err, counterfoil.ErrNotFresh) {
		t.Errorf("a renewal made it fresh: %v", err)
	}
	_, stepped := setCookies(t, r, jar, func(x *counterfoil.Exchange) error {
		if err := x.Rotate(ctx, counterfoil.RotateOptions{Reauthenticated: true}); err != nil {
			return err
		}
		return x.RequireFresh(recent)
	})
	if err := counterfoil.RequireFresh(r.Verify(t, stepped.Access), recent, now()); err != nil {
		t.Errorf("after proving it again: %v", err)
	}
}

func TestClaims(t *testing.T) {
	t.Parallel()
	plan := counterfoil.NewField[string]("plan")
	broken := errors.New("no claims today")
	fail := false
	r := rig.New(t, rig.Embedded, func(c *counterfoil.Config) {
		c.Claims = func(ctx context.Context, s *counterfoil.Session) ([]token.Claim, error) {
			if fail {
				return nil, broken
			}
			p, ok, err := plan.Get(ctx, s)
			if err != nil || !ok {
				return nil, err
			}
			return []token.Claim{{Name: "plan", JSON: `"` + p + `"`}}, nil
		}
	})
	ctx := t.Context()
	visitor := r.Anonymous()
	_ = plan.Set(visitor, "free")
	if err := visitor.Save(ctx); err != nil {
		t.Fatal(err)
	}
	tokens, _ := visitor.Issued()
	if got, _ := r.Verify(t, tokens.Access).Claim("plan"); got != `"free"` {
		t.Errorf("the visitor's claim is %s", got)
	}
	s := must[*counterfoil.Session](t)(r.Login(ctx, visitor, "alice", counterfoil.LoginOptions{Carry: []string{"plan"}}))
	tokens, _ = s.Issued()
	v := r.Verify(t, tokens.Access)
	if got, _ := v.Claim("plan"); got != `"free"` {
		t.Errorf("the carried claim is %s", got)
	}
	if got, ok, err := counterfoil.Claim[string](v, "plan"); got != "free" || !ok || err != nil {
		t.Errorf("decoded: %q, %v, %v", got, ok, err)
	}
	if _, ok, err := counterfoil.Claim[string](v, "no such"); ok || err != nil {
		t.Errorf("a claim that is not there: %v, %v", ok, err)
	}
	if _, ok, err := counterfoil.Claim[int](v, "plan"); ok || err == nil {
		t.Errorf("a string as a number: %v, %v", ok, err)
	}
	s = r.Open(v)
	_ = plan.Set(s, "pro")
	if err := s.Save(ctx); err != nil {
		t.Fatal(err)
	}
	r.Advance(11 * time.Second)
	_, next, err := r.Refresh(ctx, tokens.Refresh.Reveal(), token.Verified{})
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := r.Verify(t, next.Access).Claim("plan"); got != `"pro"` {
		t.Errorf("the claim after a renewal is %s", got)
	}
	fail = true
	if _, err := r.Login(ctx, nil, "bob", counterfoil.LoginOptions{}); !errors.Is(err, broken) {
		t.Errorf("a login without claims: %v", err)
	}
	if list, _ := r.Sessions(ctx, "bob"); len(list) != 0 {
		t.Error("it left a session behind")
	}
	r.Advance(11 * time.Second)
	if _, _, err := r.Refresh(ctx, next.Refresh.Reveal(), token.Verified{}); !errors.Is(err, broken) {
		t.Errorf("a renewal without claims: %v", err)
	}
	fail = false
	if _, _, err := r.Refresh(ctx, next.Refresh.Reveal(), token.Verified{}); err != nil {
		t.Errorf("the next try: %v", err)
	}
}

// TestLogoutOfTheUnbound: whom Bind does not let go on can still log out. The cookies go, and so does the session that they are of.
func TestLogoutOfTheUnbound(t *testing.T) {
	t.Parallel()
	elsewhere := false
	r := rig.New(t, rig.Embedded, func(c *counterfoil.Config) {
		c.Bind = func(context.Context, counterfoil.Renewal) error {
			if elsewhere {
				return errors.New("another network")
			}
			return nil
		}
	})
	for how, tt := range map[string]struct {
		leave func(*counterfoil.Exchange) error
		want  error
	}{
		"logout":            {func(x *counterfoil.Exchange) error { return x.Logout(t.Context()) }, nil},
		"logout everywhere": {func(x *counterfoil.Exchange) error { return x.LogoutEverywhere(t.Context()) }, counterfoil.ErrNotFound},
	} {
		elsewhere = false
		v, tokens := login(t, r, "alice")
		other, _ := login(t, r, "alice")
		elsewhere = true
		x, err := r.Begin(t.Context(), counterfoil.Request{Method: "POST", Cookie: []string{refreshCookie + "=" + tokens.Refresh.Reveal()}})
		if err != nil {
			t.Fatal(err)
		}
		r.Faults.On(rig.Never("End"))
		if err := tt.leave(x); !errors.Is(err, counterfoil.ErrUnavailable) {
			t.Errorf("%s, when nothing can be ended: %v", how, err)
		}
		r.Faults.On(nil)
		if err := tt.leave(x); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", how, err, tt.want)
		}
		if set, err := x.Commit(t.Context()); len(set) != 2 || err != nil {
			t.Errorf("%s: cookies %v, %v", how, set, err)
		}
		if _, _, err := name.Get(t.Context(), r.Open(v)); !errors.Is(err, counterfoil.ErrNotFound) {
			t.Errorf("after the %s the session lives: %v", how, err)
		}
		if _, _, err := name.Get(t.Context(), r.Open(other)); err != nil {
			t.Errorf("after the %s of somebody who has proved nothing another session of the subject has ended: %v", how, err)
		}
	}
}

func TestBind(t *testing.T) {
	t.Parallel()
	var seen counterfoil.Renewal
	key := counterfoil.NewField[string]("device key")
	r := rig.New(t, rig.Embedded, func(c *counterfoil.Config) {
		c.Bind = func(ctx context.Context, n counterfoil.Renewal) error {
			seen = n
			if bound, ok, err := key.Get(ctx, n.Session); err != nil || !ok || bound == n.Client.UserAgent {
				return err
			}
			return errors.New("another client")
		}
	})
	ctx := t.Context()
	s := must[*counterfoil.Session](t)(r.Login(ctx, nil, "alice", counterfoil.LoginOptions{Device: "laptop", Address: "203.0.113.77:5000"}))
	tokens, _ := s.Issued()
	s = r.Open(r.Verify(t, tokens.Access))
	_ = key.Set(s, "mine")
	if err := s.Save(ctx); err != nil {
		t.Fatal(err)
	}
	mine := counterfoil.Request{Method: "GET", Cookie: []string{cookies(tokens)}, Client: counterfoil.Client{UserAgent: "mine", Address: "203.0.113.9"}}
	theirs := mine
	theirs.Client.UserAgent = "theirs"

	r.Advance(4 * time.Minute)
	if lines, _ := setCookies(t, r, theirs, nil); len(lines) != 0 {
		t.Errorf("another client was given %q in passing", lines)
	}
	if seen.Session.Subject() != "alice" || seen.Device.Label != "laptop" || seen.Device.Address != "203.0.113.0/24" || seen.Client.Address != "203.0.113.9" ||
		seen.Device.LoggedIn != s.AuthTime() || seen.Device.Expires.Sub(seen.Device.LoggedIn) != 12*time.Hour {
		t.Errorf("the hook saw %+v", seen)
	}
	if _, err := r.RefreshCookies(ctx, theirs); !errors.Is(err, counterfoil.ErrUnbound) {
		t.Errorf("refresh by another client: %v, want ErrUnbound", err)
	}
	if status, _ := counterfoil.Status(counterfoil.ErrUnbound); status != 401 {
		t.Errorf("status %d", status)
	}
	r.Advance(2 * time.Minute) // the access token has expired
	x, err := r.Begin(ctx, theirs)
	if err != nil || x.Session().Subject() != "" || !errors.Is(x.Refusal(), counterfoil.ErrUnbound) {
		t.Errorf("another client with an expired token: %v, refusal %v", err, x.Refusal())
	}
	// None of that renewed or rotated anything: the owner still presents the current generation.
	_, next := setCookies(t, r, mine, nil)
	if g := r.Verify(t, next.Access).Generation(); g != 2 {
		t.Errorf("the owner's generation is %d, want 2", g)
	}
	r.Faults.On(rig.Never("Find"))
	r.Advance(6 * time.Minute)
	if _, err := r.Begin(ctx, mine); !errors.Is(err, counterfoil.ErrUnavailable) {
		t.Errorf("when it cannot look: %v, want ErrUnavailable", err)
	}
}

func TestDone(t *testing.T) {
	t.Parallel()
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		ctx := t.Context()
		other := r.Second(t)
		other.Fresh(t)
		is := func(what string, done <-chan struct{}) {
			t.Helper()
			select {
			case <-done:
			case <-time.After(10 * time.Second):
				t.Errorf("%s: still open", what)
			}
		}
		isNot := func(what string, done <-chan struct{}) {
			t.Helper()
			select {
			case <-done:
				t.Errorf("%s: closed", what)
			default:
			}
		}
		v, tokens := login(t, r, "alice")
		here, there := r.Open(v).Done(), other.Open(v).Done()
		_, fresh, err := r.Refresh(ctx, tokens.Refresh.Reveal(), v)
		if err != nil {
			t.Fatal(err)
		}
		isNot("renewed", here)
		again := r.Open(r.Verify(t, fresh.Access)).Done()
		bobV, _ := login(t, r, "bob")
		bob := other.Open(bobV).Done()
		if err := r.End(ctx, v.Session()); err != nil {
			t.Fatal(err)
		}
		is("ended here", here)
		is("ended, opened by another token of it", again)
		is("ended elsewhere", there)
		is("opened after the end", other.Open(v).Done())
		isNot("somebody else's", bob)
		if err := r.EndAll(ctx, "bob"); err != nil {
			t.Fatal(err)
		}
		is("ended with all, elsewhere", bob)

		carolV, _ := login(t, r, "carol")
		old := r.Open(carolV)
		carol := old.Done()
		if _, err := r.Rotate(ctx, old, counterfoil.RotateOptions{}); err != nil {
			t.Fatal(err)
		}
		is("under another ID", carol)
		is("of an ended view", old.Done())
		isNot("never stored", r.Anonymous().Done())
	})
}

func TestDoneWhenExpired(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	v, _ := login(t, r, "alice")
	done := r.Open(v).Done()
	r.Advance(29 * time.Minute)
	if list, _ := r.Sessions(t.Context(), "alice"); len(list) != 1 {
		t.Fatal("expired too early")
	}
	select {
	case <-done:
		t.Fatal("closed while the session lives")
	default:
	}
	r.Advance(2 * time.Minute)
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("still open after the idle life")
	}
}

// TestClaimsThatNoTokenCanHold: a login that cannot be given a token ends no session for the cap, and leaves none behind. What fits the first token and no
// later one, which says when the session began, fails at the login and not at the first renewal.
func TestClaimsThatNoTokenCanHold(t *testing.T) {
	t.Parallel()
	var claims []token.Claim
	r := rig.New(t, rig.Embedded, listOnly, func(c *counterfoil.Config) {
		c.MaxSessions = 2
		c.Claims = func(context.Context, *counterfoil.Session) ([]token.Claim, error) { return claims, nil }
	})
	ctx := t.Context()
	v, _ := login(t, r, "alice")
	for range 3 {
		r.Advance(time.Second)
		claims = []token.Claim{{Name: "sst", JSON: "1"}}
		if _, err := r.Login(ctx, nil, "alice", counterfoil.LoginOptions{}); !errors.Is(err, issuer.ErrRefused) {
			t.Fatalf("a login with a claim of a registered name: %v", err)
		}
	}
	if err := r.Guard().CheckVerified(ctx, v, revocation.BestEffort); err != nil {
		t.Errorf("the session from before: %v", err)
	}
	if list, err := r.Sessions(ctx, "alice"); len(list) != 1 || err != nil {
		t.Errorf("sessions: %d, %v, want one", len(list), err)
	}

	for n := 5770; ; n++ {
		claims = []token.Claim{{Name: "roles", JSON: strconv.Quote(strings.Repeat("x", n))}}
		s, err := r.Login(ctx, nil, "bob", counterfoil.LoginOptions{})
		if errors.Is(err, issuer.ErrRefused) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		tokens, _ := s.Issued()
		r.Advance(time.Second)
		if _, _, err := r.Refresh(ctx, tokens.Refresh.Reveal(), token.Verified{}); err != nil {
			t.Fatalf("with a token of %d characters its session cannot be renewed: %v", len(tokens.Access.Reveal()), err)
		}
	}
}
