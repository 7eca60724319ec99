package store_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/redistest"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/store/storetest"
)

// TestTopologyErrors is TestOpenErrors for what stands behind several hosts.
func TestTopologyErrors(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	nobody := closed.Addr().String()
	testOpenErrors(t, []openError{
		{"embedded", "embedded:", "embedded.Open"},
		{"another mode", "redis+ring://:S3CRET@localhost", `"redis+ring://"`},
		{"half a mode", "redis+://:S3CRET@localhost", "want redis:// or rediss://"},
		{"several hosts and no mode", "redis://:S3CRET@a:1,b:2", "several hosts"},
		{"an empty host", "redis+cluster://:S3CRET@a:1,,b:2", "empty host"},
		{"no host", "redis+sentinel://:S3CRET@/main", "empty host"},
		{"a bad port in the list", "redis+cluster://:S3CRET@a:1,b:port", "does not parse"},
		{"a slash in a cluster's password", "redis+cluster://:S3CRET/x@a:1,b:2", "does not parse"},
		{"a slash in a password that looks like a host", "redis+cluster://S3CRET/x@a:1,b:2", "does not parse"},
		{"the same before a master", "redis+sentinel://u:1/S3CRET@a:1/main", "does not parse"},
		{"a bad escape in a list", "redis+sentinel://:S3CRET%zz@a:1/main", "does not parse"},
		{"too many hosts", "redis+cluster://:S3CRET@a" + strings.Repeat(",a", 64), "more than 64 hosts"},
		{"no master", "redis+sentinel://:S3CRET@" + nobody, "names no master"},
		{"no master but a slash", "redis+sentinel://:S3CRET@" + nobody + "/", "names no master"},
		{"a bad database of a master", "redis+sentinel://:S3CRET@" + nobody + "/main/one", "database"},
		{"a database of a cluster", "redis+cluster://:S3CRET@" + nobody + "/3", "a Cluster has none"},
		{"an unknown option of a cluster", "redis+cluster://:S3CRET@" + nobody + "?colour=S3CRET", "an option"},
		{"no Sentinel there", "redis+sentinel://:S3CRET@" + nobody + "," + nobody + "/main?sentinel_password=S3CRET", "Sentinel at " + nobody + " cannot be reached"},
		{"no Cluster there", "redis+cluster://:S3CRET@" + nobody + "," + nobody, "Redis at " + nobody + " cannot be reached"},
	})
}

// TestTopologyRefused takes one thing for another.
func TestTopologyRefused(t *testing.T) {
	plain := redistest.Start(t, redistest.Options{}).Addr()
	locked := redistest.Start(t, redistest.Options{Password: "right"}).Addr()
	testOpenErrors(t, []openError{
		{"a single server for a Cluster", "redis+cluster://" + plain, "is not a node of a Cluster"},
		{"a single server for a Sentinel", "redis+sentinel://" + plain + "/main", "is no Sentinel"},
		{"a wrong password of a Cluster", "redis+cluster://:S3CRET@" + locked, "WRONGPASS"},
		{"a wrong password of a Sentinel", "redis+sentinel://" + locked + "/main?sentinel_password=S3CRET", "WRONGPASS"},
		{"no answer to TLS of a Cluster", "rediss+cluster://:S3CRET@" + plain, "TLS"},
	})
}

