package issuer_test

import "encoding/base64"

func decode(dst []byte, s string) (int, error) {
	return base64.RawURLEncoding.Decode(dst, []byte(s))
}
