// Edge is a service that only has to know who is asking, beside the application that logs them in. The edge knows the public keys and follows the
// revocation log; it cannot make a token and cannot touch a session. After the logout it refuses a token that is still good by its signature and its
// clock.
//
//	go run ./examples/edge
//
// It prints what the edge answers before the logout (200) and after it (401), and ends. What a service has to write is the function edge.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/store/embedded"
	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/issuer"
	"github.com/counterfoil/counterfoil/token/jwks"
)

const name = "https://app.example" // issuer and audience

// edge serves who is asking, until ctx ends. keysURL and redisURL are all that it is told; it waits for both, half a minute at most. Whoever ends ctx waits for
// running before the process ends, since the follower takes its leave: otherwise those who wait for confirmations wait for it.
func edge(ctx context.Context, running *sync.WaitGroup, keysURL, redisURL string) (http.Handler, error) {
	start, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	keys, err := jwks.NewClient(start, jwks.ClientConfig{URL: keysURL})
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { keys.Close() })
	verifier, err := token.NewVerifier(token.VerifierConfig{Issuer: name, Audience: name, Keys: keys.Keys()})
	if err != nil {
		return nil, err
	}
	list, err := revocation.NewList(revocation.ListConfig{})
	if err != nil {
		return nil, err
	}
	source, err := store.OpenLogReader(start, redisURL, store.Config{}) // with the application's Prefix
	if err != nil {
		return nil, err
	}
	// Otherwise all that is seen of a stale list, and of the reason, are answers that are 503.
	events := revocation.EventFunc(func(e revocation.Event) {
		if e.Kind != revocation.EventRevoked {
			log.Print("edge: revocation list: ", e.Kind, " ", e.Reason)
		}
	})
	follower, err := revocation.NewFollower(revocation.FollowerConfig{Source: source, List: list, Name: "edge", Events: events})
	if err != nil {
		return nil, err
	}
	running.Go(func() {
		defer source.Close()
		// By ctx, not by start: an edge that follows no longer refuses everybody ten seconds later.
		if err := follower.Follow(ctx); ctx.Err() == nil {
			log.Print("edge: the revocation log is followed no longer: ", err)
		}
	})
	if err := follower.Ready(start); err != nil {
		return nil, err
	}
	guard, err := revocation.NewGuard(revocation.GuardConfig{Verifier: verifier, List: list})
	if err != nil {
		return nil, err
	}
	who := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, httpadapter.Verified(r).Subject()) })
	return httpadapter.Verify(guard)(httpadapter.Require(who)), nil
}

func run(ctx context.Context, out io.Writer) error {
	ctx, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	redis, err := embedded.Start("")
	if err != nil {
		return err
	}
	defer redis.Close()
	sessions, err := store.Open(ctx, redis.URL(), store.Config{})
	if err != nil {
		return err
	}
	defer sessions.Close()
	key, _ := issuer.GenerateKey("EdDSA")
	ring, _ := issuer.NewRing(key)
	secret := make([]byte, 32)
	rand.Read(secret)
	m, err := counterfoil.New(ctx, counterfoil.Config{Issuer: name, Audience: name, Keys: ring, Secrets: [][]byte{secret}, Store: sessions})
	if err != nil {
		return err
	}
	defer m.Close()
	endpoints, err := httpadapter.Endpoints(m)
	if err != nil {
		return err
	}
	app := httptest.NewServer(endpoints(http.NotFoundHandler()))
	defer app.Close()
	var running sync.WaitGroup
	defer func() { stop(); running.Wait() }()
	handler, err := edge(ctx, &running, app.URL+httpadapter.JWKSPath, redis.URL())
	if err != nil {
		return err
	}

	s, err := m.Login(ctx, nil, "alice", counterfoil.LoginOptions{})
	if err != nil {
		return err
	}
	tokens, _ := s.Issued()
	ask := func() (int, string) {
		r := httptest.NewRequestWithContext(ctx, "GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+tokens.Access.Reveal())
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	status, body := ask()
	fmt.Fprintf(out, "before the logout the edge answers %d: %s\n", status, body)
	if err := m.End(ctx, s.ID()); err != nil {
		return err
	}
	for ended := time.Now(); status == http.StatusOK; status, _ = ask() {
		if time.Since(ended) > 10*time.Second {
			return errors.New("the edge still accepts the token")
		}
	}
	fmt.Fprintf(out, "after it %d\n", status)
	return nil
}

func main() {
	flag.Parse() // there are no flags; others are refused
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal("edge: ", err)
	}
}
