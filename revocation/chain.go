package revocation

import (
	"bytes"
	"strings"

	"github.com/counterfoil/counterfoil/internal/lean/time"
)

const (
	// A log with a writer is silent for at most two heartbeats; half of one is slack for timers.
	silence    = 2*Heartbeat + Heartbeat/2
	maxSilence = 16 * time.Second
)

// chain is how far a log has been read, and what proves that the list is fresh. It knows neither the list nor the source; it takes in batches and the
// times of their requests.
type chain struct {
	begun     bool     // a whole read was taken in
	whole     bool     // the next read must be a whole one
	at        Position // of the newest record
	last      Record   // that record: after a failover another one may have its position
	epoch     string
	lastEpoch string // the last one that was not empty
	birth     int64

	// The evidence, as in logState.
	sent   time.Time
	newest int64 // as the log says it, however absurd
	said   bool  // heartbeats say what the replicas have,
	acked  int64 // and this is it
	why    string

	news     time.Time     // when the newest record came
	quiet    time.Time     // since when nothing came, or since the last whole read
	patience time.Duration // silence after which it reads again from the start
}

// turn is how a whole read relates to what was read before it.
type turn uint8

const (
	wentOn turn = iota // the chain continues, or there was nothing to continue
	forked             // it does not: a fork, a gap or a rollback
	lost               // another epoch, or none any more
)

func newChain() chain { return chain{whole: true, why: reasonNoLog, patience: silence} }

// state returns what verifiers need of it.
func (c *chain) state() *logState {
	s := &logState{epoch: c.epoch, birth: c.birth, sent: c.sent, newest: saneMilli(c.newest), why: c.why}
	s.backed = s.newest
	if c.said {
		s.backed = min(s.newest, saneMilli(c.acked))
	}
	return s
}

// takeWhole takes in a whole read. hole is the time (Unix ms) of the newest record before which something was taken out of the log; 0 = none.
func (c *chain) takeWhole(b Batch, sent, now time.Time) (how turn, hole int64) {
	found, broken := -1, -1 // the record that was reached before; the last one that does not follow its predecessor
	for i := range b.Records {
		r := &b.Records[i]
		if i > 0 && r.Prev != b.Records[i-1].Position || r.Position == "" {
			broken, hole = i, saneMilli(r.Time)
		}
		if r.Epoch != "" {
			hole = 0 // for what was lost before an epoch its birth stands
		}
		if r.Position == c.at && r.Time == c.newest && r.same(&c.last) {
			found = i
		}
	}
	continued := c.at != "" && b.Epoch == c.epoch && found >= 0 && broken <= found
	switch {
	case c.lastEpoch != "" && b.Epoch != c.lastEpoch && b.Epoch != c.epoch:
		how = lost
	case c.at != "" && !continued:
		how = forked
	}
	c.begun = true
	c.epoch, c.birth = b.Epoch, b.Birth
	if b.Epoch != "" {
		c.lastEpoch = b.Epoch
	}
	if continued {
		for i := found + 1; i < len(b.Records); i++ {
			c.advance(&b.Records[i])
		}
		if found < len(b.Records)-1 {
			c.prove(sent, now)
		} else {
			c.patience = min(2*c.patience, maxSilence) // the log was only silent
		}
	} else {
		c.at, c.newest, c.said, c.sent = "", 0, false, time.Time{}
		for i := range b.Records {
			c.advance(&b.Records[i])
		}
		c.news = now
		c.why = reasonNoNews
		if how != wentOn {
			c.why = reasonBroken
		}
	}
	if n := len(b.Records); n > 0 {
		c.last = b.Records[n-1].clone()
	}
	if c.epoch == "" {
		c.why = reasonNoEpoch
	}
	c.whole = c.at == "" // there is nothing to go on from in an empty log
	c.quiet = now
	return how, hole
}

// takePart takes in what came after the newest record.
func (c *chain) takePart(b Batch, sent, now time.Time) {
	if !c.begun || c.whole {
		return // a part that follows nothing proves nothing
	}
	for i := range b.Records {
		r := &b.Records[i]
		if r.Prev != c.at || r.Position == "" || r.Epoch != "" && r.Epoch != c.epoch {
			if i > 0 {
				c.last = b.Records[i-1].clone()
			}
			c.whole, c.why = true, reasonBroken
			return
		}
		c.advance(r)
	}
	switch silent := now.Sub(c.quiet); {
	case len(b.Records) > 0:
		c.last = b.Records[len(b.Records)-1].clone()
		c.prove(sent, now)
	case !b.Checked && (silent >= c.patience || silent < 0):
		// The log may have been rolled back to before this position, and then nothing newer than it may ever come.
		c.whole = true
	}
}

// same reports whether r says the same as another record of its position.
func (r *Record) same(s *Record) bool {
	return r.Prev == s.Prev && r.Epoch == s.Epoch && bytes.Equal(r.Entry, s.Entry)
}

// clone returns a copy that keeps nothing else in memory.
func (r *Record) clone() Record {
	c := *r
	c.Position, c.Prev = Position(strings.Clone(string(r.Position))), Position(strings.Clone(string(r.Prev)))
	c.Epoch, c.Entry = strings.Clone(r.Epoch), bytes.Clone(r.Entry)
	return c
}

// advance goes on to the next record.
func (c *chain) advance(r *Record) {
	c.at, c.newest = r.Position, r.Time
	if r.Replicated > 0 {
		c.said, c.acked = true, r.Replicated
	} else if r.Entry == nil {
		c.said = false // a heartbeat that does not say it: no replicas are configured any more
	}
}

// prove notes that the newest record came over an unbroken chain, by a request sent at the given time.
func (c *chain) prove(sent, now time.Time) {
	if c.epoch == "" {
		return
	}
	c.sent, c.why = sent, ""
	// Twice the last interval is silence, within bounds: a log whose heartbeat is slow is not read whole all the time.
	c.patience = min(max(silence, 2*now.Sub(c.news)), maxSilence)
	c.news, c.quiet = now, now
}
