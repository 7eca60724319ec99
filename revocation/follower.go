package revocation

import (
	"context"
	"errors"
	"hash/maphash"
	"math"
	"sync"
	"time"
)

// FollowerConfig says how a [Follower] follows. Source and List are required.
type FollowerConfig struct {
	Source Source // may be nil if only Apply is used
	List   *List

	Wait time.Duration // how long one read waits for news; 0 = 1 s, at most 5 s

	// MaxStale and Leeway decide when events, Ready and Stats call the list stale. They do not bind a Guard, which has its own. 0 = 10 s each.
	MaxStale time.Duration
	Leeway   time.Duration

	// Log, if there is one, is given again what the log has lost after a fork or a new epoch. For processes that may write.
	Log Appender

	Events Events           // may be nil
	Now    func() time.Time // nil = time.Now; must carry a monotonic reading where the platform has one
}

// A Follower keeps a [List] in step with a log and says how old the list is. Most programs run [Follower.Follow] in a goroutine of theirs
// and wait for [Follower.Ready] before they serve. Hosts that read the log in their own way use [Follower.Next] and [Follower.Apply].
//
// It reads the log whole, then what is new. Whatever it has read stays in the list until it expires: a log that forks, loses something or
// rolls back is read whole again and united with what is known. The list counts as fresh only by a record that is
// newer than this beginning, over an unbroken chain; so on an idle log it is stale for about one [Heartbeat] after the start.
//
// There is no useful zero value; NewFollower makes one. It is safe for concurrent use.
type Follower struct {
	source   Source
	list     *List
	wait     time.Duration
	maxStale time.Duration
	leeway   time.Duration
	log      Appender
	events   Events
	now      func() time.Time
	ready    chan struct{}

	mu        sync.Mutex
	following bool
	begun     bool     // a whole read was applied
	whole     bool     // the next read must be a whole one
	at        Position // of the newest record applied
	birth     int64
	epoch     string
	lastEpoch string    // the last one that was not empty
	sent      time.Time // the evidence, see logState
	newest    int64
	backed    int64
	said      bool  // a heartbeat names what the replicas have
	acked     int64 // and this is it
	why       string

	news      time.Time     // when the newest record came
	quiet     time.Time     // since when nothing came, or since the last whole read
	patience  time.Duration // silence after which it reads again from the start
	swept     time.Time
	fresh     bool
	lacked    bool // full was told
	isReady   bool
	watch     *time.Timer
	pending   []Event
	healing   *healing
	stats     FollowerStats
	lastError error
}

// FollowerStats counts what a Follower did.
type FollowerStats struct {
	Freshness           // of the list, by the follower's own bounds
	Position   Position // up to which everything is applied
	Entries    int      // in the list
	Reads      uint64   // answered reads
	Whole      uint64   // of which read the whole log
	Failed     uint64   // reads that failed
	Records    uint64   // applied, heartbeats included
	Heartbeats uint64   // of which were heartbeats
	Unknown    uint64   // entries not understood
	Dropped    uint64   // entries that the full list did not take
	Forks      uint64   // forks, gaps and rollbacks
	Epochs     uint64   // new epochs
	Reappended uint64   // entries appended again
	LastError  error    // of the last read or append that failed, kept until one succeeds
}

const (
	maxWait = 5 * time.Second

	// How long a whole read may take, and another read beyond Wait; up to eight times as long after failures. A dead connection takes that long to notice.
	wholeRead = 5 * time.Second
	tailRead  = time.Second

	backoffMin = 50 * time.Millisecond
	backoffMax = 2 * time.Second

	// A log with a writer is silent for at most two heartbeats; half of one is slack for timers.
	silence    = 2*Heartbeat + Heartbeat/2
	maxSilence = 16 * time.Second

	sweepEach = 250 * time.Millisecond // for a sixty-fourth of the list, so all of it is looked at every sixteen seconds
)

