package tokentest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/tokentest"
)

// greet is what a user of the library would like to test.
func greet(v token.Verified) string {
	if v.Subject() == "" {
		return "Hello, stranger"
	}
	return "Hello, " + v.Subject()
}

func TestGreet(t *testing.T) {
	tokens := tokentest.New(t)
	if got := greet(tokens.Verified(token.Claims{Subject: "Ada"})); got != "Hello, Ada" {
		t.Error(got)
	}
	if got := greet(tokens.Verified(token.Claims{})); got != "Hello, stranger" {
		t.Error(got)
	}
}

func TestExpiry(t *testing.T) {
	tokens := tokentest.New(t)
	verifier := tokens.Verifier()
	raw := tokens.Mint(token.Claims{Subject: "Ada"})
	if _, err := verifier.Verify(raw); err != nil {
		t.Error(err)
	}
	tokens.Clock.Add(time.Hour)
	if _, err := verifier.Verify(raw); token.Reason(err) != "expired" {
		t.Error(err)
	}
}

// In a test, New takes the test's own t.
func Example() {
	tokens := tokentest.New(new(testing.T))
	v := tokens.Verified(token.Claims{Subject: "Ada"})
	fmt.Println(v.Subject(), v.Expires().Sub(v.IssuedAt()))

	verifier := tokens.Verifier()
	raw := tokens.Mint(token.Claims{Subject: "Ada"})
	tokens.Clock.Add(time.Hour)
	_, err := verifier.Verify(raw)
	fmt.Println(token.Reason(err))
	// Output:
	// Ada 5m0s
	// expired
}

func ExampleClock() {
	clock := tokentest.NewClock()
	clock.Add(90 * time.Second)
	fmt.Println(clock.Now().Format(time.RFC3339))
	// Output: 2030-01-01T12:01:30Z
}
