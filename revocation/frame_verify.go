//go:build !hostcrypto

package revocation

import (
	"crypto/ed25519"
	"crypto/sha256"
)

// The signature code of frames, which the build tag hostcrypto leaves out (see frame_host.go).

func (k FrameKey) verify(signed, signature []byte) bool {
	return ed25519.Verify(k.public[:], signed, signature)
}

func bodySum(body []byte) [32]byte { return sha256.Sum256(body) }
