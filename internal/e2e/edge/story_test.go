package main_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/require"

	"github.com/counterfoil/counterfoil/revocation"
)

// maxStale is what the edges of these tests are told, so that they need not wait for ten seconds to see a list grow old.
const maxStale = 3 * time.Second

const cookie = "__Host-Http-session"

// TestMain builds the application once: examples/worker.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "story")
	if err == nil {
		origin = filepath.Join(dir, "origin")
		cmd := exec.Command("go", "build", "-buildvcs=false", "-o", origin, "./examples/worker")
		cmd.Dir = root
		cmd.Stderr = os.Stderr
		err = cmd.Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "the application is not built:", err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

var (
	origin string // the program
	root   = filepath.Join("..", "..", "..")
)

// missing skips the test, unless COUNTERFOIL_REQUIRE says that nothing may be missing.
func missing(t *testing.T, what string, err error) {
	t.Helper()
	require.Missing(t, "edge", "%s: %v", what, err)
}

// start runs a program until the test ends, and returns its first line.
func start(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", cmd.Path, errs.String())
		}
	})
	first := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(out).ReadString('\n')
		first <- line
		io.Copy(io.Discard, out)
	}()
	select {
	case line := <-first:
		return line
	case <-time.After(20 * time.Second):
		t.Fatalf("%s says nothing", cmd.Path)
		return ""
	}
}

// A world is the Fiber application, a network that can be told to misbehave, and perhaps an edge.
type world struct {
	t    *testing.T
	told struct {
		Origin, Issuer, Audience, FrameKey, Name, Secret string
		Leeway                                           int64
	}
	sign ed25519.PrivateKey // the feed's
	net  *httptest.Server   // in front of the application
	edge string             // URL
	jar  map[string]string

	mu     sync.Mutex
	mode   string
	asked  map[string]int // path -> requests that reached the network
	header http.Header    // of the last request for a page
	old    []byte         // an answer of the feed
}

func newWorld(t *testing.T, args ...string) *world {
	t.Helper()
	w := &world{t: t, asked: map[string]int{}, jar: map[string]string{}}
	seed := sha256.Sum256([]byte(t.Name()))
	w.sign = ed25519.NewKeyFromSeed(seed[:])
	key := filepath.Join(t.TempDir(), "feed.key")
	if err := os.WriteFile(key, []byte("frame-ed25519-secret:"+base64.RawURLEncoding.EncodeToString(seed[:])), 0o600); err != nil {
		t.Fatal(err)
	}
	line := start(t, exec.Command(origin, append([]string{"-addr", "127.0.0.1:0", "-feed-key", key}, args...)...))
	if err := json.Unmarshal([]byte(line), &w.told); err != nil {
		t.Fatalf("%v: %q", err, line)
	}
	to, err := url.Parse(w.told.Origin)
	if err != nil {
		t.Fatal(err)
	}
	forward := httputil.NewSingleHostReverseProxy(to)
	forward.ModifyResponse = w.answered
	w.net = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.serve(forward, rw, r) }))
	t.Cleanup(w.net.Close)
	return w
}

// misbehave tells the network how.
func (w *world) misbehave(mode string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mode = mode
}

func (w *world) count(path string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked[path]
}

const feedPath, askPath = "/session/revocations", "/session/introspect"

