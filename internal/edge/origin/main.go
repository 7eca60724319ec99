// Origin is an application for the tests of edges to stand in front of: everything real, on an embedded Redis, and a visit counter. It prints one line of JSON that says where it is and
// what an edge of it needs to know, and serves until its standard input ends.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/revocation/feed"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/store/embedded"
	"github.com/counterfoil/counterfoil/token/issuer"
)

// Description is the line that it prints.
type Description struct {
	Origin     string            `json:"origin"`
	Issuer     string            `json:"issuer"`
	Audience   string            `json:"audience"`
	FrameKey   string            `json:"frameKey"`
	Credential map[string]string `json:"credential"`
}

const name = "https://app.example"

func main() {
	if err := run(context.Background(), os.Stdin, os.Stdout); err != nil {
		log.Fatal("origin: ", err)
	}
}

func run(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
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
	tail, err := feed.NewTail(sessions, feed.TailConfig{})
	if err != nil {
		return err
	}
	signing, err := issuer.GenerateKey("EdDSA")
	if err != nil {
		return err
	}
	ring, err := issuer.NewRing(signing)
	if err != nil {
		return err
	}
	secret := make([]byte, 32)
	rand.Read(secret)
	m, err := counterfoil.New(ctx, counterfoil.Config{
		Issuer: name, Audience: name, Keys: ring, Secrets: [][]byte{secret}, Store: sessions, Log: sessions, Source: tail,
	})
	if err != nil {
		return err
	}
	defer m.Close()

	key, err := feed.GenerateKey()
	if err != nil {
		return err
	}
	credential, err := feed.NewCredential("edge")
	if err != nil {
		return err
	}
	digest, err := credential.Digest()
	if err != nil {
		return err
	}
	var edges feed.Edges
	if err := edges.Allow(credential.Name, digest); err != nil {
		return err
	}
	handler, err := feed.NewHandler(feed.Config{Tail: tail, Key: key, Issuer: name, Edges: &edges, Fresh: m.Guard().Status})
	if err != nil {
		return err
	}
	endpoints, err := httpadapter.Endpoints(m, httpadapter.EndpointsConfig{Callers: &edges, Feed: handler})
	if err != nil {
		return err
	}
	with, err := httpadapter.New(httpadapter.Config{Manager: m})
	if err != nil {
		return err
	}

	mux := http.NewServeMux()
	// The test logs in without a password, and takes the tokens as JSON.
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		s, err := m.Login(r.Context(), nil, r.FormValue("subject"), counterfoil.LoginOptions{})
		if err != nil {
			httpadapter.Refuse(w, r, err)
			return
		}
		tokens, _ := s.Issued()
		_ = json.NewEncoder(w).Encode(map[string]string{"access": tokens.Access.Reveal(), "refresh": tokens.Refresh.Reveal()})
	})
	visits := counterfoil.NewCounter("visits")
	mux.Handle("GET /visits", with(httpadapter.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := visits.Incr(r.Context(), httpadapter.Session(r), 1)
		if err != nil {
			httpadapter.Refuse(w, r, err)
			return
		}
		fmt.Fprintf(w, "%s visited %d times\n", httpadapter.Verified(r).Subject(), n)
	}))))

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: endpoints(mux), ReadHeaderTimeout: 5 * time.Second}
	go func() {
		_, _ = io.Copy(io.Discard, in)
		server.Close()
	}()
	if err := json.NewEncoder(out).Encode(Description{
		Origin: "http://" + ln.Addr().String(), Issuer: name, Audience: name, FrameKey: key.Public().String(),
		Credential: map[string]string{"name": credential.Name, "secret": credential.Secret.Reveal()},
	}); err != nil {
		return err
	}
	if err := server.Serve(ln); err != http.ErrServerClosed {
		return err
	}
	return nil
}
