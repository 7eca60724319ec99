// Package store keeps Counterfoil's sessions and its revocation log in Redis, through go-redis.
//
// [Open] takes a URL, [New] a go-redis client; both return a [Redis], which is all that an application needs. It is a counterfoil.Store, a
// revocation.Appender and revocation.Census, and for the guard a revocation.Source and a revocation.Asker. A process that only verifies tokens takes
// a [LogReader] instead, which can read the revocation log and nothing else.
//
// Redis 7.0 or newer, Valkey 8 and the in-process server of package embedded run the same scripts; a standalone server, Sentinel and Cluster work
// alike.
//
// # Keys
//
// With the default prefix "cf:", and T = the first three characters of a session's ID:
//
//	cf:{T}s:<session>   hash    the record; every application field is a hash field of its own, named f:<name>
//	cf:{T}n:<subject>   string  the subject's not-before: sessions created until then are dead
//	cf:{T}u:<subject>   zset    the subject's sessions, by absolute expiry; it lists, it never decides
//	cf:{rev}log         stream  the revocation log
//	cf:{rev}meta        hash    epoch, birth and newest ID of the log; what is revoked for good; what the replicas have
//	cf:{rev}edges       hash    who follows the log and how far: position and time of the last report
//
// T is also a hash of the subject, so a session, its subject's not-before and its index share a Cluster slot, and every step is one atomic script; a
// load, which writes nothing, is two reads in one round trip. If there is no record the session is dead; there are no tombstones.
//
// # Durability
//
// A step that ends sessions, and every append to the log, returns nil only when as many replicas have acknowledged it as Config.Replicas says, by
// default all that the topology names. It then survives the loss of the master if an acknowledging replica is promoted, and a restart if Redis syncs
// its AOF at every write; a backup that is restored knows nothing of it. If fewer replicas acknowledge, counterfoil.ErrNotDurable comes with the
// answer: the sessions have ended here and now, and a failover could bring them back. Repeating the step sends all of it again and waits for what was
// not acknowledged before. After any other error nobody knows what has happened, as always.
//
// Creating, saving and renewing do not wait: a failover may lose the last of these. The engine copes with a lost renewal.
//
// Every heartbeat of the log names the newest record that the replicas have. So where a replica stops, or a master is cut off from its replicas and
// goes on, the lists of all followers grow old and say so. They are fresh again soon after it is back.
//
// Without a replica durability is local: it is that of one server and its disk. [New] says so.
//
// # Retries
//
// go-redis repeats a command whose answer was lost (three times, where MaxRetries is 0), and it repeats scripts. So an increment could be counted
// twice, and a set could overwrite what somebody else has made of it since. Therefore saves and the creation of a session go out as commands that
// go-redis must not repeat, whatever the client was configured with. Their error then says that the outcome is unknown. All other steps are harmless
// to repeat.
//
// A connection that was closed while it was idle costs no save, since go-redis looks before it sends one. Over TLS it cannot look. With the clients
// that [Open] makes no save is lost there either, unless the URL asks for the third protocol. With a client of the caller's own each such connection
// costs a save, so its ConnMaxIdleTime should be shorter than the time for which the server, or what stands in between, lets a connection be idle.
//
// # An application's access
//
// A Redis user for a [Redis] needs no more than
//
//	ACL SETUSER app on >password ~cf:* resetchannels -@all +@connection +@read +@write +@transaction -@dangerous +eval +evalsha +time +info +config|get
//
// with its [Config.Prefix] in place of cf:, and in a Cluster +cluster|info +cluster|nodes +cluster|slots as well. What +info and +config|get are for are
// the checks at the start: without them the store works, and warns of what it cannot see.
//
// # An edge's access
//
// A Redis user for a [LogReader] needs no more than
//
//	ACL SETUSER edge on >password %R~cf:{rev}* resetchannels -@all +ping +hello +multi +exec +hgetall +xrange +xread
//
// and +select where the database is not 0. It then cannot read a session, nor write anything. If its follower has a name, so that whoever revokes can
// wait for it, the user also needs
//
//	ACL SETUSER edge %RW~cf:{rev}edges +evalsha +time +hget +hset +hdel +hlen +hexists
//
// It may then write that one hash: how far it has read, but also what is not true, and of others as well. It cannot load scripts into Redis, so
// somebody else must have sent the script of the report since Redis was started; each [Redis] that reports does so. Where there is none the edge
// needs +eval as well, and could then keep Redis busy with a script of its own.
//
// # Compatibility
//
// Key names, field names and record formats are what other versions of this package, and other programs, read: they only ever grow.
package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/revocation"
)

