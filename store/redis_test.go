package store_test

import (
	"context"
	"crypto/rand"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil/internal/redistest"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/store/embedded"
	"github.com/counterfoil/counterfoil/store/storetest"
	"github.com/counterfoil/counterfoil/token"
)

var quiet = slog.New(slog.DiscardHandler)

// backdoor reaches a store's records past the store.
type backdoor struct {
	client redis.UniversalClient
	prefix string
}

func (b backdoor) key(id token.SessionID) string {
	return b.prefix + "{" + id.Tag() + "}s:" + id.String()
}

// shift makes a record older by moving all of its times back.
func (b backdoor) shift(t testing.TB, id token.SessionID, d time.Duration) {
	t.Helper()
	ctx := t.Context()
	key := b.key(id)
	fields := []string{"c", "a", "t", "h", "k", "z", "at"}
	values, err := b.client.HMGet(ctx, key, fields...).Result()
	if err != nil {
		t.Fatal(err)
	}
	left, err := b.client.PTTL(ctx, key).Result()
	if err != nil {
		t.Fatal(err)
	}
	if values[0] == nil {
		return
	}
	if left <= d {
		b.client.Del(ctx, key)
		return
	}
	for i, v := range values {
		if v, _ := v.(string); v != "" && v != "0" {
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			b.client.HSet(ctx, key, fields[i], strconv.FormatInt(n-d.Milliseconds(), 10))
		}
	}
	if err := b.client.PExpire(ctx, key, left-d).Err(); err != nil {
		t.Fatal(err)
	}
}

func (b backdoor) misfile(t testing.TB, id token.SessionID) {
	t.Helper()
	if err := b.client.HSet(t.Context(), b.key(id), "id", newID(t, "another").String()).Err(); err != nil {
		t.Fatal(err)
	}
}

// silence makes the reports of all followers older.
func (b backdoor) silence(t testing.TB, d time.Duration) {
	t.Helper()
	key := b.prefix + "{rev}edges"
	for name, value := range b.client.HGetAll(t.Context(), key).Val() {
		parts := strings.Fields(value)
		if len(parts) < 2 {
			continue
		}
		reported, err := strconv.ParseInt(parts[1], 10, 64)
		if err != nil {
			t.Fatalf("%s is %q", name, value)
		}
		parts[1] = strconv.FormatInt(reported-d.Milliseconds(), 10)
		if err := b.client.HSet(t.Context(), key, name, strings.Join(parts, " ")).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// under makes a store with a prefix of its own on a client.
func under(t *testing.T, client redis.UniversalClient) storetest.Under {
	t.Helper()
	return configured(t, client, store.Config{})
}

func configured(t *testing.T, client redis.UniversalClient, cfg store.Config) storetest.Under {
	t.Helper()
	cfg.Prefix, cfg.Logger, cfg.Timeout = "test"+rand.Text()[:8]+":", quiet, 10*time.Second
	s, err := store.New(t.Context(), client, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	b := backdoor{client, cfg.Prefix}
	return storetest.Under{Store: s, Pass: b.shift, Misfile: b.misfile, Log: s, Source: s, Census: s, Silence: b.silence}
}

func startEmbedded(t testing.TB) *embedded.Server {
	t.Helper()
	srv, err := embedded.Start("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	return srv
}

func dialURL(t testing.TB, url string) *redis.Client {
	t.Helper()
	opt, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	opt.ContextTimeoutEnabled = true
	c := redis.NewClient(opt)
	t.Cleanup(func() { c.Close() })
	return c
}

// TestEmbeddedShifted runs the suite on miniredis, its clock running and records shifted.
func TestEmbeddedShifted(t *testing.T) {
	client := dialURL(t, startEmbedded(t).URL())
	storetest.Run(t, func(t *testing.T) storetest.Under { return under(t, client) })
}

// TestEmbeddedClock runs the suite on miniredis with a clock that only moves when the suite says so.
func TestEmbeddedClock(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Under {
		srv := startEmbedded(t)
		u := under(t, srv.Client())
		start := time.Now()
		var offset time.Duration
		srv.SetTime(start)
		u.Pass = func(t testing.TB, _ token.SessionID, d time.Duration) {
			offset += d
			srv.SetTime(start.Add(offset))
		}
		u.Log, u.Source = nil, nil // a log whose clock stands still has no heartbeat
		return u
	})
}

func TestRedis(t *testing.T) {
	client := dialURL(t, redistest.Start(t, redistest.Options{Password: "pass word"}).URL())
	storetest.Run(t, func(t *testing.T) storetest.Under { return under(t, client) })
	t.Run("pipelined", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) storetest.Under { return configured(t, client, store.Config{AutoPipeline: true}) })
	})
}

