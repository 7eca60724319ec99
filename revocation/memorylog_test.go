package revocation_test

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil/revocation"
)

// memoryLog is a revocation log in memory. Append and Read make it a revocation.Appender and a revocation.Source;
// the other methods do to it what happens to logs. It is made by newLog and safe for concurrent use. It never trims.
type memoryLog struct {
	now func() time.Time

	mu    sync.Mutex
	state logContent
	ids   int // of positions and epochs; never goes back
	err   error
	news  chan struct{} // closed when something changes
}

// logContent is what a log holds at some moment.
type logContent struct {
	epoch     string
	birth     int64
	records   []revocation.Record
	permanent []revocation.Entry
}

// newLog makes an empty log without an epoch; the first append begins one. Nil means time.Now.
func newLog(now func() time.Time) *memoryLog {
	if now == nil {
		now = time.Now
	}
	return &memoryLog{now: now, news: make(chan struct{})}
}

// Append appends the entries, or a heartbeat if there are none. Unlike a real log it writes every heartbeat.
func (l *memoryLog) Append(_ context.Context, entries ...revocation.Entry) (revocation.Appended, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return revocation.Appended{}, l.err
	}
	var binary [][]byte
	for _, e := range entries {
		b, err := e.AppendBinary(nil)
		if err != nil {
			return revocation.Appended{}, err
		}
		binary = append(binary, b)
		if e.Permanent() {
			l.state.permanent = append(slices.Clip(l.state.permanent), e)
		}
	}
	if len(entries) == 0 {
		binary = [][]byte{nil}
	}
	for _, b := range binary {
		l.append(revocation.Record{Entry: b})
	}
	newest := l.state.records[len(l.state.records)-1]
	return revocation.Appended{Position: newest.Position, Now: l.now().UnixMilli()}, nil
}

// AppendRecord appends a record as it is, with position, link and time filled in where they are empty: for entries of newer
// versions, damage, and clocks that are wrong.
func (l *memoryLog) AppendRecord(r revocation.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.append(r)
}

func (l *memoryLog) append(r revocation.Record) {
	now := l.now().UnixMilli()
	if r.Time == 0 {
		r.Time = now
	}
	s := &l.state
	if s.epoch == "" {
		l.ids++
		s.epoch, s.birth = "epoch-"+strconv.Itoa(l.ids), now
		if r.Epoch == "" {
			r.Epoch = s.epoch
		}
	}
	l.ids++
	if r.Position == "" {
		r.Position = revocation.Position(strconv.FormatInt(r.Time, 10) + "-" + strconv.Itoa(l.ids))
	}
	if n := len(s.records); r.Prev == "" && n > 0 {
		r.Prev = s.records[n-1].Position
	}
	s.records = append(s.records, r)
	l.changed()
}

func (l *memoryLog) changed() {
	close(l.news)
	l.news = make(chan struct{})
}

// Read answers as a revocation.Source does. An unknown position has nothing after it, as in Redis when the log was put back.
func (l *memoryLog) Read(ctx context.Context, after revocation.Position, wait time.Duration) (revocation.Batch, error) {
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	for {
		l.mu.Lock()
		s, err, news := l.state, l.err, l.news
		l.mu.Unlock()
		switch {
		case err != nil:
			return revocation.Batch{}, err
		case after == "":
			return revocation.Batch{Full: true, Epoch: s.epoch, Birth: s.birth, Records: slices.Clone(s.records), Permanent: slices.Clone(s.permanent)}, nil
		}
		i := len(s.records)
		for i > 0 && number(s.records[i-1].Position) > number(after) {
			i--
		}
		if i < len(s.records) {
			return revocation.Batch{Records: slices.Clone(s.records[i:])}, nil
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

// number orders positions as they were made: by the part after the dash.
func number(p revocation.Position) int {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i] == '-' {
			n, _ := strconv.Atoi(string(p[i+1:]))
			return n
		}
	}
	return 0
}

// Cut makes reads and appends fail with err from now on, those under way included; nil ends that.
func (l *memoryLog) Cut(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
	l.changed()
}

// Lose empties the log, as FLUSHALL does: records, permanent entries and epoch.
func (l *memoryLog) Lose() { l.Restore(logContent{}) }

// Content returns what the log holds.
func (l *memoryLog) Content() logContent {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// Restore puts the log back to what it held, as a failover to a lagging replica does.
func (l *memoryLog) Restore(s logContent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.records = slices.Clip(s.records)
	l.state = s
	l.changed()
}

// Rewind is Restore to a node whose clock is behind: new records get positions that were given before, or earlier ones.
func (l *memoryLog) Rewind(s logContent) {
	l.Restore(s)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ids = 0
	if n := len(s.records); n > 0 {
		l.ids = number(s.records[n-1].Position)
	}
}

// Drop takes the record at index i out of the log without a trace, which no sound log does.
func (l *memoryLog) Drop(i int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.records = slices.Delete(slices.Clone(l.state.records), i, i+1)
	l.changed()
}

// Len returns the number of records, heartbeats included.
func (l *memoryLog) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.state.records)
}
