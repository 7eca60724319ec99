package counterfoil_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/redistest"
	"github.com/counterfoil/counterfoil/internal/rig"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/issuer"
)

// held is what a client holds of a session.
type held struct{ Access, Refresh string }

func holds(t counterfoil.Tokens) held { return held{t.Access.Reveal(), t.Refresh.Reveal()} }

func (h held) header() []string {
	return []string{accessCookie + "=" + h.Access + "; " + refreshCookie + "=" + h.Refresh}
}

// keep is what the client holds after an answer.
func (h held) keep(list []counterfoil.Cookie) held {
	for _, c := range list {
		switch c.Name {
		case accessCookie:
			h.Access = c.Value.Reveal()
		case refreshCookie:
			h.Refresh = c.Value.Reveal()
		}
	}
	return h
}

// deed is one request that changes a session.
type deed struct {
	name  string
	setup func(*testing.T, *rig.Rig) (by held, others []held) // the sessions that there are before
	do    func(context.Context, *counterfoil.Manager, held) (held, error)
	heir  bool // the answer carries another session, with the fields of the old one
	ends  bool // the session of the request
}

// request is a deed within one, which begins and is answered.
func request(do func(context.Context, *counterfoil.Exchange) error) func(context.Context, *counterfoil.Manager, held) (held, error) {
	return func(ctx context.Context, m *counterfoil.Manager, h held) (held, error) {
		x, err := m.Begin(ctx, counterfoil.Request{Method: "POST", FetchSite: "same-origin", Cookie: h.header()})
		if err != nil {
			return h, err
		}
		if err := do(ctx, x); err != nil {
			return h, err
		}
		list, err := x.Commit(ctx)
		return h.keep(list), err
	}
}

var deeds = []deed{
	{name: "login", heir: true, ends: true, setup: func(t *testing.T, r *rig.Rig) (held, []held) {
		s := r.Anonymous()
		must[int64](t)(visits.Incr(t.Context(), s, 5))
		tokens, _ := s.Issued()
		return holds(tokens), nil
	}, do: request(func(ctx context.Context, x *counterfoil.Exchange) error {
		if err := name.Set(x.Session(), "Ann"); err != nil {
			return err
		}
		return x.Login(ctx, "alice", counterfoil.LoginOptions{Carry: []string{"visits", "name"}})
	})},
	{name: "rotation", heir: true, ends: true, setup: user, do: request(func(ctx context.Context, x *counterfoil.Exchange) error {
		return x.Rotate(ctx, counterfoil.RotateOptions{})
	})},
	{name: "logout", ends: true, setup: user, do: request(func(ctx context.Context, x *counterfoil.Exchange) error {
		return x.Logout(ctx)
	})},
	{name: "logout everywhere", ends: true, setup: users, do: request(func(ctx context.Context, x *counterfoil.Exchange) error {
		return x.LogoutEverywhere(ctx)
	})},
	{name: "end others", setup: users, do: request(func(ctx context.Context, x *counterfoil.Exchange) error {
		return x.Manager().EndOthers(ctx, x.Session())
	})},
	{name: "refresh", setup: func(t *testing.T, r *rig.Rig) (held, []held) {
		h, _ := user(t, r)
		age(t, r, h)
		return h, nil
	}, do: func(ctx context.Context, m *counterfoil.Manager, h held) (held, error) {
		list, err := m.RefreshCookies(ctx, counterfoil.Request{Method: "POST", FetchSite: "same-origin", Cookie: []string{refreshCookie + "=" + h.Refresh}})
		return h.keep(list), err
	}},
	{name: "reuse", ends: true, setup: func(t *testing.T, r *rig.Rig) (held, []held) {
		h, _ := user(t, r)
		age(t, r, h)
		_, tokens, err := r.Refresh(t.Context(), h.Refresh, token.Verified{})
		if err != nil {
			t.Fatal(err)
		}
		must[int64](t)(visits.Get(t.Context(), r.Open(r.Verify(t, tokens.Access)))) // it has arrived
		age(t, r, h)
		return held{tokens.Access.Reveal(), h.Refresh}, nil
	}, do: func(ctx context.Context, m *counterfoil.Manager, h held) (held, error) {
		list, err := m.RefreshCookies(ctx, counterfoil.Request{Method: "POST", FetchSite: "same-origin", Cookie: []string{refreshCookie + "=" + h.Refresh}})
		if errors.Is(err, counterfoil.ErrReuse) || errors.Is(err, counterfoil.ErrNotFound) {
			err = nil
		}
		return h.keep(list), err
	}},
}

