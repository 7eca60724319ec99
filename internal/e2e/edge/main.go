// Command edge shows the edge module in every runtime that it is made for. It begins with the logout: a guard in each of them follows the feed of one origin, accepts, and refuses what has
// ended meanwhile. Then it shows the corpus to the module, and compares each answer with the native one, byte for byte: all vectors of tokens and of the feed's frames, and 100,000 mutated
// tokens made from a seed. It prints a table of each and exits with 1 if one answer is not as it must be. A runtime that is not there is left out by name; with COUNTERFOIL_REQUIRE=edge that
// is a failure. The runtimes of npm are installed on the way (runtimes/package-lock.json); Node, npm and Chromium come with the machine.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/require"

	"github.com/counterfoil/counterfoil/internal/edgehost"
)

func main() {
	n := flag.Int("n", 100_000, "mutated tokens")
	es := flag.Int("es256", 15_000, "mutated tokens with ES256 besides, which the self-contained module is built without")
	seed := flag.Uint64("seed", 1, "of the mutations")
	only := flag.String("runtimes", "", "names, separated by commas; all if empty")
	part := flag.String("part", "", "logout or corpus; both if empty")
	flag.Parse()
	ok, err := run(*n, *es, *seed, *only, *part)
	if err != nil {
		fmt.Fprintln(os.Stderr, "edge:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// A flavour of the module.
type flavour struct {
	name, file string
	es256      bool
}

// A runtime that is there.
type runtime struct{ name, version string }

func (r runtime) String() string { return r.name + " " + r.version }

func run(n, es int, seed uint64, only, part string) (ok bool, err error) {
	dir, err := filepath.Abs("edge")
	if err != nil {
		return false, err
	}
	root := filepath.Join(dir, "..", "..", "..")
	flavours := []flavour{
		{"host crypto", filepath.Join(root, "edge/npm/host.wasm"), true}, {"self-contained", filepath.Join(root, "edge/npm/own.wasm"), false},
	}
	for _, f := range flavours {
		if _, err := os.Stat(f.file); err != nil {
			return false, fmt.Errorf("%w (make module builds it)", err)
		}
	}
	required := require.Named("edge")
	if err := edgehost.Install(edgehost.Dir(root), filepath.Join(root, "examples", "koa")); err != nil {
		if required {
			return false, err
		}
		fmt.Println("the runtimes of npm are not installed:", err)
	}

	runtimes, missing := present(root, only)
	for _, why := range missing {
		fmt.Println("left out:", why)
	}
	temp, err := os.MkdirTemp("", "edge")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(temp)
	ok = len(missing) == 0 || !required
	if part != "corpus" {
		as, err := logouts(root, temp, required, flavours, runtimes)
		if err != nil {
			return false, fmt.Errorf("the logout: %w", err)
		}
		ok = ok && as
	}
	if part != "logout" {
		as, err := answers(root, temp, n, es, seed, flavours, runtimes)
		if err != nil {
			return false, fmt.Errorf("the corpus: %w", err)
		}
		ok = ok && as
	}
	return ok, nil
}

// present returns the runtimes that are there, and why others are not.
func present(root, only string) (there []runtime, missing []error) {
	wanted := func(name string) bool { return only == "" || slices.Contains(strings.Split(only, ","), name) }
	if wanted("wazero") {
		there = append(there, runtime{"wazero", "1.12.0"})
	}
	for _, name := range edgehost.Names {
		if !wanted(name) {
			continue
		}
		version, err := edgehost.Version(root, name)
		if err != nil {
			missing = append(missing, fmt.Errorf("%s: %w", name, err))
			continue
		}
		there = append(there, runtime{name, version})
	}
	return there, missing
}

// answers shows the corpus to the module in every runtime, and prints a row for each. It returns whether all answers are those that they must be.
func answers(root, temp string, n, es int, seed uint64, flavours []flavour, runtimes []runtime) (ok bool, err error) {
	items, err := makeCorpus(root, n, es, seed)
	if err != nil {
		return false, err
	}
	encoded, err := encode(items)
	if err != nil {
		return false, err
	}
	corpus := filepath.Join(temp, "corpus")
	if err := os.WriteFile(corpus, encoded, 0o600); err != nil {
		return false, err
	}

	var total [parts]int
	for _, i := range items {
		total[i.part]++
	}
	fmt.Printf("\n%d vectors, %d frames, %d mutated tokens (%d of them ES256), seed %d, corpus %x\n\n",
		total[vectors], total[frames], total[mutated], es, seed, sha256.Sum256(encoded))
	fmt.Printf("| %-24s | %-14s | %7s | %6s | %7s | %10s | %9s | %-16s | %5s |\n|---|---|---:|---:|---:|---:|---:|---|---:|\n",
		"runtime", "flavour", "vectors", "frames", "mutated", "agreements", "by design", "digest", "s")

	// Package edge for this machine must agree with token.Verify and with what the vectors say; by it all others are judged.
	began := time.Now()
	reference := play(&native{}, items)
	ok = report("native", "self-contained", items, reference, reference, true, began) && agree(items, reference)

	for _, rt := range runtimes {
		for _, f := range flavours {
			began := time.Now()
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
			var answers []byte
			if rt.name == "wazero" {
				answers, err = inWazero(ctx, f.file, items)
			} else {
				answers, err = inHost(ctx, rt.name, root, f.file, corpus)
			}
			cancel()
			if err != nil {
				fmt.Printf("| %-24s | %-14s | FAILED: %v\n", rt, f.name, err)
				ok = false
				continue
			}
			ok = report(rt.String(), f.name, items, reference, answers, f.es256, began) && ok
		}
	}
	return ok, nil
}

func inWazero(ctx context.Context, module string, items []item) (out []byte, err error) {
	binary, err := os.ReadFile(module)
	if err != nil {
		return nil, err
	}
	w, closing, err := startWasm(ctx, binary)
	if err != nil {
		return nil, err
	}
	defer closing()
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return play(w, items), nil
}

// agree says whether the reference is what the vectors expect, and token.Verify where there are none.
func agree(items []item, reference []byte) bool {
	ok := true
	for i, answer := range bytes.Split(bytes.TrimSuffix(reference, []byte("\n")), []byte("\n")) {
		it, got := items[i], string(answer)
		switch it.Kind {
		case "token":
			if _, reason, found := strings.Cut(got, ": "); found {
				got = reason
			}
		case "frame":
			got = got[:strings.IndexByte(got, '{')]
			got = got[:strings.LastIndexByte(strings.TrimSuffix(got, "|"), '|')]
		}
		if it.want != "" && got != it.want {
			fmt.Printf("%s: %s, want %s\n", it.where, answer, it.want)
			ok = false
		}
	}
	return ok
}

// report compares answers with those of the reference, and prints a row.
func report(name, flavour string, items []item, reference, answers []byte, es256 bool, began time.Time) bool {
	want, got := bytes.Split(reference, []byte("\n")), bytes.Split(answers, []byte("\n"))
	if len(got) != len(want) {
		fmt.Printf("| %-24s | %-14s | FAILED: %d answers, want %d\n", name, flavour, len(got)-1, len(want)-1)
		return false
	}
	var counts [parts]int
	agreements, design, differ := 0, 0, 0
	for i, it := range items {
		counts[it.part]++
		same := bytes.Equal(want[i], got[i])
		switch {
		case it.part == setup && (same || it.es256 && !es256):
		case it.es256 && !es256 && !bytes.HasPrefix(got[i], []byte("accepted")):
			design++
		case same:
			agreements++
		default:
			if differ++; differ <= 10 {
				fmt.Printf("%s, %s: %s: %.300s, natively %.300s\n", name, flavour, it.where, got[i], want[i])
			}
		}
	}
	fmt.Printf("| %-24s | %-14s | %7d | %6d | %7d | %10d | %9d | %.8x         | %5.1f |\n",
		name, flavour, counts[vectors], counts[frames], counts[mutated], agreements, design, sha256.Sum256(answers), time.Since(began).Seconds())
	return differ == 0
}
