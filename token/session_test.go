package token_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/counterfoil/counterfoil/token"
)

// TestSessionIDForms: an ID is the same as text, as bytes and as numbers.
func TestSessionIDForms(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	r := rand.New(rand.NewPCG(1, 2))
	seen := map[token.SessionID]bool{}
	for i := range 10_000 {
		var random [16]byte
		if i > 0 { // all zero is an ID too
			binary.LittleEndian.PutUint64(random[:8], r.Uint64())
			binary.LittleEndian.PutUint64(random[8:], r.Uint64())
		}
		tag := string([]byte{alphabet[r.IntN(64)], alphabet[r.IntN(64)], alphabet[r.IntN(64)]})
		id, err := token.NewSessionID(tag, random)
		if err != nil {
			t.Fatal(err)
		}
		if id.Tag() != tag || id.Random() != random || id.IsZero() {
			t.Fatalf("%q and %x became %q and %x", tag, random, id.Tag(), id.Random())
		}
		if again, err := token.ParseSessionID(id.String()); err != nil || again != id || id.String()[:3] != tag {
			t.Fatalf("%q was read as %q: %v", id, again, err)
		}
		a, b, n := id.Words()
		if a != binary.LittleEndian.Uint64(random[:8]) || b != binary.LittleEndian.Uint64(random[8:]) || n != uint32(tag[0])|uint32(tag[1])<<8|uint32(tag[2])<<16 {
			t.Fatalf("%q as numbers is %x, %x, %x", id, a, b, n)
		}
		if seen[id] {
			t.Fatal("two IDs are one")
		}
		seen[id] = true
	}
	var none token.SessionID
	if a, b, n := none.Words(); a|b|uint64(n) != 0 || none.String() != "" || none.Tag() != "" || !none.IsZero() {
		t.Error("the zero ID is something")
	}
}

func TestSessionIDRefuses(t *testing.T) {
	for _, s := range []string{
		"", "abc", "abcAAECAwQFBgcICQoLDA0OD", "abcAAECAwQFBgcICQoLDA0ODww", "abcAAECAwQFBgcICQoLDA0ODx", "a=cAAECAwQFBgcICQoLDA0ODw",
		"abcAAECAwQFBgcICQoLDA0OD=", "ab\x00AAECAwQFBgcICQoLDA0ODw", "abcAAECAwQFBgcICQoL\nDA0ODw", "äcAAECAwQFBgcICQoLDA0ODw",
	} {
		if id, err := token.ParseSessionID(s); err == nil || !id.IsZero() {
			t.Errorf("%q was read as %q", s, id)
		}
	}
	for _, tag := range []string{"", "ab", "abcd", "ab=", "a\x00c", "\x00\x00\x00"} {
		if id, err := token.NewSessionID(tag, [16]byte{1}); err == nil || !id.IsZero() {
			t.Errorf("took the tag %q", tag)
		}
	}
}
