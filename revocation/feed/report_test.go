package feed_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/revocation/feed"
)

// census is a log that takes reports.
type census struct {
	*memoryLog
	mu    sync.Mutex
	at    map[string]revocation.Position
	news  map[string]time.Time
	calls int
	err   error
	hangs bool
	full  int // the most that it keeps; 0 = all
}

func newCensus() *census {
	return &census{memoryLog: newLog(), at: map[string]revocation.Position{}, news: map[string]time.Time{}}
}

func (c *census) Report(ctx context.Context, follower string, at revocation.Position, age time.Duration) error {
	c.mu.Lock()
	hangs, err := c.hangs, c.err
	c.calls++
	c.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if at == "" {
		delete(c.at, follower)
		return nil
	}
	if _, ok := c.at[follower]; !ok && c.full > 0 && len(c.at) >= c.full {
		return fmt.Errorf("full: %w", revocation.ErrNoRoom)
	}
	c.at[follower], c.news[follower] = at, time.Now().Add(-age)
	return nil
}

func (c *census) reached() map[string]revocation.Position {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.at)
}

func (c *census) count() int { c.mu.Lock(); defer c.mu.Unlock(); return c.calls }

func (c *census) fail(err error, hangs bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err, c.hangs = err, hangs
}

// newCountedOrigin starts an origin whose log takes reports.
func newCountedOrigin(t *testing.T, log *census, change ...func(*feed.Config)) *origin {
	t.Helper()
	o := newOriginOn(t, log.memoryLog, log, 256<<10, change...)
	t.Cleanup(func() { o.handler.Close() })
	return o
}

// An edge without Redis counts among those who follow the log, under the name of its credential and that of its process.
func TestEdgesAreReported(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newCensus()
		o := newCountedOrigin(t, log)
		one, two := o.client(direct{o.handler}), o.client(direct{o.handler})
		_, f1, _ := follow(t, one)
		_, f2, stop := follow(t, two)
		for _, f := range []*revocation.Follower{f1, f2} {
			if err := f.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		name := func(c *feed.Client) string { return "edge-1/" + c.Instance() }
		o.revoke()
		at := o.log.Cursor(0).Position
		pass(500 * time.Millisecond)
		for _, c := range []*feed.Client{one, two} {
			if got := log.reached()[name(c)]; number(got) < number(at) {
				t.Errorf("%s is at %s, want %s", name(c), got, at)
			}
		}
		stop()
		pass(time.Second)
		o.revoke()
		at = o.log.Cursor(0).Position
		pass(500 * time.Millisecond)
		if number(log.reached()[name(one)]) < number(at) || number(log.reached()[name(two)]) >= number(at) {
			t.Errorf("one goes on, the other has stopped: %v, want %s", log.reached(), at)
		}
		// However fast the log grows, an edge is reported ten times a second, and the last position is not lost.
		before := log.count()
		for range 2000 {
			o.revoke()
			pass(500 * time.Microsecond)
		}
		pass(300 * time.Millisecond)
		if n := log.count() - before; n > 20 {
			t.Errorf("%d reports in 1.3 s", n)
		}
		if got := log.reached()[name(one)]; number(got) < number(o.log.Cursor(0).Position)-2 {
			t.Errorf("the last position was lost: %s of %s", got, o.log.Cursor(0).Position)
		}
	})
}

// TestFullCensus: that there is no room for one edge keeps no other from being reported.
func TestFullCensus(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newCensus()
		log.full = 2
		o := newCountedOrigin(t, log)
		names := []string{"a", "b", "c", "d", "e"}
		for range 20 {
			pass(time.Second)
			synctest.Wait()
			for _, name := range names {
				o.poll(o.log.Cursor(0), 0, query("instance="+name+"&after="+o.log.Cursor(0).String()))
			}
		}
		pass(100 * time.Millisecond)
		got := log.reached()
		for name, at := range got {
			if number(at) < number(o.log.Cursor(0).Position) {
				t.Errorf("%s is reported at %s, the log is at %s", name, at, o.log.Cursor(0).Position)
			}
		}
		if s := o.handler.Stats(); len(got) != 2 || s.Reported < 30 || s.Unreported < 30 {
			t.Errorf("%d are kept; %d reports taken, %d not", len(got), s.Reported, s.Unreported)
		}
	})
}

