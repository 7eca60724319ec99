//go:build !hostcrypto && (!wasm || es256)

package token

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
)

// In WebAssembly ES256 sits behind the build tag es256, because crypto/ecdsa adds 355 KiB (brotli) to a module.

type es256Material struct{ pub *ecdsa.PublicKey }

// ES256Key makes a key from a public key on P-256.
func ES256Key(pub *ecdsa.PublicKey) (Key, error) {
	if pub == nil || pub.Curve != elliptic.P256() {
		return Key{}, errKeyMaterial
	}
	point, err := pub.Bytes()
	if err != nil || len(point) != 65 {
		return Key{}, errKeyMaterial
	}
	return newES256(point[1:], "")
}

// newES256 takes X and Y, 32 bytes each, and refuses what is not a point of the curve.
func newES256(xy []byte, id string) (Key, error) {
	if len(xy) != 64 {
		return Key{}, errKeyMaterial
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, xy...))
	if err != nil {
		return Key{}, errKeyMaterial
	}
	k := &key{alg: algES256, public: append([]byte(nil), xy...)}
	k.ready.es256.pub = pub
	return newKey(k, id), nil
}

// verify checks R and S, 32 bytes each as RFC 7518 section 3.4 has them. The standard library wants them in ASN.1.
func (m *es256Material) verify(message []byte, sig *[signatureLen]byte) bool {
	digest := sha256.Sum256(message)
	var buf [72]byte
	b := append(buf[:0], 0x30, 0)
	b = appendInteger(b, sig[:32])
	b = appendInteger(b, sig[32:])
	b[1] = byte(len(b) - 2)
	return ecdsa.VerifyASN1(m.pub, digest[:], b)
}

// appendInteger appends a DER INTEGER: no leading zeros, but one where the first bit would make it negative.
func appendInteger(b, v []byte) []byte {
	for len(v) > 1 && v[0] == 0 {
		v = v[1:]
	}
	if v[0] >= 0x80 {
		b = append(b, 2, byte(len(v)+1), 0)
	} else {
		b = append(b, 2, byte(len(v)))
	}
	return append(b, v...)
}