func user(t *testing.T, r *rig.Rig) (held, []held) {
	v, tokens := login(t, r, "alice")
	must[int64](t)(visits.Incr(t.Context(), r.Open(v), 5))
	return holds(tokens), nil
}

func users(t *testing.T, r *rig.Rig) (held, []held) {
	other, _ := user(t, r)
	h, _ := user(t, r)
	return h, []held{other}
}

// age has a minute go by, as the rules of refresh tokens see it.
func age(t *testing.T, r *rig.Rig, h held) {
	t.Helper()
	c := database(t, r.URL)
	key := "cf:{" + string(sessionOf(t, h).Tag()) + "}s:" + sessionOf(t, h).String()
	for _, field := range []string{"h", "k"} {
		if at := must[int64](t)(c.HGet(t.Context(), key, field).Int64()); at > 0 {
			must[int64](t)(c.HIncrBy(t.Context(), key, field, -60_000).Result())
		}
	}
}

// sessionOf returns the ID that a refresh token begins with.
func sessionOf(t *testing.T, h held) token.SessionID {
	t.Helper()
	text, _, _ := strings.Cut(h.Refresh, ".")
	return must[token.SessionID](t)(token.ParseSessionID(text))
}

func database(t *testing.T, url string) *redis.Client {
	t.Helper()
	c := redis.NewClient(must[*redis.Options](t)(redis.ParseURL(url)))
	t.Cleanup(func() { c.Close() })
	return c
}

// A killing is what a process is told that is going to die.
type killing struct {
	URL    string
	Policy revocation.Policy
	Deed   string
	Held   held
	N      int    // at this command, 0 = never
	When   moment // written or answered
}

// What a process says that did not die.
type survival struct {
	Held     held
	Commands []string
}

// killSetting is how the test binary is told to be such a process.
const killSetting = "COUNTERFOIL_TEST_KILL"

var killKey = sync.OnceValues(func() (*issuer.Ring, error) {
	key, err := issuer.NewHMACKey(bytes.Repeat([]byte("k"), 32))
	if err != nil {
		return nil, err
	}
	return issuer.NewRing(key)
})

// mortal is the configuration of the process that dies, and of those before and after it.
func mortal(policy revocation.Policy) func(*counterfoil.Config) {
	return func(c *counterfoil.Config) {
		ring, err := killKey()
		if err != nil {
			panic(err)
		}
		c.Issuer, c.Audience, c.Keys, c.Secrets = "https://issuer.test", "app", ring, [][]byte{bytes.Repeat([]byte("s"), 32)}
		c.Policy, c.Timeout = policy, 20*time.Second
	}
}

// killedProcess does one deed and kills itself in it.
func killedProcess(text string) error {
	var k killing
	if err := json.Unmarshal([]byte(text), &k); err != nil {
		return err
	}
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		return err
	}
	var cfg counterfoil.Config
	mortal(k.Policy)(&cfg)
	w := &wire{}
	m, _, err := openWired(context.Background(), k.URL, w, cfg)
	if err != nil {
		return err
	}
	w.count(func(n int, _ string, when moment) {
		if n == k.N && when == k.When {
			_ = self.Kill()
			select {} // nothing happens any more, not even in the moment that it takes
		}
	})
	h, err := insist(func() (held, error) { return theDeed(k.Deed).do(context.Background(), m, k.Held) })
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(survival{h, w.stop()})
}

func theDeed(name string) deed {
	return deeds[slices.IndexFunc(deeds, func(d deed) bool { return d.name == name })]
}

