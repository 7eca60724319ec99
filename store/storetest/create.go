package storetest

import (
	"crypto/rand"
	"strconv"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/token"
)

// Subjects that a key or a script might trip over.
var oddSubjects = map[string]string{
	"plain":          "alice",
	"braces":         "{abc}al}ice{",
	"only braces":    "{}",
	"NUL":            "a\x00b\x00",
	"key separators": "cf:{rev}log",
	"spaces":         " a\r\n b\t",
	"unicode":        "жанна-日本-\U0001F600",
	"longest":        strings.Repeat("x", token.MaxSubjectLen),
	"a number":       "0",
	"anonymous":      "",
}

var createRules = []rule{
	{"what it makes", "Create makes a record with generation 1, created = newest issue time, expiring its absolute life later, of its subject and device", func(s *suite) {
		for name, subject := range oddSubjects {
			r := record(subject, set("f", "v"))
			r.Device = "Firefox on Ubuntu"
			c, err := s.under.Store.Create(s.ctx, r)
			s.must(err, "Create for subject "+name)
			got := s.load(counterfoil.Ref{Session: r.Session, Subject: subject})
			if c.At <= 0 || c.Began != c.At || c.Expires != c.At+absolute.Milliseconds() {
				s.broken("subject %s: created %d, expires %d, want %v later", name, c.At, c.Expires, absolute)
			}
			if got.Session != r.Session || got.Subject != subject || got.Created != c.At || got.Renewed != c.At || got.Expires != c.Expires ||
				got.AuthTime != 0 || got.Idle != idle || got.Device != r.Device || got.Frozen || got.Generation != 1 || string(got.Fields["f"]) != "v" {
				s.broken("subject %s: Load answers %+v", name, got)
			}
		}
	}},
	{"login", "Create of a login sets the authentication time to the creation time", func(s *suite) {
		r := record("alice")
		r.Login = true
		ref := s.createAs(r)
		if got := s.load(ref); got.AuthTime != got.Created {
			s.broken("authentication time %d, created %d", got.AuthTime, got.Created)
		}
	}},
	{"a life that goes on", "Create takes over an authentication time, and an absolute expiry that is earlier than its own; past that it is ErrNotFound", func(s *suite) {
		first := record("alice")
		first.Login = true
		ref := s.createAs(first)
		s.pass(ref.Session, time.Minute)
		old := s.load(ref)
		r := record("alice")
		r.NotAfter, r.AuthTime = old.Expires, old.AuthTime
		c, err := s.under.Store.Create(s.ctx, r)
		s.must(err, "Create")
		got := s.load(counterfoil.Ref{Session: r.Session, Subject: "alice"})
		if c.Expires != old.Expires || got.Expires != old.Expires || got.AuthTime != old.AuthTime || got.Idle != r.Idle {
			s.broken("a record that expires at %d, authenticated at %d, became %+v", old.Expires, old.AuthTime, got)
		}
		later := record("alice")
		later.NotAfter = c.At + 2*absolute.Milliseconds()
		if c, err := s.under.Store.Create(s.ctx, later); err != nil || c.Expires != c.At+absolute.Milliseconds() {
			s.broken("with a later bound it expires %d ms after its creation, %v; want its own %v", c.Expires-c.At, err, absolute)
		}
		over := record("alice")
		over.NotAfter = c.At - 1
		_, err = s.under.Store.Create(s.ctx, over)
		s.is(err, counterfoil.ErrNotFound, "Create past its bound")
		s.lives(counterfoil.Ref{Session: over.Session, Subject: "alice"}, false, "past its bound")
	}},
	{"replacing", "Create replaces a frozen session that lives, and nothing else: what was ended after it was frozen does not go on under another ID", func(s *suite) {
		for name, subject := range map[string]string{"alice": "alice", "anonymous": ""} {
			for what, before := range map[string]func(old counterfoil.Ref){
				"frozen":          nil,
				"not frozen":      func(counterfoil.Ref) {},
				"ended":           func(old counterfoil.Ref) { s.end(counterfoil.Ending{Session: old.Session}) },
				"expired":         func(old counterfoil.Ref) { s.pass(old.Session, idle+outside) },
				"all ended":       func(counterfoil.Ref) { s.end(counterfoil.Ending{Subject: "alice"}) },
				"all others":      func(counterfoil.Ref) { s.end(counterfoil.Ending{Subject: "alice", Keep: s.create("alice").Session}) },
				"another subject": nil,
			} {
				if subject == "" && strings.HasPrefix(what, "all ") {
					continue
				}
				old := s.create(subject)
				r := record(subject, set("f", "v"))
				if subject == "" { // its slot is random
					id, err := token.NewSessionID(old.Session.Tag(), [16]byte([]byte(rand.Text())))
					s.must(err, "an ID in the same slot")
					r.Session = id
				}
				if what != "not frozen" {
					_, err := s.under.Store.Freeze(s.ctx, old)
					s.must(err, "Freeze")
				}
				if before != nil {
					before(old)
				}
				r.Replaces = old.Session
				if what == "another subject" {
					id, err := token.NewSessionID(old.Session.Tag(), [16]byte([]byte(rand.Text())))
					s.must(err, "an ID in the same slot")
					r.Session, r.Subject = id, ""
					if subject == "" {
						continue // a subject has a slot of its own
					}
				}
				_, err := s.under.Store.Create(s.ctx, r)
				if what == "frozen" {
					s.must(err, "Create in place of a frozen session of "+name)
				} else {
					s.is(err, counterfoil.ErrNotFound, "Create in place of one of "+name+" that is "+what)
				}
				s.lives(counterfoil.Ref{Session: r.Session, Subject: r.Subject}, what == "frozen", "in place of one of "+name+" that is "+what)
			}
		}
	}},
	{"going on", "Create in place of a frozen session makes one as old, which ends with all that began until then, unless it is a login", func(s *suite) {
		for name, subject := range map[string]string{"alice": "alice", "anonymous": ""} {
			for _, login := range []bool{false, true} {
				old := s.create(subject)
				s.pass(old.Session, time.Minute)
				frozen, err := s.under.Store.Freeze(s.ctx, old)
				s.must(err, "Freeze")
				r := record(subject)
				r.Session, err = token.NewSessionID(old.Session.Tag(), [16]byte([]byte(rand.Text())))
				s.must(err, "an ID in the same slot")
				r.Replaces, r.Login = old.Session, login
				c, err := s.under.Store.Create(s.ctx, r)
				s.must(err, "Create in place of a frozen session")
				began := frozen.Created
				if login {
					began = c.At
				}
				got := s.load(counterfoil.Ref{Session: r.Session, Subject: subject})
				if c.Began != began || got.Created != began || got.Renewed != c.At || c.At <= frozen.Created || c.Expires != c.At+absolute.Milliseconds() {
					s.broken("%s, login %v: in place of one created at %d there is one of %d, says Create, of %d, says Load, issued at %d", name, login, frozen.Created, c.Began, got.Created, c.At)
				}
			}
		}
	}},
	{"inheriting", "Create takes what is inherited whatever its size and number, and a session over its budget shrinks and does not grow", func(s *suite) {
		r := record("alice", set("large", strings.Repeat("x", counterfoil.MaxDataLen+100)))
		for i := range 5000 {
			r.Ops = append(r.Ops, set("f"+strconv.Itoa(i), "v"))
		}
		r.Inherited = true
		ref := s.createAs(r)
		if got := s.load(ref); len(got.Fields) != 5001 || len(got.Fields["large"]) != counterfoil.MaxDataLen+100 {
			s.broken("of 5001 fields %d were taken, of the large one %d bytes", len(got.Fields), len(got.Fields["large"]))
		}
		_, err := s.under.Store.Save(s.ctx, ref, []counterfoil.Op{set("f0", "vv")})
		s.is(err, counterfoil.ErrTooLarge, "a save that makes it larger")
		_, err = s.under.Store.Save(s.ctx, ref, []counterfoil.Op{set("f0", "")})
		s.must(err, "a save that makes it smaller")
	}},
	{"operations", "Create applies its operations in order and answers one value for each", func(s *suite) {
		r := record("alice", set("a", "1"), incr("n", 5), incr("n", 2), set("b", "x"), take("b"), del("a"))
		c, err := s.under.Store.Create(s.ctx, r)
		s.must(err, "Create")
		if len(c.Values) != 6 || !equal(c.Values[1], "5", true) || !equal(c.Values[2], "7", true) || !equal(c.Values[4], "x", true) {
			s.broken("values are %+v", c.Values)
		}
		s.holds(counterfoil.Ref{Session: r.Session, Subject: "alice"}, map[string]string{"n": "7"})
	}},
	{"all or nothing", "A Create whose operations cannot be applied makes nothing", func(s *suite) {
		for want, op := range map[error]counterfoil.Op{
			counterfoil.ErrTooLarge:   set("f", strings.Repeat("x", counterfoil.MaxDataLen)),
			counterfoil.ErrConflict:   ifWas(set("f", "v"), "something"),
			counterfoil.ErrNotInteger: incr("s", 1),
		} {
			r := record("alice", set("s", "no number"), op)
			_, err := s.under.Store.Create(s.ctx, r)
			s.is(err, want, "Create")
			s.lives(counterfoil.Ref{Session: r.Session, Subject: "alice"}, false, "after the failed Create")
		}
		s.listed("alice")
	}},
	{"used ID", "Create refuses an ID that is in use and leaves its session alone (a chosen ID must not take a session over)", func(s *suite) {
		r := record("alice", set("f", "mine"))
		ref := s.createAs(r)
		r.Ops = []counterfoil.Op{set("f", "theirs")}
		if _, err := s.under.Store.Create(s.ctx, r); err == nil {
			s.broken("the second Create succeeded")
		}
		s.holds(ref, map[string]string{"f": "mine"})
	}},
	{"after a not-before", "Create sets created to at least the subject's not-before + 1, so that ending all sessions never hits a later login", func(s *suite) {
		s.create("alice")
		ended := s.end(counterfoil.Ending{Subject: "alice"})
		for range 3 {
			r := record("alice")
			c, err := s.under.Store.Create(s.ctx, r)
			s.must(err, "Create")
			if c.At <= ended.NotBefore {
				s.broken("created %d, not-before %d", c.At, ended.NotBefore)
			}
			s.lives(counterfoil.Ref{Session: r.Session, Subject: "alice"}, true, "a login after ending all")
		}
	}},
	{"cap", "Create ends the sessions of the subject that were renewed longest ago, until no more than Cap live, and answers which", func(s *suite) {
		var refs []counterfoil.Ref
		for range 4 {
			r := record("alice")
			r.Cap = 4
			refs = append(refs, s.createAs(r))
		}
		other := s.create("bob")
		// Renewed in the order 2, 0, 3, 1; each renewal a while after the one before.
		for _, i := range []int{2, 0, 3, 1} {
			for _, ref := range refs {
				s.pass(ref.Session, outside)
			}
			s.refresh(refs[i], 1, counterfoil.Rotated, 2)
		}
		r := record("alice")
		r.Cap = 3
		c, err := s.under.Store.Create(s.ctx, r)
		s.must(err, "Create")
		if !sameIDs(c.Evicted, ids(refs[2], refs[0])) {
			s.broken("ended %d sessions, want the two that were renewed longest ago", len(c.Evicted))
		}
		s.lives(refs[2], false, "over the cap")
		s.lives(refs[0], false, "over the cap")
		s.lives(refs[1], true, "within the cap")
		s.lives(refs[3], true, "within the cap")
		s.lives(other, true, "another subject's")
		s.listed("alice", refs[1].Session, refs[3].Session, r.Session)
	}},
	{"cap counts the living", "The cap counts live sessions only, and the new one is never ended for it", func(s *suite) {
		first := s.create("alice")
		s.end(counterfoil.Ending{Session: first.Session})
		second := s.create("alice")
		s.pass(second.Session, idle+outside)
		for i := range 3 {
			r := record("alice")
			r.Cap = 1
			c, err := s.under.Store.Create(s.ctx, r)
			s.must(err, "Create")
			if want := min(i, 1); len(c.Evicted) != want {
				s.broken("session %d ended %d others, want %d", i, len(c.Evicted), want)
			}
			s.lives(counterfoil.Ref{Session: r.Session, Subject: "alice"}, true, "the new one")
		}
	}},
	{"no cap", "With Cap 0 nothing is ended, and anonymous sessions have no cap", func(s *suite) {
		var refs []counterfoil.Ref
		for range 5 {
			refs = append(refs, s.create("alice"))
			r := record("")
			r.Cap = 1
			refs = append(refs, s.createAs(r))
		}
		for _, ref := range refs {
			s.lives(ref, true, "without a cap")
		}
	}},
}
