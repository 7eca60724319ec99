package main

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/counterfoil/counterfoil/internal/exampletest"
	"github.com/counterfoil/counterfoil/internal/rig"
)

// dial opens the chat with the cookies of a device.
func dial(t *testing.T, at string, b *exampletest.Browser, header http.Header) (*websocket.Conn, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	conn, res, err := websocket.Dial(ctx, at+"/talk", &websocket.DialOptions{HTTPClient: b.Client, HTTPHeader: header})
	if res == nil {
		t.Fatal(err)
	}
	return conn, res.StatusCode
}

func TestLogoutClosesTheSocket(t *testing.T) {
	at := exampletest.Start(t, run)
	laptop, phone := exampletest.NewBrowser(t, at), exampletest.NewBrowser(t, at)
	if _, status := dial(t, at, laptop, nil); status != 401 {
		t.Errorf("nobody is let in: %d", status)
	}
	for _, b := range []*exampletest.Browser{laptop, phone} {
		b.Post("/login", url.Values{"name": {"alice"}})
	}
	if _, status := dial(t, at, laptop, http.Header{"Origin": {"https://evil.test"}}); status != 403 {
		t.Errorf("a page of another site: %d, want 403", status)
	}
	onLaptop, status := dial(t, at, laptop, nil)
	if status != 101 {
		t.Fatal(status)
	}
	onPhone, _ := dial(t, at, phone, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := onPhone.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, b, err := onLaptop.Read(ctx); string(b) != "alice: hello" {
		t.Errorf("on the laptop: %q, %v", b, err)
	}
	if status, _ := laptop.Post("/session/end-others", nil); status != 204 {
		t.Errorf("end the others: %d", status)
	}
	for {
		_, _, err := onPhone.Read(ctx)
		if err == nil {
			continue
		}
		if websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
			t.Errorf("the phone's chat ends with %v", err)
		}
		break
	}
	if err := onLaptop.Write(ctx, websocket.MessageText, []byte("still here")); err != nil {
		t.Error(err)
	}
	onLaptop.CloseNow()
}

// inMemory is a network whose connections hold nothing: what one end has not read keeps the other one's write waiting.
type inMemory struct {
	conns chan net.Conn
	done  chan struct{}
}

func (n inMemory) Accept() (net.Conn, error) {
	select {
	case c := <-n.conns:
		return c, nil
	case <-n.done:
		return nil, net.ErrClosed
	}
}
func (n inMemory) Close() error   { close(n.done); return nil }
func (n inMemory) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (n inMemory) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	n.conns <- server
	return client, nil
}

// TestSilentClientIsCutOff: a client that stops reading makes the server wait with a message for it. Its session ends all the same: nobody hears what it
// says from then on, and its connection is closed.
func TestSilentClientIsCutOff(t *testing.T) {
	m := rig.New(t, rig.Embedded)
	m.Fresh(t)
	app, err := newApp(m.Manager, t.Context().Done())
	if err != nil {
		t.Fatal(err)
	}
	ln := inMemory{make(chan net.Conn, 8), make(chan struct{})}
	server := &http.Server{Handler: app}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	defer func() { server.Close(); <-served }()
	at := "http://localhost"
	newBrowser := func() *exampletest.Browser {
		b := exampletest.NewBrowser(t, at)
		b.Transport = &http.Transport{DialContext: ln.dial, DisableKeepAlives: true}
		b.Post("/login", url.Values{"name": {"alice"}})
		return b
	}
	laptop := newBrowser()
	onLaptop, status := dial(t, at, laptop, nil)
	if status != 101 {
		t.Fatal(status)
	}
	defer onLaptop.CloseNow()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	heard := make(chan string)
	go func() {
		defer close(heard)
		for {
			_, b, err := onLaptop.Read(ctx)
			if err != nil {
				return
			}
			heard <- string(b)
		}
	}()
	onPhone, status := dial(t, at, newBrowser(), nil)
	if status != 101 {
		t.Fatal(status)
	}
	defer onPhone.CloseNow()
	say := func(c *websocket.Conn, text string) error { return c.Write(ctx, websocket.MessageText, []byte(text)) }
	if err := say(onPhone, "hello"); err != nil {
		t.Fatal(err)
	}
	if got := <-heard; got != "alice: hello" { // the phone's own copy waits for it from now on
		t.Errorf("on the laptop: %q", got)
	}
	begin := time.Now()
	if status, _ := laptop.Post("/session/end-others", nil); status != 204 {
		t.Errorf("end the others: %d", status)
	}
	for say(onPhone, "still here") == nil {
	}
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("the phone's connection was closed after %v", took)
	}
	if err := say(onLaptop, "goodbye"); err != nil {
		t.Error(err)
	}
	for got := range heard {
		if got == "alice: goodbye" {
			break
		}
		t.Errorf("after the end the laptop hears %q", got)
	}
}
