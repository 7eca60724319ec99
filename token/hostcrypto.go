//go:build hostcrypto

package token

import (
	"unsafe"

	"github.com/counterfoil/counterfoil/internal/lean/time"
)

// With the build tag hostcrypto this package holds no signature code: the host of a WebAssembly module checks signatures, with WebCrypto for example, between
// [Verifier.Begin] and [Verifier.Finish]. Verify then refuses every token that is not in the warm table.

const signatureLen = 64

type ready struct{}

func (*ready) prepareSecret([]byte) {}

// Ed25519Key makes a key from an Ed25519 public key, 32 bytes, which it copies.
func Ed25519Key(pub []byte) (Key, error) { return newEd25519(pub, "") }

func newEd25519(pub []byte, id string) (Key, error) {
	if len(pub) != 32 {
		return Key{}, errKeyMaterial
	}
	if hasSmallOrder([32]byte(pub)) {
		return Key{}, errWeakKey
	}
	return newKey(&key{alg: algEdDSA, public: append([]byte(nil), pub...)}, id), nil
}

// newES256 takes X and Y, 32 bytes each. What is no point of the curve is refused here as it is where there is a curve, and not when the host comes to import it.
func newES256(xy []byte, id string) (Key, error) {
	if len(xy) != 64 || !onP256(xy) {
		return Key{}, errKeyMaterial
	}
	return newKey(&key{alg: algES256, public: append([]byte(nil), xy...)}, id), nil
}

func (*key) verify(string, string) bool { return false }

// A Pending token has the right form and a known key. Its signature is still to be checked by the host. [Verifier.Begin] fills one in, and it is good for one Finish. The
// zero value is ready for Begin; used again, it needs no memory anew.
type Pending struct {
	raw        []byte
	dot1, dot2 int
	k          *key
	generation uint64
	sig        [signatureLen]byte
	sigLen     int    // 0 = nothing to finish
	claims     *entry // if they were read, and are good
}

// parts is a view that holds until the next Begin.
func (p *Pending) parts() parts {
	return parts{unsafe.String(unsafe.SliceData(p.raw), len(p.raw)), p.dot1, p.dot2}
}

// fill copies the token. In WebAssembly the collector is nearly always in the middle of a cycle, where storing a pointer is dear: none is stored that is there already.
func (p *Pending) fill(of parts, k *key, generation uint64) {
	if cap(p.raw) < len(of.raw) {
		p.raw = make([]byte, len(of.raw))
	}
	p.raw = p.raw[:len(of.raw)]
	copy(p.raw, of.raw)
	if p.k != k {
		p.k = k
	}
	p.dot1, p.dot2, p.generation = of.dot1, of.dot2, generation
}

// Key returns the key that must have signed.
func (p *Pending) Key() Key { return Key{unsafe.Pointer(p.k)} }

// Material returns what the key verifies with: 32 bytes for Ed25519, X and Y for ES256, the secret for HS256. The caller must not change it.
func (p *Pending) Material() []byte {
	if p.k.alg == algHS256 {
		return p.k.secret
	}
	return p.k.public
}

// Signed returns the bytes that must have been signed, a view that holds until the next Begin.
func (p *Pending) Signed() string { return p.parts().signed() }

// Signature returns the signature: R and S for ES256.
func (p *Pending) Signature() []byte { return p.sig[:p.sigLen] }

// Begin does everything that comes before the signature. It returns a valid Verified if the token is in the warm table, or else an error, or
// neither: then p, whatever it was before, is the token that is to be finished. raw is copied.
func (v *Verifier) Begin(p *Pending, raw string, now time.Time) (Verified, error) {
	p.done()
	set := v.keys.load()
	if e := v.table.find(raw, set.generation); e != nil {
		return v.warm(e, now.UnixMilli())
	}
	of, k, err := v.open(raw, set)
	if err == nil {
		want := signatureLen
		if k.alg == algHS256 {
			want = 32
		}
		if n, ok := decode(p.sig[:], of.signature()); ok && n == want {
			p.fill(of, k, set.generation)
			p.sigLen = n
			return Verified{}, nil
		}
		err = errSignature
	}
	v.stats.refused.Add(1)
	return Verified{}, err
}

// Ahead reads the claims, for a host that verifies the signature elsewhere and has the time meanwhile. What they say, and whether they are good, nobody learns before
// Finish, which does it by itself otherwise.
func (v *Verifier) Ahead(p *Pending) {
	if p.sigLen != 0 {
		p.claims, _ = v.read(p.parts(), p.k, p.generation) // Finish tries again, and says why it does not go
	}
}

// done leaves nothing to be finished.
func (p *Pending) done() {
	p.sigLen = 0
	if p.claims != nil {
		p.claims = nil
	}
}

// Finish does everything that comes after the signature. ok is the host's word that the key made the signature. A token whose key was
// removed in between is refused, and so is what Begin did not leave to be finished.
func (v *Verifier) Finish(p *Pending, ok bool, now time.Time) (Verified, error) {
	e, err := v.finish(p, ok, now.UnixMilli())
	p.done()
	if err != nil {
		v.stats.refused.Add(1)
		return Verified{}, err
	}
	v.stats.misses.Add(1)
	return Verified{unsafe.Pointer(e)}, nil
}

func (v *Verifier) finish(p *Pending, ok bool, now int64) (e *entry, err error) {
	if !ok || p.sigLen == 0 {
		return nil, errSignature
	}
	if set := v.keys.load(); set.generation != p.generation {
		// A key was removed or altered since Begin: this one, or another.
		if k := set.lookup(p.parts().header()); k == nil || !k.same(p.k) {
			return nil, errUnknownKey
		}
		p.generation, p.claims = set.generation, nil
	}
	if e = p.claims; e == nil {
		if e, err = v.read(p.parts(), p.k, p.generation); err != nil {
			return nil, err
		}
	}
	return e, v.admit(e, now)
}
