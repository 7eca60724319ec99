package store

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil/internal/deadline"
)

// until gives a step its deadline, without a timer where there need not be one: go-redis bounds connecting, writing and reading by the time, and
// the wait for a free connection by its PoolTimeout, if that is no longer than a step may take; before it waits again it looks at the clock.
func (s *Redis) until(ctx context.Context) context.Context {
	at := time.Now().Add(s.timeout)
	rest, earlier, ok := deadline.Apart(ctx)
	if ok && earlier.Before(at) {
		if !s.timely {
			return ctx
		}
		at = earlier
	}
	return deadline.ByTime(rest, at)
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
	default:
		err = s.lanes.send(ctx, cmd)
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
		err = s.lanes.send(ctx, cmds...)
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
// go-redis repeats a pipeline as a whole. So do the commands for each master of a Cluster, because a pipeline has ended when the last of its answers
// is there, and a master that is gone would keep everybody from the others.
type lanes struct {
	client  redis.UniversalClient
	timeout time.Duration

	mu   sync.Mutex
	each map[way]*lane
}

// way tells lanes apart.
type way struct {
	master string // address; "" = the only one, or not known
	once   bool
}

func newLanes(client redis.UniversalClient, timeout time.Duration) *lanes {
	return &lanes{client: client, timeout: timeout, each: map[way]*lane{}}
}

// send is that of a lane. The commands are of one slot and alike in whether they may be repeated.
func (ls *lanes) send(ctx context.Context, cmds ...redis.Cmder) error {
	w := way{once: cmds[0].NoRetry()}
	if c, ok := ls.client.(*redis.ClusterClient); ok {
		if node, err := c.MasterForKey(ctx, keyOf(cmds[0])); err == nil {
			w.master = node.Options().Addr
		}
	}
	ls.mu.Lock()
	l := ls.each[w]
	if l == nil {
		l = &lane{client: ls.client, timeout: ls.timeout, turns: sync.Pool{New: newTurn}}
		ls.each[w] = l
	}
	ls.mu.Unlock()
	return l.send(ctx, cmds...)
}

// keyOf returns the first key of a command.
func keyOf(cmd redis.Cmder) string {
	at := 1
	if name := cmd.Name(); name == "evalsha" || name == "eval" {
		at = 3 // after the script and the number of keys
	}
	key, _ := cmd.Args()[at].(string)
	return key
}

const (
	// maxBatch bounds the turns in one pipeline, so that no step waits for the answers to very many others.
	maxBatch = 512
	// While Redis answers one pipeline the next is made and the one before is read: with a single one, one of the two would always wait for the
	// other. Beside another one a pipeline begins only if so many turns have gathered, because it costs the more for each the fewer they are. One that
	// has taken so long already counts for nothing: its connection may be gone.
	maxRunning, enough = 3, 12
	tooLong            = 10 * time.Millisecond
)

// lane sends whatever has gathered while pipelines are under way as the next one. It has goroutines as long as there is something to send.
type lane struct {
	client  redis.UniversalClient
	timeout time.Duration

	mu    sync.Mutex
	begun [maxRunning]time.Time // when the pipelines under way were begun; zero = none
	queue []*turn
	turns sync.Pool
}

// turn is what one caller sends. It is used again if it came to its end.
type turn struct {
	until time.Time
	cmds  []redis.Cmder
	err   error
	done  chan struct{} // takes one
	timer *time.Timer
}

func newTurn() any {
	t := &turn{done: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}
	t.timer.Stop()
	return t
}

// send sends commands in this order on one connection, together with those of other callers, and reports what kept them from being answered. It
// returns in time, whatever became of the pipeline.
func (l *lane) send(ctx context.Context, cmds ...redis.Cmder) error {
	for _, c := range cmds { // who goes before the pipeline is written may use its slices again
		for i, arg := range c.Args() {
			if b, ok := arg.([]byte); ok {
				c.Args()[i] = bytes.Clone(b)
			}
		}
	}
	rest, until, ok := deadline.Apart(ctx)
	now := time.Now()
	if !ok {
		until = now.Add(l.timeout)
	}
	t := l.turns.Get().(*turn)
	t.until, t.cmds, t.err = until, append(t.cmds[:0], cmds...), nil
	t.timer.Reset(until.Sub(now)) // not every context with a deadline ends by itself
	l.mu.Lock()
	l.queue = append(l.queue, t)
	if i := slices.IndexFunc(l.begun[:], time.Time.IsZero); i >= 0 && l.worth(now) {
		l.begun[i] = now
		go l.run(i)
	}
	l.mu.Unlock()
	var err error
	select {
	case <-t.done:
		t.timer.Stop()
		err = t.err
		clear(t.cmds)
		l.turns.Put(t)
		return err
	case <-t.timer.C:
		err = context.DeadlineExceeded // as below
	case <-rest.Done():
		err = rest.Err() // it may have been sent: what became of it is unknown, as whenever an answer is lost
	}
	l.leave(t)
	return err
}

// leave takes a turn out of the queue, if it still waits there. It is not used again: a pipeline may have it.
func (l *lane) leave(t *turn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.queue, t); i >= 0 {
		l.queue = slices.Delete(l.queue, i, i+1)
	}
}

