//go:build wasip1

// Command module is package edge as a WebAssembly module, a wasip1 reactor: a host calls _initialize once, and then the functions that are exported here. Build it with
// `make wasm`. It needs a few functions of WASI at start, none of which has to do anything but to succeed; the clocks must not show zero.
//
// # Bytes
//
// A host writes into two places that the module tells it, and nowhere else: [tokenBuffer] is the same for ever and holds one token; [reserve] hands out as many bytes as a configuration, a
// key set or a frame needs, which are gone with the next call of reserve. Functions take lengths, no pointers: a pointer that points elsewhere cannot be said. A length over that of
// the buffer is refused. Memory may grow in any call, and views on it are then void.
//
// # Answers
//
// Functions that decide return a status in the lowest three bits and a value in those above; text and textLen say where its text is, until the next
// call. The statuses and what they mean are at package edge. A module that traps is dead; whatever was asked of it is refused.
//
// # Time
//
// Times are milliseconds, as numbers with decimals or without, that a host reads when it calls: wall since 1970, steady by a clock that only runs forward and does
// not show zero.
package main

import (
	"unsafe"

	"github.com/counterfoil/counterfoil/edge"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

var (
	one    *edge.Edge
	tokens [token.MaxLen]byte
	bulk   []byte

	// The text of the last answer, as a host sees it. These are numbers because most of the time the collector is in the middle of a cycle here (it
	// goes on only when something is allocated), and then storing a pointer costs a quarter of a warm check. What they point to is held by one, or by alone.
	textAt, textN uint32
	alone         []byte // a text that does not come from an Edge
)

// maxReserve bounds what a host can make the module hold for it.
const maxReserve = 128 << 20

func main() {}

// abi returns the version of this interface, and in bit 16 whether the host verifies signatures.
//
//go:wasmexport abi
func abi() uint32 {
	if edge.HostCrypto {
		return edge.ABI | 1<<16
	}
	return edge.ABI
}

// tokenBuffer returns where a token is to be written: token.MaxLen bytes.
//
//go:wasmexport token_buffer
func tokenBuffer() uint32 { return address(tokens[:]) }

// reserve returns where n bytes may be written, 0 if there are not as many.
//
//go:wasmexport reserve
func reserve(n uint32) uint32 {
	bulk = nil
	if n == 0 || n > maxReserve {
		return 0
	}
	bulk = make([]byte, n)
	return address(bulk)
}

// text returns where the text of the last answer is.
//
//go:wasmexport text
func text() uint32 { return textAt }

// textLen returns its length.
//
//go:wasmexport text_len
func textLen() uint32 { return textN }

// configure takes the first n reserved bytes as the configuration, see edge.New, and forgets everything that was before: Done or Failed.
//
//go:wasmexport configure
func configure(n uint32) uint32 {
	b, ok := reserved(n)
	if !ok {
		return failed("length")
	}
	e, err := edge.New(b)
	if err != nil {
		one = nil
		return failed(err.Error())
	}
	one = e
	return uint32(edge.Done)
}

// seed takes the first n reserved bytes, 32, as what hashing and numbers begin with, see edge.Edge.Seed: Done or Failed.
//
//go:wasmexport seed
func seed(n uint32) uint32 {
	b, ok := reserved(n)
	if one == nil || !ok || n != 32 {
		return failed("length")
	}
	return answer(one.Seed([32]byte(b)))
}

// keys takes the first n reserved bytes as a JWK set document: Done or Failed.
//
//go:wasmexport keys
func keys(n uint32) uint32 {
	b, ok := reserved(n)
	if one == nil || !ok {
		return failed("length")
	}
	return answer(one.Keys(b))
}

// check decides about the token in the first n bytes of the token buffer.
//
//go:wasmexport check
func check(n uint32, policy int32, wall, steady float64) uint32 {
	switch {
	case one == nil:
		return refused("stale: not configured")
	case n > uint32(len(tokens)):
		return refused("invalid: too long")
	}
	raw := unsafe.String(&tokens[0], n) // what is kept of it is copied
	return answer(one.Check(raw, bounded(policy), moment(wall, steady)))
}

// again decides about the token whose claims are in a slot, for a host that knows its text again.
//
//go:wasmexport again
func again(slot uint32, policy int32, wall, steady float64) uint32 {
	if one == nil {
		return failed("not configured")
	}
	r := one.Again(slot, bounded(policy), moment(wall, steady))
	if r.Status == edge.Accepted { // without a text
		return r.Value<<3 | uint32(r.Status)
	}
	return answer(r)
}

func bounded(policy int32) revocation.Policy {
	return revocation.Policy(min(policy, int32(revocation.Paranoid)))
}

// finish goes on with a check whose signature the host has verified; ok is 1 if it is right.
//
//go:wasmexport finish
func finish(ticket, ok uint32, wall, steady float64) uint32 {
	if one == nil {
		return refused("stale: not configured")
	}
	return answer(one.Finish(ticket, ok == 1, moment(wall, steady)))
}

// ahead reads the claims of a token while the host verifies its signature in another thread. It need not be called.
//
//go:wasmexport ahead
func ahead(ticket uint32) {
	if one != nil {
		one.Ahead(ticket)
	}
}

// judge goes on with a check about which the origin was asked; active is 1 if it says that the session lives.
//
//go:wasmexport judge
func judge(ticket, active uint32, wall, steady float64) uint32 {
	if one == nil {
		return refused("stale: not configured")
	}
	return answer(one.Judge(ticket, active == 1, moment(wall, steady)))
}

// drop forgets a ticket.
//
//go:wasmexport drop
func drop(ticket uint32) {
	if one != nil {
		one.Drop(ticket)
	}
}

// claims answers with the claims in a slot.
//
//go:wasmexport claims
func claims(slot uint32) uint32 {
	if one == nil {
		return failed("not configured")
	}
	return answer(one.Claims(slot))
}

// question begins a question to the feed. The nonce is the first 16 reserved bytes.
//
//go:wasmexport question
func question() uint32 {
	b, ok := reserved(revocation.FrameNonceLen)
	if one == nil || !ok {
		return failed("length")
	}
	return answer(one.Question([revocation.FrameNonceLen]byte(b)))
}

// frame takes the first n reserved bytes as the answer to the last question, which was sent at sentWall and sentSteady. They must stay as they are until
// finishFrame.
//
//go:wasmexport frame
func frame(n uint32, sentWall, sentSteady, wall, steady float64) uint32 {
	b, ok := reserved(n)
	if one == nil || !ok {
		return failed("length")
	}
	return answer(one.Frame(b, moment(sentWall, sentSteady), moment(wall, steady)))
}

// finishFrame goes on with a frame whose signature the host has verified; ok is 1 if it is right. The digest of the body is the first 32 bytes of the token buffer.
//
//go:wasmexport finish_frame
func finishFrame(ok uint32, wall, steady float64) uint32 {
	if one == nil {
		return failed("not configured")
	}
	r := one.FinishFrame(ok == 1, [32]byte(tokens[:32]), moment(wall, steady))
	bulk = nil
	return answer(r)
}

// state answers with what is known of the revocation list, as JSON.
//
//go:wasmexport state
func state(wall, steady float64) uint32 {
	if one == nil {
		return failed("not configured")
	}
	return answer(one.State(moment(wall, steady)))
}

// reserved returns the first n bytes of what was reserved.
func reserved(n uint32) ([]byte, bool) {
	if n > uint32(len(bulk)) {
		return nil, false
	}
	return bulk[:n:n], true
}

func answer(r edge.Result) uint32 {
	say(one.Text())
	return r.Value<<3 | uint32(r.Status)
}

func failed(why string) uint32 {
	alone = []byte(why)
	say(alone)
	return uint32(edge.Failed)
}

func refused(why string) uint32 {
	alone = []byte(why)
	say(alone)
	return uint32(edge.Refused)
}

func say(b []byte) { textAt, textN = address(b), uint32(len(b)) }

// moment takes the time from the host. What is no time is the start of all: every token is of the future then.
func moment(wall, steady float64) edge.Moment {
	return edge.Moment{Wall: milliseconds(wall), Steady: milliseconds(steady)}
}

func milliseconds(f float64) int64 {
	if f >= 0 && f < 1<<46 {
		return int64(f)
	}
	return 0
}

func address(b []byte) uint32 { return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }
