package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/revocation/feed"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/token"
)

// How the spreading of news is measured: one revoker and all followers in this process, which shares the machine with Redis; a revocation each 10 ms; the time
// from just before it is appended to when the follower has it in its list. Each trial has a log of its own.
const (
	spreadEach   = 10 * time.Millisecond
	spreadNews   = 150 // revocations of a trial
	spreadTrials = 3
	spreadLimit  = 20 * time.Second // for the last of them to arrive
	pollEach     = 100 * time.Millisecond
	paceEach     = 50 * time.Millisecond
)

// A spread is how long news takes to reach many, in several ways.
type spread struct {
	title string
	redis *redis.Client
	addr  string
	rows  []*spreadRow
	notes []string
	trial int

	alone map[string]time.Duration // how long Redis works for one revocation that nobody hears of, by way
}

// A spreadRow is one way to so many.
type spreadRow struct {
	way       *way
	followers int
	p50, p99  time.Duration // goals; 0 = none

	p50s, p99s, worst []float64 // ms, one of each trial
	redis, here       []float64 // us for each delivery
	lost              int       // not delivered within the limit
}

// A way brings news. It starts so many listeners, each of which calls heard with its own number and that of the news, and returns when all are listening. tell
// appends, and end stops everything.
type way struct {
	name   string
	listen func(t *trial) (tell func(revocation.Entry), end func(), err error)
}

// A trial is one row, measured once.
type trial struct {
	ctx       context.Context
	addr      string
	redis     *redis.Client
	prefix    string
	tag       uint64 // in all IDs of this trial
	followers int

	sent  [spreadNews]atomic.Int64
	began time.Time
	took  [][]time.Duration // of each follower
	count atomic.Int64
}

// entry is the revocation of a session whose ID holds a number.
func (t *trial) entry(number uint64) revocation.Entry {
	var random [16]byte
	binary.LittleEndian.PutUint64(random[:8], number)
	binary.LittleEndian.PutUint64(random[8:], t.tag)
	id, err := token.NewSessionID("abc", random)
	must(err == nil)
	return sessionEntry(id, time.Now().UnixMilli())
}

// heard notes that a follower knows of a revocation.
func (t *trial) heard(follower int, e revocation.Entry) {
	number, tag, _ := e.Session.Words()
	if tag != t.tag || number >= spreadNews {
		return
	}
	t.took[follower] = append(t.took[follower], time.Since(t.began)-time.Duration(t.sent[number].Load()))
	t.count.Add(1)
}

func newSpread(client *redis.Client, addr string) *spread {
	stream := &way{"counterfoil, Redis", func(t *trial) (func(revocation.Entry), func(), error) { return listenStream(t, 0) }}
	paced := &way{"the same, a read each 50 ms", func(t *trial) (func(revocation.Entry), func(), error) { return listenStream(t, paceEach) }}
	channel := &way{"plain pub/sub", listenChannel}
	polling := &way{"polling each 100 ms", listenPolling}
	fed := &way{"counterfoil, feed", listenFeed}
	s := &spread{title: "From a revocation to the lists of many followers, 100 revocations a second", redis: client, addr: addr, alone: map[string]time.Duration{}}
	for _, n := range []int{1, 10, 100, 1000} {
		for _, w := range []*way{stream, channel, polling, fed, paced} {
			if w == fed && n > 100 || w == paced && n < 100 {
				continue
			}
			r := &spreadRow{way: w, followers: n}
			if w == stream && n == 100 {
				r.p50, r.p99 = 5*time.Millisecond, 50*time.Millisecond
			}
			s.rows = append(s.rows, r)
		}
	}
	s.notes = []string{
		"Redis us is the time that Redis works for a delivery, without what it works for a revocation that nobody hears of. Client us is this process's, the revoker included.",
	}
	return s
}

