//go:build hostcrypto || (wasm && !es256)

package issuer

import (
	"crypto/ecdsa"
	"errors"

	"github.com/counterfoil/counterfoil/token"
)

func es256Public(*ecdsa.PublicKey) (token.Key, error) {
	return token.Key{}, errors.New("built without ES256")
}
