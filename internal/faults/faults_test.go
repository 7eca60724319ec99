package faults_test

import (
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/counterfoil/counterfoil/internal/faults"
)

var (
	whole    = flag.Bool("whole", false, "inject every fault, and print the table")
	only     = flag.String("only", "", "inject only the faults whose name matches this expression")
	together = flag.Int("together", 6, "how many faults are injected at once, each into a system of its own")
)

func TestMain(m *testing.M) {
	if cfg := os.Getenv(edgeSetting); cfg != "" {
		if err := edgeProcess(cfg); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	// go-redis looks for a dead server once a second, until a second after Close.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// fault is one line of the table.
type fault struct {
	name   string
	quick  bool // in every go test
	inject func(*run)
}

// TestFaults injects faults into running systems; the package comment says what must not happen.
func TestFaults(t *testing.T) {
	var rows []fault
	for _, family := range [][]fault{restarts, memory, answers, connections, followers, feeds, failovers, splits, clocks, loads} {
		rows = append(rows, family...)
	}
	out := io.Discard
	if *whole {
		out = os.Stdout
	}
	pattern, err := regexp.Compile(*only)
	if err != nil {
		t.Fatal(err)
	}
	faults.WriteHead(out)
	var mu sync.Mutex
	var all sync.WaitGroup
	turns := make(chan struct{}, *together)
	began, ran, failed, skipped := time.Now(), 0, 0, 0
	for _, f := range rows {
		if !*whole && !f.quick && *only == "" || !pattern.MatchString(f.name) {
			continue
		}
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			t.Run(f.name, func(t *testing.T) {
				var row *faults.Row
				defer func() { // also when the test ends before its time
					mu.Lock()
					defer mu.Unlock()
					switch {
					case row != nil:
						row.Write(out)
						ran++
					case t.Skipped():
						fmt.Fprintf(out, "%s: not run, this machine lacks what it needs\n", f.name)
						skipped++
					default:
						fmt.Fprintf(out, "%s: broken off\n", f.name)
					}
					if t.Failed() || row != nil && row.Failed() {
						failed++
					}
				}()
				r := inject(t, f)
				row = &r
			})
		})
	}
	all.Wait()
	fmt.Fprintf(out, "%d faults injected, %d failed, %d not run, %v\n", ran, failed, skipped, time.Since(began).Round(time.Second))
}

// inject runs one fault and judges it.
func inject(t *testing.T, f fault) faults.Row {
	r := newRun(t, f.name)
	f.inject(r)
	row := r.finish()
	if row.Failed() || t.Failed() {
		t.Errorf("%d revocations acknowledged, %d lost, %d uses accepted after the bound, %d sessions mixed up; told: %q",
			row.Acknowledged, row.Lost, row.Late, row.Mixed, row.Told)
		for _, b := range row.Broken {
			t.Error(b)
		}
	}
	t.Logf("%d revocations acknowledged, %d refused (%d not durable), %d uses, %d operations in histories, latest %v, whole again after %v, told %q",
		row.Acknowledged, row.Counts.Refused, row.Counts.Told, row.Uses, row.Operations, row.Latest, row.Whole, row.Told)
	r.mu.Lock()
	defer r.mu.Unlock()
	for text, n := range r.said {
		t.Logf("%d × %s", n, text)
	}
	return row
}
