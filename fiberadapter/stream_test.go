package fiberadapter_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/fiberadapter"
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/internal/rig"
)

// TestStreamsAndUpgradesStayIntact has a body that is written after the handler has returned, and a connection that is handed over, behind the
// middleware. Both begin a session, and carry its cookies.
func TestStreamsAndUpgradesStayIntact(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	a := fiber.New(fiber.Config{DisableStartupMessage: true})
	a.Use(fiberadapter.New(fiberadapter.Config{Manager: r.Manager}))
	next := make(chan string, 1)
	a.Get("/stream", func(c *fiber.Ctx) error {
		s := fiberadapter.Session(c)
		if _, err := visits.Incr(c.UserContext(), s, 1); err != nil {
			return err
		}
		c.Context().SetBodyStreamWriter(func(w *bufio.Writer) {
			for line := range next {
				fmt.Fprintf(w, "%s of %v\n", line, s.ID() != counterfoil.Ref{}.Session) // what was kept is still the session
				_ = w.Flush()
			}
		})
		return nil
	})
	a.Get("/upgrade", func(c *fiber.Ctx) error {
		s := fiberadapter.Session(c)
		if err := note.Set(s, "upgraded"); err != nil {
			return err
		}
		c.Status(fiber.StatusSwitchingProtocols)
		c.Set("Upgrade", "echo")
		c.Set("Connection", "Upgrade")
		c.Context().Hijack(func(conn net.Conn) {
			got, _, err := note.Get(context.Background(), s)
			line, _ := bufio.NewReader(conn).ReadString('\n')
			fmt.Fprintf(conn, "%s, %v: %s", got, err, line)
		})
		return nil
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- a.Listener(ln) }()
	t.Cleanup(func() {
		_ = a.Shutdown()
		<-served
	})

	next <- "one" // the header goes out with the first piece of the body
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + ln.Addr().String() + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 200 || len(res.Cookies()) != 2 || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	lines := bufio.NewReader(res.Body)
	for _, want := range []string{"one", "two"} { // each arrives before the next is written
		if got, err := lines.ReadString('\n'); got != want+" of true\n" || err != nil {
			t.Errorf("the stream says %q, %v", got, err)
		}
		if want == "one" {
			next <- "two"
		}
	}
	close(next)
	if rest, err := io.ReadAll(lines); len(rest) > 0 || err != nil {
		t.Errorf("and then %q, %v", rest, err)
	}

	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "GET /upgrade HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	in := bufio.NewReader(conn)
	res, err = http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 101 || len(res.Cookies()) != 2 || res.Header.Get("Upgrade") != "echo" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	fmt.Fprint(conn, "hello\n")
	if got, err := io.ReadAll(in); string(got) != "upgraded, <nil>: hello\n" || err != nil {
		t.Errorf("over the connection comes %q, %v", got, err)
	}
}

// TestStreamedUploadRestoresNothing: with StreamRequestBody the handler has the request before its body is there. While that arrives, another tab renews,
// logs in anew or logs out; whatever the upload then answers, it sets no cookie, for it could only be an older one.
func TestStreamedUploadRestoresNothing(t *testing.T) {
	const first, last = 16 << 10, 1 << 10 // fasthttp reads the first 8 KiB before it calls the handler
	r := rig.New(t, rig.Embedded)
	a := fiber.New(fiber.Config{DisableStartupMessage: true, StreamRequestBody: true})
	a.Use(fiberadapter.New(fiberadapter.Config{Manager: r.Manager}))
	reached := make(chan struct{}, 1)
	a.Post("/upload", func(c *fiber.Ctx) error {
		body := c.Context().RequestBodyStream()
		n, err := io.CopyN(io.Discard, body, first)
		if err != nil {
			return err
		}
		reached <- struct{}{}
		rest, err := io.Copy(io.Discard, body)
		if err != nil {
			return err
		}
		return c.SendString(fmt.Sprint(n+rest, fiberadapter.Session(c).Subject()))
	})
	a.Post("/login", func(c *fiber.Ctx) error { return fiberadapter.Login(c, "alice", counterfoil.LoginOptions{}) })
	a.Post("/logout", fiberadapter.Logout)
	a.Get("/me", fiberadapter.Require, func(c *fiber.Ctx) error { return c.SendString(fiberadapter.Session(c).Subject()) })
	at := serve(t, a, make(chan struct{}))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	ask := func(method, path string, cookies []*http.Cookie) *http.Response {
		req, _ := http.NewRequestWithContext(t.Context(), method, at+path, nil)
		for _, c := range cookies {
			req.AddCookie(c)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res
	}
	for _, meanwhile := range []struct {
		method, path string
		after        int // the status of /me, with what the other tab was given
	}{{"GET", "/me", 200}, {"POST", "/login", 200}, {"POST", "/logout", 401}} {
		// The token that comes is due for renewal, or has expired and is renewed on arrival.
		for _, age := range []time.Duration{3 * time.Minute, 6 * time.Minute} {
			for _, chunked := range []bool{false, true} {
				what := fmt.Sprintf("token %v old, %s meanwhile, chunked %v", age, meanwhile.path, chunked)
				old := ask("POST", "/login", nil).Cookies()
				r.Advance(age)
				conn, err := net.Dial("tcp", at[len("http://"):])
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
					t.Fatal(err)
				}
				head := fmt.Sprintf("POST /upload HTTP/1.1\r\nHost: app.test\r\nCookie: %s=%s; %s=%s\r\n", old[0].Name, old[0].Value, old[1].Name, old[1].Value)
				piece := func(n int) string { return strings.Repeat("a", n) }
				end := ""
				if chunked {
					head += "Transfer-Encoding: chunked\r\n\r\n"
					piece = func(n int) string { return fmt.Sprintf("%x\r\n%s\r\n", n, strings.Repeat("a", n)) }
					end = "0\r\n\r\n"
				} else {
					head += fmt.Sprintf("Content-Length: %d\r\n\r\n", first+last)
				}
				fmt.Fprint(conn, head+piece(first))
				<-reached
				r.Advance(15 * time.Second)
				other := ask(meanwhile.method, meanwhile.path, old)
				if other.StatusCode != 200 || len(other.Cookies()) != 2 {
					t.Errorf("%s: it was answered %d with %d cookies", what, other.StatusCode, len(other.Cookies()))
				}
				r.Advance(15 * time.Second)
				fmt.Fprint(conn, piece(last)+end)
				res, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				body, _ := io.ReadAll(res.Body)
				if want := fmt.Sprint(first+last, "alice"); res.StatusCode != 200 || string(body) != want || len(res.Cookies()) > 0 {
					t.Errorf("%s: the upload was answered %d %q with %d cookies, want 200 %q with none", what, res.StatusCode, body, len(res.Cookies()), want)
				}
				if me := ask("GET", "/me", other.Cookies()); me.StatusCode != meanwhile.after {
					t.Errorf("%s: afterwards /me is answered %d, want %d", what, me.StatusCode, meanwhile.after)
				}
			}
		}
	}
}

// TestSilentStore: a Redis that takes connections and says nothing costs a request a few times Config.Timeout at most, whatever it needs, though in Fiber
// no context ends with the client. Without that bound go-redis takes five seconds.
func TestSilentStore(t *testing.T) {
	const timeout, most = 300 * time.Millisecond, 3 * time.Second
	r := rig.New(t, rig.Server, func(c *counterfoil.Config) { c.Timeout, c.MaxStale = timeout, 10*time.Minute })
	r.Fresh(t)
	a := app(r.Manager)
	a.Post("/note", func(c *fiber.Ctx) error { return note.Set(fiberadapter.Session(c), "x") })
	a.Get("/note", func(c *fiber.Ctx) error {
		_, _, err := note.Get(c.UserContext(), fiberadapter.Session(c))
		return err
	})
	b := &browser{t, a, map[string]string{}}
	b.do("POST", "/login?as=alice")
	_, list := b.do("GET", httpadapter.ListPath)
	_, handle, _ := strings.Cut(list, `"handle":"`)
	handle, _, _ = strings.Cut(handle, `"`)
	opt, err := redis.ParseURL(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(opt)
	defer client.Close()
	if err := client.Do(t.Context(), "CLIENT", "PAUSE", 600_000, "ALL").Err(); err != nil {
		t.Fatal(err)
	}
	defer r.StopServer()
	for _, tt := range []struct {
		what, method, path, form string
		nobody                   bool
	}{
		{"login", "POST", "/login?as=bob", "", true},
		{"login again", "POST", "/login?as=alice", "", false},
		{"a visitor's first write", "GET", "/", "", true},
		{"load", "GET", "/note", "", false},
		{"increment", "GET", "/", "", false},
		{"save", "POST", "/note", "", false},
		{"logout", "POST", "/logout", "", false},
		{"logout everywhere", "POST", "/everywhere", "", false},
		{"refresh", "POST", httpadapter.RefreshPath, "", false},
		{"renew", "GET", httpadapter.RenewPath + "?return=/", "", false},
		{"devices", "GET", httpadapter.ListPath, "", false},
		{"the page of devices", "GET", httpadapter.PagePath, "", false},
		{"end", "POST", httpadapter.EndPath, "handle=" + handle, false},
		{"end others", "POST", httpadapter.EndOthersPath, "", false},
		{"logout endpoint", "POST", httpadapter.LogoutPath, "", false},
		{"active", "GET", httpadapter.ActivePath, "", false},
		{"events", "GET", httpadapter.EventsPath, "", false},
		{"ready", "GET", httpadapter.ReadyPath, "", true},
	} {
		req, _ := http.NewRequestWithContext(t.Context(), tt.method, "https://app.test"+tt.path, strings.NewReader(tt.form))
		if tt.form != "" {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		for name, value := range b.jar {
			if !tt.nobody {
				req.AddCookie(&http.Cookie{Name: name, Value: value})
			}
		}
		begin := time.Now()
		res, err := a.Test(req, -1)
		if err != nil {
			t.Fatal(err)
		}
		took := time.Since(begin)
		res.Body.Close()
		if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || len(res.Cookies()) > 0 || took > most {
			t.Errorf("%s: %d %v after %v, want 503 within a few times %v", tt.what, res.StatusCode, res.Header, took, timeout)
		}
	}
	if res, body := b.do("GET", "/me"); res.StatusCode != 200 || body != "alice alice" {
		t.Errorf("who it is needs no store: %d %q", res.StatusCode, body)
	}
}

// TestStreamAfterAnEndingThatIsNotDurable has the answer to a logout that too few replicas have acknowledged be a stream: it is not waited for.
func TestStreamAfterAnEndingThatIsNotDurable(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	next := make(chan struct{})
	a := fiber.New(fiber.Config{DisableStartupMessage: true})
	a.Use(fiberadapter.New(fiberadapter.Config{Manager: r.Manager}))
	a.Post("/logout", func(c *fiber.Ctx) error {
		if err := fiberadapter.Logout(c); err != nil {
			return err
		}
		c.Context().SetBodyStreamWriter(func(w *bufio.Writer) {
			fmt.Fprintln(w, "one")
			_ = w.Flush()
			<-next
			fmt.Fprintln(w, "two")
		})
		return nil
	})
	at := serve(t, a, next)
	s, err := r.Login(t.Context(), nil, "alice", counterfoil.LoginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tokens, _ := s.Issued()
	r.Faults.On(rig.NotDurable("End"))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "POST", at+"/logout", nil)
	req.Header.Set("Authorization", "Bearer "+tokens.Access.Reveal())
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	line, err := bufio.NewReader(res.Body).ReadString('\n')
	if res.StatusCode != 202 || line != "one\n" || err != nil {
		t.Errorf("%d %q, %v", res.StatusCode, line, err)
	}
}
