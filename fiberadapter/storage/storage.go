// Package storage keeps what Fiber's own middleware has to remember (csrf, limiter, idempotency, cache) in the Redis that holds the sessions.
//
// [New] makes a [Storage] on a client of go-redis; it is a fiber.Storage. The sessions share that client if their store is made on it by store.New, as in the
// example; store.Open makes one that it keeps to itself. Give each middleware a Storage of its own, with a prefix of its own. Package fiberadapter says why
// cache and idempotency must stand behind the sessions.
//
// # Compatibility
//
// As the root package.
package storage

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Config says how a [Storage] works. Prefix is required.
type Config struct {
	// Prefix begins the name of every key, and nothing else may begin with it: Reset deletes all that does, but for sessions. Printable ASCII, at most 64
	// bytes, without the characters that Redis patterns and Cluster slots give a meaning: * ? [ ] { } \ and not "cf:", with which the sessions' keys begin
	// by default, nor a part of that.
	Prefix string

	// Timeout bounds each command, attempts and the wait for a connection included, since Fiber's interface has no context; 0 = 2 s. Reset may need many of
	// them.
	Timeout time.Duration
}

// Storage is a fiber.Storage on Redis. [Storage.Close] leaves the client open: it is the caller's. There is no useful zero value; New
// makes one. It is safe for concurrent use and has no goroutine.
type Storage struct {
	client  redis.UniversalClient
	prefix  string
	timeout time.Duration
}

// New makes a Storage on a client of the caller's: a *redis.Client (also of redis.NewFailoverClient), or a *redis.ClusterClient, which must have
// ContextTimeoutEnabled, since Config.Timeout would not hold without it. In place of a *redis.Client without it a copy is used, on the same connections
// but without the client's hooks: whoever traces commands by them makes the client with ContextTimeoutEnabled. It does not ask the server anything.
func New(client redis.UniversalClient, cfg Config) (*Storage, error) {
	if client == nil {
		return nil, errors.New("storage: a client is required")
	}
	if cfg.Prefix == "" || len(cfg.Prefix) > 64 {
		return nil, errors.New("storage: Config.Prefix has 1 to 64 bytes")
	}
	for i := range len(cfg.Prefix) {
		if b := cfg.Prefix[i]; b <= ' ' || b > '~' || strings.IndexByte(`*?[]{}\`, b) >= 0 {
			return nil, errors.New("storage: Config.Prefix holds a space, something that is not printable ASCII, or one of * ? [ ] { } \\")
		}
	}
	if strings.HasPrefix(sessionsPrefix, cfg.Prefix) {
		return nil, fmt.Errorf("storage: the keys of the sessions begin with Config.Prefix, %q: Reset would delete them", cfg.Prefix)
	}
	if cfg.Timeout < 0 {
		return nil, errors.New("storage: Config.Timeout is negative")
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 2 * time.Second
	}
	client, err := punctual(client, cfg.Timeout)
	if err != nil {
		return nil, err
	}
	return &Storage{client, cfg.Prefix, cfg.Timeout}, nil
}

// punctual returns a client that keeps the deadline of a context. By default those of go-redis do not, and wait five seconds, several times, for a server that
// says nothing.
func punctual(client redis.UniversalClient, timeout time.Duration) (redis.UniversalClient, error) {
	switch c := client.(type) {
	case *redis.Client:
		opt := c.Options()
		if opt.ContextTimeoutEnabled {
			return c, nil
		}
		// A copy on the same connections, with options of its own. It lacks c's hooks, which go-redis does not hand out. With another timeout than c's it also
		// does not wait where misses of a client-side cache are put together, which is by c's options.
		own := c.WithTimeout(timeout)
		own.Options().ReadTimeout, own.Options().WriteTimeout = opt.ReadTimeout, opt.WriteTimeout
		own.Options().ContextTimeoutEnabled = true
		return own, nil
	case *redis.ClusterClient:
		if !c.Options().ContextTimeoutEnabled {
			return nil, errors.New("storage: the cluster client needs ContextTimeoutEnabled: without it Config.Timeout would bound nothing")
		}
		return c, nil
	}
	return nil, fmt.Errorf("storage: client is a %T, want *redis.Client or *redis.ClusterClient", client)
}

// sessionsPrefix begins the keys of the sessions, unless store.Config.Prefix says otherwise.
const sessionsPrefix = "cf:"

// ofSessions matches the keys of sessions and their revocation log under whatever prefix, as package store documents them.
var ofSessions = regexp.MustCompile(`^[^{}]*\{([\w-]{3}\}[snu]:|rev\}(log|meta|edges)$)`)

func (s *Storage) bound() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), s.timeout)
}

// Get returns the value of key, nil if there is none.
func (s *Storage) Get(key string) ([]byte, error) {
	if key == "" {
		return nil, nil
	}
	ctx, done := s.bound()
	defer done()
	b, err := s.client.Get(ctx, s.prefix+key).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	return b, wrap(err)
}

// Set stores a value for as long as life says; 0 = for good, and with a negative one the key is gone. An empty key or value is ignored, as Fiber wants it.
func (s *Storage) Set(key string, value []byte, life time.Duration) error {
	if key == "" || len(value) == 0 {
		return nil
	}
	if life < 0 { // to go-redis this is for good, or what the key has left
		return s.Delete(key)
	}
	ctx, done := s.bound()
	defer done()
	return wrap(s.client.Set(ctx, s.prefix+key, value, life).Err())
}

// Delete removes key, if it is there.
func (s *Storage) Delete(key string) error {
	if key == "" {
		return nil
	}
	ctx, done := s.bound()
	defer done()
	return wrap(s.client.Del(ctx, s.prefix+key).Err())
}

// Reset deletes all keys that begin with the prefix, and no others. It looks at every key of the database, a thousand at a time. What is stored
// meanwhile may stay. Should sessions be kept under a prefix that begins with this one, they stay too, and so does what has the name of one.
func (s *Storage) Reset() error {
	if cluster, ok := s.client.(*redis.ClusterClient); ok {
		return wrap(cluster.ForEachMaster(context.Background(), func(_ context.Context, node *redis.Client) error {
			return s.reset(node, s.unlinkEach)
		}))
	}
	return wrap(s.reset(s.client, s.unlink))
}

// reset scans one node.
func (s *Storage) reset(node redis.UniversalClient, unlink func(redis.UniversalClient, []string) error) error {
	for cursor := uint64(0); ; {
		var keys []string
		var err error
		if keys, cursor, err = s.some(node, cursor); err != nil {
			return err
		}
		keys = slices.DeleteFunc(keys, ofSessions.MatchString)
		if len(keys) > 0 {
			if err := unlink(node, keys); err != nil {
				return err
			}
		}
		if cursor == 0 {
			return nil
		}
	}
}

func (s *Storage) some(node redis.UniversalClient, cursor uint64) ([]string, uint64, error) {
	ctx, done := s.bound()
	defer done()
	return node.Scan(ctx, cursor, s.prefix+"*", 1000).Result()
}

func (s *Storage) unlink(node redis.UniversalClient, keys []string) error {
	ctx, done := s.bound()
	defer done()
	return node.Unlink(ctx, keys...).Err()
}

// unlinkEach is for a node of a Cluster, where keys of different slots need a command each.
func (s *Storage) unlinkEach(node redis.UniversalClient, keys []string) error {
	ctx, done := s.bound()
	defer done()
	_, err := node.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, k := range keys {
			p.Unlink(ctx, k)
		}
		return nil
	})
	return err
}

// Close does nothing: the client is the caller's.
func (s *Storage) Close() error { return nil }

func wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("storage: %w", err)
}
