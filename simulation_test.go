package counterfoil_test

import (
	"container/heap"
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
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

var lives = flag.Int("lives", 25, "simulated lives of a cookie jar for each number of tabs")

// listOnly has nobody ask: a machine that is busy with other tests may take longer to answer than a question waits.
func listOnly(c *counterfoil.Config) { c.Policy = revocation.BestEffort }

// world is a browser, a network and a server on one clock that only events move.
type world struct {
	*testing.T
	r     *rig.Rig
	rand  *rand.Rand
	now   time.Duration
	queue events
	seq   int
	jar   http.CookieJar
	story []string
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
			w.r.Advance(e.at - w.now)
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
		w.after(w.between(time.Second, 12*time.Second), then)
		return
	}
	w.after(there, func() {
		if kind == 3 {
			in.Method = "POST"
			list, err := w.r.RefreshCookies(w.T.Context(), in)
			w.tell("%s: refresh endpoint: %d cookies, %v", tab, len(list), err)
			if err != nil && !errors.Is(err, counterfoil.ErrSuperseded) {
				w.Errorf("%s was logged out by the refresh endpoint: %v", tab, err)
			}
			w.after(back, func() { w.answer(tab, lost, list, then) })
			return
		}
		x, err := w.r.Begin(w.T.Context(), in)
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
	if lost < 6 {
		w.tell("%s: the answer is lost", tab)
		w.after(w.between(time.Second, 12*time.Second), then)
		return
	}
	w.keep(list)
	then()
}

// TestNoTabIsLoggedOut lives many lives of one cookie jar with several tabs, over several lives of an access token each, with answers that come late,
// out of order, or never. A round trip stays under the window. Nobody may be logged out.
func TestNoTabIsLoggedOut(t *testing.T) {
	t.Parallel()
	for _, tabs := range []int{1, 2, 6} {
		t.Run(fmt.Sprint(tabs, " tabs"), func(t *testing.T) {
			t.Parallel()
			r := rig.New(t, rig.Embedded, listOnly)
			seed := rand.Uint64()
			for life := range *lives {
				w := &world{T: t, r: r, rand: rand.New(rand.NewPCG(seed, uint64(life)))}
				w.jar, _ = cookiejar.New(nil)
				x, err := r.Begin(t.Context(), counterfoil.Request{Method: "POST"})
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
				if err := r.EndAll(t.Context(), "alice"); err != nil {
					t.Fatal(err)
				}
				r.Advance(time.Minute)
			}
		})
	}
}

// party is the owner of a session or the thief of its cookies.
type party struct {
	held   []string // refresh tokens, newest last
	access token.Secret
}

// TestTheftOutOfStepIsFound has owner and thief refresh in any order, each more than a window after the other, the thief with any token it ever held, both
// with or without state in between. The second alternation between them ends the session at the latest.
func TestTheftOutOfStepIsFound(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded, listOnly)
	ctx := t.Context()
	rapid.Check(t, func(rt *rapid.T) {
		s, err := r.Login(ctx, nil, "alice", counterfoil.LoginOptions{})
		if err != nil {
			rt.Fatal(err)
		}
		defer func() {
			if err := r.End(ctx, s.ID()); err != nil {
				rt.Fatal(err)
			}
		}()
		issued, _ := s.Issued()
		owner, thief := &party{held: []string{issued.Refresh.Reveal()}, access: issued.Access}, &party{}
		refresh := func(p *party, raw string) error {
			_, tokens, err := r.Refresh(ctx, raw, token.Verified{})
			if err != nil {
				return err
			}
			p.access = tokens.Access
			if !tokens.Refresh.IsZero() {
				p.held = append(p.held, tokens.Refresh.Reveal())
			}
			return nil
		}
		state := func(p *party) {
			if v, err := r.Guard().Check(ctx, p.access.Reveal()); err == nil && rapid.Bool().Draw(rt, "state") {
				_, _ = visits.Incr(ctx, r.Open(v), 1)
			}
		}
		for range rapid.IntRange(0, 3).Draw(rt, "refreshes before the theft") {
			r.Advance(11 * time.Second)
			if err := refresh(owner, owner.held[len(owner.held)-1]); err != nil {
				rt.Fatalf("before the theft: %v", err)
			}
			state(owner)
		}
		thief.held = []string{owner.held[len(owner.held)-1]}
		var last *party
		for alternations := 0; ; {
			p := owner
			if rapid.Bool().Draw(rt, "thief") {
				p = thief
			}
			raw := p.held[len(p.held)-1]
			if p == thief && rapid.IntRange(0, 3).Draw(rt, "old") == 0 {
				raw = rapid.SampledFrom(p.held).Draw(rt, "which")
			}
			r.Advance(11*time.Second + time.Duration(rapid.IntRange(0, 60).Draw(rt, "seconds"))*time.Second)
			err := refresh(p, raw)
			switch {
			case errors.Is(err, counterfoil.ErrReuse), errors.Is(err, counterfoil.ErrNotFound):
				return
			case err != nil:
				rt.Fatalf("neither renewed nor ended: %v", err)
			}
			state(p)
			if last != nil && last != p {
				if alternations++; alternations > 2 {
					rt.Fatalf("three alternations, and both still hold the session")
				}
			}
			last = p
		}
	})
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
