//go:build !hostcrypto

package revocation_test

import "github.com/counterfoil/counterfoil/revocation"

// openFrame opens a frame, whoever does the cryptography.
func openFrame(r *revocation.FrameReader, frame []byte) (revocation.Frame, error) {
	return r.Open(frame)
}
