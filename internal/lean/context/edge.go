//go:build edge

//lint:file-ignore ST1012 the names are those of the standard library

package context

import (
	"errors"

	"github.com/counterfoil/counterfoil/internal/lean/time"
)

// A Context is over.
type Context interface {
	Done() <-chan struct{} // closed
	Err() error
}

// A CancelFunc has nothing to do.
type CancelFunc func()

// The errors have the names of those of the standard library.
var (
	Canceled         = errors.New("context: nothing waits at an edge")
	DeadlineExceeded = errors.New("context: nothing has time at an edge")
)

type over struct{}

var closed = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

func (over) Done() <-chan struct{} { return closed }
func (over) Err() error            { return DeadlineExceeded }

// Background returns a context that is over.
func Background() Context { return over{} }

// WithTimeout returns a context that is over.
func WithTimeout(Context, time.Duration) (Context, CancelFunc) { return over{}, func() {} }

// WithoutCancel returns a context that is over.
func WithoutCancel(Context) Context { return over{} }
