package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/tokentest"
)

// build builds the self-contained module.
func build(t *testing.T) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "own.wasm")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-buildmode=c-shared", "-tags=edge", "-o", file, "./edge/module")
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCheck(t *testing.T) {
	module, cache := build(t), t.TempDir()
	issuer := tokentest.New(t)
	c := issuer.Config()
	jwks, err := token.AppendJWKS(nil, c.Keys.Keys()...)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	open := func() *Edge {
		e, err := Open(ctx, module, cache, config(c.Issuer, c.Audience), jwks)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	first := open()
	defer first.Close(ctx)
	kept, err := filepath.Glob(filepath.Join(cache, "*", "*"))
	if err != nil || len(kept) == 0 {
		t.Fatalf("nothing was kept of what was compiled: %v", err)
	}
	began := time.Now()
	e := open()
	defer e.Close(ctx)
	t.Logf("a second start took %v", time.Since(began).Round(time.Millisecond))

	now := time.Now()
	good := issuer.Mint(token.Claims{IssuedAt: now, Subject: "alice"})
	for range 2 { // cold and warm
		claims, refusal, err := e.Check(ctx, good)
		if err != nil || refusal != "" || !strings.Contains(string(claims), `"sub":"alice"`) {
			t.Fatalf("a good token: %s %q %v", claims, refusal, err)
		}
	}
	for _, c := range []struct{ name, raw, refusal string }{
		{"nothing", "", "invalid: not three segments"},
		{"another signature", good[:len(good)-8] + "AAAAAAAA", "invalid: bad signature"},
		{"expired", issuer.Mint(token.Claims{IssuedAt: now.Add(-time.Hour), Expires: now.Add(-50 * time.Minute)}), "expired: expired"},
		{"longer than the buffer", strings.Repeat("A", 9000), "invalid: too long"},
	} {
		if claims, refusal, err := e.Check(ctx, c.raw); err != nil || refusal != c.refusal || claims != nil {
			t.Errorf("%s: %q %q %v, want %q", c.name, claims, refusal, err, c.refusal)
		}
	}
}

// TestOther: what is not this module, or has another flavour's duties, is not taken.
func TestOther(t *testing.T) {
	ctx := context.Background()
	for name, module := range map[string][]byte{"nothing": {}, "a module of nothing": []byte("\x00asm\x01\x00\x00\x00")} {
		if _, err := Open(ctx, module, t.TempDir(), "", nil); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}
