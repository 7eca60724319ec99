// Testrun runs go test and ends with one line that says how many tests passed, failed and were skipped:
//
//	go run ./internal/testrun [packages] [flags of go test]
//
// Without a package it runs those of the whole module. It first says whether the tests against a real Redis can run,
// then prints one line for each package as it ends, and all that a failing test or a failing build has to say. It exits
// with 1 if anything failed, and if nothing ran at all.
//
// COUNTERFOIL_REQUIRE=redis makes a redis-server that is not on PATH a failure instead of a reason to skip.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"
)

// timeout ends a package whose tests hang. It is below the five minutes that the whole run may take, so that the
// report of what hung still comes out.
const timeout = "-timeout=4m"

func main() {
	// The terminal interrupts go test as well, which then ends by itself: what it still has to say is wanted here.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if !run(ctx, os.Args[1:], os.Stdout, os.Stderr) {
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) bool {
	started := time.Now()
	module := modulePath()
	r := newReport(stdout, module)
	line, missing := redisLine(os.Getenv("COUNTERFOIL_REQUIRE"), exec.LookPath)
	fmt.Fprintln(stdout, line)
	if missing {
		r.failed++
	}

	cmd := exec.CommandContext(ctx, "go", goTestArgs(args, module)...)
	cmd.Stderr = stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	events, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(stdout, "testrun: go test does not start:", err)
		return r.close(time.Since(started), false)
	}
	r.read(events)
	err = cmd.Wait()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(stdout, "testrun:", err)
	}
	return r.close(time.Since(started), err == nil)
}

// goTestArgs returns the arguments of the go command for those given to this program. Every run is a fresh one: a result
// from Go's cache says nothing about a server that the tests start.
func goTestArgs(args []string, module string) []string {
	all := []string{"test", "-json", "-buildvcs=false"}
	if !slices.ContainsFunc(args, isFlag("count")) {
		all = append(all, "-count=1")
	}
	if !slices.ContainsFunc(args, isFlag("timeout")) {
		all = append(all, timeout)
	}
	isPackage := func(arg string) bool {
		return arg == "." || strings.HasPrefix(arg, "./") || strings.HasPrefix(arg, "../") ||
			module != "" && strings.HasPrefix(arg, module)
	}
	if !slices.ContainsFunc(args, isPackage) {
		all = append(all, "./...")
	}
	return append(all, args...)
}

// isFlag returns a function that says whether an argument is the flag called name, with one dash or two, with a value or without.
func isFlag(name string) func(arg string) bool {
	return func(arg string) bool {
		arg, _, _ = strings.Cut(arg, "=")
		return arg == "-"+name || arg == "--"+name
	}
}

// redisLine says in one line whether the tests against a real Redis run; missing means that they have to and cannot.
func redisLine(require string, lookPath func(string) (string, error)) (line string, missing bool) {
	required := slices.Contains(strings.Split(require, ","), "redis")
	path, err := lookPath("redis-server")
	switch {
	case err == nil:
		return "redis-server: " + path, false
	case required:
		return "FAIL  redis-server is not on PATH, and COUNTERFOIL_REQUIRE=redis asks for it", true
	default:
		return "redis-server is not on PATH: the tests against a real Redis are not run, those against the embedded one are", false
	}
}

// modulePath returns the path of the module that this program belongs to, or "" if it was built outside a module.
func modulePath() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Path
	}
	return ""
}

// read takes in the output of go test -json until it ends.
func (r *report) read(events io.Reader) {
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			r.add(line)
		}
		if err != nil {
			return
		}
	}
}
