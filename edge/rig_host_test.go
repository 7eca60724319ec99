//go:build hostcrypto

package edge_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"github.com/counterfoil/counterfoil/edge"
	"github.com/counterfoil/counterfoil/revocation"
)

// verify does what the text of Verify asks for.
func (r *rig) verify() bool {
	b := r.Text()
	n := func(i int) int { return int(binary.LittleEndian.Uint32(b[4*i:])) }
	if n(0) != 1 || n(1) == 0 {
		r.t.Fatalf("algorithm %d, key %d", n(0), n(1))
	}
	material, rest := b[20:20+n(2)], b[20+n(2):]
	return ed25519.Verify(material, rest[n(3):], rest[:n(3)])
}

func (r *rig) finish(got edge.Result) edge.Result {
	if got.Status == edge.Verify {
		return r.Finish(got.Value, r.verify(), r.moment())
	}
	return got
}

func (r *rig) take(frame []byte) edge.Result {
	got := r.Frame(frame, r.moment(), r.moment())
	if got.Status != edge.Verify {
		return got
	}
	n := binary.LittleEndian.Uint32(r.Text())
	ok := ed25519.Verify(r.Text()[4:], frame[:n], frame[n:n+64])
	return r.FinishFrame(ok, sha256.Sum256(frame[n+64:]), r.moment())
}

// Checks that overlap never mix: each ticket has the claims of its own token, whatever the order.
func TestOverlapping(t *testing.T) {
	r := newRig(t, "policy best-effort\nentries -1\n")
	var tickets []uint32
	for i := range edge.MaxTickets {
		got := r.Check(mint("k", i+1, start), revocation.BestEffort, r.moment())
		if got.Status != edge.Verify {
			t.Fatalf("%d: %s", i, r.show(got))
		}
		tickets = append(tickets, got.Value)
	}
	for range 2 {
		if got := r.show(r.Check(mint("k", 999, start), revocation.BestEffort, r.moment())); got != "stale: too many checks under way" {
			t.Errorf("one more: %s", got)
		}
	}
	for i := len(tickets) - 1; i >= 0; i-- {
		if i%5 == 0 {
			if got := r.show(r.Finish(tickets[i], false, r.moment())); got != "invalid: bad signature" {
				t.Errorf("%d: %s", i, got)
			}
			continue
		}
		if got, want := r.show(r.Finish(tickets[i], true, r.moment())), "learned "+claims(i+1, start); got != want {
			t.Errorf("%d: %s, want %s", i, got, want)
		}
	}
	for _, id := range append(tickets, 0, 1<<29-1) {
		if got := r.show(r.Finish(id, true, r.moment())); got != "stale: ticket unknown or expired" {
			t.Errorf("used: %s", got)
		}
	}
}

func TestTicketExpires(t *testing.T) {
	r := newRig(t, "policy best-effort\n")
	got := r.Check(mint("k", 1, start), revocation.BestEffort, r.moment())
	r.later(10_000)
	if got := r.show(r.Finish(got.Value, true, r.moment())); got != "stale: ticket unknown or expired" {
		t.Errorf("after ten seconds: %s", got)
	}
	for range edge.MaxTickets {
		r.Check(mint("k", 1, start), revocation.BestEffort, r.moment())
	}
	r.later(10_000)
	if got := r.Check(mint("k", 2, start), revocation.BestEffort, r.moment()); got.Status != edge.Verify {
		t.Errorf("tickets that have expired are free: %s", r.show(got))
	}
}

