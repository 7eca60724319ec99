// Package storemodel is a counterfoil.Store in plain Go: [New] makes a [Model]. It is a second statement of the rules of a Store, the refresh table among
// them. The conformance suite is tested on it, the Redis scripts are compared with it to the millisecond, and simulations of many lives run on it,
// since it takes a hundredth of the time of scripts in an embedded server.
package storemodel

import (
	"context"
	"errors"
	"maps"
	"math"
	"math/big"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

// Model is a Store whose clock stands still until it is moved. [New] makes one. It is safe for concurrent use.
type Model struct {
	Fault string // the name of a rule that is broken, for tests of tests; "" = none

	mu       sync.Mutex
	now      int64 // the clock, Unix ms
	forward  int64 // how far the clock has moved forward in all; what expires, expires by this
	sessions map[token.SessionID]*record
	nbf      map[string]int64
	index    map[string]*index
}

type record struct {
	counterfoil.Record
	state
	idle    int64
	idleEnd int64 // in forward time
	frozen  int64 // since when; 0 = not
	used    int
}

// index lists sessions of a subject: absolute expiry, or minus the time until which an end is worth announcing.
type index struct {
	score map[token.SessionID]int64
	ends  int64 // in forward time
}

// state is what the refresh table judges by.
type state struct {
	cur, prev uint64
	h, k      int64
}

// New makes a Model without sessions.
func New() *Model {
	return &Model{now: time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC).UnixMilli(),
		sessions: map[token.SessionID]*record{}, nbf: map[string]int64{}, index: map[string]*index{}}
}

// Now returns the time of its clock, Unix ms.
func (m *Model) Now() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// Advance moves its clock: forward, or back as a clock does that is set. What expires, expires by what it has moved forward.
func (m *Model) Advance(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now += d.Milliseconds()
	m.forward += max(0, d.Milliseconds())
}

// Generation returns the current refresh generation of a record that it holds, 0 if there is none.
func (m *Model) Generation(id token.SessionID) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.sessions[id]; r != nil {
		return r.cur
	}
	return 0
}

// judge is the refresh table of the design, row by row.
func judge(s state, p counterfoil.Presented, now int64) (counterfoil.Verdict, state) {
	within := func(x int64) bool { return max(now-x, x-now) <= p.Window.Milliseconds() }
	switch g := p.Generation; {
	case g == s.cur && within(s.h):
		if s.k == 0 {
			s.k = now
		}
		return counterfoil.Renewed, s
	case g == s.cur:
		return counterfoil.Rotated, state{cur: s.cur + 1, prev: s.cur, h: now}
	case p.OnlyCurrent:
		return counterfoil.Superseded, s
	case g > s.cur:
		return counterfoil.Adopted, state{cur: g, prev: s.cur, h: now, k: now}
	case g == s.prev && s.k == 0 && within(s.h):
		return counterfoil.HandedOut, state{cur: s.cur, prev: s.prev, h: now}
	case g == s.prev && s.k == 0:
		return counterfoil.Displaced, state{cur: s.cur + 1, prev: s.prev, h: now}
	case g == s.prev && within(s.k), p.Beside, p.Quiet:
		return counterfoil.Superseded, s
	}
	return counterfoil.Reused, s
}

// live returns the record if it is a live session of the subject.
func (m *Model) live(id token.SessionID, subject string) *record {
	r := m.sessions[id]
	if r != nil && r.idleEnd <= m.forward {
		delete(m.sessions, id)
		return nil
	}
	if r == nil || (r.Subject != subject && m.Fault != "subject ignored") || r.Expires <= m.now ||
		subject != "" && r.Created <= m.nbf[subject] {
		return nil
	}
	return r
}

func (m *Model) arrived(r *record, gen uint64) {
	if gen != 0 && gen == r.cur && r.k == 0 && r.frozen == 0 && m.Fault != "never confirmed" {
		r.k = m.now
	}
}

func (m *Model) members(subject string) *index {
	x := m.index[subject]
	if x == nil || x.ends <= m.forward || len(x.score) == 0 {
		x = &index{score: map[token.SessionID]int64{}}
		m.index[subject] = x
	}
	return x
}

// Create and the other methods are those of counterfoil.Store.
func (m *Model) Create(_ context.Context, n counterfoil.NewRecord) (counterfoil.Created, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.sessions[n.Session]; r != nil && r.idleEnd > m.forward && m.Fault != "used ID taken over" {
		return counterfoil.Created{}, errors.New("model: used before")
	}
	at := max(m.now, m.nbf[n.Subject]+1)
	if m.Fault == "created before the not-before" {
		at = m.now
	}
	created := at
	if !n.Replaces.IsZero() {
		old := m.live(n.Replaces, n.Subject)
		if (old == nil || old.frozen == 0) && m.Fault != "the ended replaced" {
			return counterfoil.Created{}, counterfoil.ErrNotFound
		}
		if old != nil && !n.Login && m.Fault != "younger by a rotation" {
			created = old.Created
			at = max(at, created)
		}
	}
	r := &record{idle: n.Idle.Milliseconds(), state: state{cur: 1, h: m.now}}
	r.Record = counterfoil.Record{Session: n.Session, Subject: n.Subject, Created: created, Renewed: at, Idle: n.Idle,
		Expires: at + n.Absolute.Milliseconds(), AuthTime: n.AuthTime, Device: n.Device, Fields: map[string][]byte{}}
	if n.NotAfter > 0 && m.Fault != "life prolonged" {
		r.Expires = min(r.Expires, n.NotAfter)
	}
	if r.Expires <= at {
		return counterfoil.Created{}, counterfoil.ErrNotFound
	}
	if n.Login {
		r.AuthTime = at
	}
	values, err := m.apply(r, n.Ops, n.Inherited)
	if err != nil {
		return counterfoil.Created{}, err
	}
	r.idleEnd = m.forward + min(r.idle, r.Expires-m.now)
	c := counterfoil.Created{At: at, Began: created, Expires: r.Expires, Values: values}
	if n.Subject != "" {
		x := m.members(n.Subject)
		m.prune(x, n.Subject)
		var others []*record
		for id, score := range x.score {
			if o := m.live(id, n.Subject); score >= 0 && o.frozen == 0 {
				others = append(others, o)
			}
		}
		slices.SortFunc(others, func(a, b *record) int {
			switch {
			case a.Renewed != b.Renewed:
				return int(a.Renewed - b.Renewed)
			case a.Created != b.Created:
				return int(a.Created - b.Created)
			}
			return strings.Compare(a.Session.String(), b.Session.String())
		})
		if m.Fault == "cap ends the newest" {
			slices.Reverse(others)
		}
		for n.Cap > 0 && len(others)+1 > n.Cap && m.Fault != "no cap" {
			delete(m.sessions, others[0].Session)
			delete(x.score, others[0].Session)
			c.Evicted = append(c.Evicted, others[0].Session)
			c.Ended = max(m.now, c.Ended, others[0].Renewed)
			others = others[1:]
		}
		if len(x.score) == 0 {
			x.ends = 0 // an empty set is gone, and its expiry with it
		}
		x.score[n.Session] = r.Expires
		x.ends = max(x.ends, m.forward+r.Expires-m.now)
	}
	m.sessions[n.Session] = r
	return c, nil
}

// prune drops members that are no live sessions, and ends that are not worth announcing any more.
func (m *Model) prune(x *index, subject string) {
	for id, score := range x.score {
		if score < 0 && -score < m.now || score >= 0 && m.live(id, subject) == nil {
			delete(x.score, id)
		}
	}
}

func (m *Model) answer(r *record) counterfoil.Record {
	out := r.Record
	out.Frozen, out.Generation, out.Fields = r.frozen != 0, r.cur, map[string][]byte{}
	for k, v := range r.Fields {
		out.Fields[k] = slices.Clone(v)
	}
	if m.Fault == "fields shared" {
		out.Fields = r.Fields
	}
	return out
}

// Load see Create.
func (m *Model) Load(_ context.Context, ref counterfoil.Ref) (counterfoil.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.live(ref.Session, ref.Subject)
	if r == nil {
		return counterfoil.Record{}, counterfoil.ErrNotFound
	}
	m.arrived(r, ref.Generation)
	if m.Fault == "loading renews" {
		r.idleEnd = m.forward + r.idle
	}
	return m.answer(r), nil
}

// Save see Create.
func (m *Model) Save(_ context.Context, ref counterfoil.Ref, ops []counterfoil.Op) (counterfoil.Saved, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.live(ref.Session, ref.Subject)
	if r == nil && m.Fault == "late save revives" && !ref.Session.IsZero() {
		r = &record{idle: 1e6, idleEnd: m.forward + 1e6}
		r.Record = counterfoil.Record{Session: ref.Session, Subject: ref.Subject, Created: math.MaxInt64 / 2, Expires: math.MaxInt64, Fields: map[string][]byte{}}
		m.sessions[ref.Session] = r
	}
	if r == nil || r.frozen != 0 && m.Fault != "frozen is written" {
		return counterfoil.Saved{}, counterfoil.ErrNotFound
	}
	values, err := m.apply(r, ops, false)
	if err != nil {
		return counterfoil.Saved{}, err
	}
	m.arrived(r, ref.Generation)
	return counterfoil.Saved{Values: values}, nil
}

