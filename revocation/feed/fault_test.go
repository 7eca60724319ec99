package feed_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/counterfoil/counterfoil/internal/faults"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/revocation/feed"
	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/tokentest"
)

// session is one of somebody who is logged in, with a token that is renewed as it is in life.
type session struct {
	issuer *tokentest.Issuer
	id     token.SessionID
	at     time.Time
	raw    string
}

func (s *session) token() string {
	if now := time.Now(); s.raw == "" || now.Sub(s.at) > time.Minute {
		s.at = now
		s.raw = s.issuer.Mint(token.Claims{Subject: "alice", Session: s.id, IssuedAt: now, Expires: now.Add(5 * time.Minute)})
	}
	return s.raw
}

// newGuard makes a guard that has nobody to ask.
func newGuard(t testing.TB, list *revocation.List) (*revocation.Guard, func() *session) {
	t.Helper()
	tokens := tokentest.New(t)
	cfg := tokens.Config()
	cfg.Now = time.Now
	verifier, err := token.NewVerifier(cfg)
	if err != nil {
		t.Fatal(err)
	}
	guard, err := revocation.NewGuard(revocation.GuardConfig{Verifier: verifier, List: list})
	if err != nil {
		t.Fatal(err)
	}
	return guard, func() *session { return &session{issuer: tokens, id: tokentest.SessionID(t)} }
}

// Whatever happens to the answers on their way, a token that was revoked meanwhile is not accepted for longer than MaxStale, and everything is as
// before soon after the fault has ended.
func TestFaults(t *testing.T) {
	var earlier []byte // an answer from before
	var held *http.Response
	hostile := map[string]fault{
		"cut": func(*http.Request, *http.Response) (*http.Response, error) { return nil, io.ErrUnexpectedEOF },
		"half open": func(r *http.Request, _ *http.Response) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		},
		"replayed": func(*http.Request, *http.Response) (*http.Response, error) { return answer(earlier).RoundTrip(nil) },
		"reordered": func(_ *http.Request, resp *http.Response) (*http.Response, error) {
			if held == nil {
				held = resp
				return nil, io.ErrUnexpectedEOF
			}
			resp, held = held, resp
			return resp, nil
		},
		"truncated":    change(func(b []byte) []byte { return b[:len(b)/2] }),
		"forged":       change(func(b []byte) []byte { b[150] ^= 1; return b }),
		"body changed": change(func(b []byte) []byte { b[len(b)-1] ^= 1; return b }),
		"redirected": func(_ *http.Request, resp *http.Response) (*http.Response, error) {
			resp.StatusCode = 302
			resp.Header.Set("Location", "https://elsewhere.test/")
			return resp, nil
		},
		"an error page": instead(200, "text/html", "<html>"),
		"denied":        instead(401, "text/plain", ""),
		"never behind":  instead(feed.StatusBehind, "text/plain", ""),
	}
	onServer := map[string]func(*origin){
		"the server lost Redis": func(o *origin) { o.log.Cut(true) },
		"the server's follower stopped": func(o *origin) {
			o.stop()
			o.running.Wait()
		},
	}
	for name, f := range hostile {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				held = nil
				e := newEdge(t)
				earlier = e.capture()
				e.network.fault.Store(&f)
				e.during(t)
				e.network.fault.Store(nil)
				e.after(t)
			})
		})
	}
	for name, f := range onServer {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				e := newEdge(t)
				e.revoked = e.session()
				e.revoke()
				f(e.origin)
				e.judge(t, 30*time.Second)
			})
		})
	}
}

// edge is a verifier over the feed of an origin, with the network between them.
type edge struct {
	*origin
	network  *network
	client   *feed.Client
	list     *revocation.List
	follower *revocation.Follower
	guard    *revocation.Guard
	session  func() *session
	good     *session
	revoked  *session
	revokes  time.Time
}