// opened makes a store by its URL, with a prefix of its own.
func opened(t *testing.T, url string, past redis.UniversalClient) storetest.Under {
	t.Helper()
	prefix := "test" + strconv.FormatInt(time.Now().UnixNano(), 36) + ":"
	s, err := store.Open(t.Context(), url, store.Config{Prefix: prefix, Logger: quiet, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	b := backdoor{past, prefix}
	return storetest.Under{Store: s, Pass: b.shift, Misfile: b.misfile, Log: s, Source: s, Census: s, Silence: b.silence}
}

func sentinelURL(s *redistest.Sentinels, password string) string {
	return "redis+sentinel://:" + password + "@" + strings.Join(redistest.Addrs(s.Watchers), ",") + "/" + redistest.MasterName
}

// TestClusterFailover opens a Cluster of three masters with a replica each by its URL, runs the suite on it and kills a master.
func TestClusterFailover(t *testing.T) {
	nodes := redistest.StartCluster(t, 3, redistest.Options{Replicas: 1, Password: "right", Config: []string{"cluster-node-timeout 1000"}})
	url := "redis+cluster://:right@" + strings.Join(redistest.Addrs(nodes[3:]), ",")
	past := redis.NewClusterClient(&redis.ClusterOptions{Addrs: redistest.Addrs(nodes), Password: "right", ContextTimeoutEnabled: true})
	t.Cleanup(func() { past.Close() })
	storetest.Run(t, func(t *testing.T) storetest.Under { return opened(t, url, past) })
	var masters []*redis.Client
	for _, n := range nodes[:3] {
		masters = append(masters, dialURL(t, n.URL()))
	}
	testFailover(t, url, masters, nodes[0])
}

// TestClusterSlotOnItsWay moves a slot from one master to another by hand, and looks at its sessions on the way: they can be read, what changes them
// is refused for a while, and nothing is lost or ended by it.
func TestClusterSlotOnItsWay(t *testing.T) {
	t.Parallel()
	nodes := redistest.StartCluster(t, 3, redistest.Options{})
	ctx := background(t)
	s := openStore(t, "redis+cluster://"+nodes[2].Addr(), store.Config{})
	subject, slot := subjectOf(t, nodes[0], "subject")
	set := counterfoil.Op{Kind: counterfoil.OpSet, Name: "set", Value: []byte("before")}
	ref, ended := newRef(t, s, subject, set), newRef(t, s, subject)
	saved := int64(0)
	look := func(when string, readable, writable bool) {
		t.Helper()
		r, err := s.Load(ctx, ref)
		if readable && (err != nil || string(r.Fields["set"]) != "before") {
			t.Errorf("%s: load: %q, %v", when, r.Fields, err)
		}
		_, saveErr := s.Save(ctx, ref, []counterfoil.Op{{Kind: counterfoil.OpIncr, Name: "n", By: 1}})
		if saveErr == nil {
			saved++
		}
		fresh, refreshErr := s.Refresh(ctx, counterfoil.Presented{Session: ref.Session, Generation: 1, Window: time.Minute})
		if refreshErr == nil && fresh.Verdict != counterfoil.Renewed {
			t.Errorf("%s: refresh: %+v", when, fresh)
		}
		for step, err := range map[string]error{"load": err, "save": saveErr, "refresh": refreshErr} {
			switch {
			case step != "load" && writable != (err == nil):
				t.Errorf("%s: %s: %v", when, step, err)
			case errors.Is(err, counterfoil.ErrNotFound), errors.Is(err, counterfoil.ErrConflict):
				t.Errorf("%s: %s: %v, which would log somebody out", when, step, err)
			}
		}
	}
	end := func() error { _, err := s.End(ctx, counterfoil.Ending{Session: ended.Session}); return err }

	look("before", true, true)
	move, arrive := setOut(t, nodes, slot)
	look("nothing has moved yet", true, false)

	move(isRecord)
	look("the records have moved", true, false)
	if err := end(); err == nil || errors.Is(err, counterfoil.ErrNotFound) {
		t.Errorf("an ending while index and record are apart: %v", err)
	}
	move(isNoRecord)
	look("all has moved", true, false)

	arrive()
	look("the slot is served there", true, true)
	if err := end(); err != nil {
		t.Errorf("an ending then: %v", err)
	}
	if _, err := s.Load(ctx, ended); !errors.Is(err, counterfoil.ErrNotFound) {
		t.Errorf("the session that has ended: %v", err)
	}
	if r, err := s.Load(ctx, ref); err != nil || string(r.Fields["n"]) != strconv.FormatInt(saved, 10) {
		t.Errorf("%d saves were acknowledged, the record has %q, %v", saved, r.Fields["n"], err)
	}
}

// TestClusterSubjectOnItsWay moves a subject's index to another master before its records, and after them. What goes by the index has to find the records where
// the index is: in between it is refused, ends nothing and forgets nothing, and whoever repeats it afterwards has it done.
func TestClusterSubjectOnItsWay(t *testing.T) {
	t.Parallel()
	nodes := redistest.StartCluster(t, 3, redistest.Options{})
	ctx := background(t)
	s := openStore(t, "redis+cluster://"+nodes[2].Addr(), store.Config{})
	client := dialURL(t, nodes[0].URL())
	for _, w := range []struct {
		name      string
		first     func(key string) bool // moves first
		notBefore bool                  // without one Redis itself refuses what reads it
		oneRecord bool                  // of the others only the last that the index names moves first
	}{
		{"index first", isNoRecord, false, false}, {"index first, not-before", isNoRecord, true, false},
		{"records first", isRecord, false, false}, {"records first, not-before", isRecord, true, false},
		{"one record first", isRecord, false, true}, {"one record first, not-before", isRecord, true, true},
	} {
		t.Run(w.name, func(t *testing.T) {
			subject, slot := subjectOf(t, nodes[0], w.name)
			if w.notBefore {
				if _, err := s.End(ctx, counterfoil.Ending{Subject: subject}); err != nil {
					t.Fatal(err)
				}
			}
			kept := newRef(t, s, subject)
			refs := []counterfoil.Ref{newRef(t, s, subject), newRef(t, s, subject), newRef(t, s, subject)}
			others := counterfoil.Ending{Subject: subject, Keep: kept.Session}
			first := w.first
			if w.oneRecord {
				tag := counterfoil.SubjectTag(subject)
				ids := client.ZRange(ctx, "cf:{"+tag+"}u:"+subject, 0, -1).Val()
				ids = slices.DeleteFunc(ids, func(id string) bool { return id == kept.Session.String() })
				first = func(key string) bool { return key == "cf:{"+tag+"}s:"+ids[len(ids)-1] }
			}

			move, arrive := setOut(t, nodes, slot)
			move(first)
			if list, err := s.Sessions(ctx, subject); err == nil {
				t.Errorf("on its way the subject has %d sessions", len(list))
			}
			if _, err := s.End(ctx, others); err == nil {
				t.Error("on its way all other sessions are said to have ended")
			}
			if _, err := s.End(ctx, counterfoil.Ending{Subject: subject}); err == nil {
				t.Error("on its way all sessions are said to have ended")
			}
			late := counterfoil.NewRecord{Session: newID(t, subject), Subject: subject, Idle: time.Hour, Absolute: time.Hour, Cap: 2}
			if c, err := s.Create(ctx, late); err == nil {
				t.Errorf("on its way another session begins, and ends %d", len(c.Evicted))
			}
			for _, ref := range append(refs, kept) {
				if _, err := s.Load(ctx, ref); err != nil {
					t.Errorf("on its way a session that nobody is told has ended: %v", err)
				}
			}
			move(func(key string) bool { return !first(key) })
			arrive()

			if list, err := s.Sessions(ctx, subject); len(list) != 4 || err != nil {
				t.Errorf("afterwards the subject has %d sessions, %v", len(list), err)
			}
			if e, err := s.End(ctx, others); len(e.Sessions) != 3 || err != nil {
				t.Errorf("afterwards %d other sessions have ended, %v", len(e.Sessions), err)
			}
			for _, ref := range refs {
				if _, err := s.Load(ctx, ref); !errors.Is(err, counterfoil.ErrNotFound) {
					t.Errorf("afterwards another session: %v", err)
				}
			}
			if _, err := s.Load(ctx, kept); err != nil {
				t.Errorf("afterwards the session that was kept: %v", err)
			}
		})
	}
}

func isRecord(key string) bool   { return strings.Contains(key, "}s:") }
func isNoRecord(key string) bool { return !isRecord(key) }

// slots is how many a Cluster has.
const slots = 16384

// subjectOf makes a name of a subject whose slot is served by the first of three masters.
func subjectOf(t *testing.T, first *redistest.Server, name string) (subject string, at int64) {
	t.Helper()
	c := dialURL(t, first.URL())
	for i := 0; ; i++ {
		subject = name + " " + strconv.Itoa(i)
		at, err := c.ClusterKeySlot(t.Context(), "{"+counterfoil.SubjectTag(subject)+"}").Result()
		if err != nil {
			t.Fatal(err)
		}
		if at < slots/3 {
			return subject, at
		}
	}
}

// setOut begins to move a slot from the first master of a Cluster to the second. move moves some of its keys; arrive ends it.
func setOut(t *testing.T, nodes []*redistest.Server, slot int64) (move func(which func(key string) bool), arrive func()) {
	t.Helper()
	ctx := background(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	from, to := dialURL(t, nodes[0].URL()), dialURL(t, nodes[1].URL())
	source, target := from.ClusterMyID(ctx).Val(), to.ClusterMyID(ctx).Val()
	must(to.Do(ctx, "CLUSTER", "SETSLOT", slot, "IMPORTING", source).Err())
	must(from.Do(ctx, "CLUSTER", "SETSLOT", slot, "MIGRATING", target).Err())
	host, port, _ := net.SplitHostPort(nodes[1].Addr())
	keys := from.ClusterGetKeysInSlot(ctx, int(slot), 100).Val()
	move = func(which func(key string) bool) {
		t.Helper()
		for _, key := range keys {
			if which(key) {
				must(from.Migrate(ctx, host, port, key, 0, 5*time.Second).Err())
			}
		}
	}
	arrive = func() {
		t.Helper()
		for _, c := range []*redis.Client{to, from, dialURL(t, nodes[2].URL())} {
			must(c.Do(ctx, "CLUSTER", "SETSLOT", slot, "NODE", target).Err())
		}
	}
	return move, arrive
}

// TestSentinelFailover does the same with a primary, its replica and three Sentinels.
func TestSentinelFailover(t *testing.T) {
	s := redistest.StartSentinel(t, redistest.Options{Replicas: 1, Password: "right"})
	url := sentinelURL(s, "right")
	past := dialURL(t, s.Primary.URL())
	storetest.Run(t, func(t *testing.T) storetest.Under { return opened(t, url, past) })
	testOpenErrors(t, []openError{
		{"a master that nobody knows", strings.Replace(url, "/"+redistest.MasterName, "/other", 1), `knows no master "other"`},
		{"a wrong password of the master", strings.Replace(url, ":right@", ":S3CRET@", 1), "WRONGPASS"},
	})
	testFailover(t, url, []*redis.Client{past}, s.Primary)
}

// testFailover kills a primary while 64 goroutines load a session each. Every session must be readable again within five seconds; until then
// a load may fail, but it must neither say that the session has ended nor answer another one.
func testFailover(t *testing.T, url string, primaries []*redis.Client, victim *redistest.Server) {
	const readers, within = 64, 5 * time.Second
	// go-redis looks for the dead server once a second, until a second after Close.
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent(), goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
	ctx := background(t)
	s, err := store.Open(ctx, url, store.Config{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	log, err := store.OpenLogReader(ctx, url, store.Config{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	refs := make([]counterfoil.Ref, readers)
	for i := range refs {
		refs[i] = newRef(t, s, "subject "+strconv.Itoa(i))
		op := counterfoil.Op{Kind: counterfoil.OpSet, Name: "owner", Value: []byte(refs[i].Session.String())}
		if _, err := s.Save(ctx, refs[i], []counterfoil.Op{op}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Append(ctx); err != nil {
		t.Fatal(err)
	}
	for _, p := range primaries {
		if n, err := p.Do(ctx, "WAIT", 1, 10_000).Int(); err != nil || n != 1 {
			t.Fatalf("%d replicas have it all, %v", n, err)
		}
	}

	ctx, cancel := context.WithTimeout(ctx, 4*within)
	defer cancel()
	kill := make(chan struct{}) // closed after the kill
	var before, done sync.WaitGroup
	var mu sync.Mutex
	var killed time.Time
	var last time.Duration
	failures := 0
	before.Add(readers)
	for i, ref := range refs {
		done.Go(func() {
			load := func() bool {
				r, err := s.Load(ctx, ref)
				switch {
				case errors.Is(err, counterfoil.ErrNotFound):
					t.Errorf("session %d is said to have ended", i)
				case err == nil && (r.Session != ref.Session || r.Subject != ref.Subject || string(r.Fields["owner"]) != ref.Session.String()):
					t.Errorf("session %d was answered by another", i)
				}
				return err == nil
			}
			if !load() {
				t.Errorf("session %d cannot be read before anything happened", i)
			}
			before.Done()
			failed := 0
			for under := true; under; { // at it when the primary dies
				select {
				case <-kill:
					under = false
				default:
					load()
				}
			}
			for row := 0; row < 3 && ctx.Err() == nil; {
				if load() {
					row++
				} else {
					row = 0
					failed++
				}
			}
			mu.Lock()
			defer mu.Unlock()
			last = max(last, time.Since(killed))
			failures += failed
		})
	}
	before.Wait()
	mu.Lock()
	killed = time.Now()
	mu.Unlock()
	victim.Kill()
	close(kill)
	done.Wait()
	t.Logf("all sessions were readable again after %v; %d loads failed until then", last.Round(time.Millisecond), failures)
	if last > within {
		t.Errorf("sessions were readable again after %v, want %v", last, within)
	}
	if failures == 0 {
		t.Error("no load noticed the kill: this shows nothing")
	}
	// The dead server was the replica that is to acknowledge it, or that of others.
	if _, err := s.End(ctx, counterfoil.Ending{Session: refs[0].Session}); err != nil && !errors.Is(err, counterfoil.ErrNotDurable) {
		t.Errorf("ending a session afterwards: %v", err)
	}
	if _, err := s.Load(ctx, refs[0]); !errors.Is(err, counterfoil.ErrNotFound) {
		t.Errorf("afterwards an ended session: %v", err)
	}
	// The reader has not been used since, so its first read may still meet the dead server, as a follower's may. It tries again.
	end, tick := time.After(within), time.NewTicker(50*time.Millisecond)
	defer tick.Stop()
	for {
		b, err := log.Read(ctx, "", 0)
		if err == nil && len(b.Records) > 0 {
			return
		}
		select {
		case <-end:
			t.Fatalf("afterwards the log has %d records, %v", len(b.Records), err)
		case <-tick.C:
		}
	}
}
