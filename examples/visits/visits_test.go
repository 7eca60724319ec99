package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/exampletest"
	"github.com/counterfoil/counterfoil/internal/rig"
)

// serve runs the application on a port of its own and returns its address.
func serve(t *testing.T) (string, *rig.Rig) {
	r := rig.New(t, rig.Embedded)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	app := newApp(r.Manager, t.Context().Done())
	ended := make(chan error, 1)
	go func() { ended <- app.Listener(ln) }()
	t.Cleanup(func() {
		_ = app.ShutdownWithTimeout(100 * time.Millisecond) // connections may be open still
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return "http://" + ln.Addr().String(), r
}

// browser is one visitor with a cookie jar.
type browser struct {
	t    *testing.T
	base string
	http.Client
}

func newBrowser(t *testing.T, base string) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &browser{t, base, http.Client{Jar: jar, Transport: transport, Timeout: 10 * time.Second}}
}

func (b *browser) do(method, path string, form url.Values, headers ...string) (*http.Response, string) {
	b.t.Helper()
	r, err := http.NewRequest(method, b.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := b.Do(r)
	if err != nil {
		b.t.Error(err)
		return &http.Response{Header: http.Header{}}, ""
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Error(err)
	}
	return res, string(body)
}

var sentence = regexp.MustCompile(`You have visited this page (\d+ times?)\.`)

// count returns what a page says: "3 times".
func count(page string) string {
	if m := sentence.FindStringSubmatch(page); m != nil {
		return m[1]
	}
	return "no count in: " + page
}

func (b *browser) visit() (times, page string) {
	_, page = b.do("GET", "/", nil)
	return count(page), page
}

func (b *browser) login(name string) string {
	_, page := b.do("POST", "/login", url.Values{"name": {name}})
	return page
}

func TestVisits(t *testing.T) {
	t.Parallel()
	base, _ := serve(t)
	b := newBrowser(t, base)
	for _, want := range []string{"1 time", "2 times", "3 times"} {
		if got, _ := b.visit(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if got, _ := newBrowser(t, base).visit(); got != "1 time" {
		t.Errorf("somebody else: %s", got)
	}
	if page := b.login("<ada> & bob"); count(page) != "4 times" || !strings.Contains(page, "<b>&lt;ada&gt; &amp; bob</b>") {
		t.Errorf("the count did not come along, or the name is not there: %s", page)
	}
	if _, page := b.do("POST", "/logout", nil); count(page) != "1 time" || !strings.Contains(page, "Not logged in") {
		t.Errorf("after the logout: %s", page)
	}
}

func TestVisitsAtOnce(t *testing.T) {
	t.Parallel()
	base, _ := serve(t)
	b := newBrowser(t, base)
	b.visit()
	var visitors sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]bool{}
	for range 20 {
		visitors.Go(func() {
			times, _ := b.visit()
			mu.Lock()
			defer mu.Unlock()
			seen[times] = true
		})
	}
	visitors.Wait()
	if len(seen) != 20 || !seen["21 times"] {
		t.Errorf("20 visits after the first were told %v", seen)
	}
}

func TestLogOutEverywhere(t *testing.T) {
	t.Parallel()
	base, _ := serve(t)
	phone, laptop, other := newBrowser(t, base), newBrowser(t, base), newBrowser(t, base)
	for _, b := range []*browser{phone, laptop} {
		if page := b.login("ada"); !strings.Contains(page, "Log out everywhere") {
			t.Fatalf("not logged in: %s", page)
		}
	}
	other.login("bob")
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	old := laptop.Jar.Cookies(u)

	phone.do("POST", "/logout-everywhere", nil)
	for _, b := range []*browser{phone, laptop} {
		if _, page := b.visit(); !strings.Contains(page, "Not logged in") {
			t.Errorf("still logged in: %s", page)
		}
	}
	if _, page := other.visit(); !strings.Contains(page, "bob") {
		t.Errorf("bob is logged out as well: %s", page)
	}
	back := newBrowser(t, base)
	back.Jar.SetCookies(u, old)
	if _, page := back.visit(); !strings.Contains(page, "Not logged in") {
		t.Errorf("the old cookies are good again: %s", page)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	base, _ := serve(t)
	for _, name := range []string{"", "   ", "\xff", strings.Repeat("a", 65)} {
		if page := newBrowser(t, base).login(name); !strings.Contains(page, "Not logged in") {
			t.Errorf("logged in as %q: %s", name, page)
		}
	}
	if page := newBrowser(t, base).login(strings.Repeat("語", 64)); strings.Contains(page, "Not logged in") { // the form counts characters
		t.Errorf("not logged in under a name of 64 characters: %s", page)
	}
}

// Pages of other sites can neither log anybody in nor out.
func TestCrossSite(t *testing.T) {
	t.Parallel()
	base, _ := serve(t)
	b := newBrowser(t, base)
	b.login("ada")
	for _, path := range []string{"/login", "/logout", "/logout-everywhere"} {
		for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}} {
			if res, _ := b.do("POST", path, url.Values{"name": {"eve"}}, header...); res.StatusCode != http.StatusForbidden {
				t.Errorf("POST %s with %v: %d", path, header, res.StatusCode)
			}
		}
		if res, _ := b.do("GET", path, nil); res.StatusCode == http.StatusOK {
			t.Errorf("GET %s: %d", path, res.StatusCode)
		}
	}
	if _, page := b.visit(); !strings.Contains(page, "<b>ada</b>") {
		t.Errorf("not logged in any more: %s", page)
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	base, r := serve(t)
	b := newBrowser(t, base)
	for path, kind := range map[string]string{"/": "text/html; charset=utf-8", "/style.css": "text/css; charset=utf-8", "/icon.svg": "image/svg+xml"} {
		res, body := b.do("GET", path, nil)
		if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != kind || body == "" {
			t.Errorf("GET %s: %d %s", path, res.StatusCode, res.Header.Get("Content-Type"))
		}
		if csp := res.Header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("GET %s: policy %q", path, csp)
		}
		if res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("GET %s: may be stored", path)
		}
	}
	if _, page := b.visit(); strings.Contains(page, "<script") || strings.Contains(page, "style=") {
		t.Error("the page has what its policy forbids")
	}
	r.StopServer()
	if res, page := b.do("GET", "/", nil); res.StatusCode != http.StatusServiceUnavailable || strings.Contains(page, "visited") {
		t.Errorf("without Redis: %d %s", res.StatusCode, page)
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		name string
		args []string
		url  string
		code int
	}{
		{"port taken", []string{"-addr", taken.Addr().String()}, "", 1},
		{"no port", []string{"-addr", "localhost"}, "", 2},
		{"an argument", []string{"3000"}, "", 2},
		{"no URL", []string{"-addr", "127.0.0.1:0"}, "hunter2", 2},
		{"other scheme", []string{"-addr", "127.0.0.1:0"}, "http://:hunter2@127.0.0.1", 2},
		{"bad escape", []string{"-addr", "127.0.0.1:0"}, "redis://:hunter2%zz@127.0.0.1", 2},
		{"nobody there", []string{"-addr", "127.0.0.1:0"}, "redis://:hunter2@127.0.0.1:1", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			code := run(t.Context(), c.args, c.url, &out, &errs)
			if said := errs.String(); code != c.code || strings.Count(said, "\n") != 1 || strings.Contains(said, "hunter2") || out.Len() > 0 {
				t.Errorf("exit code %d, want %d; said:\n%s%s", code, c.code, said, out.String())
			}
		})
	}
	if code := run(t.Context(), []string{"-port", "80"}, "", io.Discard, io.Discard); code != 2 {
		t.Errorf("unknown flag: exit code %d", code)
	}
	if code := run(t.Context(), []string{"-h"}, "", io.Discard, io.Discard); code != 0 {
		t.Errorf("-h: exit code %d", code)
	}
}

// The program as it is started: it prints the address to open and ends when it is interrupted.
func TestRun(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	out, in := io.Pipe()
	var errs bytes.Buffer
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"-addr", "127.0.0.1:0"}, "", in, &errs)
		in.Close()
	}()
	said := make([]byte, 200)
	n, err := out.Read(said)
	if err != nil {
		t.Fatalf("%v: %s", err, errs.String())
	}
	go io.Copy(io.Discard, out)
	address := regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(string(said[:n]))
	if got, _ := newBrowser(t, address).visit(); got != "1 time" {
		t.Errorf("%s at %s", got, address)
	}
	interrupt()
	if got := <-code; got != 0 {
		t.Errorf("exit code %d: %s", got, errs.String())
	}
}

func TestStops(t *testing.T) {
	exampletest.Stops(t, func(ctx context.Context, addr string, out io.Writer) error {
		var errs bytes.Buffer
		if code := run(ctx, []string{"-addr", addr}, "", out, &errs); code != 0 {
			return errors.New(errs.String())
		}
		return nil
	})
}
