package revocation_test

import (
	"bytes"
	"math"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/tokentest"
)

// script turns bytes into batches: every byte chooses from a few values that matter.
type script struct {
	data []byte
	now  int64
	id   byte
}

func (s *script) next() int {
	if len(s.data) == 0 {
		return 0
	}
	b := s.data[0]
	s.data = s.data[1:]
	return int(b)
}

func pick[T any](s *script, from ...T) T { return from[s.next()%len(from)] }

func (s *script) time() int64 {
	return pick(s, s.now, s.now-1000, s.now+5000, s.now-25_000, s.now+3_600_000, 0, -1, math.MaxInt64, math.MinInt64, s.now-1<<58)
}

func (s *script) position() revocation.Position {
	return pick[revocation.Position](s, "1", "2", "3", "4", "5", "6", "")
}

// entry returns bytes, the session they revoke, and whether they are something that nobody understands.
func (s *script) entry(t *testing.T) (b []byte, session token.SessionID, odd bool) {
	e := revocation.Entry{At: s.now}
	switch s.next() % 8 {
	case 0:
		return nil, session, false
	case 1, 2:
		s.id++
		e.Kind, e.Session = revocation.KindSession, id(s.id)
	case 3:
		e.Kind, e.Subject, e.NotBefore = revocation.KindSubject, [16]byte{s.id, 1}, s.now
	case 4:
		e.Kind, e.KeyID = revocation.KindKey, "key"
	case 5:
		return []byte{}, session, true
	case 6:
		return []byte("s12345678"), session, true
	case 7:
		return []byte("z\x00\x00\x01\xba\x5d\xb4\xa8\x00new"), session, true
	}
	b, err := e.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b, e.Session, false
}

// chain says, in the plainest way, whether the newest record is proved to be newer than the beginning over an unbroken chain.
type chain struct {
	at     revocation.Position
	epoch  string
	broken bool // or not begun
	proved bool
	newest revocation.Record
}

func (c *chain) apply(b revocation.Batch) {
	records := b.Records
	if b.Full {
		last := -1 // where the record that was reached is
		for i, r := range records {
			if n := c.newest; c.at != "" && r.Position == c.at && r.Time == n.Time && r.Prev == n.Prev && r.Epoch == n.Epoch && bytes.Equal(r.Entry, n.Entry) {
				last = i
			}
		}
		follows := last >= 0 && b.Epoch == c.epoch
		for i := last + 1; follows && i < len(records); i++ {
			follows = records[i].Prev == records[i-1].Position && records[i].Position != ""
		}
		c.proved = follows && (c.proved || last < len(records)-1) && b.Epoch != ""
		c.at, c.epoch = "", b.Epoch
		if len(records) > 0 {
			c.newest = records[len(records)-1]
			c.at = c.newest.Position
		}
		c.broken = c.at == ""
		return
	}
	for _, r := range records {
		if r.Prev != c.at || r.Position == "" || r.Epoch != "" && r.Epoch != c.epoch {
			c.broken = true
		}
		if c.broken {
			c.proved = false
			continue
		}
		c.at, c.newest = r.Position, r
		c.proved = c.epoch != ""
	}
}

