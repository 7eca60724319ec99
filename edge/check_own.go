//go:build !hostcrypto

package edge

import "github.com/counterfoil/counterfoil/revocation"

// HostCrypto reports whether the host verifies signatures.
const HostCrypto = false

//lint:ignore U1000 used under the build tag hostcrypto
type pending struct{}

func (e *Edge) check(raw string, p revocation.Policy) Result {
	v, err := e.verifier.VerifyAt(raw, e.now)
	if err != nil {
		return e.refuse(err)
	}
	return e.decide(v, p)
}

// Ahead has nothing to do in this flavour.
func (e *Edge) Ahead(uint32) {}

// Finish has nothing to finish in this flavour.
func (e *Edge) Finish(id uint32, ok bool, m Moment) Result {
	return e.refused(stale, noTicket)
}
