package store

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
)

// share is what one save brings to a run of the save script: its two keys, then its arguments. The saves of callers who wait at the same time share
// runs, because a run costs Redis a fifth of what a save does, however many it is for. Each is applied as a whole and answered for itself.
type share []any

const (
	// Redis serves nobody else during a run. So many saves of a kilobyte take it less than half a millisecond, and so many bytes about as long.
	maxShares, maxJointLen = 64, 256 << 10
	maxShareWords          = 32 // a save that has more goes by itself
)

// errAlone says that nothing of a share was executed, and that it has to be sent by itself.
var errAlone = errors.New("store: a save has to be sent by itself")

// save gives a save its turn in a run, and returns the answer to it. words is the whole command.
func (ls *lanes) save(ctx context.Context, words []any) (any, error) {
	if ls.apart.Load() || len(words) > maxShareWords {
		return nil, errAlone
	}
	keep(words)
	l := ls.lane(way{once: true})
	t := l.turns.Get().(*turn)
	t.cmds, t.share = t.cmds[:0], words[3:]
	answer, err := l.take(ctx, t)
	if refused, ok := answer.(error); ok {
		return nil, refused
	}
	return answer, err
}

// len is about how many bytes a share has.
func (s share) len() int {
	n := 0
	for _, w := range s {
		switch w := w.(type) {
		case string:
			n += len(w)
		case []byte:
			n += len(w)
		}
	}
	return n
}

// joint is one run for several turns.
type joint struct {
	turns []*turn
	len   int
	cmd   *redis.Cmd
}

// joints are the runs that one pipeline holds.
type joints []joint

func (js *joints) add(t *turn) {
	n := t.share.len()
	last := len(*js) - 1
	if last < 0 || len((*js)[last].turns) == maxShares || (*js)[last].len+n > maxJointLen {
		*js = append(*js, joint{})
		last++
	}
	j := &(*js)[last]
	j.turns = append(j.turns, t)
	j.len += n
}

// commands returns the command of each run.
func (js joints) commands(ctx context.Context) []redis.Cmder {
	cmds := make([]redis.Cmder, len(js))
	for i := range js {
		j := &js[i]
		words := make([]any, 0, 3+8*len(j.turns)) // as many as usual saves have
		words = append(words, saveScript.words[0], saveScript.words[1], 2*len(j.turns))
		for _, t := range j.turns {
			words = append(words, t.share[0])
		}
		for _, t := range j.turns {
			words = append(words, t.share[1])
		}
		for _, t := range j.turns {
			words = append(words, t.share[2:]...)
		}
		j.cmd = redis.NewCmd(ctx, words...)
		cmds[i] = onceCmd{j.cmd}
	}
	return cmds
}

// tell gives every turn its answer, or what kept it from having one. failed is what became of the pipeline.
func (js joints) tell(ls *lanes, failed error) {
	for _, j := range js {
		err := j.cmd.Err()
		switch {
		case err == nil && j.cmd.Val() == nil:
			err = failed
		case redis.HasErrorPrefix(err, "CROSSSLOT"): // a Cluster behind an ordinary client: it serves all keys, but not in one command
			ls.apart.Store(true)
			err = errAlone
		case redis.HasErrorPrefix(err, "NOSCRIPT"):
			err = errAlone
		}
		answers, _ := j.cmd.Val().([]any)
		if len(j.turns) == 1 {
			answers = []any{j.cmd.Val()}
		}
		for i, t := range j.turns {
			t.err = err
			if err == nil && len(answers) == len(j.turns) { // otherwise it has no answer, which is none to this step
				t.answer = answers[i]
			}
		}
	}
}
