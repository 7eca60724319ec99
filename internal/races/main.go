// Command races runs three experiments on Counterfoil and on the session libraries that people use with Redis, and prints what becomes of them:
//
//   - fifty requests at once do count++ on one session;
//   - somebody logs out while a slow request of theirs, which writes or only reads, is under way;
//   - a hundred requests only read.
//
// Every peer runs as its own documentation has it, over HTTP, on one redis-server that the program starts and ends. Node's peers take part where node and
// npm are on PATH; -require=node makes their absence an error. The program fails if Counterfoil is not as it promises.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/redis/go-redis/v9"
)

// peer is one library behind the same small application.
type peer struct {
	name   string
	prefix string                                                      // of the keys of its sessions
	start  func(ctx context.Context, redisAddr string) (string, error) // returns the URL it serves at, for at least as long as ctx lasts
}

// result is a row of the table.
type result struct {
	count         string // where fifty increments end
	write, read   bool   // logged in again after a logout beside a slow request that writes, that reads
	reads, writes int    // Redis commands on session keys for a hundred reading requests
}

func main() {
	require := flag.String("require", "", "node: fail if Node's peers cannot take part")
	flag.Parse()
	log.SetFlags(0)
	if err := run(*require); err != nil {
		log.Fatal("races: ", err)
	}
}

func run(require string) error {
	ctx, stop := context.WithTimeout(context.Background(), 3*time.Minute)
	defer stop()
	addr, end, err := startRedis(ctx)
	if err != nil {
		return err
	}
	defer end()
	peers := []peer{counterfoilPeer, fiberPeer, scsPeer, scsIdlePeer}
	if node, err := nodePeers(ctx); err == nil {
		peers = append(peers, node...)
	} else if require == "node" {
		return err
	} else {
		fmt.Println("without Node's peers:", err)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\t50 x count++\tlogout beside a slow write\tlogout beside a slow read\tRedis per 100 reads\tof which writes")
	var ours result
	for i, p := range peers {
		r, err := one(ctx, p, addr)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if i == 0 {
			ours = r
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\n", p.name, r.count, again(r.write), again(r.read), r.reads+r.writes, r.writes)
	}
	w.Flush()
	if ours.count != "50" || ours.write || ours.read || ours.writes != 0 {
		return fmt.Errorf("Counterfoil breaks its promise: %+v", ours)
	}
	return nil
}

func one(ctx context.Context, p peer, addr string) (result, error) {
	ctx, end := context.WithCancel(ctx)
	defer end()
	url, err := p.start(ctx, addr)
	if err != nil {
		return result{}, err
	}
	return experiment(ctx, url, addr, p.prefix)
}

func again(b bool) string {
	if b {
		return "logged in again"
	}
	return "logged out"
}

// slow is how long a slow request takes; inside is when the logout comes.
const (
	slow   = 400 * time.Millisecond
	inside = 100 * time.Millisecond
)

func experiment(ctx context.Context, url, redisAddr, prefix string) (r result, err error) {
	c, err := login(ctx, url)
	if err != nil {
		return r, err
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { _, _ = get(ctx, c, url+"/count?ms=20") })
	}
	wg.Wait()
	if r.count, err = get(ctx, c, url+"/n"); err != nil {
		return r, err
	}
	if r.write, err = logoutBeside(ctx, url, "/write"); err != nil {
		return r, err
	}
	if r.read, err = logoutBeside(ctx, url, "/read"); err != nil {
		return r, err
	}
	if c, err = login(ctx, url); err != nil {
		return r, err
	}
	// What the first request confirms or touches is not counted.
	if _, err = get(ctx, c, url+"/read"); err != nil {
		return r, err
	}
	r.reads, r.writes, err = commands(ctx, redisAddr, prefix, func() error {
		for range 100 {
			if _, err := get(ctx, c, url+"/read"); err != nil {
				return err
			}
		}
		return nil
	})
	return r, err
}

// logoutBeside logs out while a slow request is under way, and says whether the cookies from before the logout are good again afterwards.
func logoutBeside(ctx context.Context, url, path string) (bool, error) {
	c, err := login(ctx, url)
	if err != nil {
		return false, err
	}
	before, err := cookiejar.New(nil)
	if err != nil {
		return false, err
	}
	site, _ := http.NewRequest("GET", url, nil)
	before.SetCookies(site.URL, c.Jar.Cookies(site.URL))
	old := &http.Client{Jar: before}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = get(ctx, &http.Client{Jar: frozen{before}}, fmt.Sprintf("%s%s?ms=%d", url, path, slow.Milliseconds()))
	}()
	time.Sleep(inside)
	if _, err := get(ctx, c, url+"/logout"); err != nil {
		return false, err
	}
	<-done
	who, err := get(ctx, old, url+"/read")
	return who == "bob", err
}

