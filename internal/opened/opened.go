// Package opened lets an adapter run the net/http handlers of package httpadapter behind its own middleware: [With] hands over the exchange that this has
// opened, [From] finds it. Two exchanges of one request would renew beside each other, and each set its cookies.
package opened

import (
	"context"

	"github.com/counterfoil/counterfoil"
)

type key struct{}

// With returns ctx with the exchange of the request.
func With(ctx context.Context, x *counterfoil.Exchange) context.Context {
	return context.WithValue(ctx, key{}, x)
}

// From returns the exchange that m has opened for the request, nil if there is none.
func From(ctx context.Context, m *counterfoil.Manager) *counterfoil.Exchange {
	x, _ := ctx.Value(key{}).(*counterfoil.Exchange)
	if x == nil || x.Manager() != m {
		return nil
	}
	return x
}
