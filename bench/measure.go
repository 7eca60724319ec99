package main

import (
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

	minus  string  // another row of the group whose time is subtracted
	cores  int     // goroutines that run it at once; 0 = 1
	ratio  float64 // goal: at most this many times the base; 0 = none
	nanos  float64 // goal: at most this many nanoseconds; 0 = none
	allocs int     // goal: at most this many allocations more than the base's; negative = none
	scale  string  // goal: speed-up over that row by more cores, compared with that of the group's row "floor" by "floor, two cores"

	ns   float64
	mem  float64
	n    int // runs in a slice
	time float64
}

// A group is measured in one go. Ratios are to the first row.
type group struct {
	title string
	rows  []*row
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

func (g *group) measure(rounds int) {
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
	for range rounds {
		runtime.GC() // not in somebody's slice
		for _, r := range g.rows {
			if r.cores < 2 {
				r.ns = min(r.ns, r.slice(r.n))
				continue
			}
			for range 10 { // shorter ones, because all cores must be free at once
				r.ns = min(r.ns, r.slice(r.n/10+1))
			}
		}
	}
	for _, r := range g.rows {
		r.time = r.ns
		if r.minus != "" {
			r.time -= g.row(r.minus).ns
		}
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

// print writes the table and returns how many goals were missed.
func (g *group) print() (short int) {
	fmt.Printf("\n%s\n\n| %-44s | %10s | %8s | %6s | %-34s |\n|---|---:|---:|---:|---|\n", g.title, "row", "ns", "ratio", "allocs", "goal")
	for _, r := range g.rows {
		ratio := r.time / g.rows[0].time
		allocs, verdict, missed := fmt.Sprintf("%.0f", r.mem), "", false
		if r.cores > 1 {
			allocs = ""
		}
		if r.ratio > 0 {
			verdict, missed = fmt.Sprintf("<= %.4g x", r.ratio), ratio > r.ratio
		}
		if r.nanos > 0 {
			verdict, missed = fmt.Sprintf("<= %.0f ns", r.nanos), r.time > r.nanos
		}
		if r.scale != "" {
			ours, floor := g.row(r.scale).ns/r.ns, g.row("floor").ns/g.row("floor, two cores").ns
			verdict, missed = fmt.Sprintf("%.2f x of one core, floor %.2f x", ours, floor), ours < 0.95*floor
		}
		if verdict != "" {
			if r.allocs >= 0 && r.cores < 2 {
				most := r.allocs + int(g.rows[0].mem)
				verdict += fmt.Sprintf(", <= %d allocs", most)
				missed = missed || r.mem > float64(most)
			}
			if missed {
				verdict += ": SHORT"
				short++
			} else {
				verdict += ": met"
			}
		}
		fmt.Printf("| %-44s | %10.1f | %8.2f | %6s | %-34s |\n", r.name, r.time, ratio, allocs, verdict)
	}
	return short
}
