package counterfoil_test

import (
	"context"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/rig"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/revocation/feed"
	"github.com/counterfoil/counterfoil/store"
)

// verifier follows a log until the test ends, or until stop is called, which leaves the log without a word if the context of its reports is cut.
func verifier(t *testing.T, source revocation.Source, name string) (list *revocation.List, stop func()) {
	t.Helper()
	list, err := revocation.NewList(revocation.ListConfig{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := revocation.NewFollower(revocation.FollowerConfig{Source: source, List: list, Name: name})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = f.Follow(ctx) })
	stop = func() { cancel(); running.Wait() }
	t.Cleanup(stop)
	return list, stop
}

// One Revoke waits for the application itself, for verifiers that read the log in Redis, and for edges that know it by HTTP.
func TestRevokeWaitsForEverybody(t *testing.T) {
	t.Parallel()
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		ctx := t.Context()
		tail, err := feed.NewTail(r.Faults, feed.TailConfig{})
		if err != nil {
			t.Fatal(err)
		}
		app := r.Again(t, func(c *counterfoil.Config) { c.Source, c.Name = tail, "app" })
		r.Close() // the process that began; it takes its leave

		key, err := feed.GenerateKey()
		if err != nil {
			t.Fatal(err)
		}
		edges := &feed.Edges{}
		credential, err := feed.NewCredential("lisbon")
		if err != nil {
			t.Fatal(err)
		}
		digest, _ := credential.Digest()
		if err := edges.Allow("lisbon", digest); err != nil {
			t.Fatal(err)
		}
		handler, err := feed.NewHandler(feed.Config{Tail: tail, Key: key, Issuer: r.Config.Issuer, Edges: edges, Fresh: app.Guard().Status})
		if err != nil {
			t.Fatal(err)
		}
		defer handler.Close()
		srv := httptest.NewServer(handler)
		defer srv.Close()
		app.Fresh(t)

		reader, err := store.OpenLogReader(ctx, r.URL, store.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Close()
		gateway, _ := verifier(t, reader, "gateway")
		client, err := feed.NewClient(feed.ClientConfig{
			URL: srv.URL, Credential: credential, Issuer: r.Config.Issuer, Keys: []revocation.FrameKey{key.Public()},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		edge, stopEdge := verifier(t, client, "")
		rig.Poll(t, "three follow", func() bool {
			all, err := r.Faults.Followers(ctx)
			return err == nil && len(all) == 3
		})

		names := func(done counterfoil.Revoked) (names []string) {
			for _, c := range done.Confirmed {
				name, instance, _ := strings.Cut(c.Follower, "/")
				names = append(names, name)
				if instance == "" || c.After < 0 || c.After > 10*time.Second {
					t.Errorf("%+v", c)
				}
			}
			return slices.Sorted(slices.Values(names))
		}
		v, _ := login(t, app, "alice")
		done, err := app.Revoke(ctx, counterfoil.Revocation{Session: v.Session(), Wait: 10 * time.Second})
		if err != nil || len(done.Missing) != 0 || !slices.Equal(names(done), []string{"app", "gateway", "lisbon"}) {
			t.Fatalf("%+v, %v", done, err)
		}
		if !gateway.Has(v.Session()) || !edge.Has(v.Session()) {
			t.Error("one that has confirmed does not know")
		}

		stopEdge()
		v, _ = login(t, app, "alice")
		done, err = app.Revoke(ctx, counterfoil.Revocation{Session: v.Session(), Wait: 200 * time.Millisecond})
		if err != nil || !slices.Equal(names(done), []string{"app", "gateway"}) || len(done.Missing) != 1 || !strings.HasPrefix(done.Missing[0], "lisbon/") {
			t.Errorf("with an edge that has stopped: %+v, %v", done, err)
		}
	})
}
