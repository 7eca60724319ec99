package store_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/redistest"
	"github.com/counterfoil/counterfoil/store"
)

// TestTogetherAsAlone has saves to sessions of every kind share runs of their script, and sends the same saves one by one to records like them. Each
// is answered the same and leaves the same behind: neither what stands beside a save nor its place among them changes anything.
func TestTogetherAsAlone(t *testing.T) {
	for name, url := range bothServers(t) {
		t.Run(name, func(t *testing.T) {
			client := dialURL(t, url)
			both := [2]pair{newPair(t, client, "joint:"), newPair(t, client, "alone:")}
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			r := rand.New(rand.NewPCG(seed, 0))
			rounds := 60
			if name == "embedded" { // which compiles a script each time
				rounds = 8
			}
			for range rounds {
				together(t, r, both)
			}
		})
	}
}

// pair is a store, and the way past it.
type pair struct {
	*store.Redis
	backdoor
}

func newPair(t *testing.T, client redis.UniversalClient, prefix string) pair {
	t.Helper()
	s, err := store.New(background(t), client, store.Config{Prefix: prefix, Logger: quiet, AutoPipeline: true, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	ref := counterfoil.Ref{Session: newID(t, "nobody"), Subject: "nobody"}
	if _, err := s.Save(background(t), ref, nil); !errors.Is(err, counterfoil.ErrNotFound) { // the script is known from here on
		t.Fatal(err)
	}
	return pair{s, backdoor{client, prefix}}
}

// states are what may have become of a session, or of what stands beside it.
var states = map[string]func(p pair, ref counterfoil.Ref) error{
	"live":   func(pair, counterfoil.Ref) error { return nil },
	"alive":  func(pair, counterfoil.Ref) error { return nil }, // more often than others
	"ended":  func(p pair, ref counterfoil.Ref) error { return end(p, counterfoil.Ending{Session: ref.Session}) },
	"frozen": func(p pair, ref counterfoil.Ref) error { _, err := p.Freeze(context.Background(), ref); return err },
	"ended before it was made": func(p pair, ref counterfoil.Ref) error {
		return p.client.Set(context.Background(), p.notBefore(ref), "1", 0).Err()
	},
	"ended with all": func(p pair, ref counterfoil.Ref) error {
		return p.client.Set(context.Background(), p.notBefore(ref), "99999999999999", 0).Err()
	},
	"not-before of text": func(p pair, ref counterfoil.Ref) error {
		return p.client.Set(context.Background(), p.notBefore(ref), "soon", 0).Err()
	},
	"not-before of another type": func(p pair, ref counterfoil.Ref) error {
		return p.client.LPush(context.Background(), p.notBefore(ref), "x").Err()
	},
	"record of another type": func(p pair, ref counterfoil.Ref) error {
		p.client.Del(context.Background(), p.key(ref.Session))
		return p.client.Set(context.Background(), p.key(ref.Session), "x", 0).Err()
	},
	"another's record": func(p pair, ref counterfoil.Ref) error {
		return p.client.HSet(context.Background(), p.key(ref.Session), "u", "mallory").Err()
	},
	"no creation time": func(p pair, ref counterfoil.Ref) error {
		return p.client.HDel(context.Background(), p.key(ref.Session), "c").Err()
	},
	"nearly full": func(p pair, ref counterfoil.Ref) error {
		return p.client.HSet(context.Background(), p.key(ref.Session), "b", counterfoil.MaxDataLen-9).Err()
	},
}

func end(p pair, e counterfoil.Ending) error {
	_, err := p.End(context.Background(), e)
	return err
}

func (p pair) notBefore(ref counterfoil.Ref) string {
	return p.prefix + "{" + counterfoil.SubjectTag(ref.Subject) + "}n:" + ref.Subject
}

// together makes sessions in both stores, saves to those of the first at once and to those of the other one by one.
func together(t *testing.T, r *rand.Rand, both [2]pair) {
	t.Helper()
	ctx := background(t)
	var refs []counterfoil.Ref
	var ops [][]counterfoil.Op
	var what []string
	names := slices.Sorted(maps.Keys(states))
	for range []int{2, 3, 20, 90}[r.IntN(4)] {
		subject := "subject " + strconv.Itoa(r.IntN(1e9))
		ref := counterfoil.Ref{Session: newID(t, subject), Subject: subject, Generation: uint64(r.IntN(3))}
		state := names[r.IntN(len(names))]
		for _, p := range both {
			if _, err := p.Create(ctx, counterfoil.NewRecord{Session: ref.Session, Subject: subject, Idle: time.Hour, Absolute: 2 * time.Hour, Ops: []counterfoil.Op{
				{Kind: counterfoil.OpSet, Name: "n", Value: []byte("9")}, {Kind: counterfoil.OpSet, Name: "s", Value: []byte("text")}, {Kind: counterfoil.OpSet, Name: "empty", Value: nil},
			}}); err != nil {
				t.Fatal(err)
			}
			if err := states[state](p, ref); err != nil {
				t.Fatalf("%s: %v", state, err)
			}
		}
		refs, what = append(refs, ref), append(what, state)
		ops = append(ops, someOps(r))
	}

	got, errs := store.Together(ctx, both[0].Redis, refs, ops)
	for i, ref := range refs {
		want, err := both[1].Save(ctx, ref, ops[i])
		if !reflect.DeepEqual(got[i], want) || !alike(errs[i], err) {
			t.Errorf("%s, %+v: together %+v, %v; alone %+v, %v", what[i], ops[i], got[i], errs[i], want, err)
		}
		if a, b := both[0].left(ctx, ref), both[1].left(ctx, ref); !maps.Equal(a, b) {
			t.Errorf("%s, %+v: together leaves %v, alone %v", what[i], ops[i], a, b)
		}
	}
}

// someOps returns a save: mostly a usual one.
func someOps(r *rand.Rand) []counterfoil.Op {
	n := 1
	if r.IntN(4) == 0 {
		n = r.IntN(5)
	}
	ops := make([]counterfoil.Op, n)
	for i := range ops {
		o := &ops[i]
		o.Name = []string{"n", "s", "empty", "new"}[r.IntN(4)]
		switch o.Kind = []counterfoil.OpKind{counterfoil.OpSet, counterfoil.OpIncr, counterfoil.OpDelete, counterfoil.OpTake}[r.IntN(4)]; o.Kind {
		case counterfoil.OpSet:
			o.Value = []byte([]string{"", "9", "text", strings.Repeat("x", 40)}[r.IntN(4)])
		case counterfoil.OpIncr:
			o.By = []int64{1, -10, 0, 1 << 62}[r.IntN(4)]
		}
		if r.IntN(4) == 0 {
			o.If = true
			if r.IntN(3) > 0 {
				o.Was = counterfoil.Value{Bytes: []byte([]string{"9", "text", ""}[r.IntN(3)]), Present: true}
			}
		}
	}
	return ops
}

// alike reports whether two errors tell a caller the same.
func alike(a, b error) bool {
	for _, known := range []error{nil, counterfoil.ErrNotFound, counterfoil.ErrConflict, counterfoil.ErrTooLarge, counterfoil.ErrNotInteger} {
		if errors.Is(a, known) != errors.Is(b, known) {
			return false
		}
	}
	return true
}

// left is what a record holds, but for the times.
func (p pair) left(ctx context.Context, ref counterfoil.Ref) map[string]string {
	fields := map[string]string{"there": p.client.Type(ctx, p.key(ref.Session)).Val()}
	maps.Copy(fields, p.client.HGetAll(ctx, p.key(ref.Session)).Val())
	for name, value := range fields {
		switch name {
		case "c", "a", "t", "h", "z":
			fields[name] = "a time"
		case "k":
			fields[name] = fmt.Sprint(value != "0")
		}
	}
	return fields
}

// runs is a hook that notes for how many saves each run of the script was, and how many bytes it had.
type runs struct {
	mu    sync.Mutex
	saves []int
	bytes []int
}

func (h *runs) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (h *runs) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (h *runs) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		h.mu.Lock()
		for _, c := range cmds {
			if keys, ok := c.Args()[min(2, len(c.Args())-1)].(int); ok && strings.HasPrefix(c.Name(), "eval") {
				h.saves = append(h.saves, keys/2)
				n := 0
				for _, arg := range c.Args() {
					if b, ok := arg.([]byte); ok {
						n += len(b)
					}
				}
				h.bytes = append(h.bytes, n)
			}
		}
		h.mu.Unlock()
		return next(ctx, cmds)
	}
}

