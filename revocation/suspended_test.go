//go:build unix && !edge

package revocation_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/tokentest"
)

// checksAlways, if it is set, makes the test binary the process that TestSuspended suspends, and names the case.
const checksAlways = "COUNTERFOIL_REVOCATION_SUSPENDED"

// TestSuspended suspends a process that checks a token all the time, until the token must not be accepted any more. Nothing in the process runs before the first
// check afterwards, and that one, too, must know. Only a real process can be suspended, so this takes a second.
func TestSuspended(t *testing.T) {
	for _, c := range []struct {
		name  string
		check func(t *testing.T, g *revocation.Guard, raw string) error
		want  string // how the checks end
		life  time.Duration
	}{
		{"list too old", func(t *testing.T, g *revocation.Guard, raw string) error {
			_, err := g.CheckPolicy(t.Context(), raw, revocation.Strict)
			return err
		}, "stale", time.Minute},
		{"list too old for a verified token", func(t *testing.T, g *revocation.Guard, raw string) error {
			v, err := g.Check(t.Context(), raw)
			if err != nil {
				return err
			}
			return g.CheckVerified(t.Context(), v, revocation.Strict)
		}, "stale", time.Minute},
		{"token expired", func(t *testing.T, g *revocation.Guard, raw string) error {
			_, err := g.Check(t.Context(), raw)
			return err
		}, "expired", time.Second},
	} {
		if name := os.Getenv(checksAlways); name != "" {
			if name == c.name {
				checkAlways(t, c.life, c.check)
			}
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			const most = 5 * time.Millisecond // by which clocks differ that are read in whole milliseconds
			said := suspend(t, c.name, 1200*time.Millisecond)
			var late time.Duration
			if _, err := fmt.Sscanf(said, c.want+" %d", &late); err != nil || late > most {
				t.Errorf("went on and said %q; want %q, at once", said, c.want)
			}
		})
	}
}

// suspend starts the process, suspends it for a while, and returns what it says when it goes on.
func suspend(t *testing.T, name string, d time.Duration) string {
	cmd := exec.Command(os.Args[0], "-test.run=^TestSuspended$")
	cmd.Env = append(os.Environ(), checksAlways+"="+name)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "ready" {
		t.Fatalf("the process says %q", lines.Text())
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	<-time.After(d)
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	lines.Scan()
	return lines.Text()
}

// checkAlways checks a token by a list that nobody follows, until it is refused, and says why it was, and how long (ns) after its time the last check began that
// accepted it.
func checkAlways(t *testing.T, life time.Duration, check func(*testing.T, *revocation.Guard, string) error) {
	const maxStale, leeway = time.Second, time.Millisecond
	now := time.Now()
	ms := now.UnixMilli()
	list, err := revocation.NewList(revocation.ListConfig{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := revocation.NewFollower(revocation.FollowerConfig{List: list})
	if err != nil {
		t.Fatal(err)
	}
	f.Apply(revocation.Batch{Full: true, Epoch: "e", Birth: 1, Records: []revocation.Record{{Position: "1", Time: ms, Epoch: "e"}}}, now)
	f.Apply(revocation.Batch{Records: []revocation.Record{{Position: "2", Prev: "1", Time: ms}}}, now)
	issuer := tokentest.New(t)
	cfg := issuer.Config()
	cfg.Now, cfg.Leeway = nil, leeway
	verifier, err := token.NewVerifier(cfg)
	if err != nil {
		t.Fatal(err)
	}
	guard, err := revocation.NewGuard(revocation.GuardConfig{Verifier: verifier, List: list, Policy: revocation.BestEffort, MaxStale: maxStale, Leeway: leeway})
	if err != nil {
		t.Fatal(err)
	}
	raw := issuer.Mint(token.Claims{Session: id(1), IssuedAt: now, Expires: now.Add(life)})
	ends := now.Add(min(life, maxStale) + leeway)

	if err := check(t, guard, raw); err != nil {
		t.Fatal(err)
	}
	fmt.Println("ready")
	type ending struct {
		err  error
		late time.Duration
	}
	ended := make(chan ending)
	for range 2 * runtime.GOMAXPROCS(0) { // as in a process that has a lot to do: its timers wait their turn
		go func() {
			var e ending
			for e.err == nil {
				before := time.Now()
				if e.err = check(t, guard, raw); e.err == nil {
					e.late = max(e.late, before.Sub(ends))
				}
			}
			ended <- e
		}()
	}
	var last ending
	for range 2 * runtime.GOMAXPROCS(0) {
		e := <-ended
		last = ending{e.err, max(e.late, last.late)}
	}
	why := strings.ReplaceAll(last.err.Error(), " ", "-")
	switch _, expired := errors.AsType[*token.ExpiredError](last.err); {
	case expired:
		why = "expired"
	case errors.Is(last.err, revocation.ErrStale):
		why = "stale"
	}
	fmt.Printf("%s %d\n", why, last.late)
}
