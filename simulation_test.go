package counterfoil_test

import (
	"bytes"
	"container/heap"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/rig"
	"github.com/counterfoil/counterfoil/internal/storemodel"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/issuer"
)

var (
	lives  = flag.Int("lives", 5000, "simulated lives of a cookie jar for each number of tabs")
	thefts = flag.Int("thefts", 20_000, "simulated thefts of a refresh token")
)

// listOnly has nobody ask: a machine that is busy with other tests may take longer to answer than a question waits.
func listOnly(c *counterfoil.Config) { c.Policy = revocation.BestEffort }

// place is where lives are lived: a Manager, and the clock of its store.
type place struct {
	*counterfoil.Manager
	advance func(time.Duration)
}

// modelled is a place whose store is the model that the scripts are compared with. It is so much faster that there can be many lives.
func modelled(t *testing.T) place {
	t.Helper()
	m := storemodel.New()
	now := func() time.Time { return time.UnixMilli(m.Now()) }
	key := must[*issuer.Key](t)(issuer.NewHMACKey(bytes.Repeat([]byte("k"), 32)))
	manager, err := counterfoil.New(t.Context(), counterfoil.Config{
		Issuer: "https://issuer.test", Audience: "app", Keys: must[*issuer.Ring](t)(issuer.NewRing(key)), Secrets: [][]byte{bytes.Repeat([]byte("s"), 32)},
		Store: m, Log: unread{now}, Policy: revocation.BestEffort, Now: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { manager.Close() })
	return place{manager, m.Advance}
}

// unread is a revocation log that nobody reads.
type unread struct{ now func() time.Time }

func (u unread) Append(context.Context, ...revocation.Entry) (revocation.Appended, error) {
	return revocation.Appended{Position: "1-0", Now: u.now().UnixMilli()}, nil
}

// scripted is a place with the real scripts.
func scripted(t *testing.T) place {
	t.Helper()
	r := rig.New(t, rig.Embedded, listOnly)
	return place{r.Manager, r.Advance}
}

// world is a browser, a network and a server on one clock that only events move.
type world struct {
	*testing.T
	place place
	rand  *rand.Rand
	now   time.Duration
	queue events
	seq   int
	jar   http.CookieJar
	story []string

	renewed int // answers with cookies
}

type event struct {
	at  time.Duration
	seq int
	do  func()
}

type events []event

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *events) Push(x any)   { *q = append(*q, x.(event)) }
func (q *events) Pop() any     { x := (*q)[len(*q)-1]; *q = (*q)[:len(*q)-1]; return x }

func (w *world) after(d time.Duration, do func()) {
	w.seq++
	heap.Push(&w.queue, event{w.now + d, w.seq, do})
}

func (w *world) run(until time.Duration) {
	for len(w.queue) > 0 && w.queue[0].at <= until && !w.Failed() {
		e := heap.Pop(&w.queue).(event)
		if e.at > w.now {
			w.place.advance(e.at - w.now)
			w.now = e.at
		}
		e.do()
	}
}

func (w *world) tell(format string, args ...any) {
	w.story = append(w.story, fmt.Sprintf("%8.1f s  ", w.now.Seconds())+fmt.Sprintf(format, args...))
}

func (w *world) between(a, b time.Duration) time.Duration {
	return a + time.Duration(w.rand.Int64N(int64(b-a)))
}

var site = &url.URL{Scheme: "https", Host: "app.test", Path: "/"}

