package revocation

import (
	"encoding/binary"
	"errors"
	"iter"
	"math"
	"sync/atomic"

	"github.com/counterfoil/counterfoil/internal/lean/sync"
	"github.com/counterfoil/counterfoil/internal/lean/time"
	"github.com/counterfoil/counterfoil/token"
)

// ErrFull means that an entry is not in the list because the list holds as many as it may. The list remembers that it
// lacks something until that entry would have expired: [Strict] verifiers ask until then.
var ErrFull = errors.New("revocation: list is full")

// Bounds of a list.
const (
	DefaultMax = 1 << 20 // entries of a list unless ListConfig says otherwise
	MaxKeys    = 1024    // revoked key IDs, which never expire
)

// ListConfig says how a [List] is made. The zero value is what most programs want.
type ListConfig struct {
	// Max is the most session and subject entries that the list holds; 0 = DefaultMax. An entry takes at most 56 bytes, and
	// for a moment a sixty-fourth of the list is held twice.
	Max int

	// Seed keys the hashing, so that nobody outside can choose IDs that fall together. Zero = drawn from the runtime, which is right
	// wherever the runtime has randomness; a WebAssembly host without it at start passes one to [List.Seed] later.
	Seed [32]byte
}

// A List holds what has been revoked and how old that knowledge is. A [Follower] fills it, a [Guard] asks it; most programs only make it.
//
// It is exact: [List.Has] is true for what was added and for nothing else. Entries are forgotten by [List.Sweep] when they have expired,
// never before; the Follower calls it. It is bounded: when it is full, [List.Add] says so and the list knows that it is incomplete.
//
// There is no useful zero value; NewList makes one. It is safe for concurrent use. Readers take no lock and are never stopped.
type List struct {
	sessions table
	subjects table
	all      atomic.Int64 // the everything-not-before, Unix ms
	keys     atomic.Pointer[map[string]struct{}]
	newest   atomic.Int64 // no not-before that is held, of a subject or of everything, is later than this, Unix ms

	lacks   atomic.Int64 // until then (Unix ms) an entry is missing
	unknown atomic.Int64 // until then an entry is in force that this version does not understand
	doubt   atomic.Int64 // the later of the two
	log     atomic.Pointer[logState]
	changes atomic.Uint64

	max int
	mu  sync.Mutex // writers
	now int64      // what Sweep was told last, Unix ms
	at  int        // the next segment to sweep
}

// NewList makes an empty list. It knows nothing of any log, so it is stale.
func NewList(cfg ListConfig) (*List, error) {
	l := &List{max: cfg.Max}
	if l.max == 0 {
		l.max = DefaultMax
	}
	if l.max < 0 || l.max > 1<<28 {
		return nil, errors.New("revocation: ListConfig.Max is not between 0 and 268,435,456")
	}
	l.sessions = table{last: sessionAt, mask: tagMask}
	l.subjects = table{last: subjectLast}
	l.Seed(cfg.Seed)
	l.log.Store(&logState{why: reasonNoLog})
	return l, nil
}

// Seed keys the hashing anew, for a host that has randomness only after it has made the list. It is not for a list that others use already, and it reports false, having
// done nothing, for one that holds something.
func (l *List) Seed(seed [32]byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held() > 0 {
		return false
	}
	l.sessions.key, l.subjects.key = newHashKey(seed, 0), newHashKey(seed, 4)
	return true
}

// A session's word: its slot tag in 24 bits, then the time of its revocation in 40 bits, in units of 64 ms, rounded up. The last unit holds all later times.
const (
	tagMask   = ^uint64(timeMask)
	timeMask  = 1<<40 - 1
	timeShift = 6
)

// sessionWord makes the word; without a time it is the part that belongs to the key. It is 0 for no session.
func sessionWord(tag uint32, at int64) uint64 {
	return uint64(tag)<<40 | min(uint64(at+1<<timeShift-1)>>timeShift, timeMask)
}

func sessionAt(word uint64) int64 { return int64(word&timeMask) << timeShift }

func laterSession(old, new uint64) uint64 { return max(old, new) } // equal tags: the later time

// A subject's word: its not-before in 46 bits, then by how much the time of the revocation exceeds it, in 18 bits, in
// units of 1.024 s, rounded up. Three days are enough: tokens issued before the not-before are long dead then.
const (
	lateBits  = 18
	lateMask  = 1<<lateBits - 1
	lateShift = 10
)

func subjectWord(notBefore, last int64) uint64 {
	late := min(uint64(max(last-notBefore, 0)+1<<lateShift-1)>>lateShift, lateMask)
	return uint64(notBefore)<<lateBits | late
}

func subjectNotBefore(word uint64) int64 { return int64(word >> lateBits) }