// Config configures a [Redis]; a [LogReader] uses its Prefix and Timeout. The zero value is the secure default.
type Config struct {
	// Prefix begins every key; tenants that share a Redis have one each. Empty means "cf:".
	// Printable ASCII, at most 64 bytes, without braces, which would choose the Cluster slot.
	Prefix string

	// Timeout bounds every step that the caller's context does not bound more tightly. 0 means 2 s; negative is refused.
	// With a client of the caller's own it holds only if that has ContextTimeoutEnabled.
	Timeout time.Duration

	// Replicas is how many replicas must acknowledge each ending of sessions and each append to the log; see Durability in the package comment.
	// Negative means not to wait. 0 means all that the topology names when the store is opened, replicas that are down included: for a URL with
	// Sentinels, those that any of them knows of its master; in a Cluster, for each slot, those of its master in CLUSTER NODES. Of a single server,
	// and of a client of Sentinels that is given to [New], only those that are connected can be known.
	//
	// The number is not read again. It would sink when a replica is lost, which is what it is there to notice; and if it could only rise, a replica
	// that was there for a day would be missed for ever. If you replace replicas, or start while one may be away, set the number.
	Replicas int

	// ReplicaTimeout is how long a step waits for the replicas, which is part of its Timeout. 0 means 500 ms, or half of Timeout if that is less.
	ReplicaTimeout time.Duration

	// AutoPipeline puts the loads and saves of concurrent callers together into pipelines, and saves into common runs of their script. With dozens of
	// goroutines at once more than twice as many get done; with few there is nothing to gain, and a load or save takes a little longer. Each save
	// is still applied as a whole or not at all, and answered for itself.
	// Behind the client is one server at a time, or a Cluster. A proxy that spreads keys over several must refuse a command with keys of two (CROSSSLOT).
	AutoPipeline bool

	// Strict refuses to start on a server whose eviction policy may delete the log or a not-before (allkeys-*, volatile-*).
	// Otherwise that is a warning.
	Strict bool

	// Logger is told which promise the server's configuration weakens. nil means slog.Default().
	Logger *slog.Logger
}

const (
	defaultPrefix  = "cf:"
	defaultTimeout = 2 * time.Second
	maxPrefixLen   = 64
	maxReplicas    = 1000
)

func (c Config) prefix() string {
	if c.Prefix == "" {
		return defaultPrefix
	}
	return c.Prefix
}

func (c Config) timeout() time.Duration {
	if c.Timeout == 0 {
		return defaultTimeout
	}
	return c.Timeout
}

func (c Config) replicaTimeout() time.Duration {
	if c.ReplicaTimeout == 0 {
		return min(defaultReplicaTimeout, c.timeout()/2)
	}
	return c.ReplicaTimeout
}

func (c Config) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.Default()
	}
	return c.Logger
}

func (c Config) validate() error {
	if len(c.Prefix) > maxPrefixLen {
		return fmt.Errorf("store: prefix is longer than %d bytes", maxPrefixLen)
	}
	for i := range len(c.Prefix) {
		if b := c.Prefix[i]; b <= ' ' || b > '~' || b == '{' || b == '}' {
			return errors.New("store: prefix holds a space, a brace or something that is not printable ASCII")
		}
	}
	if c.Timeout < 0 {
		return errors.New("store: negative timeout")
	}
	if c.Replicas > maxReplicas {
		return fmt.Errorf("store: more than %d replicas", maxReplicas)
	}
	if c.ReplicaTimeout < 0 || c.ReplicaTimeout > 0 && (c.ReplicaTimeout < time.Millisecond || c.ReplicaTimeout >= c.timeout()) {
		return errors.New("store: replica timeout is below a millisecond, or not below the timeout that it is part of")
	}
	return nil
}

