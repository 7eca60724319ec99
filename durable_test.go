package counterfoil_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/rig"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

// replicas is what becomes of steps that have to wait for replicas.
type replicas struct {
	mu    sync.Mutex
	down  bool
	steps []string // that were carried out
}

func (r *replicas) set(down bool) { r.mu.Lock(); defer r.mu.Unlock(); r.down = down }

func (r *replicas) count(step string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.steps {
		if s == step {
			n++
		}
	}
	return n
}

func (r *replicas) hook(step string, after bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !after {
		return nil
	}
	r.steps = append(r.steps, step)
	if r.down && slices.Contains([]string{"End", "Append", "Heartbeat", "Refresh"}, step) {
		return counterfoil.ErrNotDurable
	}
	return nil
}

// An ending that too few replicas know of has ended, is announced, and says so; whichever of its two steps it is.
func TestEndingThatIsNotDurable(t *testing.T) {
	t.Parallel()
	ends := map[string]func(r *rig.Rig, v token.Verified) error{
		"End":    func(r *rig.Rig, v token.Verified) error { return r.End(t.Context(), v.Session()) },
		"EndAll": func(r *rig.Rig, _ token.Verified) error { return r.EndAll(t.Context(), "alice") },
		"EndOthers": func(r *rig.Rig, _ token.Verified) error {
			s, err := r.Login(t.Context(), nil, "alice", counterfoil.LoginOptions{})
			if err != nil {
				return err
			}
			return r.EndOthers(t.Context(), s)
		},
		"Revoke": func(r *rig.Rig, v token.Verified) error {
			done, err := r.Revoke(t.Context(), counterfoil.Revocation{Session: v.Session()})
			if done.Position == "" {
				t.Error("Revoke does not say where in the log it is")
			}
			return err
		},
	}
	for name, end := range ends {
		for _, step := range []string{"End", "Append"} {
			t.Run(name+", "+step+" is not durable", func(t *testing.T) {
				t.Parallel()
				r := rig.New(t, rig.Embedded)
				v, tokens := login(t, r, "alice")
				edge := r.Again(t)
				r.Faults.On(rig.NotDurable(step))
				if err := end(r, v); !errors.Is(err, counterfoil.ErrNotDurable) {
					t.Fatalf("%v, want ErrNotDurable", err)
				}
				rig.Poll(t, "another process has heard", func() bool {
					_, err := edge.Guard().Check(t.Context(), tokens.Access.Reveal())
					return errors.Is(err, revocation.ErrRevoked)
				})
				if _, err := visits.Incr(t.Context(), r.Open(v), 1); !errors.Is(err, counterfoil.ErrNotFound) {
					t.Errorf("the session: %v, want ErrNotFound", err)
				}
				r.Faults.On(nil)
				if err := end(r, v); err != nil {
					t.Errorf("the repetition: %v", err)
				}
			})
		}
	}
}

// What is neither durable nor announced is not announced first of all.
func TestNotDurableAndNotAnnounced(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	v, _ := login(t, r, "alice")
	r.Faults.On(func(step string, after bool) error {
		switch {
		case step == "End" && after:
			return counterfoil.ErrNotDurable
		case step == "Append":
			return rig.ErrFault
		}
		return nil
	})
	if err := r.End(t.Context(), v.Session()); !errors.Is(err, counterfoil.ErrUnavailable) || errors.Is(err, counterfoil.ErrNotDurable) {
		t.Errorf("%v, want ErrUnavailable alone", err)
	}
	r.Faults.On(nil)
}

