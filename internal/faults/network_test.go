package faults_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil/internal/faults"
	"github.com/counterfoil/counterfoil/internal/redistest"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/revocation/feed"
	"github.com/counterfoil/counterfoil/store"
)

// unused returns a loopback port where nobody listens.
func unused() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// troubled puts all connections to Redis to the same trouble for a while.
func troubled(t faults.Trouble, d time.Duration) func(*run) {
	return func(r *run) {
		_, b := r.solo(redistest.Options{})
		r.begin(b, true)
		for _, p := range r.proxies {
			p.Set(t)
		}
		r.hold(d)
		for _, p := range r.proxies {
			p.Set(faults.Trouble{})
		}
		r.heal()
	}
}

var connections = []fault{
	{"connections cut in the middle of an answer, every tenth", true, troubled(faults.Trouble{Cut: .1}, 5*time.Second)},
	{"answers lost with their connection, every tenth", false, troubled(faults.Trouble{Swallow: .1}, 5*time.Second)},
	{"connections half open for 6 s", true, troubled(faults.Trouble{Mute: true}, 6*time.Second)},
	{"connections refused for 6 s", false, troubled(faults.Trouble{Refuse: true}, 6*time.Second)},
	{"answers 500 ms late for 6 s", false, troubled(faults.Trouble{Latency: 500 * time.Millisecond}, 6*time.Second)},
	{"answers later than the timeout, every fifth", false, troubled(faults.Trouble{Latency: timeout + 200*time.Millisecond, Late: .2}, 6*time.Second)},
	{"answers one byte at a time for 5 s", false, troubled(faults.Trouble{OneByte: true}, 5*time.Second)},
	{"one edge's connection half open for 10 s", false, func(r *run) {
		_, b := r.solo(redistest.Options{})
		r.begin(b, true)
		r.proxies["edge 1"].Set(faults.Trouble{Mute: true})
		r.hold(10 * time.Second)
		r.proxies["edge 1"].Set(faults.Trouble{})
		r.doubted("edge 1")
		r.heal()
	}},
}

// shifted gives all verifiers that only follow a clock of their own, which moves by the returned offset: wall clock and monotonic clock, or the wall clock alone.
func (r *run) shifted(wallOnly bool) (offset *atomic.Int64) {
	offset = new(atomic.Int64)
	now := func() time.Time {
		by := time.Duration(offset.Load())
		if wallOnly {
			return behind(time.Now().Add(by), by)
		}
		return time.Now().Add(by)
	}
	r.follow = func(f *revocation.FollowerConfig, g *revocation.GuardConfig, _ string) { f.Now, g.Now = now, now }
	return offset
}

// moved moves the followers' clocks for a while, and stepped their wall clocks, as somebody does who sets them.
func moved(by, d time.Duration) func(*run)   { return shift(by, d, false) }
func stepped(by, d time.Duration) func(*run) { return shift(by, d, true) }

func shift(by, d time.Duration, wallOnly bool) func(*run) {
	return func(r *run) {
		offset := r.shifted(wallOnly)
		_, b := r.solo(redistest.Options{})
		r.begin(b, true)
		offset.Store(int64(by))
		r.hold(d)
		offset.Store(0)
		r.doubted("edge 1", "edge 2", "feed 1", "feed 2")
		r.heal()
	}
}

// paused keeps one follower of each kind from reading, and has them decide all the while.
func paused(d time.Duration) func(*run) {
	return func(r *run) {
		_, b := r.solo(redistest.Options{})
		r.begin(b, true)
		open1, open2 := r.named("edge 1").gate.Shut(), r.named("feed 1").gate.Shut()
		r.hold(d)
		open1()
		open2()
		r.doubted("edge 1", "feed 1")
		r.heal()
	}
}

// suspended takes one follower of each kind out of the world, as a suspended machine is: nothing is read and nothing decided, and its monotonic
// clock stands still, while the wall clock is right afterwards. The first checks come before anything can be read.
func suspended(d time.Duration) func(*run) {
	return func(r *run) {
		still := new(atomic.Int64) // by how much the monotonic clock is behind
		now := func() time.Time { return behind(time.Now(), time.Duration(still.Load())) }
		r.follow = func(f *revocation.FollowerConfig, g *revocation.GuardConfig, name string) {
			if name == "edge 1" || name == "feed 1" {
				f.Now, g.Now = now, now
			}
		}
		_, b := r.solo(redistest.Options{})
		r.begin(b, true)
		edge, fed := r.named("edge 1"), r.named("feed 1")
		open1, open2 := edge.gate.Shut(), fed.gate.Shut()
		r.hold(d)
		still.Store(int64(d))
		r.mu.Lock()
		all := r.all
		r.mu.Unlock()
		for _, c := range all {
			access, _, _ := c.tokens()
			r.ask(edge, c, access)
			r.ask(fed, c, access)
		}
		open1()
		open2()
		r.doubted("edge 1", "feed 1")
		r.heal()
	}
}

