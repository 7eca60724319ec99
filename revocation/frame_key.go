package revocation

import (
	"encoding/base64"
	"errors"
	"strings"

	"github.com/counterfoil/counterfoil/token"
)

// A FrameKey verifies the frames of one feed. It is a type of its own because the key must be one: whoever holds a key that signs frames must not
// be able to sign tokens with it, nor the other way round. Its ID is made from the type of frames and the key, so it is no key ID of a token either.
//
// Keys are comparable values; the zero value verifies nothing. They come from [NewFrameKey] or [ParseFrameKey], and are public.
type FrameKey struct {
	id     [16]byte
	public [32]byte
}

const frameKeyPrefix = "frame-ed25519:"

var errFrameKeyText = errors.New("revocation: not the text of a frame key")

// NewFrameKey makes a key from an Ed25519 public key of 32 bytes. It refuses those with which some signatures verify for almost any message.
func NewFrameKey(public []byte) (FrameKey, error) {
	if _, err := token.Ed25519Key(public); err != nil {
		return FrameKey{}, err
	}
	k := FrameKey{public: [32]byte(public)}
	k.id = token.SubjectHash(FrameType, string(public)) // SHA-256 of both, a zero byte between them
	return k, nil
}

// ParseFrameKey reads what String returned.
func ParseFrameKey(s string) (FrameKey, error) {
	text, ok := strings.CutPrefix(s, frameKeyPrefix)
	var public [33]byte // room for the decoder; longer texts fail
	if !ok || len(text) != base64.RawURLEncoding.EncodedLen(32) {
		return FrameKey{}, errFrameKeyText
	}
	if n, err := base64.RawURLEncoding.Strict().Decode(public[:], []byte(text)); err != nil || n != 32 {
		return FrameKey{}, errFrameKeyText
	}
	return NewFrameKey(public[:32])
}

// ID returns the key's ID, which frames carry: the first 16 bytes of SHA-256 over [FrameType], a zero byte and the public key.
func (k FrameKey) ID() [16]byte { return k.id }

// Public returns the Ed25519 public key.
func (k FrameKey) Public() [32]byte { return k.public }

// IsZero reports whether this is the zero FrameKey.
func (k FrameKey) IsZero() bool { return k == FrameKey{} }

// String returns the key as text for configurations: "frame-ed25519:" and the base64url of the public key.
func (k FrameKey) String() string {
	if k.IsZero() {
		return ""
	}
	return frameKeyPrefix + base64.RawURLEncoding.EncodeToString(k.public[:])
}

// MarshalText returns what String returns.
func (k FrameKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText is [ParseFrameKey].
func (k *FrameKey) UnmarshalText(text []byte) (err error) {
	*k, err = ParseFrameKey(string(text))
	return err
}
