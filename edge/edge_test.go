package edge_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/edge"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

func claims(session int, at int64) string {
	return fmt.Sprintf(`{"iss":%q,"aud":%q,"sub":"user-%d","sid":%q,"gen":1,"iat":%d,"exp":%d}`, issuer, audience, session, sid(session), at/1000, at/1000+300)
}

func TestCheck(t *testing.T) {
	r := newRig(t, "")
	r.fresh()
	good := mint("k", 1, start)
	forged := good[:len(good)-10] + "AAAA" + good[len(good)-6:]
	for _, c := range []struct{ name, raw, want string }{
		{"first", good, "learned " + claims(1, start)},
		{"again", good, "accepted"},
		{"another", mint("k", 2, start), "learned " + claims(2, start)},
		{"forged", forged, "invalid: bad signature"},
		{"unknown key", mint("other", 1, start), "invalid: unknown key"},
		{"expired", mint("k", 1, start-400_000), "expired: expired"},
		{"of the future", mint("k", 1, start+60_000), "invalid: issued in the future"},
		{"empty", "", "invalid: not three segments"},
		{"long", strings.Repeat("a", 8193), "invalid: too long"},
	} {
		if got := r.show(r.check(c.raw, revocation.Strict)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}

	r.append(1)
	if got := r.take(r.frame(2, nil)); got.Status != edge.Done {
		t.Fatalf("%s", r.Text())
	}
	if got := r.show(r.check(good, revocation.BestEffort)); got != "revoked: session revoked" {
		t.Errorf("after the logout: %s", got)
	}
	if got := r.show(r.check(mint("k", 2, start), revocation.Strict)); got != "accepted" {
		t.Errorf("somebody else: %s", got)
	}
	r.later(400_000)
	if got := r.show(r.check(mint("k", 2, start), revocation.Strict)); got != "expired: expired" {
		t.Errorf("a token that is remembered: %s", got)
	}
}

// Whoever logs out everywhere ends his own tokens up to then, those that were accepted before too, and nobody else's.
func TestSubjectRevoked(t *testing.T) {
	r := newRig(t, "")
	r.fresh()
	for i := range 3 {
		if got := r.show(r.check(mint("k", i+1, start), revocation.Strict)); got != "learned "+claims(i+1, start) {
			t.Fatalf("%d: %s", i+1, got)
		}
	}
	everywhere := revocation.Entry{Kind: revocation.KindSubject, At: r.now.Wall, Subject: token.SubjectHash(issuer, "user-2"), NotBefore: start + 50}
	r.append(0)
	b, err := everywhere.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	r.log[len(r.log)-1].Entry = b
	if got := r.take(r.frame(2, nil)); got.Status != edge.Done {
		t.Fatalf("%s", r.Text())
	}
	for i, want := range []string{"accepted", "revoked: subject revoked", "accepted"} {
		for range 2 {
			if got := r.show(r.check(mint("k", i+1, start), revocation.Strict)); got != want {
				t.Errorf("%d: %s, want %s", i+1, got, want)
			}
		}
	}
	if got := r.show(r.check(mint("k", 2, start+1000), revocation.Strict)); got != "learned "+claims(2, start+1000) {
		t.Errorf("logged in again: %s", got)
	}
}

// A host that knows a text again names the slot alone.
func TestAgain(t *testing.T) {
	r := newRig(t, "")
	r.fresh()
	one, two := r.check(mint("k", 1, start), revocation.Strict), r.check(mint("k", 2, start), revocation.Strict)
	again := func(name string, slot uint32, p revocation.Policy, want string) {
		t.Helper()
		got := r.Again(slot, p, r.moment())
		if r.show(got) != want || got.Status == edge.Accepted && got.Value != slot {
			t.Errorf("%s: %s, value %d, want %s", name, r.show(got), got.Value, want)
		}
	}
	again("known", one.Value, revocation.BestEffort, "accepted")
	again("another", two.Value, revocation.Strict, "accepted")
	for _, slot := range []uint32{one.Value ^ 4, 1 << 20, 1<<32 - 1} {
		again("nobody's slot", slot, revocation.Strict, "no such slot")
	}
	again("paranoid", one.Value, revocation.Paranoid, "ask, or stale: policy asks always")
	if got := r.Again(one.Value, revocation.Paranoid, r.moment()); r.show(r.Judge(got.Value, false, r.moment())) != "revoked: session not alive" {
		t.Errorf("after the answer: %s", r.Text())
	}

	r.append(1)
	if got := r.take(r.frame(2, nil)); got.Status != edge.Done {
		t.Fatalf("%s", r.Text())
	}
	again("after the logout", one.Value, revocation.BestEffort, "revoked: session revoked")
	again("somebody else", two.Value, revocation.Strict, "accepted")

	r.later(60_000)
	again("a stale list", two.Value, revocation.Strict, "ask, or stale: list too old")
	again("a stale list that is not looked at", two.Value, revocation.BestEffort, "ask, or stale: list too old")
	if got := r.Keys(jwks("k", "another")); got.Status != edge.Done {
		t.Fatalf("%s", r.Text())
	}
	again("a key more", one.Value, revocation.BestEffort, "revoked: session revoked")
	if got := r.Keys(jwks("another")); got.Status != edge.Done {
		t.Fatalf("%s", r.Text())
	}
	again("its key removed", two.Value, revocation.Strict, "no such slot")
	if got := r.Keys(jwks("k")); got.Status != edge.Done {
		t.Fatalf("%s", r.Text())
	}
	again("its key back", two.Value, revocation.Strict, "no such slot")
	if got := r.show(r.check(mint("k", 2, start), revocation.Strict)); got != "ask, or stale: list too old" {
		t.Errorf("its text: %s", got)
	}
	r.later(400_000)
	again("expired", two.Value, revocation.BestEffort, "no such slot")
}

// TestAgainAgrees: whatever happens, a token of which the host names the slot is accepted only if its text is, and refused for the same reason. What was decided about a
// slot is kept, and everything that a decision rests on changes here, in a random order.
func TestAgainAgrees(t *testing.T) {
	policies := []revocation.Policy{revocation.BestEffort, revocation.Strict, revocation.Paranoid}
	configs := []string{"", "policy best-effort\n", "policy paranoid\n", "max-stale 3000\nleeway 1000\n", "list 3\n"}
	counts := map[string]int{}
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 0))
		r := newRig(t, configs[seed%5]+"entries 16\n")
		r.fresh()
		r.Keys(jwks("k", "l"))
		birth, read := int64(1), 2
		tokens := map[uint32]string{} // by slot
		decide := func(raw string, p revocation.Policy) string {
			got := r.check(raw, p)
			r.Drop(got.Value)
			if got.Status == edge.Learned {
				for slot, other := range tokens {
					if other == raw {
						delete(tokens, slot)
					}
				}
				tokens[got.Value] = raw
				return "accepted"
			}
			return r.show(got)
		}
		entry := func(e revocation.Entry) {
			b, err := e.AppendBinary(nil)
			if err != nil {
				t.Fatal(err)
			}
			r.append(0)
			r.log[len(r.log)-1].Entry = b
		}
		last := 0
		for range 500 {
			r.later(1)
			switch n := random.IntN(100); {
			case n < 50:
				r.later(random.Int64N(200))
			case n < 60:
				r.later(random.Int64N(12_000))
			case n < 64:
				r.wall += random.Int64N(40_000) - 20_000
			case n < 65:
				r.wall = 0
			case n < 80:
				r.append(0)
			case n < 82:
				r.append(1 + random.IntN(last+1))
			case n < 83:
				entry(revocation.Entry{Kind: revocation.KindSubject, At: r.now.Wall, Subject: token.SubjectHash(issuer, fmt.Sprint("user-", 1+random.IntN(last+1))), NotBefore: start + random.Int64N(2)})
			case n < 84 && random.IntN(10) == 0:
				entry(revocation.Entry{Kind: revocation.KindAll, At: r.now.Wall, NotBefore: start + random.Int64N(2)})
			case n < 85 && random.IntN(10) == 0:
				entry(revocation.Entry{Kind: revocation.KindKey, At: r.now.Wall, KeyID: "l"})
			case n < 87 && random.IntN(3) == 0:
				birth, read = []int64{1, 1, start, start + 1}[random.IntN(4)], 0 // the log is read whole, and vouches for less, or for more
			case n < 88 && random.IntN(5) == 0:
				r.Keys(jwks([][]string{{"k"}, {"l"}, {"k", "l"}, {"k", "l", "m"}}[random.IntN(4)]...))
			default: // there are a few more than slots
				last++
				decide(mint([]string{"k", "l"}[last%2], last, start), revocation.BestEffort)
			}
			if read < len(r.log) && random.IntN(3) > 0 {
				r.take(r.frame(read, func(h *revocation.FrameHead) { h.Birth = birth }))
				read = len(r.log)
			}
			for slot, raw := range tokens {
				if random.IntN(10) > 0 {
					continue
				}
				p := policies[random.IntN(3)]
				again := r.Again(slot, p, r.moment())
				one := r.show(again)
				r.Drop(again.Value)
				counts[one]++
				if other := decide(raw, p); one != other && again.Status != edge.Failed {
					t.Fatalf("seed %d, policy %v: %s, by its text %s", seed, p, one, other)
				}
			}
		}
	}
	for _, want := range []string{
		"accepted", "no such slot", "revoked: session revoked", "revoked: subject revoked", "revoked: everything revoked", "revoked: key revoked", "ask, or stale: list too old",
		"ask, or stale: policy asks always", "ask, or stale: list incomplete", "expired: issued before the log's birth",
	} {
		if counts[want] < 10 {
			t.Errorf("%q: %d times", want, counts[want])
		}
	}
	t.Log(counts)
}

