package httpadapter_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/internal/rig"
)

// ended makes what the handler has set unsaveable.
func ended(t *testing.T, r *rig.Rig, req *http.Request) {
	t.Helper()
	_ = note.Set(httpadapter.Session(req), "late")
	if err := r.End(req.Context(), httpadapter.Session(req).ID()); err != nil {
		t.Error(err)
	}
}

// file returns a Reader that leaves it to the other side how it is copied, as files do; a strings.Reader writes itself.
func file(content string) io.Reader { return struct{ io.Reader }{strings.NewReader(content)} }

func TestRefusedAnswerKeepsNothingOfTheHandler(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	for name, last := range map[string]func(http.ResponseWriter){
		"silent":  func(http.ResponseWriter) {},
		"status":  func(w http.ResponseWriter) { w.WriteHeader(302) },
		"body":    func(w http.ResponseWriter) { _, _ = w.Write([]byte("saved")) },
		"string":  func(w http.ResponseWriter) { _, _ = io.WriteString(w, "saved") },
		"file":    func(w http.ResponseWriter) { _, _ = io.Copy(w, file("sa")); _, _ = io.Copy(w, file("ved")) },
		"stream":  func(w http.ResponseWriter) { w.(http.Flusher).Flush(); _, _ = w.Write([]byte("saved")) },
		"control": func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() },
		"trailer": func(w http.ResponseWriter) {
			w.(http.Flusher).Flush()
			w.Header().Set(http.TrailerPrefix+"Paid", "yes")
		},
		"upgrade": func(w http.ResponseWriter) { w.WriteHeader(101) },
		"hijack": func(w http.ResponseWriter) {
			if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
				conn.Close()
				t.Error("the connection of a refused request was handed over")
			}
			http.Error(w, "upgrade failed", 500)
		},
		"late hijack": func(w http.ResponseWriter) {
			w.(http.Flusher).Flush()
			if _, _, err := http.NewResponseController(w).Hijack(); err == nil {
				t.Error("the connection of a request that was refused before was handed over")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			sessions, err := httpadapter.New(httpadapter.Config{Manager: r.Manager})
			if err != nil {
				t.Fatal(err)
			}
			inner := sessions(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				if req.Method == "POST" {
					_ = httpadapter.Login(req, "alice", counterfoil.LoginOptions{})
					return
				}
				ended(t, r, req)
				h := w.Header()
				h.Set("Location", "/paid")
				h.Set("Content-Encoding", "gzip")
				h.Set("Content-Length", "5")
				h.Add("Set-Cookie", "paid=yes")
				h.Set("Content-Security-Policy", "default-src *")
				last(w)
			}))
			h := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				w.Header().Set("Content-Security-Policy", "default-src 'none'")
				inner.ServeHTTP(w, req)
			})
			srv := httptest.NewServer(h)
			defer srv.Close()
			res, err := http.Post(srv.URL, "", nil)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			req, _ := http.NewRequestWithContext(t.Context(), "GET", srv.URL, nil)
			for _, c := range res.Cookies() {
				req.AddCookie(c)
			}
			res, err = http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(res.Body)
			res.Body.Close()
			if res.StatusCode != 401 || string(body) != "Unauthorized\n" || res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%d %q %v", res.StatusCode, body, res.Header)
			}
			if res.Header.Get("Location") != "" || res.Header.Get("Content-Encoding") != "" || len(res.Cookies()) > 0 || len(res.Trailer) > 0 {
				t.Errorf("the handler's header is still there: %v %v", res.Header, res.Trailer)
			}
			if got := res.Header["Content-Security-Policy"]; len(got) != 1 || got[0] != "default-src 'none'" {
				t.Errorf("what others had set is %q", got)
			}
		})
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

