package httpadapter

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
)

// How a stream of events goes.
const (
	lookEvery  = 500 * time.Millisecond // at the subject's sessions
	tellEvery  = 100 * time.Millisecond // who has confirmed, while that is to be told; how often that is asked is [confirmations]' affair
	aliveEvery = 2 * time.Second        // a comment, to notice that the client has gone: until then it takes one of the subject's places
	streamLife = 4 * time.Minute        // then the client comes again, with a newer token
	confirmFor = 40 * time.Second       // a verifier that says nothing for 30 s no longer counts
)

// events tells the sessions' fate as server-sent events:
//
//	began        {"handle":…,"device":…}                 a session that was not there before
//	ended        {"handle":…,"device":…}                 one that is there no more
//	confirmed    {"handle":…,"verifiers":3,"at":…}       every verifier has confirmed that it refuses its tokens, at that time at the latest
//	unconfirmed  {"handle":…,"verifiers":3,"missing":1}  after 40 s so many of them have not, and it is asked no more; of 0, it is not known who has
//	gone         {}                                      the session that asked has ended; the stream ends
//
// What a stream waits to hear confirmed is lost if it breaks off, or its page is loaded again: the page that comes next does not list what has ended before.
func (e *endpoints) events(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead { // which the pattern for GET lets in; its stream would have no reader
		eventStream(w.Header())
		return
	}
	s := Session(r)
	if !e.streams.enter(s.Subject()) {
		Refuse(w, r, counterfoil.ErrUnavailable)
		return
	}
	watch := &watch{e: e, ctx: r.Context(), session: s, began: e.now(), ended: map[*pending]wait{}}
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
	began   time.Time
	seen    []Device
	ended   map[*pending]wait // for confirmation
}

type wait struct {
	since   time.Time
	expires time.Time // then the session would have ended by itself, everywhere
}

func (w *watch) run() {
	defer func() {
		for p := range w.ended {
			w.e.confirmations.leave(p)
		}
	}()
	if _, err := w.out.WriteString("retry: 1000\n\n"); err != nil || w.out.Flush() != nil {
		return
	}
	look, tell, alive := time.NewTicker(lookEvery), time.NewTicker(tellEvery), time.NewTicker(aliveEvery)
	done := w.session.Done()
	defer look.Stop()
	defer tell.Stop()
	defer alive.Stop()
	for goes := true; goes && !w.over(); {
		select {
		case <-w.ctx.Done():
			return
		case <-w.e.stop:
			return
		case <-done:
			w.tell("gone", struct{}{})
			return
		case <-look.C:
			goes = w.look()
		case <-tell.C:
			goes = w.confirm()
		case <-alive.C:
			_, _ = w.out.WriteString(":\n\n")
			goes = w.out.Flush() == nil
		}
	}
}

// over says whether the stream has been open for long enough. It stays open for what still waits for confirmation, which the next one would know nothing of.
func (w *watch) over() bool {
	age := w.e.now().Sub(w.began)
	return age > streamLife && (len(w.ended) == 0 || age > streamLife+confirmFor)
}

// look compares the sessions with those of the last look. A store that does not answer changes nothing.
func (w *watch) look() bool {
	now, err := w.e.devices(w.ctx, w.session)
	switch {
	case errors.Is(err, counterfoil.ErrNotFound): // it is not among them
		w.tell("gone", struct{}{})
		return false
	case err != nil:
		return true
	}
	before := w.seen
	w.seen = now
	for _, d := range before {
		if lists(now, d.Handle) {
			continue
		}
		at := w.e.now()
		w.ended[w.e.confirmations.join(w.session, d.Handle, at)] = wait{at, d.Expires}
		if !w.tell("ended", map[string]string{"handle": d.Handle, "device": d.Label}) {
			return false
		}
	}
	for _, d := range now {
		if !lists(before, d.Handle) && !w.tell("began", map[string]string{"handle": d.Handle, "device": d.Label}) {
			return false
		}
	}
	return w.confirm()
}

func lists(list []Device, handle string) bool {
	return slices.ContainsFunc(list, func(d Device) bool { return d.Handle == handle })
}

// confirm tells which ended sessions every verifier knows of, and of which that cannot be said although it was waited for it.
func (w *watch) confirm() bool {
	if len(w.ended) == 0 {
		return true
	}
	c, now := &w.e.confirmations, w.e.now()
	c.look(w.ctx, now)
	for p, wait := range w.ended {
		o, late := c.outcome(p), now.Sub(wait.since) > confirmFor
		if late {
			o = c.last(w.ctx, p)
		}
		if !late && !o.settled {
			continue
		}
		delete(w.ended, p)
		c.leave(p)
		if !w.tellOutcome(p.handle, o, now.After(wait.expires)) {
			return false
		}
	}
	return true
}

// tellOutcome tells who has confirmed an end. Of a session that would be over by now there is nothing to say unless all have.
func (w *watch) tellOutcome(handle string, o outcome, over bool) bool {
	n := len(o.done.Confirmed) + len(o.done.Missing)
	switch {
	case o.confirmed():
		return w.tell("confirmed", map[string]any{"handle": handle, "verifiers": n, "at": o.at().UTC()})
	case o.settled || over:
		return true
	}
	return w.tell("unconfirmed", map[string]any{"handle": handle, "verifiers": n, "missing": len(o.done.Missing)})
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
