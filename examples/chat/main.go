// Chat is a WebSocket that closes when its session ends. It is a module of its own because of the WebSocket library.
//
//	cd examples/chat && go run .
//
// Open http://localhost:3004 with two browsers and sign in under the same name. Open "Where you are signed in" in one, end the other, and its chat is
// cut off.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/store/embedded"
	"github.com/counterfoil/counterfoil/token/issuer"
)

var (
	//go:embed chat.html
	html []byte
	//go:embed chat.css
	style []byte
	//go:embed chat.js
	script []byte
)

// room hands each message to everybody in it. Whoever does not keep up misses some.
type room struct {
	mu     sync.Mutex
	guests map[chan string]bool
}

func (r *room) enter() chan string {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := make(chan string, 16)
	r.guests[c] = true
	return c
}

func (r *room) leave(c chan string) { r.mu.Lock(); defer r.mu.Unlock(); delete(r.guests, c) }

func (r *room) say(message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.guests {
		select {
		case c <- message:
		default:
		}
	}
}

// How long a client may take.
const (
	toLeave   = time.Second // to answer that it is thrown out
	toRead    = 5 * time.Second
	toPong    = 10 * time.Second
	pingEvery = 20 * time.Second // finds out who has gone without a word
)

// talk serves one connection until the client goes or the session ends, here or anywhere. The middleware has refused pages of other
// sites before: an upgrade counts as unsafe. The session is asked again before each message, and closing waits for nobody: a client that does not
// read what it is sent, not even that it was signed out, is cut off. So is one that sends a text which is not UTF-8: browsers would leave the chat over it, and
// the library passes it on as it came.
func (r *room) talk(w http.ResponseWriter, req *http.Request) {
	s := httpadapter.Session(req)
	in := r.enter() // before the client knows that it is in, lest it miss what is said right then
	defer r.leave(in)
	conn, err := websocket.Accept(w, req, nil)
	if err != nil {
		return // Accept has answered
	}
	defer conn.CloseNow()
	conn.SetReadLimit(2 << 10) // the page allows 500 characters, each of up to three bytes
	// What hangs in a Read or a Write of this library when their context ends loses the connection.
	ctx, cancel := context.WithCancel(context.WithoutCancel(req.Context()))
	defer cancel()
	done, garbled := s.Done(), make(chan struct{})
	go func() {
		defer cancel()
		code, why := websocket.StatusPolicyViolation, "signed out"
		select {
		case <-done:
		case <-garbled:
			code, why = websocket.StatusInvalidFramePayloadData, "not UTF-8"
		case <-ctx.Done():
			return
		}
		defer time.AfterFunc(toLeave, cancel).Stop()
		conn.Close(code, why)
	}()
	go func() {
		defer cancel()
		for {
			kind, text, err := conn.Read(ctx)
			if err != nil {
				return
			}
			select {
			case <-done:
				return
			default:
			}
			if kind != websocket.MessageText {
				continue
			}
			if !utf8.Valid(text) {
				close(garbled)
				for err == nil { // nothing is heard any more; the answer to Close comes this way
					_, _, err = conn.Read(ctx)
				}
				return
			}
			r.say(s.Subject() + ": " + string(text))
		}
	}()
	go func() {
		defer cancel()
		tick := time.NewTicker(pingEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			if within(ctx, toPong, conn.Ping) != nil {
				return
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case message := <-in:
			if within(ctx, toRead, func(ctx context.Context) error { return conn.Write(ctx, websocket.MessageText, []byte(message)) }) != nil {
				return
			}
		}
	}
}

func within(ctx context.Context, d time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return do(ctx)
}

func newApp(m *counterfoil.Manager, stop <-chan struct{}) (http.Handler, error) {
	sessions, err := httpadapter.New(httpadapter.Config{Manager: m})
	if err != nil {
		return nil, err
	}
	endpoints, err := httpadapter.Endpoints(m, httpadapter.EndpointsConfig{Login: "/", Stop: stop})
	if err != nil {
		return nil, err
	}
	r := &room{guests: map[chan string]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(html) })
	for path, content := range map[string][]byte{"/chat.css": style, "/chat.js": script} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, req *http.Request) {
			http.ServeContent(w, req, path, time.Time{}, bytes.NewReader(content))
		})
	}
	mux.Handle("POST /login", sessions(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		// Here a real application finds out whether it is really them.
		if err := httpadapter.Login(req, strings.TrimSpace(req.FormValue("name")), counterfoil.LoginOptions{}); err != nil {
			httpadapter.Refuse(w, req, err)
			return
		}
		http.Redirect(w, req, "/", http.StatusSeeOther)
	})))
	mux.Handle("GET /talk", sessions(httpadapter.Require(http.HandlerFunc(r.talk))))
	return endpoints(mux), nil
}

func run(ctx context.Context, addr string, out io.Writer) error {
	redis, err := embedded.Start("")
	if err != nil {
		return err
	}
	defer redis.Close()
	sessions, err := store.Open(ctx, redis.URL(), store.Config{})
	if err != nil {
		return err
	}
	defer sessions.Close()
	key, err := issuer.GenerateKey("EdDSA") // a service keeps its keys: issuer.OpenRing
	if err != nil {
		return err
	}
	ring, err := issuer.NewRing(key)
	if err != nil {
		return err
	}
	secret := make([]byte, 32)
	rand.Read(secret)
	m, err := counterfoil.New(ctx, counterfoil.Config{
		Issuer: "https://chat.example", Audience: "https://chat.example", Keys: ring, Secrets: [][]byte{secret}, Store: sessions,
	})
	if err != nil {
		return err
	}
	defer m.Close()
	app, err := newApp(m, ctx.Done())
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "open http://%s\n", ln.Addr())
	// To send a request, and as much of it as a form needs; the WebSockets are free of both.
	server := &http.Server{Handler: http.MaxBytesHandler(app, 16<<10), ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		<-ctx.Done()
		bye, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		if server.Shutdown(bye) != nil {
			_ = server.Close() // what is open after that is cut
		}
	}()
	if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	<-ended
	return nil
}

func main() {
	addr := flag.String("addr", "localhost:3004", "where to listen")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *addr, os.Stdout); err != nil {
		log.Fatal("chat: ", err)
	}
}
