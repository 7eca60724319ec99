package token

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
)

// FuzzBase64: this package's base64 against that of the standard library, which accepts the same but for line breaks.
func FuzzBase64(f *testing.F) {
	for _, s := range []string{"", "A", "AA", "AB", "AAA", "AAB", "AAAA", "-_-_", "AA\nAA", "AAA=", "AAAAA", "AAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAA+"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, err := base64.RawURLEncoding.Strict().DecodeString(s)
		ok := isAlphabet(s) && isCanonical(s)
		if ok != (err == nil && !strings.ContainsAny(s, "\r\n")) {
			t.Fatalf("%q: %v, standard library %v", s, ok, err)
		}
		dst := make([]byte, decodedLen(len(s)))
		n, decoded := decode(dst, s)
		if ok && (!decoded || n != len(want) || !bytes.Equal(dst, want) || string(appendBase64(nil, dst)) != s) {
			t.Fatalf("%q: %x, want %x", s, dst, want)
		}
		if len(dst) > 0 {
			if _, ok := decode(dst[1:], s); ok {
				t.Fatal("decoded into too little space")
			}
		}
	})
}
