package store_test

import (
	"context"
	"math/rand/v2"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/redistest"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/token"
)

// BenchmarkLogRead reads a log of so many entries from the start, beside a plain XRANGE by go-redis, and has a new follower take it in. The bytes of one entry
// in Redis are said beside.
func BenchmarkLogRead(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			if testing.Short() && n > 100_000 {
				b.Skip("short")
			}
			srv := redistest.Start(b, redistest.Options{})
			s, err := store.Open(b.Context(), srv.URL(), store.Config{Logger: quiet, Timeout: time.Minute})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			now := time.Now().UnixMilli()
			entries := make([]revocation.Entry, n)
			for i := range entries {
				var id [16]byte
				for j := range id {
					id[j] = byte(rand.Int())
				}
				session, err := token.NewSessionID("AAA", id)
				if err != nil {
					b.Fatal(err)
				}
				entries[i] = revocation.Entry{Kind: revocation.KindSession, At: now, Session: session}
			}
			if _, err := s.Append(context.Background(), entries...); err != nil {
				b.Fatal(err)
			}
			client := dialURL(b, srv.URL())
			bytes := float64(client.MemoryUsage(b.Context(), "cf:{rev}log", 0).Val()) / float64(n)
			b.Run("read", func(b *testing.B) {
				b.ReportAllocs()
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				for b.Loop() {
					batch, err := s.Read(context.Background(), "", 0)
					if err != nil || len(batch.Records) != n {
						b.Fatal(len(batch.Records), err)
					}
				}
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(b.N*n), "allocs/entry")
				b.ReportMetric(bytes, "redisbytes/entry")
			})
			b.Run("xrange", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if list, err := client.XRange(context.Background(), "cf:{rev}log", "-", "+").Result(); err != nil || len(list) != n {
						b.Fatal(len(list), err)
					}
				}
			})
			b.Run("follow", func(b *testing.B) {
				look := time.NewTicker(time.Millisecond)
				defer look.Stop()
				for b.Loop() {
					list, err := revocation.NewList(revocation.ListConfig{})
					if err != nil {
						b.Fatal(err)
					}
					f, err := revocation.NewFollower(revocation.FollowerConfig{Source: s, List: list})
					if err != nil {
						b.Fatal(err)
					}
					ctx, cancel := context.WithCancel(context.Background())
					done := make(chan struct{})
					go func() { f.Follow(ctx); close(done) }()
					for list.Len() < n {
						<-look.C
					}
					cancel()
					<-done
				}
			})
		})
	}
}
