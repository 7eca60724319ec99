// Package embedded runs a Redis inside the process: miniredis behind the same client and the same scripts as a real server, so that
// demos, tests and a first afternoon need nothing installed. [Open] takes "embedded:" beside every URL that store.Open takes, so that a
// program's configuration chooses; [Start] runs a server by itself, and [Server.URL] is what store.Open takes.
//
// # What it is not
//
// It keeps everything in memory and loses it with the process, runs Lua some twenty-five times slower than Redis, and has no replicas, no
// persistence and no access control beyond its address: it listens on loopback only. It is for development and tests, and no figure measured on it means anything.
//
// # Compatibility
//
// The package follows package store; what it promises about names and formats holds here too.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/counterfoil/counterfoil/store"
)

// Store is a store.Redis that takes its embedded server, if it has one, with it when it is closed. [Open] makes it.
type Store struct {
	*store.Redis
	server *Server // nil = a real Redis
}

// Open opens the store at a URL. "embedded:" starts a server in this process, on any loopback port, and with it a new, empty store; every other
// URL goes to store.Open. ctx bounds the start only.
func Open(ctx context.Context, rawURL string, cfg store.Config) (*Store, error) {
	if rawURL != "embedded:" {
		s, err := store.Open(ctx, rawURL, cfg)
		if err != nil {
			return nil, err
		}
		return &Store{Redis: s}, nil
	}
	server, err := Start("")
	if err != nil {
		return nil, err
	}
	s, err := store.Open(ctx, server.URL(), cfg)
	if err != nil {
		server.Close()
		return nil, err
	}
	return &Store{s, server}, nil
}

// Server returns the embedded server, or nil if the URL named another.
func (s *Store) Server() *Server { return s.server }

// Close closes the store and stops its embedded server, which forgets everything. Closing twice is harmless.
func (s *Store) Close() error {
	err := s.Redis.Close()
	if s.server != nil {
		s.server.Close()
	}
	return err
}

// Server is a Redis in this process. [Start] and [InMemory] make it; the zero value is not usable. Most callers want [Server.URL] and
// [Server.Close]. It is safe for concurrent use.
type Server struct {
	mini  *miniredis.Miniredis
	addr  string // "" = in memory
	close func()
}

// Start runs a server at addr, host:port on loopback; "" means 127.0.0.1 and any free port. Keys expire as time passes. It is an error if
// the port is taken, and if the host is not loopback, because the server asks nobody for a password.
func Start(addr string) (*Server, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, errors.New("embedded: address is not host:port")
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, errors.New("embedded: address is not loopback; the embedded Redis has no password")
	}
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr(addr); err != nil {
		return nil, fmt.Errorf("embedded: %w", err)
	}
	return newServer(m, m.Addr()), nil
}

// InMemory makes a server without an address, which only its own clients reach. It also works in a testing/synctest bubble, where no
// socket does, and there follows the bubble's time.
func InMemory() *Server { return newServer(miniredis.NewMiniRedis(), "") }

func newServer(m *miniredis.Miniredis, addr string) *Server {
	m.ClockTTL(true) // off by default: keys would never expire
	return &Server{mini: m, addr: addr, close: sync.OnceFunc(m.Close)}
}

// Addr returns host:port, or "" if the server has none.
func (s *Server) Addr() string { return s.addr }

// URL returns the redis:// URL, or "" if the server has no address.
func (s *Server) URL() string {
	if s.addr == "" {
		return ""
	}
	return "redis://" + s.addr
}

// Client returns a client that reaches the server through memory, not through a socket. The caller closes it.
func (s *Server) Client() *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr:                     "embedded",
		Dialer:                   func(context.Context, string, string) (net.Conn, error) { return s.mini.Dial() },
		ContextTimeoutEnabled:    true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// SetTime stops the server's clock at t, for tests: session lives, windows and the log follow it, and keys whose time has come are gone.
// The zero time lets the clock run again, with the time of the process.
func (s *Server) SetTime(t time.Time) { s.mini.SetTime(t) }

// Close stops the server and forgets everything. Closing twice is harmless.
func (s *Server) Close() { s.close() }
