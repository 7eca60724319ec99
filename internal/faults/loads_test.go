package faults_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/faults"
	"github.com/counterfoil/counterfoil/internal/redistest"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/token"
)

var loadsEach = flag.Int("loads", 100_000, "how often each of 64 sessions is loaded under injected timeouts, with -whole")

var loads = []fault{
	{"timeouts, every thousandth answer, 64 sessions loaded at once", true, timeouts},
}

// tardy is a connection on which an answer is now and then read later than anybody waits.
type tardy struct {
	net.Conn
	on *atomic.Bool
}

func (c *tardy) Read(b []byte) (int, error) {
	if c.on.Load() && rand.IntN(1000) == 0 {
		<-time.After(80 * time.Millisecond)
	}
	return c.Conn.Read(b)
}

// timeouts loads 64 sessions again and again through connections whose answers are now and then later than anybody waits: an answer that is left behind
// on a connection must not be taken for that to the next question (as in go-redis, CVE-2025-29923).
func timeouts(r *run) {
	const sessions = 64
	each := 1000
	if *whole {
		each = *loadsEach
	}
	s, b := r.solo(redistest.Options{})
	r.begin(b, true)
	var late atomic.Bool
	client := redis.NewClient(&redis.Options{Addr: s.Addr(), PoolSize: 32, ContextTimeoutEnabled: true, Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		return &tardy{c, &late}, err
	}})
	defer client.Close()
	own, err := store.New(r.ctx, client, store.Config{Logger: r.logger, Timeout: 60 * time.Millisecond})
	for range 10 { // on a busy machine the start may take longer
		if err == nil {
			break
		}
		own, err = store.New(r.ctx, client, store.Config{Logger: r.logger, Timeout: 60 * time.Millisecond})
	}
	r.must(err)
	defer own.Close()
	type one struct {
		ref  counterfoil.Ref
		mark string
		seen *faults.Session
	}
	var all []one
	for i := range sessions {
		subject := fmt.Sprintf("loaded %d", i)
		called := time.Now()
		session, err := r.origins[0].Login(r.ctx, nil, subject, counterfoil.LoginOptions{})
		r.must(err)
		tokens, _ := session.Issued()
		var v token.Verified
		v, err = r.plain.Verify(tokens.Access.Reveal())
		r.must(err)
		ref := counterfoil.Ref{Session: v.Session(), Subject: subject, Generation: 1}
		op := counterfoil.Op{Kind: counterfoil.OpSet, Name: "mark", Value: []byte(ref.Session.String())}
		_, err = r.origins[0].store.Save(r.ctx, ref, []counterfoil.Op{op})
		r.must(err)
		all = append(all, one{ref, ref.Session.String(), r.oracle.Begun(subject, called)})
	}
	late.Store(true)
	end := time.Now().Add(8 * time.Minute)
	var done, timedOut atomic.Int64
	var running sync.WaitGroup
	for _, x := range all {
		running.Go(func() {
			for n := 0; n < each && (n%1000 != 0 || time.Now().Before(end)); n++ {
				called := time.Now()
				rec, err := own.Load(r.ctx, x.ref)
				done.Add(1)
				switch {
				case errors.Is(err, counterfoil.ErrNotFound): // the session lives
					r.oracle.MixedUp(x.seen, "a session that lives was said to have ended")
				case err != nil:
					timedOut.Add(1)
				case rec.Session != x.ref.Session || rec.Subject != x.ref.Subject || string(rec.Fields["mark"]) != x.mark:
					r.oracle.MixedUp(x.seen, "a load answered another's data")
				default:
					r.oracle.Used(x.seen, r.record(r.origins[0]), called, faults.Accepted)
				}
			}
		})
	}
	running.Wait()
	late.Store(false)
	r.row.Note = fmt.Sprintf("%d loads, %d of them without an answer", done.Load(), timedOut.Load())
	r.Log(r.row.Note)
	if timedOut.Load() == 0 {
		r.Error("no load timed out: this shows nothing")
	}
	r.heal()
}
