package storetest

import (
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/token"
)

var freezeRules = []rule{
	{"last state", "Freeze answers the record with its fields, and again when it is frozen already", func(s *suite) {
		ref := s.create("alice", set("a", "1"), set("b", "\x00"))
		for range 3 {
			r, err := s.under.Store.Freeze(s.ctx, ref)
			s.must(err, "Freeze")
			if !r.Frozen || r.Session != ref.Session || r.Subject != "alice" || string(r.Fields["a"]) != "1" || string(r.Fields["b"]) != "\x00" || len(r.Fields) != 2 {
				s.broken("answered %+v", r)
			}
			s.saveErr(ref, counterfoil.ErrNotFound, set("a", "2"))
		}
		if !s.load(ref).Frozen {
			s.broken("Load does not say that it is frozen")
		}
	}},
	{"not found", "Freeze is ErrNotFound where Load is", func(s *suite) {
		ended, everywhere, alice := s.create("alice"), s.create("bob"), s.create("alice")
		s.end(counterfoil.Ending{Session: ended.Session})
		s.end(counterfoil.Ending{Subject: "bob"})
		for name, ref := range map[string]counterfoil.Ref{
			"never was": {Session: newID("")}, "ended": ended, "ended with all": everywhere, "another subject": {Session: alice.Session, Subject: "bob"},
		} {
			_, err := s.under.Store.Freeze(s.ctx, ref)
			s.is(err, counterfoil.ErrNotFound, name)
		}
	}},
	{"can be ended", "A frozen session ends like any other", func(s *suite) {
		ref := s.create("")
		_, err := s.under.Store.Freeze(s.ctx, ref)
		s.must(err, "Freeze")
		s.end(counterfoil.Ending{Session: ref.Session})
		s.lives(ref, false, "ended")
	}},
	{"still expires", "A frozen session still expires", func(s *suite) {
		ref := s.create("")
		_, err := s.under.Store.Freeze(s.ctx, ref)
		s.must(err, "Freeze")
		s.pass(ref.Session, idle+time.Second)
		s.lives(ref, false, "idle")
	}},
}

