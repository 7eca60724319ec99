//go:build counterfoil_seam

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"

	"github.com/counterfoil/counterfoil/token"
)

func p256Key(point []byte) token.Key {
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	check(err)
	k, err := token.ES256Key(public)
	check(err)
	return k
}
