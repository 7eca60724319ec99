package revocation

import (
	"encoding/binary"
	"errors"

	"github.com/counterfoil/counterfoil/internal/lean/time"
	"github.com/counterfoil/counterfoil/token"
)

// Horizon is how long an entry matters: the longest life of an access token (15 minutes), the largest leeway (60 seconds) and a margin. It
// is a constant because verifiers with different settings share one log. A list forgets an entry when the horizon has
// passed since its time, and a log may drop it then. What is left beyond the access life also meets tokens that a master which had not heard of the
// end, because it was cut off, minted after it.
const Horizon = 17 * time.Minute

// MaxEntryLen is the length in bytes of the longest binary entry.
const MaxEntryLen = 64

// Kind says what an [Entry] revokes. Kinds that this version does not know are kept as a reason to ask, see [ParseEntry].
type Kind byte

// The kinds of entries.
const (
	KindSession Kind = 's' // one session, exactly
	KindSubject Kind = 'u' // the sessions of one subject that began at or before a time
	KindAll     Kind = 'a' // all sessions that began at or before a time; permanent
	KindKey     Kind = 'k' // all tokens that were signed with one key; permanent
)

// String returns "session", "subject", "all", "key" or "unknown".
func (k Kind) String() string {
	switch k {
	case KindSession:
		return "session"
	case KindSubject:
		return "subject"
	case KindAll:
		return "all"
	case KindKey:
		return "key"
	}
	return "unknown"
}

// An Entry is one revocation. Which fields count is decided by its Kind. Entries are values; revoking the same thing twice revokes it once.
type Entry struct {
	Kind Kind

	// At is the time of the revocation in Unix milliseconds of the log's clock. An entry that is appended again keeps it, because
	// entries of the kinds session and subject expire a Horizon after it. The others never expire.
	At int64

	Session   token.SessionID // KindSession
	Subject   [16]byte        // KindSubject: token.SubjectHash of issuer and subject
	NotBefore int64           // KindSubject, KindAll: Unix ms; a token is dead whose session began at or before it
	KeyID     string          // KindKey: 1 to 55 characters of base64url
}

// Permanent reports whether the entry never expires.
func (e Entry) Permanent() bool { return e.Kind == KindAll || e.Kind == KindKey }

// Times are kept in 46 bits, which last until the year 4199; later ones are no times but damage.
const maxMilli = 1<<46 - 1

const (
	headLen   = 1 + 8  // kind, time
	idLen     = 3 + 16 // slot tag, random bytes
	maxKeyLen = MaxEntryLen - headLen
)

// The reasons why an entry is not written or not understood. None holds any part of it.
var (
	errEntryLen   = errors.New("revocation: entry of a wrong length")
	errEntryTime  = errors.New("revocation: entry without a valid time")
	errEntryID    = errors.New("revocation: entry with a malformed session ID")
	errEntryKey   = errors.New("revocation: entry with a malformed key ID")
	errEntryEmpty = errors.New("revocation: entry that revokes nothing")
	errEntryKind  = errors.New("revocation: entry of a kind that this version cannot write")
)

// AppendBinary appends the binary form, at most MaxEntryLen bytes: the kind (1 byte), At (8 bytes, big endian), and then
// for a session its slot tag (3 characters) and random bytes (16); for a subject its hash (16) and the
// not-before (8, big endian); for all the not-before; for a key its ID.
func (e Entry) AppendBinary(b []byte) ([]byte, error) {
	if !validTime(e.At) {
		return b, errEntryTime
	}
	at := binary.BigEndian.AppendUint64(append(b, byte(e.Kind)), uint64(e.At))
	switch e.Kind {
	case KindSession:
		if e.Session.IsZero() {
			return b, errEntryEmpty
		}
		random := e.Session.Random()
		return append(append(at, e.Session.Tag()...), random[:]...), nil
	case KindSubject:
		if e.Subject == [16]byte{} {
			return b, errEntryEmpty
		}
		if !validTime(e.NotBefore) {
			return b, errEntryTime
		}
		return binary.BigEndian.AppendUint64(append(at, e.Subject[:]...), uint64(e.NotBefore)), nil
	case KindAll:
		if !validTime(e.NotBefore) {
			return b, errEntryTime
		}
		return binary.BigEndian.AppendUint64(at, uint64(e.NotBefore)), nil
	case KindKey:
		if !validKeyID(e.KeyID) {
			return b, errEntryKey
		}
		return append(at, e.KeyID...), nil
	}
	return b, errEntryKind
}

// ParseEntry reads the binary form. An entry of an unknown kind comes from a newer version and is no error: the Entry then has its Kind and time
// only, and a list that is given it makes verifiers ask until it expires. Anything malformed is an error, and whoever reads a log must
// not ignore it either.
func ParseEntry(b []byte) (Entry, error) {
	if len(b) < headLen || len(b) > MaxEntryLen || b[0] == 0 {
		return Entry{}, errEntryLen
	}
	e := Entry{Kind: Kind(b[0]), At: int64(binary.BigEndian.Uint64(b[1:]))}
	if !validTime(e.At) {
		return Entry{}, errEntryTime
	}
	b = b[headLen:]
	switch e.Kind {
	case KindSession:
		if len(b) != idLen {
			return Entry{}, errEntryLen
		}
		id, err := token.NewSessionID(string(b[:3]), [16]byte(b[3:]))
		if err != nil {
			return Entry{}, errEntryID
		}
		e.Session = id
	case KindSubject:
		if len(b) != 16+8 {
			return Entry{}, errEntryLen
		}
		e.Subject = [16]byte(b[:16])
		if e.Subject == [16]byte{} {
			return Entry{}, errEntryEmpty
		}
		e.NotBefore = int64(binary.BigEndian.Uint64(b[16:]))
	case KindAll:
		if len(b) != 8 {
			return Entry{}, errEntryLen
		}
		e.NotBefore = int64(binary.BigEndian.Uint64(b))
	case KindKey:
		e.KeyID = string(b)
		if !validKeyID(e.KeyID) {
			return Entry{}, errEntryKey
		}
	}
	if e.NotBefore != 0 || e.Kind == KindSubject || e.Kind == KindAll {
		if !validTime(e.NotBefore) {
			return Entry{}, errEntryTime
		}
	}
	return e, nil
}

// known reports whether this version knows the kind.
func (e Entry) known() bool {
	return e.Kind == KindSession || e.Kind == KindSubject || e.Kind == KindAll || e.Kind == KindKey
}

// check says whether a list can take the entry. Unknown kinds pass; the permanent ones need no time.
func (e Entry) check() error {
	switch {
	case !validTime(e.At) && !e.Permanent():
		return errEntryTime
	case e.Kind == 0:
		return errEntryKind
	case e.Kind == KindSession && e.Session.IsZero(), e.Kind == KindSubject && e.Subject == [16]byte{}:
		return errEntryEmpty
	case (e.Kind == KindSubject || e.Kind == KindAll) && !validTime(e.NotBefore):
		return errEntryTime
	case e.Kind == KindKey && !validKeyID(e.KeyID):
		return errEntryKey
	}
	return nil
}

func validTime(ms int64) bool { return ms > 0 && ms <= maxMilli }

func validKeyID(s string) bool {
	if len(s) == 0 || len(s) > maxKeyLen {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}
