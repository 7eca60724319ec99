package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

const (
	// maxSkew is the most by which the newest record of the log may differ from its node's clock. Beyond, the log begins a new epoch.
	maxSkew = 60 * time.Second

	// clusterMargin is added to the birth of an epoch where there are several masters. A birth is told by the clock of the log's node, the time
	// in a token by the clock of the session's node; on one server they are the same clock and need no margin.
	clusterMargin = 10 * time.Second

	// The longest that one read waits, and what its answer may take beyond that. Together they stay under 2 s, within which a half-open link
	// is noticed; the second leaves a far edge the time to connect, which is part of a read after every tailConnLife.
	maxBlock  = 900 * time.Millisecond
	tailGrace = time.Second

	tailDialTimeout = time.Second
	tailConnLife    = time.Minute // a connection may point at a master that has been replaced; it is not kept for ever
	tailCount       = 4096        // records of one read
	appendCount     = 1000        // entries of one script, which nothing else in Redis runs beside
	fullTimeout     = 30 * time.Second

	partCount  = 10_000  // records of one command of a full read, which nothing else in Redis runs beside
	maxRecords = 1 << 23 // of a full read, which is then about a gigabyte here; a list holds fewer unless it is told otherwise
	fullTries  = 3       // of a full read, if the log changes under it
)

// ErrPast is the [revocation.ErrPast] of this log. Only the step that holds the entry is refused; of a longer [Redis.Append] the steps before it have
// been appended.
var ErrPast = fmt.Errorf("store: append: %w", revocation.ErrPast)

// Append implements [revocation.Appender]. Up to a thousand entries are one atomic step: all of them or, on an error of this package, none.
// [counterfoil.ErrNotDurable] comes with the position of entries that are all in the log. A heartbeat never returns it: if too few replicas
// acknowledge, everybody's list shows that by its age.
func (s *Redis) Append(ctx context.Context, entries ...revocation.Entry) (revocation.Appended, error) {
	epoch := make([]byte, 9)
	rand.Read(epoch)
	head := []any{revocation.Horizon.Milliseconds(), revocation.Heartbeat.Milliseconds(), maxSkew.Milliseconds(), s.margin.Milliseconds(),
		base64.RawURLEncoding.EncodeToString(epoch), ""}
	var args []any // four for each entry
	for _, e := range entries {
		raw, err := e.AppendBinary(nil)
		if err != nil {
			return revocation.Appended{}, fmt.Errorf("store: append: %w", err)
		}
		at, field, value := decimal(e.At), "", "0"
		switch e.Kind {
		case revocation.KindAll:
			at, field, value = "", "n", decimal(e.NotBefore)
		case revocation.KindKey:
			at, field = "", "k:"+e.KeyID
		}
		args = append(args, raw, at, field, value)
	}
	patience := s.replicaTimeout
	if len(args) == 0 {
		patience = min(patience, revocation.Heartbeat/2) // the next heartbeat is not to be late for it, and names what this WAIT has proved
	}
	var short error // what too few replicas have
	for {
		n := min(len(args), 4*appendCount)
		a, err := s.append(ctx, patience, slices.Concat(head, args[:n]))
		if errors.Is(err, counterfoil.ErrNotDurable) {
			short, err = err, nil
		}
		if err != nil {
			return a, err
		}
		if n == 0 {
			return a, nil
		}
		if args = args[n:]; len(args) == 0 {
			return a, short
		}
	}
}

// append appends what is in one script. The last argument of its head is what the replicas are known to have.
func (s *Redis) append(ctx context.Context, patience time.Duration, args []any) (revocation.Appended, error) {
	keys := []string{s.keys.log(), s.keys.meta()}
	var rep reply
	var err error
	if need := s.quorum.of(keys[0]); need == 0 {
		rep, err = s.run(ctx, appendScript, false, keys, args...)
	} else {
		args[5] = s.acked.Load()
		rep, err = s.settleAt(ctx, appendScript, need, patience, keys, args...)
		if err == nil && rep.int(0) == codeOK {
			s.acked.Store(timeOf(rep.string(1)))
		}
	}
	if err != nil && !errors.Is(err, counterfoil.ErrNotDurable) {
		return revocation.Appended{}, err
	}
	switch rep.at(0) {
	case int64(codeOK):
		return revocation.Appended{Position: revocation.Position(rep.string(1)), Now: rep.int(3)}, err
	case int64(-1):
		return revocation.Appended{}, ErrPast
	}
	return revocation.Appended{}, errors.New("store: append: Redis answered something that is no answer to this step")
}

