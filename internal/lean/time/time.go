//go:build !edge

// Package time is the standard package time, as far as token and revocation use it. Under the build tag edge it is a smaller one with the same names,
// which knows no time but what it is told: the edge module (package edge) hears it from its host with every call, and the standard package would be a tenth
// of that module, for printing, zones and timers that nobody uses there.
//
// Without the tag everything here is the standard library's own: the types are the same, not similar.
package time

import "time"

// The types of the standard library.
type (
	Time     = time.Time
	Duration = time.Duration
	Timer    = time.Timer
)

// Durations, as in the standard library.
const (
	Millisecond = time.Millisecond
	Second      = time.Second
	Minute      = time.Minute
	Hour        = time.Hour
)

// At returns the moment at which the wall clock shows wall, in Unix milliseconds. steady is what a clock showed that only runs forward; the standard library
// has no place for one that is not its own.
func At(wall, steady int64) Time { return time.UnixMilli(wall) }

// UnixMilli is time.UnixMilli.
func UnixMilli(ms int64) Time { return time.UnixMilli(ms) }

// Now is time.Now.
func Now() Time { return time.Now() }

// Since is time.Since.
func Since(t Time) Duration { return time.Since(t) }

// Until is time.Until.
func Until(t Time) Duration { return time.Until(t) }

// NewTimer is time.NewTimer.
func NewTimer(d Duration) *Timer { return time.NewTimer(d) }

// AfterFunc is time.AfterFunc.
func AfterFunc(d Duration, f func()) *Timer { return time.AfterFunc(d, f) }
