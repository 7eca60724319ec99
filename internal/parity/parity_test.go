package parity_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/fiberadapter"
	"github.com/counterfoil/counterfoil/internal/parity"
	"github.com/counterfoil/counterfoil/internal/redistest"
	"github.com/counterfoil/counterfoil/internal/rig"
	"github.com/counterfoil/counterfoil/store"
)

var koaPassed, tutorialPassed, tutorialSkipped atomic.Int32

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = flag.Set("test.parallel", "8") // they wait more than they compute
	}
	code := m.Run()
	fmt.Printf("parity %d/%d, tutorial %d/%d", koaPassed.Load(), len(koa), tutorialPassed.Load(), len(tutorial))
	if n := tutorialSkipped.Load(); n > 0 {
		fmt.Printf(" (%d need a redis-server on PATH)", n)
	}
	fmt.Println()
	os.Exit(code)
}

var (
	views = counterfoil.NewCounter("views")
	name  = counterfoil.NewField[string]("name")
	cart  = counterfoil.NewField[map[string][]string]("cart")
)

// lab is an application on Fiber, its store's steps, and a browser.
type lab struct {
	*testing.T
	r   *rig.Rig
	app *fiber.App
	jar map[string]string

	mu    sync.Mutex
	steps []string
}

func newLab(t *testing.T, change ...func(*counterfoil.Config)) *lab {
	l := &lab{T: t, r: rig.New(t, rig.Embedded, change...), jar: map[string]string{}}
	l.serve(l.r)
	l.r.Fresh(t) // so that no request has to ask for what the list does not know yet
	l.count()
	return l
}

// count begins to note the steps that the store takes.
func (l *lab) count() {
	l.mu.Lock()
	l.steps = nil
	l.mu.Unlock()
	l.r.Faults.On(func(step string, after bool) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if !after && step != "Heartbeat" {
			l.steps = append(l.steps, step)
		}
		return nil
	})
}

// took checks the steps since the last call.
func (l *lab) took(want ...string) {
	l.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(l.steps, want) {
		l.Errorf("the store took %q, want %q", l.steps, want)
	}
	l.steps = nil
}

func (l *lab) serve(r *rig.Rig) {
	a := fiber.New()
	a.Use(fiberadapter.New(fiberadapter.Config{Manager: r.Manager}))
	session := fiberadapter.Session
	a.Get("/untouched", func(c *fiber.Ctx) error { return c.SendString("hello") })
	a.Get("/views", func(c *fiber.Ctx) error {
		n, err := views.Incr(c.UserContext(), session(c), 1)
		if err != nil {
			return err
		}
		return c.SendString(fmt.Sprint(n))
	})
	a.Get("/name", func(c *fiber.Ctx) error {
		v, _, err := name.Get(c.UserContext(), session(c))
		if err != nil {
			return err
		}
		return c.SendString(v)
	})
	a.Post("/name", func(c *fiber.Ctx) error {
		v := c.Query("to")
		if v == "" {
			return name.Delete(session(c))
		}
		return name.Set(session(c), v)
	})
	a.Post("/login", func(c *fiber.Ctx) error {
		return fiberadapter.Login(c, "alice", counterfoil.LoginOptions{Carry: []string{"views", "name"}, Remember: c.Query("remember") != ""})
	})
	a.Post("/regenerate", func(c *fiber.Ctx) error { return fiberadapter.Rotate(c, counterfoil.RotateOptions{}) })
	a.Post("/logout", func(c *fiber.Ctx) error {
		if err := fiberadapter.Logout(c); err != nil {
			return err
		}
		if _, _, err := name.Get(c.UserContext(), session(c)); !errors.Is(err, counterfoil.ErrNotFound) {
			l.Errorf("reading after the logout: %v", err)
		}
		return nil
	})
	a.Get("/id", func(c *fiber.Ctx) error { return c.SendString(session(c).ID().String()) })
	l.app = a
}

