package storetest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/storemodel"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/store/embedded"
	"github.com/counterfoil/counterfoil/token"
)

// TestScriptsAgainstModel runs random steps on the Redis scripts and on the model, with one clock that also steps back, and wants the same answers
// to the millisecond. The refresh table thereby is stated twice: in Lua, and as judge in Go.
func TestScriptsAgainstModel(t *testing.T) {
	srv, err := embedded.Start("")
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	client := srv.Client()
	defer client.Close()
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		run++
		m := storemodel.New()
		srv.SetTime(time.UnixMilli(m.Now()))
		s, err := store.New(ctx, client, store.Config{Prefix: fmt.Sprintf("run%d:", run), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		(&comparison{T: t, ctx: ctx, model: m, redis: s, clock: func() {
			srv.SetTime(time.UnixMilli(m.Now()))
			client.Exists(ctx, "") // keys expire when the server is touched: let it see every time, also one that is stepped back from
		}}).run()
	})
}

type comparison struct {
	*rapid.T
	ctx   context.Context
	model *storemodel.Model
	redis *store.Redis
	clock func() // brings the server's clock to the model's
	refs  []counterfoil.Ref
	n     byte
}

var subjects = []string{"", "alice", "bob"}

func (c *comparison) run() {
	c.create()
	c.Repeat(map[string]func(*rapid.T){
		"create":   func(*rapid.T) { c.create() },
		"time":     func(*rapid.T) { c.move() },
		"refresh":  func(*rapid.T) { c.refresh() },
		"refresh2": func(*rapid.T) { c.refresh() }, // the most frequent step
		"refresh3": func(*rapid.T) { c.refresh() },
		"load":     func(*rapid.T) { c.load() },
		"save":     func(*rapid.T) { c.save() },
		"freeze":   func(*rapid.T) { c.freeze() },
		"end":      func(*rapid.T) { c.end() },
		"list":     func(*rapid.T) { c.list() },
	})
}

// same compares what two stores answered. Errors are compared by what a caller can tell apart.
func (c *comparison) same(step string, model, redis any, modelErr, redisErr error) {
	for _, known := range []error{nil, counterfoil.ErrNotFound, counterfoil.ErrConflict, counterfoil.ErrTooLarge, counterfoil.ErrNotInteger} {
		if errors.Is(modelErr, known) != errors.Is(redisErr, known) {
			c.Fatalf("%s: model says %v, Redis %v", step, modelErr, redisErr)
		}
	}
	if modelErr == nil && !reflect.DeepEqual(model, redis) {
		c.Fatalf("%s:\nmodel %+v\nRedis %+v", step, model, redis)
	}
}

func (c *comparison) ref() counterfoil.Ref {
	ref := rapid.SampledFrom(c.refs).Draw(c.T, "session")
	ref.Generation = rapid.Uint64Range(0, 6).Draw(c.T, "generation")
	return ref
}

func (c *comparison) move() {
	d := rapid.OneOf(
		rapid.SampledFrom([]time.Duration{time.Millisecond, 9999 * time.Millisecond, 10 * time.Second, 10001 * time.Millisecond, time.Minute, -time.Second, -10 * time.Second, -10001 * time.Millisecond}),
		rapid.Map(rapid.Int64Range(0, 30_000), func(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }),
		rapid.SampledFrom([]time.Duration{29 * time.Minute, 30 * time.Minute, 17 * time.Minute}),
	).Draw(c.T, "duration")
	c.model.Advance(d)
	c.clock()
}

func (c *comparison) create() {
	c.n++
	subject := rapid.SampledFrom(subjects).Draw(c.T, "subject")
	tag := counterfoil.SubjectTag(subject)
	id, err := token.NewSessionID(tag, [16]byte{c.n, 1})
	if err != nil {
		c.Fatal(err)
	}
	if rapid.IntRange(0, 9).Draw(c.T, "an ID again") == 0 && len(c.refs) > 0 {
		old := rapid.SampledFrom(c.refs).Draw(c.T, "which")
		id, subject = old.Session, old.Subject
	}
	r := counterfoil.NewRecord{
		Session: id, Subject: subject, Idle: 30 * time.Minute,
		Absolute: rapid.SampledFrom([]time.Duration{time.Hour, 40 * time.Minute, 12 * time.Hour}).Draw(c.T, "absolute"),
		NotAfter: rapid.SampledFrom([]int64{0, 0, c.model.Now(), c.model.Now() + 20_000, c.model.Now() + time.Hour.Milliseconds()}).Draw(c.T, "not after"),
		AuthTime: rapid.SampledFrom([]int64{0, c.model.Now() - 60_000}).Draw(c.T, "authenticated"),
		Login:    rapid.Bool().Draw(c.T, "login"), Device: "device", Cap: rapid.IntRange(0, 3).Draw(c.T, "cap"), Ops: c.ops(),
	}
	if rapid.IntRange(0, 2).Draw(c.T, "replaces") == 0 {
		if of := slices.DeleteFunc(slices.Clone(c.refs), func(ref counterfoil.Ref) bool { return ref.Subject != subject }); len(of) > 0 {
			r.Replaces = rapid.SampledFrom(of).Draw(c.T, "what").Session
			if rapid.Bool().Draw(c.T, "frozen") {
				_, wantErr := c.model.Freeze(c.ctx, counterfoil.Ref{Session: r.Replaces, Subject: subject})
				_, gotErr := c.redis.Freeze(c.ctx, counterfoil.Ref{Session: r.Replaces, Subject: subject})
				c.same("freeze", nil, nil, wantErr, gotErr)
			}
		}
		r.Inherited = rapid.Bool().Draw(c.T, "inherited")
	}
	want, wantErr := c.model.Create(c.ctx, r)
	got, gotErr := c.redis.Create(c.ctx, r)
	c.same("create", want, got, wantErr, gotErr)
	c.refs = append(c.refs, counterfoil.Ref{Session: id, Subject: subject})
}

