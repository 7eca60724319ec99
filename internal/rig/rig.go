// Package rig gives the tests of several packages a running Manager: [New] on one backend, [Each] on every one there is.
package rig

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/elapse"
	"github.com/counterfoil/counterfoil/internal/redistest"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/store/embedded"
	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/issuer"
)

// go-redis reports every failed dial on standard error; tests that stop a server make hundreds.
func init() { redis.SetLogger(quiet{}) }

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// Backend is where a rig keeps its sessions.
type Backend string

// The backends.
const (
	Embedded Backend = "embedded" // its clock can be moved
	Server   Backend = "redis-server"
)

// Rig is a Manager with what it stands on. Everything is closed when the test ends.
type Rig struct {
	*counterfoil.Manager
	Config counterfoil.Config // what the Manager was made from
	Faults *Faults            // the store, to be made to fail
	Logs   *Buffer            // what it logged

	URL        string
	mini       *embedded.Server
	stopServer func()
	offset     *atomic.Int64
	sessions   *sync.Map // IDs of sessions that were seen, as strings
}

// Buffer is a bytes.Buffer that may be written and read at once.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *Buffer) Write(p []byte) (int, error) { b.mu.Lock(); defer b.mu.Unlock(); return b.b.Write(p) }
func (b *Buffer) String() string              { b.mu.Lock(); defer b.mu.Unlock(); return b.b.String() }

// Each runs test on every backend.
func Each(t *testing.T, test func(*testing.T, *Rig)) {
	for _, b := range []Backend{Embedded, Server} {
		t.Run(string(b), func(t *testing.T) { test(t, New(t, b)) })
	}
}

// patience is how long a step may take: tests share the machine.
const patience = 20 * time.Second

