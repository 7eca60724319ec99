package token

import (
	"sync/atomic"
	"unsafe"

	"github.com/counterfoil/counterfoil/internal/lean/sync"
)

// A KeySet holds the keys by which verifiers look tokens up, at most 16, all symmetric or all asymmetric. Verifiers see a [KeySet.Replace] at once.
// [NewKeySet] is what most callers need; the zero value is an empty set, ready for use. A KeySet is safe for concurrent use and must not be copied.
type KeySet struct {
	mu     sync.Mutex // orders Replace
	state  atomic.Pointer[keySetState]
	missed atomic.Pointer[chan struct{}]
}

// keySetState is what readers see: immutable.
type keySetState struct {
	generation uint64
	keys       []*key
}

var emptyKeySet = &keySetState{}

// NewKeySet makes a set of keys. It refuses what [KeySet.Replace] refuses.
func NewKeySet(keys ...Key) (*KeySet, error) {
	s := new(KeySet)
	if err := s.Replace(keys...); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *KeySet) load() *keySetState {
	if st := s.state.Load(); st != nil {
		return st
	}
	return emptyKeySet
}

// Replace makes these the keys of the set, and no others; without keys the set is empty. It refuses more than [MaxKeys], zero keys, two keys with one
// ID, and symmetric beside asymmetric ones; then nothing changes. What was verified by a key that is gone or altered is forgotten by every verifier
// with the next token; adding keys makes none of them forget anything.
func (s *KeySet) Replace(keys ...Key) error {
	if err := checkSet(keys); err != nil {
		return err
	}
	next := &keySetState{}
	for _, k := range keys {
		next.keys = append(next.keys, k.key())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.load()
	next.generation = old.generation
	for _, k := range old.keys {
		if !next.has(k) {
			next.generation++
			break
		}
	}
	s.state.Store(next)
	return nil
}

func (st *keySetState) has(k *key) bool {
	for _, other := range st.keys {
		if other.same(k) {
			return true
		}
	}
	return false
}

// lookup finds the key whose header segment this is.
func (st *keySetState) lookup(header string) *key {
	for _, k := range st.keys {
		if k.header == header {
			return k
		}
	}
	return nil
}

// Keys returns the keys of the set, in the caller's own slice.
func (s *KeySet) Keys() []Key {
	st := s.load()
	keys := make([]Key, len(st.keys))
	for i, k := range st.keys {
		keys[i] = Key{unsafe.Pointer(k)}
	}
	return keys
}

// Generation returns a number that grows when a key is removed or altered, and only then.
func (s *KeySet) Generation() uint64 { return s.load().generation }

// Missed returns a channel that holds one value once a token named a key that is not in the set. All callers share the channel, so one
// receiver, such as a client that fetches key sets, should take from it.
func (s *KeySet) Missed() <-chan struct{} {
	if ch := s.missed.Load(); ch != nil {
		return *ch
	}
	ch := make(chan struct{}, 1)
	s.missed.CompareAndSwap(nil, &ch)
	return *s.missed.Load()
}

// miss tells the receiver of Missed, if there is one, and never waits.
func (s *KeySet) miss() {
	if ch := s.missed.Load(); ch != nil {
		select {
		case *ch <- struct{}{}:
		default:
		}
	}
}
