package counterfoil

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

// Revocation says what [Manager.Revoke] revokes. Exactly one of Session, Subject, Everything and Key is set.
type Revocation struct {
	Session    token.SessionID // a session; that of a token is v.Session()
	Subject    string          // all sessions of a subject
	Keep       token.SessionID // with Subject: all but this one, which has to be a session of the subject that lives and is not being replaced
	Everything bool            // all sessions and tokens of everybody. Nobody can log in for Config.Leeway and one second after that, see [PausedError]
	Key        string          // all tokens that were signed with the key of this ID, for good. Sessions live on, with tokens of another key

	// Wait is how long to wait at most, afterwards, until every follower of the log has confirmed that it refuses what was revoked. 0 = not at all.
	Wait time.Duration
}

// Revoked is the answer of [Manager.Revoke].
type Revoked struct {
	Position  revocation.Position // in the log: who has read up to here knows; "" = there was nothing to announce
	NotBefore time.Time           // of Subject without Keep, and of Everything: what began until then is dead
	Told      time.Time           // when the log was given it, or when this process heard of it, by this machine's clock: [Confirmation.After] counts from then

	// After a Wait: the followers that were live when it began, applications with their own list included. Those that have confirmed are in the
	// order in which they did, the missing ones in that of their names.
	Confirmed []Confirmation
	Missing   []string
}

// A Confirmation says that a follower of the revocation log refuses what was revoked.
type Confirmation struct {
	Follower string        // its name, "/", and what tells it from others of that name; see Config.Name and package revocation/feed
	After    time.Duration // from when the log was given the revocation, to a millisecond or two
}

// ErrNoCensus means that nobody knows who follows the log, because the Store is no [revocation.Census]. It comes beside the answer of a revocation
// that was to wait for confirmations: the revocation took place, and nobody was waited for.
var ErrNoCensus = errors.New("counterfoil: the store does not tell who follows the revocation log")

// Revoke revokes, waits for confirmations if it is told to, and returns who has confirmed and who has not; that some have not is no error. When the
// error is nil, what is revoked has ended, the log says so, and both are as safe as the store was configured to keep them. Otherwise repeat the whole
// call: revoking is idempotent.
//
//   - [ErrNotDurable] comes beside the answer: it is revoked, here and now, and announced, but the loss of a master could undo it. This process goes
//     on by itself to make the endings of sessions safe; a repetition tells when they are.
//   - [ErrUnavailable]: the store or the log could not be reached. Sessions that the store says have ended are announced as soon as the log can be
//     reached. If its answer was lost, and of Everything and Key, nobody knows whether it is done.
//   - [ErrNoCensus] comes beside the answer.
//   - [ErrNotFound]: the session to Keep is none, has ended or is being replaced, and nothing ended. What an earlier try ended, whose answer was lost
//     on the way, has ended; it is announced by the next try with a session to Keep that lives.
//   - [ErrSubject], or another error, if what names nothing that can be revoked; also for the only key of [Config.Keys].
func (m *Manager) Revoke(ctx context.Context, what Revocation) (Revoked, error) {
	var did done
	var err error
	switch one := (Revocation{Wait: what.Wait}); {
	case !what.Session.IsZero():
		one.Session = what.Session
		if one != what {
			return Revoked{}, errRevocation
		}
		did, err = m.endSession(ctx, what.Session)
	case what.Subject != "":
		one.Subject, one.Keep = what.Subject, what.Keep
		if one != what {
			return Revoked{}, errRevocation
		}
		did, err = m.endSubject(ctx, what.Subject, what.Keep)
	case what.Everything:
		one.Everything = true
		if one != what {
			return Revoked{}, errRevocation
		}
		did, err = m.endEverything(ctx)
	case what.Key != "":
		one.Key = what.Key
		if one != what {
			return Revoked{}, errRevocation
		}
		did, err = m.revokeKey(ctx, what.Key)
	default:
		return Revoked{}, errRevocation
	}
	r := Revoked{Position: did.at, NotBefore: milli(did.notBefore), Told: did.sent}
	if err != nil && !errors.Is(err, ErrNotDurable) || what.Wait <= 0 || did.at == "" {
		return r, err
	}
	return r, errors.Join(err, m.await(ctx, did, what.Wait, &r))
}