// FuzzApply gives a follower batches that nobody should send. It must keep all it understands, make verifiers ask for what it does not, and be
// fresh only by a chain that is provably whole.
func FuzzApply(f *testing.F) {
	const full, part = 1, 0
	f.Add([]byte{})
	f.Add([]byte{full, 1, 1, 0, 0, 2, 0, 6, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, part, 1, 1, 0, 0, 0, 0})
	f.Add([]byte("\x01\x01\x00\x02\x00\x00\x06\x00\x01\x00\x01\x00\x00\x00\x00\x00\x01\x02\x01\x00\x01\x00"))
	f.Add([]byte("\x01\x02\x01\x03\x01\x02\x03\x04\x05\x06\x07\x00\x01\x02\x03\x04\x05\x06\x07\x00\x01\x02\x03\x04\x05\x06\x07"))
	issuer := tokentest.New(f)
	verifier := issuer.Verifier()
	raw := issuer.Mint(token.Claims{Session: taggedID("---", 1), IssuedAt: issuer.Clock.Now()})
	f.Fuzz(func(t *testing.T, data []byte) {
		clock := issuer.Clock.Now
		s := &script{data: data, now: clock().UnixMilli()}
		list := newList(t, revocation.ListConfig{Max: 64})
		follower, err := revocation.NewFollower(revocation.FollowerConfig{List: list, Now: clock})
		if err != nil {
			t.Fatal(err)
		}
		guard, err := revocation.NewGuard(revocation.GuardConfig{Verifier: verifier, List: list, Now: clock})
		if err != nil {
			t.Fatal(err)
		}
		var (
			revoked []token.SessionID
			odd     bool
			model   = chain{broken: true}
		)
		for range 8 {
			b := revocation.Batch{Full: s.next()%2 == 1}
			if b.Full {
				b.Epoch = pick(s, "", "a", "b")
				b.Birth = pick(s, 0, s.now-60_000, s.now+1, math.MaxInt64, -5)
				b.Permanent = pick(s, nil, []revocation.Entry{{Kind: revocation.KindKey, KeyID: "other"}}, []revocation.Entry{{Kind: revocation.KindKey}},
					[]revocation.Entry{{Kind: 'z'}})
				for _, e := range b.Permanent {
					odd = odd || e.KeyID == ""
				}
			}
			for range s.next() % 5 {
				r := revocation.Record{Position: s.position(), Prev: s.position(), Time: s.time(), Epoch: pick(s, "", "a", "b"), Replicated: pick(s, 0, s.now, s.now-30_000, math.MaxInt64)}
				if s.next()%2 == 0 && len(b.Records) > 0 {
					r.Prev = b.Records[len(b.Records)-1].Position
				} else if len(b.Records) == 0 && s.next()%2 == 0 {
					r.Prev = model.at
				}
				var session token.SessionID
				var strange bool
				r.Entry, session, strange = s.entry(t)
				odd = odd || strange
				if !session.IsZero() {
					revoked = append(revoked, session)
				}
				b.Records = append(b.Records, r)
			}
			model.apply(b)
			follower.Apply(b, clock())

			for _, session := range revoked {
				if !list.Has(session) {
					t.Fatalf("forgot a session")
				}
			}
			fresh := list.Freshness(clock(), 0, 0)
			if fresh.Fresh && !model.proved {
				t.Fatalf("fresh without a proof: %+v", fresh)
			}
			if fresh.Known != model.proved {
				t.Fatalf("age known %v (%s), proved %v", fresh.Known, fresh.Reason, model.proved)
			}
			if newest := model.newest.Time; fresh.Fresh && (newest < s.now-20_000 || newest > s.now+10_000) {
				t.Fatalf("fresh by a record %d ms from now", newest-s.now)
			}
			if next := follower.Next(); (next == "") != model.broken {
				t.Fatalf("goes on from %q, broken %v", next, model.broken)
			}
			_, err := guard.Check(t.Context(), raw)
			if got := outcome(err); got == "ok" && (!fresh.Fresh || odd || list.Incomplete(clock())) {
				t.Fatalf("accepted: fresh %v, odd entries %v, incomplete %v", fresh.Fresh, odd, list.Incomplete(clock()))
			} else if got != "ok" && got != "stale" && got != "expired" {
				t.Fatalf("a token that nothing revokes: %s", got)
			}
		}
		follower.Stats()
		list.Sweep(clock().Add(2 * revocation.Horizon))
	})
}

// TestApplyPart: what comes before the log was read whole is kept, and proves nothing.
func TestApplyPart(t *testing.T) {
	list := newList(t, revocation.ListConfig{})
	f, err := revocation.NewFollower(revocation.FollowerConfig{List: list})
	if err != nil {
		t.Fatal(err)
	}
	b, err := revocation.Entry{Kind: revocation.KindSession, At: time.Now().UnixMilli(), Session: id(1)}.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	f.Apply(revocation.Batch{Records: []revocation.Record{{Position: "2", Prev: "1", Time: time.Now().UnixMilli(), Entry: b}}}, time.Now())
	if !list.Has(id(1)) || list.Freshness(time.Now(), 0, 0).Fresh || f.Next() != "" {
		t.Fatalf("has %v, %+v, next %q", list.Has(id(1)), list.Freshness(time.Now(), 0, 0), f.Next())
	}
}