func (w *world) serve(forward http.Handler, rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	w.asked[r.URL.Path]++
	mode, old := w.mode, w.old
	if !strings.HasPrefix(r.URL.Path, "/session/") {
		w.header = r.Header.Clone()
	}
	w.mu.Unlock()
	switch {
	case r.URL.Path == feedPath && (mode == "feed cut" || mode == "all cut"), r.URL.Path == askPath && mode == "all cut":
		panic(http.ErrAbortHandler)
	case r.URL.Path == feedPath && mode == "replayed":
		rw.Header().Set("Content-Type", "application/vnd.counterfoil.revocations")
		rw.Write(old)
	case r.URL.Path == feedPath && (mode == "forged" || mode == "rolled back"):
		rw.Header().Set("Content-Type", "application/vnd.counterfoil.revocations")
		rw.Write(w.frame(r.URL.Query(), mode))
	case r.URL.Path == feedPath && mode == "HTML":
		rw.Header().Set("Content-Type", "text/html")
		io.WriteString(rw, "<h1>Welcome to the hotel's network</h1>")
	case r.URL.Path == feedPath && mode == "elsewhere":
		http.Redirect(rw, r, "http://127.0.0.1:1/feed", http.StatusFound)
	case r.URL.Path == feedPath && mode == "never ending":
		rw.Header().Set("Content-Type", "application/vnd.counterfoil.revocations")
		for r.Context().Err() == nil {
			if _, err := rw.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	default:
		r.Header.Del("Accept-Encoding") // what is kept for a replay is to be plain
		forward.ServeHTTP(rw, r)
	}
}

// answered keeps an answer of the feed, for a replay.
func (w *world) answered(r *http.Response) error {
	if r.Request.URL.Path != feedPath || r.StatusCode != 200 {
		return nil
	}
	b, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(b))
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.old == nil {
		w.old = b
	}
	return err
}

// frame is an answer that says that nothing was revoked: forged, with a signature by another key; rolled back, with the feed's own key, but of a minute ago.
func (w *world) frame(q url.Values, mode string) []byte {
	cursor, _ := revocation.ParseCursor(q.Get("after"))
	nonce, _ := base64.RawURLEncoding.DecodeString(q.Get("nonce"))
	key, err := revocation.ParseFrameKey(w.told.FrameKey)
	if err != nil {
		panic(err)
	}
	now := time.Now().UnixMilli()
	if mode == "rolled back" {
		now -= time.Minute.Milliseconds()
	}
	epoch := cursor.Epoch
	if epoch == "" {
		epoch = "e"
	}
	var body revocation.FrameBody
	position := revocation.Position(fmt.Sprintf("%d-0", now))
	if err := body.AddRecord(revocation.Record{Position: position, Time: now, Epoch: epoch}); err != nil {
		panic(err)
	}
	h := revocation.FrameHead{
		Issuer: w.told.Issuer, Epoch: epoch, Full: true, To: position, ToTime: now, AsOf: now, Birth: 1,
		KeyID: key.ID(), BodyLen: len(body.Bytes()), BodySum: sha256.Sum256(body.Bytes()), Count: body.Count(),
	}
	copy(h.Nonce[:], nonce)
	b, err := h.AppendBinary(nil)
	if err != nil {
		panic(err)
	}
	signer := w.sign
	if mode == "forged" {
		_, signer, _ = ed25519.GenerateKey(nil)
	}
	return append(append(b, ed25519.Sign(signer, b)...), body.Bytes()...)
}

// env is what an edge is told: the application is behind the network.
func (w *world) env(policy string) []string {
	return append(os.Environ(),
		"ORIGIN="+w.net.URL, "ISSUER="+w.told.Issuer, "AUDIENCE="+w.told.Audience, "FRAME_KEY="+w.told.FrameKey, "EDGE_NAME="+w.told.Name,
		"EDGE_SECRET="+w.told.Secret, fmt.Sprint("LEEWAY=", w.told.Leeway), fmt.Sprint("MAX_STALE=", maxStale.Milliseconds()), "POLICY="+policy)
}

// worker starts examples/worker in workerd.
func (w *world) worker(policy string) {
	w.t.Helper()
	path := filepath.Join("runtimes", "node_modules", "@cloudflare", "workerd-linux-64", "bin", "workerd")
	if _, err := os.Stat(path); err != nil {
		missing(w.t, "workerd", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	cmd := exec.Command(path, "serve", filepath.Join(root, "examples", "worker", "workerd.capnp"), "--socket-addr", "http="+addr, "--control-fd=1")
	cmd.Env = w.env(policy)
	start(w.t, cmd) // its first line says that it listens
	w.edge = "http://" + addr
}

// koa starts examples/koa on Node.
func (w *world) koa() {
	w.t.Helper()
	dir := filepath.Join(root, "examples", "koa")
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "koa")); err != nil {
		missing(w.t, "koa", err)
	}
	cmd := exec.Command("node", "main.js")
	cmd.Dir = dir
	cmd.Env = append(w.env("strict"), "PORT=0")
	w.edge = strings.TrimSpace(start(w.t, cmd))
}

