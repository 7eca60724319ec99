package store_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/require"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/redistest"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/store/storetest"
)

// TestOpenErrors wants one clear line, without the password, and soon.
func TestOpenErrors(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	testOpenErrors(t, []openError{
		{"empty", "", "want redis:// or rediss://"},
		{"no scheme", "localhost:6379", "want redis:// or rediss://"},
		{"another scheme", "http://:S3CRET@localhost", `"http://"`},
		{"a slash in the password", "redis://:S3CRET/x@localhost:6379", "does not parse"},
		{"a bad escape", "redis://:S3CRET%zz@localhost", "does not parse"},
		{"a bad port", "redis://:S3CRET@localhost:port", "does not parse"},
		{"a bad database", "redis://:S3CRET@localhost/one", "database"},
		{"an unknown option", "redis://:S3CRET@localhost/?colour=S3CRET", "an option"},
		{"a question mark in the password", "redis://:12?S3CRET@localhost", "escaped"},
		{"an option in the password", "redis://:12?db=S3CRET@localhost", "escaped"},
		{"a forgotten scheme", "S3CRET:x@localhost:6379", "no scheme"},
		{"a negative database", "redis://:S3CRET@localhost/-1", "database"},
		{"a pool that is no number", "redis://:S3CRET@" + silent.Addr().String() + "?pool_size=ten", "a value"},
		{"a negative pool", "redis://:S3CRET@" + silent.Addr().String() + "?pool_size=-1", "number of connections"},
		{"too large a pool", "redis://:S3CRET@" + silent.Addr().String() + "?pool_size=2147483648", "number of connections"},
		{"too many idle", "redis://:S3CRET@" + silent.Addr().String() + "?max_idle_conns=2147483648", "number of connections"},
		{"too many active", "redis://:S3CRET@" + silent.Addr().String() + "?max_active_conns=2147483648", "number of connections"},
		{"too large a pool for pipelines", "redis://:S3CRET@" + silent.Addr().String() + "?pipeline_pool_size=2147483648", "number of connections"},
		{"nobody there", "redis://:S3CRET@" + closed.Addr().String(), "cannot be reached: connect: connection refused"},
		{"no such host", "redis://:S3CRET@no-such-host.invalid", "cannot be reached"},
		{"no answer", "redis://:S3CRET@" + silent.Addr().String(), "store: Redis at " + silent.Addr().String()},
	})
}

// TestOpenRefused asks servers that do not want it.
func TestOpenRefused(t *testing.T) {
	locked := redistest.Start(t, redistest.Options{Password: "right"}).Addr()
	secure := redistest.Start(t, redistest.Options{TLS: true, Password: "right"}).Addr()
	testOpenErrors(t, []openError{
		{"a wrong password", "redis://:S3CRET@" + locked, "WRONGPASS"},
		{"no password", "redis://" + locked, "NOAUTH"},
		{"a stranger's certificate", "rediss://:S3CRET@" + secure, "certificate"},
		{"no answer to TLS", "rediss://:S3CRET@" + locked, "does it speak TLS?"},
		{"no TLS where it is wanted", "redis://:S3CRET@" + secure, "does it want TLS"},
	})
}

type openError struct{ name, url, want string }

func testOpenErrors(t *testing.T, rows []openError) {
	for _, x := range rows {
		t.Run(x.name, func(t *testing.T) {
			cfg := store.Config{Logger: quiet, Timeout: 10 * time.Second}
			if strings.Contains(x.name, "no answer") {
				cfg.Timeout = 300 * time.Millisecond
			}
			for _, open := range []func() error{
				func() error { _, err := store.Open(background(t), x.url, cfg); return err },
				func() error { _, err := store.OpenLogReader(background(t), x.url, cfg); return err },
			} {
				printed.Store(0)
				start := time.Now()
				err := open()
				if err == nil {
					t.Fatal("no error")
				}
				text := err.Error()
				if !strings.HasPrefix(text, "store: ") || !strings.Contains(text, x.want) || strings.Contains(text, "\n") || len(text) > 200 {
					t.Errorf("error reads %q, want %q in it", text, x.want)
				}
				if strings.Contains(text, "S3CRET") {
					t.Errorf("the password is in %q", text)
				}
				if took := time.Since(start); took > cfg.Timeout+5*time.Second {
					t.Errorf("took %v", took)
				}
				if n := printed.Load(); n != 0 && !strings.Contains(x.name, "of the master") { // it always says which Sentinels it found
					t.Errorf("go-redis printed %d lines of its own", n)
				}
			}
		})
	}
}

