package issuer

import (
	"errors"
	"fmt"
	"sync"

	"github.com/counterfoil/counterfoil/token"
)

// A Ring holds an issuer's signing keys over time: at any moment one signs, and verifiers know them all. It is made by [NewRing] or
// [LoadRing] and safe for concurrent use.
type Ring struct {
	mu   sync.RWMutex
	keys []*Key // the first one signs
}

// NewRing makes a ring of at most 16 keys. The first signs, all verify. Symmetric and asymmetric keys do not mix.
func NewRing(keys ...*Key) (*Ring, error) {
	if len(keys) == 0 {
		return nil, errors.New("issuer: a ring needs a key")
	}
	public := make([]token.Key, len(keys))
	for i, k := range keys {
		if k == nil {
			return nil, errors.New("issuer: nil key")
		}
		public[i] = k.public
	}
	if _, err := token.NewKeySet(public...); err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	return &Ring{keys: append([]*Key(nil), keys...)}, nil
}

func (r *Ring) signing() *Key {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.keys[0]
}

// Public returns all keys that verifiers should know: those that will sign, that sign, and whose tokens may still live. token.AppendJWKS makes the public document
// of them, and refuses the HS256 keys.
func (r *Ring) Public() []token.Key {
	r.mu.RLock()
	defer r.mu.RUnlock()
	keys := make([]token.Key, len(r.keys))
	for i, k := range r.keys {
		keys[i] = k.public
	}
	return keys
}

func (r *Ring) String() string               { return redacted }
func (r *Ring) GoString() string             { return redacted }
func (r *Ring) MarshalText() ([]byte, error) { return []byte(redacted), nil }
