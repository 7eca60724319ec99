package store_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/redistest"
	"github.com/counterfoil/counterfoil/store"
)

// recorder is a hook that writes down what a client sends, a line for each round trip.
type recorder struct {
	mu    sync.Mutex
	trips []string
}

func (r *recorder) note(cmds ...redis.Cmder) {
	var names []string
	for _, c := range cmds {
		names = append(names, c.Name())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trips = append(r.trips, strings.Join(names, " "))
}

func (r *recorder) taken() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := strings.Join(r.trips, ", ")
	r.trips = nil
	return s
}

func (r *recorder) DialHook(next redis.DialHook) redis.DialHook { return next }

func (r *recorder) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { r.note(cmd); return next(ctx, cmd) }
}

func (r *recorder) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { r.note(cmds...); return next(ctx, cmds) }
}

// TestRoundTrips holds what a load and a save send: one round trip each, and one more for the first load that comes with a new generation. A
// load reads the not-before after the record, without which a session that was ended with all others between the two would be answered.
func TestRoundTrips(t *testing.T) {
	for name, url := range bothServers(t) {
		for _, auto := range []bool{false, true} {
			t.Run(name+" "+strconv.FormatBool(auto), func(t *testing.T) {
				ctx, sent, client := background(t), &recorder{}, dialURL(t, url)
				s, err := store.New(ctx, client, store.Config{Prefix: "trips" + strconv.FormatBool(auto) + ":", Logger: quiet, AutoPipeline: auto})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				ref := newRef(t, s, "alice")
				set := []counterfoil.Op{{Kind: counterfoil.OpSet, Name: "f", Value: []byte("v")}}
				step := func(what, want string, run func() error) {
					t.Helper()
					if err := run(); err != nil {
						t.Fatal(err)
					}
					if got := sent.taken(); got != want {
						t.Errorf("%s sent %q, want %q", what, got, want)
					}
				}
				load := func() error { _, err := s.Load(ctx, ref); return err }
				save := func() error { _, err := s.Save(ctx, ref, set); return err }
				arrived := newRef(t, s, "bob")
				arrived.Generation = 1
				if _, err := s.Load(ctx, arrived); errors.Join(err, save()) != nil { // the scripts are known from here on
					t.Fatal(err)
				}
				client.AddHook(sent)
				step("load", "hgetall get", load)
				step("save", "evalsha", save)
				ref.Generation = 1
				step("the first load of a generation", "hgetall get, evalsha", load)
				step("the next one", "hgetall get", load)
				step("a save", "evalsha", save)
			})
		}
	}
}

// testRedirected has a client that takes the first node for all of a Cluster: go-redis is told better by nearly every answer.
func testRedirected(t *testing.T, nodes []*redistest.Server, truth *redis.ClusterClient) {
	ctx := background(t)
	c := redis.NewClusterClient(&redis.ClusterOptions{ContextTimeoutEnabled: true, ClusterSlots: func(context.Context) ([]redis.ClusterSlot, error) {
		return []redis.ClusterSlot{{Start: 0, End: 16383, Nodes: []redis.ClusterNode{{Addr: nodes[0].Addr()}}}}, nil
	}})
	defer c.Close()
	for _, auto := range []bool{false, true} {
		s, err := store.New(ctx, c, store.Config{Prefix: "redirected:", Logger: quiet, AutoPipeline: auto})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 8 {
			subject := "subject " + strconv.Itoa(i)
			ref := newRef(t, s, subject, counterfoil.Op{Kind: counterfoil.OpSet, Name: "whose", Value: []byte(subject)})
			ref.Generation = 1
			if r, err := s.Load(ctx, ref); err != nil || string(r.Fields["whose"]) != subject || r.Subject != subject || r.Generation != 1 || r.Idle != time.Hour {
				t.Errorf("%+v, %v", r, err)
			}
			key := "redirected:{" + ref.Session.Tag() + "}s:" + ref.Session.String()
			if k := truth.HGet(ctx, key, "k").Val(); k == "0" || k == "" {
				t.Error("the generation was not confirmed")
			}
			if _, err := s.End(ctx, counterfoil.Ending{Subject: subject}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Load(ctx, ref); !errors.Is(err, counterfoil.ErrNotFound) {
				t.Errorf("after the end: %v", err)
			}
			truth.HSet(ctx, key, "id", ref.Session.String(), "u", subject, "c", "1", "a", "99999999999999") // as a failover may bring it back
			if _, err := s.Load(ctx, ref); !errors.Is(err, counterfoil.ErrNotFound) {
				t.Errorf("a record from before the subject's not-before: %v", err)
			}
			truth.Del(ctx, key)
			truth.Set(ctx, key, "x", 0)
			if _, err := s.Load(ctx, ref); !errors.Is(err, counterfoil.ErrNotFound) {
				t.Errorf("a key of another type: %v", err)
			}
		}
		s.Close()
	}
}

// TestPipelinedTogether has many callers share pipelines, some of which lose patience: nobody gets another one's answer, and nobody waits for ever.
func TestPipelinedTogether(t *testing.T) {
	for name, url := range bothServers(t) {
		t.Run(name, func(t *testing.T) {
			client := dialURL(t, url)
			s, err := store.New(background(t), client, store.Config{Logger: quiet, AutoPipeline: true, Timeout: 10 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			shared := newRef(t, s, "everybody")
			var acknowledged, impatient atomic.Int64
			var wg sync.WaitGroup
			for i := range 48 {
				subject := "subject " + strconv.Itoa(i)
				own := newRef(t, s, subject)
				wg.Go(func() {
					for n := range 12 {
						want := strconv.Itoa(n)
						if _, err := s.Save(t.Context(), own, []counterfoil.Op{{Kind: counterfoil.OpSet, Name: subject, Value: []byte(want)}}); err != nil {
							t.Errorf("Save: %v", err)
						}
						if r, err := s.Load(t.Context(), own); err != nil || r.Subject != subject || len(r.Fields) != 1 || string(r.Fields[subject]) != want {
							t.Errorf("Load: %+v, %v", r, err)
						}
						ctx, cancel := context.WithCancel(t.Context())
						if n%3 == 0 {
							go cancel()
						}
						switch saved, err := s.Save(ctx, shared, []counterfoil.Op{{Kind: counterfoil.OpIncr, Name: "n", By: 1}}); {
						case err == nil && saved.Values[0].Present:
							acknowledged.Add(1)
						case errors.Is(err, context.Canceled):
							impatient.Add(1)
						default:
							t.Errorf("increment: %+v, %v", saved, err)
						}
						cancel()
					}
				})
			}
			wg.Wait()
			r, err := s.Load(background(t), shared)
			if err != nil {
				t.Fatal(err)
			}
			n, err := strconv.ParseInt(string(r.Fields["n"]), 10, 64)
			if err != nil || n < acknowledged.Load() || n > acknowledged.Load()+impatient.Load() {
				t.Errorf("the count is %d; %d increments were acknowledged, of %d nobody knows", n, acknowledged.Load(), impatient.Load())
			}
		})
	}
}
