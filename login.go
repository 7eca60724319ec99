package counterfoil

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil/internal/device"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

// LoginOptions says how a session begins. The zero value begins one with the lives of [Config] and no field of the visitor's.
type LoginOptions struct {
	// Carry names the fields and counters of the visitor's session that come along. What is not named stays behind, because a visitor's data may
	// have been planted by someone else.
	Carry []string

	// Remember lets the cookies outlive the browser. Idle and Absolute are then at least 30 and 180 days unless set.
	Remember bool
	// Idle and Absolute are the lives of this session; 0 = those of Config. If one is set, the other gives way to it: a longer Idle alone makes the
	// absolute life as long, a shorter Absolute alone cuts the idle life. The bounds are those of Config; the most is 400 days.
	Idle, Absolute time.Duration

	// Device is the label under which the subject will see this session in its list; "" = one made of UserAgent.
	Device string
	// UserAgent and Address are those of the client that logs in. The adapters fill them in. The address is kept cut to its network.
	UserAgent, Address string

	// UnsafeFromOtherSite lets the session's cookies be set by the answer to a form that another site had the browser post, which is how an identity
	// provider answers with SAML or with OpenID Connect's form_post. Without it such a login is [ErrCrossSite], because any site could log its
	// visitors in as somebody of its choice and see what they then enter.
	//
	// It is sound only where the handler has found that this very browser asked for this login: that state, RelayState or InResponseTo matches a
	// cookie of the handler's own, short-lived and with SameSite=None. It covers a POST that shows a page, by a request without the session's
	// cookies, and nothing else.
	UnsafeFromOtherSite bool
}

const (
	rememberIdle     = 30 * 24 * time.Hour
	rememberAbsolute = 180 * 24 * time.Hour
	maxAbsolute      = 400 * 24 * time.Hour // the longest that browsers keep a cookie
)

// lives returns idle and absolute life of a session that begins so.
func (m *Manager) lives(opt LoginOptions) (idle, absolute time.Duration, err error) {
	idle, absolute = m.idleLife, m.absoluteLife
	if opt.Remember {
		idle, absolute = max(idle, rememberIdle), max(absolute, rememberAbsolute)
	}
	idle = orDefault(opt.Idle, idle)
	absolute = orDefault(opt.Absolute, max(absolute, idle))
	if idle > absolute && opt.Idle == 0 {
		idle = absolute
	}
	if idle < 2*m.accessLife || absolute < idle || absolute > maxAbsolute {
		return 0, 0, errors.New("counterfoil: LoginOptions.Idle is shorter than twice AccessLife, or Absolute shorter than Idle or longer than 400 days")
	}
	return idle, absolute, nil
}

// Login begins a session of subject under a new ID and, unless from is nil, ends the session that it replaces. The caller has made sure that it is
// subject who asks. The tokens are in [Session.Issued].
//
// What the request has set and not yet saved is saved first, so that an [ErrConflict] shows before anything else happens. No acknowledged write of a
// carried field is lost: the old record is frozen before it is copied. After an error the login may be repeated with the same from, and goes on where
// it stopped; the old session takes no more writes.
//
// [ErrSubject] if no token could carry the subject, a [*PausedError] shortly after everything was revoked, [ErrKeyRevoked] without a key to sign
// with, [ErrUnavailable] or [revocation.ErrStale] if store or log cannot be reached. Too few replicas for the end of the old session are no error:
// the Manager goes on until it is safe.
func (m *Manager) Login(ctx context.Context, from *Session, subject string, opt LoginOptions) (*Session, error) {
	if err := checkSubject(subject); err != nil {
		return nil, err
	}
	idle, absolute, err := m.lives(opt)
	if err != nil {
		return nil, err
	}
	if from == nil {
		from = m.Anonymous()
	}
	subject = strings.Clone(subject) // the session keeps it
	return m.replace(ctx, from, subject, func(Record) (NewRecord, []string, error) {
		return NewRecord{Idle: idle, Absolute: absolute, Login: true, Device: device.NewNote(opt.Remember, opt.Device, opt.UserAgent, opt.Address, m.locate).String()}, opt.Carry, nil
	})
}

