package store_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/store/embedded"
	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/issuer"
)

func Example() {
	srv, err := embedded.Start("") // or a Redis of your own: redis://:password@host/0
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	ctx := context.Background()
	st, err := store.Open(ctx, srv.URL(), store.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer st.Close()

	id, err := token.NewSessionID(counterfoil.SubjectTag("alice"), [16]byte{1}) // random in earnest
	if err != nil {
		log.Fatal(err)
	}
	if _, err := st.Create(ctx, counterfoil.NewRecord{Session: id, Subject: "alice", Idle: time.Hour, Absolute: 12 * time.Hour}); err != nil {
		log.Fatal(err)
	}
	ref := counterfoil.Ref{Session: id, Subject: "alice"}
	visit := []counterfoil.Op{{Kind: counterfoil.OpIncr, Name: "visits", By: 1}}
	for range 3 {
		saved, err := st.Save(ctx, ref, visit)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("visit %s\n", saved.Values[0].Bytes)
	}
	if _, err := st.End(ctx, counterfoil.Ending{Session: id}); err != nil {
		log.Fatal(err)
	}
	_, err = st.Save(ctx, ref, visit)
	fmt.Println("after the logout:", errors.Is(err, counterfoil.ErrNotFound))
	// Output:
	// visit 1
	// visit 2
	// visit 3
	// after the logout: true
}

// An edge: it reads the revocation log, knows the public keys, and decides without asking anybody.
func ExampleLogReader() {
	srv, err := embedded.Start("")
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	// The application.
	app, err := store.Open(ctx, srv.URL(), store.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer app.Close()
	key, _ := issuer.GenerateKey("EdDSA")
	ring, _ := issuer.NewRing(key)
	m, err := counterfoil.New(ctx, counterfoil.Config{
		Issuer: "https://app.example", Audience: "https://app.example",
		Keys: ring, Secrets: [][]byte{make([]byte, 32)}, // a real one is random, and kept
		Store: app,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()

	// The edge.
	source, err := store.OpenLogReader(ctx, srv.URL(), store.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer source.Close()
	list, err := revocation.NewList(revocation.ListConfig{})
	if err != nil {
		log.Fatal(err)
	}
	follower, err := revocation.NewFollower(revocation.FollowerConfig{Source: source, List: list, Name: "edge"})
	if err != nil {
		log.Fatal(err)
	}
	go follower.Follow(ctx)
	keys, err := token.NewKeySet(ring.Public()...) // over HTTP: package token/jwks
	if err != nil {
		log.Fatal(err)
	}
	verifier, err := token.NewVerifier(token.VerifierConfig{Issuer: "https://app.example", Audience: "https://app.example", Keys: keys})
	if err != nil {
		log.Fatal(err)
	}
	guard, err := revocation.NewGuard(revocation.GuardConfig{Verifier: verifier, List: list})
	if err != nil {
		log.Fatal(err)
	}
	if err := follower.Ready(ctx); err != nil { // about a second after the start
		log.Fatal(err)
	}

	alice, err := m.Login(ctx, nil, "alice", counterfoil.LoginOptions{})
	if err != nil {
		log.Fatal(err)
	}
	tokens, _ := alice.Issued()
	v, err := guard.Check(ctx, tokens.Access.Reveal())
	fmt.Println(v.Subject(), err)

	done, err := m.Revoke(ctx, counterfoil.Revocation{Session: alice.ID(), Wait: 5 * time.Second}) // until the edge has confirmed
	if err != nil {
		log.Fatal(err)
	}
	_, err = guard.Check(ctx, tokens.Access.Reveal())
	fmt.Println(len(done.Missing), "missing;", err)
	// Output:
	// alice <nil>
	// 0 missing; revocation: token revoked: session revoked
}
