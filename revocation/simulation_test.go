package revocation_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/tokentest"
)

// flaky is a way to a log, or to an origin, that can be cut, or hang, for one process alone.
type flaky struct {
	revocation.Source
	mu    sync.Mutex
	cut   bool
	hangs bool
	truth *truth
}

func (f *flaky) set(cut, hangs bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut, f.hangs = cut, hangs
}

func (f *flaky) state(ctx context.Context) error {
	f.mu.Lock()
	cut, hangs := f.cut, f.hangs
	f.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	if cut {
		return errDown
	}
	return nil
}

func (f *flaky) Read(ctx context.Context, after revocation.Position, wait time.Duration) (revocation.Batch, error) {
	if err := f.state(ctx); err != nil {
		return revocation.Batch{}, err
	}
	b, err := f.Source.Read(ctx, after, wait)
	if err := f.state(ctx); err != nil { // the answer is lost
		return revocation.Batch{}, err
	}
	return b, err
}

func (f *flaky) Ask(ctx context.Context, v token.Verified) (revocation.Answer, error) {
	if err := f.state(ctx); err != nil {
		return revocation.Answer{}, err
	}
	return revocation.Answer{Live: !f.truth.revoked(v.Session())}, nil
}

// truth is what has been revoked, and when that was acknowledged.
type truth struct {
	mu sync.Mutex
	at map[token.SessionID]time.Time
}

func (u *truth) revoked(id token.SessionID) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return !u.at[id].IsZero()
}

// TestSimulation lets a strict verifier and a writer live through random faults of the log, of the ways to it and to the origin. Once a revocation is
// acknowledged the verifier accepts the session for no longer than MaxStale and leeway. What a failover loses, since nothing here waits for replicas, counts from
// when a writer has given it back. And when the faults end it accepts again whatever is not revoked.
func TestSimulation(t *testing.T) {
	const (
		bound    = revocation.DefaultMaxStale + 10*time.Second
		giveBack = 6 * time.Second
	)
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 42))
			log := newLog(nil)
			truth := &truth{at: map[token.SessionID]time.Time{}}
			logWay, askWay := &flaky{Source: log}, &flaky{truth: truth}
			log.Append(t.Context())
			time.Sleep(time.Minute)

			issuer := tokentest.New(t)
			ids := randomIDs(60, seed)
			raw := make([]string, len(ids))
			mint := func(i int) {
				now := time.Now()
				raw[i] = issuer.Mint(token.Claims{Session: ids[i], IssuedAt: now, Expires: now.Add(15 * time.Minute)})
			}
			for i := range ids {
				mint(i)
			}
			list := newList(t, revocation.ListConfig{})
			guard, err := revocation.NewGuard(revocation.GuardConfig{Verifier: issuer.Verifier(), List: list, Ask: askWay, Now: time.Now})
			if err != nil {
				t.Fatal(err)
			}
			verifier, err := revocation.NewFollower(revocation.FollowerConfig{Source: logWay, List: list})
			if err != nil {
				t.Fatal(err)
			}
			writer, err := revocation.NewFollower(revocation.FollowerConfig{Source: log, List: newList(t, revocation.ListConfig{}), Log: log})
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			var running sync.WaitGroup
			running.Go(func() { verifier.Follow(ctx) })
			running.Go(func() { writer.Follow(ctx) })
			running.Go(func() {
				for ctx.Err() == nil {
					log.Append(ctx)
					time.Sleep(revocation.Heartbeat)
				}
			})
			defer func() { stop(); running.Wait() }()

			var (
				accepted, refused, stale, renewed int

				contents []logContent // to which a failover may go back
				failover time.Time
			)
			check := func() {
				i := r.IntN(len(ids))
				truth.mu.Lock()
				at := truth.at[ids[i]]
				truth.mu.Unlock()
				began := time.Now()
				_, err := guard.Check(t.Context(), raw[i])
				switch outcome(err) {
				case "ok":
					accepted++
					if known := at.Add(max(0, failover.Add(giveBack).Sub(at))); !at.IsZero() && began.Sub(known) > bound {
						t.Fatalf("seed %d: accepted %v after its revocation was acknowledged", seed, began.Sub(at))
					}
				case "revoked":
					refused++
					if at.IsZero() {
						t.Fatalf("seed %d: refused as revoked, though it is not", seed)
					}
				case "stale":
					stale++
				case "expired": // the log does not vouch for it any more: the origin makes another, if the session lives
					renewed++
					if !truth.revoked(ids[i]) {
						mint(i)
					}
				}
			}
			for step := range 1500 { // five minutes
				switch r.IntN(60) {
				case 0, 1:
					logWay.set(r.IntN(2) == 0, r.IntN(2) == 0)
				case 2:
					logWay.set(false, false)
				case 3, 4:
					askWay.set(r.IntN(2) == 0, r.IntN(3) == 0)
				case 5:
					askWay.set(false, false)
				case 6:
					contents = append(contents, log.Content())
				case 7, 8, 9:
					i := r.IntN(len(ids))
					if _, err := log.Append(t.Context(), revocation.Entry{Kind: revocation.KindSession, At: time.Now().UnixMilli(), Session: ids[i]}); err == nil {
						truth.mu.Lock()
						if truth.at[ids[i]].IsZero() {
							truth.at[ids[i]] = time.Now()
						}
						truth.mu.Unlock()
						synctest.Wait() // the writer, beside the log, has seen it
					}
				case 10:
					// Failovers are rare, so that the log is whole again before the next.
					if step%10 == 0 && len(contents) > 0 {
						synctest.Wait()
						switch content := contents[r.IntN(len(contents))]; r.IntN(3) {
						case 0:
							log.Restore(content)
						case 1:
							log.Rewind(content)
						case 2:
							log.Lose()
						}
						contents, failover = nil, time.Now()
					}
				}
				check()
				time.Sleep(200 * time.Millisecond)
			}
			logWay.set(false, false)
			askWay.set(false, false)
			time.Sleep(30 * time.Second)
			if f := list.Freshness(time.Now(), 0, 0); !f.Fresh {
				t.Fatalf("seed %d: still stale half a minute after the last fault: %s", seed, f.Reason)
			}
			for i := range ids {
				_, err := guard.Check(t.Context(), raw[i])
				if outcome(err) == "expired" {
					mint(i)
					_, err = guard.Check(t.Context(), raw[i])
				}
				if got, want := outcome(err), map[bool]string{true: "revoked", false: "ok"}[truth.revoked(ids[i])]; got != want {
					t.Fatalf("seed %d: session %d: %v, want %s", seed, i, err, want)
				}
			}
			v, w := verifier.Stats(), writer.Stats()
			t.Logf("seed %d: accepted %d, refused %d, could not tell %d, renewed %d; %d reads failed, %d forks, %d epochs, %d entries given back",
				seed, accepted, refused, stale, renewed, v.Failed, w.Forks, w.Epochs, w.Reappended)
		})
	}
}
