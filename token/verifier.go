package token

import (
	"errors"
	"math"
	"strings"
	"unsafe"

	"github.com/counterfoil/counterfoil/internal/lean/time"
)

// VerifierConfig says what a verifier accepts.
type VerifierConfig struct {
	Issuer   string  // required; a token's "iss" must equal it
	Audience string  // required; a token's "aud" must equal it
	Keys     *KeySet // required; may be empty at first, and is shared with whoever refreshes it

	// Leeway is how far clocks may differ: a token is taken for that long after its exp and before its iat. 0 means 10 s; at most 60 s.
	Leeway time.Duration

	// MaxLife bounds exp - iat. 0 means 15 min, which is also the most.
	MaxLife time.Duration

	// Entries is how many verified tokens the verifier remembers. 0 means 4,096, a negative number none; at most 1 Mi. Places are found by hash, so
	// some ten times the tokens in use keep nearly all of them. A place that is not taken costs 16 bytes; an entry has 250 bytes of its own and at
	// most 2 KiB of text, which is the token and its decoded claims. Tokens over some 1,150 characters are not remembered.
	Entries int

	// Now is the clock of Verify. Nil means the machine's clock. For a token that is remembered that may then be up to one second late, and, right
	// after the process was suspended, as late as the suspension was long. A guard of package revocation passes the time to VerifyAt, so neither
	// holds there.
	Now func() time.Time
}

const (
	defaultLeeway  = 10 * time.Second
	maxLeeway      = 60 * time.Second
	maxLife        = 15 * time.Minute
	defaultEntries = 4096
	maxEntries     = 1 << 20
)

func (c VerifierConfig) leeway() time.Duration {
	if c.Leeway == 0 {
		return defaultLeeway
	}
	return c.Leeway
}

func (c VerifierConfig) maxLife() time.Duration {
	if c.MaxLife == 0 {
		return maxLife
	}
	return c.MaxLife
}

func (c VerifierConfig) entries() int {
	switch {
	case c.Entries == 0:
		return defaultEntries
	case c.Entries < 0:
		return 0
	}
	return c.Entries
}

// A Verifier decides about tokens without I/O. [Verifier.Verify] is what most callers need. It is made by [NewVerifier]; the zero value refuses every token.
// A Verifier is safe for concurrent use, keeps no goroutine and needs no closing.
type Verifier struct {
	parties *parties
	keys    *KeySet
	leeway  int64 // milliseconds
	maxLife int64 // milliseconds
	now     func() time.Time
	clock   *clock // its own allocation, so that its timer does not keep the verifier alive
	table   *table // nil: none
	stats   counters
}

// NewVerifier makes a verifier. It refuses a configuration that is incomplete or out of bounds.
func NewVerifier(c VerifierConfig) (*Verifier, error) {
	switch {
	case !isText(c.Issuer) || !isText(c.Audience):
		return nil, errors.New("token: a verifier needs an issuer and an audience, in UTF-8 without control characters")
	case c.Keys == nil:
		return nil, errors.New("token: a verifier needs a key set")
	case c.Leeway < 0 || c.Leeway > maxLeeway:
		return nil, errors.New("token: leeway must be from 0 to 60 s")
	case c.MaxLife < 0 || c.MaxLife > maxLife:
		return nil, errors.New("token: maximum life must be from 0 to 15 min")
	case c.Entries > maxEntries:
		return nil, errors.New("token: more than 1 Mi entries")
	}
	return &Verifier{
		parties: &parties{strings.Clone(c.Issuer), strings.Clone(c.Audience)},
		keys:    c.Keys,
		leeway:  c.leeway().Milliseconds(),
		maxLife: c.maxLife().Milliseconds(),
		now:     c.Now,
		clock:   new(clock),
		table:   newTable(c.entries()),
	}, nil
}

// Verify checks a token against the present time. It returns a valid [Verified] or an error, never both: an *[ExpiredError] if nothing is wrong but
// that the token has expired, otherwise an error that matches [ErrInvalid]. raw may be a view on a buffer that is reused later: whatever is kept is
// copied.
func (v *Verifier) Verify(raw string) (Verified, error) {
	if v.now != nil {
		return v.verify(raw, v.now().UnixMilli())
	}
	return v.verify(raw, machineTime)
}

// VerifyAt is Verify at a time that the caller knows, as in WebAssembly, where the host passes the time on every call.
func (v *Verifier) VerifyAt(raw string, now time.Time) (Verified, error) {
	return v.verify(raw, now.UnixMilli())
}

