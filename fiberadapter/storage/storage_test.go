package storage_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/fiberadapter/storage"
	"github.com/counterfoil/counterfoil/internal/redistest"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/store/embedded"
	"github.com/counterfoil/counterfoil/token"
)

var _ fiber.Storage = (*storage.Storage)(nil)

// each runs a test on every Redis there is.
func each(t *testing.T, test func(*testing.T, *redis.Client)) {
	t.Run("embedded", func(t *testing.T) {
		s, err := embedded.Start("")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		c := s.Client()
		t.Cleanup(func() { c.Close() })
		test(t, c)
	})
	t.Run("redis-server", func(t *testing.T) {
		s := redistest.Start(t, redistest.Options{})
		opt, err := redis.ParseURL(s.URL())
		if err != nil {
			t.Fatal(err)
		}
		c := redis.NewClient(opt)
		t.Cleanup(func() { c.Close() })
		test(t, c)
	})
}

func TestContract(t *testing.T) {
	each(t, func(t *testing.T, c *redis.Client) {
		s, err := storage.New(c, storage.Config{Prefix: "csrf:"})
		if err != nil {
			t.Fatal(err)
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		want := func(key, value string) {
			t.Helper()
			b, err := s.Get(key)
			if err != nil || string(b) != value || value == "" && b != nil {
				t.Errorf("%q is %q, %v; want %q", key, b, err, value)
			}
		}
		want("a", "")
		must(s.Set("a", []byte("1"), 0))
		must(s.Set("b", []byte("\x00\xff"), time.Minute))
		must(s.Set("", []byte("x"), 0))
		must(s.Set("c", nil, 0))
		want("a", "1")
		want("b", "\x00\xff")
		want("", "")
		want("c", "")
		if ttl := c.PTTL(t.Context(), "csrf:b").Val(); ttl <= 0 || ttl > time.Minute {
			t.Errorf("b lives %v", ttl)
		}
		if ttl := c.PTTL(t.Context(), "csrf:a").Val(); ttl != -1 {
			t.Errorf("a lives %v", ttl)
		}
		must(s.Set("b", []byte("over"), -time.Second)) // as an ExpirationGenerator of Fiber's cache may find
		want("b", "")
		must(s.Delete("a"))
		must(s.Delete("a"))
		must(s.Delete(""))
		want("a", "")
	})
}

func TestResetDeletesItsOwnOnly(t *testing.T) {
	each(t, func(t *testing.T, c *redis.Client) {
		s, err := storage.New(c, storage.Config{Prefix: "limit:", Timeout: 20 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		others := []string{"cf:{abc}s:session", "limiter:1", "limi", "xlimit:1", "csrf:1"}
		for _, k := range others {
			c.Set(t.Context(), k, "stays", 0)
		}
		for i := range 1500 {
			if err := s.Set(fmt.Sprint(i), []byte("x"), 0); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 { // the second time there is nothing
			if err := s.Reset(); err != nil {
				t.Fatal(err)
			}
		}
		if n := c.DBSize(t.Context()).Val(); int(n) != len(others) {
			t.Errorf("%d keys are left, want the %d of others", n, len(others))
		}
		if err := s.Close(); err != nil || c.Ping(t.Context()).Err() != nil {
			t.Error("Close closed a client that is not its own")
		}
	})
}

// failing is a client whose commands of that name fail.
type failing string

var errFailing = errors.New("refused")

func (failing) DialHook(next redis.DialHook) redis.DialHook { return next }
func (f failing) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, c redis.Cmder) error {
		if c.Name() == string(f) {
			c.SetErr(errFailing)
			return errFailing
		}
		return next(ctx, c)
	}
}
func (failing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// TestResetSaysThatItFailed: what could not be deleted, or not be looked for, is still there.
func TestResetSaysThatItFailed(t *testing.T) {
	each(t, func(t *testing.T, c *redis.Client) {
		for _, name := range []failing{"scan", "unlink"} {
			opt := *c.Options()
			opt.ContextTimeoutEnabled = true // else the Storage uses a copy, which has no hooks
			opt.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
			own := redis.NewClient(&opt)
			defer own.Close()
			own.AddHook(name)
			s, err := storage.New(own, storage.Config{Prefix: "limit:"})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Set("a", []byte("1"), 0); err != nil {
				t.Fatal(err)
			}
			if err := s.Reset(); !errors.Is(err, errFailing) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// TestHooks: those of a client that keeps deadlines see what a Storage sends. Those of another do not, as New says; that goes when go-redis' copies keep them.
func TestHooks(t *testing.T) {
	each(t, func(t *testing.T, c *redis.Client) {
		for _, punctual := range []bool{true, false} {
			opt := *c.Options()
			opt.ContextTimeoutEnabled = punctual
			opt.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
			own := redis.NewClient(&opt)
			defer own.Close()
			own.AddHook(failing("set"))
			s, err := storage.New(own, storage.Config{Prefix: "limit:"})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Set("a", []byte("1"), 0); errors.Is(err, errFailing) != punctual {
				t.Errorf("ContextTimeoutEnabled %v: %v", punctual, err)
			}
		}
	})
}

// TestResetLeavesSessions has a prefix with which the keys of sessions begin that are kept elsewhere than by default. All kinds of keys that the store has
// are there.
func TestResetLeavesSessions(t *testing.T) {
	each(t, func(t *testing.T, c *redis.Client) {
		sessions, err := store.New(t.Context(), c, store.Config{Prefix: "shop:", Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer sessions.Close()
		for i := range 20 { // their tags have all kinds of characters
			subject := fmt.Sprint("user", i)
			id, err := token.NewSessionID(counterfoil.SubjectTag(subject), [16]byte{byte(i)})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := sessions.Create(t.Context(), counterfoil.NewRecord{Session: id, Subject: subject, Idle: time.Hour, Absolute: time.Hour}); err != nil {
				t.Fatal(err)
			}
			if _, err := sessions.End(t.Context(), counterfoil.Ending{Subject: subject + "'s friend"}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := sessions.Append(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := sessions.Report(t.Context(), "edge", "1-0", 0); err != nil {
			t.Fatal(err)
		}
		had := c.Keys(t.Context(), "*").Val()
		for _, kind := range []string{"}s:", "}n:", "}u:", "}log", "}meta", "}edges"} {
			if !slices.ContainsFunc(had, func(k string) bool { return strings.Contains(k, kind) }) {
				t.Fatalf("the store has made no key with %q: %q", kind, had)
			}
		}
		for _, prefix := range []string{"s", "shop:"} {
			s, err := storage.New(c, storage.Config{Prefix: prefix, Timeout: 20 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range []string{"a", "{abc}", "{abcd}s:", "{rev}logs", "{ab}{abc}s:"} {
				if err := s.Set(k, []byte("x"), 0); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Reset(); err != nil {
				t.Fatal(err)
			}
			if has := c.Keys(t.Context(), "*").Val(); len(has) != len(had) {
				t.Errorf("prefix %q: %d keys are left of %d: %q", prefix, len(has), len(had), has)
			}
		}
	})
}

func TestResetReachesAllNodesOfACluster(t *testing.T) {
	var addrs []string
	for _, node := range redistest.StartCluster(t, 3, redistest.Options{}) {
		opt, err := redis.ParseURL(node.URL())
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, opt.Addr)
	}
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, ContextTimeoutEnabled: true})
	defer c.Close()
	s, err := storage.New(c, storage.Config{Prefix: "limit:", Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	c.Set(t.Context(), "other", "stays", 0)
	for i := range 200 {
		if err := s.Set(fmt.Sprint(i), []byte("x"), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Reset(); err != nil {
		t.Fatal(err)
	}
	if n, err := c.DBSize(t.Context()).Result(); n != 1 || err != nil {
		t.Errorf("%d keys are left (%v), want the one of another", n, err)
	}
}

// TestSilentServer has a server that accepts and says nothing, or does not even accept, and a client as go-redis makes it by default. Every command ends when
// its time is over.
func TestSilentServer(t *testing.T) {
	for name, dial := range map[string]func(context.Context, string, string) (net.Conn, error){
		"accepts": func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			go func() {
				_, _ = io.Copy(io.Discard, server)
				server.Close()
			}()
			return client, nil
		},
		"does not accept": func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := redis.NewClient(&redis.Options{Addr: "192.0.2.1:6379", Dialer: dial})
				defer c.Close()
				s, err := storage.New(c, storage.Config{Prefix: "limit:", Timeout: 300 * time.Millisecond})
				if err != nil {
					t.Fatal(err)
				}
				for what, do := range map[string]func() error{
					"Get":    func() error { _, err := s.Get("a"); return err },
					"Set":    func() error { return s.Set("a", []byte("1"), 0) },
					"Delete": func() error { return s.Delete("a") },
					"Reset":  s.Reset,
				} {
					began := time.Now()
					if err, took := do(), time.Since(began); err == nil || took > 300*time.Millisecond {
						t.Errorf("%s: %v after %v", what, err, took)
					}
				}
				if c.Options().ContextTimeoutEnabled {
					t.Error("the caller's client is another now")
				}
				time.Sleep(time.Minute) // in the bubble: go-redis goes on dialling for a while
			})
		})
	}
}

// TestOnePool shows that a Storage has no connections but those of its client.
func TestOnePool(t *testing.T) {
	each(t, func(t *testing.T, c *redis.Client) {
		s, err := storage.New(c, storage.Config{Prefix: "limit:"})
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if err := errors.Join(c.Ping(t.Context()).Err(), s.Set("a", []byte("1"), 0)); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := c.ClientList(t.Context()).Result(); err == nil && strings.Count(n, "id=") != 1 {
			t.Errorf("the server has these connections:\n%s", n)
		}
		if n := c.PoolStats().TotalConns; n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

func TestConfig(t *testing.T) {
	c := redis.NewClient(&redis.Options{})
	defer c.Close()
	for _, prefix := range []string{"", "a*", "a?", "[a]", "{a}", `a\`, "a b", "ä", "c", "cf", "cf:", strings.Repeat("a", 65)} {
		if _, err := storage.New(c, storage.Config{Prefix: prefix}); err == nil {
			t.Errorf("prefix %q is accepted", prefix)
		}
	}
	for _, prefix := range []string{"cfx", "cf:csrf:", "f:", "!~", strings.Repeat("a", 64)} {
		if _, err := storage.New(c, storage.Config{Prefix: prefix}); err != nil {
			t.Errorf("prefix %q: %v", prefix, err)
		}
	}
	if _, err := storage.New(nil, storage.Config{Prefix: "a:"}); err == nil {
		t.Error("no client is accepted")
	}
	cluster := redis.NewClusterClient(&redis.ClusterOptions{})
	defer cluster.Close()
	if _, err := storage.New(cluster, storage.Config{Prefix: "a:"}); err == nil || !strings.Contains(err.Error(), "ContextTimeoutEnabled") {
		t.Errorf("a cluster client that ignores deadlines: %v", err)
	}
	ring := redis.NewRing(&redis.RingOptions{})
	defer ring.Close()
	if _, err := storage.New(ring, storage.Config{Prefix: "a:"}); err == nil {
		t.Error("a ring is accepted")
	}
	if _, err := storage.New(c, storage.Config{Prefix: "a:", Timeout: -1}); err == nil {
		t.Error("a negative timeout is accepted")
	}
}

// One client for the sessions and for what Fiber's middleware stores, which the other instances of the application then find.
func Example() {
	server, err := embedded.Start("") // or one of your own
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	opt, err := redis.ParseURL(server.URL())
	if err != nil {
		log.Fatal(err)
	}
	opt.ContextTimeoutEnabled = true
	client := redis.NewClient(opt)
	defer client.Close()
	sessions, err := store.New(context.Background(), client, store.Config{}) // counterfoil.Config.Store
	if err != nil {
		log.Fatal(err)
	}
	defer sessions.Close()
	limits, err := storage.New(client, storage.Config{Prefix: "limiter:"})
	if err != nil {
		log.Fatal(err)
	}
	var forFiber fiber.Storage = limits // limiter.Config.Storage
	if err := forFiber.Set("203.0.113.7", []byte("3 requests"), time.Minute); err != nil {
		log.Fatal(err)
	}
	value, err := forFiber.Get("203.0.113.7")
	fmt.Printf("%s %v\n", value, err)
	// Output: 3 requests <nil>
}
