package feed

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil/revocation"
)

const (
	// As a follower does: one report in so long at most for each instance, and a few at once after a pause.
	reportEach  = 100 * time.Millisecond
	reportBurst = 4 * reportEach

	reportLimit = time.Second      // for one report
	reportAgain = 10 * time.Second // although there is nothing new, lest the instance count as silent
)

// reports passes on how far the edges are. Requests only note it; a goroutine that runs while there is something to report tells the log, so a log that
// is slow or gone keeps no edge waiting.
type reports struct {
	to   revocation.Reporter
	each int // instances of one edge that are remembered
	stop context.CancelFunc
	ctx  context.Context // ends with close
	wake chan struct{}

	sent, failed atomic.Uint64

	pause time.Duration // after the last failure; of the goroutine

	mu      sync.Mutex
	edges   map[string]map[string]*reach // by the edge's name and the instance's
	retry   time.Time                    // not before
	running bool
	done    sync.WaitGroup
	closed  bool
}

// reach is how far one instance of an edge is.
type reach struct {
	at    revocation.Position
	came  time.Time           // when the newest record came that the log was known to go on with
	news  bool                // at is to be told
	said  revocation.Position // what was told last
	told  time.Time           // when that was
	paid  time.Time           // until then reports were sent ahead
	heard time.Time           // when it asked last
}

func newReports(to revocation.Reporter, each int) *reports {
	if each == 0 {
		each = defaultPerEdge
	}
	ctx, stop := context.WithCancel(context.Background())
	return &reports{to: to, each: each, ctx: ctx, stop: stop, wake: make(chan struct{}, 1), edges: map[string]map[string]*reach{}}
}

// note remembers that an instance has everything up to a position of a log whose newest record came so long ago; "" = that it has taken its leave.
func (r *reports) note(edge, instance string, at revocation.Position, age time.Duration) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	e := r.edges[edge][instance]
	if e == nil {
		// An edge may call itself something else with each request. It must not fill the log's census, nor this memory.
		r.forget(edge, now)
		if len(r.edges[edge]) >= r.each {
			r.failed.Add(1)
			return
		}
		if r.edges[edge] == nil {
			r.edges[edge] = map[string]*reach{}
		}
		e = &reach{}
		r.edges[edge][instance] = e
	}
	e.heard, e.came = now, now.Add(-age)
	if at == e.said && now.Sub(e.told) < reportAgain {
		e.at, e.news = at, false
		return
	}
	e.at, e.news = at, true
	switch {
	case r.running:
	case now.Before(r.retry):
		return
	default:
		r.running = true
		r.done.Go(r.run)
		return
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// forget drops the instances of an edge that have been silent for so long that nobody waits for them. The caller holds the lock.
func (r *reports) forget(edge string, now time.Time) {
	for name, e := range r.edges[edge] {
		if now.Sub(e.heard) > revocation.Live {
			delete(r.edges[edge], name)
		}
	}
	if len(r.edges[edge]) == 0 {
		delete(r.edges, edge)
	}
}

// due is one report.
type due struct {
	edge, instance string
	at             revocation.Position
	came           time.Time
}

// run reports as long as there is something to report, and the log takes it. After a failure the next request of an edge tries again, not at once.
func (r *reports) run() {
	for {
		list, wait := r.take()
		if list == nil && wait < 0 {
			return
		}
		for i, d := range list {
			ctx, cancel := context.WithTimeout(r.ctx, reportLimit)
			err := r.to.Report(ctx, reportName(d.edge, d.instance), d.at, time.Since(d.came))
			cancel()
			if errors.Is(err, revocation.ErrNoRoom) { // that is this one's trouble, not the others'
				r.failed.Add(1)
				continue
			}
			if err != nil {
				r.giveUp(list[i:]) // the others would have to wait as long
				return
			}
			r.sent.Add(1)
			r.pause = 0
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-r.wake:
			timer.Stop()
		case <-r.ctx.Done():
			timer.Stop()
			return
		}
	}
}

// take returns what is to be told now, and how long it takes until something else is. If there is nothing at all to be told the time is negative, and
// the goroutine ends.
func (r *reports) take() (list []due, wait time.Duration) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	wait = -1
	for edge, instances := range r.edges {
		for instance, e := range instances {
			if !e.news {
				continue
			}
			if e.at == "" { // there is nothing to remember
				delete(instances, instance)
				list = append(list, due{edge, instance, "", now})
				continue
			}
			if left := e.paid.Add(-reportBurst).Sub(now); left > 0 {
				if wait < 0 || left < wait {
					wait = left
				}
				continue
			}
			e.news, e.said, e.told = false, e.at, now
			if e.paid.Before(now) {
				e.paid = now
			}
			e.paid = e.paid.Add(reportEach)
			list = append(list, due{edge, instance, e.at, e.came})
		}
		r.forget(edge, now)
	}
	if list != nil && wait < 0 {
		wait = 0
	}
	if list == nil && wait < 0 {
		r.running = false
	}
	return list, wait
}

// giveUp ends the goroutine. What it could not tell is told later, or what is newer by then.
func (r *reports) giveUp(list []due) {
	r.failed.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range list {
		if e := r.edges[d.edge][d.instance]; e != nil {
			e.news, e.said = true, ""
		}
	}
	r.pause = min(max(reportEach, 2*r.pause), reportAgain)
	r.retry = time.Now().Add(r.pause)
	r.running = false
}

func (r *reports) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.stop()
	r.done.Wait()
}

// reportName is what the log knows an instance by. Names of edges and instances hold no slash, so no two of them are spelt alike.
func reportName(edge, instance string) string {
	if instance == "" {
		return edge
	}
	return edge + "/" + instance
}
