// Spa is a single page whose API only verifies tokens, as an edge does: when a token has expired the API answers 401, and the page renews it through
// the refresh endpoint.
//
//	go run ./examples/spa -access 5s
//
// Open http://localhost:3003 in several tabs and sign in. They share the cookies, renew when they must, as each of them counts, and none logs another
// out.
package main

import (
	"context"
	"crypto/rand"
	_ "embed"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/fiberadapter"
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/store/embedded"
	"github.com/counterfoil/counterfoil/token/issuer"
)

var (
	//go:embed spa.html
	html []byte
	//go:embed spa.css
	style []byte
	//go:embed spa.js
	script []byte
)

func newApp(m *counterfoil.Manager, stop <-chan struct{}) *fiber.App {
	app := fiber.New(fiber.Config{
		DisableStartupMessage: true,
		ReadBufferSize:        16 << 10,         // room for all cookies of localhost
		BodyLimit:             16 << 10,         // forms are small, and Fiber has all of a body in memory before it asks anybody
		ReadTimeout:           10 * time.Second, // to send a request
		WriteTimeout:          20 * time.Second, // to take an answer; event streams outlast it
		IdleTimeout:           time.Minute,
	})
	app.Use(func(c *fiber.Ctx) error {
		c.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'")
		return c.Next()
	})
	app.Use(fiberadapter.Endpoints(m, httpadapter.EndpointsConfig{Stop: stop}))
	app.Get("/", func(c *fiber.Ctx) error { return c.Type("html", "utf-8").Send(html) })
	app.Get("/spa.css", func(c *fiber.Ctx) error { return c.Type("css", "utf-8").Send(style) })
	app.Get("/spa.js", func(c *fiber.Ctx) error { return c.Type("js", "utf-8").Send(script) })
	app.Post("/login", fiberadapter.New(fiberadapter.Config{Manager: m}), func(c *fiber.Ctx) error {
		name := strings.ToValidUTF8(strings.TrimSpace(c.FormValue("name")), "")
		if name == "" || utf8.RuneCountInString(name) > 64 {
			return c.SendStatus(fiber.StatusBadRequest)
		}
		return fiberadapter.Login(c, name, counterfoil.LoginOptions{}) // after finding out whether it is really them
	})
	api := app.Group("/api", fiberadapter.Verify(m.Guard()), fiberadapter.Require)
	api.Get("/me", func(c *fiber.Ctx) error {
		v := fiberadapter.Verified(c)
		return c.JSON(fiber.Map{"name": v.Subject(), "expires": v.Expires().UTC().Format(time.RFC3339)})
	})
	return app
}

func run(ctx context.Context, addr string, access time.Duration, out io.Writer) error {
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
	key, err := issuer.GenerateKey("EdDSA") // a service keeps its keys: issuer.OpenRing
	if err != nil {
		return err
	}
	ring, err := issuer.NewRing(key)
	if err != nil {
		return err
	}
	secret := make([]byte, 32)
	rand.Read(secret)
	m, err := counterfoil.New(ctx, counterfoil.Config{
		Issuer: "https://spa.example", Audience: "https://spa.example", Keys: ring, Secrets: [][]byte{secret}, Store: sessions,
		AccessLife: access, Leeway: time.Second,
	})
	if err != nil {
		return err
	}
	defer m.Close()
	app := newApp(m, ctx.Done())
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "open http://%s\n", ln.Addr())
	ended := make(chan error, 1)
	go func() { ended <- app.Listener(ln) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		_ = app.ShutdownWithTimeout(3 * time.Second) // what is open after that is cut
		_ = ln.Close()                               // which a Shutdown before the Listener does not do
		return <-ended
	}
}

func main() {
	addr := flag.String("addr", "localhost:3003", "where to listen")
	access := flag.Duration("access", 30*time.Second, "life of an access token, 1s to 15m")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *addr, *access, os.Stdout); err != nil {
		log.Fatal("spa: ", err)
	}
}
