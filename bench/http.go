package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/valyala/fasthttp"
)

// How servers are measured: each in a process of its own, one at a time, in short turns and in another order each round. The clients are kept-alive
// connections of this process, which is given one core to run them, like wrk -t1. They write requests as bytes and read answers with fasthttp's parser.
const (
	few, many  = 32, 128 // connections
	slot       = 250 * time.Millisecond
	leadIn     = 30 * time.Millisecond // of each turn, not counted: caches and pools are the last server's
	coldTokens = 1 << 16               // 16 times what a verifier remembers, so that none is known when it comes again
)

// A load is a workload that several servers are put to. Beside the answers that come in a second it says how long processors work for one, in the
// server and in Redis: that hardly changes when the machine has other things to do.
type load struct {
	title, path string
	connections int
	redis       *redis.Client
	rows        []*loadRow
	notes       []string
}

// A loadRow is one server under load.
type loadRow struct {
	name  string
	goals []loadGoal

	site    *site
	clients []*visitor
	rates   []float64 // answers a second, one of each round
	answers int       // in all rounds, as are the times that processors worked for them
	server  time.Duration
	redis   time.Duration
}

// A loadGoal is a ratio that a row reaches or does not. It is the median of the ratios that the two rows have in each round, so the machine's moods cancel out.
type loadGoal struct {
	of    string // name of the other row
	least float64
}

func (l *load) row(name string) *loadRow {
	for _, r := range l.rows {
		if r.name == name {
			return r
		}
	}
	return nil
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	if n == 0 {
		return 0
	}
	return (v[(n-1)/2] + v[n/2]) / 2
}

// times returns the ratio of a row to another one.
func (r *loadRow) times(other *loadRow) float64 {
	var ratios []float64
	for i := range min(len(r.rates), len(other.rates)) {
		ratios = append(ratios, r.rates[i]/other.rates[i])
	}
	return median(ratios)
}

func (l *load) measure(rounds int) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, r := range l.rows {
		r.clients = visitors(r.site, l.path, l.connections)
		r.turn(slot) // what the first requests set up
	}
	order := slices.Clone(l.rows)
	for range rounds {
		rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, r := range order {
			runtime.GC() // not in somebody's turn
			r.turn(leadIn)
			server, redis := r.site.worked(), l.redisWorked()
			answers, took := r.turn(slot)
			r.server += r.site.worked() - server
			r.redis += l.redisWorked() - redis
			r.answers += answers
			r.rates = append(r.rates, float64(answers)/took.Seconds())
		}
	}
	for _, r := range l.rows {
		for _, v := range r.clients {
			v.checkCount()
			v.conn.Close()
		}
	}
}

// turn lets all clients of a row ask for a while, and returns how many answers came.
func (r *loadRow) turn(d time.Duration) (n int, took time.Duration) {
	var stop atomic.Bool
	var wg sync.WaitGroup
	var answers atomic.Int64
	began := time.Now()
	for _, v := range r.clients {
		wg.Go(func() {
			n := 0
			for !stop.Load() {
				v.ask()
				n++
			}
			answers.Add(int64(n))
		})
	}
	time.Sleep(d)
	stop.Store(true)
	wg.Wait()
	return int(answers.Load()), time.Since(began)
}

// redisWorked returns how long Redis has used a processor.
func (l *load) redisWorked() time.Duration {
	text, err := l.redis.Info(context.Background(), "cpu").Result()
	must(err == nil)
	var seconds float64
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_user" || name == "used_cpu_sys" {
			v, _ := strconv.ParseFloat(value, 64)
			seconds += v
		}
	}
	return time.Duration(seconds * float64(time.Second))
}

// worked returns how long a server has used processors, to the hundredth of a second; 0 where there is no /proc.
func (s *site) worked() time.Duration {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.pid))
	_, rest, _ := strings.Cut(string(text), ") ") // the name may hold anything
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

func (l *load) short() (n int) {
	for _, r := range l.rows {
		for _, g := range r.goals {
			if other := l.row(g.of); other != nil && r.times(other) < g.least {
				n++
			}
		}
	}
	return n
}

func (l *load) print() {
	fmt.Printf("\n%s\n\n| %-44s | %9s | %8s | %9s | %9s | %s |\n|---|---:|---:|---:|---:|---|\n",
		l.title, "row", "answers/s", "ratio", "server us", "Redis us", "goal")
	for _, r := range l.rows {
		var verdicts []string
		for _, g := range r.goals {
			other := l.row(g.of)
			if other == nil {
				verdicts = append(verdicts, fmt.Sprintf(">= %g x %s: not measured", g.least, g.of))
				continue
			}
			ratio := r.times(other)
			verdicts = append(verdicts, mark(fmt.Sprintf("%.2f, >= %g x %s", ratio, g.least, g.of), ratio < g.least))
		}
		each := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(r.answers) }
		fmt.Printf("| %-44s | %9.0f | %8.2f | %9.1f | %9.1f | %s |\n",
			r.name, median(r.rates), r.times(l.rows[0]), each(r.server), each(r.redis), strings.Join(verdicts, "; "))
	}
	for _, n := range l.notes {
		fmt.Println("\n" + n)
	}
}

