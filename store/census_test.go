package store_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil/internal/redistest"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/store"
)

// TestCensusFull fills the census. Another follower is refused then, and none that is there is dropped for it: whoever revokes would take that for consent.
func TestCensusFull(t *testing.T) {
	onBoth(t, func(t *testing.T, s *store.Redis, client *redis.Client) {
		const most = 4096
		ctx := background(t)
		b := backdoor{client, "cf:"}
		now := client.Time(ctx).Val().UnixMilli()
		var reports []any
		for i := range most {
			reports = append(reports, "f"+strconv.Itoa(10_000+i), "1-0 "+strconv.FormatInt(now, 10))
		}
		if err := client.HSet(ctx, "cf:{rev}edges", reports...).Err(); err != nil {
			t.Fatal(err)
		}
		count := func() int {
			t.Helper()
			list, err := s.Followers(ctx)
			if err != nil {
				t.Fatal(err)
			}
			return len(list)
		}
		for range 3 {
			if err := s.Report(ctx, "another", "1-0", 0); !errors.Is(err, store.ErrNoRoom) {
				t.Errorf("one more: %v, want ErrNoRoom", err)
			}
		}
		if err := s.Report(ctx, "f10000", "2-0", 0); err != nil {
			t.Errorf("one that is there: %v", err)
		}
		if n := count(); n != most {
			t.Errorf("%d are listed, want %d", n, most)
		}
		// One leaves, and so there is room for one.
		if err := errors.Join(s.Report(ctx, "f10001", "", 0), s.Report(ctx, "another", "1-0", 0)); err != nil {
			t.Error(err)
		}
		if err := s.Report(ctx, "yet another", "1-0", 0); err == nil {
			t.Error("a name with a space")
		}
		if err := s.Report(ctx, "yet-another", "1-0", 0); !errors.Is(err, store.ErrNoRoom) {
			t.Errorf("one more again: %v, want ErrNoRoom", err)
		}
		// Nobody lists them, and all but one fall silent: there is room again.
		client.HDel(ctx, "cf:{rev}edges", " ") // when it was last looked for
		b.silence(t, revocation.Live+time.Second)
		if err := s.Report(ctx, "yet-another", "1-0", 0); err != nil {
			t.Errorf("when all others are silent: %v", err)
		}
		if n := count(); n != 1 {
			t.Errorf("%d are listed, want one", n)
		}
	})
}

// TestCensusDamaged shows that what is no report confirms nothing, and goes.
func TestCensusDamaged(t *testing.T) {
	onBoth(t, func(t *testing.T, s *store.Redis, client *redis.Client) {
		ctx := background(t)
		for name, value := range map[string]string{
			"empty": "", "no time": "1-0", "text": "nonsense", "no position": " 5", "more": "1-0 5 5 5", "long ago": "1-0 5 5",
		} {
			if err := client.HSet(ctx, "cf:{rev}edges", strings.ReplaceAll(name, " ", "-"), value).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Report(ctx, "good", "7-1", 0); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			list, err := s.Followers(ctx)
			if err != nil || len(list) != 1 || list[0].Follower != "good" {
				t.Errorf("%+v, %v", list, err)
			}
		}
		if n := client.HLen(ctx, "cf:{rev}edges").Val(); n != 1 {
			t.Errorf("%d entries are kept", n)
		}
		for _, bad := range []revocation.Position{"x", "-", "1", "1-x", "99999999999999999999-0"} {
			if s.Before("1-0", bad) || !s.Before(bad, "1-0") || s.Before(bad, "") {
				t.Errorf("%q is not the start", bad)
			}
		}
		if !s.Before("9-0", "10-0") || !s.Before("9-9", "9-10") || s.Before("10-0", "9-9") {
			t.Error("positions are compared as text")
		}
	})
}

