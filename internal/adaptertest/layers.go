package adaptertest

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/fiberadapter"
	"github.com/counterfoil/counterfoil/httpadapter"
)

// A Layer is one middleware of an application: New with that Manager, or Verify. Whom it refuses it sends to the path To; "" = it has no ErrorHandler.
type Layer struct {
	Of     *counterfoil.Manager
	Verify bool
	To     string
}

// Paths behind Require, and behind RequireFresh with three minutes.
const (
	Mine  = "/mine"
	Fresh = "/fresh"
)

// HTTPLayers serves an application behind those layers, the first one outermost. Behind them are the endpoints of its Manager too.
func HTTPLayers(t testing.TB, layers []Layer) App {
	t.Helper()
	mux := http.NewServeMux()
	open := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("open")) })
	mux.Handle(Mine, httpadapter.Require(open))
	mux.Handle(Fresh, httpadapter.RequireFresh(3*time.Minute)(open))
	endpoints, err := httpadapter.Endpoints(layers[0].Of)
	if err != nil {
		t.Fatal(err)
	}
	h := endpoints(mux)
	for i := len(layers) - 1; i >= 0; i-- {
		l := layers[i]
		var refuse func(http.ResponseWriter, *http.Request, error)
		if l.To != "" {
			refuse = func(w http.ResponseWriter, _ *http.Request, _ error) {
				w.Header().Set("Location", l.To)
				w.WriteHeader(http.StatusSeeOther)
			}
		}
		if l.Verify {
			h = httpadapter.Verify(l.Of.Guard(), httpadapter.VerifyConfig{ErrorHandler: refuse})(h)
			continue
		}
		sessions, err := httpadapter.New(httpadapter.Config{Manager: l.Of, ErrorHandler: refuse})
		if err != nil {
			t.Fatal(err)
		}
		h = sessions(h)
	}
	return func(_ testing.TB, r *http.Request) Answer {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return answer(w.Result())
	}
}

// FiberLayers serves the same application on Fiber.
func FiberLayers(_ testing.TB, layers []Layer) App {
	app := fiber.New()
	for _, l := range layers {
		var refuse fiber.ErrorHandler
		if l.To != "" {
			refuse = func(c *fiber.Ctx, _ error) error { return c.Redirect(l.To, fiber.StatusSeeOther) }
		}
		if l.Verify {
			app.Use(fiberadapter.Verify(l.Of.Guard(), fiberadapter.VerifyConfig{ErrorHandler: refuse}))
			continue
		}
		app.Use(fiberadapter.New(fiberadapter.Config{Manager: l.Of, ErrorHandler: refuse}))
	}
	app.Use(fiberadapter.Endpoints(layers[0].Of))
	open := func(c *fiber.Ctx) error { return c.SendString("open") }
	app.Get(Mine, fiberadapter.Require, open)
	app.Get(Fresh, fiberadapter.RequireFresh(3*time.Minute), open)
	return func(t testing.TB, r *http.Request) Answer {
		res, err := app.Test(r, -1)
		if err != nil {
			t.Fatal(err)
		}
		return answer(res)
	}
}
