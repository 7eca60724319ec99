package fiberadapter_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/fiberadapter"
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/internal/rig"
)

// FuzzRawRequests sends bytes to an application that does all it can with a request. Whatever they are: no panic, and nothing that claims
// to be the server's own fault.
func FuzzRawRequests(f *testing.F) {
	r := rig.New(f, rig.Embedded)
	s, err := r.Login(context.Background(), nil, "alice", counterfoil.LoginOptions{})
	if err != nil {
		f.Fatal(err)
	}
	tokens, _ := s.Issued()
	cookie := "__Host-Http-session=" + tokens.Access.Reveal() + "; __Host-Http-refresh=" + tokens.Refresh.Reveal()

	a := fiber.New(fiber.Config{DisableStartupMessage: true})
	stopped := make(chan struct{})
	close(stopped) // an event stream ends at once
	a.Use(fiberadapter.Endpoints(r.Manager, httpadapter.EndpointsConfig{Stop: stopped, Login: "/login"}))
	a.Use(fiberadapter.New(fiberadapter.Config{Manager: r.Manager}))
	a.All("/who", func(c *fiber.Ctx) error { return c.SendString(fiberadapter.Session(c).Subject()) })
	a.All("/note", func(c *fiber.Ctx) error { return note.Set(fiberadapter.Session(c), string(c.Body())) })
	a.All("/verify", fiberadapter.Verify(r.Guard()), func(c *fiber.Ctx) error { return c.SendString(fiberadapter.Verified(c).Subject()) })

	get := func(path string, header ...string) string {
		return "GET " + path + " HTTP/1.1\r\nHost: app.test\r\n" + strings.Join(header, "\r\n") + "\r\n\r\n"
	}
	for _, seed := range []string{
		get("/who", "Cookie: "+cookie), get("/verify", "Authorization: Bearer "+tokens.Access.Reveal()),
		get("/who", "Cookie: "+cookie, "Cookie: "+cookie), get("/who?\x01%zz", "Cookie: \x00"), get("/session/refresh?\x01%zz"),
		get("http://[::1/session/refresh"), get("//session//refresh"), get("/session/%6cogout"), get("*"), get("/.well-known/jwks.json", "If-None-Match: *"),
		"POST /session/refresh HTTP/1.1\r\nHost: app.test\r\nCookie: " + cookie + "\r\nContent-Length: 0\r\n\r\n",
		"POST /session/logout HTTP/1.1\r\nHost: app.test\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 30\r\n\r\nreturn=https://evil.test/%zz&a",
		get("/session/events", "Cookie: "+cookie), get("/session/devices", "Cookie: "+cookie), get("/session/list", "Cookie: "+cookie), get("/session/active"),
		get("/session/renew?return=/a%0d%0aX:y", "Cookie: "+cookie), get("/session/renew?return=/a", "Sec-Fetch-Site: cross-site"),
		"POST /session/end HTTP/1.1\r\nHost: app.test\r\nCookie: " + cookie + "\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 8\r\n\r\nhandle=%",
		"POST /session/introspect HTTP/1.1\r\nHost: app.test\r\nAuthorization: Basic Og==\r\nContent-Length: 7\r\n\r\ntoken=x",
		"POST /note HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"POST /note HTTP/1.0\r\nContent-Length: 99999999999999999999\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\r\n", "GET",
		get("/who", "Cookie: "+strings.Repeat("a=b; ", 2000)), get("/who", "Authorization: Bearer "+strings.Repeat("a", 9000)),
		get("/who", "sec-fetch-site: cross-site", "Upgrade: websocket", "Connection: Upgrade", "Cookie: "+cookie),
		"POST /note HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
	} {
		f.Add([]byte(seed))
	}
	// A cookie can be put together from any bytes; it is worth more beside a real token.
	cookieOf := []byte("COOKIE")
	f.Add([]byte("GET /who HTTP/1.1\r\nHost: app.test\r\nCookie: COOKIE; __Host-Http-session=COOKIE\r\n\r\n"))

	f.Fuzz(func(t *testing.T, request []byte) {
		if len(request) > 1<<20 {
			return
		}
		answer := raw(t, a, string(bytes.ReplaceAll(request, cookieOf, []byte(cookie))))
		for rest := answer; ; {
			i := strings.Index(rest, "HTTP/1.1 5")
			if i < 0 {
				break
			}
			// 501 to 505 are what fasthttp says to what it does not speak; bodies of ours never look like a status line.
			line, _, _ := strings.Cut(rest[i:], "\r\n")
			if !strings.HasPrefix(line, "HTTP/1.1 501") && !strings.HasPrefix(line, "HTTP/1.1 505") {
				t.Errorf("%q is answered %q", request, line)
			}
			rest = rest[i+len(line):]
		}
		if i := strings.Index(answer, tokens.Refresh.Reveal()); i >= 0 {
			t.Error("an answer holds the refresh token that was sent")
		}
	})
}
