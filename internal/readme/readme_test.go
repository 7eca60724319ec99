package readme

import (
	"bytes"
	"fmt"
	"go/format"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/store/embedded"
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

// blocks returns what the README shows of Go: its one program, and its pieces.
func blocks(t *testing.T) (program string, pieces []string) {
	t.Helper()
	for _, b := range regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(read(t, "README.md"), -1) {
		if formatted, err := format.Source([]byte(b[1])); err != nil || string(formatted) != b[1] {
			t.Errorf("it is not formatted: %v\n%s", err, b[1])
		}
		switch {
		case !strings.HasPrefix(b[1], "package "):
			pieces = append(pieces, b[1])
		case program != "":
			t.Error("the README has two programs")
		default:
			program = b[1]
		}
	}
	if program == "" || len(pieces) == 0 {
		t.Fatal("the README has no program, or no pieces")
	}
	return program, pieces
}

// golang runs the go tool on a file of that text, in the module.
func golang(t *testing.T, text string, args ...string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", append(args, file)...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s\n%s", args[0], err, out, text)
	}
}

func TestProgramCompiles(t *testing.T) {
	program, _ := blocks(t)
	golang(t, program, "vet")
}

// TestFragmentsCompile puts the pieces of Go into one file, and those that are no declarations each into a function of its own, with what the text around them
// speaks of.
func TestFragmentsCompile(t *testing.T) {
	paths := map[string]string{
		"context": "context", "fmt": "fmt", "log": "log", "sync": "sync", "time": "time", "counterfoil": "", "fiberadapter": "/fiberadapter", "httpadapter": "/httpadapter",
		"feed": "/revocation/feed", "jwks": "/token/jwks", "revocation": "/revocation", "store": "/store", "token": "/token",
	}
	_, pieces := blocks(t)
	code := ""
	for i, piece := range pieces {
		if regexp.MustCompile(`(?m)^func `).MatchString(piece) {
			code += piece
			continue
		}
		code += fmt.Sprintf("func piece%d(ctx context.Context, m *counterfoil.Manager, sessions *store.Redis, config counterfoil.Config) {\n{\n%s", i, piece)
		for _, m := range regexp.MustCompile(`(?m)^(\w+), err :?=|^(\w+) :=`).FindAllStringSubmatch(piece, -1) {
			code += "_ = " + m[1] + m[2] + "\n"
		}
		code += "_ = err\n}\n}\n"
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
	golang(t, head+")\n"+code, "vet")
}

// TestProgramRuns does what the README says of its program: it logs in, looks, and logs out. In between the program is stopped and started again, which a
// session outlives.
func TestProgramRuns(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no process can be stopped there")
	}
	redis, err := embedded.Start("")
	if err != nil {
		t.Fatal(err)
	}
	defer redis.Close()
	addr := freeAddr(t)
	program, _ := blocks(t)
	for old, here := range map[string]string{"redis://localhost:6379": redis.URL(), "localhost:3000": addr} {
		if strings.Count(program, old) != 1 {
			t.Fatalf("the program does not say %s once", old)
		}
		program = strings.Replace(program, old, here, 1)
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "app")
	golang(t, program, "build", "-o", binary)

	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	ask := func(method, path, form string) string {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+path, strings.NewReader(form))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := browser.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}

	stop := begin(t, dir, binary, addr)
	ask("POST", "/login", "name=ada")
	stream, err := browser.Get("http://" + addr + "/session/events")
	if err != nil || stream.StatusCode != http.StatusOK {
		t.Fatalf("no stream of events: %v %v", stream, err)
	}
	defer stream.Body.Close()
	if got := ask("GET", "/mine", ""); got != "hello ada" {
		t.Errorf("after the login: %q", got)
	}
	stop()
	if _, err := io.Copy(io.Discard, stream.Body); err != nil {
		t.Errorf("the stream was cut off: %v", err)
	}
	stop = begin(t, dir, binary, addr)
	if got := ask("GET", "/mine", ""); got != "hello ada" {
		t.Errorf("after a restart: %q", got)
	}
	ask("POST", "/logout", "")
	if got := ask("GET", "/mine", ""); got != "Unauthorized" {
		t.Errorf("after the logout: %q", got)
	}
	stop()
}

// begin starts the program and waits until it serves. What it returns stops the program as service managers do, and waits for its end.
func begin(t *testing.T, dir, binary, addr string) (stop func()) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), binary)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &out
	cmd.Env = append(os.Environ(), "SESSION_SECRET="+strings.Repeat("s", 44))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			break
		}
		select {
		case err := <-ended:
			t.Fatalf("the program ended: %v\n%s", err, &out)
		case <-again.C:
		}
	}
	return func() {
		t.Helper()
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Fatalf("stopped, it ended with %v\n%s", err, &out)
		}
	}
}

// freeAddr returns an address of this machine at which nobody listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return "localhost:" + port
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
