package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// event is one line of go test -json, as described by go doc test2json and, for builds, go help buildjson.
type event struct {
	Action      string
	Package     string
	Test        string  // empty: the event is the package's own
	Elapsed     float64 // seconds
	Output      string
	ImportPath  string // what a build-output line belongs to
	FailedBuild string // the ImportPath of the build for whose failure a package failed
}

// report counts tests and prints what is worth reading about them.
//
// A test with subtests is not counted, its subtests are; it counts as one failure if it fails though none of them did. A test that
// was running when its package failed has failed. A package that fails without a failing test (it does not build, its
// TestMain exits) counts as one failure.
type report struct {
	out                     io.Writer
	module                  string
	passed, failed, skipped int
	tested                  int // packages
	running                 map[string]*pkg
	builds                  map[string]string // output of builds by ImportPath, emptied once printed
	reasons                 map[string]int    // how many tests were skipped for which reason
}

func newReport(out io.Writer, module string) *report {
	return &report{out: out, module: module, running: map[string]*pkg{}, builds: map[string]string{}, reasons: map[string]int{}}
}

// pkg is a package whose tests are running.
type pkg struct {
	tests                   map[string]*test // running
	started                 int              // tests, so far
	passed, failed, skipped int
	output                  []string // of the package itself
	failures                []string // what failing tests had to say
}

// test is a running test or subtest.
type test struct {
	name        string
	order       int // of start, within the package
	output      []string
	parent      bool // has subtests
	failedBelow bool // one of its subtests failed
}

// add takes in one line of go test -json. A line that is no event is printed as it is.
func (r *report) add(line []byte) {
	var e event
	if err := json.Unmarshal(line, &e); err != nil {
		r.out.Write(line)
		return
	}
	if e.Action == "build-output" {
		r.builds[e.ImportPath] += e.Output
		return
	}
	if e.Package == "" {
		return
	}
	p := r.running[e.Package]
	if p == nil {
		p = &pkg{tests: map[string]*test{}}
		r.running[e.Package] = p
	}
	if e.Test != "" {
		p.add(e, r.reasons)
		return
	}
	switch e.Action {
	case "output":
		if !isVerdict(e.Output) {
			p.output = append(p.output, e.Output)
		}
	case "pass", "fail", "skip":
		delete(r.running, e.Package)
		r.endPackage(p, e)
	}
}

// add takes in an event of one test.
func (p *pkg) add(e event, reasons map[string]int) {
	t := p.tests[e.Test]
	if t == nil {
		p.started++
		t = &test{name: e.Test, order: p.started}
		p.tests[e.Test] = t
		if above := p.above(e.Test); above != nil {
			above.parent = true
		}
	}
	switch e.Action {
	case "output":
		t.output = append(t.output, e.Output)
	case "pass", "fail", "skip":
		delete(p.tests, e.Test)
		p.endTest(t, e.Action, reasons)
	}
}

// above returns the running test that name is a subtest of, nil if there is none. A subtest's own name may hold slashes.
func (p *pkg) above(name string) *test {
	for {
		slash := strings.LastIndexByte(name, '/')
		if slash < 0 {
			return nil
		}
		name = name[:slash]
		if t := p.tests[name]; t != nil {
			return t
		}
	}
}

func (p *pkg) endTest(t *test, how string, reasons map[string]int) {
	switch {
	case how == "fail":
		if above := p.above(t.name); above != nil {
			above.failedBelow = true
		}
		if !t.failedBelow {
			p.failed++
		}
		p.failures = append(p.failures, t.failure()...)
	case t.parent:
	case how == "skip":
		p.skipped++
		reasons[skipReason(t.output)]++
	default:
		p.passed++
	}
}

// failure returns all that a failed test printed, below the line that names it. For a test that failed only because a
// subtest did, and has nothing to add, it returns nothing.
func (t *test) failure() []string {
	head := "--- FAIL: " + t.name + " (did not end)\n"
	var said []string
	for _, line := range t.output {
		switch {
		case strings.HasPrefix(line, "--- FAIL: "):
			head = line
		case !isFrame(line):
			said = append(said, line)
		}
	}
	if t.failedBelow && len(said) == 0 {
		return nil
	}
	return append([]string{head}, said...)
}

