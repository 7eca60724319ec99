package adaptertest_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/fiberadapter"
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/internal/adaptertest"
	"github.com/counterfoil/counterfoil/internal/rig"
)

// TestDoorsRefuseAsTheNearestMiddleware: whoever sends people to a login has Require and RequireFresh do so too. The endpoints answer as they always do.
func TestDoorsRefuseAsTheNearestMiddleware(t *testing.T) {
	users := rig.New(t, rig.Embedded)
	staff := rig.New(t, rig.Embedded, func(c *counterfoil.Config) { c.Audience, c.CookieSuffix = "staff", "-staff" })
	a, b := users.Manager, staff.Manager
	cookie := session + "=" + visit(t, users)
	for name, tt := range map[string]struct {
		layers []adaptertest.Layer
		to     string // where a door sends the visitor; "" = it answers 401
	}{
		"New":                            {[]adaptertest.Layer{{a, false, "/a"}}, "/a"},
		"New, no handler":                {[]adaptertest.Layer{{a, false, ""}}, ""},
		"Verify":                         {[]adaptertest.Layer{{a, true, "/a"}}, "/a"},
		"Verify, no handler":             {[]adaptertest.Layer{{a, true, ""}}, ""},
		"New twice":                      {[]adaptertest.Layer{{a, false, "/outer"}, {a, false, "/inner"}}, "/inner"},
		"New twice, none inside":         {[]adaptertest.Layer{{a, false, "/outer"}, {a, false, ""}}, ""},
		"two Managers":                   {[]adaptertest.Layer{{a, false, "/a"}, {b, false, "/b"}}, "/b"},
		"two Managers, none inside":      {[]adaptertest.Layer{{a, false, "/a"}, {b, false, ""}}, ""},
		"two Managers, the first again":  {[]adaptertest.Layer{{a, false, "/a"}, {b, false, "/b"}, {a, false, "/again"}}, "/again"},
		"Verify behind New":              {[]adaptertest.Layer{{a, false, "/new"}, {a, true, "/verify"}}, "/verify"},
		"Verify behind New, none inside": {[]adaptertest.Layer{{a, false, "/new"}, {a, true, ""}}, ""},
		"New behind Verify":              {[]adaptertest.Layer{{a, true, "/verify"}, {a, false, "/new"}}, "/new"},
		"New behind Verify, none inside": {[]adaptertest.Layer{{a, true, "/verify"}, {a, false, ""}}, ""},
	} {
		for adapter, app := range map[string]adaptertest.App{"net/http": adaptertest.HTTPLayers(t, tt.layers), "Fiber": adaptertest.FiberLayers(t, tt.layers)} {
			wants := map[string]string{
				adaptertest.Mine: is(401, "Unauthorized", unauthorized), adaptertest.Fresh: is(401, "Unauthorized", stepUp), httpadapter.ListPath: is(401, "Unauthorized", unauthorized),
			}
			if tt.to != "" {
				wants[adaptertest.Mine] = is(303, "", "[Location: "+tt.to+"]")
				wants[adaptertest.Fresh] = is(303, "", stepUp[len(noStore):]+"[Location: "+tt.to+"]")
			}
			for path, want := range wants {
				if got := app(t, request("GET", path, "Cookie", cookie)).String(); got != want {
					t.Errorf("%s, %s: %s\n got %s\nwant %s", name, adapter, path, got, want)
				}
			}
		}
	}
}

// TestRefusalDecidesNothing: of what a handler set before it refused nothing is kept, whatever the reason, and nobody is given a session for it.
func TestRefusalDecidesNothing(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	for what, reason := range map[string]error{"a conflict": counterfoil.ErrConflict, "too large": counterfoil.ErrTooLarge, "too old": counterfoil.ErrNotFresh} {
		want, _ := counterfoil.Status(reason)
		sessions, err := httpadapter.New(httpadapter.Config{Manager: r.Manager})
		if err != nil {
			t.Fatal(err)
		}
		onHTTP := sessions(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := earlier.Set(httpadapter.Session(r), "x"); err != nil {
				t.Error(err)
			}
			httpadapter.Refuse(w, r, reason)
		}))
		onFiber := fiber.New()
		onFiber.Use(fiberadapter.New(fiberadapter.Config{Manager: r.Manager}))
		onFiber.Get("/", func(c *fiber.Ctx) error {
			if err := earlier.Set(fiberadapter.Session(c), "x"); err != nil {
				t.Error(err)
			}
			return fiberadapter.Refuse(c, reason)
		})
		for name, send := range servers(onHTTP, onFiber) {
			app := func(q *http.Request) *http.Response {
				res, err := send(q)
				if err != nil {
					t.Fatal(err)
				}
				return res
			}
			c := login(t, r)
			q := httptest.NewRequest(http.MethodGet, "https://app.test/", nil)
			q.Header.Set("Cookie", c.cookies())
			if got := app(q).StatusCode; got != want {
				t.Errorf("%s, %s: %d, want %d", name, what, got, want)
			}
			record, err := r.Faults.Find(t.Context(), c.s.ID())
			if err != nil || len(record.Fields) > 0 {
				t.Errorf("%s, %s: %d fields are kept, %v", name, what, len(record.Fields), err)
			}
			if res := app(httptest.NewRequest(http.MethodGet, "https://app.test/", nil)); len(res.Cookies()) > 0 {
				t.Errorf("%s, %s: nobody was given a session", name, what)
			}
		}
	}
}

