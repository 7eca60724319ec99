package feed_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/revocation/feed"
)

// A request is answered only for an edge that shows its own, present secret; what is wrong with it is not said.
func TestCredentialRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := newOrigin(t, newLog())
		other, gone := o.allow("edge-2"), o.allow("edge-3")
		o.edges.Revoke(gone.Name)
		unknown, err := feed.NewCredential("edge-9")
		if err != nil {
			t.Fatal(err)
		}
		secret := o.edge.Secret.Reveal()
		wrong := "A" + secret[1:]
		if wrong == secret {
			wrong = "B" + secret[1:]
		}
		basic := func(name, secret string) func(*http.Request) {
			return func(r *http.Request) { r.SetBasicAuth(name, secret) }
		}
		tests := []struct {
			name   string
			change func(*http.Request)
			want   int
		}{
			{"its own", func(*http.Request) {}, 200},
			{"none", func(r *http.Request) { r.Header.Del("Authorization") }, 401},
			{"a wrong secret", basic(o.edge.Name, wrong), 401},
			{"another edge's secret", basic(o.edge.Name, other.Secret.Reveal()), 401},
			{"another edge's name", basic(other.Name, secret), 401},
			{"one that was revoked", basic(gone.Name, gone.Secret.Reveal()), 401},
			{"one of nobody", basic(unknown.Name, unknown.Secret.Reveal()), 401},
			{"a secret cut off", basic(o.edge.Name, secret[:40]), 401},
			{"a secret and more", basic(o.edge.Name, secret+"A"), 401},
			{"no secret", basic(o.edge.Name, ""), 401},
			{"no name", basic("", secret), 401},
			{"a name in another case", basic(strings.ToUpper(o.edge.Name), secret), 401},
			{"as a bearer", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+secret) }, 401},
			{"two", func(r *http.Request) { r.Header.Add("Authorization", r.Header.Get("Authorization")) }, 401},
		}
		var body string
		denied := uint64(0)
		for _, tt := range tests {
			resp := o.poll(revocation.Cursor{}, 0, tt.change)
			if resp.StatusCode != tt.want {
				t.Errorf("%s: status %d, want %d", tt.name, resp.StatusCode, tt.want)
			}
			if tt.want != 401 {
				continue
			}
			denied++
			b, _ := io.ReadAll(resp.Body)
			if body == "" {
				body = string(b)
			}
			if string(b) != body || resp.Header.Get("WWW-Authenticate") == "" || resp.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: another answer than the others, %q", tt.name, b)
			}
		}
		if got := o.handler.Stats().Denied; got != denied {
			t.Errorf("%d denied are counted, want %d", got, denied)
		}
	})
}

func TestRequestRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := newOrigin(t, newLog())
		cursor := o.log.Cursor(0).String()
		for name, tt := range map[string]struct {
			query string
			want  int
		}{
			"the whole":            {"", 200},
			"the whole, named":     {"full=1", 200},
			"everything there is":  {"full=1&after=" + cursor + "&wait=1.5&nonce=" + nonce() + "&instance=abc-1", 200},
			"a part":               {"after=" + cursor + "&wait=0.001", 200},
			"no such parameter":    {"since=" + cursor, 400},
			"one twice":            {"after=" + cursor + "&after=" + cursor, 400},
			"no cursor":            {"after=0-0", 400},
			"a cursor in pieces":   {"after=a~b", 400},
			"a huge cursor":        {"after=" + strings.Repeat("e", 2000), 400},
			"full of something":    {"full=yes", 400},
			"a negative wait":      {"wait=-1", 400},
			"a wait in words":      {"wait=1h", 400},
			"a wait for infinity":  {"wait=Inf", 400},
			"an empty wait":        {"wait=", 400},
			"only a point":         {"wait=.", 400},
			"a long wait":          {"wait=" + strings.Repeat("9", 9), 400},
			"a short nonce":        {"nonce=" + nonce()[1:], 400},
			"a long nonce":         {"nonce=" + nonce() + "AA", 400},
			"a nonce in two lines": {"nonce=" + nonce()[1:] + "%0A", 400},
			"unused bits set":      {"nonce=" + strings.Repeat("A", 21) + "B", 400},
			"an instance in two":   {"instance=a:b", 400},
			"no instance":          {"instance=", 400},
			"half an escape":       {"after=%2", 400},
			"a semicolon":          {"full=1;wait=1", 400},
		} {
			if resp := o.poll(revocation.Cursor{}, 0, query(tt.query)); resp.StatusCode != tt.want {
				t.Errorf("%s: status %d, want %d", name, resp.StatusCode, tt.want)
			}
		}
		for _, method := range []string{"POST", "HEAD", "PUT", "OPTIONS"} {
			resp := o.poll(revocation.Cursor{}, 0, func(r *http.Request) { r.Method = method })
			if resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET, DELETE" {
				t.Errorf("%s: status %d", method, resp.StatusCode)
			}
		}
	})
}

