package revocation_test

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

const mebi = 1 << 20

// randomIDs makes n session IDs, always the same for the same seed.
func randomIDs(n int, seed uint64) []token.SessionID {
	r := rand.New(rand.NewPCG(seed, 1))
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	ids := make([]token.SessionID, n)
	for i := range ids {
		var random [16]byte
		binary.LittleEndian.PutUint64(random[:], r.Uint64())
		binary.LittleEndian.PutUint64(random[8:], r.Uint64())
		t := r.Uint64()
		id, err := token.NewSessionID(string([]byte{alphabet[t&63], alphabet[t>>6&63], alphabet[t>>12&63]}), random)
		if err != nil {
			panic(err)
		}
		ids[i] = id
	}
	return ids
}

func fill(t testing.TB, ids []token.SessionID) *revocation.List {
	t.Helper()
	list, err := revocation.NewList(revocation.ListConfig{Max: len(ids) + mebi})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if err := list.Add(revocation.Entry{Kind: revocation.KindSession, At: someTime, Session: id}); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

// A lap looks up every ID once and returns how many it found.
type lap struct {
	name string
	run  func(ids []token.SessionID) int
}

// beside runs the laps in turn, so that all of them see the same machine, and reports the fastest tenth of each beside the first one.
func beside(b *testing.B, ids []token.SessionID, want int, laps ...lap) {
	const slice = 1 << 14
	took := make([][]time.Duration, len(laps))
	for range max(b.N, 1) {
		for round := range len(ids) / slice {
			part := ids[round*slice : (round+1)*slice]
			for i, l := range laps {
				began := time.Now()
				found := l.run(part)
				took[i] = append(took[i], time.Since(began))
				if found != want*slice && i > 0 {
					b.Fatalf("%s found %d of %d", l.name, found, slice)
				}
			}
		}
	}
	var first float64
	for i, l := range laps {
		slices.Sort(took[i])
		ns := float64(took[i][len(took[i])/10]) / slice
		if i == 0 {
			first = ns
		}
		b.ReportMetric(ns, l.name+"-ns")
		if i > 0 {
			b.ReportMetric(ns/first, l.name+"/"+laps[0].name)
		}
	}
	b.ReportMetric(0, "ns/op")
}

// cells is memory for the floor: what no look-up can do without is a call with a session that reads one random place of memory and answers.
type cells [][2]uint64

//go:noinline
func (c cells) load(id token.SessionID) bool {
	word, _, _ := id.Words()
	cell := &c[word%mebi]
	return cell[0] != cell[1]
}

// rivals are the other ways to hold a set of sessions that expire.
func rivals(present []token.SessionID) (floor, list, locked, synced lap) {
	memory := make(cells, mebi)
	for i := range memory {
		memory[i] = [2]uint64{uint64(i), uint64(i)}
	}
	floor = lap{"load", func(ids []token.SessionID) int {
		n := 0
		for _, id := range ids {
			if memory.load(id) {
				n++
			}
		}
		return n
	}}
	l := fill(&testing.B{}, present)
	list = lap{"list", func(ids []token.SessionID) int {
		n := 0
		for _, id := range ids {
			if l.Has(id) {
				n++
			}
		}
		return n
	}}
	var mu sync.RWMutex
	m := make(map[token.SessionID]int64, len(present))
	var sm sync.Map
	for _, id := range present {
		m[id] = someTime
		sm.Store(id, int64(someTime))
	}
	locked = lap{"map+RWMutex", func(ids []token.SessionID) int {
		n := 0
		for _, id := range ids {
			mu.RLock()
			_, ok := m[id]
			mu.RUnlock()
			if ok {
				n++
			}
		}
		return n
	}}
	synced = lap{"sync.Map", func(ids []token.SessionID) int {
		n := 0
		for _, id := range ids {
			if _, ok := sm.Load(id); ok {
				n++
			}
		}
		return n
	}}
	return
}

// BenchmarkListMiss looks up sessions that are not revoked among a million that are, beside one random load from 16 MiB of memory.
func BenchmarkListMiss(b *testing.B) {
	present, absent := randomIDs(mebi, 1), randomIDs(mebi, 2)
	floor, list, locked, synced := rivals(present)
	b.ResetTimer()
	beside(b, absent, 0, floor, list, locked, synced)
}

// BenchmarkListHit looks up sessions that are revoked.
func BenchmarkListHit(b *testing.B) {
	present := randomIDs(mebi, 1)
	floor, list, locked, synced := rivals(present)
	b.ResetTimer()
	rand.New(rand.NewPCG(3, 3)).Shuffle(mebi, func(i, j int) { present[i], present[j] = present[j], present[i] })
	beside(b, present, 1, floor, list, locked, synced)
}

// BenchmarkListAdd adds a million sessions and reports what one takes, in time and in memory.
func BenchmarkListAdd(b *testing.B) {
	ids := randomIDs(mebi, 1)
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		began := time.Now()
		list := fill(b, ids)
		b.ReportMetric(float64(time.Since(began))/mebi, "ns/entry")
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/mebi, "B/entry")
		runtime.KeepAlive(list)
	}
}

