package counterfoil

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/counterfoil/counterfoil/internal/deadline"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

// Errors of the engine: one for each decision a caller takes.
var (
	// ErrNotFound means that there is no such session: it ended, it expired, or it never was. These cannot be told apart, because the absence of the
	// record is all that is known.
	ErrNotFound = errors.New("counterfoil: session not found")

	// ErrConflict means that another request changed a field after this one had read it and before this one set it. Nothing of the save was applied.
	// A Session keeps what it has read: open the session anew and decide again, or use Update in place of Get and Set.
	ErrConflict = errors.New("counterfoil: session changed since it was read")

	// ErrTooLarge means that the save would take the session's data over its budget ([MaxDataLen]). Nothing of it was applied.
	ErrTooLarge = errors.New("counterfoil: session data over its budget")

	// ErrUnavailable means that the store could not be asked, or that its answer was lost: the outcome of the step is unknown. Nobody was logged out
	// by it, and nobody is let in instead. It wraps the store's own error.
	ErrUnavailable = errors.New("counterfoil: store unavailable")

	// ErrSubject means that no token could carry the subject: it is empty, longer than [token.MaxSubjectLen] bytes, not UTF-8, or holds a control
	// character. Where it is a user's input, the user can correct it.
	ErrSubject = errors.New("counterfoil: subject refused")

	// ErrReuse means that a refresh token came back that had been replaced: either it was stolen or its owner lost a
	// rotation outside the window. The session has been ended.
	ErrReuse = errors.New("counterfoil: refresh token was used before, session ended")

	// ErrSuperseded means that the refresh token was replaced a moment ago, by a request of the same holder that ran beside this one. The session
	// lives; the client's cookie jar already holds, or will soon hold, the newer pair.
	ErrSuperseded = errors.New("counterfoil: refresh token superseded")

	// ErrNotDurable means that a session has ended, here and now, but that fewer replicas than configured acknowledged this in time: if the master
	// were lost now, the session might come back. Repeat the step: it is sent whole again.
	ErrNotDurable = errors.New("counterfoil: ended, but not acknowledged by enough replicas")

	// ErrKeyRevoked means that the only key of this process's ring has been revoked: a token signed with it would be refused everywhere, so none is made.
	// Give the ring another key.
	ErrKeyRevoked = errors.New("counterfoil: the signing key has been revoked")
)

// PausedError is the error of a login, or of any other beginning of a session, shortly after everything was revoked: since the clocks of several
// masters differ, a session that began now could be one of those that have ended. The same holds of a subject that was logged out everywhere, if a
// failover has lost that and the new master's clock is behind. [errors.As] finds it.
type PausedError struct {
	Until time.Time // sessions begin again after this, by the store's clock
}

func (e *PausedError) Error() string {
	return "counterfoil: what began until now was revoked; sessions begin again after " + e.Until.UTC().Format(time.RFC3339)
}

// Bounds of what a session may hold.
const (
	MaxDataLen  = 64 << 10 // bytes of application data in one session: names and encoded values of its fields
	MaxNameLen  = 128      // bytes of a field's name
	MaxSessions = 100      // sessions of one subject unless Config says otherwise
)

