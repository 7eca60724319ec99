package revocation

import (
	"errors"
	"hash/maphash"
	"math"

	"github.com/counterfoil/counterfoil/internal/lean/context"
	"github.com/counterfoil/counterfoil/internal/lean/sync"
	"github.com/counterfoil/counterfoil/internal/lean/time"
)

// FollowerConfig says how a [Follower] follows. Source and List are required.
type FollowerConfig struct {
	Source Source // may be nil if only Apply is used
	List   *List

	Wait time.Duration // how long one read waits for news; 0 = 1 s, at most 5 s

	// Name, if it is set, is who the follower is: if Source is a [Reporter] it then reports how far it is, at most ten times a second, so that whoever
	// revokes can wait for it. 1 to 64 letters, digits, '.', '-' and '_'. What tells it from others of its name is drawn at random and added
	// ([Follower.Name]): two processes that were given one name are two followers, and neither confirms for the other.
	Name string

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
	chain     chain
	swept     time.Time
	healing   *healing
	stats     FollowerStats
	lastError error

	isReady bool        // ready is closed
	began   time.Time   // when Follow was called first; zero = never
	stale   bool        // as last told
	watch   *time.Timer // looks again when the list would become stale
	full    bool        // that the list is full was told
	strange bool        // that this batch has something unknown was told
	pending []Event
	telling bool

	report reporting // used without the lock, by the goroutine that follows
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
	Reported   uint64   // reports of its progress
	Unreported uint64   // reports that failed
	LastError  error    // of the last read that failed, or else append, kept until one succeeds
}

const (
	maxWait = 5 * time.Second

	// How long a whole read may take, and another read beyond Wait; up to eight times as long after failures, since a log that is slow would otherwise never be
	// read. Sources notice a dead connection sooner, by its silence.
	wholeRead = 5 * time.Second
	tailRead  = time.Second

	backoffMin = 50 * time.Millisecond
	backoffMax = 2 * time.Second

	sweepEach = 250 * time.Millisecond // for a sixty-fourth of the list, so all of it is looked at every sixteen seconds
)

// NewFollower makes a Follower. It starts nothing.
func NewFollower(cfg FollowerConfig) (*Follower, error) {
	f := &Follower{
		source: cfg.Source, list: cfg.List, wait: cfg.Wait, log: cfg.Log, events: cfg.Events, now: cfg.Now,
		ready: make(chan struct{}), chain: newChain(),
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
	var err error
	if f.report, err = newReporting(f.source, cfg.Name); err != nil {
		return nil, err
	}
	return f, nil
}

var (
	errNoSource  = errors.New("revocation: follower without a source")
	errFollowing = errors.New("revocation: follower is following already")
	errNotWhole  = errors.New("revocation: source answered a whole read with a part")
)

// Follow follows the log until ctx ends and returns ctx's error. It does not return because the log cannot be reached: it tries again, with growing,
// jittered pauses, and the list grows old meanwhile. Without a Source, and while it is following already, it returns an error at once. When it
// returns it has left no goroutine. It may be called again later, and goes on where it was.
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
	if f.began.IsZero() {
		f.began = f.now()
	}
	f.mu.Unlock()
	defer f.stop()
	defer f.leave()

	failures, wholes := 0, 0 // failed reads in a row, whole reads without a proof of freshness
	for ctx.Err() == nil {
		after := f.Next()
		if after == "" && wholes >= 2 {
			pause(ctx, backoff(wholes)) // a log whose chain breaks every time must not be read all the time
		}
		began, wait := time.Now(), f.patience()
		records, err := f.read(ctx, after, wait, failures)
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
			f.tellProgress(ctx)
			// A source that does not wait, or an empty log, must not keep a processor busy.
			if spent := time.Since(began); records == 0 && spent < wait/2 {
				pause(ctx, wait/2-spent)
			}
		}
	}
	return ctx.Err()
}