func newEdge(t *testing.T) *edge {
	t.Helper()
	e := &edge{origin: newOrigin(t, newLog())}
	e.network = &network{h: e.handler}
	e.client = e.origin.client(e.network)
	e.list, e.follower, _ = follow(t, e.client)
	if err := e.follower.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.guard, e.session = newGuard(t, e.list)
	e.good, e.revoked = e.session(), e.session()
	for _, s := range []*session{e.good, e.revoked} {
		if _, err := e.guard.Check(t.Context(), s.token()); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

// capture returns an authentic answer to another question.
func (e *edge) capture() []byte {
	_, b := e.open(e.poll(e.log.Cursor(1), 0, func(r *http.Request) { r.URL.RawQuery += "&nonce=" + nonce() }))
	return bytes.Clone(b)
}

func (e *edge) revoke() {
	e.revokes = time.Now()
	if _, err := e.log.Append(context.Background(), sessionEntry(e.revoked.id)); err != nil {
		e.t.Fatal(err)
	}
}

// during revokes a session while the fault lasts.
func (e *edge) during(t *testing.T) {
	t.Helper()
	pass(time.Second)
	e.revoke()
	if !e.judge(t, 30*time.Second) {
		t.Error("the list did not become stale: the fault did nothing")
	}
}

// judge looks for so long whether the guard accepts what it must not.
func (e *edge) judge(t *testing.T, d time.Duration) (wasStale bool) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); pass(100 * time.Millisecond) {
		_, err := e.guard.Check(t.Context(), e.revoked.token())
		since := time.Since(e.revokes)
		if err == nil && since > revocation.DefaultMaxStale {
			t.Fatalf("accepted %v after it was revoked", since)
		}
		_, err = e.guard.Check(t.Context(), e.good.token())
		wasStale = wasStale || errors.Is(err, revocation.ErrStale)
		if err != nil && !errors.Is(err, revocation.ErrStale) {
			t.Fatalf("somebody else's token: %v", err)
		}
	}
	return wasStale
}

// after wants everything to be as before, soon.
func (e *edge) after(t *testing.T) {
	t.Helper()
	pass(8 * time.Second)
	if _, err := e.guard.Check(t.Context(), e.revoked.token()); !errors.Is(err, revocation.ErrRevoked) {
		t.Errorf("the revoked token, afterwards: %v", err)
	}
	if _, err := e.guard.Check(t.Context(), e.good.token()); err != nil {
		t.Errorf("the other token, afterwards: %v", err)
	}
}

// What happens to the log itself is seen through the feed as it is seen in the log: nothing that was known is forgotten.
func TestFaultsOfTheLog(t *testing.T) {
	for name, f := range map[string]func(*edge){
		"rolled back": func(e *edge) { e.log.RollBack(1) },
		"lost":        func(e *edge) { e.log.Lose() },
		"trimmed":     func(e *edge) { e.log.Trim() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				e := newEdge(t)
				e.revoke()
				synctest.Wait()
				f(e)
				pass(30 * time.Second)
				e.good = e.session() // older ones are before the birth of a new log
				e.after(t)
				if s := e.follower.Stats(); name == "lost" && s.Epochs != 1 || name == "rolled back" && s.Forks != 1 {
					t.Errorf("not noticed: %+v", s)
				}
			})
		})
	}
}

// News that no replica has may be lost with its master, so a list is as old as what the replicas acknowledged, at the far end of a feed as well.
func TestReplicasGone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t)
		e.log.Acknowledge(func(now int64) int64 { return now })
		pass(30 * time.Second)
		if _, err := e.guard.Check(t.Context(), e.good.token()); err != nil {
			t.Fatalf("while the replicas follow: %v", err)
		}
		last := time.Now().UnixMilli()
		e.log.Acknowledge(func(int64) int64 { return last })
		e.during(t) // what is revoked meanwhile is refused, and the list becomes stale
		e.log.Acknowledge(func(now int64) int64 { return now })
		e.after(t)
	})
}

// A server that has seen less than another takes over: what the edge knows stays, and it is not fresh by what the lagging one says.
func TestLaggingServer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newLog()
		ahead := newOrigin(t, log)
		e := &edge{origin: ahead, network: &network{h: ahead.handler}}
		old := log.Copy()
		lagging := newOrigin(t, old, func(c *feed.Config) { c.Key, c.Edges = ahead.key, ahead.edges })
		lagging.log.Cut(true)

		list, f, _ := follow(t, e.origin.client(e.network))
		if err := f.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		e.guard, e.session = newGuard(t, list)
		e.good, e.revoked, e.list, e.follower = e.session(), e.session(), list, f
		pass(2 * time.Second)
		e.network.other.Store(lagging.handler)
		e.during(t)
		e.network.other.Store(nil)
		e.after(t)
	})
}

