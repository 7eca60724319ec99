package counterfoil_test

import (
	"errors"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/rig"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

// TestClockOffByAnHour has one process of an application whose clock is wrong by an hour. It may refuse what is good, and no more: it ends no session, hands
// out no token that is wrong elsewhere, brings nothing back, and loses no data, since none of that goes by its clock.
func TestClockOffByAnHour(t *testing.T) {
	t.Parallel()
	for name, off := range map[string]time.Duration{"ahead": time.Hour, "behind": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			right := rig.New(t, rig.Embedded)
			wrong := right.Again(t, func(c *counterfoil.Config) { c.Now = func() time.Time { return time.Now().Add(off) } })
			ctx := t.Context()
			v, tokens := login(t, right, "alice")

			// It takes no token on trust, and says what the fault looks like from there.
			_, err := wrong.Guard().Check(ctx, tokens.Access.Reveal())
			if expired := (*token.ExpiredError)(nil); !errors.As(err, &expired) && !errors.Is(err, token.ErrInvalid) && !errors.Is(err, revocation.ErrStale) {
				t.Errorf("access token: %v, want a refusal", err)
			}
			x, err := wrong.Begin(ctx, counterfoil.Request{Method: "GET", Cookie: []string{cookies(tokens)}})
			if err == nil {
				if list, err := x.Commit(ctx); err != nil {
					t.Errorf("commit: %v, %v", list, err)
				}
			} else if status, _ := counterfoil.Status(err); status != 401 && status != 503 {
				t.Errorf("begin: %v", err)
			}
			if _, _, err := wrong.Refresh(ctx, tokens.Refresh.Reveal(), token.Verified{}); errors.Is(err, counterfoil.ErrReuse) {
				t.Errorf("refresh: %v", err)
			}

			// The data goes by the store.
			if n, err := visits.Incr(ctx, wrong.Open(v), 1); n != 1 || err != nil {
				t.Errorf("increment: %d, %v", n, err)
			}
			s, err := wrong.Login(ctx, wrong.Anonymous(), "bob", counterfoil.LoginOptions{})
			if err != nil {
				t.Fatalf("login: %v", err)
			}
			issued, _ := s.Issued()
			bob := right.Verify(t, issued.Access) // by a clock that is right the token is as good as any
			if left := bob.Expires().Sub(right.Config.Now()); left <= 0 || left > 5*time.Minute {
				t.Errorf("its token has %v left", left)
			}
			if n, err := visits.Get(ctx, right.Open(right.Verify(t, tokens.Access))); n != 1 || err != nil {
				t.Errorf("the session where the clock is right: %d, %v", n, err)
			}

			// What it ends has ended, and what has ended stays so.
			if err := wrong.End(ctx, bob.Session()); err != nil {
				t.Fatalf("end: %v", err)
			}
			rig.Poll(t, "the end is known where the clock is right", func() bool {
				_, err := right.Guard().Check(ctx, issued.Access.Reveal())
				return errors.Is(err, revocation.ErrRevoked)
			})
			for _, m := range []*counterfoil.Manager{right.Manager, wrong.Manager} {
				if _, err := visits.Incr(ctx, m.Open(bob), 1); !errors.Is(err, counterfoil.ErrNotFound) {
					t.Errorf("after the end: %v, want ErrNotFound", err)
				}
			}
		})
	}
}

// TestUntoldByAClockThatIsWrong has announcements fail, in a process whose clock is wrong, until the first is older than the log takes. The others are told.
func TestUntoldByAClockThatIsWrong(t *testing.T) {
	t.Parallel()
	for name, off := range map[string]time.Duration{"ahead": time.Hour, "right": 0, "behind": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			right := rig.New(t, rig.Embedded)
			wrong := right.Again(t, func(c *counterfoil.Config) {
				now := c.Now
				c.Now = func() time.Time { return now().Add(off) }
			})
			ctx := t.Context()
			old, _ := login(t, right, "alice")
			wrong.Faults.On(rig.Never("Append"))
			if err := wrong.End(ctx, old.Session()); !errors.Is(err, counterfoil.ErrUnavailable) {
				t.Fatalf("the first: %v, want ErrUnavailable", err)
			}
			right.Advance(revocation.Horizon)
			v, tokens := login(t, right, "alice")
			if err := wrong.End(ctx, v.Session()); !errors.Is(err, counterfoil.ErrUnavailable) {
				t.Fatalf("the second: %v, want ErrUnavailable", err)
			}
			wrong.Faults.On(nil)
			rig.Poll(t, "the second is known where the clock is right", func() bool {
				_, err := right.Guard().Check(ctx, tokens.Access.Reveal())
				return errors.Is(err, revocation.ErrRevoked)
			})
			if err := wrong.Close(); err != nil {
				t.Errorf("nothing is left to tell: %v", err)
			}
		})
	}
}
