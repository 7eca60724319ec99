package faults_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil/internal/redistest"
)

// admin is a plain client of a server, for what an operator does to it.
func (r *run) admin(s *redistest.Server) *redis.Client {
	opt, err := redis.ParseURL(s.URL())
	r.must(err)
	c := redis.NewClient(opt)
	r.Cleanup(func() { c.Close() })
	return c
}

func aof(fsync string) redistest.Options {
	return redistest.Options{Config: []string{"appendonly yes", "appendfsync " + fsync}}
}

const noAOF = "no AOF: a restart of Redis loses"

var restarts = []fault{
	{"server killed (-9) and restarted, AOF always", false, func(r *run) {
		s, b := r.solo(aof("always"))
		r.begin(b, true)
		s.Kill()
		r.hold(time.Second)
		s.Restart(r)
		r.heal()
	}},
	{"server killed (-9) three times, AOF every second", false, func(r *run) {
		s, b := r.solo(aof("everysec"))
		r.begin(b, false)
		r.told("AOF is not synced at every write", "start: AOF is not synced at every write")
		for range 3 {
			s.Kill()
			r.hold(500 * time.Millisecond)
			s.Restart(r)
			r.hold(time.Second)
		}
		r.heal()
	}},
	{"server killed (-9) and restarted, no AOF", true, func(r *run) {
		s, b := r.solo(redistest.Options{})
		r.begin(b, false)
		r.told(noAOF, "start: no AOF")
		s.Kill()
		r.hold(time.Second)
		s.Restart(r)
		r.heal()
	}},
	{"server killed (-9), restarted from an older snapshot", true, func(r *run) {
		s, b := r.solo(redistest.Options{})
		r.begin(b, false)
		r.told(noAOF, "start: no AOF")
		r.must(r.admin(s).Save(r.ctx).Err())
		r.hold(2 * time.Second)
		s.Kill()
		s.Restart(r)
		r.heal()
	}},
	{"FLUSHALL", true, func(r *run) {
		s, b := r.solo(aof("always"))
		r.begin(b, false)
		r.must(r.admin(s).FlushAll(r.ctx).Err())
		r.heal()
	}},
	{"FLUSHALL every 2 s, five times", false, func(r *run) {
		s, b := r.solo(aof("always"))
		r.begin(b, false)
		for range 5 {
			r.must(r.admin(s).FlushAll(r.ctx).Err())
			r.hold(2 * time.Second)
		}
		r.heal()
	}},
	{"server suspended (SIGSTOP) for 6 s", false, func(r *run) {
		s, b := r.solo(redistest.Options{})
		r.begin(b, true)
		s.Pause(r)
		r.hold(6 * time.Second)
		s.Resume(r)
		r.heal()
	}},
}

// pressure leaves the server 2 MB and writes much more than that, with and without expiry.
func (r *run) pressure(s *redistest.Server, policy string) {
	c := r.admin(s)
	text, err := c.Info(r.ctx, "memory").Result()
	r.must(err)
	_, text, _ = strings.Cut(text, "used_memory:")
	var used int
	fmt.Sscan(text, &used)
	r.must(c.ConfigSet(r.ctx, "maxmemory-samples", "10").Err())
	r.must(c.ConfigSet(r.ctx, "maxmemory", fmt.Sprint(used+2<<20)).Err())
	junk := strings.Repeat("x", 4000)
	for i := range 30 {
		c.Pipelined(r.ctx, func(p redis.Pipeliner) error { // where nothing is evicted it fails, which is the point
			for j := range 100 {
				p.Set(r.ctx, fmt.Sprintf("junk:%d", 100*i+j), junk, time.Hour)
			}
			return nil
		})
		r.hold(50 * time.Millisecond)
	}
	if n, _ := c.Info(r.ctx, "stats").Result(); policy != "noeviction" && strings.Contains(n, "evicted_keys:0\r") {
		r.Error("nothing was evicted: this shows nothing")
	}
	r.hold(2 * time.Second)
}

