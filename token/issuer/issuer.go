// Package issuer mints the tokens that package token verifies. [OpenRing] keeps a [Ring] of signing keys in a file, [New] makes an [Issuer] from it, and [Issuer.Mint] signs.
//
// # Keys
//
// A [Key] signs with one algorithm: EdDSA (Ed25519, the default choice), ES256 or HS256. It is generated, taken from a crypto.Signer (so that
// the private key may live in a KMS or an HSM), read from PEM, or loaded with a [Ring]. Its ID is the RFC 7638 thumbprint.
//
// # Rotation
//
// A [Ring] holds the keys over time: those that will sign soon, the one that signs, and those whose last tokens have not expired yet. [Ring.Rotate] moves it along
// with the clock.
//
// # Compatibility
//
// The exported names and the file format of a ring follow semantic versioning with the module.
package issuer

import (
	"errors"
	"fmt"
	"time"

	"github.com/counterfoil/counterfoil/token"
)

// Config says what an issuer signs.
type Config struct {
	Issuer   string // required; the "iss" of every token
	Audience string // required; the "aud" of tokens whose claims name none
	Ring     *Ring  // required

	// MaxLife bounds exp - iat, as the verifiers do. 0 means 15 min, which is also the most.
	MaxLife time.Duration
}

const maxLife = 15 * time.Minute

func (c Config) maxLife() time.Duration {
	if c.MaxLife == 0 {
		return maxLife
	}
	return c.MaxLife
}

// ErrRefused is matched by Mint's error when a verifier would refuse the token, whatever the signature.
var ErrRefused = errors.New("issuer: no verifier would take this token")

// An Issuer mints tokens with the key of its ring that signs now. It is made by [New] and safe for concurrent use.
type Issuer struct {
	config Config
}

// New makes an issuer. It refuses a configuration that is incomplete or out of bounds.
func New(c Config) (*Issuer, error) {
	if c.Ring == nil {
		return nil, errors.New("issuer: no ring of keys")
	}
	if len(c.Ring.Public()) == 0 {
		return nil, errEmpty
	}
	if c.MaxLife < 0 || c.MaxLife > maxLife {
		return nil, errors.New("issuer: maximum life must be from 0 to 15 min")
	}
	// What a verifier demands of issuer and audience it says itself.
	if _, err := token.NewVerifier(token.VerifierConfig{Issuer: c.Issuer, Audience: c.Audience, Keys: new(token.KeySet), Entries: -1}); err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	return &Issuer{config: c}, nil
}

// Mint signs claims, with the key that signs at c.IssuedAt. An empty issuer or audience stands for the configured one; another issuer is refused.
// Mint never signs what a verifier with the same issuer and limits would refuse, such as claims without a session or a lifetime over
// [Config.MaxLife]: the error then matches [ErrRefused]. Other errors come from the signer.
func (i *Issuer) Mint(c token.Claims) (token.Secret, error) {
	if c.Issuer == "" {
		c.Issuer = i.config.Issuer
	}
	if c.Audience == "" {
		c.Audience = i.config.Audience
	}
	if c.Issuer != i.config.Issuer {
		return token.Secret{}, fmt.Errorf("%w: another issuer", ErrRefused)
	}
	if c.Expires.Sub(c.IssuedAt) > i.config.maxLife() {
		return token.Secret{}, fmt.Errorf("%w: lifetime over %v", ErrRefused, i.config.maxLife())
	}
	k := i.config.Ring.signing(c.IssuedAt)
	var stack [1024]byte
	payload, err := c.AppendJSON(stack[:0])
	if err != nil {
		return token.Secret{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	t, err := k.sign(payload)
	if err != nil {
		return token.Secret{}, err
	}
	if len(t) > token.MaxLen {
		return token.Secret{}, fmt.Errorf("%w: %d characters", ErrRefused, len(t))
	}
	return token.NewSecret(t), nil
}
