package counterfoil_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/rig"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
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

// Nor does a process tell the log of a session that it knows to have ended, when the credential comes again. If that is the repetition of a logout whose end
// the log did not take, it is no more acknowledged than the first one.
func TestRepeatedLogoutIsNotAcknowledged(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *rig.Rig, token.Verified, string) *rig.Rig{
		"logged out": func(t *testing.T, r *rig.Rig, _ token.Verified, credential string) *rig.Rig {
			r.Faults.On(rig.Never("Append"))
			if err := arrives(t, r, credential).Logout(t.Context()); !errors.Is(err, counterfoil.ErrUnavailable) {
				t.Fatalf("the first time: %v", err)
			}
			return r
		},
		"logged out everywhere": func(t *testing.T, r *rig.Rig, _ token.Verified, credential string) *rig.Rig {
			r.Faults.On(rig.Never("Append"))
			if err := arrives(t, r, credential).LogoutEverywhere(t.Context()); !errors.Is(err, counterfoil.ErrUnavailable) {
				t.Fatalf("the first time: %v", err)
			}
			return r
		},
		"by a process that died": func(t *testing.T, r *rig.Rig, v token.Verified, _ string) *rig.Rig {
			must[counterfoil.Ended](t)(r.Faults.Redis.End(t.Context(), counterfoil.Ending{Session: v.Session()}))
			r = r.Again(t)
			r.Faults.On(rig.Never("Append"))
			return r
		},
		"by a process that died, and the end cannot be repeated": func(t *testing.T, r *rig.Rig, v token.Verified, _ string) *rig.Rig {
			must[counterfoil.Ended](t)(r.Faults.Redis.End(t.Context(), counterfoil.Ending{Session: v.Session()}))
			r = r.Again(t)
			r.Faults.On(rig.Never("End"))
			return r
		},
	} {
		for _, expired := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, expired %v", name, expired), func(t *testing.T) {
				r := rig.New(t, rig.Embedded)
				v, tokens := login(t, r, "alice")
				credential := cookies(tokens)
				r = end(t, r, v, credential)
				if expired { // as if: without it the refresh token is all that says whose the session was
					credential = refreshCookie + "=" + tokens.Refresh.Reveal()
				}
				for range 2 {
					if err := arrives(t, r, credential).Logout(t.Context()); !errors.Is(err, counterfoil.ErrUnavailable) {
						t.Fatalf("repeated: %v; acknowledged, and the log does not know", err)
					}
				}
				r.Faults.On(nil)
				if err := arrives(t, r, credential).Logout(t.Context()); err != nil {
					t.Fatal(err)
				}
				if !knows(t, r, v) {
					t.Error("acknowledged, and no verifier will hear of it")
				}
			})
		}
	}
}

// A refresh token was judged reuse, and then the client has gone, the owner's or the thief's. There need not be a repetition that would tell verifiers.
func TestReuseIsAnnouncedToTheEnd(t *testing.T) {
	t.Parallel()
	reuse := deeds[slices.IndexFunc(deeds, func(d deed) bool { return d.name == "reuse" })]
	for _, step := range []string{"Refresh", "End"} {
		t.Run("gone after "+step, func(t *testing.T) {
			r := rig.New(t, rig.Embedded)
			r.Fresh(t) // otherwise the store is asked first
			h, _ := reuse.setup(t, r)
			v := r.Verify(t, token.NewSecret(h.Access))
			ctx, gone := context.WithCancel(t.Context())
			defer gone()
			r.Faults.On(func(s string, after bool) error {
				if s == step && after {
					gone()
				}
				return nil
			})
			if _, _, err := r.Refresh(ctx, h.Refresh, token.Verified{}); !errors.Is(err, counterfoil.ErrReuse) || errors.Is(err, counterfoil.ErrUnavailable) {
				t.Errorf("%v, want ErrReuse alone", err)
			}
			r.Faults.On(nil)
			if !knows(t, r, v) {
				t.Error("no verifier has heard of it: the access token lives out its minutes")
			}
		})
	}
}

// arrives is what a request with that cookie opens.
func arrives(t *testing.T, r *rig.Rig, cookie string) *counterfoil.Exchange {
	t.Helper()
	return must[*counterfoil.Exchange](t)(r.Begin(t.Context(), counterfoil.Request{Method: "POST", Cookie: []string{cookie}}))
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

// A login has begun a session, and could not end the one that it replaces. Before it is tried again the subject is logged out everywhere: the session that
// was begun has ended too, and is not what the second try returns.
func TestRetriedLoginAfterLogoutEverywhere(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	r.Fresh(t)
	ctx := t.Context()
	for name, end := range map[string]func(begun token.SessionID) error{
		"everywhere": func(token.SessionID) error { return r.EndAll(ctx, "alice") },
		"there":      func(begun token.SessionID) error { return r.End(ctx, begun) },
	} {
		t.Run(name, func(t *testing.T) {
			v, _ := login(t, r, "alice")
			from := r.Open(v)
			r.Faults.On(rig.Never("End"))
			if _, err := r.Login(ctx, from, "alice", counterfoil.LoginOptions{}); !errors.Is(err, counterfoil.ErrUnavailable) {
				t.Fatalf("the first try: %v", err)
			}
			r.Faults.On(nil)
			list := must[[]counterfoil.Record](t)(r.Sessions(ctx, "alice"))
			if err := end(list[len(list)-1].Session); err != nil {
				t.Fatal(err)
			}
			s, err := r.Login(ctx, from, "alice", counterfoil.LoginOptions{})
			if err != nil {
				t.Fatalf("the second: %v", err)
			}
			tokens, _ := s.Issued()
			r.Verify(t, tokens.Access)
		})
	}
}
