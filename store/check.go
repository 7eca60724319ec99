package store

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// check pings the server, or every master of a Cluster, and says which promises its configuration weakens.
func (s *Redis) check(ctx context.Context, cfg Config) error {
	ctx, cancel := context.WithTimeout(ctx, 3*cfg.timeout()) // several commands
	defer cancel()
	switch c := s.client.(type) {
	case *redis.ClusterClient:
		if o := c.Options(); !o.ContextTimeoutEnabled {
			warnTimeout(cfg)
		}
		return c.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
			return checkNode(ctx, node, cfg, true)
		})
	case *redis.Client:
		if !c.Options().ContextTimeoutEnabled {
			warnTimeout(cfg)
		}
		return checkNode(ctx, c, cfg, false)
	}
	return nil
}

func warnTimeout(cfg Config) {
	cfg.logger().Warn("counterfoil: the Redis client ignores deadlines (ContextTimeoutEnabled is off): a slow Redis can hold a request for longer than Config.Timeout")
}

func checkNode(ctx context.Context, c *redis.Client, cfg Config, cluster bool) error {
	if err := ping(ctx, c, address(c)); err != nil {
		return err
	}
	log := cfg.logger().With("redis", address(c))
	if isEmbedded(ctx, c) {
		return nil // nothing to configure; package embedded says what it is for
	}
	n := node{ctx: ctx, c: c}
	if !cluster && n.info("cluster", "cluster_enabled") == "1" {
		return fmt.Errorf("store: Redis at %s is a node of a Cluster; want redis+cluster://, or a cluster client for New", address(c))
	}
	return n.report(log, cfg.Strict)
}

// isEmbedded recognises the in-process server, which has neither CONFIG nor INFO. HELLO with the protocol that the connection speaks changes nothing.
func isEmbedded(ctx context.Context, c *redis.Client) bool {
	proto := c.Options().Protocol
	if proto == 0 {
		proto = 3
	}
	switch v, _ := c.Do(ctx, "HELLO", proto).Result(); v := v.(type) {
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

// node reads the configuration of one server: by CONFIG, and where that is blocked, as managed services do, by INFO as far as it tells.
type node struct {
	ctx context.Context
	c   *redis.Client
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

func (n node) report(log *slog.Logger, strict bool) error {
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

	replicas, err := strconv.Atoi(n.info("replication", "connected_slaves"))
	if err != nil {
		log.Warn("counterfoil: replicas cannot be read; whether a revocation survives the loss of this server is not known")
	} else if replicas == 0 {
		log.Info("counterfoil: no replica: durability is local to this server")
	}
	if timeout := n.config("cluster-node-timeout"); n.info("cluster", "cluster_enabled") == "1" {
		log.Info("counterfoil: a split of the Cluster is noticed after its node timeout", "cluster-node-timeout-ms", timeout)
	} else if replicas > 0 {
		if writes := n.config("min-replicas-to-write"); writes == "0" {
			log.Warn("counterfoil: min-replicas-to-write is 0: a master that is cut off from its replicas goes on taking revocations that a failover will lose")
		} else if writes != "" {
			log.Info("counterfoil: a split is noticed after min-replicas-max-lag", "min-replicas-max-lag-s", n.config("min-replicas-max-lag"))
		}
	}
	return nil
}
