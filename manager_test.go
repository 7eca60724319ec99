package counterfoil_test

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/rig"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(killSetting); text != "" {
		if err := killedProcess(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	// These tests wait, for heartbeats and for the end of a read, far more than they compute.
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = flag.Set("test.parallel", "6")
	}
	// go-redis looks for a dead server once a second, until a second after Close.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

var (
	visits = counterfoil.NewCounter("visits")
	name   = counterfoil.NewField[string]("name")
	cart   = counterfoil.NewField[[]string]("cart")
)

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// login begins a session of subject and returns it as the next request sees it: through its verified token.
func login(t *testing.T, r *rig.Rig, subject string) (token.Verified, counterfoil.Tokens) {
	t.Helper()
	s := must[*counterfoil.Session](t)(r.Login(t.Context(), nil, subject, counterfoil.LoginOptions{}))
	tokens, ok := s.Issued()
	if !ok {
		t.Fatal("a login issued no tokens")
	}
	return r.Verify(t, tokens.Access), tokens
}

// TestNoKeysArePrinted: whoever has one of the secrets, or of the keys that a Manager derives, makes refresh tokens, or reads what is encrypted. No verb of fmt
// shows one.
func TestNoKeysArePrinted(t *testing.T) {
	t.Parallel()
	values := []byte("these bytes are to encrypt values")
	r := rig.New(t, rig.Embedded, func(c *counterfoil.Config) { c.ValueKeys = [][]byte{values} })
	if err := r.Close(); err != nil { // what runs must not be looked at
		t.Fatal(err)
	}
	suffix := " v1\x00" + r.Config.Issuer + "\x00" + r.Config.Audience
	var shown []string // the ways in which a part of a key could show
	for _, k := range []struct {
		secret []byte
		name   string
		from   int // what of the derived bytes is the secret part
	}{
		{r.Config.Secrets[0], "counterfoil refresh token", 0}, {values, "counterfoil value", 0}, {r.Config.Secrets[0], "counterfoil device handle", 32},
	} {
		derived := must[[]byte](t)(hkdf.Key(sha256.New, k.secret, nil, k.name+suffix, 64))
		part := derived[k.from : k.from+8]
		shown = append(shown, strings.Trim(fmt.Sprint(part), "[]"), fmt.Sprintf("%x", part), fmt.Sprintf("%X", part), fmt.Sprintf("%q", part))
	}
	for _, secret := range [][]byte{r.Config.Secrets[0], values} { // as the Config has them
		part := secret[:8]
		shown = append(shown, string(part), strings.Trim(fmt.Sprint(part), "[]"), fmt.Sprintf("%x", part), fmt.Sprintf("%X", part))
	}
	type application struct{ m *counterfoil.Manager }
	for _, verb := range "vTtbcdoOqxXUeEfFgGsp" {
		for _, v := range []any{r.Manager, application{r.Manager}, reflect.ValueOf(r.Manager).Elem(), r.Config, &r.Config, struct{ C counterfoil.Config }{r.Config}} {
			if strings.Contains(fmt.Sprintf("%T", v), "Config") && verb == 'p' {
				continue // go vet refuses it, and fmt calls no method for it
			}
			for _, flag := range []string{"", "+", "#"} {
				text := fmt.Sprintf("%"+flag+string(verb), v)
				for _, s := range shown {
					if strings.Contains(text, s) {
						t.Errorf("%%%s%c of %T shows %s", flag, verb, v, s)
					}
				}
			}
		}
	}
}

