//go:build !hostcrypto

package token

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/subtle"
	"unsafe"
)

// The signature code, which the build tag hostcrypto leaves out (see hostcrypto.go). Everything that imports a signature package is in this
// file and in es256.go.

const (
	signatureLen = 64 // Ed25519 and ES256
	macLen       = sha256.Size
	blockLen     = sha256.BlockSize
)

// ready is key material prepared once, when the key is made.
type ready struct {
	es256        es256Material
	inner, outer *[blockLen]byte // HMAC's padded keys (RFC 2104): secret ^ 0x36…, secret ^ 0x5c…
}

func sum256(b []byte) [sha256.Size]byte { return sha256.Sum256(b) }

func (r *ready) prepareSecret(secret []byte) {
	if len(secret) > blockLen {
		sum := sha256.Sum256(secret)
		secret = sum[:]
	}
	r.inner, r.outer = new([blockLen]byte), new([blockLen]byte)
	copy(r.inner[:], secret)
	copy(r.outer[:], secret)
	for i := range blockLen {
		r.inner[i] ^= 0x36
		r.outer[i] ^= 0x5c
	}
}

// Ed25519Key makes a key from an Ed25519 public key, which it copies. The points of small order are refused: with them, some signatures verify for
// almost any message.
func Ed25519Key(pub ed25519.PublicKey) (Key, error) { return newEd25519(pub, "") }

func newEd25519(pub []byte, id string) (Key, error) {
	if len(pub) != ed25519.PublicKeySize {
		return Key{}, errKeyMaterial
	}
	if hasSmallOrder([32]byte(pub)) {
		return Key{}, errWeakKey
	}
	return newKey(&key{alg: algEdDSA, public: append([]byte(nil), pub...)}, id), nil
}

// verify reports whether signature, a canonical base64url segment, is the key's signature of message.
func (k *key) verify(message, signature string) bool {
	var sig [signatureLen]byte
	n, ok := decode(sig[:], signature)
	if !ok {
		return false
	}
	// The primitives read the message and keep nothing of it, so they may look at the string's own bytes.
	m := unsafe.Slice(unsafe.StringData(message), len(message))
	switch k.alg {
	case algEdDSA:
		return n == signatureLen && ed25519.Verify(k.public, m, sig[:])
	case algES256:
		return n == signatureLen && k.ready.es256.verify(m, &sig)
	case algHS256:
		if n != macLen {
			return false
		}
		mac := k.ready.mac(message)
		return subtle.ConstantTimeCompare(mac[:], sig[:macLen]) == 1
	}
	return false
}

// mac is HMAC-SHA-256 (RFC 2104) over one buffer: without the five allocations of hmac.New, which cost as much as the hashing.
func (r *ready) mac(message string) [macLen]byte {
	var buf [blockLen + 960]byte // on the stack; a longer message takes one allocation
	b := append(buf[:0], r.inner[:]...)
	b = append(b, message...)
	digest := sha256.Sum256(b)
	var last [blockLen + macLen]byte
	copy(last[:], r.outer[:])
	copy(last[blockLen:], digest[:])
	return sha256.Sum256(last[:])
}
