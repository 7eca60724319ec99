package storetest

import (
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/token"
)

// at runs f n times at once and waits for all of them.
func at(n int, f func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	wg.Wait()
}

// firstError remembers the first of several errors from goroutines.
type firstError struct {
	once sync.Once
	err  error
}

func (f *firstError) note(format string, args ...any) {
	f.once.Do(func() { f.err = fmt.Errorf(format, args...) })
}

var togetherRules = []rule{
	{"increments", "Fifty increments at once end at fifty, each answering a value of its own", func(s *suite) {
		ref := s.create("alice", set("count", "100"))
		var mu sync.Mutex
		seen := map[string]bool{}
		var bad firstError
		at(50, func(int) {
			saved, err := s.under.Store.Save(s.ctx, ref, []counterfoil.Op{incr("count", 1)})
			if err != nil {
				bad.note("Save: %w", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			seen[string(saved.Values[0].Bytes)] = true
		})
		s.must(bad.err, "at once")
		if len(seen) != 50 {
			s.broken("%d different values, want 50", len(seen))
		}
		s.holds(ref, map[string]string{"count": "150"})
	}},
	{"different fields", "Saves of different fields at once all win", func(s *suite) {
		ref := s.create("alice")
		var bad firstError
		want := map[string]string{}
		for i := range 20 {
			want["f"+strconv.Itoa(i)] = strconv.Itoa(i)
		}
		at(20, func(i int) {
			if _, err := s.under.Store.Save(s.ctx, ref, []counterfoil.Op{set("f"+strconv.Itoa(i), strconv.Itoa(i))}); err != nil {
				bad.note("Save: %w", err)
			}
		})
		s.must(bad.err, "at once")
		s.holds(ref, want)
	}},
	{"compare and set", "Of saves at once that compare the same value one wins, the others get ErrConflict and have applied nothing", func(s *suite) {
		ref := s.create("alice", set("owner", "nobody"))
		var mu sync.Mutex
		var winners []string
		var bad firstError
		at(20, func(i int) {
			me := strconv.Itoa(i)
			_, err := s.under.Store.Save(s.ctx, ref, []counterfoil.Op{ifWas(set("owner", me), "nobody"), incr("wins", 1)})
			if err == nil {
				mu.Lock()
				winners = append(winners, me)
				mu.Unlock()
			} else if !errors.Is(err, counterfoil.ErrConflict) {
				bad.note("Save: %w", err)
			}
		})
		s.must(bad.err, "at once")
		if len(winners) != 1 {
			s.broken("%d saves won", len(winners))
		}
		s.holds(ref, map[string]string{"owner": winners[0], "wins": "1"})
	}},
	{"take once", "Of takes at once one gets the value", func(s *suite) {
		ref := s.create("alice", set("flash", "hello"))
		var mu sync.Mutex
		got := 0
		var bad firstError
		at(20, func(int) {
			saved, err := s.under.Store.Save(s.ctx, ref, []counterfoil.Op{take("flash")})
			if err != nil {
				bad.note("Save: %w", err)
			} else if saved.Values[0].Present {
				mu.Lock()
				got++
				mu.Unlock()
			}
		})
		s.must(bad.err, "at once")
		if got != 1 {
			s.broken("%d takes got it", got)
		}
	}},
	{"one rotation", "Of refreshes at once with the same generation one rotates, all others are handed the same new generation", func(s *suite) {
		ref := s.create("alice")
		s.pass(ref.Session, outside)
		var mu sync.Mutex
		verdicts := map[counterfoil.Verdict]int{}
		var bad firstError
		at(20, func(int) {
			r, err := s.under.Store.Refresh(s.ctx, counterfoil.Presented{Session: ref.Session, Generation: 1, Window: window})
			if err != nil || r.Generation != 2 {
				bad.note("Refresh: generation %d, error %v", r.Generation, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			verdicts[r.Verdict]++
		})
		s.must(bad.err, "at once")
		if verdicts[counterfoil.Rotated] != 1 || verdicts[counterfoil.HandedOut] != 19 {
			s.broken("verdicts are %v", verdicts)
		}
	}},
	{"logout stays logged out", "Whatever is in flight while a session ends, it does not come back", func(s *suite) {
		for round := range 12 {
			ref, ending, kept := s.create("alice", set("n", "0")), counterfoil.Ending{}, []token.SessionID(nil)
			switch round % 3 {
			case 0:
				ending.Session = ref.Session
			case 1:
				ending.Subject = "alice"
			case 2:
				kept = ids(s.create("alice"))
				ending.Subject, ending.Keep = "alice", kept[0]
			}
			ref.Generation = 1
			var bad firstError
			at(9, func(i int) {
				var err error
				switch {
				case i == 4:
					_, err = s.under.Store.End(s.ctx, ending)
				case i%4 == 0:
					_, err = s.under.Store.Save(s.ctx, ref, []counterfoil.Op{incr("n", 1), set("f", "v")})
				case i%4 == 1:
					_, err = s.under.Store.Refresh(s.ctx, counterfoil.Presented{Session: ref.Session, Generation: 1, Window: window})
				case i%4 == 2:
					_, err = s.under.Store.Load(s.ctx, ref)
				default:
					_, err = s.under.Store.Freeze(s.ctx, ref)
				}
				if err != nil && !errors.Is(err, counterfoil.ErrNotFound) {
					bad.note("step %d: %w", i, err)
				}
			})
			s.must(bad.err, "at once")
			s.lives(ref, false, "after its end")
			s.saveErr(ref, counterfoil.ErrNotFound, set("late", "save"))
			s.lives(ref, false, "after a late save")
			s.listed("alice", kept...)
			s.end(counterfoil.Ending{Subject: "alice"})
		}
	}},
	{"others beside a rotation", "A session that is replaced while all but it end goes on under its new ID, whether they end or not", func(s *suite) {
		for round := range 30 {
			keep, other, heir := s.create("alice"), s.create("alice"), record("alice")
			heir.Replaces = keep.Session
			var bad firstError
			var refused error
			at(2, func(i int) {
				if i == round%2 {
					_, refused = s.under.Store.End(s.ctx, counterfoil.Ending{Subject: "alice", Keep: keep.Session})
					return
				}
				if _, err := s.under.Store.Freeze(s.ctx, keep); err != nil {
					bad.note("Freeze: %w", err)
				} else if _, err := s.under.Store.Create(s.ctx, heir); err != nil {
					bad.note("Create: %w", err)
				} else if _, err := s.under.Store.End(s.ctx, counterfoil.Ending{Session: keep.Session}); err != nil {
					bad.note("End of what was replaced: %w", err)
				}
			})
			s.must(bad.err, "replacing it")
			s.lives(counterfoil.Ref{Session: heir.Session, Subject: "alice"}, true, "what replaces the one to keep")
			if refused != nil {
				s.is(refused, counterfoil.ErrNotFound, "End, beside it")
			}
			s.lives(other, refused != nil, "another session")
			s.end(counterfoil.Ending{Subject: "alice"})
		}
	}},
	{"cap", "Logins at once never leave more sessions than the cap", func(s *suite) {
		var bad firstError
		var mu sync.Mutex
		made, evicted := map[token.SessionID]bool{}, map[token.SessionID]bool{}
		at(20, func(int) {
			r := record("alice")
			r.Cap = 5
			c, err := s.under.Store.Create(s.ctx, r)
			if err != nil {
				bad.note("Create: %w", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			made[r.Session] = true
			for _, id := range c.Evicted {
				if evicted[id] {
					bad.note("a session was ended twice")
				}
				evicted[id] = true
			}
		})
		s.must(bad.err, "at once")
		var left []token.SessionID
		for id := range made {
			if !evicted[id] {
				left = append(left, id)
			}
		}
		if len(left) != 5 {
			s.broken("%d sessions live, want 5", len(left))
		}
		s.listed("alice", left...)
	}},
	{"freeze is the last word", "What a save was told to have applied is in what Freeze answers, or the save is told ErrNotFound", func(s *suite) {
		for range 5 {
			ref := s.create("alice", set("n", "0"))
			var mu sync.Mutex
			applied := 0
			var last counterfoil.Record
			var bad firstError
			at(15, func(i int) {
				if i == 7 {
					r, err := s.under.Store.Freeze(s.ctx, ref)
					if err != nil {
						bad.note("Freeze: %w", err)
					}
					last = r
					return
				}
				_, err := s.under.Store.Save(s.ctx, ref, []counterfoil.Op{incr("n", 1)})
				if err == nil {
					mu.Lock()
					applied++
					mu.Unlock()
				} else if !errors.Is(err, counterfoil.ErrNotFound) {
					bad.note("Save: %w", err)
				}
			})
			s.must(bad.err, "at once")
			if got := string(last.Fields["n"]); got != strconv.Itoa(applied) {
				s.broken("%d increments were acknowledged, the last state says %s", applied, got)
			}
			s.holds(ref, map[string]string{"n": strconv.Itoa(applied)})
		}
	}},
}
