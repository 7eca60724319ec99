package store

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil"
)

// What tests of other packages could not reach.
var (
	ParseRecords = parseRecords
	ErrAlone     = errAlone
	Showing      = showing
)

// Client is what a store sends its steps by.
func Client(s *Redis) redis.UniversalClient { return s.client }

// Unchecked is a pipelining store on a client of whose server nothing is asked.
func Unchecked(client redis.UniversalClient) *Redis {
	const timeout = 5 * time.Second
	return &Redis{client: client, keys: keys{defaultPrefix}, timeout: timeout, lanes: newLanes(client, timeout)}
}

// Together sends saves as those of callers who wait at the same time, and returns what Save would return to each.
func Together(ctx context.Context, s *Redis, refs []counterfoil.Ref, ops [][]counterfoil.Op) ([]counterfoil.Saved, []error) {
	all, errs := make([]counterfoil.Saved, len(refs)), make([]error, len(refs))
	turns := make([]*turn, len(refs))
	var js joints
	for i, ref := range refs {
		words, err := s.saveWords(ref, ops[i])
		if err != nil {
			errs[i] = err
			continue
		}
		turns[i] = &turn{share: words[3:]}
		js.add(turns[i])
	}
	js.tell(s.lanes, pipeline(ctx, s.client.Pipeline(), js.commands(ctx)))
	for i, t := range turns {
		if t == nil {
			continue
		}
		refused, _ := t.answer.(error)
		if errs[i] = errors.Join(t.err, refused); errs[i] == nil {
			all[i], errs[i] = saved(toReply(t.answer), len(ops[i]))
		}
	}
	return all, errs
}
