package fiberadapter_test

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"go.uber.org/goleak"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/fiberadapter"
	"github.com/counterfoil/counterfoil/internal/rig"
	"github.com/counterfoil/counterfoil/token"
)

func TestMain(m *testing.M) {
	// fasthttp keeps the date of its headers in a goroutine that never ends.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		// A server that was shut down looks after its workers once more, within ten seconds.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

var (
	visits = counterfoil.NewCounter("visits")
	note   = counterfoil.NewField[string]("note")
)

func app(m *counterfoil.Manager) *fiber.App {
	app := fiber.New()
	app.Use(fiberadapter.Endpoints(m))
	app.Use(fiberadapter.New(fiberadapter.Config{Manager: m, Next: func(c *fiber.Ctx) bool { return c.Path() == "/static" }}))
	app.Get("/static", func(c *fiber.Ctx) error { return c.SendString("static") })
	app.Post("/login", func(c *fiber.Ctx) error {
		return fiberadapter.Login(c, c.Query("as"), counterfoil.LoginOptions{Carry: []string{"visits"}})
	})
	app.Post("/logout", fiberadapter.Logout)
	app.Post("/everywhere", fiberadapter.LogoutEverywhere)
	app.Get("/", func(c *fiber.Ctx) error {
		_, err := visits.Incr(c.UserContext(), fiberadapter.Session(c), 1)
		return err
	})
	app.Get("/me", fiberadapter.Require, func(c *fiber.Ctx) error {
		return c.SendString(fiberadapter.Session(c).Subject() + " " + fiberadapter.Verified(c).Subject())
	})
	return app
}

type browser struct {
	t   *testing.T
	app *fiber.App
	jar map[string]string
}

func (b *browser) do(method, path string, header ...string) (*http.Response, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, "https://app.test"+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	for k, v := range b.jar {
		req.AddCookie(&http.Cookie{Name: k, Value: v})
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := b.app.Test(req, -1)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	for _, c := range res.Cookies() {
		if c.MaxAge < 0 {
			delete(b.jar, c.Name)
		} else {
			b.jar[c.Name] = c.Value
		}
	}
	return res, string(body)
}

func TestLoginToLogout(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	b := &browser{t, app(r.Manager), map[string]string{}}
	if res, body := b.do("GET", "/me"); res.StatusCode != 401 || body != "Unauthorized" || res.Header.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("nobody: %d %q", res.StatusCode, body)
	}
	if res, _ := b.do("GET", "/"); res.StatusCode != 200 || len(res.Header["Set-Cookie"]) != 2 || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("first visit: %d %v", res.StatusCode, res.Header)
	}
	if res, _ := b.do("POST", "/login?as=alice"); res.StatusCode != 200 || len(res.Header["Set-Cookie"]) != 2 {
		t.Errorf("login: %d %v", res.StatusCode, res.Header)
	}
	if res, body := b.do("GET", "/me"); res.StatusCode != 200 || body != "alice alice" {
		t.Errorf("logged in: %d %q", res.StatusCode, body)
	}
	if res, _ := b.do("POST", "/logout", "Sec-Fetch-Site", "same-site"); res.StatusCode != 403 {
		t.Errorf("logout by a sibling site: %d, want 403", res.StatusCode)
	}
	if _, body := b.do("GET", "/static"); body != "static" {
		t.Errorf("skipped path: %q", body)
	}
	jar := map[string]string{}
	for k, v := range b.jar {
		jar[k] = v
	}
	if res, _ := b.do("POST", "/logout"); res.StatusCode != 200 || len(b.jar) != 0 {
		t.Errorf("logout: %d, jar %d", res.StatusCode, len(b.jar))
	}
	b.jar = jar
	if res, _ := b.do("GET", "/me"); res.StatusCode != 401 {
		t.Errorf("old cookies after logout: %d, want 401", res.StatusCode)
	}
	if res, _ := b.do("POST", "/login?as=alice"); res.StatusCode != 200 {
		t.Errorf("login again: %d", res.StatusCode)
	}
	if res, _ := b.do("POST", "/everywhere"); res.StatusCode != 200 {
		t.Errorf("logout everywhere: %d", res.StatusCode)
	}
}