// EndOthers must be able to find them again.
func TestEndOthersRemembersWhatIsNotDurable(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	ctx := t.Context()
	login(t, r, "alice")
	v, _ := login(t, r, "alice")
	down := &replicas{down: true}
	r.Faults.On(down.hook)
	if err := r.EndOthers(ctx, r.Open(v)); !errors.Is(err, counterfoil.ErrNotDurable) {
		t.Fatal(err)
	}
	announced := down.count("Append")
	if err := r.EndOthers(ctx, r.Open(v)); !errors.Is(err, counterfoil.ErrNotDurable) || down.count("Append") != announced+1 {
		t.Errorf("the repetition: %v, appended %d times more", err, down.count("Append")-announced)
	}
	down.set(false)
	if err := r.EndOthers(ctx, r.Open(v)); err != nil {
		t.Error(err)
	}
	announced = down.count("Append")
	if err := r.EndOthers(ctx, r.Open(v)); err != nil || down.count("Append") != announced {
		t.Errorf("once it is safe they are forgotten: %v, appended %d times more", err, down.count("Append")-announced)
	}
}

// A login or rotation goes on while a replica is down; the old session has ended, and that is made safe afterwards.
func TestLoginWhileReplicasAreDown(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	ctx := t.Context()
	visitor := r.Anonymous()
	if _, err := visits.Incr(ctx, visitor, 1); err != nil {
		t.Fatal(err)
	}
	down := &replicas{down: true}
	r.Faults.On(down.hook)
	user, err := r.Login(ctx, visitor, "alice", counterfoil.LoginOptions{Carry: []string{"visits"}})
	if err != nil {
		t.Fatalf("login: %v", err)
	}
	next, err := r.Rotate(ctx, user, counterfoil.RotateOptions{})
	if err != nil {
		t.Fatalf("rotation: %v", err)
	}
	if n, err := visits.Get(ctx, next); n != 1 || err != nil {
		t.Errorf("carried: %d, %v", n, err)
	}
	if keys := r.SessionKeys(t); len(keys) != 1 {
		t.Errorf("records: %q, want the new one alone", keys)
	}
	if n := strings.Count(r.Logs.String(), "may come back"); n != 2 {
		t.Errorf("the log says so %d times, want 2", n)
	}
	ended := down.count("End")
	down.set(false)
	rig.Poll(t, "both old sessions are ended again once replicas answer", func() bool { return down.count("End") >= ended+2 })
	if err := r.Close(); err != nil {
		t.Errorf("nothing is left to do: %v", err)
	}
}

// Ending a subject is not repeated as it was, because that would end what has begun since.
func TestSubjectIsMadeSafeAfterwards(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	ctx := t.Context()
	down := &replicas{down: true}
	r.Faults.On(down.hook)
	login(t, r, "alice")
	if err := r.EndAll(ctx, "alice"); !errors.Is(err, counterfoil.ErrNotDurable) {
		t.Fatal(err)
	}
	if err := r.Close(); !errors.Is(err, counterfoil.ErrNotDurable) {
		t.Errorf("closing while it is not safe: %v, want ErrNotDurable", err)
	}
	login(t, r, "alice")
	down.set(false)
	if err := r.Close(); err != nil {
		t.Errorf("closing when replicas answer: %v", err)
	}
	if list, err := r.Sessions(ctx, "alice"); len(list) != 1 || err != nil {
		t.Errorf("the session that began since: %v, %v", list, err)
	}
}

