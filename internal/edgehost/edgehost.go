// Package edgehost starts the runtimes that the edge module is shown in and measured in: [Command] says how Node, Deno and Bun run a script, [StartWorkerd] and [OpenChromium] start the
// two that are asked by HTTP. Deno, Bun and workerd come from npm, pinned in internal/e2e/edge/runtimes; [Install] installs them. Everything listens on loopback and ends with its caller.
package edgehost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Names are the runtimes, as [Version] and [Command] know them.
var Names = []string{"node", "deno", "bun", "workerd", "chromium"}

// Dir is where the runtimes of npm are installed, root being that of the project.
func Dir(root string) string { return filepath.Join(root, "internal", "e2e", "edge", "runtimes") }

// path returns where a runtime is.
func path(root, name string) string {
	modules := filepath.Join(Dir(root), "node_modules")
	switch name {
	case "deno":
		return filepath.Join(modules, "@deno", "linux-x64-glibc", "deno")
	case "bun":
		return filepath.Join(modules, "@oven", "bun-linux-x64", "bin", "bun")
	case "workerd":
		return filepath.Join(modules, "@cloudflare", "workerd-linux-64", "bin", "workerd")
	}
	return name
}

// Version asks a runtime for its version. The error says that it is missing.
func Version(root, name string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path(root, name), "--version").Output()
	if err != nil {
		return "", fmt.Errorf("missing: %w", err)
	}
	for word := range strings.FieldsSeq(string(out)) {
		if number := strings.TrimPrefix(word, "v"); number[0] >= '0' && number[0] <= '9' {
			return number, nil
		}
	}
	return "?", nil
}

// Command returns the command by which a runtime runs a script with the modules of Node, and with the packages of a node_modules folder beside the script. Of the network it may use what is on
// this machine.
func Command(ctx context.Context, root, name, script string, args ...string) *exec.Cmd {
	command := []string{path(root, name)}
	if name == "deno" {
		command = append(command, "run", "--no-config", "--no-remote", "--no-lock", "--node-modules-dir=manual", "--allow-net=127.0.0.1", "--allow-read", "--allow-write", "--allow-env", "--allow-sys")
	}
	command = append(append(command, script), args...)
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "NO_COLOR=1", "DENO_NO_UPDATE_CHECK=1")
	return cmd
}

// Install installs what the lock files in directories name, each once.
func Install(dirs ...string) error {
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "node_modules", ".package-lock.json")); err == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
		cmd := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		cancel()
		if err != nil {
			return fmt.Errorf("npm ci: %w\n%s", err, out)
		}
	}
	return nil
}

// A Module is a file of a worker. Kind is esModule, json or wasm.
type Module struct{ Name, Kind, File string }

// Workerd is a server that runs a worker.
type Workerd struct {
	Addr string
	cmd  *exec.Cmd
	said bytes.Buffer
}

// StartWorkerd runs the worker whose first module is the entry. It may fetch from this machine. dir is an empty directory.
func StartWorkerd(ctx context.Context, root, dir string, modules []Module) (*Workerd, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &Workerd{Addr: l.Addr().String()}
	l.Close()
	var config strings.Builder
	config.WriteString("using Workerd = import \"/workerd/workerd.capnp\";\nconst config :Workerd.Config = (\n  services = [(name = \"main\", worker = (compatibilityDate = \"2026-01-01\", globalOutbound = \"here\", modules = [\n")
	for _, m := range modules {
		rel, err := filepath.Rel(dir, m.File)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&config, "    (name = %q, %s = embed %q),\n", m.Name, m.Kind, rel)
	}
	fmt.Fprintf(&config, "  ])), (name = \"here\", network = (allow = [\"local\"]))],\n  sockets = [(name = \"http\", address = %q, http = (), service = \"main\")],\n);\n", w.Addr)
	file := filepath.Join(dir, "workerd.capnp")
	if err := os.WriteFile(file, []byte(config.String()), 0o600); err != nil {
		return nil, err
	}
	w.cmd = exec.CommandContext(ctx, path(root, "workerd"), "serve", file)
	w.cmd.Stdout, w.cmd.Stderr = &w.said, &w.said
	if err := w.cmd.Start(); err != nil {
		return nil, err
	}
	if err := listens(ctx, w.Addr); err != nil {
		w.Close()
		return nil, fmt.Errorf("%w: %s", err, w.Said())
	}
	return w, nil
}

// Said is what workerd has printed, after Close.
func (w *Workerd) Said() string {
	b := w.said.Bytes()
	return string(b[max(0, len(b)-2000):])
}

// Close ends it.
func (w *Workerd) Close() {
	_ = w.cmd.Process.Kill()
	_ = w.cmd.Wait()
}

// listens waits until somebody listens.
func listens(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil {
			return c.Close()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("nobody listens at %s", addr)
		}
	}
}

// Policy is what a page that takes care allows itself: scripts of its own, and WebAssembly.
const Policy = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'"

// OpenChromium serves mux on loopback, with a page at / that loads the module script under [Policy], and opens it. closing ends both. dir is a directory for the profile.
func OpenChromium(ctx context.Context, mux *http.ServeMux, script, dir string) (closing func(), err error) {
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", Policy)
		fmt.Fprintf(w, `<!doctype html><title>edge</title><script type="module" src=%q></script>`, script)
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }()
	cmd := exec.CommandContext(ctx, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--disable-background-timer-throttling", "--user-data-dir="+dir,
		"--remote-debugging-port=0", "http://"+l.Addr().String()+"/")
	if err := cmd.Start(); err != nil {
		server.Close()
		return nil, err
	}
	return func() {
		_ = cmd.Process.Signal(os.Interrupt) // it ends its own processes
		ended := make(chan struct{})
		go func() {
			_ = cmd.Wait()
			close(ended)
		}()
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
		server.Close()
	}, nil
}

// Serve serves files of the project by their paths in it.
func Serve(mux *http.ServeMux, root string, files ...string) {
	for _, f := range files {
		mux.HandleFunc("GET /"+f, func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(f, "js") {
				w.Header().Set("Content-Type", "text/javascript")
			}
			http.ServeFile(w, r, filepath.Join(root, f))
		})
	}
}

// Files returns the paths in the project of those that match a pattern.
func Files(root, pattern string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(root, pattern))
	if err == nil && len(files) == 0 {
		err = errors.New("there is no " + pattern)
	}
	for i := range files {
		if files[i], err = filepath.Rel(root, files[i]); err != nil {
			return nil, err
		}
	}
	return files, err
}