func (m *Model) apply(r *record, ops []counterfoil.Op, inherited bool) ([]counterfoil.Value, error) {
	for _, o := range ops {
		if o.Name == "" || len(o.Name) > counterfoil.MaxNameLen || o.Kind < counterfoil.OpSet || o.Kind > counterfoil.OpTake {
			return nil, errors.New("model: bad operation")
		}
		if old, ok := r.Fields[o.Name]; o.If && (ok != o.Was.Present || ok && string(old) != string(o.Was.Bytes)) && m.Fault != "conditions ignored" {
			return nil, counterfoil.ErrConflict
		}
	}
	after := maps.Clone(r.Fields)
	if m.Fault == "half a save" {
		after = r.Fields
	}
	var values []counterfoil.Value
	for _, o := range ops {
		old, ok := after[o.Name]
		var v counterfoil.Value
		switch o.Kind {
		case counterfoil.OpSet:
			after[o.Name] = append([]byte{}, o.Value...)
		case counterfoil.OpDelete:
			delete(after, o.Name)
		case counterfoil.OpTake:
			v = counterfoil.Value{Bytes: old, Present: ok}
			if m.Fault != "take leaves it" {
				delete(after, o.Name)
			}
		case counterfoil.OpIncr:
			if !ok {
				old = []byte("0")
			}
			n, err := strconv.ParseInt(string(old), 10, 64)
			if err != nil || strconv.FormatInt(n, 10) != string(old) {
				return nil, counterfoil.ErrNotInteger
			}
			sum := new(big.Int).Add(big.NewInt(n), big.NewInt(o.By))
			if m.Fault == "floating increments" {
				sum, _ = new(big.Float).SetFloat64(float64(n) + float64(o.By)).Int(nil)
			}
			if !sum.IsInt64() {
				return nil, counterfoil.ErrNotInteger
			}
			after[o.Name] = []byte(sum.String())
			v = counterfoil.Value{Bytes: after[o.Name], Present: true}
		}
		values = append(values, v)
	}
	used := 0
	for name, value := range after {
		used += len(name) + len(value)
	}
	if inherited && m.Fault == "heirs refused" {
		inherited = false
	}
	if used > counterfoil.MaxDataLen && used > r.used && !inherited && m.Fault != "no budget" {
		return nil, counterfoil.ErrTooLarge
	}
	r.Fields, r.used = after, used
	return values, nil
}

// Refresh see Create.
func (m *Model) Refresh(_ context.Context, p counterfoil.Presented) (counterfoil.Refreshed, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p.Generation == 0 {
		return counterfoil.Refreshed{}, errors.New("model: generation 0")
	}
	r := m.sessions[p.Session]
	if r != nil {
		r = m.live(p.Session, r.Subject)
	}
	if r == nil {
		return counterfoil.Refreshed{}, counterfoil.ErrNotFound
	}
	a := counterfoil.Refreshed{Verdict: counterfoil.Superseded, Subject: r.Subject, Generation: r.cur, At: max(m.now, r.Renewed),
		Created: r.Created, Expires: r.Expires, IdleEnds: m.now + r.idleEnd - m.forward, AuthTime: r.AuthTime, Device: r.Device}
	if r.frozen != 0 && m.Fault != "frozen is renewed" {
		if max(m.now-r.frozen, r.frozen-m.now) <= p.Window.Milliseconds() {
			return a, nil
		}
		return counterfoil.Refreshed{}, counterfoil.ErrNotFound
	}
	if m.Fault == "quiet judges" {
		p.Quiet = false
	}
	if m.Fault == "no window" {
		p.Window = time.Millisecond
	}
	verdict, s := judge(r.state, p, m.now)
	if m.Fault == "reuse forgiven" && verdict == counterfoil.Reused {
		verdict = counterfoil.Superseded
	}
	a.Verdict = verdict
	switch verdict {
	case counterfoil.Superseded:
	case counterfoil.Reused:
		a.IdleEnds = m.now
		if m.Fault != "reuse does not end" {
			delete(m.sessions, p.Session)
			if r.Subject != "" {
				delete(m.members(r.Subject).score, p.Session)
			}
		}
	default:
		r.state, r.Renewed = s, a.At
		left := min(r.idle, r.Expires-m.now)
		if m.Fault == "absolute life extended" {
			left = r.idle
			r.Expires = max(r.Expires, m.now+left)
		}
		r.idleEnd = m.forward + left
		a.Generation, a.IdleEnds = s.cur, m.now+left
	}
	return a, nil
}

