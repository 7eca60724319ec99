package store

import (
	"context"

	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil/internal/deadline"
)

// until gives a step its deadline, without a timer where there need not be one: go-redis bounds writing and reading by the time. Only if no connection
// is free, or there is none yet, does it wait for the context, and then there is a timer. The step releases it.
func (s *Redis) until(ctx context.Context) *deadline.Context { return deadline.Glanced(ctx, s.timeout) }

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