// Window returns the time from which and until which this verifier accepts a token that it has verified before: from <= t < until, leeway included.
// ok is false if the key of the token may have changed since, or if another verifier has verified the token. It checks no signature again. It is for
// callers that keep a Verified and judge it again later, as a long connection does.
func (v *Verifier) Window(known Verified) (from, until time.Time, ok bool) {
	if known.c == nil || v.keys == nil {
		return time.Time{}, time.Time{}, false
	}
	e := known.entry()
	if e.parties != v.parties || e.generation != v.keys.load().generation {
		return time.Time{}, time.Time{}, false
	}
	return time.UnixMilli(e.iat - v.leeway), time.UnixMilli(e.until), true
}

// machineTime, for a time, means that the machine is to be asked when it matters: hits look at the verifier's clock, everything else takes the true time.
const machineTime = math.MinInt64

func (v *Verifier) verify(raw string, now int64) (Verified, error) {
	if v.keys == nil {
		return Verified{}, errUnknownKey
	}
	set := v.keys.load()
	if e := v.table.find(raw, set.generation); e != nil {
		return v.warm(e, now)
	}
	e, err := v.cold(raw, set, now)
	if err != nil {
		v.stats.refused.Add(1)
		return Verified{}, err
	}
	v.stats.misses.Add(1)
	return Verified{unsafe.Pointer(e)}, nil
}

// warm judges a token that was verified before: only time can have changed.
func (v *Verifier) warm(e *entry, now int64) (Verified, error) {
	from := e.iat - v.leeway
	if now == machineTime {
		if now = v.clock.milli(); now < from || now >= e.until {
			now = time.Now().UnixMilli() // a refusal is judged by the true time
		}
	}
	if from <= now && now < e.until {
		v.stats.hit()
		return Verified{unsafe.Pointer(e)}, nil
	}
	v.stats.refused.Add(1)
	if now < from {
		return Verified{}, errIssuedFuture
	}
	return Verified{}, &ExpiredError{e.exp}
}

// cold applies every rule, in the order that the package comment states.
func (v *Verifier) cold(raw string, set *keySetState, now int64) (*entry, error) {
	p, k, err := v.open(raw, set)
	if err != nil {
		return nil, err
	}
	if !k.verify(p.signed(), p.signature()) {
		return nil, errSignature
	}
	e, err := v.read(p, k, set.generation)
	if err != nil {
		return nil, err
	}
	if now == machineTime {
		now = time.Now().UnixMilli()
	}
	return e, v.admit(e, now)
}

// open applies the rules that come before the signature.
func (v *Verifier) open(raw string, set *keySetState) (parts, *key, error) {
	p, err := split(raw)
	if err != nil {
		return parts{}, nil, err
	}
	k := set.lookup(p.header())
	if k == nil {
		v.keys.miss()
		return parts{}, nil, errUnknownKey
	}
	return p, k, nil
}

// read makes an entry of a token, by the rules about claims that time does not touch.
func (v *Verifier) read(p parts, k *key, generation uint64) (*entry, error) {
	// One allocation holds everything that the entry keeps: the token for comparison, if it fits the table, and the decoded claims.
	keep := 0
	n := decodedLen(len(p.payload()))
	if v.table != nil && len(p.raw)+n <= maxEntryLen {
		keep = len(p.raw)
	}
	buf := make([]byte, keep+n)
	copy(buf, p.raw[:keep])
	if _, ok := decode(buf[keep:], p.payload()); !ok {
		return nil, errAlphabet
	}
	own := unsafe.String(unsafe.SliceData(buf), len(buf)) // buf is not written again
	e := &entry{raw: own[:keep], payload: own[keep:], parties: v.parties, keyID: k.id, generation: generation}
	if err := e.scan(v); err != nil {
		return nil, err
	}
	e.until = e.exp + v.leeway
	if e.exp <= e.iat || e.exp-e.iat > v.maxLife {
		return nil, errLifetime
	}
	return e, nil
}

// admit judges the time of a token of which everything else is right, and remembers it.
func (v *Verifier) admit(e *entry, now int64) error {
	switch {
	case now < e.iat-v.leeway:
		return errIssuedFuture
	case now >= e.until:
		return &ExpiredError{e.exp}
	}
	e.nameSubject()
	if e.raw != "" {
		v.table.insert(e, now)
	}
	return nil
}

