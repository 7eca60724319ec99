package revocation_test

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/tokentest"
)

func newList(t testing.TB, cfg revocation.ListConfig) *revocation.List {
	t.Helper()
	list, err := revocation.NewList(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func add(t testing.TB, list *revocation.List, entries ...revocation.Entry) {
	t.Helper()
	for _, e := range entries {
		if err := list.Add(e); err != nil {
			t.Fatalf("adding %+v: %v", e, err)
		}
	}
}

func TestListSeed(t *testing.T) {
	l := newList(t, revocation.ListConfig{})
	if !l.Seed([32]byte{1}) || !l.Seed([32]byte{2}) {
		t.Error("an empty list is not seeded")
	}
	before := l.Changes()
	e := revocation.Entry{Kind: revocation.KindSession, At: tokentest.Start.UnixMilli(), Session: id(1)}
	add(t, l, e)
	if l.Changes() == before {
		t.Error("nothing is said to have changed")
	}
	if l.Seed([32]byte{3}) || !l.Has(id(1)) {
		t.Error("a list that holds something is seeded")
	}
	l.Sweep(tokentest.Start.Add(revocation.Horizon + time.Second))
	if !l.Seed([32]byte{4}) {
		t.Error("one that has forgotten everything is not")
	}
	add(t, l, e)
	if !l.Has(id(1)) || l.Has(id(2)) {
		t.Error("what was added after it is not found")
	}
}

// TestListAgainstMaps does the same things, in a random order, to a list and to two maps.
func TestListAgainstMaps(t *testing.T) {
	for seed := range uint64(2) {
		r := rand.New(rand.NewPCG(seed, 7))
		list := newList(t, revocation.ListConfig{Max: 1 << 17})
		ids := randomIDs(10_000, seed)
		// Some that differ only by their slot tag: no two sessions of an issuer do, but the list must not confuse them.
		for i := range 50 {
			other, err := token.NewSessionID("zzz", ids[i].Random())
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, other)
		}
		sessions := map[token.SessionID]int64{}
		type mark struct{ notBefore, last int64 }
		subjects := map[[16]byte]mark{}
		now := int64(someTime)
		horizon := revocation.Horizon.Milliseconds()
		for step := range 20_000 {
			now += r.Int64N(100)
			switch k := r.IntN(100); {
			case k < 70:
				id, at := ids[r.IntN(len(ids))], now-r.Int64N(100_000)
				add(t, list, revocation.Entry{Kind: revocation.KindSession, At: at, Session: id})
				sessions[id] = max(sessions[id], at)
			case k < 99:
				var s [16]byte
				s[0], s[1] = 1+byte(r.IntN(200)), byte(r.IntN(20))
				at := now - r.Int64N(100_000)
				m := mark{at + r.Int64N(100_000) - 50_000, at}
				add(t, list, revocation.Entry{Kind: revocation.KindSubject, At: m.last, Subject: s, NotBefore: m.notBefore})
				old := subjects[s]
				subjects[s] = mark{max(old.notBefore, m.notBefore), max(old.last, m.last, m.notBefore)}
			case step%10 == 0:
				list.Sweep(time.UnixMilli(now))
				// The list may keep an entry a little longer than it must.
				for id, at := range sessions {
					if at+horizon+64 <= now {
						delete(sessions, id)
					} else if at+horizon <= now && !list.Has(id) {
						delete(sessions, id)
					}
				}
				for s, m := range subjects {
					if m.last+horizon+2048 <= now || m.last+horizon <= now && list.SubjectNotBefore(s) == 0 {
						delete(subjects, s)
					}
				}
			}
		}
		list.Sweep(time.UnixMilli(now))
		found := 0
		for _, id := range ids {
			at, want := sessions[id]
			if want && at+horizon <= now {
				continue // between the bounds
			}
			if list.Has(id) != want {
				t.Fatalf("seed %d: session %v: list says %v, map %v", seed, id, !want, want)
			}
			if want {
				found++
			}
		}
		for s, m := range subjects {
			if got := list.SubjectNotBefore(s); got != m.notBefore && m.last+horizon > now {
				t.Fatalf("seed %d: subject %x: not-before %d, want %d", seed, s, got, m.notBefore)
			}
		}
		if found < 1000 || list.Len() < found {
			t.Fatalf("seed %d: %d sessions in force, the list holds %d: the test tests nothing", seed, found, list.Len())
		}
		// What comes out can be put in again.
		again := newList(t, revocation.ListConfig{Max: 1 << 17})
		for e := range list.Entries() {
			add(t, again, e)
		}
		for _, id := range ids {
			if list.Has(id) != again.Has(id) {
				t.Fatalf("session %v is lost on the way", id)
			}
		}
		if again.Len() != list.Len() {
			t.Fatalf("%d entries became %d", list.Len(), again.Len())
		}
	}
}

func TestListExpiry(t *testing.T) {
	at := time.UnixMilli(someTime)
	subject := [16]byte{1}
	list := newList(t, revocation.ListConfig{})
	add(t, list,
		revocation.Entry{Kind: revocation.KindSession, At: someTime, Session: id(1)},
		revocation.Entry{Kind: revocation.KindSubject, At: someTime, Subject: subject, NotBefore: someTime + 60_000},
		revocation.Entry{Kind: revocation.KindAll, At: someTime, NotBefore: someTime - 1},
		revocation.Entry{Kind: revocation.KindKey, At: someTime, KeyID: "key"},
	)
	for _, tc := range []struct {
		late             time.Duration
		session, subject bool
	}{
		{-time.Hour, true, true},
		{revocation.Horizon - time.Millisecond, true, true},
		{revocation.Horizon + 64*time.Millisecond, false, true},
		{revocation.Horizon + time.Minute - time.Millisecond, false, true}, // a not-before that is later than its revocation lasts longer
		{revocation.Horizon + time.Minute + 2*time.Second, false, false},
		{1000 * time.Hour, false, false},
	} {
		list.Sweep(at.Add(tc.late))
		if list.Has(id(1)) != tc.session || (list.SubjectNotBefore(subject) > 0) != tc.subject {
			t.Errorf("%v later: session %v, subject %v; want %v, %v", tc.late, list.Has(id(1)), list.SubjectNotBefore(subject) > 0, tc.session, tc.subject)
		}
		if list.AllNotBefore() != someTime-1 || !list.HasKey("key") || list.HasKey("other") {
			t.Errorf("%v later: a permanent entry is gone", tc.late)
		}
	}
	if list.Len() != 0 {
		t.Errorf("%d entries left", list.Len())
	}
}

// TestListLastTimes: an entry of the last times that there are is kept, not taken for one that expired long ago.
func TestListLastTimes(t *testing.T) {
	const last = 1<<46 - 1 // as late as an entry can be
	subject := [16]byte{1}
	for _, at := range []int64{last, last - 1, last - 62, last - 63, last - 64} {
		list := newList(t, revocation.ListConfig{})
		add(t, list,
			revocation.Entry{Kind: revocation.KindSession, At: at, Session: id(1)},
			revocation.Entry{Kind: revocation.KindSubject, At: at, Subject: subject, NotBefore: at},
		)
		list.Sweep(time.UnixMilli(last))
		if !list.Has(id(1)) || list.SubjectNotBefore(subject) != at {
			t.Errorf("revoked at %d: session %v, subject %d", at, list.Has(id(1)), list.SubjectNotBefore(subject))
		}
		for e := range list.Entries() {
			if e.At < at-64 {
				t.Errorf("revoked at %d, and the list says %d", at, e.At)
			}
		}
	}
}

// TestListLater: the later of two entries counts, in whichever order they come.
func TestListLater(t *testing.T) {
	subject := [16]byte{1}
	early := []revocation.Entry{
		{Kind: revocation.KindSession, At: someTime, Session: id(1)},
		{Kind: revocation.KindSubject, At: someTime, Subject: subject, NotBefore: someTime},
		{Kind: revocation.KindAll, At: someTime, NotBefore: someTime},
	}
	late := slices.Clone(early)
	for i := range late {
		late[i].At += 60_000
		late[i].NotBefore += 60_000
	}
	for name, order := range map[string][]revocation.Entry{
		"early first": slices.Concat(early, late),
		"late first":  slices.Concat(late, early),
	} {
		t.Run(name, func(t *testing.T) {
			list := newList(t, revocation.ListConfig{})
			add(t, list, order...)
			list.Sweep(time.UnixMilli(someTime + 60_000).Add(revocation.Horizon - time.Millisecond))
			if !list.Has(id(1)) || list.SubjectNotBefore(subject) != someTime+60_000 || list.AllNotBefore() != someTime+60_000 {
				t.Fatalf("session %v, subject %d, all %d", list.Has(id(1)), list.SubjectNotBefore(subject), list.AllNotBefore())
			}
			if list.Len() != 2 {
				t.Fatalf("%d entries", list.Len())
			}
		})
	}
}

// TestListFull: nothing is dropped silently, and what expires makes room.
func TestListFull(t *testing.T) {
	now := time.UnixMilli(someTime)
	list := newList(t, revocation.ListConfig{Max: 100})
	session := func(i int, at int64) revocation.Entry {
		return revocation.Entry{Kind: revocation.KindSession, At: at, Session: id(byte(i))}
	}
	for i := range 100 {
		add(t, list, session(i, someTime))
	}
	if list.Incomplete(now) {
		t.Fatal("incomplete, though everything is in it")
	}
	if err := list.Add(session(100, someTime+5000)); !errors.Is(err, revocation.ErrFull) {
		t.Fatalf("one more than fit: %v", err)
	}
	if list.Has(id(100)) || list.Len() != 100 {
		t.Fatal("it holds more than it may")
	}
	if err := list.Add(session(0, someTime+1000)); err != nil {
		t.Fatalf("an entry that is there already: %v", err)
	}
	if err := list.Add(revocation.Entry{Kind: revocation.KindAll, At: someTime, NotBefore: 5}); err != nil {
		t.Fatalf("an entry that takes no room: %v", err)
	}
	gone := now.Add(5*time.Second + revocation.Horizon)
	if !list.Incomplete(now) || !list.Incomplete(gone.Add(-time.Millisecond)) || list.Incomplete(gone.Add(64*time.Millisecond)) {
		t.Fatal("not incomplete for exactly as long as the missing entry matters")
	}
	list.Sweep(now.Add(revocation.Horizon + 100*time.Millisecond))
	if list.Len() != 1 {
		t.Fatalf("%d entries after the others expired", list.Len())
	}
	add(t, list, session(101, someTime+5000))

	// An entry that expired makes room by itself, once a sweep has told the time.
	for i := range 98 {
		add(t, list, session(i+110, someTime+4000))
	}
	list.Sweep(now.Add(revocation.Horizon + 200*time.Millisecond))
	for i := range 98 {
		if !list.Has(id(byte(i + 110))) {
			t.Fatal("lost an entry")
		}
	}

	for _, n := range []int{-1, 1 << 40} {
		if _, err := revocation.NewList(revocation.ListConfig{Max: n}); err == nil {
			t.Errorf("made a list of at most %d", n)
		}
	}
}

// TestListSweepsItself: a list that nobody sweeps makes room by itself, by the earlier of two clocks.
func TestListSweepsItself(t *testing.T) {
	now := time.Now()
	old := now.Add(-revocation.Horizon - time.Second).UnixMilli()
	for name, tc := range map[string]struct {
		at   int64 // of the entry that has no room
		fits bool
	}{
		"a new entry":               {now.UnixMilli(), true},
		"an entry of the year 2200": {7_258_118_400_000, true}, // this clock is the earlier one, and by it the others have expired
		"an entry as old as they":   {old, false},
	} {
		t.Run(name, func(t *testing.T) {
			list := newList(t, revocation.ListConfig{Max: 10})
			for i := range 10 {
				add(t, list, revocation.Entry{Kind: revocation.KindSession, At: old, Session: id(byte(i))})
			}
			err := list.Add(revocation.Entry{Kind: revocation.KindSession, At: tc.at, Session: id(10)})
			if fits := err == nil; fits != tc.fits {
				t.Fatal(err)
			}
		})
	}
}

func TestListFullOfKeys(t *testing.T) {
	list := newList(t, revocation.ListConfig{})
	key := func(i int) revocation.Entry {
		return revocation.Entry{Kind: revocation.KindKey, At: someTime, KeyID: "key-" + string(rune('a'+i%26)) + "-" + string(rune('a'+i/26%26)) + "-" + string(rune('a'+i/676))}
	}
	for i := range revocation.MaxKeys {
		add(t, list, key(i), key(i))
	}
	if err := list.Add(key(revocation.MaxKeys)); !errors.Is(err, revocation.ErrFull) {
		t.Fatalf("one more key: %v", err)
	}
	if !list.Incomplete(time.UnixMilli(someTime).Add(1e6 * time.Hour)) {
		t.Fatal("a missing key never expires")
	}
}

func TestListRefuses(t *testing.T) {
	list := newList(t, revocation.ListConfig{})
	for name, e := range map[string]revocation.Entry{
		"nothing":         {},
		"no session":      {Kind: revocation.KindSession, At: someTime},
		"no subject":      {Kind: revocation.KindSubject, At: someTime, NotBefore: 1},
		"no time":         {Kind: revocation.KindSession, Session: id(1)},
		"no not-before":   {Kind: revocation.KindAll, At: someTime},
		"malformed key":   {Kind: revocation.KindKey, At: someTime, KeyID: "a b"},
		"time out of era": {Kind: revocation.KindSession, At: 1 << 46, Session: id(1)},
	} {
		if err := list.Add(e); err == nil || errors.Is(err, revocation.ErrFull) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if list.Len() != 0 || list.Has(token.SessionID{}) || list.SubjectNotBefore([16]byte{}) != 0 {
		t.Error("the list holds what it refused")
	}
}

// TestListHas: a session whose ID differs by little from a revoked one's is another session, and none is no session.
func TestListHas(t *testing.T) {
	present := randomIDs(5000, 1)
	list := fill(t, present)
	for name, change := range map[string]func(tag []byte, random *[16]byte, i int){
		"one bit of the first word":   func(_ []byte, random *[16]byte, i int) { random[i%8] ^= 1 << (i / 8 % 8) },
		"one bit of the second word":  func(_ []byte, random *[16]byte, i int) { random[8+i%8] ^= 1 << (i / 8 % 8) },
		"the words the other way":     func(_ []byte, random *[16]byte, _ int) { *random = [16]byte(slices.Concat(random[8:], random[:8])) },
		"one character of the tag":    func(tag []byte, _ *[16]byte, i int) { tag[i%3] = "ab"[tag[i%3]&1] },
		"no bit of the random number": func(_ []byte, random *[16]byte, _ int) { *random = [16]byte{} },
	} {
		t.Run(name, func(t *testing.T) {
			for i, id := range present {
				tag, random := []byte(id.Tag()), id.Random()
				change(tag, &random, i)
				other, err := token.NewSessionID(string(tag), random)
				if err != nil {
					t.Fatal(err)
				}
				if !list.Has(id) || other != id && list.Has(other) {
					t.Fatalf("%v is revoked: %v; %v, which is not: %v", id, list.Has(id), other, list.Has(other))
				}
			}
		})
	}
	for range 300 { // the place of none is another one in each
		if fill(t, present[:200]).Has(token.SessionID{}) {
			t.Fatal("no session is revoked")
		}
	}
}

// TestListConcurrent: readers find everything that was added before they looked and nothing that was not, whatever the writers do.
func TestListConcurrent(t *testing.T) {
	list := newList(t, revocation.ListConfig{Max: 1 << 20})
	present, absent := randomIDs(20_000, 1), randomIDs(20_000, 2)
	for i := range 1000 {
		add(t, list, revocation.Entry{Kind: revocation.KindSession, At: someTime + 1<<30, Session: present[i]})
	}
	done := make(chan struct{})
	var readers, writers sync.WaitGroup
	for r := range 3 {
		readers.Go(func() {
			for i := r; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				if !list.Has(present[i%1000]) {
					t.Error("a reader missed an entry")
					return
				}
				if list.Has(absent[i%len(absent)]) {
					t.Error("a reader found what was never added")
					return
				}
				list.SubjectNotBefore([16]byte{byte(i)})
				runtime.Gosched() // WebAssembly does not interrupt a goroutine
			}
		})
	}
	writers.Go(func() { // entries that come and go
		for i := range 5_000 {
			add(t, list, revocation.Entry{Kind: revocation.KindSession, At: someTime + int64(i), Session: present[i]})
			add(t, list, revocation.Entry{Kind: revocation.KindSubject, At: someTime, NotBefore: someTime + int64(i), Subject: [16]byte{byte(i), 1}})
		}
	})
	writers.Go(func() {
		for i := range 200 {
			list.Sweep(time.UnixMilli(someTime + int64(i)*100).Add(revocation.Horizon))
			for range list.Entries() {
				break
			}
		}
	})
	writers.Wait()
	close(done)
	readers.Wait()
	for _, id := range present[:1000] {
		if !list.Has(id) {
			t.Fatal("an entry is gone")
		}
	}
}

func TestListAllocates(t *testing.T) {
	ids := randomIDs(4096, 1)
	list := fill(t, ids[:2048])
	i := 0
	if n := testing.AllocsPerRun(4000, func() {
		list.Has(ids[i%4096])
		list.SubjectNotBefore([16]byte{byte(i)})
		list.HasKey("key")
		i++
	}); n != 0 {
		t.Fatalf("%v allocations a look-up", n)
	}
}
