package issuer

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil/token"
)

// A Ring holds an issuer's signing keys over time. Which one signs is a question of the token's own time of issue, so that processes that share a ring's file
// change over at the same moment without talking. Verifiers should know all keys of the ring; see [Ring.Public].
//
// It is made by [OpenRing], which most programs want, [LoadRing] or [NewRing], moved along by [Ring.Rotate], and safe for concurrent use. The zero Ring
// has no key.
type Ring struct {
	mu   sync.RWMutex
	keys []ringKey // replaced as a whole, by the time from which they sign
}

var errEmpty = errors.New("issuer: a ring needs a key")

type ringKey struct {
	key  *Key
	from int64 // Unix milliseconds; 0 = always
}

// NewRing makes a ring of at most 16 keys. The first signs, all verify. Symmetric and asymmetric keys do not mix.
func NewRing(keys ...*Key) (*Ring, error) {
	ring := make([]ringKey, len(keys))
	for i, k := range keys {
		ring[len(keys)-1-i] = ringKey{key: k} // of those that may sign, the last one does
	}
	if err := check(ring); err != nil {
		return nil, err
	}
	return &Ring{keys: ring}, nil
}

func check(keys []ringKey) error {
	if len(keys) == 0 {
		return errEmpty
	}
	public := make([]token.Key, len(keys))
	for i, k := range keys {
		if k.key == nil || k.key.m == nil {
			return errors.New("issuer: nil key")
		}
		if i > 0 && k.from < keys[i-1].from {
			return errors.New("issuer: keys out of order")
		}
		public[i] = k.key.public
	}
	if _, err := token.NewKeySet(public...); err != nil {
		return fmt.Errorf("issuer: %w", err)
	}
	return nil
}

// signing returns the key that signs tokens issued at that time: the newest that may.
func (r *Ring) signing(at time.Time) *Key {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.keys[signer(r.keys, at.UnixMilli())].key
}

func signer(keys []ringKey, ms int64) int {
	for i := len(keys) - 1; i > 0; i-- {
		if keys[i].from <= ms {
			return i
		}
	}
	return 0
}

// Public returns all keys that verifiers should know, the oldest last: those that will sign, the one that signs, and those whose tokens may still live.
// token.AppendJWKS makes the public document of them, and refuses the HS256 keys.
func (r *Ring) Public() []token.Key {
	r.mu.RLock()
	defer r.mu.RUnlock()
	keys := make([]token.Key, 0, len(r.keys))
	for _, k := range slices.Backward(r.keys) {
		keys = append(keys, k.key.public)
	}
	return keys
}

// Add publishes a key now and lets it sign tokens that are issued at from or later. It refuses a from before that of the newest key, a key that is in
// the ring already, a seventeenth one, and a symmetric key among asymmetric ones or the reverse. To take a leaked key out of service, add another
// from now on and [Ring.Remove] the leaked one; where a counterfoil.Manager uses the ring, its Revoke does more.
func (r *Ring) Add(k *Key, from time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := append(slices.Clone(r.keys), ringKey{k, from.UnixMilli()})
	if err := check(next); err != nil {
		return err
	}
	r.keys = next
	return nil
}

// Remove takes the key of that ID out of the ring. A verifier refuses its tokens as soon as it has the new key set. It is an error if there is no
// such key, and if it is the only one.
func (r *Ring) Remove(id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := slices.DeleteFunc(slices.Clone(r.keys), func(k ringKey) bool { return k.key.ID() == id })
	if len(next) == len(r.keys) {
		return errors.New("issuer: no such key")
	}
	if err := check(next); err != nil {
		return err
	}
	r.keys = next
	return nil
}

