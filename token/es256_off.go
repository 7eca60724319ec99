//go:build !hostcrypto && wasm && !es256

package token

type es256Material struct{}

func newES256([]byte, string) (Key, error) { return Key{}, errAlgorithm }

func (*es256Material) verify([]byte, *[signatureLen]byte) bool { return false }
