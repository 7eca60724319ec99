package main

import (
	_ "embed"
	"html/template"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/fiberadapter"
	"github.com/counterfoil/counterfoil/httpadapter"
)

//go:embed page.html
var html string
var page = template.Must(template.New("page").Parse(html))

// visits is session.count: it can be raised by any number of requests at once, and none is lost.
var visits = counterfoil.NewCounter("visits")

func newApp(m *counterfoil.Manager, stop <-chan struct{}) *fiber.App {
	app := fiber.New(fiber.Config{
		DisableStartupMessage: true,
		ReadBufferSize:        16 << 10,         // room for all cookies of localhost
		BodyLimit:             16 << 10,         // forms are small, and Fiber has all of a body in memory before it asks anybody
		ReadTimeout:           10 * time.Second, // to send a request
		WriteTimeout:          20 * time.Second, // to take an answer; event streams outlast it
		IdleTimeout:           time.Minute,
	})
	app.Use(dressed, fiberadapter.Endpoints(m, httpadapter.EndpointsConfig{Stop: stop}), fiberadapter.New(fiberadapter.Config{Manager: m}))

	app.Get("/", func(c *fiber.Ctx) error {
		s := fiberadapter.Session(c)
		n, err := visits.Incr(c.UserContext(), s, 1)
		if err != nil {
			return err
		}
		return page.Execute(c.Type("html", "utf-8"), fiber.Map{"Visits": n, "Name": s.Subject()})
	})
	app.Post("/login", func(c *fiber.Ctx) error {
		name := strings.ToValidUTF8(strings.TrimSpace(c.FormValue("name")), "")
		if name == "" || utf8.RuneCountInString(name) > 64 {
			return c.Redirect("/", fiber.StatusSeeOther)
		}
		// Here a real application finds out whether it is really them.
		if err := fiberadapter.Login(c, name, counterfoil.LoginOptions{Carry: []string{"visits"}}); err != nil {
			return err
		}
		return c.Redirect("/", fiber.StatusSeeOther)
	})
	app.Post("/logout", leave(fiberadapter.Logout))
	app.Post("/logout-everywhere", leave(fiberadapter.LogoutEverywhere))
	return app
}

func leave(end func(*fiber.Ctx) error) fiber.Handler {
	return func(c *fiber.Ctx) error {
		if err := end(c); err != nil {
			return err
		}
		return c.Redirect("/", fiber.StatusSeeOther)
	}
}
