package store_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/redistest"
	"github.com/counterfoil/counterfoil/store"
)

// TestAskMaster asks a server that may not write: it is the master no more, or does not know whether it is, so it must not say that a session lives.
func TestAskMaster(t *testing.T) {
	srv := redistest.Start(t, redistest.Options{})
	ctx, client := background(t), dialURL(t, srv.URL())
	s, err := store.New(ctx, client, store.Config{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Append(ctx); err != nil {
		t.Fatal(err)
	}
	ref := newRef(t, s, "alice")
	v := verified(t, ref)
	for _, tc := range []struct {
		name, want string
		set, unset func() error
	}{
		{"too few replicas", "NOREPLICAS",
			func() error { return client.ConfigSet(ctx, "min-replicas-to-write", "1").Err() },
			func() error { return client.ConfigSet(ctx, "min-replicas-to-write", "0").Err() }},
		{"a replica", "READONLY",
			func() error { return client.ReplicaOf(ctx, "127.0.0.1", "1").Err() },
			func() error { return client.ReplicaOf(ctx, "NO", "ONE").Err() }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := client.HGetAll(ctx, "cf:{rev}meta").Val()
			if a, err := s.Ask(ctx, v); err != nil || !a.Live {
				t.Fatalf("asked before: %+v, %v", a, err)
			}
			if after := client.HGetAll(ctx, "cf:{rev}meta").Val(); len(after) != len(before) {
				t.Errorf("asking changed %v to %v", before, after)
			}
			if err := tc.set(); err != nil {
				t.Fatal(err)
			}
			if a, err := s.Ask(ctx, v); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("asked: %+v, %v", a, err)
			}
			if _, err := s.Load(ctx, counterfoil.Ref{Session: ref.Session, Subject: ref.Subject}); err != nil {
				t.Errorf("loading needs no replica: %v", err)
			}
			if err := tc.unset(); err != nil {
				t.Fatal(err)
			}
			if a, err := s.Ask(ctx, v); err != nil || !a.Live {
				t.Errorf("asked afterwards: %+v, %v", a, err)
			}
		})
	}
}

// TestNotAllReplicas says at the start that one replica of two is not enough if the other one is promoted.
func TestNotAllReplicas(t *testing.T) {
	srv := redistest.Start(t, redistest.Options{})
	redistest.StartReplicas(t, srv, 2)
	for replicas, want := range map[int]bool{0: false, 1: true, 2: false} {
		var said bytes.Buffer
		s, err := store.Open(background(t), srv.URL(), store.Config{Replicas: replicas, Logger: slog.New(slog.NewTextHandler(&said, nil))})
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		if strings.Contains(said.String(), "not all replicas must acknowledge") != want {
			t.Errorf("%d replicas must acknowledge:\n%s", replicas, &said)
		}
	}
}
