package counterfoil

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil/token"
)

// Session is one request's view of a session. Read and write its data through [Field] and [Counter]; the store is not asked before one of them is
// used.
//
// Sets and deletes are collected and travel with [Session.Save], which the adapters call when the handler has returned without an error; increments,
// updates and pops take effect at once. Only what was touched travels, and only while the session lives: after it has ended, whoever ended it, every
// write and the first read return [ErrNotFound]. The first read loads all fields; later ones see them as they were then, and what this request has
// written since, without asking the store again.
//
// [Manager.Open], [Manager.Login], [Manager.Refresh] and [Manager.Anonymous] make one; the zero value is of no use. It is safe for concurrent use. It
// may be kept beyond its request for who it is and for [Session.Done], but what is set later is not saved by anybody.
type Session struct {
	m        *Manager
	subject  string
	authTime int64 // Unix ms; 0 = never

	mu         sync.Mutex
	barred     error           // why this request may not begin a session, nil if it may
	id         token.SessionID // zero until the session is stored
	begun      int64           // no later than this, Unix ms; a token that does not say it was issued later; 0 = not known
	generation uint64
	successor  *Session // begun by a login that is not finished: the old session still has to end
	ended      bool
	frozen     bool              // as loaded: it is being replaced
	fields     map[string][]byte // as loaded, kept up to date with what this request wrote; nil = not loaded
	seen       map[string]Value  // what this request has read: a set of it is compare-and-set
	pending    []Op              // sets and deletes to be saved
	issued     *Tokens           // made by beginning the session in this request
}

// Open returns the session that a verified token belongs to. It does not ask whether the session still lives; the first use of its data does. For a
// token of another issuer or audience it returns a session that has ended, whatever store the two share; for the zero Verified, one like
// [Manager.Anonymous].
func (m *Manager) Open(v token.Verified) *Session { return m.open(new(Session), v) }

// open is Open in a Session that is still the zero value.
func (m *Manager) open(s *Session, v token.Verified) *Session {
	s.m = m
	switch {
	case !v.Valid():
	case !m.ours(v):
		s.ended = true
	default:
		s.id, s.subject, s.generation = v.Session(), v.Subject(), v.Generation()
		s.begun = v.BeganMilli()
		if at, ok := v.AuthTime(); ok {
			s.authTime = at.UnixMilli()
		}
	}
	return s
}

// Anonymous returns a session that is not stored yet: the first write stores it. Its tokens are then in [Session.Issued].
func (m *Manager) Anonymous() *Session { return &Session{m: m} }

// ID returns the session's ID; the zero ID for a session that is not stored yet.
func (s *Session) ID() token.SessionID { s.mu.Lock(); defer s.mu.Unlock(); return s.id }

// Subject returns who is logged in, "" for an anonymous visitor.
func (s *Session) Subject() string { return s.subject }

// AuthTime returns when the subject last proved who it is; the zero time if it never did in this session.
func (s *Session) AuthTime() time.Time { return milli(s.authTime) }

// ours says whether a verified token was issued for this Manager, and not for another tenant's.
func (m *Manager) ours(v token.Verified) bool {
	return v.Valid() && v.Issuer() == m.issuerName && v.Audience() == m.audience
}

// Issued returns the tokens for the client of a session that this request began, and whether it began one. An adapter sends them as cookies; a client
// without cookies gets them from the handler.
func (s *Session) Issued() (Tokens, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.issued == nil {
		return Tokens{}, false
	}
	return *s.issued, true
}

// bar says why the request may not begin a session, nil if it may.
func (s *Session) bar(why error) { s.mu.Lock(); defer s.mu.Unlock(); s.barred = why }

func (s *Session) ref() Ref { return Ref{Session: s.id, Subject: s.subject, Generation: s.generation} }

// Save stores what was set and deleted since the last save: all of it or nothing. [ErrConflict] if another request changed a field that this one had
// read before setting it, [ErrTooLarge] if the session would be over its budget, [ErrNotFound] if it has ended. After [ErrUnavailable] the outcome is
// unknown; it is for the caller to decide whether to save again. After an error what was set stays collected until [Session.Discard], unless the
// session has ended.
func (s *Session) Save(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pending) == 0 {
		return nil
	}
	if s.id.IsZero() && !s.ended {
		// There is nothing yet that could be deleted, and no reason to begin a session.
		s.pending = slices.DeleteFunc(s.pending, func(op Op) bool { return op.Kind == OpDelete })
		if len(s.pending) == 0 {
			return nil
		}
	}
	_, err := s.apply(ctx)
	return err
}

// Discard forgets what was set and deleted since the last save.
func (s *Session) Discard() { s.mu.Lock(); defer s.mu.Unlock(); s.pending = nil }

