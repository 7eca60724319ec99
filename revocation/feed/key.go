package feed

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

// A Key signs the frames of one feed. It is no key for tokens: whoever can say what was revoked must not be able to log anybody in, and a server that
// only passes the feed on needs no other key. Edges get what [Key.Public] returns. Keep the key as the text of [Key.Secret], where only the
// server reads it.
//
// Keys are made by [GenerateKey] and [ParseKey]. They print as "[redacted]" and are safe for concurrent use.
type Key struct {
	private func() ed25519.PrivateKey // a function: verbs like %d bypass String, a Key has it by its pointer only, and fmt follows pointers to slices
	public  revocation.FrameKey
}

const keyPrefix = "frame-ed25519-secret:"

// GenerateKey makes a new key.
func GenerateKey() (*Key, error) {
	seed := make([]byte, ed25519.SeedSize)
	rand.Read(seed)
	return newKey(seed)
}

// ParseKey reads the text that [Key.Secret] returned.
func ParseKey(text token.Secret) (*Key, error) {
	s, ok := strings.CutPrefix(text.Reveal(), keyPrefix)
	seed, valid := decode32(s)
	if !ok || !valid {
		return nil, errors.New("feed: not the text of a key that signs frames")
	}
	return newKey(seed[:])
}

func newKey(seed []byte) (*Key, error) {
	private := ed25519.NewKeyFromSeed(seed)
	public, err := revocation.NewFrameKey(private.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	return &Key{private: func() ed25519.PrivateKey { return private }, public: public}, nil
}

// Public returns the key that verifies, for [ClientConfig].
func (k *Key) Public() revocation.FrameKey { return k.public }

// Secret returns the key as text: "frame-ed25519-secret:" and the base64url of its seed.
func (k *Key) Secret() token.Secret {
	return token.NewSecret(keyPrefix + b64.EncodeToString(k.private().Seed()))
}

func (k *Key) signing() *Key { return k }

// A Signer signs the frames of a [Handler]: a [Key], or a [Ring] where keys are replaced.
type Signer interface{ signing() *Key }

// A Ring holds the keys of one feed while one of them is replaced: the first signs. To replace a key without an interruption, first give the new one
// to the edges, in [ClientConfig] beside the old one. Then put it in front with [Ring.Replace], in every process that serves the feed. Then take the
// old one from the edges. After a leak the order is the same, only quicker: a leaked key is of no use any more once no edge accepts it.
//
// There is no useful zero value; NewRing makes one. It is safe for concurrent use.
type Ring struct{ keys atomic.Pointer[[]*Key] }

const maxRing = 16 // as many as an edge accepts

// NewRing makes a ring of 1 to 16 keys, of which the first signs.
func NewRing(keys ...*Key) (*Ring, error) {
	r := &Ring{}
	return r, r.Replace(keys...)
}

// Replace makes these the keys of the ring. It takes effect with the next frame; on an error nothing changes.
func (r *Ring) Replace(keys ...*Key) error {
	if len(keys) == 0 || len(keys) > maxRing || slices.Contains(keys, nil) {
		return errors.New("feed: a ring has 1 to 16 keys")
	}
	keys = slices.Clone(keys)
	r.keys.Store(&keys)
	return nil
}

// Public returns the keys that edges should accept, that of the signing one first.
func (r *Ring) Public() []revocation.FrameKey {
	var public []revocation.FrameKey
	for _, k := range *r.keys.Load() {
		public = append(public, k.public)
	}
	return public
}

func (r *Ring) signing() *Key { return (*r.keys.Load())[0] }

// sign returns head and signature.
func (k *Key) sign(h revocation.FrameHead) ([]byte, error) {
	h.KeyID = k.public.ID()
	b, err := h.AppendBinary(make([]byte, 0, 512))
	if err != nil {
		return nil, err
	}
	return append(b, ed25519.Sign(k.private(), b)...), nil
}

const redacted = "[redacted]"

// String returns "[redacted]".
func (k *Key) String() string { return redacted }

// GoString returns "[redacted]".
func (k *Key) GoString() string { return redacted }

// MarshalText returns "[redacted]".
func (k *Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }
