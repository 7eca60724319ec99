// Package deadline bounds a step in time without a timer for each.
//
// A context.WithTimeout starts a timer and registers with its parent, which costs as much as Redis takes for a whole step, although hardly any step
// comes near its end. A [Context] from [After] knows its time and makes the timer only for whoever waits for Done. Who watches the time by other means,
// as a network connection does that is given a deadline, goes by [Context.Deadline] and waits for the parent alone, see [Apart]. [Glanced] is for a
// library that does so, but for a look at Done before it begins.
package deadline

import (
	"context"
	"sync"
	"time"
)

// Context is its parent until a time. After and Glanced make it; it is safe for concurrent use, as every context is.
type Context struct {
	parent context.Context
	at     time.Time

	mu     sync.Mutex
	glance bool            // the next call of Done makes no timer
	timed  context.Context // with a timer; nil until somebody waits
	cancel context.CancelFunc
	over   bool // Release was called
}

// After returns a context that ends after d, or with its parent if that is earlier. The caller releases it when the step has returned.
func After(parent context.Context, d time.Duration) *Context {
	c := &Context{parent: parent, at: time.Now().Add(d)}
	if at, ok := parent.Deadline(); ok && at.Before(c.at) {
		c.at = at
	}
	return c
}

// Glanced is After for a step that looks at Done once without waiting, as go-redis does whenever it takes a connection from its pool: the first call of Done
// makes no timer, and returns what is closed if the time is over and otherwise ends with the parent alone. Whoever calls it again, as go-redis
// does if it has to wait for a connection, waits for the time as well.
func Glanced(parent context.Context, d time.Duration) *Context {
	c := After(parent, d)
	if p, ours := parent.(*Context); ours {
		c.parent = p.parent // which makes no timer either; the time is no later
	}
	c.glance = true
	return c
}

// Release ends the context, as the function does that comes with context.WithTimeout.
func (c *Context) Release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.cancel != nil {
		c.cancel()
	}
}

// Deadline implements context.Context.
func (c *Context) Deadline() (time.Time, bool) { return c.at, true }

var past = func() <-chan struct{} { c := make(chan struct{}); close(c); return c }()

// Done implements context.Context. The first call makes the timer, or the second; see [Glanced].
func (c *Context) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.glance {
		c.glance = false
		if c.over || !time.Now().Before(c.at) {
			return past
		}
		return c.parent.Done()
	}
	if c.timed == nil {
		c.timed, c.cancel = context.WithDeadline(c.parent, c.at)
		if c.over {
			c.cancel()
		}
	}
	return c.timed.Done()
}

// Err implements context.Context: without a timer it goes by the clock.
func (c *Context) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timed != nil {
		return c.timed.Err()
	}
	switch err := c.parent.Err(); {
	case err != nil:
		return err
	case c.over:
		return context.Canceled
	case !time.Now().Before(c.at):
		return context.DeadlineExceeded
	}
	return nil
}

// Value implements context.Context.
func (c *Context) Value(key any) any { return c.parent.Value(key) }

// Apart returns the time when ctx ends and a context without a timer for whoever watches that time: the parent, if ctx is a [Context]. ok is false if
// ctx has none.
func Apart(ctx context.Context) (rest context.Context, at time.Time, ok bool) {
	if c, ours := ctx.(*Context); ours {
		return c.parent, c.at, true
	}
	at, ok = ctx.Deadline()
	return ctx, at, ok
}
