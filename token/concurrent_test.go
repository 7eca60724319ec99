//go:build !hostcrypto

package token_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/tokentest"
)

// In js the runtime itself keeps a goroutine for events of the host.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("runtime.handleEvent"))
}

// TestConcurrently runs readers, key changes and forgeries on one verifier with a small table. A token of a key that is gone is never accepted by a call
// that began after the key went.
func TestConcurrently(t *testing.T) {
	stay, leave := tokentest.Key(t, "HS256"), tokentest.Key(t, "HS256")
	i, j := tokentest.NewWith(t, stay, leave), tokentest.NewWith(t, leave)
	config := i.Config()
	config.Entries = 8
	v, err := token.NewVerifier(config)
	if err != nil {
		t.Fatal(err)
	}
	var staying, leaving [20]string
	for n := range staying {
		subject := strings.Repeat("s", n+1)
		staying[n], leaving[n] = i.Mint(token.Claims{Subject: subject}), j.Mint(token.Claims{Subject: subject})
	}
	var gone sync.RWMutex // held for reading by whoever relies on the keys being as they are
	present := true
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for n := range 2000 {
				k := n % len(staying)
				if got, err := v.Verify(staying[k]); err != nil || len(got.Subject()) != k+1 {
					t.Errorf("a good token: %v", err)
				}
				gone.RLock()
				got, err := v.Verify(leaving[k])
				if (err == nil) != present || got.Valid() != present {
					t.Errorf("key present is %v: %v", present, err)
				}
				gone.RUnlock()
				if _, err := v.Verify(staying[k][:len(staying[k])-8] + "AAAAAAAA"); err == nil {
					t.Error("a forged token")
				}
			}
		})
	}
	wg.Go(func() {
		for n := range 200 {
			gone.Lock()
			present = n%2 == 0
			keys := []token.Key{stay.Public()}
			if present {
				keys = append(keys, leave.Public())
			}
			if err := i.Keys().Replace(keys...); err != nil {
				t.Error(err)
			}
			gone.Unlock()
			v.Stats()
		}
	})
	wg.Wait()
	if s := v.Stats(); s.Hits == 0 || s.Misses == 0 || s.Refused < 8000 {
		t.Errorf("%+v", s)
	}
}

// TestMintNeverSignsWhatIsRefused: whatever claims an issuer is given, it refuses them or a verifier takes them.
func TestMintNeverSignsWhatIsRefused(t *testing.T) {
	i := tokentest.New(t)
	var zero time.Time
	subjects := []string{"", "u", strings.Repeat("s", 256), strings.Repeat("s", 257), "\xff", "a\x00", `"\`, "日本", "\ufeff", "a\x7f"}
	sessions := []token.SessionID{{}, tokentest.SessionID(t)}
	generations := []uint64{0, 1, 1<<53 - 1, 1 << 53, 1<<64 - 1}
	times := [][2]time.Time{{tokentest.Start, tokentest.Start.Add(time.Minute)}, {tokentest.Start, tokentest.Start}, {tokentest.Start, tokentest.Start.Add(-time.Second)}, {tokentest.Start, tokentest.Start.Add(15 * time.Minute)},
		{tokentest.Start, tokentest.Start.Add(15*time.Minute + time.Millisecond)}, {tokentest.Start.Add(999_999), tokentest.Start.Add(15*time.Minute + 999_999)}, {zero, tokentest.Start}, {tokentest.Start, zero}, {tokentest.Start, tokentest.Start.Add(time.Microsecond)}}
	extras := [][]token.Claim{nil, {{Name: "a", JSON: "1"}}, {{Name: "a", JSON: "1"}, {Name: "a", JSON: "2"}}, {{Name: "sub", JSON: `"root"`}}, {{Name: "SUB", JSON: `"root"`}}, {{Name: "nbf", JSON: "1"}}, {{Name: "", JSON: "1"}},
		{{Name: "a", JSON: ""}}, {{Name: "a", JSON: "1,\"b\":2"}}, {{Name: `a":1,"b`, JSON: "1"}}, {{Name: "a", JSON: `{"x":1,"x":2}`}}, {{Name: "a", JSON: `"` + strings.Repeat("x", 9000) + `"`}}, {{Name: "a", JSON: " [1] "}}}
	minted, refused := 0, 0
	for _, subject := range subjects {
		for _, session := range sessions {
			for _, generation := range generations {
				for _, at := range times {
					for _, extra := range extras {
						raw, err := i.TryMint(token.Claims{Subject: subject, Session: session, Generation: generation, IssuedAt: at[0], Expires: at[1], Extra: extra})
						if err != nil {
							refused++
							if !raw.IsZero() {
								t.Fatal("a token beside an error")
							}
							continue
						}
						minted++
						config := i.Config()
						config.Entries = -1
						v, err := token.NewVerifier(config)
						if err != nil {
							t.Fatal(err)
						}
						got, err := v.VerifyAt(raw.Reveal(), at[0])
						if err != nil || got.Subject() != subject {
							t.Fatalf("signed, and refused: %v", err)
						}
					}
				}
			}
		}
	}
	if minted == 0 || refused == 0 {
		t.Errorf("minted %d, refused %d", minted, refused)
	}
	if _, err := i.TryMint(token.Claims{Issuer: "https://other.test", Session: sessions[1], IssuedAt: times[0][0], Expires: times[0][1]}); err == nil {
		t.Errorf("another issuer's name: %v", err)
	}
}
