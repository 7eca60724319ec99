package redistest

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const slots = 16384

// StartCluster runs a Cluster of so many masters, each with opt.Replicas replicas, and waits until every node sees all slots served and every
// replica follows its master. The masters come first in what it returns. Options apply to each node.
func StartCluster(t testing.TB, masters int, opt Options) []*Server {
	t.Helper()
	total := masters * (1 + opt.Replicas)
	var nodes []*Server
	for range total {
		bus, err := freePort() // by default the bus takes the port 10000 higher, which may not exist
		if err != nil {
			t.Fatalf("redistest: no free port: %v", err)
		}
		o := opt
		o.Config = append([]string{"cluster-enabled yes", "cluster-node-timeout 2000", "repl-diskless-sync-delay 0", "cluster-port " + bus}, opt.Config...)
		s := Start(t, o)
		s.bus = bus
		nodes = append(nodes, s)
	}
	ctx, cancel := context.WithTimeout(context.Background(), ready)
	defer cancel()
	clients := make([]*redis.Client, total)
	for i, s := range nodes {
		clients[i] = redis.NewClient(&redis.Options{Addr: s.Addr(), Password: opt.Password, TLSConfig: s.TLSConfig()})
		defer clients[i].Close()
	}
	for i, c := range clients {
		if i < masters {
			if err := c.Do(ctx, "CLUSTER", "ADDSLOTSRANGE", i*slots/masters, (i+1)*slots/masters-1).Err(); err != nil {
				t.Fatalf("redistest: cluster slots: %v", err)
			}
		}
		host, port, _ := net.SplitHostPort(nodes[i].Addr())
		if err := clients[0].Do(ctx, "CLUSTER", "MEET", host, port, nodes[i].bus).Err(); err != nil {
			t.Fatalf("redistest: cluster meet: %v", err)
		}
	}
	for _, c := range clients {
		wait(ctx, t, "the cluster does not come together", func() bool { return agrees(ctx, c, total) })
	}
	for i, c := range clients[masters:] {
		id, err := clients[i%masters].ClusterMyID(ctx).Result()
		if err == nil {
			err = c.ClusterReplicate(ctx, id).Err()
		}
		if err != nil {
			t.Fatalf("redistest: cluster replicate: %v", err)
		}
	}
	for _, c := range clients[masters:] {
		wait(ctx, t, "a replica does not follow", func() bool {
			return strings.Contains(c.Info(ctx, "replication").Val(), "master_link_status:up")
		})
	}
	for _, c := range clients[:masters] {
		online(ctx, t, c, opt.Replicas)
	}
	for _, c := range clients {
		wait(ctx, t, "a node does not know the replicas", func() bool {
			return strings.Count(c.ClusterNodes(ctx).Val(), "slave") == total-masters
		})
	}
	return nodes
}

// wait asks until the answer is yes.
func wait(ctx context.Context, t testing.TB, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("redistest: %s in %v", what, ready)
		}
	}
}

// agrees reports whether a node knows all others and sees every slot served.
func agrees(ctx context.Context, c *redis.Client, nodes int) bool {
	info, err := c.ClusterInfo(ctx).Result()
	if err != nil {
		return false
	}
	has := func(name string, value int) bool {
		return strings.Contains(info, fmt.Sprintf("%s:%d\r\n", name, value))
	}
	return strings.Contains(info, "cluster_state:ok\r\n") && has("cluster_slots_ok", slots) && has("cluster_known_nodes", nodes)
}

// Addrs returns the addresses of servers, as a cluster client takes them.
func Addrs(servers []*Server) []string {
	var addrs []string
	for _, s := range servers {
		addrs = append(addrs, s.Addr())
	}
	return addrs
}
