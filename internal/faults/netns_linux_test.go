package faults_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/require"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sys/unix"

	"github.com/counterfoil/counterfoil/internal/redistest"
	"github.com/counterfoil/counterfoil/store"
)

func init() {
	splits = append(splits,
		fault{"network split of 3 s, Sentinels, the minority keeps half of the clients", false, func(r *run) { r.netSplit(3 * time.Second) }},
		fault{"network split of 10 s, Sentinels, the minority keeps half of the clients", false, func(r *run) { r.netSplit(10 * time.Second) }},
	)
}

// A network is two network namespaces of our own with a link between them.
type network struct {
	names [2]string
	hosts [2]string
	link  [2]string
}

// network makes one, or skips the fault where the machine does not let us.
func (r *run) network() *network {
	id := os.Getpid() % 10000
	n := &network{
		names: [2]string{fmt.Sprintf("faults-%d-%d-a", id, r.serial()), fmt.Sprintf("faults-%d-%d-b", id, r.serial())},
		hosts: [2]string{"10.99.7.1", "10.99.7.2"}, // nobody else is in these namespaces
		link:  [2]string{"link-a", "link-b"},
	}
	for _, name := range n.names {
		if out, err := ip("netns", "add", name); err != nil {
			require.Missing(r.T, "netns", "no network namespaces here: %s", out)
		}
		r.Cleanup(func() { ip("netns", "del", name) })
	}
	for _, args := range [][]string{
		{"-n", n.names[0], "link", "add", n.link[0], "type", "veth", "peer", "name", n.link[1], "netns", n.names[1]},
		{"-n", n.names[0], "addr", "add", n.hosts[0] + "/24", "dev", n.link[0]},
		{"-n", n.names[1], "addr", "add", n.hosts[1] + "/24", "dev", n.link[1]},
		{"-n", n.names[0], "link", "set", "lo", "up"},
		{"-n", n.names[1], "link", "set", "lo", "up"},
		{"-n", n.names[0], "link", "set", n.link[0], "up"},
		{"-n", n.names[1], "link", "set", n.link[1], "up"},
	} {
		if out, err := ip(args...); err != nil {
			require.Missing(r.T, "netns", "no link between network namespaces here: ip %s: %s", strings.Join(args, " "), out)
		}
	}
	return n
}

func ip(args ...string) (string, error) {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil && len(out) == 0 {
		return err.Error(), err
	}
	return strings.TrimSpace(string(out)), err
}

// cut takes the link down, or up again. Connections are not told.
func (n *network) cut(r *run, down bool) {
	state := "up"
	if down {
		state = "down"
	}
	if out, err := ip("-n", n.names[0], "link", "set", n.link[0], state); err != nil {
		r.Errorf("link %s: %s", state, out)
	}
}

// options start a server in one of the namespaces.
func (n *network) options(side int, config ...string) redistest.Options {
	return redistest.Options{
		Host: n.hosts[side], Run: []string{"ip", "netns", "exec", n.names[side]},
		Config: append([]string{"protected-mode no"}, config...),
	}
}

// dial connects from inside a namespace: a socket belongs to the one that its thread was in when it was made. The thread goes back afterwards; it must not
// end, because the servers that it has started would end with it.
func (n *network) dial(side int) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			return nil, err
		}
		defer home.Close()
		there, err := os.Open("/var/run/netns/" + n.names[side])
		if err != nil {
			return nil, err
		}
		defer there.Close()
		if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
			return nil, err
		}
		defer func() {
			if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
				panic(err) // nothing that this thread does from here on would be what it seems
			}
		}()
		return (&net.Dialer{Timeout: time.Second}).DialContext(ctx, network, addr)
	}
}

// client reaches the Sentinels and what they watch from inside a namespace.
func (n *network) client(side int, watchers []*redistest.Server) redis.UniversalClient {
	return redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: redistest.MasterName, SentinelAddrs: redistest.Addrs(watchers), Dialer: n.dial(side),
		ContextTimeoutEnabled: true, DialTimeout: time.Second, DialerRetries: 1,
	})
}

// netSplit splits a network with Sentinels in it: the primary, one Sentinel and half of the clients on one side, two replicas, two Sentinels and the others on
// the other, where a replica is promoted. Everything afterwards is the Sentinels' work.
func (r *run) netSplit(d time.Duration) {
	n := r.network()
	config := append([]string{"appendonly yes", "appendfsync always"}, needsReplica...)
	s := &redistest.Sentinels{Primary: redistest.Start(r, n.options(0, config...))}
	host, port, _ := net.SplitHostPort(s.Primary.Addr())
	for range 2 {
		s.Replicas = append(s.Replicas, redistest.Start(r, n.options(1, append(config, "replicaof "+host+" "+port)...)))
	}
	for _, side := range []int{0, 1, 1} {
		s.Watchers = append(s.Watchers, redistest.StartWatcher(r, s.Primary, n.options(side)))
	}
	s.Await(r, n.dial(1))
	side := func(name string) int {
		if firsts(name) {
			return 0
		}
		return 1
	}
	open := func(name string) redis.UniversalClient {
		c := n.client(side(name), s.Watchers)
		r.Cleanup(func() { c.Close() })
		return c
	}
	r.cutOff = firsts
	r.replicas = 1
	r.patience = 60 * time.Second
	r.begin(backend{
		open: func(name string, cfg store.Config) (*store.Redis, error) { return store.New(r.ctx, open(name), cfg) },
		openLog: func(name string, cfg store.Config) (*store.LogReader, error) {
			return store.NewLogReader(r.ctx, open(name), cfg)
		},
	}, false)
	r.recordBound.Store(int64(min(d, noticed) + bound))
	n.cut(r, true)
	r.hold(d)
	n.cut(r, false)
	r.heal()
	if d > noticed+bound {
		r.doubted("origin 1", "edge 1", "feed 1", "feed 2")
	}
	admin := func(side int, s *redistest.Server) *redis.Client {
		c := redis.NewClient(&redis.Options{Addr: s.Addr(), Dialer: n.dial(side)})
		r.Cleanup(func() { c.Close() })
		return c
	}
	old := admin(0, s.Primary)
	for _, replica := range s.Replicas {
		if c := admin(1, replica); strings.Contains(c.Info(r.ctx, "replication").Val(), "role:master") {
			r.promoted(c, old)
			return
		}
	}
	r.Error("no replica was promoted: this shows nothing")
}
