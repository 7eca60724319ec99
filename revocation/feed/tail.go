package feed

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil/revocation"
)

const (
	tailWindow  = 8192     // records that an edge may be behind by before it gets the whole log instead
	partRecords = 4096     // the most records of a frame that is not the whole log
	chunkLen    = 64 << 10 // the whole log is kept, and trimmed, in pieces of about so many bytes
	// maxLag is by how much the log of an edge that comes from another epoch may be ahead of this one and this one still be that which lags. Beyond, the log's
	// clock was set back, and its times do not tell which epoch is the later.
	maxLag = 30 * time.Second

	snapshotFor = revocation.Heartbeat // how long a frame of the whole log may be given to others
)

// TailConfig says how a [Tail] keeps the log. The zero value is the default.
type TailConfig struct {
	MaxLen int              // bytes of a frame that holds the whole log; 0 = revocation.DefaultMaxFrameLen. A longer log cannot be read whole
	Now    func() time.Time // nil = time.Now
}

// A Tail is a revocation.Source that keeps what was read through it, so that a [Handler] can serve it again. Give it to the Follower of the process in
// place of its Source. An entry with its share of heartbeats takes some 35 bytes.
//
// There is no useful zero value; NewTail makes one. It is safe for concurrent use, though a Source has one reader at a time.
type Tail struct {
	source revocation.Source
	max    int
	now    func() time.Time

	mu        sync.Mutex
	err       error // why it cannot serve; nil if what follows is the log up to newest
	loads     int   // how often it was read whole
	epoch     string
	birth     int64
	permanent map[fact]revocation.Entry
	newest    revocation.Cursor
	sent      time.Time                     // when the request was sent that returned it
	came      time.Time                     // when it came
	before    revocation.Position           // the predecessor of the window's first record
	window    []revocation.Record           // the newest records, for frames that are not whole; only appended to
	gone      map[revocation.Position]int64 // positions of this epoch, and their times, where the log no longer has the record that was read here
	chunks    []*chunk                      // all records, for those that are
	size      int                           // bytes of the chunks
	cut       int64                         // until then (Unix ms) the chunks lack a record that has not expired, because there were too many
	changed   chan struct{}                 // closed when anything of this changes

	making sync.Mutex // held while a snapshot is made, so that many who want one make one
	latest *snapshot
}

// fact names what a permanent entry is about. Of two about the same the later counts.
type fact struct {
	kind  revocation.Kind
	keyID string
}

// chunk is a piece of the log as frames carry it.
type chunk struct {
	body revocation.FrameBody
	last int64 // the latest time of a record
}

var (
	errNotRead  = errors.New("feed: the log was not read yet: does nobody read through the Tail? It is to be the Manager's Config.Source")
	errNoEpoch  = errors.New("feed: the log has no epoch")
	errBroken   = errors.New("feed: the log does not continue what was read")
	errTooLarge = errors.New("feed: the log is longer than a frame may be")
)

// NewTail makes a Tail that reads from source. The names that the source gives to epochs and positions must be of 1 to 64 characters of visible ASCII
// without '~'.
func NewTail(source revocation.Source, cfg TailConfig) (*Tail, error) {
	t := &Tail{source: source, max: cfg.MaxLen, now: cfg.Now, err: errNotRead, changed: make(chan struct{})}
	if source == nil {
		return nil, errors.New("feed: a tail needs a source")
	}
	if t.max == 0 {
		t.max = revocation.DefaultMaxFrameLen
	}
	if t.max < chunkLen || t.max > 1<<30 {
		return nil, errors.New("feed: TailConfig.MaxLen is not between 64 KiB and 1 GiB")
	}
	if t.now == nil {
		t.now = time.Now
	}
	return t, nil
}

// Read implements revocation.Source: it reads from the source and keeps what that returned.
func (t *Tail) Read(ctx context.Context, after revocation.Position, wait time.Duration) (revocation.Batch, error) {
	sent := t.now()
	b, err := t.source.Read(ctx, after, wait)
	if err == nil && (b.Full || len(b.Records) > 0) {
		t.keep(b, sent)
	}
	return b, err
}

// Report implements revocation.Reporter: it passes the report on to its source. If that takes none, nobody is told, and there is no error: a log without a
// census has nobody who waits.
func (t *Tail) Report(ctx context.Context, follower string, at revocation.Position, age time.Duration) error {
	if r, ok := t.source.(revocation.Reporter); ok {
		return r.Report(ctx, follower, at, age)
	}
	return nil
}

// Err says why nothing can be served now, nil if something can.
func (t *Tail) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

