package httpadapter_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/internal/rig"
	"github.com/counterfoil/counterfoil/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	visits = counterfoil.NewCounter("visits")
	note   = counterfoil.NewField[string]("note")
)

// app serves a small application over TLS, as browsers want it for Secure cookies.
func app(t *testing.T, m *counterfoil.Manager, routes func(*http.ServeMux)) (*httptest.Server, *http.Client) {
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
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		if err := httpadapter.Login(r, "alice", counterfoil.LoginOptions{Carry: []string{"visits"}}); err != nil {
			httpadapter.Refuse(w, r, err)
		}
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		if _, err := visits.Incr(r.Context(), httpadapter.Session(r), 1); err != nil {
			httpadapter.Refuse(w, r, err)
		}
	})
	mux.Handle("GET /me", httpadapter.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, httpadapter.Session(r).Subject()+" "+httpadapter.Verified(r).Subject())
	})))
	if routes != nil {
		routes(mux)
	}
	srv := httptest.NewTLSServer(endpoints(sessions(mux)))
	t.Cleanup(srv.Close)
	jar, _ := cookiejar.New(nil)
	client := srv.Client()
	client.Jar = jar
	return srv, client
}

func do(t *testing.T, c *http.Client, method, url string, header ...string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(body), res.Header
}

func TestLoginToLogout(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	srv, c := app(t, r.Manager, nil)
	if status, body, h := do(t, c, "GET", srv.URL+"/me"); status != 401 || body != "Unauthorized\n" || h.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("nobody: %d %q %v", status, body, h)
	}
	if status, _, _ := do(t, c, "GET", srv.URL+"/"); status != 200 {
		t.Errorf("first visit: %d", status)
	}
	status, _, h := do(t, c, "POST", srv.URL+"/login")
	if status != 200 || len(h["Set-Cookie"]) != 2 || h.Get("Cache-Control") != "no-store" {
		t.Errorf("login: %d %v", status, h)
	}
	if status, body, _ := do(t, c, "GET", srv.URL+"/me"); status != 200 || body != "alice alice" {
		t.Errorf("logged in: %d %q", status, body)
	}
	if status, _, _ := do(t, c, "POST", srv.URL+httpadapter.LogoutPath, "Sec-Fetch-Site", "cross-site"); status != 403 {
		t.Errorf("logout by another site: %d, want 403", status)
	}
	if status, _, _ := do(t, c, "GET", srv.URL+httpadapter.LogoutPath); status != 405 {
		t.Errorf("logout by GET: %d, want 405", status)
	}
	old := c.Jar
	status, _, h = do(t, c, "POST", srv.URL+httpadapter.LogoutPath)
	if status != 204 || len(h["Set-Cookie"]) != 2 {
		t.Errorf("logout: %d %v", status, h)
	}
	c.Jar = old
	if status, _, _ := do(t, c, "GET", srv.URL+"/me"); status != 401 {
		t.Errorf("after logout: %d, want 401", status)
	}
}

func TestSavedWithTheHeader(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	set := func(after func(http.ResponseWriter)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			_ = note.Set(httpadapter.Session(r), r.URL.Path)
			after(w)
		}
	}
	srv, c := app(t, r.Manager, func(mux *http.ServeMux) {
		mux.HandleFunc("GET /silent", set(func(http.ResponseWriter) {}))
		mux.HandleFunc("GET /body", set(func(w http.ResponseWriter) { _, _ = io.WriteString(w, "x") }))
		mux.HandleFunc("GET /file", set(func(w http.ResponseWriter) {
			_, _ = io.Copy(w, file("first"))
			_, _ = io.Copy(w, file(" second"))
		}))
		mux.HandleFunc("GET /status", set(func(w http.ResponseWriter) { w.WriteHeader(404) }))
		mux.HandleFunc("GET /stream", set(func(w http.ResponseWriter) { w.(http.Flusher).Flush() }))
		mux.HandleFunc("GET /hints", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(103)
			_ = note.Set(httpadapter.Session(r), r.URL.Path)
			w.WriteHeader(200)
		})
		mux.HandleFunc("GET /failed", set(func(w http.ResponseWriter) { w.WriteHeader(500) }))
		mux.HandleFunc("GET /panic", set(func(http.ResponseWriter) { panic(http.ErrAbortHandler) }))
		mux.HandleFunc("GET /note", func(w http.ResponseWriter, r *http.Request) {
			v, _, err := note.Get(r.Context(), httpadapter.Session(r))
			if err != nil {
				httpadapter.Refuse(w, r, err)
				return
			}
			_, _ = io.WriteString(w, v)
		})
	})
	do(t, c, "POST", srv.URL+"/login")
	want := ""
	for _, tt := range []struct {
		path  string
		saved bool
	}{{"/silent", true}, {"/body", true}, {"/file", true}, {"/failed", false}, {"/status", true}, {"/panic", false}, {"/stream", true}, {"/hints", true}} {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", srv.URL+tt.path, nil)
		if res, err := c.Do(req); err == nil {
			res.Body.Close()
		}
		if tt.saved {
			want = tt.path
		}
		if _, got, _ := do(t, c, "GET", srv.URL+"/note"); got != want {
			t.Errorf("after %s the note is %q, want %q", tt.path, got, want)
		}
	}
}