// Store keeps session records. The one in package store keeps them in Redis; storetest.Run tests what any other must do.
//
// Every method is one atomic step: of two that run at once, one sees what the other did, all of it. Times are Unix milliseconds of the store's own
// clock, which orders everything and is the only clock that enters a token.
//
// An error that is none of this package's means that the outcome is unknown: the store was not reached, or its answer was lost. The caller may then
// repeat the step without harm, except Save: in between somebody else may have been told that a field was changed from what this save had set, or
// taken away. So a Store must never repeat a Save by itself.
//
// Implementations are safe for concurrent use, return soon after ctx ends, and keep nothing of the slices they are given.
type Store interface {
	// Create makes a record under an ID that was never used. It sets created and newest-issued to
	// max(now, subject's not-before + 1), but see r.Replaces, generation 1, and applies the operations. If the subject then has more live sessions than
	// r.Cap, those renewed longest ago are ended and returned; ErrNotDurable may come with the whole answer then. ErrNotFound, and nothing is made, if
	// r.NotAfter is not after that time, or if r.Replaces is not a frozen record that lives as Load has it.
	// An ID that is in use is an error, none of those of this package, and nothing is touched.
	Create(ctx context.Context, r NewRecord) (Created, error)

	// Load returns the live record, with all its fields. ErrNotFound covers: absent, past its absolute expiry, created at or before
	// the subject's not-before, of another subject than ref says, holding another ID than its key.
	// If ref.Generation is the current one and was not yet confirmed, it is confirmed now; nothing else is written.
	Load(ctx context.Context, ref Ref) (Record, error)

	// Save applies all operations, or none. ErrNotFound as for Load, and for a frozen record; ErrConflict if an
	// If does not hold, ErrTooLarge if the data would exceed MaxDataLen. Confirms as Load does. It never extends the session's life.
	Save(ctx context.Context, ref Ref, ops []Op) (Saved, error)

	// Refresh judges a presented refresh token and carries the judgement out. The lifetime of a renewed record is
	// extended by its idle time, never beyond its absolute expiry. After
	// Reused the session is ended once more, by End, so it need not wait for replicas; if it does, ErrNotDurable comes with the whole answer.
	Refresh(ctx context.Context, p Presented) (Refreshed, error)

	// Freeze stops writes and renewals of the record for good and returns it with its fields, the last state it will ever have.
	// Freezing a frozen record returns it again. ErrNotFound as for Load. Refresh answers Superseded for a record frozen within the window,
	// since a login beside it is replacing it, and ErrNotFound or Superseded later.
	Freeze(ctx context.Context, ref Ref) (Record, error)

	// End ends sessions, idempotently: ending what has ended succeeds and answers as if it had not. ErrNotDurable comes with the whole answer.
	End(ctx context.Context, e Ending) (Ended, error)

	// Sessions returns the live records of a subject, oldest first, without their fields, and forgets index entries whose record is gone.
	Sessions(ctx context.Context, subject string) ([]Record, error)
}

// A Finder is a Store that finds a record by its ID alone, which [Config.Bind] needs: the session is looked at before its renewal is judged. A Store
// that is none works with every other configuration.
type Finder interface {
	// Find is Load without a known subject. It confirms no generation.
	Find(ctx context.Context, id token.SessionID) (Record, error)
}

// Ref names a session by what a verified token says of it.
type Ref struct {
	Session    token.SessionID
	Subject    string // "" = anonymous
	Generation uint64 // of the access token that the request came with; 0 = none
}

// NewRecord is what Create makes a record from.
type NewRecord struct {
	Session  token.SessionID
	Subject  string        // "" = anonymous; such a session is in no index
	Idle     time.Duration // life after each renewal
	Absolute time.Duration // life in all
	NotAfter int64         // the absolute expiry is no later than this, Unix ms; 0 = Absolute alone decides
	Login    bool          // the subject proved who it is: authentication time = creation time
	AuthTime int64         // otherwise: the authentication time, Unix ms; 0 = never
	Device   string        // label shown to the subject, at most 256 bytes
	Ops      []Op          // its first fields
	Cap      int           // live sessions a subject may have, this one included; 0 = no bound

	// Replaces is the frozen session that goes on as this one, of the same subject and slot tag; zero = none. The step that makes the record also
	// judges whether it still lives: a session that was ended after its freezing does not go on under another ID. Unless Login is set, created is that
	// of what is replaced: an end of all sessions that began until a time must not miss it because it goes on under another ID where nobody had heard.
	Replaces token.SessionID
	// Inherited says that the fields are what another session held. Their size and number are then not refused, because that session is frozen
	// and cannot become smaller. A session over its budget may shrink, not grow.
	Inherited bool
}