// load reads the record unless it was read already. The caller holds the lock.
func (s *Session) load(ctx context.Context, again bool) error {
	switch {
	case s.ended:
		return ErrNotFound
	case s.fields != nil && !again:
		return nil
	case s.id.IsZero():
		s.fields = map[string][]byte{}
		return nil
	}
	if err := s.m.learn(ctx); err != nil {
		return err
	}
	r, err := s.m.store.Load(ctx, s.ref())
	if err != nil {
		return s.note(err)
	}
	if s.m.list.Has(s.id) || r.Created <= s.m.notBefore(s.subject) {
		// The list knows that it has ended: a failover or a restored copy has brought the record back.
		return s.note(s.m.endAgain(ctx, s.id))
	}
	s.begun, s.frozen = r.Created, r.Frozen
	s.fields = r.Fields // what was seen of the fields before stays what a set of them is compared with
	if s.fields == nil {
		s.fields = map[string][]byte{}
	}
	return nil
}

// lives asks the store whether the session does, under this ID: what ends others would take the one that is replacing it for another.
func (s *Session) lives(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(ctx, true); err != nil {
		return err
	}
	if s.frozen {
		return ErrNotFound
	}
	return nil
}

// revoked reports whether this process has heard that the session has ended.
func (s *Session) revoked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.m.list.Has(s.id) || s.begun <= s.m.notBefore(s.subject)
}

// note remembers that the session has ended. The caller holds the lock.
func (s *Session) note(err error) error {
	if errors.Is(err, ErrNotFound) {
		s.ended, s.pending, s.fields, s.seen = true, nil, nil, nil
	}
	return err
}

