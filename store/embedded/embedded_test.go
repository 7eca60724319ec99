package embedded_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/store/embedded"
	"github.com/counterfoil/counterfoil/token"
)

func TestStartErrors(t *testing.T) {
	first, err := embedded.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	for addr, want := range map[string]string{
		first.Addr():       "in use",
		"localhost":        "host:port",
		"0.0.0.0:0":        "loopback",
		":0":               "loopback",
		"[::]:0":           "loopback",
		"192.0.2.1:0":      "loopback",
		"example.com:6379": "loopback",
		"127.0.0.1:port":   "embedded: ",
	} {
		s, err := embedded.Start(addr)
		if err == nil {
			s.Close()
			t.Errorf("Start(%q) succeeded", addr)
			continue
		}
		if text := err.Error(); !strings.HasPrefix(text, "embedded: ") || !strings.Contains(text, want) {
			t.Errorf("Start(%q): %q, want %q in it", addr, text, want)
		}
	}
}

func TestClose(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s, err := embedded.Start("localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	s.Close()
}

// TestOpen takes the URL from a configuration: embedded, and another.
func TestOpen(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	ctx := context.Background()
	own, err := embedded.Open(ctx, "embedded:", store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	id := token.MustParseSessionID("abc" + strings.Repeat("A", 22))
	if _, err := own.Create(ctx, counterfoil.NewRecord{Session: id, Idle: time.Minute, Absolute: time.Hour}); err != nil {
		t.Fatal(err)
	}
	other, err := embedded.Open(ctx, own.Server().URL(), store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Load(ctx, counterfoil.Ref{Session: id}); err != nil || other.Server() != nil {
		t.Errorf("by the URL of the first: %v, server %v", err, other.Server())
	}
	other.Close()
	url := own.Server().URL()
	for range 2 {
		if err := own.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if _, err := embedded.Open(ctx, url, store.Config{}); err == nil {
		t.Error("the server outlives the store")
	}
	for _, bad := range []string{"", "embedded", "embedded://x", "http://x"} {
		if s, err := embedded.Open(ctx, bad, store.Config{}); err == nil {
			s.Close()
			t.Errorf("Open(%q) succeeded", bad)
		}
	}
}

// TestSetTime moves the clock: keys expire by it.
func TestSetTime(t *testing.T) {
	srv, err := embedded.Start("")
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	srv.SetTime(now)
	client := srv.Client()
	defer client.Close()
	ctx := context.Background()
	s, err := store.New(ctx, client, store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	id := token.MustParseSessionID("abc" + strings.Repeat("A", 22))
	if _, err := s.Create(ctx, counterfoil.NewRecord{Session: id, Idle: time.Minute, Absolute: time.Hour}); err != nil {
		t.Fatal(err)
	}
	srv.SetTime(now.Add(time.Minute - time.Millisecond))
	if r, err := s.Load(ctx, counterfoil.Ref{Session: id}); err != nil || r.Created != now.UnixMilli() {
		t.Errorf("before its end: created %d, %v", r.Created, err)
	}
	srv.SetTime(now.Add(time.Minute))
	if _, err := s.Load(ctx, counterfoil.Ref{Session: id}); err == nil {
		t.Error("after its idle time it is still there")
	}
}

// TestBubble runs server and store in a synctest bubble: time passes there without anybody waiting, and keys expire by it.
func TestBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := embedded.InMemory()
		defer srv.Close()
		if srv.Addr() != "" || srv.URL() != "" {
			t.Errorf("address %q, URL %q", srv.Addr(), srv.URL())
		}
		client := srv.Client()
		defer client.Close()
		ctx := context.Background()
		s, err := store.New(ctx, client, store.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		id := token.MustParseSessionID("abc" + strings.Repeat("A", 22))
		if _, err := s.Create(ctx, counterfoil.NewRecord{Session: id, Idle: time.Minute, Absolute: time.Hour}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(59 * time.Second)
		if _, err := s.Load(ctx, counterfoil.Ref{Session: id}); err != nil {
			t.Errorf("before its end: %v", err)
		}
		time.Sleep(time.Second)
		if _, err := s.Load(ctx, counterfoil.Ref{Session: id}); err == nil {
			t.Error("after its idle time it is still there")
		}
	})
}
