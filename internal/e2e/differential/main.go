// Command differential makes a million tokens that are good but for a change or two, shows them to our verifier and to golang-jwt, go-jose and jwx, and prints who accepted how
// many. It exits with 1 if ours accepted one that another refused, or refused one that another accepted for a reason that is not on the list of explained ones.
package main

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil/internal/e2e/oracle"
	"github.com/counterfoil/counterfoil/token"
)

// counts of one worker.
type counts struct {
	tokens, ours int
	peers        map[string]int
	laxer        map[string]map[string]int // our reason -> peer -> tokens that it accepted
	refused      map[string]int            // our reason -> tokens
	wrong        []error
}

func main() {
	n := flag.Int("n", 1_000_000, "tokens")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "of the changes; keys are new in any case")
	flag.Parse()
	signers, err := oracle.Signers()
	if err != nil {
		fmt.Fprintln(os.Stderr, "differential:", err)
		os.Exit(1)
	}
	fmt.Printf("%d tokens, seed %d\n", *n, *seed)
	began := time.Now()
	workers := runtime.GOMAXPROCS(0)
	results := make([]counts, workers)
	var wg sync.WaitGroup
	for w := range workers {
		share := *n / workers
		if w == 0 {
			share += *n % workers
		}
		wg.Go(func() { results[w] = run(signers, share, rand.New(rand.NewPCG(*seed, uint64(w)))) })
	}
	wg.Wait()
	total := newCounts()
	for _, c := range results {
		total.tokens += c.tokens
		total.ours += c.ours
		for p, k := range c.peers {
			total.peers[p] += k
		}
		for reason, k := range c.refused {
			total.refused[reason] += k
		}
		for reason, peers := range c.laxer {
			for p, k := range peers {
				total.add(reason, p, k)
			}
		}
		total.wrong = append(total.wrong, c.wrong...)
	}
	fmt.Printf("accepted: counterfoil %d", total.ours)
	peers := slices.Sorted(maps.Keys(total.peers))
	for _, p := range peers {
		fmt.Printf(", %s %d", p, total.peers[p])
	}
	fmt.Printf("; %v\n\nrefused by us, and how many of those others accepted:\n\n", time.Since(began).Round(time.Second))
	fmt.Printf("%-24s %9s", "reason", "tokens")
	for _, p := range peers {
		fmt.Printf(" %11s", p)
	}
	fmt.Println()
	for _, reason := range slices.Sorted(maps.Keys(total.refused)) {
		fmt.Printf("%-24s %9d", reason, total.refused[reason])
		for _, p := range peers {
			fmt.Printf(" %11d", total.laxer[reason][p])
		}
		if len(total.laxer[reason]) > 0 {
			fmt.Printf("  %s", oracle.Explained[reason])
		}
		fmt.Println()
	}
	fmt.Printf("\nunexplained: %d\n", len(total.wrong))
	for _, err := range total.wrong[:min(20, len(total.wrong))] {
		fmt.Println(" ", err)
	}
	if len(total.wrong) > 0 || total.ours == 0 {
		os.Exit(1)
	}
}

func newCounts() counts {
	return counts{peers: map[string]int{}, laxer: map[string]map[string]int{}, refused: map[string]int{}}
}

func (c counts) add(reason, peer string, n int) {
	if c.laxer[reason] == nil {
		c.laxer[reason] = map[string]int{}
	}
	c.laxer[reason][peer] += n
}

func run(signers []oracle.Signer, n int, r *rand.Rand) counts {
	c := newCounts()
	m := oracle.Mutator{Rand: r}
	var ours []*token.Verifier
	var peers [][]oracle.Peer
	for _, s := range signers {
		v, err := oracle.Ours(s.Key)
		if err != nil {
			c.wrong = append(c.wrong, err)
			return c
		}
		ours, peers = append(ours, v), append(peers, oracle.Peers(s.Foreign))
	}
	for range n {
		i := 0 // mostly HS256: the rules are the same, and its signatures cost a hundredth
		if k := r.IntN(20); k < 2 {
			i = k + 1
		}
		raw := m.Token(signers[i])
		_, verdict := ours[i].VerifyAt(raw, oracle.Now)
		c.tokens++
		reason := token.Reason(verdict)
		if verdict == nil {
			c.ours++
		} else {
			c.refused[reason]++
		}
		for _, p := range peers[i] {
			theirs := p.Verify(raw)
			if c.peers[p.Name] += 0; theirs == nil {
				c.peers[p.Name]++
				if verdict != nil {
					c.add(reason, p.Name, 1)
				}
			}
			if err := oracle.Disagree(raw, verdict, p, theirs); err != nil {
				c.wrong = append(c.wrong, err)
			}
		}
	}
	return c
}