func (r *run) relieve(s *redistest.Server) {
	c := r.admin(s)
	r.must(c.ConfigSet(r.ctx, "maxmemory", "0").Err())
	for i := range 30 {
		keys := make([]string, 100)
		for j := range keys {
			keys[j] = fmt.Sprintf("junk:%d", 100*i+j)
		}
		r.must(c.Unlink(r.ctx, keys...).Err())
	}
}

func evicting(policy, said string) func(*run) {
	return func(r *run) {
		s, b := r.solo(redistest.Options{Config: []string{"maxmemory-policy " + policy, "appendonly yes", "appendfsync always"}})
		r.begin(b, false)
		r.told(said, "start: eviction policy "+policy)
		r.pressure(s, policy)
		r.relieve(s)
		r.heal()
	}
}

var memory = []fault{
	{"memory short, allkeys-lru", true, evicting("allkeys-lru", "eviction policy allkeys-lru: when memory is short it deletes the revocation log")},
	{"memory short, volatile-lru", false, evicting("volatile-lru", "eviction policy volatile-lru: when memory is short it may delete")},
	{"memory short, volatile-ttl", false, evicting("volatile-ttl", "eviction policy volatile-ttl: when memory is short it may delete")},
	{"memory short, noeviction (OOM)", false, func(r *run) {
		s, b := r.solo(redistest.Options{})
		r.begin(b, true)
		r.pressure(s, "noeviction")
		c := r.admin(s)
		r.must(c.ConfigSet(r.ctx, "maxmemory", "1").Err())
		r.hold(2 * time.Second)
		r.answered(c, "OOM")
		r.relieve(s)
		r.heal()
	}},
}

// answered fails the test if the server has not answered anybody with an error of that name: then the fault did nothing.
func (r *run) answered(c *redis.Client, name string) {
	if text := c.Info(r.ctx, "errorstats").Val(); !strings.Contains(text, "errorstat_"+name+":") {
		r.Errorf("nobody was answered %s: this shows nothing", name)
	}
}

var answers = []fault{
	{"LOADING for 3 s after a restart", false, func(r *run) {
		s, b := r.solo(redistest.Options{Config: []string{
			"appendonly yes", "appendfsync always", "key-load-delay 1500", "loading-process-events-interval-bytes 1024",
		}})
		c := r.admin(s)
		for i := range 2000 {
			r.must(c.Set(r.ctx, fmt.Sprintf("junk:%d", i), strings.Repeat("x", 100), 0).Err())
		}
		r.must(c.BgRewriteAOF(r.ctx).Err())
		r.begin(b, true)
		s.Restart(r)
		r.answered(r.admin(s), "LOADING")
		r.heal()
	}},
	{"READONLY for 3 s", false, func(r *run) {
		s, b := r.solo(redistest.Options{})
		r.begin(b, true)
		c := r.admin(s)
		p, err := unused()
		r.must(err)
		r.must(c.ReplicaOf(r.ctx, "127.0.0.1", p).Err())
		r.hold(3 * time.Second)
		r.must(c.ReplicaOf(r.ctx, "NO", "ONE").Err())
		r.answered(c, "READONLY")
		r.heal()
	}},
	{"BUSY for 4 s (a script that does not end)", true, func(r *run) {
		s, b := r.solo(redistest.Options{Config: []string{"busy-reply-threshold 50"}})
		r.begin(b, true)
		c := r.admin(s)
		done := make(chan struct{})
		go func() {
			defer close(done)
			ctx, cancel := context.WithTimeout(r.ctx, 10*time.Second)
			defer cancel()
			c.Eval(ctx, "while true do end", nil)
		}()
		r.hold(4 * time.Second)
		r.must(r.admin(s).ScriptKill(r.ctx).Err())
		<-done
		r.answered(c, "BUSY")
		r.heal()
	}},
	{"NOSCRIPT again and again for 3 s", false, func(r *run) {
		s, b := r.solo(redistest.Options{})
		r.begin(b, true)
		c := r.admin(s)
		for end := time.Now().Add(3 * time.Second); time.Now().Before(end); r.hold(2 * time.Millisecond) {
			r.must(c.ScriptFlush(r.ctx).Err())
		}
		r.answered(c, "NOSCRIPT")
		r.heal()
	}},
}