// All of it over real connections and TLS: an origin, an edge, a revocation that arrives, an outage, and what comes after.
func TestOverTLS(t *testing.T) {
	o := newOrigin(t, newLog())
	var down atomic.Bool
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			panic(http.ErrAbortHandler)
		}
		o.handler.ServeHTTP(w, r)
	}))
	server.Config.WriteTimeout = 100 * time.Millisecond // shorter than a poll
	server.StartTLS()
	t.Cleanup(server.Close)

	transport := server.Client().Transport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	client := o.client(transport, func(c *feed.ClientConfig) { c.URL = server.URL })
	events := make(chan revocation.Event, 100)
	list, err := revocation.NewList(revocation.ListConfig{})
	if err != nil {
		t.Fatal(err)
	}
	follower, err := revocation.NewFollower(revocation.FollowerConfig{
		Source: client, List: list, MaxStale: 2 * time.Second, Leeway: time.Second,
		Events: revocation.EventFunc(func(e revocation.Event) { events <- e }),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	done := make(chan struct{})
	go func() {
		defer close(done)
		follower.Follow(ctx)
	}()
	defer func() { stop(); <-done }()
	if err := follower.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	guard, newSession := newGuard(t, list)
	wait := func(kind revocation.EventKind) {
		t.Helper()
		for {
			select {
			case e := <-events:
				if e.Kind == kind {
					return
				}
			case <-ctx.Done():
				t.Fatalf("%v was not told", kind)
			}
		}
	}

	s := newSession()
	if _, err := guard.Check(ctx, s.token()); err != nil {
		t.Fatal(err)
	}
	if _, err := o.log.Append(ctx, sessionEntry(s.id)); err != nil {
		t.Fatal(err)
	}
	wait(revocation.EventRevoked)
	if _, err := guard.Check(ctx, s.token()); !errors.Is(err, revocation.ErrRevoked) {
		t.Errorf("got %v", err)
	}

	down.Store(true)
	wait(revocation.EventStale)
	second := newSession()
	if _, err := o.log.Append(ctx, sessionEntry(second.id)); err != nil {
		t.Fatal(err)
	}
	down.Store(false)
	wait(revocation.EventHealed)
	if _, err := guard.Check(ctx, second.token()); !errors.Is(err, revocation.ErrRevoked) {
		t.Errorf("got %v", err)
	}
	if s := follower.Stats(); s.Failed == 0 || s.Whole != 1 {
		t.Errorf("it did not go on from where it was: %+v", s)
	}
}

// TestServerLimits: the limits of a server for requests and answers may be shorter than a poll.
func TestServerLimits(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP/2 %v", http2), func(t *testing.T) {
			o := newOrigin(t, newLog())
			server := httptest.NewUnstartedServer(o.handler)
			server.EnableHTTP2 = http2
			server.Config.ReadTimeout, server.Config.WriteTimeout = revocation.Heartbeat/2, revocation.Heartbeat/2 // time enough for TLS
			server.StartTLS()
			t.Cleanup(server.Close)
			c := o.client(server.Client().Transport, func(c *feed.ClientConfig) { c.URL = server.URL })
			b, err := c.Read(t.Context(), "", 0)
			if err != nil {
				t.Fatal(err)
			}
			for n := range 2 { // the first may be answered at once
				if b, err = c.Read(t.Context(), b.Records[len(b.Records)-1].Position, 3*time.Second); err != nil || len(b.Records) == 0 {
					t.Fatalf("poll %d: %d records, %v", n, len(b.Records), err)
				}
			}
		})
	}
}

