package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alexedwards/scs/goredisstore"
	fiberredis "github.com/gofiber/storage/redis/v3"
	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/token"
)

const (
	idle     = 30 * time.Minute
	absolute = 12 * time.Hour
	kilobyte = 1024 // application data of a session
	subject  = "user-12345678"
)

// redisBench is a Redis of its own, and everybody's way to it.
type redisBench struct {
	ctx   context.Context
	redis *redis.Client
	ours  *store.Redis
	fiber *fiberredis.Storage
	scs   *goredisstore.RedisStore
	rue   rueidis.Client
	data  []byte // a kilobyte
	end   func()
}

func storeSuite() (suite, error) {
	b, err := startBench()
	if err != nil {
		return suite{}, err
	}
	ref, err := b.session(subject, b.field("data", b.data))
	if err != nil {
		b.end()
		return suite{}, err
	}
	sixteen, err := b.session(subject, b.fields()...)
	if err != nil {
		b.end()
		return suite{}, err
	}
	facts, err := b.facts(ref)
	if err != nil {
		b.end()
		return suite{}, err
	}
	together, err := b.together(ref, sixteen)
	if err != nil {
		b.end()
		return suite{}, err
	}
	return suite{[]table{facts, b.saveGroup(ref), b.compareGroup(ref), b.loadGroup(sixteen), together}, b.end}, nil
}

func startBench() (*redisBench, error) {
	addr, end, err := startRedis()
	if err != nil {
		return nil, err
	}
	b := &redisBench{ctx: context.Background(), data: bytes.Repeat([]byte("counterf"), kilobyte/8), end: end}
	b.redis = redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true})
	quiet := slog.New(slog.DiscardHandler)
	if b.ours, err = store.New(b.ctx, b.redis, store.Config{Logger: quiet, Timeout: 10 * time.Second}); err != nil {
		end()
		return nil, err
	}
	b.fiber = fiberredis.New(fiberredis.Config{URL: "redis://" + addr})
	b.scs = goredisstore.New(b.redis)
	if b.rue, err = rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, DisableCache: true}); err != nil {
		end()
		return nil, err
	}
	b.end = func() {
		b.ours.Close()
		b.rue.Close()
		b.fiber.Close()
		b.redis.Close()
		end()
	}
	return b, nil
}

// startRedis runs the redis-server of PATH on a free port of loopback. It keeps nothing on disk.
func startRedis() (addr string, end func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	addr = l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(addr)
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return "", nil, err
	}
	cmd := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir)
	in, err := cmd.StdinPipe() // open as long as this process is
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		os.RemoveAll(dir)
		return "", nil, fmt.Errorf("the rows of store need a redis-server on PATH: %w", err)
	}
	end = func() {
		in.Close()
		cmd.Process.Kill()
		cmd.Wait()
		os.RemoveAll(dir)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			io.WriteString(conn, "PING\r\n")
			pong := make([]byte, 5)
			_, err = io.ReadFull(conn, pong)
			conn.Close()
			if err == nil && string(pong) == "+PONG" {
				return addr, end, nil
			}
		}
		if time.Now().After(deadline) {
			end()
			return "", nil, errors.New("redis-server does not start")
		}
	}
}

func (b *redisBench) field(name string, value []byte) counterfoil.Op {
	return counterfoil.Op{Kind: counterfoil.OpSet, Name: name, Value: value}
}

// fields is the kilobyte in sixteen of them.
func (b *redisBench) fields() (ops []counterfoil.Op) {
	for i := range 16 {
		ops = append(ops, b.field("field"+strconv.Itoa(i), b.data[:kilobyte/16]))
	}
	return ops
}

func (b *redisBench) session(subject string, ops ...counterfoil.Op) (counterfoil.Ref, error) {
	var random [16]byte
	rand.Read(random[:])
	id, err := token.NewSessionID(counterfoil.SubjectTag(subject), random)
	if err != nil {
		return counterfoil.Ref{}, err
	}
	_, err = b.ours.Create(b.ctx, counterfoil.NewRecord{Session: id, Subject: subject, Idle: idle, Absolute: absolute, Ops: ops})
	return counterfoil.Ref{Session: id, Subject: subject}, err
}

func key(ref counterfoil.Ref) string {
	return "cf:{" + ref.Session.Tag() + "}s:" + ref.Session.String()
}

