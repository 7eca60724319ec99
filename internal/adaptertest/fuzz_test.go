package adaptertest_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/fiberadapter"
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/internal/rig"
)

// memory is a connection whose client has said everything and now listens.
type memory struct {
	in     *bytes.Reader
	out    bytes.Buffer
	closed chan struct{} // nil if nobody waits for it
}

func (c *memory) Read(b []byte) (int, error)  { return c.in.Read(b) }
func (c *memory) Write(b []byte) (int, error) { return c.out.Write(b) }
func (c *memory) Close() error {
	if c.closed != nil {
		close(c.closed)
		c.closed = nil
	}
	return nil
}
func (*memory) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }
func (*memory) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40000} }
func (*memory) SetDeadline(time.Time) error      { return nil }
func (*memory) SetReadDeadline(time.Time) error  { return nil }
func (*memory) SetWriteDeadline(time.Time) error { return nil }

// one is a listener with one connection; when that is closed, so is the listener.
type one struct {
	conn   chan net.Conn
	closed chan struct{}
}

func (l one) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (one) Close() error   { return nil }
func (one) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

// What /note and /refused set: the second is the body, and may be too large.
var (
	earlier = counterfoil.NewField[string]("earlier")
	note    = counterfoil.NewField[string]("note")
)

// most is how long a note may be: the budget, less both names, the other value and the quotes of JSON.
const most = counterfoil.MaxDataLen - len("earlier") - len(`"x"`) - len("note") - len(`""`)

// block is nearly as much. It is what a chunk holds, and what a seed of [FuzzRawRequests] has one word for.
const block = most - 1

// large returns a request with a body of n bytes, as one piece or in chunks.
func large(path, cookie string, n int, chunked bool) string {
	head := "POST " + path + " HTTP/1.1\r\nHost: app.test\r\nCookie: " + cookie + "\r\n"
	body := strings.Repeat("a", n)
	if !chunked {
		return head + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", n, body)
	}
	var b strings.Builder
	b.WriteString(head + "Transfer-Encoding: chunked\r\n\r\n")
	for ; len(body) > 0; body = body[min(len(body), block):] {
		piece := body[:min(len(body), block)]
		fmt.Fprintf(&b, "%x\r\n%s\r\n", len(piece), piece)
	}
	b.WriteString("0\r\n\r\n")
	return b.String()
}

// raws are the two adapters with an application that does all it can with a request: each takes bytes from a connection and returns all that it answers.
func raws(m *counterfoil.Manager) map[string]func([]byte) string {
	stopped := make(chan struct{})
	close(stopped) // an event stream ends at once
	cfg := httpadapter.EndpointsConfig{Stop: stopped, Login: "/login"}

	onFiber := fiber.New(fiber.Config{DisableStartupMessage: true, ReadBufferSize: 1 << 20}) // as much as net/http reads
	onFiber.Server().SecureErrorLogMessage = true                                            // what is no request is not quoted, as package fiberadapter advises
	onFiber.Use(fiberadapter.Endpoints(m, cfg))
	onFiber.Use(fiberadapter.New(fiberadapter.Config{Manager: m}))
	onFiber.All("/who", func(c *fiber.Ctx) error { return c.SendString(fiberadapter.Session(c).Subject()) })
	onFiber.All("/note", func(c *fiber.Ctx) error {
		if err := earlier.Set(fiberadapter.Session(c), "x"); err != nil {
			return err
		}
		return note.Set(fiberadapter.Session(c), string(c.Body()))
	})
	onFiber.All("/refused", func(c *fiber.Ctx) error { // answers the error itself
		if err := earlier.Set(fiberadapter.Session(c), "x"); err != nil {
			return err
		}
		if err := note.Set(fiberadapter.Session(c), string(c.Body())); err != nil {
			return fiberadapter.Refuse(c, err)
		}
		return nil
	})
	onFiber.All("/verify", fiberadapter.Verify(m.Guard()), func(c *fiber.Ctx) error { return c.SendString(fiberadapter.Verified(c).Subject()) })
	onFiber.Handler() // builds the routes

	endpoints, err := httpadapter.Endpoints(m, cfg)
	if err != nil {
		panic(err)
	}
	sessions, err := httpadapter.New(httpadapter.Config{Manager: m})
	if err != nil {
		panic(err)
	}
	pages := http.NewServeMux()
	pages.HandleFunc("/who", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, httpadapter.Session(r).Subject())
	})
	takeNote := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if err := earlier.Set(httpadapter.Session(r), "x"); err != nil {
			httpadapter.Refuse(w, r, err)
			return
		}
		if err := note.Set(httpadapter.Session(r), string(body)); err != nil {
			httpadapter.Refuse(w, r, err)
		}
	}
	pages.HandleFunc("/note", takeNote)
	pages.HandleFunc("/refused", takeNote)
	verify := httpadapter.Verify(m.Guard())(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, httpadapter.Verified(r).Subject())
	}))
	app := endpoints(sessions(pages))
	panics := new(bytes.Buffer) // only the goroutine of the connection writes to it
	server := &http.Server{
		ErrorLog: log.New(panics, "", 0),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r = r.WithContext(context.WithoutCancel(r.Context())) // that the client has said everything does not mean that it has gone
			if r.URL.Path == "/verify" {
				verify.ServeHTTP(w, r)
			} else {
				app.ServeHTTP(w, r)
			}
		}),
	}
	return map[string]func([]byte) string{
		"Fiber": func(request []byte) string {
			c := &memory{in: bytes.NewReader(request)}
			_ = onFiber.Server().ServeConn(c)
			return c.out.String()
		},
		"net/http": func(request []byte) string {
			closed := make(chan struct{})
			c := &memory{in: bytes.NewReader(request), closed: closed}
			l := one{make(chan net.Conn, 1), closed}
			l.conn <- c
			_ = server.Serve(l)
			defer panics.Reset()
			if strings.Contains(panics.String(), "panic") {
				return "HTTP/1.1 500 " + panics.String()
			}
			return c.out.String()
		},
	}
}

