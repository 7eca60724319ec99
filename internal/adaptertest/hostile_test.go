package adaptertest_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/fiberadapter"
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/internal/rig"
	"github.com/counterfoil/counterfoil/revocation/feed"
)

// TestStoreGoneInTheMiddleOfAPage: a page that has read and written already finds the store gone. Nothing of it is answered, no cookie is set or cleared,
// and nobody gets a fresh session.
func TestStoreGoneInTheMiddleOfAPage(t *testing.T) {
	for _, backend := range []rig.Backend{rig.Embedded, rig.Server} {
		for name, adapter := range adapters {
			for who, header := range map[string]func(client) []string{"alice": both, "nobody": nothing} {
				t.Run(string(backend)+"/"+name+"/"+who, func(t *testing.T) {
					r := rig.New(t, backend, func(c *counterfoil.Config) { c.Timeout = 500 * time.Millisecond })
					r.Fresh(t)
					c := login(t, r)
					whole := adapter(t, r.Manager)
					if got, want := whole(t, request("GET", "/page", both(c)...)).String(), is(200, "1 2", ""); got != want {
						t.Errorf("\n got %s\nwant %s", got, want)
					}
					broken := adapter(t, r.Manager, r.StopServer)
					a := broken(t, request("GET", "/page", header(c)...))
					if a.Status != 503 || a.Body != "Service Unavailable" || !strings.HasPrefix(a.Header, unavailable) {
						t.Errorf("%s", a)
					}
					// Whoever came without a session has begun one before the store went; its cookies are worth something.
					if who == "alice" && len(a.SetCookie) > 0 {
						t.Errorf("cookies %q", a.SetCookie)
					}
					if a := whole(t, request("GET", "/me", both(c)...)); a.Status != 200 || a.Body != "alice" {
						t.Errorf("who it is was known before: %s", a)
					}
				})
			}
		}
	}
}

// TestUserAgentIsText logs in with names of browsers that try to be something else, and looks at what is shown and told of them.
func TestUserAgentIsText(t *testing.T) {
	const marks = "\x00\x07\x1b\x7f\u2028\u202e"
	for name, adapter := range adapters {
		r := rig.New(t, rig.Embedded)
		app := adapter(t, r.Manager)
		v := &visitor{t, app, map[string]string{}}
		v.want("POST", "/login", 200, "")
		for _, agent := range []string{
			`<script>alert(1)</script>`, `Mozilla/5.0 (<img src=x onerror=alert(1)>) "><svg/onload=alert(1)>/9`, `Chrome/1 {{.Subject}} ${7*7}`,
			"Firefox/1 \u202egnirts \u2028", strings.Repeat("A", 60<<10), "'; DROP TABLE sessions; --", "*3\r\n$3\r\nSET\r\n",
		} {
			req := request("POST", "/login")
			req.Header.Set("User-Agent", agent)
			if a := app(t, req); a.Status != 200 {
				t.Errorf("%s: a login by %.30q: %s", name, agent, a)
			}
		}
		for _, path := range []string{httpadapter.PagePath, httpadapter.ListPath} {
			a := v.ask("GET", path)
			if a.Status != 200 {
				t.Fatalf("%s: %s: %s", name, path, a)
			}
			for _, bad := range []string{"<script>alert", "<img src=x", "<svg/onload", `"><`} {
				if strings.Contains(a.Body, bad) && !(bad == `"><` && path == httpadapter.PagePath) {
					t.Errorf("%s: %s has %q in it", name, path, bad)
				}
			}
			if strings.ContainsAny(a.Body, marks) || len(a.Body) > 16<<10 {
				t.Errorf("%s: %s: control characters, or %d bytes", name, path, len(a.Body))
			}
		}
	}
}

