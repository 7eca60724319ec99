// Package adaptertest runs the same requests through httpadapter and fiberadapter and expects the same answers. It is all tests: [Answer] is
// what they compare, [HTTP] and [Fiber] are the two ways to get one, each also with the endpoints behind the middleware.
// [HTTPLayers] and [FiberLayers] have several middlewares in front of one another.
package adaptertest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/fiberadapter"
	"github.com/counterfoil/counterfoil/httpadapter"
)

// Answer is what a client can tell two answers apart by.
type Answer struct {
	Status     int
	Body       string   // without a last newline
	SetCookie  []string // sorted; values replaced by their kind
	Header     string   // Cache-Control, WWW-Authenticate, Retry-After, Location, Clear-Site-Data
	RawCookies []*http.Cookie
}

// String spells out all that is compared.
func (a Answer) String() string {
	return fmt.Sprintf("%d %q %s %q", a.Status, a.Body, a.Header, a.SetCookie)
}

func answer(res *http.Response) Answer {
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	a := Answer{Status: res.StatusCode, Body: strings.TrimSuffix(string(body), "\n"), RawCookies: res.Cookies()}
	for _, v := range res.Header["Set-Cookie"] {
		name, rest, _ := strings.Cut(v, "=")
		value, attributes, _ := strings.Cut(rest, ";")
		switch strings.Count(value, ".") {
		case 2:
			value = "<access>"
		case 3:
			value = "<refresh>"
		}
		a.SetCookie = append(a.SetCookie, name+"="+value+";"+attributes)
	}
	slices.Sort(a.SetCookie)
	for _, name := range []string{"Cache-Control", "WWW-Authenticate", "Retry-After", "Location", "Clear-Site-Data"} {
		if v := res.Header.Values(name); len(v) > 0 {
			a.Header += "[" + name + ": " + strings.Join(v, " | ") + "]"
		}
	}
	return a
}

// note is set by the application under test; it takes effect when the answer is written.
var (
	note   = counterfoil.NewField[string]("note")
	visits = counterfoil.NewCounter("visits")
)

// Outer is the header of a request that has a middleware in front of both adapters set that cookie.
const Outer = "X-Outer"

// Paths of a service that only verifies: for everybody whose token is good, for users, and for users who have logged in within three minutes.
const (
	Verifies      = "/verifies"
	VerifiesUsers = "/verifies/users"
	VerifiesFresh = "/verifies/fresh"
)

// An App answers one request through an adapter.
type App func(t testing.TB, r *http.Request) Answer

// HTTP serves the application on net/http. The handlers of /slow and /page do what is given while they have the request.
func HTTP(t testing.TB, m *counterfoil.Manager, slow ...func()) App {
	t.Helper()
	return onHTTP(t, m, false, slow)
}

// HTTPBehind is HTTP with the endpoints behind the middleware.
func HTTPBehind(t testing.TB, m *counterfoil.Manager, slow ...func()) App {
	t.Helper()
	return onHTTP(t, m, true, slow)
}

