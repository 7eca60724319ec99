package counterfoil_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/store/embedded"
	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/issuer"
)

// partly is a store that does not answer for some of its sessions, as a Cluster does that has lost a master. What it ends it may not make safe, for any of
// them or for those alone.
type partly struct {
	*store.Redis
	client *redis.Client

	mu    sync.Mutex
	gone  map[token.SessionID]bool
	loads map[token.SessionID]int
	safe  map[token.SessionID]int
	wait  time.Duration // for replicas that are away
	weak  bool          // none are there
	once  map[token.SessionID]bool
}

func (p *partly) End(ctx context.Context, e counterfoil.Ending) (counterfoil.Ended, error) {
	done, err := p.Redis.End(ctx, e)
	p.mu.Lock()
	wait, weak := p.wait, p.weak || p.gone[e.Session] || p.once[e.Session]
	delete(p.once, e.Session)
	if !weak {
		p.safe[e.Session]++
	}
	p.mu.Unlock()
	if weak && err == nil && wait > 0 {
		time.Sleep(wait)
		err = counterfoil.ErrNotDurable
	}
	return done, err
}

// weaken sets how long endings wait for replicas in vain, and whether all of them do.
func (p *partly) weaken(wait time.Duration, all bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wait, p.weak = wait, all
}

// weakenOnce has the next ending of a session wait in vain.
func (p *partly) weakenOnce(id token.SessionID) { p.mu.Lock(); defer p.mu.Unlock(); p.once[id] = true }

// durable returns how often the end of a session was made safe.
func (p *partly) durable(id token.SessionID) int { p.mu.Lock(); defer p.mu.Unlock(); return p.safe[id] }

func (p *partly) Load(ctx context.Context, ref counterfoil.Ref) (counterfoil.Record, error) {
	p.mu.Lock()
	p.loads[ref.Session]++
	gone := p.gone[ref.Session]
	p.mu.Unlock()
	if gone {
		<-ctx.Done()
		return counterfoil.Record{}, ctx.Err()
	}
	return p.Redis.Load(ctx, ref)
}

func (p *partly) lose(id token.SessionID) { p.mu.Lock(); defer p.mu.Unlock(); p.gone[id] = true }

func (p *partly) count(id token.SessionID) int { p.mu.Lock(); defer p.mu.Unlock(); return p.loads[id] }

// inBubble runs a test with a Manager whose time passes without anybody waiting for it.
func inBubble(t *testing.T, change func(*counterfoil.Config), test func(t *testing.T, m *counterfoil.Manager, p *partly)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		server := embedded.InMemory()
		defer server.Close()
		client := server.Client()
		defer client.Close()
		sessions, err := store.New(t.Context(), client, store.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer sessions.Close()
		key, err := issuer.GenerateKey("EdDSA")
		if err != nil {
			t.Fatal(err)
		}
		ring, err := issuer.NewRing(key)
		if err != nil {
			t.Fatal(err)
		}
		p := &partly{Redis: sessions, client: client, gone: map[token.SessionID]bool{}, loads: map[token.SessionID]int{}, safe: map[token.SessionID]int{}, once: map[token.SessionID]bool{}}
		cfg := counterfoil.Config{
			Issuer: "https://issuer.test", Audience: "app", Keys: ring, Secrets: [][]byte{bytes.Repeat([]byte("s"), 32)}, Store: p,
		}
		if change != nil {
			change(&cfg)
		}
		m, err := counterfoil.New(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		test(t, m, p)
	})
}

