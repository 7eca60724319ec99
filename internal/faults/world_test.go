package faults_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/faults"
	"github.com/counterfoil/counterfoil/internal/redistest"
	"github.com/counterfoil/counterfoil/internal/rig"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/revocation/feed"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/issuer"
)

// The verifiers' bounds, shorter than the defaults so that a fault outlasts them.
const (
	maxStale = 3 * time.Second
	leeway   = time.Second
	bound    = maxStale + leeway
)

const (
	issuerName = "https://faults.test"
	audience   = "app"
	timeout    = time.Second // of a step of the store
)

// A backend is where origins and verifiers reach their Redis.
type backend struct {
	open    func(name string, cfg store.Config) (*store.Redis, error)
	openLog func(name string, cfg store.Config) (*store.LogReader, error)
}

// at is the backend at a URL that depends on who asks.
func at(url func(name string) string) backend {
	return backend{
		open: func(name string, cfg store.Config) (*store.Redis, error) {
			return store.Open(context.Background(), url(name), cfg)
		},
		openLog: func(name string, cfg store.Config) (*store.LogReader, error) {
			return store.OpenLogReader(context.Background(), url(name), cfg)
		},
	}
}

// origin is a process that begins, renews and ends sessions.
type origin struct {
	name string
	*counterfoil.Manager
	store *store.Redis
}

// verifier is a process that only decides on tokens, or an origin's guard.
type verifier struct {
	name     string
	guard    *revocation.Guard
	follower *revocation.Follower // nil: an origin's
	gate     *gate
	way      *meddler     // of the feed's followers
	doubts   atomic.Int64 // checks that were refused for another reason than a revocation
}

// gate is a Source whose reads can be held back, as if the process that reads were suspended.
type gate struct {
	revocation.Source
	over <-chan struct{} // the run is
	mu   sync.Mutex
	shut chan struct{} // nil = open
}

func (g *gate) Read(ctx context.Context, after revocation.Position, wait time.Duration) (revocation.Batch, error) {
	b, err := g.Source.Read(ctx, after, wait)
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut != nil {
		select {
		case <-shut:
		case <-g.over:
		}
	}
	return b, err
}

// Report passes on what the follower says of itself.
func (g *gate) Report(ctx context.Context, follower string, at revocation.Position, age time.Duration) error {
	if r, ok := g.Source.(revocation.Reporter); ok {
		return r.Report(ctx, follower, at, age)
	}
	return nil // it is reported by who it reads from
}

// follower is the name by which a verifier is known to the log.
func follower(verifier string) string { return strings.ReplaceAll(verifier, " ", "-") }

// Shut holds reads back until the function that it returns is called.
func (g *gate) Shut() (open func()) {
	shut := make(chan struct{})
	g.mu.Lock()
	g.shut = shut
	g.mu.Unlock()
	return func() {
		g.mu.Lock()
		g.shut = nil
		g.mu.Unlock()
		close(shut)
	}
}

// client is a session as the one who is logged in has it.
type client struct {
	*faults.Session
	id   token.SessionID
	mark string // what its data carry: its first ID

	mu              sync.Mutex
	access, refresh string
	verified        token.Verified
}

func (c *client) tokens() (access, refresh string, v token.Verified) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.access, c.refresh, c.verified
}

var mark = counterfoil.NewField[string]("mark")

// run is one fault, with everything that lives through it.
type run struct {
	*testing.T
	row    faults.Row
	oracle *faults.Oracle
	logs   *rig.Buffer
	logger *slog.Logger

	ring      *issuer.Ring
	keys      *token.KeySet
	plain     *token.Verifier // knows nothing of revocations
	origins   []*origin
	verifiers []*verifier
	proxies   map[string]*faults.Proxy

	feedConfig feed.Config

	recordBound atomic.Int64             // how long records may be read after they were ended, ns: 0 but for splits,
	cutOff      func(origin string) bool // and there only at these origins; nil = at all
	askBound    time.Duration            // how long an origin's guard may accept that asks a master that is cut off and does not notice; 0 = bound
	replicas    int                      // of the store's Config
	soft        bool                     // a revocation that is not durable counts as done when it is asked whether all is whole
	forgetful   bool                     // the log is one that takes nothing: no revocation is waited for
	patience    time.Duration            // how long it may take until all is whole again
	lie         func(*store.Redis) counterfoil.Store
	follow      func(*revocation.FollowerConfig, *revocation.GuardConfig, string)

	ctx     context.Context
	stop    context.CancelFunc
	users   sync.WaitGroup
	looking sync.WaitGroup
	enough  context.CancelFunc // ends the users
	healed  time.Time

	mu      sync.Mutex
	clients map[string][]*client // by subject
	all     []*client
	said    map[string]int // errors of calls
}