func onHTTP(t testing.TB, m *counterfoil.Manager, behind bool, slow []func()) App {
	t.Helper()
	sessions, err := httpadapter.New(httpadapter.Config{Manager: m})
	if err != nil {
		t.Fatal(err)
	}
	endpoints, err := httpadapter.Endpoints(m)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	handle := func(path string, h func(w http.ResponseWriter, r *http.Request) error) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if err := h(w, r); err != nil {
				httpadapter.Refuse(w, r, err)
			}
		})
	}
	handle("/", func(w http.ResponseWriter, r *http.Request) error {
		_, err := io.WriteString(w, httpadapter.Session(r).Subject()+"/"+httpadapter.Verified(r).Subject())
		return err
	})
	handle("/incr", func(w http.ResponseWriter, r *http.Request) error {
		n, err := visits.Incr(r.Context(), httpadapter.Session(r), 1)
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(w, n)
		return err
	})
	handle("/slow", func(http.ResponseWriter, *http.Request) error {
		for _, do := range slow {
			do()
		}
		return nil
	})
	handle("/page", func(w http.ResponseWriter, r *http.Request) error {
		before, err := visits.Incr(r.Context(), httpadapter.Session(r), 1)
		if err != nil {
			return err
		}
		for _, do := range slow {
			do()
		}
		after, err := visits.Incr(r.Context(), httpadapter.Session(r), 1)
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(w, before, after)
		return err
	})
	handle("/set", func(w http.ResponseWriter, r *http.Request) error { return note.Set(httpadapter.Session(r), "x") })
	handle("/end", func(w http.ResponseWriter, r *http.Request) error {
		if err := note.Set(httpadapter.Session(r), "x"); err != nil {
			return err
		}
		if err := m.End(r.Context(), httpadapter.Session(r).ID()); err != nil {
			return err
		}
		_, err := io.WriteString(w, "saved")
		return err
	})
	handle("/login", func(w http.ResponseWriter, r *http.Request) error {
		return httpadapter.Login(r, "alice", counterfoil.LoginOptions{})
	})
	handle("/idp", func(w http.ResponseWriter, r *http.Request) error {
		return httpadapter.Login(r, "alice", counterfoil.LoginOptions{UnsafeFromOtherSite: true})
	})
	handle("/upload", func(w http.ResponseWriter, r *http.Request) error {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(w, n)
		return err
	})
	handle("/logout", func(w http.ResponseWriter, r *http.Request) error { return httpadapter.Logout(r) })
	handle("/everywhere", func(w http.ResponseWriter, r *http.Request) error { return httpadapter.LogoutEverywhere(r) })
	handle("/leave", func(w http.ResponseWriter, r *http.Request) error {
		if err := httpadapter.Logout(r); err != nil {
			return err
		}
		w.Header().Set("Location", "/")
		w.WriteHeader(http.StatusSeeOther)
		return nil
	})
	handle("/bye", func(w http.ResponseWriter, r *http.Request) error {
		if err := httpadapter.Logout(r); err != nil {
			return err
		}
		_, err := io.WriteString(w, "bye")
		return err
	})
	handle("/certain", func(_ http.ResponseWriter, r *http.Request) error { return httpadapter.Exchange(r).Logout(r.Context()) })
	handle("/queue", func(w http.ResponseWriter, _ *http.Request) error { w.WriteHeader(http.StatusAccepted); return nil })
	who := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, httpadapter.Session(r).Subject())
	})
	mux.Handle("/me", httpadapter.Require(who))
	mux.Handle("/danger", httpadapter.RequireFresh(3*time.Minute)(who))
	app := endpoints(sessions(mux))
	if behind {
		app = sessions(endpoints(mux))
	}
	service := http.NewServeMux()
	service.Handle("/", app)
	verified := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, httpadapter.Verified(r).Subject())
	})
	service.Handle(Verifies, httpadapter.Verify(m.Guard())(verified))
	service.Handle(VerifiesFresh, httpadapter.Verify(m.Guard())(httpadapter.RequireFresh(3*time.Minute)(verified)))
	service.Handle(VerifiesUsers, httpadapter.Verify(m.Guard())(httpadapter.Require(verified)))
	return func(_ testing.TB, r *http.Request) Answer {
		w := httptest.NewRecorder()
		if v := r.Header.Get(Outer); v != "" {
			w.Header().Add("Set-Cookie", v)
		}
		service.ServeHTTP(w, r)
		a := answer(w.Result())
		if r.Method == http.MethodHead {
			a.Body = "" // which the server drops, and the recorder does not
		}
		return a
	}
}

// Fiber serves the same application on Fiber.
func Fiber(t testing.TB, m *counterfoil.Manager, slow ...func()) App {
	t.Helper()
	return onFiber(m, false, slow)
}

// FiberBehind is Fiber with the endpoints behind the middleware.
func FiberBehind(t testing.TB, m *counterfoil.Manager, slow ...func()) App {
	t.Helper()
	return onFiber(m, true, slow)
}

