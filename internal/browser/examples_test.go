package browser_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/counterfoil/counterfoil/httpadapter"
)

// example builds a program of examples as its reader would and runs it until the test ends. It returns its URL.
func example(t *testing.T, name string, args ...string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), name)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", bin, ".")
	build.Dir = filepath.Join("..", "..", "examples", name)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(bin, append([]string{"-addr", "127.0.0.1:0"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // as service managers do
		time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s ends with %v", name, err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	return strings.TrimSpace(line[strings.Index(line, "http://"):])
}

// fill writes into the input of that name and sends its form.
func (b *tab) fill(name, text string) {
	b.t.Helper()
	b.do(chromedp.SetValue(chromedp.CSS("input[name="+name+"]"), text), chromedp.Click(chromedp.CSS("form:has(input[name="+name+"]) button")))
}

// TestExamplesOnAPhone opens the pages of the examples as wide as a phone is and as wide as a screen, and signs in and out again, under a long name without
// a space.
func TestExamplesOnAPhone(t *testing.T) {
	type click struct{ on, shows string }
	name := strings.Repeat("W", 64)
	for _, tt := range []struct {
		example, path, nobody, somebody string
		then                            []click
	}{
		{"visits", "/", "Not logged in", "Logged in as " + name, []click{{"form[action='/logout'] button", "Not logged in"}}},
		{"devices", "/login", "Your name", "Where you are signed in", []click{{".back a", "Welcome"}, {"form button", "Your name"}}},
		{"nethttp", "/", "You have visited this page 1 time", "You are " + name, []click{{"form button", "Your name"}}},
		{"spa", "/", "You are signed out.", "You are " + name, []click{{"#logout", "You are signed out."}}},
	} {
		t.Run(tt.example, func(t *testing.T) {
			at := example(t, tt.example)
			browser := chromium(t)
			for _, narrow := range []bool{true, false} {
				b := device(t, browser)
				if narrow {
					b.narrow()
				}
				b.do(chromedp.Navigate(at + tt.path))
				b.until("it knows nobody", b.shows(tt.nobody))
				b.fits(tt.example + ", signed out")
				b.fill("name", name)
				b.until("it knows the name", b.shows(tt.somebody))
				b.fits(tt.example + ", signed in")
				for _, c := range tt.then {
					b.click(c.on)
					b.until("the next page is there", b.shows(c.shows))
					b.fits(tt.example + ", " + c.shows)
				}
			}
		})
	}
}

// TestBackAfterLogout: after a logout the back button does not show the page of whoever was signed in, which Chromium has kept, no-store or not.
func TestBackAfterLogout(t *testing.T) {
	browser := chromium(t)
	for _, tt := range []struct{ example, somebody, nobody string }{
		{"devices", "Welcome", "Your name"},
		{"nethttp", "You are alice", "Your name"},
		{"visits", "Logged in as alice", "Not logged in"},
	} {
		t.Run(tt.example, func(t *testing.T) {
			at := example(t, tt.example)
			b := device(t, browser)
			b.do(chromedp.Navigate(at))
			b.fill("name", "alice")
			b.until("it is signed in", b.shows("alice"))
			b.follow(at + "/")
			b.until("the page of somebody is there", b.shows(tt.somebody))
			b.follow(at + httpadapter.PagePath)
			b.until("the page of devices is there", "document.querySelector('#this') !== null")
			b.click("#this ~ article button")
			b.until("it is signed out", b.shows("You are not signed in"))
			_ = eval[bool](b, "setTimeout(() => history.go(-2), 10), true") // the last one but that of devices
			b.until("the page is that of nobody", b.shows(tt.nobody))
		})
	}
}

// TestChat: a WebSocket closes within a second when its session is ended elsewhere, and the page says so without a reload.
func TestChat(t *testing.T) {
	browser := chromium(t)
	at := example(t, "chat")
	laptop, phone := device(t, browser), device(t, browser)
	phone.narrow()
	for _, b := range []*tab{laptop, phone} {
		b.do(chromedp.Navigate(at))
		b.until("it asks who is there", b.shows("Sign in to talk"))
		b.fits("the login of the chat")
		b.fill("name", "alice")
		b.until("it is in the chat", b.shows("You are in."))
	}
	phone.fill("text", "is anybody there?")
	laptop.until("the phone is heard", laptop.shows("alice: is anybody there?"))
	phone.fits("the chat")
	phone.picture("chat-phone")
	long := strings.Repeat("W", 500)
	laptop.fill("text", long)
	phone.until("a long word is heard", phone.shows("alice: "+long))
	phone.fits("the chat with a long word")
	list := open(t, laptop.ctx)
	list.do(chromedp.Navigate(at + "/session/devices"))
	list.until("the page of devices is there", list.shows("Where you are signed in"))
	list.click("article[data-handle] button")
	if took := phone.until("the chat is cut off", phone.shows("You were signed out.")); took > time.Second {
		t.Errorf("the chat was cut off after %v, want within a second", took)
	}
	laptop.fill("text", "still here")
	laptop.until("the other chat goes on", laptop.shows("alice: still here"))
}

// cable leads to a server and can be cut.
type cable struct {
	ln net.Listener
	to string

	mu   sync.Mutex
	cut  bool
	ends []net.Conn
}

func newCable(t *testing.T, to string) *cable {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{ln: ln, to: strings.TrimPrefix(to, "http://")}
	var passing sync.WaitGroup
	passing.Go(func() {
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", c.to)
			if err != nil || !c.hold(near, far) {
				near.Close()
				continue
			}
			for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
				passing.Go(func() {
					_, _ = io.Copy(way[0], way[1])
					way[0].Close()
				})
			}
		}
	})
	t.Cleanup(func() { ln.Close(); c.set(true); passing.Wait() })
	return c
}

