package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// check pings the server, or every master of a Cluster, says which promises its configuration weakens, and decides how many replicas must
// acknowledge what is to last. named is as in open.
func (s *Redis) check(ctx context.Context, cfg Config, named func(context.Context) (int, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 3*cfg.timeout()) // several commands
	defer cancel()
	switch c := s.client.(type) {
	case *redis.ClusterClient:
		o := c.Options()
		if !o.ContextTimeoutEnabled {
			warnTimeout(cfg)
		}
		var connected fewest
		if err := c.ForEachMaster(ctx, func(ctx context.Context, n *redis.Client) error {
			return checkNode(ctx, node{ctx, n}, cfg, true, &connected)
		}); err != nil {
			return err
		}
		if s.quorum.all = max(0, cfg.Replicas); cfg.Replicas == 0 {
			nodes, err := c.ClusterNodes(ctx).Result()
			if err == nil {
				s.quorum, err = clusterQuorum(nodes)
			}
			if err != nil {
				connected.unknown = true
			}
		}
		return s.reportDurability(cfg, o.ReadTimeout, &connected)
	case *redis.Client:
		if !c.Options().ContextTimeoutEnabled {
			warnTimeout(cfg)
		}
		n := node{ctx, c}
		if err := ping(ctx, c, address(c)); err != nil {
			return err
		}
		if n.embedded() {
			if cfg.Replicas > 0 {
				return errors.New("store: the embedded Redis has no replicas to wait for")
			}
			return nil // nothing to configure; package embedded says what it is for
		}
		var connected fewest
		if err := checkNode(ctx, n, cfg, false, &connected); err != nil {
			return err
		}
		if s.quorum.all = max(0, cfg.Replicas); cfg.Replicas == 0 {
			s.quorum.all = connected.n
			if named != nil {
				count, err := named(ctx)
				if err != nil {
					return err
				}
				if count >= 0 {
					s.quorum.all, connected.unknown = count, false
				}
			} else if isFailover(c) && !connected.unknown {
				cfg.logger().Warn("counterfoil: a client of Sentinels was given to New, so replicas that are down now cannot be known and are not waited for later",
					"replicas", connected.n, "want", "Config.Replicas, or store.Open")
			}
		}
		return s.reportDurability(cfg, c.Options().ReadTimeout, &connected)
	}
	return nil
}

// fewest is the least number of replicas that any master has connected.
type fewest struct {
	mu      sync.Mutex
	n       int
	known   bool
	unknown bool // of some master
}

func (f *fewest) note(n int, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !ok {
		f.unknown = true
		return
	}
	if !f.known || n < f.n {
		f.n, f.known = n, true
	}
}

// reportDurability says what an acknowledged ending will survive.
func (s *Redis) reportDurability(cfg Config, readTimeout time.Duration, connected *fewest) error {
	least, most := s.quorum.span()
	log := cfg.logger().With("redis", address(s.client))
	if most > 0 && readTimeout > 0 && readTimeout <= s.replicaTimeout {
		return fmt.Errorf("store: the client's ReadTimeout (%v) must be longer than the wait for replicas (%v, Config.ReplicaTimeout)", readTimeout, s.replicaTimeout)
	}
	switch {
	case cfg.Replicas < 0:
		if connected.n > 0 {
			log.Warn("counterfoil: replicas are not waited for (Config.Replicas): a failover can bring back sessions whose end was acknowledged", "replicas", connected.n)
		} else {
			log.Info("counterfoil: durability is local to one server (Config.Replicas)")
		}
	case most == 0 && connected.unknown:
		log.Warn("counterfoil: replicas cannot be read; whether a revocation survives the loss of this server is not known", "want", "Config.Replicas")
	case most == 0:
		log.Info("counterfoil: no replica: durability is local to this server")
	default:
		log.Info("counterfoil: endings and revocations wait for replicas", "replicas", most, "timeout", s.replicaTimeout)
		if cfg.Replicas > 0 && connected.n > cfg.Replicas {
			log.Warn("counterfoil: not all replicas must acknowledge an ending (Config.Replicas): if one is promoted that has not, sessions whose end was acknowledged can come back",
				"connected", connected.n, "replicas", cfg.Replicas)
		}
		if least == 0 {
			log.Warn("counterfoil: a master of the Cluster has no replica: endings of its sessions are lost with it", "want", "a replica of each master")
		}
	}
	if least > 0 && connected.known && connected.n < least {
		log.Warn("counterfoil: fewer replicas are connected than must acknowledge an ending: until they are back, endings are reported as not durable and verifiers' lists grow old",
			"connected", connected.n, "replicas", least)
	}
	return nil
}

