//go:build unix

package faults_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/counterfoil/counterfoil/internal/faults"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/token"
)

func init() {
	followers = append(followers,
		fault{"a verifier's process suspended (SIGSTOP) for 6 s", false, func(r *run) { r.stopped(6 * time.Second) }},
		fault{"a verifier's process suspended (SIGSTOP) for 30 s", false, func(r *run) { r.stopped(30 * time.Second) }},
	)
}

// edgeSetting is how the test binary is told to be a verifier's process.
const edgeSetting = "COUNTERFOIL_FAULTS_EDGE"

type edgeConfig struct {
	URL  string
	Keys json.RawMessage
}

// edgeProcess reads tokens from its standard input, a line each, and answers a line each. The first line says that it is ready.
func edgeProcess(text string) error {
	var cfg edgeConfig
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	keys, err := token.ParseJWKS(cfg.Keys)
	if err != nil {
		return err
	}
	set, err := token.NewKeySet(keys...)
	if err != nil {
		return err
	}
	l, err := store.OpenLogReader(ctx, cfg.URL, store.Config{})
	if err != nil {
		return err
	}
	list, err := revocation.NewList(revocation.ListConfig{})
	if err != nil {
		return err
	}
	verifier, err := token.NewVerifier(token.VerifierConfig{Issuer: issuerName, Audience: audience, Keys: set, Leeway: leeway})
	if err != nil {
		return err
	}
	guard, err := revocation.NewGuard(revocation.GuardConfig{Verifier: verifier, List: list, MaxStale: maxStale, Leeway: leeway})
	if err != nil {
		return err
	}
	f, err := revocation.NewFollower(revocation.FollowerConfig{Source: l, List: list, MaxStale: maxStale, Leeway: leeway})
	if err != nil {
		return err
	}
	go f.Follow(ctx)
	if err := f.Ready(ctx); err != nil {
		return err
	}
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch _, err := guard.Check(ctx, in.Text()); {
		case err == nil:
			fmt.Println("accepted")
		case errors.Is(err, revocation.ErrRevoked):
			fmt.Println("revoked")
		case errors.Is(err, revocation.ErrStale):
			fmt.Println("stale")
		default:
			fmt.Println("refused")
		}
	}
	return nil
}

// edge is such a process.
type edge struct {
	r    *run
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Scanner
	said map[string]int
}

func (r *run) startEdge(url string) *edge {
	keys, err := token.AppendJWKS(nil, r.ring.Public()...)
	r.must(err)
	setting, err := json.Marshal(edgeConfig{url, keys})
	r.must(err)
	e := &edge{r: r, cmd: exec.Command(os.Args[0]), said: map[string]int{}}
	e.cmd.Env = append(os.Environ(), edgeSetting+"="+string(setting))
	e.cmd.Stderr = os.Stderr
	e.in, err = e.cmd.StdinPipe()
	r.must(err)
	out, err := e.cmd.StdoutPipe()
	r.must(err)
	e.out = bufio.NewScanner(out)
	r.must(e.cmd.Start())
	r.Cleanup(func() {
		e.in.Close()
		e.cmd.Process.Kill()
		e.cmd.Wait()
	})
	if !e.out.Scan() || e.out.Text() != "ready" {
		r.Fatalf("the verifier's process does not begin: %q", e.out.Text())
	}
	return e
}

// ask asks about every session and tells the oracle.
func (e *edge) ask(name string) {
	e.r.mu.Lock()
	all := e.r.all
	e.r.mu.Unlock()
	for _, c := range all {
		access, _, _ := c.tokens()
		called := time.Now()
		if _, err := fmt.Fprintln(e.in, access); err != nil || !e.out.Scan() {
			e.r.Errorf("the verifier's process is gone: %v", err)
			return
		}
		e.said[e.out.Text()]++
		switch where := (faults.Where{Name: name, Bound: bound}); e.out.Text() {
		case "accepted":
			e.r.oracle.Used(c.Session, where, called, faults.Accepted)
		case "revoked":
			e.r.oracle.Used(c.Session, where, called, faults.Refused)
		}
	}
}

// stopped stops a verifier that is a process of its own, and asks it at once when it goes on.
func (r *run) stopped(d time.Duration) {
	s, b := r.solo(aof("always"))
	r.begin(b, true)
	e := r.startEdge(s.URL())
	e.ask("process")
	if e.said["accepted"] == 0 || e.said["stale"] > 0 {
		r.Errorf("before it was stopped it said %v", e.said)
	}
	r.must(e.cmd.Process.Signal(syscall.SIGSTOP))
	r.hold(d)
	clear(e.said)
	r.must(e.cmd.Process.Signal(syscall.SIGCONT))
	e.ask("process that went on")
	r.Logf("when it went on it said %v", e.said)
	r.heal()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); r.hold(100 * time.Millisecond) {
		clear(e.said)
		if e.ask("process afterwards"); e.said["stale"] == 0 && e.said["accepted"] > 0 {
			return
		}
	}
	r.Errorf("the process does not come to itself again: %v", e.said)
}
