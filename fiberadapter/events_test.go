package fiberadapter_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/fiberadapter"
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/internal/rig"
)

// TestEventsStream shows that the endpoint which streams does so on Fiber: the first event arrives while the answer is still open.
func TestEventsStream(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	r.Fresh(t)
	stop := make(chan struct{})
	a := fiber.New(fiber.Config{DisableStartupMessage: true})
	a.Use(fiberadapter.Endpoints(r.Manager, httpadapter.EndpointsConfig{Stop: stop}))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- a.Listener(ln) }()

	s, err := r.Login(t.Context(), nil, "alice", counterfoil.LoginOptions{Device: "Laptop"})
	if err != nil {
		t.Fatal(err)
	}
	tokens, _ := s.Issued()
	req, _ := http.NewRequestWithContext(t.Context(), "GET", "http://"+ln.Addr().String()+httpadapter.EventsPath, nil)
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
	close(stop)
	if err := a.Shutdown(); err != nil {
		t.Error(err)
	}
	<-served
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
