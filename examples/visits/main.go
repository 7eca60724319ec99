// Visits is a page that counts how often it was visited, which in Koa is session.count++. Here the count survives a login, and a logout ends the
// session for good, here or on every device.
//
//	go run ./examples/visits
//
// Open http://localhost:3000 and reload it; log in under one name in two browsers, and log out everywhere in one of them. visits.go is the
// application; this file gives it a Redis, keys and a port. REDIS_URL names a Redis to use instead of the embedded one.
package main

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/store/embedded"
	"github.com/counterfoil/counterfoil/token/issuer"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Getenv("REDIS_URL"), os.Stdout, os.Stderr))
}

// run returns the exit code: 1 = the port cannot be had or serving failed, 2 = a flag or REDIS_URL is wrong.
func run(ctx context.Context, args []string, redisURL string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("visits", flag.ContinueOnError)
	flags.SetOutput(stderr)
	addr := flags.String("addr", "localhost:3000", "where to listen; without TLS browsers keep the cookies on localhost only")
	plain := flags.Bool("insecure-plain-cookies", false, "for Safari, which refuses Secure cookies on http://localhost")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	fail := func(code int, what string, err error) int {
		fmt.Fprintf(stderr, "visits: %s: %v\n", what, err)
		return code
	}
	host, _, err := net.SplitHostPort(*addr)
	if err != nil || flags.NArg() > 0 {
		return fail(2, "usage", errors.New("visits [-addr host:port] [-insecure-plain-cookies]"))
	}

	ln, err := net.Listen("tcp", *addr)
	if err != nil {
		return fail(1, "-addr", err)
	}
	defer ln.Close()
	where := "the Redis of REDIS_URL"
	if redisURL == "" {
		server, err := embedded.Start("")
		if err != nil {
			return fail(1, "embedded Redis", err)
		}
		defer server.Close()
		redisURL, where = server.URL(), "an embedded Redis, and end with it"
	}
	sessions, err := store.Open(ctx, redisURL, store.Config{Prefix: "visits:"})
	if err != nil {
		return fail(2, "REDIS_URL", err)
	}
	defer sessions.Close()
	m, err := newManager(ctx, sessions, *plain)
	if err != nil {
		return fail(1, "sessions", err)
	}
	defer m.Close()

	app := newApp(m, ctx.Done())
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	fmt.Fprintf(stdout, "open http://%s\nThe sessions are in %s. Ctrl-C ends it.\n", net.JoinHostPort(host, port), where)
	ended := make(chan error, 1)
	go func() { ended <- app.Listener(ln) }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		_ = app.ShutdownWithTimeout(3 * time.Second) // what is open after that is cut
		_ = ln.Close()                               // which a Shutdown before the Listener does not do
		err = <-ended
	}
	if err != nil {
		return fail(1, "serving", err)
	}
	return 0
}

// newManager makes keys that last as long as the program. A service that is restarted, or runs twice, keeps them: issuer.OpenRing.
func newManager(ctx context.Context, sessions *store.Redis, plain bool) (*counterfoil.Manager, error) {
	key, err := issuer.GenerateKey("EdDSA")
	if err != nil {
		return nil, err
	}
	ring, err := issuer.NewRing(key)
	if err != nil {
		return nil, err
	}
	secret := make([]byte, 32)
	rand.Read(secret)
	return counterfoil.New(ctx, counterfoil.Config{
		Issuer: "https://visits.example", Audience: "https://visits.example",
		Keys: ring, Secrets: [][]byte{secret}, Store: sessions, InsecurePlainCookies: plain,
	})
}

//go:embed style.css
var style []byte

//go:embed icon.svg
var icon []byte

// dressed serves what the page looks like, and tells browsers that there is nothing else to it: no scripts, no frames, nothing to keep.
func dressed(c *fiber.Ctx) error {
	c.Set("Content-Security-Policy",
		"default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	c.Set("X-Content-Type-Options", "nosniff")
	c.Set("Referrer-Policy", "same-origin")
	c.Set("Cache-Control", "no-store")
	switch c.Path() {
	case "/style.css":
		return c.Type("css", "utf-8").Send(style)
	case "/icon.svg":
		return c.Type("svg").Send(icon)
	}
	return c.Next()
}
