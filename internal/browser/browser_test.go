package browser_test

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/require"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/gofiber/fiber/v2"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/fiberadapter"
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/internal/rig"
)

var screenshots = flag.String("screenshots", "", "directory to write pictures of the pages to; those of docs: -run=TestEndTheOtherDevice -screenshots=../../docs")

// chromium starts one browser for a test. Without one the test is skipped, unless COUNTERFOIL_REQUIRE names it.
func chromium(t *testing.T) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil && path == "" {
			path = p
		}
	}
	if path == "" {
		require.Missing(t, "browser", "no chromium on PATH")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	t.Cleanup(cancel)
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.Flag("lang", "en"))
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// tab is one tab. Whatever its console complains about fails the test.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	complain []string
	expect   string // what the console may complain about
}

// device opens a tab with cookies of its own.
func device(t *testing.T, browser context.Context) *tab {
	return open(t, browser, chromedp.WithNewBrowserContext())
}

func open(t *testing.T, parent context.Context, opts ...chromedp.ContextOption) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent, opts...)
	b := &tab{t: t, ctx: ctx}
	b.do(chromedp.EmulateViewport(1000, 800))
	listening := make(chan struct{})
	messages := chromedp.Console(ctx)
	go func() {
		defer close(listening)
		for m, err := range messages {
			if err != nil {
				return
			}
			// Chromium reports each 401 as an error, also the ones that pages ask for.
			if (m.Type == chromedp.ConsoleError || m.Type == chromedp.ConsoleException || m.Type == chromedp.ConsoleWarning) &&
				!strings.Contains(m.String(), "status of 401") {
				b.mu.Lock()
				if b.expect == "" || !strings.Contains(m.String(), b.expect) {
					b.complain = append(b.complain, m.String())
				}
				b.mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-listening
		for _, c := range b.complain {
			t.Errorf("the console says: %s", c)
		}
	})
	return b
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// call has the browser do for a tab what chromedp has no words for.
func call[P, R any](b *tab, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	answer, err := chromedp.Run(b.ctx, chromedp.Action[R](func(ctx context.Context, target *chromedp.Target) (R, error) {
		return cdp.Call(ctx, target, command, params)
	}))
	if err != nil {
		b.t.Fatal(err)
	}
	return answer
}

// mayComplain says what the console may complain about from now on.
func (b *tab) mayComplain(about string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expect = about
}

// until waits for an expression to become true, across navigations.
func (b *tab) until(what, expression string) time.Duration {
	b.t.Helper()
	begin := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(15 * time.Second); ; {
		if ok, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](expression)); err == nil && ok {
			return time.Since(begin)
		}
		select {
		case <-tick.C:
		case <-end:
			text, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.body.innerText"))
			b.t.Fatalf("after 15 s it is still not so that %s; the page says:\n%s", what, text)
		}
	}
}

func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// streams is true when the page of devices is told what happens from now on.
const streams = "listening.then(() => { window.listens = true }), window.listens === true"

func (b *tab) shows(text string) string {
	return fmt.Sprintf("document.body && document.body.innerText.includes(%q)", text)
}

// listen keeps what a screen reader is given to read out from now on.
func (b *tab) listen() {
	b.t.Helper()
	_ = eval[bool](b, `window.spoken = [], new MutationObserver((all) => {
		for (const m of all) for (const n of m.addedNodes) spoken.push(n.textContent);
	}).observe(document.querySelector('[aria-live]'), { childList: true }), true`)
}

func (b *tab) hears(text string) string {
	return fmt.Sprintf("spoken.some((s) => s.includes(%q))", text)
}

func (b *tab) signIn(at, as string) {
	b.t.Helper()
	b.do(chromedp.Navigate(at+"/login?as="+as), chromedp.Click(chromedp.CSS("button")))
	b.until("the page of devices is there", b.shows("Where you are signed in"))
	b.until("it is whole, so that nothing moves under a click", "document.readyState === 'complete'")
}

