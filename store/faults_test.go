package store_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/redistest"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/tokentest"
)

// proxy stands between a client and a server and can lose things.
type proxy struct {
	listener net.Listener
	target   string
	lose     atomic.Int32 // n > 0: of the server's next answers the n-th is lost, and its connection,
	losing   chan func()  // which then stays open until the function is called that comes from here; nil = no longer than that
	mute     atomic.Bool  // nothing is passed on any more, in neither direction; connections stay open
	slow     atomic.Bool  // answers go on in small parts, each a little later
	after    atomic.Int32 // n > 0: mute once n more bytes have been answered
	mu       sync.Mutex
	conns    []net.Conn
}

func startProxy(t testing.TB, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: target}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", p.target)
			if err != nil {
				c.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, c, s)
			p.mu.Unlock()
			go p.pass(s, c, false)
			go p.pass(c, s, true)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, c := range p.conns {
			c.Close()
		}
	})
	return p
}

func (p *proxy) pass(to, from net.Conn, answers bool) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		if p.mute.Load() {
			io.Copy(io.Discard, from)
			return
		}
		if answers && p.lose.Load() > 0 && p.lose.Add(-1) == 0 {
			if p.losing != nil {
				hold, done := context.WithCancel(context.Background())
				p.losing <- done
				<-hold.Done()
			}
			return
		}
		if answers && p.after.Load() > 0 && p.after.Add(-int32(n)) <= 0 {
			p.mute.Store(true)
		}
		for rest := b[:n]; len(rest) > 0; {
			part := rest
			if answers && p.slow.Load() {
				part = rest[:min(len(rest), max(64, n/8))]
				<-time.After(20 * time.Millisecond)
			}
			if _, err := to.Write(part); err != nil {
				return
			}
			rest = rest[len(part):]
		}
	}
}

func newRef(t testing.TB, s *store.Redis, subject string, ops ...counterfoil.Op) counterfoil.Ref {
	t.Helper()
	id := newID(t, subject)
	if _, err := s.Create(background(t), counterfoil.NewRecord{Session: id, Subject: subject, Idle: time.Hour, Absolute: 2 * time.Hour, Ops: ops}); err != nil {
		t.Fatal(err)
	}
	return counterfoil.Ref{Session: id, Subject: subject}
}

// TestLostAnswer loses the answer to a step that the server has carried out. The client repeats commands, as go-redis does unless told otherwise.
func TestLostAnswer(t *testing.T) {
	for name, url := range bothServers(t) {
		t.Run(name, func(t *testing.T) { testLostAnswer(t, strings.TrimPrefix(url, "redis://"), false) })
		t.Run(name+", pipelined", func(t *testing.T) { testLostAnswer(t, strings.TrimPrefix(url, "redis://"), true) })
	}
}