var errRevocation = errors.New("counterfoil: a Revocation names one of Session, Subject, Everything and Key, and Keep only with Subject")

// done is what was revoked, and where the log says so.
type done struct {
	at        revocation.Position // "" = nothing had to be said
	entries   []revocation.Entry  // what was said; the last one is in the record at that position
	sent      time.Time           // when the log was told
	slack     time.Duration       // by how much sooner that may have been, where it is not known
	waited    time.Duration       // before that, with a record that the log has lost
	notBefore int64
}

// heard is something that the log said, which it was told a moment ago.
func heard(at revocation.Position, e revocation.Entry) done {
	return done{at: at, entries: []revocation.Entry{e}, sent: time.Now(), slack: 2 * revocation.Heartbeat}
}

// End ends one session. When it returns nil the record is gone and the log tells every verifier. The errors are those of [Manager.Revoke]; on an
// error repeat it: ending is idempotent, and a session that has already ended is announced again. [ErrNotFound] is for the zero ID alone.
func (m *Manager) End(ctx context.Context, id token.SessionID) error {
	_, err := m.endSession(ctx, id)
	return err
}

// EndToken ends the session of an access or a refresh token, for a service that is handed one to revoke (RFC 7009). A refresh token is not judged,
// only recognised, and a token that has been revoked already is accepted too: so a call that returned [ErrNotDurable] can be repeated. The errors of
// package token mean that there is nothing to end: the token is none of this Manager's, or has expired.
func (m *Manager) EndToken(ctx context.Context, raw string) error {
	if t, err := m.sealer.open(raw); err == nil {
		if m.now().Add(-m.leeway).Unix() > t.expires {
			return &token.ExpiredError{ExpiresMilli: 1000 * t.expires}
		}
		return m.End(ctx, t.session)
	}
	v, err := m.verifier.Verify(raw)
	if err != nil {
		return err
	}
	return m.End(ctx, v.Session())
}

// EndAll logs a subject out everywhere: all of its sessions end, also those that no index names. Sessions that begin afterwards live. The errors are
// those of [Manager.Revoke].
func (m *Manager) EndAll(ctx context.Context, subject string) error {
	_, err := m.endSubject(ctx, subject, token.SessionID{})
	return err
}

// EndOthers ends all sessions of the subject of s except s itself. [ErrNotFound], and nothing ends, if s is anonymous or, as the store has it, has
// ended or is being replaced by a login or a rotation.
func (m *Manager) EndOthers(ctx context.Context, s *Session) error {
	subject, keep := s.Subject(), s.ID()
	if subject == "" || keep.IsZero() {
		return ErrNotFound
	}
	// Whether the store has it is decided by the step that ends the others, where nothing can come between. But a session that has ended may have come back
	// there, with a failover, and only the list knows.
	if err := s.lives(ctx); err != nil {
		return err
	}
	_, err := m.endSubject(ctx, subject, keep)
	return err
}

func (m *Manager) endSession(ctx context.Context, id token.SessionID) (done, error) {
	if id.IsZero() {
		return done{}, ErrNotFound
	}
	// The record first: once it is gone no token of the session can be made, so an entry appended after that needs
	// to live no longer than the last token made before.
	e, weak := m.store.End(ctx, Ending{Session: id})
	if weak != nil && !errors.Is(weak, ErrNotDurable) {
		return done{}, weak
	}
	if weak != nil {
		m.owe(debt{session: id})
	}
	d, err := m.announceSessions(ctx, e.At, []token.SessionID{id})
	return d, worse(weak, err)
}

// worse returns the error that says more: what is not announced matters more than what is not durable.
func worse(weak, err error) error {
	if err != nil {
		return err
	}
	return weak
}