// TestTogetherBounded: no run holds Redis up for long, however many wait and whatever they bring.
func TestTogetherBounded(t *testing.T) {
	client := dialURL(t, startEmbedded(t).URL())
	p := newPair(t, client, "cf:")
	h := &runs{}
	client.AddHook(h)
	ref := newRef(t, p.Redis, "alice")
	for _, test := range []struct{ saves, bytes, runs int }{
		{200, 100, 4},
		{64, 1 << 10, 1},
		{65, 1 << 10, 2},
		{12, 60 << 10, 3},
	} {
		h.saves, h.bytes = nil, nil
		var refs []counterfoil.Ref
		var ops [][]counterfoil.Op
		for range test.saves {
			refs = append(refs, ref)
			ops = append(ops, []counterfoil.Op{{Kind: counterfoil.OpSet, Name: "f", Value: []byte(strings.Repeat("x", test.bytes))}})
		}
		_, errs := store.Together(background(t), p.Redis, refs, ops)
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		if len(h.saves) != test.runs {
			t.Errorf("%d saves of %d bytes in %d runs, want %d", test.saves, test.bytes, len(h.saves), test.runs)
		}
		sum := 0
		for i, n := range h.saves {
			sum += n
			if n > 64 || h.bytes[i] > 256<<10 {
				t.Errorf("a run for %d saves with %d bytes", n, h.bytes[i])
			}
		}
		if sum != test.saves {
			t.Errorf("%d saves in runs, want %d", sum, test.saves)
		}
	}

	h.saves = nil
	many := make([]counterfoil.Op, 40)
	for i := range many {
		many[i] = counterfoil.Op{Kind: counterfoil.OpSet, Name: "f" + strconv.Itoa(i), Value: []byte("v")}
	}
	gate := &gauge{begun: make(chan struct{}, 64), open: make(chan struct{})}
	client.AddHook(gate)
	var wg sync.WaitGroup
	save := func(ops ...counterfoil.Op) {
		wg.Go(func() {
			if _, err := p.Save(t.Context(), ref, ops); err != nil {
				t.Error(err)
			}
		})
	}
	save(many[0])
	<-gate.begun // the others wait for it
	for range 3 {
		save(many...)
		save(many[1])
	}
	close(gate.open)
	wg.Wait()
	for _, n := range h.saves {
		if n > 4 {
			t.Errorf("a run for %d saves; those of many operations were to go by themselves", n)
		}
	}
}

