package storetest

import (
	"strconv"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/revocation"
)

// onCensus skips where followers cannot report, and otherwise begins a log of three records.
func onCensus(test func(s *suite, to revocation.Reporter, at [3]revocation.Position)) func(*suite) {
	return onLog(func(s *suite) {
		to, ok := s.under.Source.(revocation.Reporter)
		if !ok || s.under.Census == nil {
			s.Skip("no census given, or a source that takes no reports")
		}
		s.append(s.sessionEntry(), s.sessionEntry(), s.sessionEntry())
		var at [3]revocation.Position
		for i, r := range s.read("", 0).Records {
			at[i] = r.Position
		}
		test(s, to, at)
	})
}

func (s *suite) report(to revocation.Reporter, follower string, at revocation.Position) {
	s.Helper()
	s.must(to.Report(s.ctx, follower, at, 0), "Report")
}

// followers checks who is listed, in this order, each with its position.
func (s *suite) followers(want ...revocation.Progress) []revocation.Progress {
	s.Helper()
	got, err := s.under.Census.Followers(s.ctx)
	s.must(err, "Followers")
	if len(got) != len(want) {
		s.broken("%d followers are listed, want %d: %+v", len(got), len(want), got)
	}
	for i, w := range want {
		if g := got[i]; g.Follower != w.Follower || g.Position != w.Position {
			s.broken("follower %d is %q at %q, want %q at %q", i, g.Follower, g.Position, w.Follower, w.Position)
		}
	}
	return got
}

func is(follower string, at revocation.Position) revocation.Progress {
	return revocation.Progress{Follower: follower, Position: at}
}

