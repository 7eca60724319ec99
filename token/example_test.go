//go:build !hostcrypto

package token_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/issuer"
)

func Example() {
	// The issuer's side.
	key, err := issuer.GenerateKey("EdDSA")
	if err != nil {
		panic(err)
	}
	ring, err := issuer.NewRing(key)
	if err != nil {
		panic(err)
	}
	mint, err := issuer.New(issuer.Config{Issuer: "https://login.example", Audience: "https://shop.example", Ring: ring})
	if err != nil {
		panic(err)
	}
	now := time.Now()
	raw, err := mint.Mint(token.Claims{
		Subject:  "user-7",
		Session:  token.MustParseSessionID("abcAAECAwQFBgcICQoLDA0ODw"),
		IssuedAt: now,
		Expires:  now.Add(5 * time.Minute),
		Extra:    []token.Claim{{Name: "plan", JSON: `"pro"`}},
	})
	if err != nil {
		panic(err)
	}

	// The verifier's side: the public keys are all it needs.
	keys, err := token.NewKeySet(ring.Public()...)
	if err != nil {
		panic(err)
	}
	verifier, err := token.NewVerifier(token.VerifierConfig{Issuer: "https://login.example", Audience: "https://shop.example", Keys: keys})
	if err != nil {
		panic(err)
	}
	v, err := verifier.Verify(raw.Reveal())
	if err != nil {
		panic(err)
	}
	plan, _ := v.Claim("plan")
	fmt.Println(v.Subject(), v.Session(), plan)
	fmt.Println(raw, v, key)

	// The same token an hour later.
	_, err = verifier.VerifyAt(raw.Reveal(), now.Add(time.Hour))
	var expired *token.ExpiredError
	fmt.Println(errors.As(err, &expired), token.Reason(err))
	// Output:
	// user-7 abcAAECAwQFBgcICQoLDA0ODw "pro"
	// [redacted] [redacted] [redacted]
	// true expired
}

func ExampleReason() {
	keys := new(token.KeySet)
	verifier, _ := token.NewVerifier(token.VerifierConfig{Issuer: "https://login.example", Audience: "https://shop.example", Keys: keys})
	for _, raw := range []string{"", "e30.e30", "e30.e30.A", "e30.e30.AB", "e30.e30.A=", "e30.e30.AA"} {
		_, err := verifier.Verify(raw)
		fmt.Println(token.Reason(err), errors.Is(err, token.ErrInvalid))
	}
	// Output:
	// not three segments true
	// not three segments true
	// not canonical true
	// not canonical true
	// not base64url true
	// unknown key true
}
