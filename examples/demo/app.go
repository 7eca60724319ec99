package main

import (
	"context"
	"net"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/fiberadapter"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/token/issuer"
)

const (
	issuerName = "https://demo.example"
	audience   = "https://demo.example"
)

// appRole is the web application. All that makes it the same application after a restart is what it is given: the Redis, the
// signing keys and the secret.
func appRole(ctx context.Context, s settings, ready func(string)) error {
	keys, err := issuer.LoadRing(s.KeyFile)
	if err != nil {
		return err
	}
	sessions, err := store.Open(ctx, s.Redis, store.Config{Prefix: s.Prefix})
	if err != nil {
		return err
	}
	defer sessions.Close()
	m, err := counterfoil.New(ctx, counterfoil.Config{
		Issuer: issuerName, Audience: audience, Keys: keys, Secrets: [][]byte{s.Secret}, Store: sessions, Name: "application",
	})
	if err != nil {
		return err
	}
	defer m.Close()

	ln, err := listen(s.Addr)
	if err != nil {
		return err
	}
	app := newApp(m)
	ended := make(chan error, 1)
	go func() { ended <- app.Listener(ln) }()
	ready(ln.Addr().String())
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		_ = app.ShutdownWithTimeout(2 * time.Second) // what is open after that is cut
		return nil
	}
}

var (
	visits = counterfoil.NewCounter("visits")
	note   = counterfoil.NewField[string]("note")
)

// newApp returns the application's pages.
func newApp(m *counterfoil.Manager) *fiber.App {
	app := fiber.New(fiber.Config{
		DisableStartupMessage: true,
		BodyLimit:             16 << 10,         // forms are small, and Fiber has all of a body in memory before it asks anybody
		ReadTimeout:           10 * time.Second, // to send a request
		WriteTimeout:          20 * time.Second, // to take an answer; event streams outlast it
		IdleTimeout:           time.Minute,
	})
	app.Use(fiberadapter.Endpoints(m)) // the public keys, renewal, health
	app.Use(fiberadapter.New(fiberadapter.Config{Manager: m}))

	app.Post("/login", func(c *fiber.Ctx) error {
		// A real application asks for a password here, or for a passkey.
		if err := fiberadapter.Login(c, c.FormValue("name"), counterfoil.LoginOptions{}); err != nil {
			return err
		}
		return c.SendString("logged in\n")
	})
	app.Post("/logout", func(c *fiber.Ctx) error {
		if err := fiberadapter.Logout(c); err != nil {
			return err
		}
		return c.SendString("logged out\n")
	})
	// This one answers when everybody who follows the revocation log has confirmed: the application itself, and the edge.
	app.Post("/logout-everywhere", fiberadapter.Require, func(c *fiber.Ctx) error {
		done, err := m.Revoke(c.UserContext(), counterfoil.Revocation{Subject: fiberadapter.Session(c).Subject(), Wait: 5 * time.Second})
		if err != nil {
			return err
		}
		if err := fiberadapter.Logout(c); err != nil { // has the cookies removed
			return err
		}
		return c.JSON(done)
	})
	app.Get("/", fiberadapter.Require, func(c *fiber.Ctx) error {
		n, err := visits.Incr(c.UserContext(), fiberadapter.Session(c), 1)
		if err != nil {
			return err
		}
		return c.SendString("You have visited this page " + times(n) + ".\n")
	})

	// POST /note reads the session, stops half-way until POST /release lets it go on, and then writes: a write in flight.
	// GET /reached waits until it stands there.
	reached, release := make(chan struct{}), make(chan struct{})
	app.Post("/note", fiberadapter.Require, func(c *fiber.Ctx) error {
		s := fiberadapter.Session(c)
		if _, _, err := note.Get(c.UserContext(), s); err != nil {
			return err
		}
		if !meet(reached) || !meet(release) {
			return fiber.ErrRequestTimeout
		}
		return note.Set(s, "written late") // and the middleware saves it
	})
	await := func(gate chan struct{}) fiber.Handler {
		return func(c *fiber.Ctx) error {
			if !meet(gate) {
				return fiber.ErrRequestTimeout
			}
			return nil
		}
	}
	app.Get("/reached", await(reached))
	app.Post("/release", await(release))
	return app
}

// meet lets the two that call it with one gate go on together. It returns false if the other one did not come.
func meet(gate chan struct{}) bool {
	select {
	case gate <- struct{}{}:
	case <-gate:
	case <-time.After(3 * time.Second):
		return false
	}
	return true
}

func times(n int64) string {
	if n == 1 {
		return "1 time"
	}
	return strconv.FormatInt(n, 10) + " times"
}

func listen(addr string) (net.Listener, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	return net.Listen("tcp", addr)
}
