package store

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// topology is what stands behind a URL.
type topology int

const (
	single topology = iota
	sentinel
	cluster
)

// sentinelTimeout bounds what a Sentinel that does not answer adds to the start.
const sentinelTimeout = time.Second

// maxHosts bounds the list of hosts in a URL. They only are where the topology is asked for, so a few are enough for any size.
const maxHosts = 64

// target is a URL taken apart.
type target struct {
	topology topology
	options  *redis.Options // of every data server; Addr is that of a single one
	addrs    []string       // host:port of each host that the URL names
	master   string         // the name under which the Sentinels know it

	sentinelUsername, sentinelPassword string
}

var errURL = errors.New("store: Redis URL does not parse (special characters in a password must be percent-encoded)")

// parseURL takes a URL apart. Its errors never quote the part of the URL that may be a password.
func parseURL(raw string) (target, error) {
	var t target
	scheme, rest, _ := strings.Cut(raw, "://")
	plain, mode, _ := strings.Cut(scheme, "+")
	port := "6379"
	switch {
	case plain != "redis" && plain != "rediss":
		return t, errScheme(raw)
	case mode == "sentinel":
		t.topology, port = sentinel, "26379"
	case mode == "cluster":
		t.topology = cluster
	case scheme != plain:
		return t, errScheme(raw)
	}

	// net/url refuses several hosts, so they are looked at one at a time.
	authority, tail := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, tail = rest[:i], rest[i:]
	}
	path, query, _ := strings.Cut(tail, "?")
	if strings.Contains(path, "@") { // a slash in the password: what is taken for a host then is a part of it
		return t, errURL
	}
	user, list := "", authority
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		user, list = authority[:i+1], authority[i+1:]
	}
	hosts := strings.Split(list, ",")
	if t.topology == single && len(hosts) > 1 {
		return t, errors.New("store: Redis URL names several hosts, want redis+sentinel:// or redis+cluster://")
	}
	if len(hosts) > maxHosts {
		return t, fmt.Errorf("store: Redis URL names more than %d hosts", maxHosts)
	}
	for _, h := range hosts {
		u, err := url.Parse("redis://" + h)
		if err != nil {
			return t, errURL
		}
		host, p := u.Hostname(), u.Port()
		if host == "" {
			if t.topology != single {
				return t, errors.New("store: Redis URL names an empty host")
			}
			host = "localhost"
		}
		if p == "" {
			p = port
		}
		t.addrs = append(t.addrs, net.JoinHostPort(host, p))
	}

	if t.topology == sentinel {
		q, err := url.ParseQuery(query)
		if err != nil {
			return t, errURL
		}
		t.sentinelUsername, t.sentinelPassword = q.Get("sentinel_username"), q.Get("sentinel_password")
		q.Del("sentinel_username")
		q.Del("sentinel_password")
		query = q.Encode()

		var name string
		name, path, _ = strings.Cut(strings.TrimPrefix(path, "/"), "/")
		if t.master, err = url.PathUnescape(name); err != nil {
			return t, errURL
		}
		if t.master == "" {
			return t, errors.New("store: Redis URL names no master, want redis+sentinel://host:port/master-name")
		}
	}
	one := plain + "://" + user + hosts[0] + "/" + strings.TrimPrefix(path, "/")
	if query != "" {
		one += "?" + query
	}
	if _, err := url.Parse(one); err != nil { // its text quotes the URL, password included
		return t, errURL
	}
	opt, err := redis.ParseURL(one)
	if err != nil || opt.DB < 0 { // go-redis quotes what it does not understand, which may be the rest of a password with a '?' in it
		return t, errors.New("store: Redis URL has an option or a value that go-redis does not know, or a database that is no number (special characters in a password are escaped: ? is %3F)")
	}
	if opt.PoolSize < 0 || max(opt.PoolSize, opt.MaxIdleConns, opt.MaxActiveConns, opt.PipelinePoolSize) > math.MaxInt32 { // go-redis panics
		return t, errors.New("store: Redis URL has a number of connections that is negative or too large")
	}
	if t.topology == cluster && opt.DB != 0 {
		return t, errors.New("store: Redis URL names a database; a Cluster has none but 0")
	}
	if t.topology != single && opt.TLSConfig != nil {
		opt.TLSConfig.ServerName = "" // each server answers for its own address
	}
	t.options = opt
	return t, nil
}

