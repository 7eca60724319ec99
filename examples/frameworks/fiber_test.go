package frameworks_test

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
	"github.com/gofiber/fiber/v2/middleware/cache"
	"github.com/gofiber/fiber/v2/middleware/csrf"
	"github.com/gofiber/fiber/v2/middleware/idempotency"
	"github.com/gofiber/fiber/v2/middleware/limiter"
	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/fiberadapter"
	"github.com/counterfoil/counterfoil/fiberadapter/storage"
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/internal/rig"
	"github.com/counterfoil/counterfoil/store"
)

// TestFibersOwnMiddleware has two instances of an application share what csrf, limiter, idempotency and cache remember, on the client that the sessions
// are on. Each of them can forget what it remembers, and the sessions live on.
func TestFibersOwnMiddleware(t *testing.T) { rig.Each(t, fibersOwnMiddleware) }

func fibersOwnMiddleware(t *testing.T, r *rig.Rig) {
	opt, err := redis.ParseURL(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	opt.ContextTimeoutEnabled = true
	client := redis.NewClient(opt)
	defer client.Close()
	sessions, err := store.New(t.Context(), client, store.Config{Logger: r.Config.Logger})
	if err != nil {
		t.Fatal(err)
	}
	defer sessions.Close()
	cfg := r.Config
	cfg.Store = sessions
	m, err := counterfoil.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	visits := counterfoil.NewCounter("visits")
	storages := map[string]*storage.Storage{}
	in := func(prefix string) fiber.Storage {
		s, err := storage.New(client, storage.Config{Prefix: prefix})
		if err != nil {
			t.Fatal(err)
		}
		storages[prefix] = s
		return s
	}
	runs := 0
	instance := func() *fiber.App {
		a := fiber.New()
		a.Use(fiberadapter.New(fiberadapter.Config{Manager: m}))
		a.Post("/login", func(c *fiber.Ctx) error { return fiberadapter.Login(c, "alice", counterfoil.LoginOptions{}) })
		a.Get("/visits", fiberadapter.Require, func(c *fiber.Ctx) error {
			n, err := visits.Incr(c.UserContext(), fiberadapter.Session(c), 1)
			if err != nil {
				return err
			}
			return c.SendString(fmt.Sprint(n))
		})
		count := func(c *fiber.Ctx) error { runs++; return c.SendString(fmt.Sprint(runs)) }
		a.All("/csrf", csrf.New(csrf.Config{Storage: in("csrf:"), KeyLookup: "header:X-Csrf-Token"}), count)
		a.All("/limiter", limiter.New(limiter.Config{Storage: in("limiter:"), Max: 2}), count)
		a.All("/idempotency", idempotency.New(idempotency.Config{Storage: in("idempotency:"), Lock: idempotency.NewMemoryLock()}), count)
		a.All("/cache", cache.New(cache.Config{Storage: in("cache:")}), count)
		return a
	}
	apps := []*fiber.App{instance(), instance()}
	ask := func(instance int, method, path string, header ...string) (*http.Response, string) {
		t.Helper()
		req := httptest.NewRequest(method, path, nil)
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		res, err := apps[instance].Test(req, -1)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return res, string(body)
	}
	var cookies []string
	res, _ := ask(0, "POST", "/login")
	for _, c := range res.Cookies() {
		cookies = append(cookies, c.Name+"="+c.Value)
	}
	visit := func(instance, want int) {
		t.Helper()
		if res, got := ask(instance, "GET", "/visits", "Cookie", strings.Join(cookies, "; ")); res.StatusCode != 200 || got != fmt.Sprint(want) {
			t.Errorf("visit %d of the session: %d %q", want, res.StatusCode, got)
		}
	}
	visit(0, 1)
	res, _ = ask(0, "GET", "/csrf")
	token := res.Cookies()[0]
	if res, _ := ask(1, "POST", "/csrf", "X-Csrf-Token", token.Value, "Cookie", token.Name+"="+token.Value); res.StatusCode != 200 {
		t.Errorf("csrf: the other instance refuses the token: %d", res.StatusCode)
	}
	if res, _ := ask(1, "POST", "/csrf", "X-Csrf-Token", "made-up", "Cookie", token.Name+"=made-up"); res.StatusCode != 403 {
		t.Errorf("csrf: a token that nobody was given: %d", res.StatusCode)
	}
	for i, want := range []int{200, 200, 429} {
		if res, _ := ask(i%2, "GET", "/limiter"); res.StatusCode != want {
			t.Errorf("limiter: request %d of two: %d, want %d", i+1, res.StatusCode, want)
		}
	}
	key := "b0a6a1f3-5a3a-4a53-8f2e-8d5c3f0f5b11"
	_, first := ask(0, "POST", "/idempotency", "X-Idempotency-Key", key)
	if _, again := ask(1, "POST", "/idempotency", "X-Idempotency-Key", key); again != first {
		t.Errorf("idempotency: run %s, then %s", first, again)
	}
	_, first = ask(0, "GET", "/cache")
	if _, again := ask(1, "GET", "/cache"); again != first {
		t.Errorf("cache: run %s, then %s", first, again)
	}

	visit(1, 2)
	for prefix, s := range storages {
		if n := len(client.Keys(t.Context(), prefix+"*").Val()); n == 0 {
			t.Errorf("%s remembers nothing", prefix)
		}
		if err := s.Reset(); err != nil {
			t.Errorf("%s: %v", prefix, err)
		}
		if keys := client.Keys(t.Context(), prefix+"*").Val(); len(keys) > 0 {
			t.Errorf("%s still remembers %q", prefix, keys)
		}
	}
	visit(0, 3)
	if res, _ := ask(1, "POST", "/csrf", "X-Csrf-Token", token.Value, "Cookie", token.Name+"="+token.Value); res.StatusCode != 403 {
		t.Errorf("csrf: a token that was forgotten: %d", res.StatusCode)
	}
	if res, _ := ask(0, "GET", "/limiter"); res.StatusCode != 200 {
		t.Errorf("limiter: after it has forgotten: %d", res.StatusCode)
	}
	for _, again := range []struct {
		method, path string
		header       []string
	}{{"POST", "/idempotency", []string{"X-Idempotency-Key", key}}, {"GET", "/cache", nil}} {
		before := runs
		if ask(1, again.method, again.path, again.header...); runs != before+1 {
			t.Errorf("%s: what was forgotten is answered", again.path)
		}
	}
	if list, err := m.Sessions(t.Context(), "alice"); err != nil || len(list) != 1 {
		t.Errorf("%d sessions are left of one, %v", len(list), err)
	}
}

// TestCacheBehindSessions: Fiber's cache, where package fiberadapter says that it goes, gives nobody another's page, and none to whoever has logged out.
func TestCacheBehindSessions(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	a := fiber.New()
	a.Use(fiberadapter.Endpoints(r.Manager), fiberadapter.New(fiberadapter.Config{Manager: r.Manager}))
	runs := 0
	a.Get("/me", fiberadapter.Require, cache.New(cache.Config{
		StoreResponseHeaders: true,
		KeyGenerator:         func(c *fiber.Ctx) string { return fiberadapter.Session(c).ID().String() + c.Path() },
	}), func(c *fiber.Ctx) error { runs++; return c.SendString(fiberadapter.Session(c).Subject()) })
	jars := map[string]map[string]string{}
	for _, subject := range []string{"alice", "bob"} {
		s, err := r.Login(t.Context(), nil, subject, counterfoil.LoginOptions{})
		if err != nil {
			t.Fatal(err)
		}
		tokens, _ := s.Issued()
		jars[subject] = map[string]string{"__Host-Http-session": tokens.Access.Reveal(), "__Host-Http-refresh": tokens.Refresh.Reveal()}
	}
	r.Advance(3 * time.Minute) // half of the life of a token is over, so the first answer to each renews
	for _, step := range []struct {
		who, method, path string
		status            int
		body              string
		cookies           int
		runs              int
	}{
		{"alice", "GET", "/me", 200, "alice", 2, 1},
		{"bob", "GET", "/me", 200, "bob", 2, 2},
		{"alice", "GET", "/me", 200, "alice", 0, 2},
		{"alice", "POST", httpadapter.LogoutPath, 204, "", 2, 2},
		{"alice", "GET", "/me", 401, "Unauthorized", 0, 2},
		{"bob", "GET", "/me", 200, "bob", 0, 2},
	} {
		req := httptest.NewRequest(step.method, step.path, nil)
		for name, value := range jars[step.who] {
			req.AddCookie(&http.Cookie{Name: name, Value: value})
		}
		res, err := a.Test(req, -1)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		for _, c := range res.Cookies() {
			if c.MaxAge >= 0 { // after the logout somebody has kept the old ones
				jars[step.who][c.Name] = c.Value
			}
		}
		if n := len(res.Cookies()); res.StatusCode != step.status || string(body) != step.body || n != step.cookies || runs != step.runs {
			t.Errorf("%s %s as %s: %d %q, %d cookies, %d runs; want %+v", step.method, step.path, step.who, res.StatusCode, body, n, runs, step)
		}
	}
}

// TestBehindCSRF: Fiber's own csrf, in front of the endpoints, gives each visitor a cookie; the renew page sets cookies as well, and both arrive.
func TestBehindCSRF(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	a := fiber.New()
	a.Use(csrf.New())
	a.Use(fiberadapter.Endpoints(r.Manager))
	s, err := r.Login(t.Context(), nil, "alice", counterfoil.LoginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tokens, _ := s.Issued()
	req := httptest.NewRequest("GET", httpadapter.RenewPath+"?return=/", nil)
	req.Header.Set("Cookie", "__Host-Http-session="+tokens.Access.Reveal()+"; __Host-Http-refresh="+tokens.Refresh.Reveal())
	res, err := a.Test(req, -1)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range res.Cookies() {
		names = append(names, c.Name)
	}
	slices.Sort(names)
	if want := []string{"__Host-Http-session", "csrf_"}; res.StatusCode != 303 || !slices.Equal(names, want) {
		t.Errorf("%d, cookies %q, want %q", res.StatusCode, names, want)
	}
}