// ask makes a request with the cookies that there are, and keeps those that it is given.
func (w *world) ask(method, at string, header ...string) (int, string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var body io.Reader
	if method == "POST" {
		body = strings.NewReader("name=alice")
	}
	r, err := http.NewRequestWithContext(ctx, method, at, body)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	var cookies []string
	for name, value := range w.jar {
		cookies = append(cookies, name+"="+value)
	}
	if len(cookies) > 0 {
		r.Header.Set("Cookie", strings.Join(cookies, "; "))
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	a, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range a.Cookies() {
		if w.jar[c.Name] = c.Value; c.Value == "" {
			delete(w.jar, c.Name)
		}
	}
	return a.StatusCode, string(text)
}

// expect asks an edge until it answers with the status, for at most as long.
func (w *world) expect(what string, status int, most time.Duration, at string, header ...string) {
	w.t.Helper()
	began := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		got, text := w.ask("GET", at, header...)
		if got == status {
			return
		}
		if time.Since(began) > most {
			w.t.Fatalf("%s: after %v the answer is %d %q, want %d", what, most, got, text, status)
		}
		<-tick.C
	}
}

// refused asks an edge until it answers with the status by itself: the application is not asked for the page. It returns how long that took.
func (w *world) refused(what string, status int, most time.Duration, at, page string, header ...string) time.Duration {
	w.t.Helper()
	began := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		before := w.count(page)
		got, text := w.ask("GET", at, header...)
		reached := w.count(page) != before
		if got == status && !reached {
			return time.Since(began)
		}
		if time.Since(began) > most {
			w.t.Fatalf("%s: after %v the answer is %d %q (the application was asked: %v), want %d from the edge", what, most, got, text, reached, status)
		}
		<-tick.C
	}
}

// login logs in at the application and waits until the edge knows the log.
func (w *world) login() {
	w.t.Helper()
	if status, text := w.ask("POST", w.told.Origin+"/login"); status != 200 {
		w.t.Fatalf("login: %d %s", status, text)
	}
	if w.jar[cookie] == "" {
		w.t.Fatal("no cookie")
	}
	w.settle()
}

// settle waits until the edge decides by itself: its list is fresh.
func (w *world) settle() {
	w.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for before := -1; before != w.count(askPath); {
		before = w.count(askPath)
		tick := time.NewTicker(20 * time.Millisecond)
		for range 5 {
			if status, text := w.ask("GET", w.edge+"/visits"); status != 200 {
				w.t.Fatalf("a good token: %d %s", status, text)
			}
			<-tick.C
		}
		tick.Stop()
		if time.Now().After(deadline) {
			w.t.Fatal("the edge keeps asking")
		}
	}
}

// logout ends the session at the application, and keeps the token as a thief would.
func (w *world) logout() (stolen []string) {
	w.t.Helper()
	stolen = []string{"Cookie", cookie + "=" + w.jar[cookie]}
	if status, text := w.ask("POST", w.told.Origin+"/session/logout"); status != 204 {
		w.t.Fatalf("logout: %d %s", status, text)
	}
	return stolen
}

