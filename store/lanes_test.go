package store_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/store"
)

// halves is a Cluster of two servers, as a client sees it, each of which serves half of the slots.
func halves(t *testing.T) (*redis.ClusterClient, [2]*miniredis.Miniredis) {
	t.Helper()
	var servers [2]*miniredis.Miniredis
	var nodes [2][]redis.ClusterNode
	for i := range servers {
		servers[i] = miniredis.RunT(t)
		nodes[i] = []redis.ClusterNode{{Addr: servers[i].Addr()}}
	}
	c := redis.NewClusterClient(&redis.ClusterOptions{ContextTimeoutEnabled: true, ClusterSlots: func(context.Context) ([]redis.ClusterSlot, error) {
		return []redis.ClusterSlot{
			{Start: 0, End: 8191, Nodes: nodes[0]},
			{Start: 8192, End: 16383, Nodes: nodes[1]},
		}, nil
	}})
	t.Cleanup(func() { c.Close() })
	return c, servers
}

// pipelining is a store on a server of its own, with a session.
func pipelining(t *testing.T, cfg store.Config, opt redis.Options) (*store.Redis, *redis.Client, counterfoil.Ref) {
	t.Helper()
	opt.Addr, opt.ContextTimeoutEnabled = miniredis.RunT(t).Addr(), true
	client := redis.NewClient(&opt)
	t.Cleanup(func() { client.Close() })
	cfg.Logger, cfg.AutoPipeline = quiet, true
	s, err := store.New(background(t), client, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, client, newRef(t, s, "alice")
}

// TestPipelinedApart has callers share pipelines while one of two masters is gone: whoever was answered by the other one is told so.
func TestPipelinedApart(t *testing.T) {
	client, servers := halves(t)
	s, err := store.New(background(t), client, store.Config{Logger: quiet, AutoPipeline: true, Replicas: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var here, gone []counterfoil.Ref
	for i := 0; len(here) < 8 || len(gone) < 8; i++ {
		ref := newRef(t, s, "subject "+strconv.Itoa(i))
		if key := "cf:{" + ref.Session.Tag() + "}s:" + ref.Session.String(); servers[0].Exists(key) {
			here = append(here, ref)
		} else {
			gone = append(gone, ref)
		}
	}
	servers[1].Close()
	set := []counterfoil.Op{{Kind: counterfoil.OpSet, Name: "f", Value: []byte("v")}}
	var wg sync.WaitGroup
	for _, ref := range here {
		wg.Go(func() {
			for range 2 {
				if _, err := s.Load(t.Context(), ref); err != nil {
					t.Errorf("Load from the master that is there: %v", err)
				}
				if _, err := s.Save(t.Context(), ref, set); err != nil {
					t.Errorf("Save to the master that is there: %v", err)
				}
			}
		})
	}
	for _, ref := range gone {
		wg.Go(func() {
			for range 2 {
				if _, err := s.Load(t.Context(), ref); err == nil || errors.Is(err, counterfoil.ErrNotFound) {
					t.Errorf("Load from the master that is gone: %v", err)
				}
				if _, err := s.Save(t.Context(), ref, set); err == nil || errors.Is(err, counterfoil.ErrNotFound) {
					t.Errorf("Save to the master that is gone: %v", err)
				}
			}
		})
	}
	wg.Wait()
}

// TestPipelinedInTime holds the promise of Config.Timeout, and that of a caller's own deadline, for whoever shares pipelines with a server that has
// stopped to answer: it does not matter who began one, nor who stood behind it.
func TestPipelinedInTime(t *testing.T) {
	const timeout = time.Second
	s, client, ref := pipelining(t, store.Config{Timeout: timeout}, redis.Options{ReadTimeout: 10 * time.Second, MaxRetries: -1})
	hold := make(chan struct{})
	stalled := make(chan struct{}, 64)
	client.AddHook(stall{hold, stalled})
	defer close(hold)

	took := func(ctx context.Context) time.Duration {
		began := time.Now()
		if _, err := s.Load(ctx, ref); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Load: %v", err)
		}
		return time.Since(began)
	}
	var wg sync.WaitGroup
	wg.Go(func() { // begins a pipeline, and has less time than others
		ctx, cancel := context.WithTimeout(t.Context(), timeout/10)
		defer cancel()
		if d := took(ctx); d > timeout/2 {
			t.Errorf("who began the pipeline waited for %v, with a deadline of %v", d, timeout/10)
		}
	})
	<-stalled
	for range 3 { // stand behind it
		wg.Go(func() {
			if d := took(t.Context()); d > timeout*3/2 {
				t.Errorf("who stood behind it waited for %v, with a timeout of %v", d, timeout)
			}
		})
	}
	wg.Wait()
}

// stall is a hook that keeps pipelines until their time is over.
type stall struct{ hold, stalled chan struct{} }

func (h stall) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (h stall) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (h stall) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		h.stalled <- struct{}{}
		err := context.DeadlineExceeded
		if at, ok := ctx.Deadline(); ok {
			timer := time.NewTimer(time.Until(at))
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-h.hold:
			}
		}
		for _, c := range cmds {
			c.SetErr(err)
		}
		return err
	}
}