func testLostAnswer(t *testing.T, addr string, pipelined bool) {
	ctx := background(t)
	p := startProxy(t, addr)
	client := redis.NewClient(&redis.Options{Addr: p.listener.Addr().String(), ContextTimeoutEnabled: true})
	defer client.Close()
	s, err := store.New(ctx, client, store.Config{Logger: quiet, Timeout: 10 * time.Second, AutoPipeline: pipelined})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()

	// The trap itself: without it, this test would show nothing.
	const plain = "return redis.call('INCR', KEYS[1])"
	client.Eval(ctx, plain, []string{"warm"})
	client.Del(ctx, "n")
	p.lose.Store(1)
	if n, err := client.Eval(ctx, plain, []string{"n"}).Int(); n != 2 || err != nil {
		t.Fatalf("go-redis was to repeat the script, and the count to be 2: %d, %v", n, err)
	}

	ref := newRef(t, s, "alice", counterfoil.Op{Kind: counterfoil.OpSet, Name: "flash", Value: []byte("hello")})
	fields := func() map[string][]byte {
		t.Helper()
		r, err := s.Load(ctx, ref)
		if err != nil {
			t.Fatal(err)
		}
		return r.Fields
	}
	save := func(ops ...counterfoil.Op) error {
		if _, err := s.Save(ctx, ref, nil); err != nil { // the script is known from here on
			t.Fatal(err)
		}
		p.lose.Store(1)
		_, err := s.Save(ctx, ref, ops)
		return err
	}
	unknown := func(what string, err error) {
		t.Helper()
		for _, known := range []error{nil, counterfoil.ErrNotFound, counterfoil.ErrConflict, counterfoil.ErrTooLarge, counterfoil.ErrNotInteger} {
			if errors.Is(err, known) {
				t.Errorf("%s: error is %v, want one that says the outcome is unknown", what, err)
			}
		}
	}
	unknown("increment", save(counterfoil.Op{Kind: counterfoil.OpIncr, Name: "n", By: 1}))
	if n := string(fields()["n"]); n != "1" {
		t.Errorf("an increment whose answer was lost counted %s times", n)
	}
	unknown("take", save(counterfoil.Op{Kind: counterfoil.OpTake, Name: "flash"}))
	unknown("compare and set", save(counterfoil.Op{Kind: counterfoil.OpSet, Name: "owner", Value: []byte("me"), If: true}))
	if owner := string(fields()["owner"]); owner != "me" {
		t.Errorf("owner is %q", owner)
	}
	unknown("set", save(counterfoil.Op{Kind: counterfoil.OpSet, Name: "a", Value: []byte("1")}))
	if a := string(fields()["a"]); a != "1" {
		t.Errorf("a is %q", a)
	}
	unknown("delete", save(counterfoil.Op{Kind: counterfoil.OpDelete, Name: "a"}))
	if a, ok := fields()["a"]; ok {
		t.Errorf("a is %q", a)
	}

	// Steps that are harmless to repeat come through.
	p.lose.Store(1)
	if _, err := s.Freeze(ctx, ref); err != nil {
		t.Errorf("Freeze: %v", err)
	}
	p.lose.Store(1)
	if _, err := s.Append(ctx); err != nil {
		t.Errorf("Append: %v", err)
	}
	p.lose.Store(1)
	if _, err := s.End(ctx, counterfoil.Ending{Session: ref.Session}); err != nil {
		t.Errorf("End: %v", err)
	}

	// A rotation whose answer was lost is handed out again.
	ref = newRef(t, s, "alice")
	present := counterfoil.Presented{Session: ref.Session, Generation: 1, Window: time.Second}
	backdoor{client, "cf:"}.shift(t, ref.Session, time.Minute)
	if _, err := s.Refresh(ctx, counterfoil.Presented{Session: newRef(t, s, "x").Session, Generation: 1, Window: time.Second}); err != nil {
		t.Fatal(err) // the scripts are known from here on
	}
	p.lose.Store(2) // the first answer says whose session it is
	if r, err := s.Refresh(ctx, present); err != nil || r.Generation != 2 || r.Verdict != counterfoil.HandedOut {
		t.Errorf("Refresh: verdict %d, generation %d, %v", r.Verdict, r.Generation, err)
	}
	if r, err := s.Refresh(ctx, present); err != nil || r.Generation != 2 || r.Verdict != counterfoil.HandedOut {
		t.Errorf("Refresh again: verdict %d, generation %d, %v", r.Verdict, r.Generation, err)
	}
}

// TestLateAnswer has somebody else go on from what a save has stored, while the answer to that save is lost: what the other one was told stays true.
func TestLateAnswer(t *testing.T) {
	set := func(v string) []counterfoil.Op {
		return []counterfoil.Op{{Kind: counterfoil.OpSet, Name: "f", Value: []byte(v)}}
	}
	changed := []counterfoil.Op{{Kind: counterfoil.OpSet, Name: "f", Value: []byte("mine, changed"), If: true, Was: counterfoil.Value{Bytes: []byte("mine"), Present: true}}}
	take := []counterfoil.Op{{Kind: counterfoil.OpTake, Name: "f"}}
	for _, c := range []struct {
		name        string
		late, other []counterfoil.Op
		want        string
	}{
		{"a set, updated", set("mine"), changed, "mine, changed"},
		{"a set, taken", set("mine"), take, ""},
		{"a delete, set again", []counterfoil.Op{{Kind: counterfoil.OpDelete, Name: "f"}}, set("other"), "other"},
	} {
		for _, pipelined := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, pipelined %v", c.name, pipelined), func(t *testing.T) {
				srv := startEmbedded(t)
				ctx := background(t)
				open := func(addr string) *store.Redis {
					client := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true})
					t.Cleanup(func() { client.Close() })
					s, err := store.New(ctx, client, store.Config{Logger: quiet, Timeout: 10 * time.Second, AutoPipeline: pipelined})
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { s.Close() })
					return s
				}
				addr := strings.TrimPrefix(srv.URL(), "redis://")
				p := startProxy(t, addr)
				p.losing = make(chan func())
				s, direct := open(p.listener.Addr().String()), open(addr)
				ref := newRef(t, s, "alice")
				if _, err := s.Save(ctx, ref, nil); err != nil { // the script is known from here on
					t.Fatal(err)
				}
				late := make(chan error, 1)
				p.lose.Store(1)
				go func() { _, err := s.Save(ctx, ref, c.late); late <- err }()
				var hangUp func()
				select {
				case hangUp = <-p.losing:
					defer hangUp()
				case err := <-late:
					t.Fatalf("an answer that was to be lost: %v", err)
				}
				if _, err := direct.Save(ctx, ref, c.other); err != nil {
					t.Fatal(err)
				}
				hangUp()
				if err := <-late; err == nil {
					t.Error("nobody knows what became of the save, and it succeeded")
				}
				r, err := s.Load(ctx, ref)
				if got := string(r.Fields["f"]); got != c.want || err != nil {
					t.Errorf("the field is %q, %v, want %q", got, err, c.want)
				}
			})
		}
	}
}

