package httpadapter

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
)

// How often it is asked who has confirmed: after a tenth of the time that the newest end has waited. Who has not confirmed by then is not about to.
const (
	askLeast = 100 * time.Millisecond
	askMost  = 2 * time.Second
	askShare = 10
)

// confirmations are what the event streams of a process wait for together: sessions that have ended, until every verifier has confirmed it. They are asked about in turn,
// one at a time, and the next at once only if that one was confirmed: verifiers read one log in its order, so who lacks an end usually lacks those after it. That makes one
// look at the census in a while and one for each session that is confirmed, however many streams wait for however many sessions.
type confirmations struct {
	ask func(context.Context, *counterfoil.Session, string) (counterfoil.Revoked, bool, error) // [counterfoil.Manager.Confirmed]

	mu      sync.Mutex
	all     map[string]*pending // by handle
	queue   []*pending          // those to ask about
	newest  time.Time           // when the last one came
	looked  time.Time
	looking bool
}

// pending is the end of one session. What changes belongs to its confirmations.
type pending struct {
	handle  string
	session *counterfoil.Session // that of the first stream that waits; the others are of the same subject
	since   time.Time
	final   sync.Once // the last question, when the time is over

	waiting int // streams
	outcome outcome
}

// outcome is what is known of the end of one session.
type outcome struct {
	done    counterfoil.Revoked // who has confirmed and who has not; nobody = it is not known
	settled bool                // nobody has to ask any more: all have confirmed, or it is nobody's to know (counterfoil.ErrNoCensus)
}

// confirmed says whether every verifier has confirmed it. A census that has lost its followers has nobody who is missing, and nobody who knows.
func (o outcome) confirmed() bool { return len(o.done.Missing) == 0 && len(o.done.Confirmed) > 0 }

// at returns when the last one confirmed it, or a little later: a verifier that has had other news since is known to have confirmed by then.
func (o outcome) at() time.Time {
	var last time.Duration
	for _, c := range o.done.Confirmed {
		last = max(last, c.After)
	}
	return o.done.Told.Add(last)
}

// join has one more stream wait for a session that has ended.
func (c *confirmations) join(s *counterfoil.Session, handle string, now time.Time) *pending {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.all[handle]
	if p == nil {
		p = &pending{handle: handle, session: s, since: now}
		if c.all == nil {
			c.all = map[string]*pending{}
		}
		c.all[handle] = p
		c.queue = append(c.queue, p)
		c.newest = now
	}
	p.waiting++
	return p
}

// leave takes that back. What is settled is kept for streams that come to know of the end a moment later.
func (c *confirmations) leave(p *pending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.waiting--; p.waiting == 0 && !p.outcome.settled {
		delete(c.all, p.handle)
		c.queue = slices.DeleteFunc(c.queue, func(q *pending) bool { return q == p })
	}
}

// outcome returns what is known by now.
func (c *confirmations) outcome(p *pending) outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	return p.outcome
}

// last returns what is known when the time is over: it is asked about once more.
func (c *confirmations) last(ctx context.Context, p *pending) outcome {
	p.final.Do(func() {
		if !c.outcome(p).settled {
			c.inquire(ctx, p)
		}
	})
	return c.outcome(p)
}

// look asks, if it is time and no other stream is about it.
func (c *confirmations) look(ctx context.Context, now time.Time) {
	n := c.begin(now)
	if n == 0 {
		return
	}
	defer c.end()
	for range n {
		p := c.next()
		if p == nil || !c.inquire(ctx, p) {
			return
		}
	}
}

// begin returns how many there are to ask about, 0 if it is not time.
func (c *confirmations) begin(now time.Time) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	pause := min(max(now.Sub(c.newest)/askShare, askLeast), askMost)
	if c.looking || len(c.queue) == 0 || now.Sub(c.looked) < pause {
		return 0
	}
	c.looking, c.looked = true, now
	for handle, p := range c.all {
		if p.waiting == 0 && now.Sub(p.since) > confirmFor {
			delete(c.all, handle)
		}
	}
	return len(c.queue)
}

func (c *confirmations) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looking = false
}

// next returns the first of the queue, which goes to its end until it is settled.
func (c *confirmations) next() *pending {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 {
		return nil
	}
	p := c.queue[0]
	copy(c.queue, c.queue[1:])
	c.queue[len(c.queue)-1] = p
	return p
}

// inquire asks about one. It returns whether it is worth while to ask about the next.
func (c *confirmations) inquire(ctx context.Context, p *pending) bool {
	done, known, err := c.ask(context.WithoutCancel(ctx), p.session, p.handle) // others wait for the answer too
	if err != nil && !errors.Is(err, counterfoil.ErrNoCensus) {
		return false // what was known stays
	}
	o := outcome{done: done}
	o.settled = errors.Is(err, counterfoil.ErrNoCensus) || o.confirmed()
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.outcome.settled { // by another question, meanwhile
		return true
	}
	p.outcome = o
	if o.settled {
		c.queue = slices.DeleteFunc(c.queue, func(q *pending) bool { return q == p })
	}
	return o.settled || !known // what this process has not heard of cost no look
}