// BenchmarkListSweep forgets an eighth of a million entries, which builds all of the list again, while a reader goes on.
func BenchmarkListSweep(b *testing.B) {
	ids := randomIDs(mebi, 1)
	for b.Loop() {
		b.StopTimer()
		list, err := revocation.NewList(revocation.ListConfig{})
		if err != nil {
			b.Fatal(err)
		}
		for i, id := range ids {
			e := revocation.Entry{Kind: revocation.KindSession, At: someTime, Session: id}
			if i%8 > 0 {
				e.At += 10_000
			}
			if err := list.Add(e); err != nil {
				b.Fatal(err)
			}
		}
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for i := 1; ; i += 8 {
				if !list.Has(ids[i%len(ids)]) {
					panic("lost an entry during a sweep")
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		}()
		b.StartTimer()
		n := list.Sweep(time.UnixMilli(someTime + 5_000).Add(revocation.Horizon))
		b.StopTimer()
		close(stop)
		<-stopped
		if n != mebi/8 {
			b.Fatalf("forgot %d", n)
		}
		b.StartTimer()
	}
}

// BenchmarkGuard checks warm tokens while a million sessions and a thousand subjects are revoked, beside the verifier's warm hit and a miss of the list.
func BenchmarkGuard(b *testing.B) {
	f := newFixture(b, revocation.GuardConfig{})
	list := fill(b, randomIDs(mebi, 1))
	for i := range 1000 {
		e := revocation.Entry{Kind: revocation.KindSubject, At: someTime, NotBefore: someTime, Subject: [16]byte{1, byte(i), byte(i >> 8)}}
		if err := list.Add(e); err != nil {
			b.Fatal(err)
		}
	}
	verifierConfig := f.Config()
	verifierConfig.Now = nil
	verifier, err := token.NewVerifier(verifierConfig)
	if err != nil {
		b.Fatal(err)
	}
	log := newLog(nil)
	follower, err := revocation.NewFollower(revocation.FollowerConfig{List: list})
	if err != nil {
		b.Fatal(err)
	}
	for range 2 {
		log.Append(b.Context())
		batch, err := log.Read(b.Context(), follower.Next(), 0)
		if err != nil {
			b.Fatal(err)
		}
		follower.Apply(batch, time.Now())
	}
	f.Clock.Add(time.Since(f.Clock.Now()))
	guard, err := revocation.NewGuard(revocation.GuardConfig{Verifier: verifier, List: list, MaxStale: 10 * time.Minute})
	if err != nil {
		b.Fatal(err)
	}
	const n = 1 << 8
	raw := make([]string, n)
	sessions := make([]token.SessionID, n)
	for i, id := range randomIDs(n, 2) {
		sessions[i] = id
		raw[i] = f.Mint(token.Claims{Subject: "alice", Session: id})
	}
	ctx := b.Context()
	count := func(ok bool) int {
		if ok {
			return 1
		}
		return 0
	}
	b.ReportAllocs()
	b.ResetTimer()
	besideN(b, n, n,
		lapN{"verify", func() (found int) {
			for _, r := range raw {
				v, _ := verifier.Verify(r)
				found += count(v.Valid())
			}
			return found
		}},
		lapN{"miss", func() (found int) {
			for _, id := range sessions {
				found += count(!list.Has(id))
			}
			return found
		}},
		lapN{"guard", func() (found int) {
			for _, r := range raw {
				v, err := guard.Check(ctx, r)
				found += count(err == nil && v.Valid())
			}
			return found
		}})
}

type lapN struct {
	name string
	run  func() int
}

// besideN runs the laps in turn and reports the fastest tenth of each, and the last beside the sum of those before.
func besideN(b *testing.B, size, want int, laps ...lapN) {
	took := make([][]time.Duration, len(laps))
	for range max(b.N, 100) {
		for i, l := range laps {
			began := time.Now()
			if found := l.run(); found != want {
				b.Fatalf("%s found %d of %d", l.name, found, want)
			}
			took[i] = append(took[i], time.Since(began))
		}
	}
	sum := 0.0
	for i, l := range laps {
		slices.Sort(took[i])
		ns := float64(took[i][len(took[i])/10]) / float64(size)
		b.ReportMetric(ns, l.name+"-ns")
		if i == len(laps)-1 {
			b.ReportMetric(ns/sum, l.name+"/sum")
		}
		sum += ns
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkListParallel misses on all processors at once; compare -cpu 1 with -cpu 2.
func BenchmarkListParallel(b *testing.B) {
	list, absent := fill(b, randomIDs(mebi, 1)), randomIDs(mebi, 2)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for i := int(time.Now().UnixNano()) % mebi; pb.Next(); i++ {
			if list.Has(absent[i%mebi]) {
				panic("found what is not there")
			}
		}
	})
}

// BenchmarkFollowerWhole takes in a log of a million entries.
func BenchmarkFollowerWhole(b *testing.B) {
	batch := revocation.Batch{Full: true, Epoch: "e", Birth: someTime}
	prev := revocation.Position("0-0")
	for i, id := range randomIDs(mebi, 1) {
		entry, err := revocation.Entry{Kind: revocation.KindSession, At: someTime, Session: id}.AppendBinary(nil)
		if err != nil {
			b.Fatal(err)
		}
		r := revocation.Record{Position: revocation.Position(strconv.Itoa(someTime+i) + "-0"), Prev: prev, Time: someTime + int64(i), Entry: entry}
		batch.Records = append(batch.Records, r)
		prev = r.Position
	}
	b.ReportAllocs()
	for b.Loop() {
		list, err := revocation.NewList(revocation.ListConfig{})
		if err != nil {
			b.Fatal(err)
		}
		f, err := revocation.NewFollower(revocation.FollowerConfig{List: list})
		if err != nil {
			b.Fatal(err)
		}
		f.Apply(batch, time.Now())
		if list.Len() != mebi {
			b.Fatal(list.Len())
		}
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/mebi, "ns/entry")
}