func TestClaims(t *testing.T) {
	r := newRig(t, "policy best-effort\nentries -1\n")
	seen := map[uint32]string{} // what a host keeps
	for i := range 2000 {
		n := i%200 + 1
		got := r.check(mint("k", n, start), revocation.BestEffort)
		switch got.Status {
		case edge.Learned:
			seen[got.Value] = string(r.Text())
		case edge.Accepted:
		default:
			t.Fatal(r.show(got))
		}
		if seen[got.Value] != claims(n, start) {
			t.Fatalf("%d: the claims of another token", i)
		}
		if again := r.Claims(got.Value); again.Status != edge.Learned || string(r.Text()) != claims(n, start) {
			t.Fatalf("%d: %s", i, r.Text())
		}
	}
	for _, slot := range []uint32{1 << 20, 1<<29 - 1} {
		if got := r.Claims(slot); got.Status != edge.Failed {
			t.Errorf("%v", got)
		}
	}
}

func TestAsk(t *testing.T) {
	r := newRig(t, "")
	good := mint("k", 1, start)
	const why = "stale: log not read yet"
	ask := func() edge.Result {
		t.Helper()
		got := r.check(good, revocation.BestEffort)
		if got.Status != edge.Ask || string(r.Text()) != why {
			t.Fatalf("%s", r.show(got))
		}
		return got
	}
	first := ask()
	if got := r.show(r.Judge(first.Value, true, r.moment())); got != "learned "+claims(1, start) {
		t.Errorf("alive: %s", got)
	}
	if got := r.show(r.Judge(first.Value, true, r.moment())); got != "stale: ticket unknown or expired" {
		t.Errorf("used: %s", got)
	}
	if got := r.show(r.Judge(ask().Value, false, r.moment())); got != "revoked: session not alive" {
		t.Errorf("ended: %s", got)
	}
	dropped := ask()
	r.Drop(dropped.Value)
	if got := r.show(r.Judge(dropped.Value, true, r.moment())); got != "stale: ticket unknown or expired" {
		t.Errorf("dropped: %s", got)
	}
	late := ask()
	r.later(10_000)
	if got := r.show(r.Judge(late.Value, true, r.moment())); got != "stale: ticket unknown or expired" {
		t.Errorf("late: %s", got)
	}

	// What the list has learned while the question was under way counts.
	asked := ask()
	r.append(0)
	r.append(1)
	if got := r.take(r.frame(0, nil)); got.Status != edge.Done {
		t.Fatalf("%s", r.Text())
	}
	if got := r.show(r.Judge(asked.Value, true, r.moment())); got != "revoked: session revoked" {
		t.Errorf("meanwhile: %s", got)
	}

	if got := r.check(good, 99); got.Status == edge.Accepted || got.Status == edge.Learned {
		t.Error("a policy stricter than all")
	}
}

