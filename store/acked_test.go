package store_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// TestReplicatedThen has the clock of the log's server step back by an hour. What a writer knows the replicas to have is of the log before that: taken for the
// one that begins then, its time would be in the future, and for an hour every heartbeat would say that the replicas have everything.
func TestReplicatedThen(t *testing.T) {
	script, err := os.ReadFile("lua/append.lua")
	if err != nil {
		t.Fatal(err)
	}
	server := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	start := time.UnixMilli(1_800_000_000_000)
	beat := func(at time.Time, known int64) string {
		t.Helper()
		server.SetTime(at)
		err := client.Eval(t.Context(), string(script), []string{"cf:{rev}log", "cf:{rev}meta"}, 1_020_000, 1000, 60_000, 0, "epoch"+at.String(), known).Err()
		if err != nil {
			t.Fatal(err)
		}
		newest, err := client.XRevRangeN(t.Context(), "cf:{rev}log", "+", "-", 1).Result()
		if err != nil || len(newest) != 1 {
			t.Fatal(newest, err)
		}
		said, _ := newest[0].Values["a"].(string)
		return said
	}
	beat(start, 0)
	known := start.UnixMilli()
	if said := beat(start.Add(2*time.Second), known); said != strconv.FormatInt(known, 10) {
		t.Fatalf("a heartbeat says that the replicas have %q, want %d", said, known)
	}
	back := start.Add(-time.Hour)
	for i := range 3 { // no WAIT succeeds from here on
		if said := beat(back.Add(time.Duration(i)*2*time.Second), known); said != "1" {
			t.Errorf("heartbeat %d after the step says that the replicas have %q, want nothing of this epoch", i, said)
		}
	}
}