// TestRefusedStreamEnds has handlers go on until their client has gone, or until flushing fails, although what they set cannot be saved.
func TestRefusedStreamEnds(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	s, err := r.Login(t.Context(), nil, "alice", counterfoil.LoginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tokens, _ := s.Issued()
	sessions, _ := httpadapter.New(httpadapter.Config{Manager: r.Manager})
	endpoints, _ := httpadapter.Endpoints(r.Manager, httpadapter.EndpointsConfig{MaxStreams: 1})
	for name, h := range map[string]http.Handler{
		"flusher": http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			for req.Context().Err() == nil {
				_, _ = w.Write([]byte("tick\n"))
				w.(http.Flusher).Flush()
			}
		}),
		"controller": http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			for control := http.NewResponseController(w); control.Flush() == nil && req.Context().Err() == nil; {
				_, _ = w.Write([]byte("tick\n"))
			}
		}),
		"events": endpoints(nil),
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			over := make(chan struct{})
			srv := httptest.NewServer(sessions(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				defer close(over)
				// Somebody else changes what this request has read and sets.
				mine := httpadapter.Session(req)
				if _, _, err := note.Get(ctx, mine); err != nil {
					t.Error(err)
				}
				if _, err := note.Update(ctx, r.Open(httpadapter.Verified(req)), func(was string, _ bool) (string, error) { return was + ".", nil }); err != nil {
					t.Error(err)
				}
				_ = note.Set(mine, "late")
				h.ServeHTTP(w, req)
			})))
			defer srv.Close()
			req, _ := http.NewRequestWithContext(ctx, "GET", srv.URL+httpadapter.EventsPath, nil)
			req.Header.Set("Authorization", "Bearer "+tokens.Access.Reveal())
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != 409 {
				t.Errorf("%d, want 409", res.StatusCode)
			}
			if name == "flusher" {
				res.Body.Close()
			} else if body, err := io.ReadAll(res.Body); string(body) != "Conflict\n" || err != nil {
				t.Errorf("%q, %v", body, err)
			}
			<-over
			res.Body.Close()
		})
	}
}

// TestCloseNotify: handlers that insist on the old interface, as gin's, hear that the client has gone.
func TestCloseNotify(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	sessions, _ := httpadapter.New(httpadapter.Config{Manager: r.Manager})
	over := make(chan bool, 1)
	srv := httptest.NewServer(sessions(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		n, ok := w.(interface{ CloseNotify() <-chan bool })
		if !ok {
			over <- false
			return
		}
		_ = http.NewResponseController(w).Flush()
		over <- <-n.CloseNotify()
	})))
	defer srv.Close()
	ctx, leave := context.WithTimeout(t.Context(), 20*time.Second)
	defer leave()
	req, _ := http.NewRequestWithContext(ctx, "GET", srv.URL, nil)
	res, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	leave()
	if !<-over {
		t.Error("the ResponseWriter has no CloseNotify, or one that is silent")
	}
}

func TestUpgradeCarriesCookies(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	sessions, _ := httpadapter.New(httpadapter.Config{Manager: r.Manager})
	srv := httptest.NewServer(sessions(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_ = note.Set(httpadapter.Session(req), "before")
		w.Header().Set("Upgrade", "test")
		w.Header().Set("Connection", "Upgrade")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		conn.Close()
	})))
	defer srv.Close()
	req, _ := http.NewRequestWithContext(t.Context(), "GET", srv.URL, nil)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "test")
	res, err := srv.Client().Transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 101 || len(res.Cookies()) != 2 {
		t.Errorf("%d with %d cookies, want 101 and the two of the session that it began", res.StatusCode, len(res.Cookies()))
	}
}

// TestLoginAfterHijack: who has taken the connection writes the header, and a session that began then would be nobody's.
func TestLoginAfterHijack(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	sessions, _ := httpadapter.New(httpadapter.Config{Manager: r.Manager})
	late, first := make(chan error, 1), make(chan error, 1)
	srv := httptest.NewServer(sessions(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
		}
		late <- httpadapter.Login(req, "alice", counterfoil.LoginOptions{})
		_, err = visits.Incr(req.Context(), httpadapter.Session(req), 1)
		first <- err
		conn.Close()
	})))
	defer srv.Close()
	defer srv.Client().CloseIdleConnections()
	if res, err := srv.Client().Get(srv.URL); err == nil {
		res.Body.Close()
	}
	for what, err := range map[string]error{"a login": <-late, "a visitor's first write": <-first} {
		if !errors.Is(err, counterfoil.ErrCommitted) {
			t.Errorf("%s after the hijack: %v, want ErrCommitted", what, err)
		}
	}
}