func TestPolicies(t *testing.T) {
	for _, policy := range []string{"best-effort", "strict", "paranoid"} {
		r := newRig(t, "policy "+policy+"\nmax-stale 2000\n")
		r.fresh()
		good := mint("k", 1, start)
		want := map[string][2]string{
			"best-effort": {"learned " + claims(1, start), "accepted"},
			"strict":      {"learned " + claims(1, start), "ask, or stale: list too old"},
			"paranoid":    {"ask, or stale: policy asks always", "stale: list too old"},
		}[policy]
		if got := r.show(r.check(good, revocation.BestEffort)); got != want[0] {
			t.Errorf("%s, fresh: %s, want %s", policy, got, want[0])
		}
		r.later(2001)
		if got := r.show(r.check(good, revocation.BestEffort)); got != want[1] {
			t.Errorf("%s, stale: %s, want %s", policy, got, want[1])
		}
		r.State(r.moment())
		if state := string(r.Text()); !strings.Contains(state, `"reason":"list too old"`) || !strings.HasSuffix(state, `"fresh":false}`) {
			t.Errorf("%s: %s", policy, state)
		}
	}
}

// The signed time of the feed corrects a host whose clock is behind; one that is ahead refuses.
func TestClockOff(t *testing.T) {
	const hours = 3_600_000
	r := newRig(t, "")
	r.wall = -5 * hours
	expired := mint("k", 1, start-400_000)
	r.fresh()
	if got := r.show(r.check(expired, revocation.Strict)); got != "expired: expired" {
		t.Errorf("behind: %s", got)
	}
	if got := r.show(r.check(mint("k", 2, start), revocation.Strict)); got != "learned "+claims(2, start) {
		t.Errorf("behind: %s", got)
	}
	r.later(301_000 + 10_000)
	if got := r.show(r.check(mint("k", 2, start), revocation.Strict)); got != "expired: expired" {
		t.Errorf("what ran since counts too: %s", got)
	}

	r = newRig(t, "")
	r.wall = 5 * hours
	r.fresh()
	if got := r.show(r.check(mint("k", 1, start), revocation.Strict)); got != "expired: expired" {
		t.Errorf("ahead: %s", got)
	}
	if got := r.show(r.check(mint("k", 1, start+5*hours), revocation.Strict)); got != "ask, or stale: list too old" {
		t.Errorf("ahead: %s", got)
	}
}