// TestValkey runs the suite on Valkey, alone and as a Cluster.
func TestValkey(t *testing.T) {
	opt := redistest.Options{Binary: "valkey-server", Password: "pass word"}
	client := dialURL(t, redistest.Start(t, opt).URL())
	storetest.Run(t, func(t *testing.T) storetest.Under { return under(t, client) })
	t.Run("pipelined", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) storetest.Under { return configured(t, client, store.Config{AutoPipeline: true}) })
	})
	t.Run("cluster", func(t *testing.T) {
		nodes := redistest.StartCluster(t, 3, opt)
		url := "redis+cluster://:pass%20word@" + strings.Join(redistest.Addrs(nodes), ",")
		past := redis.NewClusterClient(&redis.ClusterOptions{Addrs: redistest.Addrs(nodes), Password: opt.Password, ContextTimeoutEnabled: true})
		t.Cleanup(func() { past.Close() })
		storetest.Run(t, func(t *testing.T) storetest.Under { return opened(t, url, past) })
	})
}

// TestRESP2 runs the suite over the older protocol, which shapes some replies differently.
func TestRESP2(t *testing.T) {
	client := dialURL(t, redistest.Start(t, redistest.Options{}).URL()+"?protocol=2")
	storetest.Run(t, func(t *testing.T) storetest.Under { return under(t, client) })
}

func background(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestCluster runs the suite on three masters: every step stays within one slot, and each key is found on the node of its slot.
func TestCluster(t *testing.T) {
	nodes := redistest.StartCluster(t, 3, redistest.Options{})
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: redistest.Addrs(nodes), ContextTimeoutEnabled: true})
	t.Cleanup(func() { client.Close() })
	storetest.Run(t, func(t *testing.T) storetest.Under { return under(t, client) })
	t.Run("pipelined", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) storetest.Under { return configured(t, client, store.Config{AutoPipeline: true}) })
	})
	t.Run("reading from replicas", func(t *testing.T) {
		c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: redistest.Addrs(nodes), ContextTimeoutEnabled: true, RouteRandomly: true})
		defer c.Close()
		storetest.Run(t, func(t *testing.T) storetest.Under { return configured(t, c, store.Config{AutoPipeline: true}) })
	})
	t.Run("redirected", func(t *testing.T) { testRedirected(t, nodes, client) })

	s, err := store.New(background(t), client, store.Config{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	before := time.Now().UnixMilli()
	if _, err := s.Append(background(t)); err != nil {
		t.Fatal(err)
	}
	b, err := s.Read(background(t), "", 0)
	if err != nil {
		t.Fatal(err)
	}
	if margin := b.Birth - before; margin < 9_000 || margin > 15_000 {
		t.Errorf("with several masters the birth is %d ms after the epoch's start, want the margin of 10 s between their clocks", margin)
	}

	one := dialURL(t, nodes[0].URL())
	if _, err := store.New(background(t), one, store.Config{Logger: quiet}); err == nil {
		t.Error("a client of one node of a Cluster was accepted")
	}
}