// TestTwoManagers has the middleware of one Manager inside that of another, and the first once more inside: each handler has the session of the nearest one.
func TestTwoManagers(t *testing.T) {
	users := rig.New(t, rig.Embedded)
	staff := rig.New(t, rig.Embedded, func(c *counterfoil.Config) { c.Audience, c.CookieSuffix = "staff", "-staff" })
	login := func(subject string) fiber.Handler {
		return func(c *fiber.Ctx) error {
			if err := fiberadapter.Login(c, subject, counterfoil.LoginOptions{}); err != nil {
				return err
			}
			err := c.Next()
			if got := fiberadapter.Session(c).Subject(); got != subject {
				t.Errorf("afterwards the session of %s is %q's", subject, got)
			}
			return err
		}
	}
	a := fiber.New()
	a.Use(func(c *fiber.Ctx) error {
		err := c.Next()
		if got := fiberadapter.Session(c).Subject(); got != "user" {
			t.Errorf("in front of all the session is %q's", got)
		}
		return err
	})
	a.Use(fiberadapter.New(fiberadapter.Config{Manager: users.Manager}), login("user"))
	a.Group("/staff", fiberadapter.New(fiberadapter.Config{Manager: staff.Manager}), login("staff")).
		Post("/", fiberadapter.New(fiberadapter.Config{Manager: users.Manager}), func(c *fiber.Ctx) error {
			return c.SendString(fiberadapter.Session(c).Subject())
		})
	a.Get("/panic", func(c *fiber.Ctx) error {
		func() {
			defer func() { _ = recover() }()
			_ = fiberadapter.New(fiberadapter.Config{Manager: staff.Manager})(c)
		}()
		return nil
	}, func(*fiber.Ctx) error { panic("of a handler") })
	b := &browser{t, a, map[string]string{}}
	if res, _ := b.do("GET", "/panic"); res.StatusCode != 200 {
		t.Errorf("where a panic is caught in between: %d", res.StatusCode)
	}
	b.jar = map[string]string{}
	if res, body := b.do("POST", "/staff/"); body != "user" || len(res.Cookies()) != 4 || len(b.jar) != 4 {
		t.Errorf("inside the session is %q's; %d cookies of %d names, want 4 of 4", body, len(res.Cookies()), len(b.jar))
	}
}

// TestTwoVerifiers has one verifier inside another: who stands between them has the token of the outer one before and afterwards.
func TestTwoVerifiers(t *testing.T) {
	users := rig.New(t, rig.Embedded)
	staff := rig.New(t, rig.Embedded, func(c *counterfoil.Config) { c.Audience, c.CookieSuffix = "staff", "-staff" })
	jar := map[string]string{}
	for subject, m := range map[string]*counterfoil.Manager{"user": users.Manager, "staff": staff.Manager} {
		a := fiber.New()
		a.Use(fiberadapter.New(fiberadapter.Config{Manager: m}))
		a.Post("/login", func(c *fiber.Ctx) error { return fiberadapter.Login(c, subject, counterfoil.LoginOptions{}) })
		(&browser{t, a, jar}).do("POST", "/login")
	}
	var seen []string
	see := func(c *fiber.Ctx) error {
		seen = append(seen, fiberadapter.Verified(c).Subject())
		err := c.Next()
		seen = append(seen, fiberadapter.Verified(c).Subject())
		return err
	}
	a := fiber.New()
	a.Use(fiberadapter.Verify(users.Guard()), see)
	a.Use(fiberadapter.Verify(staff.Guard(), fiberadapter.VerifyConfig{CookieSuffix: "-staff"}), see)
	a.Get("/", func(c *fiber.Ctx) error { return c.SendString("hello") })
	if res, _ := (&browser{t, a, jar}).do("GET", "/"); res.StatusCode != 200 || !slices.Equal(seen, []string{"user", "staff", "staff", "user"}) {
		t.Errorf("%d, seen were %q", res.StatusCode, seen)
	}
}

// TestNothingKeptPointsIntoBuffers shows that what is kept of three requests stays three different things.
func TestNothingKeptPointsIntoBuffers(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	a := app(r.Manager)
	var sessions []*counterfoil.Session
	var tokens []token.Verified
	a.Get("/keep", func(c *fiber.Ctx) error {
		sessions = append(sessions, fiberadapter.Session(c))
		tokens = append(tokens, fiberadapter.Verified(c))
		return note.Set(fiberadapter.Session(c), c.Query("note"))
	})
	names := []string{"aaaaaaaa", "bbbbbbbb", "cccccccc"}
	for _, name := range names {
		b := &browser{t, a, map[string]string{}}
		b.do("POST", "/login?as="+name)
		if res, _ := b.do("GET", "/keep?note="+name); res.StatusCode != 200 {
			t.Fatal(res.StatusCode)
		}
	}
	for i, name := range names {
		if sessions[i].Subject() != name || tokens[i].Subject() != name || tokens[i].Session() != sessions[i].ID() {
			t.Errorf("what was kept of %s is now %s, %s", name, sessions[i].Subject(), tokens[i].Subject())
		}
		if got, _, err := note.Get(t.Context(), r.Open(tokens[i])); err != nil || got != name {
			t.Errorf("the note of %s is %q, %v", name, got, err)
		}
	}
}