func (s *spread) measure(int) {
	order := slices.Clone(s.rows)
	for _, w := range []*way{s.rows[0].way, s.rows[1].way} { // who appends to a log, and who publishes
		r := &spreadRow{way: w}
		_, redis, _ := s.run(r)
		s.alone[w.name] = redis / spreadNews
	}
	for range spreadTrials {
		mathrand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, r := range order {
			t, redis, here := s.run(r)
			var all []float64
			for _, took := range t.took {
				for _, d := range took {
					all = append(all, float64(d.Microseconds())/1000)
				}
			}
			slices.Sort(all)
			r.lost += spreadNews*r.followers - len(all)
			if len(all) == 0 {
				continue
			}
			r.p50s = append(r.p50s, all[len(all)/2])
			r.p99s = append(r.p99s, all[len(all)*99/100])
			r.worst = append(r.worst, all[len(all)-1])
			alone, ok := s.alone[r.way.name]
			if !ok {
				alone = s.alone[s.rows[0].way.name]
			}
			each := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 / float64(len(all)) }
			r.redis = append(r.redis, each(redis-spreadNews*alone))
			r.here = append(r.here, each(here))
		}
	}
}

// run measures a row once, and returns how long Redis and this process worked meanwhile.
func (s *spread) run(r *spreadRow) (t *trial, redisWorked, hereWorked time.Duration) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	s.trial++
	t = &trial{
		ctx: ctx, addr: s.addr, redis: s.redis, prefix: "bench" + strconv.Itoa(s.trial) + ":", tag: uint64(s.trial), followers: r.followers,
		took: make([][]time.Duration, r.followers), began: time.Now(),
	}
	for i := range t.took {
		t.took[i] = make([]time.Duration, 0, spreadNews)
	}
	tell, end, err := r.way.listen(t)
	if err != nil {
		panic(fmt.Sprintf("bench: %s to %d: %v", r.way.name, r.followers, err))
	}
	defer end()
	runtime.GC()
	here := &site{pid: os.Getpid()}
	load := &load{redis: s.redis}
	hereWorked, redisWorked = here.worked(), load.redisWorked()
	first := time.Now()
	for i := range uint64(spreadNews) {
		time.Sleep(time.Until(first.Add(time.Duration(i) * spreadEach)))
		t.sent[i].Store(int64(time.Since(t.began)))
		tell(t.entry(i))
	}
	for limit := time.Now().Add(spreadLimit); t.count.Load() < int64(spreadNews*r.followers) && time.Now().Before(limit); {
		time.Sleep(time.Millisecond)
	}
	return t, load.redisWorked() - redisWorked, here.worked() - hereWorked
}

func (s *spread) print() {
	fmt.Printf("\n%s\n\n| %-28s | %9s | %8s | %8s | %8s | %8s | %9s | %-40s |\n|---|---:|---:|---:|---:|---:|---:|---|\n",
		s.title, "way", "followers", "p50 ms", "p99 ms", "max ms", "Redis us", "client us", "goal")
	for _, r := range s.rows {
		goal, missed := r.verdict()
		goal = mark(goal, missed)
		if r.lost > 0 {
			goal += fmt.Sprintf(" %d not delivered in time", r.lost)
		}
		worst := 0.0
		if len(r.worst) > 0 {
			worst = slices.Max(r.worst)
		}
		fmt.Printf("| %-28s | %9d | %8.2f | %8.1f | %8.1f | %8.1f | %9.1f | %-40s |\n",
			r.way.name, r.followers, median(r.p50s), median(r.p99s), worst, median(r.redis), median(r.here), goal)
	}
	for _, n := range s.notes {
		fmt.Println("\n" + n)
	}
}

func (r *spreadRow) verdict() (goal string, missed bool) {
	if r.p50 == 0 {
		return "", false
	}
	ms := func(d time.Duration) float64 { return d.Seconds() * 1000 }
	return fmt.Sprintf("p50 <= %g ms, p99 <= %g ms", ms(r.p50), ms(r.p99)), median(r.p50s) > ms(r.p50) || median(r.p99s) > ms(r.p99) || r.lost > 0
}