// TestNothingToHijack: where the connection cannot be had, the answer is one like others.
func TestNothingToHijack(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	sessions, _ := httpadapter.New(httpadapter.Config{Manager: r.Manager})
	w := httptest.NewRecorder()
	sessions(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if _, _, err := http.NewResponseController(w).Hijack(); err == nil {
			t.Error("hijacked a recorder")
		}
		if err := httpadapter.Login(req, "alice", counterfoil.LoginOptions{}); err != nil {
			t.Error(err)
		}
	})).ServeHTTP(w, httptest.NewRequest("POST", "/", nil))
	if got := len(w.Result().Cookies()); got != 2 {
		t.Errorf("%d cookies, want 2", got)
	}
}

func TestPanics(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	srv, c := app(t, r.Manager, func(mux *http.ServeMux) {
		mux.HandleFunc("GET /after", func(w http.ResponseWriter, req *http.Request) {
			_ = note.Set(httpadapter.Session(req), "after")
			_, _ = w.Write([]byte("some"))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		})
		mux.HandleFunc("GET /before", func(w http.ResponseWriter, req *http.Request) {
			_ = note.Set(httpadapter.Session(req), "before")
			panic(http.ErrAbortHandler)
		})
		mux.HandleFunc("GET /note", func(w http.ResponseWriter, req *http.Request) {
			v, _, _ := note.Get(req.Context(), httpadapter.Session(req))
			_, _ = io.WriteString(w, v)
		})
	})
	do(t, c, "POST", srv.URL+"/login")
	for _, path := range []string{"/after", "/before"} {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", srv.URL+path, nil)
		res, err := c.Do(req)
		if err == nil {
			_, err = io.ReadAll(res.Body)
			res.Body.Close()
		}
		if err == nil {
			t.Errorf("%s: the client did not notice that the handler broke off", path)
		}
		if _, body, _ := do(t, c, "GET", srv.URL+"/note"); body != "after" {
			t.Errorf("%s: the note is %q, want what was saved with the header", path, body)
		}
	}
}

func TestMountedTwice(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	sessions, _ := httpadapter.New(httpadapter.Config{Manager: r.Manager})
	w := httptest.NewRecorder()
	sessions(sessions(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		_, _ = visits.Incr(req.Context(), httpadapter.Session(req), 1)
	}))).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if got := len(w.Result().Cookies()); got != 2 {
		t.Errorf("%d cookies, want 2", got)
	}
}