// RotateOptions says how a session goes on under another ID.
type RotateOptions struct {
	// Reauthenticated says that the subject has just proved again who it is: the authentication time is now, which satisfies [RequireFresh].
	Reauthenticated bool
}

// Rotate gives a session a new ID, and with it new tokens, and ends the old one. Call it for every change of what the session may do, such as a
// second factor or an administrator's mode, so that whatever was known of the old one is of no use any more. All fields come along, as do subject,
// device and lives; the absolute life is not prolonged, and without Reauthenticated the session is as old as it was. What [Manager.Login] says of
// errors and retries holds here too.
//
// [ErrNotFound] if the session has ended, or was never stored. If somebody ends the session while this runs, it does not go on. Once it goes on under
// its new ID, an ending that names the old ID comes too late and ends nothing.
func (m *Manager) Rotate(ctx context.Context, from *Session, opt RotateOptions) (*Session, error) {
	return m.replace(ctx, from, from.Subject(), func(old Record) (NewRecord, []string, error) {
		if old.Session.IsZero() {
			return NewRecord{}, nil, ErrNotFound
		}
		return NewRecord{
			Idle: old.Idle, Absolute: time.Duration(old.Expires-old.Created) * time.Millisecond, NotAfter: old.Expires,
			Login: opt.Reauthenticated, AuthTime: old.AuthTime, Device: old.Device, Replaces: old.Session,
		}, slices.Sorted(maps.Keys(old.Fields)), nil
	})
}

// heir makes of the last state of a session the one that takes its place, and says which fields come along.
type heir func(old Record) (r NewRecord, fields []string, err error)

// replace begins the heir of a session and ends the session: freeze, create, end. What was done when it fails is not undone, and is not
// done again by the next try with the same from.
func (m *Manager) replace(ctx context.Context, from *Session, subject string, next heir) (*Session, error) {
	if from.m != m {
		return nil, errors.New("counterfoil: the session to replace is of another Manager")
	}
	from.mu.Lock()
	defer from.mu.Unlock()
	if from.barred != nil {
		return nil, from.barred
	}
	if err := m.mayBegin(ctx); err != nil { // before anything is frozen
		return nil, err
	}
	s := from.successor
	if s == nil || s.subject != subject || s.revoked() {
		var err error
		if s, err = m.succeed(ctx, from, subject, next); err != nil {
			return nil, err
		}
		from.successor = s
	}
	if !from.id.IsZero() {
		err := m.End(ctx, from.id)
		if errors.Is(err, ErrNotDurable) {
			// To refuse would lock everybody out while a replica is down. The old session has ended for everybody who asks now; if a failover brings its
			// record back, it is frozen, or whoever meets it ends it again by the log; and this process goes on ending it until enough replicas know.
			m.log.WarnContext(ctx, "counterfoil: the session that was replaced may come back if the master is lost now", "session", m.blur(from.id), "error", err)
		} else if err != nil {
			return nil, err
		}
	}
	from.ended, from.pending, from.fields, from.seen = true, nil, nil, nil
	return s, nil
}

// succeed freezes the old session and creates its heir. The caller holds the lock of from.
func (m *Manager) succeed(ctx context.Context, from *Session, subject string, next heir) (*Session, error) {
	old, err := m.leave(ctx, from)
	if err != nil {
		return nil, err
	}
	r, names, err := next(old)
	if err != nil {
		return nil, err
	}
	r.Subject, r.Cap, r.Inherited = subject, m.maxSessions, !old.Session.IsZero()
	tag := slotTag(subject)
	if !r.Replaces.IsZero() {
		tag = r.Replaces.Tag() // an anonymous session's is random
	}
	if r.Session, err = newSessionID(tag); err != nil {
		return nil, err
	}
	taken := map[string]bool{}
	for _, name := range names {
		value, ok := old.Fields[name]
		if !ok || taken[name] {
			continue
		}
		taken[name] = true
		if old.Session.IsZero() { // never stored, so not sealed either
			value, err = m.vault.seal(r.Session, name, value)
		} else {
			value, err = m.vault.move(old.Session, r.Session, name, value)
		}
		if err != nil { // it would fail its reads, and must not fail the session
			m.log.WarnContext(ctx, "counterfoil: a value that does not open stays behind", "field", name, "session", m.blur(old.Session))
			continue
		}
		r.Ops = append(r.Ops, Op{Kind: OpSet, Name: name, Value: value})
	}
	s := &Session{m: m, subject: subject}
	if _, err := m.create(ctx, s, r); err != nil {
		return nil, err
	}
	return s, nil
}