// saveGroup writes a kilobyte.
func (b *redisBench) saveGroup(ref counterfoil.Ref) *group {
	whole, incr := []counterfoil.Op{b.field("data", b.data)}, []counterfoil.Op{{Kind: counterfoil.OpIncr, Name: "visits", By: 1}}
	text := string(b.data)
	return &group{title: "Save 1 KB; goal: at least 0.65 of plain SET", rows: []*row{
		{name: "go-redis SET with expiry", run: func() { must(b.redis.Set(b.ctx, "bench:set", b.data, idle).Err() == nil) }},
		{name: "counterfoil, a field of 1 KB", ratio: 1 / 0.65, allocs: -1, run: func() {
			_, err := b.ours.Save(b.ctx, ref, whole)
			must(err == nil)
		}},
		{name: "counterfoil, a counter in it", run: func() {
			_, err := b.ours.Save(b.ctx, ref, incr)
			must(err == nil)
		}},
		{name: "Fiber storage/redis", run: func() { must(b.fiber.Set("bench:fiber", b.data, idle) == nil) }},
		{name: "scs goredisstore", run: func() { must(b.scs.CommitCtx(b.ctx, "bench", b.data, time.Now().Add(idle)) == nil) }},
		{name: "rueidis SET with expiry", run: func() {
			must(b.rue.Do(b.ctx, b.rue.B().Set().Key("bench:rueidis").Value(text).PxMilliseconds(idle.Milliseconds()).Build()).Error() == nil)
		}},
	}}
}

// compareGroup writes a kilobyte only if it is as it was read. The peers have no such save; rueidis runs the script that it takes.
func (b *redisBench) compareGroup(ref counterfoil.Ref) *group {
	const name = "bench:watch"
	text := string(b.data)
	must(b.redis.Set(b.ctx, name, b.data, idle).Err() == nil)
	op := b.field("data", b.data)
	op.If, op.Was = true, counterfoil.Value{Bytes: b.data, Present: true}
	ops := []counterfoil.Op{op}
	swap := rueidis.NewLuaScript("if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) return 1")
	millis := strconv.FormatInt(idle.Milliseconds(), 10)
	return &group{title: "Compare and save 1 KB; goal: at least 1.5 of WATCH/MULTI", rows: []*row{
		{name: "go-redis WATCH, GET, MULTI SET EXEC", run: func() {
			must(b.redis.Watch(b.ctx, func(tx *redis.Tx) error {
				was, err := tx.Get(b.ctx, name).Result()
				if err != nil || was != text {
					return errors.New("changed")
				}
				_, err = tx.TxPipelined(b.ctx, func(p redis.Pipeliner) error { return p.Set(b.ctx, name, b.data, idle).Err() })
				return err
			}, name) == nil)
		}},
		{name: "counterfoil, conditional", ratio: 1 / 1.5, allocs: -1, run: func() {
			_, err := b.ours.Save(b.ctx, ref, ops)
			must(err == nil)
		}},
		{name: "rueidis, a script of three lines", run: func() {
			n, err := swap.Exec(b.ctx, b.rue, []string{name}, []string{text, text, millis}).AsInt64()
			must(err == nil && n == 1)
		}},
	}}
}

// loadGroup reads a kilobyte in sixteen fields, or in one value where a peer knows no fields.
func (b *redisBench) loadGroup(ref counterfoil.Ref) *group {
	name := key(ref)
	n := int(b.redis.HLen(b.ctx, name).Val())
	must(n > 16)
	must(b.fiber.Set("bench:fiber", b.data, idle) == nil && b.scs.CommitCtx(b.ctx, "bench", b.data, time.Now().Add(idle)) == nil)
	return &group{title: "Load 1 KB in 16 fields; goal: at least 0.9 of HGETALL of the same fields", rows: []*row{
		{name: "go-redis HGETALL", run: func() {
			m, err := b.redis.HGetAll(b.ctx, name).Result()
			must(err == nil && len(m) == n)
		}},
		{name: "counterfoil", ratio: 1 / 0.9, allocs: -1, run: func() {
			r, err := b.ours.Load(b.ctx, ref)
			must(err == nil && len(r.Fields) == 16)
		}},
		{name: "rueidis HGETALL", run: func() {
			m, err := b.rue.Do(b.ctx, b.rue.B().Hgetall().Key(name).Build()).AsStrMap()
			must(err == nil && len(m) == n)
		}},
		{name: "Fiber storage/redis, one value", run: func() {
			v, err := b.fiber.Get("bench:fiber")
			must(err == nil && len(v) == kilobyte)
		}},
		{name: "scs goredisstore, one value", run: func() {
			v, found, err := b.scs.FindCtx(b.ctx, "bench")
			must(err == nil && found && len(v) == kilobyte)
		}},
	}}
}

