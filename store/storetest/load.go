package storetest

import (
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/token"
)

var loadRules = []rule{
	{"find", "A store that is a Finder finds a live session by its ID alone, confirms nothing, and finds no other", func(s *suite) {
		f, ok := s.under.Store.(counterfoil.Finder)
		if !ok {
			s.Skip("the store is no Finder")
		}
		ref := s.rotated()
		want := s.load(ref)
		got, err := f.Find(s.ctx, ref.Session)
		s.must(err, "Find")
		if got.Subject != ref.Subject || got.Expires != want.Expires || got.Generation != want.Generation {
			s.broken("Find answers %+v, Load %+v", got, want)
		}
		s.refresh(ref, 1, counterfoil.HandedOut, 2) // as before it arrived
		s.end(counterfoil.Ending{Session: ref.Session})
		for _, id := range []token.SessionID{ref.Session, newID("alice"), {}} {
			_, err := f.Find(s.ctx, id)
			s.is(err, counterfoil.ErrNotFound, "Find of what is not there")
		}
	}},
	{"fields", "Load answers every field, byte for byte", func(s *suite) {
		want := map[string]string{"": "", "empty": "", "nul": "a\x00b", "bytes": "\xff\xfe\x00\r\n$5\r\n", "f:x": "1", "id": "not the ID", "u": "u", "z": "1", "{x}": "{}"}
		delete(want, "") // a field has a name
		ref := s.create("alice")
		for name, value := range want {
			s.save(ref, set(name, value))
		}
		s.holds(ref, want)
	}},
	{"absent", "Load of a session that never was is ErrNotFound", func(s *suite) {
		s.create("alice")
		for name, subject := range oddSubjects {
			s.lives(counterfoil.Ref{Session: newID(subject), Subject: subject}, false, name)
		}
		s.lives(counterfoil.Ref{}, false, "the zero Ref")
	}},
	{"other subject", "Load is ErrNotFound if the record is of another subject than the token says", func(s *suite) {
		alice, anonymous := s.create("alice"), s.create("")
		for _, subject := range []string{"bob", "", "Alice", "alice\x00"} {
			s.lives(counterfoil.Ref{Session: alice.Session, Subject: subject}, false, "a session of alice for subject "+subject)
		}
		s.lives(counterfoil.Ref{Session: anonymous.Session, Subject: "alice"}, false, "an anonymous session for a subject")
		s.lives(alice, true, "for its own subject")
	}},
	{"absolute life", "Load is ErrNotFound once the absolute life is over, however often the session was renewed", func(s *suite) {
		r := record("alice")
		r.Absolute = 2 * idle
		ref := s.createAs(r)
		for gen := uint64(1); gen <= 3; gen++ {
			s.pass(ref.Session, idle/2)
			s.refresh(ref, gen, counterfoil.Rotated, gen+1)
		}
		s.lives(ref, true, "before its end")
		s.pass(ref.Session, idle/2+time.Second)
		s.lives(ref, false, "after its end")
		s.saveErr(ref, counterfoil.ErrNotFound, set("f", "v"))
	}},
	{"idle life", "A session that is not renewed for its idle time is gone, and reading or writing it does not renew it", func(s *suite) {
		ref := s.create("alice")
		ref.Generation = 1
		s.pass(ref.Session, idle-outside)
		s.load(ref)
		s.save(ref, set("f", "v"))
		s.pass(ref.Session, 2*outside)
		s.lives(ref, false, "idle time after its creation")
	}},
	{"not-before", "Load is ErrNotFound for a session created at or before its subject's not-before", func(s *suite) {
		a, b, bob := s.create("alice"), s.create("alice"), s.create("bob")
		s.end(counterfoil.Ending{Subject: "alice"})
		s.lives(a, false, "after ending all")
		s.lives(b, false, "after ending all")
		s.lives(bob, true, "another subject's")
	}},
	{"misfiled", "Load is ErrNotFound if the record says it is another session", func(s *suite) {
		if s.under.Misfile == nil {
			s.Skip("no way to misfile a record of this store")
		}
		ref := s.create("alice")
		s.under.Misfile(s.T, ref.Session)
		s.lives(ref, false, "a record that says it is another session")
		s.saveErr(ref, counterfoil.ErrNotFound, set("f", "v"))
		_, err := s.under.Store.Freeze(s.ctx, ref)
		s.is(err, counterfoil.ErrNotFound, "Freeze")
		_, err = s.under.Store.Refresh(s.ctx, counterfoil.Presented{Session: ref.Session, Generation: 1, Window: window})
		s.is(err, counterfoil.ErrNotFound, "Refresh")
		s.listed("alice")
	}},
	{"confirms", "Load and Save with the current generation confirm that it arrived; with none or another they do not", func(s *suite) {
		for _, step := range []struct {
			name    string
			gen     uint64
			save    bool
			confirm bool
		}{
			{"Load with the current one", 2, false, true},
			{"Save with the current one", 2, true, true},
			{"Load with none", 0, false, false},
			{"Save with none", 0, true, false},
			{"Load with the previous one", 1, false, false},
			{"Save with the previous one", 1, true, false},
			{"Load with one that is not yet", 3, false, false},
		} {
			ref := s.create("alice")
			s.pass(ref.Session, outside)
			s.refresh(ref, 1, counterfoil.Rotated, 2)
			ref.Generation = step.gen
			if step.save {
				s.save(ref, set("f", "v"))
			} else {
				s.load(ref)
			}
			// Generation 1 within the window tells: once 2 has arrived it is superseded, until then it is handed 2 again.
			want := counterfoil.HandedOut
			if step.confirm {
				want = counterfoil.Superseded
			}
			s.Log(step.name)
			s.refresh(ref, 1, want, 2)
		}
	}},
	{"no lasting hold", "What Load answered is the caller's: changing it changes nothing in the store", func(s *suite) {
		ref := s.create("alice", set("f", "value"))
		r := s.load(ref)
		copy(r.Fields["f"], "XXXXX")
		r.Fields["g"] = []byte("new")
		s.holds(ref, map[string]string{"f": "value"})
	}},
}
