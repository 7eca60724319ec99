//go:build hostcrypto

package edge

import (
	"encoding/binary"

	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

// HostCrypto reports whether the host verifies signatures.
const HostCrypto = true

type pending = token.Pending

func (e *Edge) check(raw string, p revocation.Policy) Result {
	t, pending := e.free(), &e.spare
	if t != nil {
		pending = &t.pending
	}
	v, err := e.verifier.Begin(pending, raw, e.now)
	switch {
	case err != nil:
		return e.refuse(err)
	case v.Valid():
		return e.decide(v, p)
	case t == nil:
		return e.refused(stale, tooMany)
	}
	e.issue(t, p)
	t.begun = true
	e.signature(pending)
	return Result{Verify, t.id}
}

// signature describes what the host has to verify.
func (e *Edge) signature(p *token.Pending) {
	var number uint32
	for i := range e.known {
		if k := &e.known[i]; k.number != 0 && k.key.Equal(p.Key()) {
			number = k.number
			break
		}
	}
	s := Signature{Algorithm: algorithm(p.Key().Algorithm()), Key: number, Material: p.Material(), Signature: p.Signature(), Signed: p.Signed()}
	e.say(s.append(e.out[:0]))
}

func algorithm(name string) uint32 {
	switch name {
	case "EdDSA":
		return 1
	case "ES256":
		return 2
	}
	return 3
}

// A Signature is what a host has to verify. As bytes it is five numbers of 32 bits, little endian: the algorithm, the number of the key, and the
// lengths of material, signature and what was signed; then these three.
type Signature struct {
	Algorithm uint32 // 1 = Ed25519, 2 = ECDSA with P-256 and SHA-256, 3 = HMAC with SHA-256
	Key       uint32 // the same number is the same key
	Material  []byte // 32 bytes; X and Y; the secret
	Signature []byte // 64 bytes; R and S; 32 bytes
	Signed    string
}

func (s *Signature) append(b []byte) []byte {
	for _, n := range [...]int{int(s.Algorithm), int(s.Key), len(s.Material), len(s.Signature), len(s.Signed)} {
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
	}
	b = append(append(b, s.Material...), s.Signature...)
	return append(b, s.Signed...)
}

// Ahead does what Finish has to do with the claims, for a host whose signatures are verified in another thread. It answers nothing, and need not be called.
func (e *Edge) Ahead(id uint32) {
	if t := &e.tickets[id%MaxTickets]; id != 0 && t.id == id && t.begun {
		e.verifier.Ahead(&t.pending)
	}
}

// Finish goes on with a check whose signature the host has verified: ok is its word. The answer is Learned, Refused or Ask. A ticket is good for one Finish, for ten seconds.
func (e *Edge) Finish(id uint32, ok bool, m Moment) Result {
	e.at(m)
	t := e.take(id)
	if t == nil || !t.begun {
		return e.refused(stale, noTicket)
	}
	v, err := e.verifier.Finish(&t.pending, ok, e.now)
	if err != nil {
		return e.refuse(err)
	}
	return e.decide(v, t.policy)
}
