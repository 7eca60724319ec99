package counterfoil_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/rig"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

func TestUpdateLeavesWhatElseWasReadConditional(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	ctx := t.Context()
	v, _ := login(t, r, "alice")
	s, other := r.Open(v), r.Open(v)
	if _, _, err := name.Get(ctx, s); err != nil { // s decides by this
		t.Fatal(err)
	}
	_ = name.Set(other, "other")
	if err := other.Save(ctx); err != nil {
		t.Fatal(err)
	}
	tries := 0
	_, err := cart.Update(ctx, s, func(c []string, _ bool) ([]string, error) {
		if tries++; tries == 1 { // somebody gets in between: s reads the record again
			if _, err := cart.Update(ctx, r.Open(v), func([]string, bool) ([]string, error) { return []string{"theirs"}, nil }); err != nil {
				t.Error(err)
			}
		}
		return append(c, "ours"), nil
	})
	if err != nil || tries != 2 {
		t.Fatalf("update: %d tries, %v", tries, err)
	}
	_ = name.Set(s, "decided by what is gone")
	if err := s.Save(ctx); !errors.Is(err, counterfoil.ErrConflict) {
		t.Errorf("a set of what was read before the update: %v, want ErrConflict", err)
	}
}

// TestSetDuringUpdate: what another goroutine of the request sets while the function runs is not lost, the update goes out from it.
func TestSetDuringUpdate(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	v, _ := login(t, r, "alice")
	for _, before := range []string{"", "set before"} {
		s := r.Open(v)
		if before != "" {
			if err := name.Set(s, before); err != nil {
				t.Fatal(err)
			}
		}
		var seen []string
		got, err := name.Update(t.Context(), s, func(is string, _ bool) (string, error) {
			if seen = append(seen, is); len(seen) == 1 {
				if err := name.Set(s, "set meanwhile"); err != nil {
					t.Error(err)
				}
			}
			return is + ", updated", nil
		})
		if err != nil || got != "set meanwhile, updated" || len(seen) != 2 {
			t.Errorf("%q, %v, after the function had seen %q", got, err, seen)
		}
		if err := s.Save(t.Context()); err != nil {
			t.Error(err)
		}
		if got, _, err := name.Get(t.Context(), r.Open(v)); got != "set meanwhile, updated" || err != nil {
			t.Errorf("stored: %q, %v", got, err)
		}
	}
}

