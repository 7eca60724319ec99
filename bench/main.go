// Command bench measures Counterfoil side by side with the bare primitives and with its peers. All rows of a group take turns in short slices within one run, and each keeps its fastest slice, so
// that ratios hold on a noisy machine where single times do not. A row with a goal is marked met or short; the command exits with 1 if one is short.
//
//	go run . -rows token
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
var suites = map[string]func() ([]*group, error){"token": tokenGroups}

func main() {
	names := slices.Sorted(maps.Keys(suites))
	rows := flag.String("rows", strings.Join(names, ","), "suites to run, separated by commas")
	rounds := flag.Int("rounds", 40, "turns of each row in a pass")
	flag.Parse()
	short := 0
	for name := range strings.SplitSeq(*rows, ",") {
		suite, ok := suites[name]
		if !ok {
			fmt.Fprintf(os.Stderr, "bench: no rows %q; there are %s\n", name, strings.Join(names, ", "))
			os.Exit(2)
		}
		groups, err := suite()
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(2)
		}
		for _, g := range groups {
			g.measure(*rounds)
			g.print()
			short += g.short()
		}
	}
	if short > 0 {
		fmt.Printf("%d short\n", short)
		os.Exit(1)
	}
}
