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
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/store/embedded"
	"github.com/counterfoil/counterfoil/token/issuer"
)

// An application with a page for those who are logged in.
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

	app := fiber.New()
	app.Use(fiberadapter.Endpoints(m))
	app.Use(fiberadapter.New(fiberadapter.Config{Manager: m}))
	app.Post("/login", func(c *fiber.Ctx) error {
		return fiberadapter.Login(c, "alice", counterfoil.LoginOptions{})
	})
	app.Get("/me", fiberadapter.Require, func(c *fiber.Ctx) error {
		return c.SendString("hello " + fiberadapter.Session(c).Subject())
	})

	ask := func(method, path, cookie string) (body, setCookie string) {
		req := httptest.NewRequest(method, path, nil)
		if cookie != "" {
			req.Header.Set("Cookie", cookie)
		}
		res, err := app.Test(req, -1)
		if err != nil {
			log.Fatal(err)
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		for _, c := range res.Cookies() {
			setCookie += c.Name + "=" + c.Value + "; "
		}
		return string(b), setCookie
	}
	body, _ := ask("GET", "/me", "")
	fmt.Println(body)
	_, jar := ask("POST", "/login", "")
	body, _ = ask("GET", "/me", jar)
	fmt.Println(body)
	ask("POST", httpadapter.LogoutPath, jar)
	body, _ = ask("GET", "/me", jar)
	fmt.Println(body)
	// Output:
	// Unauthorized
	// hello alice
	// Unauthorized
}