// A poll is answered at once if there is something to say, and otherwise in time to show that the server lives.
func TestPoll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newLog()
		o := newOrigin(t, log)
		took := func(f func() *http.Response) (revocation.FrameHead, time.Duration) {
			began := time.Now()
			return o.frame(f()), time.Since(began)
		}
		h, d := took(func() *http.Response { return o.poll(revocation.Cursor{}, time.Hour) })
		if !h.Full || h.Count == 0 || d != 0 {
			t.Errorf("the whole log comes after %v: %+v", d, h)
		}
		if h.Epoch != "epoch-1" || h.Issuer != issuer || h.To != log.Newest().Position || h.Birth == 0 || h.From != "" || h.KeyID != o.key.Public().ID() {
			t.Errorf("the head of the whole is %+v", h)
		}
		second := log.Cursor(0)
		h, d = took(func() *http.Response { return o.poll(second, time.Hour) })
		if h.Full || h.Count != 1 || h.From != second.Position || d > revocation.Heartbeat {
			t.Errorf("the next heartbeat comes after %v: %+v", d, h)
		}
		h, d = took(func() *http.Response { return o.poll(second, time.Hour) })
		if h.Count != 1 || d > 20*time.Millisecond {
			t.Errorf("what is there already comes after %v: %+v", d, h)
		}

		// One revocation on a silent log, for somebody who waits.
		synctest.Wait()
		cursor := log.Cursor(0)
		time.AfterFunc(500*time.Millisecond, func() { o.revoke() })
		h, d = took(func() *http.Response { return o.poll(cursor, time.Hour) })
		if h.Count != 1 || d != 500*time.Millisecond {
			t.Errorf("a revocation comes after %v: %+v", d, h)
		}
	})
}

// Without news a poll is answered within the wait and within a third of MaxStale, with a frame that says so.
func TestPollWithoutNews(t *testing.T) {
	for _, tt := range []struct{ wait, maxStale, want time.Duration }{
		{400 * time.Millisecond, 0, 400 * time.Millisecond},
		{0, 0, 0},
		{time.Hour, 0, 10 * time.Second / 3},
		{time.Hour, 900 * time.Millisecond, 300 * time.Millisecond},
	} {
		bubble(t, func(t *testing.T) {
			log := newLog()
			o := newOrigin(t, log, func(c *feed.Config) { c.MaxStale = tt.maxStale })
			log.Cut(true) // no heartbeats
			began := time.Now()
			cursor := log.Cursor(0)
			h := o.frame(o.poll(cursor, tt.wait))
			if d := time.Since(began); d != tt.want {
				t.Errorf("wait %v: answered after %v, want %v", tt.wait, d, tt.want)
			}
			if h.Full || h.Count != 0 || h.From != cursor.Position || h.To != cursor.Position || h.ToTime != cursor.Time {
				t.Errorf("the frame with nothing new is %+v", h)
			}
		})
	}
}

