package revocation_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/revocation"
)

// entryLog returns a log of n entries, without heartbeats.
func entryLog(n int) []revocation.Record {
	log := frameLog(n)
	for i := range log {
		if log[i].Entry == nil {
			log[i].Entry, log[i].Replicated = frameEntry(i, log[i].Time), 0
		}
	}
	return log
}

// openLog returns a function that opens a frame of n entries, and the length of the frame.
func openLog(t testing.TB, n int) (open func(), length int) {
	s := newFrameSigner(t, "feed")
	frame := s.seal(t, wholeHead(), nil, entryLog(n))
	r := newFrameReader(t, s)
	return func() {
		r.Ask("", frameNonce)
		f, err := openFrame(r, frame)
		if err != nil || len(f.Records) != n {
			t.Fatal(len(f.Records), err)
		}
	}, len(frame)
}

// What opening a frame allocates does not depend on how many records there are but for their memory, and that is bounded by the frame's length.
func TestFrameAllocs(t *testing.T) {
	const records = 30_000
	open, length := openLog(t, records)
	if n := testing.AllocsPerRun(3, open); n > 20 {
		t.Errorf("%v allocations", n)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	open()
	runtime.ReadMemStats(&after)
	if got, most := after.TotalAlloc-before.TotalAlloc, uint64(records*130+length); got > most {
		t.Errorf("%d bytes allocated for %d records in %d bytes, want at most %d", got, records, length, most)
	}
}

func BenchmarkFrameOpen(b *testing.B) {
	for name, n := range map[string]int{"1": 1, "100000": 100_000} {
		b.Run(name, func(b *testing.B) {
			open, length := openLog(b, n)
			b.SetBytes(int64(length))
			b.ReportAllocs()
			for b.Loop() {
				open()
			}
		})
	}
}

// The same and into a list, which is what a new follower does.
func BenchmarkFrameApply(b *testing.B) {
	const n = 100_000
	s := newFrameSigner(b, "feed")
	frame := s.seal(b, wholeHead(), nil, entryLog(n))
	b.SetBytes(int64(len(frame)))
	b.ReportMetric(float64(len(frame))/n, "B/entry")
	for b.Loop() {
		list, err := revocation.NewList(revocation.ListConfig{})
		if err != nil {
			b.Fatal(err)
		}
		f, err := revocation.NewFollower(revocation.FollowerConfig{List: list})
		if err != nil {
			b.Fatal(err)
		}
		r := newFrameReader(b, s)
		r.Ask("", frameNonce)
		frame, err := openFrame(r, frame)
		if err != nil {
			b.Fatal(err)
		}
		f.Apply(frame.Batch(), time.Now())
		if list.Len() != n {
			b.Fatal(list.Len())
		}
	}
}
