package counterfoil_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/rig"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

// dying fails every step from the nth on, as a process does that died: n counts the steps before which (or, with after, between carrying out and
// answering which) it dies; 0 = never. Steps are those that it came to.
type dying struct {
	n     int
	after bool
	steps []string
	dead  bool
}

func (d *dying) hook(step string, after bool) error {
	if step == "Heartbeat" || step == "Ask" { // neither is part of what is done
		return nil
	}
	if d.dead {
		return rig.ErrFault
	}
	if !after {
		d.steps = append(d.steps, step)
	}
	if len(d.steps) == d.n && after == d.after {
		d.dead = true
		return rig.ErrFault
	}
	return nil
}

// listOnly has nobody ask: a machine that is busy with other tests may take longer to answer than a question waits.
func listOnly(c *counterfoil.Config) { c.Policy = revocation.BestEffort }

// crash runs step in processes that die at each point, and then check in another process on the same store: it tries again.
func crash(t *testing.T, setup func(*testing.T, *rig.Rig) counterfoil.Tokens, step func(*testing.T, *rig.Rig, counterfoil.Tokens) error,
	check func(*testing.T, *rig.Rig, counterfoil.Tokens)) {
	t.Parallel()
	whole := &dying{}
	r := rig.New(t, rig.Embedded, listOnly)
	tokens := setup(t, r)
	r.Faults.On(whole.hook)
	if err := step(t, r, tokens); err != nil || len(whole.steps) == 0 {
		t.Fatalf("nothing was made to fail: %q, %v", whole.steps, err)
	}
	for n := range whole.steps {
		for _, after := range []bool{false, true} {
			what := fmt.Sprintf("died before step %d of %q", n+1, whole.steps)
			if after {
				what = fmt.Sprintf("died after step %d of %q", n+1, whole.steps)
			}
			t.Run(what, func(t *testing.T) {
				t.Parallel()
				r := rig.New(t, rig.Embedded, listOnly)
				tokens := setup(t, r)
				d := &dying{n: n + 1, after: after}
				r.Faults.On(d.hook)
				if err := step(t, r, tokens); err == nil {
					t.Error("the step claims to be done")
				}
				r.Close() // with all that this process would have repeated
				r.Faults.On(nil)
				check(t, r.Again(t), tokens)
			})
		}
	}
}

func TestCrashInLogin(t *testing.T) {
	crash(t, func(t *testing.T, r *rig.Rig) counterfoil.Tokens {
		s := r.Anonymous()
		if _, err := visits.Incr(t.Context(), s, 5); err != nil {
			t.Fatal(err)
		}
		tokens, _ := s.Issued()
		return tokens
	}, func(t *testing.T, r *rig.Rig, tokens counterfoil.Tokens) error {
		_, err := r.Login(t.Context(), r.Open(r.Verify(t, tokens.Access)), "alice", counterfoil.LoginOptions{Carry: []string{"visits"}})
		return err
	}, func(t *testing.T, r *rig.Rig, tokens counterfoil.Tokens) {
		ctx := t.Context()
		r.Fresh(t)
		x, err := r.Begin(ctx, counterfoil.Request{Method: "POST", Cookie: []string{cookies(tokens)}})
		if err != nil {
			t.Fatal(err)
		}
		visitor := x.Session()
		was, readErr := visits.Get(ctx, visitor)
		if err := x.Login(ctx, "alice", counterfoil.LoginOptions{Carry: []string{"visits"}}); err != nil {
			t.Fatalf("the retry: %v", err)
		}
		n, err := visits.Get(ctx, x.Session())
		switch {
		case err != nil:
			t.Fatal(err)
		case readErr == nil && !visitor.ID().IsZero() && was == 5 && n != 5:
			t.Errorf("the visitor's session was there with %d, the retry carried %d", was, n)
		}
		// The old one is dead, however far the first try got.
		if _, err := r.Guard().Check(ctx, tokens.Access.Reveal()); !errors.Is(err, revocation.ErrRevoked) {
			// A try that ended the record, and died before it told the log, answers the retry as nobody: then the record is gone all the same.
			v := r.Verify(t, tokens.Access)
			if _, err := visits.Incr(ctx, r.Open(v), 1); !errors.Is(err, counterfoil.ErrNotFound) {
				t.Errorf("the visitor's session is of use: %v", err)
			}
		}
	})
}

