// Package elapse moves the clock of a test store. [By] is all there is.
package elapse

import (
	"context"
	"time"
)

// By moves a clock forward by d, in steps with a heartbeat of the revocation log after each: a log that is silent for longer than a minute begins
// anew, and vouches for no older token. After an hour there is none that could still be good, so anything before the last hour is one step.
func By[E, A any](d time.Duration, heartbeat func(context.Context, ...E) (A, error), move func(time.Duration)) {
	const step, rest = 50 * time.Second, time.Hour
	if d > rest {
		move(d - rest)
		d = rest
	}
	for ; d > 0; d -= step {
		move(min(d, step))
		// Its failure shows in what the test does next.
		_, _ = heartbeat(context.Background())
	}
}
