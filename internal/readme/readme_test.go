package readme

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestProgramCompiles(t *testing.T) {
	_, rest, ok := strings.Cut(read(t, "README.md"), "```go\npackage main\n")
	if !ok {
		t.Fatal("the README has no program")
	}
	body, _, _ := strings.Cut(rest, "```")
	file := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(file, []byte("package main\n"+body), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "vet", file)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("the program of the README: %v\n%s", err, out)
	}
	format := exec.CommandContext(t.Context(), filepath.Join(goroot(t), "bin", "gofmt"), "-l", file)
	if out, err := format.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("it is not formatted: %v", err)
	}
}

// TestFragmentsCompile puts each piece of Go that is no program into a function of its own, with what the text around it speaks of.
func TestFragmentsCompile(t *testing.T) {
	paths := map[string]string{
		"context": "context", "fmt": "fmt", "time": "time", "counterfoil": "", "fiber": "github.com/gofiber/fiber/v2", "fiberadapter": "/fiberadapter",
		"feed": "/revocation/feed", "jwks": "/token/jwks", "revocation": "/revocation", "store": "/store", "token": "/token",
	}
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(read(t, "README.md"), -1)
	code, pieces := "const app = \"\"\n", 0
	for _, b := range blocks {
		if strings.HasPrefix(b[1], "package ") {
			continue
		}
		pieces++
		code += fmt.Sprintf("func piece%d(ctx context.Context, m *counterfoil.Manager, sessions *store.Redis, edge *fiber.App) {\n%s", pieces, b[1])
		for _, m := range regexp.MustCompile(`(?m)^(\w+), err :?=|^(\w+) :=`).FindAllStringSubmatch(b[1], -1) {
			code += "_ = " + m[1] + m[2] + "\n"
		}
		code += "_ = err\n}\n"
	}
	if pieces == 0 {
		t.Fatal("the README has no pieces")
	}
	head := "package readme\nimport (\n"
	for name, path := range paths {
		if path == "" || path[0] == '/' {
			path = "github.com/counterfoil/counterfoil" + path
		}
		if regexp.MustCompile(`\b` + name + `\.`).MatchString(code) {
			head += fmt.Sprintf("%s %q\n", name, path)
		}
	}
	file := filepath.Join(t.TempDir(), "pieces.go")
	if err := os.WriteFile(file, []byte(head+")\n"+code), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "vet", file)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("the pieces of the README: %v\n%s\n%s", err, out, code)
	}
}

func goroot(t *testing.T) string {
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func TestWhatItNamesExists(t *testing.T) {
	readme, makefile := read(t, "README.md"), read(t, "Makefile")
	for _, m := range regexp.MustCompile(`\bmake ([a-z-]+)`).FindAllStringSubmatch(readme, -1) {
		if !strings.Contains("\n"+makefile, "\n"+m[1]+":") {
			t.Errorf("make %s: the Makefile has no such target", m[1])
		}
	}
	for _, m := range regexp.MustCompile(`\./(?:examples|internal)/[a-z]+`).FindAllString(readme, -1) {
		if _, err := os.Stat(filepath.Join(root, m)); err != nil {
			t.Errorf("%s: %v", m, err)
		}
	}
	for _, m := range regexp.MustCompile("`((?:token|store|examples|revocation|fiberadapter|httpadapter|edge)(?:/[a-z.]+)*)`").FindAllStringSubmatch(readme, -1) {
		if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
			t.Errorf("%s: %v", m[1], err)
		}
	}
}