func newRun(t *testing.T, name string) *run {
	r := &run{
		T: t, row: faults.Row{Fault: name}, logs: &rig.Buffer{}, proxies: map[string]*faults.Proxy{},
		clients: map[string][]*client{}, said: map[string]int{}, patience: time.Minute,
	}
	r.logger = slog.New(slog.NewTextHandler(r.logs, nil))
	r.ctx, r.stop = context.WithCancel(context.Background())
	t.Cleanup(r.stop)
	key, err := issuer.GenerateKey("EdDSA")
	r.must(err)
	r.ring, err = issuer.NewRing(key)
	r.must(err)
	r.keys, err = token.NewKeySet(r.ring.Public()...)
	r.must(err)
	r.plain = r.verifier(nil)
	return r
}

func (r *run) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *run) verifier(now func() time.Time) *token.Verifier {
	v, err := token.NewVerifier(token.VerifierConfig{Issuer: issuerName, Audience: audience, Keys: r.keys, Leeway: leeway, Now: now})
	r.must(err)
	return v
}

// solo starts one server, which everybody reaches through a proxy of their own, and returns the backend.
func (r *run) solo(opt redistest.Options) (*redistest.Server, backend) {
	s := redistest.Start(r, opt)
	return s, r.proxied(func(string) string { return s.Addr() })
}

// proxied is a backend of proxies, one for each name.
func (r *run) proxied(target func(name string) string) backend {
	return at(func(name string) string {
		p := r.proxies[name]
		if p == nil {
			var err error
			p, err = faults.NewProxy(target(name))
			r.must(err)
			r.Cleanup(p.Close)
			r.proxies[name] = p
		}
		return "redis://" + p.Addr()
	})
}

// begin starts two origins, and four verifiers besides: two follow Redis, two the feed of the first origin. It returns when all is
// whole and the workload has run for a second.
func (r *run) begin(b backend, lossless bool) {
	r.Helper()
	r.oracle = faults.NewOracle(bound, lossless)
	cfg := store.Config{Logger: r.logger, Timeout: timeout, Replicas: r.replicas}
	var tail *feed.Tail
	for i, name := range []string{"origin 1", "origin 2"} {
		s, err := b.open(name, cfg)
		r.must(err)
		r.Cleanup(func() { s.Close() })
		m := counterfoil.Config{
			Issuer: issuerName, Audience: audience, Keys: r.ring, Secrets: [][]byte{bytes.Repeat([]byte("f"), 32)}, Store: s,
			Timeout: timeout, Leeway: leeway, MaxStale: maxStale, MaxSessions: -1, Logger: r.logger,
		}
		if i == 0 {
			tail, err = feed.NewTail(s, feed.TailConfig{})
			r.must(err)
			m.Source = tail
		}
		if r.lie != nil {
			m.Store = r.lie(s)
		}
		m.Name = follower(name)
		manager, err := counterfoil.New(r.ctx, m)
		r.must(err)
		r.Cleanup(func() { manager.Close() })
		r.origins = append(r.origins, &origin{name, manager, s})
		r.verifiers = append(r.verifiers, &verifier{name: name, guard: manager.Guard()})
	}

	key, err := feed.GenerateKey()
	r.must(err)
	var edges feed.Edges
	r.feedConfig = feed.Config{
		Tail: tail, Key: key, Issuer: issuerName, Edges: &edges, Fresh: r.origins[0].Guard().Status, MaxStale: maxStale,
		Logger: slog.New(slog.DiscardHandler), // the table is what is read
	}
	handler, err := feed.NewHandler(r.feedConfig)
	r.must(err)
	r.Cleanup(func() { handler.Close() })
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	server.Start()
	r.Cleanup(server.Close)

	for _, name := range []string{"edge 1", "edge 2"} {
		l, err := b.openLog(name, cfg)
		r.must(err)
		r.Cleanup(func() { l.Close() })
		r.addVerifier(name, l)
	}
	for _, name := range []string{"feed 1", "feed 2"} {
		credential, err := feed.NewCredential(follower(name))
		r.must(err)
		digest, err := credential.Digest()
		r.must(err)
		r.must(edges.Allow(credential.Name, digest))
		way := &meddler{next: &http.Transport{DialContext: (&net.Dialer{Timeout: time.Second}).DialContext}}
		r.Cleanup(way.next.CloseIdleConnections)
		c, err := feed.NewClient(feed.ClientConfig{
			URL: server.URL, Credential: credential, Issuer: issuerName, Keys: []revocation.FrameKey{key.Public()}, HTTP: &http.Client{Transport: way},
		})
		r.must(err)
		r.Cleanup(func() { c.Close() })
		r.addVerifier(name, c).way = way
	}
	if took := r.whole(); took < 0 {
		r.Fatalf("not whole before anything happened: %s", r.why())
	}
	r.work()
	r.hold(time.Second)
}