// begin begins a session and returns it as the next request sees it.
func begin(t *testing.T, m *counterfoil.Manager, subject string, opt counterfoil.LoginOptions) (*counterfoil.Session, counterfoil.Tokens) {
	t.Helper()
	s, err := m.Login(t.Context(), nil, subject, opt)
	if err != nil {
		t.Fatal(err)
	}
	tokens, _ := s.Issued()
	v, err := m.Guard().Check(t.Context(), tokens.Access.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	return m.Open(v), tokens
}

// until returns how long it takes until a channel is closed, which is limit if it takes longer.
func until(done <-chan struct{}, limit time.Duration) time.Duration {
	began := time.Now()
	select {
	case <-done:
	case <-time.After(limit):
	}
	return time.Since(began)
}

// Sessions of which the store does not answer keep nobody waiting: neither for the news of another session's end, nor for what only the store tells.
func TestDoneWhileAMasterIsGone(t *testing.T) {
	t.Parallel()
	const access = 30 * time.Second
	for name, looked := range map[string]bool{"at once": false, "after the first look": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(c *counterfoil.Config) { c.AccessLife = access }, func(t *testing.T, m *counterfoil.Manager, p *partly) {
				ctx := t.Context()
				alice, _ := begin(t, m, "alice", counterfoil.LoginOptions{})
				bob, _ := begin(t, m, "bob", counterfoil.LoginOptions{})
				carol, _ := begin(t, m, "carol", counterfoil.LoginOptions{})
				for i := range 100 {
					s, _ := begin(t, m, fmt.Sprint("somebody ", i), counterfoil.LoginOptions{})
					s.Done()
					p.lose(s.ID())
				}
				ofAlice, ofBob, ofCarol := alice.Done(), bob.Done(), carol.Done()
				if looked {
					time.Sleep(2 * access)
				}
				if err := m.EndAll(ctx, "alice"); err != nil {
					t.Fatal(err)
				}
				if took := until(ofAlice, time.Hour); took > 0 {
					t.Errorf("a subject's sessions ended, and the channel was closed after %v", took)
				}
				// The record goes, and nobody tells the log.
				if _, err := p.End(ctx, counterfoil.Ending{Session: bob.ID()}); err != nil {
					t.Fatal(err)
				}
				if took := until(ofBob, time.Hour); took > 2*access {
					t.Errorf("what the log did not tell was found after %v, want an access life", took)
				}
				if took := until(ofCarol, 2*access); took < 2*access {
					t.Error("a session that lives is done")
				}
			})
		})
	}
}

// What the log says of sessions that began until a time is decided without the store, where it can be.
func TestDoneByTheLogAlone(t *testing.T) {
	t.Parallel()
	hash := token.SubjectHash("https://issuer.test", "alice")
	for _, tt := range []struct {
		name    string
		subject string
		looked  bool
		entry   func(began, now int64) revocation.Entry
		closed  bool
	}{
		{"its subject", "alice", true, func(_, now int64) revocation.Entry {
			return revocation.Entry{Kind: revocation.KindSubject, At: now, Subject: hash, NotBefore: now}
		}, true},
		{"its subject, never looked at", "alice", false, func(_, now int64) revocation.Entry {
			return revocation.Entry{Kind: revocation.KindSubject, At: now, Subject: hash, NotBefore: now}
		}, true},
		{"its subject until it began, known by a renewed token, never looked at", "alice", false, func(began, now int64) revocation.Entry {
			return revocation.Entry{Kind: revocation.KindSubject, At: now, Subject: hash, NotBefore: began}
		}, true},
		{"everything", "alice", true, func(_, now int64) revocation.Entry {
			return revocation.Entry{Kind: revocation.KindAll, At: now, NotBefore: now}
		}, true},
		{"everything, of nobody", "", true, func(_, now int64) revocation.Entry {
			return revocation.Entry{Kind: revocation.KindAll, At: now, NotBefore: now}
		}, true},
		{"everything until it began", "alice", true, func(began, now int64) revocation.Entry {
			return revocation.Entry{Kind: revocation.KindAll, At: now, NotBefore: began}
		}, true},
		{"everything before it began", "alice", true, func(began, now int64) revocation.Entry {
			return revocation.Entry{Kind: revocation.KindAll, At: now, NotBefore: began - 1}
		}, false},
		{"its subject before it began", "alice", true, func(began, now int64) revocation.Entry {
			return revocation.Entry{Kind: revocation.KindSubject, At: now, Subject: hash, NotBefore: began - 1}
		}, false},
		{"another subject", "bob", true, func(_, now int64) revocation.Entry {
			return revocation.Entry{Kind: revocation.KindSubject, At: now, Subject: hash, NotBefore: now}
		}, false},
		{"a subject, of nobody", "", true, func(_, now int64) revocation.Entry {
			return revocation.Entry{Kind: revocation.KindSubject, At: now, Subject: hash, NotBefore: now}
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, nil, func(t *testing.T, m *counterfoil.Manager, p *partly) {
				ctx := t.Context()
				s, began := m.Anonymous(), time.Now().UnixMilli()
				if tt.subject != "" {
					_, tokens := begin(t, m, tt.subject, counterfoil.LoginOptions{})
					time.Sleep(time.Second)
					_, tokens, err := m.Refresh(ctx, tokens.Refresh.Reveal(), token.Verified{})
					if err != nil {
						t.Fatal(err)
					}
					v, err := m.Guard().Check(ctx, tokens.Access.Reveal())
					if err != nil {
						t.Fatal(err)
					}
					s = m.Open(v)
				} else if _, err := visits.Incr(ctx, s, 1); err != nil {
					t.Fatal(err)
				}
				if !tt.looked {
					p.lose(s.ID())
				}
				done := s.Done()
				time.Sleep(5 * time.Second)
				p.lose(s.ID())
				if _, err := p.Append(ctx, tt.entry(began, time.Now().UnixMilli())); err != nil {
					t.Fatal(err)
				}
				if closed := until(done, 10*time.Second) < 10*time.Second; closed != tt.closed {
					t.Errorf("closed: %v", closed)
				}
			})
		})
	}
}