func onFiber(m *counterfoil.Manager, behind bool, slow []func()) App {
	app := fiber.New(fiber.Config{ReadBufferSize: 1 << 20}) // as much as net/http reads
	app.Use(func(c *fiber.Ctx) error {
		if v := c.Get(Outer); v != "" {
			c.Response().Header.Add(fiber.HeaderSetCookie, v)
		}
		return c.Next()
	})
	verified := func(c *fiber.Ctx) error { return c.SendString(fiberadapter.Verified(c).Subject()) }
	app.All(Verifies, fiberadapter.Verify(m.Guard()), verified)
	app.All(VerifiesFresh, fiberadapter.Verify(m.Guard()), fiberadapter.RequireFresh(3*time.Minute), verified)
	app.All(VerifiesUsers, fiberadapter.Verify(m.Guard()), fiberadapter.Require, verified)
	if sessions := fiberadapter.New(fiberadapter.Config{Manager: m}); behind {
		app.Use(sessions, fiberadapter.Endpoints(m))
	} else {
		app.Use(fiberadapter.Endpoints(m), sessions)
	}
	app.All("/incr", func(c *fiber.Ctx) error {
		n, err := visits.Incr(c.UserContext(), fiberadapter.Session(c), 1)
		if err != nil {
			return err
		}
		return c.SendString(fmt.Sprint(n))
	})
	app.All("/slow", func(*fiber.Ctx) error {
		for _, do := range slow {
			do()
		}
		return nil
	})
	app.All("/page", func(c *fiber.Ctx) error {
		before, err := visits.Incr(c.UserContext(), fiberadapter.Session(c), 1)
		if err != nil {
			return err
		}
		for _, do := range slow {
			do()
		}
		after, err := visits.Incr(c.UserContext(), fiberadapter.Session(c), 1)
		if err != nil {
			return err
		}
		return c.SendString(fmt.Sprint(before, after))
	})
	app.All("/set", func(c *fiber.Ctx) error { return note.Set(fiberadapter.Session(c), "x") })
	app.All("/end", func(c *fiber.Ctx) error {
		if err := note.Set(fiberadapter.Session(c), "x"); err != nil {
			return err
		}
		if err := m.End(c.UserContext(), fiberadapter.Session(c).ID()); err != nil {
			return err
		}
		return c.SendString("saved")
	})
	app.All("/login", func(c *fiber.Ctx) error { return fiberadapter.Login(c, "alice", counterfoil.LoginOptions{}) })
	app.All("/idp", func(c *fiber.Ctx) error {
		return fiberadapter.Login(c, "alice", counterfoil.LoginOptions{UnsafeFromOtherSite: true})
	})
	app.All("/upload", func(c *fiber.Ctx) error { return c.SendString(fmt.Sprint(len(c.Body()))) })
	app.All("/logout", fiberadapter.Logout)
	app.All("/everywhere", fiberadapter.LogoutEverywhere)
	app.All("/leave", func(c *fiber.Ctx) error {
		if err := fiberadapter.Logout(c); err != nil {
			return err
		}
		return c.Redirect("/", fiber.StatusSeeOther)
	})
	app.All("/bye", func(c *fiber.Ctx) error {
		if err := fiberadapter.Logout(c); err != nil {
			return err
		}
		return c.SendString("bye")
	})
	app.All("/certain", func(c *fiber.Ctx) error { return fiberadapter.Exchange(c).Logout(c.UserContext()) })
	app.All("/queue", func(c *fiber.Ctx) error { c.Status(fiber.StatusAccepted); return nil })
	who := func(c *fiber.Ctx) error { return c.SendString(fiberadapter.Session(c).Subject()) }
	app.All("/me", fiberadapter.Require, who)
	app.All("/danger", fiberadapter.RequireFresh(3*time.Minute), who)
	app.All("/", func(c *fiber.Ctx) error {
		return c.SendString(fiberadapter.Session(c).Subject() + "/" + fiberadapter.Verified(c).Subject())
	})
	return func(t testing.TB, r *http.Request) Answer {
		res, err := app.Test(r, -1)
		if err != nil {
			t.Fatal(err)
		}
		return answer(res)
	}
}