// A site is a server that runs.
type site struct {
	kind, addr string
	pid        int
	end        func()
}

// A visitor is one client with a session of its own, on one connection.
type visitor struct {
	kind     string
	conn     net.Conn
	in       *bufio.Reader
	answer   fasthttp.Response
	requests [][]byte
	next     int
	asked    int // since the login
	cookie   string
	counts   bool
}

// visitors log in one by one. The requests of theirs that count are written down once.
func visitors(s *site, path string, n int) []*visitor {
	all := make([]*visitor, n)
	var cold [][]byte
	if s.kind == coldServer {
		for token := range bytes.Lines(fetch(s, "/tokens")) {
			cold = append(cold, request(path, "__Host-Http-session="+string(bytes.TrimSpace(token))))
		}
		must(len(cold) == coldTokens)
	}
	for i := range all {
		v := &visitor{kind: s.kind, counts: path == "/count"}
		var err error
		v.conn, err = net.Dial("tcp", s.addr)
		must(err == nil && v.conn.SetDeadline(time.Now().Add(10*time.Minute)) == nil)
		v.in = bufio.NewReaderSize(v.conn, 16<<10)
		v.roundTrip(request("/login", fmt.Sprintf("id=%d", i))) // the cookie is what the rows without sessions count by
		v.cookie = v.cookies(fmt.Sprintf("id=%d", i))
		v.requests = [][]byte{request(path, v.cookie)}
		if cold != nil {
			v.requests, v.next = cold, i*len(cold)/n
		}
		all[i] = v
	}
	return all
}

// request is one as a browser sends it.
func request(path, cookie string) []byte {
	h := "GET " + path + " HTTP/1.1\r\nHost: app.test\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n" +
		"Accept: */*\r\nAccept-Language: en\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n"
	if cookie != "" {
		h += "Cookie: " + cookie + "\r\n"
	}
	return []byte(h + "\r\n")
}

// cookies returns what the answer has put into the jar.
func (v *visitor) cookies(otherwise string) string {
	var pairs []string
	v.answer.Header.VisitAllCookie(func(_, value []byte) {
		pair, _, _ := strings.Cut(string(value), ";")
		pairs = append(pairs, pair)
	})
	if len(pairs) == 0 {
		return otherwise
	}
	return strings.Join(pairs, "; ")
}

func (v *visitor) roundTrip(request []byte) {
	_, err := v.conn.Write(request)
	if err == nil {
		err = v.answer.Read(v.in)
	}
	if err != nil || v.answer.StatusCode() != fasthttp.StatusOK {
		panic(fmt.Sprintf("bench: %s: %v, status %d, %s", v.kind, err, v.answer.StatusCode(), v.answer.Body()))
	}
}

func (v *visitor) ask() {
	v.roundTrip(v.requests[v.next])
	if v.next++; v.next == len(v.requests) {
		v.next = 0
	}
	v.asked++
	if !v.counts && string(v.answer.Body()) != who {
		panic(fmt.Sprintf("bench: %s takes its client for %q", v.kind, v.answer.Body()))
	}
}

// checkCount asks where the count stands: a server that was fast because it did not count is no row.
func (v *visitor) checkCount() {
	if !v.counts || v.kind == "bare" {
		return
	}
	v.roundTrip(request("/n", v.cookie))
	if got := string(v.answer.Body()); got != fmt.Sprint(v.asked) {
		panic(fmt.Sprintf("bench: %s has counted %s of %d", v.kind, got, v.asked))
	}
}

// fetch gets what is too large for a visitor's buffer.
func fetch(s *site, path string) []byte {
	_, body, err := (&fasthttp.Client{}).Get(nil, "http://"+s.addr+path)
	must(err == nil)
	return body
}

// start runs a server until end is called, or until this process has gone.
func start(kind string, cmd *exec.Cmd) (*site, error) {
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe() // open as long as this process is
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &site{kind: kind, pid: cmd.Process.Pid, end: func() {
		in.Close()
		cmd.Process.Kill()
		cmd.Wait()
	}}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		s.end()
		return nil, fmt.Errorf("the server %s does not start: %w", kind, err)
	}
	go io.Copy(io.Discard, out)
	s.addr = strings.TrimSpace(line)
	return s, nil
}