// A certificate that is not to be trusted ends everything before the credential is sent.
func TestUntrustedTLS(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	server.Config.ErrorLog = discardLog()
	server.StartTLS()
	t.Cleanup(server.Close)
	key, err := feed.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	credential, err := feed.NewCredential("edge-1")
	if err != nil {
		t.Fatal(err)
	}
	c, err := feed.NewClient(feed.ClientConfig{URL: server.URL, Credential: credential, Issuer: issuer, Keys: []revocation.FrameKey{key.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var unknown *tls.CertificateVerificationError
	if _, err := c.Read(t.Context(), "", 0); !errors.As(err, &unknown) || asked.Load() != 0 {
		t.Errorf("got %v after %d requests", err, asked.Load())
	}
}

// The client's own transport follows nobody, and gives a connection up with the request.
func TestOwnTransport(t *testing.T) {
	o := newOrigin(t, newLog())
	var elsewhere, connections atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(other.Close)
	var mode atomic.Value
	mode.Store("serve")
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch mode.Load() {
		case "redirect":
			http.Redirect(w, r, other.URL, http.StatusMovedPermanently)
		case "hang":
			<-r.Context().Done()
		default:
			o.handler.ServeHTTP(w, r)
		}
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	c := o.client(nil, func(c *feed.ClientConfig) { c.URL, c.HTTP = server.URL, nil })
	defer c.Close()

	for range 3 {
		if b, err := c.Read(t.Context(), "", 0); err != nil || !b.Full {
			t.Fatalf("got %v, %v", b, err)
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections for three reads", n)
	}
	mode.Store("redirect")
	if _, err := c.Read(t.Context(), "", 0); err == nil || elsewhere.Load() != 0 {
		t.Errorf("got %v, %d requests elsewhere", err, elsewhere.Load())
	}
	mode.Store("hang")
	before := connections.Load()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Read(ctx, "", 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	mode.Store("serve")
	if _, err := c.Read(t.Context(), "", 0); err != nil {
		t.Error(err)
	}
	if n := connections.Load(); n <= before {
		t.Error("the connection of a request that was given up is used again")
	}
}

// TestHalfOpen: a connection that says nothing any more is noticed within two seconds, a whole answer that has not begun within four, and an answer that goes on
// may take longer. Afterwards another connection is used, whoever's transport it is and whatever it speaks.
func TestHalfOpen(t *testing.T) {
	const busy = 400 * time.Millisecond
	for _, c := range []struct {
		name   string
		whole  bool
		do     string        // "mute", or how the server answers
		within time.Duration // 0 = it is answered
		http2  bool
	}{
		{"tail", false, "mute", 2 * time.Second, false},
		{"tail, in the middle", false, "half", 2 * time.Second, false},
		{"whole", true, "mute", 4 * time.Second, false},
		{"whole, in the middle", true, "half", time.Second, false},
		{"whole, slow", true, "drip", 0, false},
		{"tail over HTTP/2", false, "mute", 2 * time.Second, true},
		{"whole over HTTP/2", true, "mute", 4 * time.Second, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := newOrigin(t, newLog())
			var do atomic.Value
			do.Store("")
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				kind := do.Load().(string)
				if kind != "half" && kind != "drip" {
					o.handler.ServeHTTP(w, r)
					return
				}
				answer := httptest.NewRecorder()
				o.handler.ServeHTTP(answer, r)
				maps.Copy(w.Header(), answer.Header())
				b := answer.Body.Bytes()
				const parts = 8
				for i := range parts {
					if kind == "half" && i == parts/2 {
						<-r.Context().Done()
						return
					}
					w.Write(b[i*len(b)/parts : (i+1)*len(b)/parts])
					http.NewResponseController(w).Flush()
					if kind == "drip" {
						pass(600 * time.Millisecond)
					}
				}
			}))
			t.Cleanup(server.Close)
			if server.EnableHTTP2 = c.http2; c.http2 {
				server.StartTLS()
			} else {
				server.Start()
			}
			p, err := faults.NewProxy(server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.Close)
			client := o.client(nil, func(cfg *feed.ClientConfig) {
				if cfg.URL, cfg.HTTP = "http://"+p.Addr(), nil; c.http2 {
					cfg.URL, cfg.HTTP = "https://"+p.Addr(), server.Client()
				}
			})
			t.Cleanup(func() { client.Close() })
			ctx := t.Context()
			var b revocation.Batch
			for len(b.Records) == 0 {
				if b, err = client.Read(ctx, "", 0); err != nil {
					t.Log(err) // it has not read the log yet
					pass(10 * time.Millisecond)
				}
			}
			at := b.Records[len(b.Records)-1].Position
			if c.whole {
				at = ""
			}
			do.Store(c.do)
			if c.do == "mute" {
				p.Set(faults.Trouble{Mute: true})
			}
			began := time.Now()
			_, err = client.Read(ctx, at, revocation.Heartbeat)
			switch took := time.Since(began); {
			case c.within == 0 && err != nil:
				t.Errorf("after %v: %v", took, err)
			case c.within > 0 && (err == nil || took > c.within+busy):
				t.Errorf("noticed after %v: %v", took, err)
			case c.within > 0 && !strings.Contains(err.Error(), "does not answer"):
				t.Errorf("it is said that %v", err)
			}
			do.Store("")
			p.Set(faults.Trouble{})     // a connection that is mute stays so
			pass(50 * time.Millisecond) // a Follower does not ask again at once
			if _, err = client.Read(ctx, at, 0); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// TestBehindIsLeft: a server that is behind keeps no connection, since behind one name there may be another that is not.
func TestBehindIsLeft(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP/2 %v", http2), func(t *testing.T) {
			o := newOrigin(t, newLog())
			start := func(h http.Handler) *httptest.Server {
				s := httptest.NewUnstartedServer(h)
				s.EnableHTTP2 = http2
				s.StartTLS()
				t.Cleanup(s.Close)
				return s
			}
			good := start(o.handler)
			lagging := start(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "behind", feed.StatusBehind) }))
			var name atomic.Pointer[httptest.Server] // whom the name leads to
			name.Store(lagging)
			transport := good.Client().Transport.(*http.Transport).Clone()
			transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, name.Load().Listener.Addr().String())
			}
			t.Cleanup(transport.CloseIdleConnections)
			c := o.client(transport, func(c *feed.ClientConfig) { c.URL = good.URL })
			if _, err := c.Read(t.Context(), "", 0); !errors.Is(err, feed.ErrBehind) {
				t.Fatalf("got %v, want ErrBehind", err)
			}
			name.Store(good)
			pass(50 * time.Millisecond) // as a Follower does
			if _, err := c.Read(t.Context(), "", 0); err != nil {
				t.Errorf("the other server is not asked: %v", err)
			}
		})
	}
}