// TestEdgesLeave: an edge that ends properly is not waited for, whoever else uses its credential, and one that goes on is.
func TestEdgesLeave(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newCensus()
		o := newCountedOrigin(t, log)
		one, two := o.client(direct{o.handler}), o.client(direct{o.handler})
		_, f1, stop1 := follow(t, one)
		_, f2, _ := follow(t, two)
		for _, f := range []*revocation.Follower{f1, f2} {
			if err := f.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		pass(time.Second)
		if got := log.reached(); len(got) != 2 {
			t.Fatalf("%v, want both", got)
		}
		stop1()
		for range 2 {
			if err := one.Close(); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		if got := log.reached(); len(got) != 1 || got["edge-1/"+two.Instance()] == "" {
			t.Errorf("%v, want the one that goes on", got)
		}
		pass(5 * time.Second)
		if got := log.reached(); len(got) != 1 {
			t.Errorf("later: %v", got)
		}
		// A credential takes leave for its own processes only, and says nothing else.
		for name, c := range map[string]struct {
			query string
			want  int
		}{
			"with a cursor": {"instance=" + two.Instance() + "&after=" + o.log.Cursor(0).String(), 400},
			"with a wait":   {"instance=" + two.Instance() + "&wait=1", 400},
			"of an edge":    {"", 204},
			"of nobody":     {"instance=other", 204},
		} {
			leave := func(r *http.Request) { r.Method = http.MethodDelete }
			if resp := o.poll(revocation.Cursor{}, 0, query(c.query), leave); resp.StatusCode != c.want {
				t.Errorf("%s: %d, want %d", name, resp.StatusCode, c.want)
			}
		}
		synctest.Wait()
		if got := log.reached(); len(got) != 1 {
			t.Errorf("in the end: %v", got)
		}
	})
}

// TestEdgesConfirmNoOtherHistory takes the log back to before what an edge has, and revokes something there under a position that the edge is past. Nobody has
// noticed yet, so the edge is reported; but as of when its news came, which was before that.
func TestEdgesConfirmNoOtherHistory(t *testing.T) {
	for _, c := range []struct {
		name  string
		fails bool          // reports do, before
		wait  time.Duration // until the edge asks again
	}{
		{"an edge that was not reported yet", false, 0},
		{"a report that failed is tried again", true, 500 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				log := newCensus()
				o := newCountedOrigin(t, log)
				pass(time.Second)
				for range 5 {
					o.revoke()
				}
				synctest.Wait()
				at := o.log.Cursor(0)
				if c.fails {
					log.fail(errors.New("no"), false)
					o.poll(at, 0)
					pass(c.wait)
					log.fail(nil, false)
					at = o.log.Cursor(0)
				} else {
					pass(100 * time.Millisecond)
				}
				synctest.Wait()
				o.log.Rewind(5)
				missed := time.Now()
				o.revoke()
				if lost := o.log.Cursor(0).Position; number(lost) > number(at.Position) {
					t.Fatalf("the revocation is at %s, the edge at %s", lost, at.Position)
				}
				o.poll(at, 0)
				pass(100 * time.Millisecond)
				log.mu.Lock()
				got, news := log.at["edge-1"], log.news["edge-1"]
				log.mu.Unlock()
				if got != at.Position || !news.Before(missed) {
					t.Errorf("reported %q as of %v after the revocation, want %q as of before", got, news.Sub(missed), at.Position)
				}
				// Once this server knows, so does who asks it.
				pass(5 * time.Second)
				synctest.Wait()
				o.poll(o.log.Cursor(0), 0)
				pass(time.Second)
				log.mu.Lock()
				defer log.mu.Unlock()
				if news := log.news["edge-1"]; !news.After(missed) {
					t.Errorf("in the end it is reported as of %v after the revocation", news.Sub(missed))
				}
			})
		})
	}
}

// What has no valid credential, or none any more, never counts.
func TestOnlyEdgesAreReported(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newCensus()
		o := newCountedOrigin(t, log)
		other := o.allow("edge-2")
		pass(time.Second)
		synctest.Wait()
		at := o.log.Cursor(0)
		for name, change := range map[string]func(*http.Request){
			"none":    func(r *http.Request) { r.Header.Del("Authorization") },
			"wrong":   func(r *http.Request) { r.SetBasicAuth("edge-1", other.Secret.Reveal()) },
			"unknown": func(r *http.Request) { r.SetBasicAuth("edge-3", other.Secret.Reveal()) },
		} {
			if resp := o.poll(at, 0, change); resp.StatusCode != 401 {
				t.Errorf("%s: %d", name, resp.StatusCode)
			}
		}
		// One that is revoked while its request waits for this server to know the position that it names, and one that is not.
		for _, revoked := range []bool{true, false} {
			pass(300 * time.Millisecond) // between heartbeats
			synctest.Wait()
			at := o.log.Cursor(0)
			at.Time = time.Now().UnixMilli()
			at.Position = revocation.Position(strconv.FormatInt(at.Time, 10) + "-" + strconv.Itoa(number(at.Position)+1))
			if !revoked {
				other = o.allow("edge-2")
			}
			done := make(chan int)
			go func() {
				done <- o.poll(at, 3*time.Second, func(r *http.Request) { r.SetBasicAuth("edge-2", other.Secret.Reveal()) }).StatusCode
			}()
			synctest.Wait()
			if revoked {
				o.edges.Revoke("edge-2")
			}
			o.revoke()
			if got := o.log.Cursor(0); got.Position != at.Position {
				t.Fatalf("the log is at %v, want %v", got, at)
			}
			if status := <-done; (status == 200) == revoked {
				t.Errorf("revoked %v: %d", revoked, status)
			}
			pass(time.Second)
			if got := log.reached(); (got["edge-2"] == "") != revoked {
				t.Errorf("revoked %v: reported %v", revoked, got)
			}
		}
		synctest.Wait()
		o.poll(o.log.Cursor(0), 0)
		pass(time.Second)
		if got := log.reached(); len(got) != 2 || got["edge-1"] == "" {
			t.Errorf("an edge that does not say which process it is: %v", got)
		}
	})
}

