//go:build !edge

// Package context is the standard package context, as far as revocation uses it. Under the build tag edge, where nothing waits for anything, it is one whose
// contexts are all over: what is begun under one of them gives up at once, and fails as it does when the time is over. The standard package would bring package time along,
// see there.
package context

import (
	"context"
	"time"
)

// The types of the standard library.
type (
	Context    = context.Context
	CancelFunc = context.CancelFunc
)

// The errors of the standard library.
var (
	Canceled         = context.Canceled
	DeadlineExceeded = context.DeadlineExceeded
)

// Background is context.Background.
func Background() Context { return context.Background() }

// WithTimeout is context.WithTimeout.
func WithTimeout(parent Context, d time.Duration) (Context, CancelFunc) {
	return context.WithTimeout(parent, d)
}

// WithoutCancel is context.WithoutCancel.
func WithoutCancel(parent Context) Context { return context.WithoutCancel(parent) }