var followers = []fault{
	{"two followers paused for 6 s", true, paused(6 * time.Second)},
	{"two followers paused for 30 s", false, paused(30 * time.Second)},
	{"two followers suspended for 6 s, monotonic clock still", true, suspended(6 * time.Second)},
	{"two followers suspended for 30 s, monotonic clock still", false, suspended(30 * time.Second)},
	{"followers' clocks 60 s ahead", false, moved(time.Minute, 6*time.Second)},
	{"followers' clocks 60 s behind", true, moved(-time.Minute, 6*time.Second)},
	{"followers' clocks one hour ahead", false, moved(time.Hour, 6*time.Second)},
	{"followers' clocks one hour behind", false, moved(-time.Hour, 6*time.Second)},
	{"followers' wall clocks set 60 s ahead, monotonic clocks go on", false, stepped(time.Minute, 6*time.Second)},
	{"followers' wall clocks set 60 s back, monotonic clocks go on", false, stepped(-time.Minute, 6*time.Second)},
	{"followers' wall clocks set one hour ahead, monotonic clocks go on", false, stepped(time.Hour, 6*time.Second)},
	{"followers' wall clocks set one hour back, monotonic clocks go on", false, stepped(-time.Hour, 6*time.Second)},
}

// meddled has answers of the feed go through f for six seconds.
func meddled(make func(r *run, v *verifier) func(*http.Request, *http.Response) (*http.Response, error)) func(*run) {
	return func(r *run) {
		_, b := r.solo(redistest.Options{})
		r.begin(b, true)
		for _, name := range []string{"feed 1", "feed 2"} {
			v := r.named(name)
			v.way.Do(make(r, v))
		}
		r.hold(6 * time.Second)
		for _, name := range []string{"feed 1", "feed 2"} {
			r.named(name).way.Do(nil)
		}
		r.doubted("feed 1", "feed 2")
		r.heal()
	}
}

type answerer = func(*http.Request, *http.Response) (*http.Response, error)

// altered is meddled for what looks at the bytes alone.
func altered(f func([]byte) []byte) func(*run) {
	return meddled(func(*run, *verifier) answerer { return change(f) })
}

var feeds = []fault{
	{"feed cut", false, meddled(func(*run, *verifier) answerer {
		return func(_ *http.Request, resp *http.Response) (*http.Response, error) {
			resp.Body.Close()
			return nil, io.ErrUnexpectedEOF
		}
	})},
	{"feed replayed", true, meddled(func(*run, *verifier) answerer {
		var mu sync.Mutex
		var first []byte
		return change(func(b []byte) []byte {
			mu.Lock()
			defer mu.Unlock()
			if first == nil {
				first = bytes.Clone(b)
			}
			return first
		})
	})},
	{"feed reordered", false, meddled(func(*run, *verifier) answerer {
		var mu sync.Mutex
		var held []byte
		return change(func(b []byte) []byte {
			mu.Lock()
			defer mu.Unlock()
			b, held = held, bytes.Clone(b)
			return b
		})
	})},
	{"feed truncated", false, altered(func(b []byte) []byte { return b[:len(b)/2] })},
	{"feed forged", false, altered(func(b []byte) []byte {
		if len(b) > 0 {
			b[len(b)/2] ^= 1
		}
		return b
	})},
	{"feed rolled back to a server that has fallen behind", false, rolledBack},
	{"feed's server suspended", false, meddled(func(r *run, _ *verifier) answerer {
		return func(req *http.Request, resp *http.Response) (*http.Response, error) {
			resp.Body.Close()
			select {
			case <-req.Context().Done():
			case <-r.ctx.Done():
			}
			return nil, io.ErrUnexpectedEOF
		}
	})},
}

// rolledBack has the edges meet another server of the feed, which has the key and the credentials, but follows a copy of the log that stands still, and says
// of itself that it is fresh.
func rolledBack(r *run) {
	s, b := r.solo(redistest.Options{})
	r.begin(b, true)
	behind := redistest.StartReplicas(r, s, 1)[0]
	server := httptest.NewServer(r.lagging(behind))
	r.Cleanup(server.Close)
	r.replicaOf(behind, nil) // and nobody writes to it
	for _, name := range []string{"feed 1", "feed 2"} {
		r.named(name).way.Redirect(server.Listener.Addr().String())
	}
	r.hold(6 * time.Second)
	for _, name := range []string{"feed 1", "feed 2"} {
		r.named(name).way.Redirect("")
	}
	r.doubted("feed 1", "feed 2")
	r.heal()
}

// lagging serves the feed from a replica's log.
func (r *run) lagging(s *redistest.Server) http.Handler {
	l, err := store.OpenLogReader(r.ctx, s.URL(), store.Config{Logger: r.logger})
	r.must(err)
	r.Cleanup(func() { l.Close() })
	tail, err := feed.NewTail(l, feed.TailConfig{})
	r.must(err)
	list, err := revocation.NewList(revocation.ListConfig{})
	r.must(err)
	f, err := revocation.NewFollower(revocation.FollowerConfig{Source: tail, List: list, MaxStale: maxStale, Leeway: leeway})
	r.must(err)
	r.looking.Go(func() { f.Follow(r.ctx) })
	r.must(f.Ready(r.ctx))
	c := r.feedConfig
	c.Tail, c.Fresh = tail, func() revocation.Freshness {
		fresh := list.Freshness(time.Now(), maxStale, leeway)
		fresh.Fresh = true
		return fresh
	}
	h, err := feed.NewHandler(c)
	r.must(err)
	r.Cleanup(func() { h.Close() })
	return h
}