// get returns a field as this request sees it: its own pending set first, then the record. A field's value is sealed where values are, a
// counter's never.
func (s *Session) get(ctx context.Context, name string, sealed bool) (Value, error) {
	if err := checkName(name); err != nil {
		return Value{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, op := range slices.Backward(s.pending) {
		if op.Name == name {
			return Value{Bytes: op.Value, Present: op.Kind == OpSet}, nil
		}
	}
	if err := s.load(ctx, false); err != nil {
		return Value{}, err
	}
	v := s.see(name)
	if !sealed {
		return v, nil
	}
	return s.open(name, v)
}

// open opens a stored value. The caller holds the lock.
func (s *Session) open(name string, v Value) (Value, error) {
	if !v.Present {
		return v, nil
	}
	b, err := s.m.vault.open(s.id, name, v.Bytes)
	return Value{Bytes: b, Present: err == nil}, err
}

// see reads a loaded field and remembers that it was read. The caller holds the lock.
func (s *Session) see(name string) Value {
	b, ok := s.fields[name]
	v := Value{Bytes: b, Present: ok}
	if s.seen == nil {
		s.seen = map[string]Value{}
	}
	s.seen[name] = v
	return v
}

// put collects a set or a delete. It takes the place of an earlier one of the same field, whose condition stays.
func (s *Session) put(op Op) error {
	if err := checkName(op.Name); err != nil {
		return err
	}
	if len(op.Value) > MaxDataLen {
		return ErrTooLarge
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return ErrNotFound
	}
	if was, read := s.seen[op.Name]; read {
		op.If, op.Was = true, was
	}
	for i, earlier := range s.pending {
		if earlier.Name == op.Name {
			op.If, op.Was = earlier.If, earlier.Was
			s.pending = slices.Delete(s.pending, i, i+1)
			break
		}
	}
	s.pending = append(s.pending, op)
	return nil
}

// do applies one operation at once. What is pending for the same field goes before it, the rest stays pending.
func (s *Session) do(ctx context.Context, op Op) (Value, error) {
	if err := checkName(op.Name); err != nil {
		return Value{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var rest, first []Op
	for _, p := range s.pending {
		if p.Name == op.Name {
			first = append(first, p)
		} else {
			rest = append(rest, p)
		}
	}
	if op.Kind == OpTake && s.id.IsZero() && !s.ended {
		// Nothing is stored that anybody else could take, so no session has to begin for it.
		s.pending = rest
		for _, p := range first {
			if p.Kind == OpSet {
				return Value{Bytes: p.Value, Present: true}, nil
			}
		}
		return Value{}, nil
	}
	pending := s.pending
	s.pending = append(first, op)
	values, err := s.apply(ctx)
	if err != nil {
		if !s.ended {
			s.pending = pending
		}
		return Value{}, err
	}
	s.pending = rest
	if op.Kind == OpTake {
		return s.open(op.Name, values[len(values)-1])
	}
	return values[len(values)-1], nil
}

// apply sends what is pending, beginning the session if it is new. The caller holds the lock.
func (s *Session) apply(ctx context.Context) ([]Value, error) {
	if s.ended {
		return nil, ErrNotFound
	}
	id, begins := s.id, s.id.IsZero()
	if begins {
		if s.barred != nil {
			return nil, s.barred
		}
		if err := s.m.mayBegin(ctx); err != nil {
			return nil, err
		}
		var err error
		if id, err = newSessionID(slotTag("")); err != nil {
			return nil, err
		}
	}
	ops, err := s.m.vault.sealOps(id, s.pending)
	if err != nil {
		return nil, err
	}
	var values []Value
	if begins {
		created, err := s.m.create(ctx, s, NewRecord{Session: id, Idle: s.m.anonymousIdle, Absolute: s.m.absoluteLife, Ops: ops})
		if err != nil {
			return nil, err
		}
		values = created.Values
		if s.fields == nil {
			s.fields = map[string][]byte{}
		}
	} else {
		saved, err := s.m.store.Save(ctx, s.ref(), ops)
		if err != nil {
			return nil, s.note(err)
		}
		values = saved.Values
	}
	if len(values) != len(ops) {
		return nil, errors.New("counterfoil: the store answered another number of operations than it was given")
	}
	for i, op := range ops {
		s.wrote(op, values[i])
	}
	s.pending = nil
	return values, nil
}

// wrote keeps what is known of a field in step with what this request has written. The caller holds the lock.
func (s *Session) wrote(op Op, result Value) {
	now := Value{}
	switch op.Kind {
	case OpSet:
		now = Value{Bytes: op.Value, Present: true}
	case OpIncr:
		now = result
	}
	if s.fields != nil {
		if now.Present {
			s.fields[op.Name] = now.Bytes
		} else {
			delete(s.fields, op.Name)
		}
	}
	if _, read := s.seen[op.Name]; read {
		s.seen[op.Name] = now
	}
}

// maxTries ends an update whose function itself changes the field, or that never gets a turn.
const maxTries = 1000

// update replaces a field by what fn makes of it, again until nobody else changed it meanwhile. fn runs without the lock.
func (s *Session) update(ctx context.Context, name string, fn func(Value) (Value, error)) error {
	if err := checkName(name); err != nil {
		return err
	}
	for tries := 1; ; tries++ {
		was, stored, own, err := s.base(ctx, name, tries > 1)
		if err != nil {
			return err
		}
		is, err := fn(Value{Bytes: bytes.Clone(was.Bytes), Present: was.Present})
		if err != nil {
			return err
		}
		op := Op{Kind: OpDelete, Name: name, If: true, Was: stored}
		if is.Present {
			op.Kind, op.Value = OpSet, is.Bytes
		}
		if own != nil {
			op.If, op.Was = own.If, own.Was
		}
		err = s.applyOne(ctx, op, own)
		if errors.Is(err, errSetMeanwhile) && tries < maxTries {
			continue
		}
		// Each conflict means that another request got on; ctx bounds how long it may take. A condition that
		// an earlier set of this request brought along does not come true by waiting.
		if !errors.Is(err, ErrConflict) || own != nil || tries == maxTries {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// base returns what an update goes out from: what this request has set but not saved, and then that operation too, or else the record's
// value, and how it is stored.
func (s *Session) base(ctx context.Context, name string, again bool) (was, stored Value, own *Op, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, op := range s.pending {
		if op.Name == name {
			return Value{Bytes: op.Value, Present: op.Kind == OpSet}, Value{}, &op, nil
		}
	}
	if err := s.load(ctx, again); err != nil {
		return Value{}, Value{}, nil, err
	}
	stored = s.see(name)
	was, err = s.open(name, stored)
	return was, stored, nil, err
}

// errSetMeanwhile means that another goroutine of this request has set the field, or saved what was set, while an update's function ran.
var errSetMeanwhile = fmt.Errorf("%w: by this very request, while it was updated", ErrConflict)

// applyOne applies one operation now, in place of own, which is all that may be pending for its field. Everything else stays pending.
func (s *Session) applyOne(ctx context.Context, op Op, own *Op) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	pending := s.pending
	i := slices.IndexFunc(pending, func(p Op) bool { return p.Name == op.Name })
	if (i >= 0) != (own != nil) || i >= 0 && (pending[i].Kind != own.Kind || !bytes.Equal(pending[i].Value, own.Value)) {
		return errSetMeanwhile
	}
	s.pending = []Op{op}
	_, err := s.apply(ctx)
	switch {
	case s.ended:
	case err != nil:
		s.pending = pending
	default:
		s.pending = slices.DeleteFunc(pending, func(p Op) bool { return p.Name == op.Name })
	}
	return err
}

func checkName(name string) error {
	if name == "" || len(name) > MaxNameLen {
		return fmt.Errorf("counterfoil: the name of a field has 1 to %d bytes, not %d", MaxNameLen, len(name))
	}
	return nil
}
