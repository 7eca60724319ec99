package issuer_test

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/issuer"
)

// A ring lives in a file and is rotated by the clock.
func ExampleRing() {
	dir, err := os.MkdirTemp("", "ring")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "ring.json")

	ring, err := issuer.OpenRing(path) // there is no such file yet
	if err != nil {
		panic(err)
	}
	now := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	for range 40 { // once a day; once a quarter of an hour in earnest
		changed, err := ring.Rotate(now, issuer.Schedule{Every: 30 * 24 * time.Hour, Ahead: 48 * time.Hour})
		if err != nil {
			panic(err)
		}
		if changed {
			if err := ring.Save(path); err != nil {
				panic(err)
			}
			fmt.Println(now.Format(time.DateOnly), len(ring.Public()), "public")
		}
		now = now.AddDate(0, 0, 1)
	}

	again, err := issuer.LoadRing(path)
	if err != nil {
		panic(err)
	}
	fmt.Println(again, again.Public()[0].Algorithm())
	// Output:
	// 2030-01-01 1 public
	// 2030-01-29 2 public
	// 2030-02-01 1 public
	// [redacted] EdDSA
}

func ExampleIssuer_Mint() {
	key, _ := issuer.GenerateKey("EdDSA")
	ring, _ := issuer.NewRing(key)
	i, err := issuer.New(issuer.Config{Issuer: "https://login.example", Audience: "https://shop.example", Ring: ring})
	if err != nil {
		panic(err)
	}
	now := time.Now()
	c := token.Claims{Session: token.MustParseSessionID("abcAAECAwQFBgcICQoLDA0ODw"), IssuedAt: now, Expires: now.Add(5 * time.Minute)}
	raw, err := i.Mint(c)
	fmt.Println(raw, err)
	c.Expires = now.Add(time.Hour)
	raw, err = i.Mint(c)
	fmt.Println(raw.IsZero(), err)
	// Output:
	// [redacted] <nil>
	// true issuer: no verifier would take this token: lifetime over 15m0s
}