// errScheme quotes the scheme, if it is one.
func errScheme(raw string) error {
	scheme, _, ok := strings.Cut(raw, "://") // what stands before a bare colon may be a password whose scheme was forgotten
	if !ok || len(scheme) > 20 || strings.ContainsFunc(scheme, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789+-.", r|0x20)
	}) {
		scheme = ""
	}
	if strings.HasPrefix(raw, "embedded:") {
		return errors.New(`store: Redis URL begins with "embedded:", which embedded.Open takes (package store/embedded)`)
	}
	if scheme == "" {
		return errors.New("store: Redis URL has no scheme, want redis:// or rediss://, or one of these with +sentinel or +cluster")
	}
	return fmt.Errorf("store: Redis URL begins with %q, want redis:// or rediss://, or one of these with +sentinel or +cluster", scheme+"://")
}

// connect makes a client for a URL after one plain connection to it succeeded: go-redis would print every failed attempt to standard error.
func connect(ctx context.Context, rawURL string, cfg Config) (target, redis.UniversalClient, error) {
	if err := cfg.validate(); err != nil {
		return target{}, nil, err
	}
	t, err := parseURL(rawURL)
	if err != nil {
		return target{}, nil, err
	}
	t.options.ContextTimeoutEnabled = true
	t.options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	t.options.DialTimeout = min(cfg.timeout(), time.Second)
	t.options.DialerRetries = 1
	if asked := t.options.PoolTimeout; asked == 0 || asked > cfg.timeout() { // go-redis would wait a second longer than for an answer
		t.options.PoolTimeout = cfg.timeout()
	}
	if t.options.Protocol == 0 { // nothing here needs the third, under which go-redis looks for a push before every answer
		t.options.Protocol = 2
	}
	if t.options.TLSConfig != nil && t.options.Protocol == 2 {
		t.options.Dialer = showing(redis.NewDialer(t.options))
	}

	ctx, cancel := context.WithTimeout(ctx, cfg.timeout())
	defer cancel()
	if err := t.reach(ctx); err != nil {
		return target{}, nil, err
	}
	switch t.topology {
	case sentinel:
		opt := t.universal().Failover()
		return t, redis.NewFailoverClient(opt), nil
	case cluster:
		return t, redis.NewClusterClient(t.universal().Cluster()), nil
	}
	return t, redis.NewClient(t.options), nil
}

// universal is the options in the form from which go-redis makes those of the other clients. It has all that a URL can set.
func (t target) universal() *redis.UniversalOptions {
	o := t.options
	return &redis.UniversalOptions{
		Addrs: t.addrs, MasterName: t.master, SentinelUsername: t.sentinelUsername, SentinelPassword: t.sentinelPassword,
		Dialer: o.Dialer, ClientName: o.ClientName, DB: o.DB, Protocol: o.Protocol, Username: o.Username, Password: o.Password, TLSConfig: o.TLSConfig,
		MaxRetries: o.MaxRetries, MinRetryBackoff: o.MinRetryBackoff, MaxRetryBackoff: o.MaxRetryBackoff,
		DialTimeout: o.DialTimeout, DialerRetries: o.DialerRetries, ReadTimeout: o.ReadTimeout, WriteTimeout: o.WriteTimeout,
		ContextTimeoutEnabled: o.ContextTimeoutEnabled, MaintNotificationsConfig: o.MaintNotificationsConfig,
		PoolFIFO: o.PoolFIFO, PoolSize: o.PoolSize, PoolTimeout: o.PoolTimeout, MaxConcurrentDials: o.MaxConcurrentDials,
		MinIdleConns: o.MinIdleConns, MaxIdleConns: o.MaxIdleConns, MaxActiveConns: o.MaxActiveConns,
		ConnMaxIdleTime: o.ConnMaxIdleTime, ConnMaxLifetime: o.ConnMaxLifetime, ConnMaxLifetimeJitter: o.ConnMaxLifetimeJitter,
		PipelinePoolSize: o.PipelinePoolSize, PipelineReadBufferSize: o.PipelineReadBufferSize, PipelineWriteBufferSize: o.PipelineWriteBufferSize,
	}
}

// reach asks all hosts of the URL at once and is content with the first that answers. Otherwise it reports what tells most: an answer
// that was no use rather than that nobody answered.
func (t target) reach(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type outcome struct {
		answered bool
		err      error
	}
	outcomes := make(chan outcome, len(t.addrs))
	for _, addr := range t.addrs {
		go func() {
			answered, err := t.probe(ctx, addr)
			outcomes <- outcome{answered, err}
		}()
	}
	var told outcome
	for range t.addrs {
		o := <-outcomes
		if o.err == nil {
			return nil
		}
		if told.err == nil || o.answered && !told.answered {
			told = o
		}
	}
	return told.err
}

