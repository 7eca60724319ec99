package token

import "crypto/subtle"

const redacted = "[redacted]"

// A Secret is a string that does not print: a minted token, for example. fmt, log/slog and encoding/json show "[redacted]"; [Secret.Reveal] is
// the one way to the text. The zero value is the empty secret. Secrets are values, safe for concurrent use; compare them with Equal.
type Secret struct {
	p *string // behind a pointer, and not one to a struct: fmt shows its address where a verb like %d bypasses String
}

// NewSecret returns a secret that holds s.
func NewSecret(s string) Secret { return Secret{&s} }

// Reveal returns the text.
func (s Secret) Reveal() string {
	if s.p == nil {
		return ""
	}
	return *s.p
}

// IsZero reports whether the secret is empty.
func (s Secret) IsZero() bool { return s.p == nil || *s.p == "" }

// Equal reports whether both hold the same text, in a time that depends on the lengths only.
func (s Secret) Equal(t Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(t.Reveal())) == 1
}

// String returns "[redacted]".
func (s Secret) String() string { return redacted }

// GoString returns "[redacted]".
func (s Secret) GoString() string { return redacted }

// MarshalText returns "[redacted]", so that a secret inside a larger value does not travel by accident.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