// TestHalfOpen cuts the line without a word. A reader of the log must notice within two seconds, whatever it reads, although go-redis would wait for eleven; and
// must not take a line for dead that is slow.
func TestHalfOpen(t *testing.T) {
	const noticed, busy = 1900 * time.Millisecond, 400 * time.Millisecond // what a busy machine adds
	for _, c := range []struct {
		name  string
		whole bool
		cut   func(*proxy)
		dead  bool
	}{
		{"tail", false, func(p *proxy) { p.mute.Store(true) }, true},
		{"whole", true, func(p *proxy) { p.mute.Store(true) }, true},
		{"whole, in the middle", true, func(p *proxy) { p.after.Store(300_000) }, true},
		{"whole, slow", true, func(p *proxy) { p.slow.Store(true) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := startProxy(t, redistest.Start(t, redistest.Options{}).Addr())
			ctx := background(t)
			client := redis.NewClient(&redis.Options{Addr: p.listener.Addr().String()}) // as the caller may have it: it ignores contexts
			defer client.Close()
			s, err := store.New(ctx, client, store.Config{Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			entries := make([]revocation.Entry, 12_000)
			for i := range entries {
				entries[i] = sessionEntry(t, time.Now())
			}
			a, err := s.Append(ctx, entries...)
			if err != nil {
				t.Fatal(err)
			}
			pos := a.Position
			if _, err := s.Read(ctx, pos, time.Millisecond); err != nil {
				t.Fatal(err)
			}
			read := pos
			if c.whole {
				read = ""
			}
			c.cut(p)
			start := time.Now()
			b, err := s.Read(ctx, read, time.Minute)
			took := time.Since(start)
			switch {
			case c.dead && err == nil:
				t.Error("no error over a dead line")
			case c.dead && took > noticed+busy:
				t.Errorf("noticed after %v", took)
			case !c.dead && (err != nil || len(b.Records) != len(entries)):
				t.Errorf("%d records over a slow line, %v", len(b.Records), err)
			case !c.dead && took < noticed+busy:
				t.Errorf("it took only %v: this shows nothing", took)
			}
			p.mute.Store(false)
			p.slow.Store(false)
			if _, err := s.Read(ctx, pos, time.Millisecond); err != nil {
				t.Errorf("after the line is back: %v", err)
			}
		})
	}
}

// TestReadStops shows that a waiting read ends with its context and with Close.
func TestReadStops(t *testing.T) {
	s, err := store.Open(background(t), redistest.Start(t, redistest.Options{}).URL(), store.Config{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(background(t)); err != nil {
		t.Fatal(err)
	}
	b, err := s.Read(background(t), "", 0)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	start := time.Now()
	go func() {
		_, err := s.Read(background(t), b.Records[0].Position, time.Minute)
		done <- err
	}()
	s.Close()
	<-done
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("Read returned %v after Close", took)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if _, err := s.Load(background(t), counterfoil.Ref{Session: newID(t, "a"), Subject: "a"}); err == nil || errors.Is(err, counterfoil.ErrNotFound) {
		t.Errorf("Load after Close: %v", err)
	}
}

// TestScriptsForgotten takes the scripts from the server, as a restart or a failover does.
func TestScriptsForgotten(t *testing.T) {
	for name, url := range bothServers(t) {
		t.Run(name, func(t *testing.T) {
			for _, pipelined := range []bool{false, true} {
				testScriptsForgotten(t, dialURL(t, url), pipelined)
			}
		})
	}
}

func testScriptsForgotten(t *testing.T, client *redis.Client, pipelined bool) {
	ctx := background(t)
	s, err := store.New(ctx, client, store.Config{Logger: quiet, AutoPipeline: pipelined})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ref := newRef(t, s, "alice")
	for range 3 {
		if err := client.ScriptFlush(ctx).Err(); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, err := s.Save(ctx, ref, []counterfoil.Op{{Kind: counterfoil.OpIncr, Name: "n", By: 1}}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	r, err := s.Load(ctx, ref)
	if err != nil || string(r.Fields["n"]) != "24" {
		t.Errorf("pipelined %v: n is %q, %v", pipelined, r.Fields["n"], err)
	}
}

// bothServers returns URLs of an embedded and of a real server; without redis-server of the first only.
func bothServers(t *testing.T) map[string]string {
	t.Helper()
	urls := map[string]string{"embedded": startEmbedded(t).URL()}
	t.Run("start redis", func(sub *testing.T) { // a skip of its own, so that the rest still runs
		urls["redis"] = redistest.Start(outer{sub, t}, redistest.Options{}).URL()
	})
	return urls
}

// outer lets something started in a subtest live as long as the test.
type outer struct {
	*testing.T
	parent *testing.T
}

func (o outer) Cleanup(f func()) { o.parent.Cleanup(f) }
func (o outer) TempDir() string  { return o.parent.TempDir() }

// TestRestart kills a server that syncs every write and starts it again: what was acknowledged is there, and the pooled connections, all of them
// dead, cost no step, not even one that is never repeated.
func TestRestart(t *testing.T) {
	srv := redistest.Start(t, redistest.Options{Config: []string{"appendonly yes", "appendfsync always"}})
	ctx := background(t)
	s, err := store.Open(ctx, srv.URL(), store.Config{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ref, ended := newRef(t, s, "alice"), newRef(t, s, "alice")
	count := []counterfoil.Op{{Kind: counterfoil.OpIncr, Name: "n", By: 1}}
	for i := range 3 {
		if _, err := s.Save(ctx, ref, count); err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			if _, err := s.End(ctx, counterfoil.Ending{Session: ended.Session}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Append(ctx, sessionEntry(t, time.Now())); err != nil {
				t.Fatal(err)
			}
		}
		before, err := s.Read(ctx, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		srv.Restart(t)
		saved, err := s.Save(ctx, ref, count)
		if err != nil {
			t.Fatalf("the first step after a restart: %v", err)
		}
		if want := strconv.Itoa(2*i + 2); string(saved.Values[0].Bytes) != want {
			t.Errorf("count is %s, want %s", saved.Values[0].Bytes, want)
		}
		after, err := s.Read(ctx, "", 0)
		if err != nil || after.Epoch != before.Epoch || len(after.Records) != len(before.Records) {
			t.Errorf("the log had %d records of epoch %q, now %d of %q, %v", len(before.Records), before.Epoch, len(after.Records), after.Epoch, err)
		}
		if _, err := s.Load(ctx, ended); i > 0 && !errors.Is(err, counterfoil.ErrNotFound) {
			t.Errorf("the ended session: %v", err)
		}
	}
}

// TestIdleConnections has the server close connections that wait in the pool, as it does with those that are idle for long. None of them costs a step, although
// none is sent again: go-redis looks first, also where the store has made the connection for TLS.
func TestIdleConnections(t *testing.T) {
	const several = 6
	for _, secure := range []bool{false, true} {
		for _, pipelined := range []bool{false, true} {
			t.Run(fmt.Sprintf("TLS %v, pipelined %v", secure, pipelined), func(t *testing.T) {
				t.Parallel()
				srv := redistest.Start(t, redistest.Options{TLS: secure})
				ctx := background(t)
				opt := &redis.Options{Addr: srv.Addr(), TLSConfig: srv.TLSConfig(), Protocol: 2, ContextTimeoutEnabled: true}
				killer := redis.NewClient(opt)
				defer killer.Close()
				shown := *opt
				shown.Dialer = store.Showing(redis.NewDialer(opt))
				client := redis.NewClient(&shown)
				defer client.Close()
				s, err := store.New(ctx, client, store.Config{Logger: quiet, AutoPipeline: pipelined})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				ref := newRef(t, s, "alice")
				count := []counterfoil.Op{{Kind: counterfoil.OpIncr, Name: "n", By: 1}}
				for range 3 {
					var held []*redis.Conn
					for range several {
						c := client.Conn()
						if err := c.Ping(ctx).Err(); err != nil {
							t.Fatal(err)
						}
						held = append(held, c)
					}
					for _, c := range held {
						c.Close() // back to the pool
					}
					if err := killer.Do(ctx, "client", "kill", "type", "normal", "skipme", "yes").Err(); err != nil {
						t.Fatal(err)
					}
					for range 2 * several {
						if _, err := s.Save(ctx, ref, count); err != nil {
							t.Error(err)
						}
					}
				}
				if r, err := s.Load(ctx, ref); err != nil || string(r.Fields["n"]) != strconv.Itoa(3*2*several) {
					t.Errorf("n is %q, %v", r.Fields["n"], err)
				}
			})
		}
	}
}

// TestDown shows that a Redis that is not there is an error of no session: nobody is logged out by it.
func TestDown(t *testing.T) {
	srv := startEmbedded(t)
	ctx := background(t)
	s, err := store.Open(ctx, srv.URL(), store.Config{Logger: quiet, Timeout: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ref := newRef(t, s, "alice")
	srv.Close()
	steps := map[string]func() error{
		"Load":   func() error { _, err := s.Load(ctx, ref); return err },
		"Save":   func() error { _, err := s.Save(ctx, ref, nil); return err },
		"Freeze": func() error { _, err := s.Freeze(ctx, ref); return err },
		"Refresh": func() error {
			_, err := s.Refresh(ctx, counterfoil.Presented{Session: ref.Session, Generation: 1, Window: time.Second})
			return err
		},
		"End":     func() error { _, err := s.End(ctx, counterfoil.Ending{Session: ref.Session}); return err },
		"End all": func() error { _, err := s.End(ctx, counterfoil.Ending{Subject: "alice"}); return err },
		"Create": func() error {
			_, err := s.Create(ctx, counterfoil.NewRecord{Session: newID(t, "a"), Subject: "a", Idle: time.Hour, Absolute: time.Hour})
			return err
		},
		"Sessions": func() error { _, err := s.Sessions(ctx, "alice"); return err },
		"Append":   func() error { _, err := s.Append(ctx); return err },
		"Read":     func() error { _, err := s.Read(ctx, "", 0); return err },
		"tail":     func() error { _, err := s.Read(ctx, "1-0", time.Second); return err },
		"Ask":      func() error { _, err := s.Ask(ctx, verified(t, ref)); return err },
	}
	for name, step := range steps {
		start := time.Now()
		if err := step(); err == nil || errors.Is(err, counterfoil.ErrNotFound) {
			t.Errorf("%s: error is %v", name, err)
		} else if !strings.HasPrefix(err.Error(), "store: ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error reads %q", name, err)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s took %v", name, took)
		}
	}
}

func newID(t testing.TB, subject string) token.SessionID {
	t.Helper()
	var b [16]byte
	rand.Read(b[:])
	id, err := token.NewSessionID(counterfoil.SubjectTag(subject), b)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// verified makes the proof that a token of this session was verified.
func verified(t testing.TB, ref counterfoil.Ref) token.Verified {
	t.Helper()
	return tokentest.New(t).Verified(token.Claims{Subject: ref.Subject, Session: ref.Session, Generation: 1})
}

// TestReadRefused takes from Redis' user the right to look at records. Nobody is told that a session has ended, or is not there, and the subject's index keeps it.
func TestReadRefused(t *testing.T) {
	ctx := background(t)
	admin := dialURL(t, redistest.Start(t, redistest.Options{}).URL())
	s, err := store.New(ctx, admin, store.Config{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ref := newRef(t, s, "alice")
	heir := counterfoil.NewRecord{Session: newID(t, "alice"), Subject: "alice", Idle: time.Hour, Absolute: time.Hour, Cap: 1}
	rights := func(rule string) {
		t.Helper()
		if err := admin.Do(ctx, "acl", "setuser", "default", rule).Err(); err != nil {
			t.Fatal(err)
		}
	}
	rights("-hmget")
	_, ended := s.End(ctx, counterfoil.Ending{Subject: "alice"})
	for step, err := range map[string]error{
		"save":     second(s.Save(ctx, ref, []counterfoil.Op{{Kind: counterfoil.OpSet, Name: "a", Value: []byte("1")}})),
		"freeze":   second(s.Freeze(ctx, ref)),
		"refresh":  second(s.Refresh(ctx, counterfoil.Presented{Session: ref.Session, Generation: 1, Window: time.Second})),
		"find":     second(s.Find(ctx, ref.Session)),
		"ask":      second(s.Ask(ctx, verified(t, ref))),
		"sessions": second(s.Sessions(ctx, "alice")),
		"create":   second(s.Create(ctx, heir)),
		"end all":  ended,
	} {
		if err == nil || errors.Is(err, counterfoil.ErrNotFound) || !strings.Contains(err.Error(), "command") {
			t.Errorf("%s: %v, want what Redis said", step, err)
		}
	}
	rights("+hmget")
	if list, err := s.Sessions(ctx, "alice"); len(list) != 1 || err != nil {
		t.Errorf("afterwards the subject has %d sessions, %v, want 1", len(list), err)
	}
	if _, err := s.Load(ctx, ref); err != nil {
		t.Errorf("afterwards the session: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }
