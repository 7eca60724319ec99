package fiberadapter_test

import (
	"bufio"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/recover"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/fiberadapter"
	"github.com/counterfoil/counterfoil/internal/rig"
)

func TestRefusedAnswerKeepsNothingOfTheHandler(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	a := fiber.New()
	a.Use(func(c *fiber.Ctx) error {
		c.Set("Content-Security-Policy", "default-src 'none'")
		return c.Next()
	})
	a.Use(fiberadapter.New(fiberadapter.Config{Manager: r.Manager, ErrorHandler: func(c *fiber.Ctx, err error) error {
		if c.Path() == "/own" {
			c.Status(fiber.StatusTeapot)
			return nil
		}
		return fiberadapter.Refuse(c, err)
	}}))
	a.Post("/login", func(c *fiber.Ctx) error { return fiberadapter.Login(c, "alice", counterfoil.LoginOptions{}) })
	late := func(last fiber.Handler) fiber.Handler {
		return func(c *fiber.Ctx) error {
			_ = note.Set(fiberadapter.Session(c), "late")
			if err := r.End(c.UserContext(), fiberadapter.Session(c).ID()); err != nil {
				t.Error(err)
			}
			c.Set("Location", "/paid")
			c.Set("Content-Encoding", "gzip")
			c.Set("Content-Security-Policy", "default-src *")
			c.Cookie(&fiber.Cookie{Name: "paid", Value: "yes"})
			return last(c)
		}
	}
	for _, path := range []string{"/body", "/own"} {
		a.Get(path, late(func(c *fiber.Ctx) error { return c.SendString("saved") }))
	}
	a.Get("/status", late(func(c *fiber.Ctx) error { return c.Redirect("/paid") }))
	a.Get("/stream", late(func(c *fiber.Ctx) error {
		c.Context().SetBodyStreamWriter(func(w *bufio.Writer) { _, _ = w.WriteString("saved") })
		return nil
	}))
	a.Get("/ours", late(func(*fiber.Ctx) error { return counterfoil.ErrNotFound }))
	a.Get("/upgrade", late(func(c *fiber.Ctx) error {
		c.Status(101)
		c.Context().Hijack(func(net.Conn) { t.Error("the connection of a refused request was handed over") })
		return nil
	}))
	for _, path := range []string{"/body", "/status", "/stream", "/ours", "/upgrade"} {
		b := &browser{t, a, map[string]string{}}
		b.do("POST", "/login")
		res, body := b.do("GET", path)
		if res.StatusCode != 401 || body != "Unauthorized" || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %q %v", path, res.StatusCode, body, res.Header)
		}
		if res.Header.Get("Location") != "" || res.Header.Get("Content-Encoding") != "" || len(res.Cookies()) > 0 {
			t.Errorf("%s: the handler's header is still there: %v", path, res.Header)
		}
		if got := res.Header["Content-Security-Policy"]; len(got) != 1 || got[0] != "default-src 'none'" {
			t.Errorf("%s: what others had set is %q", path, got)
		}
	}
	b := &browser{t, a, map[string]string{}}
	b.do("POST", "/login")
	if res, body := b.do("GET", "/own"); res.StatusCode != 418 || body != "" || res.Header.Get("Location") != "" {
		t.Errorf("an ErrorHandler that says nothing: %d %q %v", res.StatusCode, body, res.Header)
	}
}

func TestPanicDiscards(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	a := fiber.New()
	a.Use(recover.New(), fiberadapter.New(fiberadapter.Config{Manager: r.Manager}))
	a.Post("/login", func(c *fiber.Ctx) error { return fiberadapter.Login(c, "alice", counterfoil.LoginOptions{}) })
	a.Get("/panic", func(c *fiber.Ctx) error {
		_ = note.Set(fiberadapter.Session(c), "set")
		panic("broken")
	})
	a.Get("/note", func(c *fiber.Ctx) error {
		v, _, err := note.Get(c.UserContext(), fiberadapter.Session(c))
		_ = c.SendString(v)
		return err
	})
	b := &browser{t, a, map[string]string{}}
	b.do("POST", "/login")
	if res, _ := b.do("GET", "/panic"); res.StatusCode != 500 {
		t.Error(res.StatusCode)
	}
	if _, body := b.do("GET", "/note"); body != "" {
		t.Errorf("the note is %q", body)
	}
}

func TestMounted(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	middleware := fiberadapter.New(fiberadapter.Config{Manager: r.Manager})
	inner := fiber.New(fiber.Config{ErrorHandler: func(c *fiber.Ctx, err error) error { return c.Status(418).SendString("inner: " + err.Error()) }})
	inner.Use(middleware) // a second time
	inner.Get("/visit", func(c *fiber.Ctx) error {
		_, err := visits.Incr(c.UserContext(), fiberadapter.Session(c), 1)
		return err
	})
	inner.Get("/fail", func(*fiber.Ctx) error { return errors.New("of the handler") })
	a := fiber.New()
	a.Use(middleware)
	a.Mount("/inner", inner)
	b := &browser{t, a, map[string]string{}}
	if res, _ := b.do("GET", "/inner/visit"); res.StatusCode != 200 || len(res.Cookies()) != 2 {
		t.Errorf("%d with %d cookies, want 200 with 2", res.StatusCode, len(res.Cookies()))
	}
	if res, body := b.do("GET", "/inner/fail"); res.StatusCode != 418 || body != "inner: of the handler" {
		t.Errorf("the mounted error handler was not asked: %d %q", res.StatusCode, body)
	}
}

