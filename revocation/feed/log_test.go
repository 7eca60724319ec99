package feed_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil/revocation"
)

// memoryLog is a revocation log in memory: a revocation.Source, an Appender, and what happens to logs. It is made by newLog.
type memoryLog struct {
	reads atomic.Int64

	mu        sync.Mutex
	epoch     string
	birth     int64
	records   []revocation.Record
	permanent []revocation.Entry
	ids       int
	skew      time.Duration // of its clock
	err       error
	news      chan struct{}         // closed when something changes
	acked     func(now int64) int64 // see Acknowledge; nil = records do not say
}

func newLog() *memoryLog { return &memoryLog{news: make(chan struct{})} }

// Append appends the entries, or a heartbeat if there are none.
func (l *memoryLog) Append(_ context.Context, entries ...revocation.Entry) (revocation.Appended, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return revocation.Appended{}, l.err
	}
	if len(entries) == 0 {
		l.append(nil)
	}
	for _, e := range entries {
		b, err := e.AppendBinary(nil)
		if err != nil {
			return revocation.Appended{}, err
		}
		if e.Permanent() {
			l.permanent = append(slices.Clip(l.permanent), e)
		}
		l.append(b)
	}
	newest := l.records[len(l.records)-1]
	return revocation.Appended{Position: newest.Position, Now: newest.Time}, nil
}

// Acknowledge has every record name what the replicas have: at the given time of the log's clock, the newest record that they acknowledged.
func (l *memoryLog) Acknowledge(newest func(now int64) int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked = newest
}

// AppendRaw appends an entry as it is.
func (l *memoryLog) AppendRaw(entry []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.append(entry)
}

func (l *memoryLog) append(entry []byte) {
	now := time.Now().Add(l.skew).UnixMilli()
	r := revocation.Record{Time: now, Entry: entry}
	if l.acked != nil {
		r.Replicated = l.acked(now)
	}
	if l.epoch == "" {
		l.ids++
		l.epoch, l.birth = "epoch-"+strconv.Itoa(l.ids), now
		r.Epoch = l.epoch
	}
	l.ids++
	r.Position = revocation.Position(strconv.FormatInt(now, 10) + "-" + strconv.Itoa(l.ids))
	if n := len(l.records); n > 0 {
		r.Prev = l.records[n-1].Position
	}
	l.records = append(l.records, r)
	l.changed()
}

func (l *memoryLog) changed() {
	close(l.news)
	l.news = make(chan struct{})
}

// Read implements revocation.Source. After a position that is not in the log comes what has a higher number, as in Redis.
func (l *memoryLog) Read(ctx context.Context, after revocation.Position, wait time.Duration) (revocation.Batch, error) {
	l.reads.Add(1)
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	for {
		b, news, err := l.read(after)
		if err != nil || b.Full || len(b.Records) > 0 {
			return b, err
		}
		select {
		case <-news:
		case <-timeout.C:
			return revocation.Batch{}, nil
		case <-ctx.Done():
			return revocation.Batch{}, ctx.Err()
		}
	}
}

func (l *memoryLog) read(after revocation.Position) (revocation.Batch, <-chan struct{}, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return revocation.Batch{}, nil, l.err
	}
	if after == "" {
		return revocation.Batch{
			Full: true, Epoch: l.epoch, Birth: l.birth, Records: slices.Clone(l.records), Permanent: slices.Clone(l.permanent),
		}, nil, nil
	}
	i, n := len(l.records), number(after)
	for i > 0 && number(l.records[i-1].Position) > n {
		i--
	}
	return revocation.Batch{Records: slices.Clone(l.records[i:])}, l.news, nil
}

func number(p revocation.Position) int {
	_, n, _ := strings.Cut(string(p), "-")
	i, _ := strconv.Atoi(n)
	return i
}

var errCut = errors.New("the log is cut off")

// Cut makes reads and appends fail from now on, or no longer.
func (l *memoryLog) Cut(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = nil
	if cut {
		l.err = errCut
	}
	l.changed()
}

// Lose empties the log, as FLUSHALL does.
func (l *memoryLog) Lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch, l.birth, l.records, l.permanent = "", 0, nil, nil
	l.changed()
}

// SetClock sets the log's clock to be wrong by so much. As in Redis, a log whose newest record is in the future then begins again.
func (l *memoryLog) SetClock(skew time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if skew < l.skew {
		l.epoch, l.birth, l.records = "", 0, nil
	}
	l.skew = skew
	l.changed()
}

// RollBack takes the newest records out again, as a failover to a lagging replica does. What comes next gets other positions.
func (l *memoryLog) RollBack(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = l.records[: len(l.records)-n : len(l.records)-n]
	l.changed()
}

// Rewind is RollBack to a node whose clock is behind: what comes next gets positions that were given before.
func (l *memoryLog) Rewind(n int) {
	l.RollBack(n)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ids -= n
}

// Reissue appends a record as it is, as a node does whose clock is behind: it gives a position and a time that were given before.
func (l *memoryLog) Reissue(r revocation.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = append(l.records, r)
	l.changed()
}

// Trim takes all records out but the newest.
func (l *memoryLog) Trim() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = slices.Clone(l.records[len(l.records)-1:])
}

// Copy returns another log that holds the same.
func (l *memoryLog) Copy() *memoryLog {
	l.mu.Lock()
	defer l.mu.Unlock()
	other := newLog()
	other.epoch, other.birth, other.records, other.permanent, other.ids = l.epoch, l.birth, slices.Clone(l.records), slices.Clone(l.permanent), l.ids
	return other
}

func (l *memoryLog) Newest() revocation.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.records[len(l.records)-1]
}

// Cursor returns the place of the i-th newest record.
func (l *memoryLog) Cursor(i int) revocation.Cursor {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.records[len(l.records)-1-i]
	return revocation.Cursor{Epoch: l.epoch, Time: r.Time, Position: r.Position}
}