// What the frame says of the server's knowledge is never the server's clock.
func TestAsOf(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newLog()
		o := newOrigin(t, log)
		synctest.Wait()
		log.Cut(true)
		newest := log.Newest()
		began := o.frame(o.poll(revocation.Cursor{}, 0)).Age
		for range 8 {
			h := o.frame(o.poll(revocation.Cursor{}, 0))
			if h.AsOf != newest.Time {
				t.Errorf("as-of is %d, want the time of the newest record, %d", h.AsOf, newest.Time)
			}
			if want := time.Since(time.UnixMilli(newest.Time)) + began; h.Age != want {
				t.Errorf("the age is %v, want %v", h.Age, want)
			}
			pass(time.Second)
		}
	})
}

// A server that does not know enough says so, with a status that means nothing else.
func TestBehind(t *testing.T) {
	ahead := func(c revocation.Cursor) revocation.Cursor {
		c.Time += 5000
		c.Position = revocation.Position(fmt.Sprintf("%d-999", c.Time))
		return c
	}
	tests := []struct {
		name  string
		do    func(*origin)
		after func(*origin) revocation.Cursor
		full  bool
	}{
		{"its list is stale", func(o *origin) { o.log.Cut(true); pass(11 * time.Second) }, nil, false},
		{"its list is stale, for the whole", func(o *origin) { o.log.Cut(true); pass(11 * time.Second) }, nil, true},
		{"the log has lost its epoch", func(o *origin) {
			o.close()
			o.log.Lose()
			o.tail.Read(context.Background(), "", 0)
		}, nil, true},
		{"the log went on with a gap", func(o *origin) {
			o.close()
			o.tail.Read(context.Background(), "1-1", 0)
		}, nil, false},
		{"the edge is ahead", nil, func(o *origin) revocation.Cursor { return ahead(o.log.Cursor(0)) }, false},
		{"the edge is ahead and asks for the whole", nil, func(o *origin) revocation.Cursor { return ahead(o.log.Cursor(0)) }, true},
		{"the edge is ahead by less than a millisecond", nil, func(o *origin) revocation.Cursor {
			c := o.log.Cursor(0)
			c.Position += "9"
			return c
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				o := newOrigin(t, newLog())
				o.revoke()
				synctest.Wait()
				after := o.log.Cursor(1)
				if tt.do != nil {
					tt.do(o)
				}
				if tt.after != nil {
					after = tt.after(o)
				}
				change := func(*http.Request) {}
				if tt.full {
					change = query("full=1&after=" + after.String())
				}
				before := o.handler.Stats()
				resp := o.poll(after, 10*time.Millisecond, change)
				if resp.StatusCode != feed.StatusBehind || resp.Header.Get("Retry-After") != "1" {
					t.Errorf("status %d, want %d", resp.StatusCode, feed.StatusBehind)
				}
				if now := o.handler.Stats(); now.Behind != before.Behind+1 || now.Frames != before.Frames {
					t.Errorf("counted: %+v", now)
				}
			})
		})
	}
}

// A server that is behind by a moment catches up while the edge waits.
func TestBehindForAMoment(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newLog()
		ahead, lagging := newOrigin(t, log), newOrigin(t, log)
		synctest.Wait()
		lagging.close()
		ahead.revoke()
		synctest.Wait()
		cursor := log.Cursor(0)
		if resp := lagging.poll(cursor, 0); resp.StatusCode != feed.StatusBehind {
			t.Errorf("status %d of a server that lags", resp.StatusCode)
		}
		time.AfterFunc(300*time.Millisecond, func() {
			if _, err := lagging.tail.Read(context.Background(), log.Cursor(1).Position, 0); err != nil {
				t.Error(err)
			}
		})
		began := time.Now()
		h := lagging.frame(lagging.poll(cursor, 500*time.Millisecond))
		if d := time.Since(began); h.Full || h.Count != 0 || h.To != cursor.Position || d != 500*time.Millisecond {
			t.Errorf("after %v: %+v", d, h)
		}
	})
}

