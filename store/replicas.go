package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil"
)

const (
	defaultReplicaTimeout = 500 * time.Millisecond

	// queueLine is how many may wait for replicas at once without a hurry, and lackFor how long it is remembered that some are missing.
	queueLine = 4
	lackFor   = 2 * time.Second

	// waitGrain is by how much Redis may be late to end a WAIT: it looks ten times a second.
	waitGrain = 100 * time.Millisecond

	// settleTries is how often a step of a Cluster follows its slot to another node, or waits for one, before it gives up.
	settleTries = 5
	// settlePause is the time before the second try; before each later one it is twice as long.
	settlePause = 20 * time.Millisecond
)

// quorum says how many replicas must acknowledge what is written: it was decided at start, see Config.Replicas.
type quorum struct {
	all   int          // everywhere, or
	slots *[slots]uint // in a Cluster, by slot
}

// slots is how many a Cluster has.
const slots = 16384

// of returns how many replicas must acknowledge a write to a key.
func (q quorum) of(key string) int {
	if q.slots != nil {
		return int(q.slots[slot(key)])
	}
	return q.all
}

// span returns the least and the most of it, in all of a Cluster.
func (q quorum) span() (least, most int) {
	if q.slots == nil {
		return q.all, q.all
	}
	l, m := q.slots[0], q.slots[0]
	for _, n := range q.slots {
		l, m = min(l, n), max(m, n)
	}
	return int(l), int(m)
}

// slot returns the Cluster slot of a key: the CRC16 (XMODEM) of what stands between its first braces.
func slot(key string) int {
	if _, rest, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(rest, "}"); ok && tag != "" {
			key = tag
		}
	}
	var crc uint16
	for i := range len(key) {
		crc ^= uint16(key[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc % slots)
}

// clusterQuorum counts the replicas of each master in what CLUSTER NODES answers. Those that are down count: CLUSTER SLOTS would leave them out.
func clusterQuorum(nodes string) (quorum, error) {
	replicas := map[string]uint{} // by the master's name
	type master struct {
		id     string
		ranges []string
	}
	var masters []master
	for line := range strings.Lines(nodes) {
		f := strings.Fields(line) // id, address, flags, master, ping, pong, epoch, link, slot, slot-slot, [migrating], …
		if len(f) < 8 {
			return quorum{}, errors.New("store: CLUSTER NODES answered something else")
		}
		flags := "," + f[2] + ","
		switch {
		case strings.Contains(flags, ",handshake,"):
		case strings.Contains(flags, ",slave,"):
			replicas[f[3]]++
		case strings.Contains(flags, ",master,"):
			masters = append(masters, master{f[0], f[8:]})
		}
	}
	q := quorum{slots: new([slots]uint)}
	for _, m := range masters {
		for _, r := range m.ranges {
			if strings.HasPrefix(r, "[") {
				continue // on its way to or from another node: the one that has it lists it
			}
			first, last, several := strings.Cut(r, "-")
			if !several {
				last = first
			}
			from, err1 := strconv.Atoi(first)
			to, err2 := strconv.Atoi(last)
			if err1 != nil || err2 != nil || from < 0 || to >= slots {
				return quorum{}, errors.New("store: CLUSTER NODES answered something else")
			}
			for s := from; s <= to; s++ {
				q.slots[s] = replicas[m.id]
			}
		}
	}
	return q, nil
}

// settle runs a step as run does and waits until as many replicas as its first key asks for have acknowledged it and all that its server took before
// it. The step must be harmless to repeat, and it must write: a server may take WAIT to ask for the last write of its own connection alone.
// If too few replicas answer in time, counterfoil.ErrNotDurable comes with the reply. args are followed by '1' if a WAIT follows, and by '0' if not.
//
// Script and WAIT are one pipeline, which is one connection of one server. A Cluster client's own pipelines send a WAIT to any master they
// like, so there it is that of the node that has the key, and its MOVED and ASK are followed here.
func (s *Redis) settle(ctx context.Context, sc script, keys []string, args ...any) (reply, error) {
	need := s.quorum.of(keys[0])
	if need == 0 {
		return s.run(ctx, sc, false, keys, append(args, "0")...)
	}
	return s.settleAt(ctx, sc, need, s.replicaTimeout, keys, append(args, "1")...)
}

func (s *Redis) settleAt(ctx context.Context, sc script, need int, patience time.Duration, keys []string, args ...any) (rep reply, err error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	patience, done := s.queue(patience)
	defer func() { done(err) }()
	c, several := s.client.(*redis.ClusterClient)
	if !several {
		v, err := s.settleOn(ctx, s.client, false, sc, need, patience, keys, args)
		return settled(sc, v, err)
	}
	var asked *redis.Client // the node that an ASK named
	for try := 0; ; try++ {
		node, err := asked, error(nil)
		if node == nil {
			node, err = c.MasterForKey(ctx, keys[0])
		}
		var v any
		if err == nil {
			v, err = s.settleOn(ctx, node, asked != nil, sc, need, patience, keys, args)
		}
		if err == nil || errors.Is(err, counterfoil.ErrNotDurable) || try == settleTries-1 || !elsewhere(err) {
			suspect(ctx, c, err)
			return settled(sc, v, err)
		}
		asked = nil
		if addr, ok := askedFor(err); ok {
			asked = masterAt(ctx, c, addr)
		} else {
			masterAt(ctx, c, "") // asks who serves what, and waits for the answer
		}
		if asked == nil && sleep(ctx, settlePause<<try) != nil {
			return settled(sc, v, err)
		}
	}
}

// queue returns how long a step may wait for replicas. A WAIT has a connection to itself. When a replica has gone, and many log out at once, they would stand in
// line for connections until their time is over, and nobody would know what became of them. So where it is known that replicas are missing, and there
// is a line, a step waits a tenth as long; those without a line before them, such as heartbeats, find out when the replicas are back.
func (s *Redis) queue(patience time.Duration) (time.Duration, func(error)) {
	line := s.waiting.Add(1)
	hurry := line > queueLine && time.Now().UnixMilli()-s.lacked.Load() < lackFor.Milliseconds()
	if hurry {
		patience /= 10
	}
	return patience, func(err error) {
		s.waiting.Add(-1)
		switch {
		case err == nil:
			s.lacked.Store(0)
		case errors.Is(err, counterfoil.ErrNotDurable) && !hurry:
			s.lacked.Store(time.Now().UnixMilli())
		}
	}
}

// settleOn sends script and WAIT over one connection of one server. The first time it sends the script's text, since after a NOSCRIPT the WAIT would
// be for nothing, and with a replica that does not answer would take its time.
func (s *Redis) settleOn(ctx context.Context, server redis.Cmdable, asking bool, sc script, need int, patience time.Duration, keys []string, args []any) (any, error) {
	type known struct {
		server redis.Cmdable
		sha    string
	}
	command, text := "evalsha", sc.sha
	if _, ok := s.known.Load(known{server, sc.sha}); !ok {
		command, text = "eval", sc.text
	}
	v, err := settleBy(ctx, server, asking, command, text, need, patience, keys, args)
	if err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") { // nothing was executed
		v, err = settleBy(ctx, server, asking, "eval", sc.text, need, patience, keys, args)
	}
	if err == nil && command == "eval" {
		s.known.Store(known{server, sc.sha}, nil)
	}
	return v, err
}

func settleBy(ctx context.Context, server redis.Cmdable, asking bool, command, script string, need int, patience time.Duration, keys []string, args []any) (any, error) {
	if end, ok := ctx.Deadline(); ok { // an answer that comes too late is no answer
		patience = min(patience, time.Until(end)*3/4-waitGrain)
	}
	p := server.Pipeline()
	if asking {
		p.Do(ctx, "asking")
	}
	step := redis.NewCmd(ctx, words(command, script, keys, args)...)
	wait := redis.NewIntCmd(ctx, "wait", need, max(1, patience.Milliseconds())) // 0 would be for ever
	p.Process(ctx, step)
	p.Process(ctx, wait)
	p.Exec(ctx)
	v, err := step.Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, err
	}
	n, err := wait.Result()
	if err != nil {
		return nil, fmt.Errorf("waiting for replicas: %w", err) // it has happened here, and may be lost: an outcome that nobody knows
	}
	if int(n) < need {
		return v, fmt.Errorf("%w: %d of %d", counterfoil.ErrNotDurable, n, need)
	}
	return v, nil
}

// settled is the reply in an answer, and its error with the name of the step.
func settled(sc script, v any, err error) (reply, error) {
	if err != nil {
		err = fmt.Errorf("store: %s: %w", sc.step, err)
	}
	return toReply(v), err
}

// elsewhere reports whether a step may do better in another try: its slot is served by another node now, or will be.
func elsewhere(err error) bool {
	if reply := redis.Error(nil); !errors.As(err, &reply) {
		return !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) // the connection was lost
	}
	for _, prefix := range []string{"MOVED ", "ASK ", "TRYAGAIN", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "LOADING", "UNBLOCKED"} {
		if redis.HasErrorPrefix(err, prefix) {
			return true
		}
	}
	return false
}

// askedFor returns the address in an ASK.
func askedFor(err error) (addr string, ok bool) {
	if !redis.HasErrorPrefix(err, "ASK ") {
		return "", false
	}
	reply := redis.Error(nil)
	errors.As(err, &reply)
	f := strings.Fields(reply.Error())
	return f[len(f)-1], len(f) == 3
}

// masterAt returns the client of a Cluster's master at an address, nil if there is none. go-redis asks anew who serves what before it names all masters.
// It may ask a node that does not answer, so this takes a quarter of the time that is left at most; what was known before then has to do.
func masterAt(ctx context.Context, client redis.UniversalClient, addr string) *redis.Client {
	c, ok := client.(*redis.ClusterClient)
	if !ok {
		return nil
	}
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/4)
		defer cancel()
	}
	found := make(chan *redis.Client, 1)
	c.ForEachMaster(ctx, func(_ context.Context, node *redis.Client) error {
		if node.Options().Addr == addr {
			select {
			case found <- node:
			default:
			}
		}
		return nil
	})
	select {
	case node := <-found:
		return node
	default:
		return nil
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
