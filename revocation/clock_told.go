//go:build wasm || edge

package revocation

import "github.com/counterfoil/counterfoil/internal/lean/time"

// In WebAssembly hosts pass the time in, so every check is told it.
const keepsLooking = false

type sights struct{}

func (g *Guard) look() (*sight, time.Time) {
	s := g.lookAt(g.now())
	return &s, s.taken
}
