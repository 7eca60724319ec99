package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// started runs the program until the test ends and returns its address.
func started(t *testing.T) string {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	said, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, "127.0.0.1:0", out)
		out.CloseWithError(err)
		ended <- err
	}()
	line, err := bufio.NewReader(said).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return strings.TrimSpace(line[strings.Index(line, "http://"):])
}

// device is a browser with cookies of its own.
func device(t *testing.T) *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Jar: jar, Transport: &http.Transport{}}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func ask(t *testing.T, c *http.Client, method, url string, form url.Values) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// dial opens the chat with the cookies of a device.
func dial(t *testing.T, at string, c *http.Client, header http.Header) (*websocket.Conn, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	conn, res, err := websocket.Dial(ctx, at+"/talk", &websocket.DialOptions{HTTPClient: c, HTTPHeader: header})
	if res == nil {
		t.Fatal(err)
	}
	return conn, res.StatusCode
}

func TestLogoutClosesTheSocket(t *testing.T) {
	at := started(t)
	laptop, phone := device(t), device(t)
	if _, status := dial(t, at, laptop, nil); status != 401 {
		t.Errorf("nobody is let in: %d", status)
	}
	for _, c := range []*http.Client{laptop, phone} {
		ask(t, c, "POST", at+"/login", url.Values{"name": {"alice"}})
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
	if status, _ := ask(t, laptop, "POST", at+"/session/end-others", url.Values{}); status != 204 {
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