// insist repeats a request that could not be judged: on a busy machine a question may go unanswered.
func insist(do func() (held, error)) (h held, err error) {
	for range 10 {
		if h, err = do(); !errors.Is(err, revocation.ErrStale) {
			break
		}
	}
	return h, err
}

// TestKilledAtEveryCommand kills a process at every single command of every request that changes a session: after it was written, and
// after it was answered. Then the client tries again, with another process. What it is told is true; nothing that was acknowledged is undone; no session is dead for
// one and of use for another; and what nobody holds is gone when its idle life is over.
func TestKilledAtEveryCommand(t *testing.T) {
	t.Parallel()
	primary := redistest.Start(t, redistest.Options{Config: []string{"databases 4096"}})
	redistest.StartReplicas(t, primary, 1) // so that there is something to wait for
	var databases, points atomic.Int64
	turns := make(chan struct{}, 4)
	var all sync.WaitGroup
	for _, d := range deeds {
		for _, policy := range []revocation.Policy{revocation.Strict, revocation.BestEffort} {
			for when, after := range map[moment]string{written: "written", answered: "answered"} {
				all.Go(func() {
					survived := false
					for n := 1; !survived; n++ {
						if n == 100 {
							t.Errorf("%s, %v: it does not end", d.name, policy)
							break
						}
						turns <- struct{}{}
						t.Run(fmt.Sprintf("%s, %v, command %d %s", d.name, policy, n, after), func(t *testing.T) {
							url := fmt.Sprintf("%s/%d", primary.URL(), databases.Add(1))
							survived = kill(t, d, killing{url, policy, d.name, held{}, n, when})
						})
						<-turns
						points.Add(1)
					}
				})
			}
		}
	}
	all.Wait()
	t.Logf("%d processes", points.Load())
}

