// Package storetest says what a counterfoil.Store must do, as tests. [Run] runs them all; [Under] is what it needs of a store.
// Every failure begins with the rule that was broken.
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) storetest.Under {
//			s := openMyStore(t) // an empty one, closed by t.Cleanup
//			return storetest.Under{Store: s, Pass: s.pass}
//		})
//	}
//
// # Compatibility
//
// A later version may test more. It then tests what counterfoil.Store already said.
package storetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

// Under is a store under test, empty and for one test alone.
type Under struct {
	Store counterfoil.Store

	// Pass makes d pass for one session, either by moving the store's clock or by moving every time that the record
	// holds back by d, its idle end included. Required. It is called with nothing else under way.
	Pass func(t testing.TB, id token.SessionID, d time.Duration)

	// Misfile makes the record of this session say that it is another one, as a mixed-up reply or a hand in the data might. Optional.
	Misfile func(t testing.TB, id token.SessionID)

	// Log and Source are the two sides of the revocation log. Optional; its rules are tested where both are given.
	Log    revocation.Appender
	Source revocation.Source

	// Census tells how far the followers are that report to Source. Optional; its rules are tested where it is given and Source is a
	// revocation.Reporter. Silence makes every report so much older; without it nobody falls silent in these tests.
	Census  revocation.Census
	Silence func(t testing.TB, d time.Duration)
}

// Run tests the rules, each with a store of its own from open.
func Run(t *testing.T, open func(t *testing.T) Under) {
	for _, group := range []struct {
		name  string
		rules []rule
	}{
		{"create", createRules},
		{"load", loadRules},
		{"save", saveRules},
		{"refresh", refreshRules},
		{"freeze", freezeRules},
		{"end", endRules},
		{"sessions", sessionsRules},
		{"together", togetherRules},
		{"log", logRules},
		{"census", censusRules},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, r := range group.rules {
				t.Run(r.name, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(context.Background(), patience)
					defer cancel()
					u := open(t)
					if u.Store == nil || u.Pass == nil {
						t.Fatal("storetest: Under needs Store and Pass")
					}
					r.test(&suite{T: t, under: u, ctx: ctx, rule: r.text})
				})
			}
		})
	}
}

// patience bounds one rule, however slow the machine.
const patience = 60 * time.Second

// Lives and windows of the sessions under test. Edges are tested a little inside and outside, because the store's clock may run meanwhile.
const (
	idle     = 30 * time.Minute
	absolute = 12 * time.Hour
	window   = 10 * time.Second
	inside   = window - 2*time.Second
	outside  = window + 2*time.Second
)

// rule is one sentence of the contract and its test.
type rule struct {
	name string // of the test
	text string // the sentence, printed when it is broken
	test func(*suite)
}

type suite struct {
	*testing.T
	under Under
	ctx   context.Context
	rule  string
}

// broken ends the test, naming the rule.
func (s *suite) broken(format string, args ...any) {
	s.Helper()
	s.Fatalf("broken rule: %s\n\t%s", s.rule, fmt.Sprintf(format, args...))
}

// must is for steps that are not the rule under test but have to work for it.
func (s *suite) must(err error, what string) {
	s.Helper()
	if err != nil {
		s.broken("%s: %v", what, err)
	}
}

// is checks an error against one of the contract's, or nil.
func (s *suite) is(err, want error, what string) {
	s.Helper()
	if want == nil && err != nil || want != nil && !errors.Is(err, want) {
		s.broken("%s: error is %v, want %v", what, err, want)
	}
}

func (s *suite) pass(id token.SessionID, d time.Duration) {
	s.Helper()
	s.under.Pass(s.T, id, d)
}

// newID makes an ID in the subject's slot.
func newID(subject string) token.SessionID {
	var b [16]byte
	rand.Read(b[:])
	tag := counterfoil.SubjectTag(subject)
	if subject == "" {
		tag = counterfoil.SubjectTag(string(b[:]))
	}
	id, err := token.NewSessionID(tag, b)
	if err != nil {
		panic("storetest: " + err.Error())
	}
	return id
}

func record(subject string, ops ...counterfoil.Op) counterfoil.NewRecord {
	return counterfoil.NewRecord{Session: newID(subject), Subject: subject, Idle: idle, Absolute: absolute, Ops: ops}
}

// create makes a session and returns how a token would name it.
func (s *suite) create(subject string, ops ...counterfoil.Op) counterfoil.Ref {
	s.Helper()
	return s.createAs(record(subject, ops...))
}

func (s *suite) createAs(r counterfoil.NewRecord) counterfoil.Ref {
	s.Helper()
	_, err := s.under.Store.Create(s.ctx, r)
	s.must(err, "Create")
	return counterfoil.Ref{Session: r.Session, Subject: r.Subject}
}

func (s *suite) load(ref counterfoil.Ref) counterfoil.Record {
	s.Helper()
	r, err := s.under.Store.Load(s.ctx, ref)
	s.must(err, "Load")
	return r
}

func (s *suite) lives(ref counterfoil.Ref, want bool, when string) {
	s.Helper()
	_, err := s.under.Store.Load(s.ctx, ref)
	switch {
	case want && err != nil:
		s.broken("%s: Load: %v, want the session", when, err)
	case !want && !errors.Is(err, counterfoil.ErrNotFound):
		s.broken("%s: Load: error is %v, want ErrNotFound", when, err)
	}
}

func (s *suite) save(ref counterfoil.Ref, ops ...counterfoil.Op) counterfoil.Saved {
	s.Helper()
	saved, err := s.under.Store.Save(s.ctx, ref, ops)
	s.must(err, "Save")
	return saved
}

func (s *suite) saveErr(ref counterfoil.Ref, want error, ops ...counterfoil.Op) {
	s.Helper()
	_, err := s.under.Store.Save(s.ctx, ref, ops)
	s.is(err, want, "Save")
}

// holds checks the fields of a session: exactly these.
func (s *suite) holds(ref counterfoil.Ref, want map[string]string) {
	s.Helper()
	got := s.load(ref).Fields
	for name, value := range want {
		if b, ok := got[name]; !ok || string(b) != value {
			s.broken("field %.20q is %.40q (present: %v), want %.40q", name, b, ok, value)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			s.broken("field %.20q is there and should not be", name)
		}
	}
}

// refresh presents a generation and checks verdict and current generation.
func (s *suite) refresh(ref counterfoil.Ref, gen uint64, verdict counterfoil.Verdict, current uint64) counterfoil.Refreshed {
	s.Helper()
	return s.present(counterfoil.Presented{Session: ref.Session, Generation: gen, Window: window}, verdict, current)
}

func (s *suite) present(p counterfoil.Presented, verdict counterfoil.Verdict, current uint64) counterfoil.Refreshed {
	s.Helper()
	r, err := s.under.Store.Refresh(s.ctx, p)
	s.must(err, fmt.Sprintf("Refresh of generation %d", p.Generation))
	if r.Verdict != verdict || r.Generation != current {
		s.broken("Refresh of generation %d: verdict %s and current generation %d, want %s and %d",
			p.Generation, verdictName(r.Verdict), r.Generation, verdictName(verdict), current)
	}
	return r
}

func verdictName(v counterfoil.Verdict) string {
	names := []string{"none", "renewed", "rotated", "handed out", "displaced", "adopted", "superseded", "reused"}
	if int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprint(uint8(v))
}

func (s *suite) end(e counterfoil.Ending) counterfoil.Ended {
	s.Helper()
	ended, err := s.under.Store.End(s.ctx, e)
	s.must(err, "End")
	return ended
}

func (s *suite) listed(subject string, want ...token.SessionID) {
	s.Helper()
	list, err := s.under.Store.Sessions(s.ctx, subject)
	s.must(err, "Sessions")
	got := map[token.SessionID]bool{}
	for _, r := range list {
		got[r.Session] = true
	}
	if len(got) != len(list) {
		s.broken("Sessions names a session twice")
	}
	for _, id := range want {
		if !got[id] {
			s.broken("Sessions does not name a live session")
		}
	}
	if len(list) != len(want) {
		s.broken("Sessions names %d sessions, want %d", len(list), len(want))
	}
}

// Short spellings of operations.
func set(name, value string) counterfoil.Op {
	return counterfoil.Op{Kind: counterfoil.OpSet, Name: name, Value: []byte(value)}
}
func del(name string) counterfoil.Op  { return counterfoil.Op{Kind: counterfoil.OpDelete, Name: name} }
func take(name string) counterfoil.Op { return counterfoil.Op{Kind: counterfoil.OpTake, Name: name} }
func incr(name string, by int64) counterfoil.Op {
	return counterfoil.Op{Kind: counterfoil.OpIncr, Name: name, By: by}
}

// ifWas makes an operation conditional on the value before the save, ifAbsent on its absence.
func ifWas(op counterfoil.Op, value string) counterfoil.Op {
	op.If, op.Was = true, counterfoil.Value{Bytes: []byte(value), Present: true}
	return op
}
func ifAbsent(op counterfoil.Op) counterfoil.Op {
	op.If, op.Was = true, counterfoil.Value{}
	return op
}

func equal(v counterfoil.Value, want string, present bool) bool {
	return v.Present == present && (!present || bytes.Equal(v.Bytes, []byte(want)))
}

func ids(refs ...counterfoil.Ref) []token.SessionID {
	var list []token.SessionID
	for _, r := range refs {
		list = append(list, r.Session)
	}
	return list
}

// sameIDs compares sets.
func sameIDs(a, b []token.SessionID) bool {
	in := map[token.SessionID]int{}
	for _, id := range a {
		in[id]++
	}
	for _, id := range b {
		in[id]--
	}
	for _, n := range in {
		if n != 0 {
			return false
		}
	}
	return true
}
