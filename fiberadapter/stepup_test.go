package fiberadapter_test

import (
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/fiberadapter"
	"github.com/counterfoil/counterfoil/internal/rig"
)

func TestStepUpAndDevices(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	a := app(r.Manager)
	a.Get("/danger", fiberadapter.RequireFresh(5*time.Minute), func(c *fiber.Ctx) error { return c.SendString("done") })
	a.Get("/danger/fails", fiberadapter.RequireFresh(5*time.Minute), func(*fiber.Ctx) error { return fiber.ErrTeapot })
	a.Post("/prove", func(c *fiber.Ctx) error {
		return fiberadapter.Rotate(c, counterfoil.RotateOptions{Reauthenticated: true})
	})
	a.Get("/devices", func(c *fiber.Ctx) error {
		list, err := r.Devices(c.UserContext(), fiberadapter.Session(c))
		if err != nil {
			return err
		}
		return c.JSON(list)
	})
	a.Post("/end", func(c *fiber.Ctx) error { return fiberadapter.EndDevice(c, c.Query("handle")) })
	edge := fiber.New()
	edge.Get("/danger", fiberadapter.Verify(r.Guard()), fiberadapter.RequireFresh(5*time.Minute), func(c *fiber.Ctx) error { return c.SendString("done") })

	b := &browser{t, a, map[string]string{}}
	b.do("POST", "/login?as=alice", "User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0")
	if res, _ := b.do("GET", "/danger"); res.StatusCode != 200 {
		t.Errorf("right after the login: %d", res.StatusCode)
	}
	if res, _ := b.do("GET", "/danger/fails"); res.StatusCode != 418 {
		t.Errorf("where the handler fails: %d", res.StatusCode)
	}
	at := &browser{t, edge, b.jar}
	if res, _ := at.do("GET", "/danger"); res.StatusCode != 200 {
		t.Errorf("at the edge: %d", res.StatusCode)
	}
	r.Advance(6 * time.Minute)
	res, body := b.do("GET", "/danger")
	if res.StatusCode != 401 || body != "Unauthorized" ||
		res.Header.Get("WWW-Authenticate") != `Bearer error="insufficient_user_authentication", max_age="300"` {
		t.Errorf("later: %d %q %q", res.StatusCode, body, res.Header.Get("WWW-Authenticate"))
	}
	if res, _ := b.do("POST", "/prove"); res.StatusCode != 200 || len(res.Header["Set-Cookie"]) != 2 {
		t.Errorf("proving it again: %d %v", res.StatusCode, res.Header)
	}
	if res, _ := b.do("GET", "/danger"); res.StatusCode != 200 {
		t.Errorf("after that: %d", res.StatusCode)
	}
	list, err := r.Sessions(t.Context(), "alice")
	if err != nil || len(list) != 1 || list[0].Device != "Firefox on Linux" {
		t.Errorf("%+v, %v", list, err)
	}
	if res, _ := b.do("GET", "/devices"); res.StatusCode != 200 {
		t.Errorf("devices: %d", res.StatusCode)
	}
	if res, _ := b.do("POST", "/end?handle=x"); res.StatusCode != 401 {
		t.Errorf("a handle that is none: %d", res.StatusCode)
	}
}

// TestErrorHandlerThatHandsOn: one that leaves the answer to the application's own is asked once for a closed door, and its answer keeps the challenge.
func TestErrorHandlerThatHandsOn(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	asked := 0
	a := fiber.New(fiber.Config{ErrorHandler: func(c *fiber.Ctx, err error) error { return c.SendStatus(fiber.StatusTeapot) }})
	a.Use(fiberadapter.New(fiberadapter.Config{Manager: r.Manager, ErrorHandler: func(_ *fiber.Ctx, err error) error { asked++; return err }}))
	a.Get("/danger", fiberadapter.RequireFresh(5*time.Minute))
	b := &browser{t, a, map[string]string{}}
	res, body := b.do("GET", "/danger")
	if res.StatusCode != 418 || body != "I'm a teapot" || res.Header.Get("WWW-Authenticate") != `Bearer error="insufficient_user_authentication", max_age="300"` {
		t.Errorf("%d %q %v", res.StatusCode, body, res.Header)
	}
	if asked != 1 {
		t.Errorf("it was asked %d times", asked)
	}
}

// TestPanic shows the rule for a handler that panics: what it set is gone, what took effect stays, and nothing is written by a handler that never returned.
func TestPanic(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	a := fiber.New()
	a.Use(func(c *fiber.Ctx) (err error) {
		defer func() {
			if recover() != nil {
				err = fiber.ErrInternalServerError
			}
		}()
		return c.Next()
	})
	a.Mount("/", app(r.Manager))
	a.Use(fiberadapter.New(fiberadapter.Config{Manager: r.Manager}))
	a.Get("/panic", func(c *fiber.Ctx) error {
		if err := note.Set(fiberadapter.Session(c), "set"); err != nil {
			return err
		}
		if _, err := visits.Incr(c.UserContext(), fiberadapter.Session(c), 10); err != nil {
			return err
		}
		panic("handler")
	})
	b := &browser{t, a, map[string]string{}}
	b.do("POST", "/login?as=alice")
	if res, _ := b.do("GET", "/panic"); res.StatusCode != 500 {
		t.Fatalf("%d, want 500", res.StatusCode)
	}
	list, err := r.Sessions(t.Context(), "alice")
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	rec, err := r.Config.Store.Load(t.Context(), counterfoil.Ref{Session: list[0].Session, Subject: "alice"})
	if err != nil || string(rec.Fields["visits"]) != "10" || rec.Fields["note"] != nil {
		t.Errorf("after the panic: %q, %v", rec.Fields, err)
	}
}

// TestWhatIsMissing: what cannot work says so when the routes are built, not at somebody's first request.
func TestWhatIsMissing(t *testing.T) {
	for what, f := range map[string]func(){
		"New without a Manager":       func() { fiberadapter.New(fiberadapter.Config{}) },
		"Endpoints without a Manager": func() { fiberadapter.Endpoints(nil) },
		"Verify without a Guard":      func() { fiberadapter.Verify(nil) },
	} {
		func() {
			defer func() {
				if said, _ := recover().(string); !strings.HasPrefix(said, "fiberadapter: ") {
					t.Errorf("%s: panic %q", what, said)
				}
			}()
			f()
		}()
	}
}