func (c *cable) hold(near, far net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		far.Close()
		return false
	}
	c.ends = append(c.ends, near, far)
	return true
}

func (c *cable) set(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
	for _, end := range c.ends {
		end.Close()
	}
	c.ends = nil
}

// TestChatComesBack: a chat whose connection is lost goes on by itself when there is one again, and one whose session has ended in the meantime does not.
func TestChatComesBack(t *testing.T) {
	browser := chromium(t)
	at := example(t, "chat")
	line := newCable(t, at)
	laptop, phone := device(t, browser), device(t, browser)
	for b, at := range map[*tab]string{laptop: at, phone: "http://" + line.ln.Addr().String()} {
		b.do(chromedp.Navigate(at))
		b.until("it asks who is there", b.shows("Sign in to talk"))
		b.fill("name", "alice")
		b.until("it is in the chat", b.shows("You are in."))
	}
	phone.mayComplain("net::ERR_") // what Chromium says of each attempt
	line.set(true)
	phone.until("it notices and finds nobody", phone.shows("The service does not answer. Trying again."))
	line.set(false)
	phone.until("it is back", phone.shows("You are in."))
	phone.fill("text", "here I am again")
	laptop.until("the phone is heard", laptop.shows("alice: here I am again"))
	if heard := eval[int](phone, "document.querySelectorAll('#messages li').length"); heard > 1 {
		t.Errorf("the phone has heard %d messages", heard)
	}
	line.set(true)
	phone.until("it is cut off again", phone.shows("Trying again."))
	list := open(t, laptop.ctx)
	list.do(chromedp.Navigate(at + "/session/devices"))
	list.until("the page of devices is there", list.shows("Where you are signed in"))
	list.click("article[data-handle] button")
	laptop.until("the laptop stays", laptop.shows("You are in."))
	list.until("the phone's session has ended", "document.querySelectorAll('article[data-handle] button').length === 0")
	line.set(false)
	phone.until("it gives up", phone.shows("Sign in to talk."))
}