// NewFollower makes a Follower. It starts nothing.
func NewFollower(cfg FollowerConfig) (*Follower, error) {
	f := &Follower{
		source: cfg.Source, list: cfg.List, wait: cfg.Wait, log: cfg.Log, events: cfg.Events, now: cfg.Now,
		ready: make(chan struct{}), whole: true, why: reasonNoLog, patience: silence,
	}
	if f.now == nil {
		f.now = time.Now
	}
	if f.list == nil {
		return nil, errors.New("revocation: FollowerConfig.List is required")
	}
	if f.wait == 0 {
		f.wait = Heartbeat
	}
	if f.wait < 0 || f.wait > maxWait {
		return nil, errors.New("revocation: FollowerConfig.Wait is not between 0 and 5 s")
	}
	var ok bool
	if f.maxStale, ok = validMaxStale(cfg.MaxStale); !ok {
		return nil, errors.New("revocation: FollowerConfig.MaxStale is negative or longer than the horizon")
	}
	if f.leeway, ok = validLeeway(cfg.Leeway); !ok {
		return nil, errors.New("revocation: FollowerConfig.Leeway is not between 0 and 60 s")
	}
	return f, nil
}

var (
	errNoSource  = errors.New("revocation: follower without a source")
	errFollowing = errors.New("revocation: follower is following already")
	errNotWhole  = errors.New("revocation: source answered a whole read with a part")
)

// Follow follows the log until ctx ends and returns its error. It does not return because the log cannot be reached: it tries again, with
// growing, jittered pauses, and the list grows old meanwhile. It owns no goroutine besides the caller's when it returns. It may be
// called again later, and goes on where it was.
func (f *Follower) Follow(ctx context.Context) error {
	f.mu.Lock()
	switch {
	case f.source == nil:
		f.mu.Unlock()
		return errNoSource
	case f.following:
		f.mu.Unlock()
		return errFollowing
	}
	f.following = true
	f.mu.Unlock()
	defer f.stop()

	failures, wholes := 0, 0 // failed reads in a row, whole reads without a proof of freshness
	for ctx.Err() == nil {
		after := f.Next()
		if after == "" && wholes >= 2 {
			pause(ctx, backoff(wholes)) // a log whose chain breaks every time must not be read all the time
		}
		began := time.Now()
		records, err := f.read(ctx, after, failures)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			failures++
			f.failed(err)
			pause(ctx, backoff(failures))
		default:
			failures = 0
			if after == "" {
				wholes++
			}
			if f.list.log.Load().why == "" {
				wholes = 0
			}
			f.heal(ctx)
			// A source that does not wait, or an empty log, must not keep a processor busy.
			if spent := time.Since(began); records == 0 && spent < f.wait/2 {
				pause(ctx, f.wait/2-spent)
			}
		}
	}
	return ctx.Err()
}

// read reads once and applies the batch.
func (f *Follower) read(ctx context.Context, after Position, failures int) (records int, err error) {
	limit := f.wait + grace(tailRead, failures)
	if after == "" {
		limit = grace(wholeRead, failures)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	sent := f.now()
	b, err := f.source.Read(ctx, after, f.wait)
	if err != nil {
		return 0, err
	}
	if after == "" && !b.Full {
		return 0, errNotWhole
	}
	f.Apply(b, sent)
	return len(b.Records), nil
}

// grace returns how long a read may take: longer after failures, since a log that is slow would otherwise never be read.
func grace(d time.Duration, failures int) time.Duration {
	return d << min(failures, 3)
}

// backoff returns the pause after so many failures in a row: random between half and the whole of a doubling bound.
func backoff(failures int) time.Duration {
	d := min(backoffMin<<min(failures-1, 10), backoffMax)
	return d/2 + jitter(d/2)
}

// jitter returns a random duration in [0, limit).
func jitter(limit time.Duration) time.Duration {
	if limit <= 0 {
		return 0
	}
	return time.Duration(maphash.Bytes(maphash.MakeSeed(), nil) % uint64(limit))
}

func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (f *Follower) failed(err error) {
	f.mu.Lock()
	f.stats.Failed++
	f.lastError = err
	f.notice(f.now())
	f.unlockAndTell()
}

func (f *Follower) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.following = false
	if f.watch != nil {
		f.watch.Stop()
		f.watch = nil
	}
}

