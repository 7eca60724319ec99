package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

// MaxAbsolute is the longest absolute life that Create accepts, and how long a subject's not-before is remembered beyond the horizon of the
// revocation log. It is also the longest that browsers keep a cookie.
const MaxAbsolute = 400 * 24 * time.Hour

const (
	maxDeviceLen  = 256
	maxOps        = 4096      // operations of one save
	maxGeneration = 1<<53 - 1 // what a number in Redis' Lua holds exactly
)

// Codes that scripts answer first.
const (
	codeNone       = 0
	codeOK         = 1
	codeConflict   = -1
	codeTooLarge   = -2
	codeNotInteger = -3
	codeUsed       = -4
)

// Create implements counterfoil.Store. An ID that is in use is an error and leaves its session as it is.
// Absolute may be at most [MaxAbsolute]. Sessions that are frozen do not count towards the cap: they are being replaced.
// Where it ended sessions to keep the cap it may return counterfoil.ErrNotDurable, beside the whole answer.
func (s *Redis) Create(ctx context.Context, r counterfoil.NewRecord) (counterfoil.Created, error) {
	var none counterfoil.Created
	switch {
	case !belongs(r.Session, r.Subject):
		return none, errors.New("store: create: session ID does not carry the slot tag of its subject, or the subject is too long")
	case r.Idle < time.Millisecond || r.Absolute < time.Millisecond || r.Absolute > MaxAbsolute:
		return none, errors.New("store: create: idle or absolute life out of range")
	case len(r.Device) > maxDeviceLen:
		return none, fmt.Errorf("store: create: device label longer than %d bytes", maxDeviceLen)
	case r.Cap < 0:
		return none, errors.New("store: create: negative cap")
	case !r.Replaces.IsZero() && r.Replaces.Tag() != r.Session.Tag():
		return none, errors.New("store: create: the session ID carries another slot tag than that of the session it replaces")
	}
	authenticated := max(0, r.AuthTime)
	if r.Login {
		authenticated = -1 // when the record is made
	}
	tag := r.Session.Tag()
	args := []any{r.Session.String(), r.Subject, s.keys.sessions(tag), r.Idle.Milliseconds(), r.Absolute.Milliseconds(), r.NotAfter,
		authenticated, r.Device, r.Cap, "", flag(r.Inherited)}
	if !r.Replaces.IsZero() {
		args[len(args)-2] = r.Replaces.String()
	}
	args, err := appendOps(args, r.Ops, !r.Inherited)
	if err != nil {
		return none, err
	}
	rep, err := s.run(ctx, createScript, true,
		[]string{s.keys.session(r.Session), s.keys.notBefore(tag, r.Subject), s.keys.index(tag, r.Subject)}, args...)
	if err != nil {
		return none, err
	}
	if rep.int(0) == codeUsed {
		return none, errors.New("store: create: session ID was used before")
	}
	if err := codeError(rep); err != nil {
		return none, err
	}
	c := counterfoil.Created{At: rep.int(1), Began: rep.int(6), Expires: rep.int(2), Values: values(rep.list(3), len(r.Ops))}
	for i := range rep.list(4) {
		id, err := token.ParseSessionID(rep.list(4).string(i))
		if err != nil {
			continue // a stranger's member of the index: there is no session to announce
		}
		c.Evicted = append(c.Evicted, id)
	}
	if len(c.Evicted) > 0 {
		c.Ended = rep.int(5)
	}
	return c, s.ended(ctx, r.Subject, c.Evicted...)
}

