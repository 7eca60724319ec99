package frameworks_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/labstack/echo/v4"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/examples/frameworks"
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/store/embedded"
	"github.com/counterfoil/counterfoil/token/issuer"
)

func manager(t *testing.T) *counterfoil.Manager {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	redis, err := embedded.Start("")
	must(err)
	t.Cleanup(redis.Close)
	sessions, err := store.Open(t.Context(), redis.URL(), store.Config{})
	must(err)
	t.Cleanup(func() { sessions.Close() })
	key, err := issuer.GenerateKey("EdDSA")
	must(err)
	ring, err := issuer.NewRing(key)
	must(err)
	m, err := counterfoil.New(t.Context(), counterfoil.Config{
		Issuer: "https://frameworks.test", Audience: "https://frameworks.test", Keys: ring, Secrets: [][]byte{make([]byte, 32)}, Store: sessions,
	})
	must(err)
	t.Cleanup(func() { m.Close() })
	return m
}

// wrapped has echo take the middleware by echo.WrapMiddleware, which does for handlers that answer what fails by themselves, and return nil.
func wrapped(m *counterfoil.Manager) (http.Handler, error) {
	endpoints, err := httpadapter.Endpoints(m)
	if err != nil {
		return nil, err
	}
	sessions, err := httpadapter.New(httpadapter.Config{Manager: m})
	if err != nil {
		return nil, err
	}
	e := echo.New()
	e.Use(echo.WrapMiddleware(endpoints), echo.WrapMiddleware(sessions))
	e.POST("/login", func(c echo.Context) error {
		if err := httpadapter.Login(c.Request(), c.FormValue("name"), counterfoil.LoginOptions{}); err != nil {
			httpadapter.Refuse(c.Response(), c.Request(), err)
		}
		return nil // with no answer of its own: the middleware's is 200
	})
	e.GET("/", func(c echo.Context) error {
		return c.String(http.StatusOK, httpadapter.Session(c.Request()).Subject())
	}, echo.WrapMiddleware(httpadapter.Require))
	return e, nil
}

func TestSameUnderEach(t *testing.T) {
	for name, app := range map[string]func(*counterfoil.Manager) (http.Handler, error){
		"chi": frameworks.Chi, "gin": frameworks.Gin, "echo": frameworks.Echo, "echo, wrapped": wrapped,
	} {
		t.Run(name, func(t *testing.T) {
			h, err := app(manager(t))
			if err != nil {
				t.Fatal(err)
			}
			srv := httptest.NewTLSServer(h)
			defer srv.Close()
			c := srv.Client()
			c.Jar, _ = cookiejar.New(nil)
			ask := func(method, path string) (int, string) {
				t.Helper()
				form := url.Values{"name": {"alice"}}
				req, _ := http.NewRequestWithContext(t.Context(), method, srv.URL+path, strings.NewReader(form.Encode()))
				req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				res, err := c.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				b, _ := io.ReadAll(res.Body)
				return res.StatusCode, string(b)
			}
			for _, step := range []struct {
				method, path string
				status       int
				body         string
			}{
				{"GET", "/", 401, "Unauthorized\n"},
				{"POST", "/login", 200, ""},
				{"GET", "/", 200, "alice"},
				{"GET", "/health/alive", 200, "ok\n"},
				{"GET", "/.well-known/openid-configuration", 404, "-"},
				{"GET", "/session/active", 200, "{\"active\":true}\n"},
				{"POST", "/session/logout", 204, ""},
				{"GET", "/", 401, "Unauthorized\n"},
			} {
				if status, body := ask(step.method, step.path); status != step.status || step.body != "-" && body != step.body {
					t.Errorf("%s %s: %d %q, want %d %q", step.method, step.path, status, body, step.status, step.body)
				}
			}
		})
	}
}

// TestEchoDiscards: what a handler set is discarded if it returns an error, since all of echo is inside, what answers the error included.
func TestEchoDiscards(t *testing.T) {
	sessions, err := httpadapter.New(httpadapter.Config{Manager: manager(t)})
	if err != nil {
		t.Fatal(err)
	}
	note := counterfoil.NewField[string]("note")
	e := echo.New()
	e.GET("/", func(c echo.Context) error {
		s := httpadapter.Session(c.Request())
		before, _, err := note.Get(c.Request().Context(), s)
		if err != nil {
			return err
		}
		if err := note.Set(s, c.QueryParam("set")); err != nil {
			return err
		}
		if c.QueryParam("set") == "failed" {
			return errors.New("failed")
		}
		return c.String(http.StatusOK, before)
	})
	srv := httptest.NewTLSServer(sessions(e))
	defer srv.Close()
	c := srv.Client()
	c.Jar, _ = cookiejar.New(nil)
	for _, step := range []struct {
		set    string
		status int
		body   string
	}{{"one", 200, ""}, {"failed", 500, `{"message":"Internal Server Error"}` + "\n"}, {"two", 200, "one"}} {
		res, err := c.Get(srv.URL + "/?set=" + step.set)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != step.status || string(b) != step.body {
			t.Errorf("%s: %d %q, want %d %q", step.set, res.StatusCode, b, step.status, step.body)
		}
	}
}

// TestGinStreams: gin's Stream writes bit by bit until the client has gone, which it hears of by CloseNotify alone.
func TestGinStreams(t *testing.T) {
	sessions, err := httpadapter.New(httpadapter.Config{Manager: manager(t)})
	if err != nil {
		t.Fatal(err)
	}
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	gone := make(chan bool, 1)
	r.GET("/", func(c *gin.Context) {
		gone <- c.Stream(func(w io.Writer) bool {
			_, _ = io.WriteString(w, "tick\n")
			return true
		})
	})
	srv := httptest.NewServer(sessions(r))
	defer srv.Close()
	ctx, leave := context.WithTimeout(t.Context(), 20*time.Second)
	defer leave()
	req, _ := http.NewRequestWithContext(ctx, "GET", srv.URL, nil)
	res, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b := make([]byte, len("tick\ntick\n"))
	if _, err := io.ReadFull(res.Body, b); res.StatusCode != 200 || string(b) != "tick\ntick\n" {
		t.Errorf("%d %q, %v", res.StatusCode, b, err)
	}
	leave()
	if !<-gone {
		t.Error("the stream has ended by itself")
	}
}