// TestApplyHole: what is missing from the middle of a log makes the list incomplete, unless the log itself says, by an epoch, that it lost something;
// then the epoch's birth says what it vouches for.
func TestApplyHole(t *testing.T) {
	now := time.Now()
	record := func(position, prev revocation.Position, epoch string) revocation.Record {
		return revocation.Record{Position: position, Prev: prev, Time: now.UnixMilli(), Epoch: epoch}
	}
	for name, tc := range map[string]struct {
		records    []revocation.Record
		incomplete bool
	}{
		"whole":                    {[]revocation.Record{record("1", "0", ""), record("2", "1", ""), record("3", "2", "")}, false},
		"hole":                     {[]revocation.Record{record("1", "0", ""), record("3", "2", "")}, true},
		"epoch in the middle":      {[]revocation.Record{record("1", "0", ""), record("2", "", "e"), record("3", "2", "")}, false},
		"hole before the epoch":    {[]revocation.Record{record("1", "0", ""), record("3", "2", ""), record("4", "", "e"), record("5", "4", "")}, false},
		"hole after the epoch":     {[]revocation.Record{record("1", "", "e"), record("3", "2", "")}, true},
		"trimmed by age":           {[]revocation.Record{record("7", "6", ""), record("8", "7", "")}, false},
		"a record of no position":  {[]revocation.Record{record("7", "6", ""), record("", "7", "")}, true},
		"the same position twice":  {[]revocation.Record{record("7", "6", ""), record("7", "6", "")}, true},
		"a record before its time": {[]revocation.Record{record("7", "6", ""), record("6", "5", "")}, true},
	} {
		t.Run(name, func(t *testing.T) {
			list := newList(t, revocation.ListConfig{})
			f, err := revocation.NewFollower(revocation.FollowerConfig{List: list})
			if err != nil {
				t.Fatal(err)
			}
			f.Apply(revocation.Batch{Full: true, Epoch: "e", Birth: now.UnixMilli(), Records: tc.records}, now)
			if list.Incomplete(now) != tc.incomplete || list.Incomplete(now.Add(revocation.Horizon)) {
				t.Fatalf("incomplete %v now, %v at the horizon", list.Incomplete(now), list.Incomplete(now.Add(revocation.Horizon)))
			}
		})
	}
}

// TestApplyBrokenPart: a part may break in its middle. What is before the break was read, and a log that goes on from there has not forked.
func TestApplyBrokenPart(t *testing.T) {
	now := time.Now()
	record := func(position, prev revocation.Position) revocation.Record {
		return revocation.Record{Position: position, Prev: prev, Time: now.UnixMilli()}
	}
	list := newList(t, revocation.ListConfig{})
	f, err := revocation.NewFollower(revocation.FollowerConfig{List: list})
	if err != nil {
		t.Fatal(err)
	}
	f.Apply(revocation.Batch{Full: true, Epoch: "e", Birth: 1, Records: []revocation.Record{record("1", "")}}, now)
	f.Apply(revocation.Batch{Records: []revocation.Record{record("2", "1"), record("4", "3")}}, now)
	if fresh := list.Freshness(now, 0, 0); fresh.Fresh || f.Next() != "" {
		t.Fatalf("broken, and yet %+v, next %q", fresh, f.Next())
	}
	f.Apply(revocation.Batch{Full: true, Epoch: "e", Birth: 1, Records: []revocation.Record{record("1", ""), record("2", "1"), record("3", "2"), record("4", "3")}}, now)
	if s := f.Stats(); !s.Fresh || s.Forks != 0 || s.Position != "4" {
		t.Fatalf("%s at %q after %d forks", s.Reason, s.Position, s.Forks)
	}
}
