package revocation

import (
	"errors"
	"slices"

	"github.com/counterfoil/counterfoil/internal/lean/context"
	"github.com/counterfoil/counterfoil/internal/lean/sync"
	"github.com/counterfoil/counterfoil/internal/lean/time"
	"github.com/counterfoil/counterfoil/token"
)

// An Answer is what the origin knows about one session. It is complete: if a part cannot be had, the Asker returns an error instead.
type Answer struct {
	Live         bool     // the session lives, and it is of this subject
	NotBefore    int64    // the subject's not-before, Unix ms; 0 = none
	AllNotBefore int64    // the everything-not-before, Unix ms; 0 = none
	RevokedKeys  []string // IDs of revoked keys
}

// Judge returns nil if the token is good by this answer, and an error that is [ErrRevoked] otherwise.
func (a Answer) Judge(v token.Verified) error {
	began := v.BeganMilli()
	switch {
	case !v.Valid():
		return token.ErrInvalid
	case began <= a.AllNotBefore:
		return &revokedAll
	case slices.Contains(a.RevokedKeys, v.KeyID()):
		return &revokedKey
	case began <= a.NotBefore:
		return &revokedSubject
	case !a.Live:
		return &revokedByAnswer
	}
	return nil
}

// An Asker asks the origin, usually Redis, about the session of a token.
type Asker interface {
	// Ask returns the answer, or an error, whatever its kind, if the origin could not be reached or did not answer in full. It must
	// return soon after ctx ends. It is called concurrently. Absence of the session is an answer: Live is false.
	Ask(ctx context.Context, v token.Verified) (Answer, error)
}

// AskFunc is a function as an Asker.
type AskFunc func(ctx context.Context, v token.Verified) (Answer, error)

// Ask calls f.
func (f AskFunc) Ask(ctx context.Context, v token.Verified) (Answer, error) { return f(ctx, v) }

const (
	defaultAskTimeout = 500 * time.Millisecond
	maxAsks           = 128 // questions under way at once

	// The breaker opens after this many failures in a row, for breakerOpen, then twice as long after each failed trial.
	breakerFailures = 5
	breakerOpen     = 500 * time.Millisecond
	breakerMax      = 8 * time.Second
)

// What became of asking, for refusals.
const (
	detailUnreachable = "nobody answered"
	detailBreaker     = "nobody answered lately"
	detailBusy        = "too many questions under way"
	detailGone        = "the caller gave up"
)

// asking bounds questions, so that a stale list does not become a stampede: one question per session at a time, a bounded number at once, each
// with a deadline of its own, and a breaker.
type asking struct {
	asker   Asker
	timeout time.Duration
	now     func() time.Time
	slots   chan struct{}

	mu      sync.Mutex
	flights map[flightKey]*flight
	breaker breaker
}

// flightKey names what the answer depends on.
type flightKey struct {
	session token.SessionID
	subject [16]byte
}

// A flight is one question and all who wait for its answer. Whoever comes while one is under way must not have its answer, which may be
// older than the revocation they should see: they wait for the next, which one of them will send.
type flight struct {
	sent    bool
	waiting int // before it is sent
	done    chan struct{}
	next    *flight

	answer Answer
	detail string
	err    error
}

func newAsking(asker Asker, timeout time.Duration, now func() time.Time) *asking {
	if timeout == 0 {
		timeout = defaultAskTimeout
	}
	return &asking{
		asker: asker, timeout: timeout, now: now,
		slots:   make(chan struct{}, maxAsks),
		flights: make(map[flightKey]*flight),
	}
}

var errAskPanic = errors.New("revocation: asker panicked")