// do sends a request with the jar's cookies, keeps what is set, and returns status, body and the names of the cookies set.
func (l *lab) do(method, path string, header ...string) (int, string, []*http.Cookie) {
	l.Helper()
	req, err := http.NewRequestWithContext(l.Context(), method, "https://app.test"+path, nil)
	if err != nil {
		l.Fatal(err)
	}
	for k, v := range l.jar {
		req.AddCookie(&http.Cookie{Name: k, Value: v})
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := l.app.Test(req, -1)
	if err != nil {
		l.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	for _, c := range res.Cookies() {
		if c.MaxAge < 0 {
			delete(l.jar, c.Name)
		} else {
			l.jar[c.Name] = c.Value
		}
	}
	return res.StatusCode, string(body), res.Cookies()
}

func (l *lab) is(what string, got, want any) {
	l.Helper()
	if got != want {
		l.Errorf("%s: %v, want %v", what, got, want)
	}
}

func (l *lab) redis() *redis.Client {
	opt, err := redis.ParseURL(l.r.URL)
	if err != nil {
		l.Fatal(err)
	}
	c := redis.NewClient(opt)
	l.Cleanup(func() { c.Close() })
	return c
}

type behaviour struct {
	name string
	test func(*lab)
}

// koa are the 27 traced behaviours, in their order.
var koa = []behaviour{
	{"no cookie: no store call, no Set-Cookie", func(l *lab) {
		_, _, set := l.do("GET", "/untouched")
		l.is("cookies", len(set), 0)
		l.took()
	}},
	{"read on a new session: nothing stored, no cookie", func(l *lab) {
		_, _, set := l.do("GET", "/name")
		l.is("cookies", len(set), 0)
		l.took()
		l.is("records", len(l.r.SessionKeys(l)), 0)
	}},
	{"first write: one store call, cookies", func(l *lab) {
		_, _, set := l.do("POST", "/name?to=x")
		l.is("cookies", len(set), 2)
		l.took("Create")
	}},
	{"a request with a cookie reads the store at most once", func(l *lab) {
		l.do("POST", "/name?to=x")
		l.took("Create")
		l.do("GET", "/untouched")
		l.took()
		l.do("GET", "/name")
		l.took("Load")
	}},
	{"unchanged: no write, no cookie", func(l *lab) {
		l.do("POST", "/name?to=x")
		l.do("GET", "/name")
		before := l.dump()
		l.count()
		_, _, set := l.do("GET", "/name")
		l.took("Load")
		l.is("cookies", len(set), 0)
		_, _, set = l.do("POST", "/name?to=x")
		l.is("cookies after an equal write", len(set), 0)
		l.is("record", l.dump(), before)
	}},
	{"nested change and deletion are stored", func(l *lab) {
		l.app.Post("/add", func(c *fiber.Ctx) error {
			_, err := cart.Update(c.UserContext(), fiberadapter.Session(c), func(m map[string][]string, _ bool) (map[string][]string, error) {
				if m == nil {
					m = map[string][]string{}
				}
				m["fruit"] = append(m["fruit"], "apple")
				return m, nil
			})
			return err
		})
		l.app.Get("/cart", func(c *fiber.Ctx) error {
			m, _, err := cart.Get(c.UserContext(), fiberadapter.Session(c))
			if err != nil {
				return err
			}
			return c.SendString(fmt.Sprint(m["fruit"]))
		})
		l.do("POST", "/add")
		l.do("POST", "/add")
		_, body, _ := l.do("GET", "/cart")
		l.is("cart", body, "[apple apple]")
		l.do("POST", "/name?to=x")
		l.do("POST", "/name")
		_, body, _ = l.do("GET", "/name")
		l.is("deleted name", body, "")
	}},
	{"what is not data is not persisted", func(l *lab) {
		type profile struct {
			Name   string
			Secret string `json:"-"`
			hidden string
		}
		f, fn := counterfoil.NewField[profile]("profile"), counterfoil.NewField[func()]("fn")
		l.app.Post("/profile", func(c *fiber.Ctx) error {
			if err := fn.Set(fiberadapter.Session(c), func() {}); err == nil {
				l.Error("a function was set")
			}
			return f.Set(fiberadapter.Session(c), profile{"n", "s", "h"})
		})
		l.do("POST", "/profile")
		d := l.dump()
		if !strings.Contains(d, `{"Name":"n"}`) || strings.Contains(d, "f:fn") {
			l.Errorf("record: %s", d)
		}
	}},
	{"the record carries its lives", func(l *lab) {
		l.do("POST", "/login")
		list, err := l.r.Sessions(l.Context(), "alice")
		if err != nil || len(list) != 1 {
			l.Fatal(list, err)
		}
		l.is("absolute life", list[0].Expires-list[0].Created, (12 * time.Hour).Milliseconds())
		l.is("idle life", list[0].Idle, 30*time.Minute)
	}},
	{"the store's TTL is the session's", func(l *lab) {
		l.do("POST", "/login")
		ttl, err := l.redis().PTTL(l.Context(), l.r.SessionKeys(l)[0]).Result()
		if err != nil || ttl > 30*time.Minute || ttl < 29*time.Minute {
			l.Errorf("TTL %v, %v", ttl, err)
		}
	}},
	{"only what changed is written", func(l *lab) {
		l.do("POST", "/name?to=x")
		l.do("GET", "/views")
		l.count()
		l.do("GET", "/name")
		l.took("Load")
		l.do("POST", "/name?to=y")
		l.took("Save")
		_, body, _ := l.do("GET", "/views")
		l.is("the other field", body, "2")
	}},
	{"rolling: an active session goes on, none is made where there is none", func(l *lab) {
		l.do("POST", "/login")
		for range 20 { // an hour, twice the idle life
			l.r.Advance(3 * time.Minute)
			_, _, set := l.do("GET", "/untouched")
			l.is("cookies of a renewal", len(set), 2)
		}
		status, _, _ := l.do("GET", "/views")
		l.is("status", status, 200)
		l.jar = map[string]string{}
		_, _, set := l.do("GET", "/untouched")
		l.is("cookies without a session", len(set), 0)
	}},
	{"renew: only when half of the life is over", func(l *lab) {
		l.do("POST", "/login")
		l.r.Advance(time.Minute)
		_, _, set := l.do("GET", "/untouched")
		l.is("cookies in the first half", len(set), 0)
		l.r.Advance(2 * time.Minute)
		_, _, set = l.do("GET", "/untouched")
		l.is("cookies in the second half", len(set), 2)
	}},
	{"maxAge is chosen for a session and remembered with it", func(l *lab) {
		_, _, set := l.do("POST", "/login?remember=1")
		l.is("Max-Age", set[0].MaxAge, 30*24*3600)
		l.r.Advance(29 * 24 * time.Hour)
		_, _, set = l.do("GET", "/untouched")
		l.is("cookies of a renewal", len(set), 2)
		l.is("Max-Age of a renewal", set[0].MaxAge > 29*24*3600, true)
		l.jar = map[string]string{}
		_, _, set = l.do("POST", "/login")
		l.is("Max-Age of another session", set[0].MaxAge, 0)
	}},
	{"save stores at once", func(l *lab) {
		l.app.Post("/save", func(c *fiber.Ctx) error {
			s := fiberadapter.Session(c)
			if err := name.Set(s, "saved"); err != nil {
				return err
			}
			if err := s.Save(c.UserContext()); err != nil {
				return err
			}
			if !strings.Contains(l.dump(), "saved") {
				l.Error("not stored when Save returned")
			}
			return nil
		})
		_, _, set := l.do("POST", "/save")
		l.is("cookies", len(set), 2)
	}},
	{"regenerate: new ID, old record gone, data kept", func(l *lab) {
		l.do("POST", "/name?to=kept")
		_, old, _ := l.do("GET", "/id")
		_, _, set := l.do("POST", "/regenerate")
		l.is("cookies", len(set), 2)
		_, id, _ := l.do("GET", "/id")
		l.is("same ID", id == old, false)
		_, body, _ := l.do("GET", "/name")
		l.is("name", body, "kept")
		keys := l.r.SessionKeys(l)
		l.is("records", len(keys), 1)
		l.is("old record", strings.HasSuffix(keys[0], old), false)
	}},
	{"an emptied session is a session", func(l *lab) {
		l.do("POST", "/name?to=x")
		_, old, _ := l.do("GET", "/id")
		l.do("POST", "/name")
		_, id, _ := l.do("GET", "/id")
		l.is("ID", id, old)
		l.is("records", len(l.r.SessionKeys(l)), 1)
		l.do("POST", "/name?to=y")
		_, body, _ := l.do("GET", "/name")
		l.is("name", body, "y")
	}},
	{"null: record gone, cookies expired, no session left", func(l *lab) {
		l.do("POST", "/login")
		old := map[string]string{}
		for k, v := range l.jar {
			old[k] = v
		}
		_, _, set := l.do("POST", "/logout") // which reads after it
		l.is("cookies", len(set), 2)
		l.is("Max-Age", set[0].MaxAge, -1)
		l.is("records", len(l.r.SessionKeys(l)), 0)
		l.jar = old
		status, _, _ := l.do("GET", "/name")
		l.is("reading with the old cookies: nobody's session", status, 200)
		_, id, _ := l.do("GET", "/id")
		l.is("ID", id, "")
	}},
	{"a handler that throws", func(l *lab) {
		l.app.Post("/throw", func(c *fiber.Ctx) error {
			s := fiberadapter.Session(c)
			if _, err := views.Incr(c.UserContext(), s, 1); err != nil {
				return err
			}
			_ = name.Set(s, "half done")
			return errors.New("thrown")
		})
		status, _, set := l.do("POST", "/throw")
		l.is("status", status, 500)
		l.is("cookies of the session that began", len(set), 2)
		_, body, _ := l.do("GET", "/name")
		l.is("what it set", body, "")
		_, body, _ = l.do("GET", "/views")
		l.is("what it counted, and once more", body, "2")
	}},
	{"an ID that the store does not know is never adopted", func(l *lab) {
		l.do("POST", "/login")
		_, old, _ := l.do("GET", "/id")
		if err := l.redis().Del(l.Context(), l.r.SessionKeys(l)...).Err(); err != nil {
			l.Fatal(err)
		}
		status, _, _ := l.do("GET", "/views")
		l.is("while the token lives", status, 401)
		l.r.Advance(6 * time.Minute)
		status, _, set := l.do("GET", "/views")
		l.is("later", status, 200)
		l.is("cookies", len(set), 2)
		_, id, _ := l.do("GET", "/id")
		l.is("adopted", id == old, false)
	}},
	{"an expired session: new ID", func(l *lab) {
		l.do("GET", "/views")
		_, old, _ := l.do("GET", "/id")
		l.r.Advance(31 * time.Minute)
		_, body, _ := l.do("GET", "/views")
		l.is("views", body, "1")
		_, id, _ := l.do("GET", "/id")
		l.is("adopted", id == old, false)
	}},
	{"valid says no: nobody's session, new ID", func(l *lab) {
		l.do("GET", "/views")
		_, old, _ := l.do("GET", "/id")
		r := l.r.Again(l.T, func(c *counterfoil.Config) {
			c.Bind = func(context.Context, counterfoil.Renewal) error { return errors.New("not valid") }
		})
		l.serve(r)
		l.r.Advance(6 * time.Minute)
		_, body, _ := l.do("GET", "/views")
		l.is("views", body, "1")
		_, id, _ := l.do("GET", "/id")
		l.is("adopted", id == old, false)
	}},
	{"a bad signature: no store call at all", func(l *lab) {
		l.do("GET", "/views")
		l.count()
		for k, v := range l.jar {
			l.jar[k] = v[:len(v)-4] + "AAAA"
		}
		_, _, set := l.do("GET", "/name")
		l.took()
		l.is("cookies", len(set), 0)
	}},
	{"an undecodable cookie: a new session", func(l *lab) {
		l.jar["__Host-Http-session"], l.jar["__Host-Http-refresh"] = "%%%", "{}"
		_, _, set := l.do("GET", "/views")
		l.is("cookies", len(set), 2)
		l.took("Create")
	}},
	{"without auto-commit nothing happens until committed", func(l *lab) {
		x, err := l.r.Begin(l.Context(), counterfoil.Request{Method: "POST"})
		if err != nil {
			l.Fatal(err)
		}
		if err := name.Set(x.Session(), "by hand"); err != nil {
			l.Fatal(err)
		}
		l.took()
		set, err := x.Commit(l.Context())
		if err != nil || len(set) != 2 {
			l.Errorf("%d cookies, %v", len(set), err)
		}
		l.took("Create")
	}},
	{"an external key takes the place of the cookie, both ways", func(l *lab) {
		l.app.Post("/token", func(c *fiber.Ctx) error {
			if err := fiberadapter.Login(c, "alice", counterfoil.LoginOptions{}); err != nil {
				return err
			}
			tokens, _ := fiberadapter.Session(c).Issued()
			return c.SendString(tokens.Access.Reveal())
		})
		_, access, _ := l.do("POST", "/token")
		l.jar = map[string]string{}
		_, body, set := l.do("GET", "/views", "Authorization", "Bearer "+access)
		l.is("views", body, "1")
		l.is("cookies", len(set), 0)
	}},
	{"without the middleware", func(l *lab) {
		a := fiber.New()
		a.Get("/", func(c *fiber.Ctx) error {
			defer func() {
				if s, _ := recover().(string); !strings.Contains(s, "middleware") {
					l.Errorf("it says %q", s)
				}
			}()
			fiberadapter.Session(c)
			return nil
		})
		l.app = a
		l.do("GET", "/")
	}},
	{"keys rotate: the first signs, all verify", func(l *lab) {
		l.do("GET", "/views")
		old := l.r.Config.Secrets[0]
		r := l.r.Again(l.T, func(c *counterfoil.Config) { c.Secrets = [][]byte{[]byte(strings.Repeat("n", 32)), old} })
		l.serve(r)
		l.r.Advance(6 * time.Minute)
		_, body, set := l.do("GET", "/views")
		l.is("views", body, "2")
		l.is("cookies", len(set), 2)
		l.serve(l.r.Again(l.T, func(c *counterfoil.Config) { c.Secrets = [][]byte{[]byte(strings.Repeat("n", 32))} }))
		l.r.Advance(6 * time.Minute)
		_, body, _ = l.do("GET", "/views")
		l.is("views with the new key alone", body, "3")
	}},
}

// dump shows the one record there is.
func (l *lab) dump() string {
	l.Helper()
	keys := l.r.SessionKeys(l)
	if len(keys) != 1 {
		l.Fatalf("%d records", len(keys))
	}
	m, err := l.redis().HGetAll(l.Context(), keys[0]).Result()
	if err != nil {
		l.Fatal(err)
	}
	return fmt.Sprint(m)
}

func TestKoa(t *testing.T) {
	for n := range parity.Differences {
		if n < 1 || n > len(koa) {
			t.Errorf("there is no number %d", n)
		}
	}
	for i, b := range koa {
		t.Run(fmt.Sprintf("%02d %s", i+1, b.name), func(t *testing.T) {
			t.Parallel()
			if why := parity.Differences[i+1]; why != "" {
				t.Log("different on purpose: " + why)
			}
			b.test(newLab(t))
			if !t.Failed() {
				koaPassed.Add(1)
			}
		})
	}
}

type claim struct {
	name string
	test func(*testing.T)
}

// server begins a lab on a real server.
func server(t *testing.T, opt redistest.Options) (*lab, *redistest.Server) {
	s := redistest.Start(t, opt)
	l := &lab{T: t, jar: map[string]string{}, r: rig.At(t, s.URL(), s.Kill)}
	l.serve(l.r)
	return l, s
}

var tutorial = []claim{
	{"the counter counts", func(t *testing.T) {
		l := newLab(t)
		for i := range 5 {
			_, body, _ := l.do("GET", "/views")
			l.is("views", body, fmt.Sprint(i+1))
		}
	}},
	{"two processes share sessions", func(t *testing.T) {
		l := newLab(t)
		other := l.r.Second(t)
		for i := range 6 {
			l.serve([]*rig.Rig{l.r, other}[i%2])
			_, body, _ := l.do("GET", "/views")
			l.is("views", body, fmt.Sprint(i+1))
		}
	}},
	{"sessions survive a restart of the application", func(t *testing.T) {
		l := newLab(t)
		l.do("GET", "/views")
		l.r.Close()
		l.serve(l.r.Again(t))
		_, body, _ := l.do("GET", "/views")
		l.is("views", body, "2")
	}},
	{"the TTL is seen in Redis", func(t *testing.T) {
		l := newLab(t)
		l.do("GET", "/views")
		ttl, err := l.redis().TTL(t.Context(), l.r.SessionKeys(t)[0]).Result()
		if err != nil || ttl <= 0 || ttl > 15*time.Minute {
			t.Errorf("%v, %v", ttl, err)
		}
	}},
	{"destroying removes the key", func(t *testing.T) {
		l := newLab(t)
		l.do("GET", "/views")
		l.do("POST", "/logout")
		l.is("records", len(l.r.SessionKeys(t)), 0)
	}},
	{"Redis can have a password", func(t *testing.T) {
		l, s := server(t, redistest.Options{Password: "s3cret word"})
		_, body, _ := l.do("GET", "/views")
		l.is("views", body, "1")
		if _, err := store.Open(t.Context(), "redis://"+s.Addr(), store.Config{}); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("without it: %v", err)
		}
	}},
	{"Redis can be at another host, port and database", func(t *testing.T) {
		s := redistest.Start(t, redistest.Options{})
		l := &lab{T: t, jar: map[string]string{}, r: rig.At(t, s.URL()+"/7", s.Kill)}
		l.serve(l.r)
		_, body, _ := l.do("GET", "/views")
		l.is("views", body, "1")
		c := redis.NewClient(&redis.Options{Addr: s.Addr(), DB: 7})
		defer c.Close()
		if n, err := c.DBSize(t.Context()).Result(); n == 0 || err != nil {
			t.Errorf("database 7 holds %d keys, %v", n, err)
		}
	}},
	{"Redis persists sessions", func(t *testing.T) {
		l, s := server(t, redistest.Options{Config: []string{"appendonly yes", "appendfsync always"}})
		l.do("GET", "/views")
		s.Restart(t)
		_, body, _ := l.do("GET", "/views")
		l.is("views after a restart of Redis", body, "2")
	}},
	{"Redis replicates sessions", func(t *testing.T) {
		l, s := server(t, redistest.Options{Config: []string{"repl-diskless-sync-delay 0"}})
		host, port, _ := strings.Cut(s.Addr(), ":")
		replica := redistest.Start(t, redistest.Options{Config: []string{"replicaof " + host + " " + port}})
		l.do("GET", "/views")
		c := redis.NewClient(&redis.Options{Addr: replica.Addr()})
		defer c.Close()
		rig.Poll(t, "the replica holds the session", func() bool {
			keys, err := c.Keys(context.Background(), "*}s:*").Result()
			return err == nil && len(keys) == 1
		})
	}},
}

func TestTutorial(t *testing.T) {
	for _, c := range tutorial {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			defer func() {
				if t.Skipped() {
					tutorialSkipped.Add(1)
				}
			}()
			c.test(t)
			if !t.Failed() {
				tutorialPassed.Add(1)
			}
		})
	}
}
