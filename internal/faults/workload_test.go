package faults_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/faults"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

const (
	subjects = 10
	perUser  = 2 // goroutines of each subject
	checkers = 3
)

// work starts the workload: each subject logs in, loads, saves, renews, rotates and logs out, here and everywhere, in two goroutines; others check
// tokens, of ended sessions too.
func (r *run) work() {
	users, enough := context.WithCancel(r.ctx)
	r.enough = enough
	for i := range subjects {
		subject := fmt.Sprintf("subject %d", i)
		for range perUser {
			r.users.Go(func() { r.each(users, 50*time.Millisecond, func() { r.act(subject) }) })
		}
	}
	for range checkers {
		r.looking.Go(func() { r.each(r.ctx, 2*time.Millisecond, r.check) })
	}
	r.looking.Go(func() { r.each(r.ctx, 25*time.Millisecond, r.haunt) })
}

// each calls f until ctx ends, at intervals around the given one.
func (r *run) each(ctx context.Context, every time.Duration, f func()) {
	for ctx.Err() == nil {
		f()
		select {
		case <-time.After(every/2 + rand.N(every)):
		case <-ctx.Done():
		}
	}
}

// act does one thing that a subject may do. Its calls are not cut short when the workload ends: what became of them would not be known.
func (r *run) act(subject string) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*timeout)
	defer cancel()
	o := r.origins[rand.IntN(len(r.origins))]
	var live, doubtful []*client
	r.mu.Lock()
	for _, c := range r.clients[subject] {
		switch acked, tried := c.Ended(); {
		case acked:
		case tried:
			doubtful = append(doubtful, c)
		default:
			live = append(live, c)
		}
	}
	r.mu.Unlock()
	switch n := rand.IntN(100); {
	case len(doubtful) > 0 && n < 60: // whoever was told that it failed tries again
		r.end(ctx, o, pick(doubtful))
	case len(live) == 0 || len(live) < 3 && n < 30:
		r.login(ctx, o, subject)
	case n < 50:
		r.load(ctx, o, pick(live))
	case n < 72:
		r.refresh(ctx, o, pick(live))
	case n < 75:
		r.rotate(ctx, o, pick(live))
	case n < 93:
		r.end(ctx, o, pick(live))
	case n < 97:
		r.revoke(ctx, o, pick(live))
	default:
		called := time.Now()
		err := o.EndAll(ctx, subject)
		r.oracle.EndedAll(subject, called, outcome(err))
		if err != nil {
			r.note("end all", err)
		}
	}
}

func pick(cs []*client) *client { return cs[rand.IntN(len(cs))] }

func (r *run) login(ctx context.Context, o *origin, subject string) {
	called := time.Now()
	s, err := o.Login(ctx, nil, subject, counterfoil.LoginOptions{})
	if err != nil {
		r.note("login", err)
		return
	}
	tokens, _ := s.Issued()
	c := &client{Session: r.oracle.Begun(subject, called), id: s.ID(), mark: s.ID().String(), access: tokens.Access.Reveal(), refresh: tokens.Refresh.Reveal()}
	if v, err := r.plain.Verify(c.access); err == nil {
		c.verified = v
		if v.Session() != c.id || v.Subject() != subject {
			r.oracle.MixedUp(c.Session, "a login was given another's token")
		}
	}
	if err := mark.Set(s, c.mark); err == nil {
		if err := s.Save(ctx); err != nil {
			r.note("save", err)
		}
	}
	r.knows(c)
}

// knows has the workload use a session.
func (r *run) knows(c *client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clients[c.Subject] = append(r.clients[c.Subject], c)
	r.all = append(r.all, c)
}

// rotate has a session go on under another ID.
func (r *run) rotate(ctx context.Context, o *origin, c *client) {
	_, _, v := c.tokens()
	if !v.Valid() {
		return
	}
	at, called := r.record(o), time.Now()
	s, err := o.Rotate(ctx, o.Open(v), counterfoil.RotateOptions{})
	switch {
	case err == nil:
		r.oracle.Used(c.Session, at, called, faults.Accepted)
	case errors.Is(err, counterfoil.ErrNotFound):
		r.oracle.Used(c.Session, at, called, faults.Refused)
		r.oracle.Replaced(c.Session, called)
		return
	default:
		r.note("rotate", err)
		r.oracle.Replaced(c.Session, called)
		return
	}
	tokens, _ := s.Issued()
	next := &client{Session: r.oracle.GoesOn(c.Session, called), id: s.ID(), mark: c.mark, access: tokens.Access.Reveal(), refresh: tokens.Refresh.Reveal()}
	if next.verified, err = r.plain.Verify(next.access); err == nil && (next.verified.Session() != next.id || next.verified.Subject() != c.Subject) {
		r.oracle.MixedUp(next.Session, "a rotation was given another's token")
	}
	r.knows(next)
}

// record is where the record of a session is used. It is asked before the use.
func (r *run) record(o *origin) faults.Where {
	at := faults.Where{Name: o.name}
	if r.cutOff == nil || r.cutOff(o.name) {
		at.Bound = time.Duration(r.recordBound.Load())
	}
	return at
}

