//go:build !wasm && !edge

package revocation

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/tokentest"
)

// TestGuardClockSetBack: the wall clock is set back by exactly as much as went by since the guard looked, so by it no time has passed. The list is old all the same.
func TestGuardClockSetBack(t *testing.T) {
	for _, silence := range []time.Duration{0, 11 * time.Second, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			list, err := NewList(ListConfig{})
			if err != nil {
				t.Fatal(err)
			}
			follower, err := NewFollower(FollowerConfig{List: list})
			if err != nil {
				t.Fatal(err)
			}
			now := time.Now()
			ms := now.UnixMilli()
			follower.Apply(Batch{Full: true, Epoch: "e", Birth: 1, Records: []Record{{Position: "1", Time: ms, Epoch: "e"}}}, now)
			follower.Apply(Batch{Records: []Record{{Position: "2", Prev: "1", Time: ms}}}, now)
			issuer := tokentest.New(t)
			guard, err := NewGuard(GuardConfig{Verifier: issuer.Verifier(), List: list})
			if err != nil {
				t.Fatal(err)
			}
			mint := func() string {
				now := time.Now()
				return issuer.Mint(token.Claims{IssuedAt: now, Expires: now.Add(time.Minute)})
			}
			if _, err := guard.CheckAt(t.Context(), mint(), time.Now()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(silence)
			synctest.Wait()
			if last := guard.seen(); last != nil {
				s := *last
				s.ms += silence.Milliseconds() // when it was taken the wall clock showed what it shows now
				guard.sights.last.Store(&s)
			}
			if _, err := guard.CheckAt(t.Context(), mint(), time.Now()); errors.Is(err, ErrStale) != (silence > 0) {
				t.Errorf("after %v: %v", silence, err)
			}
		})
	}
}
