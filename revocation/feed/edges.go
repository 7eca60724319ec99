package feed

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/counterfoil/counterfoil/token"
)

// A Credential is what an edge shows: its name and a secret of its own. It travels as HTTP Basic authentication (RFC 7617), so over TLS only.
// Every edge has its own, so that each can be revoked alone; [NewCredential] draws the secret.
type Credential struct {
	Name   string       // 1 to 64 letters, digits, '.', '-' and '_'
	Secret token.Secret // 32 random bytes in base64url
}

var (
	errEdgeName   = errors.New("feed: the name of an edge is 1 to 64 letters, digits, '.', '-' and '_'")
	errEdgeSecret = errors.New("feed: the secret of an edge is 32 bytes in base64url")
	errDigest     = errors.New("feed: not the digest of a secret")
)

// NewCredential makes a credential with a new secret.
func NewCredential(name string) (Credential, error) {
	if !validEdgeName(name) {
		return Credential{}, errEdgeName
	}
	var secret [32]byte
	rand.Read(secret[:])
	return Credential{name, token.NewSecret(b64.EncodeToString(secret[:]))}, nil
}

// Digest returns what a server has to know of the credential, besides its name.
func (c Credential) Digest() (Digest, error) {
	if !validEdgeName(c.Name) {
		return Digest{}, errEdgeName
	}
	d, ok := digest(c.Secret.Reveal())
	if !ok {
		return Digest{}, errEdgeSecret
	}
	return d, nil
}

func validEdgeName(s string) bool {
	if len(s) == 0 || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

// A Digest is the SHA-256 of a secret: enough to know it again, of no use to show. The secret is random, so the digest may be kept in a configuration file.
type Digest [sha256.Size]byte

const digestPrefix = "sha256:"

func digest(secret string) (Digest, bool) {
	b, ok := decode32(secret)
	return sha256.Sum256(b[:]), ok
}

// String returns the digest as text: "sha256:" and its base64url.
func (d Digest) String() string { return digestPrefix + b64.EncodeToString(d[:]) }

// MarshalText returns what String returns.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is [ParseDigest].
func (d *Digest) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDigest(string(text))
	return err
}

// ParseDigest reads what [Digest.String] returned.
func ParseDigest(s string) (Digest, error) {
	s, ok := strings.CutPrefix(s, digestPrefix)
	b, valid := decode32(s)
	if !ok || !valid {
		return Digest{}, errDigest
	}
	return b, nil
}

// Edges knows the credentials of all edges. [Edges.Allow] and [Edges.Revoke] take effect on requests that wait already: a revoked edge gets no further frame.
// The zero value allows nobody. It is safe for concurrent use.
type Edges struct {
	mu    sync.RWMutex
	known map[string][]Digest
}

// Allow lets the edge of that name in with the secrets of these digests, one or two, and with no others. Two are for replacing a secret without an interruption.
func (e *Edges) Allow(name string, digests ...Digest) error {
	if !validEdgeName(name) {
		return errEdgeName
	}
	if len(digests) < 1 || len(digests) > 2 {
		return errors.New("feed: an edge has one or two secrets")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.known == nil {
		e.known = make(map[string][]Digest)
	}
	e.known[name] = slices.Clone(digests)
	return nil
}

// Revoke no longer lets the edge of that name in. It is no error if it never was.
func (e *Edges) Revoke(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.known, name)
}

// Names returns the names of the edges that are let in, in alphabetical order.
func (e *Edges) Names() []string {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return slices.Sorted(maps.Keys(e.known))
}

// Authenticate returns the name of the edge whose credential the request carries, and false if it carries none that is valid. Other handlers that are
// for edges only may use it too.
func (e *Edges) Authenticate(r *http.Request) (name string, ok bool) {
	g, ok := e.authenticate(r)
	return g.name, ok
}

// grant is a credential that was shown and was valid then.
type grant struct {
	name   string
	digest Digest
}

func (e *Edges) authenticate(r *http.Request) (grant, bool) {
	if len(r.Header["Authorization"]) != 1 {
		return grant{}, false
	}
	name, secret, ok := r.BasicAuth()
	if !ok || !validEdgeName(name) {
		return grant{}, false
	}
	d, ok := digest(secret)
	g := grant{name, d}
	return g, e.valid(g) && ok
}

// valid reports whether the grant is still good. It takes the same time whichever byte of the digest is wrong.
func (e *Edges) valid(g grant) bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	same := 0
	for _, d := range e.known[g.name] {
		same |= subtle.ConstantTimeCompare(d[:], g.digest[:])
	}
	return same == 1
}