// endSubject ends the sessions of a subject, but one if keep is one.
func (m *Manager) endSubject(ctx context.Context, subject string, keep token.SessionID) (done, error) {
	if err := checkSubject(subject); err != nil {
		return done{}, err
	}
	how := Ending{Subject: subject, Keep: keep}
	e, weak := m.store.End(ctx, how)
	if weak != nil && !errors.Is(weak, ErrNotDurable) {
		return done{}, weak
	}
	if keep.IsZero() {
		if weak != nil {
			m.owe(debt{subject: strings.Clone(subject), notBefore: e.NotBefore}) // a view of a buffer would name somebody else by the time of the next try
		}
		d, err := m.announce(ctx, revocation.Entry{
			Kind: revocation.KindSubject, At: e.At, Subject: token.SubjectHash(m.issuerName, subject), NotBefore: e.NotBefore,
		})
		d.notBefore = e.NotBefore
		return d, worse(weak, err)
	}
	if len(e.Sessions) == 0 {
		return done{}, weak
	}
	if weak != nil {
		for _, id := range e.Sessions {
			m.owe(debt{session: id})
		}
	}
	d, err := m.announceSessions(ctx, e.At, e.Sessions)
	if err = worse(weak, err); err != nil {
		return d, err // a repetition finds them in the index, and ends and tells them again
	}
	// Only now may the index forget them: had this process died before, a repetition would have found them and told the log.
	how.Announced = e.Sessions
	if _, err := m.store.End(ctx, how); err != nil && !errors.Is(err, ErrNotDurable) { // if that is lost they are told once more, which is no harm
		return d, err
	}
	return d, nil
}

// endAgain answers for a session that the revocation list knows to have ended. Usually the record is long gone; if a
// failover brought it back, it goes now.
func (m *Manager) endAgain(ctx context.Context, id token.SessionID) error {
	if _, err := m.store.End(ctx, Ending{Session: id}); errors.Is(err, ErrNotDurable) {
		m.owe(debt{session: id})
	} else if err != nil {
		return err
	}
	return ErrNotFound
}

const (
	everythingSlack = time.Second // for the way to the log
	everythingTries = 5
)

// endEverything revokes all that began until now. The not-before is the log node's now and the leeway, by which the clocks of other masters may be ahead: no
// session that exists when this is appended began later by its own master's clock. Whether it was late enough is known only afterwards.
func (m *Manager) endEverything(ctx context.Context) (done, error) {
	a, err := m.store.Append(ctx)
	for range everythingTries {
		if err != nil && !errors.Is(err, ErrNotDurable) {
			return done{}, err
		}
		if a.Now == 0 {
			return done{}, errors.New("counterfoil: the revocation log tells no time, so nobody knows what everything is")
		}
		d := done{sent: time.Now(), notBefore: a.Now + (m.leeway + everythingSlack).Milliseconds()}
		e := revocation.Entry{Kind: revocation.KindAll, At: a.Now, NotBefore: d.notBefore}
		a, err = m.store.Append(ctx, e)
		if err != nil && !errors.Is(err, ErrNotDurable) {
			return done{}, err
		}
		m.takeIn(a.Position, e)
		if a.Now+m.leeway.Milliseconds() <= d.notBefore {
			d.at, d.entries = a.Position, []revocation.Entry{e}
			m.log.WarnContext(ctx, "counterfoil: everything was revoked", "sessions_begin_again", milli(d.notBefore))
			return d, err
		}
	}
	return done{}, fmt.Errorf("%w: the revocation log answers too late to say what everything is", ErrUnavailable)
}

