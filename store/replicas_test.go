package store_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
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
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/store"
)

// replicaWait is how long the stores of these tests wait for replicas.
const replicaWait = 300 * time.Millisecond

// replicated is a server with its replicas.
type replicated struct {
	primary  *redistest.Server
	replicas []*redistest.Server
	client   *redis.Client // of the primary
}

func startReplicated(t *testing.T, n int, opt redistest.Options) *replicated {
	t.Helper()
	r := &replicated{primary: redistest.Start(t, opt)}
	r.replicas = redistest.StartReplicas(t, r.primary, n)
	r.client = dialURL(t, r.primary.URL())
	return r
}

// open opens a store of a process of its own.
func (r *replicated) open(t *testing.T, cfg store.Config) *store.Redis {
	t.Helper()
	return openStore(t, r.primary.URL(), cfg)
}

func openStore(t *testing.T, url string, cfg store.Config) *store.Redis {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = quiet
	}
	if cfg.ReplicaTimeout == 0 {
		cfg.ReplicaTimeout = replicaWait
	}
	s, err := store.Open(background(t), url, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// calls returns how often the primary was asked to carry a command out.
func (r *replicated) calls(t *testing.T, command string) int {
	t.Helper()
	for line := range strings.Lines(r.client.Info(t.Context(), "commandstats").Val()) {
		if rest, ok := strings.CutPrefix(line, "cmdstat_"+command+":calls="); ok {
			n, _, _ := strings.Cut(rest, ",")
			calls, err := strconv.Atoi(n)
			if err != nil {
				t.Fatal(err)
			}
			return calls
		}
	}
	return 0
}

// onRedisAndValkey runs a test against each of them that is installed. WAIT is not the same in both: see TestDurableAgain.
func onRedisAndValkey(t *testing.T, test func(t *testing.T, opt redistest.Options)) {
	for _, binary := range []string{"redis-server", "valkey-server"} {
		t.Run(binary, func(t *testing.T) {
			t.Parallel()
			test(t, redistest.Options{Binary: binary})
		})
	}
}

// ways are the steps that end sessions, with what each needs. dead are the sessions that have ended when it is done, however durably.
var ways = []struct {
	name string
	prep func(t *testing.T, s *store.Redis, past *redis.Client) (step func(s *store.Redis) error, dead []counterfoil.Ref)
	// again: repeating the step is a retry of it, with the same answer. Others have happened, and a retry has nothing to do.
	again bool
}{
	{"one", func(t *testing.T, s *store.Redis, _ *redis.Client) (func(*store.Redis) error, []counterfoil.Ref) {
		ref := newRef(t, s, t.Name()+"/one")
		return func(s *store.Redis) error {
			e, err := s.End(background(t), counterfoil.Ending{Session: ref.Session})
			if e.At == 0 {
				t.Errorf("no whole answer: %+v, %v", e, err)
			}
			return err
		}, []counterfoil.Ref{ref}
	}, true},
	{"one, anonymous", func(t *testing.T, s *store.Redis, _ *redis.Client) (func(*store.Redis) error, []counterfoil.Ref) {
		ref := newRef(t, s, "")
		return func(s *store.Redis) error {
			_, err := s.End(background(t), counterfoil.Ending{Session: ref.Session})
			return err
		}, []counterfoil.Ref{ref}
	}, true},
	{"all", func(t *testing.T, s *store.Redis, _ *redis.Client) (func(*store.Redis) error, []counterfoil.Ref) {
		refs := []counterfoil.Ref{newRef(t, s, t.Name()+"/all"), newRef(t, s, t.Name()+"/all")}
		return func(s *store.Redis) error {
			e, err := s.End(background(t), counterfoil.Ending{Subject: t.Name() + "/all"})
			if e.At == 0 || e.NotBefore == 0 {
				t.Errorf("no whole answer: %+v, %v", e, err)
			}
			return err
		}, refs
	}, true},
	{"others", func(t *testing.T, s *store.Redis, _ *redis.Client) (func(*store.Redis) error, []counterfoil.Ref) {
		refs := []counterfoil.Ref{newRef(t, s, t.Name()+"/others"), newRef(t, s, t.Name()+"/others")}
		keep := newRef(t, s, t.Name()+"/others")
		return func(s *store.Redis) error {
			e, err := s.End(background(t), counterfoil.Ending{Subject: t.Name() + "/others", Keep: keep.Session})
			if e.At == 0 || len(e.Sessions) != 2 {
				t.Errorf("no whole answer: %+v, %v", e, err)
			}
			return err
		}, refs
	}, true},
	{"reuse", func(t *testing.T, s *store.Redis, past *redis.Client) (func(*store.Redis) error, []counterfoil.Ref) {
		ref := newRef(t, s, t.Name()+"/reuse")
		present := counterfoil.Presented{Session: ref.Session, Generation: 1, Window: time.Second}
		for generation := range uint64(3) {
			backdoor{past, "cf:"}.shift(t, ref.Session, time.Minute)
			present.Generation = generation + 1
			if r, err := s.Refresh(background(t), present); err != nil || r.Verdict != counterfoil.Rotated {
				t.Fatal(r, err)
			}
		}
		present.Generation = 1
		return func(s *store.Redis) error {
			r, err := s.Refresh(background(t), present)
			if r.Verdict != counterfoil.Reused || r.Subject != t.Name()+"/reuse" || r.At == 0 {
				t.Errorf("no whole answer: %+v, %v", r, err)
			}
			return err
		}, []counterfoil.Ref{ref}
	}, false},
	{"the cap", func(t *testing.T, s *store.Redis, _ *redis.Client) (func(*store.Redis) error, []counterfoil.Ref) {
		refs := []counterfoil.Ref{newRef(t, s, t.Name()+"/the cap"), newRef(t, s, t.Name()+"/the cap")}
		return func(s *store.Redis) error {
			c, err := s.Create(background(t), counterfoil.NewRecord{
				Session: newID(t, t.Name()+"/the cap"), Subject: t.Name() + "/the cap", Idle: time.Hour, Absolute: time.Hour, Cap: 1})
			if len(c.Evicted) != 2 || c.At == 0 {
				t.Errorf("no whole answer: %+v, %v", c, err)
			}
			return err
		}, refs
	}, false},
}

// TestDurable ends sessions with a replica that acknowledges, and looks at the replica: it knows. Then with one that has stopped: the caller is
// told, in time, and the sessions have ended all the same.
func TestDurable(t *testing.T) {
	t.Parallel()
	onRedisAndValkey(t, func(t *testing.T, opt redistest.Options) {
		r := startReplicated(t, 1, opt)
		s := r.open(t, store.Config{})
		behind := dialURL(t, r.replicas[0].URL())
		known := func(ref counterfoil.Ref) bool {
			return behind.Exists(t.Context(), backdoor{behind, "cf:"}.key(ref.Session)).Val() == 1
		}
		for _, w := range ways {
			for _, frozen := range []bool{false, true} {
				name := w.name
				if frozen {
					name += ", replica stopped"
				}
				t.Run(name, func(t *testing.T) {
					step, dead := w.prep(t, s, r.client)
					var want error
					if frozen {
						r.replicas[0].Pause(t)
						defer r.replicas[0].Resume(t)
						want = counterfoil.ErrNotDurable
					}
					began := time.Now()
					err := step(s)
					took := time.Since(began)
					if !errors.Is(err, want) || err != nil && want == nil {
						t.Errorf("error is %v, want %v", err, want)
					}
					if frozen && (took < replicaWait/2 || took > replicaWait+time.Second) {
						t.Errorf("told after %v, want about %v", took, replicaWait)
					}
					for _, ref := range dead {
						if _, err := s.Load(background(t), ref); !errors.Is(err, counterfoil.ErrNotFound) {
							t.Errorf("the session has not ended: %v", err)
						}
						if !frozen && known(ref) {
							t.Error("the replica was to have acknowledged it, and still has the session")
						}
					}
				})
			}
		}
		t.Run("append", func(t *testing.T) {
			entries := make([]revocation.Entry, 2500) // several scripts
			for i := range entries {
				entries[i] = sessionEntry(t, time.Now())
			}
			if a, err := s.Append(background(t), entries...); err != nil || behind.XRevRangeN(t.Context(), "cf:{rev}log", "+", "-", 1).Val()[0].ID != string(a.Position) {
				t.Errorf("%+v, %v", a, err)
			}
			r.replicas[0].Pause(t)
			defer r.replicas[0].Resume(t)
			before := r.client.XLen(t.Context(), "cf:{rev}log").Val()
			a, err := s.Append(background(t), entries...)
			if !errors.Is(err, counterfoil.ErrNotDurable) || a.Position == "" || a.Now == 0 {
				t.Errorf("%+v, %v", a, err)
			}
			if n := r.client.XLen(t.Context(), "cf:{rev}log").Val() - before; n != int64(len(entries)) {
				t.Errorf("a position says that all are in the log; there are %d", n)
			}
			if a, err := s.Append(background(t)); err != nil || a.Position == "" {
				t.Errorf("a heartbeat has nothing to lose: %+v, %v", a, err)
			}
		})
	})
}

// TestDurableAgain repeats steps whose first try no replica had acknowledged. What they end has ended already, so the second try has nothing
// to write; yet it must not answer before the replica has the first. Since 7.2, and in Valkey, WAIT asks for the last write of its own connection
// alone: a script that wrote nothing would be acknowledged at once.
func TestDurableAgain(t *testing.T) {
	t.Parallel()
	onRedisAndValkey(t, func(t *testing.T, opt redistest.Options) {
		r := startReplicated(t, 1, opt)
		s := r.open(t, store.Config{})
		for _, w := range ways {
			if !w.again {
				continue
			}
			t.Run(w.name, func(t *testing.T) {
				step, _ := w.prep(t, s, r.client)
				r.replicas[0].Pause(t)
				resume := func() { r.replicas[0].Resume(t) }
				defer func() { resume() }()
				if err := step(s); !errors.Is(err, counterfoil.ErrNotDurable) {
					t.Fatalf("the first try: %v", err)
				}
				other := r.open(t, store.Config{}) // new connections, which have written nothing
				for range 3 {
					if err := step(other); !errors.Is(err, counterfoil.ErrNotDurable) {
						t.Errorf("another try, of another process: %v, want ErrNotDurable", err)
					}
				}
				if n := len(r.client.Keys(t.Context(), "*").Val()); n > 20 {
					t.Errorf("%d keys: tries leave something behind", n)
				}
				resume()
				resume = func() {}
				if err := step(other); err != nil {
					t.Errorf("when the replica is back: %v", err)
				}
			})
		}
	})
}

// TestDurableFull repeats what has ended sessions on a primary that has no memory left. It is still told to the replica, and waited for.
func TestDurableFull(t *testing.T) {
	t.Parallel()
	onRedisAndValkey(t, func(t *testing.T, opt redistest.Options) {
		opt.Config = append(opt.Config, "maxmemory-policy noeviction")
		r := startReplicated(t, 1, opt)
		s := r.open(t, store.Config{})
		var steps []func(*store.Redis) error
		for _, w := range ways {
			if w.again {
				step, _ := w.prep(t, s, r.client)
				steps = append(steps, step)
			}
		}
		if err := r.client.ConfigSet(t.Context(), "maxmemory", "1mb").Err(); err != nil {
			t.Fatal(err)
		}
		if err := r.client.Set(t.Context(), "more", "x", 0).Err(); err == nil {
			t.Fatal("the server is not full")
		}
		for try := range 3 {
			for i, step := range steps {
				if err := step(s); err != nil {
					t.Errorf("step %d, try %d: %v", i, try, err)
				}
			}
		}
	})
}

// TestDurableLost kills a primary right after acknowledged endings, and promotes the replica: the sessions stay dead, and the log has the news.
func TestDurableLost(t *testing.T) {
	t.Parallel()
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			r := startReplicated(t, 1, redistest.Options{})
			s := r.open(t, store.Config{})
			if _, err := s.Append(background(t)); err != nil {
				t.Fatal(err)
			}
			step, dead := w.prep(t, s, r.client)
			if err := step(s); err != nil {
				t.Fatal(err)
			}
			entry := sessionEntry(t, time.Now())
			a, err := s.Append(background(t), entry)
			if err != nil {
				t.Fatal(err)
			}
			r.primary.Kill()
			if err := dialURL(t, r.replicas[0].URL()).ReplicaOf(t.Context(), "NO", "ONE").Err(); err != nil {
				t.Fatal(err)
			}
			after := openStore(t, r.replicas[0].URL(), store.Config{})
			for _, ref := range dead {
				if _, err := after.Load(background(t), ref); !errors.Is(err, counterfoil.ErrNotFound) {
					t.Errorf("an acknowledged ending is lost: %v", err)
				}
			}
			b, err := after.Read(background(t), "", 0)
			if err != nil || len(b.Records) == 0 {
				t.Fatal(b, err)
			}
			newest := b.Records[len(b.Records)-1]
			if e, err := revocation.ParseEntry(newest.Entry); err != nil || e != entry || newest.Position != a.Position {
				t.Errorf("the log ends with %+v", newest)
			}
		})
	}
}