// FuzzRawRequests sends bytes to both adapters. Whatever they are: no panic, and nothing that claims to be the server's own fault.
func FuzzRawRequests(f *testing.F) {
	r := rig.New(f, rig.Embedded)
	s, err := r.Login(context.Background(), nil, "alice", counterfoil.LoginOptions{})
	if err != nil {
		f.Fatal(err)
	}
	tokens, _ := s.Issued()
	cookie := "__Host-Http-session=" + tokens.Access.Reveal() + "; __Host-Http-refresh=" + tokens.Refresh.Reveal()
	apps := raws(r.Manager)

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
	// Bodies around the budget of a session, and far over it. Mutated as they are they would be slow, so a word stands for most of each.
	blockOf, filling := []byte("BLOCK"), bytes.Repeat([]byte("a"), block)
	for _, n := range []int{most, most + 1, counterfoil.MaxDataLen - 1, counterfoil.MaxDataLen, counterfoil.MaxDataLen + 1, 1 << 20} {
		for _, chunked := range []bool{false, true} {
			for _, c := range []string{"", "COOKIE"} {
				f.Add([]byte(strings.ReplaceAll(large("/note", c, n, chunked), strings.Repeat("a", block), string(blockOf))))
			}
		}
	}
	// A cookie can be put together from any bytes; it is worth more beside a real token.
	cookieOf := []byte("COOKIE")
	f.Add([]byte("GET /who HTTP/1.1\r\nHost: app.test\r\nCookie: COOKIE; __Host-Http-session=COOKIE\r\n\r\n"))

	f.Fuzz(func(t *testing.T, request []byte) {
		if len(request) > 1<<20 || bytes.Count(request, blockOf) > 20 {
			return
		}
		for name, app := range apps {
			answer := app(bytes.ReplaceAll(bytes.ReplaceAll(request, cookieOf, []byte(cookie)), blockOf, filling))
			for rest := answer; ; {
				i := strings.Index(rest, "HTTP/1.1 5")
				if i < 0 {
					break
				}
				// 501 to 505 are what the servers say to what they do not speak; bodies of ours never look like a status line.
				line, _, _ := strings.Cut(rest[i:], "\r\n")
				if !strings.HasPrefix(line, "HTTP/1.1 501") && !strings.HasPrefix(line, "HTTP/1.1 505") {
					t.Errorf("%s: %q is answered %q", name, request, line)
				}
				rest = rest[i+len(line):]
			}
			if strings.Contains(answer, tokens.Refresh.Reveal()) {
				t.Errorf("%s: an answer holds the refresh token that was sent", name)
			}
		}
	})
}

// TestLargeNotes: data over the budget of a session are the client's fault, whichever way they come, and nothing of the request is kept. Up to it all is.
func TestLargeNotes(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	for name, app := range raws(r.Manager) {
		for _, path := range []string{"/note", "/refused"} {
			for n, want := range map[int]string{
				most: "HTTP/1.1 200", most + 1: "HTTP/1.1 413", counterfoil.MaxDataLen - 1: "HTTP/1.1 413", counterfoil.MaxDataLen: "HTTP/1.1 413",
				counterfoil.MaxDataLen + 1: "HTTP/1.1 413", 1 << 20: "HTTP/1.1 413",
			} {
				for _, chunked := range []bool{false, true} {
					c := login(t, r)
					what := fmt.Sprintf("%s, %s, %d bytes, chunked %v", name, path, n, chunked)
					if got := app([]byte(large(path, c.cookies(), n, chunked))); !strings.HasPrefix(got, want) {
						t.Errorf("%s: %.60q, want %s", what, got, want)
					}
					record, err := r.Faults.Find(t.Context(), c.s.ID())
					if err != nil {
						t.Fatal(err)
					}
					if kept := len(record.Fields) > 0; kept != (n == most) {
						t.Errorf("%s: of the data are kept %d fields", what, len(record.Fields))
					}
					if got := app([]byte(large(path, "", n, chunked))); !strings.HasPrefix(got, want) || n > most && strings.Contains(got, "Set-Cookie") {
						t.Errorf("%s, of nobody: %.200q, want %s", what, got, want)
					}
				}
			}
		}
	}
}

// TestLargeSeedsArrive: what FuzzRawRequests has of large headers is seen by the middleware, and not refused by the server in front of it.
func TestLargeSeedsArrive(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	for name, app := range raws(r.Manager) {
		for header, want := range map[string]string{
			"Cookie: " + strings.Repeat("a=b; ", 2000):                  "HTTP/1.1 200",
			"Authorization: Bearer " + strings.Repeat("a", 9000):        "HTTP/1.1 401",
			"Authorization: Bearer " + strings.Repeat("a.", 30<<10)[1:]: "HTTP/1.1 401",
		} {
			if got := app([]byte("GET /who HTTP/1.1\r\nHost: app.test\r\n" + header + "\r\n\r\n")); !strings.HasPrefix(got, want) {
				t.Errorf("%s: %.40s… of %d bytes: %.60q, want %s", name, header, len(header), got, want)
			}
		}
	}
}