// A feed whose clock was ahead has taken the edge along. When that is mended the log begins a new epoch, and the edge comes back too.
func TestClockOfTheFeedIsMended(t *testing.T) {
	const hour = 3_600_000
	r := newRig(t, "")
	r.now.Wall, r.wall = r.now.Wall+hour, -hour
	r.fresh()
	if got := r.show(r.check(mint("k", 1, start+hour), revocation.Strict)); got != "learned "+claims(1, start+hour) {
		t.Fatalf("while it is ahead: %s", got)
	}
	r.now.Wall, r.wall, r.log = r.now.Wall-hour, 0, nil
	r.append(0)
	r.log[0].Epoch = "f"
	epoch := func(h *revocation.FrameHead) { h.Epoch = "f" }
	for _, from := range []int{0, 1} {
		if got := r.take(r.frame(from, epoch)); got.Status != edge.Done {
			t.Fatalf("frame: %s", r.Text())
		}
		r.later(100)
		r.append(0)
	}
	if got := r.show(r.check(mint("k", 2, start), revocation.Strict)); got != "learned "+claims(2, start) {
		t.Errorf("afterwards: %s", got)
	}
}

// A clock that only runs forward may do so a little fast. However long it runs, the edge is not ahead by more than the feed lets it.
func TestClockRunsFast(t *testing.T) {
	const hours = 3_600_000
	r := newRig(t, "")
	r.fresh()
	read := len(r.log) - 1
	for range 30 * 6 {
		r.later(4 * hours)
		r.now.Steady += 4 * hours / 20_000 // 4 s a day
		r.append(0)
		if got := r.take(r.frame(read, nil)); got.Status != edge.Done {
			t.Fatalf("frame: %s", r.Text())
		}
		read = len(r.log)
	}
	now := r.now.Wall / 1000 * 1000
	if got := r.show(r.check(mint("k", 1, now), revocation.Strict)); got != "learned "+claims(1, now) {
		t.Errorf("after 30 days: %s", got)
	}
	if r.State(r.moment()); !strings.Contains(string(r.Text()), fmt.Sprintf(`"now":%d`, r.now.Wall)) {
		t.Errorf("it is %d: %s", r.now.Wall, r.Text())
	}
}

