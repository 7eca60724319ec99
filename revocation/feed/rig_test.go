package feed_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/revocation/feed"
	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/tokentest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const issuer = "https://issuer.test"

// origin is a process that follows a log and serves it.
type origin struct {
	t        testing.TB
	log      *memoryLog
	tail     *feed.Tail
	list     *revocation.List
	follower *revocation.Follower
	key      *feed.Key
	edges    *feed.Edges
	handler  *feed.Handler
	edge     feed.Credential // of the edge "edge-1"

	mu        sync.Mutex
	confirmed []feed.Confirmation
	stop      context.CancelFunc
	running   sync.WaitGroup
}

// newOrigin starts one, with a writer that sees to the heartbeat, and waits until its list is fresh. change may alter the handler's configuration.
func newOrigin(t testing.TB, log *memoryLog, change ...func(*feed.Config)) *origin {
	t.Helper()
	return newLargeOrigin(t, log, 256<<10, change...)
}

// newLargeOrigin is newOrigin with a bound on the bytes of the whole log.
func newLargeOrigin(t testing.TB, log *memoryLog, maxLen int, change ...func(*feed.Config)) *origin {
	t.Helper()
	return newOriginOn(t, log, log, maxLen, change...)
}

// newOriginOn reads the log through a source.
func newOriginOn(t testing.TB, log *memoryLog, source revocation.Source, maxLen int, change ...func(*feed.Config)) *origin {
	t.Helper()
	o := &origin{t: t, log: log, edges: &feed.Edges{}}
	var err error
	if o.key, err = feed.GenerateKey(); err != nil {
		t.Fatal(err)
	}
	if o.tail, err = feed.NewTail(source, feed.TailConfig{MaxLen: maxLen}); err != nil {
		t.Fatal(err)
	}
	if o.list, err = revocation.NewList(revocation.ListConfig{}); err != nil {
		t.Fatal(err)
	}
	if o.follower, err = revocation.NewFollower(revocation.FollowerConfig{Source: o.tail, List: o.list}); err != nil {
		t.Fatal(err)
	}
	o.edge = o.allow("edge-1")
	cfg := feed.Config{
		Tail: o.tail, Key: o.key, Issuer: issuer, Edges: o.edges,
		Fresh:   func() revocation.Freshness { return o.list.Freshness(time.Now(), 0, 0) },
		Reached: o.reached,
		Logger:  slog.New(slog.DiscardHandler),
	}
	for _, f := range change {
		f(&cfg)
	}
	if o.handler, err = feed.NewHandler(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	o.stop = stop
	o.running.Go(func() { o.follower.Follow(ctx) })
	o.running.Go(func() { beat(ctx, log) })
	t.Cleanup(o.close)
	if err := o.follower.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	return o
}

// beat appends heartbeats until ctx ends.
func beat(ctx context.Context, log *memoryLog) {
	every := time.NewTicker(revocation.Heartbeat)
	defer every.Stop()
	for {
		log.Append(ctx)
		select {
		case <-every.C:
		case <-ctx.Done():
			return
		}
	}
}

func (o *origin) close() {
	o.stop()
	o.running.Wait()
}

func (o *origin) reached(c feed.Confirmation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.confirmed = append(o.confirmed, c)
}

func (o *origin) confirmations() []feed.Confirmation {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]feed.Confirmation(nil), o.confirmed...)
}

// allow lets another edge in.
func (o *origin) allow(name string) feed.Credential {
	o.t.Helper()
	c, err := feed.NewCredential(name)
	if err != nil {
		o.t.Fatal(err)
	}
	d, err := c.Digest()
	if err == nil {
		err = o.edges.Allow(name, d)
	}
	if err != nil {
		o.t.Fatal(err)
	}
	return c
}

// revoke appends a session that nobody has seen, and returns it.
func (o *origin) revoke() token.SessionID {
	o.t.Helper()
	id := tokentest.SessionID(o.t)
	if _, err := o.log.Append(context.Background(), sessionEntry(id)); err != nil {
		o.t.Fatal(err)
	}
	return id
}

func sessionEntry(id token.SessionID) revocation.Entry {
	return revocation.Entry{Kind: revocation.KindSession, At: time.Now().UnixMilli(), Session: id}
}

