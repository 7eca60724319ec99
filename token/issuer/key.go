package issuer

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"unsafe"

	"github.com/golang-jwt/jwt/v5"

	"github.com/counterfoil/counterfoil/token"
)

// A Key is a private signing key of one algorithm. It is made by [GenerateKey], [NewKey], [NewHMACKey] or [ParsePEM], and safe for concurrent use if its
// crypto.Signer is. It prints as "[redacted]".
type Key struct {
	public token.Key
	m      func() *material // a function: fmt follows pointers to structs past every String method when a verb does not fit, as in %t
}

type material struct {
	method jwt.SigningMethod
	key    any           // what the method wants
	signer crypto.Signer // nil for HS256
	remote bool          // the private key is not in this process, so what comes back is checked
}

// GenerateKey makes a new key for "EdDSA", "ES256" or "HS256". Any other algorithm is an error.
func GenerateKey(alg string) (*Key, error) {
	switch alg {
	case "EdDSA":
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		return NewKey(private)
	case "ES256":
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		return NewKey(private)
	case "HS256":
		secret := make([]byte, 32)
		if _, err := rand.Read(secret); err != nil {
			return nil, err
		}
		return NewHMACKey(secret)
	}
	return nil, errors.New(`issuer: algorithm must be "EdDSA", "ES256" or "HS256"`)
}

// NewKey makes a key from a signer whose public key is an ed25519.PublicKey or an *ecdsa.PublicKey on P-256. The signer may keep its private key elsewhere:
// then each signature is verified before it is given out.
func NewKey(signer crypto.Signer) (*Key, error) {
	if signer == nil {
		return nil, errors.New("issuer: no signer")
	}
	m := &material{signer: signer, key: signer}
	var public token.Key
	var err error
	switch pub := signer.Public().(type) {
	case ed25519.PublicKey:
		public, err = token.Ed25519Key(pub)
		m.method = jwt.SigningMethodEdDSA
		private, local := signer.(ed25519.PrivateKey)
		m.remote = !local
		if local && !bytes.Equal(private, ed25519.NewKeyFromSeed(private.Seed())) {
			return nil, errors.New("issuer: private and public half do not belong together")
		}
	case *ecdsa.PublicKey:
		public, err = es256Public(pub)
		m.method = jwt.SigningMethodES256
		_, local := signer.(*ecdsa.PrivateKey)
		m.remote = !local
		if !local {
			m.method = es256Signer{}
		}
	default:
		return nil, errors.New("issuer: the signer's key is neither Ed25519 nor P-256")
	}
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	return newKey(public, m), nil
}

// NewHMACKey makes an HS256 key from a random secret of at least 32 bytes, which it copies. Whoever can verify its tokens can mint them: for one
// trust domain only.
func NewHMACKey(secret []byte) (*Key, error) {
	public, err := token.HS256Key(secret)
	if err != nil {
		return nil, fmt.Errorf("issuer: an HS256 secret has 32 to 1024 bytes, this one has %d: %w", len(secret), err)
	}
	secret = bytes.Clone(secret)
	return newKey(public, &material{method: jwt.SigningMethodHS256, key: secret}), nil
}

func newKey(public token.Key, m *material) *Key {
	return &Key{public: public, m: func() *material { return m }}
}

// ID returns the key's ID, the "kid" of its tokens.
func (k *Key) ID() string { return k.public.ID() }

// Public returns the key that verifies this one's tokens. For HS256 it holds the secret.
func (k *Key) Public() token.Key { return k.public }

const redacted = "[redacted]"

// String returns "[redacted]".
func (k *Key) String() string { return redacted }

// GoString returns "[redacted]".
func (k *Key) GoString() string { return redacted }

// MarshalText returns "[redacted]": keys are kept in the file of a [Ring].
func (k *Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// sign makes the token of a claim set.
func (k *Key) sign(payload []byte) (string, error) {
	m := k.m()
	enc := base64.RawURLEncoding
	header := k.public.HeaderSegment()
	b := make([]byte, 0, len(header)+2+enc.EncodedLen(len(payload))+enc.EncodedLen(64))
	b = append(b, header...)
	b = append(b, '.')
	b = enc.AppendEncode(b, payload)
	// What is written of b is not written again, so strings may share its bytes.
	signed := unsafe.String(unsafe.SliceData(b), len(b))
	sig, err := m.method.Sign(signed, m.key)
	if err != nil {
		return "", fmt.Errorf("issuer: signing: %w", err)
	}
	if m.remote {
		if err := m.method.Verify(signed, sig, m.signer.Public()); err != nil {
			return "", errors.New("issuer: the signer returned a signature that does not verify")
		}
	}
	b = append(b, '.')
	b = enc.AppendEncode(b, sig)
	return unsafe.String(unsafe.SliceData(b), len(b)), nil
}

// es256Signer is ES256 for signers that are not an *ecdsa.PrivateKey, which golang-jwt's method insists on.
type es256Signer struct{}

func (es256Signer) Alg() string { return "ES256" }

func (es256Signer) Verify(signed string, sig []byte, key any) error {
	return jwt.SigningMethodES256.Verify(signed, sig, key)
}

// Sign asks the signer for ASN.1 and returns R and S, 32 bytes each (RFC 7518 section 3.4).
func (es256Signer) Sign(signed string, key any) ([]byte, error) {
	digest := sha256.Sum256([]byte(signed))
	der, err := key.(crypto.Signer).Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	var sig struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(der, &sig)
	if err != nil || len(rest) > 0 || sig.R.Sign() < 0 || sig.S.Sign() < 0 || sig.R.BitLen() > 256 || sig.S.BitLen() > 256 {
		return nil, errors.New("the signer returned no ECDSA signature")
	}
	out := make([]byte, 64)
	sig.R.FillBytes(out[:32])
	sig.S.FillBytes(out[32:])
	return out, nil
}
