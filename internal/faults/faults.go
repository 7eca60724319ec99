// Package faults judges what a system of origins and verifiers did while something was broken. An [Oracle] is told of every call and says which promises
// were not kept; a [Proxy] breaks connections. The tests here run a workload against real Redis servers and inject one fault after the other:
// a fast representative of each family in go test, all of them, with a table, in make faults.
//
// # What the columns mean
//
// A revocation is acknowledged when the call that ends a session (or all of a subject's) returned nil. One that returned an error is not, whatever
// became of it, and its caller knows; counterfoil.ErrNotDurable is such an error.
//
// It is lost when, after the system is whole again, any verifier accepts a token of a session that it ended, or an origin loads or renews that session,
// although the token has not expired. A session counts as ended by a call only if its login had returned before the call began.
//
// The promised bound is MaxStale + leeway of the verifiers, which are Strict. A list is stale when the request that brought its newest
// record was sent more than MaxStale ago by the monotonic clock, or when that record is older than MaxStale + leeway by the wall clock, so no
// list that may be believed lacks what was acknowledged longer ago than that. A check that was begun later than the bound after
// the acknowledgement, and accepted, is accepted after the bound. What the origin does with the record itself (load, save, renew, rotate) has no bound: there the
// revocation holds from the acknowledgement on, except that a split keeps origins at a server that is no master any more; there it takes as
// long as Redis takes to notice, and the bound here.
//
// A confirmation is a follower that a revocation lists as one that refuses the session from now on. If its guard accepts it right after, that is counted as a use
// accepted after the bound.
//
// A revocation is excused if it was acknowledged while a fault did what the operator was told of beforehand. It may be lost, and uses of the sessions that it
// ended may be late; both are counted apart. What was acknowledged before, or after, is not excused.
//
// A session is mixed up with another when it answers with data that carry the other's mark, or when a token or a renewal made for one is accepted as the other.
//
// The system is whole again when every verifier's list is fresh, a new login through each origin is accepted by each verifier, and a new
// revocation through each origin is acknowledged and known to each verifier. The time runs from the end of the fault.
//
// # Histories
//
// Beside these counts the calls that concern one session are a history, which is checked for linearizability: login, endings and uses (checks, loads,
// renewals) must have an order in which no use succeeds after an ending, and none is refused before one. A use may take effect up to its bound before
// it was begun, and an ending that was not acknowledged whenever it likes, or never.
package faults

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// historyUses is how many accepted and how many refused uses of a session are in its history. Those that were begun last of the accepted, and answered
// first of the refused, are the ones that leave an order the least room, so more would say nothing new.
const historyUses = 6

// An Oracle is told of every call while it happens and counts the promises that were not kept. NewOracle makes one. It is safe for concurrent use.
type Oracle struct {
	bound    time.Duration
	epoch    time.Time
	lossless bool
	excuses  []excuse

	mu       sync.Mutex
	subjects map[string]*subject
	counts   Counts
	said     map[string][]string // by kind
}

// Counts are the figures of a row.
type Counts struct {
	Acknowledged int // revocations
	Refused      int // revocations whose caller got an error
	Told         int // of which said that they are not durable
	Lost         int // revocations
	Late         int // uses accepted after the bound
	Mixed        int // sessions
	Uses         int // uses that were judged
	Confirmed    int // confirmations that were judged
	LostExcused  int // revocations
	LateExcused  int // uses
	Latest       time.Duration
	// Latest is how long after an acknowledgement the last use was begun that was accepted by a verifier.
}

// excuse is a time in which what is acknowledged may be lost.
type excuse struct{ from, to time.Time }

// Excuse excuses the revocations that were, or will have been, acknowledged between two times.
func (o *Oracle) Excuse(from, to time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.excuses = append(o.excuses, excuse{from, to})
}

// excused is called with the lock held.
func (o *Oracle) excused(acked time.Time) bool {
	return slices.ContainsFunc(o.excuses, func(e excuse) bool { return !acked.Before(e.from) && !acked.After(e.to) })
}

type subject struct {
	sessions []*Session
	alls     []*revocation // of all sessions of the subject
}

// A Session is one that was begun. The oracle makes it when a login has succeeded.
type Session struct {
	Subject string
	o       *Oracle
	called  time.Time     // when the login was
	born    time.Time     // when it had succeeded
	ends    []*revocation // all that were tried
	acked   time.Time     // of the first that was acknowledged
	mixed   bool

	history  []porcupine.Operation    // but for the uses
	uses     [2][]porcupine.Operation // by their verdict
	doubtful bool                     // an ending that may take effect at any time is in the history
}

type revocation struct {
	begun, ended time.Time
	acked, lost  bool
}

// NewOracle makes an Oracle that grants verifiers so much time to hear of a revocation. lossless says that the fault may not lose any data, so that a
// session that answers "ended" must have been.
func NewOracle(bound time.Duration, lossless bool) *Oracle {
	return &Oracle{bound: bound, lossless: lossless, epoch: time.Now(), subjects: map[string]*subject{}, said: map[string][]string{}}
}