// Read implements revocation.Source. It waits at most 0.9 s, whatever wait says.
func (s *Redis) Read(ctx context.Context, after revocation.Position, wait time.Duration) (revocation.Batch, error) {
	return s.log.Read(ctx, after, wait)
}

// Ask implements revocation.Asker: whether the session lives, its subject's not-before, and what is revoked for good.
func (s *Redis) Ask(ctx context.Context, v token.Verified) (revocation.Answer, error) {
	var a revocation.Answer
	if !v.Valid() {
		return a, errors.New("store: ask: no verified token")
	}
	id, subject := v.Session(), v.Subject()
	meta, err := s.run(ctx, factsScript, false, []string{s.keys.meta()})
	if err != nil {
		return a, err
	}
	if belongs(id, subject) {
		tag := id.Tag()
		rep, err := s.run(ctx, askScript, false, []string{s.keys.session(id), s.keys.notBefore(tag, subject)}, id.String(), subject)
		if err != nil {
			return a, err
		}
		if len(rep) != 2 {
			return a, errors.New("store: ask: Redis answered something that is no answer to this step")
		}
		a.Live = rep.string(0) == "1"
		a.NotBefore = rep.int(1)
	}
	for i := 0; i+1 < len(meta); i += 2 {
		if name := meta.string(i); name == "n" {
			a.AllNotBefore = meta.int(i + 1)
		} else if kid, ok := strings.CutPrefix(name, "k:"); ok {
			a.RevokedKeys = append(a.RevokedKeys, kid)
		}
	}
	return a, nil
}

// LogReader reads the revocation log, and reports how far it has read: it is what an edge holds, and it has no method that touches a session.
// [OpenLogReader] and [NewLogReader] make it; the zero value is not usable. It is a [revocation.Source] and [revocation.Reporter], for a
// [revocation.Follower]. It is safe for concurrent use. A Read that waits has one goroutine, which ends when Redis answers, within a second, or with
// Close.
type LogReader struct {
	client redis.UniversalClient // for reading only; see tailClient
	like   redis.UniversalClient // what it was made like, if it is ours to close; with Sentinels it is what knows the master
	keys   keys

	timeout time.Duration // of a report

	mu     sync.Mutex
	last   revocation.Record // the newest that was read
	failed bool              // the last read did: who answers the next may be another
}

func newLogReader(tail redis.UniversalClient, cfg Config) *LogReader {
	return &LogReader{client: tail, keys: keys{cfg.prefix()}, timeout: cfg.timeout()}
}

// OpenLogReader connects to the Redis at a URL, as [Open] does. The Redis user in it needs no more than the rights that the package comment names.
func OpenLogReader(ctx context.Context, rawURL string, cfg Config) (*LogReader, error) {
	_, client, err := connect(ctx, rawURL, cfg)
	if err != nil {
		return nil, err
	}
	l, err := NewLogReader(ctx, client, cfg)
	if err != nil {
		client.Close()
		return nil, err
	}
	l.like = client
	return l, nil
}

// NewLogReader makes a reader with a client like the given one, which is not used for anything else and stays the caller's.
func NewLogReader(ctx context.Context, client redis.UniversalClient, cfg Config) (*LogReader, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	tail, err := tailClient(client)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.timeout())
	defer cancel()
	if err := ping(ctx, tail, address(tail)); err != nil {
		tail.Close()
		return nil, err
	}
	return newLogReader(tail, cfg), nil
}

// Close ends the connections; a Read that waits returns with an error. Closing twice is harmless.
func (l *LogReader) Close() error {
	err := closeOnce(l.client)
	if l.like != nil {
		err = errors.Join(err, closeOnce(l.like))
	}
	return err
}

// Read implements [revocation.Source]. It waits at most 0.9 s, whatever wait says, and returns at most some thousands of records at a time, but the
// whole log at once.
//
// After a read that failed it checks whether the record at the position is still the one that was read. A replica that lacked that record may have
// been promoted, and may have given its position, which is no more than a time and a number, to another. In that case the answer is the whole log.
func (l *LogReader) Read(ctx context.Context, after revocation.Position, wait time.Duration) (revocation.Batch, error) {
	b, err := l.read(ctx, after, wait)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = err != nil
	if n := len(b.Records); err == nil && n > 0 {
		l.last = b.Records[n-1]
		l.last.Prev, l.last.Epoch = revocation.Position(strings.Clone(string(l.last.Prev))), strings.Clone(l.last.Epoch)
		l.last.Entry = bytes.Clone(l.last.Entry)
	}
	return b, err
}

