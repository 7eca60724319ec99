//go:build !wasm

package token

import (
	"sync"
	"sync/atomic"
	"time"
)

// Asking the machine for the time costs twice as much as all the rest of a warm hit, so hits read a clock that a timer sets four times a second: it is at most one
// second old as long as timers fire at all. There is no goroutine and nothing to close. The timer runs for a lease of one minute; the first reader after that
// takes the true time, sets the clock going again, and so an idle verifier costs nothing.
const (
	clockTick  = 250 * time.Millisecond
	clockLease = time.Minute
)

type clock struct {
	now atomic.Int64 // Unix milliseconds; 0 = stopped

	mu    sync.Mutex // held to start, to tick and to stop, never to read
	timer *time.Timer
	ticks int // left in the lease
}

func (c *clock) milli() int64 {
	if now := c.now.Load(); now != 0 {
		return now
	}
	return c.start()
}

func (c *clock) start() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now().UnixMilli()
	if c.now.Load() == 0 {
		c.ticks = int(clockLease / clockTick)
		c.timer = time.AfterFunc(clockTick, c.tick)
		c.now.Store(now)
	}
	return now
}

func (c *clock) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ticks--; c.ticks == 0 {
		c.now.Store(0)
		return
	}
	c.now.Store(time.Now().UnixMilli())
	c.timer.Reset(clockTick)
}
