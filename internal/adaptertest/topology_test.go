package adaptertest_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/adaptertest"
	"github.com/counterfoil/counterfoil/internal/redistest"
	"github.com/counterfoil/counterfoil/internal/rig"
)

type apps map[string]func(testing.TB, *counterfoil.Manager, ...func()) adaptertest.App

// The ways to serve the application: one by each adapter, and those with the endpoints behind the middleware as well.
var (
	adapters = apps{"net/http": adaptertest.HTTP, "Fiber": adaptertest.Fiber}
	placed   = apps{
		"net/http": adaptertest.HTTP, "Fiber": adaptertest.Fiber,
		"net/http, endpoints behind": adaptertest.HTTPBehind, "Fiber, endpoints behind": adaptertest.FiberBehind,
	}
)

// TestCluster runs both adapters on a Redis Cluster of three masters with a replica each.
func TestCluster(t *testing.T) {
	nodes := redistest.StartCluster(t, 3, redistest.Options{Replicas: 1, Config: []string{"cluster-node-timeout 1000"}})
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: redistest.Addrs(nodes), ContextTimeoutEnabled: true})
	t.Cleanup(func() { client.Close() })
	onTopology(t, "redis+cluster://"+strings.Join(redistest.Addrs(nodes), ","), func() (*redis.Client, *redistest.Server) {
		// All sessions of a subject share a slot.
		holder, err := client.MasterForKey(t.Context(), "{"+counterfoil.SubjectTag("alice")+"}")
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range nodes {
			if n.Addr() == holder.Options().Addr {
				return holder, n
			}
		}
		t.Fatal("the node that holds the sessions is none of ours")
		return nil, nil
	})
}

// TestSentinel does the same on a primary with a replica and three Sentinels.
func TestSentinel(t *testing.T) {
	s := redistest.StartSentinel(t, redistest.Options{Replicas: 1})
	client := redis.NewClient(&redis.Options{Addr: s.Primary.Addr(), ContextTimeoutEnabled: true})
	t.Cleanup(func() { client.Close() })
	onTopology(t, "redis+sentinel://"+strings.Join(redistest.Addrs(s.Watchers), ",")+"/"+redistest.MasterName, func() (*redis.Client, *redistest.Server) {
		return client, s.Primary
	})
}

// visitor keeps the cookies that it is given.
type visitor struct {
	t   testing.TB
	app adaptertest.App
	jar map[string]string
}

func (v *visitor) ask(method, path string) adaptertest.Answer {
	v.t.Helper()
	var pairs []string
	for name, value := range v.jar {
		pairs = append(pairs, name+"="+value)
	}
	r := request(method, path)
	if len(pairs) > 0 {
		r.Header.Set("Cookie", strings.Join(pairs, "; "))
	}
	a := v.app(v.t, r)
	for _, c := range a.RawCookies {
		if v.jar[c.Name] = c.Value; c.MaxAge < 0 {
			delete(v.jar, c.Name)
		}
	}
	return a
}

func (v *visitor) want(method, path string, status int, body string) adaptertest.Answer {
	v.t.Helper()
	a := v.ask(method, path)
	if a.Status != status || a.Body != body {
		v.t.Errorf("%s %s: %s, want %d %q", method, path, a, status, body)
	}
	return a
}

// vouches waits until the log vouches for new tokens. That of a Cluster which has just begun does not for its first ten seconds, because the masters'
// clocks may differ: until then tokens are taken for expired and renewed.
func vouches(t *testing.T, r *rig.Rig) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(20 * time.Second); ; {
		if _, err := r.Guard().Check(t.Context(), login(t, r).access); err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatal("after 20 s the log does not vouch for new tokens")
		}
	}
}