func TestLateSaveIsNotAnswered(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	srv, c := app(t, r.Manager, func(mux *http.ServeMux) {
		mux.HandleFunc("GET /slow", func(w http.ResponseWriter, req *http.Request) {
			_ = note.Set(httpadapter.Session(req), "late")
			if err := r.End(req.Context(), httpadapter.Session(req).ID()); err != nil {
				t.Error(err)
			}
			_, _ = io.WriteString(w, "saved")
		})
	})
	do(t, c, "POST", srv.URL+"/login")
	if status, body, h := do(t, c, "GET", srv.URL+"/slow"); status != 401 || strings.Contains(body, "saved") || len(h["Set-Cookie"]) > 0 {
		t.Errorf("a save of an ended session: %d %q %v, want 401 and no cookies", status, body, h["Set-Cookie"])
	}
}

func TestEndpoints(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	srv, c := app(t, r.Manager, nil)
	status, body, h := do(t, c, "GET", srv.URL+httpadapter.JWKSPath)
	keys, err := token.ParseJWKS([]byte(body))
	if status != 200 || err != nil || len(keys) != 1 || !strings.Contains(h.Get("Cache-Control"), "max-age") {
		t.Errorf("JWKS: %d, %d keys, %v, %v", status, len(keys), err, h)
	}
	if status, _, _ := do(t, c, "POST", srv.URL+httpadapter.RefreshPath); status != 401 {
		t.Errorf("refresh of nobody: %d, want 401", status)
	}
	do(t, c, "POST", srv.URL+"/login")
	if status, body, h := do(t, c, "POST", srv.URL+httpadapter.RefreshPath); status != 204 || body != "" || h.Get("Cache-Control") != "no-store" {
		t.Errorf("refresh: %d %q %v", status, body, h)
	}
	if status, _, _ := do(t, c, "GET", srv.URL+httpadapter.AlivePath); status != 200 {
		t.Errorf("alive: %d", status)
	}
	r.Fresh(t)
	if status, _, _ := do(t, c, "GET", srv.URL+httpadapter.ReadyPath); status != 200 {
		t.Errorf("ready: %d", status)
	}
	if status, _, _ := do(t, c, "POST", srv.URL+httpadapter.LogoutEverywherePath); status != 204 {
		t.Errorf("logout everywhere: %d", status)
	}
	if status, _, _ := do(t, c, "GET", srv.URL+"/me"); status != 401 {
		t.Errorf("after it: %d, want 401", status)
	}
	r.StopServer()
	if status, _, h := do(t, c, "GET", srv.URL+"/"); status != 503 || h.Get("Retry-After") == "" {
		t.Errorf("state needed, store gone: %d %v, want 503 and Retry-After", status, h)
	}
}

