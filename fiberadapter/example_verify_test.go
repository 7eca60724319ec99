package fiberadapter_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http/httptest"

	"github.com/gofiber/fiber/v2"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/fiberadapter"
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

	app := fiber.New()
	app.Use(fiberadapter.Verify(m.Guard()), fiberadapter.Require)
	app.Get("/", func(c *fiber.Ctx) error {
		return c.SendString("hello " + fiberadapter.Verified(c).Subject())
	})

	alice, err := m.Login(ctx, nil, "alice", counterfoil.LoginOptions{})
	if err != nil {
		log.Fatal(err)
	}
	tokens, _ := alice.Issued()
	ask := func(authorization string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", authorization)
		res, err := app.Test(r, -1)
		if err != nil {
			log.Fatal(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		fmt.Println(res.StatusCode, string(body))
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
