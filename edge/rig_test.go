package edge_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/counterfoil/counterfoil/edge"
	"github.com/counterfoil/counterfoil/revocation"
)

const (
	issuer   = "https://issuer.test"
	audience = "https://service.test"
	start    = int64(1893499200000)
)

var b64 = base64.RawURLEncoding

// key is a signing key made of a name.
func key(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func public(k ed25519.PrivateKey) []byte { return k.Public().(ed25519.PublicKey) }

func jwks(names ...string) []byte {
	b := []byte(`{"keys":[`)
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","use":"sig","kid":%q,"x":%q}`, name, b64.EncodeToString(public(key(name))))
	}
	return append(b, `]}`...)
}

// sid is the session ID of a number.
func sid(n int) string {
	var random [16]byte
	binary.BigEndian.PutUint64(random[:8], uint64(n)*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(random[8:], uint64(n))
	return "abc" + b64.EncodeToString(random[:])
}

// mint makes a token of a session, good for five minutes from at.
func mint(name string, session int, at int64) string {
	header := b64.EncodeToString(fmt.Appendf(nil, `{"alg":"EdDSA","kid":%q,"typ":"session+jwt"}`, name))
	claims := b64.EncodeToString(fmt.Appendf(nil, `{"iss":%q,"aud":%q,"sub":"user-%d","sid":%q,"gen":1,"iat":%d,"exp":%d}`, issuer, audience, session, sid(session), at/1000, at/1000+300))
	return header + "." + claims + "." + b64.EncodeToString(ed25519.Sign(key(name), []byte(header+"."+claims)))
}

// rig is a host: an edge, its clocks and the log of its feed.
type rig struct {
	*edge.Edge
	t     testing.TB
	now   edge.Moment
	asked byte
	wall  int64 // how far the host's wall clock is off
	timid bool  // the host has no other clock
	log   []revocation.Record
}

func newRig(t testing.TB, more string) *rig {
	t.Helper()
	k, err := revocation.NewFrameKey(public(key("feed")))
	if err != nil {
		t.Fatal(err)
	}
	e, err := edge.New([]byte("issuer " + issuer + "\naudience " + audience + "\nframe-key " + k.String() + "\n" + more))
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Edge: e, t: t, now: edge.Moment{Wall: start, Steady: 1000}}
	if got := r.Keys(jwks("k")); got.Status != edge.Done {
		t.Fatalf("%v: %s", got, r.Text())
	}
	return r
}

func (r *rig) later(ms int64) {
	r.now.Wall += ms
	r.now.Steady += ms
}

func (r *rig) moment() edge.Moment {
	m := edge.Moment{Wall: r.now.Wall + r.wall, Steady: r.now.Steady}
	if r.timid {
		m.Steady = 0
	}
	return m
}

// show returns a result as text.
func (r *rig) show(got edge.Result) string {
	switch got.Status {
	case edge.Accepted:
		return "accepted"
	case edge.Learned:
		return "learned " + string(r.Text())
	case edge.Ask:
		return "ask, or " + string(r.Text())
	}
	return string(r.Text())
}

// check checks as a host does that verifies what it is told to.
func (r *rig) check(raw string, p revocation.Policy) edge.Result {
	return r.finish(r.Check(raw, p, r.moment()))
}

// append puts a record into the log, a heartbeat if it is about no session.
func (r *rig) append(session int) {
	r.t.Helper()
	rec := revocation.Record{Position: revocation.Position(fmt.Sprintf("%d-0", r.now.Wall)), Time: r.now.Wall}
	if n := len(r.log); n > 0 {
		rec.Prev = r.log[n-1].Position
	} else {
		rec.Epoch = "e"
	}
	if session > 0 {
		rec.Entry = append(binary.BigEndian.AppendUint64([]byte{'s'}, uint64(r.now.Wall)), sid(session)[:3]...)
		random, err := b64.DecodeString(sid(session)[3:])
		if err != nil {
			r.t.Fatal(err)
		}
		rec.Entry = append(rec.Entry, random...)
	}
	r.log = append(r.log, rec)
}

// frame asks for what is new since the first of the log and returns the signed answer.
func (r *rig) frame(from int, change func(*revocation.FrameHead)) []byte {
	r.t.Helper()
	r.asked++
	nonce := [16]byte{r.asked}
	r.Question(nonce)
	h := revocation.FrameHead{Issuer: issuer, Epoch: "e", Full: from == 0, Nonce: nonce, AsOf: r.log[len(r.log)-1].Time, Birth: 1}
	if from > 0 {
		h.From = r.log[from-1].Position
	}
	var body revocation.FrameBody
	for _, rec := range r.log[from:] {
		if err := body.AddRecord(rec); err != nil {
			r.t.Fatal(err)
		}
	}
	last := r.log[len(r.log)-1]
	h.To, h.ToTime, h.Count = last.Position, last.Time, body.Count()
	h.BodyLen, h.BodySum = len(body.Bytes()), sha256.Sum256(body.Bytes())
	k, err := revocation.NewFrameKey(public(key("feed")))
	if err != nil {
		r.t.Fatal(err)
	}
	h.KeyID = k.ID()
	if change != nil {
		change(&h)
	}
	b, err := h.AppendBinary(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return append(append(b, ed25519.Sign(key("feed"), b)...), body.Bytes()...)
}

// fresh reads the feed twice, with a heartbeat in between: the list can prove its age.
func (r *rig) fresh() {
	r.t.Helper()
	r.append(0)
	for _, from := range []int{0, 1} {
		if got := r.take(r.frame(from, nil)); got.Status != edge.Done {
			r.t.Fatalf("frame: %s", r.Text())
		}
		r.later(100)
		r.append(0)
	}
}
