package main

import (
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

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
	exampletest.SlowAndLarge(t, "http://"+ln.Addr().String(), 400)
}

func TestStops(t *testing.T) { exampletest.Stops(t, run) }
