// Package edge is the decision of Counterfoil where there is no Go: in workers, in Deno, Bun and Node, in a browser. It is package token and package revocation behind
// an interface of bytes and numbers. Package edge/module exports it as a WebAssembly module, which the npm package counterfoil-edge loads; here it is
// what those who test use: [New] makes an [Edge], and [Edge.Check] decides about a token.
//
// # Who does what
//
// The host does all that waits: it fetches the key set and the frames of the revocation feed and hands their bytes in, it asks the origin when it is told to, and it
// says what time it is with every call. Nothing here has a clock, a timer or a goroutine. What is decided is decided here: whether a frame is authentic and in line with what came before,
// how old the list is, and about every token.
//
// # Two flavours
//
// By itself the package verifies Ed25519 and HS256 signatures. Under the build tag hostcrypto it holds no signature code: [Edge.Check] then answers
// [Verify] for a token that it has not seen before, the host verifies the signature, with WebCrypto for example, and [Edge.Finish] takes its word.
//
// # Bounded
//
// A key set has at most 16 keys. The list, the table of verified tokens and the largest frame have the sizes that the configuration says, tickets are [MaxTickets]. Nothing else is kept.
//
// # Compatibility
//
// The configuration and the interface of the module have a version, [ABI]; both follow semantic versioning with the module.
package edge

