// Package oracle holds other people's verifiers against ours: golang-jwt, go-jose and jwx, each with the options by which a careful user would get what ours does by
// itself. Whatever ours accepts, they must accept. What they accept and ours refuses is explained in [Explained].
package oracle

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/jwx/v3/jwa"
	jwxjwt "github.com/lestrrat-go/jwx/v3/jwt"

	"github.com/counterfoil/counterfoil/token"
)

// Name of the issuer, the audience and the leeway of everybody here.
const (
	Issuer   = "https://issuer.test"
	Audience = "https://service.test"
	Leeway   = 10 * time.Second
)

// Now is the time of every verification.
var Now = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

// A Peer is another implementation with one key.
type Peer struct {
	Name   string
	Verify func(raw string) error
}

// Ours makes our verifier of one key, without a warm table.
func Ours(k token.Key) (*token.Verifier, error) {
	set, err := token.NewKeySet(k)
	if err != nil {
		return nil, err
	}
	return token.NewVerifier(token.VerifierConfig{Issuer: Issuer, Audience: Audience, Keys: set, Leeway: Leeway, Entries: -1})
}

// precision makes the others read times to the millisecond, as ours does, instead of cutting them to seconds.
var precision = sync.OnceFunc(func() {
	jwt.TimePrecision = time.Millisecond
	jwxjwt.Settings(jwxjwt.WithNumericDateParsePrecision(3), jwxjwt.WithTruncation(0))
})

// Peers makes the other verifiers for a key: an ed25519.PublicKey, an *ecdsa.PublicKey or a secret.
func Peers(key any) []Peer {
	var method string
	var joseAlg jose.SignatureAlgorithm
	var jwxAlg jwa.SignatureAlgorithm
	switch key.(type) {
	case ed25519.PublicKey:
		method, joseAlg, jwxAlg = "EdDSA", jose.EdDSA, jwa.EdDSA()
	case *ecdsa.PublicKey:
		method, joseAlg, jwxAlg = "ES256", jose.ES256, jwa.ES256()
	case []byte:
		method, joseAlg, jwxAlg = "HS256", jose.HS256, jwa.HS256()
	}
	now := func() time.Time { return Now }
	precision()
	parser := jwt.NewParser(jwt.WithValidMethods([]string{method}), jwt.WithIssuer(Issuer), jwt.WithAudience(Audience), jwt.WithLeeway(Leeway), jwt.WithExpirationRequired(), jwt.WithIssuedAt(),
		jwt.WithTimeFunc(now), jwt.WithStrictDecoding())
	expected := josejwt.Expected{Issuer: Issuer, AnyAudience: josejwt.Audience{Audience}, Time: Now}
	options := []jwxjwt.ParseOption{jwxjwt.WithKey(jwxAlg, key), jwxjwt.WithValidate(true), jwxjwt.WithIssuer(Issuer), jwxjwt.WithAudience(Audience), jwxjwt.WithAcceptableSkew(Leeway),
		jwxjwt.WithClock(jwxjwt.ClockFunc(now)), jwxjwt.WithRequiredClaim("exp"), jwxjwt.WithRequiredClaim("iat")}
	return []Peer{
		{"golang-jwt", func(raw string) error {
			_, err := parser.Parse(raw, func(*jwt.Token) (any, error) { return key, nil })
			return err
		}},
		{"go-jose", func(raw string) error {
			t, err := josejwt.ParseSigned(raw, []jose.SignatureAlgorithm{joseAlg})
			if err != nil {
				return err
			}
			var c josejwt.Claims
			if err := t.Claims(key, &c); err != nil {
				return err
			}
			if c.Expiry == nil || c.IssuedAt == nil {
				return errors.New("claim missing")
			}
			return c.ValidateWithLeeway(expected, Leeway)
		}},
		{"jwx", func(raw string) error {
			_, err := jwxjwt.Parse([]byte(raw), options...)
			return err
		}},
	}
}

// Explained says for each reason of ours why we refuse what others may accept.
var Explained = map[string]string{
	"not three segments":      "a fourth segment, or JSON serialisation, is no compact JWS",
	"too long":                "work is bounded before it begins; others have no bound",
	"not base64url":           "line breaks and padding give one token many spellings; Go's decoders skip CR and LF even when strict",
	"not canonical":           "unused bits at a segment's end give one token 4 or 16 spellings",
	"unknown key":             "the header is not the one our issuer writes: another typ, no or another kid, crit, jwk, jku, duplicates, spaces, another order",
	"payload not strict JSON": "duplicates, invalid UTF-8 (others fold it to U+FFFD), lone surrogates, escapes in names, deep nesting",
	"duplicate claim":         "others take the last one",
	"claim name":              "a registered name in another case, which other parsers would take for it, or a name that is not plain ASCII",
	"unsupported claim":       "nbf and jti promise what nobody here would honour",
	"claim type":              "a string where a number belongs, an array for aud, null",
	"claim missing":           "sid and gen are required here",
	"claim out of range":      "numbers with exponents, signs, over three decimals or 2^40 seconds; a session that began after its token; malformed session IDs; empty, long or control-character subjects",
	"lifetime":                "exp - iat is bounded; others accept fifty years",
	"issued in the future":    "others look at iat only when told, or not to the millisecond",
	"expired":                 "others cut times to seconds, or count the end of the leeway in",
	"issuer":                  "compared as a whole",
	"audience":                "one string, compared as a whole",
}

// A Signer signs as the holder of a key.
type Signer struct {
	Alg     string
	Key     token.Key
	Foreign any // the verification key as others want it
	Sign    func(signed []byte) []byte
}

// Disagree returns an error if ours accepts what a peer refuses, or refuses what a peer accepts for a reason that is not explained.
func Disagree(raw string, ours error, peer Peer, theirs error) error {
	switch {
	case ours == nil && theirs != nil:
		return fmt.Errorf("accepted by us and refused by %s: %w: %q", peer.Name, theirs, raw)
	case ours != nil && theirs == nil && Explained[token.Reason(ours)] == "":
		return fmt.Errorf("accepted by %s and refused by us, unexplained: %w: %q", peer.Name, ours, raw)
	}
	return nil
}
