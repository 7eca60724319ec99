package counterfoil_test

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/rig"
	"github.com/counterfoil/counterfoil/token"
)

// TestEndedWhileRotated ends a session between its freezing and its going on under a new ID, where the hook that projects claims runs. It has ended.
func TestEndedWhileRotated(t *testing.T) {
	t.Parallel()
	for how, end := range map[string]func(r *rig.Rig, ctx context.Context, it, other *counterfoil.Session) error{
		"logout": func(r *rig.Rig, ctx context.Context, it, _ *counterfoil.Session) error { return r.End(ctx, it.ID()) },
		"logout everywhere": func(r *rig.Rig, ctx context.Context, it, _ *counterfoil.Session) error {
			return r.EndAll(ctx, it.Subject())
		},
		"end others": func(r *rig.Rig, ctx context.Context, _, other *counterfoil.Session) error {
			return r.EndOthers(ctx, other)
		},
		"a device, by its handle": func(r *rig.Rig, ctx context.Context, it, other *counterfoil.Session) error {
			devices, err := r.Devices(ctx, other)
			for _, d := range devices {
				if !d.Current {
					err = r.EndDevice(ctx, other, d.Handle)
				}
			}
			if len(devices) != 2 { // the one that is being replaced is not shown
				return errors.Join(err, r.End(ctx, it.ID()))
			}
			return err
		},
	} {
		for _, backend := range []rig.Backend{rig.Embedded, rig.Server} {
			t.Run(how+" on "+string(backend), func(t *testing.T) {
				t.Parallel()
				var between func()
				r := rig.New(t, backend, func(c *counterfoil.Config) {
					c.Claims = func(context.Context, *counterfoil.Session) ([]token.Claim, error) {
						if do := between; do != nil {
							between = nil
							do()
						}
						return nil, nil
					}
				})
				v, _ := login(t, r, "alice")
				w, _ := login(t, r, "alice")
				it, other := r.Open(v), r.Open(w)
				ran := false
				between = func() {
					ran = true
					if err := end(r, t.Context(), r.Open(v), other); err != nil {
						t.Errorf("ending it: %v", err)
					}
				}
				if _, err := r.Rotate(t.Context(), it, counterfoil.RotateOptions{}); !errors.Is(err, counterfoil.ErrNotFound) || !ran {
					t.Errorf("rotating what was ended meanwhile: %v, want ErrNotFound", err)
				}
				list, err := r.Sessions(t.Context(), "alice")
				if err != nil || len(list) > 1 || len(list) == 1 && list[0].Session != w.Session() {
					t.Errorf("sessions afterwards: %v, %v", list, err)
				}
			})
		}
	}
}

