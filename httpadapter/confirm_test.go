package httpadapter_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/internal/rig"
	"github.com/counterfoil/counterfoil/revocation"
)

// census counts the looks at it, can lose its followers, and can be out of reach.
type census struct {
	*rig.Faults
	looks atomic.Int64
	lost  atomic.Bool
	away  atomic.Bool
}

func (c *census) Holding(ctx context.Context, at revocation.Position, e revocation.Entry) ([]revocation.Progress, bool, error) {
	c.looks.Add(1)
	if c.away.Load() {
		return nil, false, counterfoil.ErrUnavailable
	}
	list, holds, err := c.Faults.Holding(ctx, at, e)
	if c.lost.Load() {
		list = nil
	}
	return list, holds, err
}

// silent has somebody follow the log who never gets anywhere, until it leaves.
func (c *census) silent(t *testing.T) (leave func()) {
	t.Helper()
	report := func(at revocation.Position) {
		if err := c.Report(t.Context(), "silent", at, 0); err != nil {
			t.Fatal(err)
		}
	}
	report("1-1")
	return func() { report("") }
}

// stand is a service whose census is looked at, and whose streams have a clock of their own.
type stand struct {
	*rig.Rig
	census *census
	h      http.Handler
	at     string
	clock  atomic.Int64
}