func (r *run) addVerifier(name string, source revocation.Source) *verifier {
	v := &verifier{name: name, gate: &gate{Source: source, over: r.ctx.Done()}}
	list, err := revocation.NewList(revocation.ListConfig{})
	r.must(err)
	fc := revocation.FollowerConfig{Source: v.gate, List: list, MaxStale: maxStale, Leeway: leeway, Name: follower(name)}
	gc := revocation.GuardConfig{List: list, MaxStale: maxStale, Leeway: leeway}
	if r.follow != nil {
		r.follow(&fc, &gc, name)
	}
	gc.Verifier = r.verifier(gc.Now)
	v.follower, err = revocation.NewFollower(fc)
	r.must(err)
	v.guard, err = revocation.NewGuard(gc)
	r.must(err)
	r.looking.Go(func() { v.follower.Follow(r.ctx) })
	r.verifiers = append(r.verifiers, v)
	return v
}

var serials atomic.Int64

// serial returns a number that no other run of this process has had.
func (r *run) serial() int64 { return serials.Add(1) }

// named returns a verifier.
func (r *run) named(name string) *verifier {
	r.Helper()
	for _, v := range r.verifiers {
		if v.name == name {
			return v
		}
	}
	r.Fatalf("no verifier %q", name)
	return nil
}

// doubted fails the test if a verifier has refused nothing but what was revoked: then the fault did nothing to it.
func (r *run) doubted(names ...string) {
	r.Helper()
	for _, name := range names {
		if r.named(name).doubts.Load() == 0 {
			r.Errorf("%s had no doubts: this shows nothing", name)
		}
	}
}

// hold lets the workload run for a while.
func (r *run) hold(d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.ctx.Done():
	}
}

// told notes what was said about a promise that this fault may break. At the start it must have been logged.
func (r *run) told(logged, row string) {
	r.Helper()
	if logged != "" && !strings.Contains(r.logs.String(), logged) {
		r.Errorf("at the start it was not said that %q", logged)
		return
	}
	r.row.Told = row
}

// heal notes that the fault has ended, and measures how long it takes until all is whole.
func (r *run) heal() {
	r.healed = time.Now()
	if r.row.Whole = r.whole(); r.row.Whole < 0 {
		r.row.Broken = append(r.row.Broken, fmt.Sprintf("not whole again after %v: %s", r.patience, r.why()))
	}
	r.recordBound.Store(0)
}

// whole waits until everything works, and returns how long that took; -1 if it took too long.
func (r *run) whole() time.Duration {
	began := time.Now()
	for time.Since(began) < r.patience && r.ctx.Err() == nil {
		if r.works() {
			return time.Since(began)
		}
		r.hold(20 * time.Millisecond)
	}
	return -1
}

// why says what kept it from being whole.
func (r *run) why() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	for text, n := range r.said {
		if strings.HasPrefix(text, "whole: ") && n > 0 {
			fmt.Fprintf(&b, "%s (%d times); ", text, n)
		}
	}
	for _, v := range r.verifiers {
		if s := v.guard.Status(); !s.Fresh {
			fmt.Fprintf(&b, "%s: %s; ", v.name, s.Reason)
			if v.follower != nil {
				fmt.Fprintf(&b, "%v; ", v.follower.Stats().LastError)
			}
		}
	}
	return b.String()
}