import (
	"errors"
	"strings"
	"unsafe"

	"github.com/counterfoil/counterfoil/internal/lean/time"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

// ABI is the version of what hosts see. A host refuses a module of another one.
const ABI = 1

// MaxTickets is how many checks may be under way at once, waiting for a signature or for an answer of the origin.
const MaxTickets = 256

const (
	ticketLife   = 10 * time.Second
	defaultList  = 1 << 16
	defaultFrame = 8 << 20
)

// A Moment is what the host's clocks show, in milliseconds.
type Moment struct {
	Wall   int64 // since 1970
	Steady int64 // of a clock that only runs forward, since whenever; 0 = the host has none, and then it has to have the right time
}

// A Status says what became of a call.
type Status uint8

// The statuses. Whoever gets one that he does not know refuses the token.
const (
	Accepted Status = iota // the token is good; Value is the slot of its claims, which are those that this slot had before
	Learned                // the token is good; Value is the slot of its claims, which are the text
	Refused                // the text is a word for what to do and a reason for logs: "revoked: session revoked"
	Verify                 // the host must verify a signature: the text is a [Signature], Value a ticket for [Edge.Finish]
	Ask                    // the origin must be asked: Value is a ticket for [Edge.Judge], the text what is to be answered if it cannot be
	Done                   // what was handed in was taken; the text depends on the call
	Failed                 // what was handed in was not taken; the text says why
)

// A Result is what a call answers, besides [Edge.Text].
type Result struct {
	Status Status
	Value  uint32
}

// An Edge decides. There is no useful zero value; New makes one. It is not safe for concurrent use: a module has one thread.
type Edge struct {
	verifier *token.Verifier
	keys     *token.KeySet
	list     *revocation.List
	guard    *revocation.Guard
	follower *revocation.Follower
	reader   *revocation.FrameReader // nil: no frame is taken

	now      time.Time // of this call
	floor    Moment    // what a frame said, and when
	floorOf  string    // the epoch of that frame
	keyed    bool      // there was a key set
	known    [token.MaxKeys]knownKey
	lastKey  uint32
	tickets  [MaxTickets]ticket
	lastTick uint32
	//lint:ignore U1000 used under the build tag hostcrypto
	spare  pending // for a token that comes while all tickets are taken
	slots  []slot  // sets of four
	victim uint32  // which of a full set goes next
	mark   uint32  // another one whenever something changes that a decision rests on, but for the time
	basis  basis
	frame  frame
	out    []byte
}

// A slot keeps a token whose claims the host keeps, and what was decided about it: under a policy, without asking, good from <= t < until. That stands while
// the mark is the edge's.
type slot struct {
	token       token.Verified
	from, until int64 // Unix ms
	mark        uint32
	policy      revocation.Policy
}

// basis is what a decision rests on besides the keys and the time.
type basis struct {
	changes uint64 // of the list
	birth   time.Time
}

// knownKey is a key with a number, under which a host may keep what it made of the material.
type knownKey struct {
	key    token.Key
	number uint32
}

// A ticket is a check that waits for its host. Its memory is used again and again.
type ticket struct {
	id     uint32 // 0 = free
	began  time.Time
	policy revocation.Policy
	//lint:ignore U1000 used under the build tag hostcrypto
	begun bool // waits for Finish
	//lint:ignore U1000 used under the build tag hostcrypto
	pending  pending
	verified token.Verified // valid: waits for Judge
}

var (
	errLine   = errors.New("a line of the configuration is not <name> <value>")
	errName   = errors.New("unknown name in the configuration")
	errNumber = errors.New("a number of the configuration is none, or out of bounds")
)

// New makes an Edge of a configuration, lines of a name, a space and a value:
//
//	issuer      required; whose tokens and whose feed
//	audience    required
//	frame-key   a key that may sign frames, as text; up to 16 lines. Without one no frame is taken, and the list stays stale
//	policy      best-effort, strict or paranoid; default strict
//	leeway      ms; default 10000
//	max-life    ms; default 900000
//	max-stale   ms; default 10000
//	entries     verified tokens to remember; default 4096, "-1" for none
//	list        revocations to remember, 56 bytes each; default 65536
//	max-frame   bytes of a frame's body; default 8 MiB
//	skip-nonce  "yes" takes frames that answer nobody in particular, see revocation.FrameReaderConfig
func New(config []byte) (*Edge, error) {
	vc := token.VerifierConfig{}
	gc := revocation.GuardConfig{}
	fc := revocation.FrameReaderConfig{MaxLen: defaultFrame}
	lc := revocation.ListConfig{Max: defaultList}
	for rest := string(config); rest != ""; {
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		name, value, ok := strings.Cut(line, " ")
		if !ok {
			return nil, errLine
		}
		var err error
		switch name {
		case "issuer":
			vc.Issuer, fc.Issuer = value, value
		case "audience":
			vc.Audience = value
		case "frame-key":
			var k revocation.FrameKey
			k, err = revocation.ParseFrameKey(value)
			fc.Keys = append(fc.Keys, k)
		case "policy":
			err = gc.Policy.UnmarshalText([]byte(value))
		case "leeway":
			vc.Leeway, err = milliseconds(value)
			gc.Leeway = vc.Leeway
		case "max-life":
			vc.MaxLife, err = milliseconds(value)
		case "max-stale":
			gc.MaxStale, err = milliseconds(value)
		case "entries":
			vc.Entries, err = number(value)
		case "list":
			lc.Max, err = number(value)
		case "max-frame":
			if fc.MaxLen, err = number(value); fc.MaxLen < 0 {
				err = errNumber
			}
		case "skip-nonce":
			fc.SkipNonce = value == "yes"
		default:
			err = errName
		}
		if err != nil {
			return nil, err
		}
	}
	e := &Edge{keys: new(token.KeySet)}
	vc.Keys = e.keys
	var err error
	if e.verifier, err = token.NewVerifier(vc); err != nil {
		return nil, err
	}
	if e.list, err = revocation.NewList(lc); err != nil {
		return nil, err
	}
	gc.Verifier, gc.List = e.verifier, e.list
	if e.guard, err = revocation.NewGuard(gc); err != nil {
		return nil, err
	}
	if e.follower, err = revocation.NewFollower(revocation.FollowerConfig{
		List: e.list, MaxStale: gc.MaxStale, Leeway: gc.Leeway, Now: func() time.Time { return e.now },
	}); err != nil {
		return nil, err
	}
	if len(fc.Keys) > 0 {
		if e.reader, err = revocation.NewFrameReader(fc); err != nil {
			return nil, err
		}
	}
	slots := 64
	for slots < 2*e.verifier.Stats().Entries {
		slots *= 2
	}
	e.slots, e.mark = make([]slot, slots), 1
	return e, nil
}

// number reads a whole number of at most nine digits, "-1" being the only one below zero. Package strconv, where it can fail, costs 8 KiB.
//
//go:noinline
func number(s string) (int, error) {
	if s == "-1" {
		return -1, nil
	}
	n := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, errNumber
		}
		n = 10*n + int(c-'0')
	}
	if s == "" || len(s) > 9 {
		return 0, errNumber
	}
	return n, nil
}

// milliseconds reads a duration. Those that are too long for one are out of bounds anyway.
func milliseconds(s string) (time.Duration, error) {
	n, err := number(s)
	if err != nil || n < 0 {
		return 0, errNumber
	}
	return time.Duration(n) * time.Millisecond, nil
}

// Seed takes 32 random bytes, by which the list is hashed from then on and tickets are numbered: for a host that had no randomness when the module was started. The answer
// is Done, or Failed for a list that holds something.
func (e *Edge) Seed(seed [32]byte) Result {
	if !e.list.Seed(seed) {
		return e.failed("too late")
	}
	e.lastTick = uint32(seed[0]) | uint32(seed[1])<<8 | uint32(seed[2])<<16 | uint32(seed[3])<<24 // no ticket of one module is one of the next
	return Result{Status: Done}
}

