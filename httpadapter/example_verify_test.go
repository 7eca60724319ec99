package httpadapter_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/store/embedded"
	"github.com/counterfoil/counterfoil/token/issuer"
)

// A service that only has to know who is asking. Here it is in the process of the application and uses the guard of its Manager; anywhere else it
// makes its own, from public keys and the revocation log, see the example of store.LogReader.
func ExampleVerify() {
	ctx := context.Background()
	redis, err := embedded.Start("")
	if err != nil {
		log.Fatal(err)
	}
	defer redis.Close()
	sessions, err := store.Open(ctx, redis.URL(), store.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer sessions.Close()
	key, _ := issuer.GenerateKey("EdDSA")
	ring, _ := issuer.NewRing(key)
	m, err := counterfoil.New(ctx, counterfoil.Config{
		Issuer: "https://app.example", Audience: "https://app.example",
		Keys: ring, Secrets: [][]byte{make([]byte, 32)}, // a real one is random, and kept
		Store: sessions,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()

	verify := httpadapter.Verify(m.Guard())
	service := verify(httpadapter.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "hello", httpadapter.Verified(r).Subject())
	})))

	alice, err := m.Login(ctx, nil, "alice", counterfoil.LoginOptions{})
	if err != nil {
		log.Fatal(err)
	}
	tokens, _ := alice.Issued()
	ask := func(authorization string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", authorization)
		w := httptest.NewRecorder()
		service.ServeHTTP(w, r)
		fmt.Print(w.Code, " ", w.Body)
	}
	ask("Bearer " + tokens.Access.Reveal())
	if err := m.End(ctx, alice.ID()); err != nil {
		log.Fatal(err)
	}
	ask("Bearer " + tokens.Access.Reveal())
	// Output:
	// 200 hello alice
	// 401 Unauthorized
}

// After a login the browser goes back to where it came from, if that is here.
func ExampleReturnPath() {
	for _, target := range []string{"/account?tab=1", "https://elsewhere.example/", "//elsewhere.example", `/\elsewhere.example`, ""} {
		path, ok := httpadapter.ReturnPath(target)
		fmt.Printf("%q %v\n", path, ok)
	}
	// Output:
	// "/account?tab=1" true
	// "" false
	// "" false
	// "" false
	// "" false
}