// onTopology does everything that a session goes through, by each adapter, and then kills the server that holds the sessions.
func onTopology(t *testing.T, url string, holder func() (*redis.Client, *redistest.Server)) {
	r := rig.At(t, url, nil, func(c *counterfoil.Config) {
		c.AccessLife, c.Leeway, c.Timeout = 2*time.Second, time.Millisecond, 2*time.Second
	})
	r.Fresh(t)
	elsewhere := r.Second(t)
	vouches(t, r)
	for name, adapter := range adapters {
		t.Run(name, func(t *testing.T) {
			newVisitor := func() *visitor { return &visitor{t, adapter(t, r.Manager), map[string]string{}} }
			v := newVisitor()
			v.want("GET", "/incr", 200, "1") // an anonymous session
			v.want("POST", "/login", 200, "")
			v.want("GET", "/me", 200, "alice")
			v.want("POST", "/incr", 200, "1") // the login carried nothing over
			v.want("POST", "/incr", 200, "2")
			v.want("POST", "/set", 200, "")
			before := v.jar[session]
			rig.Poll(t, "the token is renewed", func() bool { return len(v.want("GET", "/", 200, "alice/alice").SetCookie) > 0 })
			if v.jar[session] == before {
				t.Error("the renewal left the token as it was")
			}
			v.want("GET", "/incr", 200, "3")

			stolen := &visitor{t, v.app, map[string]string{session: v.jar[session], refresh: v.jar[refresh]}}
			if a := v.want("POST", "/logout", 200, ""); len(a.SetCookie) != 2 || len(v.jar) != 0 {
				t.Errorf("logout: %s", a)
			}
			stolen.want("GET", "/me", 401, "Unauthorized")
			stolen.want("GET", "/", 200, "/") // where nobody is let in, it is nobody who comes

			// Another process ends it: this one hears of it by the log, and refuses a token that it has just accepted.
			v = newVisitor()
			v.want("POST", "/login", 200, "")
			access := v.jar[session]
			bearer := func() int {
				req := request("GET", "/me")
				req.Header = http.Header{"Authorization": {"Bearer " + access}}
				return v.app(t, req).Status
			}
			if status := bearer(); status != 200 {
				t.Errorf("as a bearer token: %d", status)
			}
			checked, err := elsewhere.Guard().Check(t.Context(), access)
			if err != nil {
				t.Fatal(err)
			}
			if err := elsewhere.End(t.Context(), checked.Session()); err != nil {
				t.Fatal(err)
			}
			rig.Poll(t, "the end that another process brought about is known", func() bool { return bearer() == 401 })
			v.want("GET", "/me", 401, "Unauthorized")
		})
	}
	t.Run("killed", func(t *testing.T) {
		visitors := map[string]*visitor{}
		for name, adapter := range adapters {
			v := &visitor{t, adapter(t, r.Manager), map[string]string{}}
			v.want("POST", "/login", 200, "")
			v.want("POST", "/incr", 200, "1")
			visitors[name] = v
		}
		primary, victim := holder()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if n, err := primary.Do(ctx, "WAIT", 1, 10_000).Int(); err != nil || n != 1 {
			t.Fatalf("%d replicas have it all, %v", n, err)
		}
		victim.Kill()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for name, v := range visitors {
			// Until the replica has taken over there may be no answer; there is never a wrong one.
			tries := 0
			for end := time.Now().Add(20 * time.Second); ; tries++ {
				<-tick.C
				a := v.ask("POST", "/incr")
				if a.Status == 200 && a.Body != "2" && a.Body != "3" || a.Status != 200 && a.Status != 503 {
					t.Fatalf("%s: after the kill: %s", name, a)
				}
				if a.Status == 200 {
					t.Logf("%s: %d answers were 503", name, tries)
					break
				}
				if time.Now().After(end) {
					t.Fatalf("%s: after 20 s still %s", name, a)
				}
			}
			v.want("GET", "/me", 200, "alice")
			// Nobody is left to acknowledge a logout, so it is not said to be safe from the loss of the next server; but it has happened.
			stolen := &visitor{t, v.app, map[string]string{session: v.jar[session], refresh: v.jar[refresh]}}
			if a := v.ask("POST", "/logout"); a.Status != 202 || len(v.jar) != 0 {
				t.Errorf("%s: a logout that no replica acknowledges: %s", name, a)
			}
			stolen.want("GET", "/me", 401, "Unauthorized")
		}
	})
}
