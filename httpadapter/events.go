package httpadapter

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
)

// How a stream of events goes.
const (
	lookEvery  = 500 * time.Millisecond // at the subject's sessions
	askEvery   = 100 * time.Millisecond // who has confirmed, while that is to be told
	aliveEvery = 15 * time.Second       // a comment, to notice that the client has gone
	streamLife = 4 * time.Minute        // then the client comes again, with a newer token
	confirmFor = 40 * time.Second       // a verifier that says nothing for 30 s no longer counts
)

// events tells the sessions' fate as server-sent events:
//
//	began      {"handle":…,"device":…}                 a session that was not there before
//	ended      {"handle":…,"device":…}                 one that is there no more
//	confirmed  {"handle":…,"verifiers":3,"at":…}        every verifier has confirmed that it refuses its tokens
//	gone       {}                                      the session that asked has ended; the stream ends
func (e *endpoints) events(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead { // which the pattern for GET lets in; its stream would have no reader
		eventStream(w.Header())
		w.WriteHeader(http.StatusOK)
		return
	}
	s := Session(r)
	if !e.streams.enter(s.Subject()) {
		Refuse(w, r, counterfoil.ErrUnavailable)
		return
	}
	watch := &watch{e: e, ctx: r.Context(), session: s, ended: map[string]time.Time{}}
	var err error
	if watch.seen, err = e.devices(r.Context(), s); err != nil {
		e.streams.leave(s.Subject())
		Refuse(w, r, err)
		return
	}
	eventStream(w.Header())
	stream(w, func(out *bufio.Writer) {
		defer e.streams.leave(s.Subject())
		watch.out = out
		watch.run()
	})
}

func eventStream(h http.Header) {
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would wait for a full buffer
}

// streams counts the event streams that are open.
type streams struct {
	limit int // of all; of one subject: subjectStreams

	mu  sync.Mutex
	all int
	of  map[string]int // by subject
}

// subjectStreams is how many streams one subject may have: a page with several tabs needs one a browser, or one a tab where there are no Web Locks.
const subjectStreams = 16

func (s *streams) enter(subject string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= s.limit || s.of[subject] >= subjectStreams {
		return false
	}
	s.all++
	s.of[subject]++
	return true
}

func (s *streams) leave(subject string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.of[subject]--; s.of[subject] == 0 {
		delete(s.of, subject)
	}
}

// watch is one client that looks on. It is used by one goroutine.
type watch struct {
	e       *endpoints
	ctx     context.Context
	out     *bufio.Writer
	session *counterfoil.Session
	seen    []Device
	ended   map[string]time.Time // handles that wait for confirmation
}

func (w *watch) run() {
	if _, err := w.out.WriteString("retry: 1000\n\n"); err != nil || w.out.Flush() != nil {
		return
	}
	end := time.NewTimer(streamLife)
	look, ask, alive := time.NewTicker(lookEvery), time.NewTicker(askEvery), time.NewTicker(aliveEvery)
	done := w.session.Done()
	defer end.Stop()
	defer look.Stop()
	defer ask.Stop()
	defer alive.Stop()
	for {
		goes := true
		select {
		case <-w.ctx.Done():
			return
		case <-w.e.stop:
			return
		case <-end.C:
			return
		case <-done:
			w.tell("gone", struct{}{})
			return
		case <-look.C:
			goes = w.look()
		case <-ask.C:
			goes = w.confirm()
		case <-alive.C:
			_, _ = w.out.WriteString(":\n\n")
			goes = w.out.Flush() == nil
		}
		if !goes {
			return
		}
	}
}

// look compares the sessions with those of the last look. A store that does not answer changes nothing.
func (w *watch) look() bool {
	now, err := w.e.devices(w.ctx, w.session)
	if err != nil {
		return true
	}
	before := w.seen
	w.seen = now
	for _, d := range before {
		if find(now, d.Handle) {
			continue
		}
		if d.Current {
			w.tell("gone", struct{}{})
			return false
		}
		w.ended[d.Handle] = w.e.now()
		if !w.tell("ended", map[string]string{"handle": d.Handle, "device": d.Label}) {
			return false
		}
	}
	for _, d := range now {
		if !find(before, d.Handle) && !w.tell("began", map[string]string{"handle": d.Handle, "device": d.Label}) {
			return false
		}
	}
	return w.confirm()
}

func find(list []Device, handle string) bool {
	for _, d := range list {
		if d.Handle == handle {
			return true
		}
	}
	return false
}

// confirm tells which ended sessions every verifier knows of.
func (w *watch) confirm() bool {
	for handle, at := range w.ended {
		done, known, err := w.e.m.Confirmed(w.ctx, w.session, handle)
		if errors.Is(err, counterfoil.ErrNoCensus) || w.e.now().Sub(at) > confirmFor {
			delete(w.ended, handle)
			continue
		}
		if err != nil || !known || len(done.Missing) > 0 {
			continue
		}
		delete(w.ended, handle)
		if !w.tell("confirmed", map[string]any{"handle": handle, "verifiers": len(done.Confirmed), "at": w.e.now().UTC()}) {
			return false
		}
	}
	return true
}

// tell writes one event; false if the client has gone.
func (w *watch) tell(event string, data any) bool {
	b, err := json.Marshal(data)
	if err != nil {
		return false
	}
	_, _ = w.out.WriteString("event: " + event + "\ndata: " + string(b) + "\n\n")
	return w.out.Flush() == nil
}
