package counterfoil_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/redistest"
	"github.com/counterfoil/counterfoil/internal/rig"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

// pair is a primary and its replica behind one address, as a failover moves it.
type pair struct {
	primary, replica *redistest.Server
	address          net.Listener

	mu       sync.Mutex
	promoted bool
	conns    []net.Conn
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{primary: redistest.Start(t, redistest.Options{})}
	p.replica = redistest.StartReplicas(t, p.primary, 1)[0]
	var err error
	if p.address, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	var passing sync.WaitGroup
	passing.Go(func() {
		for {
			c, err := p.address.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			to := p.primary
			if p.promoted {
				to = p.replica
			}
			s, err := net.Dial("tcp", to.Addr())
			if err != nil {
				c.Close()
			} else {
				p.conns = append(p.conns, c, s)
				for _, way := range [][2]net.Conn{{c, s}, {s, c}} {
					passing.Go(func() { io.Copy(way[0], way[1]); way[0].Close(); way[1].Close() })
				}
			}
			p.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		p.address.Close()
		p.cut()
		passing.Wait()
	})
	return p
}

func (p *pair) url() string { return "redis://" + p.address.Addr().String() }

func (p *pair) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
}

// detach has the replica follow no longer: what the primary takes from now on is lost.
func (p *pair) detach(t *testing.T) {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: p.replica.Addr()})
	defer c.Close()
	if err := c.ReplicaOf(t.Context(), "NO", "ONE").Err(); err != nil {
		t.Error(err)
	}
}

// follow waits until the replica has everything.
func (p *pair) follow(t *testing.T) {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: p.primary.Addr()})
	defer c.Close()
	// A write of its own: some servers' WAIT asks for that of its connection alone.
	if err := c.Set(t.Context(), "follow", "", 0).Err(); err != nil {
		t.Error(err)
	}
	if n, err := c.Do(t.Context(), "WAIT", 1, 10_000).Int(); n != 1 || err != nil {
		t.Errorf("the replica does not follow: %d, %v", n, err)
	}
}

// fail loses the primary. Whoever connects from now on finds the replica.
func (p *pair) fail() {
	p.primary.Kill()
	p.mu.Lock()
	p.promoted = true
	p.mu.Unlock()
	p.cut()
}

// promotion runs step with a promotion of the replica before each of the store's steps and after the last one, in two kinds: the replica has everything, and
// it lacks what the last step did. Then it has another process check; err is what the first one was answered. must: so many steps may not succeed
// without the replica.
func promotion(t *testing.T, must int, setup func(*testing.T, *rig.Rig) counterfoil.Tokens, step func(*testing.T, *rig.Rig, counterfoil.Tokens) error,
	check func(t *testing.T, r *rig.Rig, tokens counterfoil.Tokens, err error)) {
	t.Parallel()
	whole := &dying{}
	r := rig.New(t, rig.Embedded, listOnly)
	tokens := setup(t, r)
	r.Faults.On(whole.hook)
	if err := step(t, r, tokens); err != nil || len(whole.steps) == 0 {
		t.Fatalf("no steps: %q, %v", whole.steps, err)
	}
	for done := range len(whole.steps) + 1 {
		for _, lags := range []bool{false, true} {
			if lags && done == 0 {
				continue
			}
			what := fmt.Sprintf("after %d of %q", done, whole.steps)
			if lags {
				what += ", the last of which is lost"
			}
			t.Run(what, func(t *testing.T) {
				t.Parallel()
				p := newPair(t)
				r := rig.At(t, p.url(), p.fail, listOnly)
				tokens := setup(t, r)
				p.follow(t)
				taken, failed := 0, false
				promote := func() {
					if !lags {
						p.follow(t)
						p.detach(t)
					}
					p.fail()
					failed = true
				}
				r.Faults.On(func(name string, after bool) error {
					if name == "Heartbeat" || after {
						return nil
					}
					taken++
					if lags && taken == done {
						p.detach(t)
					}
					if taken == done+1 {
						promote()
					}
					return nil
				})
				err := step(t, r, tokens)
				if !failed { // after the last of them
					promote()
				}
				if lags && err == nil && done <= must {
					t.Error("a step that no replica has was called durable")
				}
				r.Close() // with all that this process would have repeated
				r.Faults.On(nil)
				other := *r
				other.URL = "redis://" + p.replica.Addr()
				check(t, other.Again(t), tokens, err)
			})
		}
	}
}

// again repeats what was not acknowledged.
func again(t *testing.T, err error, step func() error) {
	t.Helper()
	if err == nil {
		return
	}
	if err := step(); err != nil {
		t.Fatalf("the retry after %v: %v", err, err)
	}
}

func TestPromotionInLogout(t *testing.T) {
	logout := func(t *testing.T, r *rig.Rig, tokens counterfoil.Tokens) error {
		return r.End(t.Context(), idOf(t, tokens))
	}
	promotion(t, 2, func(t *testing.T, r *rig.Rig) counterfoil.Tokens {
		_, tokens := login(t, r, "alice")
		return tokens
	}, logout, func(t *testing.T, r *rig.Rig, tokens counterfoil.Tokens, err error) {
		r.Fresh(t)
		again(t, err, func() error { return logout(t, r, tokens) })
		isGone(t, r, tokens)
	})
}

func TestPromotionInLogoutEverywhere(t *testing.T) {
	promotion(t, 2, func(t *testing.T, r *rig.Rig) counterfoil.Tokens {
		login(t, r, "alice")
		_, tokens := login(t, r, "alice")
		return tokens
	}, func(t *testing.T, r *rig.Rig, _ counterfoil.Tokens) error {
		return r.EndAll(t.Context(), "alice")
	}, func(t *testing.T, r *rig.Rig, tokens counterfoil.Tokens, err error) {
		r.Fresh(t)
		again(t, err, func() error { return r.EndAll(t.Context(), "alice") })
		isGone(t, r, tokens)
	})
}