// TestHandlerBesideItsAnswer has the time of handlers be over while they log in, change the session's ID and log out, so they go on beside the answer that
// says so. It carries the cookies of what they did.
func TestHandlerBesideItsAnswer(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	sessions, _ := httpadapter.New(httpadapter.Config{Manager: r.Manager})
	for name, do := range map[string]func(*http.Request) error{
		"login":  func(req *http.Request) error { return httpadapter.Login(req, "bob", counterfoil.LoginOptions{}) },
		"rotate": func(req *http.Request) error { return httpadapter.Rotate(req, counterfoil.RotateOptions{}) },
		"logout": httpadapter.Logout,
	} {
		t.Run(name, func(t *testing.T) {
			s, err := r.Login(t.Context(), nil, "alice", counterfoil.LoginOptions{})
			if err != nil {
				t.Fatal(err)
			}
			tokens, _ := s.Issued()
			answered, over := make(chan struct{}), make(chan struct{})
			h := sessions(http.TimeoutHandler(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
				defer close(over)
				req = req.WithContext(context.WithoutCancel(req.Context()))
				if err := do(req); err != nil {
					t.Error(err)
				}
				_, _ = httpadapter.Session(req).ID(), httpadapter.Verified(req)
				<-answered
				if err := httpadapter.Login(req, "carol", counterfoil.LoginOptions{}); !errors.Is(err, counterfoil.ErrCommitted) {
					t.Errorf("a login after the answer: %v, want ErrCommitted", err)
				}
			}), time.Hour, ""))
			ctx, timeIsOver := context.WithCancel(t.Context())
			r.Faults.On(func(step string, after bool) error {
				if step == "End" && after {
					timeIsOver()
				}
				return nil
			})
			defer r.Faults.On(nil)
			req := httptest.NewRequestWithContext(ctx, "POST", "/", nil)
			req.Header.Set("Cookie", "__Host-Http-session="+tokens.Access.Reveal()+"; __Host-Http-refresh="+tokens.Refresh.Reveal())
			w := httptest.NewRecorder()
			h.ServeHTTP(w, req)
			close(answered)
			<-over
			if got := len(w.Result().Cookies()); w.Code != 503 || got != 2 {
				t.Errorf("answered %d with %d cookies, want 503 with 2", w.Code, got)
			}
		})
	}
}

// TestTwoManagers has the middleware of one Manager inside that of another, and both once more inside: each handler has the session of the nearest one.
func TestTwoManagers(t *testing.T) {
	users := rig.New(t, rig.Embedded)
	staff := rig.New(t, rig.Embedded, func(c *counterfoil.Config) { c.Audience, c.CookieSuffix = "staff", "-staff" })
	ofUsers, _ := httpadapter.New(httpadapter.Config{Manager: users.Manager})
	ofStaff, _ := httpadapter.New(httpadapter.Config{Manager: staff.Manager})
	endpoints, _ := httpadapter.Endpoints(users.Manager)
	login := func(subject string, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := httpadapter.Login(r, subject, counterfoil.LoginOptions{}); err != nil {
				t.Error(err)
			}
			next.ServeHTTP(w, r)
			if got := httpadapter.Session(r).Subject(); got != subject {
				t.Errorf("afterwards the session of %s is %q's", subject, got)
			}
		})
	}
	visit := func(subject string, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if got := httpadapter.Session(r).Subject(); got != subject {
				t.Errorf("inside the session of %s is %q's", subject, got)
			}
			if _, err := visits.Incr(r.Context(), httpadapter.Session(r), 1); err != nil {
				t.Error(err)
			}
			next.ServeHTTP(w, r)
		})
	}
	inmost := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	w := httptest.NewRecorder()
	ofUsers(login("user", ofStaff(login("staff", ofUsers(visit("user", ofStaff(visit("staff", inmost)))))))).ServeHTTP(w, httptest.NewRequest("POST", "/", nil))
	names := map[string]bool{}
	for _, c := range w.Result().Cookies() {
		names[c.Name] = true
	}
	if got := len(w.Result().Cookies()); got != 4 || len(names) != 4 {
		t.Errorf("%d cookies of %d names, want 4 of 4", got, len(names))
	}

	// The endpoints of the first go on with its exchange as well: what it renews on arrival it renews once.
	req := httptest.NewRequest("GET", httpadapter.PagePath, nil)
	for _, c := range w.Result().Cookies() {
		req.AddCookie(c)
	}
	users.Advance(6 * time.Minute)
	w = httptest.NewRecorder()
	ofUsers(ofStaff(endpoints(nil))).ServeHTTP(w, req)
	if got := len(w.Result().Cookies()); w.Code != 200 || got != 2 {
		t.Errorf("the page: %d with %d cookies, want 200 with 2", w.Code, got)
	}
}

func TestRefuseUnknownError(t *testing.T) {
	w := httptest.NewRecorder()
	httpadapter.Refuse(w, httptest.NewRequest("GET", "/", nil), errors.New("database password is hunter2"))
	if w.Code != 500 || w.Body.String() != "Internal Server Error\n" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}
