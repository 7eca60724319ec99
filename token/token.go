// Package token checks the short-lived session tokens of Counterfoil: compact JWS with a session ID inside, decided in nanoseconds
// and without I/O. [NewVerifier] and [Verifier.Verify] are what most callers need; package token/issuer mints the tokens.
//
// # One spelling
//
// A token has exactly one spelling. Characters outside base64url, line breaks, padding and unused bits are refused before anything
// else is looked at. Nothing is keyed by a token's text all the same: whoever has one of ES256 can make another signature of it that verifies.
//
// # The header is looked up
//
// The first segment is not parsed. Each [Key] knows the one header segment that its issuer writes, {"alg":…,"kid":…,"typ":"session+jwt"},
// and the presented segment is looked up among those of the [KeySet]. One key has one algorithm. So algorithm confusion, keys inside the header,
// critical extensions, compression and duplicate members cannot be expressed.
//
// # Order of checks
//
// Length; three segments, alphabet and canonical spelling; header; signature; claims. A forged token never costs the decoding of its claims.
// [Reason] names the rule by which a token was refused.
//
// # Proof
//
// Only [Verifier.Verify] makes a valid [Verified], and never beside an error. What needs a verified token takes that type, so that
// forgetting to verify does not compile.
//
// # Warm and cold
//
// The same token comes back until it expires, so each verifier keeps a bounded table of tokens it has verified; see [VerifierConfig.Entries].
// A hit compares the whole token, is bound to the verifier's configuration and to the generation of its key set, and checks the
// expiry again. Nothing negative is kept.
//
// # Compatibility
//
// The format of the token, the reasons given by [Reason] and the exported names follow semantic versioning with the module.
package token

// Bounds of what is looked at. A longer token is refused before its first character is read.
const (
	MaxLen        = 8192    // characters of a token, wherever it came from
	MaxCookieLen  = 4096    // characters of a token that travels in a cookie; for adapters, the verifier itself applies MaxLen
	MaxSubjectLen = 256     // bytes of a subject
	MaxKeys       = 16      // keys of one key set
	MaxKeySetLen  = 1 << 20 // bytes of a JWK set document
)
