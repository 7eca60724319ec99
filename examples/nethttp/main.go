// Nethttp is an application on net/http alone: a counter that survives a login, and the page "Where you are signed in".
//
//	go run ./examples/nethttp
//
// Open http://localhost:3001, reload it, and sign in: the count goes on.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"html/template"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/store/embedded"
	"github.com/counterfoil/counterfoil/token/issuer"
)

var visits = counterfoil.NewCounter("visits")

var page = template.Must(template.New("").Parse(`<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>net/http</title>
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">
<h1>You have visited this page {{.Visits}} {{if eq .Visits 1}}time{{else}}times{{end}}</h1>
{{if .Name}}<p style="overflow-wrap: anywhere">You are {{.Name}}. <a href="/session/devices">Where you are signed in</a></p>
<form method="post" action="/session/logout"><input type="hidden" name="return" value="/"><button>Sign out</button></form>
{{else}}<form method="post" action="/login"><input type="hidden" name="return" value="{{.Return}}">
<label>Your name <input name="name" required maxlength="64"></label> <button>Sign in</button></form>{{end}}
`))

func newApp(m *counterfoil.Manager, stop <-chan struct{}) (http.Handler, error) {
	sessions, err := httpadapter.New(httpadapter.Config{Manager: m})
	if err != nil {
		return nil, err
	}
	endpoints, err := httpadapter.Endpoints(m, httpadapter.EndpointsConfig{Login: "/", Stop: stop})
	if err != nil {
		return nil, err
	}
	app := http.NewServeMux()
	app.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		s := httpadapter.Session(r)
		n, err := visits.Incr(r.Context(), s, 1)
		if err != nil {
			httpadapter.Refuse(w, r, err)
			return
		}
		back, ok := httpadapter.ReturnPath(r.FormValue("return"))
		if !ok {
			back = "/"
		}
		_ = page.Execute(w, map[string]any{"Visits": n, "Name": s.Subject(), "Return": back})
	})
	app.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		path, ok := httpadapter.ReturnPath(r.FormValue("return"))
		if !ok {
			http.Error(w, http.StatusText(http.StatusBadRequest), http.StatusBadRequest)
			return
		}
		// Here a real application finds out whether it is really them.
		if err := httpadapter.Login(r, strings.TrimSpace(r.FormValue("name")), counterfoil.LoginOptions{Carry: []string{"visits"}}); err != nil {
			httpadapter.Refuse(w, r, err)
			return
		}
		http.Redirect(w, r, path, http.StatusSeeOther)
	})
	return endpoints(sessions(app)), nil
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
		Issuer: "https://nethttp.example", Audience: "https://nethttp.example", Keys: ring, Secrets: [][]byte{secret}, Store: sessions,
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
	return serve(ctx, ln, app)
}

// newServer gives a client ten seconds to send a request, and as much of it as a form needs, and twenty until it has the answer. Event streams see to their
// own time.
func newServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler: http.MaxBytesHandler(h, 16<<10), ReadTimeout: 10 * time.Second, WriteTimeout: 20 * time.Second, IdleTimeout: time.Minute,
	}
}

func serve(ctx context.Context, ln net.Listener, h http.Handler) error {
	server := newServer(h)
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
	addr := flag.String("addr", "localhost:3001", "where to listen")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *addr, os.Stdout); err != nil {
		log.Fatal("nethttp: ", err)
	}
}