func TestVisitorBecomesUser(t *testing.T) {
	t.Parallel()
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		ctx := t.Context()
		visitor := r.Anonymous()
		if n := must[int64](t)(visits.Get(ctx, visitor)); n != 0 {
			t.Fatalf("a new session has %d visits", n)
		}
		if !visitor.ID().IsZero() {
			t.Fatal("reading began a session")
		}
		if n := must[int64](t)(visits.Incr(ctx, visitor, 1)); n != 1 {
			t.Fatalf("first increment ends at %d", n)
		}
		tokens, ok := visitor.Issued()
		if !ok || tokens.Access.IsZero() || tokens.Refresh.IsZero() {
			t.Fatal("the first write issued no pair")
		}
		v := r.Verify(t, tokens.Access)
		if v.Subject() != "" || v.Session() != visitor.ID() || v.Generation() != 1 {
			t.Fatalf("visitor's token: subject %q, generation %d", v.Subject(), v.Generation())
		}

		again := r.Open(v)
		if err := name.Set(again, "planted"); err != nil {
			t.Fatal(err)
		}
		if err := again.Save(ctx); err != nil {
			t.Fatal(err)
		}
		user, err := r.Login(ctx, again, "alice", counterfoil.LoginOptions{Carry: []string{"visits"}, Device: "a test"})
		if err != nil {
			t.Fatal(err)
		}
		if user.ID() == visitor.ID() {
			t.Fatal("login kept the ID: fixation")
		}
		if n := must[int64](t)(visits.Get(ctx, user)); n != 1 {
			t.Errorf("the carried counter stands at %d, want 1", n)
		}
		if _, ok, err := name.Get(ctx, user); ok || err != nil {
			t.Errorf("a field that was not named came along: %v, %v", ok, err)
		}
		if user.AuthTime().IsZero() {
			t.Error("a login has no authentication time")
		}
		if _, err := visits.Incr(ctx, r.Open(v), 1); !errors.Is(err, counterfoil.ErrNotFound) {
			t.Errorf("writing to the visitor's session after login: %v, want ErrNotFound", err)
		}
		if _, err := r.Guard().Check(ctx, tokens.Access.Reveal()); !errors.Is(err, revocation.ErrRevoked) {
			t.Errorf("the visitor's token after login: %v, want ErrRevoked", err)
		}
		list, err := r.Devices(ctx, user)
		if err != nil || len(list) != 1 || !list[0].Current || list[0].Label != "a test" {
			t.Errorf("sessions of alice: %+v, %v", list, err)
		}
	})
}

func TestParallelIncrementsAreAllKept(t *testing.T) {
	t.Parallel()
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		v, _ := login(t, r, "alice")
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, err := visits.Incr(t.Context(), r.Open(v), 1); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := must[int64](t)(visits.Get(t.Context(), r.Open(v))); n != 50 {
			t.Errorf("50 parallel increments end at %d", n)
		}
	})
}

func TestParallelUpdatesAreAllKept(t *testing.T) {
	t.Parallel()
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		v, _ := login(t, r, "alice")
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				_, err := cart.Update(t.Context(), r.Open(v), func(c []string, _ bool) ([]string, error) { return append(c, "x"), nil })
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if c, _, err := cart.Get(t.Context(), r.Open(v)); err != nil || len(c) != 8 {
			t.Errorf("8 parallel updates left %v, %v", c, err)
		}
	})
}

func TestPopIsOnce(t *testing.T) {
	t.Parallel()
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		v, _ := login(t, r, "alice")
		s := r.Open(v)
		if err := name.Set(s, "flash"); err != nil {
			t.Fatal(err)
		}
		if err := s.Save(t.Context()); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var wg sync.WaitGroup
		got := 0
		for range 10 {
			wg.Go(func() {
				v, ok, err := name.Pop(t.Context(), r.Open(v))
				mu.Lock()
				defer mu.Unlock()
				if err != nil || ok != (v == "flash") {
					t.Errorf("pop: %q, %v, %v", v, ok, err)
				}
				if ok {
					got++
				}
			})
		}
		wg.Wait()
		if got != 1 {
			t.Errorf("%d of 10 pops got the value, want 1", got)
		}
	})
}

func TestSetAfterGetConflicts(t *testing.T) {
	t.Parallel()
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		ctx := t.Context()
		v, _ := login(t, r, "alice")
		first, second, third := r.Open(v), r.Open(v), r.Open(v)
		if _, _, err := name.Get(ctx, first); err != nil {
			t.Fatal(err)
		}
		_ = name.Set(first, "first")
		_ = name.Set(second, "second") // has not read it: wins
		if err := second.Save(ctx); err != nil {
			t.Fatal(err)
		}
		if err := first.Save(ctx); !errors.Is(err, counterfoil.ErrConflict) {
			t.Errorf("setting a field that changed since it was read: %v, want ErrConflict", err)
		}
		_ = cart.Set(third, []string{"other field"})
		if err := third.Save(ctx); err != nil {
			t.Errorf("setting another field: %v", err)
		}
		s := r.Open(v)
		if got, _, _ := name.Get(ctx, s); got != "second" {
			t.Errorf("name is %q, want second", got)
		}
		if got, _, _ := cart.Get(ctx, s); len(got) != 1 {
			t.Errorf("cart is %v", got)
		}
	})
}

