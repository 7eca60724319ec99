package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A runtime runs the corpus in another host: corpus and module are files, what it returns are the answers.
type host struct {
	name string
	need func() (version string, err error) // whether it is there
	run  func(ctx context.Context, module, corpus string) ([]byte, error)
}

// errMissing means that a runtime is not installed.
var errMissing = errors.New("missing")

// hosts are all but the native ones. dir is the directory of this program, root that of the project.
func hosts(dir, root string) []host {
	modules := filepath.Join(dir, "runtimes", "node_modules")
	deno := filepath.Join(modules, "@deno", "linux-x64-glibc", "deno")
	bun := filepath.Join(modules, "@oven", "bun-linux-x64", "bin", "bun")
	workerd := filepath.Join(modules, "@cloudflare", "workerd-linux-64", "bin", "workerd")
	return []host{
		{"wazero", func() (string, error) { return "1.12.0", nil }, runWazero},
		{"node", version("node", "--version"), script(dir, "node")},
		{"deno", version(deno, "--version"), script(dir, deno, "run", "--no-config", "--no-remote", "--no-lock", "--allow-read", "--allow-write", "--allow-env")},
		{"bun", version(bun, "--version"), script(dir, bun, "run")},
		{"workerd", version(workerd, "--version"), runWorkerd(root, workerd)},
		{"chromium", version("chromium", "--version"), runChromium(root)},
	}
}

func version(path, flag string) func() (string, error) {
	return func() (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, path, flag)
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("%w: %v", errMissing, err)
		}
		for _, word := range strings.Fields(string(out)) {
			if strings.ContainsAny(word[:1], "v0123456789") && strings.ContainsAny(word, "0123456789") {
				return strings.TrimPrefix(word, "v"), nil
			}
		}
		return "?", nil
	}
}

func runWazero(ctx context.Context, module, corpus string) ([]byte, error) {
	return nil, errors.New("runs in this process")
}

// script runs run.mjs in a runtime with the modules of Node.
func script(dir string, command ...string) func(context.Context, string, string) ([]byte, error) {
	return func(ctx context.Context, module, corpus string) ([]byte, error) {
		answers := corpus + ".answers"
		args := append(command[1:len(command):len(command)], filepath.Join(dir, "run.mjs"), module, corpus, answers)
		cmd := exec.CommandContext(ctx, command[0], args...)
		cmd.Env = append(os.Environ(), "NO_COLOR=1", "DENO_NO_UPDATE_CHECK=1")
		var errs bytes.Buffer
		cmd.Stderr = &errs
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("%w: %s", err, tail(errs.Bytes()))
		}
		return os.ReadFile(answers)
	}
}

func tail(b []byte) string { return string(b[max(0, len(b)-2000):]) }

// npmFiles are the modules that the driver consists of, by their paths in the project.
func npmFiles(root string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(root, "edge", "npm", "*.js"))
	if err != nil {
		return nil, err
	}
	files = append(files, filepath.Join(root, "internal", "e2e", "edge", "driver.js"))
	for i := range files {
		if files[i], err = filepath.Rel(root, files[i]); err != nil {
			return nil, err
		}
	}
	return files, nil
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// runWorkerd starts workerd with worker.js and posts the corpus to it.
func runWorkerd(root, path string) func(context.Context, string, string) ([]byte, error) {
	return func(ctx context.Context, module, corpus string) ([]byte, error) {
		files, err := npmFiles(root)
		if err != nil {
			return nil, err
		}
		addr, err := freeAddr()
		if err != nil {
			return nil, err
		}
		dir := filepath.Dir(corpus)
		var config strings.Builder
		config.WriteString("using Workerd = import \"/workerd/workerd.capnp\";\nconst config :Workerd.Config = (\n")
		config.WriteString("  services = [(name = \"main\", worker = (compatibilityDate = \"2026-01-01\", modules = [\n")
		embed := func(name, kind, file string) {
			rel, _ := filepath.Rel(dir, file)
			fmt.Fprintf(&config, "    (name = %q, %s = embed %q),\n", name, kind, rel)
		}
		embed("internal/e2e/edge/worker.js", "esModule", filepath.Join(root, "internal/e2e/edge/worker.js"))
		for _, f := range files {
			embed(f, "esModule", filepath.Join(root, f))
		}
		embed("internal/e2e/edge/module.wasm", "wasm", module)
		fmt.Fprintf(&config, "  ]))],\n  sockets = [(name = \"http\", address = %q, http = (), service = \"main\")],\n);\n", addr)
		file := filepath.Join(dir, "workerd.capnp")
		if err := os.WriteFile(file, []byte(config.String()), 0o600); err != nil {
			return nil, err
		}
		cmd := exec.CommandContext(ctx, path, "serve", file)
		var errs bytes.Buffer
		cmd.Stderr, cmd.Stdout = &errs, &errs
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		defer func() {
			cmd.Process.Kill()
			cmd.Wait()
		}()
		if err := answers(ctx, addr); err != nil {
			return nil, fmt.Errorf("%w: %s", err, tail(errs.Bytes()))
		}
		body, err := os.Open(corpus)
		if err != nil {
			return nil, err
		}
		defer body.Close()
		r, err := http.NewRequestWithContext(ctx, "POST", "http://"+addr+"/", body)
		if err != nil {
			return nil, err
		}
		w, err := http.DefaultClient.Do(r)
		if err != nil {
			return nil, fmt.Errorf("%w: %s", err, tail(errs.Bytes()))
		}
		defer w.Body.Close()
		b, err := io.ReadAll(w.Body)
		if err == nil && w.StatusCode != 200 {
			err = fmt.Errorf("status %d: %s", w.StatusCode, tail(errs.Bytes()))
		}
		return b, err
	}
}

// answers waits until somebody listens.
func answers(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
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

// policy is what a page that takes care allows itself: scripts of its own, and WebAssembly.
const policy = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'"

// runChromium serves the page and opens it. The page sends the answers back.
func runChromium(root string) func(context.Context, string, string) ([]byte, error) {
	return func(ctx context.Context, module, corpus string) ([]byte, error) {
		files, err := npmFiles(root)
		if err != nil {
			return nil, err
		}
		done, failed := make(chan []byte, 1), make(chan string, 1)
		mux := http.NewServeMux()
		serve := func(path, file, kind string) {
			mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", kind)
				http.ServeFile(w, r, file)
			})
		}
		for _, f := range append(files, "internal/e2e/edge/page.js") {
			serve("/"+f, filepath.Join(root, f), "text/javascript")
		}
		serve("/module.wasm", module, "application/wasm")
		serve("/corpus", corpus, "application/x-ndjson")
		mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.Header().Set("Content-Security-Policy", policy)
			io.WriteString(w, `<!doctype html><title>edge</title><script type="module" src="/internal/e2e/edge/page.js"></script>`)
		})
		mux.HandleFunc("POST /answers", func(w http.ResponseWriter, r *http.Request) {
			if b, err := io.ReadAll(r.Body); err == nil {
				done <- b
			}
		})
		mux.HandleFunc("POST /failure", func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(io.LimitReader(r.Body, 4096))
			failed <- string(b)
		})
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
		go server.Serve(l)
		defer server.Close()

		profile, err := os.MkdirTemp(filepath.Dir(corpus), "profile")
		if err != nil {
			return nil, err
		}
		cmd := exec.CommandContext(ctx, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
			"--disable-component-update", "--disable-sync", "--user-data-dir="+profile, "--remote-debugging-port=0", "http://"+l.Addr().String()+"/")
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		defer func() {
			cmd.Process.Signal(os.Interrupt) // it ends its own processes
			ended := make(chan struct{})
			go func() { cmd.Wait(); close(ended) }()
			select {
			case <-ended:
			case <-time.After(5 * time.Second):
				cmd.Process.Kill()
				<-ended
			}
		}()
		select {
		case b := <-done:
			return b, nil
		case why := <-failed:
			return nil, errors.New(why)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