// TestDurableCapLost loses the primary between the endings of two sessions that make room for a third, and promotes a replica that has neither.
func TestDurableCapLost(t *testing.T) {
	t.Parallel()
	r := startReplicated(t, 2, redistest.Options{})
	next, spare := dialURL(t, r.replicas[0].URL()), dialURL(t, r.replicas[1].URL())
	var master atomic.Pointer[redistest.Server]
	master.Store(r.primary)
	client := redis.NewClient(&redis.Options{
		ContextTimeoutEnabled: true,
		Dialer: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, master.Load().Addr())
		},
	})
	defer client.Close()
	s, err := store.New(background(t), client, store.Config{Replicas: 1, ReplicaTimeout: replicaWait, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	evicted := []counterfoil.Ref{newRef(t, s, "alice"), newRef(t, s, "alice")}
	last := backdoor{next, "cf:"}.key(evicted[1].Session)
	await(t, "both replicas have both sessions", func() bool {
		return next.Exists(t.Context(), last).Val() == 1 && spare.Exists(t.Context(), last).Val() == 1
	})
	if err := next.ReplicaOf(t.Context(), "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(r.replicas[0].Addr())
	if err := spare.ReplicaOf(t.Context(), host, port).Err(); err != nil {
		t.Fatal(err)
	}
	await(t, "what was a replica has one", func() bool { return strings.Contains(next.Info(t.Context(), "replication").Val(), "state=online") })
	client.AddHook(afterEnd{evicted, sync.OnceFunc(func() {
		master.Store(r.replicas[0])
		r.primary.Kill()
	})})
	c, err := s.Create(background(t), counterfoil.NewRecord{Session: newID(t, "alice"), Subject: "alice", Idle: time.Hour, Absolute: time.Hour, Cap: 1})
	if len(c.Evicted) != 2 || err != nil && !errors.Is(err, counterfoil.ErrNotDurable) {
		t.Fatalf("%+v, %v", c, err)
	}
	for _, ref := range evicted {
		if n := next.Exists(t.Context(), backdoor{next, "cf:"}.key(ref.Session)).Val(); n > 0 && err == nil {
			t.Error("a session that was to make room lives on, and nobody was told")
		}
	}
}

// afterEnd does something after each command that has ended one of some sessions.
type afterEnd struct {
	of []counterfoil.Ref
	do func()
}

func (h afterEnd) ends(cmd redis.Cmder) bool {
	args := cmd.Args()
	return cmd.Err() == nil && strings.HasPrefix(cmd.Name(), "eval") && args[2] == 2 && // after the two keys there is the session's ID
		slices.ContainsFunc(h.of, func(r counterfoil.Ref) bool { return args[5] == r.Session.String() })
}

func (h afterEnd) DialHook(next redis.DialHook) redis.DialHook { return next }
func (h afterEnd) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if err == nil && h.ends(cmd) {
			h.do()
		}
		return err
	}
}
func (h afterEnd) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		if slices.ContainsFunc(cmds, h.ends) {
			h.do()
		}
		return err
	}
}

