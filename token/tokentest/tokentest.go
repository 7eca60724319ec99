// Package tokentest helps to test code that takes verified tokens, without Redis and without a server. [New] makes an issuer with a key of its own, and
// [Issuer.Verified] a verified token; [Clock] is a clock that stands still until it is moved.
//
// # Compatibility
//
// For tests only. The exported names follow semantic versioning with the module.
package tokentest

import (
	"crypto/rand"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/issuer"
)

// Name of the issuer and the audience of every token made here.
const (
	IssuerName = "https://issuer.test"
	Audience   = "https://service.test"
)

// Start is where clocks made here begin: 1 January 2030, 12:00 UTC.
var Start = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

// A Clock stands still until it is moved. Its Now method fits the Now fields of configurations. It is made by [NewClock] and safe for concurrent use.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock makes a clock that shows [Start].
func NewClock() *Clock { return &Clock{now: Start} }

// Now returns the time that the clock shows.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Add moves the clock, backwards if d is negative.
func (c *Clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// An Issuer mints tokens for a test, with a key of its own. It is made by [New] or [NewWith] and safe for concurrent use.
type Issuer struct {
	Clock *Clock // of the tokens and of Verifier
	t     testing.TB
	ring  *issuer.Ring
	mint  *issuer.Issuer
	keys  *token.KeySet
}

// New makes an issuer with an Ed25519 key and a clock that shows [Start].
func New(t testing.TB) *Issuer {
	t.Helper()
	return NewWith(t, Key(t, "EdDSA"))
}

// NewWith makes an issuer with these keys, of which the first signs.
func NewWith(t testing.TB, keys ...*issuer.Key) *Issuer {
	t.Helper()
	ring, err := issuer.NewRing(keys...)
	if err != nil {
		t.Fatalf("tokentest: %v", err)
	}
	mint, err := issuer.New(issuer.Config{Issuer: IssuerName, Audience: Audience, Ring: ring})
	if err != nil {
		t.Fatalf("tokentest: %v", err)
	}
	set, err := token.NewKeySet(ring.Public()...)
	if err != nil {
		t.Fatalf("tokentest: %v", err)
	}
	return &Issuer{Clock: NewClock(), t: t, ring: ring, mint: mint, keys: set}
}

// Key makes a signing key for "EdDSA", "ES256" or "HS256".
func Key(t testing.TB, alg string) *issuer.Key {
	t.Helper()
	k, err := issuer.GenerateKey(alg)
	if err != nil {
		t.Fatalf("tokentest: %v", err)
	}
	return k
}

// SessionID makes a session ID that was never used.
func SessionID(t testing.TB) token.SessionID {
	t.Helper()
	var random [16]byte
	rand.Read(random[:])
	id, err := token.NewSessionID("tst", random)
	if err != nil {
		t.Fatalf("tokentest: %v", err)
	}
	return id
}

// Ring returns the signing keys.
func (i *Issuer) Ring() *issuer.Ring { return i.ring }

// Keys returns the set of keys that verify this issuer's tokens.
func (i *Issuer) Keys() *token.KeySet { return i.keys }

// Config returns the configuration of a verifier that takes this issuer's tokens by the issuer's clock. Change it as the test needs.
func (i *Issuer) Config() token.VerifierConfig {
	return token.VerifierConfig{Issuer: IssuerName, Audience: Audience, Keys: i.keys, Now: i.Clock.Now}
}

// Verifier makes a verifier from Config.
func (i *Issuer) Verifier() *token.Verifier {
	i.t.Helper()
	v, err := token.NewVerifier(i.Config())
	if err != nil {
		i.t.Fatalf("tokentest: %v", err)
	}
	return v
}

// Mint signs claims and returns the token. What is missing is filled in: issuer and audience, a new session, issued now, expiring 5 minutes
// after that. The subject stays as it is, empty for an anonymous visitor.
func (i *Issuer) Mint(c token.Claims) string {
	i.t.Helper()
	if c.Session.IsZero() {
		c.Session = SessionID(i.t)
	}
	if c.IssuedAt.IsZero() {
		c.IssuedAt = i.Clock.Now()
	}
	if c.Expires.IsZero() {
		c.Expires = c.IssuedAt.Add(5 * time.Minute)
	}
	raw, err := i.mint.Mint(c)
	if err != nil {
		i.t.Fatalf("tokentest: %v", err)
	}
	return raw.Reveal()
}

// TryMint signs claims as they are, nothing filled in but an empty issuer and audience, and returns what an issuer.Issuer answers. It is for tests of refusals.
func (i *Issuer) TryMint(c token.Claims) (token.Secret, error) { return i.mint.Mint(c) }

// Verified mints a token as Mint does and verifies it at the time it was issued.
func (i *Issuer) Verified(c token.Claims) token.Verified {
	i.t.Helper()
	if c.IssuedAt.IsZero() {
		c.IssuedAt = i.Clock.Now()
	}
	config := i.Config()
	config.Entries = -1
	v, err := token.NewVerifier(config)
	if err != nil {
		i.t.Fatalf("tokentest: %v", err)
	}
	verified, err := v.VerifyAt(i.Mint(c), c.IssuedAt)
	if err != nil {
		i.t.Fatalf("tokentest: %v", err)
	}
	return verified
}
