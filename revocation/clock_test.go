//go:build !wasm

package revocation_test

import (
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/tokentest"
)

// TestGuardOwnClock: without a clock of the caller's the guard looks at the list now and then only. It must never take it for fresh when it is
// not, and hardly ever for stale when it is fresh.
func TestGuardOwnClock(t *testing.T) {
	for name, check := range map[string]func(g *revocation.Guard, t *testing.T, raw string) error{
		"Check": func(g *revocation.Guard, t *testing.T, raw string) error {
			_, err := g.Check(t.Context(), raw)
			return err
		},
		"CheckAt": func(g *revocation.Guard, t *testing.T, raw string) error {
			_, err := g.CheckAt(t.Context(), raw, time.Now())
			return err
		},
	} {
		t.Run(name, func(t *testing.T) { testOwnClock(t, check) })
	}
}

func testOwnClock(t *testing.T, by func(g *revocation.Guard, t *testing.T, raw string) error) {
	start(t, nil, func(t *testing.T, w *world) {
		issuer := tokentest.New(t)
		cfg := issuer.Config()
		cfg.Now = nil
		verifier, err := token.NewVerifier(cfg)
		if err != nil {
			t.Fatal(err)
		}
		var events recorder
		guard, err := revocation.NewGuard(revocation.GuardConfig{Verifier: verifier, List: w.list, Events: &events})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.follower.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		issuer.Clock.Add(time.Since(issuer.Clock.Now()))
		raw := issuer.Mint(token.Claims{Session: id(1), Subject: "alice"})
		dead := issuer.Mint(token.Claims{Session: id(2)})
		check := func(raw string) string { return outcome(by(guard, t, raw)) }
		if check(raw) != "ok" || check(dead) != "ok" {
			t.Fatal("a fresh list refuses")
		}
		w.revoke(2)
		w.after(0)
		if check(raw) != "ok" || check(dead) != "revoked" {
			t.Fatal("a revocation is not seen at once")
		}
		for range 2 {
			w.quiet(true)
			refused := 0
			for range 1500 {
				w.after(10 * time.Millisecond)
				got, fresh := check(raw), w.freshness()
				if got == "ok" && !fresh.Fresh {
					t.Fatalf("accepted by a list that is %v old: %s", fresh.Age, fresh.Reason)
				}
				if got == "stale" {
					refused++
					if fresh.Fresh && fresh.Age < revocation.DefaultMaxStale-300*time.Millisecond {
						t.Fatalf("refused though the list is only %v old", fresh.Age)
					}
				}
			}
			if refused == 0 {
				t.Fatal("never refused")
			}
			w.quiet(false)
			w.after(2 * time.Second)
			if check(raw) != "ok" {
				t.Fatal("refused by a list that is fresh again")
			}
			// A new batch is seen by the first check after it, not only by the next tick.
			w.quiet(true)
			w.after(15 * time.Second)
			if check(raw) != "stale" {
				t.Fatal("accepted by a list that is stale again")
			}
			w.log.Append(t.Context())
			w.after(0)
			if got, fresh := check(raw), w.freshness(); (got == "ok") != fresh.Fresh {
				t.Fatalf("%s by a list that is fresh: %v", got, fresh.Fresh)
			}
			w.quiet(false)
			w.after(2 * time.Second)
		}
		const stale, healed = revocation.EventStale, revocation.EventHealed
		if got := events.kinds(); len(got) < 3 || got[len(got)-1] != healed || got[len(got)-2] != stale {
			t.Fatalf("told %v", got)
		}
		w.after(3 * time.Minute) // nobody checks any more, and nobody looks
		if got := check(raw); got != "ok" {
			t.Fatalf("after a rest: %s", got)
		}
	})
}
