//go:build !wasm && !hostcrypto

package token_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/tokentest"
)

// TestExpiryIsSeenWithinASecond: without a clock of its own, a verifier refuses a warm token at most one second after its time is over, whether it was
// asked all the while, now and then, or never.
func TestExpiryIsSeenWithinASecond(t *testing.T) {
	for _, every := range []time.Duration{10 * time.Millisecond, 700 * time.Millisecond, 70 * time.Second, 15 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			i := tokentest.New(t)
			config := i.Config()
			config.Now = nil
			v, err := token.NewVerifier(config)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			raw := i.Mint(token.Claims{IssuedAt: start, Expires: start.Add(3 * time.Minute)})
			end := start.Add(3*time.Minute + 10*time.Second) // with the leeway
			for {
				_, err := v.Verify(raw)
				now := time.Now()
				if err != nil && now.Before(end) {
					t.Fatalf("every %v: refused after %v: %v", every, now.Sub(start), err)
				}
				if err == nil && now.After(end.Add(time.Second)) {
					t.Fatalf("every %v: accepted %v after its time", every, now.Sub(end))
				}
				if err != nil {
					break
				}
				time.Sleep(every)
			}
			if s := v.Stats(); s.Misses != 1 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestIdleVerifierRestsAndWakes: after a while without tokens nothing runs any more, and the next token is judged by the true time.
func TestIdleVerifierRestsAndWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := tokentest.New(t)
		config := i.Config()
		config.Now = nil
		v, err := token.NewVerifier(config)
		if err != nil {
			t.Fatal(err)
		}
		raw := i.Mint(token.Claims{IssuedAt: time.Now()})
		if _, err := v.Verify(raw); err != nil {
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour)
		if _, err := v.Verify(raw); token.Reason(err) != "expired" {
			t.Errorf("a day later: %v", err)
		}
		if _, err := v.Verify(i.Mint(token.Claims{IssuedAt: time.Now()})); err != nil {
			t.Errorf("a token of today: %v", err)
		}
	})
}

// TestSmallLeeway: the clock of warm hits lags by up to a quarter of a second, and must not make a token look issued in the future, fresh or remembered.
func TestSmallLeeway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := tokentest.New(t)
		config := i.Config()
		config.Now, config.Leeway = nil, time.Millisecond
		v, err := token.NewVerifier(config)
		if err != nil {
			t.Fatal(err)
		}
		for range 50 {
			raw := i.Mint(token.Claims{IssuedAt: time.Now()})
			for range 3 {
				if _, err := v.Verify(raw); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(70 * time.Millisecond)
		}
		if s := v.Stats(); s.Hits != 100 || s.Misses != 50 {
			t.Errorf("%+v", s)
		}
	})
}
