// Worker is a Fiber application and, in worker.js, a worker of the kind that runs at the edge of a network, in front of it. The worker checks the
// session's token by itself and asks the application only what only the application can know. This program is the application: a page that counts its
// visits, and what an edge needs, which is the public keys, the revocation feed and introspection.
//
//	make module                                          # the edge module; Node, for its size
//	npm ci --prefix internal/e2e/edge/runtimes           # workerd, among others
//	go run ./examples/worker -env > /tmp/worker.env &    # the application, and what the worker is told
//	until [ -s /tmp/worker.env ]; do sleep 1; done       # it is built first
//	(set -a; . /tmp/worker.env; internal/e2e/edge/runtimes/node_modules/@cloudflare/workerd-linux-64/bin/workerd serve examples/worker/workerd.capnp)
//
// The worker listens on port 3000. In another terminal:
//
//	curl -c jar -b jar -d name=ada http://127.0.0.1:3000/login
//	curl -c jar -b jar http://127.0.0.1:3000/                            # ada, visit 1: the worker has let the request through
//	curl http://127.0.0.1:3000/visits -H 'Authorization: Bearer x.y.z'   # Unauthorized: the worker has refused it, and the application knows nothing of it
//
// The worker runs on any platform with web standards and WebAssembly; workerd.capnp is for Cloudflare's open runtime, which npm has for other systems
// too.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/fiberadapter"
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/revocation/feed"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/store/embedded"
	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/issuer"
)

const (
	name   = "https://app.example" // issuer and audience
	leeway = time.Second
)

var visits = counterfoil.NewCounter("visits")

// newApp returns the application. edges are those who may follow the feed and ask; stop ends event streams.
func newApp(m *counterfoil.Manager, edges *feed.Edges, log *feed.Handler, stop <-chan struct{}) *fiber.App {
	app := fiber.New(fiber.Config{
		DisableStartupMessage: true,
		BodyLimit:             16 << 10,         // forms are small, and Fiber has all of a body in memory before it asks anybody
		ReadTimeout:           10 * time.Second, // to send a request
		WriteTimeout:          20 * time.Second, // to take an answer; event streams outlast it
		IdleTimeout:           time.Minute,
	})
	app.Use(fiberadapter.Endpoints(m, httpadapter.EndpointsConfig{Callers: edges, Feed: log, Stop: stop}), fiberadapter.New(fiberadapter.Config{Manager: m}))
	app.Post("/login", func(c *fiber.Ctx) error {
		// A real application finds out here whether it is really them.
		if err := fiberadapter.Login(c, c.FormValue("name"), counterfoil.LoginOptions{}); err != nil {
			return err
		}
		return c.SendString("logged in\n")
	})
	app.Get("/", fiberadapter.Require, func(c *fiber.Ctx) error {
		n, err := visits.Incr(c.UserContext(), fiberadapter.Session(c), 1)
		if err != nil {
			return err
		}
		return c.SendString(fmt.Sprintf("%s, visit %d\n", fiberadapter.Session(c).Subject(), n))
	})
	app.Get("/visits", fiberadapter.Require, func(c *fiber.Ctx) error {
		n, err := visits.Get(c.UserContext(), fiberadapter.Session(c))
		if err != nil {
			return err
		}
		return c.JSON(fiber.Map{"visits": n})
	})
	return app
}

// edge is what a worker has to be told, and nothing that makes a token or a session.
type edge struct {
	Origin, Issuer, Audience, FrameKey, Name, Secret string
	Leeway                                           int64 // ms
}

func (e edge) env() string {
	return fmt.Sprintf("ORIGIN=%s\nISSUER=%s\nAUDIENCE=%s\nFRAME_KEY=%s\nEDGE_NAME=%s\nEDGE_SECRET=%s\nLEEWAY=%d\n",
		e.Origin, e.Issuer, e.Audience, e.FrameKey, e.Name, e.Secret, e.Leeway)
}

func run(ctx context.Context, addr, keyFile string, life time.Duration, started func(edge) error) error {
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
	signing, _ := issuer.GenerateKey("EdDSA")
	ring, _ := issuer.NewRing(signing)
	secret := make([]byte, 32)
	rand.Read(secret)
	m, err := counterfoil.New(ctx, counterfoil.Config{
		Issuer: name, Audience: name, Keys: ring, Secrets: [][]byte{secret}, Store: sessions, Source: tail, AccessLife: life, Leeway: leeway,
	})
	if err != nil {
		return err
	}
	defer m.Close()

	// A key that signs the feed, and a credential for the worker. A service that is restarted keeps both.
	key, err := feedKey(keyFile)
	if err != nil {
		return err
	}
	credential, err := feed.NewCredential("worker")
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
	log, err := feed.NewHandler(feed.Config{Tail: tail, Key: key, Issuer: name, Edges: &edges, Fresh: m.Guard().Status})
	if err != nil {
		return err
	}

	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	app := newApp(m, &edges, log, ctx.Done())
	defer ln.Close()
	if err := started(edge{"http://" + ln.Addr().String(), name, name, key.Public().String(), credential.Name, credential.Secret.Reveal(), leeway.Milliseconds()}); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- app.Listener(ln) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		_ = app.ShutdownWithTimeout(2 * time.Second) // what is open after that is cut
		_ = ln.Close()                               // which a Shutdown before the Listener does not do
		return <-ended
	}
}

// feedKey reads the key, or makes one that lasts as long as this program.
func feedKey(file string) (*feed.Key, error) {
	if file == "" {
		return feed.GenerateKey()
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return feed.ParseKey(token.NewSecret(strings.TrimSpace(string(text))))
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	addr := flag.String("addr", "127.0.0.1:3001", "where to listen")
	life := flag.Duration("access-life", 0, "of a token; 0 = 5 min")
	key := flag.String("feed-key", "", "file with the key that signs the feed")
	env := flag.Bool("env", false, "print what the worker is told as lines for a shell, not as JSON")
	held := flag.Bool("while-stdin", false, "end with the standard input")
	flag.Parse()
	if *held {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			stop()
		}()
	}
	err := run(ctx, *addr, *key, *life, func(e edge) error {
		if *env {
			_, err := fmt.Print(e.env())
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(e)
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
}
