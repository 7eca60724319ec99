package main

import (
	"net/url"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/exampletest"
)

func TestCounterLoginAndDevices(t *testing.T) {
	b := exampletest.NewBrowser(t, exampletest.Start(t, run))
	b.Get("/")
	if _, body := b.Get("/"); !strings.Contains(body, "2 times") {
		t.Errorf("the second visit: %s", body)
	}
	if status, _ := b.Post("/login", url.Values{"name": {"alice"}, "return": {"https://evil.test"}}); status != 400 {
		t.Errorf("a login that leads elsewhere: %d", status)
	}
	if _, body := b.Post("/login", url.Values{"name": {"alice"}, "return": {"/"}}); !strings.Contains(body, "You are alice") || !strings.Contains(body, "3 times") {
		t.Errorf("after the login: %s", body)
	}
	if status, body := b.Get("/session/devices"); status != 200 || !strings.Contains(body, "This device") {
		t.Errorf("devices: %d %s", status, body)
	}
	if _, body := b.Post("/session/logout", url.Values{"return": {"/"}}); !strings.Contains(body, "1 times") {
		t.Errorf("after the logout: %s", body)
	}
	if status, _ := b.Get("/session/devices"); status != 401 {
		t.Errorf("devices after the logout: %d", status)
	}
}
