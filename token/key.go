package token

import "unsafe"

// The algorithms, by their names in RFC 7518 and RFC 8037. There is no RS*, no PS* and no "none".
const (
	algEdDSA = "EdDSA" // with Ed25519 only
	algES256 = "ES256"
	algHS256 = "HS256"
)

const (
	headerType   = "session+jwt"
	minSecretLen = 32 // RFC 7518 section 3.2: at least as long as the hash
	maxSecretLen = 1 << 10
	maxKeyIDLen  = 64
)

var (
	errKeyMaterial = &refusal{"key material"}
	errWeakKey     = &refusal{"weak key"}
	errAlgorithm   = &refusal{"algorithm not supported"}
)

// A Key verifies the tokens of one signing key, with one algorithm. Its ID is the RFC 7638 thumbprint, unless a JWK set names it otherwise.
// Keys are values, safe for concurrent use; the zero Key verifies nothing. They come from [Ed25519Key], [ES256Key], [HS256Key] or [ParseJWKS].
//
// A key prints as its algorithm and ID, or as "[redacted]" when it holds a secret.
type Key struct {
	p unsafe.Pointer // a *key; why not typed: see Verified
}

func (k Key) key() *key { return (*key)(k.p) }

type key struct {
	alg    string
	id     string
	header string // the header segment that the issuer writes for this key
	public []byte // Ed25519: the 32 bytes; ES256: X and Y, 32 bytes each; HS256: empty
	secret []byte // HS256 only
	ready  ready  // material prepared for the signature code
}

// newKey finishes a key whose material has been checked. An empty id stands for the thumbprint.
func newKey(k *key, id string) Key {
	if id == "" {
		sum := sum256(k.appendRequired(nil))
		id = string(appendBase64(nil, sum[:]))
	}
	k.id = id
	k.header = string(appendBase64(nil, []byte(`{"alg":"`+k.alg+`","kid":"`+id+`","typ":"`+headerType+`"}`)))
	return Key{unsafe.Pointer(k)}
}

// appendRequired appends the JWK of required members in the order that RFC 7638 section 3.2 gives them.
func (k *key) appendRequired(b []byte) []byte {
	switch k.alg {
	case algEdDSA:
		b = append(b, `{"crv":"Ed25519","kty":"OKP","x":"`...)
		b = appendBase64(b, k.public)
	case algES256:
		b = append(b, `{"crv":"P-256","kty":"EC","x":"`...)
		b = appendBase64(b, k.public[:32])
		b = append(b, `","y":"`...)
		b = appendBase64(b, k.public[32:])
	case algHS256:
		b = append(b, `{"k":"`...)
		b = appendBase64(b, k.secret)
		b = append(b, `","kty":"oct`...)
	}
	return append(b, `"}`...)
}

func (k *key) same(other *key) bool {
	return k == other || k.id == other.id && k.alg == other.alg && string(k.public) == string(other.public) && string(k.secret) == string(other.secret)
}

// HS256Key makes a key from a secret of at least 32 bytes (and at most 1 KiB), which it copies. Whoever can verify with it can also mint:
// use it inside one trust domain only. The key's ID is derived from the secret, so the secret must be random, not a passphrase.
func HS256Key(secret []byte) (Key, error) { return newHS256(secret, "") }

func newHS256(secret []byte, id string) (Key, error) {
	if len(secret) < minSecretLen {
		return Key{}, errWeakKey
	}
	if len(secret) > maxSecretLen {
		return Key{}, errKeyMaterial
	}
	k := &key{alg: algHS256, secret: append([]byte(nil), secret...)}
	k.ready.prepareSecret(secret)
	return newKey(k, id), nil
}

// ID returns the key's ID, the "kid" of its tokens.
func (k Key) ID() string {
	if k.p == nil {
		return ""
	}
	return k.key().id
}

// Algorithm returns "EdDSA", "ES256" or "HS256".
func (k Key) Algorithm() string {
	if k.p == nil {
		return ""
	}
	return k.key().alg
}

// HeaderSegment returns the first segment of every token of this key: base64url of {"alg":…,"kid":…,"typ":"session+jwt"}.
func (k Key) HeaderSegment() string {
	if k.p == nil {
		return ""
	}
	return k.key().header
}

// IsZero reports whether this is the zero Key.
func (k Key) IsZero() bool { return k.p == nil }

// Equal reports whether both keys have the same ID, algorithm and material.
func (k Key) Equal(other Key) bool {
	if k.p == nil || other.p == nil {
		return k.p == other.p
	}
	return k.key().same(other.key())
}

// String returns the key's algorithm and ID, or "[redacted]" for a key that holds a secret.
func (k Key) String() string {
	if k.p == nil {
		return "token: no key"
	}
	if len(k.key().secret) > 0 {
		return redacted
	}
	return k.key().alg + " " + k.key().id
}

// GoString returns what String returns.
func (k Key) GoString() string { return k.String() }

// MarshalText returns what String returns: keys travel as JWK sets, see [AppendJWKS].
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }
