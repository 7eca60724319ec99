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

func TestCounterLoginAndDevices(t *testing.T) {
	at := started(t)
	c := device(t)
	ask(t, c, "GET", at, nil)
	if _, body := ask(t, c, "GET", at, nil); !strings.Contains(body, "2 times") {
		t.Errorf("the second visit: %s", body)
	}
	if status, _ := ask(t, c, "POST", at+"/login", url.Values{"name": {"alice"}, "return": {"https://evil.test"}}); status != 400 {
		t.Errorf("a login that leads elsewhere: %d", status)
	}
	if _, body := ask(t, c, "POST", at+"/login", url.Values{"name": {"alice"}, "return": {"/"}}); !strings.Contains(body, "You are alice") || !strings.Contains(body, "3 times") {
		t.Errorf("after the login: %s", body)
	}
	if status, body := ask(t, c, "GET", at+"/session/devices", nil); status != 200 || !strings.Contains(body, "this device") {
		t.Errorf("devices: %d %s", status, body)
	}
	if _, body := ask(t, c, "POST", at+"/session/logout", url.Values{"return": {"/"}}); !strings.Contains(body, "1 times") {
		t.Errorf("after the logout: %s", body)
	}
	if status, _ := ask(t, c, "GET", at+"/session/devices", nil); status != 401 {
		t.Errorf("devices after the logout: %d", status)
	}
}
