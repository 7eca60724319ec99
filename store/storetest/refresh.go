package storetest

import (
	"errors"
	"time"

	"github.com/counterfoil/counterfoil"
)

// rotated makes a session whose generation 2 was just made and has not arrived yet.
func (s *suite) rotated() counterfoil.Ref {
	s.Helper()
	ref := s.create("alice")
	s.pass(ref.Session, outside)
	s.refresh(ref, 1, counterfoil.Rotated, 2)
	return ref
}

// confirmed makes a session whose generation 2 was just made and has arrived.
func (s *suite) confirmed() counterfoil.Ref {
	s.Helper()
	ref := s.rotated()
	arrived := ref
	arrived.Generation = 2
	s.load(arrived)
	return ref
}

var refreshRules = []rule{
	{"row 1: current, within W", "The current generation, made or handed out within W: renewed, not rotated", func(s *suite) {
		ref := s.create("alice")
		s.refresh(ref, 1, counterfoil.Renewed, 1)
		s.pass(ref.Session, inside)
		s.refresh(ref, 1, counterfoil.Renewed, 1)
		s.pass(ref.Session, outside)
		s.refresh(ref, 1, counterfoil.Rotated, 2)
		s.refresh(ref, 2, counterfoil.Renewed, 2)
	}},
	{"row 1 confirms", "Presenting the current generation proves that it arrived", func(s *suite) {
		ref := s.rotated()
		s.refresh(ref, 2, counterfoil.Renewed, 2)
		s.refresh(ref, 1, counterfoil.Superseded, 2)
		s.pass(ref.Session, outside)
		s.refresh(ref, 1, counterfoil.Reused, 2)
	}},
	{"row 1 keeps the first confirmation", "A generation that has arrived stays confirmed since the first time", func(s *suite) {
		ref := s.rotated()
		s.refresh(ref, 2, counterfoil.Renewed, 2)
		s.pass(ref.Session, inside)
		s.refresh(ref, 2, counterfoil.Renewed, 2)
		arrived := ref
		arrived.Generation = 2
		s.load(arrived)
		s.pass(ref.Session, inside) // 2 was confirmed longer than W ago, although also lately
		s.refresh(ref, 1, counterfoil.Reused, 2)
	}},
	{"row 2: current, later", "The current generation, later than W: rotated, and what was confirmed before is open again", func(s *suite) {
		ref := s.confirmed()
		for gen := uint64(2); gen < 6; gen++ {
			s.pass(ref.Session, outside)
			s.refresh(ref, gen, counterfoil.Rotated, gen+1)
			s.refresh(ref, gen, counterfoil.HandedOut, gen+1)
		}
	}},
	{"row 3: previous, not confirmed, within W", "The previous generation while the current one has not arrived, within W: handed the current one again, as often as need be", func(s *suite) {
		ref := s.rotated()
		for range 4 {
			s.pass(ref.Session, inside)
			s.refresh(ref, 1, counterfoil.HandedOut, 2)
		}
	}},
	{"row 4: previous, not confirmed, later", "The previous generation while the current one has not arrived, later than W: the answer was lost, a new generation displaces it", func(s *suite) {
		ref := s.rotated()
		s.pass(ref.Session, outside)
		s.refresh(ref, 1, counterfoil.Displaced, 3)
		s.refresh(ref, 1, counterfoil.HandedOut, 3)
		s.pass(ref.Session, outside)
		s.refresh(ref, 1, counterfoil.Displaced, 4)
		s.refresh(ref, 4, counterfoil.Renewed, 4)
		s.refresh(ref, 1, counterfoil.Superseded, 4)
	}},
	{"row 5: previous, confirmed within W", "The previous generation, the current one having arrived within W: superseded, nothing changes", func(s *suite) {
		ref := s.confirmed()
		s.refresh(ref, 1, counterfoil.Superseded, 2)
		s.pass(ref.Session, inside)
		s.refresh(ref, 1, counterfoil.Superseded, 2)
		s.lives(ref, true, "after superseded requests")
	}},
	{"row 6: previous, confirmed earlier", "The previous generation, the current one having arrived earlier than W ago: reuse, the session ends", func(s *suite) {
		ref := s.confirmed()
		s.pass(ref.Session, outside)
		r := s.refresh(ref, 1, counterfoil.Reused, 2)
		if r.Subject != "alice" || r.At <= 0 {
			s.broken("a reuse must come with subject and time; got %q, %d", r.Subject, r.At)
		}
		s.lives(ref, false, "after a reuse")
		s.listed("alice")
		_, err := s.under.Store.Refresh(s.ctx, counterfoil.Presented{Session: ref.Session, Generation: 2, Window: window})
		s.is(err, counterfoil.ErrNotFound, "Refresh with the current generation after a reuse")
	}},
	{"row 6: older generation", "Any other generation below the current one: reuse, also at once", func(s *suite) {
		ref := s.confirmed()
		s.pass(ref.Session, outside)
		s.refresh(ref, 2, counterfoil.Rotated, 3)
		s.refresh(ref, 1, counterfoil.Reused, 3)
		s.lives(ref, false, "after a reuse")

		displaced := s.rotated()
		s.pass(displaced.Session, outside)
		s.refresh(displaced, 1, counterfoil.Displaced, 3)
		s.refresh(displaced, 2, counterfoil.Reused, 3)
		s.lives(displaced, false, "after a reuse")
	}},
	{"row 7: ahead", "A generation above the current one: the record lost a rotation, adopt it and take it as arrived; the old current one is the previous", func(s *suite) {
		ref := s.create("alice")
		s.refresh(ref, 5, counterfoil.Adopted, 5)
		s.refresh(ref, 1, counterfoil.Superseded, 5)
		s.refresh(ref, 5, counterfoil.Renewed, 5)
		s.pass(ref.Session, outside)
		s.refresh(ref, 1, counterfoil.Reused, 5)

		old := s.create("alice")
		s.refresh(old, 5, counterfoil.Adopted, 5)
		s.refresh(old, 3, counterfoil.Reused, 5)
	}},
	{"row 8: beside", "Reuse beside an unexpired access token, or quiet: superseded instead, and judged again later", func(s *suite) {
		for _, p := range []counterfoil.Presented{{Beside: true}, {Quiet: true}, {Beside: true, Quiet: true}} {
			ref := s.confirmed()
			s.pass(ref.Session, outside)
			p.Session, p.Generation, p.Window = ref.Session, 1, window
			s.present(p, counterfoil.Superseded, 2)
			s.lives(ref, true, "reuse was not to be judged")
			s.refresh(ref, 2, counterfoil.Rotated, 3)
			s.present(p, counterfoil.Superseded, 3)
			p.Beside, p.Quiet = false, false
			s.present(p, counterfoil.Reused, 3)
		}
	}},
	{"beside changes nothing else", "Beside and Quiet change the other rows in nothing", func(s *suite) {
		for _, p := range []counterfoil.Presented{{Beside: true}, {Quiet: true}} {
			ref := s.create("alice")
			p.Session, p.Generation, p.Window = ref.Session, 1, window
			s.present(p, counterfoil.Renewed, 1)
			s.pass(ref.Session, outside)
			s.present(p, counterfoil.Rotated, 2)
			s.present(p, counterfoil.HandedOut, 2)
			s.pass(ref.Session, outside)
			s.present(p, counterfoil.Displaced, 3)
		}
	}},
	{"only current", "OnlyCurrent renews for the current generation alone; all else is superseded and changes nothing", func(s *suite) {
		ref := s.rotated()
		p := counterfoil.Presented{Session: ref.Session, Window: window, OnlyCurrent: true}
		for _, gen := range []uint64{1, 3} {
			p.Generation = gen
			s.present(p, counterfoil.Superseded, 2)
		}
		s.pass(ref.Session, outside)
		p.Generation = 1
		s.present(p, counterfoil.Superseded, 2)
		p.Generation = 2
		s.present(p, counterfoil.Rotated, 3)
		s.present(p, counterfoil.Superseded, 3)
		p.Generation = 1
		s.present(p, counterfoil.Superseded, 3)
		s.lives(ref, true, "after superseded requests")
	}},
	{"the window is the caller's", "W is what the request says", func(s *suite) {
		ref := s.create("alice")
		s.pass(ref.Session, 20*time.Second)
		s.present(counterfoil.Presented{Session: ref.Session, Generation: 1, Window: 40 * time.Second}, counterfoil.Renewed, 1)
		s.present(counterfoil.Presented{Session: ref.Session, Generation: 1, Window: window}, counterfoil.Rotated, 2)
	}},
	{"what it answers", "A renewal answers subject, times and lives of the record; issue times never go back", func(s *suite) {
		r := record("alice", set("f", "v"))
		r.Login = true
		ref := s.createAs(r)
		first := s.load(ref)
		newest := first.Renewed
		for i := range 4 {
			got, err := s.under.Store.Refresh(s.ctx, counterfoil.Presented{Session: ref.Session, Generation: uint64(i + 1), Window: window})
			s.must(err, "Refresh")
			if got.Subject != "alice" || got.AuthTime != first.AuthTime+delta(got.Created, first.Created) || got.Expires-got.Created != absolute.Milliseconds() {
				s.broken("answer %+v to a record %+v", got, first)
			}
			if got.At < newest || got.At < got.Created {
				s.broken("issue time %d after %d, created %d", got.At, newest, got.Created)
			}
			if d := got.IdleEnds - got.At; d < (idle-time.Minute).Milliseconds() || d > idle.Milliseconds() {
				s.broken("idle ends %d ms after the issue time, want about %v", d, idle)
			}
			if loaded := s.load(ref); loaded.Renewed != got.At || loaded.Generation != got.Generation {
				s.broken("the record says renewed %d, generation %d; the answer was %d, %d", loaded.Renewed, loaded.Generation, got.At, got.Generation)
			}
			s.holds(ref, map[string]string{"f": "v"})
			s.pass(ref.Session, outside)
			newest = s.load(ref).Renewed
		}
	}},
	{"extends", "A renewal extends the life by the idle time, but never beyond the absolute expiry; a superseded request extends nothing", func(s *suite) {
		r := record("alice")
		r.Absolute = 2 * idle
		ref := s.createAs(r)
		s.pass(ref.Session, idle-time.Minute)
		s.refresh(ref, 1, counterfoil.Rotated, 2)
		s.pass(ref.Session, idle-time.Minute)
		s.lives(ref, true, "an idle time less a minute after its renewal")
		got := s.refresh(ref, 2, counterfoil.Rotated, 3)
		if got.IdleEnds > got.Expires {
			s.broken("idle ends at %d, beyond the absolute expiry %d", got.IdleEnds, got.Expires)
		}
		s.pass(ref.Session, 3*time.Minute)
		s.lives(ref, false, "past its absolute expiry")

		idler := s.confirmed()
		s.pass(idler.Session, inside)
		s.refresh(idler, 1, counterfoil.Superseded, 2)
		s.pass(idler.Session, idle-inside+time.Second)
		s.lives(idler, false, "an idle time after its last renewal, superseded requests in between")
	}},
	{"not found", "Refresh of a session that is absent, ended or ended with all is ErrNotFound", func(s *suite) {
		ended, everywhere, old := s.create("alice"), s.create("bob"), s.create("carol")
		s.end(counterfoil.Ending{Session: ended.Session})
		s.end(counterfoil.Ending{Subject: "bob"})
		s.pass(old.Session, idle+time.Second)
		for name, ref := range map[string]counterfoil.Ref{"never was": {Session: newID("")}, "ended": ended, "ended with all": everywhere, "idle": old, "zero": {}} {
			for _, p := range []counterfoil.Presented{{}, {Beside: true}, {Quiet: true}, {OnlyCurrent: true}} {
				p.Session, p.Generation, p.Window = ref.Session, 1, window
				_, err := s.under.Store.Refresh(s.ctx, p)
				s.is(err, counterfoil.ErrNotFound, name)
			}
			s.lives(ref, false, name)
		}
	}},
	{"frozen", "A frozen session is not renewed: no verdict on it brings tokens, and it does not end by reuse", func(s *suite) {
		ref := s.confirmed()
		_, err := s.under.Store.Freeze(s.ctx, ref)
		s.must(err, "Freeze")
		for range 2 {
			for _, gen := range []uint64{1, 2, 3} {
				r, err := s.under.Store.Refresh(s.ctx, counterfoil.Presented{Session: ref.Session, Generation: gen, Window: window})
				if !errors.Is(err, counterfoil.ErrNotFound) && (err != nil || r.Verdict != counterfoil.Superseded) {
					s.broken("generation %d: verdict %s, error %v; want superseded or ErrNotFound", gen, verdictName(r.Verdict), err)
				}
			}
			s.lives(ref, true, "frozen")
			s.pass(ref.Session, outside)
		}
	}},
	{"generation 0", "Generation 0 was never handed out: an error, and nothing changes", func(s *suite) {
		ref := s.create("alice")
		if r, err := s.under.Store.Refresh(s.ctx, counterfoil.Presented{Session: ref.Session, Window: window}); err == nil {
			s.broken("verdict %s", verdictName(r.Verdict))
		}
		s.refresh(ref, 1, counterfoil.Renewed, 1)
	}},
	{"anonymous", "Anonymous sessions are renewed like any other", func(s *suite) {
		ref := s.create("")
		s.pass(ref.Session, outside)
		if r := s.refresh(ref, 1, counterfoil.Rotated, 2); r.Subject != "" {
			s.broken("subject %q", r.Subject)
		}
		s.refresh(ref, 1, counterfoil.HandedOut, 2)
	}},
}

// delta is by how much Pass moved the record's times, where it moves those and not the clock.
func delta(now, then int64) int64 { return now - then }