// TestLabelsStayOnTheirLine logs in with labels that would be lines of their own: of the list, of the page, and of the event stream, where a line is an order.
func TestLabelsStayOnTheirLine(t *testing.T) {
	const order = "\r\n\r\nevent: gone\r\ndata: 1\r\n\r\n"
	labels := []counterfoil.LoginOptions{
		{Device: "x" + order}, {Device: order}, {Device: "y\n\nevent: gone\ndata: 1\n\n"}, {Device: "z\revent: gone\rdata: 1\r\r"},
		{Device: "\u2028event: gone\u2029data: 1\u0085"}, {UserAgent: "Firefox/1" + order}, {UserAgent: order + "Firefox/1"},
	}
	r := rig.New(t, rig.Embedded)
	r.Fresh(t)
	stop := make(chan struct{})
	cfg := httpadapter.EndpointsConfig{Stop: stop}
	endpoints, err := httpadapter.Endpoints(r.Manager, cfg)
	if err != nil {
		t.Fatal(err)
	}
	onHTTP := httptest.NewServer(endpoints(http.NotFoundHandler()))
	t.Cleanup(onHTTP.Close)
	onFiber := fiber.New(fiber.Config{DisableStartupMessage: true})
	onFiber.Use(fiberadapter.Endpoints(r.Manager, cfg))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- onFiber.Listener(ln) }()
	t.Cleanup(func() {
		close(stop)
		_ = onFiber.Shutdown()
		<-served
	})
	web := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for name, at := range map[string]string{"net/http": onHTTP.URL, "Fiber": "http://" + ln.Addr().String()} {
		c := login(t, r)
		get := func(path string) *http.Response {
			req, _ := http.NewRequestWithContext(t.Context(), "GET", at+path, nil)
			req.Header.Set("Cookie", c.cookies())
			res, err := web.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != 200 {
				t.Fatalf("%s: %s: %d", name, path, res.StatusCode)
			}
			return res
		}
		events := get(httpadapter.EventsPath)
		for _, opt := range labels {
			if _, err := r.Login(t.Context(), nil, "alice", opt); err != nil {
				t.Fatal(err)
			}
		}
		for _, path := range []string{httpadapter.ListPath, httpadapter.PagePath} {
			res := get(path)
			body, _ := io.ReadAll(res.Body)
			res.Body.Close()
			if n := strings.Count(string(body), "event: gone"); n < 5 {
				t.Errorf("%s: %s shows %d of the labels", name, path, n)
			}
			for line := range strings.Lines(string(body)) {
				if line = strings.TrimSpace(line); strings.HasPrefix(line, "event:") || strings.HasPrefix(line, "data:") || strings.Contains(line, "\r") {
					t.Errorf("%s: %s has the line %q", name, path, line)
				}
			}
			if path == httpadapter.ListPath && strings.Count(string(body), "\n") != 1 {
				t.Errorf("%s: the list is more than one line: %q", name, body)
			}
		}
		began := 0
		for lines := bufio.NewScanner(events.Body); lines.Scan(); {
			switch line := lines.Text(); {
			case line == "event: began":
				if began++; began == len(labels) {
					if err := r.End(t.Context(), c.s.ID()); err != nil {
						t.Fatal(err)
					}
				}
			case line == "event: gone":
				if began != len(labels) {
					t.Errorf("%s: the stream said that the session is gone after %d of %d others", name, began, len(labels))
				}
			case line != "" && line != ":" && line != "retry: 1000" && !strings.HasPrefix(line, "data: {"), strings.Contains(line, "\r"):
				t.Errorf("%s: the stream has the line %q", name, line)
			}
		}
		events.Body.Close()
		if err := r.EndAll(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestClientIsNoted: the list of devices and Config.Bind are told of a client what came with its request, unless the login says otherwise.
func TestClientIsNoted(t *testing.T) {
	const (
		real    = "X-Real-Ip"
		firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
		chrome  = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
	)
	var asked counterfoil.Client
	r := rig.New(t, rig.Embedded, func(c *counterfoil.Config) {
		c.Bind = func(_ context.Context, n counterfoil.Renewal) error { asked = n.Client; return nil }
		c.Locate = func(a netip.Addr) string { return "where " + a.String() + " is" }
	})
	var opt counterfoil.LoginOptions
	address := func(r *http.Request) string { return r.Header.Get(real) }
	sessions, err := httpadapter.New(httpadapter.Config{Manager: r.Manager, Address: address})
	if err != nil {
		t.Fatal(err)
	}
	endpoints, err := httpadapter.Endpoints(r.Manager, httpadapter.EndpointsConfig{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(_ http.ResponseWriter, r *http.Request) {
		if err := httpadapter.Login(r, "alice", opt); err != nil {
			t.Error(err)
		}
	})
	onHTTP := endpoints(sessions(mux))
	onFiber := func(config fiber.Config, ends ...httpadapter.EndpointsConfig) *fiber.App {
		app := fiber.New(config)
		app.Use(fiberadapter.Endpoints(r.Manager, ends...), fiberadapter.New(fiberadapter.Config{Manager: r.Manager}))
		app.Post("/login", func(c *fiber.Ctx) error { return fiberadapter.Login(c, "alice", opt) })
		return app
	}
	apps := servers(onHTTP, onFiber(fiber.Config{ProxyHeader: real})) // c.IP() counts, whichever of the two handlers asks
	own := func(*http.Request) string { return "192.0.2.1" }
	apps["Fiber, Address"] = servers(nil, onFiber(fiber.Config{ProxyHeader: real}, httpadapter.EndpointsConfig{Address: own}))["Fiber"]
	for name, app := range apps {
		ask := func(method, path string, cookies ...*http.Cookie) (string, []*http.Cookie) {
			req := request(method, path, "User-Agent", firefox, real, "203.0.113.7")
			for _, c := range cookies {
				req.AddCookie(c)
			}
			res, err := app(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(res.Body)
			res.Body.Close()
			return string(body), res.Cookies()
		}
		for _, tt := range []struct {
			opt  counterfoil.LoginOptions
			want string
		}{
			{counterfoil.LoginOptions{}, `"device":"Firefox on Linux","address":"203.0.113.0/24","location":"where 203.0.113.7 is"`},
			{counterfoil.LoginOptions{UserAgent: chrome, Address: "198.51.100.9"}, `"device":"Chrome on Windows","address":"198.51.100.0/24","location":"where 198.51.100.9 is"`},
		} {
			opt = tt.opt
			_, jar := ask("POST", "/login")
			if list, _ := ask("GET", httpadapter.ListPath, jar...); !strings.Contains(list, `"current":true,`+tt.want) {
				t.Errorf("%s: %s, want %s", name, list, tt.want)
			}
		}
		for path, method := range map[string]string{"/": "GET", httpadapter.ListPath: "GET", httpadapter.ActivePath: "GET", httpadapter.RefreshPath: "POST"} {
			_, jar := ask("POST", "/login")
			r.Advance(3 * time.Minute) // the token is due for renewal
			asked = counterfoil.Client{}
			ask(method, path, jar...)
			want := counterfoil.Client{UserAgent: firefox, Address: "203.0.113.7"}
			if name == "Fiber, Address" && path != "/" {
				want.Address = "192.0.2.1"
			}
			if asked != want {
				t.Errorf("%s, %s: Bind was asked about %+v", name, path, asked)
			}
		}
	}
}

// TestGetEndsNothing asks every endpoint that changes something by methods that must not, with all that it would need: cookies, a handle, a token and a
// caller's credential.
func TestGetEndsNothing(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	credential, err := feed.NewCredential("caller")
	if err != nil {
		t.Fatal(err)
	}
	digest, err := credential.Digest()
	if err != nil {
		t.Fatal(err)
	}
	var callers feed.Edges
	if err := callers.Allow("caller", digest); err != nil {
		t.Fatal(err)
	}
	cfg := httpadapter.EndpointsConfig{Callers: &callers}
	endpoints, err := httpadapter.Endpoints(r.Manager, cfg)
	if err != nil {
		t.Fatal(err)
	}
	onHTTP := endpoints(http.NotFoundHandler())
	onFiber := fiber.New()
	onFiber.Use(fiberadapter.Endpoints(r.Manager, cfg))
	c, other := login(t, r), login(t, r)
	devices, err := r.Devices(t.Context(), c.s)
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	for name, app := range servers(onHTTP, onFiber) {
		for _, path := range []string{
			httpadapter.RefreshPath, httpadapter.LogoutPath, httpadapter.LogoutEverywherePath, httpadapter.EndPath, httpadapter.EndOthersPath,
			httpadapter.IntrospectPath, httpadapter.RevokePath,
		} {
			for _, method := range []string{"GET", "HEAD", "OPTIONS", "PUT", "DELETE"} {
				for _, d := range devices {
					query := url.Values{"handle": {d.Handle}, "token": {other.refresh}, "return": {"/"}}.Encode()
					req := request(method, path+"?"+query, both(c)...)
					req.SetBasicAuth("caller", credential.Secret.Reveal())
					res, err := app(req)
					if err != nil {
						t.Fatal(err)
					}
					res.Body.Close()
					if res.StatusCode != 405 || res.Header.Get("Allow") != "POST" || len(res.Cookies()) > 0 {
						t.Errorf("%s: %s %s: %d %v", name, method, path, res.StatusCode, res.Header)
					}
					asked++
					if list, err := r.Sessions(t.Context(), "alice"); err != nil || len(list) != 2 {
						t.Fatalf("%s: %s %s: %d sessions are left of 2, %v", name, method, path, len(list), err)
					}
				}
			}
		}
	}
	t.Logf("%d answers", asked)
}

// TestNoTokenInAnyBody asks every endpoint with the cookies of a session, in each way. No body holds a token or the session's ID, and no
// header but Set-Cookie does.
func TestNoTokenInAnyBody(t *testing.T) {
	stop := make(chan struct{})
	close(stop) // an event stream ends at once
	r := rig.New(t, rig.Embedded)
	endpoints, err := httpadapter.Endpoints(r.Manager, httpadapter.EndpointsConfig{Stop: stop, Login: "/login"})
	if err != nil {
		t.Fatal(err)
	}
	h := endpoints(http.NotFoundHandler())
	asked := 0
	for _, path := range []string{
		httpadapter.JWKSPath, httpadapter.RefreshPath, httpadapter.RenewPath, httpadapter.RenewPath + "?return=/", httpadapter.ActivePath, httpadapter.ListPath,
		httpadapter.EventsPath, httpadapter.PagePath, httpadapter.IntrospectPath, httpadapter.RevokePath, httpadapter.FeedPath, httpadapter.AlivePath,
		httpadapter.ReadyPath, httpadapter.EndPath, httpadapter.EndOthersPath, httpadapter.LogoutPath, httpadapter.LogoutEverywherePath,
	} {
		for _, method := range []string{"GET", "POST"} {
			c := login(t, r)
			r.Advance(6 * time.Minute) // the access token has expired, so that whoever renews tokens does
			req := request(method, path, both(c)...)
			if method == "POST" {
				req = httptest.NewRequest(method, "https://app.test"+path, strings.NewReader(url.Values{"token": {c.access}, "handle": {"x"}}.Encode()))
				req.Header = http.Header{"Cookie": {c.cookies()}, "Content-Type": {"application/x-www-form-urlencoded"}}
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, req)
			asked++
			secrets := []string{c.access, c.refresh, c.s.ID().String()}
			for _, set := range w.Result().Cookies() {
				if set.Value != "" {
					secrets = append(secrets, set.Value)
				}
			}
			w.Header().Del("Set-Cookie")
			for _, s := range secrets {
				if strings.Contains(w.Body.String(), s) {
					t.Errorf("%s %s: %d, a token or an ID is in the body", method, path, w.Code)
				}
				for name, values := range w.Header() {
					if strings.Contains(strings.Join(values, " "), s) {
						t.Errorf("%s %s: %d, a token or an ID is in %s", method, path, w.Code, name)
					}
				}
			}
		}
	}
	t.Logf("%d answers", asked)
}

// TestEmptyBodyInChunks: some proxies send every POST in chunks. One without a body is one without a form, as if its length had been said, and still what is
// no form is refused.
func TestEmptyBodyInChunks(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	for name, app := range raws(r.Manager) {
		for _, path := range []string{httpadapter.LogoutPath, httpadapter.LogoutEverywherePath, httpadapter.EndOthersPath} {
			if got := app([]byte(large(path, login(t, r).cookies(), 1, true))); !strings.HasPrefix(got, "HTTP/1.1 400") {
				t.Errorf("%s, POST %s with a byte: %.40q, want 400", name, path, got)
			}
			if got := app([]byte(large(path, login(t, r).cookies(), 0, true))); !strings.HasPrefix(got, "HTTP/1.1 204") {
				t.Errorf("%s, POST %s: %.40q, want 204", name, path, got)
			}
		}
	}
}