// kill has one process die, and reports whether it did not.
func kill(t *testing.T, d deed, k killing) (survived bool) {
	ctx := t.Context()
	r := rig.At(t, k.URL, nil, mortal(k.Policy))
	s := stage(t, r, d)
	k.Held = s.held

	// The client writes meanwhile, and counts what was acknowledged.
	enough := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() {
		for d.heir {
			switch n, err := visits.Incr(ctx, r.Open(s.verified), 1); {
			case err == nil:
				s.acknowledged = n
			case errors.Is(err, counterfoil.ErrNotFound):
				return
			default:
				t.Errorf("an increment beside it: %v", err)
				return
			}
			select {
			case <-enough:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	answer, survived := k.run(t)
	close(enough)
	writing.Wait()
	s.judge(t, r, answer, survived, false)
	return survived
}

// scene is what there is before a deed.
type scene struct {
	deed
	held
	verified     token.Verified
	others       []held
	more         []token.Verified // of the others
	acknowledged int64            // increments
}

func stage(t *testing.T, r *rig.Rig, d deed) *scene {
	t.Helper()
	s := &scene{deed: d, acknowledged: 5}
	s.held, s.others = d.setup(t, r)
	s.verified = r.Verify(t, token.NewSecret(s.held.Access))
	for _, h := range s.others {
		s.more = append(s.more, r.Verify(t, token.NewSecret(h.Access)))
	}
	return s
}

// judge has another process try again what was not done, and checks what has become of everything. lossy: a failover has lost the last of what was done.
func (s *scene) judge(t *testing.T, r *rig.Rig, answer held, done, lossy bool) {
	t.Helper()
	ctx := t.Context()
	old, err := r.Faults.Redis.Load(ctx, counterfoil.Ref{Session: s.verified.Session(), Subject: s.verified.Subject()})
	gone := errors.Is(err, counterfoil.ErrNotFound)
	if err != nil && !gone {
		t.Fatal(err)
	}
	if a := must[revocation.Answer](t)(r.Faults.Redis.Ask(ctx, s.verified)); (a.Judge(s.verified) != nil) != gone {
		t.Errorf("whoever loads the session is told %v, and whoever asks about it %+v", err, a)
	}
	if n, _ := strconv.ParseInt(string(old.Fields["visits"]), 10, 64); !gone && s.heir && n != s.acknowledged {
		t.Errorf("%d increments are there of %d that were acknowledged", n, s.acknowledged)
	}

	again, nothing := r.Again(t), false
	if !done {
		answer, err = insist(func() (held, error) { return s.do(ctx, again.Manager, s.held) })
		// There is nothing left to rotate, if it was done but for the answer; and whose session has ended, as far as the store tells a verifier that has no list yet,
		// is nobody who could log somebody out everywhere.
		late := s.name == "rotation" || s.name == "logout everywhere" && r.Config.Policy == revocation.Strict
		if nothing = late && gone && errors.Is(err, counterfoil.ErrNotFound); nothing {
			err = nil
		}
		if err != nil {
			t.Fatalf("the retry: %v", err)
		}
	}

	// Where the old session has ended, and only the answer was lost, nobody has the heir's tokens. It holds what was acknowledged, and ends when it is idle.
	unheld := s.heir && gone && !done
	kept := map[string]bool{}
	if !nothing && (s.heir || !s.ends) {
		v := again.Verify(t, token.NewSecret(answer.Access))
		kept[v.Session().String()] = true
		n, err := visits.Get(ctx, again.Open(v))
		text, _, nameErr := name.Get(ctx, again.Open(v))
		switch {
		case lossy && errors.Is(err, counterfoil.ErrNotFound): // nothing waits for replicas that only begins or renews
		case err != nil || nameErr != nil:
			t.Errorf("the session of the answer: %v, %v", err, nameErr)
		case unheld: // what came with the request alone is lost as well
		case n != s.acknowledged:
			t.Errorf("the session of the answer has %d increments of %d that were acknowledged", n, s.acknowledged)
		case s.name == "login" && !lossy && text != "Ann":
			t.Errorf("the session of the answer has the name %q", text)
		}
	}
	switch {
	case s.heir && lossy && done:
		isUseless(t, again, s.verified, s.held.Refresh)
	case s.ends:
		isDead(t, again, s.verified, s.held.Refresh)
		if rotated := nothing && s.name == "rotation"; !rotated && !knows(t, again, s.verified) {
			t.Error("the log does not say that the session has ended")
		}
	}
	// With Strict the session of the retry is nobody's by now, and so there is nobody whose other sessions it could tell verifiers of; it was refused.
	for i, h := range s.others {
		isDead(t, again, s.more[i], h.Refresh)
		if told := done || !gone || r.Config.Policy == revocation.BestEffort; told && !knows(t, again, s.more[i]) {
			t.Error("the log does not say that the other session has ended")
		}
	}
	orphans := leftBehind(t, again, kept)
	switch {
	case lossy:
	case len(orphans) > 1, len(orphans) == 1 && (done || !s.heir):
		t.Errorf("%d sessions that nobody holds", len(orphans))
	case unheld && !slices.Equal(orphans, []int64{s.acknowledged}):
		t.Errorf("the heir of the session that has ended has %d increments of %d that were acknowledged", orphans, s.acknowledged)
	}
}

// run runs the process.
func (k killing) run(t *testing.T) (answer held, survived bool) {
	t.Helper()
	text, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), killSetting+"="+string(text), "GOMAXPROCS=2")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && !exit.Exited() {
		return held{}, false // by a signal
	}
	if err != nil {
		t.Fatalf("the process: %v: %s", err, stderr.String())
	}
	var s survival
	if err := json.Unmarshal(out, &s); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d commands: %q", len(s.Commands), s.Commands)
	return s.Held, true
}

// isDead checks that a session is of no use to anybody at the origin.
func isDead(t *testing.T, r *rig.Rig, v token.Verified, refresh string) {
	t.Helper()
	ctx, ref := t.Context(), counterfoil.Ref{Session: v.Session(), Subject: v.Subject()}
	if _, err := r.Faults.Redis.Load(ctx, ref); !errors.Is(err, counterfoil.ErrNotFound) {
		t.Errorf("a session that has ended is loaded: %v", err)
	}
	if a := must[revocation.Answer](t)(r.Faults.Redis.Ask(ctx, v)); !errors.Is(a.Judge(v), revocation.ErrRevoked) {
		t.Errorf("whoever asks about a session that has ended is told that it lives: %+v", a)
	}
	isUseless(t, r, v, refresh)
}

// isUseless checks that a session is neither written nor renewed; it may be there, frozen.
func isUseless(t *testing.T, r *rig.Rig, v token.Verified, refresh string) {
	t.Helper()
	ctx, ref := t.Context(), counterfoil.Ref{Session: v.Session(), Subject: v.Subject()}
	record, err := r.Faults.Redis.Load(ctx, ref)
	if !errors.Is(err, counterfoil.ErrNotFound) && !record.Frozen {
		t.Errorf("a session that was replaced is there: %v", err)
	}
	op := counterfoil.Op{Kind: counterfoil.OpIncr, Name: "visits", By: 1}
	if _, err := r.Faults.Redis.Save(ctx, ref, []counterfoil.Op{op}); !errors.Is(err, counterfoil.ErrNotFound) {
		t.Errorf("a session that has ended is written: %v", err)
	}
	_, _, err = r.Refresh(ctx, refresh, token.Verified{})
	if !errors.Is(err, counterfoil.ErrNotFound) && !(record.Frozen && errors.Is(err, counterfoil.ErrSuperseded)) {
		t.Errorf("a session that has ended is renewed: %v", err)
	}
}

// knows reports whether a verifier that reads the log now refuses a token.
func knows(t *testing.T, r *rig.Rig, v token.Verified) bool {
	t.Helper()
	list := must[*revocation.List](t)(revocation.NewList(revocation.ListConfig{}))
	f := must[*revocation.Follower](t)(revocation.NewFollower(revocation.FollowerConfig{List: list}))
	sent := time.Now()
	f.Apply(must[revocation.Batch](t)(r.Faults.Redis.Read(t.Context(), "", 0)), sent)
	return list.Contains(v)
}

// leftBehind checks that all that is in a database ends by itself, sessions when they are idle, and that an index names what there is. It returns the counters
// of the sessions that nobody holds.
func leftBehind(t *testing.T, r *rig.Rig, kept map[string]bool) (orphans []int64) {
	t.Helper()
	c, ctx := database(t, r.URL), t.Context()
	must[[]counterfoil.Record](t)(r.Sessions(ctx, "alice")) // whoever lists them drops what is gone
	keys := must[[]string](t)(c.Keys(ctx, "*").Result())
	for _, key := range keys {
		left := must[time.Duration](t)(c.PTTL(ctx, key).Result())
		tag, kind, _ := strings.Cut(key, "}")
		kind, id, _ := strings.Cut(kind, ":")
		switch kind {
		case "s":
			idle := time.Duration(must[int64](t)(c.HGet(ctx, key, "i").Int64())) * time.Millisecond
			if left <= 0 || left > idle || idle > 30*time.Minute {
				t.Errorf("a session lives for %v, its idle life is %v", left, idle)
			}
			if !kept[id] {
				n, _ := c.HGet(ctx, key, "f:visits").Int64()
				orphans = append(orphans, n)
			}
		case "u":
			if left <= 0 || left > 12*time.Hour {
				t.Errorf("an index lives for %v", left)
			}
			for _, z := range must[[]redis.Z](t)(c.ZRangeWithScores(ctx, key, 0, -1).Result()) {
				until := time.UnixMilli(int64(z.Score)) // of a session; or less than 0: its end is to be told until then
				if z.Score < 0 {
					until = time.UnixMilli(int64(-z.Score))
				}
				if member := tag + "}s:" + z.Member.(string); z.Score > 0 && !slices.Contains(keys, member) || time.Until(until) > 12*time.Hour {
					t.Errorf("the index names until %v what is not there", until)
				}
			}
		case "n":
			if left <= 0 {
				t.Errorf("a not-before lives for %v", left)
			}
		}
	}
	return orphans
}