func (c *comparison) ops() []counterfoil.Op {
	values := rapid.SampledFrom([]string{"", "0", "-1", "41", "9223372036854775807", "-9223372036854775808", "999999999", "x", "\x00", strings.Repeat("y", 30<<10)})
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) counterfoil.Op {
		op := counterfoil.Op{
			Kind: rapid.SampledFrom([]counterfoil.OpKind{counterfoil.OpSet, counterfoil.OpDelete, counterfoil.OpIncr, counterfoil.OpTake}).Draw(t, "kind"),
			Name: rapid.SampledFrom([]string{"a", "b", "id", "\xff{"}).Draw(t, "name"),
		}
		switch op.Kind {
		case counterfoil.OpSet:
			op.Value = []byte(values.Draw(t, "value"))
		case counterfoil.OpIncr:
			op.By = rapid.OneOf(rapid.Int64(), rapid.Int64Range(-2, 2)).Draw(t, "by")
		}
		if rapid.IntRange(0, 4).Draw(t, "if") == 0 {
			op.If, op.Was.Present = true, rapid.Bool().Draw(t, "present")
			if op.Was.Present {
				op.Was.Bytes = []byte(values.Draw(t, "was"))
			}
		}
		return op
	}), 0, 4).Draw(c.T, "operations")
}

func (c *comparison) refresh() {
	ref := c.ref()
	p := counterfoil.Presented{
		Session: ref.Session, Generation: rapid.Uint64Range(1, 5).Draw(c.T, "presented"), Window: 10 * time.Second,
		Beside:      rapid.IntRange(0, 5).Draw(c.T, "beside") == 0,
		Quiet:       rapid.IntRange(0, 5).Draw(c.T, "quiet") == 0,
		OnlyCurrent: rapid.IntRange(0, 5).Draw(c.T, "only current") == 0,
	}
	if cur := c.model.Generation(ref.Session); cur > 0 && rapid.IntRange(0, 3).Draw(c.T, "near") != 0 { // near the present one, where the rows are
		p.Generation = max(1, cur-rapid.Uint64Range(0, min(2, cur)).Draw(c.T, "back"))
	}
	want, wantErr := c.model.Refresh(c.ctx, p)
	got, gotErr := c.redis.Refresh(c.ctx, p)
	c.same(fmt.Sprintf("refresh %+v", p), want, got, wantErr, gotErr)
}

func (c *comparison) load() {
	ref := c.ref()
	want, wantErr := c.model.Load(c.ctx, ref)
	got, gotErr := c.redis.Load(c.ctx, ref)
	c.same("load", want, got, wantErr, gotErr)
}

func (c *comparison) save() {
	ref, ops := c.ref(), c.ops()
	want, wantErr := c.model.Save(c.ctx, ref, ops)
	got, gotErr := c.redis.Save(c.ctx, ref, ops)
	c.same("save", want, got, wantErr, gotErr)
	c.load()
}

func (c *comparison) freeze() {
	if rapid.IntRange(0, 2).Draw(c.T, "seldom") != 0 {
		return
	}
	ref := c.ref()
	want, wantErr := c.model.Freeze(c.ctx, ref)
	got, gotErr := c.redis.Freeze(c.ctx, ref)
	c.same("freeze", want, got, wantErr, gotErr)
}

func (c *comparison) end() {
	e := counterfoil.Ending{Subject: rapid.SampledFrom(subjects[1:]).Draw(c.T, "subject")}
	switch ref := c.ref(); rapid.IntRange(0, 5).Draw(c.T, "form") {
	case 0:
	case 1:
		e.Keep = ref.Session
	case 2:
		e.Keep, e.Announced = ref.Session, []token.SessionID{c.ref().Session, c.ref().Session}
	default:
		e = counterfoil.Ending{Session: ref.Session}
	}
	want, wantErr := c.model.End(c.ctx, e)
	got, gotErr := c.redis.End(c.ctx, e)
	wantSet, gotSet := set(want.Sessions), set(got.Sessions)
	want.Sessions, got.Sessions = nil, nil
	c.same(fmt.Sprintf("end %+v", e), want, got, wantErr, gotErr)
	c.same("ended sessions", wantSet, gotSet, nil, nil)
}

func set(ids []token.SessionID) map[token.SessionID]bool {
	in := map[token.SessionID]bool{}
	for _, id := range ids {
		in[id] = true
	}
	return in
}

func (c *comparison) list() {
	subject := rapid.SampledFrom(subjects).Draw(c.T, "subject")
	want, wantErr := c.model.Sessions(c.ctx, subject)
	got, gotErr := c.redis.Sessions(c.ctx, subject)
	if len(want) == 0 && len(got) == 0 {
		want, got = nil, nil
	}
	c.same("sessions", want, got, wantErr, gotErr)
}
