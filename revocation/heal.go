package revocation

import (
	"errors"
	"slices"

	"github.com/counterfoil/counterfoil/internal/lean/context"
	"github.com/counterfoil/counterfoil/internal/lean/time"
)

// healing is the work of giving a log again what it has lost. Several writers may be at it, so each waits a random while, reads the log whole
// once more, and appends only what is still missing.
type healing struct {
	due    time.Time
	read   bool    // the log was read again
	inLog  *List   // what the log holds, as far as was read
	queue  []Entry // what it lacks
	failed int     // steps in a row
	err    error   // of the last of them
}

const (
	healChunk   = 256
	healTimeout = 2 * time.Second
)

// seen notes what the log holds.
func (h *healing) seen(e Entry) {
	if h.inLog != nil {
		h.inLog.add(e)
	}
}

// lacks reports whether the log, as far as was read, does not hold what the entry revokes.
func (h *healing) lacks(e Entry) bool {
	switch e.Kind {
	case KindSession:
		return !h.inLog.Has(e.Session)
	case KindSubject:
		return h.inLog.SubjectNotBefore(e.Subject) < e.NotBefore
	case KindAll:
		return h.inLog.AllNotBefore() < e.NotBefore
	case KindKey:
		return !h.inLog.HasKey(e.KeyID)
	}
	return false
}

// heal does the next step, if there is one and its time has come. Follow calls it between reads.
func (f *Follower) heal(ctx context.Context) {
	f.mu.Lock()
	h := f.healing
	now := f.now()
	if h == nil || now.Before(h.due) {
		f.mu.Unlock()
		return
	}
	f.mu.Unlock()

	if !h.read {
		f.reread(ctx, h)
		return
	}
	chunk := make([]Entry, 0, healChunk)
	rest := h.queue
	for at := f.logTime(); len(rest) > 0 && len(chunk) < healChunk; rest = rest[1:] {
		if e := rest[0]; h.lacks(e) && e.matters(at) {
			chunk = append(chunk, e)
		}
	}
	actx, cancel := context.WithTimeout(ctx, healTimeout)
	defer cancel()
	n, err := len(chunk), f.giveBack(actx, chunk)
	switch {
	case errors.Is(err, ErrPast): // one of them is, and the log has taken none
		var left []Entry
		n, left, err = f.giveBackEach(actx, chunk)
		rest = slices.Concat(left, rest)
	case err != nil:
		f.healed(h, err, 0)
		return
	}
	h.queue = rest
	f.healed(h, err, n)
}

// giveBack appends entries to the log again. What is in the log is done, even if too few replicas have it yet: it would be appended for as long as one of
// them is down.
func (f *Follower) giveBack(ctx context.Context, entries []Entry) error {
	if len(entries) == 0 {
		return nil
	}
	a, err := f.log.Append(ctx, entries...)
	if a.Position != "" {
		return nil
	}
	return err
}

// giveBackEach appends entries one by one, all but those that are past. It returns how many it appended, and which are left after an error.
func (f *Follower) giveBackEach(ctx context.Context, entries []Entry) (appended int, left []Entry, err error) {
	for i := range entries {
		switch err := f.giveBack(ctx, entries[i:i+1]); {
		case err == nil:
			appended++
		case !errors.Is(err, ErrPast):
			return appended, entries[i:], err
		}
	}
	return appended, nil, nil
}

// logTime returns the time (Unix ms) by which the log judges what is past: that of its newest record, or the follower's own if there is none.
func (f *Follower) logTime() int64 {
	if newest := f.list.log.Load().newest; newest > 0 {
		return newest
	}
	return f.now().UnixMilli()
}

// matters reports whether at the log's time (Unix ms) a token that the entry hits may still be taken somewhere. That ends before the entry expires, by the
// margin in the horizon, so a log whose clock is ahead of its records hardly ever refuses what is appended for being too old.
func (e Entry) matters(at int64) bool {
	return e.Permanent() || !over(e.At, at+maxLeeway.Milliseconds())
}

// reread reads the log whole and notes what it lacks.
func (f *Follower) reread(ctx context.Context, h *healing) {
	rctx, cancel := context.WithTimeout(ctx, grace(wholeRead, h.failed))
	defer cancel()
	sent := f.now()
	b, err := f.source.Read(rctx, "", f.wait)
	if err == nil && !b.Full {
		err = errNotWhole
	}
	if err != nil {
		f.healed(h, err, 0)
		return
	}
	inLog, err := NewList(ListConfig{Max: max(1, len(b.Records)+f.list.max)})
	if err != nil {
		f.healed(h, err, 0)
		return
	}
	f.mu.Lock()
	h.inLog = inLog
	for _, e := range b.Permanent {
		h.seen(e)
	}
	f.mu.Unlock()
	f.Apply(b, sent)
	now, at := f.now().UnixMilli(), f.logTime()
	for e := range f.list.Entries() {
		if e.Permanent() {
			e.At = now
		}
		if h.lacks(e) && e.matters(at) {
			h.queue = append(h.queue, e)
		}
	}
	h.read = true
	f.mu.Lock()
	if f.healing != h && f.healing != nil {
		// It forked again meanwhile: begin again.
		f.mu.Unlock()
		return
	}
	f.mu.Unlock()
	f.healed(h, nil, 0)
}

// healed notes how a step ended.
func (f *Follower) healed(h *healing, err error, appended int) {
	f.mu.Lock()
	if h.err = err; err != nil {
		h.failed++
		h.due = f.now().Add(backoff(h.failed))
	} else {
		h.failed = 0
	}
	f.stats.Reappended += uint64(appended)
	if appended > 0 {
		f.tell(Event{Kind: EventReappended, Time: f.now(), Epoch: f.chain.epoch, Count: appended})
	}
	if err == nil && h.read && len(h.queue) == 0 && f.healing == h {
		f.healing = nil
	}
	f.unlockAndTell()
}