// revokeKey revokes what was signed with a key. That of a process's own ring may not be the only one, since then nobody could log in: it is refused before it is
// done, whereas a process that hears of it has to cope, see [ErrKeyRevoked].
func (m *Manager) revokeKey(ctx context.Context, id string) (done, error) {
	good := m.PublicKeys()
	if len(good) == 1 && good[0].ID() == id {
		return done{}, errors.New("counterfoil: this is the only key of Config.Keys: add another one before it is revoked")
	}
	ours := m.list.HasKey(id) || slices.ContainsFunc(m.ring.Public(), func(k token.Key) bool { return k.ID() == id })
	a, err := m.store.Append(ctx)
	if err != nil && !errors.Is(err, ErrNotDurable) {
		return done{}, err
	}
	if a.Now == 0 {
		a.Now = m.now().UnixMilli()
	}
	d := done{sent: time.Now()}
	e := revocation.Entry{Kind: revocation.KindKey, At: a.Now, KeyID: strings.Clone(id)} // the list keeps it for good
	if a, err = m.store.Append(ctx, e); err != nil && !errors.Is(err, ErrNotDurable) {
		return done{}, err
	}
	m.takeIn(a.Position, e)
	m.log.WarnContext(ctx, "counterfoil: a signing key was revoked", "key", id)
	if !ours { // a slip of the pen stays in every list for good
		m.log.WarnContext(ctx, "counterfoil: the revoked key is no key of this ring", "key", id)
	}
	d.at, d.entries = a.Position, []revocation.Entry{e}
	return d, err
}

const (
	pollLeast = 2 * time.Millisecond
	pollMost  = 100 * time.Millisecond

	retellEach = revocation.Heartbeat // a record is not taken for lost sooner: a census may lag
)

// await looks at the census again and again, until all who were live when it began have confirmed, or the time is over. What the log turns out to have lost
// meanwhile it appends again, and then that is what is to be confirmed.
func (m *Manager) await(ctx context.Context, d done, wait time.Duration, r *Revoked) error {
	if m.census == nil {
		return ErrNoCensus
	}
	ctx, over := context.WithTimeout(ctx, wait)
	defer over()
	waiting := map[string]bool(nil) // nil until the first census
	for pause := pollLeast; ; pause = min(2*pause, pollMost) {
		all, holds, err := m.followers(ctx, d)
		if err == nil && !holds && time.Since(d.sent) >= retellEach {
			now := time.Now()
			if a, err := m.store.Append(ctx, d.entries...); err == nil || errors.Is(err, ErrNotDurable) { // otherwise the next look tries again
				d.at, d.waited, d.sent, d.slack = a.Position, d.waited+now.Sub(d.sent), now, 0
				r.Position = d.at
			}
		}
		if err == nil {
			if waiting == nil {
				waiting = map[string]bool{}
				for _, p := range all {
					waiting[p.Follower] = true
				}
			}
			for _, p := range all {
				if waiting[p.Follower] && p.confirmed {
					delete(waiting, p.Follower)
					r.Confirmed = append(r.Confirmed, Confirmation{p.Follower, p.after})
				}
			}
			if len(waiting) == 0 {
				break
			}
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
			continue
		case <-ctx.Done():
			timer.Stop()
		}
		if waiting == nil {
			return fmt.Errorf("%w: revoked, but it is not known who has confirmed: %w", ErrUnavailable, err)
		}
		break
	}
	slices.SortStableFunc(r.Confirmed, func(a, b Confirmation) int { return int(a.After - b.After) })
	r.Missing = slices.Sorted(maps.Keys(waiting))
	return nil
}

// progress is how far a follower is towards a revocation.
type progress struct {
	revocation.Progress
	confirmed bool
	after     time.Duration
}

