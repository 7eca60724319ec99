// Package exampletest runs the programs of examples in their own tests and asks them as browsers do: [Start] runs one until the test ends,
// [NewBrowser] makes a client with a cookie jar, [Stops] interrupts one, and [SlowAndLarge] tries its patience. A program's run function says its address in the first line that it writes.
package exampletest

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"
)

// Start runs a program on a port of its own and returns its URL. When the test ends the program is stopped, and its error fails the test.
func Start(t testing.TB, run func(ctx context.Context, addr string, out io.Writer) error) string {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	said, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, "127.0.0.1:0", out)
		out.CloseWithError(err) // whoever still waits for the first line is told why there is none
		ended <- err
	}()
	line, err := bufio.NewReader(said).ReadString('\n')
	if err != nil {
		stop()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	i := strings.Index(line, "http://")
	if i < 0 {
		t.Fatalf("the program says no address, but %q", line)
	}
	return strings.TrimSpace(line[i:])
}

// Stops interrupts a program while it starts, while a connection is open that nobody uses, as browsers have them, and while somebody who has logged in follows the
// events of their sessions. It fails the test if the program goes on, ends with an error, or cuts the stream of events off instead of ending it.
func Stops(t *testing.T, run func(ctx context.Context, addr string, out io.Writer) error) {
	for name, told := range map[string]func(t *testing.T, line string){
		"while it starts": func(*testing.T, string) {},
		"with a connection that nobody uses": func(t *testing.T, line string) {
			at := strings.Fields(line[strings.Index(line, "http://"):])[0]
			conn, err := net.Dial("tcp", strings.TrimPrefix(at, "http://"))
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { conn.Close() })
			NewBrowser(t, at).Get("/") // comes after it, so that both have been accepted
		},
		"with a stream of events": func(t *testing.T, line string) {
			at := strings.Fields(line[strings.Index(line, "http://"):])[0]
			b := NewBrowser(t, at)
			b.Post("/login", url.Values{"name": {"alice"}, "return": {"/"}})
			res, err := b.Client.Get(at + "/session/events")
			if err != nil || res.StatusCode != http.StatusOK {
				t.Errorf("no stream: %v %v", res, err)
				return
			}
			t.Cleanup(func() {
				if _, err := io.Copy(io.Discard, res.Body); err != nil {
					t.Errorf("the stream is cut off: %v", err)
				}
				res.Body.Close()
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			said := make(chan string, 8)
			ended := make(chan error, 1)
			go func() {
				ended <- run(ctx, "127.0.0.1:0", writer(func(line string) {
					said <- line
					if name == "while it starts" {
						interrupt()
					}
				}))
			}()
			select {
			case line := <-said:
				told(t, line)
			case err := <-ended:
				t.Fatal(err)
			}
			interrupt()
			select {
			case err := <-ended:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(20 * time.Second):
				t.Error("it goes on")
			}
		})
	}
}

// SlowAndLarge asks a program that waits for no request longer than five seconds. It fails the test if one that does not come to its end is waited for, if one that is
// too large is answered with something else than tooLarge, or if a stream of events does not outlive them.
func SlowAndLarge(t *testing.T, at string, tooLarge int) {
	t.Helper()
	laptop, phone := NewBrowser(t, at), NewBrowser(t, at)
	login := url.Values{"name": {"alice"}, "return": {"/"}}
	laptop.Post("/login", login)
	stream, err := laptop.Client.Get(at + "/session/events")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	for _, begun := range []string{
		"GET / HTTP/1.1\r\nHost: localhost\r\n",
		"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\nna",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(at, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.WriteString(conn, begun); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(conn); err != nil {
			t.Errorf("%q is waited for: %v", begun, err)
		}
		conn.Close()
	}
	if status, _ := phone.Post("/login", url.Values{"name": {strings.Repeat("a", 16<<10)}, "return": {"/"}}); status != tooLarge {
		t.Errorf("a name of 16 KiB: %d, want %d", status, tooLarge)
	}
	phone.Post("/login", login)
	lines := bufio.NewScanner(stream.Body)
	for lines.Scan() && lines.Text() != "event: began" {
	}
	if lines.Text() != "event: began" {
		t.Errorf("the event stream has ended by then: %v", lines.Err())
	}
}

type writer func(string)

func (w writer) Write(b []byte) (int, error) { w(string(b)); return len(b), nil }

// Browser is a client with cookies of its own.
type Browser struct {
	*http.Client
	t  testing.TB
	at string
}

// NewBrowser makes a Browser that asks the program at that URL. Its connections are closed when the test ends.
func NewBrowser(t testing.TB, at string) *Browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Jar: jar, Transport: &http.Transport{}, Timeout: 10 * time.Second}
	t.Cleanup(c.CloseIdleConnections)
	return &Browser{c, t, at}
}

// Get asks for a page.
func (b *Browser) Get(path string) (status int, body string) {
	b.t.Helper()
	return b.ask("GET", path, nil)
}

// Post sends a form, which may be empty.
func (b *Browser) Post(path string, form url.Values) (status int, body string) {
	b.t.Helper()
	return b.ask("POST", path, form)
}

// ask may be called by goroutines of the test, so it does not end it.
func (b *Browser) ask(method, path string, form url.Values) (int, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.at+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Error(err)
		return 0, ""
	}
	if method == "POST" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	res, err := b.Do(req)
	if err != nil {
		b.t.Error(err)
		return 0, ""
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Error(err)
	}
	return res.StatusCode, string(body)
}