// Created is the answer of Create.
type Created struct {
	At      int64             // issue time for the tokens, Unix ms
	Began   int64             // created, Unix ms: At, or earlier where Replaces says so; 0 = At
	Expires int64             // absolute expiry, Unix ms
	Values  []Value           // one for each operation, as in Saved
	Evicted []token.SessionID // ended to keep the cap
	Ended   int64             // when, Unix ms: no earlier than any time handed out in a token of theirs; 0 = At, or none was
}

// Record is a session as the store holds it.
type Record struct {
	Session    token.SessionID
	Subject    string
	Created    int64 // Unix ms
	Renewed    int64 // newest time handed out in a token, Unix ms
	Expires    int64 // absolute expiry, Unix ms
	Idle       time.Duration
	AuthTime   int64 // Unix ms; 0 = never authenticated
	Device     string
	Frozen     bool
	Fields     map[string][]byte // application fields, encoded; nil where the method says so
	Generation uint64            // current refresh generation
}

// OpKind says what an [Op] does to its field.
type OpKind uint8

// What an operation can do.
const (
	OpSet    OpKind = iota + 1 // field = Value
	OpDelete                   // the field goes
	OpIncr                     // field += By; absent counts as 0; not a decimal int64, or an overflow: ErrNotInteger
	OpTake                     // the field goes and its value is returned
)

// ErrNotInteger means that an increment met a value that is no 64-bit integer, or would have left that range. Nothing of the save was applied.
var ErrNotInteger = errors.New("counterfoil: field is not an integer, or the sum is out of range")

// Op is one operation on one field. Operations of one save apply in order.
type Op struct {
	Kind  OpKind
	Name  string
	Value []byte // OpSet
	By    int64  // OpIncr

	// If makes the whole save conditional on the field's value before the save: equal to Was if Was.Present, absent otherwise.
	If  bool
	Was Value
}

// Value is a field's encoded value, or its absence.
type Value struct {
	Bytes   []byte
	Present bool
}

// Saved is the answer of Save.
type Saved struct {
	Values []Value // one for each operation: OpIncr its new value in decimal, OpTake what was taken, others nothing
}

// Presented is a refresh token whose MAC has been checked, as it arrives at the store.
type Presented struct {
	Session    token.SessionID
	Generation uint64
	Window     time.Duration // W: bounds one round trip

	// Beside says that an unexpired access token of the same session came with it, so nothing is lost if reuse is judged later: Superseded instead.
	Beside bool
	// Quiet says that the middleware renews on its own account, when the header is written: never judge reuse, Superseded instead.
	Quiet bool
	// OnlyCurrent says that the request is older than the window: renew only if Generation is the current one, Superseded otherwise.
	OnlyCurrent bool
}

// Verdict is what Refresh decided.
type Verdict uint8

// Verdicts of a refresh. W is [Presented.Window]; a generation is confirmed once the store has seen that it arrived at the client.
const (
	Renewed    Verdict = iota + 1 // current, made or handed out within W: a new access token, no refresh token
	Rotated                       // a new generation: both tokens
	HandedOut                     // the previous one, not yet confirmed, within W: both tokens, of the current generation
	Displaced                     // the previous one, not yet confirmed, later: the answer was lost; both tokens of a new generation
	Adopted                       // ahead of the record, which lost a rotation in a failover: a new access token, no refresh token
	Superseded                    // replaced within W by a request beside this one: nothing
	Reused                        // anything older: the session has been ended
)

// Refreshed is the answer of Refresh. With Reused it has the record's Subject, and At, so that the end can be announced.
type Refreshed struct {
	Verdict    Verdict
	Subject    string
	Generation uint64 // the current one
	At         int64  // issue time for the tokens, Unix ms: max(now, newest handed out before)
	Created    int64  // Unix ms, no later than At
	Expires    int64  // absolute expiry, Unix ms
	IdleEnds   int64  // when the record now ends if it is not renewed again, Unix ms
	AuthTime   int64  // Unix ms; 0 = never
	Device     string
}

