package store

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil/internal/deadline"
)

// lanes put the commands of concurrent steps together into pipelines: see Config.AutoPipeline. What must not be repeated goes its own way, because
// go-redis repeats a pipeline as a whole. So do the commands for each master of a Cluster, because a pipeline has ended when the last of its answers
// is there, and a master that is gone would keep everybody from the others.
type lanes struct {
	client  redis.UniversalClient
	timeout time.Duration
	apart   atomic.Bool // keys of different sessions cannot be in one command

	mu   sync.Mutex
	each map[way]*lane
}

// way tells lanes apart.
type way struct {
	master string // address; "" = the only one, or not known
	once   bool   // what is sent must not be repeated
}

func newLanes(client redis.UniversalClient, timeout time.Duration) *lanes {
	ls := &lanes{client: client, timeout: timeout, each: map[way]*lane{}}
	_, cluster := client.(*redis.ClusterClient)
	ls.apart.Store(cluster)
	return ls
}

// lane returns the lane of a way.
func (ls *lanes) lane(w way) *lane {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := ls.each[w]
	if l == nil {
		l = &lane{lanes: ls, turns: sync.Pool{New: newTurn}}
		l.again = time.AfterFunc(time.Hour, l.askAgain)
		l.again.Stop()
		ls.each[w] = l
	}
	return l
}

// send sends commands in this order on one connection, together with those of other callers, and reports what kept them from being answered. They are
// of one slot and alike in whether they may be repeated.
func (ls *lanes) send(ctx context.Context, cmds ...redis.Cmder) error {
	w := way{once: cmds[0].NoRetry()}
	if c, ok := ls.client.(*redis.ClusterClient); ok {
		if node, err := c.MasterForKey(ctx, keyOf(cmds[0])); err == nil {
			w.master = node.Options().Addr
		}
	}
	for _, c := range cmds {
		keep(c.Args())
	}
	l := ls.lane(w)
	t := l.turns.Get().(*turn)
	t.cmds = append(t.cmds[:0], cmds...)
	_, err := l.take(ctx, t)
	return err
}

// keep makes arguments the command's own: who goes before a pipeline is written may use its slices again.
func keep(args []any) {
	for i, arg := range args {
		if b, ok := arg.([]byte); ok {
			args[i] = bytes.Clone(b)
		}
	}
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
	lanes *lanes

	mu     sync.Mutex
	begun  [maxRunning]time.Time // when the pipelines under way were begun; zero = none
	queue  []*turn
	again  *time.Timer // asks again whether what is in the queue is worth a pipeline
	asking bool        // it will
	turns  sync.Pool
}

// turn is what one caller sends: commands, or a share. It is used again if it came to its end.
type turn struct {
	until  time.Time
	cmds   []redis.Cmder
	share  share
	answer any // to the share
	err    error
	done   chan struct{} // takes one
	timer  *time.Timer
}

func newTurn() any {
	t := &turn{done: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}
	t.timer.Stop()
	return t
}

// take waits until a turn came, and returns the answer to its share and what kept it from being answered. It returns in time, whatever became of the
// pipeline.
func (l *lane) take(ctx context.Context, t *turn) (any, error) {
	rest, until, ok := deadline.Apart(ctx)
	now := time.Now()
	if !ok {
		until = now.Add(l.lanes.timeout)
	}
	t.until, t.answer, t.err = until, nil, nil
	t.timer.Reset(until.Sub(now)) // not every context with a deadline ends by itself
	l.mu.Lock()
	l.queue = append(l.queue, t)
	l.next(now)
	l.mu.Unlock()
	var err error
	select {
	case <-t.done:
		t.timer.Stop()
		answer, err := t.answer, t.err
		clear(t.cmds)
		t.share, t.answer = nil, nil
		l.turns.Put(t)
		return answer, err
	case <-t.timer.C:
		err = context.DeadlineExceeded // as below
	case <-rest.Done():
		err = rest.Err() // it may have been sent: what became of it is unknown, as whenever an answer is lost
	}
	l.leave(t)
	return nil, err
}

// leave takes a turn out of the queue, if it still waits there. It is not used again: a pipeline may have it.
func (l *lane) leave(t *turn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.queue, t); i >= 0 {
		l.queue = slices.Delete(l.queue, i, i+1)
	}
}

// next begins a pipeline if there may be one more and it is worth it. If it is not worth it yet, it asks again later: those that are under way may be stuck, and
// nobody may come who would ask. The caller holds the lock.
func (l *lane) next(now time.Time) {
	i := slices.IndexFunc(l.begun[:], time.Time.IsZero)
	switch {
	case i < 0 || len(l.queue) == 0:
	case l.worth(now):
		l.begun[i] = now
		go l.run(i)
	case !l.asking:
		l.asking = true
		l.again.Reset(tooLong)
	}
}

func (l *lane) askAgain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asking = false
	l.next(time.Now())
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
			l.next(now)
			l.mu.Unlock()
			return
		}
		l.begun[i] = now
		n := min(len(l.queue), maxBatch)
		batch := l.queue[:n:n]
		l.queue = slices.Clone(l.queue[n:])
		l.next(now)
		l.mu.Unlock()
		l.exec(batch)
	}
}

// exec sends a batch and tells everybody in it.
func (l *lane) exec(batch []*turn) {
	cmds := make([]redis.Cmder, 0, 2*len(batch))
	var shared joints
	now := time.Now()
	latest := now
	for _, t := range batch {
		switch {
		case !now.Before(t.until):
			t.err = context.DeadlineExceeded // it has waited too long and is not sent
			continue
		case t.share != nil:
			shared.add(t)
		default:
			cmds = append(cmds, t.cmds...)
		}
		if t.until.After(latest) {
			latest = t.until
		}
	}
	ctx := deadline.Glanced(context.Background(), latest.Sub(now))
	defer ctx.Release()
	cmds = append(cmds, shared.commands(ctx)...)
	if len(cmds) > 0 {
		err := pipeline(ctx, l.lanes.client.Pipeline(), cmds)
		for _, t := range batch {
			if t.err == nil && err != nil {
				t.err = lost(t.cmds, err)
			}
		}
		shared.tell(l.lanes, err)
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