// TestSinglePageFindsNobody: a single page whose service cannot be reached says so, and goes on when it is there again.
func TestSinglePageFindsNobody(t *testing.T) {
	browser := chromium(t)
	line := newCable(t, example(t, "spa"))
	b := device(t, browser)
	b.mayComplain("net::ERR_") // what Chromium says of each attempt
	b.do(chromedp.Navigate("http://" + line.ln.Addr().String()))
	b.until("it asks who is there", b.shows("You are signed out."))
	b.fill("name", "alice")
	b.until("it is signed in", b.shows("You are alice"))
	for _, button := range []string{"#ask", "#logout"} {
		line.set(true)
		b.click(button)
		b.until("it finds nobody", b.shows("The service does not answer"))
		line.set(false)
		b.click("#ask")
		b.until("it goes on", b.shows("You are alice"))
	}
	// The token has expired, and the store that the refresh needs is gone: nobody is signed out by that.
	_ = eval[bool](b, `window.fetch = async (path) => new Response("", { status: path === "/session/refresh" ? 503 : 401 }), true`)
	b.click("#ask")
	b.until("it does not say more than it knows", b.shows("The service does not answer"))
}

// TestSinglePageIsRefused: where signing in or out is refused, the page says that it did not work, and goes on.
func TestSinglePageIsRefused(t *testing.T) {
	b := device(t, chromium(t))
	b.do(chromedp.Navigate(example(t, "spa")))
	b.until("it asks who is there", b.shows("You are signed out."))
	const refuse = `window.real ??= fetch, window.fetch = async (path, o) => path.includes("log") ? new Response("", { status: 503 }) : real(path, o), true`
	_ = eval[bool](b, refuse)
	b.fill("name", "alice")
	b.until("it says that nobody was signed in", b.shows("This did not work. Try again."))
	_ = eval[bool](b, "window.fetch = real, true")
	b.fill("name", "alice")
	b.until("it is signed in", b.shows("You are alice"))
	_ = eval[bool](b, refuse)
	b.click("#logout")
	b.until("it says that nobody was signed out", b.shows("This did not work. Try again."))
	_ = eval[bool](b, "window.fetch = real, true")
	b.click("#logout")
	b.until("it is signed out", b.shows("You are signed out."))
}

// TestSinglePage has six tabs of a single page ask beside each other while access tokens live a second. Each renews and none is logged out; a logout in one
// is one of all.
func TestSinglePage(t *testing.T) {
	browser := chromium(t)
	at := example(t, "spa", "-access", "1s")
	first := device(t, browser)
	first.do(chromedp.Navigate(at))
	first.until("it asks who is there", first.shows("You are signed out."))
	first.fill("name", "alice")
	first.until("it is signed in", first.shows("You are alice"))
	tabs := []*tab{first}
	for range 5 {
		b := open(t, first.ctx)
		b.do(chromedp.Navigate(at))
		b.until("the next tab is signed in too", b.shows("You are alice"))
		tabs = append(tabs, b)
	}
	const renewed = "Number(document.getElementById('renewed').value)"
	for _, b := range tabs {
		b.mu.Lock()
		b.expect = "status of 409" // another tab has just renewed
		b.mu.Unlock()
		// What the tab shows is looked at in each turn, so that a tab that was ever logged out is found.
		_ = eval[bool](b, `window.lost = 0, setInterval(() => { document.getElementById('ask').click(); if (document.getElementById('state').textContent.includes('signed out')) window.lost++ }, 100), true`)
	}
	total := 0
	first.until("all tabs together have renewed a dozen times", fmt.Sprintf("%s > 0", renewed))
	for end := time.Now().Add(20 * time.Second); total < 12 && time.Now().Before(end); {
		total = 0
		for _, b := range tabs {
			total += eval[int](b, renewed)
		}
	}
	if total < 12 {
		t.Errorf("the tabs have renewed %d times, want 12", total)
	}
	for i, b := range tabs {
		if lost := eval[int](b, "window.lost"); lost != 0 {
			t.Errorf("tab %d was logged out %d times", i, lost)
		}
	}
	first.narrow()
	first.fits("the single page")
	first.picture("spa-phone")
	first.click("#logout")
	for i, b := range tabs {
		b.until(fmt.Sprintf("tab %d is signed out", i), b.shows("You are signed out."))
	}
}

// follow goes where a link on the page would lead, and waits until it is there: what a browser keeps depends on who had the idea to leave.
func (b *tab) follow(url string) {
	b.t.Helper()
	_ = eval[bool](b, fmt.Sprintf("setTimeout(() => { location.href = %q }, 10), window.left = true", url))
	b.until("the page has been left", "window.left !== true")
}
