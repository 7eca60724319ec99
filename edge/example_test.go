//go:build !hostcrypto

package edge_test

import (
	"fmt"

	"github.com/counterfoil/counterfoil/edge"
	"github.com/counterfoil/counterfoil/revocation"
)

// What a host does, in the flavour that verifies signatures itself.
func Example() {
	e, err := edge.New([]byte("issuer " + issuer + "\naudience " + audience + "\npolicy best-effort\n"))
	if err != nil {
		panic(err)
	}
	e.Keys(jwks("k"))
	now := edge.Moment{Wall: start, Steady: 1}
	r := e.Check(mint("k", 7, start), revocation.BestEffort, now)
	fmt.Println(r.Status == edge.Learned, string(e.Text()))
	r = e.Check("no token", revocation.BestEffort, now)
	fmt.Println(r.Status == edge.Refused, string(e.Text()))
	// Output:
	// true {"iss":"https://issuer.test","aud":"https://service.test","sub":"user-7","sid":"abcU4RUEnsJZJMAAAAAAAAABw","gen":1,"iat":1893499200,"exp":1893499500}
	// true invalid: not three segments
}