// together has many goroutines load and save at once, each its turn with the pooled client and with pipelines, and keeps the fastest of nine. The peers do
// the same work as they are.
func (b *redisBench) together(one, sixteen counterfoil.Ref) (*group, error) {
	auto, err := store.New(b.ctx, b.redis, store.Config{Logger: slog.New(slog.DiscardHandler), Timeout: 10 * time.Second, AutoPipeline: true})
	if err != nil {
		return nil, err
	}
	defer auto.Close()
	whole := []counterfoil.Op{b.field("data", b.data)}
	incr := []counterfoil.Op{{Kind: counterfoil.OpIncr, Name: "visits", By: 1}}
	text := string(b.data)
	save := func(s *store.Redis, ops []counterfoil.Op) func() {
		return func() { _, err := s.Save(b.ctx, one, ops); must(err == nil) }
	}
	load := func(s *store.Redis) func() {
		return func() { _, err := s.Load(b.ctx, sixteen); must(err == nil) }
	}
	rows := []struct {
		name string
		run  func()
		than string // the row that the goal refers to
	}{
		{name: "load", run: load(b.ours)},
		{name: "load, AutoPipeline", run: load(auto), than: "load"},
		{name: "go-redis HGETALL", run: func() { must(b.redis.HGetAll(b.ctx, key(sixteen)).Err() == nil) }},
		{name: "rueidis HGETALL", run: func() { must(b.rue.Do(b.ctx, b.rue.B().Hgetall().Key(key(sixteen)).Build()).Error() == nil) }},
		{name: "save of 1 KB", run: save(b.ours, whole)},
		{name: "save of 1 KB, AutoPipeline", run: save(auto, whole), than: "save of 1 KB"},
		{name: "save of a counter", run: save(b.ours, incr)},
		{name: "save of a counter, AutoPipeline", run: save(auto, incr), than: "save of a counter"},
		{name: "go-redis SET", run: func() { must(b.redis.Set(b.ctx, "bench:set", b.data, idle).Err() == nil) }},
		{name: "rueidis SET", run: func() {
			must(b.rue.Do(b.ctx, b.rue.B().Set().Key("bench:rueidis").Value(text).PxMilliseconds(idle.Milliseconds()).Build()).Error() == nil)
		}},
		{name: "Fiber storage/redis Set", run: func() { must(b.fiber.Set("bench:fiber", b.data, idle) == nil) }},
		{name: "scs goredisstore Commit", run: func() { must(b.scs.CommitCtx(b.ctx, "bench", b.data, time.Now().Add(idle)) == nil) }},
	}
	g := &group{title: "Many goroutines at once, steps a second; goal: pipelined at least twice the pooled client"}
	for _, n := range []int{64, 256} {
		best := map[string]float64{}
		for range 9 {
			for _, r := range rows {
				best[r.name] = max(best[r.name], rate(n, r.run))
			}
		}
		for _, r := range rows {
			f := fact{name: fmt.Sprintf("%d: %s", n, r.name), value: fmt.Sprintf("%.0f", best[r.name])}
			if r.than != "" {
				times := best[r.name] / best[r.than]
				f.goal, f.missed = fmt.Sprintf("%.2f x, >= 2 x", times), times < 2
			}
			g.facts = append(g.facts, f)
		}
	}
	return g, nil
}

// rate runs a step some thousand times in n goroutines and says how many were done in a second.
func rate(n int, run func()) float64 {
	each := 8192 / n
	var wg sync.WaitGroup
	began := time.Now()
	for range n {
		wg.Go(func() {
			for range each {
				run()
			}
		})
	}
	wg.Wait()
	return float64(n*each) / time.Since(began).Seconds()
}

// trips is a hook that counts how often a client waits for an answer.
type trips struct{ n atomic.Int64 }

func (t *trips) DialHook(next redis.DialHook) redis.DialHook { return next }

func (t *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { t.n.Add(1); return next(ctx, cmd) }
}

func (t *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { t.n.Add(1); return next(ctx, cmds) }
}