// A channel that nobody waits for any more costs little: a session that is renewed costs more by that, and of one that is not the store is asked ever
// more rarely.
func TestDoneAsksRarely(t *testing.T) {
	t.Parallel()
	const access, idle = 2 * time.Second, 4 * time.Minute
	inBubble(t, func(c *counterfoil.Config) { c.AccessLife, c.IdleLife = access, idle }, func(t *testing.T, m *counterfoil.Manager, p *partly) {
		ctx := t.Context()
		idler, _ := begin(t, m, "idler", counterfoil.LoginOptions{})
		user, tokens := begin(t, m, "user", counterfoil.LoginOptions{})
		began := time.Now()
		ofIdler, ofUser := idler.Done(), user.Done()
		for time.Since(began) < idle-10*time.Second {
			time.Sleep(access)
			_, next, err := m.Refresh(ctx, tokens.Refresh.Reveal(), token.Verified{})
			if err != nil {
				t.Fatal(err)
			}
			if !next.Refresh.IsZero() {
				tokens = next
			}
		}
		select {
		case <-ofIdler:
			t.Fatalf("the session is idle, and done after %v", time.Since(began))
		default:
		}
		until(ofIdler, time.Hour)
		if took := time.Since(began); took < idle || took > idle+5*time.Second {
			t.Errorf("done after %v, want the idle life", took)
		}
		if n := p.count(idler.ID()); n > 10 {
			t.Errorf("the store was asked %d times about a session that nobody renewed", n)
		}
		if n, most := p.count(user.ID()), int(idle/access)+1; n < most/2 || n > most {
			t.Errorf("the store was asked %d times about a session that was renewed, want about %d", n, most)
		}
		select {
		case <-ofUser:
			t.Error("a session that is renewed is done")
		default:
		}
	})
}

// A log that has lost something may have lost the news of any session.
func TestDoneAfterTheLogWasLost(t *testing.T) {
	t.Parallel()
	const access = 2 * time.Second
	inBubble(t, func(c *counterfoil.Config) { c.AccessLife = access }, func(t *testing.T, m *counterfoil.Manager, p *partly) {
		ctx := t.Context()
		s, _ := begin(t, m, "alice", counterfoil.LoginOptions{})
		done := s.Done()
		time.Sleep(36 * access) // nobody renews it: it was looked at after 31 of them, and would be again after 63
		if _, err := p.End(ctx, counterfoil.Ending{Session: s.ID()}); err != nil {
			t.Fatal(err)
		}
		if took := until(done, access); took < access {
			t.Fatalf("closed after %v, although nobody told", took)
		}
		if err := p.client.Del(ctx, "cf:{rev}log").Err(); err != nil {
			t.Fatal(err)
		}
		if took := until(done, time.Hour); took > 5*access {
			t.Errorf("closed after %v", took)
		}
	})
}
