//go:build edge

package time

import "math"

// A Duration is in nanoseconds, as in the standard library.
type Duration int64

// Durations, as in the standard library.
const (
	Millisecond Duration = 1e6
	Second               = 1000 * Millisecond
	Minute               = 60 * Second
	Hour                 = 60 * Minute
)

// Milliseconds returns the whole milliseconds of d.
func (d Duration) Milliseconds() int64 { return int64(d / Millisecond) }

// Seconds returns d in seconds.
func (d Duration) Seconds() float64 { return float64(d) / float64(Second) }

// Abs returns the absolute value of d.
func (d Duration) Abs() Duration {
	if d < 0 {
		return -max(d, -math.MaxInt64)
	}
	return d
}

// A Time is a moment: what a wall clock shows, and a clock that only runs forward.
type Time struct {
	wall   int64 // Unix ms
	steady int64 // ms; 0 = not read
}

// At returns the moment at which the wall clock shows wall, in Unix milliseconds, and the clock that only runs forward shows steady, in milliseconds; 0 for
// a host that has none.
func At(wall, steady int64) Time { return Time{wall, steady} }

// UnixMilli returns the moment that a wall clock shows.
func UnixMilli(ms int64) Time { return Time{wall: ms} }

// Now is not known here: who needs the time is told it. This one is so early that every token is of the future by it.
func Now() Time { return Time{} }

// Since is the time since t, which is not known either.
func Since(t Time) Duration { return Now().Sub(t) }

// Until is the time until t, which is not known either.
func Until(t Time) Duration { return t.Sub(Now()) }

// IsZero reports whether t is no time at all.
func (t Time) IsZero() bool { return t == Time{} }

// UnixMilli returns what the wall clock shows.
func (t Time) UnixMilli() int64 { return t.wall }

// Sub returns t-u by the clock that only runs forward if both read it, by the wall clock otherwise, and the nearest duration that there is if it is too long.
func (t Time) Sub(u Time) Duration {
	ms := t.wall - u.wall
	if t.steady != 0 && u.steady != 0 {
		ms = t.steady - u.steady
	}
	const most = math.MaxInt64 / int64(Millisecond)
	return Duration(min(max(ms, -most), most)) * Millisecond
}

// Add returns t+d, to the millisecond.
func (t Time) Add(d Duration) Time {
	t.wall += d.Milliseconds()
	if t.steady != 0 {
		t.steady = max(t.steady+d.Milliseconds(), 1)
	}
	return t
}

// Before reports whether t is before u.
func (t Time) Before(u Time) bool { return t.Sub(u) < 0 }

// After reports whether t is after u.
func (t Time) After(u Time) bool { return t.Sub(u) > 0 }

// A Timer never fires: nothing at an edge runs unless the host calls it. What waits for one waits for a context too, and that is over, see package context.
type Timer struct{ C <-chan Time }

// NewTimer returns a Timer.
func NewTimer(Duration) *Timer { return &Timer{} }

// AfterFunc returns a Timer and never calls f.
func AfterFunc(_ Duration, f func()) *Timer { return &Timer{} }

// Stop reports that the timer has not fired.
func (*Timer) Stop() bool { return true }

// Reset reports that the timer has not fired.
func (*Timer) Reset(Duration) bool { return true }
