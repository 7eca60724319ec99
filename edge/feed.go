package edge

import (
	"errors"
	"strconv"

	"github.com/counterfoil/counterfoil/revocation"
)

// frame is one that the host has yet to verify.
//
//lint:ignore U1000 used under the build tag hostcrypto
type frame struct {
	pending pendingFrame
	sent    Moment
}

// Question begins a question to the feed, with a nonce that must be random and new, or zero with skip-nonce. The answer is Done: the text is the
// cursor for the parameter "after", empty if there is none yet; Value is 1 if the whole log is to be asked for.
func (e *Edge) Question(nonce [revocation.FrameNonceLen]byte) Result {
	if e.reader == nil {
		return e.failed(noFrames)
	}
	q := e.reader.Ask(e.follower.Next(), nonce)
	e.frame = frame{}
	e.text(q.After.String(), "", "")
	if q.Full {
		return Result{Done, 1}
	}
	return Result{Status: Done}
}

// apply takes in a frame that is authentic, the answer to what was asked, and in line with what came before.
func (e *Edge) apply(f revocation.Frame, sent, m Moment) Result {
	// A time that the feed's key has signed has passed, wherever the host's clock is; unless the log has begun anew, which it does when its own clock was wrong.
	if said := max(f.AsOf, f.ToTime); said > e.floor.Wall+e.passed(m.Steady) || f.Epoch != e.floorOf {
		e.floor, e.floorOf = Moment{said, m.Steady}, f.Epoch
	}
	e.at(m)
	e.follower.Apply(f.Batch(), e.corrected(sent))
	if b := (basis{e.list.Changes(), e.guard.StatusAt(e.now).Birth}); b != e.basis {
		e.basis = b
		e.mark++
	}
	return Result{Done, uint32(len(f.Records))}
}

func (e *Edge) refusedFrame(err error) Result {
	if f, ok := errors.AsType[*revocation.FrameError](err); ok {
		return e.failed(f.Reason)
	}
	return e.failed("malformed")
}

// State answers Done with what is known of the list, as JSON: fresh, reason (why not), age and asOf (ms; -1 if nobody knows), epoch, birth, position, entries, keys, and now, as
// it was corrected.
func (e *Edge) State(m Moment) Result {
	e.at(m)
	f, s := e.guard.StatusAt(e.now), e.follower.Stats()
	age, asOf := int64(-1), int64(-1)
	if f.Known {
		age, asOf = f.Age.Milliseconds(), f.AsOf.UnixMilli()
	}
	e.out = e.out[:0]
	for i, t := range [...]string{`{"reason":"`, f.Reason, `","epoch":"`, f.Epoch, `","position":"`, string(s.Position)} {
		if i&1 != 0 {
			t = visible(t)
		}
		e.more(t)
	}
	e.more(`"`)
	for _, n := range [...]struct {
		name string
		n    int64
	}{
		{`,"age":`, age}, {`,"asOf":`, asOf}, {`,"birth":`, max(f.Birth.UnixMilli(), 0)}, {`,"entries":`, int64(s.Entries)},
		{`,"keys":`, int64(len(e.keys.Keys()))}, {`,"now":`, e.now.UnixMilli()},
	} {
		e.more(n.name)
		e.more(strconv.FormatInt(n.n, 10))
	}
	last := `,"fresh":false}`
	if f.Fresh {
		last = `,"fresh":true}`
	}
	e.more(last)
	return Result{Status: Done}
}

// more adds to the text.
//
//go:noinline
func (e *Edge) more(s string) { e.out = append(e.out, s...) }

// visible returns s without what would have to be escaped in JSON. Reasons, epochs and positions are visible ASCII.
func visible(s string) string {
	b := make([]byte, 0, len(s))
	for _, c := range []byte(s) {
		if c >= ' ' && c < 0x7f && c != '"' && c != '\\' {
			b = append(b, c)
		}
	}
	return string(b)
}