// worth reports whether what is in the queue is worth a pipeline now.
func (l *lane) worth(now time.Time) bool {
	if len(l.queue) >= enough {
		return true
	}
	for _, begun := range l.begun {
		if !begun.IsZero() && now.Sub(begun) < tooLong {
			return false // it takes them along when it ends
		}
	}
	return len(l.queue) > 0
}

// run sends what is in the queue, as one of the pipelines that may be under way, until that is not worth it.
func (l *lane) run(i int) {
	for {
		now := time.Now()
		l.mu.Lock()
		l.begun[i] = time.Time{}
		if !l.worth(now) {
			l.mu.Unlock()
			return
		}
		l.begun[i] = now
		n := min(len(l.queue), maxBatch)
		batch := l.queue[:n:n]
		l.queue = slices.Clone(l.queue[n:])
		l.mu.Unlock()
		l.exec(batch)
	}
}

// exec sends a batch and tells everybody in it.
func (l *lane) exec(batch []*turn) {
	cmds := make([]redis.Cmder, 0, 2*len(batch))
	now := time.Now()
	latest := now
	for _, t := range batch {
		if !now.Before(t.until) {
			t.err = context.DeadlineExceeded // it has waited too long and is not sent
			continue
		}
		cmds = append(cmds, t.cmds...)
		if t.until.After(latest) {
			latest = t.until
		}
	}
	if len(cmds) > 0 {
		err := pipeline(deadline.ByTime(context.Background(), latest), l.client.Pipeline(), cmds)
		for _, t := range batch {
			if t.err == nil && err != nil {
				t.err = lost(t.cmds, err)
			}
		}
	}
	for _, t := range batch {
		t.done <- struct{}{}
	}
}

// lost returns what kept commands from being answered in a pipeline that failed. It is nil for those that were answered all the same, as those of
// one master of a Cluster are when another one is gone.
func lost(cmds []redis.Cmder, failed error) error {
	for _, c := range cmds {
		if err := c.Err(); err != nil && !answered(err) {
			return err
		}
		if c.Err() == nil && !hasReply(c) { // go-redis gives each command its error; this does not depend on it
			return failed
		}
	}
	return nil
}

// hasReply reports whether a command holds an answer.
func hasReply(c redis.Cmder) bool {
	switch c := c.(type) {
	case onceCmd:
		return c.Val() != nil
	case *redis.Cmd:
		return c.Val() != nil
	case *redis.RawCmd:
		return c.Val() != nil
	case *redis.MapStringStringCmd:
		return c.Val() != nil
	case *redis.StringCmd:
		return c.Val() != ""
	}
	return false
}