func (o *Oracle) subject(name string) *subject {
	s := o.subjects[name]
	if s == nil {
		s = &subject{}
		o.subjects[name] = s
	}
	return s
}

// The operations of a history.
type act byte

const (
	actLogin act = iota
	actEnd
	actUse
)

// Begun notes a login that was called at the given time and has just succeeded.
func (o *Oracle) Begun(name string, called time.Time) *Session {
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	sub := o.subject(name)
	s := &Session{Subject: name, o: o, called: called, born: now}
	s.history = append(s.history, o.operation(actLogin, nil, called, now))
	for _, r := range sub.alls {
		if r.ended.After(called) { // at the same time as the login: it may have been before or after it
			s.end(r, false)
		}
	}
	sub.sessions = append(sub.sessions, s)
	return s
}

// GoesOn notes that a session, by a rotation that was called at the given time and has just succeeded, goes on under another ID, and returns the session
// that it is now. What ended all sessions of its subject before has ended this one too: a rotation does not make it younger. Whatever named the old
// ID has not.
func (o *Oracle) GoesOn(old *Session, called time.Time) *Session {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.replaced(old, called)
	s := &Session{Subject: old.Subject, o: o, called: old.called, born: old.born}
	s.history = append(s.history, o.operation(actLogin, nil, old.called, old.born))
	sub := o.subject(s.Subject)
	for _, r := range sub.alls {
		switch {
		case old.born.Before(r.begun):
			s.hit(r)
		case r.ended.After(old.called):
			s.end(r, false)
		}
	}
	sub.sessions = append(sub.sessions, s)
	return s
}

// Replaced notes that a rotation of a session, called at the given time, has just failed: the session may have ended, or not.
func (o *Oracle) Replaced(old *Session, called time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.replaced(old, called)
}

// replaced is called with the lock held. A rotation does not say whether the end of what it replaces is durable.
func (o *Oracle) replaced(old *Session, called time.Time) {
	r := &revocation{begun: called, ended: time.Now()}
	old.ends = append(old.ends, r)
	old.end(r, false)
}

// end enters a revocation in the history: one that is sure to have hit the session, or one that may have, or may still. Of these the first is as good as all.
func (s *Session) end(r *revocation, sure bool) {
	op := s.o.operation(actEnd, nil, r.begun, r.ended)
	if !sure {
		if s.doubtful {
			return
		}
		s.doubtful = true
		s.uses[Refused] = nil // they may have met what was done of it, and others not yet
		op.Return = 1<<62 - 1
	}
	s.history = append(s.history, op)
}

// An Outcome is how a revocation ended for its caller.
type Outcome int

// The outcomes.
const (
	Acknowledged Outcome = iota
	NotDurable           // the error said so
	Failed               // any other error
)

// Ended notes that the revocation of one session, called at the given time, has just ended.
func (o *Oracle) Ended(s *Session, called time.Time, how Outcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended([]*Session{s}, &revocation{begun: called, ended: time.Now(), acked: how == Acknowledged}, how)
}

// EndedAll notes the same of the revocation of all sessions of a subject.
func (o *Oracle) EndedAll(name string, called time.Time, how Outcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	r := &revocation{begun: called, ended: time.Now(), acked: how == Acknowledged}
	var hit []*Session
	sub := o.subject(name)
	for _, s := range sub.sessions {
		if s.born.Before(called) {
			hit = append(hit, s)
		} else {
			s.end(r, false)
		}
	}
	sub.alls = append(sub.alls, r)
	o.ended(hit, r, how)
}

// ended is called with the lock held.
func (o *Oracle) ended(hit []*Session, r *revocation, how Outcome) {
	for _, s := range hit {
		s.hit(r)
	}
	switch how {
	case Acknowledged:
		o.counts.Acknowledged++
	case NotDurable:
		o.counts.Told++
		o.counts.Refused++
	default:
		o.counts.Refused++
	}
}

// hit is called with the oracle's lock held.
func (s *Session) hit(r *revocation) {
	s.ends = append(s.ends, r)
	if r.acked && s.acked.IsZero() {
		s.acked = r.ended
	}
	s.end(r, r.acked)
}

// A Verdict is what a use came to.
type Verdict int

// The verdicts. A use that ended in an error of any other kind says nothing and is not told.
const (
	Accepted Verdict = iota
	Refused          // because the session has ended
)

// Where a use took place.
type Where struct {
	Name  string        // for what is said about violations
	Bound time.Duration // how long after the acknowledgement it may still succeed; 0 for the record itself
}

// Used notes a use of a session, called at the given time, that has just ended.
func (o *Oracle) Used(s *Session, at Where, called time.Time, v Verdict) {
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.counts.Uses++
	if v == Accepted && !s.acked.IsZero() {
		since := called.Sub(s.acked)
		if at.Bound > 0 && !o.excused(s.acked) {
			o.counts.Latest = max(o.counts.Latest, since)
		}
		switch {
		case since <= at.Bound:
		case o.excused(s.acked):
			o.counts.LateExcused++
		default:
			o.counts.Late++
			o.say("late", "%s accepted a session %v after its revocation was acknowledged", at.Name, since.Round(time.Millisecond))
		}
	}
	// A revocation that was not acknowledged may be known here and not there, or be undone by a failover, and a fault that loses data may lose logins.
	if v == Refused && (!o.lossless || s.doubtful) {
		return
	}
	s.keep(v, o.operation(actUse, v, called.Add(-at.Bound), now))
}

