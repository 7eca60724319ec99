package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// newBrowser has an empty cookie jar. Go's jar sends Secure cookies to 127.0.0.1 without TLS, as browsers do: what stays on the machine
// cannot be overheard on the way.
func newBrowser() (*http.Client, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	return &http.Client{Jar: jar, Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: many}}, nil
}

// answer is what a server answered.
type answer struct {
	status  int
	body    string
	cookies []*http.Cookie // that it set
	arrived time.Time      // when its header had been read
}

func (a answer) String() string { return strings.TrimSpace(strconv.Itoa(a.status) + " " + a.body) }

type result struct {
	answer answer
	err    error
}

// do sends a request: with these cookies, or with the browser's own if there are none.
func (d *driver) do(ctx context.Context, method, addr, path string, form url.Values, cookies []*http.Cookie) (answer, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+addr+path, strings.NewReader(form.Encode()))
	if err != nil {
		return answer{}, err
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	client := *d.browser
	if cookies != nil {
		client.Jar = nil
	}
	for _, c := range cookies {
		r.AddCookie(c)
	}
	res, err := client.Do(r)
	if err != nil {
		return answer{}, err
	}
	arrived := time.Now()
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return answer{}, err
	}
	return answer{res.StatusCode, strings.TrimSpace(string(body)), res.Cookies(), arrived}, nil
}

func (d *driver) post(ctx context.Context, path string, form url.Values) (answer, error) {
	return d.do(ctx, "POST", d.app.addr, path, form, nil)
}

// cookies returns those that the browser would send to the application.
func (d *driver) cookies() []*http.Cookie {
	return d.browser.Jar.Cookies(&url.URL{Scheme: "http", Host: d.app.addr, Path: "/"})
}

// page opens the application's page and returns what it says, and the number in it.
func (d *driver) page(ctx context.Context) (string, int64, error) {
	a, err := d.do(ctx, "GET", d.app.addr, "/", nil, nil)
	if err != nil {
		return "", 0, err
	}
	var n int64
	if _, err := fmt.Sscanf(a.body, "You have visited this page %d time", &n); err != nil || a.body != sentence(n) {
		return "", 0, unexpected("You have visited this page N times.", "%v", a)
	}
	return a.body, n, nil
}

// sentence is what the page has to say at the nth visit.
func sentence(n int64) string { return "You have visited this page " + times(n) + "." }

// unexpected is the error of a step that does not hold.
func unexpected(expected, seen string, args ...any) error {
	return fmt.Errorf("\n        expected: %s\n        seen:     %s", expected, fmt.Sprintf(seen, args...))
}

// orElse returns err, or otherwise if there is none.
func orElse(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// millis writes a duration in milliseconds, with one decimal below 10.
func millis(d time.Duration) string {
	ms := d.Seconds() * 1000
	if ms < 9.95 {
		return strconv.FormatFloat(ms, 'f', 1, 64)
	}
	return strconv.FormatFloat(ms, 'f', 0, 64)
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
