package store

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// deadline is a context that ends at a time, or with its parent. It has no timer: go-redis bounds connecting, writing and reading by the time, and the
// wait for a free connection by its PoolTimeout. A timer for each step would cost as much as Redis takes for it.
type deadline struct {
	context.Context
	at time.Time
}

func (d deadline) Deadline() (time.Time, bool) { return d.at, true }

// until gives a step its deadline.
func (s *Redis) until(ctx context.Context) context.Context {
	at := time.Now().Add(s.timeout)
	if earlier, ok := ctx.Deadline(); ok && earlier.Before(at) {
		return ctx
	}
	return deadline{ctx, at}
}

// sender sends a command by a client.
func sender(client redis.UniversalClient) func(context.Context, redis.Cmder) error {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := client.Process(ctx, cmd)
		suspect(ctx, client, err)
		return err
	}
}

// send sends a command and waits for its answer. Its error is the command's own.
func (s *Redis) send(ctx context.Context, cmd redis.Cmder) (err error) {
	switch {
	case s.lanes == nil:
		err = s.client.Process(ctx, cmd)
	case cmd.NoRetry():
		err = s.lanes.once.send(ctx, cmd)
	default:
		err = s.lanes.often.send(ctx, cmd)
	}
	if err == nil {
		err = cmd.Err()
	}
	suspect(ctx, s.client, err)
	return err
}

// sendReads sends commands in this order on one connection to the master of their slot, and reports what kept them from being answered. Each has an
// error of its own besides.
func (s *Redis) sendReads(ctx context.Context, cmds ...redis.Cmder) (err error) {
	switch {
	case s.scattered:
		// go-redis sends what only reads to a replica, which may not know yet that a session has ended. It does not do so with a transaction.
		err = pipeline(ctx, s.client.TxPipeline(), cmds)
	case s.lanes == nil:
		err = pipeline(ctx, s.client.Pipeline(), cmds)
	default:
		err = s.lanes.often.send(ctx, cmds...)
	}
	suspect(ctx, s.client, err)
	return err
}

func pipeline(ctx context.Context, p redis.Pipeliner, cmds []redis.Cmder) error {
	if err := p.BatchProcess(ctx, cmds...); err != nil {
		return err
	}
	if _, err := p.Exec(ctx); err != nil && !answered(err) {
		return err
	}
	return nil
}

// answered reports whether an error is an answer of Redis.
func answered(err error) bool {
	_, ok := err.(redis.Error)
	return ok
}

// readsReplicas reports whether a client may send to a replica what only reads.
func readsReplicas(client redis.UniversalClient) bool {
	c, ok := client.(*redis.ClusterClient)
	return ok && (c.Options().ReadOnly || c.Options().RouteByLatency || c.Options().RouteRandomly)
}

// lanes put the commands of concurrent steps together into pipelines: see Config.AutoPipeline. What must not be repeated goes its own way, because
// go-redis repeats a pipeline as a whole.
type lanes struct{ often, once lane }

// maxBatch bounds the turns in one pipeline, so that no step waits for the answers to very many others.
const maxBatch = 512

// lane sends whatever has gathered while one pipeline was under way as the next one. There is no goroutine behind it: of the callers that
// wait, one sends for all and then hands over to the next.
type lane struct {
	client  redis.UniversalClient
	timeout time.Duration

	mu    sync.Mutex
	busy  bool // somebody sends, or was told to
	queue []*turn
}

// turn is what one caller sends.
type turn struct {
	ctx  context.Context
	cmds []redis.Cmder
	err  error
	wake chan bool // true: send for yourself and others; false: it was sent for you
}

// send sends commands in this order on one connection, together with those of other callers, and reports what kept them from being answered.
func (l *lane) send(ctx context.Context, cmds ...redis.Cmder) error {
	t := &turn{ctx: ctx, cmds: cmds, wake: make(chan bool, 1)}
	l.mu.Lock()
	l.queue = append(l.queue, t)
	if !l.busy {
		l.busy = true
		t.wake <- true
	}
	l.mu.Unlock()
	select {
	case leads := <-t.wake:
		if leads {
			l.lead()
		}
		return t.err
	case <-ctx.Done():
		l.leave(t)
		return ctx.Err() // it may have been sent: what became of it is unknown, as whenever an answer is lost
	}
}

// leave takes a turn out of the queue, if it still waits there, and has somebody else send if it was to.
func (l *lane) leave(t *turn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.queue, t)
	if i < 0 {
		return
	}
	l.queue = slices.Delete(l.queue, i, i+1)
	select {
	case <-t.wake:
		l.handOver()
	default:
	}
}

// handOver has the next caller send. The caller holds the lock.
func (l *lane) handOver() {
	if l.busy = len(l.queue) > 0; l.busy {
		l.queue[0].wake <- true
	}
}

// lead sends what is in the queue, the first of which is the caller's own.
func (l *lane) lead() {
	runtime.Gosched() // whoever is about to queue up can come along
	l.mu.Lock()
	batch := l.queue[:min(len(l.queue), maxBatch)]
	l.queue = append([]*turn(nil), l.queue[len(batch):]...)
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.handOver()
		l.mu.Unlock()
		for _, t := range batch[1:] {
			t.wake <- false
		}
	}()

	now, n := time.Now(), 0
	for _, t := range batch {
		if at, ok := t.ctx.Deadline(); ok && !now.Before(at) {
			t.err = context.DeadlineExceeded // it has waited too long and is not sent
		} else {
			n += len(t.cmds)
		}
	}
	cmds := make([]redis.Cmder, 0, n)
	for _, t := range batch {
		if t.err == nil {
			cmds = append(cmds, t.cmds...)
		}
	}
	if len(cmds) == 0 {
		return
	}
	err := pipeline(deadline{context.Background(), now.Add(l.timeout)}, l.client.Pipeline(), cmds)
	for _, t := range batch {
		if t.err == nil && err != nil {
			t.err = lost(t.cmds, err)
		}
	}
}

// lost returns what kept commands from being answered in a pipeline that failed: their own errors, or if they say nothing that of the pipeline.
func lost(cmds []redis.Cmder, failed error) error {
	for _, c := range cmds {
		if err := c.Err(); err != nil && !answered(err) {
			return err
		}
	}
	return failed
}