func subjectLast(word uint64) int64 {
	return subjectNotBefore(word) + int64(word&lateMask)<<lateShift
}

func laterSubject(old, new uint64) uint64 {
	return subjectWord(max(subjectNotBefore(old), subjectNotBefore(new)), max(subjectLast(old), subjectLast(new)))
}

func subjectKey(subject [16]byte) (a, b uint64) {
	return binary.LittleEndian.Uint64(subject[:8]), binary.LittleEndian.Uint64(subject[8:])
}

// Add adds an entry. Adding one again, or an older one of the same session or subject, changes nothing. An entry of an unknown kind makes
// verifiers ask until it expires. Errors: [ErrFull], or the entry revokes nothing or has no time.
func (l *List) Add(e Entry) error {
	_, err := l.add(e)
	return err
}

// add reports whether the list did not hold the entry before.
func (l *List) add(e Entry) (news bool, err error) {
	if err := e.check(); err != nil {
		return false, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.changes.Add(1)
	switch e.Kind {
	case KindSession:
		a, b, tag := e.Session.Words()
		return l.put(&l.sessions, a, b, sessionWord(tag, e.At), laterSession)
	case KindSubject:
		a, b := subjectKey(e.Subject)
		raise(&l.newest, e.NotBefore)
		return l.put(&l.subjects, a, b, subjectWord(e.NotBefore, e.At), laterSubject)
	case KindAll:
		raise(&l.newest, e.NotBefore)
		return raise(&l.all, e.NotBefore), nil
	case KindKey:
		return l.addKey(e.KeyID)
	}
	return l.raiseDoubt(&l.unknown, e.At+Horizon.Milliseconds()), nil
}

func (l *List) put(t *table, a, b, word uint64, merge func(old, new uint64) uint64) (news bool, err error) {
	if w := t.find(a, b, word, t.mask); w != nil {
		old := w.Load()
		merged := merge(old, word)
		w.Store(merged)
		return merged != old, nil
	}
	if l.held() >= l.max {
		// For a list that nobody sweeps: here too by the earlier of this process's clock and the log's.
		l.now = max(l.now, min(time.Now().UnixMilli(), t.last(word)))
		l.sweep(l.now)
	}
	if l.held() >= l.max {
		l.raiseDoubt(&l.lacks, t.last(word)+Horizon.Milliseconds())
		return false, ErrFull
	}
	t.put(a, b, word, l.now)
	return true, nil
}

func (l *List) addKey(id string) (news bool, err error) {
	var old map[string]struct{}
	if p := l.keys.Load(); p != nil {
		old = *p
	}
	if _, ok := old[id]; ok {
		return false, nil
	}
	if len(old) >= MaxKeys {
		l.raiseDoubt(&l.lacks, math.MaxInt64)
		return false, ErrFull
	}
	keys := make(map[string]struct{}, len(old)+1)
	for k := range old {
		keys[k] = struct{}{}
	}
	keys[id] = struct{}{}
	l.keys.Store(&keys)
	return true, nil
}

// raise lifts v to at least n; the writer's.
func raise(v *atomic.Int64, n int64) (raised bool) {
	if v.Load() >= n {
		return false
	}
	v.Store(n)
	return true
}

// raiseDoubt lifts lacks or unknown; the writer's.
func (l *List) raiseDoubt(v *atomic.Int64, n int64) (raised bool) {
	raised = raise(v, n)
	raise(&l.doubt, n)
	return raised
}

// why says what at that time (Unix ms) is missing or not understood, "" for nothing.
func (l *List) why(ms int64) string {
	switch {
	case ms < l.lacks.Load():
		return reasonLacks
	case ms < l.unknown.Load():
		return reasonUnknown
	}
	return ""
}

// distrust makes verifiers ask until a Horizon after the given time (Unix ms; MaxInt64 = for ever): something is in force that nobody
// here understands.
func (l *List) distrust(at int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.raiseDoubt(&l.unknown, at+min(Horizon.Milliseconds(), math.MaxInt64-at))
}

// miss makes verifiers ask until the given time (Unix ms): something may be missing.
func (l *List) miss(until int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.raiseDoubt(&l.lacks, until)
}

func (l *List) held() int { return l.sessions.n + l.subjects.n }

// Len returns how many session and subject entries the list holds, those that have expired and are not yet forgotten included.
func (l *List) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held()
}

// Changes returns a number that grows whenever something is added, whether the list held it already or not: as long as it stays the same, nothing
// more has been revoked. It grows after what was added can be found.
func (l *List) Changes() uint64 { return l.changes.Load() }

// Has reports whether exactly this session has been revoked.
func (l *List) Has(id token.SessionID) bool { return l.sessions.has(id) }

