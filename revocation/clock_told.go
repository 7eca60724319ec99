//go:build wasm || edge

package revocation

// In WebAssembly timers fire only while the host waits, so every check asks for the time; hosts pass it in anyway.
const keepsLooking = false

type sights struct{}

func (g *Guard) look() *sight {
	s := g.lookAt(g.now())
	return &s
}