// The memory of a ticket is used again. Its old number is good for nothing then, not even for a host whose clock is set back to where the old ticket had not expired.
func TestTicketIsUsedAgain(t *testing.T) {
	r := newRig(t, "policy best-effort\nentries -1\n")
	r.timid = true
	var tickets []uint32
	for i := range edge.MaxTickets {
		tickets = append(tickets, r.Check(mint("k", i+1, start), revocation.BestEffort, r.moment()).Value)
	}
	r.later(10_000)
	for _, raw := range []string{mint("k", 1000, start), "a.b.c", mint("other", 1, start), mint("k", 1001, start)[:100]} {
		if got := r.Check(raw, revocation.BestEffort, r.moment()); got.Status == edge.Verify {
			r.Drop(got.Value)
		}
	}
	r.later(-10_000)
	good := 0
	for i, id := range tickets {
		switch got := r.show(r.Finish(id, true, r.moment())); got {
		case "learned " + claims(i+1, start):
			good++
		case "stale: ticket unknown or expired":
		default:
			t.Errorf("%d: %s", i, got)
		}
	}
	if good == 0 || good == edge.MaxTickets {
		t.Errorf("%d of the old tickets are good", good)
	}
}

// While every ticket is taken, what needs none is decided all the same.
func TestNoTicketLeft(t *testing.T) {
	r := newRig(t, "policy best-effort\n")
	known := mint("k", 1, start)
	r.check(known, revocation.BestEffort)
	for i := range edge.MaxTickets {
		r.Check(mint("k", i+2, start), revocation.BestEffort, r.moment())
	}
	for raw, want := range map[string]string{
		known: "accepted", "a.b.c": "invalid: not canonical", mint("other", 1, start): "invalid: unknown key", mint("k", 999, start): "stale: too many checks under way",
	} {
		if got := r.show(r.Check(raw, revocation.BestEffort, r.moment())); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// A check whose signature the host verifies needs memory for what is remembered of it, and for nothing else.
func TestAllocations(t *testing.T) {
	r := newRig(t, "policy best-effort\nentries 64\n")
	raw := mint("k", 1, start)
	refused := func() { r.Finish(r.Check(raw, revocation.BestEffort, r.moment()).Value, false, r.moment()) }
	for range edge.MaxTickets {
		refused()
	}
	if n := testing.AllocsPerRun(100, refused); n > 0 {
		t.Errorf("%v allocations for a forged token", n)
	}
	r.check(raw, revocation.BestEffort)
	if n := testing.AllocsPerRun(100, func() { r.Check(raw, revocation.BestEffort, r.moment()) }); n > 0 {
		t.Errorf("%v allocations for a token that was seen before", n)
	}
}

// A key that was removed while the host verified is no key any more. Those that are still there are.
func TestKeyRemovedMeanwhile(t *testing.T) {
	for _, ahead := range []bool{false, true} {
		r := newRig(t, "policy best-effort\n")
		r.Keys(jwks("k", "old"))
		var tickets []uint32
		for i, name := range []string{"k", "old"} {
			got := r.Check(mint(name, i+1, start), revocation.BestEffort, r.moment())
			if ahead {
				r.Ahead(got.Value)
			}
			tickets = append(tickets, got.Value)
		}
		if got := r.Keys(jwks("next", "k")); got.Status != edge.Done {
			t.Fatal(r.show(got))
		}
		for i, want := range []string{"learned " + claims(1, start), "invalid: unknown key"} {
			if got := r.show(r.Finish(tickets[i], true, r.moment())); got != want {
				t.Errorf("%d: %s, want %s", i, got, want)
			}
		}
		if got := r.show(r.Check(mint("k", 1, start), revocation.BestEffort, r.moment())); got != "accepted" {
			t.Errorf("and again: %s", got)
		}
	}
}

// A frame is nothing without its host's word.
func TestFrameFinish(t *testing.T) {
	r := newRig(t, "")
	r.append(0)
	frame := r.frame(0, nil)
	n := binary.LittleEndian.Uint32(append([]byte(nil), func() []byte { r.Frame(frame, r.moment(), r.moment()); return r.Text() }()...))
	sum := sha256.Sum256(frame[n+64:])
	if got := r.show(r.FinishFrame(false, sum, r.moment())); got != "signature" {
		t.Error(got)
	}
	if got := r.show(r.FinishFrame(true, sum, r.moment())); got != "no frame was begun" {
		t.Error(got)
	}
	frame = r.frame(0, nil)
	r.Frame(frame, r.moment(), r.moment())
	if got := r.show(r.FinishFrame(true, [32]byte{1}, r.moment())); got != "body of another head" {
		t.Error(got)
	}
}