// Where the log does not go on from the cursor, the answer is the whole log.
func TestWholeInsteadOfPart(t *testing.T) {
	tests := []struct {
		name string
		do   func(*origin)
	}{
		{"another epoch", func(o *origin) { o.log.Lose(); o.log.Append(context.Background()) }},
		{"rolled back", func(o *origin) { o.log.RollBack(2) }},
		{"a hole behind the cursor", func(o *origin) {
			o.log.mu.Lock()
			n := len(o.log.records)
			o.log.records = slices.Delete(slices.Clone(o.log.records), n-2, n-1)
			o.log.mu.Unlock()
			o.tail.Read(context.Background(), "", 0)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				o := newOrigin(t, newLog())
				o.revoke()
				o.revoke()
				o.revoke()
				synctest.Wait()
				after := o.log.Cursor(2)
				if tt.name == "rolled back" {
					after = o.log.Cursor(0)
				}
				if h := o.frame(o.poll(after, 0)); h.Full {
					t.Fatalf("before: %+v", h)
				}
				tt.do(o)
				pass(6500 * time.Millisecond) // the server's own follower notices
				h := o.frame(o.poll(after, 0))
				if !h.Full || h.To != o.log.Newest().Position {
					t.Errorf("got %+v", h)
				}
			})
		})
	}
}

// When the log's clock was wrong and is set back, edges are not told to wait until the time comes round again.
func TestClockSetBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		fresh := func() revocation.Freshness { return revocation.Freshness{Fresh: true, Epoch: "epoch-1"} }
		o := newOrigin(t, newLog(), func(c *feed.Config) { c.Fresh = func() revocation.Freshness { return fresh() } })
		o.close() // it could not be fresh with such a clock
		read := func() {
			t.Helper()
			if _, err := o.log.Append(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := o.tail.Read(t.Context(), "", 0); err != nil {
				t.Fatal(err)
			}
		}
		o.log.SetClock(time.Hour)
		read()
		after := o.log.Cursor(0)
		o.log.SetClock(0)
		read()
		fresh = func() revocation.Freshness { return revocation.Freshness{Fresh: true, Epoch: o.log.Cursor(0).Epoch} }
		if h := o.frame(o.poll(after, 0)); !h.Full || h.Epoch == after.Epoch {
			t.Errorf("got %+v", h)
		}
		// But an epoch that is newer by little is one that this server has not heard of yet.
		after = o.log.Cursor(0)
		after.Epoch, after.Time = "epoch-99", after.Time+1000
		if resp := o.poll(after, 0); resp.StatusCode != feed.StatusBehind {
			t.Errorf("status %d", resp.StatusCode)
		}
	})
}

// An edge that was away for long gets parts of a bounded size while the server remembers the records, and the whole after that.
func TestFarBehind(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := newLargeOrigin(t, newLog(), 1<<20)
		start := o.log.Cursor(0)
		grow := func(thousands int) {
			for range thousands {
				for range 1000 {
					o.log.AppendRaw([]byte("z\x00\x00\x01\xa0\xc4\x8f\x44\x00"))
				}
				pass(time.Millisecond)
			}
		}
		grow(10)
		h := o.frame(o.poll(start, 0))
		if h.Full || h.Count != 4096 {
			t.Errorf("got %+v", h)
		}
		h = o.frame(o.poll(revocation.Cursor{Epoch: h.Epoch, Time: h.ToTime, Position: h.To}, 0))
		if h.Full || h.Count != 4096 {
			t.Errorf("got %+v", h)
		}
		grow(7)
		if h := o.frame(o.poll(start, 0)); !h.Full || h.Count < 17000 {
			t.Errorf("got %+v", h)
		}
	})
}