// startNode runs a peer on Node: the application that internal/races has of it.
func startNode(kind, redisAddr string) (*site, error) {
	dir := filepath.Join("..", "internal", "races", "node")
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, err
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules")); err != nil {
		cmd := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("npm ci: %w\n%s", err, out)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(addr)
	_, redisPort, _ := net.SplitHostPort(redisAddr)
	cmd := exec.Command("node", "server.mjs", kind, port, redisPort, "while-stdin")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "NODE_ENV=production")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	s := &site{kind: kind, addr: addr, pid: cmd.Process.Pid, end: func() {
		in.Close()
		cmd.Process.Kill()
		cmd.Wait()
	}}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			c.Close()
			return s, nil
		}
		if time.Now().After(deadline) {
			s.end()
			return nil, fmt.Errorf("the server %s does not start: %w", kind, err)
		}
	}
}

// httpSuite starts everybody and says who is measured by what.
func httpSuite() (suite, error) {
	redisAddr, endRedis, err := startRedis()
	if err != nil {
		return suite{}, err
	}
	client := newRedis(redisAddr)
	sites := map[string]*site{}
	end := func() {
		client.Close()
		for _, s := range sites {
			s.end()
		}
		endRedis()
	}
	self, err := os.Executable()
	if err != nil {
		end()
		return suite{}, err
	}
	for kind := range servers {
		if sites[kind], err = start(kind, exec.Command(self, serveCommand, kind, redisAddr)); err != nil {
			delete(sites, kind)
			end()
			return suite{}, err
		}
	}
	var missing error
	for _, kind := range []string{"koa", "express"} {
		if s, err := startNode(kind, redisAddr); err == nil {
			sites[kind] = s
		} else {
			missing = err
		}
	}
	rows := func(title, path string, connections int, all []*loadRow, kinds ...string) *load {
		l := &load{title: fmt.Sprintf("%s, %d connections with a session each", title, connections), path: path, connections: connections, redis: client}
		for i, r := range all {
			if r.site = sites[kinds[i]]; r.site != nil {
				l.rows = append(l.rows, r)
			}
		}
		if missing != nil {
			l.notes = append(l.notes, "without Node's peers: "+missing.Error())
		}
		return l
	}
	return suite{[]table{
		rows("Authenticated endpoint", "/me", few, []*loadRow{
			{name: "bare Fiber"},
			{name: "bare Fiber, cookies as long"},
			{name: "Counterfoil, sessions, tokens known", goals: []loadGoal{{"bare Fiber", 0.90}, {"Fiber session + storage/redis", 2.5}, {"koa-session + ioredis", 4}}},
			{name: "Counterfoil, verify only, tokens known", goals: []loadGoal{{"bare Fiber", 0.90}}},
			{name: "Counterfoil, sessions, every token new"},
			{name: "Fiber + contrib/jwt HS256, no revocation"},
			{name: "Fiber + contrib/jwt EdDSA, no revocation"},
			{name: "Fiber session + storage/redis"},
			{name: "net/http + scs + goredisstore"},
			{name: "koa-session + ioredis"},
			{name: "express-session + connect-redis"},
		}, "bare", "bare-long", "counterfoil", "counterfoil-verify", coldServer, "jwt-hs256", "jwt-eddsa", "fiber-session", "scs", "koa", "express"),
		rows("Visit counter", "/count", few, []*loadRow{
			{name: "Fiber + one plain INCR"},
			{name: "Counterfoil", goals: []loadGoal{{"Fiber + one plain INCR", 0.65}}},
			{name: "Fiber + one plain INCR, auto-pipelined"},
			{name: "Counterfoil, auto-pipelined", goals: []loadGoal{{"Fiber + one plain INCR", 1.2}, {"Fiber session + storage/redis", 2.5}, {"koa-session + ioredis", 3.5}}},
			{name: "Fiber + contrib/jwt EdDSA + one plain INCR"},
			{name: "Fiber session + storage/redis"},
			{name: "net/http + scs + goredisstore"},
			{name: "koa-session + ioredis"},
			{name: "express-session + connect-redis"},
		}, "bare", "counterfoil", "incr-auto", "counterfoil-auto", "jwt-eddsa", "fiber-session", "scs", "koa", "express"),
		rows("Visit counter", "/count", many, []*loadRow{
			{name: "Fiber + one plain INCR"},
			{name: "Fiber + one plain INCR, auto-pipelined"},
			{name: "Counterfoil, auto-pipelined", goals: []loadGoal{{"Fiber + one plain INCR", 1.2}, {"Fiber session + storage/redis", 2.5}, {"koa-session + ioredis", 3.5}}},
			{name: "Fiber session + storage/redis"},
			{name: "koa-session + ioredis"},
		}, "bare", "incr-auto", "counterfoil-auto", "fiber-session", "koa"),
	}, end}, nil
}
