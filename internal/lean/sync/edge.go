//go:build edge && wasm

package sync

// A Mutex is a flag. Whoever finds it set is the only one there is and would wait for ever, so that is a panic, which ends the module; what was asked of it is refused.
type Mutex struct{ locked bool }

// Lock sets the flag.
func (m *Mutex) Lock() {
	if m.locked {
		panic("locked twice")
	}
	m.locked = true
}

// Unlock clears the flag.
func (m *Mutex) Unlock() {
	if !m.locked {
		panic("not locked")
	}
	m.locked = false
}