// Ready waits until the list is fresh for the first time, or until ctx ends, whose error it returns.
func (f *Follower) Ready(ctx context.Context) error {
	select {
	case <-f.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Next returns the position to read after; "" asks for the whole log. For hosts that read the log in their own way.
func (f *Follower) Next() Position {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.whole {
		return ""
	}
	return f.at
}

// Apply takes in what a read returned that was sent at the given time. Follow does this; hosts that read the log
// in their own way pass a time with a monotonic reading where there is one.
func (f *Follower) Apply(b Batch, sent time.Time) {
	f.mu.Lock()
	now := f.now()
	f.stats.Reads++
	f.lastError = nil
	if b.Full {
		f.applyWhole(b, sent, now)
	} else {
		f.applyTail(b, sent, now)
	}
	f.publish()
	if n := int(now.Sub(f.swept).Abs() / sweepEach); n > 0 && f.newest > 0 {
		// By the earlier of two clocks: one that is wrong and is set right later must not have made the list forget.
		f.swept = now
		f.list.sweepSome(n, min(now.UnixMilli(), f.newest))
	}
	f.notice(now)
	f.unlockAndTell()
}

func (f *Follower) applyWhole(b Batch, sent, now time.Time) {
	f.stats.Whole++
	f.whole = false
	first := !f.begun
	f.begun = true
	for _, e := range b.Permanent {
		f.take(e, nil, math.MaxInt64, now, !first)
	}
	found, broken := -1, -1 // the record that was reached before; the last one that does not follow its predecessor
	hole := int64(0)        // the time of the last record before which something was taken out of the log
	for i := range b.Records {
		r := &b.Records[i]
		if i > 0 && r.Prev != b.Records[i-1].Position || r.Position == "" {
			broken, hole = i, saneMilli(r.Time)
		}
		if r.Epoch != "" {
			hole = 0 // for what was lost before an epoch its birth stands
		}
		f.record(r, now, !first)
		if r.Position == f.at {
			found = i
		}
	}
	if hole > 0 {
		f.list.miss(hole + Horizon.Milliseconds()) // what it was cannot be known until it has expired
	}
	// continued: the chain runs from the record that was reached before to the end of what was read.
	continued := found >= 0 && broken <= found && f.at != "" && b.Epoch == f.epoch

	lost := b.Epoch != f.epoch && b.Epoch != f.lastEpoch && f.lastEpoch != ""
	forked := !lost && !continued && f.at != ""
	switch {
	case lost:
		f.stats.Epochs++
		f.tell(Event{Kind: EventEpoch, Time: now, Epoch: b.Epoch})
	case forked:
		f.stats.Forks++
		f.tell(Event{Kind: EventFork, Time: now, Epoch: b.Epoch})
	}
	if (lost || forked) && f.log != nil {
		f.healing = &healing{due: now.Add(jitter(Heartbeat))}
	}
	f.epoch, f.birth = b.Epoch, b.Birth
	if b.Epoch != "" {
		f.lastEpoch = b.Epoch
	}

	if continued {
		for i := range b.Records[found+1:] {
			f.advance(&b.Records[found+1+i])
		}
		if found < len(b.Records)-1 {
			f.evidence(sent, now)
		} else {
			f.patience = min(2*f.patience, maxSilence) // the log was only silent
		}
	} else {
		f.why = reasonNoNews
		if lost || forked {
			f.why = reasonBroken
		}
		f.at, f.newest, f.backed, f.said, f.sent = "", 0, 0, false, time.Time{}
		for i := range b.Records {
			f.advance(&b.Records[i])
		}
		f.news = now
	}
	if b.Epoch == "" {
		f.why = reasonNoEpoch
	}
	f.whole = f.at == "" // there is nothing to go on from in an empty log
	f.quiet = now
}

func (f *Follower) applyTail(b Batch, sent, now time.Time) {
	linked := f.begun && !f.whole // a part without the whole proves nothing
	for i := range b.Records {
		r := &b.Records[i]
		f.record(r, now, true)
		if linked && (r.Prev != f.at || r.Position == "" || r.Epoch != "" && r.Epoch != f.epoch) {
			linked = false
			f.whole = true
			f.why = reasonBroken
		}
		if linked {
			f.advance(r)
		}
	}
	switch silent := now.Sub(f.quiet); {
	case linked && len(b.Records) > 0:
		f.evidence(sent, now)
	case linked && (silent >= f.patience || silent < 0):
		// The log may have been rolled back to before this position, and then nothing newer than it may ever come.
		f.whole = true
	}
}

// advance goes on to the next record of the chain.
func (f *Follower) advance(r *Record) {
	f.at, f.newest = r.Position, saneMilli(r.Time)
	if r.Replicated > 0 {
		f.said, f.acked = true, saneMilli(r.Replicated)
	} else if r.Entry == nil {
		f.said = false // a heartbeat that does not say it: no replicas are configured any more
	}
	f.backed = f.newest
	if f.said {
		f.backed = min(f.newest, f.acked)
	}
}

// evidence notes that the newest record came over an unbroken chain.
func (f *Follower) evidence(sent, now time.Time) {
	if f.epoch == "" {
		return
	}
	f.sent, f.why = sent, ""
	// Twice the last interval is silence, within bounds: a log whose heartbeat is slow is not read whole all the time.
	f.patience = min(max(silence, 2*now.Sub(f.news)), maxSilence)
	f.news, f.quiet = now, now
}

// record takes in one record's entry.
func (f *Follower) record(r *Record, now time.Time, tell bool) {
	f.stats.Records++
	if r.Entry == nil {
		f.stats.Heartbeats++
		return
	}
	e, err := ParseEntry(r.Entry)
	f.take(e, err, saneMilli(r.Time), now, tell)
	if f.healing != nil {
		f.healing.seen(e)
	}
}

// take adds an entry to the list. What is not understood is not ignored: verifiers ask until it must have expired, a Horizon after at (Unix ms).
func (f *Follower) take(e Entry, err error, at int64, now time.Time, tell bool) {
	var news bool
	if err == nil {
		news, err = f.list.add(e)
	}
	switch {
	case err == ErrFull:
		f.stats.Dropped++
		if !f.lacked {
			f.lacked = true
			f.tell(Event{Kind: EventFull, Time: now, Entry: e})
		}
	case err != nil:
		f.list.distrust(max(at, now.UnixMilli()))
		f.stats.Unknown++
		f.tell(Event{Kind: EventUnknown, Time: now, Epoch: f.epoch})
	case !e.known():
		if at == math.MaxInt64 {
			f.list.distrust(at)
		}
		f.stats.Unknown++
		f.tell(Event{Kind: EventUnknown, Time: now, Epoch: f.epoch, Entry: e})
	default:
		f.lacked = false
		if news && tell {
			f.tell(Event{Kind: EventRevoked, Time: now, Epoch: f.epoch, Entry: e})
		}
	}
}

// publish gives the list what is known of the log.
func (f *Follower) publish() {
	f.list.log.Store(&logState{epoch: f.epoch, birth: f.birth, sent: f.sent, newest: f.newest, backed: f.backed, why: f.why})
}

// notice looks whether the list is fresh and tells what changed.
func (f *Follower) notice(now time.Time) {
	log := f.list.log.Load()
	reason := log.stale(now, f.maxStale, f.leeway)
	fresh := reason == ""
	if fresh != f.fresh && f.isReady { // being fresh for the first time heals nothing
		e := Event{Kind: EventHealed, Time: now, Epoch: f.epoch, Reason: reason}
		if !fresh {
			e.Kind = EventStale
		}
		if log.why == "" {
			since, wall := log.age(now)
			e.Age = max(since, wall)
		}
		f.tell(e)
	}
	f.fresh = fresh
	if fresh && !f.isReady {
		f.isReady = true
		close(f.ready)
	}
	if fresh && f.following {
		since, wall := log.age(now)
		left := min(f.maxStale-since, f.maxStale+f.leeway-wall) + time.Millisecond
		if f.watch == nil {
			f.watch = time.AfterFunc(left, f.look)
		} else {
			f.watch.Reset(left)
		}
	}
}

// look notices that time alone made the list stale.
func (f *Follower) look() {
	f.mu.Lock()
	if !f.following {
		f.mu.Unlock()
		return
	}
	f.notice(f.now())
	f.unlockAndTell()
}

func (f *Follower) tell(e Event) {
	if f.events != nil {
		f.pending = append(f.pending, e)
	}
}

// unlockAndTell releases the lock and then tells what happened, so that the hook may look at the follower.
func (f *Follower) unlockAndTell() {
	pending := f.pending
	f.pending = nil
	f.mu.Unlock()
	for _, e := range pending {
		f.events.Event(e)
	}
}

// Stats returns the counts so far.
func (f *Follower) Stats() FollowerStats {
	entries := f.list.Len()
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.stats
	s.Freshness = f.list.Freshness(f.now(), f.maxStale, f.leeway)
	s.Position, s.Entries, s.LastError = f.at, entries, f.lastError
	return s
}
