package fiberadapter_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/fiberadapter"
	"github.com/counterfoil/counterfoil/internal/rig"
)

// warm returns an application's handler and a request with a token that has been seen before, in three kinds.
func warm(t testing.TB) map[string]func() {
	r := rig.New(t, rig.Embedded, func(c *counterfoil.Config) { c.MaxStale = 10 * time.Minute })
	r.Fresh(t)
	s, err := r.Login(context.Background(), nil, "alice", counterfoil.LoginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tokens, _ := s.Issued()
	cookie := "theme=dark; __Host-Http-session=" + tokens.Access.Reveal() + "; __Host-Http-refresh=" + tokens.Refresh.Reveal()
	kinds := map[string]func(*fiber.App){
		"bare":     func(*fiber.App) {},
		"verify":   func(a *fiber.App) { a.Use(fiberadapter.Verify(r.Guard())) },
		"sessions": func(a *fiber.App) { a.Use(fiberadapter.New(fiberadapter.Config{Manager: r.Manager})) },
	}
	_ = r.Close() // what it does beside the requests would count; the list stays fresh for ten minutes
	run := map[string]func(){}
	for name, use := range kinds {
		a := fiber.New()
		use(a)
		a.Get("/", func(c *fiber.Ctx) error { return c.SendString("hello") })
		h := a.Handler()
		var ctx fasthttp.RequestCtx
		ctx.Init(&fasthttp.Request{}, nil, nil)
		wire := bytes.NewReader([]byte("GET / HTTP/1.1\r\nHost: app.test\r\nAccept: text/html\r\nAccept-Language: en\r\n" +
			"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n" +
			"Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nCookie: " + cookie + "\r\n\r\n"))
		in := bufio.NewReader(wire)
		request := func() {
			_, _ = wire.Seek(0, io.SeekStart)
			in.Reset(wire)
			ctx.Request.Reset()
			ctx.Response.Reset()
			ctx.ResetUserValues()
			if err := ctx.Request.Read(in); err != nil {
				t.Fatal(err)
			}
			h(&ctx)
		}
		request()
		if ctx.Response.StatusCode() != 200 {
			t.Fatalf("%s: %d", name, ctx.Response.StatusCode())
		}
		run[name] = request
	}
	return run
}

func BenchmarkWarm(b *testing.B) {
	run := warm(b)
	for _, name := range []string{"bare", "verify", "sessions"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				run[name]()
			}
		})
	}
}

// TestAllocationsOfTheWarmPath holds what a known token costs on top of bare Fiber: for a verifier nothing, for an application its
// exchange, with the session in it.
func TestAllocationsOfTheWarmPath(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector makes pools forget")
	}
	run := warm(t)
	bare := testing.AllocsPerRun(200, run["bare"])
	for name, most := range map[string]float64{"verify": 0, "sessions": 1} {
		if got := testing.AllocsPerRun(200, run[name]) - bare; got > most {
			t.Errorf("%s: %v allocations more than bare Fiber, want at most %v", name, got, most)
		}
	}
}
