package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

// An origin is the application of internal/edge/origin: a Manager on an embedded Redis, with all its endpoints.
type origin struct {
	told struct {
		Origin     string            `json:"origin"`
		Issuer     string            `json:"issuer"`
		Audience   string            `json:"audience"`
		FrameKey   string            `json:"frameKey"`
		Credential map[string]string `json:"credential"`
	}
}

// startOrigin builds and starts it. dir has room for the program. closing ends it.
func startOrigin(ctx context.Context, root, dir string) (o *origin, closing func(), err error) {
	program := filepath.Join(dir, "origin")
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", program, "./internal/edge/origin")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return nil, nil, fmt.Errorf("the origin is not built: %w\n%s", err, out)
	}
	cmd := exec.CommandContext(ctx, program)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	closing = func() {
		in.Close() // which ends it
		_ = cmd.Wait()
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	o = new(origin)
	if err == nil {
		err = json.Unmarshal(line, &o.told)
	}
	if err != nil {
		closing()
		return nil, nil, fmt.Errorf("the origin does not say where it is: %w", err)
	}
	return o, closing, nil
}

// options are what createGuard takes of it, and how strict and how patient these guards are.
func (o *origin) options() map[string]any {
	return map[string]any{
		"issuer": o.told.Issuer, "audience": o.told.Audience, "credential": o.told.Credential, "frameKeys": o.told.FrameKey,
		"policy": "strict", "maxStale": bound.Milliseconds(),
	}
}

// login begins a session and returns its token.
func (o *origin) login(ctx context.Context, subject string) (string, error) {
	b, err := o.post(ctx, "/login", url.Values{"subject": {subject}}, "", http.StatusOK)
	if err != nil {
		return "", err
	}
	var tokens struct{ Access string }
	err = json.Unmarshal(b, &tokens)
	return tokens.Access, err
}

// post sends a form, and a token if there is one.
func (o *origin) post(ctx context.Context, path string, form url.Values, token string, status int) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, "POST", o.told.Origin+path, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err == nil && a.StatusCode != status {
		err = fmt.Errorf("%s: status %d", path, a.StatusCode)
	}
	return b, err
}

// A network is between one guard and the origin. mux may serve more: what is served there is not cut.
type network struct {
	mux       *http.ServeMux
	cut       context.CancelFunc // ends what is under way, too
	questions atomic.Int32       // whether a session lives
	polls     atomic.Int32       // of the feed, those that wait for news
}

func newNetwork(o *origin) (*network, error) {
	to, err := url.Parse(o.told.Origin)
	if err != nil {
		return nil, err
	}
	whole, cut := context.WithCancel(context.Background())
	n := &network{mux: http.NewServeMux(), cut: cut}
	forward := httputil.NewSingleHostReverseProxy(to)
	forward.ErrorLog = log.New(io.Discard, "", 0)
	forward.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	n.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/session/revocations":
			if r.URL.Query().Has("wait") {
				n.polls.Add(1)
			}
		case "/session/introspect", "/session/active":
			n.questions.Add(1)
		}
		if whole.Err() != nil {
			panic(http.ErrAbortHandler) // the function below runs in its own time, and an answer may be faster
		}
		ctx, stop := context.WithCancel(r.Context())
		defer stop()
		defer context.AfterFunc(whole, stop)()
		forward.ServeHTTP(w, r.WithContext(ctx))
	})
	return n, nil
}

// listen serves the network on loopback. closing ends it.
func (n *network) listen() (addr string, closing func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: n.mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(l) }()
	return "http://" + l.Addr().String(), func() { server.Close() }, nil
}