// still has the pages that come write one moment for every other, so that their pictures change only with them.
func (b *tab) still() {
	b.t.Helper()
	const clock = `Date.prototype.toLocaleString = () => "Mar 14, 2026, 9:26 AM"; Date.prototype.toLocaleTimeString = () => "9:26:53 AM"`
	call(b, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: clock})
}

func (b *tab) picture(name string) {
	b.t.Helper()
	if *screenshots == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*screenshots, name+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// click presses what a selector names. A page that changes by itself may replace it just then; so it is looked for again.
func (b *tab) click(selector string) {
	b.t.Helper()
	var err error
	for range 5 {
		if err = chromedp.Do(b.ctx, chromedp.Click(chromedp.CSS(selector))); err == nil {
			return
		}
	}
	b.t.Fatal(err)
}

const form = `<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Sign in</title><link rel="icon" href="data:,">` +
	`<form method="post"><button>Sign in</button></form>`

// onHTTP and onFiber serve the same application.
func onHTTP(t *testing.T, m *counterfoil.Manager, around ...func(http.Handler) http.Handler) string {
	stop := make(chan struct{})
	sessions, err := httpadapter.New(httpadapter.Config{Manager: m})
	if err != nil {
		t.Fatal(err)
	}
	endpoints, err := httpadapter.Endpoints(m, httpadapter.EndpointsConfig{Login: "/login", Stop: stop})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(form)) })
	mux.Handle("POST /login", sessions(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := httpadapter.Login(r, r.FormValue("as"), counterfoil.LoginOptions{Device: r.FormValue("device"), Address: r.FormValue("from")}); err != nil {
			httpadapter.Refuse(w, r, err)
			return
		}
		http.Redirect(w, r, httpadapter.PagePath, http.StatusSeeOther)
	})))
	mux.Handle("GET /me", sessions(httpadapter.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(httpadapter.Session(r).Subject()))
	}))))
	app := endpoints(mux)
	for _, wrap := range around {
		app = wrap(app)
	}
	srv := httptest.NewServer(app)
	t.Cleanup(func() { close(stop); srv.Close() })
	return srv.URL
}

func plainly(t *testing.T, m *counterfoil.Manager) string { return onHTTP(t, m) }

func onFiber(t *testing.T, m *counterfoil.Manager) string {
	stop := make(chan struct{})
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	app.Use(fiberadapter.Endpoints(m, httpadapter.EndpointsConfig{Login: "/login", Stop: stop}))
	app.Use(fiberadapter.New(fiberadapter.Config{Manager: m}))
	app.Get("/login", func(c *fiber.Ctx) error { return c.Type("html", "utf-8").SendString(form) })
	app.Post("/login", func(c *fiber.Ctx) error {
		if err := fiberadapter.Login(c, c.Query("as"), counterfoil.LoginOptions{Device: c.Query("device"), Address: c.Query("from")}); err != nil {
			return err
		}
		return c.Redirect(httpadapter.PagePath, http.StatusSeeOther)
	})
	app.Get("/me", fiberadapter.Require, func(c *fiber.Ctx) error { return c.SendString(fiberadapter.Session(c).Subject()) })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = app.Listener(ln) }()
	t.Cleanup(func() { close(stop); _ = app.ShutdownWithTimeout(2 * time.Second) })
	return "http://" + ln.Addr().String()
}

var adapters = map[string]func(*testing.T, *counterfoil.Manager) string{"http": plainly, "fiber": onFiber}

