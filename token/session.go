package token

import "encoding/binary"

// A SessionID names a session: 3 characters of slot tag, by which the store finds its Redis slot, and 128 random bits. Its text form is
// 25 characters of base64url. It is no secret by itself: a token needs a signature besides.
//
// SessionIDs are values: comparable, usable as map keys, safe for concurrent use. The zero value means "none" and is never a session's.
// [ParseSessionID] is what most callers need.
type SessionID struct {
	// Words and not bytes: they travel in registers. An array of bytes is copied through memory, and the words that a look-up takes from such a copy
	// at once must wait until it has left the processor's store buffer, with everything before it.
	a, b uint64 // the random bytes, little endian
	tag  uint32 // the first character of the tag in the lowest byte; 0 only in the zero ID
}

const (
	tagLen       = 3
	sessionIDLen = 25
)

var errSessionID = &refusal{"session ID"}

// NewSessionID makes an ID from a slot tag of exactly 3 base64url characters and 16 bytes that must come from crypto/rand. Any other tag is an error.
func NewSessionID(tag string, random [16]byte) (SessionID, error) {
	if len(tag) != tagLen || !isAlphabet(tag) {
		return SessionID{}, errSessionID
	}
	return SessionID{
		a:   binary.LittleEndian.Uint64(random[:8]),
		b:   binary.LittleEndian.Uint64(random[8:]),
		tag: uint32(tag[0]) | uint32(tag[1])<<8 | uint32(tag[2])<<16,
	}, nil
}

// ParseSessionID accepts the one spelling that String writes, and nothing else.
func ParseSessionID(s string) (SessionID, error) {
	if len(s) != sessionIDLen || !isCanonical(s[tagLen:]) {
		return SessionID{}, errSessionID
	}
	var random [16]byte
	if _, ok := decode(random[:], s[tagLen:]); !ok {
		return SessionID{}, errSessionID
	}
	return NewSessionID(s[:tagLen], random)
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
	random := id.Random()
	return appendBase64(append(b, byte(id.tag), byte(id.tag>>8), byte(id.tag>>16)), random[:])
}

// Tag returns the slot tag, or "" for the zero ID.
func (id SessionID) Tag() string {
	if id.IsZero() {
		return ""
	}
	return string([]byte{byte(id.tag), byte(id.tag >> 8), byte(id.tag >> 16)})
}

// Random returns the 16 random bytes.
func (id SessionID) Random() (random [16]byte) {
	binary.LittleEndian.PutUint64(random[:8], id.a)
	binary.LittleEndian.PutUint64(random[8:], id.b)
	return random
}

// Words returns the whole ID as numbers, for tables that are looked up often: the random bytes, little endian, and the tag, its first character in the lowest
// byte. The tag is 0 for the zero ID and no other.
func (id SessionID) Words() (a, b uint64, tag uint32) { return id.a, id.b, id.tag }

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