// TestSavedDuringUpdate: what was set before an update is saved by another goroutine while the function runs, and raised by another request. The update goes
// out from that, not from what was set.
func TestSavedDuringUpdate(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	v, _ := login(t, r, "alice")
	s := r.Open(v)
	number := counterfoil.NewField[int]("visits")
	if err := number.Set(s, 10); err != nil {
		t.Fatal(err)
	}
	again := false
	got, err := number.Update(t.Context(), s, func(is int, _ bool) (int, error) {
		if !again {
			again = true
			if err := s.Save(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := visits.Incr(t.Context(), r.Open(v), 1); err != nil {
				t.Error(err)
			}
		}
		return is + 100, nil
	})
	if n, e := visits.Get(t.Context(), r.Open(v)); got != 111 || n != 111 || err != nil || e != nil {
		t.Errorf("%d, %v; stored %d, %v, want 111", got, err, n, e)
	}
}

func TestUpdateGoesOutFromWhatWasSet(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	ctx := t.Context()
	v, _ := login(t, r, "alice")
	s := r.Open(v)
	_ = cart.Set(s, []string{"set"})
	_ = name.Set(s, "stays pending")
	failed := errors.New("no")
	if _, err := cart.Update(ctx, s, func([]string, bool) ([]string, error) { return nil, failed }); !errors.Is(err, failed) {
		t.Fatal(err)
	}
	if c, present, err := cart.Get(ctx, r.Open(v)); present || err != nil {
		t.Errorf("an update that failed saved what was set before: %v, %v", c, err)
	}
	got, err := cart.Update(ctx, s, func(c []string, present bool) ([]string, error) {
		if _, _, err := name.Get(ctx, s); err != nil { // fn may look at the session
			t.Error(err)
		}
		return append(c, "updated"), nil
	})
	if err != nil || len(got) != 2 || got[0] != "set" {
		t.Fatalf("update answers %v, %v", got, err)
	}
	s.Discard()
	s = r.Open(v)
	if c, _, _ := cart.Get(ctx, s); len(c) != 2 {
		t.Errorf("cart is %v", c)
	}
	if _, present, _ := name.Get(ctx, s); present {
		t.Error("the update saved another field")
	}
}

func TestNothingStoredForNothing(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	ctx := t.Context()
	s := r.Anonymous()
	if _, present, err := name.Pop(ctx, s); present || err != nil {
		t.Errorf("pop of a new session: %v, %v", present, err)
	}
	_ = name.Set(s, "flash")
	if v, present, err := name.Pop(ctx, s); v != "flash" || !present || err != nil {
		t.Errorf("pop of what was set: %q, %v, %v", v, present, err)
	}
	_ = name.Delete(s)
	if err := s.Save(ctx); err != nil {
		t.Fatal(err)
	}
	if keys := r.SessionKeys(t); len(keys) != 0 || !s.ID().IsZero() {
		t.Errorf("a session was stored that holds nothing: %q", keys)
	}
}

func TestSessionIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	s := r.Anonymous()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := visits.Incr(t.Context(), s, 1); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() { _, _, _ = s.Subject(), s.AuthTime(), s.ID() })
		wg.Go(func() { s.Issued(); s.Discard() })
	}
	wg.Wait()
	if n, err := visits.Get(t.Context(), s); n != 8 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if keys := r.SessionKeys(t); len(keys) != 1 {
		t.Errorf("one request began %d sessions", len(keys))
	}
}

func TestTenantsAreNothingToEachOther(t *testing.T) {
	t.Parallel()
	one := rig.New(t, rig.Embedded)
	ctx := t.Context()
	// Everything is shared, down to the keys and the prefix; only the audience differs.
	cfg := one.Config
	cfg.Audience = "another"
	two, err := counterfoil.New(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	v, tokens := login(t, one, "alice")
	if _, err := two.Guard().Check(ctx, tokens.Access.Reveal()); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("token: %v, want ErrInvalid", err)
	}
	if _, _, err := two.Refresh(ctx, tokens.Refresh.Reveal(), v); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("refresh token: %v, want ErrInvalid", err)
	}
	s := two.Open(v)
	if _, err := visits.Incr(ctx, s, 1); !errors.Is(err, counterfoil.ErrNotFound) {
		t.Errorf("session opened by the other's token: %v, want ErrNotFound", err)
	}
	if err := two.EndOthers(ctx, s); !errors.Is(err, counterfoil.ErrNotFound) {
		t.Errorf("ending others: %v, want ErrNotFound", err)
	}
	if _, err := two.Login(ctx, one.Open(v), "alice", counterfoil.LoginOptions{}); err == nil {
		t.Error("a login took over the session of another tenant")
	}
	x, err := two.Begin(ctx, counterfoil.Request{Method: "GET", Cookie: []string{cookies(tokens)}})
	if err != nil || x.Session().Subject() != "" {
		t.Fatalf("cookie: %v", err)
	}
	if err := x.Logout(ctx); err != nil {
		t.Fatal(err)
	}
	if list, err := x.Commit(ctx); len(list) != 0 || err != nil {
		t.Errorf("a logout cleared the other application's cookies: %v, %v", list, err)
	}
	if _, err := one.Guard().Check(ctx, tokens.Access.Reveal()); err != nil {
		t.Errorf("after all that: %v", err)
	}
}