// Ending says which sessions End ends. Exactly one form:
// one session (Session); all of a subject (Subject); all of a subject but one (Subject and Keep). That one has to be a session of the subject that lives
// and is not frozen, otherwise nothing ends and the error is ErrNotFound: what replaces it would end too.
type Ending struct {
	Session token.SessionID
	Subject string
	Keep    token.SessionID
	// Announced makes the index forget the given sessions: their ends are in the log now. Only with Subject and Keep. It ends no session, so one
	// that began between the two steps lives.
	Announced []token.SessionID
}

// Ended is the answer of End.
type Ended struct {
	At        int64 // Unix ms; unless all of a subject are, no earlier than any time handed out in a token of what has ended
	NotBefore int64 // all of a subject: its not-before, Unix ms = max(now, the earlier one, the newest time handed out to these sessions)
	// Sessions is set for all but one: every session that the index names except the kept one, also those that ended before, until they are
	// Announced; so a retry after a crash announces them too.
	Sessions []token.SessionID
}

// bounded puts a deadline on every step of a Store and of the revocation log, so that no caller has to (the contexts of some frameworks never end), and
// tells their failures from their decisions.
type bounded struct {
	store   Store
	log     revocation.Appender
	asker   revocation.Asker // may be nil
	timeout time.Duration
}

func within[A, R any](ctx context.Context, d time.Duration, step func(context.Context, A) (R, error), arg A) (R, error) {
	c := deadline.After(ctx, d)
	defer c.Release()
	r, err := step(c, arg)
	return r, classify(err)
}

// classify tells what the store decided from what it failed to do.
func classify(err error) error {
	if err == nil {
		return nil
	}
	for _, decided := range []error{ErrNotFound, ErrConflict, ErrTooLarge, ErrNotInteger, ErrNotDurable} {
		if errors.Is(err, decided) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

func (b bounded) Create(ctx context.Context, r NewRecord) (Created, error) {
	return within(ctx, b.timeout, b.store.Create, r)
}

func (b bounded) Load(ctx context.Context, ref Ref) (Record, error) {
	return within(ctx, b.timeout, b.store.Load, ref)
}

func (b bounded) Save(ctx context.Context, ref Ref, ops []Op) (Saved, error) {
	return within(ctx, b.timeout, func(ctx context.Context, ops []Op) (Saved, error) { return b.store.Save(ctx, ref, ops) }, ops)
}

func (b bounded) Refresh(ctx context.Context, p Presented) (Refreshed, error) {
	return within(ctx, b.timeout, b.store.Refresh, p)
}

// Find is there only if Config.Bind is, and then New has made sure of it.
func (b bounded) Find(ctx context.Context, id token.SessionID) (Record, error) {
	return within(ctx, b.timeout, b.store.(Finder).Find, id)
}

func (b bounded) Freeze(ctx context.Context, ref Ref) (Record, error) {
	return within(ctx, b.timeout, b.store.Freeze, ref)
}

func (b bounded) End(ctx context.Context, e Ending) (Ended, error) {
	return within(ctx, b.timeout, b.store.End, e)
}

func (b bounded) Sessions(ctx context.Context, subject string) ([]Record, error) {
	return within(ctx, b.timeout, b.store.Sessions, subject)
}

// Append says [ErrNotDurable] of whatever is in the log but not as safe there as it should be.
func (b bounded) Append(ctx context.Context, entries ...revocation.Entry) (revocation.Appended, error) {
	c := deadline.After(ctx, b.timeout)
	defer c.Release()
	a, err := b.log.Append(c, entries...)
	if err != nil && a.Position != "" && !errors.Is(err, ErrNotDurable) {
		return a, fmt.Errorf("%w: %w", ErrNotDurable, err)
	}
	return a, classify(err)
}

func (b bounded) Ask(ctx context.Context, v token.Verified) (revocation.Answer, error) {
	return within(ctx, b.timeout, b.asker.Ask, v)
}
