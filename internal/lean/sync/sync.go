//go:build !edge || !wasm

// Package sync is the standard package sync, as far as token and revocation use it. In the edge module, which has one thread and nothing that waits with a lock in its hand, it is
// one whose Mutex is a flag: 4 KiB less.
package sync

import "sync"

// Mutex is that of the standard library.
type Mutex = sync.Mutex
