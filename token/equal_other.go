//go:build !wasm

package token

func equal(a, b string) bool { return a == b }
