package main

import (
	"context"
	"log/slog"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/store/embedded"
	"github.com/counterfoil/counterfoil/token"
)

// redisRole is the Redis of a machine that has none. It is a process of its own, because sessions have to outlive the application.
func redisRole(ctx context.Context, _ settings, ready func(string)) error {
	server, err := embedded.Start("")
	if err != nil {
		return err
	}
	defer server.Close()
	ready(server.URL())
	<-ctx.Done()
	return nil
}

// inspector looks at what is in Redis, beside the application and without its help.
type inspector struct {
	client *redis.Client
	prefix string
}

// parseRedisURL says what is wrong with REDIS_URL without saying what is in it: the parser may quote the password.
func parseRedisURL(url string) (*redis.Options, error) {
	opt, err := redis.ParseURL(url)
	if err != nil || opt.Network != "tcp" {
		return nil, &unfitError{"REDIS_URL is no address of a Redis: it has to look like redis://[user:password@]host:port[/db], or rediss:// for TLS"}
	}
	opt.DisableIdentity = true
	opt.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return opt, nil
}

// newInspector connects to a Redis, and finds out whether sessions can be kept in it.
func newInspector(ctx context.Context, url, prefix string) (*inspector, error) {
	opt, err := parseRedisURL(url)
	if err != nil {
		return nil, err
	}
	s, err := store.Open(ctx, url, store.Config{Prefix: prefix, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, &unfitError{"REDIS_URL: " + err.Error()}
	}
	s.Close()
	return &inspector{redis.NewClient(opt), prefix}, nil
}

// hasSession says whether there is a record of the session.
func (i *inspector) hasSession(ctx context.Context, id token.SessionID) (bool, error) {
	n, err := i.client.Exists(ctx, i.prefix+"{"+id.Tag()+"}s:"+id.String()).Result()
	return n == 1, err
}

// clean removes all keys under the prefix.
func (i *inspector) clean(ctx context.Context) error {
	for cursor := uint64(0); ; {
		keys, next, err := i.client.Scan(ctx, cursor, i.prefix+"*", 1000).Result()
		if err != nil {
			return err
		}
		if len(keys) > 0 {
			if err := i.client.Del(ctx, keys...).Err(); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

func (i *inspector) close() { i.client.Close() }

// silent, as its logger, keeps go-redis from writing to standard error what comes back as an error anyway.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}