func TestBusy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var logged bytes.Buffer
		o := newOrigin(t, newLog(), func(c *feed.Config) {
			c.MaxClients, c.MaxPerEdge = 3, 2
			c.Logger = slog.New(slog.NewTextHandler(&logged, nil))
		})
		o.log.Cut(true)
		other := o.allow("edge-2")
		as := func(c feed.Credential) func(*http.Request) {
			return func(r *http.Request) { r.SetBasicAuth(c.Name, c.Secret.Reveal()) }
		}
		var waiting sync.WaitGroup
		cursor := o.log.Cursor(0)
		poll := func(c feed.Credential) {
			waiting.Go(func() {
				if resp := o.poll(cursor, time.Second, as(c)); resp.StatusCode != 200 {
					t.Errorf("status %d of one that was let in", resp.StatusCode)
				}
			})
			synctest.Wait()
		}
		refused := func(c feed.Credential) {
			t.Helper()
			resp := o.poll(cursor, time.Second, as(c))
			if resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "1" {
				t.Errorf("status %d, want busy", resp.StatusCode)
			}
		}
		poll(o.edge)
		poll(o.edge)
		refused(o.edge)
		poll(other)
		refused(other)
		if s := o.handler.Stats(); s.Clients != 3 || s.Busy != 2 {
			t.Errorf("counted: %+v", s)
		}
		// An operator has to raise the limit, or to find out who asks so often; saying it once will do.
		if text := logged.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "level=WARN") || !strings.Contains(text, "edge=edge-1 clients=2 most=3 each=2") {
			t.Errorf("logged: %s", text)
		}
		waiting.Wait()
		if resp := o.poll(cursor, 0); resp.StatusCode != 200 || o.handler.Stats().Clients != 0 {
			t.Errorf("status %d after all have left", resp.StatusCode)
		}
	})
}

// Nothing more goes to an edge whose credential was revoked while it waited.
func TestRevokedWhileWaiting(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := newOrigin(t, newLog())
		time.AfterFunc(10*time.Millisecond, func() { o.edges.Revoke(o.edge.Name) })
		if resp := o.poll(o.log.Cursor(0), time.Hour); resp.StatusCode != 401 {
			t.Errorf("status %d", resp.StatusCode)
		}
	})
}

// An edge whose secret is replaced goes on with either.
func TestTwoSecrets(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := newOrigin(t, newLog())
		old := o.edge
		oldDigest, err := old.Digest()
		if err != nil {
			t.Fatal(err)
		}
		o.edge = o.allow("edge-1")
		digest, err := o.edge.Digest()
		if err != nil {
			t.Fatal(err)
		}
		as := func(r *http.Request) { r.SetBasicAuth(old.Name, old.Secret.Reveal()) }
		if resp := o.poll(revocation.Cursor{}, 0, as); resp.StatusCode != 401 {
			t.Errorf("status %d for the secret that was replaced", resp.StatusCode)
		}
		if err := o.edges.Allow("edge-1", digest, oldDigest); err != nil {
			t.Fatal(err)
		}
		for _, f := range []func(*http.Request){as, func(*http.Request) {}} {
			if resp := o.poll(revocation.Cursor{}, 0, f); resp.StatusCode != 200 {
				t.Errorf("status %d for one of two secrets", resp.StatusCode)
			}
		}
	})
}

// The cursor of a poll says how far the edge is, if this server can tell.
func TestConfirmation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := newOrigin(t, newLog())
		o.revoke()
		synctest.Wait()
		at := o.log.Cursor(0)
		foreign, unknown := at, at
		foreign.Epoch, unknown.Position = "epoch-9", "1-1"
		unknown.Time -= 1
		for _, q := range []string{
			"", "full=1&after=" + at.String(), // of the whole nothing follows
			"after=" + foreign.String(), "after=" + unknown.String(), // nor of what is not in this log
		} {
			o.poll(at, 0, query(q))
		}
		if got := o.confirmations(); len(got) != 0 {
			t.Errorf("confirmed: %+v", got)
		}
		began := time.Now()
		o.poll(at, 500*time.Millisecond, query("wait=0.5&instance=one&after="+at.String()))
		o.poll(at, 0, query("instance=two&after="+at.String()))
		want := []feed.Confirmation{
			{Edge: "edge-1", Instance: "one", Position: at.Position, Time: began},
			{Edge: "edge-1", Instance: "two", Position: at.Position, Time: time.Now()},
		}
		if got := o.confirmations(); !slices.Equal(got, want) {
			t.Errorf("confirmed:\n%+v, want\n%+v", got, want)
		}
	})
}