// TestTogetherSlots has an ordinary client before a Cluster of one master, which serves every key but not two slots in one command, as Redis behind
// some proxies: after the first refusal, of which nothing was executed, every save goes by itself.
func TestTogetherSlots(t *testing.T) {
	nodes := redistest.StartCluster(t, 1, redistest.Options{})
	client := dialURL(t, nodes[0].URL())
	s := store.Unchecked(client)
	var refs []counterfoil.Ref
	var ops [][]counterfoil.Op
	for i := range 24 {
		refs = append(refs, newRef(t, s, "subject "+strconv.Itoa(i)))
		ops = append(ops, []counterfoil.Op{{Kind: counterfoil.OpIncr, Name: "n", By: 1}})
	}
	if _, err := s.Save(background(t), refs[0], nil); err != nil { // the script is known from here on
		t.Fatal(err)
	}
	_, errs := store.Together(background(t), s, refs, ops)
	for _, err := range errs {
		if !errors.Is(err, store.ErrAlone) {
			t.Fatalf("saves to several slots in one command: %v", err)
		}
	}
	h := &runs{}
	client.AddHook(h)
	var wg sync.WaitGroup
	for i, ref := range refs {
		wg.Go(func() {
			if saved, err := s.Save(t.Context(), ref, ops[i]); err != nil || string(saved.Values[0].Bytes) != "1" {
				t.Errorf("Save: %+v, %v", saved, err)
			}
		})
	}
	wg.Wait()
	for _, n := range h.saves {
		if n != 1 {
			t.Errorf("once more a run for %d saves", n)
		}
	}
}

// TestTogetherFull: a server without memory refuses all saves of a run, and has applied none of them.
func TestTogetherFull(t *testing.T) {
	client := dialURL(t, redistest.Start(t, redistest.Options{Config: []string{"maxmemory-policy noeviction"}}).URL())
	p := newPair(t, client, "cf:")
	var refs []counterfoil.Ref
	var ops [][]counterfoil.Op
	for i := range 8 {
		refs = append(refs, newRef(t, p.Redis, "subject "+strconv.Itoa(i)))
		ops = append(ops, []counterfoil.Op{{Kind: counterfoil.OpIncr, Name: "n", By: 1}})
	}
	if err := client.ConfigSet(background(t), "maxmemory", "1mb").Err(); err != nil {
		t.Fatal(err)
	}
	_, errs := store.Together(background(t), p.Redis, refs, ops)
	for i, err := range errs {
		if err == nil || errors.Is(err, counterfoil.ErrNotFound) {
			t.Errorf("a save in a full server: %v", err)
		}
		if r, err := p.Load(background(t), refs[i]); err != nil || len(r.Fields) != 0 {
			t.Errorf("after a refused save: %v, %v", r.Fields, err)
		}
	}
}
