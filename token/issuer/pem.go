package issuer

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
)

const maxPEMLen = 64 << 10

// ParsePEM reads a private key from exactly one PEM block, as openssl genpkey writes it: "PRIVATE KEY" (PKCS #8) with Ed25519 or P-256, or "EC PRIVATE KEY" (SEC 1) with
// P-256. Encrypted keys, headers, and anything but white space around the block are refused.
func ParsePEM(data []byte) (*Key, error) {
	if len(data) > maxPEMLen {
		return nil, errors.New("issuer: PEM over 64 KiB")
	}
	data = bytes.TrimSpace(data)
	if !bytes.HasPrefix(data, []byte("-----BEGIN ")) {
		return nil, errors.New("issuer: no PEM block")
	}
	block, rest := pem.Decode(data)
	switch {
	case block == nil:
		return nil, errors.New("issuer: no PEM block")
	case len(rest) > 0:
		return nil, errors.New("issuer: more than one PEM block")
	case len(block.Headers) > 0:
		return nil, errors.New("issuer: PEM with headers; encrypted keys are not read")
	}
	var private any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		private, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		private, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, errors.New(`issuer: PEM block is neither "PRIVATE KEY" nor "EC PRIVATE KEY"`)
	}
	if err != nil {
		return nil, errors.New("issuer: PEM block holds no private key")
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, errors.New("issuer: PEM block holds no signing key")
	}
	return NewKey(signer)
}
