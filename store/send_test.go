package store_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/deadline"
	"github.com/counterfoil/counterfoil/store"
)

// TestConnectionInTime has a step wait for a connection, of a client that would wait for it far longer: because all are taken, or because a new one does not come
// about. It ends in the time that the store has, or its caller, if that is shorter.
func TestConnectionInTime(t *testing.T) {
	const want, far = 200 * time.Millisecond, 20 * time.Second
	for _, pipelined := range []bool{false, true} {
		for _, dials := range []bool{false, true} {
			t.Run(fmt.Sprintf("pipelined %v, dials %v", pipelined, dials), func(t *testing.T) {
				t.Parallel()
				var stuck atomic.Bool
				over := make(chan struct{})
				client := redis.NewClient(&redis.Options{
					Addr: miniredis.RunT(t).Addr(), ContextTimeoutEnabled: true,
					PoolSize: 1, PipelinePoolSize: -1, PoolTimeout: far, DialTimeout: far, DialerRetries: 1, ConnMaxIdleTime: -1,
					Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
						if stuck.Load() {
							<-over
							return nil, errors.New("over")
						}
						return new(net.Dialer).DialContext(ctx, network, addr)
					},
				})
				defer client.Close()
				defer close(over)
				open := func(timeout time.Duration) *store.Redis {
					s, err := store.New(background(t), client, store.Config{Logger: quiet, Timeout: timeout, AutoPipeline: pipelined})
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { s.Close() })
					return s
				}
				hurried, patient := open(want), open(far)
				ref := newRef(t, patient, "alice")
				held := client.Conn() // the only one
				defer held.Close()
				if err := held.Ping(t.Context()).Err(); err != nil {
					t.Fatal(err)
				}
				if dials {
					stuck.Store(true)
					held.Do(t.Context(), "quit") // so that it is not used again
					held.Close()
				}
				for name, step := range map[string]func(context.Context, *store.Redis) error{
					"Load": func(ctx context.Context, s *store.Redis) error { _, err := s.Load(ctx, ref); return err },
					"Save": func(ctx context.Context, s *store.Redis) error { _, err := s.Save(ctx, ref, nil); return err },
					"Find": func(ctx context.Context, s *store.Redis) error { _, err := s.Find(ctx, ref.Session); return err },
				} {
					try := func(whose string, ctx context.Context, s *store.Redis) {
						began := time.Now()
						if err := step(ctx, s); err == nil || errors.Is(err, counterfoil.ErrNotFound) {
							t.Errorf("%s: %v, without a connection", name, err)
						}
						if took := time.Since(began); took < want*3/4 || took > far/4 {
							t.Errorf("%s, in the %s's time: given up after %v, want %v", name, whose, took, want)
						}
					}
					try("store", t.Context(), hurried)
					ctx := deadline.After(t.Context(), want) // as a Manager has it
					try("caller", ctx, patient)
					ctx.Release()
				}
			})
		}
	}
}

// TestStepsMakeNoTimer has steps take connections that are free: none looks at the context's end more often than for the one glance that makes no timer.
func TestStepsMakeNoTimer(t *testing.T) {
	for _, pipelined := range []bool{false, true} {
		client := dialURL(t, startEmbedded(t).URL())
		s, err := store.New(background(t), client, store.Config{Logger: quiet, AutoPipeline: pipelined})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		ref := newRef(t, s, "alice")
		for _, warm := range []bool{false, true} { // before, scripts are sent again and pools fill
			for name, step := range map[string]func(context.Context) error{
				"Load":     func(ctx context.Context) error { _, err := s.Load(ctx, ref); return err },
				"Save":     func(ctx context.Context) error { _, err := s.Save(ctx, ref, nil); return err },
				"Sessions": func(ctx context.Context) error { _, err := s.Sessions(ctx, ref.Subject); return err },
			} {
				looks := &looked{Context: t.Context()}
				if err := step(looks); err != nil {
					t.Fatal(err)
				}
				if n := looks.n.Load(); warm && n > 1 {
					t.Errorf("%s, pipelined %v: looked %d times", name, pipelined, n)
				}
			}
		}
	}
}

// looked counts who looks whether it is done.
type looked struct {
	context.Context
	n atomic.Int32
}

func (l *looked) Done() <-chan struct{} { l.n.Add(1); return l.Context.Done() }