// TestLoginGoesOn has each step of a login fail, before it is carried out and after, and repeats it with the same session.
func TestLoginGoesOn(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"Save", "Freeze", "Create", "End", "Append"} {
		for _, after := range []bool{false, true} {
			t.Run(step, func(t *testing.T) {
				r := rig.New(t, rig.Embedded)
				ctx := t.Context()
				visitor := r.Anonymous()
				if _, err := visits.Incr(ctx, visitor, 7); err != nil {
					t.Fatal(err)
				}
				_ = name.Set(visitor, "set, not saved")
				r.Faults.On(func(s string, a bool) error {
					if s == step && a == after {
						return rig.ErrFault
					}
					return nil
				})
				opt := counterfoil.LoginOptions{Carry: []string{"visits", "name"}}
				if _, err := r.Login(ctx, visitor, "alice", opt); !errors.Is(err, counterfoil.ErrUnavailable) {
					t.Fatalf("%v, want ErrUnavailable", err)
				}
				r.Faults.On(nil)
				s, err := r.Login(ctx, visitor, "alice", opt)
				if err != nil {
					t.Fatal(err)
				}
				if n, err := visits.Get(ctx, s); n != 7 || err != nil {
					t.Errorf("carried visits: %d, %v", n, err)
				}
				if v, _, err := name.Get(ctx, s); v != "set, not saved" || err != nil {
					t.Errorf("carried name: %q, %v", v, err)
				}
				if tokens, ok := s.Issued(); !ok {
					t.Error("no tokens")
				} else {
					r.Verify(t, tokens.Access)
				}
				if _, err := visits.Incr(ctx, visitor, 1); !errors.Is(err, counterfoil.ErrNotFound) {
					t.Errorf("the visitor's session: %v, want ErrNotFound", err)
				}
			})
		}
	}
}

func TestLoginShowsAConflict(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	ctx := t.Context()
	visitor := r.Anonymous()
	_ = cart.Set(visitor, []string{"a"})
	if err := visitor.Save(ctx); err != nil {
		t.Fatal(err)
	}
	tokens, _ := visitor.Issued()
	v := r.Verify(t, tokens.Access)
	s := r.Open(v)
	c, _, err := cart.Get(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cart.Update(ctx, r.Open(v), func(c []string, _ bool) ([]string, error) { return append(c, "theirs"), nil }); err != nil {
		t.Fatal(err)
	}
	_ = cart.Set(s, append(c, "ours"))
	if _, err := r.Login(ctx, s, "alice", counterfoil.LoginOptions{Carry: []string{"cart"}}); !errors.Is(err, counterfoil.ErrConflict) {
		t.Fatalf("%v, want ErrConflict: their item would be gone", err)
	}
	s.Discard()
	user, err := r.Login(ctx, s, "alice", counterfoil.LoginOptions{Carry: []string{"cart"}})
	if err != nil {
		t.Fatal(err)
	}
	if c, _, _ := cart.Get(ctx, user); len(c) != 2 || c[1] != "theirs" {
		t.Errorf("cart: %v", c)
	}
}

func TestUntoldIsToldLater(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	ctx := t.Context()
	other := r.Second(t)
	v, tokens := login(t, r, "alice")
	other.Fresh(t)
	r.Faults.On(rig.Never("Append"))
	if err := r.End(ctx, v.Session()); !errors.Is(err, counterfoil.ErrUnavailable) {
		t.Fatalf("end without the log: %v, want ErrUnavailable", err)
	}
	if _, err := r.Guard().Check(ctx, tokens.Access.Reveal()); err == nil {
		t.Error("this process accepts the token of the session that it ended")
	}
	r.Faults.On(nil) // nobody repeats the call
	rig.Poll(t, "the other process refuses the token", func() bool {
		_, err := other.Guard().Check(context.WithoutCancel(ctx), tokens.Access.Reveal())
		return err != nil
	})
}

// TestWhatCameBackEndsAgain has a record come back that had ended, as after a failover that lost the ending and kept the news of it.
func TestWhatCameBackEndsAgain(t *testing.T) {
	t.Parallel()
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		ctx := t.Context()
		back := func(id token.SessionID) {
			t.Helper()
			ops := []counterfoil.Op{{Kind: counterfoil.OpSet, Name: "visits", Value: []byte("7")}}
			if _, err := r.Faults.Redis.Create(ctx, counterfoil.NewRecord{Session: id, Subject: "alice", Idle: time.Hour, Absolute: time.Hour, Ops: ops}); err != nil {
				t.Fatal(err)
			}
		}
		v, tokens := login(t, r, "alice")
		if err := r.End(ctx, v.Session()); err != nil {
			t.Fatal(err)
		}
		back(v.Session())
		if _, err := visits.Get(ctx, r.Open(v)); !errors.Is(err, counterfoil.ErrNotFound) {
			t.Errorf("reading it: %v, want ErrNotFound", err)
		}
		if keys := r.SessionKeys(t); len(keys) != 0 {
			t.Errorf("it is still there: %q", keys)
		}
		back(v.Session())
		if _, _, err := r.Refresh(ctx, tokens.Refresh.Reveal(), token.Verified{}); !errors.Is(err, counterfoil.ErrNotFound) {
			t.Errorf("renewing it: %v, want ErrNotFound", err)
		}
		if keys := r.SessionKeys(t); len(keys) != 0 {
			t.Errorf("it is still there: %q", keys)
		}
		back(v.Session())
		s, err := r.Login(ctx, r.Open(v), "alice", counterfoil.LoginOptions{Carry: []string{"visits"}})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := visits.Get(ctx, s); n != 0 || err != nil {
			t.Errorf("a login takes over from it: %d, %v", n, err)
		}
		back(v.Session())
		if err := r.EndOthers(ctx, r.Open(v)); !errors.Is(err, counterfoil.ErrNotFound) {
			t.Errorf("it ends the others: %v, want ErrNotFound", err)
		}
		if list, err := r.Config.Store.Sessions(ctx, "alice"); err != nil || len(list) != 1 || list[0].Session != s.ID() {
			t.Errorf("left: %+v, %v, want the one that lives", list, err)
		}
	})
}

