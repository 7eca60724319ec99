package token

import (
	"strings"

	"github.com/counterfoil/counterfoil/internal/lean/time"
)

// Claims is what a token says, before it is signed. [Verified] is what a verified token said; there is no way from a token to Claims.
//
// Began belongs in every token but a session's first: what ends all sessions that began until a time meets tokens by it. Without it, a token that was
// minted after that time, by somebody who had not heard, is good.
type Claims struct {
	Issuer     string    // "iss"
	Audience   string    // "aud", one string
	Subject    string    // "sub"; empty for an anonymous visitor, whose token has none
	Session    SessionID // "sid"
	Generation uint64    // "gen", the refresh generation, below 2^53
	IssuedAt   time.Time // "iat", cut to milliseconds
	Expires    time.Time // "exp", cut to milliseconds
	AuthTime   time.Time // "auth_time", when the user last proved who they are, cut to milliseconds; zero for none
	Began      time.Time // "sst", when the session began, cut to milliseconds, not after IssuedAt; zero = IssuedAt, without a claim
	Extra      []Claim   // the application's own
}

// A Claim is one of the application's own small claims.
type Claim struct {
	Name string // 1 to 64 printable ASCII characters other than quote and backslash; no registered name, in whatever case
	JSON string // one JSON value as it shall stand in the token
}

const (
	maxNameLen = 64
	maxExtra   = 56                    // claims of the application in one token
	maxTime    = int64(1) << 40 * 1000 // milliseconds; numbers of seconds stay below 2^40
	maxGen     = uint64(1) << 53       // what every JSON implementation keeps exact
)

// Registered names have a meaning of their own, here or in RFC 7519, so that an application's claim can have none of them in any case: parsers that
// fold case would take one for the other.
const (
	claimIss = iota
	claimAud
	claimSub
	claimSid
	claimGen
	claimIat
	claimExp
	claimAuthTime
	claimSst
	knownClaims // of the registered ones, those that a token may have

	claimOther = -1 // the application's own
)

const requiredClaims = 1<<claimIss | 1<<claimAud | 1<<claimSid | 1<<claimGen | 1<<claimIat | 1<<claimExp

var registered = [...]string{"iss", "aud", "sub", "sid", "gen", "iat", "exp", "auth_time", "sst", "nbf", "jti"}

// claimIndex returns the index of a name in registered, and folded = true if it matches only in another case.
func claimIndex(name string) (index int, folded bool) {
	switch name {
	case "iss":
		return claimIss, false
	case "aud":
		return claimAud, false
	case "sub":
		return claimSub, false
	case "sid":
		return claimSid, false
	case "gen":
		return claimGen, false
	case "iat":
		return claimIat, false
	case "exp":
		return claimExp, false
	case "auth_time":
		return claimAuthTime, false
	case "sst":
		return claimSst, false
	}
	if len(name) != 3 && len(name) != len("auth_time") {
		return claimOther, false
	}
	for i, r := range registered {
		if equalFold(name, r) {
			return i, name != r
		}
	}
	return claimOther, false
}

func equalFold(s, lower string) bool {
	if len(s) != len(lower) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// isName reports whether an application's claim may have this name. Without escapes and beyond ASCII there is one spelling of a name and no folding
// but that of the 26 letters.
func isName(name string) bool {
	if name == "" || len(name) > maxNameLen {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// AppendJSON appends the claim set as it is signed. It refuses whatever a verifier of the same issuer and audience would refuse, except that lifetime
// limits and clocks are the verifier's own: bad names, duplicates, values that are not strict JSON, expiry at or before issue.
func (c Claims) AppendJSON(b []byte) ([]byte, error) {
	if !isText(c.Issuer) || !isText(c.Audience) {
		return b, errRange
	}
	if c.Session.IsZero() {
		return b, errMissing
	}
	if c.Generation >= maxGen {
		return b, errRange
	}
	iat, exp := c.IssuedAt.UnixMilli(), c.Expires.UnixMilli()
	if iat < 0 || iat >= maxTime || exp >= maxTime {
		return b, errRange
	}
	if exp <= iat {
		return b, errLifetime
	}
	start := len(b)
	b = append(b, `{"iss":`...)
	b = appendString(b, c.Issuer)
	b = append(b, `,"aud":`...)
	b = appendString(b, c.Audience)
	if c.Subject != "" {
		if !isText(c.Subject) || len(c.Subject) > MaxSubjectLen {
			return b[:start], errRange
		}
		b = append(b, `,"sub":`...)
		b = appendString(b, c.Subject)
	}
	b = append(b, `,"sid":"`...)
	b = c.Session.append(b)
	b = append(b, `","gen":`...)
	b = appendUint(b, c.Generation)
	b = append(b, `,"iat":`...)
	b = appendSeconds(b, iat)
	b = append(b, `,"exp":`...)
	b = appendSeconds(b, exp)
	if !c.AuthTime.IsZero() {
		at := c.AuthTime.UnixMilli()
		if at < 0 || at >= maxTime {
			return b[:start], errRange
		}
		b = append(b, `,"auth_time":`...)
		b = appendSeconds(b, at)
	}
	if !c.Began.IsZero() {
		began := c.Began.UnixMilli()
		if began <= 0 || began > iat { // 0 would be older than no not-before at all
			return b[:start], errRange
		}
		if began < iat {
			b = append(b, `,"sst":`...)
			b = appendSeconds(b, began)
		}
	}
	for i, e := range c.Extra {
		if !isName(e.Name) {
			return b[:start], errName
		}
		if index, _ := claimIndex(e.Name); index >= 0 {
			return b[:start], errName
		}
		for _, earlier := range c.Extra[:i] {
			if earlier.Name == e.Name {
				return b[:start], errDuplicate
			}
		}
		s := scanner{data: e.JSON}
		if s.space(); !s.value(1) || !s.end() {
			return b[:start], errPayload
		}
		b = append(b, ',', '"')
		b = append(b, e.Name...)
		b = append(b, '"', ':')
		b = append(b, e.JSON...)
	}
	if len(c.Extra) > maxExtra {
		return b[:start], errRange
	}
	return append(b, '}'), nil
}

// appendSeconds appends Unix milliseconds as seconds with as many decimals as needed.
func appendSeconds(b []byte, ms int64) []byte {
	b = appendUint(b, uint64(ms/1000))
	if frac := ms % 1000; frac != 0 {
		b = append(b, '.', byte('0'+frac/100), byte('0'+frac/10%10), byte('0'+frac%10))
		for b[len(b)-1] == '0' {
			b = b[:len(b)-1]
		}
	}
	return b
}

func appendUint(b []byte, n uint64) []byte {
	var buf [20]byte
	i := len(buf)
	for {
		i--
		buf[i] = byte('0' + n%10)
		if n /= 10; n == 0 {
			return append(b, buf[i:]...)
		}
	}
}

// appendString appends a JSON string of text that isText accepts.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	if strings.IndexByte(s, '"') < 0 && strings.IndexByte(s, '\\') < 0 {
		b = append(b, s...)
		return append(b, '"')
	}
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}
