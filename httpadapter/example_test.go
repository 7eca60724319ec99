package httpadapter_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/store/embedded"
	"github.com/counterfoil/counterfoil/token/issuer"
)

// A page counter on net/http. Its cookies are Secure; Go's cookie jar, as browsers do, takes them from this machine without TLS too.
func Example() {
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

	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		n, err := visits.Incr(r.Context(), httpadapter.Session(r), 1)
		if err != nil {
			httpadapter.Refuse(w, r, err)
			return
		}
		fmt.Fprintf(w, "You have visited this page %d times.\n", n)
	})
	middleware, err := httpadapter.New(httpadapter.Config{Manager: m})
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(middleware(mux))
	defer server.Close()

	browser := server.Client()
	browser.Jar, _ = cookiejar.New(nil)
	for range 3 {
		res, err := browser.Get(server.URL)
		if err != nil {
			log.Fatal(err)
		}
		line := make([]byte, 64)
		n, _ := res.Body.Read(line)
		res.Body.Close()
		fmt.Print(string(line[:n]))
	}
	// Output:
	// You have visited this page 1 times.
	// You have visited this page 2 times.
	// You have visited this page 3 times.
}
