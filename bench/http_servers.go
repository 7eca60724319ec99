package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/v2"
	contribjwt "github.com/gofiber/contrib/jwt"
	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/session"
	fiberredis "github.com/gofiber/storage/redis/v3"
	"github.com/golang-jwt/jwt/v5"
	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/fiberadapter"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/issuer"
)

// serveCommand makes the program one of the servers: bench serve KIND REDIS.
const serveCommand = "serve"

const (
	who        = "bob" // whose sessions they all are
	coldServer = "counterfoil-cold"
)

// servers are what the rows of http put under load, by kind. All of them serve /login, /me, /count and /n, as their own documentation has it; none
// writes to Redis for /me.
var servers = map[string]func(redisAddr string) (http.Handler, *fiber.App, error){
	"bare":               bare,
	"bare-long":          bareLong,
	"incr-auto":          incrAuto,
	"counterfoil":        counterfoilSessions,
	"counterfoil-auto":   counterfoilAuto,
	"counterfoil-verify": counterfoilVerify,
	coldServer:           counterfoilCold,
	"jwt-hs256":          jwtHS256,
	"jwt-eddsa":          jwtEdDSA,
	"fiber-session":      fiberSession,
	"scs":                scsSession,
}

// serve says its address on standard output and runs until standard input ends.
func serve(kind, redisAddr string) error {
	build, ok := servers[kind]
	if !ok {
		return fmt.Errorf("no server %q", kind)
	}
	handler, app, err := build(redisAddr)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	if app != nil {
		return app.Listener(l)
	}
	return (&http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}).Serve(l)
}

func newFiber() *fiber.App { return fiber.New(fiber.Config{DisableStartupMessage: true}) }

func newRedis(addr string) *redis.Client {
	return redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true})
}

func sayWho(c *fiber.Ctx) error { return c.SendString(who) }

// counting serves a count that is a key of its own, named by a cookie.
func counting(a *fiber.App, plain *redis.Client, incr func(context.Context, string) *redis.IntCmd) {
	name := func(c *fiber.Ctx) string { return "plain:" + c.Cookies("id") }
	a.Get("/count", func(c *fiber.Ctx) error {
		n, err := incr(c.UserContext(), name(c)).Result()
		if err != nil {
			return err
		}
		return c.SendString(strconv.FormatInt(n, 10))
	})
	a.Get("/n", func(c *fiber.Ctx) error {
		n, err := plain.Get(c.UserContext(), name(c)).Result()
		if err != nil {
			return err
		}
		return c.SendString(n)
	})
}

// bare knows nobody, and counts by one INCR through a pool of connections.
func bare(redisAddr string) (http.Handler, *fiber.App, error) {
	a, r := newFiber(), newRedis(redisAddr)
	a.Get("/login", func(c *fiber.Ctx) error { return r.Del(c.UserContext(), "plain:"+c.Cookies("id")).Err() })
	a.Get("/me", sayWho)
	counting(a, r, r.Incr)
	return nil, a, nil
}

// bareLong is bare with cookies as long as those of a session with a token, which have to be read too.
func bareLong(redisAddr string) (http.Handler, *fiber.App, error) {
	a := newFiber()
	a.Get("/login", func(c *fiber.Ctx) error {
		c.Cookie(&fiber.Cookie{Name: "__Host-Http-session", Value: strings.Repeat("abcdefgh", 45)})
		c.Cookie(&fiber.Cookie{Name: "__Host-Http-refresh", Value: strings.Repeat("abcdefgh", 11)})
		return nil
	})
	a.Get("/me", sayWho)
	return nil, a, nil
}

// incrAuto does the same through go-redis' automatic pipelining.
func incrAuto(redisAddr string) (http.Handler, *fiber.App, error) {
	a, r := newFiber(), newRedis(redisAddr)
	p, err := r.AutoPipeline()
	if err != nil {
		return nil, nil, err
	}
	a.Get("/login", func(c *fiber.Ctx) error {
		id := "auto" + c.Cookies("id")
		c.Cookie(&fiber.Cookie{Name: "id", Value: id})
		return r.Del(c.UserContext(), "plain:"+id).Err()
	})
	counting(a, r, p.Incr)
	return nil, a, nil
}

const (
	benchIssuer   = "https://bench.test"
	benchAudience = "bench"
)