// leave saves what the request has set, freezes the record and returns it: the last state it will ever have. For a session that is not
// stored it returns what would have been; for one that has ended, what this request has set alone. The caller holds the lock of from.
func (m *Manager) leave(ctx context.Context, from *Session) (Record, error) {
	set := from.pending
	switch {
	case from.ended || from.successor != nil:
		return Record{}, nil
	case from.id.IsZero():
		return Record{Fields: firstFields(set)}, nil
	}
	var err error
	if len(set) > 0 {
		_, err = from.apply(ctx)
	}
	unsaved := errors.Is(err, ErrNotFound)
	if err != nil && !unsaved {
		return Record{}, err
	}
	// A try before this one may have frozen it: then it takes no save, and can still be copied.
	from.ended = false
	r, err := m.store.Freeze(ctx, from.ref())
	if err == nil && (m.list.Has(from.id) || r.Created <= m.notBefore(from.subject)) {
		err = m.endAgain(ctx, from.id) // a failover or a restored copy has brought the record back
	}
	switch {
	case errors.Is(err, ErrNotFound): // it ended meanwhile: nothing of it comes along
		return Record{Fields: firstFields(slices.DeleteFunc(set, func(op Op) bool { return op.If && op.Was.Present }))}, nil
	case err != nil || !unsaved:
		return r, err
	}
	sealed, err := m.vault.sealOps(from.id, set)
	if err != nil {
		return Record{}, err
	}
	for _, op := range sealed {
		is, ok := r.Fields[op.Name]
		switch {
		case op.If && (ok != op.Was.Present || !bytes.Equal(is, op.Was.Bytes)):
			return Record{}, ErrConflict
		case op.Kind == OpSet:
			r.Fields[op.Name] = op.Value
		default:
			delete(r.Fields, op.Name)
		}
	}
	return r, nil
}

// create stores a record, makes s its session and gives it tokens. The caller holds the lock of s, or nobody else has s.
func (m *Manager) create(ctx context.Context, s *Session, r NewRecord) (Created, error) {
	snapshot := &Session{m: m, id: r.Session, subject: r.Subject, authTime: r.AuthTime, fields: firstFields(r.Ops)}
	if r.Login {
		snapshot.authTime = m.now().UnixMilli()
	}
	claims, err := m.project(ctx, snapshot)
	if err != nil {
		return Created{}, err
	}
	if err := m.tryMint(r.Session, r.Subject, claims); err != nil {
		return Created{}, err
	}
	c, err := m.store.Create(ctx, r)
	if errors.Is(err, ErrNotDurable) {
		// The session has begun, and those that the cap has ended have ended. A replica that is down is no reason to keep anybody out.
		for _, id := range c.Evicted {
			m.owe(debt{session: id})
		}
	} else if err != nil {
		return Created{}, err
	}
	if len(c.Evicted) > 0 {
		// If this process dies here, their last tokens live out their minutes at verifiers. To remember them in the index, as for EndOthers, would help only
		// a subject that logs in again within those minutes.
		if _, err := m.announceSessions(ctx, max(c.At, c.Ended), c.Evicted); err != nil && !errors.Is(err, ErrNotDurable) {
			// They have ended, and the heartbeat goes on telling; the login is not to blame.
			m.log.WarnContext(ctx, "counterfoil: sessions ended by the cap are not yet announced to verifiers", "sessions", len(c.Evicted), "error", err)
		}
	}
	if c.Began == 0 {
		c.Began = c.At
	}
	if n := m.notBefore(r.Subject); c.Began <= n { // it was revoked meanwhile; or a failover has lost that, and the new master's clock is behind
		_ = m.End(ctx, r.Session) // nobody has its tokens
		if r.Replaces.IsZero() || r.Login {
			return Created{}, &PausedError{Until: milli(n)}
		}
		return Created{}, ErrNotFound // it is as old as the one that it replaces
	}
	g := grant{
		generation: 1, began: c.Began, at: c.At, expires: c.Expires, idleEnds: min(c.At+r.Idle.Milliseconds(), c.Expires), authTime: r.AuthTime,
		pair: true, persistent: device.ParseNote(r.Device).Persistent, claims: claims,
	}
	if r.Login {
		g.authTime = c.At
	}
	tokens, err := m.mint(r.Session, r.Subject, g)
	if err != nil {
		return Created{}, err
	}
	// The client has not got the tokens yet: generation 0 confirms nothing.
	s.id, s.begun, s.issued = r.Session, c.Began, &tokens
	if g.authTime != 0 { // then s is new, and nobody else has it
		s.authTime = g.authTime
	}
	return c, nil
}