func (r *run) load(ctx context.Context, o *origin, c *client) {
	_, _, v := c.tokens()
	if !v.Valid() {
		return
	}
	at, called := r.record(o), time.Now()
	value, present, err := mark.Get(ctx, o.Open(v))
	switch {
	case err == nil:
		if present && value != c.mark {
			r.oracle.MixedUp(c.Session, "a load answered another's data")
		}
		r.oracle.Used(c.Session, at, called, faults.Accepted)
	case errors.Is(err, counterfoil.ErrNotFound):
		r.oracle.Used(c.Session, at, called, faults.Refused)
	default:
		r.note("load", err)
	}
}

func (r *run) refresh(ctx context.Context, o *origin, c *client) {
	_, refresh, _ := c.tokens()
	at, called := r.record(o), time.Now()
	s, tokens, err := o.Refresh(ctx, refresh, token.Verified{})
	switch {
	case err == nil, errors.Is(err, counterfoil.ErrSuperseded):
		if s.ID() != c.id {
			r.oracle.MixedUp(c.Session, "a renewal answered another session")
		}
		r.oracle.Used(c.Session, at, called, faults.Accepted)
	case errors.Is(err, counterfoil.ErrNotFound):
		r.oracle.Used(c.Session, at, called, faults.Refused)
		return
	default:
		r.note("refresh", err)
		return
	}
	if tokens.Access.IsZero() {
		return
	}
	v, verr := r.plain.Verify(tokens.Access.Reveal())
	if verr == nil && (v.Session() != c.id || v.Subject() != c.Subject) {
		r.oracle.MixedUp(c.Session, "a renewal was given another's token")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if verr == nil && c.verified.Valid() && v.IssuedAtMilli() < c.verified.IssuedAtMilli() {
		return // another renewal was quicker
	}
	c.access, c.verified = tokens.Access.Reveal(), v
	if !tokens.Refresh.IsZero() {
		c.refresh = tokens.Refresh.Reveal()
	}
}

func (r *run) end(ctx context.Context, o *origin, c *client) {
	called := time.Now()
	err := o.End(ctx, c.id)
	r.oracle.Ended(c.Session, called, outcome(err))
	if err != nil {
		r.note("end", err)
	}
}

// revoke ends a session and waits until everybody knows, and asks those who have said so. What is not durable may be undone by a failover, and then the
// positions that followers confirm are those of another history of the log.
func (r *run) revoke(ctx context.Context, o *origin, c *client) {
	access, _, _ := c.tokens()
	called := time.Now()
	done, err := o.Revoke(ctx, counterfoil.Revocation{Session: c.id, Wait: timeout / 2})
	for _, confirmed := range done.Confirmed {
		name, _, _ := strings.Cut(confirmed.Follower, "/")
		for _, v := range r.verifiers {
			if follower(v.name) != name {
				continue
			}
			if _, err := v.guard.Check(ctx, access); err == nil {
				r.oracle.Confirmed(c.Session, v.name, faults.Accepted)
			} else {
				r.oracle.Confirmed(c.Session, v.name, faults.Refused)
			}
		}
	}
	r.oracle.Ended(c.Session, called, outcome(err))
	if err != nil {
		r.note("revoke", err)
	}
}

// check has a verifier decide on a token: of one of the newest sessions, or of one that may have ended as long ago as the bound and more.
func (r *run) check() {
	r.mu.Lock()
	var c *client
	if n := len(r.all); n > 0 {
		back := 60
		if rand.IntN(3) > 0 {
			back = 1000
		}
		c = r.all[n-1-rand.IntN(min(n, back))]
	}
	r.mu.Unlock()
	if c == nil {
		return
	}
	access, _, _ := c.tokens()
	r.ask(r.verifiers[rand.IntN(len(r.verifiers))], c, access)
}

func (r *run) ask(w *verifier, c *client, access string) {
	called := time.Now()
	v, err := w.guard.Check(r.ctx, access)
	where := faults.Where{Name: w.name, Bound: bound}
	if w.follower == nil && r.cutOff != nil && r.cutOff(w.name) {
		where.Bound = max(bound, r.askBound)
	}
	switch {
	case err == nil:
		if v.Session() != c.id || v.Subject() != c.Subject {
			r.oracle.MixedUp(c.Session, "a check answered another session")
		}
		r.oracle.Used(c.Session, where, called, faults.Accepted)
	case errors.Is(err, revocation.ErrRevoked):
		r.oracle.Used(c.Session, where, called, faults.Refused)
	default:
		w.doubts.Add(1)
	}
}

// haunt tries to load, to renew or to rotate a session that has ended.
func (r *run) haunt() {
	r.mu.Lock()
	var c *client
	if n := len(r.all); n > 0 {
		c = r.all[rand.IntN(n)]
	}
	r.mu.Unlock()
	if c == nil {
		return
	}
	if acked, _ := c.Ended(); !acked {
		return
	}
	ctx, cancel := context.WithTimeout(r.ctx, timeout)
	defer cancel()
	o := r.origins[rand.IntN(len(r.origins))]
	switch rand.IntN(5) {
	case 0, 1:
		r.load(ctx, o, c)
	case 2, 3:
		r.refresh(ctx, o, c)
	default:
		r.rotate(ctx, o, c)
	}
}
