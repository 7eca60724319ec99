package revocation

import (
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
	public, valid := decodeKey(text)
	if !ok || !valid {
		return FrameKey{}, errFrameKeyText
	}
	return NewFrameKey(public[:])
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
	return string(appendKey([]byte(frameKeyPrefix), &k.public))
}

// The text of 32 bytes in base64url, of which there is one spelling. Package encoding/base64 would cost the edge module 4 KiB.

const keyAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

func appendKey(b []byte, key *[32]byte) []byte {
	var bits, n uint32
	for _, c := range key {
		bits, n = bits<<8|uint32(c), n+8
		for ; n >= 6; n -= 6 {
			b = append(b, keyAlphabet[bits>>(n-6)&63])
		}
	}
	return append(b, keyAlphabet[bits<<(6-n)&63])
}

func decodeKey(s string) (key [32]byte, ok bool) {
	if len(s) != 43 {
		return key, false
	}
	var bits, n uint32
	at := 0
	for _, c := range []byte(s) {
		i := strings.IndexByte(keyAlphabet, c)
		if i < 0 {
			return key, false
		}
		bits, n = bits<<6|uint32(i), n+6
		if n >= 8 && at < len(key) {
			n -= 8
			key[at] = byte(bits >> n)
			at++
		}
	}
	return key, bits&(1<<n-1) == 0 // two bits are left over
}

// MarshalText returns what String returns.
func (k FrameKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText is [ParseFrameKey].
func (k *FrameKey) UnmarshalText(text []byte) (err error) {
	*k, err = ParseFrameKey(string(text))
	return err
}
