package feed_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/revocation/feed"
)

// sink is a response that is not kept.
type sink struct {
	header http.Header
	n      int64
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(int)             {}
func (s *sink) Write(b []byte) (int, error) { s.n += int64(len(b)); return len(b), nil }

// What one edge costs the server: a poll that brings one record, and the whole log of 100,000 entries.
func BenchmarkHandler(b *testing.B) {
	log := newLog()
	o := newLargeOrigin(b, log, 64<<20)
	for range 100_000 {
		o.revoke()
	}
	for o.list.Len() < 100_000 {
		<-time.After(10 * time.Millisecond)
	}
	for name, q := range map[string]string{"part": "after=" + log.Cursor(1).String(), "whole": ""} {
		for _, encoding := range []string{"identity", "gzip"} {
			b.Run(name+"/"+encoding, func(b *testing.B) {
				if name == "part" && encoding == "gzip" {
					b.Skip("never compressed")
				}
				r := httptest.NewRequest(http.MethodGet, "/?"+q, nil)
				r.SetBasicAuth(o.edge.Name, o.edge.Secret.Reveal())
				r.Header.Set("Accept-Encoding", encoding)
				var w sink
				b.ReportAllocs()
				for b.Loop() {
					w = sink{header: http.Header{}}
					o.handler.ServeHTTP(&w, r)
					if w.header.Get("Content-Type") != feed.ContentType {
						b.Fatal("no frame")
					}
				}
				b.ReportMetric(float64(w.n), "B/frame")
			})
		}
	}
}

// The whole log over loopback, read by a client.
func BenchmarkClient(b *testing.B) {
	log := newLog()
	o := newLargeOrigin(b, log, 64<<20)
	for range 100_000 {
		o.revoke()
	}
	for o.list.Len() < 100_000 {
		<-time.After(10 * time.Millisecond)
	}
	server := httptest.NewServer(o.handler)
	defer server.Close()
	c := o.client(nil, func(c *feed.ClientConfig) { c.URL, c.HTTP = server.URL, nil })
	defer c.Close()
	b.ReportAllocs()
	for b.Loop() {
		batch, err := c.Read(context.Background(), "", 0)
		if err != nil || len(batch.Records) < 100_000 {
			b.Fatal(len(batch.Records), err)
		}
	}
}
