package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"time"
)

// A process of the demo is the demo itself, told its role in its first argument. Three rules hold on every system that Go runs on:
// settings arrive on standard input, so no secret shows in a list of processes; the address it serves goes out on standard
// output; and when standard input ends, because the parent closed it or died in whatever way, the process ends.
type process struct {
	role   string
	addr   string
	cmd    *exec.Cmd
	stdin  io.Closer
	stderr tail
	done   chan struct{} // closed when it has ended
	err    error         // how it ended; read after done
}

// settings is all that the parent tells a process.
type settings struct {
	Redis   string // URL
	Prefix  string // of all keys
	Addr    string // to listen on; "" = any loopback port
	KeyFile string // app: the signing keys
	Secret  []byte // app: makes the refresh tokens
	JWKS    string // edge: where the public keys are
}

// role is what a process does until ctx ends. It calls ready once, with the address it serves.
type role func(ctx context.Context, s settings, ready func(addr string)) error

const (
	startTimeout = 15 * time.Second
	stopTimeout  = 5 * time.Second
)

// start starts a process and waits until it is ready.
func start(ctx context.Context, name string, s settings) (*process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{role: name, cmd: exec.Command(exe, name), done: make(chan struct{})}
	p.cmd.Stderr = &p.stderr
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p.stdin = stdin
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the %s process: %w", name, err)
	}
	addr := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(stdout).ReadString('\n')
		addr <- strings.TrimSpace(line)
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	// Not reading its settings is one of the ways in which it can fail; the wait below tells.
	_ = json.NewEncoder(stdin).Encode(s)

	timer := time.NewTimer(startTimeout)
	defer timer.Stop()
	select {
	case p.addr = <-addr:
		if p.addr != "" {
			return p, nil
		}
		<-p.done
		return nil, p.failure("did not start")
	case <-timer.C:
		err = p.failure("did not start in time")
	case <-ctx.Done():
		err = ctx.Err()
	}
	return nil, errors.Join(err, p.stop())
}

// stop asks the process to end and sees to it that it does.
func (p *process) stop() error {
	p.stdin.Close()
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		_ = p.cmd.Process.Kill()
		<-p.done
		return p.failure("had to be killed")
	}
	if p.err != nil {
		return p.failure("ended badly")
	}
	return nil
}

// failure is what went wrong, with what the process had to say about it.
func (p *process) failure(what string) error {
	said := strings.TrimSpace(p.stderr.String())
	if said == "" {
		return fmt.Errorf("the %s process %s", p.role, what)
	}
	return fmt.Errorf("the %s process %s:\n    %s", p.role, what, strings.ReplaceAll(said, "\n", "\n    "))
}

// serve is the other side: it plays a role until standard input ends.
func serve(play role, stdin io.Reader, stdout io.Writer) error {
	// An interrupt from the terminal reaches all processes at once. The parent decides what becomes of it.
	signal.Ignore(os.Interrupt)
	var s settings
	in := json.NewDecoder(io.LimitReader(stdin, 64<<10))
	if err := in.Decode(&s); err != nil {
		return fmt.Errorf("no settings on standard input: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		stop()
		time.Sleep(stopTimeout - time.Second)
		os.Exit(1) // whatever it is that does not end
	}()
	return play(ctx, s, func(addr string) { fmt.Fprintln(stdout, addr) })
}

// tail keeps the end of what was written to it. It is safe for concurrent use.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const tailLen = 4 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	if over := len(t.b) - tailLen; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}