func TestVerify(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	s, err := r.Login(t.Context(), nil, "alice", counterfoil.LoginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tokens, _ := s.Issued()
	h := httpadapter.Verify(r.Guard())(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, httpadapter.Verified(r).Subject())
	}))
	for _, tt := range []struct {
		name, method string
		header       map[string]string
		want         int
	}{
		{"nothing", "GET", nil, 401},
		{"bearer", "POST", map[string]string{"Authorization": "Bearer " + tokens.Access.Reveal()}, 200},
		{"cookie", "GET", map[string]string{"Cookie": "__Host-Http-session=" + tokens.Access.Reveal()}, 200},
		{"plain cookie, not on loopback", "GET", map[string]string{"Cookie": "session=" + tokens.Access.Reveal()}, 401},
		{"cookie, cross-site POST", "POST", map[string]string{"Cookie": "__Host-Http-session=" + tokens.Access.Reveal(), "Sec-Fetch-Site": "cross-site"}, 403},
		{"refresh token as access token", "GET", map[string]string{"Authorization": "Bearer " + tokens.Refresh.Reveal()}, 401},
	} {
		req := httptest.NewRequest(tt.method, "/", nil)
		for k, v := range tt.header {
			req.Header.Set(k, v)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if w.Code != tt.want || w.Code == 200 && w.Body.String() != "alice" {
			t.Errorf("%s: %d %q, want %d", tt.name, w.Code, w.Body, tt.want)
		}
	}
	own := httpadapter.VerifyConfig{ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusTeapot) }}
	w := httptest.NewRecorder()
	if httpadapter.Verify(r.Guard(), own)(h).ServeHTTP(w, httptest.NewRequest("GET", "/", nil)); w.Code != http.StatusTeapot {
		t.Errorf("with an ErrorHandler of its own: %d", w.Code)
	}
}

func TestNewWantsAManager(t *testing.T) {
	if _, err := httpadapter.New(httpadapter.Config{}); err == nil {
		t.Error("accepted no Manager")
	}
	if _, err := httpadapter.Endpoints(nil); err == nil {
		t.Error("accepted no Manager")
	}
	for what, f := range map[string]func(){
		"Session without the middleware": func() { httpadapter.Session(httptest.NewRequest("GET", "/", nil)) },
		"Verify without a Guard":         func() { httpadapter.Verify(nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s did not panic", what)
				}
			}()
			f()
		}()
	}
}

// TestLoginAfterTheHeader: a login whose cookies cannot go out any more is an error, and no session.
func TestLoginAfterTheHeader(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	var late error
	srv, c := app(t, r.Manager, func(mux *http.ServeMux) {
		mux.HandleFunc("POST /late", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "welcome")
			late = httpadapter.Login(r, "bob", counterfoil.LoginOptions{})
		})
	})
	if _, _, h := do(t, c, "POST", srv.URL+"/late"); !errors.Is(late, counterfoil.ErrCommitted) || h["Set-Cookie"] != nil {
		t.Errorf("a login after the header: %v, cookies %v", late, h["Set-Cookie"])
	}
	bob, err := r.Login(t.Context(), nil, "bob", counterfoil.LoginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if devices, err := r.Devices(t.Context(), bob); err != nil || len(devices) != 1 {
		t.Errorf("bob, who has logged in once in time, has %v, %v", devices, err)
	}
}

// TestChallengeStays: whatever an ErrorHandler does with the answer of RequireFresh, it says how long ago the proof may be.
func TestChallengeStays(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request, error){
		"refuses":      httpadapter.Refuse,
		"only a body":  func(w http.ResponseWriter, _ *http.Request, _ error) { _, _ = io.WriteString(w, "prove it") },
		"says nothing": func(http.ResponseWriter, *http.Request, error) {},
		"flushes":      func(w http.ResponseWriter, _ *http.Request, _ error) { _ = http.NewResponseController(w).Flush() },
		"its own": func(w http.ResponseWriter, _ *http.Request, _ error) {
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(401)
		},
	} {
		sessions, _ := httpadapter.New(httpadapter.Config{Manager: r.Manager, ErrorHandler: answer})
		w := httptest.NewRecorder()
		sessions(httpadapter.RequireFresh(5*time.Minute)(http.NotFoundHandler())).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if got := w.Result().Header.Get("WWW-Authenticate"); got != `Bearer error="insufficient_user_authentication", max_age="300"` {
			t.Errorf("%s: %q", name, got)
		}
		if flushed := name == "flushes"; w.Flushed != flushed {
			t.Errorf("%s: flushed %v", name, w.Flushed)
		}
	}
}

// A door behind no middleware at all is closed.
func TestRequireWhereNobodyLooked(t *testing.T) {
	mine := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "mine") })
	for name, h := range map[string]http.Handler{"Require": httpadapter.Require(mine), "RequireFresh": httpadapter.RequireFresh(time.Minute)(mine)} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if w.Code != 401 || strings.Contains(w.Body.String(), "mine") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}
