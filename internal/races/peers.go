package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/v2"
	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/session"
	fiberredis "github.com/gofiber/storage/redis/v3"
	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/fiberadapter"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/token/issuer"
)

func pause(ms string) {
	n, _ := strconv.Atoi(ms)
	time.Sleep(time.Duration(n) * time.Millisecond)
}

func listenFiber(a *fiber.App) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go func() { _ = a.Listener(l) }() // until the program ends
	return "http://" + l.Addr().String(), nil
}

func who(name string) string {
	if name == "" {
		return "nobody"
	}
	return name
}

var counterfoilPeer = peer{"Counterfoil on Fiber", "races:{", func(ctx context.Context, addr string) (string, error) {
	st, err := store.Open(ctx, "redis://"+addr, store.Config{Prefix: "races:", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return "", err
	}
	key, err := issuer.GenerateKey("EdDSA")
	if err != nil {
		return "", err
	}
	ring, err := issuer.NewRing(key)
	if err != nil {
		return "", err
	}
	secret := make([]byte, 32)
	rand.Read(secret)
	m, err := counterfoil.New(ctx, counterfoil.Config{
		Issuer: "https://races.test", Audience: "races", Keys: ring, Secrets: [][]byte{secret}, Store: st,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return "", err
	}
	// A list counts as fresh once it has heard the log, about a second after the start; before that every request asks.
	for m.Ready(ctx) != nil {
		time.Sleep(10 * time.Millisecond)
	}
	n, last := counterfoil.NewCounter("n"), counterfoil.NewField[string]("last")
	a := fiber.New(fiber.Config{DisableStartupMessage: true})
	a.Use(fiberadapter.New(fiberadapter.Config{Manager: m}))
	a.Get("/login", func(c *fiber.Ctx) error { return fiberadapter.Login(c, "bob", counterfoil.LoginOptions{}) })
	a.Get("/logout", fiberadapter.Logout)
	a.Get("/count", func(c *fiber.Ctx) error {
		pause(c.Query("ms"))
		_, err := n.Incr(c.UserContext(), fiberadapter.Session(c), 1)
		return err
	})
	a.Get("/write", func(c *fiber.Ctx) error {
		s := fiberadapter.Session(c)
		if _, _, err := last.Get(c.UserContext(), s); err != nil {
			return err
		}
		pause(c.Query("ms"))
		return last.Set(s, time.Now().String())
	})
	a.Get("/read", func(c *fiber.Ctx) error {
		s := fiberadapter.Session(c)
		if _, _, err := last.Get(c.UserContext(), s); err != nil {
			return err
		}
		pause(c.Query("ms"))
		return c.SendString(who(s.Subject()))
	})
	a.Get("/n", func(c *fiber.Ctx) error {
		v, err := n.Get(c.UserContext(), fiberadapter.Session(c))
		if err != nil {
			return err
		}
		return c.SendString(fmt.Sprint(v))
	})
	return listenFiber(a)
}}

var fiberPeer = peer{"Fiber session + storage/redis", "", func(_ context.Context, addr string) (string, error) {
	host, port, _ := net.SplitHostPort(addr)
	number, err := strconv.Atoi(port)
	if err != nil {
		return "", err
	}
	sessions := session.New(session.Config{Storage: fiberredis.New(fiberredis.Config{Host: host, Port: number})})
	with := func(do func(*fiber.Ctx, *session.Session) error) fiber.Handler {
		return func(c *fiber.Ctx) error {
			s, err := sessions.Get(c)
			if err != nil {
				return err
			}
			return do(c, s)
		}
	}
	a := fiber.New(fiber.Config{DisableStartupMessage: true})
	a.Get("/login", with(func(_ *fiber.Ctx, s *session.Session) error {
		s.Set("user", "bob")
		s.Set("n", 0)
		return s.Save()
	}))
	a.Get("/logout", with(func(_ *fiber.Ctx, s *session.Session) error { return s.Destroy() }))
	a.Get("/count", with(func(c *fiber.Ctx, s *session.Session) error {
		n, _ := s.Get("n").(int)
		pause(c.Query("ms"))
		s.Set("n", n+1)
		return s.Save()
	}))
	a.Get("/write", with(func(c *fiber.Ctx, s *session.Session) error {
		pause(c.Query("ms"))
		s.Set("last", time.Now().String())
		return s.Save()
	}))
	// Without a Save the idle time does not slide, so a page that only reads saves as well.
	a.Get("/read", with(func(c *fiber.Ctx, s *session.Session) error {
		user, _ := s.Get("user").(string)
		pause(c.Query("ms"))
		if err := s.Save(); err != nil {
			return err
		}
		return c.SendString(who(user))
	}))
	a.Get("/n", with(func(c *fiber.Ctx, s *session.Session) error { return c.SendString(fmt.Sprint(s.Get("n"))) }))
	return listenFiber(a)
}}

func scsWith(idle time.Duration) func(context.Context, string) (string, error) {
	return func(_ context.Context, addr string) (string, error) {
		sm := scs.New()
		sm.Store = goredisstore.New(redis.NewClient(&redis.Options{Addr: addr}))
		sm.IdleTimeout = idle
		mux := http.NewServeMux()
		mux.HandleFunc("/login", func(_ http.ResponseWriter, r *http.Request) {
			sm.Put(r.Context(), "user", "bob")
			sm.Put(r.Context(), "n", 0)
		})
		mux.HandleFunc("/logout", func(w http.ResponseWriter, r *http.Request) {
			if err := sm.Destroy(r.Context()); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
		mux.HandleFunc("/count", func(_ http.ResponseWriter, r *http.Request) {
			n := sm.GetInt(r.Context(), "n")
			pause(r.URL.Query().Get("ms"))
			sm.Put(r.Context(), "n", n+1)
		})
		mux.HandleFunc("/write", func(_ http.ResponseWriter, r *http.Request) {
			pause(r.URL.Query().Get("ms"))
			sm.Put(r.Context(), "last", time.Now().String())
		})
		mux.HandleFunc("/read", func(w http.ResponseWriter, r *http.Request) {
			user := sm.GetString(r.Context(), "user")
			pause(r.URL.Query().Get("ms"))
			fmt.Fprint(w, who(user))
		})
		mux.HandleFunc("/n", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, sm.GetInt(r.Context(), "n")) })
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		srv := &http.Server{Handler: sm.LoadAndSave(mux), ReadHeaderTimeout: time.Second}
		go func() {
			if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				fmt.Println(err)
			}
		}()
		return "http://" + l.Addr().String(), nil
	}
}

var (
	scsPeer     = peer{"scs + goredisstore", "scs:", scsWith(0)}
	scsIdlePeer = peer{"scs with IdleTimeout", "scs:", scsWith(20 * time.Minute)}
)
