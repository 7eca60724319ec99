package redistest

import (
	"context"
	"net"
	"strconv"
	"testing"

	"github.com/redis/go-redis/v9"
)

// MasterName is how the Sentinels of [StartSentinel] call what they watch.
const MasterName = "sessions"

// Sentinels is a primary with replicas and the three Sentinels that watch them. [StartSentinel] makes it.
type Sentinels struct {
	Primary  *Server
	Replicas []*Server
	Watchers []*Server // the Sentinels
}

// StartSentinel runs a primary with opt.Replicas replicas, and three Sentinels that take a primary for dead after half a second. It waits until
// the replicas follow and the Sentinels know of them and of one another. Options apply to primary and replicas; TLS is not among them.
func StartSentinel(t testing.TB, opt Options) *Sentinels {
	t.Helper()
	if opt.TLS {
		t.Fatal("redistest: no TLS with Sentinels")
	}
	opt.Config = append([]string{"repl-diskless-sync-delay 0"}, opt.Config...)
	s := &Sentinels{Primary: Start(t, opt)}
	host, port, _ := net.SplitHostPort(s.Primary.Addr())
	replica := opt
	replica.Config = append([]string{"replicaof " + host + " " + port}, opt.Config...)
	for range opt.Replicas {
		s.Replicas = append(s.Replicas, Start(t, replica))
	}
	for range 3 {
		s.Watchers = append(s.Watchers, StartWatcher(t, s.Primary, Options{Binary: opt.Binary}))
	}
	s.Await(t)
	c := redis.NewClient(&redis.Options{Addr: s.Primary.Addr(), Password: opt.Password})
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), ready)
	defer cancel()
	online(ctx, t, c, opt.Replicas)
	return s
}

// StartWatcher runs one Sentinel that watches a primary and takes it for dead after half a second, if another one thinks so too.
func StartWatcher(t testing.TB, primary *Server, opt Options) *Server {
	t.Helper()
	host, port, _ := net.SplitHostPort(primary.Addr())
	lines := []string{
		"sentinel monitor " + MasterName + " " + host + " " + port + " 2",
		"sentinel down-after-milliseconds " + MasterName + " 500",
		"sentinel failover-timeout " + MasterName + " 3000",
	}
	if p := primary.opt.Password; p != "" {
		lines = append(lines, "sentinel auth-pass "+MasterName+" "+quoted(p))
	}
	return start(t, &Server{opt: opt, sentinel: lines})
}

// Await waits until the three Sentinels know of one another and of the replicas, and the replicas follow. dial, if there is one, connects to them.
func (s *Sentinels) Await(t testing.TB, dial ...func(ctx context.Context, network, addr string) (net.Conn, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), ready)
	defer cancel()
	for _, w := range s.Watchers {
		o := &redis.Options{Addr: w.Addr()}
		if len(dial) > 0 {
			o.Dialer = dial[0]
		}
		c := redis.NewSentinelClient(o)
		defer c.Close()
		wait(ctx, t, "the Sentinels do not come together", func() bool {
			m := c.Master(ctx, MasterName).Val()
			if m["num-other-sentinels"] != "2" || m["num-slaves"] != strconv.Itoa(len(s.Replicas)) {
				return false
			}
			for _, r := range c.Replicas(ctx, MasterName).Val() {
				if r["master-link-status"] != "ok" || r["flags"] != "slave" {
					return false
				}
			}
			return true
		})
	}
}