func TestCrashInRotation(t *testing.T) {
	crash(t, func(t *testing.T, r *rig.Rig) counterfoil.Tokens {
		v, tokens := login(t, r, "alice")
		if _, err := visits.Incr(t.Context(), r.Open(v), 5); err != nil {
			t.Fatal(err)
		}
		return tokens
	}, func(t *testing.T, r *rig.Rig, tokens counterfoil.Tokens) error {
		_, err := r.Rotate(t.Context(), r.Open(r.Verify(t, tokens.Access)), counterfoil.RotateOptions{})
		return err
	}, func(t *testing.T, r *rig.Rig, tokens counterfoil.Tokens) {
		ctx := t.Context()
		r.Fresh(t)
		v, err := r.Guard().Check(ctx, tokens.Access.Reveal())
		if errors.Is(err, revocation.ErrRevoked) {
			return // it was done but for the answer
		}
		if err != nil {
			t.Fatal(err)
		}
		s, err := r.Rotate(ctx, r.Open(v), counterfoil.RotateOptions{})
		if errors.Is(err, counterfoil.ErrNotFound) {
			return // the same, but for the news
		}
		if err != nil {
			t.Fatalf("the retry: %v", err)
		}
		if n, err := visits.Get(ctx, s); n != 5 || err != nil {
			t.Errorf("carried %d, %v", n, err)
		}
		if _, err := visits.Incr(ctx, r.Open(v), 1); !errors.Is(err, counterfoil.ErrNotFound) {
			t.Errorf("the old session: %v, want ErrNotFound", err)
		}
	})
}

func TestCrashInLogout(t *testing.T) {
	crash(t, func(t *testing.T, r *rig.Rig) counterfoil.Tokens {
		_, tokens := login(t, r, "alice")
		return tokens
	}, func(t *testing.T, r *rig.Rig, tokens counterfoil.Tokens) error {
		return r.End(t.Context(), r.Verify(t, tokens.Access).Session())
	}, func(t *testing.T, r *rig.Rig, tokens counterfoil.Tokens) {
		r.Fresh(t)
		x, err := r.Begin(t.Context(), counterfoil.Request{Method: "POST", Cookie: []string{cookies(tokens)}})
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Logout(t.Context()); err != nil {
			t.Fatalf("the retry: %v", err)
		}
		isGone(t, r, tokens)
	})
}

func TestCrashInLogoutEverywhere(t *testing.T) {
	crash(t, func(t *testing.T, r *rig.Rig) counterfoil.Tokens {
		login(t, r, "alice")
		_, tokens := login(t, r, "alice")
		return tokens
	}, func(t *testing.T, r *rig.Rig, tokens counterfoil.Tokens) error {
		return r.EndAll(t.Context(), "alice")
	}, func(t *testing.T, r *rig.Rig, tokens counterfoil.Tokens) {
		r.Fresh(t)
		if err := r.EndAll(t.Context(), "alice"); err != nil {
			t.Fatalf("the retry: %v", err)
		}
		isGone(t, r, tokens)
	})
}

func TestCrashInEndOthers(t *testing.T) {
	crash(t, func(t *testing.T, r *rig.Rig) counterfoil.Tokens {
		_, tokens := login(t, r, "alice")
		return tokens
	}, func(t *testing.T, r *rig.Rig, tokens counterfoil.Tokens) error {
		v, _ := login(t, r.Again(t), "alice") // in a process that lives
		return r.EndOthers(t.Context(), r.Open(v))
	}, func(t *testing.T, r *rig.Rig, tokens counterfoil.Tokens) {
		r.Fresh(t)
		v, _ := login(t, r, "alice")
		if err := r.EndOthers(t.Context(), r.Open(v)); err != nil {
			t.Fatalf("the retry: %v", err)
		}
		isGone(t, r, tokens)
	})
}

// isGone checks that a session is dead at the origin, at a verifier, and in its tokens.
func isGone(t *testing.T, r *rig.Rig, tokens counterfoil.Tokens) {
	t.Helper()
	ctx := t.Context()
	if _, err := r.Guard().Check(ctx, tokens.Access.Reveal()); !errors.Is(err, revocation.ErrRevoked) {
		t.Errorf("access token: %v, want ErrRevoked", err)
	}
	if _, _, err := r.Refresh(ctx, tokens.Refresh.Reveal(), token.Verified{}); !errors.Is(err, counterfoil.ErrNotFound) {
		t.Errorf("refresh token: %v, want ErrNotFound", err)
	}
	edge := r.Again(t)
	rig.Poll(t, "a verifier that starts now refuses the token", func() bool {
		_, err := edge.Guard().Check(ctx, tokens.Access.Reveal())
		return errors.Is(err, revocation.ErrRevoked)
	})
}