var censusRules = []rule{
	{"nobody", "Nobody is listed who has not reported", onCensus(func(s *suite, _ revocation.Reporter, _ [3]revocation.Position) {
		s.followers()
	})},
	{"listed", "Who has reported is listed with what it said last, in the order of names", onCensus(func(s *suite, to revocation.Reporter, at [3]revocation.Position) {
		s.report(to, "b/1", at[0])
		s.report(to, "a/1", at[1])
		s.report(to, "b/1", at[2])
		s.report(to, "b/0", at[1])
		for _, p := range s.followers(is("a/1", at[1]), is("b/0", at[1]), is("b/1", at[2])) {
			if p.Silent < 0 || p.Silent > 20*time.Second {
				s.broken("%q is said to be silent for %v, and has just reported", p.Follower, p.Silent)
			}
		}
		s.report(to, "b/1", at[0]) // after it has begun again
		s.followers(is("a/1", at[1]), is("b/0", at[1]), is("b/1", at[0]))
	})},
	{"leaves", "Who reports no position is forgotten at once, and whether it was there does not matter", onCensus(func(s *suite, to revocation.Reporter, at [3]revocation.Position) {
		s.report(to, "a", at[0])
		s.report(to, "b", at[0])
		s.report(to, "a", "")
		s.report(to, "a", "")
		s.report(to, "c", "")
		s.followers(is("b", at[0]))
		s.report(to, "a", at[1])
		s.followers(is("a", at[1]), is("b", at[0]))
	})},
	{"silent", "Who has been silent for longer than Live is forgotten, and who has not is listed with its silence", onCensus(func(s *suite, to revocation.Reporter, at [3]revocation.Position) {
		if s.under.Silence == nil {
			s.Skip("no way to let followers fall silent")
		}
		s.report(to, "a", at[0])
		s.under.Silence(s.T, 20*time.Second)
		s.report(to, "b", at[1])
		if p := s.followers(is("a", at[0]), is("b", at[1])); p[0].Silent < 20*time.Second || p[1].Silent > 10*time.Second {
			s.broken("silences are %v and %v, want 20 s and none", p[0].Silent, p[1].Silent)
		}
		s.under.Silence(s.T, revocation.Live-15*time.Second)
		s.followers(is("b", at[1]))
		s.report(to, "a", at[2])
		s.followers(is("a", at[2]), is("b", at[1]))
	})},
	{"age", "What a follower has known for long is listed with that age, and makes it no less live", onCensus(func(s *suite, to revocation.Reporter, at [3]revocation.Position) {
		s.must(to.Report(s.ctx, "a", at[0], time.Minute), "Report")
		s.must(to.Report(s.ctx, "b", at[0], 1<<63-1), "Report")
		s.report(to, "c", at[0])
		for range 2 {
			list := s.followers(is("a", at[0]), is("b", at[0]), is("c", at[0]))
			for i, least := range []time.Duration{time.Minute, time.Hour, 0} {
				if got := list[i].Silent; got < least || least == time.Minute && got > 80*time.Second || least == 0 && got > 20*time.Second {
					s.broken("%q is silent for %v", list[i].Follower, got)
				}
			}
		}
		s.report(to, "a", at[1])
		if p := s.followers(is("a", at[1]), is("b", at[0]), is("c", at[0])); p[0].Silent > 20*time.Second {
			s.broken("what was reported without an age is %v old", p[0].Silent)
		}
	})},
	{"names", "A name is 1 to 160 printable ASCII characters without spaces; others are an error, and leave no trace", onCensus(func(s *suite, to revocation.Reporter, at [3]revocation.Position) {
		long := strings.Repeat("x", 160)
		for _, name := range []string{"", " ", "a b", "a\n", "\x00", "\x7f", "é", long + "x"} {
			if err := to.Report(s.ctx, name, at[0], 0); err == nil {
				s.broken("%q was accepted", name)
			}
		}
		s.report(to, "!\"#{}~'/:", at[0])
		s.report(to, long, at[1])
		s.followers(is("!\"#{}~'/:", at[0]), is(long, at[1]))
	})},
	{"positions", "Something that is no position is an error, and leaves no trace", onCensus(func(s *suite, to revocation.Reporter, at [3]revocation.Position) {
		s.report(to, "a", at[0])
		for _, bad := range []revocation.Position{"x", " ", "-", at[1] + " 0", "$", revocation.Position(strings.Repeat("9", 100))} {
			if err := to.Report(s.ctx, "a", bad, 0); err == nil {
				s.broken("%q was accepted", bad)
			}
		}
		s.followers(is("a", at[0]))
	})},
	{"order", "Before is the order of the log: a record is before those that were appended later, the start before all, none before itself", onCensus(func(s *suite, _ revocation.Reporter, at [3]revocation.Position) {
		s.append(s.sessionEntry())
		b := s.read("", 0)
		order := []revocation.Position{"", at[0], at[1], at[2], b.Records[3].Position}
		for i, x := range order {
			for j, y := range order {
				if before := s.under.Census.Before(x, y); before != (i < j) {
					s.broken("Before(%q, %q) is %v", x, y, before)
				}
			}
		}
	})},
	{"holding", "The log holds an entry where it was appended and nowhere else, and who reports a position that is no record's is apart", onCensus(func(s *suite, to revocation.Reporter, at [3]revocation.Position) {
		e := s.sessionEntry()
		a, err := s.under.Log.Append(s.ctx, s.sessionEntry(), e)
		s.must(err, "Append")
		records := s.read(at[2], 0).Records
		if len(records) != 2 || records[1].Position != a.Position {
			s.broken("Append says %q, and the log has %+v", a.Position, records)
		}
		ms, _, _ := strings.Cut(string(a.Position), "-")
		none := revocation.Position(ms + "-18446744073709551615")
		s.report(to, "a", a.Position)
		s.report(to, "b", none)
		other := e
		other.At++
		for _, c := range []struct {
			at    revocation.Position
			e     revocation.Entry
			holds bool
		}{{a.Position, e, true}, {a.Position, other, false}, {records[0].Position, e, false}, {none, e, false}, {"", e, false}, {"x", e, false}} {
			list, holds, err := s.under.Census.Holding(s.ctx, c.at, c.e)
			s.must(err, "Holding")
			if holds != c.holds {
				s.broken("that the log holds it at %q is %v, want %v", c.at, holds, c.holds)
			}
			if len(list) != 2 || list[0].Apart || list[0].Position != a.Position || !list[1].Apart {
				s.broken("listed with it: %+v", list)
			}
		}
		if list := s.followers(is("a", a.Position), is("b", none)); list[0].Apart || !list[1].Apart {
			s.broken("listed: %+v", list)
		}
	})},
	{"at once", "Reports at once are all listed", onCensus(func(s *suite, to revocation.Reporter, pos [3]revocation.Position) {
		var bad firstError
		var want []revocation.Progress
		for i := range 30 {
			want = append(want, is("follower-"+strconv.Itoa(100+i), pos[i%3]))
		}
		at(len(want), func(i int) {
			if err := to.Report(s.ctx, want[i].Follower, want[i].Position, 0); err != nil {
				bad.note("Report: %w", err)
			}
		})
		s.must(bad.err, "at once")
		s.followers(want...)
	})},
}
