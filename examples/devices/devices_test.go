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

func TestEndTheOtherDevice(t *testing.T) {
	at := started(t)
	laptop, phone := device(t), device(t)
	for _, c := range []*http.Client{laptop, phone} {
		if _, body := ask(t, c, "POST", at+"/login", url.Values{"name": {"alice"}, "remember": {"on"}}); !strings.Contains(body, "Signed in as <strong>alice") {
			t.Fatal(body)
		}
	}
	_, body := ask(t, laptop, "GET", at, nil)
	_, rest, found := strings.Cut(body, `name="handle" value="`)
	if !found {
		t.Fatalf("the other device is not listed: %s", body)
	}
	handle, _, _ := strings.Cut(rest, `"`)
	if _, body := ask(t, laptop, "POST", at+"/session/end", url.Values{"handle": {handle}, "return": {"/session/devices"}}); !strings.Contains(body, "nowhere else") {
		t.Errorf("after ending it: %s", body)
	}
	if status, _ := ask(t, phone, "GET", at+"/session/devices", nil); status != 401 {
		t.Errorf("the phone: %d, want 401", status)
	}
}