// read reads once and applies the batch.
func (f *Follower) read(ctx context.Context, after Position, wait time.Duration, failures int) (records int, err error) {
	limit := wait + grace(tailRead, failures)
	if after == "" {
		limit = grace(wholeRead, failures)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	sent := f.now()
	b, err := f.source.Read(ctx, after, wait)
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

// Ready waits until the list is fresh for the first time, or until ctx ends. The error says why the list is not fresh, and wraps ctx's error and that
// of the last read, if that failed.
func (f *Follower) Ready(ctx context.Context) error {
	select {
	case <-f.ready:
		return nil
	case <-ctx.Done():
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	reason := f.list.log.Load().stale(f.now(), f.maxStale, f.leeway)
	if f.isReady || reason == "" {
		return nil
	}
	return &notReady{reason: reason, idle: !f.following, read: f.lastError, ended: ctx.Err()}
}

const theLastRead = "; the last read: "

// notReady is the error of Ready.
type notReady struct {
	reason string // why the list is not fresh
	idle   bool   // nobody follows
	read   error  // of the last read; nil if it succeeded
	ended  error  // of the context
}

func (e *notReady) Error() string {
	text := "revocation: not ready: " + e.reason
	if e.reason == reasonNoEpoch {
		text += ": nobody has begun it, or it is not the one that the application writes to"
	}
	if e.idle {
		text += "; Follow is not running"
	}
	if e.read != nil {
		text += theLastRead + e.read.Error()
	}
	return text + "; " + e.ended.Error()
}

func (e *notReady) Unwrap() []error {
	if e.read == nil {
		return []error{e.ended}
	}
	return []error{e.ended, e.read}
}

// Next returns the position to read after; "" asks for the whole log. For hosts that read the log in their own way.
func (f *Follower) Next() Position {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.chain.whole {
		return ""
	}
	return f.chain.at
}

// Apply takes in a batch that a read returned which was sent at the given time. Follow calls it; so do hosts that read the log in their own way. The
// time should have a monotonic reading where the platform has one. Batches are applied in the order of their reads.
func (f *Follower) Apply(b Batch, sent time.Time) {
	f.mu.Lock()
	now := f.now()
	sent = sent.Add(-b.Age)
	f.stats.Reads++
	f.lastError = nil
	f.strange = false
	f.full = f.full && f.list.Incomplete(now)

	// Everything is in the list before anything is proved by it.
	tell := f.chain.begun
	for _, e := range b.Permanent {
		f.take(e, nil, math.MaxInt64, "", now, tell)
	}
	for i := range b.Records {
		f.record(&b.Records[i], now, tell)
	}
	if b.Full {
		f.stats.Whole++
		f.turn(b, sent, now)
	} else {
		f.chain.takePart(b, sent, now)
	}
	log := f.chain.state()
	f.list.log.Store(log)

	if n := int(now.Sub(f.swept).Abs() / sweepEach); n > 0 && log.newest > 0 {
		// By the earlier of two clocks: one that is wrong and is set right later must not have made the list forget.
		f.swept = now
		f.list.sweepSome(n, min(now.UnixMilli(), log.newest))
	}
	f.notice(now)
	f.unlockAndTell()
}

// turn takes in a whole read and draws the consequences.
func (f *Follower) turn(b Batch, sent, now time.Time) {
	how, hole := f.chain.takeWhole(b, sent, now)
	if hole > 0 {
		f.list.miss(hole + Horizon.Milliseconds()) // what it was cannot be known until it has expired
	}
	switch how {
	case wentOn:
		return
	case lost:
		f.stats.Epochs++
		f.tell(Event{Kind: EventEpoch, Time: now, Epoch: b.Epoch})
	case forked:
		f.stats.Forks++
		f.tell(Event{Kind: EventFork, Time: now, Epoch: b.Epoch})
	}
	if f.log != nil {
		f.healing = &healing{due: now.Add(jitter(Heartbeat))}
	}
}

// record takes in one record's entry.
func (f *Follower) record(r *Record, now time.Time, tell bool) {
	f.stats.Records++
	if r.Entry == nil {
		f.stats.Heartbeats++
		return
	}
	e, err := ParseEntry(r.Entry)
	f.take(e, err, saneMilli(r.Time), r.Position, now, tell)
	if f.healing != nil {
		f.healing.seen(e)
	}
}

// take adds an entry to the list. What is not understood is not ignored: verifiers ask until it must have expired, a Horizon after at (Unix ms).
func (f *Follower) take(e Entry, err error, at int64, where Position, now time.Time, tell bool) {
	var news bool
	if err == nil {
		news, err = f.list.add(e)
	}
	switch {
	case err == ErrFull:
		f.stats.Dropped++
		if !f.full {
			f.full = true
			f.tell(Event{Kind: EventFull, Time: now, Entry: e})
		}
	case err != nil:
		f.list.distrust(max(at, now.UnixMilli()))
		f.unknown(Event{Kind: EventUnknown, Time: now, Epoch: f.chain.epoch})
	case !e.known():
		if at == math.MaxInt64 {
			f.list.distrust(at)
		}
		f.unknown(Event{Kind: EventUnknown, Time: now, Epoch: f.chain.epoch, Entry: e})
	case news && tell:
		f.tell(Event{Kind: EventRevoked, Time: now, Epoch: f.chain.epoch, Entry: e, Position: where})
	}
}

// unknown counts something that is not understood, and tells it once for each batch.
func (f *Follower) unknown(e Event) {
	f.stats.Unknown++
	if !f.strange {
		f.strange = true
		f.tell(e)
	}
}

// notice looks whether the list is fresh and tells what changed. To begin with it may be stale for as long as it may be old without anybody being told.
func (f *Follower) notice(now time.Time) {
	log := f.list.log.Load()
	reason := log.stale(now, f.maxStale, f.leeway)
	fresh := reason == ""
	late := !f.began.IsZero() && now.Sub(f.began) > f.maxStale
	if stale := !fresh && (f.isReady || late); stale != f.stale {
		f.stale = stale
		e := Event{Kind: EventHealed, Time: now, Epoch: log.epoch, Reason: reason}
		if stale {
			e.Kind = EventStale
			if f.lastError != nil {
				e.Reason += theLastRead + f.lastError.Error()
			}
		}
		if log.why == "" {
			since, wall := log.age(now)
			e.Age = max(since, wall)
		}
		f.tell(e)
	}
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

// unlockAndTell releases the lock and tells what happened, so that the hook may look at the follower. One goroutine tells at a time, in order.
func (f *Follower) unlockAndTell() {
	if !f.telling {
		f.telling = true
		for len(f.pending) > 0 {
			pending := f.pending
			f.pending = nil
			f.mu.Unlock()
			for _, e := range pending {
				f.events.Event(e)
			}
			f.mu.Lock()
		}
		f.telling = false
	}
	f.mu.Unlock()
}

// Stats returns the counts so far.
func (f *Follower) Stats() FollowerStats {
	entries := f.list.Len()
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.stats
	s.Freshness = f.list.Freshness(f.now(), f.maxStale, f.leeway)
	s.Position, s.Entries, s.LastError = f.chain.at, entries, f.lastError
	if s.LastError == nil && f.healing != nil {
		s.LastError = f.healing.err // reads that succeed say nothing of it
	}
	return s
}
