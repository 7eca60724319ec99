package main

import (
	"html"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/internal/exampletest"
	"github.com/counterfoil/counterfoil/internal/rig"
)

func TestEndTheOtherDevice(t *testing.T) {
	at := exampletest.Start(t, run)
	laptop, phone := exampletest.NewBrowser(t, at), exampletest.NewBrowser(t, at)
	name := strings.Repeat("語", 64) // as many characters as the form allows
	for _, b := range []*exampletest.Browser{laptop, phone} {
		if _, body := b.Post("/login", url.Values{"name": {name}, "remember": {"on"}}); !strings.Contains(body, "Signed in as <strong><bdi>"+name) {
			t.Fatal(body)
		}
	}
	_, body := laptop.Get("/session/devices")
	_, rest, found := strings.Cut(body, `name="handle" value="`)
	if !found {
		t.Fatalf("the other device is not listed: %s", body)
	}
	handle, _, _ := strings.Cut(rest, `"`)
	if _, body := laptop.Post("/session/end", url.Values{"handle": {handle}, "return": {"/session/devices"}}); !strings.Contains(body, "nowhere else") {
		t.Errorf("after ending it: %s", body)
	}
	if status, _ := phone.Get("/session/devices"); status != 401 {
		t.Errorf("the phone: %d, want 401", status)
	}
}

// TestLoginLeadsBack: whoever was sent to the login gets to where they wanted to, also if they mistype their name first, and nobody to another host.
func TestLoginLeadsBack(t *testing.T) {
	at := exampletest.Start(t, run)
	for _, tt := range []struct{ want, gets string }{
		{"/?of=a&b", "/?of=a&b"},
		{"", httpadapter.PagePath},
		{"https://evil.test/", httpadapter.PagePath},
		{"//evil.test/", httpadapter.PagePath},
		{`/\evil.test/`, httpadapter.PagePath},
	} {
		b := exampletest.NewBrowser(t, at)
		if status, form := b.Get("/login?return=" + url.QueryEscape(tt.want)); status != 200 || !strings.Contains(form, `name="return" value="`+html.EscapeString(tt.gets)+`"`) {
			t.Errorf("%q: %d %s", tt.want, status, form)
		}
		if _, form := b.Post("/login", url.Values{"return": {tt.want}}); !strings.Contains(form, `name="return" value="`+html.EscapeString(tt.gets)+`"`) {
			t.Errorf("%q, without a name: %s", tt.want, form)
		}
		b.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		res, err := b.PostForm(at+"/login", url.Values{"name": {"alice"}, "return": {tt.want}})
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if got := res.Header.Get("Location"); res.StatusCode != 303 || got != tt.gets {
			t.Errorf("%q: %d to %q, want %q", tt.want, res.StatusCode, got, tt.gets)
		}
	}
	b := exampletest.NewBrowser(t, at)
	if _, form := b.Get("/session/renew?return=/x"); !strings.Contains(form, `name="return" value="/x"`) {
		t.Errorf("an endpoint sends them there with something else: %s", form)
	}
}

func TestSlowAndLargeRequests(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	r.Fresh(t)
	stop := make(chan struct{})
	app := newApp(r.Manager, stop)
	if s := app.Server(); s.ReadTimeout == 0 || s.WriteTimeout == 0 {
		t.Fatalf("time to read %v, to write %v", s.ReadTimeout, s.WriteTimeout)
	}
	app.Server().ReadTimeout = 200 * time.Millisecond
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- app.Listener(ln) }()
	defer func() { close(stop); _ = app.ShutdownWithTimeout(3 * time.Second); <-served }()
	exampletest.SlowAndLarge(t, "http://"+ln.Addr().String(), 413)
}

func TestStops(t *testing.T) { exampletest.Stops(t, run) }