// probe asks one host whether it is what the URL says, and whether it answered at all.
func (t target) probe(ctx context.Context, addr string) (answered bool, err error) {
	what := "Redis"
	if t.topology == sentinel {
		what = "Sentinel"
	}
	if err := dial(ctx, addr, t.options.TLSConfig); err != nil {
		return false, fmt.Errorf("store: %s at %s cannot be reached: %w", what, addr, reason(err))
	}
	if t.topology == single {
		return true, nil // the check of New says the rest
	}
	if t.topology == cluster {
		opt := *t.options
		opt.Addr, opt.DB, opt.MaxRetries, opt.MinIdleConns, opt.PipelinePoolSize = addr, 0, -1, 0, -1
		client := redis.NewClient(&opt)
		defer client.Close()
		if err := ping(ctx, client, addr); err != nil {
			return true, err
		}
		err := client.ClusterInfo(ctx).Err()
		if err != nil && strings.Contains(err.Error(), "cluster support disabled") {
			return true, fmt.Errorf("store: Redis at %s is not a node of a Cluster; want redis://", addr)
		}
		if err != nil {
			return true, fmt.Errorf("store: Redis at %s: %w", addr, reason(err))
		}
		return true, nil
	}

	client := redis.NewSentinelClient(t.sentinelOptions(addr))
	defer client.Close()
	master, err := client.GetMasterAddrByName(ctx, t.master).Result()
	switch {
	case errors.Is(err, redis.Nil):
		return true, fmt.Errorf("store: Sentinel at %s knows no master %q", addr, t.master)
	case err != nil && strings.Contains(err.Error(), "unknown command"):
		return true, fmt.Errorf("store: Redis at %s is no Sentinel; want redis://", addr)
	case err != nil:
		return true, fmt.Errorf("store: Sentinel at %s: %w", addr, reason(err))
	case len(master) != 2:
		return true, fmt.Errorf("store: Sentinel at %s answered something that is no address", addr)
	}
	at := net.JoinHostPort(master[0], master[1])
	if err := dial(ctx, at, t.options.TLSConfig); err != nil {
		return true, fmt.Errorf("store: master %q at %s cannot be reached: %w", t.master, at, reason(err))
	}
	return true, nil
}

// replicas returns how many replicas the Sentinels know the master to have, those that are down included. Sentinels may differ, and the one that
// knows most counts. It is an error if none of them answers. Without Sentinels it returns -1.
func (t target) replicas(ctx context.Context) (int, error) {
	if t.topology != sentinel {
		return -1, nil
	}
	ctx, cancel := context.WithTimeout(ctx, sentinelTimeout)
	defer cancel()
	type outcome struct {
		n   int
		err error
	}
	outcomes := make(chan outcome, len(t.addrs))
	for _, addr := range t.addrs {
		go func() {
			if err := dial(ctx, addr, t.options.TLSConfig); err != nil { // see connect
				outcomes <- outcome{0, err}
				return
			}
			client := redis.NewSentinelClient(t.sentinelOptions(addr))
			defer client.Close()
			list, err := client.Replicas(ctx, t.master).Result()
			outcomes <- outcome{len(list), err}
		}()
	}
	most, told := -1, error(nil)
	for range t.addrs {
		if o := <-outcomes; o.err != nil {
			told = o.err
		} else {
			most = max(most, o.n)
		}
	}
	if most < 0 {
		return 0, fmt.Errorf("store: no Sentinel says how many replicas master %q has: %w", t.master, reason(told))
	}
	return most, nil
}

// sentinelOptions are those for a client of one Sentinel.
func (t target) sentinelOptions(addr string) *redis.Options {
	opt := *t.options
	opt.Addr, opt.DB, opt.MaxRetries, opt.MinIdleConns, opt.PipelinePoolSize = addr, 0, -1, 0, -1
	opt.Username, opt.Password = t.sentinelUsername, t.sentinelPassword
	return &opt
}

// dial connects once, with TLS if configured, and hangs up.
func dial(ctx context.Context, addr string, config *tls.Config) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if config == nil {
		return nil
	}
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName, _, _ = net.SplitHostPort(addr)
	}
	err = tls.Client(conn, config).HandshakeContext(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("no answer to the TLS handshake (does it speak TLS?)")
	}
	return err
}

// showing makes TLS connections that show their socket, where go-redis looks whether an idle one is still open. Of others it learns that by a command without
// an answer, and what is in the command must not be sent again. To it whatever has come unasked is a reason not to use the connection again; only under
// the third protocol it would look inside for a push, and wait for one if what has come is TLS' own.
func showing(dial dialer) dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if secure, ok := c.(*tls.Conn); ok && err == nil {
			if socket, ok := secure.NetConn().(syscall.Conn); ok {
				return shownConn{secure, socket}, nil
			}
		}
		return c, err
	}
}

type shownConn struct {
	*tls.Conn
	socket syscall.Conn
}

func (c shownConn) SyscallConn() (syscall.RawConn, error) { return c.socket.SyscallConn() }