func TestCloseTellsWhatIsLeft(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	v, _ := login(t, r, "alice")
	r.Faults.On(rig.Never("Append"))
	if err := r.End(t.Context(), v.Session()); !errors.Is(err, counterfoil.ErrUnavailable) {
		t.Fatal(err)
	}
	if err := r.Close(); !errors.Is(err, counterfoil.ErrUnavailable) {
		t.Errorf("closing while the log takes nothing: %v, want ErrUnavailable", err)
	}
	r.Faults.On(nil)
	if err := r.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
	b, err := r.Faults.Read(t.Context(), "", 0)
	if err != nil || !slices.ContainsFunc(b.Records, func(rec revocation.Record) bool {
		e, err := revocation.ParseEntry(rec.Entry)
		return rec.Entry != nil && err == nil && e.Session == v.Session()
	}) {
		t.Errorf("the log holds %d records, and not this one, %v", len(b.Records), err)
	}
}

func TestEverythingEnds(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	ctx := t.Context()
	_, tokens := login(t, r, "alice")
	r.Fresh(t) // from here on the guard's answer is the list's, and not the store's
	r.EndEverything(t)
	rig.Poll(t, "the Manager has heard", func() bool {
		_, err := r.Guard().Check(ctx, tokens.Access.Reveal())
		return errors.Is(err, revocation.ErrRevoked)
	})
	if _, _, err := r.Refresh(ctx, tokens.Refresh.Reveal(), token.Verified{}); !errors.Is(err, counterfoil.ErrNotFound) {
		t.Errorf("a renewal after everything was revoked: %v, want ErrNotFound", err)
	}
	if keys := r.SessionKeys(t); len(keys) != 0 {
		t.Errorf("the record is left: %q", keys)
	}
}
