//go:build hostcrypto

package revocation_test

import (
	"crypto/ed25519"
	"crypto/sha256"

	"github.com/counterfoil/counterfoil/revocation"
)

// openFrame opens a frame as a host does.
func openFrame(r *revocation.FrameReader, frame []byte) (revocation.Frame, error) {
	p, err := r.Begin(frame)
	if err != nil {
		return revocation.Frame{}, err
	}
	public := p.Key().Public()
	return r.Finish(p, ed25519.Verify(public[:], p.Signed(), p.Signature()), sha256.Sum256(p.Body()))
}
