package store_test

import (
	"bytes"
	"context"
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil/internal/redistest"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/store"
)

// between calls a function before the second and each later part of a log is read.
type between struct {
	net.Conn
	call func()
}

func (b between) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("xrange")) && !bytes.Contains(p, []byte("\r\n-\r\n")) {
		b.call()
	}
	return b.Conn.Write(p)
}

// TestReadChanging changes a log while its parts are read. What is answered is one log, as it is at some moment since then.
func TestReadChanging(t *testing.T) {
	const n = 25_000 // of parts of 10,000
	const log, meta = "cf:{rev}log", "cf:{rev}meta"
	trim := func(t *testing.T, c *redis.Client, keep int64) {
		if err := c.XTrimMaxLen(t.Context(), log, keep).Err(); err != nil {
			t.Fatal(err)
		}
	}
	key := revocation.Entry{Kind: revocation.KindKey, KeyID: "k"}
	for _, x := range []struct {
		name    string
		change  func(t *testing.T, s *store.Redis, c *redis.Client)
		always  bool // at each part, not once
		fails   bool
		records int
		other   bool // of another epoch
	}{
		{"nothing happens", func(*testing.T, *store.Redis, *redis.Client) {}, true, false, n, false},
		{"it grows", func(t *testing.T, s *store.Redis, _ *redis.Client) {
			key.At = time.Now().UnixMilli()
			if _, err := s.Append(background(t), sessionEntry(t, time.Now()), key); err != nil {
				t.Error(err)
			}
		}, false, false, n + 2, false},
		{"its beginning is trimmed, but for what is to be read", func(t *testing.T, _ *store.Redis, c *redis.Client) { trim(t, c, n-5_000) }, false, false, n, false},
		{"its beginning is trimmed, and more", func(t *testing.T, _ *store.Redis, c *redis.Client) { trim(t, c, n-12_000) }, false, false, n - 12_000, false},
		{"it is lost, and another one begins", func(t *testing.T, s *store.Redis, c *redis.Client) {
			c.FlushAll(t.Context())
			if _, err := s.Append(background(t), sessionEntry(t, time.Now())); err != nil {
				t.Error(err)
			}
		}, false, false, 1, true},
		{"another epoch begins behind it", func(t *testing.T, s *store.Redis, c *redis.Client) {
			c.HDel(t.Context(), meta, "l")
			if _, err := s.Append(background(t), sessionEntry(t, time.Now())); err != nil {
				t.Error(err)
			}
		}, false, false, n + 1, true},
		{"the record between two parts is another one", func(t *testing.T, _ *store.Redis, c *redis.Client) {
			id := c.XRangeN(t.Context(), log, "-", "+", 10_000).Val()[9_999].ID
			c.XDel(t.Context(), log, id)
		}, false, false, n - 1, false},
		{"it never stops changing", func(t *testing.T, s *store.Redis, c *redis.Client) {
			id := c.XRangeN(t.Context(), log, "-", "+", 10_000).Val()[9_999].ID
			c.XDel(t.Context(), log, id)
		}, true, true, 0, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			c := dialURL(t, redistest.Start(t, redistest.Options{}).URL())
			s, err := store.New(background(t), c, store.Config{Logger: quiet, Timeout: 10 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			ctx := background(t)
			entries := make([]revocation.Entry, n)
			for i := range entries {
				entries[i] = sessionEntry(t, time.Now())
			}
			if _, err := s.Append(ctx, entries...); err != nil {
				t.Fatal(err)
			}
			before, err := s.Read(ctx, "", 0)
			if err != nil {
				t.Fatal(err)
			}
			times := 0
			opt := *c.Options()
			opt.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
				return between{conn, func() {
					if times++; times == 1 || x.always {
						x.change(t, s, c)
					}
				}}, err
			}
			client := redis.NewClient(&opt)
			defer client.Close()
			reader, err := store.NewLogReader(ctx, client, store.Config{})
			if err != nil {
				t.Fatal(err)
			}
			defer reader.Close()
			b, err := reader.Read(ctx, "", 0)
			if times == 0 {
				t.Fatal("nothing was changed: this shows nothing")
			}
			if x.fails {
				if err == nil {
					t.Error("no error")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(b.Records) != x.records || !b.Full || (b.Epoch != before.Epoch) != x.other {
				t.Errorf("%d records of epoch %q, want %d; it was %q", len(b.Records), b.Epoch, x.records, before.Epoch)
			}
			again, err := s.Read(ctx, "", 0)
			if err != nil || again.Epoch != b.Epoch || again.Birth != b.Birth || len(again.Permanent) != len(b.Permanent) {
				t.Errorf("born %d, %d permanent; when it is quiet born %d, %d permanent, %v", b.Birth, len(b.Permanent), again.Birth, len(again.Permanent), err)
			}
			for i, r := range b.Records[len(b.Records)-min(len(b.Records), len(again.Records)):] {
				if w := again.Records[i+max(0, len(again.Records)-len(b.Records))]; r.Position != w.Position || r.Prev != w.Prev || !bytes.Equal(r.Entry, w.Entry) {
					t.Fatalf("record %d is %+v, want %+v", i, r, w)
				}
			}
		})
	}
}
