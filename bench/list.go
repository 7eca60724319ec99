package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	mathrand "math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/puzpuzpuz/xsync/v4"

	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

const (
	mebi  = 1 << 20
	batch = 1 << 10 // look-ups of a run
)

// randomIDs makes n session IDs, always the same for the same seed.
func randomIDs(n int, seed uint64) []token.SessionID {
	r := mathrand.New(mathrand.NewPCG(seed, 1))
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	ids := make([]token.SessionID, n)
	for i := range ids {
		var random [16]byte
		binary.LittleEndian.PutUint64(random[:], r.Uint64())
		binary.LittleEndian.PutUint64(random[8:], r.Uint64())
		t := r.Uint64()
		id, err := token.NewSessionID(string([]byte{alphabet[t&63], alphabet[t>>6&63], alphabet[t>>12&63]}), random)
		must(err == nil)
		ids[i] = id
	}
	return ids
}

func shuffled(ids []token.SessionID) []token.SessionID {
	ids = append([]token.SessionID(nil), ids...)
	mathrand.New(mathrand.NewPCG(3, 3)).Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	return ids
}

func newList() *revocation.List {
	list, err := revocation.NewList(revocation.ListConfig{Max: 2 * mebi})
	must(err == nil)
	return list
}

func sessionEntry(id token.SessionID, at int64) revocation.Entry {
	return revocation.Entry{Kind: revocation.KindSession, At: at, Session: id}
}

// cells is what no look-up can do without: a call with a session that reads one random place of memory and answers.
type cells [][2]uint64

//go:noinline
func (c cells) has(id token.SessionID) bool {
	word, _, _ := id.Words()
	cell := &c[word%mebi]
	return cell[0] != cell[1]
}

// lookUps makes a run of each way to look sessions up: a batch of them, each from where the last one ended, so that none is looked up again soon.
func lookUps(ids []token.SessionID, want bool, has func(token.SessionID) bool) func() {
	var at atomic.Int64
	return func() {
		from := int(at.Add(batch)-batch) % len(ids)
		found := 0
		for _, id := range ids[from : from+batch] {
			if has(id) {
				found++
			}
		}
		must(found == 0 && !want || found == batch && want)
	}
}

// A set is another way to hold sessions that expire.
type set struct {
	name  string
	has   func(token.SessionID) bool
	bytes float64 // an entry
}

// weigh returns what an entry takes of what fill makes.
func weigh(n int, fill func() any) float64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	made := fill()
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(made)
	return (float64(after.HeapAlloc) - float64(before.HeapAlloc)) / float64(n)
}

// sets holds the same sessions in each way, the list first.
func sets(ids []token.SessionID, at int64) []set {
	var list *revocation.List
	var locked map[token.SessionID]int64
	var synced *sync.Map
	var xed *xsync.Map[token.SessionID, int64]
	bytes := []float64{
		weigh(len(ids), func() any {
			list = newList()
			for _, id := range ids {
				must(list.Add(sessionEntry(id, at)) == nil)
			}
			return list
		}),
		weigh(len(ids), func() any {
			locked = make(map[token.SessionID]int64)
			for _, id := range ids {
				locked[id] = at
			}
			return locked
		}),
		weigh(len(ids), func() any {
			synced = new(sync.Map)
			for _, id := range ids {
				synced.Store(id, at)
			}
			return synced
		}),
		weigh(len(ids), func() any {
			xed = xsync.NewMap[token.SessionID, int64]()
			for _, id := range ids {
				xed.Store(id, at)
			}
			return xed
		}),
	}
	var mu sync.RWMutex
	return []set{
		{"counterfoil", func(id token.SessionID) bool { return list.Has(id) }, bytes[0]},
		{"map and RWMutex", func(id token.SessionID) bool {
			mu.RLock()
			_, ok := locked[id]
			mu.RUnlock()
			return ok
		}, bytes[1]},
		{"sync.Map", func(id token.SessionID) bool { _, ok := synced.Load(id); return ok }, bytes[2]},
		{"xsync.Map", func(id token.SessionID) bool { _, ok := xed.Load(id); return ok }, bytes[3]},
	}
}