// printed counts the lines that go-redis would print to standard error. Tests that lose connections on purpose make many.
var printed atomic.Int64

type countLines struct{}

func (countLines) Printf(context.Context, string, ...any) { printed.Add(1) }

func init() { redis.SetLogger(countLines{}) }

func TestOpen(t *testing.T) {
	srv := redistest.Start(t, redistest.Options{Password: "p@ss /?#:%"})
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for name, url := range map[string]string{"password": srv.URL(), "database": srv.URL() + "/3"} {
		t.Run(name, func(t *testing.T) {
			s, err := store.Open(background(t), url, store.Config{Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			useAll(t, s)
			reader, err := store.OpenLogReader(background(t), url, store.Config{})
			if err != nil {
				t.Fatal(err)
			}
			defer reader.Close()
			if b, err := reader.Read(background(t), "", 0); err != nil || len(b.Records) != 1 {
				t.Errorf("%d records, %v", len(b.Records), err)
			}
		})
	}
}

// useAll uses both clients of a store.
func useAll(t *testing.T, s *store.Redis) {
	t.Helper()
	ref := newRef(t, s, "alice")
	if _, err := s.Load(background(t), ref); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(background(t)); err != nil {
		t.Fatal(err)
	}
	b, err := s.Read(background(t), "", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(background(t), b.Records[0].Position, time.Millisecond); err != nil {
		t.Fatal(err)
	}
}

// TestTLS uses a client of the caller's, with a certificate that the system does not know. (A rediss:// URL takes the system's, and SSL_CERT_FILE.)
func TestTLS(t *testing.T) {
	srv := redistest.Start(t, redistest.Options{TLS: true, Password: "right"})
	opt, err := redis.ParseURL(srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	opt.TLSConfig = srv.TLSConfig()
	client := redis.NewClient(opt)
	s, err := store.New(background(t), client, store.Config{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	useAll(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := client.Ping(background(t)).Err(); err != nil {
		t.Errorf("Close closed the caller's client: %v", err)
	}
	client.Close()
}

// TestApplicationRights runs the suite as a Redis user with the rights that the package comment names, and shows what that user cannot do.
func TestApplicationRights(t *testing.T) {
	rule := "user app on >password ~test* resetchannels -@all +@connection +@read +@write +@transaction -@dangerous +eval +evalsha +time +info +config|get"
	onRedisAndValkey(t, func(t *testing.T, opt redistest.Options) {
		opt.Password, opt.Config = "admin", []string{rule}
		srv := redistest.Start(t, opt)
		admin := dialURL(t, srv.URL())
		url := "redis://app:password@" + srv.Addr()
		storetest.Run(t, func(t *testing.T) storetest.Under { return opened(t, url, admin) })
		rights(t, url, admin)
		t.Run("cluster", func(t *testing.T) {
			opt.Config = []string{rule + " +cluster|info +cluster|nodes +cluster|slots"}
			nodes := redistest.StartCluster(t, 3, opt)
			past := redis.NewClusterClient(&redis.ClusterOptions{Addrs: redistest.Addrs(nodes), Password: opt.Password, ContextTimeoutEnabled: true})
			t.Cleanup(func() { past.Close() })
			url := "redis+cluster://app:password@" + strings.Join(redistest.Addrs(nodes), ",")
			storetest.Run(t, func(t *testing.T) storetest.Under { return opened(t, url, past) })
			for _, node := range nodes {
				rights(t, "redis://app:password@"+node.Addr(), dialURL(t, node.URL()))
			}
		})
	})
}

// rights shows that nothing was refused the user of a URL, and then what is.
func rights(t *testing.T, url string, admin *redis.Client) {
	t.Helper()
	for _, line := range admin.ACLLog(background(t), 100).Val() {
		t.Errorf("refused: %s %s", line.Object, line.Context)
	}
	user := dialURL(t, url)
	for _, forbidden := range [][]any{
		{"GET", "other"}, {"KEYS", "*"}, {"FLUSHALL"}, {"CONFIG", "SET", "save", ""}, {"ACL", "LIST"}, {"SHUTDOWN"}, {"PUBLISH", "c", "m"}, {"FUNCTION", "LIST"},
	} {
		if err := user.Do(background(t), forbidden...).Err(); err == nil || !strings.HasPrefix(err.Error(), "NOPERM") {
			t.Errorf("%v: %v", forbidden[0], err)
		}
	}
}

// TestOpenIPv6 reaches a server on [::1] where the machine has it.
func TestOpenIPv6(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		require.Missing(t, "ipv6", "no IPv6 loopback on this machine")
	}
	addr := l.Addr().String()
	l.Close()
	_, err = store.Open(background(t), "redis://"+addr, store.Config{Logger: quiet})
	if err == nil || !strings.Contains(err.Error(), "Redis at "+addr+" cannot be reached") {
		t.Errorf("error is %v, want one about %s", err, addr)
	}
}

func TestConfig(t *testing.T) {
	client := dialURL(t, startEmbedded(t).URL())
	for name, cfg := range map[string]store.Config{
		"brace":            {Prefix: "a{b"},
		"closing brace":    {Prefix: "a}"},
		"space":            {Prefix: "a b"},
		"NUL":              {Prefix: "a\x00"},
		"not ASCII":        {Prefix: "é:"},
		"long":             {Prefix: strings.Repeat("x", 65)},
		"negative timeout": {Timeout: -time.Second},
	} {
		if _, err := store.New(background(t), client, cfg); err == nil {
			t.Errorf("New with %s succeeded", name)
		}
		if _, err := store.NewLogReader(background(t), client, cfg); err == nil {
			t.Errorf("NewLogReader with %s succeeded", name)
		}
	}
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": client.Options().Addr}})
	defer ring.Close()
	for name, c := range map[string]redis.UniversalClient{"Ring": ring, "none": nil} {
		if _, err := store.New(background(t), c, store.Config{Logger: quiet}); err == nil {
			t.Errorf("New with %s succeeded", name)
		}
	}
	ctx, cancel := context.WithCancel(background(t))
	cancel()
	if _, err := store.New(ctx, client, store.Config{Logger: quiet}); err == nil {
		t.Error("New with a context that is over succeeded")
	}
}

// TestPrefixes shows that two prefixes on one Redis are nothing to each other.
func TestPrefixes(t *testing.T) {
	client := dialURL(t, startEmbedded(t).URL())
	ctx := background(t)
	a, err := store.New(ctx, client, store.Config{Prefix: "a:", Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := store.New(ctx, client, store.Config{Prefix: "b:", Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ref := newRef(t, a, "alice")
	if _, err := b.Load(ctx, ref); err == nil {
		t.Error("b loads a session of a")
	}
	if _, err := b.End(ctx, counterfoil.Ending{Subject: "alice"}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.End(ctx, counterfoil.Ending{Session: ref.Session}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Load(ctx, ref); err != nil {
		t.Errorf("b ended a session of a: %v", err)
	}
	if _, err := a.Append(ctx); err != nil {
		t.Fatal(err)
	}
	if log, err := b.Read(ctx, "", 0); err != nil || log.Epoch != "" {
		t.Errorf("b reads the log of a: %+v, %v", log, err)
	}
}

// TestStartChecks reads the warnings about servers whose configuration weakens a promise.
func TestStartChecks(t *testing.T) {
	replicaOf := redistest.Start(t, redistest.Options{Config: []string{"appendonly yes", "appendfsync always", "repl-diskless-sync-delay 0"}})
	for _, x := range []struct {
		name   string
		config []string
		refuse bool     // by Strict
		warn   []string // in the log; nothing else may be warned of
		info   []string
	}{
		{"as it should be", []string{"appendonly yes", "appendfsync always", "maxmemory-policy noeviction"}, false, nil, []string{"no replica: durability is local"}},
		{"no persistence", []string{"appendonly no"}, false, []string{"no AOF"}, nil},
		{"AOF every second", []string{"appendonly yes", "appendfsync everysec"}, false, []string{"not synced at every write"}, nil},
		{"evicts everything", []string{"appendonly yes", "appendfsync always", "maxmemory-policy allkeys-lru"}, true, []string{"deletes the revocation log"}, nil},
		{"evicts what expires", []string{"appendonly yes", "appendfsync always", "maxmemory-policy volatile-ttl"}, true, []string{"not-before"}, nil},
		{"CONFIG is blocked", []string{"appendonly yes", "appendfsync always", "maxmemory-policy allkeys-lru", `rename-command CONFIG ""`}, true, []string{"deletes the revocation log"}, nil},
		{"CONFIG and INFO are blocked", []string{`rename-command CONFIG ""`, `rename-command INFO ""`}, false,
			[]string{"eviction policy cannot be read", "persistence cannot be read", "replicas cannot be read"}, nil},
	} {
		t.Run(x.name, func(t *testing.T) {
			url := redistest.Start(t, redistest.Options{Config: x.config}).URL()
			var b bytes.Buffer
			s, err := store.Open(background(t), url, store.Config{Logger: slog.New(slog.NewTextHandler(&b, nil))})
			if err != nil {
				t.Fatal(err)
			}
			s.Close()
			if n := strings.Count(b.String(), "level=WARN"); n != len(x.warn) {
				t.Errorf("%d warnings, want %d:\n%s", n, len(x.warn), &b)
			}
			for _, want := range append(x.warn, x.info...) {
				if !strings.Contains(b.String(), want) {
					t.Errorf("nothing about %q in\n%s", want, &b)
				}
			}
			s, err = store.Open(background(t), url, store.Config{Logger: quiet, Strict: true})
			if err == nil {
				s.Close()
			}
			if refused := err != nil; refused != x.refuse {
				t.Errorf("Strict refuses: %v (%v), want %v", refused, err, x.refuse)
			}
		})
	}
	t.Run("a replica, and nothing watches it", func(t *testing.T) {
		host, port, _ := net.SplitHostPort(replicaOf.Addr())
		redistest.Start(t, redistest.Options{Config: []string{"replicaof " + host + " " + port}})
		master := dialURL(t, replicaOf.URL())
		for deadline := time.Now().Add(10 * time.Second); !strings.Contains(master.Info(t.Context(), "replication").Val(), "state=online"); {
			if time.Now().After(deadline) {
				t.Fatal("the replica does not come online")
			}
			master.Do(t.Context(), "WAIT", 1, 100)
		}
		var b bytes.Buffer
		s, err := store.Open(background(t), replicaOf.URL(), store.Config{Logger: slog.New(slog.NewTextHandler(&b, nil))})
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		if !strings.Contains(b.String(), "min-replicas-to-write is 0") {
			t.Errorf("nothing about min-replicas-to-write in\n%s", &b)
		}
	})
}

func TestStartEmbedded(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		var b bytes.Buffer
		s, err := store.Open(background(t), startEmbedded(t).URL(), store.Config{Logger: slog.New(slog.NewTextHandler(&b, nil)), Strict: true})
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		if b.Len() != 0 {
			t.Errorf("said\n%s", &b)
		}
	})
	t.Run("a client that ignores deadlines", func(t *testing.T) {
		var b bytes.Buffer
		client := redis.NewClient(&redis.Options{Addr: startEmbedded(t).Addr()})
		defer client.Close()
		s, err := store.New(background(t), client, store.Config{Logger: slog.New(slog.NewTextHandler(&b, nil))})
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		if !strings.Contains(b.String(), "ContextTimeoutEnabled") {
			t.Errorf("said\n%s", &b)
		}
	})
}

// TestOpenPool has all connections taken: a step that waits for one has its deadline as well.
func TestOpenPool(t *testing.T) {
	t.Parallel()
	const timeout = 400 * time.Millisecond
	nodes := redistest.StartCluster(t, 3, redistest.Options{})
	for name, tt := range map[string]struct {
		url  string
		want time.Duration
	}{
		"a server":                 {startEmbedded(t).URL() + "?pool_size=1", timeout},
		"a Cluster":                {"redis+cluster://" + nodes[0].Addr() + "?pool_size=1", timeout},
		"a URL that asks for less": {startEmbedded(t).URL() + "?pool_size=1&pool_timeout=100ms", timeout / 4},
		"a URL that asks for more": {startEmbedded(t).URL() + "?pool_size=1&pool_timeout=10s", timeout},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openStore(t, tt.url, store.Config{Timeout: timeout, ReplicaTimeout: timeout / 2})
			ref := newRef(t, s, "alice")
			client, _ := store.Client(s).(*redis.Client)
			if c, several := store.Client(s).(*redis.ClusterClient); several {
				var err error
				if client, err = c.MasterForKey(t.Context(), "{"+ref.Session.Tag()+"}"); err != nil {
					t.Fatal(err)
				}
			}
			held := client.Conn()
			defer held.Close()
			if err := held.Ping(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			for step, do := range map[string]func() error{
				"an increment": func() error {
					_, err := s.Save(t.Context(), ref, []counterfoil.Op{{Kind: counterfoil.OpIncr, Name: "n", By: 1}})
					return err
				},
				"an ending, which go-redis may try again": func() error {
					_, err := s.End(t.Context(), counterfoil.Ending{Session: ref.Session})
					return err
				},
			} {
				began := time.Now()
				if err := do(); err == nil || errors.Is(err, counterfoil.ErrNotFound) {
					t.Errorf("%s: %v, without a connection", step, err)
				}
				if took := time.Since(began); took < tt.want*3/4 || took > timeout+time.Second {
					t.Errorf("%s: given up after %v, want %v", step, took, tt.want)
				}
			}
		})
	}
}