func (r *run) note(what string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if text := what + ": " + err.Error(); len(r.said) < 200 || r.said[text] > 0 {
		r.said[text]++
	}
}

func (r *run) works() bool {
	for i, o := range r.origins {
		for _, v := range r.verifiers {
			if !v.guard.Status().Fresh {
				return false
			}
		}
		ctx, cancel := context.WithTimeout(r.ctx, 2*timeout)
		s, err := o.Login(ctx, nil, fmt.Sprintf("probe %d", i), counterfoil.LoginOptions{})
		if err == nil {
			tokens, _ := s.Issued()
			err = r.probe(ctx, s.ID(), tokens.Access.Reveal(), r.origins[(i+1)%len(r.origins)])
		}
		cancel()
		if err != nil {
			r.note("whole", err)
			return false
		}
	}
	return true
}

// probe wants a token to be accepted by everybody, and to be refused once it is revoked.
func (r *run) probe(ctx context.Context, id token.SessionID, access string, by *origin) error {
	for _, v := range r.verifiers {
		if _, err := v.guard.Check(ctx, access); err != nil {
			return fmt.Errorf("%s: %w", v.name, err)
		}
	}
	if err := by.End(ctx, id); err != nil && !(r.soft && notDurable(err)) {
		return err
	}
	if r.forgetful {
		return nil
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for _, v := range r.verifiers {
		for {
			_, err := v.guard.Check(ctx, access)
			if errors.Is(err, revocation.ErrRevoked) {
				break
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return fmt.Errorf("%s does not hear of a revocation: %w", v.name, errors.Join(err))
			}
		}
	}
	return nil
}

// finish ends the workload, waits until the bound of the last revocation is over, and looks whether anything was lost.
func (r *run) finish() faults.Row {
	r.hold(time.Second)
	r.enough()
	r.users.Wait()
	r.hold(bound + 200*time.Millisecond)
	if r.row.Whole >= 0 { // otherwise nothing would be known, and the row has failed
		r.audit()
	}
	r.stop()
	r.looking.Wait()
	r.row.Counts = r.oracle.Counts()
	var broken []string
	r.row.Operations, broken = r.oracle.CheckHistories(20 * time.Second)
	r.row.Broken = append(r.row.Broken, broken...)
	r.row.Broken = append(r.row.Broken, r.oracle.Said()...)
	if r.row.Confirmed == 0 {
		r.row.Broken = append(r.row.Broken, "nobody has confirmed a revocation: this shows nothing")
	}
	if r.row.Acknowledged == 0 {
		r.row.Broken = append(r.row.Broken, "no revocation was acknowledged: this shows nothing")
	}
	return r.row
}

// audit looks at every session whose end was acknowledged, at every verifier and at every origin.
func (r *run) audit() {
	ctx, cancel := context.WithTimeout(r.ctx, 30*time.Second)
	defer cancel()
	r.mu.Lock()
	all := r.all
	r.mu.Unlock()
	for _, c := range all {
		if acked, _ := c.Ended(); !acked {
			continue
		}
		access, refresh, v := c.tokens()
		for _, w := range r.verifiers {
			if _, err := w.guard.Check(ctx, access); err == nil {
				r.oracle.Lost(c.Session, w.name+" accepts the token")
			}
		}
		for _, o := range r.origins {
			if v.Valid() {
				if _, _, err := mark.Get(ctx, o.Open(v)); err == nil {
					r.oracle.Lost(c.Session, o.name+" loads the session")
				}
			}
			if _, _, err := o.Refresh(ctx, refresh, token.Verified{}); err == nil || errors.Is(err, counterfoil.ErrSuperseded) {
				r.oracle.Lost(c.Session, o.name+" renews the session")
			}
		}
	}
}

func notDurable(err error) bool { return errors.Is(err, counterfoil.ErrNotDurable) }

func outcome(err error) faults.Outcome {
	switch {
	case err == nil:
		return faults.Acknowledged
	case notDurable(err):
		return faults.NotDurable
	}
	return faults.Failed
}