// New makes a rig; change alters the Manager's configuration.
func New(t testing.TB, b Backend, change ...func(*counterfoil.Config)) *Rig {
	t.Helper()
	if b == Server {
		s := redistest.Start(t, redistest.Options{})
		return At(t, s.URL(), s.Kill, change...)
	}
	mini, err := embedded.Start("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(mini.Close)
	return begin(t, &Rig{mini: mini, URL: mini.URL(), stopServer: mini.Close}, change)
}

// At makes a rig on a server that somebody else has started, and that stop ends.
func At(t testing.TB, url string, stop func(), change ...func(*counterfoil.Config)) *Rig {
	t.Helper()
	return begin(t, &Rig{URL: url, stopServer: stop}, change)
}

func begin(t testing.TB, r *Rig, change []func(*counterfoil.Config)) *Rig {
	t.Helper()
	r.Logs, r.offset, r.sessions = &Buffer{}, &atomic.Int64{}, &sync.Map{}
	t.Cleanup(func() { r.checkLogs(t) }) // runs last: everything has been closed, and has logged what it has to say
	key, err := issuer.GenerateKey("EdDSA")
	if err != nil {
		t.Fatal(err)
	}
	ring, err := issuer.NewRing(key)
	if err != nil {
		t.Fatal(err)
	}
	r.Config = counterfoil.Config{
		Issuer:   "https://issuer.test",
		Audience: "app",
		Keys:     ring,
		Secrets:  [][]byte{bytes.Repeat([]byte("s"), 32)},
		Timeout:  patience,
		Logger:   slog.New(slog.NewTextHandler(r.Logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Now:      func() time.Time { return time.Now().Add(time.Duration(r.offset.Load())) },
	}
	for _, f := range change {
		f(&r.Config)
	}
	r.open(t)
	return r
}

// secrets is what a log must not hold: an access token, and a refresh token.
var secrets = regexp.MustCompile(`eyJ[\w-]{8,}\.[\w-]+\.[\w-]+|[\w-]{25}\.\d+\.\d+\.[\w-]{43}`)

// checkLogs fails the test if anything that was logged in it lets somebody else be somebody, or names a session.
func (r *Rig) checkLogs(t testing.TB) {
	text := r.Logs.String()
	if at := secrets.FindStringIndex(text); at != nil {
		t.Errorf("a token was logged: …%s…", text[max(0, at[0]-80):at[0]])
	}
	r.sessions.Range(func(id, _ any) bool {
		if strings.Contains(text, id.(string)) {
			t.Errorf("a session ID was logged")
			return false
		}
		return true
	})
}

// open gives the rig a store and a Manager of its own.
func (r *Rig) open(t testing.TB) {
	t.Helper()
	s, err := store.Open(t.Context(), r.URL, store.Config{Logger: r.Config.Logger, Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	r.Faults = &Faults{Redis: s}
	r.Config.Store = r.Faults
	if r.Manager, err = counterfoil.New(t.Context(), r.Config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
}

// Second returns another process on the same store: the same configuration, another Manager.
func (r *Rig) Second(t testing.TB) *Rig {
	t.Helper()
	other := *r
	other.open(t)
	return &other
}

// Advance moves the clocks of store and Manager; [Embedded] only.
func (r *Rig) Advance(d time.Duration) {
	elapse.By(d, r.Faults.Redis.Append, func(step time.Duration) {
		r.offset.Add(int64(step))
		r.mini.SetTime(r.Config.Now())
	})
}

// StopServer ends the store's server.
func (r *Rig) StopServer() { r.stopServer() }

// Fresh waits until the Manager's list is fresh.
func (r *Rig) Fresh(t testing.TB) {
	t.Helper()
	Poll(t, "the list is fresh", func() bool { return r.Ready(t.Context()) == nil })
}

// Verify returns the token as a handler would meet it. On a busy machine the question about it may go unanswered; then it is asked again.
func (r *Rig) Verify(t testing.TB, access token.Secret) token.Verified {
	t.Helper()
	var v token.Verified
	var err error
	Poll(t, "it can be known whether a token is revoked", func() bool {
		v, err = r.Guard().Check(t.Context(), access.Reveal())
		return !errors.Is(err, revocation.ErrStale)
	})
	if err != nil {
		t.Fatalf("a token of our own: %v", err)
	}
	r.sessions.Store(v.Session().String(), true)
	return v
}

// SessionKeys returns the names of all session records.
func (r *Rig) SessionKeys(t testing.TB) []string {
	t.Helper()
	opt, err := redis.ParseURL(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(opt)
	defer c.Close()
	keys, err := c.Keys(context.Background(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	var sessions []string
	for _, k := range keys {
		if strings.Contains(k, "}s:") {
			sessions = append(sessions, k)
		}
	}
	return sessions
}

// Poll waits for what another goroutine or process brings about, five seconds at most.
func Poll(t testing.TB, what string, done func() bool) {
	t.Helper()
	end := time.After(5 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-end:
			t.Fatalf("after five seconds it is still not so that %s", what)
		case <-tick.C:
		}
	}
}

// EndEverything has everything end that began until now, as somebody else does who writes to the log.
func (r *Rig) EndEverything(t testing.TB) {
	t.Helper()
	now := r.Config.Now().UnixMilli()
	if _, err := r.Faults.Append(t.Context(), revocation.Entry{Kind: revocation.KindAll, At: now, NotBefore: now}); err != nil {
		t.Fatal(err)
	}
}

// Again returns another Manager on the same store, configured otherwise.
func (r *Rig) Again(t testing.TB, change ...func(*counterfoil.Config)) *Rig {
	t.Helper()
	other := *r
	for _, f := range change {
		f(&other.Config)
	}
	other.open(t)
	return &other
}

// ForgetLog removes the stream of the revocation log, as an operator's mistake does. What is revoked for good is kept elsewhere.
func (r *Rig) ForgetLog(t testing.TB) {
	t.Helper()
	opt, err := redis.ParseURL(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(opt)
	defer c.Close()
	if n, err := c.Del(context.Background(), "cf:{rev}log").Result(); n != 1 || err != nil {
		t.Fatalf("removing the log: %d, %v", n, err)
	}
}