// frozen is a jar that keeps nothing.
type frozen struct{ http.CookieJar }

func (frozen) SetCookies(*url.URL, []*http.Cookie) {}

func login(ctx context.Context, url string) (*http.Client, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	c := &http.Client{Jar: jar}
	_, err = get(ctx, c, url+"/login")
	return c, err
}

func get(ctx context.Context, c *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	res, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

// commands counts the commands on session keys that the server carries out meanwhile; those inside a script count in its place.
func commands(ctx context.Context, addr, prefix string, do func() error) (reads, writes int, err error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "MONITOR\r\n"); err != nil {
		return 0, 0, err
	}
	in := bufio.NewScanner(conn)
	in.Buffer(nil, 1<<20)
	if !in.Scan() || in.Text() != "+OK" {
		return 0, 0, fmt.Errorf("MONITOR: %q, %w", in.Text(), in.Err())
	}
	const last = "races are over"
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for in.Scan() {
			line := in.Text()
			if strings.Contains(line, last) {
				return
			}
			_, rest, ok := strings.Cut(line, "] \"")
			name, _, _ := strings.Cut(rest, "\"")
			if !ok || !strings.Contains(rest, "\""+prefix) || strings.Contains(rest, "{rev}") {
				continue
			}
			switch strings.ToLower(name) {
			case "set", "setex", "psetex", "expire", "pexpire", "hset", "hdel", "del", "unlink":
				writes++
			default:
				if !strings.Contains(line, " lua]") {
					reads++
				}
			}
		}
	}()
	if err := do(); err != nil {
		return 0, 0, err
	}
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer client.Close()
	if err := client.Echo(ctx, last).Err(); err != nil {
		return 0, 0, err
	}
	<-ended
	return reads, writes, in.Err()
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// await waits until somebody listens.
func await(ctx context.Context, addr string) error {
	for {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", addr)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// startRedis runs a server of our own in a directory that goes with it.
func startRedis(ctx context.Context) (addr string, end func(), err error) {
	if addr, err = freeAddr(); err != nil {
		return "", nil, err
	}
	dir, err := os.MkdirTemp("", "races")
	if err != nil {
		return "", nil, err
	}
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.CommandContext(ctx, "redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", dir)
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("a redis-server on PATH is needed: %w", err)
	}
	end = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	}
	wait, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := await(wait, addr); err != nil {
		end()
		return "", nil, err
	}
	return addr, end, nil
}

// nodePeers installs what Node's peers need, once, and returns them.
func nodePeers(ctx context.Context) ([]peer, error) {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, err
		}
	}
	dir, err := filepath.Abs("node")
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules")); err != nil {
		cmd := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("npm ci: %w\n%s", err, out)
		}
	}
	start := func(kind string) func(context.Context, string) (string, error) {
		return func(ctx context.Context, redisAddr string) (string, error) {
			addr, err := freeAddr()
			if err != nil {
				return "", err
			}
			_, port, _ := net.SplitHostPort(addr)
			_, redisPort, _ := net.SplitHostPort(redisAddr)
			cmd := exec.CommandContext(ctx, "node", "server.mjs", kind, port, redisPort)
			cmd.Dir = dir
			if err := cmd.Start(); err != nil {
				return "", err
			}
			go func() { _ = cmd.Wait() }()
			wait, cancel := context.WithTimeout(ctx, 20*time.Second)
			defer cancel()
			return "http://" + addr, await(wait, addr)
		}
	}
	return []peer{
		{"koa-session 7.0.2", "koa:", start("koa")},
		{"express-session + connect-redis", "sess:", start("express")},
	}, nil
}