// listTables measure the list by itself: looking up, memory, adding and forgetting.
func listTables() []table {
	present, absent := randomIDs(mebi, 1), randomIDs(mebi, 2)
	mixed := shuffled(present)
	now := time.Now().UnixMilli()
	ways := sets(present, now)

	memory := make(cells, mebi)
	for i := range memory {
		memory[i] = [2]uint64{uint64(i), uint64(i)}
	}
	look := func(name string, ids []token.SessionID, want bool, ratio float64) *group {
		g := &group{title: "Revocation list of 1 Mi sessions: " + name, rows: []*row{
			{name: "floor", per: batch, run: lookUps(absent, false, memory.has)},
		}}
		for i, s := range ways {
			one := &row{name: s.name, per: batch, run: lookUps(ids, want, s.has)}
			if i == 0 {
				one.ratio = ratio
			}
			g.rows = append(g.rows, one)
		}
		return g
	}
	facts := &group{title: "Revocation list of 1 Mi sessions: memory, adding, forgetting (the fastest of several times)"}
	for i, s := range ways {
		f := fact{name: s.name + ", bytes an entry", value: fmt.Sprintf("%.1f", s.bytes)}
		if i == 0 {
			f.goal, f.missed = "<= 56", s.bytes > 56
		}
		facts.facts = append(facts.facts, f)
	}
	facts.facts = append(facts.facts, addFact(present, now), sweepFact(present, now))
	return []table{
		look("what is not in it (floor: one random load from 16 MiB)", absent, false, 1.5),
		look("what is in it (floor: one random load from 16 MiB)", mixed, true, 3),
		&group{title: "Revocation list of 1 Mi sessions: what is not in it, on two cores", rows: []*row{
			{name: "floor", per: batch, cores: 1, run: lookUps(absent, false, memory.has)},
			{name: "floor, two cores", per: batch, cores: 2, run: lookUps(absent, false, memory.has)},
			{name: "counterfoil", per: batch, cores: 1, run: lookUps(absent, false, ways[0].has)},
			{name: "counterfoil, two cores", per: batch, cores: 2, run: lookUps(absent, false, ways[0].has), scale: "counterfoil"},
		}},
		facts,
	}
}

func addFact(ids []token.SessionID, at int64) fact {
	var took []float64
	for range 5 {
		list := newList()
		runtime.GC()
		began := time.Now()
		for _, id := range ids {
			must(list.Add(sessionEntry(id, at)) == nil)
		}
		took = append(took, float64(time.Since(began).Nanoseconds())/float64(len(ids)))
	}
	return fact{name: "counterfoil, ns to add one", value: fmt.Sprintf("%.0f", slices.Min(took))}
}

// sweepFact forgets an eighth of the entries, which builds all of the list again, while a reader goes on and finds each of the others every time.
func sweepFact(ids []token.SessionID, at int64) fact {
	var took []float64
	for range 7 {
		list := newList()
		for i, id := range ids {
			if i%8 == 0 {
				must(list.Add(sessionEntry(id, at)) == nil)
			} else {
				must(list.Add(sessionEntry(id, at+10_000)) == nil)
			}
		}
		runtime.GC()
		var stop atomic.Bool
		var reader sync.WaitGroup
		reader.Go(func() {
			for i := 1; !stop.Load(); i += 8 {
				must(list.Has(ids[i%len(ids)]))
			}
		})
		began := time.Now()
		n := list.Sweep(time.UnixMilli(at + 5_000).Add(revocation.Horizon))
		took = append(took, float64(time.Since(began).Microseconds())/1000)
		stop.Store(true)
		reader.Wait()
		must(n == len(ids)/8)
	}
	m := slices.Min(took)
	return fact{name: "counterfoil, ms to sweep beside a reader", value: fmt.Sprintf("%.0f", m), goal: "<= 100", missed: m > 100}
}

// freshList returns a list of the sessions that is as fresh as if a log had just been followed.
func freshList(ids []token.SessionID) *revocation.List {
	list := newList()
	now := time.Now()
	for _, id := range ids {
		must(list.Add(sessionEntry(id, now.UnixMilli())) == nil)
	}
	f, err := revocation.NewFollower(revocation.FollowerConfig{List: list})
	must(err == nil)
	ms := now.UnixMilli()
	f.Apply(revocation.Batch{Full: true, Epoch: "e", Birth: 1, Records: []revocation.Record{{Position: "1", Time: ms - 1, Epoch: "e"}}}, now)
	f.Apply(revocation.Batch{Records: []revocation.Record{{Position: "2", Prev: "1", Time: ms}}}, now)
	return list
}

