package counterfoil_test

import (
	"context"
	"errors"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/rig"
	"github.com/counterfoil/counterfoil/revocation"
)

// A process died between ending a record and telling the log. The retry is acknowledged, so verifiers must be told. A process that has just begun has a
// stale list: under Strict it asks, finds that the session has ended, takes the request for nobody's, and has nothing to tell. (The same where a route is
// Paranoid.) So whoever finds that out tells the log.
func TestRetriedLogoutIsAnnounced(t *testing.T) {
	for name, logout := range map[string]func(context.Context, *counterfoil.Exchange) error{
		"logout":            func(ctx context.Context, x *counterfoil.Exchange) error { return x.Logout(ctx) },
		"logout everywhere": func(ctx context.Context, x *counterfoil.Exchange) error { return x.LogoutEverywhere(ctx) },
		"login": func(ctx context.Context, x *counterfoil.Exchange) error {
			return x.Login(ctx, "bob", counterfoil.LoginOptions{})
		},
	} {
		for _, policy := range []revocation.Policy{revocation.BestEffort, revocation.Strict} {
			t.Run(name+", "+policy.String(), func(t *testing.T) {
				r := rig.New(t, rig.Embedded, func(c *counterfoil.Config) { c.Policy = policy })
				v, tokens := login(t, r, "alice")
				how := counterfoil.Ending{Session: v.Session()}
				if name == "logout everywhere" {
					how = counterfoil.Ending{Subject: "alice"}
				}
				must[counterfoil.Ended](t)(r.Faults.Redis.End(t.Context(), how)) // and died
				again := r.Again(t)
				x := must[*counterfoil.Exchange](t)(again.Begin(t.Context(), counterfoil.Request{Method: "POST", Cookie: []string{cookies(tokens)}}))
				err := logout(t.Context(), x)
				if name == "logout everywhere" && policy == revocation.Strict && errors.Is(err, counterfoil.ErrNotFound) {
					err = nil // refused, not acknowledged: whose session has ended logs nobody out
				}
				if err != nil {
					t.Fatal(err)
				}
				if !knows(t, again, v) {
					t.Error("acknowledged, and no verifier will hear of it: the access token lives out its minutes")
				}
			})
		}
	}
}

// What this request has set, and names to come along, is lost without a word if the session that it was set in has been frozen or ended by the try before.
func TestLoginKeepsWhatTheRequestHasSet(t *testing.T) {
	for _, state := range []string{"frozen", "ended"} {
		t.Run(state, func(t *testing.T) {
			r := rig.New(t, rig.Embedded, listOnly)
			ctx := t.Context()
			s := r.Anonymous()
			must[int64](t)(visits.Incr(ctx, s, 5))
			tokens, _ := s.Issued()
			v := r.Verify(t, tokens.Access)
			if state == "frozen" {
				must[counterfoil.Record](t)(r.Faults.Redis.Freeze(ctx, counterfoil.Ref{Session: v.Session()}))
			} else {
				must[counterfoil.Ended](t)(r.Faults.Redis.End(ctx, counterfoil.Ending{Session: v.Session()}))
			}
			visitor := r.Open(v)
			if err := name.Set(visitor, "Ann"); err != nil {
				t.Fatal(err)
			}
			user, err := r.Login(ctx, visitor, "alice", counterfoil.LoginOptions{Carry: []string{"name"}})
			if err != nil {
				t.Fatal(err)
			}
			if got, _, err := name.Get(ctx, user); got != "Ann" || err != nil {
				t.Errorf("the login succeeded, and the name is %q, %v", got, err)
			}
		})
	}
}
