package fiberadapter_test

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/timeout"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/fiberadapter"
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/internal/rig"
)

// TestBehindATimeout has handlers whose context is over when they have returned. What they set is saved and a due renewal is made.
func TestBehindATimeout(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	a := fiber.New()
	a.Use(fiberadapter.New(fiberadapter.Config{Manager: r.Manager}))
	bounded := func(h fiber.Handler) fiber.Handler { return timeout.NewWithContext(h, time.Hour) }
	a.Post("/login", bounded(func(c *fiber.Ctx) error { return fiberadapter.Login(c, "alice", counterfoil.LoginOptions{}) }))
	a.Post("/note", bounded(func(c *fiber.Ctx) error { return note.Set(fiberadapter.Session(c), c.Query("note")) }))
	a.Post("/late", timeout.NewWithContext(func(c *fiber.Ctx) error {
		<-c.UserContext().Done()
		return note.Set(fiberadapter.Session(c), c.Query("note"))
	}, time.Nanosecond))
	a.Post("/failed", timeout.NewWithContext(func(c *fiber.Ctx) error {
		if err := note.Set(fiberadapter.Session(c), c.Query("note")); err != nil {
			return err
		}
		<-c.UserContext().Done()
		return context.Cause(c.UserContext())
	}, time.Nanosecond))
	a.Get("/note", func(c *fiber.Ctx) error {
		v, _, err := note.Get(c.UserContext(), fiberadapter.Session(c))
		_ = c.SendString(v)
		return err
	})
	b := &browser{t, a, map[string]string{}}
	if res, _ := b.do("POST", "/login"); res.StatusCode != 200 || len(res.Cookies()) != 2 {
		t.Fatalf("login: %d with %d cookies", res.StatusCode, len(res.Cookies()))
	}
	for _, tt := range []struct {
		path   string
		status int
		after  string
	}{
		{"/note?note=one", 200, "one"},
		{"/late?note=two", 200, "two"}, // its answer goes out, so it has to be true
		{"/failed?note=three", 408, "two"},
	} {
		if res, body := b.do("POST", tt.path); res.StatusCode != tt.status {
			t.Errorf("%s: %d %q, want %d", tt.path, res.StatusCode, body, tt.status)
		}
		if _, got := b.do("GET", "/note"); got != tt.after {
			t.Errorf("%s: the note is %q, want %q", tt.path, got, tt.after)
		}
	}
	r.Advance(3 * time.Minute)
	if res, _ := b.do("POST", "/note?note=four"); res.StatusCode != 200 || len(res.Cookies()) != 2 {
		t.Errorf("at half of the token's life: %d with %d cookies, want 200 with 2", res.StatusCode, len(res.Cookies()))
	}
}

// TestEventsBehindATimeout shows that the stream goes on after the handler has returned, which is when a timeout ends its context.
func TestEventsBehindATimeout(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	r.Fresh(t)
	stop := make(chan struct{})
	a := fiber.New(fiber.Config{DisableStartupMessage: true})
	a.Use(timeout.NewWithContext(fiberadapter.Endpoints(r.Manager, httpadapter.EndpointsConfig{Stop: stop}), time.Hour))
	at := serve(t, a, stop)
	s, watch := watcher(t, r, at)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(watch())
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	last := ""
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		switch line := lines.Text(); {
		case strings.HasPrefix(line, "retry:"): // the stream has begun
			if err := r.End(t.Context(), s.ID()); err != nil {
				t.Fatal(err)
			}
		case strings.HasPrefix(line, "event:"):
			last = line
		}
	}
	if last != "event: gone" {
		t.Errorf("the stream ended with %q, not with the session", last)
	}
}
