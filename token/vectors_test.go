package token_test

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/token"
)

var update = flag.Bool("update", false, "write testdata/vectors anew")

// TestVectors runs testdata/vectors/*.txt, whose format is told in testdata/vectors/README.md.
func TestVectors(t *testing.T) {
	files, err := filepath.Glob("testdata/vectors/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			if filepath.Base(file) == "es256.txt" && !hasES256 {
				t.Skip("built without ES256")
			}
			accepted, refused := runVectors(t, data)
			t.Logf("accepted %d, refused %d", accepted, refused)
		})
	}
}

// runVectors runs one file, twice over so that a warm table answers as a cold one does.
func runVectors(t *testing.T, data []byte) (accepted, refused int) {
	config := token.VerifierConfig{}
	sets := map[string]string{}
	verifiers := map[string]*token.Verifier{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		f := strings.Split(line, "\t")
		if f[0][0] == '@' {
			switch f[0] {
			case "@issuer":
				config.Issuer = f[1]
			case "@audience":
				config.Audience = f[1]
			case "@leeway":
				config.Leeway = millis(t, f[1])
			case "@max-life":
				config.MaxLife = millis(t, f[1])
			case "@keys":
				sets[f[1]] = f[2]
			default:
				t.Fatalf("line %d: unknown directive", n)
			}
			continue
		}
		var outcome, want, name string
		switch {
		case f[0] == "keys" && len(f) == 5:
			want, name = f[2], f[3]+" "+f[4]
			keys, err := token.ParseJWKS([]byte(unquote(t, f[1])))
			outcome = "accepted"
			if err != nil {
				outcome = token.Reason(err)
				if keys != nil || !errors.Is(err, token.ErrInvalid) {
					t.Errorf("line %d (%s): keys beside an error, or an error that is not ErrInvalid", n, name)
				}
			}
		case f[0] == "token" && len(f) == 7:
			want, name = f[4], f[5]+" "+f[6]
			v := verifiers[f[1]]
			if v == nil {
				keys, err := token.ParseJWKS([]byte(sets[f[1]]))
				if err != nil {
					t.Fatalf("line %d: key set %s: %v", n, f[1], err)
				}
				config.Keys, err = token.NewKeySet(keys...)
				if err != nil {
					t.Fatal(err)
				}
				if v, err = token.NewVerifier(config); err != nil {
					t.Fatal(err)
				}
				verifiers[f[1]] = v
			}
			raw, now := unquote(t, f[2]), time.UnixMilli(int64(millis(t, f[3])/time.Millisecond))
			outcome = verifyOutcome(t, v, raw, now)
			if again := verifyOutcome(t, v, raw, now); again != outcome {
				t.Errorf("line %d (%s): first %s, then %s", n, name, outcome, again)
			}
		default:
			t.Fatalf("line %d: malformed vector", n)
		}
		if outcome != want {
			t.Errorf("line %d (%s): %s, want %s", n, name, outcome, want)
		}
		if want == "accepted" {
			accepted++
		} else {
			refused++
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return accepted, refused
}

// verifyOutcome verifies and checks what holds for every answer: a valid Verified or an error, never both; each error one of two kinds.
func verifyOutcome(t *testing.T, v *token.Verifier, raw string, now time.Time) string {
	t.Helper()
	got, err := verifyAt(v, raw, now)
	if err == nil {
		if !got.Valid() {
			t.Error("accepted without a Verified")
		}
		return "accepted"
	}
	if got != (token.Verified{}) {
		t.Error("a Verified beside an error")
	}
	var expired *token.ExpiredError
	if errors.Is(err, token.ErrInvalid) == errors.As(err, &expired) {
		t.Errorf("%v is not exactly one of ErrInvalid and ExpiredError", err)
	}
	if token.Reason(err) == "" {
		t.Errorf("%v has no reason", err)
	}
	return token.Reason(err)
}

func millis(t *testing.T, s string) time.Duration {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(n) * time.Millisecond
}

// quote spells bytes outside printable ASCII, space, percent and the lone dash of the empty string as %XX.
func quote(s string) string {
	if s == "" {
		return "-"
	}
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '%' || s == "-" {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func unquote(t *testing.T, s string) string {
	if s == "-" {
		return ""
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteByte(byte(n))
		i += 2
	}
	return b.String()
}