func (l *LogReader) read(ctx context.Context, after revocation.Position, wait time.Duration) (revocation.Batch, error) {
	if after == "" {
		return l.readAll(ctx)
	}
	if !isStreamID(string(after)) {
		return revocation.Batch{}, errors.New("store: read: not a position of this log")
	}
	wait = min(wait, maxBlock)
	block := wait
	if wait < time.Millisecond {
		block = -1 // do not wait; 0 would wait for ever
	}
	l.mu.Lock()
	failed, last := l.failed, l.last
	l.mu.Unlock()
	if !failed {
		last = revocation.Record{}
	}
	streams, err := l.tail(ctx, after, last, block, max(wait, 0)+tailGrace)
	if errors.Is(err, errOther) {
		return l.readAll(ctx)
	}
	if errors.Is(err, redis.Nil) {
		return revocation.Batch{}, nil
	}
	if err != nil {
		return revocation.Batch{}, fmt.Errorf("store: read: %w", err)
	}
	var b revocation.Batch
	for _, st := range streams {
		b.Records, err = appendRecords(b.Records, st.Messages)
	}
	return b, err
}

// tail reads what is newer than after. go-redis looks at a context before and after a command, not while one blocks, so the command runs beside
// the caller, who goes when the context ends. What is left behind ends when the block does, or with Close. If last is a record it must still be the one at after.
func (l *LogReader) tail(ctx context.Context, after revocation.Position, last revocation.Record, block, limit time.Duration) ([]redis.XStream, error) {
	type answer struct {
		streams []redis.XStream
		err     error
	}
	answered := make(chan answer, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		defer cancel()
		if last.Position != "" {
			if err := l.holds(ctx, after, last); err != nil {
				suspect(ctx, l.client, err)
				answered <- answer{nil, err}
				return
			}
		}
		streams, err := l.client.XRead(ctx, &redis.XReadArgs{
			Streams: []string{l.keys.log(), string(after)}, Count: tailCount, Block: block,
		}).Result()
		suspect(ctx, l.client, err)
		answered <- answer{streams, err}
	}()
	select {
	case a := <-answered:
		return a.streams, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// errOther means that another record is at a position than the one that was read there, or none.
var errOther = errors.New("store: read: the log is another one")

// holds looks whether a record is still at its position.
func (l *LogReader) holds(ctx context.Context, at revocation.Position, want revocation.Record) error {
	messages, err := l.client.XRange(ctx, l.keys.log(), string(at), string(at)).Result()
	if err != nil {
		return err
	}
	got, err := appendRecords(nil, messages)
	if err == nil && (len(got) != 1 || !same(got[0], want)) {
		err = errOther
	}
	return err
}

// readAll reads meta and stream. It reads the stream in parts, so that a long one neither keeps Redis from everybody else nor is here several times over.
//
// The parts are one log: each begins with the record that the one before ended with, so nothing came in between and both are of the same history; and
// meta says the same epoch afterwards as it did before. What was trimmed meanwhile was read before, or is past the horizon. Where that does not
// hold it begins again. Plain commands and not a script, because the rights of an edge then are those of a few reading commands.
func (l *LogReader) readAll(ctx context.Context) (revocation.Batch, error) {
	ctx, cancel := context.WithTimeout(ctx, fullTimeout)
	defer cancel()
	var b revocation.Batch
	var err error
	for range fullTries {
		if b, err = l.readWhole(ctx); !errors.Is(err, errTorn) {
			break
		}
	}
	if err != nil {
		suspect(ctx, l.client, err)
		if redis.HasErrorPrefix(err, "MOVED ") { // go-redis does not see it in a raw answer
			masterAt(ctx, l.client, "")
		}
	}
	return b, err
}

// errTorn means that the parts of a log do not belong together.
var errTorn = errors.New("store: read: the log changes while it is read")

func (l *LogReader) readWhole(ctx context.Context) (revocation.Batch, error) {
	var meta *redis.MapStringStringCmd
	part := redis.NewRawCmd(ctx, "xrange", l.keys.log(), "-", "+", "count", partCount)
	_, err := l.client.TxPipelined(ctx, func(p redis.Pipeliner) error { // one round trip, which is all that most logs need
		meta = p.HGetAll(ctx, l.keys.meta())
		return p.Process(ctx, part)
	})
	if err != nil {
		return revocation.Batch{}, fmt.Errorf("store: read: %w", err)
	}
	b, err := batchOf(meta.Val())
	if err != nil {
		return revocation.Batch{}, err
	}
	var parts [][]revocation.Record // put together when it is known how many there are
	for total := 0; ; {
		raw, err := part.Result()
		if err != nil {
			return revocation.Batch{}, fmt.Errorf("store: read: %w", err)
		}
		records, err := parseRecords(raw)
		if err != nil {
			return revocation.Batch{}, err
		}
		whole := len(records) == partCount // there may be more
		if total > 0 {
			before := parts[len(parts)-1]
			if len(records) == 0 || !same(records[0], before[len(before)-1]) {
				return revocation.Batch{}, errTorn
			}
			records = records[1:]
		}
		parts = append(parts, records)
		if total += len(records); total > maxRecords {
			return revocation.Batch{}, fmt.Errorf("store: read: the log has more than %d records", maxRecords)
		}
		if !whole {
			break
		}
		part = redis.NewRawCmd(ctx, "xrange", l.keys.log(), string(records[len(records)-1].Position), "+", "count", partCount)
		if err := l.client.Process(ctx, part); err != nil {
			return revocation.Batch{}, fmt.Errorf("store: read: %w", err)
		}
	}
	if len(parts) == 1 {
		b.Records = parts[0]
		return b, nil
	}
	now, err := l.client.HGetAll(ctx, l.keys.meta()).Result()
	if err != nil {
		return revocation.Batch{}, fmt.Errorf("store: read: %w", err)
	}
	after, err := batchOf(now)
	if err == nil && (after.Epoch != b.Epoch || after.Birth != b.Birth) {
		err = errTorn
	}
	after.Records = slices.Concat(parts...)
	return after, err
}

// same reports whether two reads of one position found the same record.
func same(a, b revocation.Record) bool {
	return a.Position == b.Position && a.Prev == b.Prev && a.Epoch == b.Epoch && bytes.Equal(a.Entry, b.Entry)
}

// batchOf reads meta.
func batchOf(meta map[string]string) (revocation.Batch, error) {
	b := revocation.Batch{Full: true, Epoch: meta["e"]}
	if b.Epoch != "" {
		var err error
		if b.Birth, err = strconv.ParseInt(meta["b"], 10, 64); err != nil {
			return revocation.Batch{}, errors.New("store: read: the log's birth is not a number")
		}
	}
	for name, value := range meta {
		if name == "na" || strings.HasPrefix(name, "k:") {
			e, err := revocation.ParseEntry([]byte(value))
			if err != nil {
				return revocation.Batch{}, fmt.Errorf("store: read: what is revoked for good: %w", err)
			}
			b.Permanent = append(b.Permanent, e)
		}
	}
	return b, nil
}

func appendRecords(rs []revocation.Record, messages []redis.XMessage) ([]revocation.Record, error) {
	for _, m := range messages {
		r := revocation.Record{Position: revocation.Position(m.ID), Time: timeOf(m.ID)}
		if r.Time == 0 {
			return nil, errID
		}
		if v, _ := m.Values["r"].(string); v != "" {
			r.Entry = []byte(v)
		}
		if v, _ := m.Values["p"].(string); v != "0-0" {
			r.Prev = revocation.Position(v)
		}
		if v, ok := m.Values["a"].(string); ok {
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil || n < 1 {
				return nil, errAcked
			}
			r.Replicated = n
		}
		r.Epoch, _ = m.Values["e"].(string)
		rs = append(rs, r)
	}
	return rs, nil
}

// timeOf returns the time in the ID of a record, Unix ms; 0 = there is none in it.
func timeOf(id string) int64 {
	ms, _, _ := strings.Cut(id, "-")
	t, err := strconv.ParseInt(ms, 10, 64)
	if err != nil || t < 0 {
		return 0
	}
	return t
}

// isStreamID reports whether s is <ms>-<seq>, so that nothing else gets into a command.
func isStreamID(s string) bool {
	ms, seq, ok := strings.Cut(s, "-")
	if !ok {
		return false
	}
	for _, part := range []string{ms, seq} {
		if _, err := strconv.ParseUint(part, 10, 64); err != nil || part[0] == '+' {
			return false
		}
	}
	return true
}
