package store_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/redistest"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/store"
)

// onBoth runs a test on an embedded and on a real server.
func onBoth(t *testing.T, test func(t *testing.T, s *store.Redis, client *redis.Client)) {
	for name, url := range bothServers(t) {
		t.Run(name, func(t *testing.T) {
			client := dialURL(t, url)
			s, err := store.New(background(t), client, store.Config{Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			test(t, s, client)
		})
	}
}

// TestKeys holds the names of keys and fields, because other versions and other programs read them.
func TestKeys(t *testing.T) {
	onBoth(t, func(t *testing.T, s *store.Redis, client *redis.Client) {
		ctx := background(t)
		subject := "a{b}c"
		tag := counterfoil.SubjectTag(subject)
		id, gone := newID(t, subject), newRef(t, s, subject)
		_, err := s.Create(ctx, counterfoil.NewRecord{Session: id, Subject: subject, Idle: time.Hour, Absolute: 3 * time.Hour, Login: true, Device: "dev",
			Ops: []counterfoil.Op{{Kind: counterfoil.OpSet, Name: "n", Value: []byte("v")}}})
		if err != nil {
			t.Fatal(err)
		}
		anonymous := newRef(t, s, "")
		key := "cf:{" + tag + "}s:" + id.String()
		index := "cf:{" + tag + "}u:" + subject

		record := client.HGetAll(ctx, key).Val()
		got := slices.Sorted(maps.Keys(record))
		if want := []string{"a", "at", "b", "c", "d", "f:n", "g", "h", "i", "id", "k", "p", "t", "u"}; !slices.Equal(got, want) {
			t.Errorf("fields of a record are %v, want %v", got, want)
		}
		if record["id"] != id.String() || record["u"] != subject || record["i"] != "3600000" || record["d"] != "dev" || record["f:n"] != "v" || record["b"] != "2" ||
			record["g"] != "1" || record["k"] != "0" || record["c"] != record["at"] || len(record["c"]) != 13 {
			t.Errorf("record is %v", record)
		}
		if ttl := client.PTTL(ctx, key).Val(); ttl > time.Hour || ttl < time.Hour-time.Minute {
			t.Errorf("record expires in %v, want its idle time", ttl)
		}
		if ttl := client.PTTL(ctx, index).Val(); ttl > 3*time.Hour || ttl < 3*time.Hour-time.Minute {
			t.Errorf("index expires in %v, want the longest absolute life", ttl)
		}
		if score := client.ZScore(ctx, index, id.String()).Val(); fmt.Sprintf("%.0f", score) != record["a"] {
			t.Errorf("score in the index is %.0f, want the absolute expiry %s", score, record["a"])
		}
		if _, err := s.End(ctx, counterfoil.Ending{Session: gone.Session}); err != nil {
			t.Fatal(err)
		}
		if n := client.ZCard(ctx, index).Val(); n != 1 {
			t.Errorf("index has %d members, want 1", n)
		}

		ended, err := s.End(ctx, counterfoil.Ending{Subject: subject})
		if err != nil {
			t.Fatal(err)
		}
		notBefore := "cf:{" + tag + "}n:" + subject
		if v := client.Get(ctx, notBefore).Val(); v != fmt.Sprint(ended.NotBefore) {
			t.Errorf("not-before is %q, want %d", v, ended.NotBefore)
		}
		if ttl := client.PTTL(ctx, notBefore).Val(); ttl < store.MaxAbsolute {
			t.Errorf("not-before is kept for %v, but a session may live %v", ttl, store.MaxAbsolute)
		}
		if _, err := s.Append(ctx, revocation.Entry{Kind: revocation.KindKey, At: 1, KeyID: "kid"}); err != nil {
			t.Fatal(err)
		}
		meta := slices.Sorted(maps.Keys(client.HGetAll(ctx, "cf:{rev}meta").Val()))
		if want := []string{"b", "e", "k:kid", "l"}; !slices.Equal(meta, want) {
			t.Errorf("fields of meta are %v, want %v", meta, want)
		}
		for _, k := range []string{"cf:{rev}log", "cf:{rev}meta"} {
			if ttl := client.TTL(ctx, k).Val(); ttl != -1 {
				t.Errorf("%s has a TTL of %v: an eviction policy for volatile keys would take it", k, ttl)
			}
		}
		keys := client.Keys(ctx, "*").Val()
		slices.Sort(keys)
		want := []string{"cf:{rev}log", "cf:{rev}meta", notBefore, "cf:{" + anonymous.Session.Tag() + "}s:" + anonymous.Session.String()}
		slices.Sort(want)
		if !slices.Equal(keys, want) {
			t.Errorf("keys are %q, want %q", keys, want)
		}
	})
}

// TestReadingNeverWrites compares everything that Redis holds before and after reading. Only the arrival of a generation is noted, once.
func TestReadingNeverWrites(t *testing.T) {
	onBoth(t, func(t *testing.T, s *store.Redis, client *redis.Client) {
		ctx := background(t)
		ref := newRef(t, s, "alice", counterfoil.Op{Kind: counterfoil.OpSet, Name: "f", Value: []byte("v")})
		ref.Generation = 1
		if _, err := s.Load(ctx, ref); err != nil {
			t.Fatal(err)
		}
		snapshot := func() string {
			var b strings.Builder
			keys := client.Keys(ctx, "*").Val()
			slices.Sort(keys)
			for _, k := range keys {
				fmt.Fprintln(&b, k, client.HGetAll(ctx, k).Val(), client.PExpireTime(ctx, k).Val().Round(time.Second))
			}
			return b.String()
		}
		before := snapshot()
		for range 5 {
			if _, err := s.Load(ctx, ref); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Sessions(ctx, "alice"); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Ask(ctx, verified(t, ref)); err != nil {
				t.Fatal(err)
			}
		}
		if after := snapshot(); after != before {
			t.Errorf("reading changed\n%s\nto\n%s", before, after)
		}
	})
}

// TestBrokenKeys puts things under the keys that are no sessions. Nothing of it may be used, and nothing of it may keep anybody logged in.
func TestBrokenKeys(t *testing.T) {
	onBoth(t, func(t *testing.T, s *store.Redis, client *redis.Client) {
		ctx := background(t)
		tag := counterfoil.SubjectTag("alice")
		session := func(ref counterfoil.Ref) string { return "cf:{" + tag + "}s:" + ref.Session.String() }
		index, notBefore := "cf:{"+tag+"}u:alice", "cf:{"+tag+"}n:alice"
		dead := func(name string, ref counterfoil.Ref) {
			t.Helper()
			if _, err := s.Load(ctx, ref); !errors.Is(err, counterfoil.ErrNotFound) {
				t.Errorf("%s: Load: %v", name, err)
			}
			if _, err := s.Save(ctx, ref, nil); !errors.Is(err, counterfoil.ErrNotFound) {
				t.Errorf("%s: Save: %v", name, err)
			}
			if _, err := s.Freeze(ctx, ref); !errors.Is(err, counterfoil.ErrNotFound) {
				t.Errorf("%s: Freeze: %v", name, err)
			}
			if _, err := s.Refresh(ctx, counterfoil.Presented{Session: ref.Session, Generation: 1, Window: time.Second}); !errors.Is(err, counterfoil.ErrNotFound) {
				t.Errorf("%s: Refresh: %v", name, err)
			}
			if a, err := s.Ask(ctx, verified(t, ref)); err != nil || a.Live {
				t.Errorf("%s: Ask: %+v, %v", name, a, err)
			}
			if list, err := s.Sessions(ctx, "alice"); err != nil || len(list) != 0 {
				t.Errorf("%s: Sessions: %d, %v", name, len(list), err)
			}
			if _, err := s.End(ctx, counterfoil.Ending{Session: ref.Session}); err != nil {
				t.Errorf("%s: End: %v", name, err)
			}
			if client.Exists(ctx, session(ref)).Val() != 0 {
				t.Errorf("%s: End left it there", name)
			}
		}
		for name, damage := range map[string]func(key string){
			"a string":           func(k string) { client.Del(ctx, k); client.Set(ctx, k, "x", 0) },
			"a list":             func(k string) { client.Del(ctx, k); client.LPush(ctx, k, "x") },
			"an empty record":    func(k string) { client.Del(ctx, k); client.HSet(ctx, k, "f:x", "1") },
			"no ID":              func(k string) { client.HDel(ctx, k, "id") },
			"no subject":         func(k string) { client.HDel(ctx, k, "u") },
			"no creation time":   func(k string) { client.HDel(ctx, k, "c") },
			"no expiry":          func(k string) { client.HDel(ctx, k, "a") },
			"a creation of text": func(k string) { client.HSet(ctx, k, "c", "soon") },
			"an expiry of text":  func(k string) { client.HSet(ctx, k, "a", "never") },
		} {
			ref := newRef(t, s, "alice")
			damage(session(ref))
			dead(name, ref)
		}

		// Refresh state that is missing or no number cannot be judged.
		for _, field := range []string{"g", "p", "h", "k", "i", "t"} {
			ref := newRef(t, s, "alice")
			client.HSet(ctx, session(ref), field, "x")
			if _, err := s.Refresh(ctx, counterfoil.Presented{Session: ref.Session, Generation: 1, Window: time.Second}); !errors.Is(err, counterfoil.ErrNotFound) {
				t.Errorf("Refresh with %s = x: %v", field, err)
			}
			if _, err := s.End(ctx, counterfoil.Ending{Session: ref.Session}); err != nil {
				t.Error(err)
			}
		}

		// A broken session beside good ones: listing, the cap and ending go on.
		good, broken := newRef(t, s, "alice"), newRef(t, s, "alice")
		client.Del(ctx, session(broken))
		client.Set(ctx, session(broken), "x", 0)
		if list, err := s.Sessions(ctx, "alice"); err != nil || len(list) != 1 {
			t.Errorf("Sessions beside a broken one: %d, %v", len(list), err)
		}
		client.ZAdd(ctx, index, redis.Z{Score: 1e13, Member: broken.Session.String()}, redis.Z{Score: 1e13, Member: "no ID at all"})
		if _, err := s.Create(ctx, counterfoil.NewRecord{Session: newID(t, "alice"), Subject: "alice", Idle: time.Hour, Absolute: time.Hour, Cap: 2}); err != nil {
			t.Errorf("Create beside a broken one: %v", err)
		}
		if _, err := s.Load(ctx, good); err != nil {
			t.Errorf("the good one: %v", err)
		}

		// A broken index must not keep anybody logged in.
		client.Del(ctx, index)
		client.Set(ctx, index, "x", 0)
		if _, err := s.End(ctx, counterfoil.Ending{Subject: "alice"}); err != nil {
			t.Errorf("End all with a broken index: %v", err)
		}
		if _, err := s.Load(ctx, good); !errors.Is(err, counterfoil.ErrNotFound) {
			t.Errorf("after ending all with a broken index: %v", err)
		}

		// A broken not-before: an error, never a guess; ending all heals it.
		ref := newRef(t, s, "alice")
		for _, value := range []string{"soon", ""} {
			client.Set(ctx, notBefore, value, 0)
			if _, err := s.Load(ctx, ref); err == nil || errors.Is(err, counterfoil.ErrNotFound) {
				t.Errorf("not-before %q: Load: %v", value, err)
			}
			if _, err := s.Ask(ctx, verified(t, ref)); err == nil {
				t.Errorf("not-before %q: Ask succeeded", value)
			}
		}
		client.Del(ctx, notBefore)
		client.LPush(ctx, notBefore, "x")
		if _, err := s.Save(ctx, ref, nil); err == nil || errors.Is(err, counterfoil.ErrNotFound) {
			t.Errorf("not-before of a wrong type: Save: %v", err)
		}
		if _, err := s.End(ctx, counterfoil.Ending{Subject: "alice"}); err != nil {
			t.Errorf("End all with a broken not-before: %v", err)
		}
		if _, err := s.Load(ctx, ref); !errors.Is(err, counterfoil.ErrNotFound) {
			t.Errorf("after ending all with a broken not-before: %v", err)
		}
	})
}

// TestBadInput is refused before anything is sent.
func TestBadInput(t *testing.T) {
	s, err := store.Open(background(t), startEmbedded(t).URL(), store.Config{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := background(t)
	good := func() counterfoil.NewRecord {
		return counterfoil.NewRecord{Session: newID(t, "alice"), Subject: "alice", Idle: time.Hour, Absolute: time.Hour}
	}
	for name, change := range map[string]func(*counterfoil.NewRecord){
		"another tag": func(r *counterfoil.NewRecord) { r.Session = newID(t, "bob") },
		"long subject": func(r *counterfoil.NewRecord) {
			r.Subject = strings.Repeat("x", 10<<10)
			r.Session = newID(t, r.Subject)
		},
		"no idle":       func(r *counterfoil.NewRecord) { r.Idle = 0 },
		"negative idle": func(r *counterfoil.NewRecord) { r.Idle = -time.Hour },
		"no absolute":   func(r *counterfoil.NewRecord) { r.Absolute = 0 },
		"for ever":      func(r *counterfoil.NewRecord) { r.Absolute = store.MaxAbsolute + time.Second },
		"long device":   func(r *counterfoil.NewRecord) { r.Device = strings.Repeat("x", 257) },
		"negative cap":  func(r *counterfoil.NewRecord) { r.Cap = -1 },
		"too many steps": func(r *counterfoil.NewRecord) {
			r.Ops = slices.Repeat([]counterfoil.Op{{Kind: counterfoil.OpIncr, Name: "n"}}, 4097)
		},
		"no ID": func(r *counterfoil.NewRecord) { r.Session, r.Subject = counterfoil.Ref{}.Session, "" },
	} {
		r := good()
		change(&r)
		if _, err := s.Create(ctx, r); err == nil {
			t.Errorf("Create with %s succeeded", name)
		}
	}
	for _, p := range []counterfoil.Presented{
		{Session: newID(t, "a"), Generation: 1},
		{Session: newID(t, "a"), Generation: 1, Window: -time.Second},
		{Session: newID(t, "a"), Generation: 1 << 53, Window: time.Second},
	} {
		if _, err := s.Refresh(ctx, p); err == nil || errors.Is(err, counterfoil.ErrNotFound) {
			t.Errorf("Refresh %+v: %v", p, err)
		}
	}
	if _, err := s.End(ctx, counterfoil.Ending{Subject: strings.Repeat("x", 10<<10)}); err == nil {
		t.Error("End of a subject of 10 KiB succeeded")
	}
	if list, err := s.Sessions(ctx, strings.Repeat("x", 10<<10)); err != nil || len(list) != 0 {
		t.Errorf("Sessions of a subject of 10 KiB: %d, %v", len(list), err)
	}
	for _, pos := range []revocation.Position{"x", "1", "1-", "-1", "$", "+", "0-0 STREAMS", "1-+2", "99999999999999999999-0"} {
		if _, err := s.Read(ctx, pos, 0); err == nil {
			t.Errorf("Read from %q succeeded", pos)
		}
	}
}

// TestFullMemory shows that a server without memory refuses writes whole, and can still end sessions.
func TestFullMemory(t *testing.T) {
	client := dialURL(t, redistest.Start(t, redistest.Options{Config: []string{"maxmemory-policy noeviction"}}).URL())
	ctx := background(t)
	s, err := store.New(ctx, client, store.Config{Logger: quiet, Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	one, all, others, keep := newRef(t, s, "alice"), newRef(t, s, "bob"), newRef(t, s, "carol"), newRef(t, s, "carol")
	full := newRef(t, s, "dave", counterfoil.Op{Kind: counterfoil.OpSet, Name: "n", Value: []byte("1")}, counterfoil.Op{Kind: counterfoil.OpSet, Name: "x", Value: []byte("y")})
	if err := client.ConfigSet(ctx, "maxmemory", "1mb").Err(); err != nil {
		t.Fatal(err)
	}
	if err := client.Set(ctx, "more", "x", 0).Err(); err == nil {
		t.Fatal("the server is not full")
	}
	if _, err := s.Save(ctx, full, []counterfoil.Op{{Kind: counterfoil.OpIncr, Name: "n", By: 1}}); err == nil || errors.Is(err, counterfoil.ErrNotFound) {
		t.Errorf("Save in a full server: %v", err)
	}
	id := newID(t, "dave")
	if _, err := s.Create(ctx, counterfoil.NewRecord{Session: id, Subject: "dave", Idle: time.Hour, Absolute: time.Hour, Cap: 1}); err == nil {
		t.Error("Create in a full server succeeded")
	}
	if r, err := s.Load(ctx, counterfoil.Ref{Session: full.Session, Subject: "dave"}); err != nil || string(r.Fields["n"]) != "1" {
		t.Errorf("after refused writes: %q, %v", r.Fields["n"], err)
	}
	for name, e := range map[string]counterfoil.Ending{
		"one": {Session: one.Session}, "all": {Subject: "bob"}, "others": {Subject: "carol", Keep: keep.Session},
	} {
		if _, err := s.End(ctx, e); err != nil {
			t.Errorf("ending %s in a full server: %v", name, err)
		}
	}
	for name, ref := range map[string]counterfoil.Ref{"one": one, "all": all, "others": others} {
		if _, err := s.Load(ctx, ref); !errors.Is(err, counterfoil.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.Load(ctx, keep); err != nil {
		t.Errorf("the session to keep: %v", err)
	}
}

// TestIndexNeverLeaks shows that every step that walks an index drops what is not there any more, and keeps what is still to be announced.
func TestIndexNeverLeaks(t *testing.T) {
	onBoth(t, func(t *testing.T, s *store.Redis, client *redis.Client) {
		ctx := background(t)
		for _, x := range []struct {
			step string
			walk func(keep counterfoil.Ref) error
			left int // members of the index afterwards
		}{
			{"Sessions", func(keep counterfoil.Ref) error { _, err := s.Sessions(ctx, keep.Subject); return err }, 2}, // the live one, one to be announced
			{"Create", func(keep counterfoil.Ref) error { newRef(t, s, keep.Subject); return nil }, 3},                // and the new one
			{"End others", func(keep counterfoil.Ref) error { // and the one whose record is gone: perhaps nobody has announced it
				_, err := s.End(ctx, counterfoil.Ending{Subject: keep.Subject, Keep: keep.Session})
				return err
			}, 3},
		} {
			subject := x.step
			tag := counterfoil.SubjectTag(subject)
			index := "cf:{" + tag + "}u:" + subject
			live, gone, pending, announced := newRef(t, s, subject), newRef(t, s, subject), newRef(t, s, subject), newRef(t, s, subject)
			for _, ref := range []counterfoil.Ref{gone, pending, announced} {
				client.Del(ctx, "cf:{"+tag+"}s:"+ref.Session.String())
			}
			now := float64(time.Now().UnixMilli())
			client.ZAdd(ctx, index,
				redis.Z{Score: -(now + 60_000), Member: pending.Session.String()},   // ended, to be announced for another minute
				redis.Z{Score: -(now - 60_000), Member: announced.Session.String()}) // ended, its last token expired a minute ago
			if err := x.walk(live); err != nil {
				t.Fatal(err)
			}
			got := client.ZRange(ctx, index, 0, -1).Val()
			if len(got) != x.left || !slices.Contains(got, live.Session.String()) || !slices.Contains(got, pending.Session.String()) {
				t.Errorf("%s leaves %d members in the index, want %d", x.step, len(got), x.left)
			}
		}
	})
}

// TestIndexLife shows that the index outlives what is in it: the longest session, and an end that is still to be announced.
func TestIndexLife(t *testing.T) {
	onBoth(t, func(t *testing.T, s *store.Redis, client *redis.Client) {
		ctx := background(t)
		create := func(subject string, absolute time.Duration) counterfoil.Ref {
			t.Helper()
			id := newID(t, subject)
			if _, err := s.Create(ctx, counterfoil.NewRecord{Session: id, Subject: subject, Idle: time.Hour, Absolute: absolute}); err != nil {
				t.Fatal(err)
			}
			return counterfoil.Ref{Session: id, Subject: subject}
		}
		lasts := func(subject string, want time.Duration) {
			t.Helper()
			if ttl := client.PTTL(ctx, "cf:{"+counterfoil.SubjectTag(subject)+"}u:"+subject).Val(); ttl > want || ttl < want-time.Minute {
				t.Errorf("the index lasts %v, want %v", ttl, want)
			}
		}
		create("alice", 2*time.Hour)
		create("alice", 5*time.Hour)
		keep := create("alice", 3*time.Hour)
		lasts("alice", 5*time.Hour)
		if _, err := s.End(ctx, counterfoil.Ending{Subject: "alice", Keep: keep.Session}); err != nil {
			t.Fatal(err)
		}
		lasts("alice", 5*time.Hour)

		create("bob", 5*time.Minute)
		keep = create("bob", 5*time.Minute)
		lasts("bob", 5*time.Minute)
		if _, err := s.End(ctx, counterfoil.Ending{Subject: "bob", Keep: keep.Session}); err != nil {
			t.Fatal(err)
		}
		lasts("bob", revocation.Horizon)

		thief := create("carol", time.Hour)
		for _, generation := range []uint64{5, 2} { // ahead, then reused
			if _, err := s.Refresh(ctx, counterfoil.Presented{Session: thief.Session, Generation: generation, Window: time.Second}); err != nil {
				t.Fatal(err)
			}
		}
		if n := client.Exists(ctx, "cf:{"+counterfoil.SubjectTag("carol")+"}u:carol").Val(); n != 0 {
			t.Error("the index still lists a session that ended by reuse")
		}
	})
}

// TestFrozenAndCap shows that a rotation at the cap ends no other session: the frozen one makes room.
func TestFrozenAndCap(t *testing.T) {
	onBoth(t, func(t *testing.T, s *store.Redis, client *redis.Client) {
		ctx := background(t)
		old, other := newRef(t, s, "alice"), newRef(t, s, "alice")
		if _, err := s.Freeze(ctx, old); err != nil {
			t.Fatal(err)
		}
		c, err := s.Create(ctx, counterfoil.NewRecord{Session: newID(t, "alice"), Subject: "alice", Idle: time.Hour, Absolute: time.Hour, Cap: 2})
		if err != nil || len(c.Evicted) != 0 {
			t.Errorf("ended %d sessions, %v", len(c.Evicted), err)
		}
		if _, err := s.Load(ctx, other); err != nil {
			t.Errorf("the other session: %v", err)
		}
		if _, err := s.Freeze(ctx, old); err != nil {
			t.Errorf("a retry may copy the frozen one again: %v", err)
		}
	})
}

// TestFrozenWindow shows that requests beside a login are superseded, and later ones have no session.
func TestFrozenWindow(t *testing.T) {
	onBoth(t, func(t *testing.T, s *store.Redis, client *redis.Client) {
		ctx := background(t)
		ref := newRef(t, s, "")
		if _, err := s.Freeze(ctx, ref); err != nil {
			t.Fatal(err)
		}
		present := counterfoil.Presented{Session: ref.Session, Generation: 1, Window: 10 * time.Second}
		if r, err := s.Refresh(ctx, present); err != nil || r.Verdict != counterfoil.Superseded {
			t.Errorf("beside the freezing: verdict %d, %v", r.Verdict, err)
		}
		backdoor{client, "cf:"}.shift(t, ref.Session, 12*time.Second)
		if r, err := s.Refresh(ctx, present); !errors.Is(err, counterfoil.ErrNotFound) {
			t.Errorf("later: verdict %d, %v", r.Verdict, err)
		}
	})
}

// TestEndedBeforeItsTokens steps the clock back and then ends sessions whose tokens are of a later time than it shows now. The end is dated no earlier than they are, since
// lists forget it by that date, and not before the last of the tokens has expired.
func TestEndedBeforeItsTokens(t *testing.T) {
	for _, w := range []struct {
		name string
		end  func(s *store.Redis, one, kept counterfoil.Ref) (at int64, ended int, err error)
	}{
		{"one", func(s *store.Redis, one, _ counterfoil.Ref) (int64, int, error) {
			e, err := s.End(background(t), counterfoil.Ending{Session: one.Session})
			return e.At, 1, err
		}},
		{"others", func(s *store.Redis, _, kept counterfoil.Ref) (int64, int, error) {
			e, err := s.End(background(t), counterfoil.Ending{Subject: kept.Subject, Keep: kept.Session})
			return e.At, len(e.Sessions), err
		}},
		{"others, again", func(s *store.Redis, _, kept counterfoil.Ref) (int64, int, error) {
			if _, err := s.End(background(t), counterfoil.Ending{Subject: kept.Subject, Keep: kept.Session}); err != nil {
				return 0, 0, err
			}
			e, err := s.End(background(t), counterfoil.Ending{Subject: kept.Subject, Keep: kept.Session})
			return e.At, len(e.Sessions), err
		}},
		{"the cap", func(s *store.Redis, _, kept counterfoil.Ref) (int64, int, error) {
			c, err := s.Create(background(t), counterfoil.NewRecord{
				Session: newID(t, kept.Subject), Subject: kept.Subject, Idle: time.Hour, Absolute: time.Hour, Cap: 2})
			return c.Ended, len(c.Evicted), err
		}},
	} {
		t.Run(w.name, func(t *testing.T) {
			srv := startEmbedded(t)
			client := srv.Client()
			defer client.Close()
			s, err := store.New(background(t), client, store.Config{Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			start := time.Now()
			srv.SetTime(start)
			one := newRef(t, s, "alice")
			srv.SetTime(start.Add(time.Second))
			kept := newRef(t, s, "alice")
			srv.SetTime(start.Add(-10 * time.Minute))
			at, ended, err := w.end(s, one, kept)
			if err != nil || ended != 1 {
				t.Fatalf("%d sessions have ended, %v, want 1", ended, err)
			}
			if at < start.UnixMilli() {
				t.Errorf("the end is dated %v before a token of the session", start.Sub(time.UnixMilli(at)).Round(time.Second))
			}
		})
	}
}