// A clock that steps back does not keep a list young, with a clock that only runs forward and without one.
func TestClockStepsBack(t *testing.T) {
	for _, steady := range []bool{true, false} {
		r := newRig(t, "max-stale 2000\n")
		r.timid = !steady
		r.fresh()
		if r.State(r.moment()); !strings.Contains(string(r.Text()), `"fresh":true`) {
			t.Fatalf("steady %v: %s", steady, r.Text())
		}
		r.wall = -3_600_000
		r.later(20_000)
		if r.State(r.moment()); !strings.Contains(string(r.Text()), `"fresh":false`) {
			t.Errorf("steady %v: %s", steady, r.Text())
		}
		issued := start
		if !steady {
			issued += r.wall
		}
		if got := r.show(r.check(mint("k", 1, issued), revocation.Paranoid)); !strings.HasPrefix(got, "stale: ") {
			t.Errorf("steady %v: %s", steady, got)
		}
	}
}

func TestFrames(t *testing.T) {
	r := newRig(t, "max-frame 300\n")
	r.append(0)
	frame := r.frame(0, nil)
	if got := r.take(frame); got.Status != edge.Done || got.Value != 1 {
		t.Fatalf("%s", r.Text())
	}
	r.later(100)
	for i := range 40 {
		r.append(i + 1)
		r.later(1)
	}
	for _, c := range []struct {
		name  string
		frame func() []byte
		want  string
	}{
		{"replayed", func() []byte { r.frame(1, nil); return frame }, "answer to another question"},
		{"oversize", func() []byte { return r.frame(1, nil) }, "oversize"},
		{"none", func() []byte { return nil }, "truncated"},
		{"hostile", func() []byte { return bytes.Repeat([]byte{0xff}, 1000) }, "not a frame"},
		{"of another issuer", func() []byte {
			r.log = r.log[:2]
			return r.frame(1, func(h *revocation.FrameHead) { h.Issuer = "https://else.test" })
		}, "other issuer"},
	} {
		if got := r.take(c.frame()); got.Status != edge.Failed || string(r.Text()) != c.want {
			t.Errorf("%s: %s, want %s", c.name, r.Text(), c.want)
		}
	}
	if got := r.take(r.frame(1, nil)); got.Status != edge.Done {
		t.Errorf("a good one still: %s", r.Text())
	}

	none, err := edge.New([]byte("issuer i\naudience a\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := none.Question([16]byte{1}); got.Status != edge.Failed {
		t.Error("a question without a key for the answer")
	}
	if got := none.Frame(frame, r.moment(), r.moment()); got.Status != edge.Failed {
		t.Error("a frame without a key")
	}
}

func TestKeys(t *testing.T) {
	r := newRig(t, "policy best-effort\n")
	good := mint("k", 1, start)
	r.check(good, revocation.BestEffort)
	for _, bad := range []string{"", "{", `{"keys":[{}]}`, "<html>"} {
		if got := r.Keys([]byte(bad)); got.Status != edge.Failed || len(r.Text()) == 0 {
			t.Errorf("%q: %v %s", bad, got, r.Text())
		}
	}
	if got := r.show(r.check(good, revocation.BestEffort)); got != "accepted" {
		t.Errorf("after bad key sets: %s", got)
	}
	r.Keys(jwks("k", "next"))
	if got := r.show(r.check(good, revocation.BestEffort)); got != "accepted" {
		t.Errorf("after one more key: %s", got)
	}
	r.Keys(jwks("next"))
	if got := r.show(r.check(good, revocation.BestEffort)); got != "invalid: unknown key" {
		t.Errorf("after its key is gone: %s", got)
	}
	none, err := edge.New([]byte("issuer " + issuer + "\naudience " + audience + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	if none.Check(good, revocation.BestEffort, r.moment()); string(none.Text()) != "stale: keys not read yet" {
		t.Errorf("without keys: %s", none.Text())
	}
}

func TestConfiguration(t *testing.T) {
	const good = "issuer i\naudience a\n"
	for _, bad := range []string{
		"", "issuer i\n", "audience a\n", good + "colour red\n", good + "policy lax\n", good + "leeway 60001\n", good + "leeway -1\n", good + "leeway 1e3\n",
		good + "max-life 900001\n", good + "max-stale 99999999\n", good + "max-stale 99999999999999999999\n", good + "entries 9999999\n", good + "entries\n", good + "list 999999999\n", good + "max-frame -1\n",
		good + "max-frame 9999999999\n", good + "frame-key x\n", "issuer \x00\naudience a\n", good + "\n",
		good + strings.Repeat("frame-key frame-ed25519:"+b64.EncodeToString(public(key("feed")))+"\n", 17),
	} {
		if e, err := edge.New([]byte(bad)); err == nil || e != nil {
			t.Errorf("%q was taken", bad)
		}
	}
	for _, ok := range []string{good, good + "entries -1\nlist 0\nmax-stale 0\nskip-nonce yes\n"} {
		if _, err := edge.New([]byte(ok)); err != nil {
			t.Errorf("%q: %v", ok, err)
		}
	}
}

// A host that has no randomness at start gives it later, but before the list holds anything.
func TestSeed(t *testing.T) {
	r := newRig(t, "")
	if got := r.Seed([32]byte{1, 2, 3}); got.Status != edge.Done {
		t.Fatalf("%s", r.Text())
	}
	r.fresh()
	r.append(1)
	if got := r.take(r.frame(2, nil)); got.Status != edge.Done {
		t.Fatalf("%s", r.Text())
	}
	if got := r.Seed([32]byte{4}); got.Status != edge.Failed || string(r.Text()) != "too late" {
		t.Errorf("%v: %s", got, r.Text())
	}
	for i, want := range []string{"revoked: session revoked", "learned " + claims(2, start)} {
		if got := r.show(r.check(mint("k", i+1, start), revocation.Strict)); got != want {
			t.Errorf("%d: %s, want %s", i+1, got, want)
		}
	}
}

// Whatever a token is, the answer is one of those that a host knows, and nothing is accepted that was not signed.
func FuzzCheck(f *testing.F) {
	f.Add(mint("k", 1, start), int64(0), start)
	f.Add("a.b.c", int64(-1), int64(0))
	f.Fuzz(func(t *testing.T, raw string, policy, wall int64) {
		r := newRig(t, "entries 4\nlist 4\n")
		got := r.finish(r.Check(raw, revocation.Policy(policy), edge.Moment{Wall: wall, Steady: 1}))
		if accepted := got.Status == edge.Accepted || got.Status == edge.Learned; accepted || got.Status > edge.Failed {
			t.Fatalf("%q: %v", raw, got)
		}
	})
}
