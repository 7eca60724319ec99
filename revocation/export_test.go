package revocation

// Flights returns how many sessions somebody asks about or waits to ask about.
func (g *Guard) Flights() int {
	g.asking.mu.Lock()
	defer g.asking.mu.Unlock()
	return len(g.asking.flights)
}
