package issuer_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/counterfoil/counterfoil/token/issuer"
)

func TestOpenRing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "keys.json")
	if _, err := issuer.LoadRing(path); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "OpenRing") {
		t.Errorf("LoadRing without a file: %v, which does not say what makes one", err)
	}
	made, err := issuer.OpenRing(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
	if keys := made.Public(); len(keys) != 1 || keys[0].Algorithm() != "EdDSA" {
		t.Errorf("a new ring holds %v", keys)
	}
	if err := made.Add(generate(t, "EdDSA"), start); err != nil {
		t.Fatal(err)
	}
	if err := made.Save(path); err != nil {
		t.Fatal(err)
	}
	if opened, err := issuer.OpenRing(path); err != nil || ids(opened) != ids(made) {
		t.Errorf("opened again: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestOpenRingRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := issuer.OpenRing(path); err == nil {
		t.Error("a broken file was accepted")
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "{" {
		t.Errorf("a broken file was replaced: %q, %v", data, err)
	}
	if _, err := issuer.OpenRing(filepath.Join(t.TempDir(), "no", "such", "keys.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in no directory: %v", err)
	}
	if _, err := issuer.OpenRing(""); err == nil || errors.Is(err, fs.ErrNotExist) { // as a variable of the environment that is not set
		t.Errorf("without a path: %v", err)
	}
}

// Whoever opens a ring's file first makes it. All others find that ring, whole, however close they follow.
func TestOpenRingAtOnce(t *testing.T) {
	for range 20 {
		dir := t.TempDir()
		path := filepath.Join(dir, "keys.json")
		opened := make([]string, 32)
		begin := make(chan struct{})
		var all sync.WaitGroup
		for i := range opened {
			all.Go(func() {
				<-begin
				opened[i] = open(path)
			})
		}
		close(begin)
		all.Wait()
		oneRing(t, dir, opened)
	}
}

const openIn = "COUNTERFOIL_TEST_RING" // names the file that this test, as a process of its own, opens

func TestOpenRingInProcessesAtOnce(t *testing.T) {
	if path := os.Getenv(openIn); path != "" {
		fmt.Println(mark + open(path))
		return
	}
	dir := t.TempDir()
	outs := make([]bytes.Buffer, 8)
	cmds := make([]*exec.Cmd, len(outs))
	for i := range cmds {
		cmds[i] = exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOpenRingInProcessesAtOnce$")
		cmds[i].Env = append(os.Environ(), openIn+"="+filepath.Join(dir, "keys.json"))
		cmds[i].Stdout = &outs[i]
		if err := cmds[i].Start(); err != nil {
			t.Fatal(err)
		}
	}
	opened := make([]string, len(outs))
	for i, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(outs[i].String(), mark)
		opened[i], _, _ = strings.Cut(rest, "\n")
	}
	oneRing(t, dir, opened)
}

const mark = "opened: "

// open returns what is in the ring of a file, or why it cannot be opened.
func open(path string) string {
	ring, err := issuer.OpenRing(path)
	if err != nil {
		return err.Error()
	}
	return ids(ring)
}

func ids(r *issuer.Ring) string {
	var s []string
	for _, k := range r.Public() {
		s = append(s, k.ID())
	}
	return strings.Join(s, " ")
}

// oneRing says whether everybody has opened the ring that the one file in the directory holds.
func oneRing(t *testing.T, dir string, opened []string) {
	t.Helper()
	ring, err := issuer.LoadRing(filepath.Join(dir, "keys.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range opened {
		if got != ids(ring) {
			t.Errorf("somebody has %q, the file %q", got, ids(ring))
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("the directory holds %v, %v", files, err)
	}
}
