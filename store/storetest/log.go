package storetest

import (
	"bytes"
	"context"
	"strconv"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

// onLog skips where the store has no log, and otherwise begins one.
func onLog(test func(*suite)) func(*suite) {
	return func(s *suite) {
		if s.under.Log == nil || s.under.Source == nil {
			s.Skip("no revocation log given")
		}
		test(s)
	}
}

func (s *suite) append(entries ...revocation.Entry) {
	s.Helper()
	a, err := s.under.Log.Append(s.ctx, entries...)
	s.must(err, "Append")
	if a.Position == "" || a.Now == 0 {
		s.broken("Append did not say where the log stands: %+v", a)
	}
}

func (s *suite) read(after revocation.Position, wait time.Duration) revocation.Batch {
	s.Helper()
	b, err := s.under.Source.Read(s.ctx, after, wait)
	s.must(err, "Read")
	if after == "" && !b.Full {
		s.broken("a read from the start is not full")
	}
	return b
}

// now is the log's time, told by a step of the store.
func (s *suite) now() int64 {
	s.Helper()
	return s.end(counterfoil.Ending{Session: newID("")}).At
}

func (s *suite) sessionEntry() revocation.Entry {
	return revocation.Entry{Kind: revocation.KindSession, At: s.now(), Session: newID("alice")}
}

// entries parses what a batch holds, heartbeats left out, and checks the chain within it.
func (s *suite) entries(b revocation.Batch) []revocation.Entry {
	s.Helper()
	var list []revocation.Entry
	for i, r := range b.Records {
		if r.Position == "" || r.Time <= 0 {
			s.broken("record %d has position %q and time %d", i, r.Position, r.Time)
		}
		if i > 0 && r.Epoch == "" && r.Prev != b.Records[i-1].Position {
			s.broken("record %d says that %q is before it, but %q is", i, r.Prev, b.Records[i-1].Position)
		}
		if r.Entry == nil {
			continue
		}
		e, err := revocation.ParseEntry(r.Entry)
		s.must(err, "ParseEntry")
		list = append(list, e)
	}
	return list
}

func (s *suite) sameEntries(got []revocation.Entry, want ...revocation.Entry) {
	s.Helper()
	if len(got) != len(want) {
		s.broken("%d entries, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			s.broken("entry %d is %+v, want %+v", i, got[i], want[i])
		}
	}
}

var logRules = []rule{
	{"never begun", "A log that was never begun has no epoch", onLog(func(s *suite) {
		if b := s.read("", 0); b.Epoch != "" || len(b.Records) != 0 || len(b.Permanent) != 0 {
			s.broken("read %+v", b)
		}
	})},
	{"begins", "The first append begins an epoch, born then; the first record names it", onLog(func(s *suite) {
		before := s.now()
		s.append()
		b := s.read("", 0)
		if b.Epoch == "" || len(b.Records) != 1 || b.Records[0].Epoch != b.Epoch || b.Records[0].Entry != nil || b.Records[0].Prev != "" {
			s.broken("read %+v", b)
		}
		if b.Birth < before || b.Birth > s.now()+time.Minute.Milliseconds() {
			s.broken("born %d, begun about %d", b.Birth, before)
		}
	})},
	{"in order", "When Append returns, every entry is in the log, in order and unchanged, for whoever reads it from the start or from where it was", onLog(func(s *suite) {
		s.append()
		first := s.read("", 0)
		at := s.now()
		want := []revocation.Entry{
			s.sessionEntry(),
			{Kind: revocation.KindSubject, At: at, Subject: token.SubjectHash("iss", "alice"), NotBefore: at},
			s.sessionEntry(),
			{Kind: revocation.KindAll, At: at, NotBefore: at + 10_000},
			{Kind: revocation.KindKey, At: at, KeyID: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"},
			{Kind: revocation.KindSession, At: at, Session: newID("")},
		}
		s.append(want[:3]...)
		s.append(want[3:]...)
		s.sameEntries(s.entries(s.read("", 0)), want...)
		tail := s.read(first.Records[0].Position, 0)
		s.sameEntries(s.entries(tail), want...)
		if tail.Full || tail.Records[0].Prev != first.Records[0].Position {
			s.broken("the tail does not continue what was read before")
		}
		rest := s.read(tail.Records[2].Position, 0)
		s.sameEntries(s.entries(rest), want[3:]...)
	})},
	{"again", "Appending an entry again is harmless", onLog(func(s *suite) {
		e := s.sessionEntry()
		s.append(e)
		s.append(e, e)
		for _, got := range s.entries(s.read("", 0)) {
			if got != e {
				s.broken("read %+v", got)
			}
		}
	})},
	{"heartbeat", "Append without entries writes a heartbeat only if the newest record is older than a second", onLog(func(s *suite) {
		s.append(s.sessionEntry())
		for range 20 {
			s.append()
		}
		b := s.read("", 0)
		if len(b.Records) != 1 {
			s.broken("%d records within a second, want 1", len(b.Records))
		}
		for start := time.Now(); ; {
			s.read(b.Records[0].Position, 100*time.Millisecond)
			s.append()
			if tail := s.read(b.Records[0].Position, 0); len(tail.Records) > 0 {
				if len(tail.Records) != 1 || tail.Records[0].Entry != nil || tail.Records[0].Prev != b.Records[0].Position {
					s.broken("read %+v", tail)
				}
				return
			}
			if time.Since(start) > 10*time.Second {
				s.broken("no heartbeat in 10 s")
			}
		}
	})},
	{"permanent", "What revokes everything or a key is kept for good and answered on every full read, the latest not-before once", onLog(func(s *suite) {
		at := s.now()
		key := revocation.Entry{Kind: revocation.KindKey, At: at, KeyID: "key-1"}
		other := revocation.Entry{Kind: revocation.KindKey, At: at, KeyID: "key-2"}
		late := revocation.Entry{Kind: revocation.KindAll, At: at, NotBefore: at + 5}
		early := revocation.Entry{Kind: revocation.KindAll, At: at, NotBefore: at + 4}
		s.append(key, late, early, other, key)
		got := s.read("", 0).Permanent
		for _, e := range []revocation.Entry{key, other, late} {
			n := 0
			for _, g := range got {
				if g == e {
					n++
				}
			}
			if n != 1 {
				s.broken("%+v is answered %d times", e, n)
			}
		}
		if len(got) != 3 {
			s.broken("%d permanent entries, want 3", len(got))
		}
	})},
	{"past", "An entry older than the horizon is refused, and what came with it too; permanent ones are never too old", onLog(func(s *suite) {
		at := s.now()
		fresh := s.sessionEntry()
		s.append(fresh)
		old := s.sessionEntry()
		old.At = at - revocation.Horizon.Milliseconds() - 1000
		if _, err := s.under.Log.Append(s.ctx, s.sessionEntry(), old); err == nil {
			s.broken("it was accepted")
		}
		s.sameEntries(s.entries(s.read("", 0)), fresh)
		almost := s.sessionEntry()
		almost.At = at - revocation.Horizon.Milliseconds() + time.Minute.Milliseconds()
		key := revocation.Entry{Kind: revocation.KindKey, At: 1, KeyID: "old-key"}
		s.append(almost, key)
		s.sameEntries(s.entries(s.read("", 0)), fresh, almost, key)
	})},
	{"refused", "An entry that cannot be written is an error, and nothing is appended", onLog(func(s *suite) {
		s.append(s.sessionEntry())
		for _, e := range []revocation.Entry{{}, {Kind: revocation.KindSession}, {Kind: '?', At: s.now()}, {Kind: revocation.KindKey, At: s.now()}} {
			if _, err := s.under.Log.Append(s.ctx, s.sessionEntry(), e); err == nil {
				s.broken("%+v was accepted", e)
			}
		}
		if n := len(s.read("", 0).Records); n != 1 {
			s.broken("%d records, want 1", n)
		}
	})},
	{"the tail wakes", "A read of the tail returns as soon as something is appended", onLog(func(s *suite) {
		s.append()
		pos := s.read("", 0).Records[0].Position
		e := s.sessionEntry()
		reading := make(chan revocation.Batch, 1)
		go func() {
			for range 20 { // a source may wait less than it is allowed to
				b, err := s.under.Source.Read(s.ctx, pos, 5*time.Second)
				if err != nil || len(b.Records) > 0 {
					reading <- b
					return
				}
			}
			reading <- revocation.Batch{}
		}()
		s.append(e)
		s.sameEntries(s.entries(<-reading), e)
	})},
	{"the tail ends", "A read of the tail returns empty when nothing comes, and with an error soon after its context ends", onLog(func(s *suite) {
		s.append()
		pos := s.read("", 0).Records[0].Position
		if b := s.read(pos, 20*time.Millisecond); len(b.Records) != 0 || b.Full {
			s.broken("read %+v", b)
		}
		ctx, cancel := context.WithTimeout(s.ctx, 50*time.Millisecond)
		defer cancel()
		start := time.Now()
		for ctx.Err() == nil {
			s.under.Source.Read(ctx, pos, 30*time.Second)
		}
		if took := time.Since(start); took > 5*time.Second {
			s.broken("returned %v after its context ended", took)
		}
	})},
	{"at once", "Appends at once are all in the log, and its chain has no fork", onLog(func(s *suite) {
		var bad firstError
		e := s.sessionEntry()
		at(20, func(i int) {
			mine := e
			mine.Kind, mine.KeyID, mine.Session = revocation.KindKey, "key-"+strconv.Itoa(i), token.SessionID{}
			if _, err := s.under.Log.Append(s.ctx, mine, e); err != nil {
				bad.note("Append: %w", err)
			}
		})
		s.must(bad.err, "at once")
		b := s.read("", 0)
		if n := len(s.entries(b)); n != 40 {
			s.broken("%d entries, want 40", n)
		}
		for i := 0; i+1 < len(b.Records); i += 2 { // entries of one append stay together
			if b.Records[i].Entry[0] != byte(revocation.KindKey) || bytes.Equal(b.Records[i].Entry, b.Records[i+1].Entry) {
				s.broken("entries of two appends are mixed")
			}
		}
		if len(b.Permanent) != 20 {
			s.broken("%d permanent entries, want 20", len(b.Permanent))
		}
	})},
}
