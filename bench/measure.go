package main

import (
	"cmp"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const turn = 3 * time.Millisecond

// A row is one thing that is measured.
type row struct {
	name string
	run  func() // once
	per  int    // things that a run does, of which the time of one counts; 0 = 1

	minus  string  // another row of the group whose time is subtracted
	cores  int     // goroutines that run it at once; 0 = one, in slices of full length; with 1 and more slices are a tenth of that, ten in a row
	ratio  float64 // goal: at most this many times the base; 0 = none
	nanos  float64 // goal: at most this many nanoseconds; 0 = none
	allocs int     // goal: at most this many allocations more than the base's; negative = none
	scale  string  // goal: nine tenths of the speed-up that the rows "floor" and "floor, two cores" show, this being the row for one core

	ns   float64
	mem  float64
	n    int // runs in a slice
	time float64
}

// A group is measured in one go. Ratios are to the first row.
type group struct {
	title  string
	rows   []*row
	facts  []fact
	passes int // at most so many; 0 = 5
}

// A fact is counted, not timed: it holds on every machine.
type fact struct {
	name, value string
	goal        string // "" = none
	missed      bool
}

func (r *row) slice(n int) float64 {
	if r.cores < 2 {
		began := time.Now()
		for range n {
			r.run()
		}
		return float64(time.Since(began).Nanoseconds()) / float64(n)
	}
	// They start together, without the wait for a sleeping thread, and the time is that of the last one.
	var wg sync.WaitGroup
	var ready atomic.Int32
	ends := make([]time.Time, r.cores)
	var began time.Time
	for c := range r.cores {
		wg.Go(func() {
			if ready.Add(1) == int32(r.cores) {
				began = time.Now()
				ready.Add(1)
			}
			for ready.Load() <= int32(r.cores) {
			}
			for range n {
				r.run()
			}
			ends[c] = time.Now()
		})
	}
	wg.Wait()
	return float64(slices.MaxFunc(ends, time.Time.Compare).Sub(began).Nanoseconds()) / float64(n*r.cores)
}

// measure takes several passes, until every goal is met. All rows take part in each and keep their fastest slice of all, so that more passes only take noise away, from goals and bases alike.
func (g *group) measure(rounds int) {
	if len(g.rows) == 0 {
		return
	}
	g.prepare()
	for range cmp.Or(g.passes, 5) {
		g.pass(rounds)
		if g.short() == 0 {
			return
		}
	}
}

func (g *group) prepare() {
	for _, r := range g.rows {
		r.run()
		if r.cores < 2 {
			r.mem = testing.AllocsPerRun(20, r.run)
		}
		r.n = 1
		for r.slice(r.n)*float64(r.n) < float64(turn.Nanoseconds()) {
			r.n *= 2
		}
		r.ns = math.Inf(1)
	}
}

func (g *group) pass(rounds int) {
	for range rounds {
		runtime.GC() // not in somebody's slice
		for _, r := range g.rows {
			if r.cores == 0 {
				r.ns = min(r.ns, r.slice(r.n))
				continue
			}
			for range 10 { // because all cores must be free at once
				r.ns = min(r.ns, r.slice(r.n/10+1))
			}
		}
	}
	for _, r := range g.rows {
		r.time = r.ns
		if r.minus != "" {
			r.time -= g.row(r.minus).ns
		}
		r.time /= float64(max(r.per, 1))
	}
}

func (g *group) row(name string) *row {
	for _, r := range g.rows {
		if r.name == name {
			return r
		}
	}
	panic("bench: no row " + name)
}

// verdict compares a row with its goal, if it has one.
func (g *group) verdict(r *row) (text string, missed bool) {
	base := g.rows[0]
	switch {
	case r.ratio > 0:
		text, missed = fmt.Sprintf("<= %.4g x", r.ratio), r.time > r.ratio*base.time
	case r.nanos > 0:
		text, missed = fmt.Sprintf("<= %.0f ns", r.nanos), r.time > r.nanos
	case r.scale != "":
		ours, floor := g.row(r.scale).ns/r.ns, g.row("floor").ns/g.row("floor, two cores").ns
		text, missed = fmt.Sprintf("%.2f x of one core, floor %.2f x", ours, floor), ours < 0.9*min(floor, float64(r.cores))
	default:
		return "", false
	}
	if r.allocs >= 0 && r.cores < 2 {
		most := r.allocs + int(base.mem)
		text += fmt.Sprintf(", <= %d allocs", most)
		missed = missed || r.mem > float64(most)
	}
	return text, missed
}

// short counts the goals that are missed.
func (g *group) short() (n int) {
	for _, r := range g.rows {
		if _, missed := g.verdict(r); missed {
			n++
		}
	}
	for _, f := range g.facts {
		if f.missed {
			n++
		}
	}
	return n
}

// mark says whether a goal is met.
func mark(goal string, missed bool) string {
	switch {
	case missed:
		return goal + ": SHORT"
	case goal != "":
		return goal + ": met"
	}
	return ""
}

// print writes the table.
func (g *group) print() {
	if len(g.facts) > 0 {
		fmt.Printf("\n%s\n\n| %-44s | %10s | %-44s |\n|---|---:|---|\n", g.title, "fact", "", "goal")
		for _, f := range g.facts {
			fmt.Printf("| %-44s | %10s | %-44s |\n", f.name, f.value, mark(f.goal, f.missed))
		}
		return
	}
	fmt.Printf("\n%s\n\n| %-44s | %10s | %8s | %6s | %-44s |\n|---|---:|---:|---:|---|\n", g.title, "row", "ns", "ratio", "allocs", "goal")
	for _, r := range g.rows {
		allocs := fmt.Sprintf("%.0f", r.mem)
		if r.cores > 1 {
			allocs = ""
		}
		verdict, missed := g.verdict(r)
		fmt.Printf("| %-44s | %10.1f | %8.2f | %6s | %-44s |\n", r.name, r.time, r.time/g.rows[0].time, allocs, mark(verdict, missed))
	}
}