// TestEndTheOtherDevice: two devices see each other, one ends the other, and that one is thrown out within a second, without being asked to reload.
func TestEndTheOtherDevice(t *testing.T) {
	browser := chromium(t)
	for name, serve := range adapters {
		t.Run(name, func(t *testing.T) {
			r := rig.New(t, rig.Embedded)
			r.Fresh(t)
			at := serve(t, r.Manager)
			laptop, phone := device(t, browser), device(t, browser)
			laptop.still()
			phone.still()
			laptop.signIn(at, "alice&device=Firefox on Linux&from=203.0.113.7")
			laptop.until("the stream is there", streams)
			phone.narrow()
			phone.signIn(at, "alice&device=Safari on iPhone&from=2001:db8:1::7")
			took := laptop.until("the phone is listed", laptop.shows("Safari on iPhone"))
			t.Logf("the phone was listed after %v", took)
			laptop.until("that is told", laptop.shows("Safari on iPhone was signed in."))
			phone.until("the laptop is listed", phone.shows("Firefox on Linux"))
			phone.fits("the page of devices")
			if name == "http" {
				laptop.picture("devices")
				phone.picture("devices-phone")
				laptop.prefers("dark")
			}
			laptop.click("article[data-handle] button")
			if took := phone.until("the phone is signed out", phone.shows("You are not signed in")); took > time.Second {
				t.Errorf("the phone was thrown out after %v, want within a second", took)
			} else {
				t.Logf("the phone was thrown out after %v", took)
			}
			phone.until("it is told what has happened", phone.shows("signed out just now"))
			phone.fits("the page after it")
			laptop.until("the list is empty", laptop.shows("nowhere else"))
			laptop.until("who confirmed it is told", laptop.shows("Safari on iPhone: signed out; every server has known since"))
			if name == "http" {
				phone.picture("signed-out-phone")
			}
			tablet := device(t, browser)
			tablet.signIn(at, "alice&device=Chrome on Android&from=198.51.100.7")
			laptop.until("the tablet is listed", laptop.shows("Chrome on Android"))
			tablet.click("#this ~ article button")
			laptop.until("its end is told, and who confirmed it", laptop.shows("Chrome on Android: signed out; every server has known since"))
			if name == "http" {
				laptop.picture("devices-ended")
			}
		})
	}
}

// TestEndingIsToldWhereItWasDone ends a device by each of the page's buttons. Without leaving the page one sees it go, and that every verifier has confirmed it.
func TestEndingIsToldWhereItWasDone(t *testing.T) {
	browser := chromium(t)
	for name, serve := range adapters {
		for button, selector := range map[string]string{"that of the device": "article[data-handle] button", "that of all others": ".all button"} {
			t.Run(name+"/"+button, func(t *testing.T) {
				r := rig.New(t, rig.Embedded)
				r.Fresh(t)
				at := serve(t, r.Manager)
				laptop, phone := device(t, browser), device(t, browser)
				phone.signIn(at, "alice&device=Safari on iPhone")
				laptop.signIn(at, "alice&device=Firefox on Linux")
				laptop.until("the phone is listed", laptop.shows("Safari on iPhone"))
				_ = eval[bool](laptop, "window.stayed = true")
				laptop.listen()
				laptop.click(selector)
				laptop.until("the phone's end is told", laptop.hears("Safari on iPhone was signed out."))
				laptop.until("who confirmed it is told", laptop.shows("every server has known since"))
				laptop.until("that is told to those who do not see it", laptop.hears("Safari on iPhone: signed out; every server has known since"))
				laptop.until("the list is empty", laptop.shows("nowhere else"))
				if !eval[bool](laptop, "window.stayed === true && document.activeElement.id === 'others'") {
					t.Error("the page was left, or the focus was lost with the button")
				}
				phone.until("the phone is signed out", phone.shows("You are not signed in"))
			})
		}
	}
}

