package revocation

import (
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
	failed int
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
	for len(rest) > 0 && len(chunk) < healChunk {
		if e := rest[0]; h.lacks(e) && e.matters(now) {
			chunk = append(chunk, e)
		}
		rest = rest[1:]
	}
	if len(chunk) > 0 {
		actx, cancel := context.WithTimeout(ctx, healTimeout)
		defer cancel()
		// What is in the log is done, even if too few replicas have it yet: it would be appended for as long as one of them is down.
		if a, err := f.log.Append(actx, chunk...); err != nil && a.Position == "" {
			f.healed(h, err, 0)
			return
		}
	}
	h.queue = rest
	f.healed(h, nil, len(chunk))
}

// matters reports whether a token that the entry hits may still be taken somewhere. That ends before the entry expires, by the margin in the horizon, so
// a log whose clock is ahead does not refuse what is appended for being too old.
func (e Entry) matters(now time.Time) bool {
	return e.Permanent() || !over(e.At, now.Add(maxLeeway).UnixMilli())
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
	now := f.now()
	for e := range f.list.Entries() {
		if e.Permanent() {
			e.At = now.UnixMilli()
		}
		if h.lacks(e) && e.matters(now) {
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
	if err != nil {
		f.lastError = err
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