var endRules = []rule{
	{"one", "End of one session ends it and no other", func(s *suite) {
		for name, subject := range oddSubjects {
			ref, other := s.create(subject), s.create(subject)
			if ended := s.end(counterfoil.Ending{Session: ref.Session}); ended.At <= 0 {
				s.broken("subject %s: time %d", name, ended.At)
			}
			s.lives(ref, false, name)
			s.lives(other, true, name)
			if subject != "" {
				s.listed(subject, other.Session)
			}
		}
	}},
	{"one, again", "Ending what has ended, or never was, succeeds and answers as if it had not", func(s *suite) {
		ref := s.create("alice")
		for _, id := range []token.SessionID{ref.Session, ref.Session, newID("alice"), newID("")} {
			if ended := s.end(counterfoil.Ending{Session: id}); ended.At <= 0 {
				s.broken("time %d", ended.At)
			}
		}
	}},
	{"misfiled", "End ends whatever lies under the session's ID, also a record that says it is another one", func(s *suite) {
		if s.under.Misfile == nil {
			s.Skip("no way to misfile a record of this store")
		}
		ref := s.create("alice")
		s.under.Misfile(s.T, ref.Session)
		s.end(counterfoil.Ending{Session: ref.Session})
		_, err := s.under.Store.Create(s.ctx, counterfoil.NewRecord{Session: ref.Session, Subject: "alice", Idle: idle, Absolute: absolute})
		s.must(err, "Create under the freed ID")
	}},
	{"all", "Ending all of a subject ends every session of it, also frozen ones, and no other subject's", func(s *suite) {
		for name, subject := range oddSubjects {
			if subject == "" {
				continue
			}
			a, b, other, anonymous := s.create(subject), s.create(subject), s.create(subject+"\x01"[:min(1, token.MaxSubjectLen-len(subject))]), s.create("")
			_, err := s.under.Store.Freeze(s.ctx, b)
			s.must(err, "Freeze")
			ended := s.end(counterfoil.Ending{Subject: subject})
			if ended.At <= 0 || ended.NotBefore < ended.At {
				s.broken("subject %s: time %d, not-before %d", name, ended.At, ended.NotBefore)
			}
			s.lives(a, false, name)
			s.lives(b, false, name)
			s.lives(other, other.Subject != subject, name)
			s.lives(anonymous, true, name)
			s.listed(subject)
		}
	}},
	{"all, not-before", "The not-before of ending all is no earlier than any time handed out in a token, and never goes back", func(s *suite) {
		ref := s.create("alice")
		newest := s.refresh(ref, 1, counterfoil.Renewed, 1).At
		var last int64
		for range 3 {
			ended := s.end(counterfoil.Ending{Subject: "alice"})
			if ended.NotBefore < newest || ended.NotBefore < last {
				s.broken("not-before %d, handed out %d, the not-before earlier %d", ended.NotBefore, newest, last)
			}
			last = ended.NotBefore
			r := record("alice")
			c, err := s.under.Store.Create(s.ctx, r)
			s.must(err, "Create")
			newest = c.At
		}
	}},
	{"all, none there", "Ending all of a subject without sessions succeeds", func(s *suite) {
		if ended := s.end(counterfoil.Ending{Subject: "nobody"}); ended.NotBefore <= 0 {
			s.broken("not-before %d", ended.NotBefore)
		}
	}},
	{"others", "Ending all but one ends every other session of the subject, keeps the one, and answers which it ended; the not-before stays", func(s *suite) {
		keep, a, b, bob := s.create("alice", set("f", "v")), s.create("alice"), s.create("alice"), s.create("bob")
		ended := s.end(counterfoil.Ending{Subject: "alice", Keep: keep.Session})
		if ended.At <= 0 || !sameIDs(ended.Sessions, ids(a, b)) {
			s.broken("answered %d sessions at %d, want the two others", len(ended.Sessions), ended.At)
		}
		s.lives(a, false, "another one")
		s.lives(b, false, "another one")
		s.holds(keep, map[string]string{"f": "v"})
		s.lives(bob, true, "another subject's")
		s.listed("alice", keep.Session)
		later := s.create("alice")
		s.lives(later, true, "a later login")
	}},
	{"others, retry", "Until they are announced, ending all but one answers those that it ended before as well, whatever happens in between; afterwards it does not", func(s *suite) {
		keep, a, b := s.create("alice"), s.create("alice"), s.create("alice")
		s.end(counterfoil.Ending{Subject: "alice", Keep: keep.Session})
		s.listed("alice", keep.Session)
		r := record("alice")
		r.Cap = 2
		c, err := s.under.Store.Create(s.ctx, r)
		s.must(err, "Create")
		if len(c.Evicted) != 0 {
			s.broken("sessions that have ended count towards the cap")
		}
		s.end(counterfoil.Ending{Session: a.Session}) // ended again, one by one: still announced or not, no matter
		again := s.end(counterfoil.Ending{Subject: "alice", Keep: keep.Session})
		for _, id := range ids(b, counterfoil.Ref{Session: r.Session}) {
			if !contains(again.Sessions, id) {
				s.broken("the retry answers %d sessions and misses one that was not announced", len(again.Sessions))
			}
		}
		s.end(counterfoil.Ending{Subject: "alice", Keep: keep.Session, Announced: again.Sessions})
		s.end(counterfoil.Ending{Subject: "alice", Keep: keep.Session, Announced: again.Sessions})
		if last := s.end(counterfoil.Ending{Subject: "alice", Keep: keep.Session}); len(last.Sessions) != 0 {
			s.broken("%d sessions are answered although they were announced", len(last.Sessions))
		}
		s.lives(keep, true, "the one to keep")
		s.listed("alice", keep.Session)
	}},
	{"announcing ends nothing", "Announcing makes the index forget sessions that ended; it ends none, and unlists none that lives", func(s *suite) {
		keep, a := s.create("alice"), s.create("alice")
		ended := s.end(counterfoil.Ending{Subject: "alice", Keep: keep.Session})
		login := s.create("alice")
		s.end(counterfoil.Ending{Subject: "alice", Keep: keep.Session, Announced: append(ended.Sessions, login.Session)})
		s.lives(login, true, "a login after the others were ended")
		s.lives(a, false, "ended")
		s.listed("alice", keep.Session, login.Session)
	}},
	{"others, kept one gone", "Ending all but one ends nothing and is ErrNotFound, if that one is no session of the subject that lives, or is frozen", func(s *suite) {
		for what, before := range map[string]func(keep counterfoil.Ref) counterfoil.Ref{
			"never there": func(counterfoil.Ref) counterfoil.Ref { return counterfoil.Ref{Session: newID("alice")} },
			"ended": func(keep counterfoil.Ref) counterfoil.Ref {
				s.end(counterfoil.Ending{Session: keep.Session})
				return keep
			},
			"ended with all": func(keep counterfoil.Ref) counterfoil.Ref {
				s.end(counterfoil.Ending{Subject: "alice"})
				return keep
			},
			"expired": func(keep counterfoil.Ref) counterfoil.Ref {
				s.pass(keep.Session, idle+outside)
				return keep
			},
			"frozen": func(keep counterfoil.Ref) counterfoil.Ref {
				_, err := s.under.Store.Freeze(s.ctx, keep)
				s.must(err, "Freeze")
				return keep
			},
			"another subject's": func(counterfoil.Ref) counterfoil.Ref { return s.create("bob") },
		} {
			keep := before(s.create("alice"))
			other := s.create("alice")
			_, err := s.under.Store.End(s.ctx, counterfoil.Ending{Subject: "alice", Keep: keep.Session})
			s.is(err, counterfoil.ErrNotFound, "End, to keep one that is "+what)
			s.lives(other, true, "what was to be kept is "+what)
		}
	}},
	{"exactly one form", "End without exactly one of its forms is an error and ends nothing", func(s *suite) {
		ref := s.create("alice")
		for name, e := range map[string]counterfoil.Ending{
			"nothing":                   {},
			"session and subject":       {Session: ref.Session, Subject: "alice"},
			"keep without subject":      {Keep: ref.Session},
			"session and keep":          {Session: ref.Session, Keep: newID("alice")},
			"announced without keep":    {Subject: "alice", Announced: ids(ref)},
			"announced with a session":  {Session: ref.Session, Announced: ids(ref)},
			"announced without subject": {Keep: newID("alice"), Announced: ids(ref)},
		} {
			if _, err := s.under.Store.End(s.ctx, e); err == nil {
				s.broken("%s: no error", name)
			}
			s.lives(ref, true, name)
		}
	}},
}

