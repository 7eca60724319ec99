package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/counterfoil/counterfoil/internal/edgehost"
)

// said is what comes from a guard in JavaScript: an answer of check, or something about itself.
type said struct {
	OK            bool
	Error, Reason string
	Claims        struct{ Sub string }

	Failure             string
	Condition, Resolved string // of a package that was found by its name
}

func (s said) word() (string, error) {
	switch {
	case s.Failure != "":
		return "", errors.New(s.Failure)
	case s.OK:
		return "ok: " + s.Claims.Sub, nil
	}
	return s.Error + ": " + s.Reason, nil
}

// An obedient is a guard in another process, which asks for what it is to check: logout.js.
type obedient struct {
	said chan said
	next chan any
}

// obey serves the other side of logout.js.
func obey(mux *http.ServeMux) *obedient {
	g := &obedient{make(chan said), make(chan any)}
	mux.HandleFunc("POST /control", func(w http.ResponseWriter, r *http.Request) {
		var s said
		if err := json.NewDecoder(io.LimitReader(r.Body, 1<<16)).Decode(&s); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		select {
		case g.said <- s:
		case <-r.Context().Done():
			return
		}
		select {
		case next := <-g.next:
			_ = json.NewEncoder(w).Encode(next)
		case <-r.Context().Done():
		}
	})
	return g
}

// hear waits for what it says.
func (g *obedient) hear(ctx context.Context) (said, error) {
	select {
	case s := <-g.said:
		_, err := s.word()
		return s, err
	case <-ctx.Done():
		return said{}, context.Cause(ctx)
	}
}

// tell tells it what is next, and waits for what it says to that.
func (g *obedient) tell(ctx context.Context, next any) (said, error) {
	select {
	case g.next <- next:
		return g.hear(ctx)
	case <-ctx.Done():
		return said{}, context.Cause(ctx)
	}
}

func (g *obedient) check(ctx context.Context, token string) (string, error) {
	s, err := g.tell(ctx, map[string]string{"token": token})
	if err != nil {
		return "", err
	}
	return s.word()
}

// guardByName starts a script in Node, Deno or Bun that imports the package by its name. fail is told if it ends.
func guardByName(ctx context.Context, fail context.CancelCauseFunc, o *origin, n *network, p place, name, module string) (guard, func(), error) {
	g := obey(n.mux)
	at, unlisten, err := n.listen()
	if err != nil {
		return nil, nil, err
	}
	flavour := strings.TrimSuffix(filepath.Base(module), ".wasm")
	running, kill := context.WithCancel(ctx)
	cmd := edgehost.Command(running, p.root, name, filepath.Join(p.named, "logout-named.mjs"), at, flavour)
	cmd.Dir = p.named
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		kill()
		unlisten()
		return nil, nil, err
	}
	ended := make(chan struct{})
	go func() {
		err := cmd.Wait()
		fail(fmt.Errorf("the script has ended: %v: %.2000s", err, errs.String()))
		close(ended)
	}()
	closing := func() {
		kill()
		<-ended
		unlisten()
	}
	hello, err := g.hear(ctx)
	if index := "file://" + filepath.Join(p.named, "node_modules", "counterfoil-edge", "index.js"); err == nil && (hello.Condition != name || hello.Resolved != index) {
		err = fmt.Errorf("the package was found by the condition %q, at %s", hello.Condition, hello.Resolved)
	}
	if err == nil {
		_, err = g.tell(ctx, o.options())
	}
	if err != nil {
		closing()
		return nil, nil, err
	}
	return g, closing, nil
}

// installPackage packs counterfoil-edge, installs it in a new folder and puts the scripts beside it, which find it by its name. A second package has the same conditions in the same
// order, and says which of them it was found by.
func installPackage(ctx context.Context, root, dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	pkg := filepath.Join(root, "edge", "npm")
	if err := npm(ctx, pkg, "pack", "--ignore-scripts", "--pack-destination="+dir); err != nil {
		return err
	}
	packed, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if err != nil || len(packed) != 1 {
		return fmt.Errorf("npm pack made %q: %v", packed, err)
	}
	if err := npm(ctx, dir, "install", "--offline", "--no-audit", "--no-fund", "--ignore-scripts", packed[0]); err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(pkg, "package.json"))
	if err != nil {
		return err
	}
	if err := conditions(filepath.Join(dir, "node_modules", "conditions"), b); err != nil {
		return err
	}
	for _, f := range []string{"logout.js", "logout-named.mjs"} {
		b, err := os.ReadFile(filepath.Join(root, "internal/e2e/edge", f))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, f), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// conditions makes a package with the conditions of a package.json, each of which leads to a file that names it.