// Two processes with one credential are two followers: neither confirms for the other.
func TestTwoOfOneName(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := newOrigin(t, newLog())
		one, two := o.client(direct{o.handler}), o.client(direct{o.handler})
		_, f1, _ := follow(t, one)
		_, f2, stop := follow(t, two)
		for _, f := range []*revocation.Follower{f1, f2} {
			if err := f.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		stop()
		o.revoke()
		at := o.log.Cursor(0).Position
		pass(2 * time.Second)
		for _, c := range o.confirmations() {
			if c.Instance == two.Instance() && number(c.Position) >= number(at) {
				t.Errorf("the one that stopped confirmed %+v", c)
			}
		}
		if !slices.ContainsFunc(o.confirmations(), func(c feed.Confirmation) bool {
			return c.Edge == "edge-1" && c.Instance == one.Instance() && number(c.Position) >= number(at)
		}) {
			t.Error("the one that goes on did not confirm")
		}
	})
}

// However fast the log grows, an edge gets frames at a bounded rate; each holds more then.
func TestPace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := newOrigin(t, newLog())
		list, f, _ := follow(t, o.client(direct{o.handler}))
		if err := f.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		before := o.handler.Stats().Frames
		for range 2000 {
			o.revoke()
			pass(500 * time.Microsecond)
		}
		pass(100 * time.Millisecond)
		if n := o.handler.Stats().Frames - before; n > 60 {
			t.Errorf("%d frames in a second", n)
		}
		if list.Len() != 2000 {
			t.Errorf("%d of 2000 arrived", list.Len())
		}
	})
}

