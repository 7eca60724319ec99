//go:build hostcrypto

package token_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/token"
)

// verifyAt plays the host.
func verifyAt(v *token.Verifier, raw string, now time.Time) (token.Verified, error) {
	buf := []byte(raw)
	var pending token.Pending
	verified, err := v.Begin(&pending, string(buf), now)
	if verified.Valid() || err != nil {
		return verified, err
	}
	return v.Finish(&pending, hostChecks(&pending), now)
}

func hostChecks(p *token.Pending) bool {
	switch p.Key().Algorithm() {
	case "EdDSA":
		return ed25519.Verify(p.Material(), []byte(p.Signed()), p.Signature())
	case "HS256":
		h := hmac.New(sha256.New, p.Material())
		h.Write([]byte(p.Signed()))
		return hmac.Equal(h.Sum(nil), p.Signature())
	}
	return false
}

func hostVerifier(t *testing.T) (*token.Verifier, *token.KeySet, string) {
	keys, err := token.NewKeySet(vectorKeyEd)
	if err != nil {
		t.Fatal(err)
	}
	v, err := token.NewVerifier(token.VerifierConfig{Issuer: vectorIssuer, Audience: vectorAudience, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return v, keys, compact(header("EdDSA", vectorKeyEd.ID()), claimSet(), signEd(vectorEd))
}

func TestVerifyWithoutAHostRefuses(t *testing.T) {
	v, _, raw := hostVerifier(t)
	now := time.UnixMilli(vectorNow)
	if got, err := v.VerifyAt(raw, now); got.Valid() || token.Reason(err) != "bad signature" {
		t.Errorf("%v", err)
	}
	if _, err := verifyAt(v, raw, now); err != nil {
		t.Fatal(err)
	}
	if got, err := v.VerifyAt(raw, now); !got.Valid() || err != nil {
		t.Errorf("a warm token: %v", err)
	}
}

func TestFinish(t *testing.T) {
	v, keys, raw := hostVerifier(t)
	now := time.UnixMilli(vectorNow)
	buf := []byte(raw)
	pending := new(token.Pending)
	_, err := v.Begin(pending, string(buf), now)
	if err != nil || !bytes.Equal(pending.Material(), vectorEd.Public().(ed25519.PublicKey)) {
		t.Fatal(err)
	}
	if got, err := v.Finish(pending, false, now); got.Valid() || token.Reason(err) != "bad signature" {
		t.Errorf("the host says no: %v", err)
	}
	if got, err := v.Finish(pending, true, now); got.Valid() || err == nil {
		t.Error("a token is finished twice")
	}
	if got, err := v.Finish(new(token.Pending), true, now); got.Valid() || err == nil {
		t.Error("nothing is finished")
	}
	v.Begin(pending, raw, now)
	if _, err := v.Begin(pending, raw[:len(raw)-4], now); err == nil {
		t.Error("a short signature")
	}
	if got, err := v.Finish(pending, true, now); got.Valid() || err == nil {
		t.Error("what was refused at first is finished")
	}
	v.Begin(pending, raw, now)
	if err := keys.Replace(); err != nil {
		t.Fatal(err)
	}
	if got, err := v.Finish(pending, true, now); got.Valid() || token.Reason(err) != "unknown key" {
		t.Errorf("the key was removed in between: %v", err)
	}
}

// To read the claims ahead changes no answer.
func TestAhead(t *testing.T) {
	v, keys, raw := hostVerifier(t)
	now := time.UnixMilli(vectorNow)
	bad := compact(header("EdDSA", vectorKeyEd.ID()), claimSet("iss", `"https://elsewhere.test"`), signEd(vectorEd))
	var p token.Pending
	v.Ahead(&p) // of nothing
	for _, c := range []struct {
		name string
		raw  string
		ok   bool
		late time.Duration
		want string
	}{
		{"good", raw, true, 0, ""},
		{"the host says no", raw, false, 0, "bad signature"},
		{"of another issuer", bad, true, 0, "issuer"},
		{"of another issuer, and the host says no", bad, false, 0, "bad signature"},
		{"expired", raw, true, time.Hour, "expired"},
	} {
		v, _, _ := hostVerifier(t)
		for range 2 { // what is used again holds nothing of the last time
			if got, err := v.Begin(&p, c.raw, now); got.Valid() || err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			v.Ahead(&p)
			v.Ahead(&p)
			if got, err := v.Finish(&p, c.ok, now.Add(c.late)); got.Valid() != (c.want == "") || token.Reason(err) != c.want {
				t.Errorf("%s: %v", c.name, err)
			}
			if got, err := v.Finish(&p, true, now); got.Valid() || err == nil {
				t.Errorf("%s: finished twice", c.name)
			}
			if c.want == "" {
				break // it is known now
			}
		}
	}
	v.Begin(&p, raw, now)
	v.Ahead(&p)
	if err := keys.Replace(); err != nil {
		t.Fatal(err)
	}
	if got, err := v.Finish(&p, true, now); got.Valid() || token.Reason(err) != "unknown key" {
		t.Errorf("the key was removed in between: %v", err)
	}
}

// A Pending that is used again holds the token of the last Begin and nothing of those before.
func TestPendingIsUsedAgain(t *testing.T) {
	v, _, raw := hostVerifier(t)
	now := time.UnixMilli(vectorNow)
	var p token.Pending
	long := compact(header("EdDSA", vectorKeyEd.ID()), claimSet("x", `"`+strings.Repeat("x", 3000)+`"`), signEd(vectorEd))
	for _, raw := range []string{raw[:20], long, raw, "a.b.c"} {
		_, err := v.Begin(&p, raw, now)
		if err == nil && (p.Signed() != raw[:strings.LastIndexByte(raw, '.')] || !hostChecks(&p)) {
			t.Errorf("%d bytes: of another token", len(raw))
		}
	}
	if n := testing.AllocsPerRun(100, func() { v.Begin(&p, long, now) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestOwnSHA256 holds the implementation for modules without cryptography to the standard library's, through the names of subjects.
func TestOwnSHA256(t *testing.T) {
	for n := range 300 {
		issuer, subject := string(bytes.Repeat([]byte{'i'}, n)), "s"
		want := sha256.Sum256([]byte(issuer + "\x00" + subject))
		if got := token.SubjectHash(issuer, subject); !bytes.Equal(got[:], want[:16]) {
			t.Fatalf("%d bytes: %x, want %x", n+2, got, want[:16])
		}
	}
}