// TestLogout: login at the Fiber application, accepted at the worker, logout, refused at the worker within the feed's bound, without asking the application.
func TestLogout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worker("strict")
	w.login()
	mallory := []string{"X-User", "mallory", "X-User-Session", "stolen", "X_User", "mallory", "X-User-Role", "admin"}
	questions := w.count(askPath)
	if status, text := w.ask("GET", w.edge+"/", mallory...); status != 200 || text != "alice, visit 1\n" {
		t.Fatalf("a good token: %d %s", status, text)
	}
	w.mu.Lock()
	h := w.header
	w.mu.Unlock()
	if h.Get("X-User") != "alice" || h.Get("X-User-Role") != "" || h.Get("X_user") != "" || len(h.Get("X-User-Session")) != 25 {
		t.Errorf("the application was told %v", h)
	}
	if !strings.Contains(h.Get("Cookie"), cookie+"="+w.jar[cookie]) {
		t.Error("the token did not come through as it was")
	}
	if n := w.count(askPath); n != questions {
		t.Errorf("asked the application %d times with a fresh list", n-questions)
	}

	stolen := w.logout()
	took := w.refused("after the logout", 401, maxStale, w.edge+"/", "/", stolen...)
	t.Logf("refused %v after the logout, the bound is %v", took.Round(time.Millisecond), maxStale)
	pages, questions := w.count("/"), w.count(askPath)
	for range 20 {
		if status, _ := w.ask("GET", w.edge+"/", stolen...); status != 401 {
			t.Fatalf("a revoked token: %d", status)
		}
	}
	if w.count("/") != pages || w.count(askPath) != questions {
		t.Errorf("about a revoked token the application was asked for the page %d times, for its word %d times", w.count("/")-pages, w.count(askPath)-questions)
	}
	if status, text := w.ask("GET", w.edge+"/", "Authorization", "Bearer "+strings.TrimPrefix(stolen[1], cookie+"=")); status != 401 {
		t.Errorf("the same token as a bearer: %d %s", status, text)
	}
	// Whoever was logged out can log in again, with the dead cookie still there.
	if status, text := w.ask("POST", w.edge+"/login", stolen...); status != 200 || w.jar[cookie] == "" {
		t.Errorf("login through the worker: %d %s", status, text)
	}
	if status, text := w.ask("GET", w.edge+"/"); status != 200 || text != "alice, visit 1\n" {
		t.Errorf("after the new login: %d %s", status, text)
	}
}

// TestNobody: who shows no token, a forged one or two is not told anything by the worker.
func TestNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worker("strict")
	w.login()
	good := w.jar[cookie]
	w.jar = map[string]string{}
	forged := good[:len(good)-10] + "AAAAAAAAAA"
	for _, c := range []struct {
		name, cookie string
		status       int
		asks         int
	}{
		{"none", "other=1", 401, 1}, // passed on: the application says what may be seen without
		{"forged", cookie + "=" + forged, 401, 0},
		{"empty", cookie + "=", 401, 0},
		{"two", cookie + "=" + good + "; " + cookie + "=" + good, 401, 1},
	} {
		before := w.count("/")
		status, text := w.ask("GET", w.edge+"/", "Cookie", c.cookie, "X-User", "mallory")
		if status != c.status || w.count("/")-before != c.asks {
			t.Errorf("%s: %d %s, the application was asked %d times", c.name, status, text, w.count("/")-before)
		}
		w.mu.Lock()
		if w.header.Get("X-User") == "mallory" {
			t.Errorf("%s: the client said who it is", c.name)
		}
		w.mu.Unlock()
	}
}

// TestExpired: the worker passes a request with an expired token on to the application, which renews it.
func TestExpired(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "-access-life", "3s")
	w.worker("strict")
	w.login()
	old := w.jar[cookie]
	refresh := w.jar[strings.Replace(cookie, "session", "refresh", 1)]
	// Alone it is passed on and refused there: the worker says nothing of the identity.
	w.expect("an expired token alone", 401, 20*time.Second, w.edge+"/visits", "Cookie", cookie+"="+old)
	before := w.count("/")
	w.jar = map[string]string{cookie: old, strings.Replace(cookie, "session", "refresh", 1): refresh}
	status, text := w.ask("GET", w.edge+"/")
	if status != 200 || w.count("/") != before+1 {
		t.Fatalf("with the refresh token: %d %s", status, text)
	}
	w.mu.Lock()
	if w.header.Get("X-User") != "" {
		t.Error("the worker vouched for an expired token")
	}
	w.mu.Unlock()
	if w.jar[cookie] == old {
		t.Error("the application did not renew the token")
	}
	if status, text := w.ask("GET", w.edge+"/"); status != 200 {
		t.Errorf("the renewed token: %d %s", status, text)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.header.Get("X-User") != "alice" {
		t.Error("the worker does not know the renewed token")
	}
}

