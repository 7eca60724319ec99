package counterfoil_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/rig"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/store"
)

// TestConfirmedByAnotherHistory appends a revocation to a primary that no replica follows any more, and has the replica promoted while it is waited. The edge
// reads the new log, which lacks the revocation, and reports a later position than that of the record that was lost. It confirms when it knows, and not before:
// whoever waits appends what was lost again.
func TestConfirmedByAnotherHistory(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	ctx := t.Context()
	r := rig.At(t, p.url(), p.fail, mortal(revocation.BestEffort), func(c *counterfoil.Config) { c.Name = "origin" })
	v, tokens := login(t, r, "alice")

	l, err := store.OpenLogReader(ctx, p.url(), store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	list := must[*revocation.List](t)(revocation.NewList(revocation.ListConfig{}))
	follower := must[*revocation.Follower](t)(revocation.NewFollower(revocation.FollowerConfig{Source: l, List: list, Name: "edge"}))
	follow := func() (stop func()) {
		c, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); follower.Follow(c) }()
		return func() { cancel(); <-done }
	}
	// It is known to the census as live, and then is cut off for a moment, without saying that it leaves.
	stop := follow()
	rig.Poll(t, "the edge has reported", func() bool {
		all, err := r.Faults.Redis.Followers(ctx)
		return err == nil && strings.Contains(strings.Join(names(all), " "), "edge/")
	})
	p.follow(t)
	p.detach(t)
	stop()

	done := make(chan counterfoil.Revoked, 1)
	failed := make(chan struct{})
	r.Faults.On(func(step string, after bool) error {
		if step == "Append" && after {
			p.fail()
			close(failed)
		}
		return nil
	})
	go func() {
		got, err := r.Revoke(ctx, counterfoil.Revocation{Session: v.Session(), Wait: 10 * time.Second})
		if err != nil && !errors.Is(err, counterfoil.ErrNotDurable) {
			t.Error(err)
		}
		done <- got
	}()
	<-failed
	r.Faults.On(nil)
	defer follow()()
	got := <-done
	confirmed := slices.ContainsFunc(got.Confirmed, func(c counterfoil.Confirmation) bool { return strings.HasPrefix(c.Follower, "edge/") })
	if knows := list.Contains(v); confirmed && !knows {
		t.Errorf("the edge has confirmed, and does not know: %s is accepted there", tokens.Access)
	} else if !confirmed {
		t.Errorf("the edge has not confirmed; it knows: %v. Missing: %q", knows, got.Missing)
	}
}

func names(all []revocation.Progress) (list []string) {
	for _, p := range all {
		list = append(list, p.Follower)
	}
	return list
}