// passed returns the time since the floor by the clock that only runs forward, to be sure no more than that: it may run fast by a thousandth, which no clock does. Else a
// host whose clock is a little fast would be ahead by more every day.
func (e *Edge) passed(steady int64) int64 {
	ms := steady - e.floor.Steady
	return ms - ms>>10
}

// at notes the time of a call.
func (e *Edge) at(m Moment) { e.now = e.corrected(m) }

// corrected returns the moment as a time. The signed time of the newest frame is a floor: by it and the clock that only runs forward a host is corrected whose
// wall clock is behind, and which would take tokens that have long expired. A host that has no such clock is not corrected: time would stand still at the floor, and
// the list would never grow old. There the list says that the clock stepped back, or that its newest record is in the future, and is stale.
func (e *Edge) corrected(m Moment) time.Time {
	if e.floor.Wall > 0 && m.Steady > 0 {
		m.Wall = max(m.Wall, e.floor.Wall+e.passed(m.Steady))
	}
	return time.At(m.Wall, m.Steady)
}

// Keys takes a JWK set document. Its answer is Done, or Failed and then nothing changes.
func (e *Edge) Keys(jwks []byte) Result {
	keys, err := token.ParseJWKS(jwks)
	if err == nil {
		err = e.keys.Replace(keys...)
	}
	if err != nil {
		return e.failed(token.Reason(err))
	}
	var known [token.MaxKeys]knownKey
	for i, k := range keys {
		for _, old := range e.known {
			if old.number != 0 && old.key.Equal(k) {
				known[i] = old
			}
		}
		if known[i].number == 0 {
			e.lastKey++
			known[i] = knownKey{k, e.lastKey}
		}
	}
	e.known, e.keyed = known, true
	e.mark++
	return Result{Status: Done}
}

// Check decides about a token, under the policy or the configured one, whichever is stricter. The answer is Accepted, Learned, Refused, Ask or, under the build tag
// hostcrypto, Verify. raw may be overwritten afterwards.
func (e *Edge) Check(raw string, p revocation.Policy, m Moment) Result {
	e.at(m)
	if !e.keyed {
		return e.refused(stale, noKeys)
	}
	return e.check(raw, p)
}

// Again decides about the token whose claims are in a slot, as Check does about its text: for a host that knows a text again. The answer is Accepted, Refused or Ask,
// and Failed if the text has to be shown.
func (e *Edge) Again(slot uint32, p revocation.Policy, m Moment) Result {
	e.at(m)
	if slot >= uint32(len(e.slots)) {
		return e.failed(noSlot)
	}
	s := &e.slots[slot]
	if ms := e.now.UnixMilli(); s.mark == e.mark && p <= s.policy && s.from <= ms && ms < s.until && e.guard.Settled(p, e.now) {
		return Result{Accepted, slot}
	}
	return e.anew(s, slot, p)
}

// anew is Again where what was decided about the token does not stand.
//
//go:noinline
func (e *Edge) anew(s *slot, number uint32, p revocation.Policy) Result {
	from, until, ok := e.verifier.Window(s.token)
	if !ok || e.now.Before(from) || !e.now.Before(until) {
		return e.failed(noSlot)
	}
	if r, good := e.judged(s.token, p); !good {
		return r
	}
	s.from, s.until, s.mark, s.policy = from.UnixMilli(), until.UnixMilli(), e.mark, p
	return Result{Accepted, number}
}

// decide is what follows when a token is known to be good.
func (e *Edge) decide(v token.Verified, p revocation.Policy) Result {
	if r, good := e.judged(v, p); !good {
		return r
	}
	return e.accept(v)
}

// judged is the decision by the list: the token is good, or r is the answer.
func (e *Edge) judged(v token.Verified, p revocation.Policy) (r Result, good bool) {
	ask, err := e.guard.Decide(v, p, e.now)
	if err == nil && !ask {
		return Result{}, true
	}
	if !ask {
		return e.refuse(err), false
	}
	t := e.free()
	if t == nil {
		return e.refused(stale, tooMany), false
	}
	e.issue(t, p)
	t.verified = v
	r = e.refuse(err)
	r.Status, r.Value = Ask, t.id
	return r, false
}

// Judge decides about a token after the origin was asked about it: active is its answer. What the list has learned meanwhile counts too. The
// answer is Accepted, Learned or Refused. A host that got no answer has no use for Judge: the token is refused with what came with Ask. It calls Drop.
func (e *Edge) Judge(id uint32, active bool, m Moment) Result {
	e.at(m)
	t := e.take(id)
	if t == nil || !t.verified.Valid() {
		return e.refused(stale, noTicket)
	}
	v := t.verified
	if ask, err := e.guard.Decide(v, t.policy, e.now); err != nil && !ask {
		return e.refuse(err)
	}
	if err := (revocation.Answer{Live: active}).Judge(v); err != nil {
		return e.refuse(err)
	}
	return e.accept(v)
}

