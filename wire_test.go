package counterfoil_test

import (
	"bytes"
	"context"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/store"
)

// moment is one in the life of a command.
type moment int

const (
	about    moment = iota // it will be written next
	written                // to the socket, whole
	answered               // the answer is here, and nobody has seen it yet
)

// wire is told of every single command that a store sends, those of pipelines and WAIT among them: it looks at the bytes on its connections. What
// connections begin with does nothing, and does not count.
type wire struct {
	mu       sync.Mutex
	at       func(n int, name string, when moment) // nil: nobody counts
	commands []string                              // names of those that were counted
}

// count has at be told of commands from now on, which are counted from 1.
func (w *wire) count(at func(n int, name string, when moment)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = at
}

// stop ends the count and returns the names of the commands.
func (w *wire) stop() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = nil
	return w.commands
}

// begin counts a command. It is 0 if nobody counts.
func (w *wire) begin(name string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.at == nil || slices.Contains([]string{"hello", "auth", "select", "client"}, name) {
		return 0
	}
	w.commands = append(w.commands, name)
	return len(w.commands)
}

func (w *wire) tell(n int, name string, when moment) {
	w.mu.Lock()
	at := w.at
	w.mu.Unlock()
	if at != nil && n > 0 {
		at(n, name, when)
	}
}

// wired is a connection that counts.
type wired struct {
	net.Conn
	w       *wire
	out, in []byte // parts of a command, and of an answer
	sent    []sent // commands that have no answer yet
}

type sent struct {
	n    int
	name string
}

// Write writes one command after the other.
func (c *wired) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		length := respLen(append(c.out, b[done:]...))
		if length == 0 {
			c.out = append(c.out, b[done:]...)
			n, err := c.Conn.Write(b[done:])
			return done + n, err
		}
		whole := append(c.out, b[done:]...)[:length]
		part := b[done : done+length-len(c.out)]
		s := sent{name: commandName(whole)}
		s.n = c.w.begin(s.name)
		c.out = nil
		c.w.tell(s.n, s.name, about)
		n, err := c.Conn.Write(part)
		if done += n; err != nil {
			return done, err
		}
		c.sent = append(c.sent, s)
		c.w.tell(s.n, s.name, written)
	}
	return done, nil
}

// Read reads answers, and lets nobody see them before they are counted.
func (c *wired) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.in = append(c.in, b[:n]...)
	for {
		length := respLen(c.in)
		if length == 0 || len(c.sent) == 0 {
			return n, err
		}
		c.in = c.in[length:]
		s := c.sent[0]
		c.sent = c.sent[1:]
		c.w.tell(s.n, s.name, answered)
	}
}

// respLen returns how long the command or answer is that b begins with (RESP 2); 0 = it is not there whole.
func respLen(b []byte) int {
	end := bytes.Index(b, []byte("\r\n"))
	if end < 0 {
		return 0
	}
	length := end + 2
	n, _ := strconv.Atoi(string(b[1:end]))
	switch {
	case b[0] == '$' && n >= 0:
		if length += n + 2; length > len(b) {
			return 0
		}
	case b[0] == '*':
		for range n {
			part := respLen(b[length:])
			if part == 0 {
				return 0
			}
			length += part
		}
	}
	return length
}

// commandName names a command, and the script that it runs by its first words.
func commandName(b []byte) string {
	f := strings.Split(string(b), "\r\n") // *n, $length, name, $length, argument, …
	name := strings.ToLower(f[2])
	if (name == "evalsha" || name == "eval") && len(f) > 8 {
		key := f[8]
		if _, rest, ok := strings.Cut(key, "}"); ok {
			key, _, _ = strings.Cut(rest, ":")
		}
		name += " " + key
	}
	return name
}

// apart is a store on whose connections there is nothing but what is done with it: heartbeats, and all that the follower reads and reports, go
// by those of another.
type apart struct {
	*store.Redis
	rest *store.Redis
}

func (a apart) Append(ctx context.Context, entries ...revocation.Entry) (revocation.Appended, error) {
	if len(entries) == 0 {
		return a.rest.Append(ctx)
	}
	return a.Redis.Append(ctx, entries...)
}

func (a apart) Read(ctx context.Context, after revocation.Position, wait time.Duration) (revocation.Batch, error) {
	return a.rest.Read(ctx, after, wait)
}

func (a apart) Report(ctx context.Context, follower string, at revocation.Position, age time.Duration) error {
	return a.rest.Report(ctx, follower, at, age)
}

// openWired makes a Manager whose store is watched by w. What is returned second closes everything.
func openWired(ctx context.Context, url string, w *wire, cfg counterfoil.Config) (*counterfoil.Manager, func(), error) {
	opt, err := redis.ParseURL(url)
	if err != nil {
		return nil, nil, err
	}
	opt.Protocol, opt.ContextTimeoutEnabled = 2, true
	opt.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &wired{Conn: c, w: w}, nil
	}
	client := redis.NewClient(opt)
	var closing []func() error
	end := func() {
		for i := range closing {
			_ = closing[len(closing)-1-i]()
		}
	}
	closing = append(closing, client.Close)
	sc := store.Config{Logger: cfg.Logger, Timeout: cfg.Timeout}
	a := apart{}
	if a.Redis, err = store.New(ctx, client, sc); err != nil {
		end()
		return nil, nil, err
	}
	closing = append(closing, a.Redis.Close)
	if a.rest, err = store.Open(ctx, url, sc); err != nil {
		end()
		return nil, nil, err
	}
	closing = append(closing, a.rest.Close)
	cfg.Store = a
	m, err := counterfoil.New(ctx, cfg)
	if err != nil {
		end()
		return nil, nil, err
	}
	closing = append(closing, m.Close)
	return m, end, nil
}