// firstFields is what the operations make of a new record.
func firstFields(ops []Op) map[string][]byte {
	fields := map[string][]byte{}
	for _, op := range ops {
		switch op.Kind {
		case OpSet:
			fields[op.Name] = op.Value
		case OpIncr:
			n, _ := strconv.ParseInt(string(fields[op.Name]), 10, 64)
			fields[op.Name] = strconv.AppendInt(nil, n+op.By, 10)
		default:
			delete(fields, op.Name)
		}
	}
	return fields
}

// mayBegin says why no session can begin now, nil if one can.
func (m *Manager) mayBegin(ctx context.Context) error {
	if err := m.learn(ctx); err != nil {
		return err
	}
	if m.barren.Load() {
		return ErrKeyRevoked
	}
	if n := m.list.AllNotBefore(); m.now().UnixMilli() <= n {
		return &PausedError{Until: milli(n)}
	}
	return nil
}

// learn makes sure that this process's list holds what is revoked for good: everything until a time, and keys. A fresh list does. While it is stale, just after
// the start or cut off from the log, the store is asked; if that cannot be done, the policy decides as it does for tokens.
func (m *Manager) learn(ctx context.Context) error {
	if m.guard.Status().Fresh {
		return nil
	}
	err := revocation.ErrStale
	if m.store.asker != nil {
		err = m.ask(ctx)
	}
	if m.guard.Policy() == revocation.BestEffort {
		return nil
	}
	return err
}

// ask asks the store what is revoked for good.
func (m *Manager) ask(ctx context.Context) error {
	a, err := m.store.Ask(ctx, m.probe)
	if err != nil {
		return err
	}
	if a.AllNotBefore > 0 {
		m.takeIn("", revocation.Entry{Kind: revocation.KindAll, NotBefore: a.AllNotBefore})
	}
	for _, id := range a.RevokedKeys {
		m.takeIn("", revocation.Entry{Kind: revocation.KindKey, KeyID: id})
	}
	return nil
}

// Device is one session of a subject, as a page shows it to that subject, who asks: where am I logged in, and what can I end?
type Device struct {
	// Handle names the session to [Manager.EndDevice]. It is not the session's ID, reveals nothing, and is of no use to another subject.
	Handle string

	Label    string // such as "Firefox on Windows"; "" if the login did not say
	Address  string // of the login, cut to its network, such as "203.0.113.0/24"
	Location string // what Config.Locate made of the address

	LoggedIn   time.Time // when this session began
	LastSeen   time.Time // when its tokens were last renewed; exact to about half an access life
	Expires    time.Time // its absolute expiry; it may end sooner, by being idle
	Persistent bool      // its cookies outlive the browser
	Current    bool      // it is the session that asks
}

