package feed_test

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/revocation/feed"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/store/embedded"
	"github.com/counterfoil/counterfoil/token/tokentest"
)

// The log that package store keeps travels as it is: positions, epochs, entries and what is permanent.
func TestOverStore(t *testing.T) {
	server, err := embedded.Start("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	redis, err := store.Open(t.Context(), server.URL(), store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { redis.Close() })
	now := time.Now().UnixMilli()
	first, second := tokentest.SessionID(t), tokentest.SessionID(t)
	key := revocation.Entry{Kind: revocation.KindKey, At: now, KeyID: "a-key"}
	if _, err := redis.Append(t.Context(), sessionEntry(first), key); err != nil {
		t.Fatal(err)
	}

	tail, err := feed.NewTail(redis, feed.TailConfig{})
	if err != nil {
		t.Fatal(err)
	}
	own, f, _ := follow(t, tail)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		every := time.NewTicker(100 * time.Millisecond)
		defer every.Stop()
		for {
			if _, err := redis.Append(t.Context()); err != nil {
				return
			}
			select {
			case <-every.C:
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-done })
	if err := f.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}

	o := &origin{t: t, edges: &feed.Edges{}, tail: tail}
	if o.key, err = feed.GenerateKey(); err != nil {
		t.Fatal(err)
	}
	o.edge = o.allow("edge-1")
	if o.handler, err = feed.NewHandler(feed.Config{
		Tail: tail, Key: o.key, Issuer: issuer, Edges: o.edges, Reached: o.reached,
		Fresh: func() revocation.Freshness { return own.Freshness(time.Now(), 0, 0) },
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.handler.Close() })
	https := httptest.NewServer(o.handler)
	t.Cleanup(https.Close)
	client := o.client(nil, func(c *feed.ClientConfig) { c.URL, c.HTTP = https.URL, nil })
	t.Cleanup(func() { client.Close() })
	list, f, _ := follow(t, client)
	if err := f.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !list.Has(first) || !list.HasKey("a-key") {
		t.Error("what was revoked before is not known")
	}
	if _, err := redis.Append(t.Context(), sessionEntry(second)); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(10 * time.Second)
	for !list.Has(second) {
		select {
		case <-time.After(time.Millisecond):
		case <-deadline:
			t.Fatal("what was revoked since is not known")
		}
	}
	if s := f.Stats(); s.Failed != 0 || s.Whole != 1 || s.Unknown != 0 || s.Forks != 0 {
		t.Errorf("the follower had trouble: %+v", s)
	}
	if got, want := list.Freshness(time.Now(), 0, 0), own.Freshness(time.Now(), 0, 0); got.Epoch != want.Epoch || !got.Birth.Equal(want.Birth) {
		t.Errorf("the edge knows %+v, the origin %+v", got, want)
	}
}
