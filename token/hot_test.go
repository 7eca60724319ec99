//go:build !hostcrypto

package token_test

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/require"

	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/tokentest"
)

// TestAllocations guards the hot path: a warm hit and a refusal before the signature allocate nothing, a cold verification two pieces of memory, which
// are what it keeps.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	i := tokentest.New(t)
	config := i.Config()
	config.Now = nil
	now := time.Now()
	raw := i.Mint(token.Claims{Subject: "user-7", IssuedAt: now})
	warm, err := token.NewVerifier(config)
	if err != nil {
		t.Fatal(err)
	}
	config.Entries = -1
	cold, err := token.NewVerifier(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := warm.Verify(raw); err != nil {
		t.Fatal(err)
	}
	other := tokentest.New(t).Mint(token.Claims{})
	long := strings.Repeat("A", 1<<20)
	dots := strings.Repeat(".", 1<<20)
	forged := raw[:len(raw)-8] + "AAAAAAAA"
	for name, c := range map[string]struct {
		most float64
		run  func()
	}{
		"warm":        {0, func() { warm.Verify(raw) }},
		"cold":        {2, func() { cold.Verify(raw) }},
		"malformed":   {0, func() { warm.Verify(raw[:len(raw)-1] + "=") }},
		"forged":      {1, func() { warm.Verify(forged) }}, // the error that crypto/ed25519 makes and drops
		"unknown key": {0, func() { warm.Verify(other) }},
		"1 MiB":       {0, func() { warm.Verify(long) }},
		"1 Mi dots":   {0, func() { warm.Verify(dots) }},
	} {
		most := c.most
		if name == "malformed" {
			most++ // the test's own concatenation
		}
		if got := testing.AllocsPerRun(100, c.run); got > most {
			t.Errorf("%s: %v allocations, want at most %v", name, got, most)
		}
	}
	v, err := warm.Verify(raw)
	if err != nil {
		t.Fatal(err)
	}
	if got := testing.AllocsPerRun(100, func() {
		v.Subject()
		v.Session()
		v.SubjectHash()
		v.SubjectWords()
		v.IssuedAtMilli()
		v.BeganMilli()
		v.Claim("nothing")
	}); got > 0 {
		t.Errorf("reading a Verified: %v allocations", got)
	}
}

// TestInlining guards what the hot path relies on.
func TestInlining(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("runs the compiler")
	}
	goTool, err := exec.LookPath("go")
	if err != nil {
		require.Missing(t, "go", "no go command")
	}
	out, err := exec.Command(goTool, "build", "-gcflags=-m", ".").CombinedOutput()
	if err != nil {
		require.Missing(t, "go", "the go command fails: %v\n%s", err, out) // as in WebAssembly, where no process can be started
	}
	for _, f := range []string{
		"notAlphabet", "load64", "isCanonical", "decodedLen", "(*clock).milli", "(*counters).hit", "(*KeySet).load", "(*table).set",
		"Verified.Valid", "Verified.Subject", "Verified.Session", "Verified.Generation", "Verified.IssuedAtMilli", "Verified.BeganMilli", "Verified.ExpiresMilli", "Verified.SubjectHash",
		"Verified.SubjectWords", "Verified.KeyID",
		"parts.header", "parts.payload", "parts.signature", "parts.signed",
	} {
		if !strings.Contains(string(out), "can inline "+f+"\n") {
			t.Errorf("%s is not inlined any more", f)
		}
	}
}

// FuzzVerify: no input panics, is accepted unless it was minted, or comes back as both.
func FuzzVerify(f *testing.F) {
	i := tokentest.NewWith(f, tokentest.Key(f, "HS256"))
	id := token.MustParseSessionID(vectorSID)
	good := i.Mint(token.Claims{Session: id})
	f.Add(good)
	f.Add(good + "\n")
	f.Add("..")
	f.Add(strings.Repeat(".", 9000))
	v := i.Verifier()
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := v.Verify(raw)
		if (err == nil) != got.Valid() || (err == nil) != (raw == good) {
			t.Errorf("%v for %q", err, raw)
		}
		if err != nil && token.Reason(err) == "" {
			t.Errorf("%v has no reason", err)
		}
	})
}
