package sessiontest_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/sessiontest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var plan = counterfoil.NewField[string]("plan")

// app is the application under test: it tells a user's plan and logs out.
func app(t testing.TB, m *counterfoil.Manager) http.Handler {
	sessions, err := httpadapter.New(httpadapter.Config{Manager: m})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /plan", func(w http.ResponseWriter, r *http.Request) {
		s := httpadapter.Session(r)
		p, _, err := plan.Get(r.Context(), s)
		if err != nil {
			httpadapter.Refuse(w, r, err)
			return
		}
		fmt.Fprintf(w, "%s has %s", s.Subject(), p)
	})
	mux.HandleFunc("POST /plan", func(w http.ResponseWriter, r *http.Request) {
		_ = plan.Set(httpadapter.Session(r), r.FormValue("to"))
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		if err := httpadapter.Logout(r); err != nil {
			httpadapter.Refuse(w, r, err)
		}
	})
	return sessions(mux)
}

func body(t *testing.T, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSessions(t *testing.T) {
	s := sessiontest.New(t)
	h := app(t, s.Manager)
	alice := s.Login("alice", func(_ context.Context, s *counterfoil.Session) error { return plan.Set(s, "pro") })
	if got := body(t, alice.Do(h, "GET", "/plan")); got != "alice has pro" {
		t.Errorf("%q", got)
	}
	alice.Do(h, "POST", "/plan?to=free")
	if got, _, err := plan.Get(t.Context(), alice.Session()); got != "free" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for range 12 { // an hour, in which she is not idle
		s.Advance(5 * time.Minute)
		if got := body(t, alice.Do(h, "GET", "/plan")); got != "alice has free" {
			t.Fatalf("%q", got)
		}
	}
	s.Advance(2 * time.Minute)
	if got := body(t, alice.Do(h, "GET", "/plan")); got != "alice has free" {
		t.Errorf("in the middle of a token's life: %q", got)
	}
	s.Advance(31 * time.Minute)
	if got := body(t, alice.Do(h, "GET", "/plan")); got != " has " {
		t.Errorf("after too long: %q", got)
	}

	bob := s.LoginWith("bob", counterfoil.LoginOptions{Remember: true})
	s.Advance(20 * 24 * time.Hour)
	if got := body(t, bob.Do(h, "GET", "/plan")); got != "bob has " {
		t.Errorf("remembered: %q", got)
	}
	bob.Do(h, "POST", "/logout")
	if bob.LoggedIn() || bob.Session().Subject() != "" {
		t.Error("still logged in")
	}

	carol := s.Login("carol")
	r := s.Visitor().Request("GET", "/plan")
	r.Header.Set("Authorization", carol.Authorization())
	x, err := s.Begin(t.Context(), counterfoil.Request{Method: "GET", Authorization: r.Header.Get("Authorization")})
	if err != nil || x.Session().Subject() != "carol" {
		t.Errorf("bearer: %v", err)
	}
}

func TestExample(t *testing.T) { testProfile(t) }

// TestPlainCookies has the application under test run with the cookies that are for trying things out.
func TestPlainCookies(t *testing.T) {
	s := sessiontest.New(t, func(c *counterfoil.Config) { c.InsecurePlainCookies = true })
	h := app(t, s.Manager)
	alice := s.Login("alice", func(_ context.Context, s *counterfoil.Session) error { return plan.Set(s, "pro") })
	if got := body(t, alice.Do(h, "GET", "/plan")); got != "alice has pro" {
		t.Errorf("%q", got)
	}
	if got := alice.Session().Subject(); got != "alice" {
		t.Errorf("the session is %q's", got)
	}
}

// TestForm sends a body, by a request of the test's own.
func TestForm(t *testing.T) {
	s := sessiontest.New(t)
	h := app(t, s.Manager)
	alice := s.Login("alice")
	r := httptest.NewRequest("POST", "/plan", strings.NewReader("to=pro"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	alice.AddTo(r)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	alice.Keep(w.Result())
	if got := body(t, alice.Do(h, "GET", "/plan")); got != "alice has pro" {
		t.Errorf("%d, then %q", w.Code, got)
	}
}

// TestServiceThatVerifies has the Guard of Sessions stand in for that of a service which only verifies.
func TestServiceThatVerifies(t *testing.T) {
	s := sessiontest.New(t)
	h := httpadapter.Verify(s.Guard())(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, httpadapter.Verified(r).Subject())
	}))
	alice := s.Login("alice")
	ask := func() int { return alice.Do(h, "GET", "/").StatusCode }
	if got := ask(); got != http.StatusOK {
		t.Errorf("at once: %d", got)
	}
	s.Advance(time.Minute)
	if got := ask(); got != http.StatusOK {
		t.Errorf("a minute later: %d", got)
	}
	if err := s.EndAll(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	if got := ask(); got != http.StatusUnauthorized {
		t.Errorf("after the end: %d", got)
	}
}