// facts counts round trips, Redis' own time and bytes.
func (b *redisBench) facts(ref counterfoil.Ref) (*group, error) {
	g := &group{title: "What Redis is asked for, and what it keeps"}
	counted := redis.NewClient(&redis.Options{Addr: b.redis.Options().Addr, ContextTimeoutEnabled: true})
	defer counted.Close()
	ours, err := store.New(b.ctx, counted, store.Config{Logger: slog.New(slog.DiscardHandler), Timeout: 10 * time.Second})
	if err != nil {
		return nil, err
	}
	defer ours.Close()
	waits := &trips{}
	counted.AddHook(waits)
	whole, incr := []counterfoil.Op{b.field("data", b.data)}, []counterfoil.Op{{Kind: counterfoil.OpIncr, Name: "visits", By: 1}}
	for _, x := range []struct {
		name string
		goal bool
		run  func() error
	}{
		{"load", true, func() error { _, err := ours.Load(b.ctx, ref); return err }},
		{"save of 1 KB", true, func() error { _, err := ours.Save(b.ctx, ref, whole); return err }},
		{"save of a counter", true, func() error { _, err := ours.Save(b.ctx, ref, incr); return err }},
		{"plain SET of 1 KB", false, func() error { return b.redis.Set(b.ctx, "bench:set", b.data, idle).Err() }},
		{"plain HGETALL", false, func() error { return b.redis.HGetAll(b.ctx, key(ref)).Err() }},
		{"Fiber storage/redis Set", false, func() error { return b.fiber.Set("bench:fiber", b.data, idle) }},
		{"scs goredisstore Commit", false, func() error { return b.scs.CommitCtx(b.ctx, "bench", b.data, time.Now().Add(idle)) }},
	} {
		if err := x.run(); err != nil { // loads the script
			return nil, fmt.Errorf("%s: %w", x.name, err)
		}
		waits.n.Store(0)
		commands, micros, err := b.count(x.run)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", x.name, err)
		}
		f := fact{name: "commands sent for a " + x.name, value: fmt.Sprintf("%.2f", commands)}
		if x.goal {
			n := waits.n.Load()
			f.goal, f.missed = fmt.Sprintf("in %.2f round trips, 1", float64(n)/times), n != times
		}
		g.facts = append(g.facts, f, fact{name: "Redis CPU for a " + x.name, value: fmt.Sprintf("%.1f us", micros)})
	}
	size, err := b.size()
	if err != nil {
		return nil, err
	}
	g.facts = append(g.facts, fact{"bytes of a session of 1 KB with its index entry", strconv.Itoa(size), "<= 2048", size > 2048})
	return g, nil
}

const times = 2000 // that count runs a step

// count runs a step many times and reads from commandstats how many commands the clients sent for each, and how long Redis worked on each. What a
// script calls is in the script's own time, and is not a command that a client sent: those are counted by the calls that came from outside.
func (b *redisBench) count(run func() error) (commands, micros float64, err error) {
	const n = times
	if err := b.redis.ConfigResetStat(b.ctx).Err(); err != nil {
		return 0, 0, err
	}
	for range n {
		if err := run(); err != nil {
			return 0, 0, err
		}
	}
	text, err := b.redis.Info(b.ctx, "commandstats", "stats").Result()
	if err != nil {
		return 0, 0, err
	}
	calls, usec := map[string]float64{}, map[string]float64{}
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "cmdstat_"), ":calls=")
		if !ok {
			continue
		}
		count, rest, _ := strings.Cut(rest, ",usec=")
		time, _, _ := strings.Cut(rest, ",")
		calls[name], _ = strconv.ParseFloat(count, 64)
		usec[name], _ = strconv.ParseFloat(time, 64)
	}
	for _, bookkeeping := range []string{"config|resetstat", "info"} {
		delete(calls, bookkeeping)
		delete(usec, bookkeeping)
	}
	if s := calls["evalsha"] + calls["eval"]; s > 0 { // whatever else is there was called by the script
		return s / n, (usec["evalsha"] + usec["eval"]) / n, nil
	}
	for name := range calls {
		commands += calls[name] / n
		micros += usec[name] / n
	}
	return commands, micros, nil
}

// size creates sessions, each of a subject of its own, and asks by how much Redis' memory has grown for each: records, indexes, and the tables that hold
// their keys and expiry.
func (b *redisBench) size() (int, error) {
	const n = 8192
	used := func() (int, error) {
		text, err := b.redis.Info(b.ctx, "memory").Result()
		if err != nil {
			return 0, err
		}
		_, rest, _ := strings.Cut(text, "used_memory:")
		digits, _, _ := strings.Cut(rest, "\r\n")
		return strconv.Atoi(digits)
	}
	before, err := used()
	if err != nil {
		return 0, err
	}
	for i := range n {
		if _, err := b.session("user-"+strconv.Itoa(10_000_000+i), b.fields()...); err != nil {
			return 0, err
		}
	}
	after, err := used()
	return (after - before) / n, err
}
