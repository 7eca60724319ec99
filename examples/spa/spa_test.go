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
)

// started runs the program until the test ends and returns its address.
func started(t *testing.T) string {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	said, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, "127.0.0.1:0", time.Second, out)
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

// TestTabs has six tabs of one browser ask for as long as it takes some tokens to expire. None is ever logged out.
func TestTabs(t *testing.T) {
	at := started(t)
	c := device(t)
	if status, _ := ask(t, c, "GET", at+"/api/me", nil); status != 401 {
		t.Errorf("nobody: %d", status)
	}
	if status, _ := ask(t, c, "POST", at+"/login", url.Values{"name": {"alice"}}); status != 200 {
		t.Fatal(status)
	}
	refreshed := make(chan int)
	for range 6 {
		go func() {
			n := 0
			defer func() { refreshed <- n }()
			for n < 2 {
				switch status, _ := ask(t, c, "GET", at+"/api/me", nil); status {
				case 200:
				case 401:
					if status, _ := ask(t, c, "POST", at+"/session/refresh", url.Values{}); status != 204 && status != 409 {
						t.Errorf("refresh: %d", status)
						return
					}
					n++
				default:
					t.Errorf("ask: %d", status)
					return
				}
			}
		}()
	}
	for range 6 {
		<-refreshed
	}
	if status, _ := ask(t, c, "POST", at+"/session/logout", url.Values{}); status != 204 {
		t.Errorf("logout: %d", status)
	}
	if status, _ := ask(t, c, "GET", at+"/api/me", nil); status != 401 {
		t.Errorf("after it: %d", status)
	}
}
