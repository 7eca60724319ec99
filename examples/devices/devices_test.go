package main

import (
	"net/url"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/exampletest"
)

func TestEndTheOtherDevice(t *testing.T) {
	at := exampletest.Start(t, run)
	laptop, phone := exampletest.NewBrowser(t, at), exampletest.NewBrowser(t, at)
	for _, b := range []*exampletest.Browser{laptop, phone} {
		if _, body := b.Post("/login", url.Values{"name": {"alice"}, "remember": {"on"}}); !strings.Contains(body, "Signed in as <strong>alice") {
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
