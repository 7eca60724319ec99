//go:build !hostcrypto && (!wasm || es256)

package issuer

import (
	"crypto/ecdsa"

	"github.com/counterfoil/counterfoil/token"
)

// Where token has no ES256, an issuer has none either: what nobody here can verify is not signed here.

func es256Public(pub *ecdsa.PublicKey) (token.Key, error) { return token.ES256Key(pub) }