// A Schedule says how a ring rotates. The zero value is a good one.
type Schedule struct {
	// Every is how long a key signs. 0 means 30 days.
	Every time.Duration

	// Ahead is how long a key is published before it signs. It must be longer than verifiers take to fetch key sets, caches on the way included. 0 means 1 hour.
	Ahead time.Duration

	// Life is how long a key stays published after the last token that it may have signed: the longest life of a token, the leeway, and the
	// difference between the clocks of the processes that share the ring. 0 means 17 min.
	Life time.Duration

	// Algorithm of new keys: "EdDSA", "ES256" or "HS256". Empty means that of the newest key.
	Algorithm string
}

const (
	defaultEvery = 30 * 24 * time.Hour
	defaultAhead = time.Hour
	defaultLife  = 17 * time.Minute
)

func (s Schedule) every() time.Duration { return orDefault(s.Every, defaultEvery) }
func (s Schedule) ahead() time.Duration { return orDefault(s.Ahead, defaultAhead) }
func (s Schedule) life() time.Duration  { return orDefault(s.Life, defaultLife) }

// check finds at every call what the next rotation, in weeks, would fail by. newest is the algorithm of the ring's newest key.
func (s Schedule) check(newest string) error {
	const symmetric = "HS256"
	switch {
	case s.every() < 0 || s.ahead() < 0 || s.life() < 0:
		return errors.New("issuer: Schedule.Every, Schedule.Ahead or Schedule.Life is negative")
	case s.every() < s.ahead()+s.life():
		return errors.New("issuer: Schedule.Every is shorter than Ahead and Life together")
	case s.Algorithm != "" && s.Algorithm != "EdDSA" && s.Algorithm != "ES256" && s.Algorithm != symmetric:
		return errors.New(`issuer: Schedule.Algorithm must be "EdDSA", "ES256" or "HS256"`)
	case s.Algorithm != "" && (s.Algorithm == symmetric) != (newest == symmetric):
		return fmt.Errorf("issuer: Schedule.Algorithm is %q, and the ring's newest key is of %q: symmetric and asymmetric keys do not mix", s.Algorithm, newest)
	}
	return nil
}

func orDefault(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}

// Rotate brings the ring to where the schedule wants it at that time, and reports whether it changed and should be saved. It publishes a successor before the signing key's time is over, and drops
// keys whose tokens have all expired. Called late or for the first time in weeks it still publishes a successor for the full time before that one signs. Calling it
// again does nothing; once in a quarter of Ahead is often enough. Where processes share a ring's file, one of them rotates and the others [Ring.Reload].
func (r *Ring) Rotate(now time.Time, s Schedule) (changed bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.keys) == 0 {
		return false, errEmpty
	}
	if err := s.check(r.keys[len(r.keys)-1].key.public.Algorithm()); err != nil {
		return false, err
	}
	ms := now.UnixMilli()
	next := slices.Clone(r.keys)
	if newest := &next[len(next)-1]; newest.from == 0 {
		newest.from = ms // nobody said since when it signs: its time begins now
	}
	// A key is done when its successor has signed for so long that no token of the older one lives.
	for len(next) > 1 && next[1].from+s.life().Milliseconds() <= ms {
		next = next[1:]
	}
	if newest := next[len(next)-1]; newest.from <= ms && newest.from+(s.every()-s.ahead()).Milliseconds() <= ms {
		alg := s.Algorithm
		if alg == "" {
			alg = newest.key.public.Algorithm()
		}
		k, err := GenerateKey(alg)
		if err != nil {
			return false, err
		}
		from := max(newest.from+s.every().Milliseconds(), ms+s.ahead().Milliseconds())
		next = append(next, ringKey{k, from})
	}
	if len(next) == len(r.keys) && next[len(next)-1] == r.keys[len(r.keys)-1] {
		return false, nil
	}
	if err := check(next); err != nil {
		return false, err
	}
	r.keys = next
	return true, nil
}

// String returns "[redacted]".
func (r *Ring) String() string { return redacted }

// GoString returns "[redacted]".
func (r *Ring) GoString() string { return redacted }

// MarshalText returns "[redacted]": [Ring.Save] writes the keys.
func (r *Ring) MarshalText() ([]byte, error) { return []byte(redacted), nil }
