package fiberadapter_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/fiberadapter"
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/internal/rig"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/revocation/feed"
)

// listen serves the endpoints on a socket, until the test ends, and returns their URL.
func listen(t *testing.T, m *counterfoil.Manager, cfg httpadapter.EndpointsConfig) string {
	t.Helper()
	a := fiber.New(fiber.Config{DisableStartupMessage: true})
	a.Use(fiberadapter.Endpoints(m, cfg))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- a.Listener(ln) }()
	t.Cleanup(func() {
		if err := a.Shutdown(); err != nil {
			t.Error(err)
		}
		<-served
	})
	return "http://" + ln.Addr().String()
}

// TestOtherServices: what other services ask for works through the bridge to Fiber as it does on net/http. An edge follows the log through it, and hears of a session
// that another service revokes.
func TestOtherServices(t *testing.T) {
	origin := rig.New(t, rig.Embedded)
	tail, err := feed.NewTail(origin.Faults, feed.TailConfig{})
	if err != nil {
		t.Fatal(err)
	}
	r := origin.Again(t, func(c *counterfoil.Config) { c.Source = tail })
	key, err := feed.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	credential, err := feed.NewCredential("lisbon")
	if err != nil {
		t.Fatal(err)
	}
	digest, err := credential.Digest()
	if err != nil {
		t.Fatal(err)
	}
	edges := &feed.Edges{}
	if err := edges.Allow("lisbon", digest); err != nil {
		t.Fatal(err)
	}
	handler, err := feed.NewHandler(feed.Config{Tail: tail, Key: key, Issuer: r.Config.Issuer, Edges: edges, Fresh: r.Guard().Status})
	if err != nil {
		t.Fatal(err)
	}
	at := listen(t, r.Manager, httpadapter.EndpointsConfig{Callers: edges, Feed: handler})
	t.Cleanup(func() { handler.Close() }) // first, so that no poll holds up the server
	r.Fresh(t)

	client, err := feed.NewClient(feed.ClientConfig{
		URL: at + httpadapter.FeedPath, Credential: credential, Issuer: r.Config.Issuer, Keys: []revocation.FrameKey{key.Public()},
	})
	if err != nil {
		t.Fatal(err)
	}
	list, err := revocation.NewList(revocation.ListConfig{})
	if err != nil {
		t.Fatal(err)
	}
	follower, err := revocation.NewFollower(revocation.FollowerConfig{Source: client, List: list})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var following sync.WaitGroup
	following.Go(func() { _ = follower.Follow(ctx) })
	t.Cleanup(func() { cancel(); following.Wait(); client.Close() })

	s, err := r.Login(t.Context(), nil, "alice", counterfoil.LoginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tokens, _ := s.Issued()
	access := tokens.Access.Reveal()
	// A service that reads no log: it is not ready, and says so although the store answers.
	stale := origin.Again(t, func(c *counterfoil.Config) { c.Source = deaf{} })
	staleAt := listen(t, stale.Manager, httpadapter.EndpointsConfig{})

	transport := &http.Transport{DisableKeepAlives: true}
	do := func(method, at, token, password string) (int, string) {
		t.Helper()
		req, _ := http.NewRequestWithContext(t.Context(), method, at, nil)
		if method == "GET" {
			req.Header.Set("Authorization", "Bearer "+token)
		} else {
			req.Body = io.NopCloser(strings.NewReader(url.Values{"token": {token}}.Encode()))
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.SetBasicAuth("lisbon", password)
		}
		res, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(body)
	}
	secret := credential.Secret.Reveal()
	for _, tt := range []struct {
		name, method, url, token, password string
		status                             int
		body                               string // its beginning
	}{
		{"ready", "GET", at + httpadapter.ReadyPath, "", "", 200, "ok\n"},
		{"ready, with a stale list", "GET", staleAt + httpadapter.ReadyPath, "", "", 503, ""},
		{"active", "GET", at + httpadapter.ActivePath, access, "", 200, `{"active":true}`},
		{"active, no token", "GET", at + httpadapter.ActivePath, "x", "", 200, `{"active":false}`},
		{"introspect", "POST", at + httpadapter.IntrospectPath, access, secret, 200, `{"active":true,"aud":`},
		{"introspect, no token", "POST", at + httpadapter.IntrospectPath, "", secret, 400, `{"error":"invalid_request"}`},
		{"introspect, as nobody", "POST", at + httpadapter.IntrospectPath, access, "x", 401, `{"error":"invalid_client"}`},
		{"revoke, as nobody", "POST", at + httpadapter.RevokePath, access, "x", 401, `{"error":"invalid_client"}`},
		{"still active", "GET", at + httpadapter.ActivePath, access, "", 200, `{"active":true}`},
		{"revoke", "POST", at + httpadapter.RevokePath, access, secret, 200, ""},
		{"introspect afterwards", "POST", at + httpadapter.IntrospectPath, access, secret, 200, `{"active":false}`},
		{"active afterwards", "GET", at + httpadapter.ActivePath, access, "", 200, `{"active":false}`},
		{"the feed, as nobody", "GET", at + httpadapter.FeedPath, "x", "", 401, ""},
	} {
		status, body := do(tt.method, tt.url, tt.token, tt.password)
		if status != tt.status || !strings.HasPrefix(body, tt.body) {
			t.Errorf("%s: %d %q, want %d %q", tt.name, status, body, tt.status, tt.body)
		}
	}
	rig.Poll(t, "the edge knows what was revoked", func() bool { return list.Has(s.ID()) })
}

// deaf never reads the log.
type deaf struct{}

func (deaf) Read(ctx context.Context, _ revocation.Position, _ time.Duration) (revocation.Batch, error) {
	<-ctx.Done()
	return revocation.Batch{}, ctx.Err()
}