// TestRotationsBesideLogouts lets the two run at once: whatever the order, after the logout nothing lives.
func TestRotationsBesideLogouts(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Server)
	went := 0
	for range 100 {
		v, _ := login(t, r, "alice")
		var next *counterfoil.Session
		var wg sync.WaitGroup
		wg.Go(func() { next, _ = r.Rotate(t.Context(), r.Open(v), counterfoil.RotateOptions{}) })
		wg.Go(func() {
			if err := r.EndAll(t.Context(), "alice"); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		if next != nil {
			went++
			if _, _, err := name.Get(t.Context(), next); !errors.Is(err, counterfoil.ErrNotFound) {
				t.Fatalf("a rotated session survives the logout beside it: %v", err)
			}
		}
	}
	t.Logf("%d of 100 rotations were first", went)
}

// TestRotationOfAVisitor: an anonymous session goes on in the slot it is in, so that its end is judged in one step there too.
func TestRotationOfAVisitor(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	s := r.Anonymous()
	if _, err := visits.Incr(t.Context(), s, 3); err != nil {
		t.Fatal(err)
	}
	old := s.ID()
	next, err := r.Rotate(t.Context(), s, counterfoil.RotateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := visits.Get(t.Context(), next); n != 3 || err != nil || next.ID() == old || next.ID().Tag() != old.Tag() {
		t.Errorf("%d, %v, in slot %s after %s", n, err, next.ID().Tag(), old.Tag())
	}
}

// TestRotationIsNotRefusedForItsSize: what one session could hold, its heir can: a session that is frozen and cannot go on would be locked for good.
func TestRotationIsNotRefusedForItsSize(t *testing.T) {
	t.Parallel()
	for what, tt := range map[string]struct {
		fields int
		value  string
		seal   bool
	}{
		"many fields":                         {5000, "", false},
		"values that encryption makes longer": {1000, strings.Repeat("x", 34), true},
		"one as large as it may be":           {1, strings.Repeat("x", counterfoil.MaxDataLen-5), true},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := rig.New(t, rig.Server)
			v, _ := login(t, r, "alice")
			s := r.Open(v)
			for i := range tt.fields {
				if err := counterfoil.NewField[string]("f"+strconv.Itoa(i)).Set(s, tt.value); err != nil {
					t.Fatal(err)
				}
				if i%4000 == 3999 || i == tt.fields-1 {
					if err := s.Save(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
			}
			m := r.Manager
			if tt.seal {
				cfg := r.Config
				cfg.ValueKeys, cfg.InsecureReadPlainValues = [][]byte{bytes.Repeat([]byte("k"), 32)}, true
				var err error
				if m, err = counterfoil.New(t.Context(), cfg); err != nil {
					t.Fatal(err)
				}
				defer m.Close()
			}
			next, err := m.Rotate(t.Context(), m.Open(v), counterfoil.RotateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for i := range tt.fields {
				if got, ok, err := counterfoil.NewField[string]("f"+strconv.Itoa(i)).Get(t.Context(), next); got != tt.value || !ok || err != nil {
					t.Fatalf("field %d: %d bytes, %v, %v", i, len(got), ok, err)
				}
			}
		})
	}
}

// TestOthersEndBesideARotation: two tabs of one browser, one of which has all other devices signed out while the session goes on under another ID in the
// other. That ID is no other device.
func TestOthersEndBesideARotation(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"Create", "End"} { // the old record is frozen before the first, the new one is there before the second
		t.Run("before "+step, func(t *testing.T) {
			t.Parallel()
			r := rig.New(t, rig.Embedded)
			tab := r.Second(t)
			v, _ := login(t, r, "alice")
			w, _ := login(t, r, "alice")
			r.Faults.On(func(s string, after bool) error {
				if s == step && !after {
					if err := tab.EndOthers(t.Context(), tab.Open(v)); !errors.Is(err, counterfoil.ErrNotFound) {
						t.Errorf("ending the others by a session that is being replaced: %v, want ErrNotFound", err)
					}
				}
				return nil
			})
			s, err := r.Rotate(t.Context(), r.Open(v), counterfoil.RotateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			r.Faults.On(nil)
			for _, s := range []*counterfoil.Session{s, r.Open(w)} {
				if _, _, err := name.Get(t.Context(), s); err != nil {
					t.Errorf("afterwards a session: %v", err)
				}
			}
			if err := r.EndOthers(t.Context(), s); err != nil {
				t.Errorf("by its new ID: %v", err)
			}
			if _, _, err := name.Get(t.Context(), r.Open(w)); !errors.Is(err, counterfoil.ErrNotFound) {
				t.Errorf("then the other session: %v, want ErrNotFound", err)
			}
		})
	}
}

// TestOthersEndWhenARotationHasBegun: the session is replaced after the look at it and before the others end, and what replaces it is one of them. Had they
// ended, nobody would be left.
func TestOthersEndWhenARotationHasBegun(t *testing.T) {
	t.Parallel()
	for _, backend := range []rig.Backend{rig.Embedded, rig.Server} {
		for _, step := range []string{"Create", "End"} { // after the first the old record is frozen, after the second it is gone
			t.Run(string(backend)+"/after "+step, func(t *testing.T) {
				t.Parallel()
				r := rig.New(t, backend)
				tab := r.Second(t)
				v, _ := login(t, r, "alice")
				w, _ := login(t, r, "alice")
				there, goOn := make(chan struct{}), make(chan struct{})
				arrive := sync.OnceFunc(func() { close(there) })
				r.Faults.On(func(s string, after bool) error {
					if s == step && after {
						arrive()
						<-goOn
					}
					return nil
				})
				var heir *counterfoil.Session
				var failed error
				var other sync.WaitGroup
				begin := sync.OnceFunc(func() {
					other.Go(func() {
						defer arrive()
						heir, failed = r.Rotate(t.Context(), r.Open(v), counterfoil.RotateOptions{})
					})
					<-there
				})
				tab.Faults.On(func(s string, after bool) error {
					if s == "End" && !after {
						begin()
					}
					return nil
				})
				err := tab.EndOthers(t.Context(), tab.Open(v))
				close(goOn)
				other.Wait()
				if !errors.Is(err, counterfoil.ErrNotFound) {
					t.Errorf("ending the others by a session that was replaced: %v, want ErrNotFound", err)
				}
				if failed != nil || heir == nil {
					t.Fatalf("the rotation: %v, %v", heir, failed)
				}
				for _, s := range []*counterfoil.Session{heir, r.Open(w)} {
					if _, _, err := name.Get(t.Context(), s); err != nil {
						t.Errorf("afterwards a session: %v", err)
					}
				}
			})
		}
	}
}

// TestOthersHaveEndedBeforeARotation: the others have ended, the answer was lost, and the session goes on under another ID. What is repeated by the old one
// tells verifiers nothing; by the new one it tells them.
func TestOthersHaveEndedBeforeARotation(t *testing.T) {
	t.Parallel()
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		v, _ := login(t, r, "alice")
		login(t, r, "alice")
		r.Faults.On(func(s string, after bool) error {
			if s == "End" && after {
				return rig.ErrFault
			}
			return nil
		})
		if err := r.EndOthers(t.Context(), r.Open(v)); !errors.Is(err, counterfoil.ErrUnavailable) {
			t.Fatalf("ending the others, with an answer that is lost: %v, want ErrUnavailable", err)
		}
		r.Faults.On(nil)
		heir, err := r.Rotate(t.Context(), r.Open(v), counterfoil.RotateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		said, err := r.Revoke(t.Context(), counterfoil.Revocation{Subject: "alice", Keep: v.Session()})
		if !errors.Is(err, counterfoil.ErrNotFound) || said.Position != "" {
			t.Errorf("again by the old ID: %+v, %v, want ErrNotFound", said, err)
		}
		said, err = r.Revoke(t.Context(), counterfoil.Revocation{Subject: "alice", Keep: heir.ID()})
		if err != nil || said.Position == "" {
			t.Errorf("again by the new ID: %+v, %v, want it said", said, err)
		}
	})
}
