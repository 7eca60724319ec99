//go:build hostcrypto

package token

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"
)

// TestOnP256: the same as crypto/ecdsa says, of points, of their neighbours and of numbers that are none of the field.
func TestOnP256(t *testing.T) {
	agree := func(xy []byte) bool {
		t.Helper()
		_, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, xy...))
		if onP256(xy) != (err == nil) {
			t.Fatalf("%x: %v, want %v", xy, onP256(xy), err)
		}
		return err == nil
	}
	points := 0
	for range 200 {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		point, err := key.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		xy := point[1:]
		if agree(xy) {
			points++
		}
		for i := range xy {
			xy[i] ^= 1
			agree(xy)
			xy[i] ^= 1
		}
	}
	if points != 200 {
		t.Errorf("%d points of 200", points)
	}
	agree(make([]byte, 64))
	ones := make([]byte, 64)
	for i := range ones {
		ones[i] = 0xff
	}
	agree(ones)
	// x = 0 has a root; with p in its place it is the same point, spelled as no number of the field is.
	root := []byte{
		0x66, 0x48, 0x5c, 0x78, 0x0e, 0x2f, 0x83, 0xd7, 0x24, 0x33, 0xbd, 0x5d, 0x84, 0xa0, 0x6b, 0xb6,
		0x54, 0x1c, 0x2a, 0xf3, 0x1d, 0xae, 0x87, 0x17, 0x28, 0xbf, 0x85, 0x6a, 0x17, 0x4f, 0x93, 0xf4,
	}
	zero := append(make([]byte, 32), root...)
	if !agree(zero) {
		t.Error("the root of b is not on the curve")
	}
	p := []byte{
		0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	}
	if agree(append(p, root...)) {
		t.Error("p in the place of zero")
	}
}
