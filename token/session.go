package token

// A SessionID names a session: 3 characters of slot tag, by which the store finds its Redis slot, and 128 random bits. Its text form is
// 25 characters of base64url. It is no secret by itself: a token needs a signature besides.
//
// SessionIDs are values: comparable, usable as map keys, safe for concurrent use. The zero value means "none" and is never a session's.
// [ParseSessionID] is what most callers need.
type SessionID struct {
	b [19]byte // tag as text, then the random bytes: small, comparable, without a pointer for the garbage collector
}

const (
	tagLen       = 3
	sessionIDLen = 25
)

var errSessionID = &refusal{"session ID"}

// NewSessionID makes an ID from a slot tag of exactly 3 base64url characters and 16 bytes that must come from crypto/rand.
func NewSessionID(tag string, random [16]byte) (SessionID, error) {
	var id SessionID
	if len(tag) != tagLen || !isAlphabet(tag) {
		return id, errSessionID
	}
	copy(id.b[:], tag)
	copy(id.b[tagLen:], random[:])
	return id, nil
}

// ParseSessionID accepts the one spelling that String writes, and nothing else.
func ParseSessionID(s string) (SessionID, error) {
	var id SessionID
	if len(s) != sessionIDLen || !isAlphabet(s[:tagLen]) || !isCanonical(s[tagLen:]) {
		return id, errSessionID
	}
	if _, ok := decode(id.b[tagLen:], s[tagLen:]); !ok {
		return SessionID{}, errSessionID
	}
	copy(id.b[:], s[:tagLen])
	return id, nil
}

// MustParseSessionID is ParseSessionID for constants in tests and examples; it panics on a malformed ID.
func MustParseSessionID(s string) SessionID {
	id, err := ParseSessionID(s)
	if err != nil {
		panic("token: malformed session ID")
	}
	return id
}

// String returns the 25 characters, or "" for the zero ID.
func (id SessionID) String() string {
	if id.IsZero() {
		return ""
	}
	var b [sessionIDLen]byte
	return string(id.append(b[:0]))
}

func (id SessionID) append(b []byte) []byte {
	b = append(b, id.b[:tagLen]...)
	return appendBase64(b, id.b[tagLen:])
}

// Tag returns the slot tag, or "" for the zero ID.
func (id SessionID) Tag() string {
	if id.IsZero() {
		return ""
	}
	return string(id.b[:tagLen])
}

// Random returns the 16 random bytes.
func (id SessionID) Random() [16]byte { return [16]byte(id.b[tagLen:]) }

// IsZero reports whether the ID names no session.
func (id SessionID) IsZero() bool { return id == SessionID{} }

// AppendText appends what String returns.
func (id SessionID) AppendText(b []byte) ([]byte, error) {
	if id.IsZero() {
		return b, nil
	}
	return id.append(b), nil
}

// MarshalText returns what String returns.
func (id SessionID) MarshalText() ([]byte, error) { return id.AppendText(nil) }

// UnmarshalText accepts what MarshalText writes; empty text is the zero ID.
func (id *SessionID) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*id = SessionID{}
		return nil
	}
	parsed, err := ParseSessionID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}
