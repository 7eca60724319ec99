package main

import (
	"bufio"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/internal/exampletest"
	"github.com/counterfoil/counterfoil/internal/rig"
)

func TestCounterLoginAndDevices(t *testing.T) {
	b := exampletest.NewBrowser(t, exampletest.Start(t, run))
	b.Get("/")
	if _, body := b.Get("/"); !strings.Contains(body, "2 times") {
		t.Errorf("the second visit: %s", body)
	}
	if status, _ := b.Post("/login", url.Values{"name": {"alice"}, "return": {"https://evil.test"}}); status != 400 {
		t.Errorf("a login that leads elsewhere: %d", status)
	}
	if _, body := b.Post("/login", url.Values{"name": {"alice "}, "return": {"/"}}); !strings.Contains(body, "You are alice.") || !strings.Contains(body, "3 times") {
		t.Errorf("after the login: %s", body)
	}
	if status, body := b.Get("/session/devices"); status != 200 || !strings.Contains(body, "This device") {
		t.Errorf("devices: %d %s", status, body)
	}
	if _, body := b.Post("/session/logout", url.Values{"return": {"/"}}); !strings.Contains(body, "1 time<") {
		t.Errorf("after the logout: %s", body)
	}
	if status, _ := b.Get("/session/devices"); status != 401 {
		t.Errorf("devices after the logout: %d", status)
	}
}

// TestSlowAndLargeRequests: a request that does not come to its end is given up, one that is too large is not read, and an event stream lasts longer than either may
// take.
func TestSlowAndLargeRequests(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	r.Fresh(t)
	stop := make(chan struct{})
	app, err := newApp(r.Manager, stop)
	if err != nil {
		t.Fatal(err)
	}
	server := newServer(app)
	if server.ReadTimeout == 0 || server.WriteTimeout == 0 {
		t.Fatalf("time to read %v, to write %v", server.ReadTimeout, server.WriteTimeout)
	}
	server.ReadTimeout = 200 * time.Millisecond
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	defer func() { close(stop); server.Close(); <-served }()
	at := "http://" + ln.Addr().String()
	laptop, phone := exampletest.NewBrowser(t, at), exampletest.NewBrowser(t, at)
	login := url.Values{"name": {"alice"}, "return": {"/"}}
	laptop.Post("/login", login)
	stream, err := laptop.Client.Get(at + httpadapter.EventsPath)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	for _, begun := range []string{
		"GET / HTTP/1.1\r\nHost: localhost\r\n",
		"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\nna",
	} {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.WriteString(conn, begun); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(conn); err != nil {
			t.Errorf("%q is waited for: %v", begun, err)
		}
		conn.Close()
	}
	if status, _ := phone.Post("/login", url.Values{"name": {strings.Repeat("a", 16<<10)}, "return": {"/"}}); status != 400 {
		t.Errorf("a name of 16 KiB: %d, want 400", status)
	}
	phone.Post("/login", login)
	lines := bufio.NewScanner(stream.Body)
	for lines.Scan() && lines.Text() != "event: began" {
	}
	if lines.Text() != "event: began" {
		t.Errorf("the event stream has ended by then: %v", lines.Err())
	}
}

func TestStops(t *testing.T) { exampletest.Stops(t, run) }