// ended waits until the replicas know of sessions that a step ended beside what it was there for. Such steps are not waited for otherwise: most
// of them end nothing. The sessions are ended again, so that whoever is master by now knows it too, and each is waited for: the next may be ended on
// another master, which need not know of this one.
func (s *Redis) ended(ctx context.Context, subject string, ids ...token.SessionID) error {
	if len(ids) == 0 || s.quorum.of(s.keys.session(ids[0])) == 0 {
		return nil
	}
	for _, id := range ids {
		_, err := s.settle(ctx, endOneScript, []string{s.keys.session(id), s.keys.index(id.Tag(), subject)}, id.String(), subject)
		if err != nil && !errors.Is(err, counterfoil.ErrNotDurable) {
			err = fmt.Errorf("%w: %w", counterfoil.ErrNotDurable, err) // they have ended, that much is known
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Find implements counterfoil.Finder.
func (s *Redis) Find(ctx context.Context, id token.SessionID) (counterfoil.Record, error) {
	if id.IsZero() {
		return counterfoil.Record{}, counterfoil.ErrNotFound
	}
	subject, ok, err := s.subject(ctx, id)
	if err != nil {
		return counterfoil.Record{}, err
	}
	if !ok {
		return counterfoil.Record{}, counterfoil.ErrNotFound
	}
	return s.Load(ctx, counterfoil.Ref{Session: id, Subject: subject})
}

// Freeze implements counterfoil.Store.
func (s *Redis) Freeze(ctx context.Context, ref counterfoil.Ref) (counterfoil.Record, error) {
	if !belongs(ref.Session, ref.Subject) {
		return counterfoil.Record{}, counterfoil.ErrNotFound
	}
	session, notBefore := s.keys.both(ref)
	rep, err := s.run(ctx, freezeScript, false, []string{session, notBefore}, ref.Session.String(), ref.Subject)
	if err != nil {
		return counterfoil.Record{}, err
	}
	if err := codeError(rep); err != nil {
		return counterfoil.Record{}, err
	}
	r := counterfoil.Record{Session: ref.Session, Fields: map[string][]byte{}}
	for flat := rep.list(2); len(flat) > 1; flat = flat[2:] {
		note(&r, flat.string(0), []byte(flat.string(1)))
	}
	return r, nil
}

// Save implements counterfoil.Store. At most 4096 operations are taken at a time.
func (s *Redis) Save(ctx context.Context, ref counterfoil.Ref, ops []counterfoil.Op) (counterfoil.Saved, error) {
	words, err := s.saveWords(ref, ops)
	if err != nil {
		return counterfoil.Saved{}, err
	}
	bounded := s.until(ctx)
	defer bounded.Release()
	rep, err := s.runSave(bounded, words)
	if err != nil {
		return counterfoil.Saved{}, err
	}
	return saved(rep, len(ops))
}

// saveWords spells a save out as a command of its own.
func (s *Redis) saveWords(ref counterfoil.Ref, ops []counterfoil.Op) ([]any, error) {
	if !belongs(ref.Session, ref.Subject) {
		return nil, counterfoil.ErrNotFound
	}
	session, notBefore := s.keys.both(ref)
	return appendOps(append(make([]any, 0, 9+3*len(ops)), saveScript.words[0], saveScript.words[1], 2, session, notBefore,
		session[strings.LastIndexByte(session, ':')+1:], ref.Subject, ref.Generation), ops, true)
}

// saved reads the reply to a save of n operations.
func saved(rep reply, n int) (counterfoil.Saved, error) {
	if answer, ok := rep.at(0).(string); ok && n == 1 {
		return counterfoil.Saved{Values: []counterfoil.Value{{Bytes: []byte(answer), Present: true}}}, nil
	}
	if err := codeError(rep); err != nil {
		return counterfoil.Saved{}, err
	}
	return counterfoil.Saved{Values: values(rep[1:], n)}, nil
}

// runSave is runWords for a save, which may share a run with those of others. No save is sent again after its answer was lost, not even one that sets a field
// to the same value again: somebody else may have been told in between that a field was changed from that value, or taken away.
func (s *Redis) runSave(ctx context.Context, words []any) (reply, error) {
	if s.lanes != nil {
		switch v, err := s.lanes.save(ctx, words); {
		case err == nil:
			return toReply(v), nil
		case !errors.Is(err, errAlone):
			return nil, fmt.Errorf("store: %s: %w", saveScript.step, err)
		}
	}
	return runWords(ctx, s.send, saveScript, true, words)
}

// appendOps writes operations as ops.lua reads them. bounded refuses too many of them, and too large values.
func appendOps(args []any, ops []counterfoil.Op, bounded bool) ([]any, error) {
	if bounded && len(ops) > maxOps {
		return nil, fmt.Errorf("store: more than %d operations in one save", maxOps)
	}
	var few [8]byte
	letters, at := few[:0], len(args)
	args = append(args, nil)
	for _, o := range ops {
		if o.Name == "" || len(o.Name) > counterfoil.MaxNameLen {
			return nil, fmt.Errorf("store: name of a field is empty or longer than %d bytes", counterfoil.MaxNameLen)
		}
		args = append(args, fieldPrefix+o.Name)
		switch {
		case o.If && o.Was.Present:
			letters = append(letters, 'p')
			args = append(args, orEmpty(o.Was.Bytes))
		case o.If:
			letters = append(letters, 'a')
		}
		switch o.Kind {
		case counterfoil.OpSet:
			if bounded && len(o.Value) > counterfoil.MaxDataLen {
				return nil, counterfoil.ErrTooLarge // no need to send it
			}
			letters = append(letters, 's')
			args = append(args, orEmpty(o.Value))
		case counterfoil.OpDelete:
			letters = append(letters, 'd')
		case counterfoil.OpTake:
			letters = append(letters, 't')
		case counterfoil.OpIncr:
			letters = append(letters, 'i')
			args = append(args, o.By)
		default:
			return nil, fmt.Errorf("store: unknown operation %d", o.Kind)
		}
	}
	args[at] = string(letters)
	return args, nil
}

// orEmpty makes a value of a nil slice that go-redis sends as a string.
func orEmpty(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func values(list reply, n int) []counterfoil.Value {
	if n == 0 {
		return nil
	}
	vs := make([]counterfoil.Value, n)
	for i := range vs {
		if v, ok := list.at(i).(string); ok {
			vs[i] = counterfoil.Value{Bytes: []byte(v), Present: true}
		}
	}
	return vs
}

// codeError translates the code that a script answers first. What it does not know is no success.
func codeError(rep reply) error {
	switch code := rep.at(0); code {
	case int64(codeOK):
		return nil
	case int64(codeNone):
		return counterfoil.ErrNotFound
	case int64(codeConflict):
		return counterfoil.ErrConflict
	case int64(codeTooLarge):
		return counterfoil.ErrTooLarge
	case int64(codeNotInteger):
		return counterfoil.ErrNotInteger
	default:
		return errors.New("store: Redis answered something that is no answer to this step")
	}
}

// Refresh implements counterfoil.Store. A frozen session is superseded within the window of its freezing, and not found later.
// With the verdict Reused it may return counterfoil.ErrNotDurable, beside the whole answer.
func (s *Redis) Refresh(ctx context.Context, p counterfoil.Presented) (counterfoil.Refreshed, error) {
	var none counterfoil.Refreshed
	switch {
	case p.Session.IsZero():
		return none, counterfoil.ErrNotFound
	case p.Generation == 0 || p.Generation > maxGeneration:
		return none, errors.New("store: refresh: generation out of range")
	case p.Window < time.Millisecond:
		return none, errors.New("store: refresh: window below a millisecond")
	}
	subject, ok, err := s.subject(ctx, p.Session)
	if err != nil {
		return none, err
	}
	if !ok || !belongs(p.Session, subject) {
		return none, counterfoil.ErrNotFound
	}
	tag := p.Session.Tag()
	rep, err := s.run(ctx, refreshScript, false,
		[]string{s.keys.session(p.Session), s.keys.notBefore(tag, subject), s.keys.index(tag, subject)},
		p.Session.String(), subject, p.Generation, p.Window.Milliseconds(), flag(p.Beside || p.Quiet), flag(p.OnlyCurrent))
	if err != nil {
		return none, err
	}
	if err := codeError(rep); err != nil {
		return none, err
	}
	v := counterfoil.Verdict(rep.int(1))
	if v < counterfoil.Renewed || v > counterfoil.Reused {
		return none, errors.New("store: refresh: Redis answered no verdict")
	}
	r := counterfoil.Refreshed{
		Verdict:    v,
		Subject:    subject,
		Generation: uint64(rep.int(2)),
		At:         rep.int(3),
		Created:    rep.int(4),
		Expires:    rep.int(5),
		IdleEnds:   rep.int(6),
		AuthTime:   rep.int(7),
		Device:     rep.string(8),
	}
	if v == counterfoil.Reused {
		return r, s.ended(ctx, subject, p.Session)
	}
	return r, nil
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// subject reads whose a session is. ok is false if there is no record, or one that holds another ID.
func (s *Redis) subject(ctx context.Context, id token.SessionID) (subject string, ok bool, err error) {
	rep, err := s.run(ctx, subjectScript, false, []string{s.keys.session(id)})
	if err != nil {
		return "", false, err
	}
	subject, ok = rep.at(1).(string)
	return subject, ok && rep.string(0) == id.String(), nil
}

// End implements counterfoil.Store. A call with Announced only makes the index forget and ends nothing, so that a login since then is safe.
func (s *Redis) End(ctx context.Context, e counterfoil.Ending) (counterfoil.Ended, error) {
	switch {
	case !e.Session.IsZero() && (e.Subject != "" || !e.Keep.IsZero() || len(e.Announced) > 0),
		e.Session.IsZero() && e.Subject == "",
		e.Keep.IsZero() && len(e.Announced) > 0:
		return counterfoil.Ended{}, errors.New("store: end: want one session, or a subject, or a subject and the session to keep")
	case !e.Session.IsZero():
		return s.endOne(ctx, e.Session)
	case len(e.Subject) > token.MaxSubjectLen:
		return counterfoil.Ended{}, errors.New("store: end: subject is too long, it cannot have sessions")
	case e.Keep.IsZero():
		return s.endAll(ctx, e.Subject)
	case len(e.Announced) > 0:
		return s.forget(ctx, e.Subject, e.Announced)
	}
	return s.endOthers(ctx, e.Subject, e.Keep)
}

func (s *Redis) endOne(ctx context.Context, id token.SessionID) (counterfoil.Ended, error) {
	var subject string
	for range 3 { // a session never changes hands; only somebody writing to Redis by hand can make this go round
		rep, err := s.run(ctx, subjectScript, false, []string{s.keys.session(id)})
		if err != nil {
			return counterfoil.Ended{}, err
		}
		subject = rep.string(1)
		tag := id.Tag()
		rep, err = s.settle(ctx, endOneScript, []string{s.keys.session(id), s.keys.index(tag, subject)}, id.String(), subject)
		if err != nil && !errors.Is(err, counterfoil.ErrNotDurable) {
			return counterfoil.Ended{}, err
		}
		if rep.int(0) == codeOK {
			return counterfoil.Ended{At: rep.int(1)}, err
		}
	}
	return counterfoil.Ended{}, errors.New("store: end: the record's subject keeps changing")
}

func (s *Redis) endAll(ctx context.Context, subject string) (counterfoil.Ended, error) {
	tag := counterfoil.SubjectTag(subject)
	rep, err := s.settle(ctx, endAllScript, []string{s.keys.notBefore(tag, subject), s.keys.index(tag, subject)},
		s.keys.sessions(tag), (MaxAbsolute + revocation.Horizon).Milliseconds())
	if err != nil && !errors.Is(err, counterfoil.ErrNotDurable) {
		return counterfoil.Ended{}, err
	}
	if rep.int(0) == 0 || rep.int(1) == 0 {
		return counterfoil.Ended{}, errors.New("store: end all: Redis answered no time")
	}
	return counterfoil.Ended{At: rep.int(0), NotBefore: rep.int(1)}, err
}

func (s *Redis) endOthers(ctx context.Context, subject string, keep token.SessionID) (counterfoil.Ended, error) {
	tag := counterfoil.SubjectTag(subject)
	if !belongs(keep, subject) {
		return counterfoil.Ended{}, counterfoil.ErrNotFound
	}
	rep, err := s.settle(ctx, endOthersScript, []string{s.keys.session(keep), s.keys.notBefore(tag, subject), s.keys.index(tag, subject)},
		keep.String(), subject, s.keys.sessions(tag), revocation.Horizon.Milliseconds())
	if err != nil && !errors.Is(err, counterfoil.ErrNotDurable) {
		return counterfoil.Ended{}, err
	}
	if rep.at(0) == int64(codeNone) {
		return counterfoil.Ended{}, counterfoil.ErrNotFound
	}
	if rep.int(0) == 0 {
		return counterfoil.Ended{}, errors.New("store: end others: Redis answered no time")
	}
	e := counterfoil.Ended{At: rep.int(0)}
	ids := rep.list(1)
	for i := range ids {
		if id, err := token.ParseSessionID(ids.string(i)); err == nil {
			e.Sessions = append(e.Sessions, id)
		}
	}
	return e, err
}

func (s *Redis) forget(ctx context.Context, subject string, announced []token.SessionID) (counterfoil.Ended, error) {
	args := make([]any, len(announced))
	for i, id := range announced {
		args[i] = id.String()
	}
	rep, err := s.run(ctx, forgetScript, false, []string{s.keys.index(counterfoil.SubjectTag(subject), subject)}, args...)
	if err != nil {
		return counterfoil.Ended{}, err
	}
	return counterfoil.Ended{At: rep.int(0)}, nil
}

// Sessions implements counterfoil.Store.
func (s *Redis) Sessions(ctx context.Context, subject string) ([]counterfoil.Record, error) {
	if subject == "" || len(subject) > token.MaxSubjectLen {
		return nil, nil // such sessions are in no index
	}
	tag := counterfoil.SubjectTag(subject)
	rep, err := s.run(ctx, sessionsScript, false, []string{s.keys.index(tag, subject), s.keys.notBefore(tag, subject)},
		subject, s.keys.sessions(tag))
	if err != nil {
		return nil, err
	}
	list := make([]counterfoil.Record, 0, len(rep))
	for i := range rep {
		row := rep.list(i)
		id, err := token.ParseSessionID(row.string(0))
		if err != nil {
			continue
		}
		list = append(list, counterfoil.Record{
			Session:    id,
			Subject:    subject,
			Created:    row.int(1),
			Expires:    row.int(2),
			Renewed:    row.int(3),
			Generation: uint64(row.int(4)),
			AuthTime:   row.int(5),
			Device:     row.string(6),
			Frozen:     row.string(7) == "1",
			Idle:       time.Duration(row.int(8)) * time.Millisecond,
		})
	}
	slices.SortFunc(list, func(a, b counterfoil.Record) int {
		if a.Created != b.Created {
			return int(a.Created - b.Created)
		}
		return strings.Compare(a.Session.String(), b.Session.String())
	})
	return list, nil
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }
