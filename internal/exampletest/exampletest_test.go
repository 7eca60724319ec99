package exampletest_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"

	"github.com/counterfoil/counterfoil/internal/exampletest"
)

// program counts the requests of each cookie jar, in the cookie, and stops when it is told to.
func program(ctx context.Context, addr string, out io.Writer) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "open http://%s\n", ln.Addr())
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := 0
		if c, err := r.Cookie("n"); err == nil {
			fmt.Sscan(c.Value, &n)
		}
		http.SetCookie(w, &http.Cookie{Name: "n", Value: fmt.Sprint(n + 1)})
		if r.FormValue("name") == "nobody" {
			w.WriteHeader(http.StatusForbidden)
		}
		fmt.Fprintf(w, "%s %d %s", r.Method, n, r.PostFormValue("name"))
	})}
	go func() {
		<-ctx.Done()
		srv.Close()
	}()
	if err := srv.Serve(ln); err != http.ErrServerClosed {
		return err
	}
	return nil
}

func TestBrowser(t *testing.T) {
	at := exampletest.Start(t, program)
	one, other := exampletest.NewBrowser(t, at), exampletest.NewBrowser(t, at)
	for _, tt := range []struct {
		ask    func() (int, string)
		status int
		body   string
	}{
		{func() (int, string) { return one.Get("/") }, 200, "GET 0 "},
		{func() (int, string) { return one.Post("/", url.Values{"name": {"alice"}}) }, 200, "POST 1 alice"},
		{func() (int, string) { return other.Post("/", nil) }, 200, "POST 0 "},
		{func() (int, string) { return one.Post("/", url.Values{"name": {"nobody"}}) }, 403, "POST 2 nobody"},
	} {
		if status, body := tt.ask(); status != tt.status || body != tt.body {
			t.Errorf("%d %q, want %d %q", status, body, tt.status, tt.body)
		}
	}
}