// Redis is the store: sessions and revocation log in one Redis, which may be a single server, a Sentinel group or a Cluster. [Open] and [New] make
// it; the zero value is not usable. Its methods are [Redis.Close] and those of [counterfoil.Store], [counterfoil.Finder], [revocation.Appender],
// [revocation.Source], [revocation.Asker], [revocation.Reporter] and [revocation.Census]; most programs call only Close, and give the rest to
// [counterfoil.New]. It is safe for concurrent use. It has no goroutine of its own, except for a Read that waits (see [LogReader]) and, with
// [Config.AutoPipeline], for pipelines that are under way.
type Redis struct {
	client  redis.UniversalClient
	owned   bool // Close closes client
	log     *LogReader
	keys    keys
	timeout time.Duration
	margin  time.Duration // added to the birth of an epoch

	quorum         quorum // how many replicas must acknowledge what is to last,
	replicaTimeout time.Duration
	known          sync.Map     // which servers know which scripts; see settleOn
	waiting        atomic.Int64 // steps that wait for replicas
	lacked         atomic.Int64 // when replicas were last found missing, Unix ms; 0 = they are there
	acked          atomic.Int64 // and the time of the newest record of the log that they are known to have, Unix ms
	lanes          *lanes       // nil = every step is sent by itself
	scattered      bool         // the client sends to a replica what only reads
}

var (
	_ counterfoil.Store   = (*Redis)(nil)
	_ counterfoil.Finder  = (*Redis)(nil)
	_ revocation.Appender = (*Redis)(nil)
	_ revocation.Source   = (*Redis)(nil)
	_ revocation.Asker    = (*Redis)(nil)
	_ revocation.Census   = (*Redis)(nil)
	_ revocation.Reporter = (*Redis)(nil)
	_ revocation.Source   = (*LogReader)(nil)
	_ revocation.Reporter = (*LogReader)(nil)
)

// Open connects to the Redis at a URL:
//
//	redis://[user:password@]host[:port][/database]
//	redis+sentinel://[user:password@]host[:port][,host[:port]…]/master-name[/database]
//	redis+cluster://[user:password@]host[:port][,host[:port]…]
//
// and the same with rediss for TLS, where every server shows a certificate for the address that it is reached by, of an authority that this system
// trusts. With another authority, or a certificate for the client, make the client and its TLSConfig yourself: [New]. The hosts of a Sentinel URL
// are the Sentinels; user and password are those of the Redis servers, and Sentinels that want their own take them from the options
// sentinel_username and sentinel_password. Other options are those of go-redis, such as ?pool_size=20. (Package embedded adds "embedded:".)
//
// It fails if no host can be reached, or if the credentials are refused; the error is one line and never holds a password. ctx bounds the
// start only.
func Open(ctx context.Context, rawURL string, cfg Config) (*Redis, error) {
	t, client, err := connect(ctx, rawURL, cfg)
	if err != nil {
		return nil, err
	}
	s, err := open(ctx, client, cfg, t.replicas)
	if err != nil {
		client.Close()
		return nil, err
	}
	s.owned = true
	return s, nil
}

// New makes a store on a client of the caller's, which stays the caller's to close: a *redis.Client (also of redis.NewFailoverClient) or a
// *redis.ClusterClient. It opens a second client like it, but without its hooks, for the tail of the revocation log, which needs settings of its own.
// A redis.Ring is refused: it drops dead nodes and re-hashes, so that sessions and revocations would vanish.
//
// New checks the server and reports through cfg.Logger what weakens a promise. ctx bounds the start only.
func New(ctx context.Context, client redis.UniversalClient, cfg Config) (*Redis, error) {
	return open(ctx, client, cfg, nil)
}

// open is New. named asks the Sentinels how many replicas there are, if somebody knows where they are.
func open(ctx context.Context, client redis.UniversalClient, cfg Config, named func(context.Context) (int, error)) (*Redis, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	tail, err := tailClient(client)
	if err != nil {
		return nil, err
	}
	s := &Redis{
		client:         client,
		log:            newLogReader(tail, cfg),
		keys:           keys{cfg.prefix()},
		timeout:        cfg.timeout(),
		replicaTimeout: cfg.replicaTimeout(),
	}
	s.scattered = readsReplicas(client)
	if cfg.AutoPipeline {
		s.lanes = newLanes(client, s.timeout)
	}
	if _, several := client.(*redis.ClusterClient); several {
		s.margin = clusterMargin
	}
	if err := s.check(ctx, cfg, named); err != nil {
		tail.Close()
		return nil, err
	}
	return s, nil
}