func newStand(t *testing.T) *stand {
	t.Helper()
	r := rig.New(t, rig.Embedded)
	s := &stand{census: &census{Faults: r.Faults}}
	s.Rig = r.Again(t, func(c *counterfoil.Config) { c.Log, c.Source = s.census, s.census })
	r.Close() // one verifier is enough
	begin, stop := time.Now(), make(chan struct{})
	s.h = handler(t, s.Rig, httpadapter.EndpointsConfig{Stop: stop, Now: func() time.Time { return begin.Add(time.Duration(s.clock.Load())) }})
	srv := httptest.NewServer(s.h)
	t.Cleanup(func() {
		close(stop)
		srv.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	s.at = srv.URL
	return s
}

func (s *stand) wait(d time.Duration) { s.clock.Add(int64(d)) }

// TestConfirmationsAreAskedForTogether ends a hundred sessions that sixteen streams look on, while a follower is silent. That is one look at the census at a time, and in
// the end one for each session, not one for each session and stream.
func TestConfirmationsAreAskedForTogether(t *testing.T) {
	const streams, others = 16, 99
	s := newStand(t)
	leave := s.census.silent(t)
	laptop := signIn(t, s.Rig, s.h, "Laptop")
	for range others {
		signIn(t, s.Rig, s.h, "")
	}
	var told sync.Map // counters by event
	count := func(event string) *atomic.Int64 {
		n, _ := told.LoadOrStore(event, new(atomic.Int64))
		return n.(*atomic.Int64)
	}
	for range streams {
		events := follow(t, s.at, laptop)
		go func() {
			for e := range events {
				name, _, _ := strings.Cut(e, " ")
				count(name).Add(1)
			}
		}()
	}
	if w := laptop.do("POST", httpadapter.EndOthersPath); w.Code != 204 {
		t.Fatal(w.Code)
	}
	rig.Poll(t, "all streams have told all ends", func() bool { return count("ended").Load() == streams*others })
	// round waits until each stream has looked at its sessions again, which is five times as rare as at what it waits for.
	var rounds atomic.Int64
	s.Faults.On(func(step string, _ bool) error {
		if step == "Sessions" {
			rounds.Add(1)
		}
		return nil
	})
	defer s.Faults.On(nil)
	round := func() {
		begin := rounds.Load()
		rig.Poll(t, "the streams go on", func() bool { return rounds.Load() > begin+4*streams })
	}
	round()
	looks := s.census.looks.Load() // the first may have come before this process knew of the ends
	if looks > 1 {
		t.Errorf("%d looks at the census, want one", looks)
	}
	for _, tt := range []struct {
		pause time.Duration
		looks int64
	}{
		{100 * time.Millisecond, 1},
		{50 * time.Millisecond, 0},
		{20 * time.Second, 1},
		{1900 * time.Millisecond, 0},
		{100 * time.Millisecond, 1},
	} {
		looks += tt.looks
		s.wait(tt.pause)
		rig.Poll(t, "the census is looked at", func() bool { return s.census.looks.Load() >= looks })
		round()
		if got := s.census.looks.Load(); got != looks {
			t.Fatalf("%v later: %d looks at the census, want %d", tt.pause, got, looks)
		}
	}
	leave()
	s.wait(2 * time.Second)
	rig.Poll(t, "all streams have told all confirmations", func() bool { return count("confirmed").Load() == streams*others })
	if got := s.census.looks.Load(); got != looks+others {
		t.Errorf("%d looks at the census for %d confirmations", got-looks, others)
	}
	if n := count("unconfirmed").Load(); n != 0 {
		t.Errorf("%d are told not to be confirmed", n)
	}
}

// TestWhatIsNotConfirmedIsTold: a page does not say that every server knows when it is not known of any, and it says so when its time is over.
func TestWhatIsNotConfirmedIsTold(t *testing.T) {
	for name, tt := range map[string]struct {
		fault func(*testing.T, *stand)
		away  bool // in the end nobody can ask
		want  string
	}{
		"a silent follower":                          {func(t *testing.T, s *stand) { s.census.silent(t) }, false, `"missing":1,"verifiers":2}`},
		"a census that has lost its members":         {func(_ *testing.T, s *stand) { s.census.lost.Store(true) }, false, `"missing":0,"verifiers":0}`},
		"a silent follower, and then nobody can ask": {func(t *testing.T, s *stand) { s.census.silent(t) }, true, `"missing":1,"verifiers":2}`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStand(t)
			tt.fault(t, s)
			laptop, phone := signIn(t, s.Rig, s.h, "Laptop"), signIn(t, s.Rig, s.h, "Phone")
			one, two := follow(t, s.at, laptop), follow(t, s.at, laptop)
			if err := s.End(t.Context(), phone.s.ID()); err != nil {
				t.Fatal(err)
			}
			for _, events := range []<-chan string{one, two} {
				if e := next(t, events); !strings.HasPrefix(e, "ended ") {
					t.Fatalf("after an end: %s", e)
				}
			}
			if tt.away {
				// The second look comes after the first has been answered.
				s.wait(time.Second)
				rig.Poll(t, "the census is looked at again", func() bool { return s.census.looks.Load() > 1 })
				s.census.away.Store(true)
			}
			looks := s.census.looks.Load()
			s.wait(41 * time.Second)
			for _, events := range []<-chan string{one, two} {
				if e := next(t, events); !strings.HasPrefix(e, "unconfirmed ") || !strings.HasSuffix(e, tt.want) {
					t.Errorf("after 41 s: %s, want %s", e, tt.want)
				}
			}
			if got := s.census.looks.Load() - looks; got > 2 {
				t.Errorf("%d looks at the census when the time was over", got)
			}
		})
	}
}

// TestStreamStaysForWhatIsPending: a stream that has been open for its four minutes ends when nothing waits for confirmation.
func TestStreamStaysForWhatIsPending(t *testing.T) {
	s := newStand(t)
	leave := s.census.silent(t)
	laptop, phone := signIn(t, s.Rig, s.h, "Laptop"), signIn(t, s.Rig, s.h, "Phone")
	events := follow(t, s.at, laptop)
	s.wait(4*time.Minute - time.Second)
	ended := time.Now()
	if err := s.End(t.Context(), phone.s.ID()); err != nil {
		t.Fatal(err)
	}
	if e := next(t, events); !strings.HasPrefix(e, "ended ") {
		t.Fatalf("after an end: %s", e)
	}
	looks := s.census.looks.Load()
	s.wait(2 * time.Second)
	rig.Poll(t, "it is asked on", func() bool { return s.census.looks.Load() > looks })
	leave()
	s.wait(2 * time.Second)
	e := next(t, events)
	var data struct{ At time.Time }
	if !strings.HasPrefix(e, "confirmed ") || json.Unmarshal([]byte(strings.TrimPrefix(e, "confirmed ")), &data) != nil {
		t.Fatalf("after four minutes: %s", e)
	}
	if data.At.Before(ended) || data.At.After(time.Now()) {
		t.Errorf("confirmed at %v, and it was between %v and now", data.At, ended)
	}
	if e, open := <-events; open {
		t.Errorf("after that: %s", e)
	}
}