func conditions(dir string, packageJSON []byte) error {
	var pkg struct {
		Exports struct {
			Main json.RawMessage `json:"."`
		}
	}
	if err := json.Unmarshal(packageJSON, &pkg); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	var exports []string
	d := json.NewDecoder(bytes.NewReader(pkg.Exports.Main)) // by tokens, since the order counts
	if _, err := d.Token(); err != nil {
		return err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		if _, err := d.Token(); err != nil {
			return err
		}
		exports = append(exports, fmt.Sprintf(`"%s": "./%[1]s.js"`, name))
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s.js", name)), fmt.Appendf(nil, "export default %q;\n", name), 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "package.json"),
		fmt.Appendf(nil, `{"name": "conditions", "version": "1.0.0", "type": "module", "exports": {".": {%s}}}`, strings.Join(exports, ", ")), 0o600)
}

func npm(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, "npm", append(args, "--loglevel=error")...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm %s: %w\n%s", args[0], err, out)
	}
	return nil
}

// guardInChromium opens logout-page.js.
func guardInChromium(ctx context.Context, o *origin, n *network, root, dir, module string) (guard, func(), error) {
	files, err := edgehost.Files(root, "edge/npm/*.js")
	if err != nil {
		return nil, nil, err
	}
	edgehost.Serve(n.mux, root, append(files, "internal/e2e/edge/logout.js", "internal/e2e/edge/logout-page.js")...)
	n.mux.HandleFunc("GET /module.wasm", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, module) })
	g := obey(n.mux)
	closing, err := edgehost.OpenChromium(ctx, n.mux, "/internal/e2e/edge/logout-page.js", dir)
	if err != nil {
		return nil, nil, err
	}
	if _, err = g.hear(ctx); err == nil {
		_, err = g.tell(ctx, o.options())
	}
	if err != nil {
		closing()
		return nil, nil, err
	}
	return g, closing, nil
}

// A worker is a guard that is sent its tokens: logout-worker.js.
type worker struct{ addr string }

// guardInWorkerd starts it.
func guardInWorkerd(ctx context.Context, o *origin, n *network, root, dir, module string) (guard, func(), error) {
	files, err := edgehost.Files(root, "edge/npm/*.js")
	if err != nil {
		return nil, nil, err
	}
	at, unlisten, err := n.listen()
	if err != nil {
		return nil, nil, err
	}
	options := o.options()
	options["origin"] = at
	b, err := json.Marshal(options)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "options.json"), b, 0o600)
	}
	if err != nil {
		unlisten()
		return nil, nil, err
	}
	const here = "internal/e2e/edge/"
	modules := []edgehost.Module{{Name: here + "logout-worker.js", Kind: "esModule", File: filepath.Join(root, here+"logout-worker.js")}}
	for _, f := range files {
		modules = append(modules, edgehost.Module{Name: f, Kind: "esModule", File: filepath.Join(root, f)})
	}
	modules = append(modules, edgehost.Module{Name: here + "module.wasm", Kind: "wasm", File: module},
		edgehost.Module{Name: here + "options.json", Kind: "json", File: filepath.Join(dir, "options.json")})
	w, err := edgehost.StartWorkerd(ctx, root, dir, modules)
	if err != nil {
		unlisten()
		return nil, nil, err
	}
	return worker{w.Addr}, func() {
		w.Close()
		unlisten()
	}, nil
}

func (g worker) check(ctx context.Context, token string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, "POST", "http://"+g.addr+"/", strings.NewReader(token))
	if err != nil {
		return "", err
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		return "", err
	}
	if a.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %d: %.2000s", a.StatusCode, b)
	}
	var s said
	if err := json.Unmarshal(b, &s); err != nil {
		return "", err
	}
	return s.word()
}