func TestPromotionInEndOthers(t *testing.T) {
	var kept sync.Map // tokens of the session that stays, by those of the other
	others := func(t *testing.T, r *rig.Rig, tokens counterfoil.Tokens) error {
		stays, _ := kept.Load(tokens.Access.Reveal())
		return r.EndOthers(t.Context(), r.Open(r.Verify(t, stays.(counterfoil.Tokens).Access)))
	}
	promotion(t, 2, func(t *testing.T, r *rig.Rig) counterfoil.Tokens {
		_, tokens := login(t, r, "alice")
		_, stays := login(t, r, "alice")
		kept.Store(tokens.Access.Reveal(), stays)
		return tokens
	}, others, func(t *testing.T, r *rig.Rig, tokens counterfoil.Tokens, err error) {
		r.Fresh(t)
		again(t, err, func() error { return others(t, r, tokens) })
		isGone(t, r, tokens)
		stays, _ := kept.Load(tokens.Access.Reveal())
		if _, err := visits.Incr(t.Context(), r.Open(r.Verify(t, stays.(counterfoil.Tokens).Access)), 1); err != nil {
			t.Errorf("the one that was kept: %v", err)
		}
	})
}

func TestPromotionInLogin(t *testing.T) {
	promotion(t, 0, func(t *testing.T, r *rig.Rig) counterfoil.Tokens {
		s := r.Anonymous()
		if _, err := visits.Incr(t.Context(), s, 5); err != nil {
			t.Fatal(err)
		}
		tokens, _ := s.Issued()
		return tokens
	}, func(t *testing.T, r *rig.Rig, tokens counterfoil.Tokens) error {
		_, err := r.Login(t.Context(), r.Open(r.Verify(t, tokens.Access)), "alice", counterfoil.LoginOptions{Carry: []string{"visits"}})
		return err
	}, func(t *testing.T, r *rig.Rig, tokens counterfoil.Tokens, err error) {
		ctx := t.Context()
		r.Fresh(t)
		again(t, err, func() error {
			x, err := r.Begin(ctx, counterfoil.Request{Method: "POST", Cookie: []string{cookies(tokens)}})
			if err != nil {
				return err
			}
			if err := x.Login(ctx, "alice", counterfoil.LoginOptions{Carry: []string{"visits"}}); err != nil {
				return err
			}
			_, err = visits.Incr(ctx, x.Session(), 1)
			return err
		})
		useless(t, r, tokens, "")
	})
}

func TestPromotionInRotation(t *testing.T) {
	promotion(t, 0, func(t *testing.T, r *rig.Rig) counterfoil.Tokens {
		v, tokens := login(t, r, "alice")
		if _, err := visits.Incr(t.Context(), r.Open(v), 5); err != nil {
			t.Fatal(err)
		}
		return tokens
	}, func(t *testing.T, r *rig.Rig, tokens counterfoil.Tokens) error {
		_, err := r.Rotate(t.Context(), r.Open(r.Verify(t, tokens.Access)), counterfoil.RotateOptions{})
		return err
	}, func(t *testing.T, r *rig.Rig, tokens counterfoil.Tokens, err error) {
		r.Fresh(t)
		again(t, err, func() error {
			v, err := r.Guard().Check(t.Context(), tokens.Access.Reveal())
			if errors.Is(err, revocation.ErrRevoked) {
				return nil // it was done but for the answer
			}
			if err != nil {
				return err
			}
			s, err := r.Rotate(t.Context(), r.Open(v), counterfoil.RotateOptions{})
			if errors.Is(err, counterfoil.ErrNotFound) {
				return nil // the same, but for the news
			}
			if n, readErr := visits.Get(t.Context(), s); err == nil && (n != 5 || readErr != nil) {
				t.Errorf("carried %d, %v", n, readErr)
			}
			return err
		})
		useless(t, r, tokens, "alice")
	})
}

// useless checks that a session that was replaced can be used for nothing: it may be there, frozen, but it is neither written nor renewed.
func useless(t *testing.T, r *rig.Rig, tokens counterfoil.Tokens, subject string) {
	t.Helper()
	ref := counterfoil.Ref{Session: idOf(t, tokens), Subject: subject}
	if record, err := r.Faults.Redis.Load(t.Context(), ref); !errors.Is(err, counterfoil.ErrNotFound) && !record.Frozen {
		t.Errorf("the session that was replaced is there: %v", err)
	}
	if _, err := r.Faults.Redis.Save(t.Context(), ref, []counterfoil.Op{{Kind: counterfoil.OpIncr, Name: "visits", By: 1}}); !errors.Is(err, counterfoil.ErrNotFound) {
		t.Errorf("the session that was replaced is written: %v", err)
	}
	if _, _, err := r.Refresh(t.Context(), tokens.Refresh.Reveal(), token.Verified{}); !errors.Is(err, counterfoil.ErrNotFound) && !errors.Is(err, counterfoil.ErrSuperseded) {
		t.Errorf("the session that was replaced is renewed: %v", err)
	}
}

// idOf returns the ID that a refresh token begins with.
func idOf(t *testing.T, tokens counterfoil.Tokens) token.SessionID {
	t.Helper()
	text, _, _ := strings.Cut(tokens.Refresh.Reveal(), ".")
	id, err := token.ParseSessionID(text)
	if err != nil {
		t.Fatal(err)
	}
	return id
}