// TestPipelinesUnderWay has callers come while nothing is answered: a second pipeline begins once twelve have gathered, a third once twelve more have, and no fourth.
// Each caller gets its own answer.
func TestPipelinesUnderWay(t *testing.T) {
	s, client, ref := pipelining(t, store.Config{Timeout: time.Minute}, redis.Options{})
	waves := []int{1, 12, 12, 32}
	g := &gauge{begun: make(chan struct{}, 64), open: make(chan struct{})}
	client.AddHook(g)
	var mu sync.Mutex
	seen := map[string]bool{}
	var wg sync.WaitGroup
	for i, callers := range waves {
		for range callers {
			wg.Go(func() {
				saved, err := s.Save(t.Context(), ref, []counterfoil.Op{{Kind: counterfoil.OpIncr, Name: "n", By: 1}})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if n := string(saved.Values[0].Bytes); seen[n] {
					t.Errorf("two callers were answered %s", n)
				} else {
					seen[n] = true
				}
			})
		}
		if i < len(waves)-1 {
			<-g.begun
		}
	}
	close(g.open)
	wg.Wait()
	if g.most != 3 || !seen["57"] || len(seen) != 57 {
		t.Errorf("%d answers, %d pipelines at once; want 57 and 3", len(seen), g.most)
	}
	if g.sent > 16 {
		t.Errorf("%d pipelines for 57 callers", g.sent)
	}
}

// TestPipelineStuck: a pipeline that gets no answer does not keep whoever comes right after it for as long as it waits, though nobody comes later.
func TestPipelineStuck(t *testing.T) {
	s, client, ref := pipelining(t, store.Config{Timeout: time.Minute}, redis.Options{})
	first := &firstOnly{begun: make(chan struct{}), open: make(chan struct{})}
	client.AddHook(first)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := s.Load(t.Context(), ref); err != nil {
			t.Error(err)
		}
	})
	<-first.begun
	if _, err := s.Load(background(t), ref); err != nil {
		t.Error(err)
	}
	close(first.open)
	wg.Wait()
}

// TestPipelinedLeft has a caller go before its pipeline is written, and use its slice again: what is saved is what it gave.
func TestPipelinedLeft(t *testing.T) {
	s, client, ref := pipelining(t, store.Config{Timeout: time.Minute}, redis.Options{})
	if _, err := s.Save(t.Context(), ref, nil); err != nil { // the script is known from here on
		t.Fatal(err)
	}
	g := &gauge{begun: make(chan struct{}, 64), open: make(chan struct{})}
	client.AddHook(g)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-g.begun; cancel() }()
	value := []byte("given")
	if _, err := s.Save(ctx, ref, []counterfoil.Op{{Kind: counterfoil.OpSet, Name: "f", Value: value}}); !errors.Is(err, context.Canceled) {
		t.Fatalf("Save: %v", err)
	}
	copy(value, "other")
	close(g.open)
	if _, err := s.Save(t.Context(), ref, nil); err != nil { // comes after it
		t.Fatal(err)
	}
	r, err := s.Load(t.Context(), ref)
	if err != nil || string(r.Fields["f"]) != "given" {
		t.Errorf("saved is %q, %v", r.Fields["f"], err)
	}
}

// firstOnly is a hook that keeps the first pipeline until it is opened.
type firstOnly struct {
	taken       atomic.Bool
	begun, open chan struct{}
}

func (f *firstOnly) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (f *firstOnly) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (f *firstOnly) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if f.taken.CompareAndSwap(false, true) {
			close(f.begun)
			<-f.open
		}
		return next(ctx, cmds)
	}
}

// gauge is a hook that counts pipelines, and lets them go on when it is opened.
type gauge struct {
	begun, open chan struct{}

	mu               sync.Mutex
	sent, most, here int
}

func (g *gauge) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (g *gauge) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (g *gauge) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	count := func(n int) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.here += n
		g.sent += max(n, 0)
		g.most = max(g.most, g.here)
	}
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if !strings.HasPrefix(cmds[0].Name(), "eval") { // what go-redis sends on a new connection
			return next(ctx, cmds)
		}
		count(1)
		defer count(-1)
		g.begun <- struct{}{}
		<-g.open
		return next(ctx, cmds)
	}
}
