package counterfoil

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

// Done returns a channel that is closed once the session has ended or expired, for handlers that outlive their request, such as those of WebSockets
// and event streams. Renewed tokens do not close it; a login or [Manager.Rotate] does, since the session has another ID then. For a session that is
// not stored yet it is never closed.
//
// The news comes with the revocation log, within milliseconds wherever the session was ended, and however busy the store is. The store is asked as
// well, about once per access life while the session is being renewed and less and less often while it is not: that finds what has expired, and what
// the log did not tell. While neither can be reached the channel stays open.
//
// Nobody has to say when a connection has closed. All callers share one channel for each session; it costs a few hundred bytes and those questions
// until the session has ended, which is less than its renewals cost the store.
func (s *Session) Done() <-chan struct{} {
	s.mu.Lock()
	id, begun, ended := s.id, s.begun, s.ended
	s.mu.Unlock()
	switch {
	case ended:
		return closed
	case id.IsZero():
		return make(chan struct{})
	case begun == 0:
		begun = math.MaxInt64
	}
	return s.m.watch.add(id, s.subject, begun)
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// watch closes the channels of [Session.Done].
type watch struct {
	m    *Manager
	wake chan struct{}

	mu       sync.Mutex
	sessions map[token.SessionID]*watched
}

type watched struct {
	done    chan struct{}
	subject string
	hash    [16]byte // of the subject
	begun   int64    // the session began then, or earlier if that is all that is known; Unix ms
	exactly bool     // it began then

	due     time.Time // when to ask the store
	pause   time.Duration
	renewed int64 // as the store said last, Unix ms
	asked   bool  // it is being asked, or about to be
	again   bool  // and is to be asked again, because of something that was heard since
	failed  bool  // it did not answer the last time
}

func newWatch(m *Manager) *watch {
	return &watch{m: m, wake: make(chan struct{}, 1), sessions: map[token.SessionID]*watched{}}
}

func (w *watch) add(id token.SessionID, subject string, begun int64) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if x := w.sessions[id]; x != nil {
		x.begun = min(x.begun, begun)
		return x.done
	}
	// An entry that the list got before is no news any more, so the list is looked at with the lock held.
	if w.m.list.Has(id) || begun <= w.m.notBefore(subject) {
		return closed
	}
	x := &watched{done: make(chan struct{}), subject: subject, begun: begun, due: w.m.now()}
	if subject != "" {
		x.hash = token.SubjectHash(w.m.issuerName, subject)
	}
	w.sessions[id] = x
	w.rouse()
	return x.done
}

// rouse has run look at once for whom to ask about.
func (w *watch) rouse() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// heard takes in one entry of the log. The store is asked only where the entry does not decide: it ends what began until a time, and of a session that was
// never looked at it knows that only from a token that says it.
func (w *watch) heard(e revocation.Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e.Kind {
	case revocation.KindSession:
		w.end(e.Session)
	case revocation.KindSubject, revocation.KindAll:
		for id, x := range w.sessions {
			switch {
			case e.Kind == revocation.KindSubject && (x.subject == "" || x.hash != e.Subject):
			case x.begun <= e.NotBefore:
				w.end(id)
			case !x.exactly:
				x.again = true
				w.rouse()
			}
		}
	}
}

// askAll has the store asked about all sessions, because the log has lost something.
func (w *watch) askAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, x := range w.sessions {
		x.again = true
	}
	w.rouse()
}

// end closes one channel. The caller holds the lock.
func (w *watch) end(id token.SessionID) {
	if x := w.sessions[id]; x != nil {
		close(x.done)
		delete(w.sessions, id)
	}
}

// How many questions may be under way at once: about sessions of which the store answered the last one, and about the others. Where one master of a Cluster
// is gone a question about a session of it takes all the time that it may, and must not keep those about other sessions waiting.
const (
	firstLooks = 12
	otherLooks = 4
)

// looks is a line of questions, of which some may be under way at once.
type looks struct {
	line  []Ref
	under chan struct{} // a value for each that is under way
}

// room takes a value when there is a question, and room for it.
func (l *looks) room() chan<- struct{} {
	if len(l.line) == 0 {
		return nil
	}
	return l.under
}

// run asks the store about each session when it is due, until ctx ends.
func (w *watch) run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var running sync.WaitGroup
	defer running.Wait()
	ask := func(l *looks) {
		ref := l.line[0]
		l.line = l.line[1:]
		running.Go(func() {
			w.look(ctx, ref)
			<-l.under
		})
	}
	first, other := &looks{under: make(chan struct{}, firstLooks)}, &looks{under: make(chan struct{}, otherLooks)}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			w.queue(first, other)
		case <-w.wake:
			w.queue(first, other)
		case first.room() <- struct{}{}:
			ask(first)
		case other.room() <- struct{}{}:
			ask(other)
		}
	}
}

// queue puts each session that is due into its line.
func (w *watch) queue(first, other *looks) {
	now := w.m.now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, x := range w.sessions {
		if x.asked || x.due.After(now) && !x.again {
			continue
		}
		x.asked, x.again = true, false
		line := first
		if x.failed {
			line = other
		}
		line.line = append(line.line, Ref{Session: id, Subject: x.subject})
	}
}

// look asks whether a session lives, and says when to ask again: when it could have expired, and after an access life, or twice as long each time if it
// is not renewed.
func (w *watch) look(ctx context.Context, ref Ref) {
	r, err := w.m.store.Load(ctx, ref)
	w.mu.Lock()
	defer w.mu.Unlock()
	x := w.sessions[ref.Session]
	if x == nil {
		return
	}
	now := w.m.now()
	x.asked, x.failed = false, false
	switch {
	// What is heard from here on meets the time that is known now, and what was heard before is in the list.
	case errors.Is(err, ErrNotFound), err == nil && r.Created <= w.m.notBefore(ref.Subject):
		w.end(ref.Session)
	case err != nil:
		x.failed, x.due = true, now.Add(5*time.Second)
	default:
		x.begun, x.exactly = r.Created, true
		x.pause *= 2
		if r.Renewed != x.renewed {
			x.renewed, x.pause = r.Renewed, w.m.accessLife
		}
		x.due = now.Add(x.pause)
		for _, ms := range []int64{r.Expires, r.Renewed + r.Idle.Milliseconds()} {
			if at := milli(ms); at.After(now) && at.Before(x.due) {
				x.due = at
			}
		}
	}
	if x.again {
		w.rouse()
	}
}

// notBefore is what this process's own list knows of sessions of a subject: those that began until then have ended.
func (m *Manager) notBefore(subject string) int64 {
	n := m.list.AllNotBefore()
	if subject != "" {
		n = max(n, m.list.SubjectNotBefore(token.SubjectHash(m.issuerName, subject)))
	}
	return n
}
