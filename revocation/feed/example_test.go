package feed_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/revocation/feed"
	"github.com/counterfoil/counterfoil/token"
)

// An edge without Redis: it follows the feed of an origin and knows what has been revoked.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	// The origin follows its log through a Tail, and serves what that keeps. Here the log is in memory, and newLog is of the tests; in a program it is a
	// store.Redis, and a counterfoil.Manager with the Tail as its Config.Source does the following and keeps the heartbeat.
	log := newLog()
	go beat(ctx, log)
	tail, err := feed.NewTail(log, feed.TailConfig{})
	if err != nil {
		panic(err)
	}
	own := startFollower(ctx, tail)
	key, err := feed.GenerateKey()
	if err != nil {
		panic(err)
	}
	var edges feed.Edges
	handler, err := feed.NewHandler(feed.Config{
		Tail: tail, Key: key, Issuer: "https://app.example", Edges: &edges,
		Fresh: func() revocation.Freshness { return own.Freshness(time.Now(), 0, 0) }, // or the Status method of a Guard
	})
	if err != nil {
		panic(err)
	}
	server := httptest.NewServer(handler) // over TLS, wherever it is not the same machine
	defer server.Close()

	// Each edge has a credential of its own, of which the origin keeps the digest.
	credential, err := feed.NewCredential("edge-1")
	if err != nil {
		panic(err)
	}
	digest, err := credential.Digest()
	if err != nil {
		panic(err)
	}
	if err := edges.Allow(credential.Name, digest); err != nil {
		panic(err)
	}

	// The edge.
	client, err := feed.NewClient(feed.ClientConfig{
		URL: server.URL, Credential: credential, Issuer: "https://app.example", Keys: []revocation.FrameKey{key.Public()},
	})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	list := startFollower(ctx, client)

	session := token.MustParseSessionID("abcAAAAAAAAAAAAAAAAAAAAAA")
	fmt.Println(list.Has(session))
	log.Append(ctx, revocation.Entry{Kind: revocation.KindSession, At: time.Now().UnixMilli(), Session: session})
	for !list.Has(session) { // in some milliseconds
		<-time.After(time.Millisecond)
	}
	fmt.Println(list.Has(session), list.Freshness(time.Now(), 0, 0).Fresh)

	// Output:
	// false
	// true true
}

// startFollower follows a source until ctx ends, and waits until the list is fresh.
func startFollower(ctx context.Context, source revocation.Source) *revocation.List {
	list, err := revocation.NewList(revocation.ListConfig{})
	if err != nil {
		panic(err)
	}
	follower, err := revocation.NewFollower(revocation.FollowerConfig{Source: source, List: list})
	if err != nil {
		panic(err)
	}
	go follower.Follow(ctx)
	if err := follower.Ready(ctx); err != nil {
		panic(err)
	}
	return list
}

func ExampleEdges() {
	credential, err := feed.NewCredential("edge-1")
	if err != nil {
		panic(err)
	}
	digest, err := credential.Digest()
	if err != nil {
		panic(err)
	}
	var edges feed.Edges
	if err := edges.Allow(credential.Name, digest); err != nil {
		panic(err)
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.SetBasicAuth(credential.Name, credential.Secret.Reveal())
	fmt.Println(edges.Authenticate(r))

	edges.Revoke("edge-1")
	_, ok := edges.Authenticate(r)
	fmt.Println(ok)
	fmt.Println(credential)

	// Output:
	// edge-1 true
	// false
	// {edge-1 [redacted]}
}
