package counterfoil_test

import (
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil/internal/redistest"
	"github.com/counterfoil/counterfoil/internal/rig"
	"github.com/counterfoil/counterfoil/revocation"
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

// TestPromotionAtEveryCommand loses the primary, and promotes its replica, after every single command of every request that ends or replaces a session. The
// replica has everything, or lacks what the last command did, with its WAIT if it has one. Whoever was not told that it is done tries again, with
// another process.
func TestPromotionAtEveryCommand(t *testing.T) {
	t.Parallel()
	turns := make(chan struct{}, 10) // most of the time they wait
	var all sync.WaitGroup
	for _, d := range deeds {
		all.Go(func() {
			var commands []string
			t.Run(d.name+", none", func(t *testing.T) { commands = promote(t, d, 0, 0) })
			for n, command := range commands {
				lost := []int{0, 1}
				if command == "wait" {
					lost[1] = 2
				}
				for _, lost := range lost {
					all.Go(func() {
						turns <- struct{}{}
						defer func() { <-turns }()
						t.Run(fmt.Sprintf("%s, after %d of %d (%s), %d lost", d.name, n+1, len(commands), command, lost), func(t *testing.T) { promote(t, d, n+1, lost) })
					})
				}
			}
		})
	}
	all.Wait()
}

// promote has one process meet a promotion after its nth command, of which the replica lacks the last few, and returns its commands.
func promote(t *testing.T, d deed, n, lost int) []string {
	p := newPair(t)
	r := rig.At(t, p.url(), p.fail, mortal(revocation.BestEffort))
	s := stage(t, r, d)
	r.Close() // so that nobody else knows anything
	w := &wire{}
	m, end, err := openWired(t.Context(), p.url(), w, r.Config)
	if err != nil {
		t.Fatal(err)
	}
	p.follow(t)
	failed := false
	w.count(func(i int, _ string, when moment) {
		switch {
		case lost > 0 && i == n-lost+1 && when == about:
			p.detach(t)
		case i == n && when == answered && !failed:
			if lost == 0 {
				p.follow(t)
				p.detach(t)
			}
			p.fail()
			failed = true
		}
	})
	answer, err := d.do(t.Context(), m, s.held)
	commands := w.stop()
	end() // with all that this process would have repeated
	other := *r
	if failed {
		other.URL = "redis://" + p.replica.Addr()
	} else if n > 0 {
		t.Errorf("no promotion: %q", commands)
	}
	s.judge(t, other.Again(t), answer, err == nil, lost > 0)
	return commands
}
