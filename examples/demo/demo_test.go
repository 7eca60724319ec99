package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil/internal/redistest"
)

// The demo starts itself in other roles; in a test that is the test binary. It gets a directory for temporary files of its own, in which
// nothing may be left.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && roles[os.Args[1]] != nil {
		main()
	}
	dir, err := os.MkdirTemp("", "demo-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, name := range []string{"TMPDIR", "TMP", "TEMP"} {
		os.Setenv(name, dir)
	}
	redis.SetLogger(silent{})
	code := m.Run()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		fmt.Fprintln(os.Stderr, "left behind in the temporary directory:", left, err)
		code = 1
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// checkDemo runs the whole demo.
func checkDemo(t *testing.T, redisURL string) {
	var out, errs bytes.Buffer
	if code := run(nil, redisURL, nil, &out, &errs); code != 0 || errs.Len() > 0 {
		t.Fatalf("exit code %d, standard error:\n%s\nstandard output:\n%s", code, errs.String(), out.String())
	}
	lines := strings.Split(strings.TrimRight(out.String(), "\n"), "\n")
	if last := regexp.MustCompile(`^edge refused the token \d+(\.\d)? ms after logout; nothing lost, nothing back$`); !last.MatchString(lines[len(lines)-1]) {
		t.Errorf("last line: %s", lines[len(lines)-1])
	}
	steps := 0
	for _, line := range lines {
		if strings.HasPrefix(line, "    ok  ") {
			steps++
		}
	}
	if want := len((&driver{}).story()); steps != want {
		t.Errorf("%d steps held, want %d:\n%s", steps, want, out.String())
	}
	for _, want := range []string{
		"You have visited this page 1 time.", "You have visited this page 3 times.", "You have visited this page 4 times.", "from 4 to 54, exactly +50",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output does not say %q:\n%s", want, out.String())
		}
	}
}

func TestDemo(t *testing.T) {
	t.Parallel()
	checkDemo(t, "")
}

// With a password, and with TLS where the environment can say which certificate to trust.
func TestDemoWithRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{Password: "p:/@ss", TLS: runtime.GOOS == "linux"})
	os.Setenv("SSL_CERT_FILE", server.Certificate()) // for this process, which reads it once, and for those that it starts
	checkDemo(t, server.URL())
	opt, err := redis.ParseURL(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(opt)
	defer client.Close()
	if keys, err := client.Keys(t.Context(), "*").Result(); err != nil || len(keys) > 0 {
		t.Errorf("keys left behind: %v, %v", keys, err)
	}
}

func TestNotFit(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := ln.Addr().String()
	ln.Close()
	for _, c := range []struct {
		name, url string
		args      []string
		says      string
	}{
		{"unknown flag", "", []string{"-fast"}, "-fast"},
		{"unknown role", "", []string{"gateway"}, "gateway"},
		{"two arguments", "", []string{"app", "edge"}, "app"},
		{"other scheme", "http://:hunter2@127.0.0.1", nil, "REDIS_URL"},
		{"no URL", "hunter2", nil, "REDIS_URL"},
		{"bad escape", "redis://:hunter2%zz@127.0.0.1", nil, "REDIS_URL"},
		{"unescaped slash in the password", "redis://:12/hunter2@127.0.0.1", nil, "REDIS_URL"},
		{"unescaped colon in the password", "redis://:hunter2:hunter2@127.0.0.1", nil, "REDIS_URL"},
		{"socket", "unix:///hunter2", nil, "REDIS_URL"},
		{"nobody there", "redis://:hunter2@" + closed, nil, closed},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			code := run(c.args, c.url, nil, &out, &errs)
			said := errs.String()
			if code != 2 || strings.Count(said, "\n") != 1 || !strings.Contains(said, c.says) || strings.Contains(said+out.String(), "hunter2") {
				t.Errorf("exit code %d, said:\n%s%s", code, said, out.String())
			}
		})
	}
}

func TestHelp(t *testing.T) {
	var out bytes.Buffer
	if code := run([]string{"-h"}, "", nil, &out, nil); code != 0 || !strings.Contains(out.String(), "REDIS_URL") {
		t.Errorf("exit code %d:\n%s", code, out.String())
	}
}

func TestTell(t *testing.T) {
	holds := func(context.Context) (string, error) { return "as it should", nil }
	does := func(context.Context) (string, error) { return "", unexpected("this", "%s", "that") }
	var out bytes.Buffer
	if err := tell(t.Context(), &out, []step{{"one", holds}, {"two", does}, {"three", holds}}); err == nil {
		t.Error("no error")
	}
	if want := "    ok  one        as it should\nFAILED  two        \n        expected: this\n        seen:     that\n"; out.String() != want {
		t.Errorf("got:\n%swant:\n%s", out.String(), want)
	}
}

// Steps that must not hold: a server that does what Counterfoil promises never to do.
func TestStepsThatDoNotHold(t *testing.T) {
	var visits atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, sentence(visits.Add(1)/2)) // every second visit is lost
	})
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "1", Path: "/", HttpOnly: true})
	})
	mux.HandleFunc("POST /logout", func(http.ResponseWriter, *http.Request) {}) // leaves the cookies where they are
	server := httptest.NewServer(mux)
	defer server.Close()
	addr := server.Listener.Addr().String()
	browser, err := newBrowser()
	if err != nil {
		t.Fatal(err)
	}
	d := &driver{browser: browser, app: &process{addr: addr}, edge: &process{addr: addr}, patience: time.Millisecond}
	ctx := t.Context()
	for _, c := range []struct {
		name string
		do   func(context.Context) (string, error)
		says string
	}{
		{"a cookie that travels in the clear", d.logIn, "out of the sight of scripts"},
		{"a visit that is not counted", d.visit, "this page 1 time."},
		{"visits at once that are not counted", d.visitAtOnce, "each of them once"},
		{"an edge that greets nobody", d.edgeAccepts, "hello ada"},
		{"a logout that leaves cookies", d.logOut, "no cookies left"},
		{"an edge that goes on accepting", d.edgeRefuses, "401 within 1ms"},
		{"old cookies that go on being good", d.comeBack, "401 for the old cookies"},
		{"a write that succeeds", d.endWrite, "200"},
	} {
		line, err := c.do(ctx)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: held: %q, error: %v", c.name, line, err)
		}
	}
}

// What a process has to say is told when it fails, and only then.
func TestProcessThatFails(t *testing.T) {
	p, err := start(t.Context(), "app", settings{KeyFile: "no-such-file"})
	if err == nil {
		p.stop()
		t.Fatal("an application without keys has started")
	}
	if !strings.Contains(err.Error(), "the app process did not start") || !strings.Contains(err.Error(), "no-such-file") {
		t.Error(err)
	}
}

// A process ends when its standard input does, which is what it sees when its parent dies.
func TestProcessEndsWithItsParent(t *testing.T) {
	p, err := start(t.Context(), "redis", settings{})
	if err != nil {
		t.Fatal(err)
	}
	p.stdin.Close()
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		t.Error("the process goes on")
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	if err := play(ctx, "", &out); !errors.Is(err, context.Canceled) || strings.Contains(out.String(), "FAILED") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func TestMillis(t *testing.T) {
	for d, want := range map[time.Duration]string{
		300 * time.Microsecond: "0.3", 9949 * time.Microsecond: "9.9", 9950 * time.Microsecond: "10", 12600 * time.Microsecond: "13", time.Second: "1000",
	} {
		if got := millis(d); got != want {
			t.Errorf("millis(%v) = %s, want %s", d, got, want)
		}
	}
}