// TestEndingIsToldWithoutAStream: where the stream is refused, the page says what it has ended all the same.
func TestEndingIsToldWithoutAStream(t *testing.T) {
	browser := chromium(t)
	r := rig.New(t, rig.Embedded)
	r.Fresh(t)
	at := onHTTP(t, r.Manager, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == httpadapter.EventsPath {
				httpadapter.Refuse(w, r, counterfoil.ErrUnavailable)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	if _, err := r.Login(t.Context(), nil, "alice", counterfoil.LoginOptions{Device: "Safari on iPhone"}); err != nil {
		t.Fatal(err)
	}
	laptop := device(t, browser)
	laptop.mayComplain("status of 503")
	laptop.signIn(at, "alice")
	laptop.click("article[data-handle] button")
	laptop.until("the end is told", laptop.shows("Safari on iPhone: signed out"))
	laptop.until("the list is empty", laptop.shows("nowhere else"))
	// What a stream would tell after 40 s.
	laptop.listen()
	_ = eval[bool](laptop, "hear.unconfirmed({handle: past.querySelector('li').dataset.handle, verifiers: 3, missing: 1}), true")
	const text = "Safari on iPhone: signed out; 1 of 3 servers has not confirmed it yet"
	laptop.until("it is said who is missing", laptop.shows(text)+" && "+laptop.hears(text))
}

// TestEndingThatIsNotDurable: a page that stays says what one that is left would have said.
func TestEndingThatIsNotDurable(t *testing.T) {
	browser := chromium(t)
	r := rig.New(t, rig.Embedded)
	r.Fresh(t)
	at := onHTTP(t, r.Manager)
	if _, err := r.Login(t.Context(), nil, "alice", counterfoil.LoginOptions{Device: "Safari on iPhone"}); err != nil {
		t.Fatal(err)
	}
	laptop := device(t, browser)
	laptop.signIn(at, "alice")
	r.Faults.On(rig.NotDurable("End"))
	defer r.Faults.On(nil)
	laptop.listen()
	laptop.click("article[data-handle] button")
	laptop.until("it is said that this is not yet certain", laptop.shows("not yet certain"))
	laptop.until("it is said to those who do not see it", laptop.hears("not yet certain"))
	laptop.until("the list is empty", laptop.shows("nowhere else"))
}

// TestSomebodyElse: in another tab somebody else signs in, and no stream tells this one. It neither shows that one's devices under the old name nor says that
// it has signed out what it has not.
func TestSomebodyElse(t *testing.T) {
	browser := chromium(t)
	r := rig.New(t, rig.Embedded)
	r.Fresh(t)
	at := onHTTP(t, r.Manager, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == httpadapter.EventsPath {
				<-r.Context().Done() // a stream that were refused would have the page look again
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	for who, device := range map[string]string{"alice": "Safari on iPhone", "bob": "Chrome on Android"} {
		if _, err := r.Login(t.Context(), nil, who, counterfoil.LoginOptions{Device: device}); err != nil {
			t.Fatal(err)
		}
	}
	laptop := device(t, browser)
	laptop.signIn(at, "alice")
	other := open(t, laptop.ctx)
	other.signIn(at, "bob")
	other.until("it is bob's", other.shows("Signed in as bob"))
	laptop.until("it is alice's still", laptop.shows("Signed in as alice"))
	// What is said outlives the page.
	_ = eval[bool](laptop, `new MutationObserver(() => sessionStorage.setItem("said", news.textContent)).observe(news, { childList: true }), true`)
	laptop.click("article[data-handle] button")
	laptop.until("it is bob's", laptop.shows("Signed in as bob")+" && "+laptop.shows("Chrome on Android"))
	if said := eval[string](laptop, `sessionStorage.getItem("said") || ""`); said != "" {
		t.Errorf("of a device that goes on it was said: %s", said)
	}
	if list, err := r.Sessions(t.Context(), "alice"); err != nil || len(list) != 1 {
		t.Errorf("alice has %d sessions, want that of the phone: %v", len(list), err)
	}
}

// TestLongList ends a device far down the page, and then all: the page stays where it is, what comes of it is in view, and the list is not read once for each.
func TestLongList(t *testing.T) {
	browser := chromium(t)
	r := rig.New(t, rig.Embedded)
	r.Fresh(t)
	const devices = 30
	for i := range devices {
		if _, err := r.Login(t.Context(), nil, "alice", counterfoil.LoginOptions{Device: fmt.Sprintf("Phone %d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	var read atomic.Int32
	at := onHTTP(t, r.Manager, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == httpadapter.PagePath {
				read.Add(1)
			}
			next.ServeHTTP(w, r)
		})
	})
	b := device(t, browser)
	b.signIn(at, "alice")
	_ = eval[bool](b, `window.after = document.querySelector("li:nth-child(22) h3").textContent,
		document.querySelector("li:nth-child(21)").scrollIntoView({ block: "center" }), window.was = scrollY,
		addEventListener("click", (e) => { window.first = e }, { once: true }), true`)
	b.click("li:nth-child(21) button")
	b.until("its end is told", b.shows("every server has known since"))
	b.until("the list is shorter", fmt.Sprintf("document.querySelectorAll('article[data-handle]').length === %d", devices-1))
	if moved := eval[float64](b, "Math.abs(scrollY - was)"); moved > 100 {
		t.Errorf("the page has moved by %v", moved)
	}
	if !eval[bool](b, "(({ top, bottom }) => top >= 0 && bottom <= innerHeight)(news.getBoundingClientRect())") {
		t.Error("what is said is out of view")
	}
	if got, want := eval[string](b, "document.activeElement.textContent"), eval[string](b, "after"); got != want {
		t.Errorf("the focus is on %q, want the device that is there now: %q", got, want)
	}
	const second = `(() => {
		const { clientX, clientY, screenX, screenY, timeStamp } = first;
		const e = new MouseEvent("click", { bubbles: true, cancelable: true, detail: 2, screenX, screenY });
		Object.defineProperty(e, "timeStamp", { value: timeStamp + 300 });
		return document.elementFromPoint(clientX, clientY).closest("button").dispatchEvent(e);
	})()`
	if eval[bool](b, second) {
		t.Error("a double click ends the next device as well")
	}
	read.Store(0)
	b.click(".all button")
	b.until("the list is empty", b.shows("nowhere else"))
	b.until("all ends are told", fmt.Sprintf("document.querySelectorAll('#past li').length === %d && [...document.querySelectorAll('#past li')].every((li) => li.textContent.includes('every server'))", devices))
	if n := read.Load(); n > 8 {
		t.Errorf("the list was read %d times", n)
	}
}

// TestSignOutHere: who signs out is not told that somebody else has done it, however late the answer is.
func TestSignOutHere(t *testing.T) {
	browser := chromium(t)
	r := rig.New(t, rig.Embedded)
	r.Fresh(t)
	streamed := make(chan struct{})
	var once sync.Once
	at := onHTTP(t, r.Manager, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case httpadapter.EventsPath:
				next.ServeHTTP(w, r)
				once.Do(func() { close(streamed) })
			case httpadapter.LogoutPath:
				answer := httptest.NewRecorder()
				next.ServeHTTP(answer, r)
				<-streamed // the stream has told the page
				for name, values := range answer.Header() {
					w.Header()[name] = values
				}
				w.WriteHeader(answer.Code)
			default:
				next.ServeHTTP(w, r)
			}
		})
	})
	b := device(t, browser)
	b.signIn(at, "alice")
	b.until("the stream is there", streams)
	b.click("#this ~ article button")
	b.until("it is signed out", b.shows("You are not signed in"))
	if eval[bool](b, b.shows("just now")) {
		t.Error("it is told that another device or tab has done it")
	}
}

// TestStreamIsOpenedAgain: a service that refuses the stream a few times, as one does that is full or has lost its store, finds the page listening afterwards.
func TestStreamIsOpenedAgain(t *testing.T) {
	browser := chromium(t)
	r := rig.New(t, rig.Embedded)
	r.Fresh(t)
	var asked atomic.Int32
	at := onHTTP(t, r.Manager, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == httpadapter.EventsPath && asked.Add(1) <= 2 {
				httpadapter.Refuse(w, r, counterfoil.ErrUnavailable)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	laptop := device(t, browser)
	laptop.mayComplain("status of 503")
	laptop.signIn(at, "alice")
	other := open(t, laptop.ctx) // another tab, which is told by the first
	other.do(chromedp.Navigate(at + httpadapter.PagePath))
	rig.Poll(t, "the stream is asked for", func() bool { return asked.Load() > 0 })
	if _, err := r.Login(t.Context(), nil, "alice", counterfoil.LoginOptions{Device: "Safari on iPhone"}); err != nil {
		t.Fatal(err)
	}
	laptop.until("the stream is there", laptop.shows("Safari on iPhone"))
	other.until("the other tab is told", other.shows("Safari on iPhone"))
	if n := asked.Load(); n != 3 {
		t.Errorf("the stream was asked for %d times, want 3", n)
	}
}

// TestConsoleIsHeard: the other tests say that no console complains, which is worth something only if a complaint is heard.
func TestConsoleIsHeard(t *testing.T) {
	browser := chromium(t)
	for what, page := range map[string]string{
		"a script that the page's policy forbids": `<link rel="icon" href="data:,"><script>document.title = "ran"</script>`,
		"a script that fails":                     `<link rel="icon" href="data:,"><script nonce="n">nobody.home()</script>`,
		"something that is not there":             `<link rel="icon" href="data:,"><script nonce="n" src="/missing.js"></script>`,
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/" {
				http.NotFound(w, r)
				return
			}
			w.Header().Set("Content-Security-Policy", "default-src 'none'; img-src data:; script-src 'nonce-n'")
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte("<!DOCTYPE html>" + page))
		}))
		t.Cleanup(srv.Close)
		b := device(t, browser)
		b.do(chromedp.Navigate(srv.URL))
		rig.Poll(t, "the console's complaint is heard: "+what, func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			heard := len(b.complain) > 0
			b.complain = nil
			return heard
		})
	}
}