// followers returns how far the followers are, and whether the log holds what it was told. If it does not nobody has confirmed: a replica that lacks it may have
// been promoted, and what is read there has later positions.
func (m *Manager) followers(ctx context.Context, d done) (list []progress, holds bool, err error) {
	ctx, over := context.WithTimeout(ctx, m.store.timeout)
	defer over()
	all, holds, err := m.census.Holding(ctx, d.at, d.entries[len(d.entries)-1])
	if err != nil {
		return nil, false, err
	}
	list = make([]progress, len(all))
	for i, p := range all {
		// A report from before the revocation says nothing of it, whatever its position: it may be of an epoch that was ahead of this one.
		after := time.Since(d.sent) - p.Silent
		const grain = 2 * time.Millisecond // the log counts in milliseconds
		confirmed := holds && !p.Apart && !m.census.Before(p.Position, d.at) && after >= -grain-d.slack
		list[i] = progress{p, confirmed, d.waited + max(0, after)}
	}
	return list, holds, nil
}

// Confirmed tells which followers of the log know by now that a session has ended, and which do not. handle is that of [Manager.Devices] for the
// subject of s. known is false as long as this process has not heard of the end itself, and for a handle of somebody else's. [ErrNoCensus] if nobody
// knows who follows the log.
func (m *Manager) Confirmed(ctx context.Context, s *Session, handle string) (r Revoked, known bool, err error) {
	id, ok := m.handles.Open(handle, s.Subject())
	if !ok || !m.list.Has(id) {
		return Revoked{}, false, nil
	}
	if m.census == nil {
		return Revoked{}, false, ErrNoCensus
	}
	m.mu.Lock()
	d := m.trail.find(id)
	m.mu.Unlock()
	if d.at == "" {
		// It was heard of before this process began to note where, or the log has lost it. That it is before the newest record is not certain: it may have been in
		// another history of the log. So it is said once more.
		now, err := m.store.Append(ctx)
		if err != nil && !errors.Is(err, ErrNotDurable) {
			return Revoked{}, false, err
		}
		if now.Now == 0 {
			now.Now = m.now().UnixMilli()
		}
		e := revocation.Entry{Kind: revocation.KindSession, At: now.Now, Session: id}
		a, err := m.store.Append(ctx, e)
		if err != nil && !errors.Is(err, ErrNotDurable) {
			return Revoked{}, false, err
		}
		d = heard(a.Position, e)
		m.mu.Lock()
		m.trail.note(id, d)
		m.mu.Unlock()
	}
	all, holds, err := m.followers(ctx, d)
	if err != nil {
		return Revoked{}, false, err
	}
	if !holds && time.Since(d.sent) >= retellEach {
		m.mu.Lock()
		m.trail.forget(id)
		m.mu.Unlock()
	}
	r.Position, r.Told = d.at, d.sent
	for _, p := range all {
		if p.confirmed {
			r.Confirmed = append(r.Confirmed, Confirmation{p.Follower, p.after})
		} else {
			r.Missing = append(r.Missing, p.Follower)
		}
	}
	return r, true, nil
}

// trail remembers where the log told the ends of the last few thousand sessions.
type trail struct {
	where map[token.SessionID]done
	order []token.SessionID // a ring, once it is full
	next  int
}

const maxTrail = 4096

func (t *trail) find(id token.SessionID) done { return t.where[id] }

// forget has the end be told again, where somebody asks.
func (t *trail) forget(id token.SessionID) { delete(t.where, id) }

func (t *trail) note(id token.SessionID, d done) {
	if _, ok := t.where[id]; ok || d.at == "" {
		return
	}
	d.entries = slices.Clone(d.entries[len(d.entries)-1:]) // that at the position; the others are not kept for it
	if t.where == nil {
		t.where = map[token.SessionID]done{}
	}
	if len(t.order) < maxTrail {
		t.order = append(t.order, id)
	} else {
		delete(t.where, t.order[t.next])
		t.order[t.next] = id
		t.next = (t.next + 1) % maxTrail
	}
	t.where[id] = d
}