// ask returns the answer, or in detail what became of asking.
func (a *asking) ask(ctx context.Context, v token.Verified) (answer Answer, detail string, err error) {
	key := flightKey{v.Session(), v.SubjectHash()}
	a.mu.Lock()
	current := a.flights[key]
	if current == nil {
		current = &flight{done: make(chan struct{})}
		a.flights[key] = current
	}
	mine := current
	if current.sent {
		if current.next == nil {
			current.next = &flight{done: make(chan struct{})}
		}
		mine = current.next
	}
	mine.waiting++
	if mine == current {
		return a.send(ctx, key, mine, v)
	}
	a.mu.Unlock()

	// The caller's own wait is bounded too: for the question under way, and for the one after it.
	deadline := time.NewTimer(2 * a.timeout)
	defer deadline.Stop()
	select {
	case <-current.done:
		a.mu.Lock()
		if !mine.sent {
			return a.send(ctx, key, mine, v)
		}
		mine.waiting--
		a.mu.Unlock()
	case <-deadline.C:
		a.leave(key, mine)
		return Answer{}, detailUnreachable, context.DeadlineExceeded
	case <-ctx.Done():
		a.leave(key, mine)
		return Answer{}, detailGone, ctx.Err()
	}
	select {
	case <-mine.done:
		return mine.answer, mine.detail, mine.err
	case <-deadline.C:
		return Answer{}, detailUnreachable, context.DeadlineExceeded
	case <-ctx.Done():
		return Answer{}, detailGone, ctx.Err()
	}
}

// send sends the question of an unsent flight. It is called with the lock held and releases it.
func (a *asking) send(ctx context.Context, key flightKey, f *flight, v token.Verified) (Answer, string, error) {
	f.sent = true
	f.waiting--
	f.detail, f.err = detailUnreachable, errAskPanic
	allowed, trial := a.breaker.allow(a.now())
	a.mu.Unlock()
	defer func() { // whatever the asker does, those who wait must not wait for ever
		a.mu.Lock()
		if f.next != nil && f.next.waiting > 0 {
			a.flights[key] = f.next
		} else {
			delete(a.flights, key)
		}
		a.mu.Unlock()
		close(f.done)
	}()
	if !allowed {
		f.detail, f.err = detailBreaker, nil
		return f.answer, f.detail, f.err
	}
	// The answer is for all who wait, so the question does not end when one of them gives up.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.timeout)
	defer cancel()
	select {
	case a.slots <- struct{}{}:
	case <-ctx.Done():
		a.report(trial, notSent)
		f.detail, f.err = detailBusy, nil
		return f.answer, f.detail, f.err
	}
	end := failed
	defer func() {
		<-a.slots
		a.report(trial, end)
	}()
	f.answer, f.err = a.asker.Ask(ctx, v)
	if f.err != nil {
		f.answer = Answer{}
		return f.answer, f.detail, f.err
	}
	end, f.detail = answered, ""
	return f.answer, f.detail, f.err
}

// leave takes a caller out of a flight that it no longer waits for.
func (a *asking) leave(key flightKey, f *flight) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if f.sent {
		return
	}
	if f.waiting--; f.waiting == 0 && a.flights[key] == f {
		delete(a.flights, key)
	}
}

func (a *asking) report(trial bool, how ending) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.breaker.report(a.now(), trial, how)
}

// ending is what became of a question that was allowed.
type ending uint8

const (
	notSent ending = iota
	failed
	answered
)

// breaker stops questions after several failures in a row and lets one through now and then to try whether they are answered again.
type breaker struct {
	failures int           // in a row
	open     time.Duration // 0 = closed
	until    time.Time
	trying   bool
}

func (b *breaker) allow(now time.Time) (allowed, trial bool) {
	if b.open == 0 {
		return true, false
	}
	if left := b.until.Sub(now); b.trying || left > 0 && left <= breakerMax { // more is left only if the clock was set back
		return false, false
	}
	b.trying = true
	return true, true
}

func (b *breaker) report(now time.Time, trial bool, how ending) {
	if trial {
		b.trying = false
	}
	switch {
	case how == answered:
		*b = breaker{trying: b.trying}
	case how == notSent:
	case trial:
		b.open = min(2*b.open, breakerMax)
		b.until = now.Add(b.open)
	case b.open == 0: // those that were sent before it opened change nothing
		if b.failures++; b.failures >= breakerFailures {
			b.open = breakerOpen
			b.until = now.Add(b.open)
		}
	}
}
