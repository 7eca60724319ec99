package fiberadapter_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/fiberadapter"
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/internal/rig"
)

// serve serves the application until the test is over, and returns its address. stop ends its event streams then.
func serve(t *testing.T, a *fiber.App, stop chan struct{}) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- a.Listener(ln) }()
	t.Cleanup(func() {
		close(stop)
		if err := a.Shutdown(); err != nil {
			t.Error(err)
		}
		<-served
	})
	return "http://" + ln.Addr().String()
}

// watcher logs alice in, and returns what asks for her event stream.
func watcher(t *testing.T, r *rig.Rig, at string) (s *counterfoil.Session, watch func() *http.Request) {
	t.Helper()
	s, err := r.Login(t.Context(), nil, "alice", counterfoil.LoginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tokens, _ := s.Issued()
	return s, func() *http.Request {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", at+httpadapter.EventsPath, nil)
		req.Header.Set("Cookie", "__Host-Http-session="+tokens.Access.Reveal())
		return req
	}
}

// TestEventsStream shows that the endpoint which streams does so on Fiber: the first event arrives while the answer is still open.
func TestEventsStream(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	r.Fresh(t)
	stop := make(chan struct{})
	a := fiber.New(fiber.Config{DisableStartupMessage: true})
	a.Use(fiberadapter.Endpoints(r.Manager, httpadapter.EndpointsConfig{Stop: stop}))
	at := serve(t, a, stop)

	s, err := r.Login(t.Context(), nil, "alice", counterfoil.LoginOptions{Device: "Laptop"})
	if err != nil {
		t.Fatal(err)
	}
	tokens, _ := s.Issued()
	req, _ := http.NewRequestWithContext(t.Context(), "GET", at+httpadapter.EventsPath, nil)
	req.Header.Set("Cookie", "__Host-Http-session="+tokens.Access.Reveal()+"; __Host-Http-refresh="+tokens.Refresh.Reveal())
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" || res.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	other, err := r.Login(t.Context(), nil, "alice", counterfoil.LoginOptions{Device: "Phone"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"event: began", "event: ended", "event: confirmed", "event: gone"}
	for lines := bufio.NewScanner(res.Body); len(want) > 0 && lines.Scan(); {
		if !strings.HasPrefix(lines.Text(), "event:") {
			continue
		}
		if lines.Text() != want[0] {
			t.Fatalf("%s, want %s", lines.Text(), want[0])
		}
		switch want = want[1:]; len(want) {
		case 3:
			err = r.End(t.Context(), other.ID())
		case 1:
			err = r.End(t.Context(), s.ID())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(want) > 0 {
		t.Errorf("the stream ended before %s", want[0])
	}
}

// TestEventsOutlastWriteTimeout: what Fiber grants an answer as a whole is not what a stream has, and no later answer has what the stream had.
func TestEventsOutlastWriteTimeout(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	r.Fresh(t)
	for name, most := range map[string]int{"TCP": 0, "wrapped": 100} {
		t.Run(name, func(t *testing.T) {
			stop := make(chan struct{})
			const whole = 500 * time.Millisecond
			a := fiber.New(fiber.Config{DisableStartupMessage: true, WriteTimeout: whole})
			a.Server().MaxConnsPerIP = most // fasthttp puts its own around the connection, and uses that again for another one
			a.Use(fiberadapter.Endpoints(r.Manager, httpadapter.EndpointsConfig{Stop: stop}))
			at := serve(t, a, stop)
			s, watch := watcher(t, r, at)
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			res, err := (&http.Client{Transport: transport}).Do(watch())
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if !res.Close {
				t.Error("the connection stays, and with it the deadline of the stream")
			}
			<-time.After(whole + whole/5) // the kernel's clock, which nobody can move
			if err := r.End(t.Context(), s.ID()); err != nil {
				t.Fatal(err)
			}
			said, err := io.ReadAll(res.Body)
			if gone := strings.Contains(string(said), "event: gone"); gone != (most == 0) {
				t.Errorf("after the WriteTimeout the stream said that the session was gone: %v; it ended with %v", gone, err)
			}
		})
	}
}

// TestAbandonedStreamsMakeRoom: Fiber learns only when it writes that nobody reads any more, and a page that was loaded anew sixteen times has to get its stream.
func TestAbandonedStreamsMakeRoom(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	r.Fresh(t)
	stop := make(chan struct{})
	a := fiber.New(fiber.Config{DisableStartupMessage: true})
	a.Use(fiberadapter.Endpoints(r.Manager, httpadapter.EndpointsConfig{Stop: stop}))
	at := serve(t, a, stop)
	_, watch := watcher(t, r, at)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	open := func() int {
		t.Helper()
		res, err := client.Do(watch())
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close() // the client goes
		return res.StatusCode
	}
	for i := range 16 {
		if status := open(); status != 200 {
			t.Fatalf("stream %d: %d", i+1, status)
		}
	}
	if status := open(); status != 503 {
		t.Errorf("one more than a subject may have: %d", status)
	}
	for end, tick := time.After(30*time.Second), time.NewTicker(100*time.Millisecond); open() != 200; {
		select {
		case <-tick.C:
		case <-end:
			t.Fatal("the places of the streams that were left are taken for half a minute")
		}
	}
}

// TestFormsReachTheEndpoints shows that a body and a redirect make it through, and that no target is foreign.
func TestFormsReachTheEndpoints(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	a := app(r.Manager)
	b := &browser{t, a, map[string]string{}}
	b.do("POST", "/login?as=alice")
	form := func(path, body string) string {
		var cookies []string
		for k, v := range b.jar {
			cookies = append(cookies, k+"="+v)
		}
		return raw(t, a, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nCookie: %s\r\nContent-Length: %d\r\n\r\n%s",
			path, strings.Join(cookies, "; "), len(body), body))
	}
	for _, tt := range []struct{ path, body, want string }{
		{httpadapter.LogoutPath, "return=https%3A%2F%2Fevil.test", "HTTP/1.1 400"},
		{httpadapter.LogoutPath, "return=%zz", "HTTP/1.1 400"},
		{httpadapter.EndPath, "handle=x", "HTTP/1.1 204"},
		{httpadapter.LogoutPath, "return=%2Fbye", "HTTP/1.1 303"},
	} {
		if got := form(tt.path, tt.body); !strings.HasPrefix(got, tt.want) || strings.Contains(got, "evil") {
			t.Errorf("%s %s: %s", tt.path, tt.body, got)
		}
	}
}

// counted counts what is read of it.
type counted struct {
	io.Reader
	n int
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n += n
	return n, err
}

type endless struct{}

var xs = strings.Repeat("x", 64<<10)

func (endless) Read(b []byte) (int, error) {
	b = b[:min(len(b), len(xs))]
	return copy(b, xs), nil
}

// TestUnreadBodiesThatStream: where this package answers and nobody has read the body, nothing of it is left for the next request.
func TestUnreadBodiesThatStream(t *testing.T) {
	const (
		small = 200 << 10
		large = 2 << 20
	)
	r := rig.New(t, rig.Embedded)
	a := fiber.New(fiber.Config{DisableStartupMessage: true, StreamRequestBody: true})
	a.Get("/in-a-body", func(c *fiber.Ctx) error { return c.SendStatus(fiber.StatusTeapot) })
	a.Get("/next", func(c *fiber.Ctx) error { return nil })
	upload := func(c *fiber.Ctx) error {
		_, err := io.Copy(io.Discard, c.Context().RequestBodyStream())
		return err
	}
	a.Post("/verify", fiberadapter.Verify(r.Guard()), upload)
	a.Use(fiberadapter.New(fiberadapter.Config{Manager: r.Manager}))
	a.Post("/new", upload)
	a.Post("/require", fiberadapter.Require, upload)
	a.Post("/fresh", fiberadapter.RequireFresh(time.Minute), upload)
	a.Post("/logout", fiberadapter.Logout)
	a.Post("/everywhere", fiberadapter.LogoutEverywhere)
	a.Post("/late", func(c *fiber.Ctx) error {
		s := fiberadapter.Session(c)
		if err := note.Set(s, "late"); err != nil {
			return err
		}
		return r.End(c.UserContext(), s.ID())
	})
	bearer := func() string {
		s, err := r.Login(t.Context(), nil, "alice", counterfoil.LoginOptions{})
		if err != nil {
			t.Fatal(err)
		}
		tokens, _ := s.Issued()
		return "Authorization: Bearer " + tokens.Access.Reveal() + "\r\n"
	}
	inner := strings.Repeat("GET /in-a-body HTTP/1.1\r\nHost: app.test\r\n\r\n", large/40)
	none := func() string { return "" }
	for _, tt := range []struct {
		path   string
		header func() string
		status string
		reads  bool // the handler does
		ran    bool // it may have: of a body in pieces nobody can tell, so the connection is closed
	}{
		{"/new", func() string { return "Cookie: __Host-Http-session=x\r\nSec-Fetch-Site: cross-site\r\n" }, "403", false, false},
		{"/new", func() string { return "Authorization: Bearer x\r\n" }, "401", false, false},
		{"/new", none, "200", true, false},
		{"/verify", none, "401", false, false},
		{"/require", none, "401", false, false},
		{"/fresh", none, "401", false, false},
		{"/logout", none, "200", false, true},
		{"/everywhere", none, "401", false, true},
		{"/late", bearer, "401", false, true},
	} {
		for _, size := range []int{0, 100, small, large} {
			for encoding, body := range map[string]string{
				"whole":     fmt.Sprintf("Content-Length: %d\r\n\r\n%s", size, inner[:size]),
				"in pieces": "Transfer-Encoding: chunked\r\n\r\n" + strings.TrimPrefix(fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", size, inner[:size]), "0\r\n\r\n"),
			} {
				got := raw(t, a, "POST "+tt.path+" HTTP/1.1\r\nHost: app.test\r\n"+tt.header()+body+"GET /next HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n")
				want := []string{tt.status, "200"}
				if size == large && !tt.reads || tt.ran && encoding == "in pieces" { // that much is not read for nobody
					want = want[:1]
				}
				if status := statuses(got); !slices.Equal(status, want) {
					t.Errorf("%s, %s, %d bytes %s: %v, want %v", tt.path, tt.status, size, encoding, status[:min(len(status), 4)], want)
				}
			}
		}
	}
}

// TestOverlongBodiesThatStream: of a body that is longer than fiber.Config.BodyLimit nothing is read, since fasthttp may have read beyond its end, and would panic.
func TestOverlongBodiesThatStream(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	a := fiber.New(fiber.Config{DisableStartupMessage: true, StreamRequestBody: true, BodyLimit: 100})
	a.Use(fiberadapter.Endpoints(r.Manager))
	a.Post("/verify", fiberadapter.Verify(r.Guard()))
	a.Use(fiberadapter.New(fiberadapter.Config{Manager: r.Manager}))
	a.Post("/require", fiberadapter.Require)
	a.Post("/logout", fiberadapter.Logout)
	for path, want := range map[string]string{
		"/verify": "401", "/require": "401", "/logout": "200", httpadapter.RefreshPath: "401", httpadapter.LogoutPath: "400",
	} {
		got := raw(t, a, "POST "+path+" HTTP/1.1\r\nHost: app.test\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 101\r\n\r\n"+
			strings.Repeat("x", 101)+strings.Repeat("GET /next HTTP/1.1\r\nHost: app.test\r\n\r\n", 100))
		if status := statuses(got); !slices.Equal(status, []string{want}) {
			t.Errorf("%s: %v, want %s", path, status, want)
		}
	}
}

// TestBehindAMultipartForm: what comes behind the last boundary of a form is not the next request.
func TestBehindAMultipartForm(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	for _, whole := range []bool{false, true} { // whether fasthttp is told to read the body like any other
		a := fiber.New(fiber.Config{DisableStartupMessage: true, DisablePreParseMultipartForm: whole})
		a.Use(fiberadapter.Endpoints(r.Manager))
		a.Post("/verify", fiberadapter.Verify(r.Guard()))
		a.Use(fiberadapter.New(fiberadapter.Config{Manager: r.Manager}))
		a.Post("/upload", func(c *fiber.Ctx) error { return c.SendString(c.FormValue("a")) })
		a.Post("/reset", func(c *fiber.Ctx) error { c.Context().Error("", fiber.StatusTeapot); return nil })
		for _, tt := range []struct{ path, header, status string }{
			{"/upload", "", "200"},
			{"/upload", "Cookie: __Host-Http-session=x\r\nSec-Fetch-Site: cross-site\r\n", "403"},
			{"/reset", "", "418"},
			{"/verify", "", "401"},
			{httpadapter.LogoutPath, "", "400"},
		} {
			form := "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--x--\r\n" + strings.Repeat("y", 20<<10)
			got := raw(t, a, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: app.test\r\n%sContent-Type: multipart/form-data; boundary=x\r\nContent-Length: %d\r\n\r\n%s", tt.path, tt.header, len(form), form)+
				"GET /health/alive HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n")
			want := []string{tt.status}
			if whole {
				want = append(want, "200")
			}
			if status := statuses(got); !slices.Equal(status, want) {
				t.Errorf("%s, %q, whole %v: %v, want %v", tt.path, tt.header, whole, status, want)
			}
		}
	}
}

// TestLogoutLeavesTheBody: a handler that logs out can still read the form that asked for it.
func TestLogoutLeavesTheBody(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	for name, logout := range map[string]fiber.Handler{"this one": fiberadapter.Logout, "everywhere": fiberadapter.LogoutEverywhere} {
		a := fiber.New(fiber.Config{DisableStartupMessage: true, StreamRequestBody: true})
		a.Use(fiberadapter.New(fiberadapter.Config{Manager: r.Manager}))
		a.Post("/", func(c *fiber.Ctx) error {
			if err := logout(c); err != nil && !errors.Is(err, counterfoil.ErrNotFound) {
				return err
			}
			return c.SendString("thanks for " + c.FormValue("reason"))
		})
		form := "reason=" + strings.Repeat("x", 10<<10)
		got := raw(t, a, fmt.Sprintf("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(form), form))
		if !strings.HasSuffix(got, "thanks for "+form[7:]) {
			t.Errorf("%s: %.200q", name, got)
		}
	}
}

// statuses returns those of all answers.
func statuses(answers string) (list []string) {
	for _, line := range strings.Split(answers, "\r\n") {
		if _, after, ok := strings.Cut(line, "HTTP/1.1 "); ok {
			list = append(list, after[:3])
		}
	}
	return list
}

// TestBodiesThatStream: where Fiber hands bodies on as they come, an endpoint reads no more of one than it needs, and what it leaves is not taken for the next
// request.
func TestBodiesThatStream(t *testing.T) {
	const (
		refresh = "POST " + httpadapter.RefreshPath + " HTTP/1.1\r\nHost: app.test\r\n"
		logout  = "POST " + httpadapter.LogoutPath + " HTTP/1.1\r\nHost: app.test\r\nContent-Type: application/x-www-form-urlencoded\r\n"
		alive   = "GET " + httpadapter.AlivePath + " HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n"
		large   = 200 << 20
		upload  = refresh + "Content-Type: multipart/form-data; boundary=x\r\n"
		part    = "--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\n"
	)
	r := rig.New(t, rig.Embedded)
	a := fiber.New(fiber.Config{DisableStartupMessage: true, StreamRequestBody: true})
	a.Use(fiberadapter.Endpoints(r.Manager))
	for _, tt := range []struct {
		name, head string
		body       io.Reader
		want       []string // the status lines
	}{
		{"none", refresh + "Content-Length: 0\r\n\r\n", strings.NewReader(alive), []string{"401", "200"}},
		{"a small one that nobody wants", refresh + "Content-Length: 5\r\n\r\nhello", strings.NewReader(alive), []string{"401", "200"}},
		{"a small one in pieces", refresh + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", strings.NewReader(alive), []string{"401", "200"}},
		{"a form", logout + "Content-Length: 13\r\n\r\nreturn=%2Fbye", strings.NewReader(alive), []string{"303", "200"}},
		{"a form in pieces", logout + "Transfer-Encoding: chunked\r\n\r\nd\r\nreturn=%2Fbye\r\n0\r\n\r\n", strings.NewReader(alive), []string{"303", "200"}},
		{"200 MiB that nobody wants", refresh + fmt.Sprintf("Content-Length: %d\r\n\r\n", large), io.LimitReader(endless{}, large), []string{"401"}},
		{"200 MiB in pieces", refresh + fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", large), io.LimitReader(endless{}, large), []string{"401"}},
		{"a form of 200 MiB", logout + fmt.Sprintf("Content-Length: %d\r\n\r\nreturn=", large), io.LimitReader(endless{}, large), []string{"400"}},
		{"requests in a body", refresh + fmt.Sprintf("Content-Length: %d\r\n\r\n", large), strings.NewReader(strings.Repeat(alive, 8000)), []string{"401"}},
	} {
		body := &counted{Reader: tt.body}
		got := pour(t, a, io.MultiReader(strings.NewReader(tt.head), body))
		if status := statuses(got); !slices.Equal(status, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, status, tt.want)
		}
		if body.n > 1<<20 {
			t.Errorf("%s: %d bytes of it were read", tt.name, body.n)
		}
	}
	// Fiber has put the files of a form onto the disk by then; they are not put together again.
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got := pour(t, a, io.MultiReader(strings.NewReader(upload+fmt.Sprintf("Content-Length: %d\r\n\r\n", large)+part),
		io.LimitReader(endless{}, int64(large-len(part)-len("\r\n--x--\r\n"))), strings.NewReader("\r\n--x--\r\n")))
	runtime.ReadMemStats(&after)
	if !strings.HasPrefix(got, "HTTP/1.1 401") || after.TotalAlloc-before.TotalAlloc > large {
		t.Errorf("a file of 200 MiB: %d MiB were allocated, and the answer is %.40q", (after.TotalAlloc-before.TotalAlloc)>>20, got)
	}
}
