package revocation

// Flights returns how many sessions somebody asks about or waits to ask about.
func (g *Guard) Flights() int {
	g.asking.mu.Lock()
	defer g.asking.mu.Unlock()
	return len(g.asking.flights)
}

// Healing reports whether the follower has something to give back to the log.
func (f *Follower) Healing() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.healing != nil
}

// UnknownUntil returns until when (Unix ms) something that is not understood is in force.
func (l *List) UnknownUntil() int64 { return l.unknown.Load() }