// A thousand edges cost the log what one does, and hear at once.
func TestThousandEdges(t *testing.T) {
	const edges = manyEdges
	bubble(t, func(t *testing.T) {
		log := newLog()
		o := newOrigin(t, log, func(c *feed.Config) { c.MaxPerEdge = edges })
		lists := make([]*revocation.List, edges)
		for i := range lists {
			var f *revocation.Follower
			lists[i], f, _ = follow(t, o.client(direct{o.handler}))
			if i == edges-1 {
				if err := f.Ready(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		pass(2500 * time.Millisecond) // between heartbeats: who has just had a frame gets the next a little later
		if s := o.handler.Stats(); s.Clients != edges || s.Busy != 0 || s.Whole != edges {
			t.Errorf("counted: %+v", s)
		}
		frames, reads := o.handler.Stats().Frames, log.reads.Load()
		pass(3 * time.Second)
		if n := log.reads.Load() - reads; n > 7 {
			t.Errorf("%d reads of the log in 3 s", n)
		}
		if n := o.handler.Stats().Frames - frames; n > 7*edges { // a poll ends with a heartbeat or after a second
			t.Errorf("%d frames to %d edges in 3 s of nothing but heartbeats", n, edges)
		}
		synctest.Wait()
		began := time.Now()
		id := o.revoke()
		synctest.Wait()
		if d := time.Since(began); d != 0 {
			t.Errorf("it took %v", d)
		}
		for i, l := range lists {
			if !l.Has(id) {
				t.Fatalf("edge %d has not heard", i)
			}
		}
	})
}

// What is revoked for good stays in the whole log when its record has gone.
func TestPermanent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := newOrigin(t, newLog())
		ctx := context.Background()
		now := time.Now().UnixMilli()
		if _, err := o.log.Append(ctx,
			revocation.Entry{Kind: revocation.KindKey, At: now, KeyID: "a-key"},
			revocation.Entry{Kind: revocation.KindAll, At: now, NotBefore: now},
			revocation.Entry{Kind: revocation.KindAll, At: now, NotBefore: now - 5},
		); err != nil {
			t.Fatal(err)
		}
		for range 2500 { // more than a piece of the log, so that it can go
			o.revoke()
		}
		pass(revocation.Horizon + 10*time.Second)
		_, b := o.open(o.poll(revocation.Cursor{}, 0))
		c := o.client(answer(b), func(c *feed.ClientConfig) { c.SkipNonce = true })
		batch, err := c.Read(ctx, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(batch.Permanent) != 2 {
			t.Errorf("permanent are %v", batch.Permanent)
		}
		for _, e := range batch.Permanent {
			if e.Kind == revocation.KindAll && e.NotBefore != now || e.Kind == revocation.KindKey && e.KeyID != "a-key" {
				t.Errorf("got %+v", e)
			}
		}
		for _, r := range batch.Records {
			if e, err := revocation.ParseEntry(r.Entry); r.Entry != nil && err == nil && e.Permanent() {
				t.Error("the record is still there: nothing was shown")
			}
		}
	})
}

// answer is a transport that answers every request with the same frame.
type answer []byte

func (a answer) RoundTrip(*http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	w.Header().Set("Content-Type", feed.ContentType)
	w.Write(a)
	return w.Result(), nil
}

// Records go when they have expired, so that neither memory nor frames grow for ever.
func TestTrim(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := newOrigin(t, newLog())
		for range 3000 {
			o.revoke()
		}
		synctest.Wait()
		full := o.frame(o.poll(revocation.Cursor{}, 0))
		pass(revocation.Horizon + time.Minute)
		for range 3000 {
			o.revoke()
		}
		pass(2 * time.Second)
		later := o.frame(o.poll(revocation.Cursor{}, 0))
		if later.Count > full.Count+2200 {
			t.Errorf("%d records, a horizon after %d", later.Count, full.Count)
		}
	})
}

// A log that does not fit into a frame is not served whole, rather than in part; what is new is. Later it fits again.
func TestTooLarge(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var logged bytes.Buffer
		o := newOrigin(t, newLog(), func(c *feed.Config) { c.Logger = slog.New(slog.NewTextHandler(&logged, nil)) })
		for range 10 {
			for range 1000 {
				o.revoke()
			}
			synctest.Wait()
		}
		for range 3 {
			if resp := o.poll(revocation.Cursor{}, 0); resp.StatusCode != feed.StatusBehind {
				t.Errorf("status %d for a log that does not fit", resp.StatusCode)
			}
			if h := o.frame(o.poll(o.log.Cursor(5), 0)); h.Full || h.Count != 5 {
				t.Errorf("got %+v", h)
			}
		}
		if n := strings.Count(logged.String(), "longer than a frame"); n != 1 {
			t.Errorf("said %d times:\n%s", n, logged.String())
		}
		pass(revocation.Horizon + time.Minute)
		if h := o.frame(o.poll(revocation.Cursor{}, 0)); !h.Full {
			t.Errorf("got %+v", h)
		}
	})
}

// An entry that no version could read is passed on as one that nobody understands.
func TestDamagedEntry(t *testing.T) {
	for name, entry := range map[string][]byte{"too long": make([]byte, 200), "empty": {}, "another kind": []byte("z\x00\x00\x01\xa0\xc4\x8f\x44\x00more"), "garbage": []byte("\xff")} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				o := newOrigin(t, newLog())
				_, f, _ := follow(t, o.client(direct{o.handler}))
				if err := f.Ready(t.Context()); err != nil {
					t.Fatal(err)
				}
				o.log.AppendRaw(entry)
				pass(time.Second)
				if s := f.Stats(); s.Unknown != 1 {
					t.Errorf("%d entries not understood, want 1", s.Unknown)
				}
			})
		})
	}
}

