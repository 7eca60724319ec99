//go:build !hostcrypto

package token_test

import (
	"time"

	"github.com/counterfoil/counterfoil/token"
)

func verifyAt(v *token.Verifier, raw string, now time.Time) (token.Verified, error) {
	return v.VerifyAt(raw, now)
}
