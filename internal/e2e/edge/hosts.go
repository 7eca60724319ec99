package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"github.com/counterfoil/counterfoil/internal/edgehost"
)

// inHost shows the corpus to a module in a runtime. Both are files, and there is room beside the corpus.
func inHost(ctx context.Context, name, root, module, corpus string) ([]byte, error) {
	files, err := edgehost.Files(root, "edge/npm/*.js")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(filepath.Dir(corpus), name)
	if err != nil {
		return nil, err
	}
	switch name {
	case "workerd":
		return inWorkerd(ctx, root, dir, module, corpus, files)
	case "chromium":
		return inChromium(ctx, root, dir, module, corpus, files)
	}
	answers := filepath.Join(dir, "answers")
	cmd := edgehost.Command(ctx, root, name, filepath.Join(root, "internal/e2e/edge/run.mjs"), module, corpus, answers)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%w: %.2000s", err, errs.String())
	}
	return os.ReadFile(answers)
}

// inWorkerd posts the corpus to worker.js.
func inWorkerd(ctx context.Context, root, dir, module, corpus string, files []string) ([]byte, error) {
	modules := []edgehost.Module{{Name: "internal/e2e/edge/worker.js", Kind: "esModule", File: filepath.Join(root, "internal/e2e/edge/worker.js")}}
	for _, f := range append(files, "internal/e2e/edge/driver.js") {
		modules = append(modules, edgehost.Module{Name: f, Kind: "esModule", File: filepath.Join(root, f)})
	}
	modules = append(modules, edgehost.Module{Name: "internal/e2e/edge/module.wasm", Kind: "wasm", File: module})
	w, err := edgehost.StartWorkerd(ctx, root, dir, modules)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	body, err := os.Open(corpus)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	r, err := http.NewRequestWithContext(ctx, "POST", "http://"+w.Addr+"/", body)
	if err != nil {
		return nil, err
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err == nil && a.StatusCode != 200 {
		err = fmt.Errorf("status %d: %.2000s", a.StatusCode, b)
	}
	return b, err
}

// inChromium serves page.js and what it asks for, and waits for the answers that it sends back.
func inChromium(ctx context.Context, root, dir, module, corpus string, files []string) ([]byte, error) {
	done, failed := make(chan []byte, 1), make(chan string, 1)
	mux := http.NewServeMux()
	edgehost.Serve(mux, root, append(files, "internal/e2e/edge/driver.js", "internal/e2e/edge/page.js")...)
	mux.HandleFunc("GET /module.wasm", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, module) })
	mux.HandleFunc("GET /corpus", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, corpus) })
	mux.HandleFunc("POST /answers", func(w http.ResponseWriter, r *http.Request) {
		if b, err := io.ReadAll(r.Body); err == nil {
			done <- b
		}
	})
	mux.HandleFunc("POST /failure", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(io.LimitReader(r.Body, 4096))
		failed <- string(b)
	})
	closing, err := edgehost.OpenChromium(ctx, mux, "/internal/e2e/edge/page.js", dir)
	if err != nil {
		return nil, err
	}
	defer closing()
	select {
	case b := <-done:
		return b, nil
	case why := <-failed:
		return nil, errors.New(why)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