// guardTable checks warm tokens while a million sessions and a thousand subjects are revoked, beside a warm hit of the verifier and then a miss of the list. Subjects
// are looked up only for tokens whose session is older than the newest not-before that the list holds, for a quarter of an hour after anybody has logged
// out everywhere; the other row has such tokens.
func guardTable(m *material) (*group, error) {
	ids := randomIDs(mebi, 1)
	list, later := freshList(ids), freshList(ids)
	for i := range 1000 {
		e := revocation.Entry{Kind: revocation.KindSubject, At: time.Now().UnixMilli(), NotBefore: 1, Subject: [16]byte{1, byte(i), byte(i >> 8)}}
		must(list.Add(e) == nil)
		e.NotBefore = time.Now().Add(time.Hour).UnixMilli()
		must(later.Add(e) == nil)
	}
	verifier, err := m.verifier(0)
	if err != nil {
		return nil, err
	}
	// The bound is long because the log of this list does not live on while it is measured.
	guard := func(list *revocation.List) *revocation.Guard {
		g, err := revocation.NewGuard(revocation.GuardConfig{Verifier: verifier, List: list, MaxStale: 10 * time.Minute})
		must(err == nil)
		return g
	}
	now := time.Now()
	_, issuer, err := m.mint(now)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	ids = randomIDs(256, 2)
	tokens := make([]string, len(ids))
	for i, id := range ids {
		claims := m.claims(now)
		claims.Session = id
		raw, err := issuer.Mint(claims)
		if err != nil {
			return nil, err
		}
		tokens[i] = raw.Reveal()
		if _, err := verifier.Verify(tokens[i]); err != nil {
			return nil, err
		}
	}
	check := func(g *revocation.Guard) func() {
		return func() {
			for _, raw := range tokens {
				_, err := g.Check(ctx, raw)
				must(err == nil)
			}
		}
	}
	// As the adapters do, which note when a request arrived; one reading serves for all the tokens here.
	told := func(g *revocation.Guard) func() {
		return func() {
			now := time.Now()
			for _, raw := range tokens {
				_, err := g.CheckAt(ctx, raw, now)
				must(err == nil)
			}
		}
	}
	return &group{title: "Guard on 256 warm " + m.name + " tokens in turn, 1 Mi sessions revoked", rows: []*row{
		{name: "warm hit, then list miss", per: len(ids), run: func() {
			for i, raw := range tokens {
				_, err := verifier.Verify(raw)
				must(err == nil && !list.Has(ids[i]))
			}
		}},
		{name: "counterfoil, the guard, told the time", per: len(ids), ratio: 1.3, run: told(guard(list))},
		{name: "the same, a subject ended all since", per: len(ids), run: told(guard(later))},
		{name: "counterfoil, the guard, reads the clock", per: len(ids), run: check(guard(list))},
		{name: "time.Since", per: len(ids), run: func() {
			for range ids {
				must(time.Since(now) > 0)
			}
		}},
		{name: "warm hit alone", per: len(ids), run: func() {
			for _, raw := range tokens {
				_, err := verifier.Verify(raw)
				must(err == nil)
			}
		}},
		{name: "list miss alone", per: len(ids), run: func() {
			for i := range ids {
				must(!list.Has(ids[i]))
			}
		}},
	}}, nil
}

// frameTable opens a frame of the feed with a hundred thousand entries, as a client does.
func frameTable() *group {
	const n = 100_000
	_, private, err := ed25519.GenerateKey(rand.Reader)
	must(err == nil)
	key, err := revocation.NewFrameKey(private.Public().(ed25519.PublicKey))
	must(err == nil)
	records := logOf(randomIDs(n, 4), time.Now().UnixMilli())
	var body revocation.FrameBody
	for _, r := range records {
		must(body.AddRecord(r) == nil)
	}
	nonce := [revocation.FrameNonceLen]byte{1}
	head := revocation.FrameHead{
		Issuer: issuerName, Epoch: "e", Full: true, To: records[n-1].Position, ToTime: records[n-1].Time, Birth: 1, Nonce: nonce,
		KeyID: key.ID(), BodyLen: len(body.Bytes()), BodySum: sha256.Sum256(body.Bytes()), Count: n,
	}
	frame, err := head.AppendBinary(nil)
	must(err == nil)
	frame = append(append(frame, ed25519.Sign(private, frame)...), body.Bytes()...)
	reader, err := revocation.NewFrameReader(revocation.FrameReaderConfig{Issuer: issuerName, Keys: []revocation.FrameKey{key}, MaxLen: 64 << 20})
	must(err == nil)
	open := func() {
		reader.Ask("", nonce)
		f, err := reader.Open(frame)
		must(err == nil && len(f.Records) == n)
	}
	var took, allocated []float64
	var before, after runtime.MemStats
	for range 15 {
		runtime.GC()
		runtime.ReadMemStats(&before)
		began := time.Now()
		open()
		took = append(took, time.Since(began).Seconds())
		runtime.ReadMemStats(&after)
		allocated = append(allocated, float64(after.TotalAlloc-before.TotalAlloc)/float64(len(frame)))
	}
	speed, most := float64(len(frame))/1e6/median(took), median(allocated)
	return &group{title: fmt.Sprintf("A frame of 100,000 entries, %.1f bytes each (medians of 15)", float64(len(frame))/n), facts: []fact{
		{name: "read and checked, MB/s", value: fmt.Sprintf("%.0f", speed), goal: ">= 100", missed: speed < 100},
		{name: "bytes allocated for each byte of it", value: fmt.Sprintf("%.1f", most), goal: "<= 8", missed: most > 8},
	}}
}

// logOf returns the records of a log that revoked these sessions, a few each millisecond.
func logOf(ids []token.SessionID, at int64) []revocation.Record {
	records := make([]revocation.Record, len(ids))
	var prev revocation.Position
	for i, id := range ids {
		r := &records[i]
		r.Time = at + int64(i/2)
		r.Position = revocation.Position(strconv.FormatInt(r.Time, 10) + "-" + strconv.Itoa(i%2))
		r.Prev, prev = prev, r.Position
		var err error
		r.Entry, err = sessionEntry(id, r.Time).AppendBinary(nil)
		must(err == nil)
	}
	records[0].Epoch = "e"
	return records
}