// cookieHeader is what a tab sends now.
func (w *world) cookieHeader() []string {
	var pairs []string
	for _, c := range w.jar.Cookies(site) {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	return []string{strings.Join(pairs, "; ")}
}

// keep puts what an answer sets into the jar.
func (w *world) keep(list []counterfoil.Cookie) {
	h := http.Header{}
	for _, c := range list {
		h.Add("Set-Cookie", c.SetCookie())
	}
	w.jar.SetCookies(site, (&http.Response{Header: h}).Cookies())
}

// gen shows the generations in a header for the story.
func gen(header []string) string {
	out := ""
	for _, part := range strings.Split(header[0], "; ") {
		if v, ok := strings.CutPrefix(part, refreshCookie+"="); ok {
			out = strings.Split(v, ".")[1]
		}
	}
	return out
}

// roundTrip is one request of a tab. It takes less than the window, handler included, and any of its halves may get lost.
func (w *world) roundTrip(tab string, then func()) {
	in := counterfoil.Request{Method: "GET", FetchSite: "same-origin", Cookie: w.cookieHeader()}
	there, inside, back := w.between(0, 4*time.Second), w.between(0, 2*time.Second), w.between(0, 3900*time.Millisecond)
	if w.rand.IntN(3) > 0 { // most are quick
		there, inside, back = there/50, inside/50, back/50
	}
	lost, kind := w.rand.IntN(100), w.rand.IntN(4)
	w.tell("%s sends refresh token %s", tab, gen(in.Cookie))
	if lost < 2 {
		// Tried again soon: a session of which nothing arrives for half an hour has rightly ended.
		w.after(w.between(time.Second, 12*time.Second), func() { w.roundTrip(tab, then) })
		return
	}
	w.after(there, func() {
		if kind == 3 {
			in.Method = "POST"
			list, err := w.place.RefreshCookies(w.T.Context(), in)
			w.tell("%s: refresh endpoint: %d cookies, %v", tab, len(list), err)
			if err != nil && !errors.Is(err, counterfoil.ErrSuperseded) {
				w.Errorf("%s was logged out by the refresh endpoint: %v", tab, err)
			}
			w.after(back, func() { w.answer(tab, lost, list, then) })
			return
		}
		x, err := w.place.Begin(w.T.Context(), in)
		if err != nil || x.Session().Subject() != "alice" {
			w.Errorf("%s was logged out on arrival: %v, %v", tab, err, refusalOf(x))
			return
		}
		w.after(inside, func() {
			if kind > 0 {
				if _, err := visits.Incr(w.T.Context(), x.Session(), 1); err != nil {
					w.Errorf("%s: increment: %v", tab, err)
				}
			}
			list, err := x.Commit(w.T.Context())
			w.tell("%s: answer with %d cookies, %v", tab, len(list), err)
			if err != nil {
				w.Errorf("%s: commit: %v", tab, err)
			}
			w.after(back, func() { w.answer(tab, lost, list, then) })
		})
	})
}

func refusalOf(x *counterfoil.Exchange) error {
	if x == nil {
		return nil
	}
	return x.Refusal()
}

func (w *world) answer(tab string, lost int, list []counterfoil.Cookie, then func()) {
	if len(list) > 0 {
		w.renewed++
	}
	if lost < 6 {
		w.tell("%s: the answer is lost", tab)
		w.after(w.between(time.Second, 12*time.Second), then)
		return
	}
	w.keep(list)
	then()
}

// TestNoTabIsLoggedOut lives many lives of one cookie jar with several tabs, over several lives of an access token each, with answers that come late,
// out of order, or never. A round trip stays under the window. Nobody may be logged out. A few of the lives are lived on the real scripts.
func TestNoTabIsLoggedOut(t *testing.T) {
	t.Parallel()
	for _, tabs := range []int{1, 2, 6} {
		t.Run(fmt.Sprint(tabs, " tabs"), func(t *testing.T) {
			t.Parallel()
			live(t, modelled(t), tabs, *lives)
		})
		t.Run(fmt.Sprint(tabs, " tabs, scripts"), func(t *testing.T) {
			t.Parallel()
			live(t, scripted(t), tabs, max(5, min(*lives/250, 100)))
		})
	}
}

// live lives so many lives.
func live(t *testing.T, p place, tabs, lives int) {
	seed, renewed := rand.Uint64(), 0
	for life := range lives {
		w := &world{T: t, place: p, rand: rand.New(rand.NewPCG(seed, uint64(life)))}
		w.jar, _ = cookiejar.New(nil)
		x, err := p.Begin(t.Context(), counterfoil.Request{Method: "POST"})
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Login(t.Context(), "alice", counterfoil.LoginOptions{}); err != nil {
			t.Fatal(err)
		}
		list, _ := x.Commit(t.Context())
		w.keep(list)
		for tab := range tabs {
			var next func()
			name := fmt.Sprint("tab ", tab+1)
			next = func() {
				pause := w.between(0, 4*time.Second)
				if w.rand.IntN(2) == 0 {
					pause = w.between(0, 9*time.Minute)
				}
				w.after(pause, func() { w.roundTrip(name, next) })
			}
			next()
		}
		w.run(40 * time.Minute) // eight lives of an access token
		if t.Failed() {
			t.Fatalf("seed %d, life %d:\n%s", seed, life, strings.Join(w.story[max(0, len(w.story)-40):], "\n"))
		}
		renewed += w.renewed
		if err := p.EndAll(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		p.advance(time.Minute)
	}
	t.Logf("%d lives, %d renewals", lives, renewed)
}

// party is the owner of a session or the thief of its cookies.
type party struct {
	held   []string // refresh tokens, newest last
	access token.Secret
}

// habit is what a thief, and the owner, do besides refreshing out of step.
type habit int

const (
	anything habit = iota // the thief presents any token it ever held, and either may use the session or not
	newest                // the thief presents its newest token only
	using                 // whoever has refreshed uses the session before the other one refreshes
	habits
)

// succeed is how many alternations out of step may succeed at most before the next one ends the session. It is what an exploration of all states finds.
var succeed = [habits]int{anything: 2, newest: 1, using: 0}

// TestTheftOutOfStepIsFound has owner and thief refresh in any order, each more than a window after the other. An alternation is a refresh after one of the
// other's. No more than two of them succeed, and so many only if the thief keeps an old token for it: whoever comes next ends the session.
func TestTheftOutOfStepIsFound(t *testing.T) {
	t.Parallel()
	t.Run("scripts", func(t *testing.T) {
		t.Parallel()
		p := scripted(t)
		rapid.Check(t, func(rt *rapid.T) {
			steal(t.Context(), rt, p, func(n int, what string) int { return rapid.IntRange(0, n-1).Draw(rt, what) })
		})
	})
	t.Run("many", func(t *testing.T) {
		t.Parallel()
		p, seed := modelled(t), rand.Uint64()
		var most [habits]int
		for i := range *thefts {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			how, n := steal(t.Context(), t, p, func(n int, _ string) int { return r.IntN(n) })
			most[how] = max(most[how], n)
			if t.Failed() {
				t.Fatalf("seed %d, theft %d", seed, i)
			}
		}
		if *thefts >= 500 && most != succeed {
			t.Errorf("%v alternations succeeded at most, the bound of %v says more than it should", most, succeed)
		}
	})
}

// steal is one theft, to its end. It returns how many alternations succeeded.
func steal(ctx context.Context, t rapid.TB, place place, choose func(n int, what string) int) (how habit, alternations int) {
	s, err := place.Login(ctx, nil, "alice", counterfoil.LoginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := place.End(ctx, s.ID()); err != nil {
			t.Error(err)
		}
	}()
	issued, _ := s.Issued()
	owner, thief := &party{held: []string{issued.Refresh.Reveal()}, access: issued.Access}, &party{}
	how = habit(choose(int(habits), "habit"))
	refresh := func(p *party, raw string) error {
		_, tokens, err := place.Refresh(ctx, raw, token.Verified{})
		if err != nil {
			return err
		}
		p.access = tokens.Access
		if !tokens.Refresh.IsZero() {
			p.held = append(p.held, tokens.Refresh.Reveal())
		}
		if how == using || choose(2, "state") == 1 {
			v, err := place.Guard().Check(ctx, p.access.Reveal())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := visits.Incr(ctx, place.Open(v), 1); err != nil {
				t.Fatal(err)
			}
		}
		return nil
	}
	for range choose(4, "refreshes before the theft") {
		place.advance(11 * time.Second)
		if err := refresh(owner, owner.held[len(owner.held)-1]); err != nil {
			t.Fatalf("before the theft: %v", err)
		}
	}
	thief.held = []string{owner.held[len(owner.held)-1]}
	var last *party
	for range 200 {
		p := []*party{owner, thief}[choose(2, "thief")]
		raw := p.held[len(p.held)-1]
		if p == thief && how != newest && choose(4, "old") == 0 {
			raw = p.held[choose(len(p.held), "which")]
		}
		place.advance(11*time.Second + time.Duration(choose(61, "seconds"))*time.Second)
		err := refresh(p, raw)
		switch {
		case errors.Is(err, counterfoil.ErrReuse):
			for _, p := range []*party{owner, thief} { // it has ended for both
				if err := refresh(p, p.held[len(p.held)-1]); !errors.Is(err, counterfoil.ErrNotFound) {
					t.Fatalf("after the end: %v", err)
				}
			}
			return how, alternations
		case err != nil:
			t.Fatalf("neither renewed nor ended: %v", err)
		}
		if last != nil && last != p {
			if alternations++; alternations > succeed[how] {
				t.Fatalf("habit %d: %d alternations, and both still hold the session", how, alternations)
			}
		}
		last = p
	}
	return how, alternations
}

// TestWhatTheTableCannotSee states the known limits, each as it is.
func TestWhatTheTableCannotSee(t *testing.T) {
	t.Parallel()
	setup := func(t *testing.T) (*rig.Rig, counterfoil.Tokens) {
		r := rig.New(t, rig.Embedded, listOnly)
		_, tokens := login(t, r, "alice")
		return r, tokens
	}
	refresh := func(r *rig.Rig, raw token.Secret) (counterfoil.Tokens, error) {
		_, tokens, err := r.Refresh(t.Context(), raw.Reveal(), token.Verified{})
		return tokens, err
	}
	t.Run("a thief in step with the owner", func(t *testing.T) {
		r, tokens := setup(t)
		held := tokens.Refresh
		for range 5 {
			r.Advance(time.Minute)
			first, err := refresh(r, held)
			if err != nil {
				t.Fatal(err)
			}
			r.Advance(2 * time.Second) // within the window, before anything confirms the new one
			second, err := refresh(r, held)
			if err != nil || second.Refresh.IsZero() || r.Verify(t, second.Access).Generation() != r.Verify(t, first.Access).Generation() {
				t.Fatalf("the thief: %v: the limit is gone, say so in the docs", err)
			}
			held = first.Refresh
		}
	})
	t.Run("an answer later than the window", func(t *testing.T) {
		r, tokens := setup(t)
		r.Advance(time.Minute)
		first, err := refresh(r, tokens.Refresh) // the answer that carries generation 2 is very slow
		if err != nil {
			t.Fatal(err)
		}
		r.Advance(15 * time.Second)
		second, err := refresh(r, tokens.Refresh) // so another tab is given generation 3
		if err != nil {
			t.Fatal(err)
		}
		if _, err := visits.Incr(t.Context(), r.Open(r.Verify(t, second.Access)), 1); err != nil {
			t.Fatal(err)
		}
		r.Advance(15 * time.Second) // now generation 2 arrives, and replaces 3 in the jar
		if _, err := refresh(r, first.Refresh); !errors.Is(err, counterfoil.ErrReuse) {
			t.Errorf("%v: the limit is gone, say so in the docs", err)
		}
	})
	t.Run("an ancient token ends its one session", func(t *testing.T) {
		r, tokens := setup(t)
		held := tokens.Refresh
		for range 2 {
			r.Advance(time.Minute)
			next, err := refresh(r, held)
			if err != nil {
				t.Fatal(err)
			}
			held = next.Refresh
		}
		_, other := login(t, r, "alice")
		if _, err := refresh(r, tokens.Refresh); !errors.Is(err, counterfoil.ErrReuse) {
			t.Errorf("%v, want ErrReuse", err)
		}
		if _, err := refresh(r, other.Refresh); err != nil {
			t.Errorf("the subject's other session: %v", err)
		}
	})
	t.Run("a renewal under way during a login, whose answer comes after it", func(t *testing.T) {
		r, tokens := setup(t)
		r.Advance(time.Minute)
		late := must[[]counterfoil.Cookie](t)(r.RefreshCookies(t.Context(), counterfoil.Request{Method: "POST", Cookie: []string{cookies(tokens)}}))
		if len(late) != 2 {
			t.Fatalf("a renewal after the window sets %d cookies", len(late))
		}
		setCookies(t, r, counterfoil.Request{Method: "POST", Cookie: []string{cookies(tokens)}}, func(x *counterfoil.Exchange) error {
			return x.Login(t.Context(), "alice", counterfoil.LoginOptions{})
		})
		jar := late[0].Name + "=" + late[0].Value.Reveal() + "; " + late[1].Name + "=" + late[1].Value.Reveal() // all that the login had set is replaced
		x := must[*counterfoil.Exchange](t)(r.Begin(t.Context(), counterfoil.Request{Method: "GET", Cookie: []string{jar}}))
		if !x.Session().ID().IsZero() {
			t.Error("the limit is gone, say so in the docs")
		}
	})
	t.Run("access tokens of a displaced generation live on", func(t *testing.T) {
		r, tokens := setup(t)
		r.Advance(time.Minute)
		lost, err := refresh(r, tokens.Refresh)
		if err != nil {
			t.Fatal(err)
		}
		r.Advance(15 * time.Second)
		if _, err := refresh(r, tokens.Refresh); err != nil {
			t.Fatal(err)
		}
		r.Verify(t, lost.Access)
	})
}