// ours is a Manager, ready to answer without asking.
func ours(redisAddr string, auto bool) (*counterfoil.Manager, *issuer.Ring, error) {
	ctx := context.Background()
	s, err := store.Open(ctx, "redis://"+redisAddr, store.Config{Logger: slog.New(slog.DiscardHandler), AutoPipeline: auto})
	if err != nil {
		return nil, nil, err
	}
	key, err := issuer.GenerateKey("EdDSA")
	if err != nil {
		return nil, nil, err
	}
	ring, err := issuer.NewRing(key)
	if err != nil {
		return nil, nil, err
	}
	secret := make([]byte, 32)
	rand.Read(secret)
	m, err := counterfoil.New(ctx, counterfoil.Config{
		Issuer: benchIssuer, Audience: benchAudience, Keys: ring, Secrets: [][]byte{secret}, Store: s,
		AccessLife:  15 * time.Minute, // longer than twice a run, so that nothing is renewed in it
		IdleLife:    time.Hour,
		MaxSessions: -1,
		Logger:      slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, nil, err
	}
	for deadline := time.Now().Add(10 * time.Second); m.Ready(ctx) != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return nil, nil, errors.New("the list does not become fresh")
		}
	}
	return m, ring, nil
}

func counterfoilSessions(redisAddr string) (http.Handler, *fiber.App, error) {
	m, _, err := ours(redisAddr, false)
	if err != nil {
		return nil, nil, err
	}
	return nil, sessionsApp(m), nil
}

// counterfoilAuto shares Redis connections among requests.
func counterfoilAuto(redisAddr string) (http.Handler, *fiber.App, error) {
	m, _, err := ours(redisAddr, true)
	if err != nil {
		return nil, nil, err
	}
	return nil, sessionsApp(m), nil
}

func sessionsApp(m *counterfoil.Manager) *fiber.App {
	visits := counterfoil.NewCounter("visits")
	a := newFiber()
	a.Use(fiberadapter.New(fiberadapter.Config{Manager: m}))
	a.Get("/login", func(c *fiber.Ctx) error { return fiberadapter.Login(c, who, counterfoil.LoginOptions{}) })
	a.Get("/me", fiberadapter.Require, func(c *fiber.Ctx) error { return c.SendString(fiberadapter.Session(c).Subject()) })
	a.Get("/count", func(c *fiber.Ctx) error {
		n, err := visits.Incr(c.UserContext(), fiberadapter.Session(c), 1)
		if err != nil {
			return err
		}
		return c.SendString(strconv.FormatInt(n, 10))
	})
	a.Get("/n", func(c *fiber.Ctx) error {
		n, err := visits.Get(c.UserContext(), fiberadapter.Session(c))
		if err != nil {
			return err
		}
		return c.SendString(strconv.FormatInt(n, 10))
	})
	return a
}

// counterfoilVerify only verifies, as an edge does.
func counterfoilVerify(redisAddr string) (http.Handler, *fiber.App, error) {
	m, _, err := ours(redisAddr, false)
	if err != nil {
		return nil, nil, err
	}
	a := newFiber()
	a.Get("/login", fiberadapter.New(fiberadapter.Config{Manager: m}), func(c *fiber.Ctx) error { return fiberadapter.Login(c, who, counterfoil.LoginOptions{}) })
	a.Get("/me", fiberadapter.Verify(m.Guard()), fiberadapter.Require, func(c *fiber.Ctx) error { return c.SendString(fiberadapter.Verified(c).Subject()) })
	return nil, a, nil
}

// counterfoilCold also hands out the tokens that it is to meet.
func counterfoilCold(redisAddr string) (http.Handler, *fiber.App, error) {
	m, ring, err := ours(redisAddr, false)
	if err != nil {
		return nil, nil, err
	}
	mint, err := issuer.New(issuer.Config{Issuer: benchIssuer, Audience: benchAudience, Ring: ring})
	if err != nil {
		return nil, nil, err
	}
	a := sessionsApp(m)
	a.Get("/tokens", func(c *fiber.Ctx) error {
		s, err := m.Login(c.UserContext(), nil, who, counterfoil.LoginOptions{})
		if err != nil {
			return err
		}
		now := time.Now()
		for i := range coldTokens {
			t, err := mint.Mint(token.Claims{
				Subject: who, Session: s.ID(), IssuedAt: now, Expires: now.Add(15 * time.Minute), AuthTime: now,
				Extra: []token.Claim{{Name: "n", JSON: strconv.Itoa(i)}},
			})
			if err != nil {
				return err
			}
			if _, err := c.WriteString(t.Reveal() + "\n"); err != nil {
				return err
			}
		}
		return nil
	})
	return nil, a, nil
}

