package counterfoil_test

import (
	"bytes"
	"errors"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/rig"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/revocation/feed"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/issuer"
)

// tenant is a Manager as a tenant has it: an issuer, keys, secrets and a prefix of its own, on a Redis that all share. And its feed, with an edge.
type tenant struct {
	*counterfoil.Manager
	store      *store.Redis
	feed       feed.Config
	key        *feed.Key
	url        string
	credential feed.Credential
}

func newTenant(t *testing.T, shared *rig.Rig, name string) *tenant {
	t.Helper()
	ctx := t.Context()
	s, err := store.Open(ctx, shared.URL, store.Config{Prefix: name + ":", Logger: shared.Config.Logger, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	key, err := issuer.GenerateKey("EdDSA")
	if err != nil {
		t.Fatal(err)
	}
	cfg := shared.Config
	if cfg.Keys, err = issuer.NewRing(key); err != nil {
		t.Fatal(err)
	}
	tail, err := feed.NewTail(s, feed.TailConfig{})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Issuer, cfg.Store, cfg.Source = "https://"+name+".test", s, tail
	cfg.Secrets = [][]byte{bytes.Repeat([]byte(name), 32)}
	m, err := counterfoil.New(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })

	x := &tenant{Manager: m, store: s}
	if x.credential, err = feed.NewCredential("edge"); err != nil {
		t.Fatal(err)
	}
	digest, err := x.credential.Digest()
	if err != nil {
		t.Fatal(err)
	}
	var edges feed.Edges
	if err := edges.Allow(x.credential.Name, digest); err != nil {
		t.Fatal(err)
	}
	x.feed = feed.Config{Tail: tail, Issuer: cfg.Issuer, Edges: &edges, Fresh: func() revocation.Freshness { return m.Guard().Status() }}
	if x.key, err = feed.GenerateKey(); err != nil {
		t.Fatal(err)
	}
	x.feed.Key = x.key
	h, err := feed.NewHandler(x.feed)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	x.url = server.URL
	rig.Poll(t, "the list is fresh", func() bool { return m.Ready(ctx) == nil })
	return x
}

func (x *tenant) login(t *testing.T, subject string) (token.Verified, counterfoil.Tokens) {
	t.Helper()
	s, err := x.Login(t.Context(), x.Anonymous(), subject, counterfoil.LoginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tokens, _ := s.Issued()
	v, err := x.Guard().Check(t.Context(), tokens.Access.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	return v, tokens
}

// follow reads a feed from the start, as an edge does when it begins.
func follow(t *testing.T, cfg feed.ClientConfig) (revocation.Batch, error) {
	t.Helper()
	c, err := feed.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.Read(t.Context(), "", 0)
}

// TestTenantsOfOneRedis has two tenants share a Redis and a user who is called the same at both, and shows that nothing of one is anything to the other.
func TestTenantsOfOneRedis(t *testing.T) {
	t.Parallel()
	shared := rig.New(t, rig.Embedded)
	one, two := newTenant(t, shared, "one"), newTenant(t, shared, "two")
	ctx := t.Context()
	v, tokens := one.login(t, "alice")
	other, otherTokens := two.login(t, "alice")
	ref := counterfoil.Ref{Session: v.Session(), Subject: "alice", Generation: 1}

	t.Run("token", func(t *testing.T) {
		if _, err := two.Guard().Check(ctx, tokens.Access.Reveal()); !errors.Is(err, token.ErrInvalid) {
			t.Errorf("%v, want ErrInvalid", err)
		}
	})
	t.Run("refresh token", func(t *testing.T) {
		if _, _, err := two.Refresh(ctx, tokens.Refresh.Reveal(), other); !errors.Is(err, token.ErrInvalid) {
			t.Errorf("%v, want ErrInvalid", err)
		}
	})
	t.Run("cookie", func(t *testing.T) {
		x, err := two.Begin(ctx, counterfoil.Request{Method: "GET", Cookie: []string{cookies(tokens)}})
		if err != nil || x.Session().Subject() != "" || !errors.Is(x.Refusal(), token.ErrInvalid) {
			t.Fatalf("refusal %v, %v", x.Refusal(), err)
		}
		if list, err := x.Commit(ctx); len(list) != 0 || err != nil {
			t.Errorf("it was answered with %v, %v", list, err)
		}
	})
	t.Run("session", func(t *testing.T) {
		if _, err := two.store.Load(ctx, ref); !errors.Is(err, counterfoil.ErrNotFound) {
			t.Errorf("Load: %v", err)
		}
		if _, err := two.store.Save(ctx, ref, []counterfoil.Op{{Kind: counterfoil.OpIncr, Name: "n", By: 1}}); !errors.Is(err, counterfoil.ErrNotFound) {
			t.Errorf("Save: %v", err)
		}
		if _, err := two.store.Freeze(ctx, ref); !errors.Is(err, counterfoil.ErrNotFound) {
			t.Errorf("Freeze: %v", err)
		}
		if _, err := two.store.Refresh(ctx, counterfoil.Presented{Session: v.Session(), Generation: 1, Window: time.Second}); !errors.Is(err, counterfoil.ErrNotFound) {
			t.Errorf("Refresh: %v", err)
		}
		if list, err := two.store.Sessions(ctx, "alice"); err != nil || len(list) != 1 || list[0].Session != other.Session() {
			t.Errorf("Sessions: %d, %v", len(list), err)
		}
		if _, err := two.store.End(ctx, counterfoil.Ending{Session: v.Session()}); err != nil {
			t.Errorf("End: %v", err)
		}
		if _, err := one.store.Load(ctx, ref); err != nil {
			t.Errorf("after the other tenant has ended it: %v", err)
		}
	})
	t.Run("feed", func(t *testing.T) {
		good := feed.ClientConfig{URL: one.url, Credential: one.credential, Issuer: one.feed.Issuer, Keys: []revocation.FrameKey{one.key.Public()}}
		if _, err := follow(t, good); err != nil {
			t.Fatalf("its own feed: %v", err)
		}
		for name, change := range map[string]func(*feed.ClientConfig){
			"with the other's credential": func(c *feed.ClientConfig) { c.Credential = two.credential },
			"with the other's key":        func(c *feed.ClientConfig) { c.Keys = []revocation.FrameKey{two.key.Public()} },
			"for the other's issuer":      func(c *feed.ClientConfig) { c.Issuer = two.feed.Issuer },
			"of the other":                func(c *feed.ClientConfig) { c.URL = two.url },
		} {
			cfg := good
			change(&cfg)
			if b, err := follow(t, cfg); err == nil || len(b.Records) > 0 {
				t.Errorf("%s: %d records, %v", name, len(b.Records), err)
			}
		}
	})
	t.Run("revocation", func(t *testing.T) {
		if err := one.EndAll(ctx, "alice"); err != nil {
			t.Fatal(err)
		}
		if err := one.End(ctx, other.Session()); err != nil { // an ID that it has never seen
			t.Fatal(err)
		}
		if _, err := one.Guard().Check(ctx, tokens.Access.Reveal()); !errors.Is(err, revocation.ErrRevoked) {
			t.Errorf("its own token: %v, want ErrRevoked", err)
		}
		if _, err := two.Guard().Check(ctx, otherTokens.Access.Reveal()); err != nil {
			t.Errorf("the other's token: %v", err)
		}
		b, err := follow(t, feed.ClientConfig{URL: two.url, Credential: two.credential, Issuer: two.feed.Issuer, Keys: []revocation.FrameKey{two.key.Public()}})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range b.Records {
			if len(r.Entry) > 0 {
				t.Error("the other's feed has an entry")
			}
		}
		if _, err := two.store.Load(ctx, counterfoil.Ref{Session: other.Session(), Subject: "alice"}); err != nil {
			t.Errorf("the other's session: %v", err)
		}
	})
}

// TestSecretsChange has two processes while secrets and keys of values are rotated, of which one is a step ahead of the other. What either makes the other
// takes, as long as both know all that is in use.
func TestSecretsChange(t *testing.T) {
	t.Parallel()
	was, is := key('o'), key('n')
	for _, x := range []struct {
		name       string
		one, other [][]byte
		good       bool
	}{
		{"the new one behind", [][]byte{was}, [][]byte{was, is}, true},
		{"the new one in front", [][]byte{was, is}, [][]byte{is, was}, true},
		{"the old one dropped", [][]byte{is, was}, [][]byte{is}, true},
		{"the new one in front at once", [][]byte{was}, [][]byte{is, was}, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			with := func(secrets [][]byte) func(*counterfoil.Config) {
				return func(c *counterfoil.Config) { c.Secrets, c.ValueKeys = secrets, secrets }
			}
			one := rig.New(t, rig.Embedded, with(x.one))
			other := one.Again(t, with(x.other))
			goesOn := func(from, to *rig.Rig, subject string) bool {
				s := must[*counterfoil.Session](t)(from.Login(t.Context(), nil, subject, counterfoil.LoginOptions{}))
				if err := errors.Join(name.Set(s, "kept"), s.Save(t.Context())); err != nil {
					t.Fatal(err)
				}
				next, _, err := to.Refresh(t.Context(), first(s.Issued()).Refresh.Reveal(), token.Verified{})
				if err != nil {
					return false
				}
				if next, err = to.Rotate(t.Context(), next, counterfoil.RotateOptions{}); err != nil {
					return false
				}
				got, _, err := name.Get(t.Context(), next)
				return got == "kept" && err == nil
			}
			if there, back := goesOn(one, other, "alice"), goesOn(other, one, "bob"); !there || back != x.good {
				t.Errorf("to the process that is ahead %v, back %v; want true and %v", there, back, x.good)
			}
		})
	}
}