// TestWhatIsKeptIsCopied gives the Manager strings that lie in a buffer which is used again, as Fiber's do. What it goes on with afterwards names whom it named.
func TestWhatIsKeptIsCopied(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var keys []string
	r := rig.New(t, rig.Embedded, func(c *counterfoil.Config) {
		c.Events = revocation.EventFunc(func(e revocation.Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Entry.Kind == revocation.KindKey {
				keys = append(keys, e.Entry.KeyID)
			}
		})
	})
	ctx := t.Context()
	view := func(s string) (string, []byte) {
		buffer := []byte(s)
		return unsafe.String(unsafe.SliceData(buffer), len(buffer)), buffer
	}

	subject, buffer := view("alice")
	s := must[*counterfoil.Session](t)(r.Login(ctx, nil, subject, counterfoil.LoginOptions{}))
	copy(buffer, "bobby")
	if got := s.Subject(); got != "alice" {
		t.Errorf("the session is %q's", got)
	}

	bobby, _ := login(t, r, "bobby")
	down := &replicas{down: true}
	r.Faults.On(down.hook)
	subject, buffer = view("alice")
	if err := r.EndAll(ctx, subject); !errors.Is(err, counterfoil.ErrNotDurable) {
		t.Fatal(err)
	}
	copy(buffer, "bobby")
	down.set(false)
	if err := r.Close(); err != nil { // which makes safe what is not
		t.Errorf("closing when replicas answer: %v", err)
	}
	if _, err := visits.Incr(ctx, r.Open(bobby), 1); err != nil {
		t.Errorf("the session of somebody else: %v", err)
	}

	id := strings.Repeat("A", 43)
	key, buffer := view(id)
	if _, err := r.Revoke(ctx, counterfoil.Revocation{Key: key}); err != nil {
		t.Fatal(err)
	}
	copy(buffer, "BBBB")
	mu.Lock()
	defer mu.Unlock()
	if len(keys) == 0 || keys[0] != id {
		t.Errorf("revoked keys: %q", keys)
	}
}

// The log's replicas are not those of the sessions: that a heartbeat is safe says nothing of an ending.
func TestEndingIsMadeSafeByItsOwnReplicas(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	for name, end := range map[string]func(v token.Verified) error{
		"a session": func(v token.Verified) error { return r.End(t.Context(), v.Session()) },
		"a subject": func(v token.Verified) error { return r.EndAll(t.Context(), v.Subject()) },
	} {
		t.Run(name, func(t *testing.T) {
			v, _ := login(t, r, name)
			r.Faults.On(rig.NotDurable("End"))
			if err := end(v); !errors.Is(err, counterfoil.ErrNotDurable) {
				t.Fatal(err)
			}
			if err := r.Close(); !errors.Is(err, counterfoil.ErrNotDurable) {
				t.Errorf("closing while it is not safe: %v, want ErrNotDurable", err)
			}
			r.Faults.On(nil)
			if err := r.Close(); err != nil {
				t.Errorf("closing when it is: %v", err)
			}
		})
	}
}

// And whatever becomes of the log, an ending is made safe.
func TestEndingIsMadeSafeWithoutTheLog(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]error{"its replicas are away": counterfoil.ErrNotDurable, "it cannot be reached": rig.ErrFault} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rig.New(t, rig.Embedded)
			v, _ := login(t, r, "alice")
			r.Faults.On(rig.NotDurable("End"))
			if err := r.End(t.Context(), v.Session()); !errors.Is(err, counterfoil.ErrNotDurable) {
				t.Fatal(err)
			}
			var ended atomic.Int32
			r.Faults.On(func(step string, after bool) error {
				switch {
				case step == "End" && after:
					ended.Add(1)
				case step == "Heartbeat" && after:
					return fault
				}
				return nil
			})
			rig.Poll(t, "it is ended again", func() bool { return ended.Load() > 0 })
		})
	}
}

// Endings that wait for replicas in vain do not keep others from being made safe.
func TestEndingIsMadeSafeBesideOthersThatAreNot(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(t *testing.T, m *counterfoil.Manager, p *partly) {
		ctx := t.Context()
		const each = 500 * time.Millisecond // which is how long a WAIT takes that too few answer
		p.weaken(each, true)
		for i := range 40 {
			s, _ := begin(t, m, fmt.Sprint("somebody ", i), counterfoil.LoginOptions{})
			p.lose(s.ID())
			if err := m.End(ctx, s.ID()); !errors.Is(err, counterfoil.ErrNotDurable) {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute) // all have been tried again and again
		s, _ := begin(t, m, "alice", counterfoil.LoginOptions{})
		p.weakenOnce(s.ID())
		p.weaken(each, false)
		if err := m.End(ctx, s.ID()); !errors.Is(err, counterfoil.ErrNotDurable) {
			t.Fatal(err)
		}
		time.Sleep(4 * each)
		if n := p.durable(s.ID()); n != 1 {
			t.Errorf("a new one was made safe %d times within %v, want once", n, 4*each)
		}
	})
}