// TestSixTabs has six tabs of one browser ask and refresh at once while access tokens live a second. None is ever logged out.
func TestSixTabs(t *testing.T) {
	browser := chromium(t)
	for name, serve := range adapters {
		t.Run(name, func(t *testing.T) {
			r := rig.New(t, rig.Embedded, func(c *counterfoil.Config) { c.AccessLife, c.Leeway = time.Second, time.Millisecond })
			r.Fresh(t)
			at := serve(t, r.Manager)
			first := device(t, browser)
			first.signIn(at, "alice")
			tabs := []*tab{first}
			for range 5 {
				b := open(t, first.ctx)
				b.do(chromedp.Navigate(at + httpadapter.PagePath))
				tabs = append(tabs, b)
			}
			for _, b := range tabs {
				b.mayComplain("status of 409") // another tab has just renewed
			}
			const work = `(async () => {
		const seen = {};
		for (let i = 0; i < 40; i++) {
			const [me, renewed] = await Promise.all([fetch('/me'), i % 4 === 0 ? fetch('/session/refresh', {method: 'POST'}) : null]);
			seen['me ' + me.status] = (seen['me ' + me.status] || 0) + 1;
			if (renewed) seen['refresh ' + renewed.status] = (seen['refresh ' + renewed.status] || 0) + 1;
			await new Promise((done) => setTimeout(done, 50));
		}
		return seen;
	})()`
			var wait sync.WaitGroup
			results := make([]map[string]int, len(tabs))
			for i, b := range tabs {
				wait.Go(func() {
					results[i], _ = chromedp.Run(b.ctx, chromedp.Evaluate[map[string]int](work, chromedp.EvalAwaitPromise))
				})
			}
			wait.Wait()
			renewed := 0
			for i, got := range results {
				renewed += got["refresh 204"]
				if got["me 200"] != 40 || got["refresh 204"]+got["refresh 409"] != 10 || len(got) > 3 {
					t.Errorf("tab %d: %v, want 200 for each page, and 204, or 409 beside another tab, for each refresh", i, got)
				}
			}
			if renewed == 0 {
				t.Error("no tab has renewed anything")
			}
			t.Logf("tab 0: %v", results[0])
		})
	}
}

func TestWithoutScripts(t *testing.T) {
	browser := chromium(t)
	for name, serve := range adapters {
		t.Run(name, func(t *testing.T) {
			r := rig.New(t, rig.Embedded)
			r.Fresh(t)
			at := serve(t, r.Manager)
			other, err := r.Login(t.Context(), nil, "alice", counterfoil.LoginOptions{Device: `<b onclick="alert(1)">`})
			if err != nil {
				t.Fatal(err)
			}
			b := device(t, browser)
			call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
			b.signIn(at, "alice")
			b.until("the label is text", b.shows(`<b onclick="alert(1)">`))
			b.click("article[data-handle] button")
			b.until("the other one is gone", b.shows("nowhere else"))
			rig.Poll(t, "it has ended", func() bool {
				list, err := r.Sessions(t.Context(), "alice")
				return err == nil && len(list) == 1 && list[0].Session != other.ID()
			})
		})
	}
}