// TestLocalsUnderTheManager: an application may keep something of its own under the Manager, as under any key but a package's own, and finds nothing there before.
func TestLocalsUnderTheManager(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	middleware := fiberadapter.New(fiberadapter.Config{Manager: r.Manager})
	a := fiber.New()
	a.Use(middleware, func(c *fiber.Ctx) error {
		if found := c.Locals(r.Manager); found != nil {
			t.Errorf("a %T lies there", found)
		}
		c.Locals(r.Manager, "the application's")
		return c.Next()
	}, middleware, fiberadapter.Endpoints(r.Manager))
	a.Get("/visit", func(c *fiber.Ctx) error {
		_, err := visits.Incr(c.UserContext(), fiberadapter.Session(c), 1)
		return err
	})
	b := &browser{t, a, map[string]string{}}
	if res, _ := b.do("GET", "/visit"); len(res.Cookies()) != 2 {
		t.Errorf("%d cookies, want 2", len(res.Cookies()))
	}
	r.Advance(3 * time.Minute) // the token is due for renewal
	if res, _ := b.do("GET", "/session/active"); len(res.Cookies()) != 2 {
		t.Errorf("renewed by an endpoint: %d cookies, want 2", len(res.Cookies()))
	}
}

func TestRefuseUnknownError(t *testing.T) {
	a := fiber.New()
	a.Get("/", func(c *fiber.Ctx) error {
		_, _ = c.WriteString("half an answer")
		return fiberadapter.Refuse(c, errors.New("database password is hunter2"))
	})
	b := &browser{t, a, map[string]string{}}
	if res, body := b.do("GET", "/"); res.StatusCode != 500 || body != "Internal Server Error" {
		t.Errorf("%d %q", res.StatusCode, body)
	}
}

// TestHeaderNamesAsTheyCame shows that nothing is overlooked where Fiber leaves the spelling of names to the client.
func TestHeaderNamesAsTheyCame(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	a := fiber.New(fiber.Config{DisableHeaderNormalizing: true})
	a.Use(fiberadapter.New(fiberadapter.Config{Manager: r.Manager}))
	a.Post("/login", func(c *fiber.Ctx) error { return fiberadapter.Login(c, "alice", counterfoil.LoginOptions{}) })
	a.All("/me", func(c *fiber.Ctx) error { return c.SendString(fiberadapter.Session(c).Subject()) })
	b := &browser{t, a, map[string]string{}}
	b.do("POST", "/login")
	var cookie []string
	for k, v := range b.jar {
		cookie = append(cookie, k+"="+v)
	}
	for _, tt := range []struct{ header, want string }{
		{"", "200"},
		{"x-note: __Host-Http-session=x; __Host-Http-refresh=x\r\n", "200"},
		{"sec-fetch-site: cross-site\r\n", "403"},
		{"SEC-FETCH-SITE: same-site\r\n", "403"},
		{"origin: https://evil.test\r\n", "403"},
		{"authorization: Bearer x\r\n", "401"},
	} {
		got := raw(t, a, "POST /me HTTP/1.1\r\nhost: app.test\r\ncontent-length: 0\r\nconnection: close\r\ncookie: "+strings.Join(cookie, "; ")+"\r\n"+tt.header+"\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 "+tt.want) || tt.want == "200" && !strings.HasSuffix(got, "alice") {
			t.Errorf("%q: %q, want %s", tt.header, got, tt.want)
		}
	}
}

// TestRequireWhereNobodyLooked: a door behind a middleware that was skipped, or forgotten, is closed. fasthttp does not recover from a panic.
func TestRequireWhereNobodyLooked(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	s, err := r.Login(t.Context(), nil, "alice", counterfoil.LoginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tokens, _ := s.Issued()
	skip := func(*fiber.Ctx) bool { return true }
	for name, before := range map[string]fiber.Handler{
		"New, skipped":    fiberadapter.New(fiberadapter.Config{Manager: r.Manager, Next: skip}),
		"Verify, skipped": fiberadapter.Verify(r.Guard(), fiberadapter.VerifyConfig{Next: skip}),
		"nothing":         func(c *fiber.Ctx) error { return c.Next() },
	} {
		a := fiber.New()
		a.Get("/mine", before, fiberadapter.Require, func(c *fiber.Ctx) error { return c.SendString("mine") })
		a.Get("/fresh", before, fiberadapter.RequireFresh(time.Minute), func(c *fiber.Ctx) error { return c.SendString("mine") })
		for _, path := range []string{"/mine", "/fresh"} {
			if got := raw(t, a, "GET "+path+" HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer "+tokens.Access.Reveal()+"\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 401") || strings.Contains(got, "mine") {
				t.Errorf("%s, %s: %.60q", name, path, got)
			}
		}
	}
}