func TestDecodeErrorFailsOneRead(t *testing.T) {
	t.Parallel()
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		ctx := t.Context()
		v, _ := login(t, r, "alice")
		s := r.Open(v)
		_ = name.Set(s, "not a list")
		if _, err := visits.Incr(ctx, s, 3); err != nil {
			t.Fatal(err)
		}
		if err := s.Save(ctx); err != nil {
			t.Fatal(err)
		}
		s = r.Open(v)
		if _, _, err := counterfoil.NewField[[]string]("name").Get(ctx, s); err == nil {
			t.Error("a string decoded as a list")
		}
		if n, err := visits.Get(ctx, s); err != nil || n != 3 {
			t.Errorf("the session is of no use after that: %d, %v", n, err)
		}
		if _, err := counterfoil.NewCounter("name").Incr(ctx, s, 1); !errors.Is(err, counterfoil.ErrNotInteger) {
			t.Errorf("incrementing a string: %v, want ErrNotInteger", err)
		}
	})
}

func TestLogoutStaysLoggedOut(t *testing.T) {
	t.Parallel()
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		ctx := t.Context()
		v, tokens := login(t, r, "alice")
		inFlight := r.Open(v)
		if _, _, err := name.Get(ctx, inFlight); err != nil {
			t.Fatal(err)
		}
		_ = name.Set(inFlight, "late")
		if err := r.End(ctx, v.Session()); err != nil {
			t.Fatal(err)
		}
		if err := inFlight.Save(ctx); !errors.Is(err, counterfoil.ErrNotFound) {
			t.Errorf("a save in flight during the logout: %v, want ErrNotFound", err)
		}
		if _, err := visits.Incr(ctx, r.Open(v), 1); !errors.Is(err, counterfoil.ErrNotFound) {
			t.Errorf("an increment after the logout: %v, want ErrNotFound", err)
		}
		if _, _, err := r.Refresh(ctx, tokens.Refresh.Reveal(), token.Verified{}); !errors.Is(err, counterfoil.ErrNotFound) {
			t.Errorf("a refresh after the logout: %v, want ErrNotFound", err)
		}
		if _, err := r.Guard().Check(ctx, tokens.Access.Reveal()); !errors.Is(err, revocation.ErrRevoked) {
			t.Errorf("the access token after the logout: %v, want ErrRevoked", err)
		}
		if keys := r.SessionKeys(t); len(keys) != 0 {
			t.Errorf("records are left: %q", keys)
		}
		if err := r.End(ctx, v.Session()); err != nil {
			t.Errorf("ending it again: %v", err)
		}
	})
}

func TestLogoutEverywhere(t *testing.T) {
	t.Parallel()
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		ctx := t.Context()
		var all []counterfoil.Tokens
		for range 3 {
			_, tokens := login(t, r, "alice")
			all = append(all, tokens)
		}
		_, bob := login(t, r, "bob")
		if err := r.EndAll(ctx, "alice"); err != nil {
			t.Fatal(err)
		}
		for _, tokens := range all {
			if _, err := r.Guard().Check(ctx, tokens.Access.Reveal()); !errors.Is(err, revocation.ErrRevoked) {
				t.Errorf("a token of alice: %v, want ErrRevoked", err)
			}
		}
		if _, err := r.Guard().Check(ctx, bob.Access.Reveal()); err != nil {
			t.Errorf("bob's token: %v", err)
		}
		_, again := login(t, r, "alice")
		if _, err := r.Guard().Check(ctx, again.Access.Reveal()); err != nil {
			t.Errorf("a login right after: %v", err)
		}
	})
}

