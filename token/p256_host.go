//go:build hostcrypto

package token

import "math/bits"

// Whether two numbers are a point of P-256, without crypto/elliptic. It is asked about public keys, once each, so it is short rather than fast, and takes
// no care to hide the numbers by its timing.

// A number is 256 bits, the lowest first.
type number [4]uint64

var (
	p256P = number{0xffffffffffffffff, 0x00000000ffffffff, 0, 0xffffffff00000001}
	p256B = number{0x3bce3c3e27d2604b, 0x651d06b0cc53b0f6, 0xb3ebbd55769886bc, 0x5ac635d8aa3a93e7}
)

// onP256 reports whether x and y, 32 bytes each with the highest first, are below p and y² = x³ - 3x + b.
func onP256(xy []byte) bool {
	var x, y number
	for i := range 32 {
		x[3-i/8] = x[3-i/8]<<8 | uint64(xy[i])
		y[3-i/8] = y[3-i/8]<<8 | uint64(xy[32+i])
	}
	if _, below := x.minus(p256P); !below {
		return false
	}
	if _, below := y.minus(p256P); !below {
		return false
	}
	left := y.times(y).plus(x).plus(x).plus(x) // y² + 3x = x³ + b
	return left == x.times(x).times(x).plus(p256B)
}

// minus returns n - m and whether it is below zero.
func (n number) minus(m number) (number, bool) {
	var borrow uint64
	for i := range n {
		n[i], borrow = bits.Sub64(n[i], m[i], borrow)
	}
	return n, borrow != 0
}

// plus returns n + m modulo p. Both are below p.
func (n number) plus(m number) number {
	var carry uint64
	for i := range n {
		n[i], carry = bits.Add64(n[i], m[i], carry)
	}
	if less, below := n.minus(p256P); carry != 0 || !below {
		return less
	}
	return n
}

// times returns n · m modulo p. Both are below p.
func (n number) times(m number) (product number) {
	for i := 255; i >= 0; i-- {
		product = product.plus(product)
		if m[i/64]>>(i%64)&1 == 1 {
			product = product.plus(n)
		}
	}
	return product
}