// isFrame says whether a line only tells that a test starts, pauses or goes on.
func isFrame(line string) bool {
	for _, frame := range []string{"=== RUN ", "=== PAUSE ", "=== CONT ", "=== NAME "} {
		if strings.HasPrefix(line, frame) {
			return true
		}
	}
	return false
}

// isVerdict says whether a line only tells how a package ended, which this program says in its own words.
func isVerdict(line string) bool {
	return line == "PASS\n" || line == "FAIL\n" || strings.HasPrefix(line, "FAIL\t")
}

var logPrefix = regexp.MustCompile(`^ +[^ ]+\.go:\d+: `)

// skipReason returns the first line of what t.Skip was given: the last thing that a skipped test has logged.
func skipReason(output []string) string {
	for _, line := range slices.Backward(output) {
		if at := logPrefix.FindStringIndex(line); at != nil {
			return strings.TrimPrefix(strings.TrimSpace(line[at[1]:]), "not run: ")
		}
	}
	return "no reason given"
}

// endPackage prints a package's line and failures, and adds its tests to the counts.
func (r *report) endPackage(p *pkg, e event) {
	if e.Action == "fail" {
		// Subtests first: they started later, and the tests above them ended because of them.
		left := slices.SortedFunc(maps.Values(p.tests), func(a, b *test) int { return cmp.Compare(b.order, a.order) })
		for _, t := range left {
			p.endTest(t, "fail", r.reasons)
		}
		if p.failed == 0 {
			p.failed = 1
		}
	}
	r.passed += p.passed
	r.failed += p.failed
	r.skipped += p.skipped

	name := strings.TrimPrefix(strings.TrimPrefix(e.Package, r.module), "/")
	if name == "" {
		name = "."
	}
	counts := count(p.passed, p.failed, p.skipped)
	switch {
	case e.FailedBuild != "":
		r.line("FAIL", name, e.Elapsed, "does not build")
		fmt.Fprint(r.out, r.build(e.FailedBuild))
	case e.Action == "fail":
		r.line("FAIL", name, e.Elapsed, counts)
		for _, line := range append(p.failures, p.output...) {
			fmt.Fprint(r.out, line)
		}
	case p.passed+p.skipped == 0:
		fmt.Fprintf(r.out, "-     %-26s           no tests\n", name)
		return
	default:
		r.line("ok", name, e.Elapsed, counts)
	}
	r.tested++
}

func (r *report) line(status, name string, seconds float64, text string) {
	fmt.Fprintf(r.out, "%-4s  %-26s %6.1f s  %s\n", status, name, seconds, text)
}

// build returns what a failed build has said, once: many packages fail for the same one.
func (r *report) build(importPath string) string {
	output := r.builds[importPath]
	r.builds[importPath] = "for the reason above: " + importPath + "\n"
	return output
}

// close prints the reasons for skipping and, as the last line, the counts. Done says whether go test itself
// ended well; it cannot end badly without a failure. It returns whether the whole run was a success.
func (r *report) close(took time.Duration, done bool) bool {
	for _, name := range slices.Sorted(maps.Keys(r.running)) {
		r.endPackage(r.running[name], event{Package: name, Action: "fail"})
	}
	if !done && r.failed == 0 {
		r.failed++
		fmt.Fprintln(r.out, "FAIL  go test ended with an error")
	}
	for _, reason := range slices.Sorted(maps.Keys(r.reasons)) {
		tests := "tests"
		if r.reasons[reason] == 1 {
			tests = "test"
		}
		fmt.Fprintf(r.out, "not run: %s (%d %s)\n", reason, r.reasons[reason], tests)
	}
	if r.passed+r.failed == 0 {
		fmt.Fprintln(r.out, "FAIL  nothing ran")
	}
	fmt.Fprintf(r.out, "packages tested: %d, in %.0f s\n", r.tested, took.Seconds())
	fmt.Fprintf(r.out, "%d passed, %d failed, %d skipped\n", r.passed, r.failed, r.skipped)
	return r.failed == 0 && r.passed > 0
}

// count names those counts that are not zero.
func count(passed, failed, skipped int) string {
	var parts []string
	for _, c := range []struct {
		n    int
		what string
	}{{passed, "passed"}, {failed, "failed"}, {skipped, "skipped"}} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	return strings.Join(parts, ", ")
}