// announce tells this process's own list and the log that sessions have ended. What the log does not take now the heartbeat appends later: a caller that
// does not repeat the step must not leave a verifier ignorant. [ErrNotDurable]: it is in the log.
func (m *Manager) announce(ctx context.Context, entries ...revocation.Entry) (done, error) {
	// Whatever becomes of the log, the sessions have ended: this process refuses their tokens from now on.
	var bad error
	for _, e := range entries {
		bad = errors.Join(bad, m.takeIn("", e))
	}
	d := done{entries: entries, sent: time.Now()}
	a, err := m.store.Append(ctx, entries...)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil && !errors.Is(err, ErrNotDurable) {
		m.untold.Add(entries...)
		return done{}, fmt.Errorf("counterfoil: session ended, but not announced to verifiers: %w", err)
	}
	d.at = a.Position
	for _, e := range entries {
		if e.Kind == revocation.KindSession {
			m.trail.note(e.Session, d)
		}
	}
	return d, worse(err, bad)
}

func (m *Manager) announceSessions(ctx context.Context, at int64, ids []token.SessionID) (done, error) {
	entries := make([]revocation.Entry, len(ids))
	for i, id := range ids {
		entries[i] = revocation.Entry{Kind: revocation.KindSession, At: at, Session: id}
	}
	return m.announce(ctx, entries...)
}

// takeIn adds an entry to this process's own list and tells it, as the follower does with what comes by the log. A list that is full has
// verifiers ask, which is as good.
func (m *Manager) takeIn(at revocation.Position, e revocation.Entry) error {
	known := m.holds(e)
	if err := m.list.Add(e); err != nil && !errors.Is(err, revocation.ErrFull) {
		return err
	}
	if known {
		return nil
	}
	(*hook)(m).Event(revocation.Event{Kind: revocation.EventRevoked, Time: m.now(), Entry: e, Position: at})
	return nil
}

// holds reports whether the list knows already what the entry says.
func (m *Manager) holds(e revocation.Entry) bool {
	switch e.Kind {
	case revocation.KindSession:
		return m.list.Has(e.Session)
	case revocation.KindSubject:
		return m.list.SubjectNotBefore(e.Subject) >= e.NotBefore
	case revocation.KindAll:
		return m.list.AllNotBefore() >= e.NotBefore
	case revocation.KindKey:
		return m.list.HasKey(e.KeyID)
	}
	return false
}

// hook is the Manager as the [revocation.Events] of its follower and of itself.
type hook Manager

// Event passes on what happened: to those who wait for the end of a session, to the log, and to Config.Events.
func (h *hook) Event(e revocation.Event) {
	m := (*Manager)(h)
	ctx := context.Background()
	switch e.Kind {
	case revocation.EventRevoked:
		m.watch.heard(e.Entry)
		switch e.Entry.Kind {
		case revocation.KindSession:
			m.log.DebugContext(ctx, "counterfoil: session revoked", "session", m.blur(e.Entry.Session))
			m.mu.Lock()
			m.trail.note(e.Entry.Session, heard(e.Position, e.Entry))
			m.mu.Unlock()
		case revocation.KindKey:
			m.keyGone.Store(true)
			m.retire()
		default:
			m.log.DebugContext(ctx, "counterfoil: revoked", "what", e.Entry.Kind.String())
		}
	case revocation.EventStale:
		m.log.WarnContext(ctx, "counterfoil: the revocation list is stale", "reason", e.Reason, "age", e.Age)
	case revocation.EventHealed:
		m.log.InfoContext(ctx, "counterfoil: the revocation list is fresh again")
	case revocation.EventEpoch:
		m.watch.askAll()
		m.log.WarnContext(ctx, "counterfoil: the revocation log has lost something and begins anew", "epoch", e.Epoch)
	case revocation.EventFork:
		m.log.WarnContext(ctx, "counterfoil: the revocation log does not go on from what was read", "epoch", e.Epoch)
	case revocation.EventReappended:
		m.log.InfoContext(ctx, "counterfoil: revocations that the log had lost were appended again", "entries", e.Count)
	case revocation.EventReuse:
		m.log.WarnContext(ctx, "counterfoil: refresh token reused, session ended", "session", m.blur(e.Entry.Session))
	default:
		m.log.WarnContext(ctx, "counterfoil: revocation list: "+e.Kind.String())
	}
	if m.events != nil {
		m.events.Event(e)
	}
}