// What an edge hears late is as old as it was for the server, even if the edge's clock is behind and does not show it.
func TestAge(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t)
		late := func() time.Time { return time.Now().Add(-9 * time.Second) }
		list, f, _ := follow(t, e.origin.client(e.network), func(c *revocation.FollowerConfig) { c.Now = late })
		if err := f.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		cut := fault(func(*http.Request, *http.Response) (*http.Response, error) { return nil, io.ErrUnexpectedEOF })
		e.network.fault.Store(&cut)
		pass(1500 * time.Millisecond)
		e.log.Cut(true)
		pass(7 * time.Second)
		e.network.fault.Store(nil)
		pass(3 * time.Second) // the server's own list becomes stale meanwhile
		own, edge := e.origin.list.Freshness(time.Now(), 0, 0), list.Freshness(late(), 0, 0)
		if own.Fresh || edge.Fresh || edge.Age < 8*time.Second {
			t.Errorf("the server knows %+v\nthe edge %+v", own, edge)
		}
	})
}

// Silence in the log is no reason for edges to read it whole: their server sees at every poll whether it goes on from where they are.
func TestSilence(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t)
		e.log.Cut(true)
		pass(8 * time.Second)
		e.log.Cut(false)
		pass(5 * time.Second)
		if s := e.follower.Stats(); s.Whole != 1 || !s.Fresh {
			t.Errorf("got %+v", s)
		}
	})
}

// wary is a log that is read whole after a read that failed, as that of package store is whose record at the position is another one.
type wary struct {
	*memoryLog
	failed atomic.Bool
}

func (w *wary) Read(ctx context.Context, after revocation.Position, wait time.Duration) (revocation.Batch, error) {
	if w.failed.Load() {
		after = ""
	}
	b, err := w.memoryLog.Read(ctx, after, wait)
	w.failed.Store(err != nil)
	return b, err
}

// TestFeedSupplantedRecord: after a failover another record may have the position that an edge has read, or get it later. The edge must get to know that one too, and be
// fresh again.
func TestFeedSupplantedRecord(t *testing.T) {
	for name, later := range map[string]bool{"when the origin reads the log again": false, "later": true} {
		t.Run(name, func(t *testing.T) { bubble(t, func(t *testing.T) { testSupplanted(t, later) }) })
	}
}

func testSupplanted(t *testing.T, later bool) {
	source := &wary{memoryLog: newLog()}
	o := newOriginOn(t, source.memoryLog, source, 256<<10)
	list, follower, _ := follow(t, o.client(direct{o.handler}))
	if err := follower.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	pass(5*time.Second + revocation.Heartbeat/4)
	lost := o.revoke()
	pass(revocation.Heartbeat / 4)
	newest := o.log.Newest()
	if !list.Has(lost) || follower.Stats().Position != newest.Position {
		t.Fatal("the edge has not read the newest record")
	}

	instead := tokentest.SessionID(t)
	var err error
	if newest.Entry, err = sessionEntry(instead).AppendBinary(nil); err != nil {
		t.Fatal(err)
	}
	o.log.Cut(true)
	o.log.RollBack(1)
	if !later {
		o.log.Reissue(newest)
	}
	synctest.Wait()
	o.log.Cut(false)
	if later {
		pass(revocation.Heartbeat / 4) // in which the origin reads the log without it
		o.log.Reissue(newest)
	}
	pass(5 * time.Second)
	if !o.list.Has(instead) || !o.list.Has(lost) {
		t.Fatal("the origin does not know both")
	}
	if !list.Has(instead) || !list.Has(lost) {
		t.Errorf("of the two that had the position the edge knows the first: %v, the second: %v", list.Has(lost), list.Has(instead))
	}
	if f := list.Freshness(time.Now(), 0, 0); !f.Fresh {
		t.Errorf("not fresh again: %s", f.Reason)
	}
	if s := follower.Stats(); s.Whole > 4 {
		t.Errorf("read whole %d times", s.Whole)
	}
}