func (t *Tail) keep(b revocation.Batch, sent time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case b.Full:
		t.err = t.load(b)
	case t.err == nil:
		t.err = t.extend(b.Records)
	}
	if t.err == nil && len(b.Records) > 0 {
		t.sent, t.came = sent, t.now()
	}
	close(t.changed)
	t.changed = make(chan struct{})
	if t.making.TryLock() { // a snapshot that nobody may have any more is only in the way
		if s := t.latest; s != nil && (s.loads != t.loads || t.now().Sub(s.made) >= snapshotFor) {
			t.latest = nil
		}
		t.making.Unlock()
	}
}

// load begins again with the whole log.
func (t *Tail) load(b revocation.Batch) error {
	t.loads++
	t.miss(b)
	t.epoch, t.birth, t.permanent = b.Epoch, b.Birth, make(map[fact]revocation.Entry)
	t.newest, t.sent, t.came, t.before, t.window = revocation.Cursor{}, time.Time{}, time.Time{}, "", nil
	t.chunks, t.size, t.cut = nil, 0, 0
	if b.Epoch == "" {
		return errNoEpoch
	}
	for _, e := range b.Permanent {
		t.remember(e)
	}
	for i := range b.Records {
		r := &b.Records[i]
		if r.Prev != t.newest.Position || len(b.Records)-i == tailWindow {
			// No part leads across a hole in the log: who is before it reads the whole, and sees the hole.
			t.before, t.window = r.Prev, nil
		}
		if err := t.add(r); err != nil {
			return err
		}
	}
	return nil
}

// miss notes which records of the window a whole read did not find again, before that is taken over. After a failover to a node that lacks some records, and whose
// clock is behind, others may have their positions, or get them later. Who is at such a position may have read either.
func (t *Tail) miss(b revocation.Batch) {
	gone := make(map[revocation.Position]int64)
	if b.Epoch == t.epoch && len(b.Records) > 0 {
		maps.Copy(gone, t.gone)
		missing := make(map[revocation.Position]*revocation.Record, len(t.window))
		for i := range t.window {
			missing[t.window[i].Position] = &t.window[i]
		}
		for i := range b.Records {
			r := &b.Records[i]
			if old := missing[r.Position]; old != nil && old.Time == r.Time && old.Prev == r.Prev && old.Epoch == r.Epoch && bytes.Equal(old.Entry, r.Entry) {
				delete(missing, r.Position)
			}
		}
		for p, r := range missing {
			gone[p] = r.Time
		}
		trimmed := b.Records[0].Time // what is older is missing because of its age
		maps.DeleteFunc(gone, func(_ revocation.Position, at int64) bool { return at < trimmed })
	}
	t.gone = gone
}

// extend goes on with records that are new.
func (t *Tail) extend(records []revocation.Record) error {
	for i := range records {
		r := &records[i]
		if r.Prev != t.newest.Position || r.Position == "" || r.Epoch != "" && r.Epoch != t.epoch {
			return errBroken
		}
		if err := t.add(r); err != nil {
			return err
		}
	}
	return nil
}

// add appends one record.
func (t *Tail) add(from *revocation.Record) error {
	// The record is the caller's, and its texts may be parts of something large.
	r := *from
	r.Position, r.Prev, r.Epoch = revocation.Position(strings.Clone(string(r.Position))), t.newest.Position, strings.Clone(r.Epoch)
	if from.Prev != r.Prev {
		r.Prev = revocation.Position(strings.Clone(string(from.Prev)))
	}
	if r.Entry != nil && (len(r.Entry) == 0 || len(r.Entry) > revocation.MaxEntryLen) {
		r.Entry = []byte{0} // no entry either: edges must see that there is one that nobody understands
	}
	r.Entry = bytes.Clone(r.Entry)

	if n := len(t.chunks); n == 0 || len(t.chunks[n-1].body.Bytes()) >= chunkLen {
		t.chunks = append(t.chunks, &chunk{})
	}
	c := t.chunks[len(t.chunks)-1]
	before := len(c.body.Bytes())
	if err := c.body.AddRecord(r); err != nil {
		return err
	}
	c.last = max(c.last, r.Time)
	t.size += len(c.body.Bytes()) - before

	if e, err := revocation.ParseEntry(r.Entry); err == nil && e.Permanent() {
		t.remember(e)
	}
	if len(t.window) >= 2*tailWindow {
		t.before = t.window[tailWindow-1].Position
		t.window = slices.Clone(t.window[tailWindow:])
	}
	t.window = append(t.window, r)
	t.newest = revocation.Cursor{Epoch: t.epoch, Time: r.Time, Position: r.Position}
	t.trim()
	return nil
}

// remember keeps an entry that never expires: the log drops its record after a while.
func (t *Tail) remember(e revocation.Entry) {
	f := fact{e.Kind, e.KeyID}
	if old, ok := t.permanent[f]; !ok || e.NotBefore > old.NotBefore {
		t.permanent[f] = e
	}
}

// trim drops what has expired, and what there is no room for.
func (t *Tail) trim() {
	for len(t.chunks) > 1 {
		c := t.chunks[0]
		expires := c.last + revocation.Horizon.Milliseconds()
		if expires >= t.newest.Time {
			if t.size+len(t.permanent)*(2+revocation.MaxEntryLen) <= t.max {
				return
			}
			t.cut = max(t.cut, expires)
		}
		t.size -= len(c.body.Bytes())
		t.chunks[0] = nil
		t.chunks = t.chunks[1:]
	}
}

// view is what a tail has for somebody who asks, at one moment.
type view struct {
	is      verdict
	loads   int
	epoch   string
	birth   int64
	newest  revocation.Cursor
	sent    time.Time
	came    time.Time
	records []revocation.Record // if something is new: not to be changed
	changed <-chan struct{}     // closed when asking again may bring another answer
	err     error
}

type verdict int

const (
	broken  verdict = iota // nothing can be served
	behind                 // the one who asks knows more
	apart                  // the log does not go on from the cursor: the whole of it is the answer
	nothing                // nothing is newer than the cursor
	news                   // something is
)

// look says what there is for somebody who has everything up to after, or who wants the whole log.
func (t *Tail) look(after revocation.Cursor, full bool) view {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := view{loads: t.loads, epoch: t.epoch, birth: t.birth, newest: t.newest, sent: t.sent, came: t.came, changed: t.changed, err: t.err}
	if t.err != nil {
		return v // broken
	}
	v.is = apart
	if full {
		if after.Epoch == t.epoch && after.Time > t.newest.Time {
			v.is = behind
		}
		return v
	}
	if after.Epoch == t.epoch {
		if v.records = t.after(after.Position); v.records != nil {
			if v.is = news; len(v.records) == 0 {
				v.is = nothing
			}
			return v
		}
	}
	if ahead := after.Time - t.newest.Time; ahead >= 0 && (after.Epoch == t.epoch || ahead < maxLag.Milliseconds()) {
		v.is = behind
	}
	return v
}

// after returns the records of the window that follow a position, nil if it is not there, or if it is not certain what was read there.
func (t *Tail) after(p revocation.Position) []revocation.Record {
	if _, gone := t.gone[p]; gone {
		return nil
	}
	for i := len(t.window); i > 0; i-- { // most are near the end
		if t.window[i-1].Position == p {
			return t.window[i:len(t.window):len(t.window)]
		}
	}
	if p == t.before && len(t.window) > 0 {
		return t.window[:len(t.window):len(t.window)]
	}
	return nil
}

// A snapshot is the whole log at some moment, as a frame carries it.
type snapshot struct {
	view
	body *body
	made time.Time
}

// snapshot returns the whole log, up to at least the record seen if that is of the same epoch. Those who ask within a second share one.
func (t *Tail) snapshot(seen revocation.Cursor) (*snapshot, error) {
	t.making.Lock()
	defer t.making.Unlock()
	v := t.look(revocation.Cursor{}, true)
	if v.err != nil {
		return nil, v.err
	}
	now := t.now()
	if s := t.latest; s != nil && s.loads == v.loads && (s.newest == v.newest || now.Sub(s.made) < snapshotFor) &&
		(seen.Epoch != s.epoch || seen.Time <= s.newest.Time) {
		return s, nil
	}

	t.mu.Lock()
	if t.err != nil || t.newest.Time <= t.cut {
		defer t.mu.Unlock()
		if t.err == nil {
			return nil, errTooLarge
		}
		return nil, t.err
	}
	s := &snapshot{view: view{is: apart, loads: t.loads, epoch: t.epoch, birth: t.birth, newest: t.newest, sent: t.sent}, made: now}
	permanent := slices.Collect(maps.Values(t.permanent))
	pieces := make([][]byte, len(t.chunks))
	size, count := t.size, 0
	for i, c := range t.chunks {
		pieces[i] = c.body.Bytes() // only grows, so this much of it stays as it is
		count += c.body.Count()
	}
	t.mu.Unlock()

	var first revocation.FrameBody
	for _, e := range permanent {
		if err := first.AddPermanent(e); err != nil {
			return nil, err
		}
	}
	all := append(make([]byte, 0, len(first.Bytes())+size), first.Bytes()...)
	for _, p := range pieces {
		all = append(all, p...)
	}
	s.body = newBody(all, count)
	t.latest = s
	return s, nil
}
