// Package sessiontest lets an application test its handlers with real sessions, and without a Redis, a browser, or waiting.
//
// [New] makes a Manager on an in-process store whose clock can be moved. [Sessions.Login] logs somebody in, in one line, and returns a [Client],
// whose requests carry the cookies. Everything else is as in production: tokens are signed and verified, the scripts of the store run.
//
//	sessions := sessiontest.New(t)
//	alice := sessions.Login("alice")
//	res := alice.Do(handler, "GET", "/profile")
//	sessions.Advance(31 * time.Minute) // idle for too long
//
// handler is the application's, behind the middleware of httpadapter with sessions.Manager. A request to a Fiber application, or with a body, is made with
// httptest.NewRequest, takes its cookies from [Client.AddTo], and its answer goes to [Client.Keep]. For a service that only verifies, sessions.Guard()
// stands in for its own. Whatever fails ends the test.
//
// # Compatibility
//
// The package follows the root package.
package sessiontest

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/elapse"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/store/embedded"
	"github.com/counterfoil/counterfoil/token/issuer"
)

// Sessions is a Manager with a store of its own and a clock of its own. [New] makes it; it is closed when the test ends.
// Most tests want [Sessions.Login] and [Sessions.Advance]. It is safe for concurrent use, except for Advance.
type Sessions struct {
	*counterfoil.Manager

	t      testing.TB
	server *embedded.Server
	store  *store.Redis
	offset *atomic.Int64
	host   string // that requests are for unless they name one; "" = that of net/http/httptest
}

// New makes Sessions for the issuer "https://issuer.test" and the audience "app"; change alters the configuration before it is used.
func New(t testing.TB, change ...func(*counterfoil.Config)) *Sessions {
	t.Helper()
	s := &Sessions{t: t, offset: &atomic.Int64{}}
	var err error
	if s.server, err = embedded.Start(""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.server.Close)
	if s.store, err = store.Open(t.Context(), s.server.URL(), store.Config{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.store.Close() })
	key, err := issuer.GenerateKey("EdDSA")
	if err != nil {
		t.Fatal(err)
	}
	ring, err := issuer.NewRing(key)
	if err != nil {
		t.Fatal(err)
	}
	secret := make([]byte, 32)
	rand.Read(secret)
	cfg := counterfoil.Config{
		Issuer: "https://issuer.test", Audience: "app", Keys: ring, Secrets: [][]byte{secret}, Store: s.store, Now: s.Now,
		Logger: slog.New(slog.DiscardHandler),
	}
	for _, f := range change {
		f(&cfg)
	}
	if cfg.InsecurePlainCookies { // which are for loopback only
		s.host = "localhost"
	}
	if s.Manager, err = counterfoil.New(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// Now returns the time by the clock that Manager and store share.
func (s *Sessions) Now() time.Time { return time.Now().Add(time.Duration(s.offset.Load())) }

// Advance moves the clock forward by d, at once: tokens expire, idle and absolute lives end.
func (s *Sessions) Advance(d time.Duration) {
	s.t.Helper()
	elapse.By(d, s.store.Append, func(step time.Duration) {
		s.offset.Add(int64(step))
		s.server.SetTime(s.Now())
	})
}

// Login begins a session of subject and returns the client that holds it. Each fill is given the session first, to set fields in; they are saved.
func (s *Sessions) Login(subject string, fill ...func(context.Context, *counterfoil.Session) error) *Client {
	s.t.Helper()
	return s.LoginWith(subject, counterfoil.LoginOptions{}, fill...)
}

// LoginWith is Login with options.
func (s *Sessions) LoginWith(subject string, opt counterfoil.LoginOptions, fill ...func(context.Context, *counterfoil.Session) error) *Client {
	s.t.Helper()
	ctx := s.t.Context()
	x, err := s.Begin(ctx, counterfoil.Request{Method: http.MethodPost, Host: s.host})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := x.Login(ctx, subject, opt); err != nil {
		s.t.Fatal(err)
	}
	for _, f := range fill {
		if err := f(ctx, x.Session()); err != nil {
			s.t.Fatal(err)
		}
	}
	cookies, err := x.Commit(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	c := s.Visitor()
	h := http.Header{}
	for _, cookie := range cookies {
		h.Add("Set-Cookie", cookie.SetCookie())
	}
	c.Keep(&http.Response{Header: h})
	c.bearer = ""
	if tokens, ok := x.Session().Issued(); ok {
		c.bearer = tokens.Access.Reveal()
	}
	return c
}

// Visitor returns a client without a session.
func (s *Sessions) Visitor() *Client { return &Client{s: s, jar: map[string]*http.Cookie{}} }

// Client is a browser with a cookie jar. [Sessions.Login] and [Sessions.Visitor] make one. It is not safe for concurrent use.
type Client struct {
	s      *Sessions
	jar    map[string]*http.Cookie
	bearer string
}

// Request makes a request as the client's browser would send it from a page of the same origin, with the client's cookies.
func (c *Client) Request(method, target string) *http.Request {
	r := httptest.NewRequest(method, target, nil).WithContext(c.s.t.Context())
	if c.s.host != "" && strings.HasPrefix(target, "/") {
		r.Host = c.s.host
	}
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	c.AddTo(r)
	return r
}

// AddTo adds the client's cookies to a request.
func (c *Client) AddTo(r *http.Request) {
	for _, cookie := range c.jar {
		r.AddCookie(&http.Cookie{Name: cookie.Name, Value: cookie.Value})
	}
}

// Keep takes over the cookies of an answer, as a browser does.
func (c *Client) Keep(res *http.Response) {
	for _, cookie := range res.Cookies() {
		if cookie.MaxAge < 0 {
			delete(c.jar, cookie.Name)
		} else {
			c.jar[cookie.Name] = cookie
		}
	}
}

// Do sends a request to a handler, keeps the cookies of the answer, and returns it.
func (c *Client) Do(h http.Handler, method, target string) *http.Response {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, c.Request(method, target))
	res := w.Result()
	c.Keep(res)
	return res
}

// LoggedIn reports whether the client holds any cookies. It does not ask whether the session lives.
func (c *Client) LoggedIn() bool { return len(c.jar) > 0 }

// Authorization returns the value of the Authorization header with the access token that the login made, for clients without cookies.
func (c *Client) Authorization() string { return "Bearer " + c.bearer }

// Session returns the session as the next request will see it, to look at what a handler has stored; a new one if the client has none.
func (c *Client) Session() *counterfoil.Session {
	c.s.t.Helper()
	r := c.Request(http.MethodGet, "/")
	x, err := c.s.Begin(c.s.t.Context(), counterfoil.Request{Method: r.Method, Host: r.Host, Cookie: r.Header["Cookie"]})
	if err != nil {
		c.s.t.Fatal(err)
	}
	return x.Session()
}