// maxLeft bounds what is kept for a log that cannot be reached, and for replicas that are away.
const maxLeft = 1 << 14

// beatOnce keeps the heartbeat and appends what the log did not take before.
func (m *Manager) beatOnce(ctx context.Context) error {
	a, weak := m.store.Append(ctx)
	if weak != nil && !errors.Is(weak, ErrNotDurable) {
		return weak
	}
	if err := m.tell(ctx, a.Now); err != nil {
		return err
	}
	return weak // the replicas are still missing
}

// hasUntold says whether something has ended here of which the log does not know yet.
func (m *Manager) hasUntold() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.untold.Len() > 0
}

// maxTold is how many entries of those that are left are appended at a time.
const maxTold = 256

// tell appends some of what the log did not take before. One entry past the horizon would have the log refuse all of them, so those are dropped, by the log's
// own clock: this process's may be far behind, and then they would be refused again and again, or far ahead, and then nothing would be told.
func (m *Manager) tell(ctx context.Context, now int64) error {
	m.mu.Lock()
	var some []revocation.Entry
	for _, e := range m.untold.Due(time.Now(), maxLeft) {
		switch past := e.At+revocation.Horizon.Milliseconds() <= now; { // a log that tells no time finds nothing past
		case past && !e.Permanent():
			m.untold.Done(e)
		case len(some) < maxTold:
			some = append(some, e)
		}
	}
	m.mu.Unlock()
	if len(some) == 0 {
		return nil
	}
	a, err := m.store.Append(ctx, some...)
	if err != nil && !errors.Is(err, ErrNotDurable) {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.untold.Done(some...)
	for _, e := range some {
		if e.Kind == revocation.KindSession {
			m.trail.note(e.Session, heard(a.Position, some[len(some)-1]))
		}
	}
	return nil
}

// debt is an ending that the store has carried out, and that too few replicas have acknowledged. That of a subject is not repeated as it was, which
// would end what has begun since.
type debt struct {
	session   token.SessionID
	subject   string
	notBefore int64
}

func (m *Manager) owe(d debt) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.owed.Add(d)
}

// settle ends again what could come back with the loss of a master, until enough replicas know of it. Each try may have to wait for replicas that are
// away, which may be those of one master of several: so it is one at a time, and what was never tried is first.
func (m *Manager) settle(ctx context.Context) {
	tick := time.NewTicker(revocation.Heartbeat / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for due := m.due(time.Now(), 1); len(due) > 0 && ctx.Err() == nil; due = m.due(time.Now(), 1) {
			m.pay(ctx, due[0])
		}
	}
}

// due returns what is owed and to be tried at a time, n debts at most.
func (m *Manager) due(at time.Time, n int) []debt {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.owed.Due(at, n)
}

// pay tries once.
func (m *Manager) pay(ctx context.Context, d debt) {
	err := m.makeSafe(ctx, d)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.owed.Failed(d, time.Now())
	} else {
		m.owed.Done(d)
	}
}

func (m *Manager) makeSafe(ctx context.Context, d debt) error {
	if d.subject == "" {
		_, err := m.store.End(ctx, Ending{Session: d.session})
		return err
	}
	// What too few replicas have is the subject's not-before. They have it once they have what its master was told later, such as the end of a session that
	// never was, with an ID of the subject's slot. If by then another master has taken over that does not have it, what it ended is listed.
	id, err := newSessionID(slotTag(d.subject))
	if err != nil {
		return err
	}
	if _, err := m.store.End(ctx, Ending{Session: id}); err != nil {
		return err
	}
	list, err := m.store.Sessions(ctx, d.subject)
	if err != nil {
		return err
	}
	for _, r := range list {
		if r.Created <= d.notBefore { // it came back
			if _, err := m.store.End(ctx, Ending{Session: r.Session}); err != nil {
				return err
			}
		}
	}
	return nil
}