// Drop forgets a ticket that will not be used.
func (e *Edge) Drop(id uint32) { e.take(id) }

// free finds a ticket that is free, or has expired; nil if there is none. It stays free until it is issued.
func (e *Edge) free() *ticket {
	for range MaxTickets {
		t := &e.tickets[(e.lastTick+1)%MaxTickets]
		if t.id == 0 || e.over(t) {
			t.id = 0
			return t
		}
		e.lastTick++
	}
	return nil
}

// issue gives the ticket that free found a number, and nothing yet to wait for.
func (e *Edge) issue(t *ticket, p revocation.Policy) {
	// Numbers come again only after 2 million others of the same ticket, when it has long expired.
	const numbers = 1 << 29
	e.lastTick++
	if e.lastTick%numbers == 0 {
		e.lastTick += MaxTickets // the same ticket by another number
	}
	t.id, t.began, t.policy, t.begun = e.lastTick%numbers, e.now, p, false
	if t.verified.Valid() {
		t.verified = token.Verified{}
	}
}

// over reports whether the ticket has expired; also if the clock was set back.
func (e *Edge) over(t *ticket) bool { return e.now.Sub(t.began).Abs() >= ticketLife }

// take returns a ticket, for this once, and nil if there is none of this number or it has expired. What it holds stays until the next one is issued.
func (e *Edge) take(id uint32) *ticket {
	t := &e.tickets[id%MaxTickets]
	if id == 0 || t.id != id {
		return nil
	}
	t.id = 0
	if e.over(t) {
		return nil
	}
	return t
}

// accept answers with the slot of the token's claims. A slot belongs to a token until another one takes it; each token has a choice of four, so that those which are
// in use at the same time hardly ever take each other's.
func (e *Edge) accept(v token.Verified) Result {
	random := v.Session().Random()
	hash := uint32(random[0]) | uint32(random[1])<<8 | uint32(random[2])<<16 | uint32(random[3])<<24
	first := (hash ^ uint32(v.IssuedAtMilli())) % uint32(len(e.slots)) &^ 3
	e.victim++
	i := first + e.victim&3
	for k := first; k < first+4; k++ {
		if e.slots[k].token == v {
			return Result{Status: Accepted, Value: k}
		}
		if !e.slots[k].token.Valid() {
			i = k
		}
	}
	e.slots[i] = slot{token: v}
	e.text(v.ClaimSet(), "", "")
	return Result{Learned, i}
}

// Claims returns the claims in a slot, for a host that has lost them. The answer is Learned or Failed.
func (e *Edge) Claims(slot uint32) Result {
	if slot >= uint32(len(e.slots)) || !e.slots[slot].token.Valid() {
		return e.failed(noSlot)
	}
	e.text(e.slots[slot].token.ClaimSet(), "", "")
	return Result{Learned, slot}
}

// The words for what to do about a refusal, one for each decision that a caller takes.
const (
	invalid = "invalid" // the token is worthless
	expired = "expired" // renew it
	revoked = "revoked" // log in again
	stale   = "stale"   // try again soon: nothing is said against the token
)

func (e *Edge) refuse(err error) Result {
	word := invalid
	switch _, over := errors.AsType[*token.ExpiredError](err); {
	case over:
		word = expired
	case errors.Is(err, revocation.ErrRevoked):
		word = revoked
	case errors.Is(err, revocation.ErrStale):
		word = stale
	}
	return e.refused(word, revocation.Reason(err))
}

// The reasons of refusals that come from here.
const (
	noKeys   = "keys not read yet"
	tooMany  = "too many checks under way"
	noTicket = "ticket unknown or expired"
	noSlot   = "no such slot"
	noFrames = "no frame keys"
)

func (e *Edge) refused(word, reason string) Result {
	e.text(word, ": ", reason)
	return Result{Status: Refused}
}

func (e *Edge) failed(why string) Result {
	e.text(why, "", "")
	return Result{Status: Failed}
}

// Text returns the text of the last answer, a view that the next call overwrites.
func (e *Edge) Text() []byte { return e.out }

// text is not inlined for the sake of the module's size, nor are others here.
//
//go:noinline
func (e *Edge) text(a, b, c string) {
	e.say(append(append(append(e.out[:0], a...), b...), c...))
}

// say makes b the text. Mostly it is in the old one's place, and then no pointer is stored: see edge/module.
func (e *Edge) say(b []byte) {
	if cap(b) == cap(e.out) && len(b) > 0 && &b[0] == unsafe.SliceData(e.out) {
		e.out = e.out[:len(b)]
		return
	}
	e.out = b
}