// TestFeedCut: without a feed the list grows old, and the policy says what that means.
func TestFeedCut(t *testing.T) {
	for _, c := range []struct {
		policy, mode string
		good, ended  int  // status in the end, for a good token and for one whose session has ended; 0 = the edge passes it on
		asks         bool // the application whether the session lives
	}{
		{"strict", "feed cut", 200, 401, true},
		{"strict", "all cut", 503, 503, true},
		{"best-effort", "all cut", 200, 0, false},
		{"paranoid", "feed cut", 503, 503, false},
	} {
		t.Run(c.policy+", "+c.mode, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.worker(c.policy)
			w.jar = map[string]string{}
			if status, text := w.ask("POST", w.told.Origin+"/login"); status != 200 {
				t.Fatalf("login: %d %s", status, text)
			}
			w.expect("a good token", 200, 10*time.Second, w.edge+"/visits")
			if c.policy != "paranoid" { // which always asks
				w.settle()
			}
			w.misbehave(c.mode)
			if c.good != 200 {
				w.refused("a good token, stale", c.good, 3*maxStale, w.edge+"/visits", "/visits")
			} else {
				w.outlast()
				w.expect("a good token, stale", 200, 0, w.edge+"/visits")
			}
			if asked := w.asks(); asked != c.asks {
				t.Errorf("asked the application: %v", asked)
			}
			stolen := w.logout()
			if c.ended != 0 {
				w.refused("after the logout", c.ended, time.Second, w.edge+"/visits", "/visits", stolen...)
				return
			}
			before := w.count("/visits")
			if status, text := w.ask("GET", w.edge+"/visits", stolen...); status != 401 || w.count("/visits") == before {
				t.Errorf("after the logout: %d %s, want what the application says", status, text)
			}
		})
	}
}

// outlast asks until the list must be stale.
func (w *world) outlast() {
	end := time.After(maxStale + time.Duration(w.told.Leeway)*time.Millisecond + time.Second)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-end:
			return
		case <-tick.C:
			w.ask("GET", w.edge+"/visits")
		}
	}
}

// asks tells whether the edge asks the application about a good token.
func (w *world) asks() bool {
	before := w.count(askPath)
	w.ask("GET", w.edge+"/visits")
	return w.count(askPath) > before
}

// TestFeedLies: frames that are forged, of an earlier question or of an earlier time, and what is no frame at all, do not hide a logout: the list grows old and the application is asked.
func TestFeedLies(t *testing.T) {
	for _, mode := range []string{"forged", "replayed", "rolled back", "HTML", "elsewhere", "never ending"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.worker("strict")
			w.login()
			w.misbehave(mode)
			stolen := w.logout()
			questions := w.count(askPath)
			took := w.refused("after the logout", 401, maxStale+3*time.Second, w.edge+"/visits", "/visits", stolen...)
			if w.count(askPath) == questions {
				t.Error("the application was not asked, so the feed was believed")
			}
			t.Logf("refused after %v", took.Round(time.Millisecond))
			// The truth mends it.
			w.misbehave("")
			if status, text := w.ask("POST", w.told.Origin+"/login"); status != 200 {
				t.Fatalf("login: %d %s", status, text)
			}
			w.settle()
			questions = w.count(askPath)
			if status, _ := w.ask("GET", w.edge+"/visits", stolen...); status != 401 || w.count(askPath) != questions {
				t.Errorf("the ended session, by the list: %d", status)
			}
		})
	}
}

// TestKoa: a Koa application takes the tokens of the one on Fiber, shows the same count, and refuses them after the logout.
func TestKoa(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.koa()
	w.login()
	for n := 1; n <= 3; n++ {
		want := fmt.Sprintf("alice, visit %d\n", n)
		if status, text := w.ask("GET", w.told.Origin+"/"); status != 200 || text != want {
			t.Fatalf("Fiber: %d %q, want %q", status, text, want)
		}
		if status, text := w.ask("GET", w.edge+"/"); status != 200 || text != want {
			t.Fatalf("Koa: %d %q, want %q", status, text, want)
		}
	}
	if status, _ := w.ask("GET", w.edge+"/", "Cookie", cookie+"=x.y.z"); status != 401 {
		t.Errorf("a token that is none: %d", status)
	}
	stolen := w.logout()
	took := w.refused("after the logout", 401, maxStale, w.edge+"/", "/visits", stolen...)
	t.Logf("refused %v after the logout", took.Round(time.Millisecond))
}
