package revocation_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/tokentest"
)

// A service that only needs to know who is asking: it follows the log and checks tokens without I/O.
func Example() {
	// The origin's side: an issuer and a log. Here both are in memory, and newLog is of the tests; in a program the log is in Redis, see the
	// example of store.LogReader, or comes over HTTP, see package revocation/feed.
	issuer := tokentest.New(&testing.T{})
	log := newLog(issuer.Clock.Now)

	list, err := revocation.NewList(revocation.ListConfig{})
	if err != nil {
		panic(err)
	}
	guard, err := revocation.NewGuard(revocation.GuardConfig{Verifier: issuer.Verifier(), List: list, Now: issuer.Clock.Now})
	if err != nil {
		panic(err)
	}
	revoked := make(chan revocation.Entry, 1)
	follower, err := revocation.NewFollower(revocation.FollowerConfig{
		Source: log, List: list, Now: issuer.Clock.Now,
		Events: revocation.EventFunc(func(e revocation.Event) {
			if e.Kind == revocation.EventRevoked {
				revoked <- e.Entry
			}
		}),
	})
	if err != nil {
		panic(err)
	}

	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		follower.Follow(ctx)
	}()
	defer func() { stop(); <-done }()

	go func() { // the origin's heartbeat
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			log.Append(ctx)
			<-tick.C
		}
	}()
	if err := follower.Ready(ctx); err != nil {
		panic(err)
	}

	session := tokentest.SessionID(&testing.T{})
	issuer.Clock.Add(time.Second)
	raw := issuer.Mint(token.Claims{Subject: "alice", Session: session})

	v, err := guard.Check(ctx, raw)
	fmt.Println(v.Subject(), err)

	// Alice logs out.
	if _, err := log.Append(ctx, revocation.Entry{Kind: revocation.KindSession, At: issuer.Clock.Now().UnixMilli(), Session: session}); err != nil {
		panic(err)
	}
	<-revoked // in about a millisecond
	_, err = guard.Check(ctx, raw)
	fmt.Println(errors.Is(err, revocation.ErrRevoked), revocation.Reason(err))
	// Output:
	// alice <nil>
	// true session revoked
}

func ExampleList() {
	list, err := revocation.NewList(revocation.ListConfig{})
	if err != nil {
		panic(err)
	}
	session := token.MustParseSessionID("abcAAAAAAAAAAAAAAAAAAAAAA")
	now := time.Now()
	if err := list.Add(revocation.Entry{Kind: revocation.KindSession, At: now.UnixMilli(), Session: session}); err != nil {
		panic(err)
	}
	fmt.Println(list.Has(session), list.Len())
	list.Sweep(now.Add(revocation.Horizon + time.Second))
	fmt.Println(list.Has(session), list.Len())
	// Output:
	// true 1
	// false 0
}

// What a caller decides by the error.
func ExampleGuard_Check() {
	issuer := tokentest.New(&testing.T{})
	list, err := revocation.NewList(revocation.ListConfig{})
	if err != nil {
		panic(err)
	}
	guard, err := revocation.NewGuard(revocation.GuardConfig{Verifier: issuer.Verifier(), List: list, Now: issuer.Clock.Now})
	if err != nil {
		panic(err)
	}
	raw := issuer.Mint(token.Claims{Subject: "alice"})

	v, err := guard.Check(context.Background(), raw)
	var expired *token.ExpiredError
	switch {
	case err == nil:
		fmt.Println("200", v.Subject())
	case errors.As(err, &expired):
		fmt.Println("401, worth a renewal")
	case errors.Is(err, revocation.ErrStale): // nobody follows a log here, and there is nobody to ask
		fmt.Println("503:", revocation.Reason(err))
	default:
		fmt.Println("401")
	}
	// Output:
	// 503: log not read yet
}
