package faults_test

import (
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil/internal/redistest"
)

// sentinels starts a primary with one replica and the Sentinels that watch them.
func (r *run) sentinels() (*redistest.Sentinels, backend) {
	s := redistest.StartSentinel(r, redistest.Options{Replicas: 1, Config: []string{"appendonly yes", "appendfsync always"}})
	url := "redis+sentinel://" + strings.Join(redistest.Addrs(s.Watchers), ",") + "/" + redistest.MasterName
	return s, at(func(string) string { return url })
}

// cluster starts a Cluster of three masters with a replica each. The first of what it returns is the master of the log, the second its replica.
func (r *run) cluster() (log, replica *redistest.Server, all []*redistest.Server, b backend) {
	all = redistest.StartCluster(r, 3, redistest.Options{Replicas: 1, Config: []string{"cluster-node-timeout 1000"}})
	url := "redis+cluster://" + strings.Join(redistest.Addrs(all), ",")
	slot := r.admin(all[0]).ClusterKeySlot(r.ctx, "{rev}").Val()
	i := int(slot) * 3 / 16384
	return all[i], all[3+i], all, at(func(string) string { return url })
}

// flood fills the connection between a primary and its replica, which does not read, so that what follows never leaves the primary.
func (r *run) flood(s *redistest.Server) {
	c := r.admin(s)
	r.must(c.ConfigSet(r.ctx, "client-output-buffer-limit", "replica 0 0 0").Err())
	junk := strings.Repeat("x", 1<<20)
	tag := "{rev}" // in a Cluster it must be a key of this master's
	for i := range 24 {
		r.must(c.Set(r.ctx, fmt.Sprintf("%sjunk:%d", tag, i), junk, 0).Err())
	}
}

// died kills a primary under load, with a healthy replica or with one that has been frozen and is far behind, and starts it again after a while.
func (r *run) died(primary, replica *redistest.Server, frozen bool) {
	if frozen {
		began := time.Now()
		replica.Pause(r)
		r.flood(primary)
		r.hold(2 * time.Second)
		primary.Kill()
		if r.replicas < 0 { // of which the operator was told
			r.oracle.Excuse(began, time.Now().Add(onItsWay))
		}
		replica.Resume(r)
	} else {
		primary.Kill()
	}
	r.hold(4 * time.Second)
	primary.Restart(r)
	r.heal()
	if got := r.oracle.Counts().Told; frozen && r.replicas == 0 && got == 0 {
		r.Error("no caller was told that a revocation is not durable")
	}
}

// onItsWay is how long the answer of a server that was killed may have been under way to who notes it.
const onItsWay = 200 * time.Millisecond

const notWaited = "replicas are not waited for (Config.Replicas)"

var failovers = []fault{
	{"Sentinel: primary killed under load", false, func(r *run) {
		s, b := r.sentinels()
		r.begin(b, false)
		r.died(s.Primary, s.Replicas[0], false)
	}},
	{"Sentinel: primary killed, its replica frozen and far behind", true, func(r *run) {
		s, b := r.sentinels()
		r.begin(b, false)
		r.died(s.Primary, s.Replicas[0], true)
	}},
	{"the same, and replicas are not waited for", false, func(r *run) {
		s, b := r.sentinels()
		r.replicas = -1
		r.begin(b, false)
		r.told(notWaited, "start: replicas are not waited for")
		r.died(s.Primary, s.Replicas[0], true)
	}},
	{"Sentinel: primary frozen (SIGSTOP) for 6 s, and back as it was", false, func(r *run) {
		s, b := r.sentinels()
		r.recordBound.Store(int64(bound))
		r.begin(b, false)
		s.Primary.Pause(r)
		r.hold(6 * time.Second)
		s.Primary.Resume(r)
		r.heal()
	}},
	{"Sentinel: replica frozen for 8 s", false, func(r *run) {
		s, b := r.sentinels()
		r.begin(b, true)
		s.Replicas[0].Pause(r)
		r.hold(8 * time.Second)
		s.Replicas[0].Resume(r)
		r.heal()
		if r.oracle.Counts().Told == 0 {
			r.Error("no caller was told that a revocation is not durable")
		}
	}},
	{"Cluster: master of the log killed under load", false, func(r *run) {
		log, replica, _, b := r.cluster()
		r.begin(b, false)
		r.died(log, replica, false)
	}},
	{"Cluster: master of the log killed, its replica frozen and far behind", false, func(r *run) {
		log, replica, _, b := r.cluster()
		r.begin(b, false)
		r.died(log, replica, true)
	}},
	{"Cluster: all three masters frozen in turn, 4 s each", false, func(r *run) {
		_, _, all, b := r.cluster()
		r.recordBound.Store(int64(bound))
		r.begin(b, false)
		for _, s := range all[:3] {
			s.Pause(r)
			r.hold(4 * time.Second)
			s.Resume(r)
			r.hold(2 * time.Second)
		}
		r.heal()
	}},
}

// trio starts a primary with two replicas, and a proxy for everybody who is named.
func (r *run) trio(config ...string) (primary *redistest.Server, replicas []*redistest.Server, b backend) {
	opt := aof("always")
	opt.Config = append(opt.Config, config...)
	primary = redistest.Start(r, opt)
	replicas = redistest.StartReplicas(r, primary, 2)
	return primary, replicas, r.proxied(func(string) string { return primary.Addr() })
}