// A log that cannot be reached keeps no edge waiting, and is told when it can be reached again.
func TestReportsThatFail(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newCensus()
		o := newCountedOrigin(t, log)
		for name, fail := range map[string]func(){
			"refuses": func() { log.fail(errors.New("no"), false) },
			"hangs":   func() { log.fail(nil, true) },
		} {
			fail()
			before := log.count()
			for range 20 {
				synctest.Wait() // until the tail has read what the cursor names
				began := time.Now()
				if resp := o.poll(o.log.Cursor(0), 0, query("instance="+name+"&after="+o.log.Cursor(0).String())); resp.StatusCode != 200 {
					t.Errorf("%s: %d", name, resp.StatusCode)
				}
				if took := time.Since(began); took > 0 {
					t.Errorf("%s: a request waited %v", name, took)
				}
				pass(500 * time.Millisecond)
			}
			if n := log.count() - before; n == 0 || n > 15 {
				t.Errorf("%s: %d reports in 10 s", name, n)
			}
			log.fail(nil, false)
			pass(10 * time.Second)
			synctest.Wait()
			o.poll(o.log.Cursor(0), 0, query("instance="+name+"&after="+o.log.Cursor(0).String()))
			pass(time.Second)
			if log.reached()["edge-1/"+name] == "" {
				t.Errorf("%s: not told afterwards", name)
			}
		}
		if s := o.handler.Stats(); s.Reported == 0 || s.Unreported == 0 {
			t.Errorf("%+v", s)
		}
	})
}

// An edge that calls itself something else with each request fills neither the census nor this process.
func TestInstancesAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newCensus()
		o := newCountedOrigin(t, log, func(c *feed.Config) { c.MaxPerEdge = 5 })
		pass(time.Second)
		many := func(prefix string) {
			synctest.Wait()
			for i := range 100 {
				o.poll(o.log.Cursor(0), 0, query("instance="+prefix+strings.Repeat("x", i%60)+"&after="+o.log.Cursor(0).String()))
			}
			pass(time.Second)
		}
		many("a")
		if n := len(log.reached()); n != 5 {
			t.Errorf("%d instances, want 5", n)
		}
		pass(revocation.Live)
		many("b")
		if n := len(log.reached()); n != 10 {
			t.Errorf("half a minute later %d instances in all, want 10", n)
		}
	})
}

// A closed handler reports no more, and leaves no goroutine behind.
func TestClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newCensus()
		o := newCountedOrigin(t, log)
		pass(time.Second)
		log.fail(nil, true)
		synctest.Wait()
		o.poll(o.log.Cursor(0), 0)
		began := time.Now()
		for range 2 {
			if err := o.handler.Close(); err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("closing took %v", took)
		}
		before := log.count()
		synctest.Wait()
		o.poll(o.log.Cursor(0), 0)
		pass(time.Second)
		if n := log.count(); n != before {
			t.Errorf("%d reports after that", n-before)
		}
	})
}

// A ring of keys lets one be replaced without an edge noticing.
func TestRing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		keys := make([]*feed.Key, 3)
		for i := range keys {
			var err error
			if keys[i], err = feed.GenerateKey(); err != nil {
				t.Fatal(err)
			}
		}
		ring, err := feed.NewRing(keys[0])
		if err != nil {
			t.Fatal(err)
		}
		o := newOrigin(t, newLog(), func(c *feed.Config) { c.Key = ring })
		accepts := func(k ...revocation.FrameKey) func(*feed.ClientConfig) {
			return func(c *feed.ClientConfig) { c.Keys = k }
		}
		both := o.client(direct{o.handler}, accepts(keys[0].Public(), keys[1].Public()))
		old := o.client(direct{o.handler}, accepts(keys[0].Public()))
		list, f, _ := follow(t, both)
		if err := f.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := ring.Replace(keys[1], keys[0]); err != nil {
			t.Fatal(err)
		}
		if public := ring.Public(); len(public) != 2 || public[0] != keys[1].Public() || public[1] != keys[0].Public() {
			t.Errorf("public keys: %v", public)
		}
		id := o.revoke()
		pass(100 * time.Millisecond)
		if !list.Has(id) || f.Stats().Failed != 0 {
			t.Errorf("an edge that accepts both: has it %v, %d reads failed", list.Has(id), f.Stats().Failed)
		}
		var refused *revocation.FrameError
		if _, err := old.Read(t.Context(), "", 0); !errors.As(err, &refused) {
			t.Errorf("an edge that does not know the new key: %v", err)
		}
		for _, bad := range [][]*feed.Key{nil, {nil}, {keys[0], nil}, make([]*feed.Key, 17)} {
			if _, err := feed.NewRing(bad...); err == nil {
				t.Errorf("a ring of %d keys was accepted", len(bad))
			}
			if ring.Replace(bad...) == nil || len(ring.Public()) != 2 {
				t.Error("a ring was replaced by what is none")
			}
		}
	})
}