func (s *spread) short() (n int) {
	for _, r := range s.rows {
		if _, missed := r.verdict(); missed {
			n++
		}
	}
	return n
}

func quiet() store.Config {
	return store.Config{Logger: slog.New(slog.DiscardHandler), Timeout: 20 * time.Second}
}

// follow makes one follower of a source, which tells the trial what it hears, and returns what waits until it is fresh.
func (t *trial) follow(i int, source revocation.Source, running *sync.WaitGroup) (*revocation.Follower, error) {
	list, err := revocation.NewList(revocation.ListConfig{})
	if err != nil {
		return nil, err
	}
	f, err := revocation.NewFollower(revocation.FollowerConfig{Source: source, List: list, Events: revocation.EventFunc(func(e revocation.Event) {
		if e.Kind == revocation.EventRevoked {
			t.heard(i, e.Entry)
		}
	})})
	if err != nil {
		return nil, err
	}
	running.Go(func() { f.Follow(t.ctx) })
	return f, nil
}

// ready appends until all followers are fresh.
func (t *trial) ready(log *store.Redis, followers []*revocation.Follower) error {
	ctx, cancel := context.WithTimeout(t.ctx, spreadLimit)
	defer cancel()
	done := make(chan struct{})
	var beat sync.WaitGroup
	beat.Go(func() {
		for number := uint64(spreadNews); ; number++ {
			log.Append(ctx, t.entry(number))
			select {
			case <-done:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	var err error
	for _, f := range followers {
		if err = f.Ready(ctx); err != nil {
			break
		}
	}
	close(done)
	beat.Wait()
	time.Sleep(2 * pollEach) // until all have heard the last
	return err
}

// tell appends to the log.
func (t *trial) tell(log *store.Redis) func(revocation.Entry) {
	return func(e revocation.Entry) {
		_, err := log.Append(t.ctx, e)
		must(err == nil)
	}
}

func (t *trial) config() store.Config {
	c := quiet()
	c.Prefix = t.prefix
	return c
}

// A pacedSource reads at most so often, so that one read brings what came meanwhile.
type pacedSource struct {
	revocation.Source
	each time.Duration
	last time.Time
}

func (p *pacedSource) Read(ctx context.Context, after revocation.Position, wait time.Duration) (revocation.Batch, error) {
	if p.each > 0 {
		time.Sleep(time.Until(p.last.Add(p.each)))
		p.last = time.Now()
	}
	return p.Source.Read(ctx, after, wait)
}

func listenStream(t *trial, pace time.Duration) (func(revocation.Entry), func(), error) {
	ctx, stop := context.WithCancel(t.ctx)
	t.ctx = ctx
	log, err := store.New(ctx, t.redis, t.config())
	if err != nil {
		stop()
		return nil, nil, err
	}
	var running sync.WaitGroup
	var closers []io.Closer
	end := func() {
		stop()
		for _, c := range closers {
			c.Close()
		}
		running.Wait()
		log.Close()
	}
	var followers []*revocation.Follower
	for i := range t.followers {
		reader, err := store.NewLogReader(ctx, t.redis, t.config())
		if err != nil {
			end()
			return nil, nil, err
		}
		closers = append(closers, reader)
		f, err := t.follow(i, &pacedSource{reader, pace, time.Time{}}, &running)
		if err != nil {
			end()
			return nil, nil, err
		}
		followers = append(followers, f)
	}
	if err := t.ready(log, followers); err != nil {
		end()
		return nil, nil, err
	}
	return t.tell(log), end, nil
}

// connect makes a client of one connection, like those that the log is read with.
func (t *trial) connect() *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: t.addr, PoolSize: 1, PipelinePoolSize: -1, MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

func (t *trial) parse(raw string) revocation.Entry {
	e, err := revocation.ParseEntry([]byte(raw))
	must(err == nil)
	return e
}

func listenChannel(t *trial) (func(revocation.Entry), func(), error) {
	name := t.prefix + "news"
	var running sync.WaitGroup
	var closers []io.Closer
	end := func() {
		for _, c := range closers {
			c.Close()
		}
		running.Wait()
	}
	for i := range t.followers {
		client := t.connect()
		channel := client.Subscribe(t.ctx, name)
		closers = append(closers, channel, client)
		if _, err := channel.Receive(t.ctx); err != nil {
			end()
			return nil, nil, err
		}
		running.Go(func() {
			for {
				m, err := channel.ReceiveMessage(t.ctx)
				if err != nil {
					return
				}
				t.heard(i, t.parse(m.Payload))
			}
		})
	}
	return func(e revocation.Entry) {
		raw, err := e.AppendBinary(nil)
		must(err == nil && t.redis.Publish(t.ctx, name, raw).Err() == nil)
	}, end, nil
}

func listenPolling(t *trial) (func(revocation.Entry), func(), error) {
	ctx, stop := context.WithCancel(t.ctx)
	t.ctx = ctx
	log, err := store.New(ctx, t.redis, t.config())
	if err != nil {
		stop()
		return nil, nil, err
	}
	first, err := log.Append(ctx, t.entry(spreadNews))
	if err != nil {
		stop()
		return nil, nil, err
	}
	var running sync.WaitGroup
	for i := range t.followers {
		client := t.connect()
		running.Go(func() {
			defer client.Close()
			time.Sleep(time.Duration(mathrand.Int64N(int64(pollEach))))
			each := time.NewTicker(pollEach)
			defer each.Stop()
			for at := string(first.Position); ; {
				streams, err := client.XRead(ctx, &redis.XReadArgs{Streams: []string{t.prefix + "{rev}log", at}, Block: -1}).Result()
				if err == nil {
					for _, m := range streams[0].Messages {
						at = m.ID
						if raw, _ := m.Values["r"].(string); raw != "" {
							t.heard(i, t.parse(raw))
						}
					}
				}
				select {
				case <-each.C:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	time.Sleep(3 * pollEach)
	return t.tell(log), func() { stop(); running.Wait(); log.Close() }, nil
}

// listenFeed starts an origin, which follows the log over Redis, and followers of it over HTTP.
func listenFeed(t *trial) (func(revocation.Entry), func(), error) {
	ctx, stop := context.WithCancel(t.ctx)
	t.ctx = ctx
	redisLog, err := store.New(ctx, t.redis, t.config())
	if err != nil {
		stop()
		return nil, nil, err
	}
	var running sync.WaitGroup
	tail, err := feed.NewTail(redisLog, feed.TailConfig{})
	must(err == nil)
	list, err := revocation.NewList(revocation.ListConfig{})
	must(err == nil)
	own, err := revocation.NewFollower(revocation.FollowerConfig{Source: tail, List: list})
	must(err == nil)
	key, err := feed.GenerateKey()
	must(err == nil)
	edges := new(feed.Edges)
	handler, err := feed.NewHandler(feed.Config{Tail: tail, Key: key, Issuer: issuerName, Edges: edges, Fresh: func() revocation.Freshness { return list.Freshness(time.Now(), 0, 0) }})
	must(err == nil)
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		stop()
		return nil, nil, err
	}
	server := &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0)}
	running.Go(func() { server.Serve(socket) })
	running.Go(func() { own.Follow(ctx) })
	var closers []io.Closer
	end := func() {
		stop()
		server.Close()
		for _, c := range closers {
			c.Close()
		}
		running.Wait()
		redisLog.Close()
	}
	if err := t.ready(redisLog, []*revocation.Follower{own}); err != nil {
		end()
		return nil, nil, err
	}
	var followers []*revocation.Follower
	for i := range t.followers {
		credential, err := feed.NewCredential("edge-" + strconv.Itoa(i))
		must(err == nil)
		digest, err := credential.Digest()
		must(err == nil && edges.Allow(credential.Name, digest) == nil)
		client, err := feed.NewClient(feed.ClientConfig{URL: "http://" + socket.Addr().String() + "/revocations", Credential: credential, Issuer: issuerName, Keys: []revocation.FrameKey{key.Public()}})
		must(err == nil)
		closers = append(closers, client)
		f, err := t.follow(i, client, &running)
		must(err == nil)
		followers = append(followers, f)
	}
	if err := t.ready(redisLog, followers); err != nil {
		end()
		return nil, nil, err
	}
	return t.tell(redisLog), end, nil
}

// intakeTable counts what the log takes in Redis, and how long a new follower needs for the whole of it.
func intakeTable(client *redis.Client) (*group, error) {
	ctx := context.Background()
	g := &group{title: "A new follower takes in the whole log, Redis to list (medians)"}
	for _, c := range []struct {
		name     string
		n, times int
		goal     time.Duration
	}{{"100,000", 100_000, 7, 300 * time.Millisecond}, {"1,000,000", 1_000_000, 3, 3 * time.Second}} {
		cfg := quiet()
		cfg.Prefix = "intake" + strconv.Itoa(c.n) + ":"
		log, err := store.New(ctx, client, cfg)
		if err != nil {
			return nil, err
		}
		defer log.Close()
		now := time.Now().UnixMilli()
		ids := randomIDs(c.n, uint64(c.n))
		for len(ids) > 0 {
			var entries []revocation.Entry
			for _, id := range ids[:1000] {
				entries = append(entries, sessionEntry(id, now))
			}
			if _, err := log.Append(ctx, entries...); err != nil {
				return nil, err
			}
			ids = ids[1000:]
		}
		bytes, err := client.MemoryUsage(ctx, cfg.Prefix+"{rev}log", 0).Result()
		if err != nil {
			return nil, err
		}
		reader, err := store.NewLogReader(ctx, client, cfg)
		if err != nil {
			return nil, err
		}
		var took, mallocs, worked, redisWorked []float64
		var before, after runtime.MemStats
		here, load := &site{pid: os.Getpid()}, &load{redis: client}
		for range c.times {
			list := newList()
			f, err := revocation.NewFollower(revocation.FollowerConfig{List: list})
			must(err == nil)
			runtime.GC()
			runtime.ReadMemStats(&before)
			w, r := here.worked(), load.redisWorked()
			began := time.Now()
			b, err := reader.Read(ctx, "", 0)
			if err != nil {
				return nil, err
			}
			f.Apply(b, began)
			took = append(took, time.Since(began).Seconds())
			worked = append(worked, (here.worked() - w).Seconds())
			redisWorked = append(redisWorked, (load.redisWorked() - r).Seconds())
			runtime.ReadMemStats(&after)
			mallocs = append(mallocs, float64(after.Mallocs-before.Mallocs)/float64(c.n))
			must(list.Len() == c.n)
		}
		reader.Close()
		entries := c.name
		each := float64(bytes) / float64(c.n)
		s := median(took)
		g.facts = append(g.facts,
			fact{name: entries + " entries, bytes an entry in Redis", value: fmt.Sprintf("%.1f", each), goal: "<= 70", missed: each > 70},
			fact{name: entries + " entries, seconds", value: fmt.Sprintf("%.3f", s), goal: fmt.Sprintf("<= %g", c.goal.Seconds()), missed: s > c.goal.Seconds()},
			fact{name: entries + " entries, processors' seconds, and Redis'", value: fmt.Sprintf("%.2f, %.2f", median(worked), median(redisWorked))},
			fact{name: entries + " entries, allocations an entry", value: fmt.Sprintf("%.1f", median(mallocs))})
		client.Unlink(ctx, cfg.Prefix+"{rev}log", cfg.Prefix+"{rev}meta")
	}
	return g, nil
}