func TestEndOthers(t *testing.T) {
	t.Parallel()
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		ctx := t.Context()
		_, one := login(t, r, "alice")
		_, two := login(t, r, "alice")
		v, this := login(t, r, "alice")
		if err := r.EndOthers(ctx, r.Open(v)); err != nil {
			t.Fatal(err)
		}
		for _, tokens := range []counterfoil.Tokens{one, two} {
			if _, err := r.Guard().Check(ctx, tokens.Access.Reveal()); !errors.Is(err, revocation.ErrRevoked) {
				t.Errorf("another session's token: %v, want ErrRevoked", err)
			}
		}
		if _, err := r.Guard().Check(ctx, this.Access.Reveal()); err != nil {
			t.Errorf("the kept session's token: %v", err)
		}
		if list, err := r.Sessions(ctx, "alice"); err != nil || len(list) != 1 {
			t.Errorf("left: %+v, %v", list, err)
		}
		visitor := r.Anonymous()
		if _, err := visits.Incr(ctx, visitor, 1); err != nil {
			t.Fatal(err)
		}
		if err := r.EndOthers(ctx, visitor); err != counterfoil.ErrNotFound {
			t.Errorf("a visitor's others: %v, want ErrNotFound", err)
		}
	})
}

func TestAnotherProcessHears(t *testing.T) {
	t.Parallel()
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		other := r.Second(t)
		v, tokens := login(t, r, "alice")
		other.Fresh(t)
		if _, err := other.Guard().Check(t.Context(), tokens.Access.Reveal()); err != nil {
			t.Fatalf("before the logout: %v", err)
		}
		if err := r.End(t.Context(), v.Session()); err != nil {
			t.Fatal(err)
		}
		rig.Poll(t, "the other process refuses the token", func() bool {
			_, err := other.Guard().Check(t.Context(), tokens.Access.Reveal())
			return errors.Is(err, revocation.ErrRevoked)
		})
	})
}

func TestRefresh(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	ctx := t.Context()
	v, first := login(t, r, "alice")
	refresh := func(raw token.Secret) (counterfoil.Tokens, error) {
		s, tokens, err := r.Refresh(ctx, raw.Reveal(), token.Verified{})
		if s != nil && (s.ID() != v.Session() || s.Subject() != "alice") {
			t.Errorf("refresh answered session of %q", s.Subject())
		}
		return tokens, err
	}
	// Made a moment ago: the holder keeps its refresh token.
	same, err := refresh(first.Refresh)
	if err != nil || same.Access.IsZero() || !same.Refresh.IsZero() {
		t.Fatalf("within the window: %v, refresh token sent again: %v", err, !same.Refresh.IsZero())
	}
	r.Advance(11 * time.Second)
	second, err := refresh(first.Refresh)
	if err != nil || second.Refresh.IsZero() || second.Refresh.Equal(first.Refresh) {
		t.Fatalf("after the window: %v", err)
	}
	if g := r.Verify(t, second.Access).Generation(); g != 2 {
		t.Errorf("generation %d, want 2", g)
	}
	// Another tab with the old one, the new one not yet seen: it is handed the current generation.
	handed, err := refresh(first.Refresh)
	if err != nil || handed.Refresh.IsZero() || r.Verify(t, handed.Access).Generation() != 2 {
		t.Fatalf("another tab: %v", err)
	}
	// The new one arrives, so the old one is superseded within the window and reuse after it.
	if _, err := visits.Incr(ctx, r.Open(r.Verify(t, second.Access)), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := refresh(first.Refresh); !errors.Is(err, counterfoil.ErrSuperseded) {
		t.Errorf("superseded: %v", err)
	}
	r.Advance(11 * time.Second)
	if _, err := refresh(first.Refresh); !errors.Is(err, counterfoil.ErrReuse) {
		t.Errorf("reuse: %v, want ErrReuse", err)
	}
	if _, err := refresh(second.Refresh); !errors.Is(err, counterfoil.ErrNotFound) {
		t.Errorf("the owner's token after reuse: %v, want ErrNotFound", err)
	}
	if _, err := r.Guard().Check(ctx, second.Access.Reveal()); !errors.Is(err, revocation.ErrRevoked) {
		t.Errorf("the access token after reuse: %v, want ErrRevoked", err)
	}
}

// TestRenewedByWhoDidNotKnow: where a master that was cut off renews or rotates a session that has ended at its successor, the new token is dead by the
// entry of the log that ended it. A new proof of who it is begins a session anew.
func TestRenewedByWhoDidNotKnow(t *testing.T) {
	t.Parallel()
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		ctx := t.Context()
		v, first := login(t, r, "alice")
		var late token.Verified
		rig.Poll(t, "a token is renewed a millisecond later", func() bool {
			_, renewed, err := r.Refresh(ctx, first.Refresh.Reveal(), token.Verified{})
			if err != nil {
				t.Fatal(err)
			}
			late = r.Verify(t, renewed.Access)
			return late.IssuedAt().After(v.IssuedAt())
		})
		rotate := func(v token.Verified, opt counterfoil.RotateOptions) token.Verified {
			s, err := r.Rotate(ctx, r.Open(v), opt)
			if err != nil {
				t.Fatal(err)
			}
			tokens, _ := s.Issued()
			return r.Verify(t, tokens.Access)
		}
		rotated := rotate(late, counterfoil.RotateOptions{})
		proved := rotate(rotated, counterfoil.RotateOptions{Reauthenticated: true})
		_, later := login(t, r, "alice")
		if !late.Began().Equal(v.IssuedAt()) {
			t.Fatalf("the session began at %v, want %v", late.Began(), v.IssuedAt())
		}
		for name, e := range map[string]revocation.Entry{
			"everywhere": {Kind: revocation.KindSubject, Subject: v.SubjectHash()},
			"everything": {Kind: revocation.KindAll},
		} {
			list, err := revocation.NewList(revocation.ListConfig{})
			if err != nil {
				t.Fatal(err)
			}
			e.NotBefore = late.BeganMilli() // acknowledged elsewhere, before the renewal
			e.At = e.NotBefore
			if err := list.Add(e); err != nil {
				t.Fatal(err)
			}
			if !list.Contains(late) || !list.Contains(rotated) {
				t.Errorf("%s: renewed after the end of its session: in the list %v; rotated: %v", name, list.Contains(late), list.Contains(rotated))
			}
			if list.Contains(r.Verify(t, later.Access)) || list.Contains(proved) {
				t.Errorf("%s: a session that began later is in the list", name)
			}
		}
	})
}