// TestLoginKeepsNothingOfTheRequest has three logins on one connection, whose subjects come one after the other into the same buffer.
func TestLoginKeepsNothingOfTheRequest(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	a := fiber.New()
	a.Use(fiberadapter.New(fiberadapter.Config{Manager: r.Manager}))
	var sessions []*counterfoil.Session
	a.Post("/login", func(c *fiber.Ctx) error {
		err := fiberadapter.Login(c, c.Query("as"), counterfoil.LoginOptions{})
		sessions = append(sessions, fiberadapter.Session(c))
		return err
	})
	names := []string{"aaaaaaaa", "bbbbbbbb", "cccccccc"}
	var requests strings.Builder
	for _, name := range names {
		requests.WriteString("POST /login?as=" + name + " HTTP/1.1\r\nHost: app.test\r\nContent-Length: 0\r\n\r\n")
	}
	if got := raw(t, a, requests.String()); strings.Count(got, "HTTP/1.1 200") != len(names) {
		t.Fatal(got)
	}
	for i, name := range names {
		if got := sessions[i].Subject(); got != name {
			t.Errorf("the session of %s is now one of %s", name, got)
		}
	}
}

// TestCommitNeedsNothingOfTheRequest has a handler that overwrites what the request's strings point to. The renewal after it goes by what came.
func TestCommitNeedsNothingOfTheRequest(t *testing.T) {
	var asked []counterfoil.Client
	r := rig.New(t, rig.Embedded, func(c *counterfoil.Config) {
		c.Bind = func(_ context.Context, n counterfoil.Renewal) error {
			asked = append(asked, n.Client)
			return nil
		}
	})
	const address = "X-Real-Ip"
	a := fiber.New(fiber.Config{ProxyHeader: address}) // else c.IP() is a string of its own
	a.Use(fiberadapter.New(fiberadapter.Config{Manager: r.Manager}))
	a.Post("/login", func(c *fiber.Ctx) error { return fiberadapter.Login(c, "alice", counterfoil.LoginOptions{}) })
	a.Get("/overwrite", func(c *fiber.Ctx) error {
		for _, name := range []string{fiber.HeaderCookie, fiber.HeaderUserAgent, address} {
			for _, value := range c.Request().Header.PeekAll(name) {
				for i := range value {
					value[i] = 'x'
				}
			}
		}
		return nil
	})
	b := &browser{t, a, map[string]string{}}
	b.do("POST", "/login")
	r.Advance(3 * time.Minute) // the token is due for renewal
	if res, _ := b.do("GET", "/overwrite", fiber.HeaderUserAgent, "Firefox", address, "203.0.113.7"); res.StatusCode != 200 || len(res.Cookies()) != 2 {
		t.Errorf("%d with %d cookies, want 200 with 2", res.StatusCode, len(res.Cookies()))
	}
	if want := (counterfoil.Client{UserAgent: "Firefox", Address: "203.0.113.7"}); len(asked) != 1 || asked[0] != want {
		t.Errorf("Bind was asked about %+v, want %+v", asked, want)
	}
}