func TestCompression(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := newOrigin(t, newLog())
		small := o.poll(revocation.Cursor{}, 0, accept("gzip"))
		if small.Header.Get("Content-Encoding") != "" {
			t.Error("a small frame is compressed")
		}
		for range 2000 {
			o.revoke()
		}
		pass(2 * time.Second)
		_, plain := o.open(o.poll(revocation.Cursor{}, 0))
		for value, want := range map[string]bool{
			"gzip": true, "GZIP": true, "br, gzip": true, "gzip;q=0.5": true, "gzip; q=1": true, "deflate , gzip ;q=0.001": true,
			"": false, "br": false, "gzip;q=0": false, "gzip; q=0.000": false, "identity": false, "x-gzip": false,
		} {
			resp := o.poll(revocation.Cursor{}, 0, accept(value))
			if got := resp.Header.Get("Content-Encoding") == "gzip"; got != want {
				t.Errorf("Accept-Encoding %q: compressed %v", value, got)
			}
			if resp.Header.Get("Vary") != "Accept-Encoding" || resp.Header.Get("Content-Type") != feed.ContentType {
				t.Errorf("the header is %v", resp.Header)
			}
			if _, b := o.open(resp); !bytes.Equal(b[len(b)-1000:], plain[len(plain)-1000:]) || len(b) != len(plain) {
				t.Errorf("Accept-Encoding %q: another body", value)
			}
		}
		resp := o.poll(revocation.Cursor{}, 0, accept("gzip"))
		packed, _ := io.ReadAll(resp.Body)
		if len(packed) > len(plain)*3/4 {
			t.Errorf("%d bytes compressed to %d", len(plain), len(packed))
		}
	})
}

func accept(encoding string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Accept-Encoding", encoding) }
}

func TestNewHandlerRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := newOrigin(t, newLog())
		good := feed.Config{Tail: o.tail, Key: o.key, Issuer: issuer, Edges: o.edges, Fresh: func() revocation.Freshness { return revocation.Freshness{} }}
		if _, err := feed.NewHandler(good); err != nil {
			t.Fatal(err)
		}
		for name, change := range map[string]func(*feed.Config){
			"no tail":             func(c *feed.Config) { c.Tail = nil },
			"no key":              func(c *feed.Config) { c.Key = nil },
			"no edges":            func(c *feed.Config) { c.Edges = nil },
			"no freshness":        func(c *feed.Config) { c.Fresh = nil },
			"no issuer":           func(c *feed.Config) { c.Issuer = "" },
			"a long issuer":       func(c *feed.Config) { c.Issuer = strings.Repeat("i", 256) },
			"a negative MaxStale": func(c *feed.Config) { c.MaxStale = -1 },
			"a huge MaxStale":     func(c *feed.Config) { c.MaxStale = math.MaxInt64 },
			"negative clients":    func(c *feed.Config) { c.MaxClients = -1 },
			"negative each":       func(c *feed.Config) { c.MaxPerEdge = -1 },
		} {
			cfg := good
			change(&cfg)
			if _, err := feed.NewHandler(cfg); err == nil {
				t.Errorf("%s: made", name)
			}
		}
		for _, n := range []int{-1, 1, 1<<30 + 1} {
			if _, err := feed.NewTail(o.log, feed.TailConfig{MaxLen: n}); err == nil {
				t.Errorf("MaxLen %d: made", n)
			}
		}
		if _, err := feed.NewTail(nil, feed.TailConfig{}); err == nil {
			t.Error("a tail of nothing was made")
		}
		tail, err := feed.NewTail(o.log, feed.TailConfig{})
		if err != nil {
			t.Fatal(err)
		}
		if err := tail.Err(); err == nil || !strings.Contains(err.Error(), "Config.Source") {
			t.Errorf("a tail that has read nothing: %v, which does not say where it belongs", err)
		}
		if _, err := tail.Read(t.Context(), "", 0); err != nil || tail.Err() != nil {
			t.Error(err, tail.Err())
		}
	})
}
