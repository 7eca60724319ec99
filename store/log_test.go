package store_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/redistest"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/store/embedded"
)

func sessionEntry(t testing.TB, at time.Time) revocation.Entry {
	return revocation.Entry{Kind: revocation.KindSession, At: at.UnixMilli(), Session: newID(t, "alice")}
}

// TestLogClock moves the node's clock and looks at the epochs of the log.
func TestLogClock(t *testing.T) {
	start := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, x := range []struct {
		name    string
		move    time.Duration
		begins  bool // a new epoch begins
		records int  // records of before that are still there
	}{
		{"the next second", time.Second, false, 2},
		{"a minute later", time.Minute, false, 2},
		{"more than a minute later", time.Minute + time.Millisecond, true, 2},
		{"an hour later", time.Hour, true, 2},
		{"a minute back", -time.Minute, false, 2},
		{"more than a minute back", -time.Minute - time.Millisecond, true, 0},
		{"an hour back", -time.Hour, true, 0},
	} {
		t.Run(x.name, func(t *testing.T) {
			ctx := background(t)
			srv := startEmbedded(t)
			srv.SetTime(start)
			s, err := store.New(ctx, srv.Client(), store.Config{Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			read := func() revocation.Batch {
				t.Helper()
				b, err := s.Read(ctx, "", 0)
				if err != nil {
					t.Fatal(err)
				}
				return b
			}
			entry := sessionEntry(t, start)
			if _, err := s.Append(ctx, entry, entry); err != nil {
				t.Fatal(err)
			}
			before := read()
			if before.Birth != start.UnixMilli() {
				t.Errorf("born %d, want the epoch's start %d: one server has one clock", before.Birth, start.UnixMilli())
			}
			now := start.Add(x.move)
			srv.SetTime(now)
			if _, err := s.Append(ctx, sessionEntry(t, now)); err != nil {
				t.Fatal(err)
			}
			after := read()
			if begins := after.Epoch != before.Epoch; begins != x.begins {
				t.Errorf("a new epoch: %v, want %v", begins, x.begins)
			}
			wantBirth := start
			if x.begins {
				wantBirth = now
			}
			if after.Birth != wantBirth.UnixMilli() {
				t.Errorf("born %d, want %d", after.Birth, wantBirth.UnixMilli())
			}
			if n := len(after.Records) - 1; n != x.records {
				t.Fatalf("%d records of before, want %d", n, x.records)
			}
			newest := after.Records[len(after.Records)-1]
			if x.begins {
				if newest.Epoch != after.Epoch || newest.Prev != "" {
					t.Errorf("the first record of an epoch names it and nothing before it; it is %+v", newest)
				}
			} else if newest.Epoch != "" || newest.Prev != before.Records[1].Position {
				t.Errorf("the chain is broken: %+v", newest)
			}
		})
	}
}

// TestLogTrim shows that the log drops what is past the horizon, and nothing that is not.
func TestLogTrim(t *testing.T) {
	ctx := background(t)
	srv := startEmbedded(t)
	now := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	srv.SetTime(now)
	s, err := store.New(ctx, srv.Client(), store.Config{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 40 { // a heartbeat every 50 s for more than half an hour
		if _, err := s.Append(ctx); err != nil {
			t.Fatal(err)
		}
		now = now.Add(50 * time.Second)
		srv.SetTime(now)
	}
	if _, err := s.Append(ctx); err != nil {
		t.Fatal(err)
	}
	b, err := s.Read(ctx, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	oldest := now.Sub(time.UnixMilli(b.Records[0].Time))
	if oldest > revocation.Horizon || oldest < revocation.Horizon-time.Minute {
		t.Errorf("the oldest record is %v old, the horizon is %v", oldest, revocation.Horizon)
	}
	old := sessionEntry(t, now.Add(-revocation.Horizon))
	if _, err := s.Append(ctx, old); !errors.Is(err, store.ErrPast) {
		t.Errorf("appending an entry of exactly the horizon's age: %v", err)
	}
	old.At++
	if _, err := s.Append(ctx, old); err != nil {
		t.Errorf("appending an entry a millisecond younger: %v", err)
	}
}

// TestLogLong appends and reads more entries than one step takes.
func TestLogLong(t *testing.T) {
	onBoth(t, func(t *testing.T, s *store.Redis, client *redis.Client) {
		ctx := background(t)
		const n = 10_500
		entries := make([]revocation.Entry, n)
		for i := range entries {
			entries[i] = sessionEntry(t, time.Now())
		}
		if _, err := s.Append(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Append(ctx, entries...); err != nil {
			t.Fatal(err)
		}
		full, err := s.Read(ctx, "", 0)
		if err != nil || len(full.Records) != n+1 {
			t.Fatalf("full read: %d records, %v", len(full.Records), err)
		}
		var tail []revocation.Record
		for pos := full.Records[0].Position; len(tail) < n; pos = tail[len(tail)-1].Position {
			b, err := s.Read(ctx, pos, 0)
			if err != nil || len(b.Records) == 0 || len(b.Records) > 4096 {
				t.Fatalf("tail after %d records: %d more, %v", len(tail), len(b.Records), err)
			}
			tail = append(tail, b.Records...)
		}
		for i, r := range tail {
			e, err := revocation.ParseEntry(r.Entry)
			if err != nil || e != entries[i] || r.Prev != full.Records[i].Position || r.Position != full.Records[i+1].Position {
				t.Fatalf("record %d is %+v", i, r)
			}
		}
	})
}

// TestLogLost takes the log away in several ways. Whatever is lost, a new epoch says so.
func TestLogLost(t *testing.T) {
	for name, lose := range map[string]func(c *redis.Client){
		"everything": func(c *redis.Client) { c.FlushAll(t.Context()) },
		"the stream": func(c *redis.Client) { c.Del(t.Context(), "cf:{rev}log") },
		"meta":       func(c *redis.Client) { c.Del(t.Context(), "cf:{rev}meta") },
		"the newest record": func(c *redis.Client) {
			m := c.XRevRangeN(t.Context(), "cf:{rev}log", "+", "-", 1).Val()
			c.XDel(t.Context(), "cf:{rev}log", m[0].ID)
		},
		"a record from nowhere": func(c *redis.Client) {
			c.XAdd(t.Context(), &redis.XAddArgs{Stream: "cf:{rev}log", Values: []string{"r", "", "p", "0-0"}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, s *store.Redis, client *redis.Client) {
				ctx := background(t)
				if _, err := s.Append(ctx, sessionEntry(t, time.Now())); err != nil {
					t.Fatal(err)
				}
				before, err := s.Read(ctx, "", 0)
				if err != nil {
					t.Fatal(err)
				}
				lose(client)
				if _, err := s.Append(ctx); err != nil { // a heartbeat, although the last record is young
					t.Fatal(err)
				}
				after, err := s.Read(ctx, "", 0)
				if err != nil {
					t.Fatal(err)
				}
				if after.Epoch == before.Epoch || after.Birth < before.Birth {
					t.Errorf("epoch %q born %d after epoch %q born %d", after.Epoch, after.Birth, before.Epoch, before.Birth)
				}
				if last := after.Records[len(after.Records)-1]; last.Epoch != after.Epoch {
					t.Errorf("the newest record is %+v", last)
				}
			})
		})
	}
}

// TestLogDamaged shows that what cannot be understood is an error, never an empty log.
func TestLogDamaged(t *testing.T) {
	for name, damage := range map[string]func(c *redis.Client){
		"birth is no number":      func(c *redis.Client) { c.HSet(t.Context(), "cf:{rev}meta", "b", "x") },
		"birth is gone":           func(c *redis.Client) { c.HDel(t.Context(), "cf:{rev}meta", "b") },
		"a key is no entry":       func(c *redis.Client) { c.HSet(t.Context(), "cf:{rev}meta", "k:x", "nonsense") },
		"meta is of a wrong type": func(c *redis.Client) { c.Del(t.Context(), "cf:{rev}meta"); c.Set(t.Context(), "cf:{rev}meta", "x", 0) },
		"log is of a wrong type":  func(c *redis.Client) { c.Del(t.Context(), "cf:{rev}log"); c.Set(t.Context(), "cf:{rev}log", "x", 0) },
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, s *store.Redis, client *redis.Client) {
				if _, err := s.Append(background(t)); err != nil {
					t.Fatal(err)
				}
				damage(client)
				if b, err := s.Read(background(t), "", 0); err == nil {
					t.Errorf("read %+v", b)
				}
			})
		})
	}
}

func TestAsk(t *testing.T) {
	onBoth(t, func(t *testing.T, s *store.Redis, client *redis.Client) {
		ctx := background(t)
		ask := func(ref counterfoil.Ref) revocation.Answer {
			t.Helper()
			a, err := s.Ask(ctx, verified(t, ref))
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		alice, anonymous := newRef(t, s, "alice"), newRef(t, s, "")
		for _, ref := range []counterfoil.Ref{alice, anonymous} {
			if a := ask(ref); !a.Live || a.NotBefore != 0 || a.AllNotBefore != 0 || len(a.RevokedKeys) != 0 {
				t.Errorf("a live session: %+v", a)
			}
		}
		for name, ref := range map[string]counterfoil.Ref{
			"another subject":      {Session: alice.Session, Subject: "bob"},
			"no subject":           {Session: alice.Session},
			"anonymous, now named": {Session: anonymous.Session, Subject: "alice"},
			"never was":            {Session: newID(t, "alice"), Subject: "alice"},
		} {
			if a := ask(ref); a.Live {
				t.Errorf("%s: %+v", name, a)
			}
		}
		if _, err := s.Freeze(ctx, anonymous); err != nil {
			t.Fatal(err)
		}
		if a := ask(anonymous); !a.Live {
			t.Error("a frozen session lives until it is ended")
		}
		ended, err := s.End(ctx, counterfoil.Ending{Subject: "alice"})
		if err != nil {
			t.Fatal(err)
		}
		at := time.Now().UnixMilli()
		if _, err := s.Append(ctx,
			revocation.Entry{Kind: revocation.KindKey, At: at, KeyID: "k1"}, revocation.Entry{Kind: revocation.KindKey, At: at, KeyID: "k2"},
			revocation.Entry{Kind: revocation.KindAll, At: at, NotBefore: at + 7}, revocation.Entry{Kind: revocation.KindAll, At: at, NotBefore: at + 3}); err != nil {
			t.Fatal(err)
		}
		a := ask(alice)
		slices.Sort(a.RevokedKeys)
		if a.Live || a.NotBefore != ended.NotBefore || a.AllNotBefore != at+7 || !slices.Equal(a.RevokedKeys, []string{"k1", "k2"}) {
			t.Errorf("after ending all (%d) and revoking everything (%d) and two keys: %+v", ended.NotBefore, at+7, a)
		}
	})
}

// TestEdgeRights runs a LogReader as a Redis user with the rights that the package comment names, and shows what that user cannot do.
func TestEdgeRights(t *testing.T) {
	ctx := background(t)
	srv := redistest.Start(t, redistest.Options{Password: "admin"})
	admin := dialURL(t, srv.URL())
	rule := "ACL SETUSER edge on >password %R~cf:{rev}* resetchannels -@all +ping +hello +multi +exec +hgetall +xrange +xread"
	var args []any
	for _, word := range strings.Fields(rule) {
		args = append(args, word)
	}
	if err := admin.Do(ctx, args...).Err(); err != nil {
		t.Fatal(err)
	}
	s, err := store.New(ctx, admin, store.Config{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ref := newRef(t, s, "alice")
	entry := sessionEntry(t, time.Now())
	if _, err := s.Append(ctx, entry); err != nil {
		t.Fatal(err)
	}

	edge, err := store.OpenLogReader(ctx, "redis://edge:password@"+srv.Addr(), store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer edge.Close()
	full, err := edge.Read(ctx, "", 0)
	if err != nil || len(full.Records) != 1 {
		t.Fatalf("full read: %d records, %v", len(full.Records), err)
	}
	if _, err := s.Append(ctx, entry); err != nil {
		t.Fatal(err)
	}
	if tail, err := edge.Read(ctx, full.Records[0].Position, time.Second); err != nil || len(tail.Records) != 1 {
		t.Fatalf("tail: %d records, %v", len(tail.Records), err)
	}

	user := dialURL(t, "redis://edge:password@"+srv.Addr())
	session := "cf:{" + ref.Session.Tag() + "}s:" + ref.Session.String()
	for _, forbidden := range [][]any{
		{"HGETALL", session}, {"XADD", "cf:{rev}log", "*", "r", "x"}, {"HSET", "cf:{rev}meta", "e", "x"}, {"DEL", "cf:{rev}log"}, {"KEYS", "*"},
		{"EVAL", "return 1", 0}, {"FLUSHALL"}, {"CONFIG", "GET", "*"},
	} {
		if err := user.Do(ctx, forbidden...).Err(); err == nil || !strings.HasPrefix(err.Error(), "NOPERM") {
			t.Errorf("%v: %v", forbidden[0], err)
		}
	}
	if lines := admin.ACLLog(ctx, 100).Val(); len(lines) > 8 {
		t.Errorf("the reader itself was refused %d commands", len(lines)-8)
	}
}

// TestReadEndsWithItsContext cancels a read that waits: it ends at once, and not when Redis has waited long enough.
func TestReadEndsWithItsContext(t *testing.T) {
	srv, err := embedded.Start("")
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	s, err := store.Open(t.Context(), srv.URL(), store.Config{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Append(t.Context()); err != nil {
		t.Fatal(err)
	}
	b, err := s.Read(t.Context(), "", 0)
	if err != nil || len(b.Records) == 0 {
		t.Fatal(b, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	began := time.Now()
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err = s.Read(ctx, b.Records[len(b.Records)-1].Position, time.Second)
	if took := time.Since(began); !errors.Is(err, context.Canceled) || took > 500*time.Millisecond {
		t.Errorf("after %v: %v, want context.Canceled after 50 ms", took, err)
	}
	// The reader is as good as before.
	if b, err := s.Read(t.Context(), b.Records[0].Position, 0); err != nil {
		t.Errorf("the next read: %v, %v", b, err)
	}
}

// TestPositionGivenAgain puts another record at the position that a reader has reached, as a replica may that lacked the first and was promoted. The first read after one that
// failed says so, by the whole log, and a follower that reads it has both.
func TestPositionGivenAgain(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(ctx context.Context, client *redis.Client, log string, newest redis.XMessage, other []byte) error
		fails  bool
		whole  bool
	}{
		{"nothing happened", nil, true, false},
		{"nothing failed", nil, false, false},
		{"another entry", func(ctx context.Context, client *redis.Client, log string, newest redis.XMessage, other []byte) error {
			return client.XAdd(ctx, &redis.XAddArgs{Stream: log, ID: newest.ID, Values: []any{"r", other, "p", newest.Values["p"]}}).Err()
		}, true, true},
		{"nothing there", func(context.Context, *redis.Client, string, redis.XMessage, []byte) error { return nil }, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, s *store.Redis, client *redis.Client) {
				ctx := background(t)
				const log = "cf:{rev}log"
				first, lost, other := sessionEntry(t, time.Now()), sessionEntry(t, time.Now()), sessionEntry(t, time.Now())
				if _, err := s.Append(ctx, first, lost); err != nil {
					t.Fatal(err)
				}
				list, err := revocation.NewList(revocation.ListConfig{})
				if err != nil {
					t.Fatal(err)
				}
				f, err := revocation.NewFollower(revocation.FollowerConfig{Source: s, List: list})
				if err != nil {
					t.Fatal(err)
				}
				read := func(ctx context.Context) (revocation.Batch, error) {
					sent := time.Now()
					b, err := s.Read(ctx, f.Next(), time.Millisecond)
					if err == nil {
						f.Apply(b, sent)
					}
					return b, err
				}
				if b, err := read(ctx); err != nil || len(b.Records) != 2 {
					t.Fatalf("%+v, %v", b, err)
				}
				if c.change != nil {
					all := client.XRange(ctx, log, "-", "+").Val()
					raw, err := other.AppendBinary(nil)
					if err != nil {
						t.Fatal(err)
					}
					if err := client.Del(ctx, log).Err(); err != nil { // the stream remembers its last ID otherwise
						t.Fatal(err)
					}
					if err := client.XAdd(ctx, &redis.XAddArgs{Stream: log, ID: all[0].ID, Values: all[0].Values}).Err(); err != nil {
						t.Fatal(err)
					}
					if err := c.change(ctx, client, log, all[1], raw); err != nil {
						t.Fatal(err)
					}
				}
				if c.fails {
					over, cancel := context.WithCancel(ctx)
					cancel()
					if _, err := read(over); err == nil {
						t.Fatal("a read whose context is over succeeds")
					}
				}
				if b, err := read(ctx); err != nil || b.Full != c.whole {
					t.Fatalf("whole: %v, want %v; %v", b.Full, c.whole, err)
				}
				if !list.Has(first.Session) || !list.Has(lost.Session) || list.Has(other.Session) != (c.name == "another entry") {
					t.Errorf("the list has the first %v, the lost one %v, the other %v", list.Has(first.Session), list.Has(lost.Session), list.Has(other.Session))
				}
				if forks := f.Stats().Forks; (forks == 1) != c.whole {
					t.Errorf("%d forks", forks)
				}
			})
		})
	}
}