func contains(list []token.SessionID, id token.SessionID) bool {
	for _, x := range list {
		if x == id {
			return true
		}
	}
	return false
}

var sessionsRules = []rule{
	{"what it lists", "Sessions answers the live records of a subject, oldest first, without fields", func(s *suite) {
		for name, subject := range oddSubjects {
			if subject == "" {
				continue
			}
			var want []counterfoil.Ref
			for i := range 3 {
				r := record(subject, set("f", "v"))
				r.Login, r.Device = i == 1, "device "+string(rune('A'+i))
				ref := s.createAs(r)
				for _, older := range append(want, ref) {
					s.pass(older.Session, time.Second)
				}
				want = append(want, ref)
			}
			s.refresh(want[2], 4, counterfoil.Adopted, 4)
			list, err := s.under.Store.Sessions(s.ctx, subject)
			s.must(err, "Sessions")
			if len(list) != 3 {
				s.broken("subject %s: %d sessions, want 3", name, len(list))
			}
			for i, r := range list {
				loaded := s.load(want[i])
				if r.Session != want[i].Session || r.Subject != subject || r.Device != "device "+string(rune('A'+i)) || r.Fields != nil || r.Frozen ||
					r.Created != loaded.Created || r.Renewed != loaded.Renewed || r.Expires != loaded.Expires || r.AuthTime != loaded.AuthTime || r.Generation != loaded.Generation {
					s.broken("subject %s: session %d is listed as %+v, loaded as %+v", name, i, r, loaded)
				}
			}
		}
	}},
	{"only the living", "Sessions answers no session that ended, expired or was ended with all, and goes on working afterwards", func(s *suite) {
		live, ended, old := s.create("alice"), s.create("alice"), s.create("alice")
		s.end(counterfoil.Ending{Session: ended.Session})
		s.pass(old.Session, idle+time.Second)
		if _, err := s.under.Store.Load(s.ctx, live); err != nil { // the store's clock moved, not one record
			s.listed("alice")
			live = s.create("alice")
		}
		s.listed("alice", live.Session)
		s.listed("alice", live.Session)
		s.listed("nobody")
		s.listed("")
		s.end(counterfoil.Ending{Subject: "alice"})
		s.listed("alice")
		next := s.create("alice")
		s.listed("alice", next.Session)
	}},
	{"frozen", "Sessions lists a frozen session as frozen", func(s *suite) {
		ref := s.create("alice")
		_, err := s.under.Store.Freeze(s.ctx, ref)
		s.must(err, "Freeze")
		list, err := s.under.Store.Sessions(s.ctx, "alice")
		s.must(err, "Sessions")
		if len(list) != 1 || !list[0].Frozen {
			s.broken("listed as %+v", list)
		}
	}},
	{"anonymous", "Anonymous sessions are in no list", func(s *suite) {
		ref := s.create("")
		s.listed("")
		s.lives(ref, true, "anonymous")
	}},
}