// jwtApp is what contrib/jwt makes of a token in a cookie: it verifies it anew each time, and knows no logout.
func jwtApp(redisAddr string, method jwt.SigningMethod, sign any, verify contribjwt.SigningKey) (http.Handler, *fiber.App, error) {
	a, r := newFiber(), newRedis(redisAddr)
	a.Get("/login", func(c *fiber.Ctx) error {
		id := c.Cookies("id")
		t, err := jwt.NewWithClaims(method, jwt.MapClaims{
			"iss": benchIssuer, "aud": benchAudience, "sub": who, "sid": "session " + id, "iat": time.Now().Unix(), "exp": time.Now().Add(15 * time.Minute).Unix(),
		}).SignedString(sign)
		if err != nil {
			return err
		}
		c.Cookie(&fiber.Cookie{Name: "session", Value: t})
		c.Cookie(&fiber.Cookie{Name: "id", Value: "jwt" + method.Alg() + id})
		return r.Del(c.UserContext(), "plain:jwt"+method.Alg()+id).Err()
	})
	a.Use(contribjwt.New(contribjwt.Config{SigningKey: verify, TokenLookup: "cookie:session"}))
	a.Get("/me", func(c *fiber.Ctx) error {
		sub, err := c.Locals("user").(*jwt.Token).Claims.GetSubject()
		if err != nil {
			return err
		}
		return c.SendString(sub)
	})
	counting(a, r, r.Incr)
	return nil, a, nil
}

func jwtHS256(redisAddr string) (http.Handler, *fiber.App, error) {
	key := make([]byte, 32)
	rand.Read(key)
	return jwtApp(redisAddr, jwt.SigningMethodHS256, key, contribjwt.SigningKey{JWTAlg: "HS256", Key: key})
}

func jwtEdDSA(redisAddr string) (http.Handler, *fiber.App, error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, nil, err
	}
	return jwtApp(redisAddr, jwt.SigningMethodEdDSA, private, contribjwt.SigningKey{JWTAlg: "EdDSA", Key: public})
}

// fiberSession saves what has changed only. Its idle time then slides with writes alone, but each page that reads costs one command, not two.
func fiberSession(redisAddr string) (http.Handler, *fiber.App, error) {
	sessions := session.New(session.Config{Storage: fiberredis.New(fiberredis.Config{URL: "redis://" + redisAddr})})
	with := func(do func(*fiber.Ctx, *session.Session) error) fiber.Handler {
		return func(c *fiber.Ctx) error {
			s, err := sessions.Get(c)
			if err != nil {
				return err
			}
			return do(c, s)
		}
	}
	a := newFiber()
	a.Get("/login", with(func(_ *fiber.Ctx, s *session.Session) error {
		s.Set("user", who)
		s.Set("n", 0)
		return s.Save()
	}))
	a.Get("/me", with(func(c *fiber.Ctx, s *session.Session) error {
		user, _ := s.Get("user").(string)
		return c.SendString(user)
	}))
	a.Get("/count", with(func(c *fiber.Ctx, s *session.Session) error {
		n, _ := s.Get("n").(int)
		s.Set("n", n+1)
		if err := s.Save(); err != nil {
			return err
		}
		return c.SendString(strconv.Itoa(n + 1))
	}))
	a.Get("/n", with(func(c *fiber.Ctx, s *session.Session) error { return c.SendString(fmt.Sprint(s.Get("n"))) }))
	return nil, a, nil
}

func scsSession(redisAddr string) (http.Handler, *fiber.App, error) {
	sm := scs.New()
	sm.Store = goredisstore.New(newRedis(redisAddr))
	mux := http.NewServeMux()
	mux.HandleFunc("/login", func(_ http.ResponseWriter, r *http.Request) {
		sm.Put(r.Context(), "user", who)
		sm.Put(r.Context(), "n", 0)
	})
	mux.HandleFunc("/me", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, sm.GetString(r.Context(), "user")) })
	mux.HandleFunc("/count", func(w http.ResponseWriter, r *http.Request) {
		n := sm.GetInt(r.Context(), "n") + 1
		sm.Put(r.Context(), "n", n)
		io.WriteString(w, strconv.Itoa(n))
	})
	mux.HandleFunc("/n", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, strconv.Itoa(sm.GetInt(r.Context(), "n")))
	})
	return sm.LoadAndSave(mux), nil, nil
}