func TestRefreshTokenRefused(t *testing.T) {
	t.Parallel()
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		_, tokens := login(t, r, "alice")
		good := tokens.Refresh.Reveal()
		parts := strings.Split(good, ".")
		for what, raw := range map[string]string{
			"empty":             "",
			"no dots":           "refresh",
			"cut":               good[:len(good)-1],
			"longer":            good + "A",
			"a newline":         good + "\n",
			"another MAC":       strings.Join(parts[:3], ".") + "." + strings.Repeat("A", 43),
			"next generation":   parts[0] + ".2." + parts[2] + "." + parts[3],
			"later expiry":      parts[0] + "." + parts[1] + ".99999999999." + parts[3],
			"no MAC":            strings.Join(parts[:3], "."),
			"ten thousand dots": strings.Repeat(".", 10_000),
		} {
			if _, _, err := r.Refresh(t.Context(), raw, token.Verified{}); !errors.Is(err, token.ErrInvalid) {
				t.Errorf("%s: %v, want ErrInvalid", what, err)
			}
		}
		if _, _, err := r.Refresh(t.Context(), good, token.Verified{}); err != nil {
			t.Errorf("the good one afterwards: %v", err)
		}
	})
}

func TestStoreGone(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	v, tokens := login(t, r, "alice")
	login(t, r, "alice")
	devices := must[[]counterfoil.Device](t)(r.Devices(t.Context(), r.Open(v)))
	other := devices[slices.IndexFunc(devices, func(d counterfoil.Device) bool { return !d.Current })].Handle
	x := must[*counterfoil.Exchange](t)(r.Begin(t.Context(), counterfoil.Request{Method: "POST", Cookie: []string{cookies(tokens)}}))
	r.StopServer()
	ctx, done := context.WithTimeout(t.Context(), 30*time.Second)
	defer done()
	for what, err := range map[string]error{
		"get":             second(visits.Get(ctx, r.Open(v))),
		"incr":            second(visits.Incr(ctx, r.Open(v), 1)),
		"login":           second(r.Login(ctx, nil, "bob", counterfoil.LoginOptions{})),
		"end":             r.End(ctx, v.Session()),
		"end all":         r.EndAll(ctx, "alice"),
		"end by a handle": x.EndDevice(ctx, other),
		"refresh":         func() error { _, _, err := r.Refresh(ctx, tokens.Refresh.Reveal(), token.Verified{}); return err }(),
	} {
		if status, retry := counterfoil.Status(err); status != 503 || retry == 0 {
			t.Errorf("%s with the store gone: %v, status %d", what, err, status)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// refusing is a log that may not be read.
type refusing struct{}

var errRefusing = errors.New("NOPERM this user may not read the log")

func (refusing) Read(context.Context, revocation.Position, time.Duration) (revocation.Batch, error) {
	return revocation.Batch{}, errRefusing
}

// TestNeverFresh: whoever runs a process whose list does not become fresh is told so, and why.
func TestNeverFresh(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded, func(c *counterfoil.Config) { c.Source, c.MaxStale = refusing{}, time.Millisecond })
	rig.Poll(t, "the log says that the list is stale", func() bool { return strings.Contains(r.Logs.String(), "list is stale") })
	for _, want := range []string{"log not read yet", errRefusing.Error()} {
		if !strings.Contains(r.Logs.String(), want) {
			t.Errorf("logged without %q:\n%s", want, r.Logs)
		}
	}
	err := r.Ready(t.Context())
	if !errors.Is(err, revocation.ErrStale) || !errors.Is(err, errRefusing) || !strings.Contains(err.Error(), "log not read yet") {
		t.Errorf("Ready: %v", err)
	}
	if status, _ := counterfoil.Status(err); status != 503 {
		t.Errorf("status %d", status)
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	for what, change := range map[string]func(*counterfoil.Config){
		"no issuer":          func(c *counterfoil.Config) { c.Issuer = "" },
		"no audience":        func(c *counterfoil.Config) { c.Audience = "" },
		"no keys":            func(c *counterfoil.Config) { c.Keys = nil },
		"no store":           func(c *counterfoil.Config) { c.Store = nil },
		"no secrets":         func(c *counterfoil.Config) { c.Secrets = nil },
		"short secret":       func(c *counterfoil.Config) { c.Secrets = [][]byte{[]byte("short")} },
		"long access life":   func(c *counterfoil.Config) { c.AccessLife = 16 * time.Minute },
		"negative life":      func(c *counterfoil.Config) { c.AccessLife = -1 },
		"short idle":         func(c *counterfoil.Config) { c.IdleLife = 9 * time.Minute },
		"short absolute":     func(c *counterfoil.Config) { c.AbsoluteLife = time.Minute },
		"wide window":        func(c *counterfoil.Config) { c.Window = 2 * time.Minute },
		"wide leeway":        func(c *counterfoil.Config) { c.Leeway = 2 * time.Minute },
		"negative staleness": func(c *counterfoil.Config) { c.MaxStale = -1 },
		"name with a space":  func(c *counterfoil.Config) { c.Name = "a b" },
		"a long name":        func(c *counterfoil.Config) { c.Name = strings.Repeat("n", 65) },
		"long cookie suffix": func(c *counterfoil.Config) { c.CookieSuffix = strings.Repeat("n", 65) },
		"odd cookie suffix":  func(c *counterfoil.Config) { c.CookieSuffix = "; Path=/x" },
	} {
		cfg := r.Config
		change(&cfg)
		if m, err := counterfoil.New(t.Context(), cfg); err == nil {
			m.Close()
			t.Errorf("%s: accepted", what)
		} else if strings.Contains(err.Error(), "FollowerConfig") {
			t.Errorf("%s: the error names what the caller has not written: %v", what, err)
		}
	}
}

func TestSubjectIsChecked(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	for _, subject := range []string{"", strings.Repeat("x", 10<<10), "\xff", "a\x00b", "a\tb", strings.Repeat("é", 129)} {
		if _, err := r.Login(t.Context(), nil, subject, counterfoil.LoginOptions{}); !errors.Is(err, counterfoil.ErrSubject) {
			t.Errorf("a subject of %d bytes: %v, want ErrSubject", len(subject), err)
		}
	}
	for _, subject := range []string{"{x}", "a:b", "}{", strings.Repeat("é", 128), `"quoted"\`} {
		v, _ := login(t, r, subject)
		if v.Subject() != subject {
			t.Errorf("subject %q came back as %q", subject, v.Subject())
		}
		if list, err := r.Sessions(t.Context(), subject); err != nil || len(list) != 1 {
			t.Errorf("sessions of %q: %v, %v", subject, list, err)
		}
	}
}
