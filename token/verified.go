package token

import (
	"encoding/binary"
	"unsafe"

	"github.com/counterfoil/counterfoil/internal/lean/time"
)

// Verified is the proof that a token was verified, and what it said. Only [Verifier.Verify] and [Verifier.VerifyAt] make a valid one. It is a small value, safe for
// concurrent use, and stays readable for as long as it is kept: it owns its bytes. It says nothing about the session; ask a
// revocation list or the store.
//
// The zero value is not valid: Valid reports false and every other method returns zero values.
type Verified struct {
	// An *entry. No printer that walks values by reflection follows an unsafe.Pointer; fmt does follow other pointers to structs, past every String method,
	// when a verb does not fit, as in %t.
	c unsafe.Pointer
}

func (v Verified) entry() *entry { return (*entry)(v.c) }

// entry is one verified token. It is immutable once made and owns the bytes its strings point to. What every check of a token that is known reads stands together, and
// first, because where many are known each line of memory is far away.
type entry struct {
	iat        int64 // milliseconds, as all times here
	until      int64 // exp and the verifier's leeway
	began      int64
	generation uint64 // of the key set that knew the token's key
	parties    *parties
	session    SessionID
	raw        string   // the token; empty if the entry is not for the table
	hash       [16]byte // see subjectHash

	payload string // the claim set as JSON
	subject string
	keyID   string
	gen     uint64
	exp     int64
	auth    int64
	hasAuth bool
}

// parties are whom a verifier's tokens are from and for.
type parties struct {
	issuer   string
	audience string
}

// Valid reports whether this came from a verifier.
func (v Verified) Valid() bool { return v.c != nil }

// Issuer returns "iss".
func (v Verified) Issuer() string {
	if v.c == nil {
		return ""
	}
	return v.entry().parties.issuer
}

// Audience returns "aud".
func (v Verified) Audience() string {
	if v.c == nil {
		return ""
	}
	return v.entry().parties.audience
}

// Subject returns "sub", or "" for an anonymous visitor.
func (v Verified) Subject() string {
	if v.c == nil {
		return ""
	}
	return v.entry().subject
}

// Session returns "sid".
func (v Verified) Session() SessionID {
	if v.c == nil {
		return SessionID{}
	}
	return v.entry().session
}

// Generation returns "gen".
func (v Verified) Generation() uint64 {
	if v.c == nil {
		return 0
	}
	return v.entry().gen
}

// IssuedAt returns "iat".
func (v Verified) IssuedAt() time.Time {
	if v.c == nil {
		return time.Time{}
	}
	return time.UnixMilli(v.entry().iat)
}

// IssuedAtMilli returns "iat" in Unix milliseconds.
func (v Verified) IssuedAtMilli() int64 {
	if v.c == nil {
		return 0
	}
	return v.entry().iat
}

// Began returns when the session began: "sst", or "iat" if the token has none. It is not after IssuedAt.
func (v Verified) Began() time.Time {
	if v.c == nil {
		return time.Time{}
	}
	return time.UnixMilli(v.entry().began)
}

// BeganMilli returns when the session began in Unix milliseconds. It is what a not-before is compared with.
func (v Verified) BeganMilli() int64 {
	if v.c == nil {
		return 0
	}
	return v.entry().began
}

// Expires returns "exp", without any leeway.
func (v Verified) Expires() time.Time {
	if v.c == nil {
		return time.Time{}
	}
	return time.UnixMilli(v.entry().exp)
}

// ExpiresMilli returns "exp" in Unix milliseconds, without any leeway.
func (v Verified) ExpiresMilli() int64 {
	if v.c == nil {
		return 0
	}
	return v.entry().exp
}

// AuthTime returns "auth_time" and whether the token has one.
func (v Verified) AuthTime() (time.Time, bool) {
	if v.c == nil || !v.entry().hasAuth {
		return time.Time{}, false
	}
	return time.UnixMilli(v.entry().auth), true
}

// KeyID returns the ID of the key that verified the token.
func (v Verified) KeyID() string {
	if v.c == nil {
		return ""
	}
	return v.entry().keyID
}

// Claim returns the JSON value of one of the application's own claims, as it stands in the token: strict JSON, but whether it is the type that the caller
// expects is for the caller to see. Registered claims have methods of their own and are not found here. It reads the claim set anew, some hundred nanoseconds.
func (v Verified) Claim(name string) (json string, ok bool) {
	if v.c == nil {
		return "", false
	}
	if index, _ := claimIndex(name); index >= 0 {
		return "", false
	}
	s := scanner{data: v.entry().payload}
	s.next('{')
	for {
		s.space()
		n, ok := s.name()
		start := s.pos
		if !ok || !s.value(1) {
			return "", false
		}
		if n == name {
			return s.data[start:s.pos], true
		}
		if !s.next(',') {
			return "", false
		}
	}
}

// ClaimSet returns the claim set as it stands in the token: strict JSON, which every parser reads alike.
func (v Verified) ClaimSet() string {
	if v.c == nil {
		return ""
	}
	return v.entry().payload
}

// SubjectHash returns [SubjectHash] of issuer and subject, computed once; zero for an anonymous visitor.
func (v Verified) SubjectHash() [16]byte {
	if v.c == nil {
		return [16]byte{}
	}
	return *v.entry().subjectHash()
}

// SubjectWords returns SubjectHash as two numbers, little endian, for tables that are looked up often; 0, 0 for an anonymous visitor.
func (v Verified) SubjectWords() (a, b uint64) {
	if v.c == nil {
		return 0, 0
	}
	hash := v.entry().subjectHash()
	return binary.LittleEndian.Uint64(hash[:8]), binary.LittleEndian.Uint64(hash[8:])
}

// SubjectHash returns the name under which revocations know a subject: the first 16 bytes of SHA-256 over issuer, a zero byte and subject. It is
// zero for the empty subject.
func SubjectHash(issuer, subject string) [16]byte {
	if subject == "" {
		return [16]byte{}
	}
	var buf [512]byte // on the stack, if they fit
	b := append(buf[:0], issuer...)
	b = append(b, 0)
	b = append(b, subject...)
	sum := sum256(b)
	return [16]byte(sum[:16])
}

// String says that there is a token, and nothing of it.
func (v Verified) String() string {
	if v.c == nil {
		return "token: not verified"
	}
	return redacted
}

// GoString returns what String returns.
func (v Verified) GoString() string { return v.String() }

// MarshalText returns what String returns.
func (v Verified) MarshalText() ([]byte, error) { return []byte(v.String()), nil }