func TestReuseWhileReplicasAreDown(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var events []revocation.Event
	r := rig.New(t, rig.Embedded, func(c *counterfoil.Config) {
		c.Events = revocation.EventFunc(func(e revocation.Event) { mu.Lock(); defer mu.Unlock(); events = append(events, e) })
	})
	ctx := t.Context()
	v, first := login(t, r, "alice")
	r.Advance(11 * time.Second)
	_, next, err := r.Refresh(ctx, first.Refresh.Reveal(), token.Verified{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := visits.Incr(ctx, r.Open(r.Verify(t, next.Access)), 1); err != nil {
		t.Fatal(err)
	}
	r.Advance(11 * time.Second)
	down := &replicas{down: true}
	r.Faults.On(down.hook)
	_, _, err = r.Refresh(ctx, first.Refresh.Reveal(), token.Verified{})
	if !errors.Is(err, counterfoil.ErrReuse) {
		t.Fatalf("%v, want ErrReuse", err)
	}
	if status, _ := counterfoil.Status(err); status != 401 {
		t.Errorf("status %d: the client cannot do anything about replicas, want 401", status)
	}
	if down.count("End") == 0 || down.count("Append") == 0 {
		t.Error("no replica was waited for")
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.ContainsFunc(events, func(e revocation.Event) bool {
		return e.Kind == revocation.EventReuse && e.Entry.Session == v.Session()
	}) {
		t.Errorf("no event of the reuse: %+v", events)
	}
	if !slices.ContainsFunc(events, func(e revocation.Event) bool {
		return e.Kind == revocation.EventRevoked && e.Entry.Session == v.Session()
	}) {
		t.Errorf("no event of the revocation: %+v", events)
	}
}

// The sessions that the cap ends are announced, and the login does not wait for replicas.
func TestCapWhileReplicasAreDown(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded, func(c *counterfoil.Config) { c.MaxSessions = 1 })
	_, old := login(t, r, "alice")
	r.Faults.On(rig.NotDurable("Create", "End", "Append", "Heartbeat"))
	login(t, r, "alice")
	if _, err := r.Guard().Check(t.Context(), old.Access.Reveal()); !errors.Is(err, revocation.ErrRevoked) {
		t.Errorf("the one that had to go: %v, want ErrRevoked", err)
	}
	if strings.Contains(r.Logs.String(), "not yet announced") {
		t.Error("what is in the log is announced")
	}
	r.Faults.On(nil)
}

// The answer to a refresh that was judged reuse may be lost. The record is gone then, and the repetition is what tells the verifiers.
func TestReuseWhoseAnswerWasLost(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	ctx := t.Context()
	_, first := login(t, r, "alice")
	r.Advance(11 * time.Second)
	_, next, err := r.Refresh(ctx, first.Refresh.Reveal(), token.Verified{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := visits.Incr(ctx, r.Open(r.Verify(t, next.Access)), 1); err != nil {
		t.Fatal(err)
	}
	r.Advance(11 * time.Second)
	r.Faults.On(func(step string, after bool) error {
		if step == "Refresh" && after {
			return rig.ErrFault
		}
		return nil
	})
	if _, _, err := r.Refresh(ctx, first.Refresh.Reveal(), token.Verified{}); !errors.Is(err, counterfoil.ErrUnavailable) {
		t.Fatalf("%v, want ErrUnavailable", err)
	}
	down := &replicas{}
	r.Faults.On(down.hook)
	for range 3 {
		if _, _, err := r.Refresh(ctx, first.Refresh.Reveal(), token.Verified{}); !errors.Is(err, counterfoil.ErrNotFound) {
			t.Fatalf("the repetition: %v, want ErrNotFound", err)
		}
	}
	if n := down.count("Append"); n != 1 {
		t.Errorf("announced %d times, want once", n)
	}
	edge := r.Again(t)
	rig.Poll(t, "a verifier refuses the last access token", func() bool {
		_, err := edge.Guard().Check(ctx, next.Access.Reveal())
		return errors.Is(err, revocation.ErrRevoked)
	})
}

// A process starts, and is ready, while replicas are down: the age of the lists tells what that means for them.
func TestStartWhileReplicasAreDown(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	r.Fresh(t)
	other := r.Again(t, func(c *counterfoil.Config) {})
	other.Faults.On(rig.NotDurable("Heartbeat", "Append", "End"))
	cfg := other.Config
	m, err := counterfoil.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	rig.Poll(t, "it is ready", func() bool { return m.Ready(t.Context()) == nil })
	if !strings.Contains(r.Logs.String(), "fewer replicas than configured") {
		t.Error("nothing was logged")
	}
}

func TestStatusOfEndings(t *testing.T) {
	for _, tt := range []struct {
		err    error
		status int
		after  int // at least
	}{
		{counterfoil.ErrNotDurable, 503, 1},
		{counterfoil.ErrKeyRevoked, 503, 1},
		{&counterfoil.PausedError{Until: time.Now().Add(9 * time.Second)}, 503, 8},
		{&counterfoil.PausedError{Until: time.Now().Add(-time.Hour)}, 503, 1},
		{counterfoil.ErrNoCensus, 0, 0},
	} {
		if status, after := counterfoil.Status(tt.err); status != tt.status || after < tt.after || after > 10 {
			t.Errorf("%v: %d, retry after %d; want %d, %d", tt.err, status, after, tt.status, tt.after)
		}
	}
}

// endsLater is a store whose clock has stepped back: what a cap ends has tokens of a later time than it shows now.
type endsLater struct{ *rig.Faults }

func (s endsLater) Create(ctx context.Context, r counterfoil.NewRecord) (counterfoil.Created, error) {
	c, err := s.Faults.Create(ctx, r)
	c.Ended = c.At + time.Minute.Milliseconds()
	return c, err
}

func TestCapIsAnnouncedForAsLongAsItsTokens(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	ctx := t.Context()
	cfg := r.Config
	cfg.MaxSessions, cfg.Store = 1, endsLater{r.Faults}
	capped, err := counterfoil.New(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer capped.Close()
	old, _ := login(t, r, "alice")
	s, err := capped.Login(ctx, capped.Anonymous(), "alice", counterfoil.LoginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tokens, _ := s.Issued()
	began := r.Verify(t, tokens.Access).IssuedAt()
	log, err := r.Faults.Redis.Read(ctx, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, record := range log.Records {
		e, err := revocation.ParseEntry(record.Entry)
		if err != nil || e.Kind != revocation.KindSession || e.Session != old.Session() {
			continue
		}
		if e.At != began.Add(time.Minute).UnixMilli() {
			t.Errorf("its end is dated %v after the session that ended it, want a minute", time.UnixMilli(e.At).Sub(began))
		}
		return
	}
	t.Error("the log does not have it")
}

// More has ended while the log could not be reached than is told at a time. Close tells all of it.
func TestCloseTellsAll(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	ctx := t.Context()
	r.Faults.On(rig.Never("Append"))
	const many = 600
	ids := map[token.SessionID]bool{}
	for i := range many {
		id, err := token.NewSessionID("AAA", [16]byte{1, byte(i), byte(i >> 8)})
		if err != nil {
			t.Fatal(err)
		}
		ids[id] = true
		if err := r.End(ctx, id); !errors.Is(err, counterfoil.ErrUnavailable) {
			t.Fatalf("%v, want ErrUnavailable", err)
		}
	}
	r.Faults.On(nil)
	if err := r.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	log, err := r.Faults.Redis.Read(ctx, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, record := range log.Records {
		if e, err := revocation.ParseEntry(record.Entry); err == nil {
			delete(ids, e.Session)
		}
	}
	if len(ids) > 0 {
		t.Errorf("the log lacks %d of %d", len(ids), many)
	}
}
