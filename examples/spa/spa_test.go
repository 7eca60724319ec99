package main

import (
	"context"
	"io"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/exampletest"
)

// TestTabs has six tabs of one browser ask for as long as it takes some tokens to expire. None is ever logged out.
func TestTabs(t *testing.T) {
	at := exampletest.Start(t, func(ctx context.Context, addr string, out io.Writer) error { return run(ctx, addr, time.Second, out) })
	b := exampletest.NewBrowser(t, at)
	if status, _ := b.Get("/api/me"); status != 401 {
		t.Errorf("nobody: %d", status)
	}
	for name, want := range map[string]int{strings.Repeat("語", 64): 200, strings.Repeat("語", 65): 400} { // the form allows 64 characters
		if status, _ := b.Post("/login", url.Values{"name": {name}}); status != want {
			t.Errorf("a name of %d bytes: %d, want %d", len(name), status, want)
		}
	}
	if status, _ := b.Post("/login", url.Values{"name": {"alice"}}); status != 200 {
		t.Fatal(status)
	}
	refreshed := make(chan int)
	for range 6 {
		go func() {
			n := 0
			defer func() { refreshed <- n }()
			for n < 2 {
				switch status, _ := b.Get("/api/me"); status {
				case 200:
				case 401:
					if status, _ := b.Post("/session/refresh", nil); status != 204 && status != 409 {
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
	if status, _ := b.Post("/session/logout", nil); status != 204 {
		t.Errorf("logout: %d", status)
	}
	if status, _ := b.Get("/api/me"); status != 401 {
		t.Errorf("after it: %d", status)
	}
}

func TestStops(t *testing.T) {
	exampletest.Stops(t, func(ctx context.Context, addr string, out io.Writer) error {
		return run(ctx, addr, 30*time.Second, out)
	})
}
