package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the reports of testdata anew")

// The recordings are the output of go test -json (Go 1.26) for small packages made for it, without times and with
// shortened stacks. Beside each lies the report that it has to lead to.
func TestReport(t *testing.T) {
	tests := []struct {
		name string
		shows,
		last string
		ok bool
	}{
		{"passes", "subtests, a fuzz target's seeds and examples each count; reasons for skipping are grouped",
			"5 passed, 0 failed, 4 skipped", true},
		{"fails", "all that failing tests printed, nothing of passing ones; a test fails once, with its subtest or by itself",
			"3 passed, 4 failed, 1 skipped", false},
		{"builds", "each package that does not build is one failure, what the compiler said is there once",
			"0 passed, 5 failed, 0 skipped", false},
		{"ends", "panic, exit, a failing TestMain, and a timeout with two tests under way",
			"4 passed, 5 failed, 0 skipped", false},
		{"cut", "a run that was killed is a failure; a line that is no event is shown",
			"3 passed, 1 failed, 1 skipped", false},
		{"nothing", "a run of no test is no success",
			"0 passed, 0 failed, 0 skipped", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			recorded, err := os.Open(filepath.Join("testdata", tt.name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			defer recorded.Close()
			var out bytes.Buffer
			r := newReport(&out, "example.com/toy")
			r.read(recorded)
			if ok := r.close(2*time.Second, tt.ok || tt.name == "nothing"); ok != tt.ok {
				t.Errorf("success is %v, want %v: %s", ok, tt.ok, tt.shows)
			}

			lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
			if last := lines[len(lines)-1]; last != tt.last {
				t.Errorf("last line %q, want %q: %s", last, tt.last, tt.shows)
			}
			golden := filepath.Join("testdata", tt.name+".txt")
			if *update {
				if err := os.WriteFile(golden, out.Bytes(), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if out.String() != string(want) {
				t.Errorf("%s\ngot:\n%s\nwant:\n%s", tt.shows, out.String(), want)
			}
		})
	}
}

// An error of the go command that no event tells of must not end in success.
func TestErrorOfTheGoCommand(t *testing.T) {
	var out bytes.Buffer
	r := newReport(&out, "")
	r.passed = 3
	if r.close(0, false) {
		t.Error("go test failed, the run counts as a success")
	}
	if !strings.HasSuffix(out.String(), "\n3 passed, 1 failed, 0 skipped\n") {
		t.Errorf("got %q", out.String())
	}
}

func TestGoTestArgs(t *testing.T) {
	const module = "example.com/toy"
	tests := []struct{ args, want string }{
		{"", "-count=1 -timeout=4m ./..."},
		{"-race", "-count=1 -timeout=4m ./... -race"},
		{"-run TestX", "-count=1 -timeout=4m ./... -run TestX"},
		{"./good -run=TestX/sub", "-count=1 -timeout=4m ./good -run=TestX/sub"},
		{"-v example.com/toy/good", "-count=1 -timeout=4m -v example.com/toy/good"},
		{"-timeout=9m .", "-count=1 -timeout=9m ."},
		{"--timeout 9m -count 3", "./... --timeout 9m -count 3"},
	}
	for _, tt := range tests {
		got := goTestArgs(strings.Fields(tt.args), module)
		want := append([]string{"test", "-json", "-buildvcs=false"}, strings.Fields(tt.want)...)
		if !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", tt.args, got, want)
		}
	}
}

func TestRedisLine(t *testing.T) {
	there := func(string) (string, error) { return "/opt/redis-server", nil }
	notThere := func(string) (string, error) { return "", errors.New("not found") }
	tests := []struct {
		name     string
		require  string
		lookPath func(string) (string, error)
		says     string
		missing  bool
	}{
		{"there", "", there, "/opt/redis-server", false},
		{"there and required", "redis", there, "/opt/redis-server", false},
		{"not there", "", notThere, "are not run", false},
		{"not there and required", "redis", notThere, "FAIL", true},
		{"not there, one of two required", "node,redis", notThere, "FAIL", true},
		{"not there, another one required", "node", notThere, "are not run", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			line, missing := redisLine(tt.require, tt.lookPath)
			if missing != tt.missing || !strings.Contains(line, tt.says) || strings.Contains(line, "\n") {
				t.Errorf("got %q, missing %v; want one line with %q, missing %v", line, missing, tt.says, tt.missing)
			}
		})
	}
}

func Example() {
	r := newReport(os.Stdout, "example.com/toy")
	r.read(strings.NewReader(`
		{"Action":"run","Package":"example.com/toy/clock","Test":"TestTick"}
		{"Action":"pass","Package":"example.com/toy/clock","Test":"TestTick"}
		{"Action":"pass","Package":"example.com/toy/clock","Elapsed":0.2}`[1:]))
	r.close(time.Second, true)
	// Output:
	// ok    clock                         0.2 s  1 passed
	// packages tested: 1, in 1 s
	// 1 passed, 0 failed, 0 skipped
}
