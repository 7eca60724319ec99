//go:build !hostcrypto

package token_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/tokentest"
)

// everyPrint prints v in every way that this package knows of: all verbs and flags of fmt, slog as text and as JSON, encoding/json; as it is,
// behind a pointer, and inside a struct, a slice, a map and an unexported field.
func everyPrint(v any) string {
	var b bytes.Buffer
	type wrapper struct {
		V any
		u any
	}
	for _, x := range []any{v, &v, wrapper{v, v}, &wrapper{v, v}, []any{v}, map[string]any{"k": v}} {
		for _, verb := range "vTtbcdoOqxXUeEfFgGsqp" {
			for _, flags := range []string{"", "+", "#", "-", " ", "0", "20", "+20.10"} {
				fmt.Fprintf(&b, "%"+flags+string(verb)+"\n", x)
			}
		}
		fmt.Fprintln(&b, x)
		for _, l := range []*slog.Logger{slog.New(slog.NewTextHandler(&b, nil)), slog.New(slog.NewJSONHandler(&b, nil))} {
			l.Info("x", "v", x, slog.Group("g", "v", x))
		}
		if doc, err := json.Marshal(x); err == nil {
			b.Write(doc)
		}
		fmt.Fprintln(&b, fmt.Errorf("%w: %v", token.ErrInvalid, x))
	}
	return b.String()
}

// spellings returns the ways in which a secret could show: as text, as the decimal or hexadecimal bytes of %d, %v, %x.
func spellings(secret string) []string {
	part := secret[len(secret)/2:]
	if len(part) > 16 {
		part = part[:16]
	}
	decimal := strings.Trim(fmt.Sprint([]byte(part)), "[]")
	return []string{part, decimal, strings.ReplaceAll(decimal, " ", ", "), fmt.Sprintf("%x", part), fmt.Sprintf("%X", part), fmt.Sprintf("% x", part), fmt.Sprintf("%#v", []byte(part))[7:20], b64([]byte(part))[:12]}
}

func TestNothingPrintsASecret(t *testing.T) {
	i := tokentest.New(t)
	raw := i.Mint(token.Claims{Subject: "alice-in-the-token", Extra: []token.Claim{{Name: "note", JSON: `"for-nobody-to-read"`}}})
	verified, err := i.Verifier().Verify(raw)
	if err != nil {
		t.Fatal(err)
	}
	hmacText := string(vectorHMAC)
	_, _, signature := cut(raw)
	cases := map[string]any{"Secret": token.NewSecret(raw), "*Secret": new(token.NewSecret(raw)), "Verified": verified, "*Verified": &verified, "HS256 key": vectorKeyHS, "*HS256 key": &vectorKeyHS}
	_, cases["too long"] = i.Verifier().Verify(raw + strings.Repeat("A", 9000))
	_, cases["alphabet"] = i.Verifier().Verify(raw + "=")
	_, cases["unknown key"] = tokentest.New(t).Verifier().Verify(raw)
	_, cases["bad signature"] = i.Verifier().Verify(raw[:len(raw)-8] + "AAAAAAAA")
	_, cases["weak key"] = token.HS256Key(vectorHMAC[:31])
	_, cases["bad set"] = token.ParseJWKS([]byte(keySetDoc(jwkHS(vectorHMAC, "x"), jwkHS(vectorHMAC, "x"))))
	_, cases["symmetric set"] = token.AppendJWKS(nil, vectorKeyHS)
	_, cases["session ID"] = token.ParseSessionID(signature[:24])
	for name, v := range cases {
		printed := everyPrint(v)
		for _, secret := range []string{raw, signature, "alice-in-the-token", "for-nobody-to-read", hmacText, b64(vectorHMAC)} {
			for _, s := range spellings(secret) {
				if strings.Contains(printed, s) {
					t.Errorf("%s prints a secret, as %q", name, s)
				}
			}
		}
		if _, isError := v.(error); !isError && !strings.Contains(printed, "[redacted]") {
			t.Errorf("%s does not say that it is redacted", name)
		}
	}
}

func TestSecret(t *testing.T) {
	var zero token.Secret
	s := token.NewSecret("s3cret")
	if !zero.IsZero() || zero.Reveal() != "" || !token.NewSecret("").IsZero() || s.IsZero() || s.Reveal() != "s3cret" {
		t.Error("a secret does not keep its text")
	}
	if !s.Equal(token.NewSecret("s3cret")) || s.Equal(token.NewSecret("s3creT")) || s.Equal(zero) || !zero.Equal(token.NewSecret("")) {
		t.Error("Equal is wrong")
	}
}