// TestRefusedSaveKeepsTheNewSession: a session that a handler has begun, or gone on with under another ID, is there although something else could not be
// saved. The one before it has ended, so without the new cookies the user would be logged out.
func TestRefusedSaveKeepsTheNewSession(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	large := strings.Repeat("a", most)
	set := func(s *counterfoil.Session) {
		if err := errors.Join(earlier.Set(s, "x"), note.Set(s, large+"a")); err != nil {
			t.Error(err)
		}
	}
	sessions, err := httpadapter.New(httpadapter.Config{Manager: r.Manager})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /me", httpadapter.Require(http.NotFoundHandler()))
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		if err := httpadapter.Login(r, "alice", counterfoil.LoginOptions{}); err != nil {
			t.Error(err)
		}
		set(httpadapter.Session(r))
		w.Header().Set("Set-Cookie", "saved=yes")
	})
	mux.HandleFunc("POST /rotate", func(w http.ResponseWriter, r *http.Request) {
		if err := httpadapter.Rotate(r, counterfoil.RotateOptions{}); err != nil {
			t.Error(err)
		}
		set(httpadapter.Session(r))
		w.Header().Set("Set-Cookie", "saved=yes")
	})
	endpoints, err := httpadapter.Endpoints(r.Manager)
	if err != nil {
		t.Fatal(err)
	}
	mux.Handle("POST "+httpadapter.RefreshPath, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := httpadapter.Rotate(r, counterfoil.RotateOptions{}); err != nil {
			t.Error(err)
		}
		set(httpadapter.Session(r))
		endpoints(http.NotFoundHandler()).ServeHTTP(w, r)
	}))
	onFiber := fiber.New()
	onFiber.Use(fiberadapter.New(fiberadapter.Config{Manager: r.Manager}))
	onFiber.Get("/me", fiberadapter.Require, func(c *fiber.Ctx) error { return c.SendStatus(404) })
	onFiber.Post("/login", func(c *fiber.Ctx) error {
		if err := fiberadapter.Login(c, "alice", counterfoil.LoginOptions{}); err != nil {
			t.Error(err)
		}
		set(fiberadapter.Session(c))
		c.Set("Set-Cookie", "saved=yes")
		return nil
	})
	rotate := func(c *fiber.Ctx) error {
		if err := fiberadapter.Rotate(c, counterfoil.RotateOptions{}); err != nil {
			t.Error(err)
		}
		set(fiberadapter.Session(c))
		return c.Next()
	}
	onFiber.Post("/rotate", rotate, func(c *fiber.Ctx) error { c.Set("Set-Cookie", "saved=yes"); return nil })
	onFiber.Post(httpadapter.RefreshPath, rotate, fiberadapter.Endpoints(r.Manager))
	for name, app := range servers(sessions(mux), onFiber) {
		for _, path := range []string{"/login", "/rotate", httpadapter.RefreshPath} {
			res, err := app(request("POST", path, both(login(t, r))...))
			if err != nil {
				t.Fatal(err)
			}
			q := request("GET", "/me")
			for _, c := range res.Cookies() {
				q.AddCookie(c)
			}
			if res.StatusCode != 413 || len(res.Cookies()) != 2 || res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s, %s: %d with the cookies %v", name, path, res.StatusCode, res.Cookies())
			}
			if res, err := app(q); err != nil || res.StatusCode != 404 {
				t.Errorf("%s, %s: afterwards the user is not logged in: %v, %v", name, path, res.StatusCode, err)
			}
		}
	}
}

// servers are one application on both servers, by their names.
func servers(onHTTP http.Handler, onFiber *fiber.App) map[string]func(*http.Request) (*http.Response, error) {
	return map[string]func(*http.Request) (*http.Response, error){
		"net/http": func(r *http.Request) (*http.Response, error) {
			w := httptest.NewRecorder()
			onHTTP.ServeHTTP(w, r)
			return w.Result(), nil
		},
		"Fiber": func(r *http.Request) (*http.Response, error) { return onFiber.Test(r, -1) },
	}
}
