package frameworks_test

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/examples/frameworks"
	"github.com/counterfoil/counterfoil/internal/rig"
)

// TestSocket upgrades when the token is due for renewal: the answer carries the new cookies, the socket says everything back, and it is closed when the session
// ends.
func TestSocket(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	r.Fresh(t)
	app := frameworks.Socket(r.Manager)
	if app.Server().ReadTimeout == 0 {
		t.Error("a request that never comes to its end is waited for")
	}
	app.Server().ReadTimeout = 200 * time.Millisecond
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- app.Listener(ln) }()
	defer func() { _ = app.Shutdown(); <-served }()
	dial := func(header http.Header) (*websocket.Conn, *http.Response) {
		t.Helper()
		conn, res, err := websocket.DefaultDialer.DialContext(t.Context(), "ws://"+ln.Addr().String()+"/talk", header)
		if res == nil {
			t.Fatal(err)
		}
		return conn, res
	}
	s, err := r.Login(t.Context(), nil, "alice", counterfoil.LoginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tokens, _ := s.Issued()
	cookies := "__Host-Http-session=" + tokens.Access.Reveal() + "; __Host-Http-refresh=" + tokens.Refresh.Reveal()
	for name, tt := range map[string]struct {
		header http.Header
		want   int
	}{
		"nobody":                 {nil, 401},
		"a page of another site": {http.Header{"Cookie": {cookies}, "Origin": {"https://evil.test"}}, 403},
	} {
		if _, res := dial(tt.header); res.StatusCode != tt.want {
			t.Errorf("%s: %d, want %d", name, res.StatusCode, tt.want)
		}
	}
	r.Advance(3 * time.Minute)
	conn, res := dial(http.Header{"Cookie": {cookies}})
	if res.StatusCode != 101 || len(res.Cookies()) != 2 || res.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	// A request that is not sent to its end is given up; what has been upgraded before stays.
	slow, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	_ = slow.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err = io.WriteString(slow, "GET / HTTP/1.1\r\nHost: localhost\r\n"); err == nil {
		_, err = io.ReadAll(slow)
	}
	if err != nil {
		t.Errorf("half a header: %v", err)
	}
	for _, text := range []string{"hello", "are you there?"} {
		if err := conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := conn.ReadMessage(); string(got) != text {
			t.Errorf("%q comes back as %q, %v", text, got, err)
		}
	}
	for _, tt := range []struct {
		name string
		kind int
		sent []byte
		code int // 0 = whatever: what is unread when the server closes may cost the answer
	}{
		{"a text that is not UTF-8", websocket.TextMessage, []byte("\xff\xfe"), websocket.CloseInvalidFramePayloadData},
		{"a message without end", websocket.BinaryMessage, make([]byte, 2<<10), 0},
	} {
		conn, res := dial(http.Header{"Cookie": {cookies}})
		if conn == nil {
			t.Fatalf("%s: %d", tt.name, res.StatusCode)
		}
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		if err := conn.WriteMessage(tt.kind, tt.sent); err != nil {
			t.Fatal(err)
		}
		if _, got, err := conn.ReadMessage(); err == nil || tt.code != 0 && !websocket.IsCloseError(err, tt.code) {
			t.Errorf("%s: the answer is %.20q, %v, want %d", tt.name, got, err, tt.code)
		}
		conn.Close()
	}
	if err := r.Second(t).End(t.Context(), s.ID()); err != nil { // as another process does
		t.Fatal(err)
	}
	if _, got, err := conn.ReadMessage(); !websocket.IsCloseError(err, websocket.ClosePolicyViolation) {
		t.Errorf("after the end comes %q, %v", got, err)
	}
	if _, res := dial(http.Header{"Cookie": {cookies}}); res.StatusCode != 401 {
		t.Errorf("again: %d", res.StatusCode)
	}
}