// Close closes what this store opened; a client that was given to [New] stays open. A Read that waits returns with an error.
// Closing twice is harmless.
func (s *Redis) Close() error {
	err := s.log.Close()
	if s.owned {
		err = errors.Join(err, closeOnce(s.client))
	}
	return err
}

func closeOnce(c redis.UniversalClient) error {
	if err := c.Close(); err != nil && !errors.Is(err, redis.ErrClosed) {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

// bound gives a step its deadline.
func (s *Redis) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.timeout)
}

// ping says whether a server answers and takes the credentials.
func ping(ctx context.Context, client redis.UniversalClient, addr string) error {
	err := client.Ping(ctx).Err()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("store: Redis at %s hung up (does it want TLS, rediss://?)", addr)
	}
	return fmt.Errorf("store: Redis at %s: %w", addr, reason(err))
}

// reason strips the address that the caller has said already.
func reason(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// failoverAddr is what go-redis calls the address of a client that finds its master through Sentinels.
const failoverAddr = "FailoverClient"

// address is what errors and logs call a client's server.
func address(client redis.UniversalClient) string {
	switch c := client.(type) {
	case *redis.Client:
		if isFailover(c) {
			return "the Sentinels' master"
		}
		return c.Options().Addr
	case *redis.ClusterClient:
		return strings.Join(c.Options().Addrs, ",")
	}
	return "unknown address"
}

// suspect makes a Cluster client ask again who serves what. go-redis does so when a node says MOVED, but not when a node is gone: then it would
// stay with what it knows for up to a minute, long after a replica has taken over.
func suspect(ctx context.Context, client redis.UniversalClient, err error) {
	c, ok := client.(*redis.ClusterClient)
	if !ok || err == nil {
		return
	}
	if reply := redis.Error(nil); errors.As(err, &reply) && !redis.HasErrorPrefix(err, "CLUSTERDOWN") {
		return // an answer
	}
	c.ReloadState(ctx) // in the background, and not more often than five times a second
}

// tailClient makes a client like the given one, fit for a blocking read. go-redis gives a blocked XREAD a read deadline of BLOCK + 10 s and lets a
// context wake it only with ContextTimeoutEnabled, so the application's client would notice a half-open link after 11 s.
func tailClient(client redis.UniversalClient) (redis.UniversalClient, error) {
	switch c := client.(type) {
	case *redis.Client:
		opt := *c.Options()
		opt.ContextTimeoutEnabled = true
		opt.MaxRetries = -1           // the follower decides when to read again
		opt.ReadTimeout = fullTimeout // every read has a context that is shorter, but for the whole of a long log; see also progressing
		opt.DialTimeout = tailDialTimeout
		opt.DialerRetries = 1
		opt.MinIdleConns = 0
		opt.PipelinePoolSize = -1
		opt.ConnMaxLifetime = tailConnLife
		opt.DisableIdentity = true
		opt.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
		opt.ClientSideCacheConfig, opt.ClientSideCache = nil, nil
		opt.Dialer = progressing(opt.Dialer)
		return redis.NewClient(&opt), nil
	case *redis.ClusterClient:
		opt := *c.Options()
		opt.ContextTimeoutEnabled = true
		opt.MaxRetries = -1
		opt.ReadTimeout = fullTimeout
		opt.DialTimeout = tailDialTimeout
		opt.DialerRetries = 1
		opt.MinIdleConns = 0
		opt.PipelinePoolSize = -1
		opt.ConnMaxLifetime = tailConnLife
		opt.DisableIdentity = true
		opt.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
		if opt.Dialer == nil {
			opt.Dialer = redis.NewDialer(&redis.Options{DialTimeout: opt.DialTimeout, TLSConfig: opt.TLSConfig})
		}
		opt.Dialer = progressing(opt.Dialer)
		return redis.NewClusterClient(&opt), nil
	case *redis.Ring:
		return nil, errors.New("store: redis.Ring drops dead nodes and re-hashes, sessions and revocations would vanish; use a Cluster")
	case nil:
		return nil, errors.New("store: no Redis client")
	}
	return nil, fmt.Errorf("store: client is a %T, want *redis.Client or *redis.ClusterClient", client)
}