// SubjectNotBefore returns the subject's not-before (Unix ms), 0 if there is none: its sessions that began at or before that have ended.
func (l *List) SubjectNotBefore(subject [16]byte) int64 {
	return l.subjectNotBefore(subjectKey(subject))
}

func (l *List) subjectNotBefore(a, b uint64) int64 {
	w := l.subjects.find(a, b, 0, 0)
	if w == nil {
		return 0
	}
	return subjectNotBefore(w.Load())
}

// AllNotBefore returns the everything-not-before (Unix ms), 0 if there is none: all sessions that began at or before that have ended.
func (l *List) AllNotBefore() int64 { return l.all.Load() }

// HasKey reports whether the key has been revoked.
func (l *List) HasKey(id string) bool {
	keys := l.keys.Load()
	if keys == nil {
		return false
	}
	_, ok := (*keys)[id]
	return ok
}

// Contains reports whether anything in the list revokes the token. It does not say whether the list is fresh or complete; that is for a [Guard] to
// judge.
func (l *List) Contains(v token.Verified) bool { return l.find(v) != nil }

// find returns why the token is revoked, nil if it is not.
func (l *List) find(v token.Verified) *refusal {
	began := v.BeganMilli()
	switch {
	case began <= l.all.Load():
		return &revokedAll
	case l.keys.Load() != nil && l.HasKey(v.KeyID()):
		return &revokedKey
	case l.Has(v.Session()):
		return &revokedSession
	}
	// A subject need not be looked up for a session that is younger than every not-before that is held.
	if began <= l.newest.Load() {
		if a, b := v.SubjectWords(); a|b != 0 && began <= l.subjectNotBefore(a, b) {
			return &revokedSubject
		}
	}
	return nil
}

// Incomplete reports whether the list lacks an entry at now because it was full, or because the log had a hole.
func (l *List) Incomplete(now time.Time) bool { return now.UnixMilli() < l.lacks.Load() }

// Sweep forgets every entry that has expired at now and returns how many. Readers go on meanwhile.
//
// An entry that is forgotten cannot be needed by a verifier whose clock shows now or later, because the tokens from before it
// have expired there. A clock that may step back must not be trusted alone: the Follower gives the earlier of this process's clock
// and the log's.
func (l *List) Sweep(now time.Time) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.held()
	l.now = now.UnixMilli()
	l.sweep(l.now)
	return before - l.held()
}

func (l *List) sweep(now int64) {
	for i := range segments {
		l.sessions.sweep(i, now, true)
		l.subjects.sweep(i, now, true)
	}
	l.settle()
}

// settle spares checks the look at the subjects when there is none. The lock is held, and whoever adds one raises newest first.
func (l *List) settle() {
	if l.subjects.n == 0 {
		l.newest.Store(l.all.Load())
	}
}

// sweepSome looks at the next n sixty-fourths of the list.
func (l *List) sweepSome(n int, now int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = now
	for range min(n, segments) {
		l.at = (l.at + 1) % segments
		l.sessions.sweep(l.at, now, false)
		l.subjects.sweep(l.at, now, false)
	}
	l.settle()
}

// Entries returns the entries of the list, in no order, while it may change. Times are as exact as the list keeps them: an
// At is late by up to 64 ms for sessions and about a second for subjects. The permanent ones come first and have no At.
func (l *List) Entries() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		if all := l.all.Load(); all > 0 && !yield(Entry{Kind: KindAll, NotBefore: all}) {
			return
		}
		if keys := l.keys.Load(); keys != nil {
			for id := range *keys {
				if !yield(Entry{Kind: KindKey, KeyID: id}) {
					return
				}
			}
		}
		for i := range segments {
			if s := l.sessions.segments[i].Load(); s != nil && !s.each(func(a, b, word uint64) bool {
				return yield(Entry{Kind: KindSession, At: sessionAt(word), Session: sessionID(a, b, word)})
			}) {
				return
			}
			if s := l.subjects.segments[i].Load(); s != nil && !s.each(func(a, b, word uint64) bool {
				e := Entry{Kind: KindSubject, At: subjectLast(word), NotBefore: subjectNotBefore(word)}
				binary.LittleEndian.PutUint64(e.Subject[:8], a)
				binary.LittleEndian.PutUint64(e.Subject[8:], b)
				return yield(e)
			}) {
				return
			}
		}
	}
}

func sessionID(a, b, word uint64) token.SessionID {
	var random [16]byte
	binary.LittleEndian.PutUint64(random[:8], a)
	binary.LittleEndian.PutUint64(random[8:], b)
	id, _ := token.NewSessionID(string([]byte{byte(word >> 40), byte(word >> 48), byte(word >> 56)}), random)
	return id
}
