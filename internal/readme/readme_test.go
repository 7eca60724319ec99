package readme

import (
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