// Devices lists the sessions of the subject of s, oldest first. [ErrNotFound] if s is anonymous, or has ended.
func (m *Manager) Devices(ctx context.Context, s *Session) ([]Device, error) {
	if s.Subject() == "" {
		return nil, ErrNotFound
	}
	records, err := m.sessions(ctx, s.Subject())
	if err != nil {
		return nil, err
	}
	list := make([]Device, 0, len(records))
	for _, r := range records {
		if r.Frozen {
			continue // it is being replaced
		}
		note := device.ParseNote(r.Device)
		list = append(list, Device{
			Handle: m.handles.Seal(r.Session, s.Subject()), Label: note.Label, Address: note.Address, Location: note.Location,
			LoggedIn: milli(r.Created), LastSeen: milli(r.Renewed), Expires: milli(r.Expires),
			Persistent: note.Persistent, Current: r.Session == s.ID(),
		})
	}
	if !slices.ContainsFunc(list, func(d Device) bool { return d.Current }) {
		return nil, ErrNotFound
	}
	return list, nil
}

// EndDevice ends the session that a handle of [Manager.Devices] names; it may be s itself. [ErrNotFound] if the handle was not made for the subject
// of s. Like [Manager.End] it is idempotent.
func (m *Manager) EndDevice(ctx context.Context, s *Session, handle string) error {
	id, ok := m.handles.Open(handle, s.Subject())
	if !ok {
		return ErrNotFound
	}
	return m.End(ctx, id)
}

// Sessions lists the live sessions of a subject, oldest first and without their fields, for an administrator; their Device is the label alone. For a
// page of the subject's own there is [Manager.Devices]. [ErrSubject] if subject cannot be one.
func (m *Manager) Sessions(ctx context.Context, subject string) ([]Record, error) {
	list, err := m.sessions(ctx, subject)
	for i, r := range list {
		list[i].Device = device.ParseNote(r.Device).Label
	}
	return list, err
}

func (m *Manager) sessions(ctx context.Context, subject string) ([]Record, error) {
	if err := checkSubject(subject); err != nil {
		return nil, err
	}
	list, err := m.store.Sessions(ctx, subject)
	notBefore := m.notBefore(subject)
	return slices.DeleteFunc(list, func(r Record) bool { return r.Created <= notBefore || m.list.Has(r.Session) }), err
}

// SubjectTag returns the slot tag of a subject: three base64url characters of its SHA-256. It is the first part of the ID of each of the subject's
// sessions and the hash tag of their keys, so all of them share a Redis Cluster slot. It reveals that two sessions may belong to one subject, and
// nothing about which. The sessions of anonymous visitors have random tags instead.
func SubjectTag(subject string) string {
	sum := sha256.Sum256([]byte(subject))
	return base64.RawURLEncoding.EncodeToString(sum[:3])[:3]
}

// slotTag returns the slot tag for a new session: the subject's, or a random one for an anonymous visitor.
func slotTag(subject string) string {
	if subject != "" {
		return SubjectTag(subject)
	}
	var b [3]byte
	rand.Read(b[:]) // never fails: it ends the program if the system has no randomness
	return base64.RawURLEncoding.EncodeToString(b[:])[:3]
}

// newSessionID makes an unguessable ID in a slot.
func newSessionID(tag string) (token.SessionID, error) {
	var b [16]byte
	rand.Read(b[:])
	return token.NewSessionID(tag, b)
}

// checkSubject refuses what a token could not carry or a key should not hold.
func checkSubject(subject string) error {
	switch {
	case subject == "":
		return fmt.Errorf("%w: it is empty", ErrSubject)
	case len(subject) > token.MaxSubjectLen:
		return fmt.Errorf("%w: it is longer than %d bytes", ErrSubject, token.MaxSubjectLen)
	case !utf8.ValidString(subject) || strings.ContainsFunc(subject, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("%w: it is not UTF-8, or holds a control character", ErrSubject)
	}
	return nil
}
