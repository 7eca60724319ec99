package main

import (
	"context"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/counterfoil/counterfoil/internal/exampletest"
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