// Confirmed notes that a revocation of a session listed a follower as one that has confirmed it, and what that one said right after.
func (o *Oracle) Confirmed(s *Session, name string, v Verdict) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.counts.Confirmed++
	if v == Accepted {
		o.counts.Late++
		o.say("late", "%s accepted a session after it had confirmed its revocation", name)
	}
}

// keep enters a use in the history, in the place of one that says less.
func (s *Session) keep(v Verdict, op porcupine.Operation) {
	kept := &s.uses[v]
	if len(*kept) < historyUses {
		*kept = append(*kept, op)
		return
	}
	tells := func(a, b porcupine.Operation) bool { // a more than b
		if v == Accepted {
			return a.Call > b.Call
		}
		return a.Return < b.Return
	}
	least := 0
	for i := range *kept {
		if tells((*kept)[least], (*kept)[i]) {
			least = i
		}
	}
	if tells(op, (*kept)[least]) {
		(*kept)[least] = op
	}
}

// MixedUp notes that a session answered as another.
func (o *Oracle) MixedUp(s *Session, how string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !s.mixed {
		s.mixed = true
		o.counts.Mixed++
		o.say("mixed", "mixed up: %s", how)
	}
}

// Ended reports whether the session's end was acknowledged, and whether it was tried at all.
func (s *Session) Ended() (acknowledged, tried bool) {
	s.o.mu.Lock()
	defer s.o.mu.Unlock()
	return !s.acked.IsZero(), len(s.ends) > 0
}

// Lost notes, once the system is whole again, that a session whose end was acknowledged is still accepted somewhere.
func (o *Oracle) Lost(s *Session, where string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range s.ends {
		if !r.acked || r.lost {
			continue
		}
		r.lost = true
		if o.excused(r.ended) {
			o.counts.LostExcused++
		} else {
			o.counts.Lost++
		}
	}
	if !slices.ContainsFunc(s.ends, func(r *revocation) bool { return r.acked && !o.excused(r.ended) }) {
		return
	}
	o.say("lost", "lost: %s, whose end was acknowledged at %.3f s", where, s.acked.Sub(o.epoch).Seconds())
}

// Sessions returns all sessions that were begun.
func (o *Oracle) Sessions() []*Session {
	o.mu.Lock()
	defer o.mu.Unlock()
	var all []*Session
	for _, sub := range o.subjects {
		all = append(all, sub.sessions...)
	}
	return all
}

// Counts returns the figures so far.
func (o *Oracle) Counts() Counts {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.counts
}

// Said returns the first violations of each kind in words.
func (o *Oracle) Said() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Concat(o.said["late"], o.said["lost"], o.said["mixed"])
}

// say is called with the lock held.
func (o *Oracle) say(kind, format string, args ...any) {
	if len(o.said[kind]) < 8 {
		o.said[kind] = append(o.said[kind], fmt.Sprintf("%8.3f s: ", time.Since(o.epoch).Seconds())+fmt.Sprintf(format, args...))
	}
}

func (o *Oracle) operation(a act, out any, from, to time.Time) porcupine.Operation {
	return porcupine.Operation{Input: a, Output: out, Call: from.Sub(o.epoch).Nanoseconds(), Return: to.Sub(o.epoch).Nanoseconds()}
}

// alive is the state of a session.
type alive bool

var model = porcupine.Model{
	Init: func() any { return alive(false) },
	Step: func(state, input, output any) (bool, any) {
		switch input.(act) {
		case actLogin:
			return true, alive(true)
		case actEnd:
			return true, alive(false)
		}
		return bool(state.(alive)) == (output.(Verdict) == Accepted), state
	},
	Equal: func(a, b any) bool { return a == b },
}

// CheckHistories checks the histories of all sessions and returns one line for each that has no order, or none that was found in time.
func (o *Oracle) CheckHistories(within time.Duration) (operations int, broken []string) {
	sessions := o.Sessions()
	o.mu.Lock()
	histories := make([][]porcupine.Operation, len(sessions))
	for i, s := range sessions {
		if o.excused(s.acked) {
			continue // an end that may have been undone has no place in an order
		}
		histories[i] = slices.Concat(s.history, s.uses[Accepted], s.uses[Refused])
		operations += len(histories[i])
	}
	o.mu.Unlock()
	deadline := time.Now().Add(within)
	for i, h := range histories {
		if len(broken) == 5 {
			break
		}
		switch porcupine.CheckOperationsTimeout(model, h, max(time.Until(deadline), time.Millisecond)) {
		case porcupine.Illegal:
			broken = append(broken, fmt.Sprintf("the history of a session of %s has no order that keeps the promises (%d operations)", sessions[i].Subject, len(h)))
		case porcupine.Unknown:
			broken = append(broken, fmt.Sprintf("the history of a session of %s could not be judged in time (%d operations)", sessions[i].Subject, len(h)))
		}
	}
	return operations, broken
}
