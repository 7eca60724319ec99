package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/jwks"
)

// edgeRole is a service that only has to know who is asking. It has the public keys, by HTTP, and the revocation log; no session, no
// secret, and nobody to ask. So whatever it decides, it decides by itself, in its own memory. (The demo lends it the application's Redis user;
// package store says how few rights one of its own would need.)
func edgeRole(ctx context.Context, s settings, ready func(string)) error {
	starting, done := context.WithTimeout(ctx, 10*time.Second)
	defer done()
	keys, err := jwks.NewClient(starting, jwks.ClientConfig{URL: s.JWKS})
	if err != nil {
		return err
	}
	defer keys.Close()
	log, err := store.OpenLogReader(starting, s.Redis, store.Config{Prefix: s.Prefix})
	if err != nil {
		return err
	}
	defer log.Close()

	list, err := revocation.NewList(revocation.ListConfig{})
	if err != nil {
		return err
	}
	follower, err := revocation.NewFollower(revocation.FollowerConfig{Source: log, List: list, Name: "edge"})
	if err != nil {
		return err
	}
	following := make(chan struct{})
	go func() { defer close(following); _ = follower.Follow(ctx) }()
	defer func() { <-following }()

	guard, err := newGuard(keys.Keys(), list, 0)
	if err != nil {
		return err
	}
	// The same decision without the table of known tokens: each one costs a signature check.
	cold, err := newGuard(keys.Keys(), list, -1)
	if err != nil {
		return err
	}
	if err := untilFresh(starting, guard); err != nil {
		return err
	}

	ln, err := listen(s.Addr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: newEdge(guard, cold), ReadTimeout: 5 * time.Second}
	go func() { <-ctx.Done(); server.Close() }()
	ready(ln.Addr().String())
	if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func newGuard(keys *token.KeySet, list *revocation.List, entries int) (*revocation.Guard, error) {
	verifier, err := token.NewVerifier(token.VerifierConfig{Issuer: issuerName, Audience: audience, Keys: keys, Entries: entries})
	if err != nil {
		return nil, err
	}
	return revocation.NewGuard(revocation.GuardConfig{Verifier: verifier, List: list})
}

// untilFresh waits until the guard can prove that its list is fresh, which takes a heartbeat of the log. Before that it would answer 503.
func untilFresh(ctx context.Context, guard *revocation.Guard) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !guard.Status().Fresh {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.New("the revocation list did not become fresh")
		}
	}
	return nil
}

// newEdge returns the service: one page, and one that measures.
func newEdge(guard, cold *revocation.Guard) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello %s\n", httpadapter.Verified(r).Subject())
	})
	mux.HandleFunc("GET /cost", func(w http.ResponseWriter, r *http.Request) {
		var c cost
		cookie, err := r.Cookie("__Host-Http-session")
		if err == nil {
			c.Cold, err = measure(r.Context(), cold, cookie.Value, 2_000)
		}
		if err == nil {
			c.Warm, err = measure(r.Context(), guard, cookie.Value, 200_000)
		}
		if err != nil {
			httpadapter.Refuse(w, r, err)
			return
		}
		_ = json.NewEncoder(w).Encode(c)
	})
	return httpadapter.Verify(guard)(mux)
}

// cost is what one whole decision takes: with the signature, and when the token is known already.
type cost struct{ Cold, Warm time.Duration }

func measure(ctx context.Context, guard *revocation.Guard, raw string, n int) (time.Duration, error) {
	began := time.Now()
	for range n {
		if _, err := guard.Check(ctx, raw); err != nil {
			return 0, err
		}
	}
	return time.Since(began) / time.Duration(n), nil
}