// isFailover reports whether a client finds its master through Sentinels.
func isFailover(c *redis.Client) bool { return c.Options().Addr == failoverAddr }

func warnTimeout(cfg Config) {
	cfg.logger().Warn("counterfoil: the Redis client ignores deadlines (ContextTimeoutEnabled is off): a slow Redis can hold a request for longer than Config.Timeout")
}

func checkNode(ctx context.Context, n node, cfg Config, cluster bool, connected *fewest) error {
	if err := ping(ctx, n.c, address(n.c)); err != nil {
		return err
	}
	if !cluster && n.info("cluster", "cluster_enabled") == "1" {
		return fmt.Errorf("store: Redis at %s is a node of a Cluster; want redis+cluster://, or a cluster client for New", address(n.c))
	}
	replicas, err := strconv.Atoi(n.info("replication", "connected_slaves"))
	connected.note(replicas, err == nil)
	return n.report(cfg.logger().With("redis", address(n.c)), cfg.Strict, replicas)
}

// node reads the configuration of one server: by CONFIG, and where that is blocked, as managed services do, by INFO as far as it tells.
type node struct {
	ctx context.Context
	c   *redis.Client
}

// embedded recognises the in-process server, which has neither CONFIG nor INFO. HELLO with the protocol that the connection speaks changes nothing.
func (n node) embedded() bool {
	proto := n.c.Options().Protocol
	if proto == 0 {
		proto = 3
	}
	switch v, _ := n.c.Do(n.ctx, "HELLO", proto).Result(); v := v.(type) {
	case map[any]any:
		return v["server"] == "miniredis"
	case []any:
		for i := 0; i+1 < len(v); i += 2 {
			if v[i] == "server" {
				return v[i+1] == "miniredis"
			}
		}
	}
	return false
}

func (n node) config(name string) string {
	m, err := n.c.ConfigGet(n.ctx, name).Result()
	if err != nil {
		return ""
	}
	return m[name]
}

func (n node) info(section, name string) string {
	text, err := n.c.Info(n.ctx, section).Result()
	if err != nil {
		return ""
	}
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			return v
		}
	}
	return ""
}

func (n node) report(log *slog.Logger, strict bool, replicas int) error {
	policy := n.config("maxmemory-policy")
	if policy == "" {
		policy = n.info("memory", "maxmemory_policy")
	}
	var evicts string
	switch {
	case policy == "":
		log.Warn("counterfoil: the eviction policy cannot be read; with allkeys-* or volatile-* acknowledged revocations can be lost silently")
	case strings.HasPrefix(policy, "allkeys-"):
		evicts = "when memory is short it deletes the revocation log and sessions: acknowledged revocations are lost silently"
	case strings.HasPrefix(policy, "volatile-"):
		evicts = "when memory is short it may delete a subject's not-before: sessions that were logged out everywhere could live again"
	}
	if evicts != "" {
		if strict {
			return fmt.Errorf("store: Redis at %s has eviction policy %s: %s", address(n.c), policy, evicts)
		}
		log.Warn("counterfoil: eviction policy "+policy+": "+evicts, "want", "noeviction")
	}

	aof := n.config("appendonly")
	if aof == "" {
		aof = map[string]string{"0": "no", "1": "yes"}[n.info("persistence", "aof_enabled")]
	}
	switch fsync := n.config("appendfsync"); {
	case aof == "":
		log.Warn("counterfoil: persistence cannot be read; without AOF a restart of Redis loses acknowledged revocations")
	case aof == "no":
		log.Warn("counterfoil: no AOF: a restart of Redis loses sessions and acknowledged revocations since its last snapshot",
			"want", "appendonly yes, appendfsync always")
	case fsync != "always" && fsync != "":
		log.Warn("counterfoil: AOF is not synced at every write: a crash of Redis can lose the last acknowledged revocations",
			"appendfsync", fsync, "want", "always")
	}

	if timeout := n.config("cluster-node-timeout"); n.info("cluster", "cluster_enabled") == "1" {
		log.Info("counterfoil: a split of the Cluster is noticed after its node timeout", "cluster-node-timeout-ms", timeout)
	} else if replicas > 0 {
		if writes := n.config("min-replicas-to-write"); writes == "0" {
			log.Warn("counterfoil: min-replicas-to-write is 0: a master that is cut off from its replicas goes on taking logins and data that a failover will lose, "+
				"and answers for sessions that have been ended elsewhere", "want", "1 or more")
		} else if writes != "" {
			log.Info("counterfoil: a split is noticed after min-replicas-max-lag", "min-replicas-max-lag-s", n.config("min-replicas-max-lag"))
		}
	}
	return nil
}