// poll asks as an edge does. It returns what came back after however long it took.
func (o *origin) poll(after revocation.Cursor, wait time.Duration, change ...func(*http.Request)) *http.Response {
	o.t.Helper()
	q := url.Values{"wait": {strconv.FormatFloat(wait.Seconds(), 'f', -1, 64)}}
	if after != (revocation.Cursor{}) {
		q.Set("after", after.String())
	}
	r := httptest.NewRequest(http.MethodGet, "/revocations?"+q.Encode(), nil)
	r.SetBasicAuth(o.edge.Name, o.edge.Secret.Reveal())
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	o.handler.ServeHTTP(w, r)
	return w.Result()
}

// query sets the query of a request.
func query(q string) func(*http.Request) {
	return func(r *http.Request) { r.URL.RawQuery = q }
}

// frame opens the frame of an answer, for a reader that has read up to after and asked without a nonce.
func (o *origin) frame(resp *http.Response) revocation.FrameHead {
	o.t.Helper()
	h, _ := o.open(resp)
	return h
}

func (o *origin) open(resp *http.Response) (revocation.FrameHead, []byte) {
	o.t.Helper()
	if resp.StatusCode != http.StatusOK {
		o.t.Fatalf("status %d, want a frame", resp.StatusCode)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		o.t.Fatal(err)
	}
	if n := resp.Header.Get("Content-Length"); n != strconv.Itoa(len(b)) {
		o.t.Errorf("Content-Length is %s for %d bytes", n, len(b))
	}
	if resp.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			o.t.Fatal(err)
		}
		if b, err = io.ReadAll(z); err != nil {
			o.t.Fatal(err)
		}
	}
	return readHead(o.t, b), b
}

// client makes a client of the origin's feed, which reaches it through the transport.
func (o *origin) client(through http.RoundTripper, change ...func(*feed.ClientConfig)) *feed.Client {
	o.t.Helper()
	cfg := feed.ClientConfig{
		URL: "http://localhost/revocations", Credential: o.edge, Issuer: issuer, Keys: []revocation.FrameKey{o.key.Public()},
		HTTP: &http.Client{Transport: through},
	}
	for _, f := range change {
		f(&cfg)
	}
	c, err := feed.NewClient(cfg)
	if err != nil {
		o.t.Fatal(err)
	}
	return c
}

// direct is a transport that calls the handler in this process, so that time in a bubble stands still for nothing.
type direct struct{ h http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	d.h.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// follow starts a follower over a source and returns its list and follower. It ends with the test, or before if stop is called.
func follow(t testing.TB, source revocation.Source, change ...func(*revocation.FollowerConfig)) (list *revocation.List, f *revocation.Follower, stop func()) {
	t.Helper()
	list, err := revocation.NewList(revocation.ListConfig{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := revocation.FollowerConfig{Source: source, List: list}
	for _, f := range change {
		f(&cfg)
	}
	if f, err = revocation.NewFollower(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { f.Follow(ctx) })
	stop = func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(stop)
	return list, f, stop
}

// bubble runs the test where time passes only when everybody waits.
func bubble(t *testing.T, test func(*testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

func nonce() string {
	b := make([]byte, 16)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// readHead reads the head of a frame by what its documentation says, and nothing else.
func readHead(t testing.TB, b []byte) (h revocation.FrameHead) {
	t.Helper()
	take := func(n int) []byte {
		if len(b) < n {
			t.Fatal("the frame is too short")
		}
		part := b[:n]
		b = b[n:]
		return part
	}
	if string(take(28)) != "counterfoil-revocation-frame" || take(1)[0] != 1 {
		t.Fatal("not a frame of version 1")
	}
	h.Full = take(1)[0] == 1
	take(2)
	copy(h.KeyID[:], take(16))
	copy(h.Nonce[:], take(16))
	copy(h.BodySum[:], take(32))
	u32 := func() int64 { return int64(binary.BigEndian.Uint32(take(4))) }
	u64 := func() int64 { return int64(binary.BigEndian.Uint64(take(8))) }
	text := func() string { return string(take(int(take(1)[0]))) }
	h.BodyLen, h.Count = int(u32()), int(u32())
	h.AsOf, h.Age, h.Birth, h.ToTime = u64(), time.Duration(u32())*time.Millisecond, u64(), u64()
	h.Issuer, h.Epoch, h.From, h.To = text(), text(), revocation.Position(text()), revocation.Position(text())
	take(64)
	if len(b) != h.BodyLen {
		t.Fatalf("%d bytes of body, the head says %d", len(b), h.BodyLen)
	}
	return h
}

func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }

// pass lets time pass in a bubble, where that takes none.
func pass(d time.Duration) { <-time.After(d) }
