// Command bench measures Counterfoil side by side with the bare primitives and with its peers. All rows of a table take turns in short slices within one run, so
// that ratios hold on a noisy machine where single times do not. A row with a goal is marked met or short; the command exits with 1 if one is short.
//
//	go run . -rows token
//	go run . -rows store
//	go run . -rows http
//	go run . -rows edge
//	go run . -rows revocation
//
// The rows of store, http and revocation need a redis-server on PATH, which the command starts on loopback and ends. The peers on Node take part in http where node and
// npm are on PATH.
package main

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// suites are the groups of rows by the name under which -rows knows them.
var suites = map[string]func() (suite, error){"edge": edgeSuite, "http": httpSuite, "revocation": revocationSuite, "store": storeSuite, "token": tokenSuite}

// A suite is tables of rows, and what has to be ended after they are measured.
type suite struct {
	tables []table
	end    func() // nil = nothing
}

// A table is measured in one go, so that ratios within it hold: a [group] in the time that one call takes, [load] in what servers answer.
type table interface {
	measure(rounds int)
	print()
	short() int // goals that are missed
}

func main() { os.Exit(run()) }

func run() int {
	if len(os.Args) == 4 && os.Args[1] == serveCommand {
		if err := serve(os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			return 2
		}
		return 0
	}
	names := slices.Sorted(maps.Keys(suites))
	rows := flag.String("rows", strings.Join(names, ","), "suites to run, separated by commas")
	rounds := flag.Int("rounds", 40, "turns of each row in a pass")
	flag.Parse()
	short := 0
	for name := range strings.SplitSeq(*rows, ",") {
		open, ok := suites[name]
		if !ok {
			fmt.Fprintf(os.Stderr, "bench: no rows %q; there are %s\n", name, strings.Join(names, ", "))
			return 2
		}
		s, err := open()
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			return 2
		}
		if s.end != nil {
			defer s.end()
		}
		for _, g := range s.tables {
			g.measure(*rounds)
			g.print()
			short += g.short()
		}
	}
	if short > 0 {
		fmt.Printf("%d short\n", short)
		return 1
	}
	return 0
}