// TestCensusClockStepsBack moves the node's clock back by moving what was reported forward. Who was live then may live still: it is waited for until it has been
// silent for as long as anybody else, and what it said confirms nothing until it says it again.
func TestCensusClockStepsBack(t *testing.T) {
	const most = 4096
	for _, c := range []struct {
		name string
		step time.Duration
		look func(ctx context.Context, s *store.Redis) error // what looks for the silent first
	}{
		{"by a minute", time.Minute, nil},
		{"by a minute, and another follower asks for room", time.Minute, func(ctx context.Context, s *store.Redis) error {
			if err := s.Report(ctx, "another", "1-0", 0); !errors.Is(err, store.ErrNoRoom) {
				return fmt.Errorf("another one: %v, want ErrNoRoom", err)
			}
			return nil
		}},
		{"by less than anybody is silent for", 10 * time.Second, nil},
		{"by an hour", time.Hour, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, s *store.Redis, client *redis.Client) {
				ctx := background(t)
				b := backdoor{client, "cf:"}
				if err := errors.Join(s.Report(ctx, "hangs", "9-0", 0), s.Report(ctx, "lives", "9-0", 0)); err != nil {
					t.Fatal(err)
				}
				n := 2
				if c.look != nil {
					now := client.Time(ctx).Val().UnixMilli()
					var reports []any
					for ; n < most; n++ {
						reports = append(reports, "f"+strconv.Itoa(n), "1-0 "+strconv.FormatInt(now, 10))
					}
					if err := client.HSet(ctx, "cf:{rev}edges", reports...).Err(); err != nil {
						t.Fatal(err)
					}
				}
				b.silence(t, -c.step)
				if c.look != nil {
					if err := c.look(ctx, s); err != nil {
						t.Error(err)
					}
				}
				if err := s.Report(ctx, "lives", "2-0", 0); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					list, err := s.Followers(ctx)
					if err != nil || len(list) != n {
						t.Fatalf("%d are listed, want %d: %v", len(list), n, err)
					}
					for _, p := range list {
						switch {
						case p.Follower == "lives" && (p.Position != "2-0" || p.Silent > 10*time.Second):
							t.Errorf("who has reported since: %+v", p)
						case p.Follower == "hangs" && (p.Position != "9-0" || p.Silent < time.Hour):
							t.Errorf("who has not, and whose report must not count: %+v", p)
						}
					}
				}
				b.silence(t, revocation.Live+time.Second)
				if list, err := s.Followers(ctx); err != nil || len(list) != 0 {
					t.Errorf("after a silence: %+v, %v", list, err)
				}
			})
		})
	}
}

// TestReporterRights runs a LogReader that reports as a Redis user with the rights that the package comment names, and shows what that user cannot do.
func TestReporterRights(t *testing.T) {
	onRedisAndValkey(t, func(t *testing.T, opt redistest.Options) {
		ctx := background(t)
		opt.Password = "admin"
		srv := redistest.Start(t, opt)
		admin := dialURL(t, srv.URL())
		for _, rule := range []string{
			"ACL SETUSER edge on >password %R~cf:{rev}* resetchannels -@all +ping +hello +multi +exec +hgetall +xrange +xread",
			"ACL SETUSER edge %RW~cf:{rev}edges +evalsha +time +hget +hset +hdel +hlen +hexists",
		} {
			var args []any
			for _, word := range strings.Fields(rule) {
				args = append(args, word)
			}
			if err := admin.Do(ctx, args...).Err(); err != nil {
				t.Fatal(err)
			}
		}
		s, err := store.New(ctx, admin, store.Config{Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		a, err := s.Append(ctx, sessionEntry(t, time.Now()))
		if err != nil {
			t.Fatal(err)
		}
		edge, err := store.OpenLogReader(ctx, "redis://edge:password@"+srv.Addr(), store.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer edge.Close()
		if err := edge.Report(ctx, "edge/1", a.Position, 0); err == nil || !strings.Contains(err.Error(), "NOPERM") {
			t.Errorf("a script that Redis has not seen: %v", err)
		}
		if err := s.Report(ctx, "app/1", a.Position, 0); err != nil {
			t.Fatal(err)
		}
		if err := edge.Report(ctx, "edge/1", a.Position, 0); err != nil {
			t.Error(err)
		}
		list, err := s.Followers(ctx)
		if err != nil || len(list) != 2 || list[1].Follower != "edge/1" || list[1].Position != a.Position {
			t.Errorf("%+v, %v", list, err)
		}
		if err := edge.Report(ctx, "edge/1", "", 0); err != nil {
			t.Error(err)
		}
		if b, err := edge.Read(ctx, "", 0); err != nil || len(b.Records) != 1 {
			t.Errorf("%+v, %v", b, err)
		}
		if b, err := edge.Read(ctx, a.Position, time.Millisecond); err != nil || len(b.Records) != 0 {
			t.Errorf("%+v, %v", b, err)
		}
		// The reporting of a full census needs all of the rights.
		var reports []any
		for i := range 4096 {
			reports = append(reports, "f"+strconv.Itoa(i), "1-0 1")
		}
		if err := errors.Join(admin.HSet(ctx, "cf:{rev}edges", reports...).Err(), edge.Report(ctx, "edge/2", a.Position, 0)); err != nil {
			t.Error(err)
		}

		ref := newRef(t, s, "alice")
		session := backdoor{admin, "cf:"}.key(ref.Session)
		user := dialURL(t, "redis://edge:password@"+srv.Addr())
		for _, forbidden := range [][]any{
			{"HGETALL", session}, {"HSET", session, "u", "x"}, {"HDEL", session, "u"}, {"HSET", "cf:{rev}meta", "e", "x"}, {"HDEL", "cf:{rev}meta", "e"},
			{"XADD", "cf:{rev}log", "*", "r", "x"}, {"DEL", "cf:{rev}edges"}, {"EVAL", "return 1", 0}, {"SCRIPT", "LOAD", "return 1"}, {"FLUSHALL"},
		} {
			if err := user.Do(ctx, forbidden...).Err(); err == nil || !strings.HasPrefix(err.Error(), "NOPERM") {
				t.Errorf("%v: %v", forbidden[:2], err)
			}
		}
	})
}
