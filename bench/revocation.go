package main

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// silent takes what go-redis says when the connections of hundreds of followers are closed while they read.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// revocationSuite measures from the outside in: how news spreads through Redis and the feed, how a new follower takes the log in, then the list by itself.
func revocationSuite() (suite, error) {
	addr, end, err := startRedis()
	if err != nil {
		return suite{}, err
	}
	client := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true})
	redis.SetLogger(silent{})
	all, err := materials()
	if err != nil {
		end()
		return suite{}, err
	}
	return suite{
		tables: []table{
			newSpread(client, addr),
			&later{make: func() ([]table, error) { g, err := intakeTable(client); return []table{g}, err }},
			&later{make: func() ([]table, error) { return listTables(), nil }},
			&later{make: func() ([]table, error) { g, err := guardTable(all[0]); return []table{g}, err }},
			frameTable(),
		},
		end: func() {
			client.Close()
			end()
		},
	}, nil
}

// later is tables that are made when their turn comes, because what they measure takes memory that would trouble those before.
type later struct {
	make func() ([]table, error)
	made []table
}

func (l *later) measure(rounds int) {
	var err error
	l.made, err = l.make()
	if err != nil {
		panic("bench: " + err.Error())
	}
	for _, t := range l.made {
		t.measure(rounds)
	}
}

func (l *later) print() {
	for _, t := range l.made {
		t.print()
	}
}

func (l *later) short() (n int) {
	for _, t := range l.made {
		n += t.short()
	}
	l.made = nil // nobody asks again
	return n
}
