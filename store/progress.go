package store

import (
	"context"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// maxSilence is how long a connection that is read from may bring nothing at all: as long as a read waits for news, and the way there and back.
const maxSilence = maxBlock + tailGrace

type dialer = func(ctx context.Context, network, addr string) (net.Conn, error)

// progressing makes connections of which each read has to bring something within maxSilence, however long the answer is. A whole log may take its time, and a
// half-open link is still noticed as soon as anywhere: a deadline for all of an answer can do one or the other.
func progressing(dial dialer) dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		p := &progressConn{Conn: c}
		if sys, ok := c.(syscall.Conn); ok { // go-redis looks there whether an idle connection is still open
			return struct {
				*progressConn
				syscall.Conn
			}{p, sys}, nil
		}
		return p, nil
	}
}

type progressConn struct {
	net.Conn
	until atomic.Pointer[time.Time] // the deadline that was asked for; nil or zero = none
	dead  atomic.Bool               // it has been silent for too long: go-redis looks twice for an answer
}

func (c *progressConn) Read(b []byte) (int, error) {
	if c.dead.Load() {
		return 0, os.ErrDeadlineExceeded
	}
	until, mine := time.Now().Add(maxSilence), true
	if asked := c.until.Load(); asked != nil && !asked.IsZero() && asked.Before(until) {
		until, mine = *asked, false
	}
	if err := c.Conn.SetReadDeadline(until); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(b)
	if mine && errors.Is(err, os.ErrDeadlineExceeded) {
		c.dead.Store(true)
	}
	return n, err
}

func (c *progressConn) SetReadDeadline(t time.Time) error {
	c.until.Store(&t)
	return c.Conn.SetReadDeadline(t)
}

func (c *progressConn) SetDeadline(t time.Time) error {
	c.until.Store(&t)
	return c.Conn.SetDeadline(t)
}