func (r *run) replicaOf(s *redistest.Server, of *redistest.Server) {
	host, port := "NO", "ONE"
	if of != nil {
		host, port, _ = net.SplitHostPort(of.Addr())
	}
	r.must(r.admin(s).ReplicaOf(r.ctx, host, port).Err())
}

// split makes one replica the primary of the other while the old primary keeps the clients that stay, and takes their writes. When the split is over the old
// primary follows the new one, as Sentinels would have it, and everybody is sent to that. The other replica is turned round first, so that nobody is
// promised anything by a replica that is not promoted: that one acknowledging replica is enough, is what Replicas = 1 says here.
func (r *run) split(d time.Duration, stay func(name string) bool, config ...string) {
	old, replicas, b := r.trio(config...)
	notices := len(config) > 0
	lag := d
	if notices {
		lag = min(d, noticed)
	} else {
		r.askBound = d + bound // a guard that asks is told what its master knows
	}
	r.cutOff = stay
	r.replicas = 1
	r.begin(b, false)
	r.recordBound.Store(int64(lag + bound))
	r.replicaOf(replicas[1], replicas[0])
	r.caughtUp(old)
	r.replicaOf(replicas[0], nil)
	for name, p := range r.proxies {
		if !stay(name) {
			p.Move(replicas[0].Addr())
		}
	}
	r.hold(d)
	if notices {
		r.answered(r.admin(old), "NOREPLICAS")
	}
	if notices && d > lag+bound {
		r.doubted("origin 1")
	}
	if d > lag+bound || !notices && d > bound+noticed {
		r.doubted("feed 1", "feed 2") // their feed is that of origin 1, which stays
		for _, name := range []string{"edge 1", "edge 2"} {
			if stay(name) {
				r.doubted(name)
			}
		}
	}
	r.replicaOf(old, replicas[0])
	for _, p := range r.proxies {
		p.Move(replicas[0].Addr())
	}
	r.heal()
	r.promoted(r.admin(replicas[0]), r.admin(old))
}

// caughtUp waits until the only replica that a primary has left has all that another one may have acknowledged before it was turned round.
func (r *run) caughtUp(s *redistest.Server) {
	r.Helper()
	c := r.admin(s).Conn()
	defer c.Close()
	r.must(c.Set(r.ctx, "caught up", "", 0).Err())
	if n, err := c.Wait(r.ctx, 1, 2*time.Second).Result(); n < 1 {
		r.Errorf("the replica that is to be promoted is behind: %v", err)
	}
}

// noticed is after what time a primary refuses writes that has lost its replicas: min-replicas-max-lag, and as it looks once a second, one more.
const noticed = 3 * time.Second

// promoted fails the test if the server has not become the primary that scripts are sent to, or if the old one is still one.
func (r *run) promoted(c, old *redis.Client) {
	r.Helper()
	if text := c.Info(r.ctx, "replication").Val(); !strings.Contains(text, "role:master") {
		r.Errorf("the replica was not promoted: this shows nothing:\n%s", text)
	}
	if text := c.Info(r.ctx, "commandstats").Val(); !strings.Contains(text, "cmdstat_evalsha:") {
		r.Error("nobody used the replica that was promoted: this shows nothing")
	}
	if text := old.Info(r.ctx, "replication").Val(); !strings.Contains(text, "role:slave") {
		r.Errorf("the old primary follows nobody:\n%s", text)
	}
}

func firsts(name string) bool { return strings.HasSuffix(name, "1") }

// needsReplica has a primary without a replica refuse writes, which is how it notices that it is cut off.
var needsReplica = []string{"min-replicas-to-write 1", "min-replicas-max-lag 2"}

const cutOff = "min-replicas-to-write is 0: a master that is cut off"

const notAll = "not all replicas must acknowledge an ending"

// wrongOne has one replica of two acknowledge, loses the primary, and promotes the other replica.
func wrongOne(r *run) {
	old, replicas, b := r.trio()
	r.replicas = 1
	r.begin(b, false)
	r.told(notAll, "start: not all replicas must acknowledge")
	began := time.Now()
	replicas[0].Pause(r)
	r.flood(old)
	r.hold(2 * time.Second)
	old.Kill()
	r.oracle.Excuse(began, time.Now().Add(onItsWay))
	replicas[0].Resume(r)
	r.replicaOf(replicas[0], nil)
	r.replicaOf(replicas[1], replicas[0])
	for _, p := range r.proxies {
		p.Move(replicas[0].Addr())
	}
	r.heal()
}

var splits = []fault{
	{"split of 3 s, the old primary keeps half of the clients", false, func(r *run) { r.split(3*time.Second, firsts, needsReplica...) }},
	{"split of 10 s, the old primary keeps half of the clients", true, func(r *run) { r.split(10*time.Second, firsts, needsReplica...) }},
	{"split of 10 s, the old primary keeps all but one origin", false, func(r *run) {
		r.split(10*time.Second, func(name string) bool { return name != "origin 2" }, needsReplica...)
	}},
	{"primary killed, the replica is promoted that did not acknowledge", false, wrongOne},
	{"isolated old primary takes writes of half of the clients, 10 s", false, func(r *run) {
		r.split(10*time.Second, firsts)
		r.told(cutOff, "start: min-replicas-to-write is 0")
		if r.oracle.Counts().Told == 0 {
			r.Error("no caller was told that a revocation is not durable")
		}
	}},
}
