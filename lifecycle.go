package counterfoil

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"strings"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

// LoginOptions says how a session begins.
type LoginOptions struct {
	// Carry names the fields of the visitor's session that come along. What is not named stays behind, because a visitor's data
	// may have been planted by someone else.
	Carry []string

	// Device is the label under which the subject will see this session in its list; at most 256 bytes.
	Device string
}

// Login begins a session of subject under a new ID, and ends the one it replaces, if from is one. The caller has made sure
// that it is subject who asks. The tokens are in [Session.Issued].
//
// No acknowledged write of a carried field is lost: the old record is frozen before it is copied. On an error nothing
// is known to have begun; the login may be repeated with the same from.
func (m *Manager) Login(ctx context.Context, from *Session, subject string, opt LoginOptions) (*Session, error) {
	if err := checkSubject(subject); err != nil {
		return nil, err
	}
	if len(opt.Device) > 256 {
		return nil, errors.New("counterfoil: LoginOptions.Device is longer than 256 bytes")
	}
	if from != nil && from.barred != nil {
		return nil, from.barred
	}
	fields, old, err := m.leave(ctx, from)
	if err != nil {
		return nil, err
	}
	r := NewRecord{
		Subject: subject, Idle: m.idleLife, Absolute: m.absoluteLife, Login: true, Device: opt.Device, Cap: m.maxSessions,
	}
	for _, name := range opt.Carry {
		if v, ok := fields[name]; ok {
			r.Ops = append(r.Ops, Op{Kind: OpSet, Name: name, Value: v})
		}
	}
	s := &Session{m: m}
	if _, err := m.create(ctx, s, r); err != nil {
		return nil, err
	}
	if !old.IsZero() {
		if err := m.End(ctx, old); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// leave freezes the session that a login replaces and returns its last fields, with what this request had still to save, and its ID.
func (m *Manager) leave(ctx context.Context, from *Session) (map[string][]byte, token.SessionID, error) {
	if from == nil {
		return nil, token.SessionID{}, nil
	}
	from.mu.Lock()
	defer from.mu.Unlock()
	fields := map[string][]byte{}
	if !from.id.IsZero() && !from.ended {
		r, err := m.store.Freeze(ctx, from.ref())
		switch {
		case errors.Is(err, ErrNotFound): // it ended meanwhile: nothing comes along
			from.pending = nil
		case err != nil:
			return nil, token.SessionID{}, err
		default:
			maps.Copy(fields, r.Fields)
		}
	}
	for _, op := range from.pending {
		if op.Kind == OpSet {
			fields[op.Name] = op.Value
		} else {
			delete(fields, op.Name)
		}
	}
	old := from.id
	from.ended, from.pending, from.fields, from.seen = true, nil, nil, nil
	return fields, old, nil
}

// create stores a record under a new ID, makes s its session and gives it tokens. The caller holds the lock of s.
func (m *Manager) create(ctx context.Context, s *Session, r NewRecord) (Created, error) {
	id, err := newSessionID(r.Subject)
	if err != nil {
		return Created{}, err
	}
	r.Session = id
	c, err := m.store.Create(ctx, r)
	if err != nil {
		return Created{}, err
	}
	if len(c.Evicted) > 0 {
		if err := m.announceSessions(ctx, c.At, c.Evicted); err != nil {
			return Created{}, err
		}
	}
	g := grant{generation: 1, at: c.At, expires: c.Expires, idleEnds: min(c.At+r.Idle.Milliseconds(), c.Expires), pair: true}
	if r.Login {
		g.authTime = c.At
	}
	tokens, err := m.mint(id, r.Subject, g)
	if err != nil {
		return Created{}, err
	}
	// The client has not got the tokens yet: generation 0 confirms nothing.
	s.id, s.subject, s.authTime, s.issued = id, r.Subject, milli(g.authTime), &tokens
	return c, nil
}

// End ends one session. When it returns nil the record is gone and the log tells every verifier.
// On an error repeat it: ending is idempotent, and a session that has already ended is announced again.
func (m *Manager) End(ctx context.Context, id token.SessionID) error {
	if id.IsZero() {
		return ErrNotFound
	}
	// The record first: once it is gone no token of the session can be made, so an entry appended after that needs
	// to live no longer than the last token made before.
	e, err := m.store.End(ctx, Ending{Session: id})
	if err != nil {
		return err
	}
	return m.announce(ctx, revocation.Entry{Kind: revocation.KindSession, At: e.At, Session: id})
}

// EndAll logs a subject out everywhere: all of its sessions end, also those that no index names. Sessions that begin afterwards live.
func (m *Manager) EndAll(ctx context.Context, subject string) error {
	if err := checkSubject(subject); err != nil {
		return err
	}
	e, err := m.store.End(ctx, Ending{Subject: subject})
	if err != nil {
		return err
	}
	return m.announce(ctx, revocation.Entry{
		Kind: revocation.KindSubject, At: e.At, Subject: token.SubjectHash(m.issuerName, subject), NotBefore: e.NotBefore,
	})
}

// EndOthers ends all sessions of the subject of s except s itself.
func (m *Manager) EndOthers(ctx context.Context, s *Session) error {
	subject, keep := s.Subject(), s.ID()
	if subject == "" || keep.IsZero() {
		return ErrNotFound
	}
	e, err := m.store.End(ctx, Ending{Subject: subject, Keep: keep})
	if err != nil || len(e.Sessions) == 0 {
		return err
	}
	if err := m.announceSessions(ctx, e.At, e.Sessions); err != nil {
		return err
	}
	// Only now may the index forget them: had this process died before, a repetition would have found them and told the log.
	_, err = m.store.End(ctx, Ending{Subject: subject, Keep: keep, Announced: e.Sessions})
	return err
}

// Sessions lists the live sessions of a subject, oldest first.
func (m *Manager) Sessions(ctx context.Context, subject string) ([]Record, error) {
	if err := checkSubject(subject); err != nil {
		return nil, err
	}
	return m.store.Sessions(ctx, subject)
}

// announce appends to the log and, at once, to this process's own list.
func (m *Manager) announce(ctx context.Context, entries ...revocation.Entry) error {
	err := m.store.Append(ctx, entries...)
	for _, e := range entries {
		// Whatever became of the log, the sessions have ended: this process refuses their tokens from now on.
		err = errors.Join(err, m.list.Add(e))
	}
	if err != nil {
		return fmt.Errorf("counterfoil: session ended, but not announced to verifiers: %w", err)
	}
	return nil
}

func (m *Manager) announceSessions(ctx context.Context, at int64, ids []token.SessionID) error {
	entries := make([]revocation.Entry, len(ids))
	for i, id := range ids {
		entries[i] = revocation.Entry{Kind: revocation.KindSession, At: at, Session: id}
	}
	return m.announce(ctx, entries...)
}

// endAgain answers for a session that the revocation list knows to have ended. Usually the record is long gone; if a
// failover brought it back, it goes now.
func (m *Manager) endAgain(ctx context.Context, id token.SessionID) error {
	if _, err := m.store.End(ctx, Ending{Session: id}); err != nil {
		return err
	}
	return ErrNotFound
}

// SubjectTag returns the slot tag of a subject: three base64url characters of its SHA-256. It is the first part of the
// ID of each of the subject's sessions and the hash tag of their keys, so all of them share a Redis Cluster slot. It
// tells that two sessions may be of one subject, and nothing about which.
func SubjectTag(subject string) string {
	sum := sha256.Sum256([]byte(subject))
	return base64.RawURLEncoding.EncodeToString(sum[:3])[:3]
}

// newSessionID makes an unguessable ID in the subject's slot, or in a random one for an anonymous visitor.
func newSessionID(subject string) (token.SessionID, error) {
	var b [16 + 3]byte
	rand.Read(b[:]) // never fails: it ends the program if the system has no randomness
	tag := base64.RawURLEncoding.EncodeToString(b[16:])[:3]
	if subject != "" {
		tag = SubjectTag(subject)
	}
	return token.NewSessionID(tag, [16]byte(b[:16]))
}

// checkSubject refuses what a token could not carry or a key should not hold.
func checkSubject(subject string) error {
	switch {
	case subject == "":
		return fmt.Errorf("counterfoil: subject is empty")
	case len(subject) > token.MaxSubjectLen:
		return fmt.Errorf("counterfoil: subject is longer than %d bytes", token.MaxSubjectLen)
	case !utf8.ValidString(subject) || strings.ContainsFunc(subject, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("counterfoil: subject is not UTF-8, or holds a control character")
	}
	return nil
}
