// Devices is an application on Fiber whose users see where they are signed in and end the sessions they do not know.
//
//	go run ./examples/devices
//
// Open http://localhost:3002 with two browsers, or with one and a private window, and sign in under the same name. Open "Where you are signed in" in
// both, and end one from the other: it is signed out within a second.
package main

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"html/template"
	"io"
	"log"
	"net"
	"net/url"
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

var form = template.Must(template.New("").Parse(`<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Sign in</title><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,"><h1>Sign in</h1><form method="post" action="/login">
<input type="hidden" name="return" value="{{.}}"><p><label>Your name <input name="name" required maxlength="64"></label></p>
<p><label><input type="checkbox" name="remember"> Stay signed in when I close the browser</label></p>
<p><button>Sign in</button></p></form>`))

const home = `<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Welcome</title><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,"><h1>Welcome</h1>
<p><a href="/session/devices">Where you are signed in</a></p>
<form method="post" action="/session/logout"><input type="hidden" name="return" value="/"><button>Sign out</button></form>`

func newApp(m *counterfoil.Manager, stop <-chan struct{}) *fiber.App {
	app := fiber.New(fiber.Config{
		DisableStartupMessage: true,
		ReadBufferSize:        16 << 10,         // room for all cookies of localhost
		BodyLimit:             16 << 10,         // forms are small, and Fiber has all of a body in memory before it asks anybody
		ReadTimeout:           10 * time.Second, // to send a request
		WriteTimeout:          20 * time.Second, // to take an answer; event streams outlast it
		IdleTimeout:           time.Minute,
	})
	app.Use(fiberadapter.Endpoints(m, httpadapter.EndpointsConfig{Login: "/login", Stop: stop}))
	app.Use(fiberadapter.New(fiberadapter.Config{Manager: m}))
	app.Get("/", func(c *fiber.Ctx) error {
		if fiberadapter.Session(c).Subject() == "" {
			return c.Redirect("/login")
		}
		c.Set("Cache-Control", "no-store") // it is of somebody
		return c.Type("html", "utf-8").SendString(home)
	})
	app.Get("/login", func(c *fiber.Ctx) error {
		return form.Execute(c.Type("html", "utf-8"), returnPath(c.Query("return")))
	})
	app.Post("/login", func(c *fiber.Ctx) error {
		back := returnPath(c.FormValue("return"))
		name := strings.ToValidUTF8(strings.TrimSpace(c.FormValue("name")), "")
		if name == "" || utf8.RuneCountInString(name) > 64 {
			return c.Redirect("/login?return="+url.QueryEscape(back), fiber.StatusSeeOther)
		}
		// Here a real application finds out whether it is really them. The device's label comes from its User-Agent.
		if err := fiberadapter.Login(c, name, counterfoil.LoginOptions{Remember: c.FormValue("remember") != ""}); err != nil {
			return err
		}
		return c.Redirect(back, fiber.StatusSeeOther)
	})
	return app
}

// returnPath returns where somebody goes after the login: to where the endpoints have sent them to it from, by the parameter "return". Anybody can make a link
// to /login with that parameter, so a target that is not a path of this host does not count.
func returnPath(target string) string {
	if path, ok := httpadapter.ReturnPath(target); ok {
		return path
	}
	return httpadapter.PagePath
}

func run(ctx context.Context, addr string, out io.Writer) error {
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
		Issuer: "https://devices.example", Audience: "https://devices.example", Keys: ring, Secrets: [][]byte{secret}, Store: sessions,
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
	addr := flag.String("addr", "localhost:3002", "where to listen")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *addr, os.Stdout); err != nil {
		log.Fatal("devices: ", err)
	}
}