// scan reads the claim set into e and compares issuer and audience.
func (e *entry) scan(v *Verifier) error {
	s := scanner{data: e.payload}
	if !s.next('{') {
		return errPayload
	}
	var seen uint // by the index of the registered name
	var extras [maxExtra]span
	n := 0
	for first := true; ; first = false {
		if first && s.next('}') { // an empty set, refused below
			break
		}
		s.space()
		start := s.pos + 1
		name, ok := s.name()
		if !ok {
			return errPayload
		}
		index, folded := claimIndex(name)
		if folded {
			return errName
		}
		if index >= knownClaims {
			return errUnsupported
		}
		if index < 0 {
			if !isName(name) {
				return errName
			}
			for _, earlier := range extras[:n] {
				if s.data[earlier.from:earlier.to] == name {
					return errDuplicate
				}
			}
			if n == maxExtra {
				return errRange
			}
			extras[n] = span{int32(start), int32(start + len(name))}
			n++
			if !s.value(1) {
				return errPayload
			}
		} else {
			if seen&(1<<index) != 0 {
				return errDuplicate
			}
			seen |= 1 << index
			if err := e.claim(&s, index, v); err != nil {
				return err
			}
		}
		more, ok := s.more('}')
		if !ok {
			return errPayload
		}
		if !more {
			break
		}
	}
	if !s.end() {
		return errPayload
	}
	if seen&requiredClaims != requiredClaims {
		return errMissing
	}
	if seen&(1<<claimSst) == 0 {
		e.began = e.iat
	} else if e.began == 0 || e.began > e.iat { // 0 would be older than no not-before at all
		return errRange
	}
	return nil
}

// claim takes the value of a registered claim.
func (e *entry) claim(s *scanner, index int, v *Verifier) error {
	if index <= claimSid {
		if s.peek() != '"' {
			return notOf(s)
		}
		text, ok := s.text()
		if !ok {
			return errPayload
		}
		switch index {
		case claimIss:
			if text != v.parties.issuer {
				return errIssuer
			}
		case claimAud:
			if text != v.parties.audience {
				return errAudience
			}
		case claimSub:
			if !isText(text) || len(text) > MaxSubjectLen {
				return errRange
			}
			e.subject = text
		case claimSid:
			id, err := ParseSessionID(text)
			if err != nil {
				return errRange
			}
			e.session = id
		}
		return nil
	}
	if c := s.peek(); c != '-' && (c < '0' || c > '9') {
		return notOf(s)
	}
	number, ok := s.number()
	if !ok {
		return errPayload
	}
	switch index {
	case claimGen:
		e.gen, ok = whole(number)
	case claimIat:
		e.iat, ok = milliseconds(number)
	case claimExp:
		e.exp, ok = milliseconds(number)
	case claimAuthTime:
		e.auth, ok = milliseconds(number)
		e.hasAuth = true
	case claimSst:
		e.began, ok = milliseconds(number)
	}
	if !ok {
		return errRange
	}
	return nil
}

// notOf tells a value of another type from what is no JSON.
func notOf(s *scanner) error {
	if !s.value(1) {
		return errPayload
	}
	return errType
}

// parts is a token that has three segments of canonical base64url.
type parts struct {
	raw        string
	dot1, dot2 int
}

func (p parts) header() string    { return p.raw[:p.dot1] }
func (p parts) payload() string   { return p.raw[p.dot1+1 : p.dot2] }
func (p parts) signature() string { return p.raw[p.dot2+1:] }
func (p parts) signed() string    { return p.raw[:p.dot2] }

// split applies the rules about length, segments, alphabet and spelling. It allocates nothing.
func split(raw string) (parts, error) {
	if len(raw) > MaxLen {
		return parts{}, errTooLong
	}
	dot1 := strings.IndexByte(raw, '.')
	if dot1 < 0 {
		return parts{}, errSegments
	}
	dot2 := strings.IndexByte(raw[dot1+1:], '.')
	if dot2 < 0 {
		return parts{}, errSegments
	}
	dot2 += dot1 + 1
	p := parts{raw, dot1, dot2}
	if strings.IndexByte(p.signature(), '.') >= 0 {
		return parts{}, errSegments
	}
	if !isAlphabet(p.header()) || !isAlphabet(p.payload()) || !isAlphabet(p.signature()) {
		return parts{}, errAlphabet
	}
	if !isCanonical(p.header()) || !isCanonical(p.payload()) || !isCanonical(p.signature()) {
		return parts{}, errSpelling
	}
	return p, nil
}
