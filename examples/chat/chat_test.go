package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
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
	laptop.Post("/login", url.Values{"name": {"alice"}})
	phone.Post("/login", url.Values{"name": {"alice "}}) // as the keyboards of phones complete it
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
	for _, text := range []string{"hello", strings.Repeat("語", 500)} { // as long as the page allows
		if err := onPhone.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, b, err := onLaptop.Read(ctx); string(b) != "alice: "+text {
			t.Errorf("on the laptop: %q, %v", b, err)
		}
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

// upgrade opens the chat and leaves the frames to the test.
func upgrade(t *testing.T, at string, b *exampletest.Browser) io.ReadWriteCloser {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", at+"/talk", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="}}
	client := *b.Client
	client.Timeout = 0 // it would hide that the body can be written to; ctx ends it
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	conn, ok := res.Body.(io.ReadWriteCloser)
	if !ok {
		t.Fatalf("%d, want 101", res.StatusCode)
	}
	return conn
}

// TestTextThatIsNotUTF8: whoever sends one loses the connection with 1007, as RFC 6455 has it in 8.1, and nobody else hears of it. A character may be split
// among the frames of a message.
func TestTextThatIsNotUTF8(t *testing.T) {
	at := exampletest.Start(t, run)
	alice, mallory := exampletest.NewBrowser(t, at), exampletest.NewBrowser(t, at)
	alice.Post("/login", url.Values{"name": {"alice"}})
	mallory.Post("/login", url.Values{"name": {"mallory"}})
	listens, status := dial(t, at, alice, nil)
	if status != 101 {
		t.Fatal(status)
	}
	defer listens.CloseNow()
	// Masked with zeros, so that the payload stands here as it is. 0x01 begins a text, 0x00 and 0x80 go on with it, 0x80 ends it.
	for _, tt := range []struct {
		name, frames string
		answers      bool // the close frame
	}{
		{"FF FE", "\x81\x82\x00\x00\x00\x00\xff\xfe", true},
		{"a surrogate", "\x81\x83\x00\x00\x00\x00\xed\xa0\x80", true},
		{"half a character", "\x81\x81\x00\x00\x00\x00\xc3", true},
		{"half of one in two frames", "\x01\x81\x00\x00\x00\x00\xe2\x80\x81\x00\x00\x00\x00\x82", true},
		{"and then one that is right", "\x81\x81\x00\x00\x00\x00\xff\x81\x82\x00\x00\x00\x00hi", false},
	} {
		conn := upgrade(t, at, mallory)
		if _, err := io.WriteString(conn, tt.frames); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 4)
		if _, err := io.ReadFull(conn, got); err != nil || got[0] != 0x88 || got[2] != 1007>>8 || got[3] != 1007&0xff {
			t.Errorf("%s: the answer is % x, %v, want a close frame with 1007", tt.name, got, err)
		}
		begin := time.Now()
		if tt.answers {
			_, _ = io.WriteString(conn, "\x88\x82\x00\x00\x00\x00\x03\xef")
		}
		if _, err := io.Copy(io.Discard, conn); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: the connection ends with %v", tt.name, err)
		}
		if took := time.Since(begin); took > 3*time.Second {
			t.Errorf("%s: the connection was closed after %v", tt.name, took)
		}
		conn.Close()
	}
	conn := upgrade(t, at, mallory)
	defer conn.Close()
	if _, err := io.WriteString(conn, "\x01\x81\x00\x00\x00\x00\xc3\x80\x81\x00\x00\x00\x00\xa9"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, got, err := listens.Read(ctx); string(got) != "mallory: é" {
		t.Errorf("the first that the others hear is %q, %v", got, err)
	}
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

func TestStops(t *testing.T) { exampletest.Stops(t, run) }