// TestDurableLocal shows that nobody waits where there is nobody to wait for, and where the application does not want to.
func TestDurableLocal(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		replicas int
		cfg      store.Config
		waits    bool
	}{
		"no replica":            {0, store.Config{}, false},
		"one that nobody wants": {1, store.Config{Replicas: -1}, false},
		"one":                   {1, store.Config{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := startReplicated(t, x.replicas, redistest.Options{})
			s := r.open(t, x.cfg)
			for _, w := range ways {
				step, _ := w.prep(t, s, r.client)
				if err := step(s); err != nil {
					t.Errorf("%s: %v", w.name, err)
				}
			}
			if _, err := s.Append(background(t), sessionEntry(t, time.Now())); err != nil {
				t.Fatal(err)
			}
			if n := r.calls(t, "wait"); (n > 0) != x.waits {
				t.Errorf("WAIT was sent %d times", n)
			}
			// Steps that end nothing never wait.
			before := r.calls(t, "wait")
			ref := newRef(t, s, "frank")
			if _, err := s.Save(background(t), ref, []counterfoil.Op{{Kind: counterfoil.OpIncr, Name: "n", By: 1}}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Refresh(background(t), counterfoil.Presented{Session: ref.Session, Generation: 1, Window: time.Second}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Load(background(t), ref); err != nil {
				t.Fatal(err)
			}
			if n := r.calls(t, "wait"); n != before {
				t.Errorf("a session that was made, saved and renewed waited %d times", n-before)
			}
		})
	}
}

// TestDurableMore asks for more replicas than there are, and for one of two.
func TestDurableMore(t *testing.T) {
	t.Parallel()
	r := startReplicated(t, 2, redistest.Options{})
	all, one, three := r.open(t, store.Config{}), r.open(t, store.Config{Replicas: 1}), r.open(t, store.Config{Replicas: 3})
	end := func(s *store.Redis) error {
		_, err := s.End(background(t), counterfoil.Ending{Session: newID(t, "alice")})
		return err
	}
	if err := errors.Join(end(all), end(one)); err != nil {
		t.Error(err)
	}
	if err := end(three); !errors.Is(err, counterfoil.ErrNotDurable) || !strings.Contains(err.Error(), "2 of 3") {
		t.Errorf("three of two: %v", err)
	}
	r.replicas[0].Pause(t)
	defer r.replicas[0].Resume(t)
	if err := end(one); err != nil {
		t.Errorf("one of two, and one has stopped: %v", err)
	}
	if err := end(all); !errors.Is(err, counterfoil.ErrNotDurable) || !strings.Contains(err.Error(), "1 of 2") {
		t.Errorf("all of two, and one has stopped: %v", err)
	}
	r.replicas[1].Kill()
	if err := end(all); !errors.Is(err, counterfoil.ErrNotDurable) {
		t.Errorf("a replica that is gone is no longer asked for: %v", err)
	}
}

// TestDurableDeadline gives a step less time than its replicas may take: it still has an answer, and not an error of the deadline.
func TestDurableDeadline(t *testing.T) {
	t.Parallel()
	r := startReplicated(t, 1, redistest.Options{})
	s := r.open(t, store.Config{ReplicaTimeout: 1900 * time.Millisecond})
	ref := newRef(t, s, "alice")
	r.replicas[0].Pause(t)
	defer r.replicas[0].Resume(t)
	ctx, cancel := context.WithTimeout(background(t), 400*time.Millisecond)
	defer cancel()
	if _, err := s.End(ctx, counterfoil.Ending{Session: ref.Session}); !errors.Is(err, counterfoil.ErrNotDurable) {
		t.Errorf("error is %v, want ErrNotDurable", err)
	}
	began := time.Now()
	if _, err := s.Append(background(t)); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > revocation.Heartbeat {
		t.Errorf("a heartbeat took %v: the next one is late for it", took)
	}
}

// TestDurableForgotten takes the scripts from the server: a pipeline does not send them again by itself.
func TestDurableForgotten(t *testing.T) {
	t.Parallel()
	r := startReplicated(t, 1, redistest.Options{})
	s := r.open(t, store.Config{})
	ref := newRef(t, s, "alice")
	for range 2 {
		if err := r.client.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.End(background(t), counterfoil.Ending{Session: ref.Session}); err != nil {
			t.Error(err)
		}
		if _, err := s.Append(background(t), sessionEntry(t, time.Now())); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Load(background(t), ref); !errors.Is(err, counterfoil.ErrNotFound) {
		t.Error(err)
	}
}

// TestDurableLostAnswer loses the connection while the step waits: it has been carried out, but nobody can say how safely.
func TestDurableLostAnswer(t *testing.T) {
	t.Parallel()
	r := startReplicated(t, 1, redistest.Options{})
	p := startProxy(t, r.primary.Addr())
	client := redis.NewClient(&redis.Options{Addr: p.listener.Addr().String(), ContextTimeoutEnabled: true, MaxRetries: -1})
	defer client.Close()
	s, err := store.New(background(t), client, store.Config{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ref := newRef(t, s, "alice")
	if _, err := s.End(background(t), counterfoil.Ending{Session: newID(t, "alice")}); err != nil { // the script is known from here on
		t.Fatal(err)
	}
	p.lose.Store(2) // the first answer says whose session it is
	_, err = s.End(background(t), counterfoil.Ending{Session: ref.Session})
	for _, known := range []error{nil, counterfoil.ErrNotDurable, counterfoil.ErrNotFound} {
		if errors.Is(err, known) {
			t.Errorf("error is %v, want one that says the outcome is unknown", err)
		}
	}
	if _, err := s.End(background(t), counterfoil.Ending{Session: ref.Session}); err != nil {
		t.Errorf("again: %v", err)
	}
}

// TestDurableCluster takes a Cluster in which the masters have two, one and no replica, and stops replicas: each ending waits for those of the
// node that has its session.
func TestDurableCluster(t *testing.T) {
	t.Parallel()
	nodes := redistest.StartCluster(t, 3, redistest.Options{Replicas: 1, Config: []string{"cluster-node-timeout 15000", "cluster-allow-replica-migration no"}})
	ctx := background(t)
	clients := make([]*redis.Client, len(nodes))
	for i, n := range nodes {
		clients[i] = dialURL(t, n.URL())
	}
	id := clients[0].ClusterMyID(ctx).Val()
	if err := clients[5].ClusterReplicate(ctx, id).Err(); err != nil { // of the third master so far
		t.Fatal(err)
	}
	await(t, "the replica follows another master", func() bool {
		return strings.Count(clients[0].Info(ctx, "replication").Val(), "state=online") == 2
	})
	for _, c := range clients {
		await(t, "everybody knows", func() bool { return strings.Count(c.ClusterNodes(ctx).Val(), "slave "+id) == 2 })
	}
	// The second address is that of a node that answers for none of the keys.
	var said bytes.Buffer
	s := openStore(t, "redis+cluster://"+nodes[1].Addr(), store.Config{Logger: slog.New(slog.NewTextHandler(&said, nil))})
	if !strings.Contains(said.String(), "a master of the Cluster has no replica") {
		t.Errorf("nothing about the master without replica in\n%s", &said)
	}
	// refs has a session on each master.
	var refs [3]counterfoil.Ref
	for i, found := 0, 0; found < 3; i++ {
		subject := "subject " + strconv.Itoa(i)
		slot := clients[0].ClusterKeySlot(ctx, "{"+counterfoil.SubjectTag(subject)+"}").Val()
		if n := min(int(slot)*3/16384, 2); refs[n].Subject == "" {
			refs[n] = newRef(t, s, subject)
			found++
		}
	}
	end := func(n int) error {
		_, err := s.End(background(t), counterfoil.Ending{Session: refs[n].Session})
		return err
	}
	want := func(when string, durable ...bool) {
		t.Helper()
		for n, durable := range durable {
			if err := end(n); durable && err != nil || !durable && !errors.Is(err, counterfoil.ErrNotDurable) {
				t.Errorf("%s, a session of master %d: %v", when, n, err)
			}
		}
	}
	want("all are well", true, true, true)
	nodes[3].Pause(t) // replica of the first
	want("one of the first's replicas has stopped", false, true, true)
	nodes[4].Pause(t) // replica of the second
	want("and that of the second", false, false, true)
	nodes[3].Resume(t)
	want("the first's is back", true, false, true)
	nodes[4].Resume(t)
	want("all are back", true, true, true)

	for _, c := range clients[:3] {
		c.ScriptFlush(ctx)
	}
	want("the scripts are forgotten", true, true, true)

	// A slot moves from the first master to the second: while it does, the node says ASK, and then MOVED.
	slot := clients[0].ClusterKeySlot(ctx, "{"+refs[0].Session.Tag()+"}").Val()
	ids := []string{id, clients[1].ClusterMyID(ctx).Val()}
	for _, step := range [][]any{{1, "IMPORTING", ids[0]}, {0, "MIGRATING", ids[1]}} {
		if err := clients[step[0].(int)].Do(ctx, "CLUSTER", "SETSLOT", slot, step[1], step[2]).Err(); err != nil {
			t.Fatal(err)
		}
	}
	// Once all keys of a step are there, it is for the node that takes the slot over.
	keep, tag := newID(t, refs[0].Subject), refs[0].Session.Tag()
	key, now := "cf:{"+tag+"}s:"+keep.String(), time.Now().UnixMilli()
	for _, words := range [][]any{
		{"hset", key, "id", keep.String(), "u", refs[0].Subject, "c", now, "a", now + time.Hour.Milliseconds()},
		{"set", "cf:{" + tag + "}n:" + refs[0].Subject, now - 1},
		{"zadd", "cf:{" + tag + "}u:" + refs[0].Subject, now, keep.String()},
	} {
		p := clients[1].Pipeline()
		p.Do(ctx, "asking")
		p.Do(ctx, words...)
		if _, err := p.Exec(ctx); err != nil {
			t.Fatal(err)
		}
	}
	others := func(s *store.Redis) error {
		_, err := s.End(background(t), counterfoil.Ending{Subject: refs[0].Subject, Keep: keep})
		return err
	}
	one := openStore(t, "redis+cluster://"+nodes[1].Addr(), store.Config{Replicas: 1})
	if err := others(one); err != nil {
		t.Errorf("a slot is on its way: %v", err)
	}
	nodes[4].Pause(t)
	if err := others(one); !errors.Is(err, counterfoil.ErrNotDurable) {
		t.Errorf("a slot is on its way to a node whose replica has stopped: %v", err)
	}
	nodes[4].Resume(t)
	for _, c := range []*redis.Client{clients[1], clients[0], clients[2]} {
		if err := c.Do(ctx, "CLUSTER", "SETSLOT", slot, "NODE", ids[1]).Err(); err != nil {
			t.Fatal(err)
		}
	}
	// One replica does not do where two were asked for when the store was opened.
	if err := end(0); !errors.Is(err, counterfoil.ErrNotDurable) || !strings.Contains(err.Error(), "1 of 2") {
		t.Errorf("a slot has moved to a node with fewer replicas: %v", err)
	}
	fresh := openStore(t, "redis+cluster://"+nodes[1].Addr(), store.Config{})
	if _, err := fresh.End(ctx, counterfoil.Ending{Session: refs[0].Session}); err != nil {
		t.Errorf("for a process that starts then: %v", err)
	}
}

// TestDurableClusterLost kills a master and looks at the endings of its sessions, through a store that was opened before.
func TestDurableClusterLost(t *testing.T) {
	t.Parallel()
	nodes := redistest.StartCluster(t, 3, redistest.Options{Replicas: 1, Config: []string{"cluster-node-timeout 1000"}})
	s := openStore(t, "redis+cluster://"+strings.Join(redistest.Addrs(nodes[3:]), ","), store.Config{})
	ctx := background(t)
	first := dialURL(t, nodes[0].URL())
	var refs []counterfoil.Ref
	for i := 0; len(refs) < 4; i++ {
		subject := "subject " + strconv.Itoa(i)
		if first.ClusterKeySlot(ctx, "{"+counterfoil.SubjectTag(subject)+"}").Val() < 16384/3 {
			refs = append(refs, newRef(t, s, subject))
		}
	}
	for _, ref := range refs[:3] {
		if _, err := s.End(ctx, counterfoil.Ending{Session: ref.Session}); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := first.Do(ctx, "WAIT", 1, 5000).Int(); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	nodes[0].Kill()
	var err error
	await(t, "the replica takes over", func() bool {
		_, err = s.End(ctx, counterfoil.Ending{Session: refs[3].Session})
		return err == nil || errors.Is(err, counterfoil.ErrNotDurable)
	})
	if err == nil {
		t.Error("an ending without any replica left was called durable")
	}
	for i, ref := range refs {
		if _, err := s.Load(ctx, ref); !errors.Is(err, counterfoil.ErrNotFound) {
			t.Errorf("session %d: %v", i, err)
		}
	}
	nodes[0].Restart(t)
	await(t, "the old master is back as a replica", func() bool {
		_, err = s.End(ctx, counterfoil.Ending{Session: refs[3].Session})
		return err == nil
	})
}

// TestDurableSentinel opens stores while the replica is away: the Sentinels know of it, a client of the caller's does not.
func TestDurableSentinel(t *testing.T) {
	t.Parallel()
	sentinels := redistest.StartSentinel(t, redistest.Options{Replicas: 1, Password: "right"})
	url := sentinelURL(sentinels, "right")
	s := openStore(t, url, store.Config{})
	end := func(s *store.Redis) error {
		_, err := s.End(background(t), counterfoil.Ending{Session: newID(t, "alice")})
		return err
	}
	if err := end(s); err != nil {
		t.Error(err)
	}
	sentinels.Replicas[0].Kill()
	var said bytes.Buffer
	late := openStore(t, url, store.Config{Logger: slog.New(slog.NewTextHandler(&said, nil))})
	if !strings.Contains(said.String(), "fewer replicas are connected") {
		t.Errorf("nothing about the replica that is away in\n%s", &said)
	}
	for name, s := range map[string]*store.Redis{"opened before": s, "opened now": late} {
		if err := end(s); !errors.Is(err, counterfoil.ErrNotDurable) {
			t.Errorf("%s: %v, want ErrNotDurable", name, err)
		}
	}
	client := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: redistest.MasterName, SentinelAddrs: redistest.Addrs(sentinels.Watchers), Password: "right", ContextTimeoutEnabled: true})
	defer client.Close()
	said.Reset()
	given, err := store.New(background(t), client, store.Config{Logger: slog.New(slog.NewTextHandler(&said, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer given.Close()
	if !strings.Contains(said.String(), "a client of Sentinels was given to New") {
		t.Errorf("nothing about replicas that cannot be known in\n%s", &said)
	}
	sentinels.Replicas[0].Restart(t)
	await(t, "the replica is back", func() bool { return end(s) == nil && end(late) == nil })
	// Any one of the Sentinels is enough to know.
	sentinels.Watchers[0].Kill()
	sentinels.Watchers[1].Pause(t)
	one := openStore(t, url, store.Config{})
	sentinels.Replicas[0].Pause(t)
	if err := end(one); !errors.Is(err, counterfoil.ErrNotDurable) {
		t.Errorf("opened with one Sentinel: %v, want ErrNotDurable", err)
	}
}

// TestReplicatedHeartbeats reads what the log says of its replicas: it goes on while they follow, stands still when they stop, and goes on again.
// One writer waits for them and another does not, and the log is sometimes busy.
func TestReplicatedHeartbeats(t *testing.T) {
	t.Parallel()
	for name, busy := range map[string]bool{"idle": false, "busy": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := startReplicated(t, 1, redistest.Options{})
			waits, other := r.open(t, store.Config{}), r.open(t, store.Config{Replicas: -1})
			list := follow(t, waits)
			write := func() {
				t.Helper()
				var entries []revocation.Entry
				if busy {
					entries = append(entries, sessionEntry(t, time.Now()))
				}
				if _, err := other.Append(background(t), entries...); err != nil {
					t.Fatal(err)
				}
				if _, err := waits.Append(background(t), entries...); err != nil && !errors.Is(err, counterfoil.ErrNotDurable) {
					t.Fatal(err)
				}
			}
			const maxStale, leeway = 2 * time.Second, 500 * time.Millisecond
			fresh := func() bool { write(); return list.Freshness(time.Now(), maxStale, leeway).Fresh }
			await(t, "the list is fresh", fresh)
			for end := time.Now().Add(3 * time.Second); time.Now().Before(end); { // and stays so
				if write(); !list.Freshness(time.Now(), maxStale, leeway).Fresh {
					t.Fatalf("the list is stale with a replica that follows: %+v", list.Freshness(time.Now(), maxStale, leeway))
				}
				<-time.After(20 * time.Millisecond)
			}
			r.replicas[0].Pause(t)
			await(t, "the list grows old", func() bool { return !fresh() })
			if f := list.Freshness(time.Now(), maxStale, leeway); f.Age < maxStale+leeway {
				t.Errorf("stale for another reason: %+v", f)
			}
			b, err := waits.Read(background(t), "", 0)
			if err != nil {
				t.Fatal(err)
			}
			if last := b.Records[len(b.Records)-1]; time.Since(time.UnixMilli(last.Time)) > 2*revocation.Heartbeat+replicaWait {
				t.Errorf("the log itself stands still: %+v", last)
			}
			r.replicas[0].Resume(t)
			await(t, "the list is fresh again", fresh)
		})
	}
}

// TestReplicatedNobody shows what a log says where nobody waits for replicas, and when nobody does any more.
func TestReplicatedNobody(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t, redistest.Options{})
	local := openStore(t, srv.URL(), store.Config{})
	said := func(s *store.Redis) int64 {
		t.Helper()
		b, err := s.Read(background(t), "", 0)
		if err != nil {
			t.Fatal(err)
		}
		return b.Records[len(b.Records)-1].Replicated
	}
	if _, err := local.Append(background(t)); err != nil {
		t.Fatal(err)
	}
	if n := said(local); n != 0 {
		t.Errorf("without replicas the log says %d", n)
	}
	// A process that waits for a replica that is not there: nothing is said to be replicated, whoever writes.
	waits := openStore(t, srv.URL(), store.Config{Replicas: 1})
	beat := func(s *store.Redis) {
		t.Helper()
		b, err := s.Read(background(t), "", 0)
		if err != nil {
			t.Fatal(err)
		}
		at := b.Records[len(b.Records)-1].Position
		await(t, "a heartbeat is due", func() bool {
			if _, err := s.Append(background(t)); err != nil {
				t.Fatal(err)
			}
			b, err := s.Read(background(t), at, 0)
			return err == nil && len(b.Records) > 0
		})
	}
	beat(waits)
	if n := said(waits); n != 1 {
		t.Errorf("with a replica that is missed the log says %d, want 1: it has nothing", n)
	}
	beat(local)
	if n := said(local); n != 1 {
		t.Errorf("the other process says %d", n)
	}
	// When it has gone, the others are as they were before.
	waits.Close()
	await(t, "it is no longer carried on", func() bool { beat(local); return said(local) == 0 })
}

// follow keeps a list up to date with the log of a store.
func follow(t *testing.T, s *store.Redis) *revocation.List {
	t.Helper()
	list, err := revocation.NewList(revocation.ListConfig{})
	if err != nil {
		t.Fatal(err)
	}
	follower, err := revocation.NewFollower(revocation.FollowerConfig{Source: s, List: list})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { follower.Follow(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	return list
}

// await asks until the answer is yes.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	end, tick := time.After(20*time.Second), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not so in 20 s: %s", what)
		}
	}
}

// TestReplicaConfig shows what is refused.
func TestReplicaConfig(t *testing.T) {
	url := startEmbedded(t).URL()
	for name, x := range map[string]struct {
		url string
		cfg store.Config
	}{
		"embedded":                      {url, store.Config{Replicas: 1}},
		"too many":                      {url, store.Config{Replicas: 1001}},
		"negative timeout":              {url, store.Config{ReplicaTimeout: -1}},
		"timeout too short to be named": {url, store.Config{ReplicaTimeout: time.Microsecond}},
		"timeout not within the step's": {url, store.Config{ReplicaTimeout: 2 * time.Second}},
	} {
		if s, err := store.Open(background(t), x.url, x.cfg); err == nil {
			s.Close()
			t.Errorf("%s: accepted", name)
		}
	}
	srv := redistest.Start(t, redistest.Options{})
	if s, err := store.Open(background(t), srv.URL()+"?read_timeout=400ms", store.Config{Replicas: 1, Logger: quiet}); err == nil {
		s.Close()
		t.Error("a client that gives up before its replicas may answer was accepted")
	}
	if s, err := store.Open(background(t), srv.URL()+"?read_timeout=400ms", store.Config{Logger: quiet}); err != nil {
		t.Errorf("and where there is no replica: %v", err)
	} else {
		s.Close()
	}
}

// TestDurableStorm has many log out at once while the replica is away: all of them are told so, and none waits until nobody knows what has happened.
func TestDurableStorm(t *testing.T) {
	t.Parallel()
	r := startReplicated(t, 1, redistest.Options{})
	s := r.open(t, store.Config{ReplicaTimeout: 500 * time.Millisecond})
	var refs []counterfoil.Ref
	for i := range 200 {
		refs = append(refs, newRef(t, s, "subject "+strconv.Itoa(i)))
	}
	r.replicas[0].Pause(t)
	defer r.replicas[0].Resume(t)
	if _, err := s.Append(background(t)); err != nil { // the heartbeat notices first
		t.Fatal(err)
	}
	failed := make(chan error, len(refs))
	for _, ref := range refs {
		go func() {
			_, err := s.End(background(t), counterfoil.Ending{Session: ref.Session})
			failed <- err
		}()
	}
	for range refs {
		if err := <-failed; !errors.Is(err, counterfoil.ErrNotDurable) {
			t.Fatalf("error is %v, want ErrNotDurable", err)
		}
	}
	for _, ref := range refs {
		if _, err := s.Load(background(t), ref); !errors.Is(err, counterfoil.ErrNotFound) {
			t.Fatalf("a session has not ended: %v", err)
		}
	}
}