// Freeze see Create.
func (m *Model) Freeze(_ context.Context, ref counterfoil.Ref) (counterfoil.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.live(ref.Session, ref.Subject)
	if r == nil {
		return counterfoil.Record{}, counterfoil.ErrNotFound
	}
	if r.frozen == 0 {
		r.frozen = m.now
	}
	return m.answer(r), nil
}

// End see Create.
func (m *Model) End(_ context.Context, e counterfoil.Ending) (counterfoil.Ended, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ended := counterfoil.Ended{At: m.now}
	switch {
	case !e.Session.IsZero() && (e.Subject != "" || !e.Keep.IsZero() || len(e.Announced) > 0),
		e.Session.IsZero() && e.Subject == "", e.Keep.IsZero() && len(e.Announced) > 0:
		return ended, errors.New("model: not one form")
	case !e.Session.IsZero():
		if r := m.sessions[e.Session]; r != nil && r.idleEnd > m.forward {
			ended.At = max(m.now, r.Renewed)
			if r.Subject != "" {
				delete(m.members(r.Subject).score, e.Session)
			}
		} else if m.Fault == "ending twice fails" {
			return ended, counterfoil.ErrNotFound
		}
		delete(m.sessions, e.Session)
		return ended, nil
	}
	x := m.members(e.Subject)
	switch {
	case e.Keep.IsZero():
		n := max(m.now, m.nbf[e.Subject])
		for id := range x.score {
			if r := m.sessions[id]; r != nil && r.idleEnd > m.forward {
				n = max(n, r.Renewed)
			}
			delete(m.sessions, id)
		}
		if m.Fault == "not-before too early" {
			n = m.now - 1000
		}
		m.nbf[e.Subject], ended.NotBefore = n, n
		delete(m.index, e.Subject)
	case len(e.Announced) > 0:
		for _, id := range e.Announced {
			if score, ok := x.score[id]; ok && score < 0 || m.Fault == "announcing unlists" {
				delete(x.score, id)
			}
		}
	default:
		r := m.live(e.Keep, e.Subject)
		if (r == nil || r.frozen != 0 && m.Fault != "frozen is kept") && m.Fault != "the kept one unseen" {
			return counterfoil.Ended{}, counterfoil.ErrNotFound
		}
		if m.Fault == "the kept one seen before" { // and meanwhile others have their turn
			for range 100 {
				m.mu.Unlock()
				runtime.Gosched()
				m.mu.Lock()
			}
		}
		for id, score := range x.score {
			switch {
			case id == e.Keep:
			case score < 0 && -score < m.now:
				delete(x.score, id)
			default:
				last := -score - revocation.Horizon.Milliseconds()
				if score >= 0 {
					last = m.now
					if r := m.sessions[id]; r != nil && r.idleEnd > m.forward {
						last = max(last, r.Renewed)
					}
					delete(m.sessions, id)
					x.score[id] = -(last + revocation.Horizon.Milliseconds())
					if m.Fault == "ends are forgotten" {
						delete(x.score, id)
					}
				}
				ended.Sessions = append(ended.Sessions, id)
				ended.At = max(ended.At, last)
			}
		}
		if len(ended.Sessions) > 0 {
			x.ends = max(x.ends, m.forward+ended.At-m.now+revocation.Horizon.Milliseconds())
		}
		if m.Fault == "the kept one ends too" {
			delete(m.sessions, e.Keep)
		}
	}
	return ended, nil
}

// Sessions see Create.
func (m *Model) Sessions(_ context.Context, subject string) ([]counterfoil.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if subject == "" {
		return nil, nil
	}
	x := m.members(subject)
	if m.Fault != "index not pruned" {
		m.prune(x, subject)
	}
	var list []counterfoil.Record
	for id, score := range x.score {
		if score < 0 {
			continue
		}
		r := m.live(id, subject)
		if r == nil {
			r = &record{Record: counterfoil.Record{Session: id}}
		}
		a := m.answer(r)
		a.Fields = nil
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b counterfoil.Record) int {
		if a.Created != b.Created {
			return int(a.Created - b.Created)
		}
		return strings.Compare(a.Session.String(), b.Session.String())
	})
	return list, nil
}