func TestErrorsOfHandlers(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	a := app(r.Manager)
	a.Get("/set", func(c *fiber.Ctx) error {
		if err := note.Set(fiberadapter.Session(c), c.Query("note")); err != nil {
			return err
		}
		switch c.Query("then") {
		case "error":
			return fiber.NewError(fiber.StatusTeapot, "tea")
		case "status":
			return c.SendStatus(500)
		case "ours":
			_, _ = c.WriteString("secret half of an answer")
			return counterfoil.ErrNotFound
		case "end":
			_, _ = c.WriteString("saved")
			return r.End(c.UserContext(), fiberadapter.Session(c).ID())
		}
		return nil
	})
	a.Get("/note", func(c *fiber.Ctx) error {
		v, _, err := note.Get(c.UserContext(), fiberadapter.Session(c))
		if err != nil {
			return err
		}
		return c.SendString(v)
	})
	b := &browser{t, a, map[string]string{}}
	b.do("POST", "/login?as=alice")
	for _, tt := range []struct {
		then, note string
		status     int
		after      string
	}{
		{"", "one", 200, "one"},
		{"error", "two", 418, "one"},
		{"status", "three", 500, "one"},
		{"ours", "four", 401, "one"},
		{"", "five", 200, "five"},
		{"end", "six", 401, ""},
	} {
		res, body := b.do("GET", "/set?note="+tt.note+"&then="+tt.then)
		if res.StatusCode != tt.status || strings.Contains(body, "saved") || strings.Contains(body, "secret") {
			t.Errorf("%q: %d %q, want %d", tt.then, res.StatusCode, body, tt.status)
		}
		if _, got := b.do("GET", "/note"); got != tt.after {
			t.Errorf("%q: the note is %q, want %q", tt.then, got, tt.after)
		}
	}
}

func TestStoreGone(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	b := &browser{t, app(r.Manager), map[string]string{}}
	b.do("POST", "/login?as=alice")
	r.StopServer()
	if res, _ := b.do("GET", "/"); res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || len(res.Header["Set-Cookie"]) > 0 {
		t.Errorf("state needed: %d %v, want 503, Retry-After and no fresh session", res.StatusCode, res.Header)
	}
	if res, _ := b.do("POST", "/logout"); res.StatusCode != 503 || len(b.jar) == 0 {
		t.Errorf("logout: %d, want 503 and the cookies kept", res.StatusCode)
	}
}

func TestVerify(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	s, err := r.Login(t.Context(), nil, "alice", counterfoil.LoginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tokens, _ := s.Issued()
	a := fiber.New()
	a.All("/", fiberadapter.Verify(r.Guard()), func(c *fiber.Ctx) error { return c.SendString(fiberadapter.Verified(c).Subject()) })
	for _, tt := range []struct {
		name, method string
		header       []string
		want         int
	}{
		{"nothing", "GET", nil, 401},
		{"bearer", "POST", []string{"Authorization", "Bearer " + tokens.Access.Reveal()}, 200},
		{"cookie", "GET", []string{"Cookie", "__Host-Http-session=" + tokens.Access.Reveal()}, 200},
		{"two cookies", "GET", []string{"Cookie", "__Host-Http-session=" + tokens.Access.Reveal() + "; __Host-Http-session=x"}, 401},
		{"cookie, cross-site POST", "POST", []string{"Cookie", "__Host-Http-session=" + tokens.Access.Reveal(), "Origin", "https://evil.test"}, 403},
	} {
		b := &browser{t, a, map[string]string{}}
		res, body := b.do(tt.method, "/", tt.header...)
		if res.StatusCode != tt.want || tt.want == 200 && body != "alice" {
			t.Errorf("%s: %d %q, want %d", tt.name, res.StatusCode, body, tt.want)
		}
	}
	own := fiberadapter.VerifyConfig{
		Next:         func(c *fiber.Ctx) bool { return c.Path() == "/skipped" },
		ErrorHandler: func(c *fiber.Ctx, _ error) error { return c.SendStatus(fiber.StatusTeapot) },
	}
	a.Use("/own", fiberadapter.Verify(r.Guard(), own))
	b := &browser{t, a, map[string]string{}}
	if res, _ := b.do("GET", "/own"); res.StatusCode != fiber.StatusTeapot {
		t.Errorf("with an ErrorHandler of its own, and a Next that skips others: %d", res.StatusCode)
	}
}

func TestEndpointsAreMounted(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	b := &browser{t, app(r.Manager), map[string]string{}}
	if res, body := b.do("GET", "/.well-known/jwks.json"); res.StatusCode != 200 || !strings.Contains(body, `"keys"`) {
		t.Errorf("JWKS: %d %q", res.StatusCode, body)
	}
	b.do("POST", "/login?as=alice")
	if res, _ := b.do("POST", "/session/logout"); res.StatusCode != 204 || len(b.jar) != 0 {
		t.Errorf("logout: %d, %d cookies left", res.StatusCode, len(b.jar))
	}
	if res, _ := b.do("GET", "/no/such/page"); res.StatusCode != 404 {
		t.Errorf("elsewhere: %d", res.StatusCode)
	}
}
