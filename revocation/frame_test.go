package revocation_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/tokentest"
)

// frameSigner signs frames, as the server of a feed does.
type frameSigner struct {
	private ed25519.PrivateKey
	key     revocation.FrameKey
}

// newFrameSigner makes the signer of that name, always the same.
func newFrameSigner(t testing.TB, name string) frameSigner {
	t.Helper()
	seed := sha256.Sum256([]byte(name))
	s := frameSigner{private: ed25519.NewKeyFromSeed(seed[:])}
	var err error
	if s.key, err = revocation.NewFrameKey(s.private.Public().(ed25519.PublicKey)); err != nil {
		t.Fatal(err)
	}
	return s
}

// seal makes a frame. It fills in what follows from the body.
func (s frameSigner) seal(t testing.TB, h revocation.FrameHead, permanent []revocation.Entry, records []revocation.Record) []byte {
	t.Helper()
	var body revocation.FrameBody
	for _, e := range permanent {
		if err := body.AddPermanent(e); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range records {
		if err := body.AddRecord(r); err != nil {
			t.Fatal(err)
		}
	}
	h.Count = body.Count()
	if h.To == "" && h.Count > 0 {
		h.To, h.ToTime = records[h.Count-1].Position, records[h.Count-1].Time
	}
	return s.sealBody(t, h, body.Bytes())
}

func (s frameSigner) sealBody(t testing.TB, h revocation.FrameHead, body []byte) []byte {
	t.Helper()
	h.KeyID, h.BodyLen, h.BodySum = s.key.ID(), len(body), sha256.Sum256(body)
	head, err := h.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return append(s.sign(head), body...)
}

func (s frameSigner) sign(head []byte) []byte { return append(head, ed25519.Sign(s.private, head)...) }

const frameIssuer = "https://issuer.test"

var frameNonce = [16]byte([]byte("a random nonce !"))

// newFrameReader makes a reader that takes the frames of these signers.
func newFrameReader(t testing.TB, signers ...frameSigner) *revocation.FrameReader {
	t.Helper()
	cfg := revocation.FrameReaderConfig{Issuer: frameIssuer}
	for _, s := range signers {
		cfg.Keys = append(cfg.Keys, s.key)
	}
	r, err := revocation.NewFrameReader(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const frameTime = 1_790_000_000_000

// frameLog returns n records of a log such as Redis keeps, of which every third is a heartbeat.
func frameLog(n int) []revocation.Record {
	records := make([]revocation.Record, n)
	var prev revocation.Position
	for i := range records {
		r := &records[i]
		r.Time = frameTime + int64(i/2)*7
		r.Position = revocation.Position(strconv.FormatInt(r.Time, 10) + "-" + strconv.Itoa(i%2))
		r.Prev, prev = prev, r.Position
		if i == 0 {
			r.Epoch = "epoch-1"
		}
		if i%3 != 2 {
			r.Entry = frameEntry(i, r.Time)
		} else {
			r.Replicated = r.Time - 1000
		}
	}
	return records
}

func frameEntry(i int, at int64) []byte {
	var random [16]byte
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
	copy(random[:], sum[:])
	id, err := token.NewSessionID("abc", random)
	if err != nil {
		panic(err)
	}
	b, err := revocation.Entry{Kind: revocation.KindSession, At: at, Session: id}.AppendBinary(nil)
	if err != nil {
		panic(err)
	}
	return b
}

// wholeHead is the head of a frame that holds the whole log.
func wholeHead() revocation.FrameHead {
	return revocation.FrameHead{Issuer: frameIssuer, Epoch: "epoch-1", Full: true, AsOf: frameTime, Age: 1500 * time.Millisecond, Birth: frameTime - 5, Nonce: frameNonce}
}

// partHead is the head of a frame that goes on after a record.
func partHead(after revocation.Record) revocation.FrameHead {
	h := wholeHead()
	h.Full, h.From = false, after.Position
	return h
}

func wantFrame(t testing.TB, err error, reason string) {
	t.Helper()
	var refused *revocation.FrameError
	switch {
	case reason == "" && err != nil:
		t.Errorf("refused: %v", err)
	case reason != "" && (!errors.As(err, &refused) || refused.Reason != reason):
		t.Errorf("got %v, want a refusal with the reason %q", err, reason)
	}
}

// What is sent arrives.
func TestFrame(t *testing.T) {
	s := newFrameSigner(t, "feed")
	log := frameLog(50)
	permanent := []revocation.Entry{
		{Kind: revocation.KindAll, At: frameTime, NotBefore: frameTime - 1},
		{Kind: revocation.KindKey, At: frameTime, KeyID: "a-key"},
		{Kind: 'z', At: frameTime}, // of a newer version
	}
	r := newFrameReader(t, s)
	if q := r.Ask("", frameNonce); !q.Full || q.After.String() != "" {
		t.Errorf("the first question is %+v, want one for the whole log", q)
	}
	f, err := openFrame(r, s.seal(t, wholeHead(), permanent, log[:40]))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(f.Records, log[:40]) || !reflect.DeepEqual(f.Permanent, permanent) {
		t.Errorf("got %v and %v", f.Permanent, f.Records)
	}
	if f.AsOf != frameTime || f.Age != 1500*time.Millisecond || f.To != log[39].Position {
		t.Errorf("got the head %+v", f.FrameHead)
	}
	b := f.Batch()
	if !b.Full || b.Epoch != "epoch-1" || b.Birth != frameTime-5 || len(b.Permanent) != 3 || len(b.Records) != 40 {
		t.Errorf("got the batch %+v", b)
	}

	q := r.Ask(f.To, frameNonce)
	if want := "epoch-1~" + strconv.FormatInt(log[39].Time, 10) + "~" + string(log[39].Position); q.Full || q.After.String() != want {
		t.Errorf("the second question is %+v, want one after %s", q, want)
	}
	if f, err = openFrame(r, s.seal(t, partHead(log[39]), nil, log[40:])); err != nil {
		t.Fatal(err)
	}
	if b := f.Batch(); b.Full || b.Epoch != "" || !reflect.DeepEqual(b.Records, log[40:]) {
		t.Errorf("got %v", b)
	}

	r.Ask(f.To, frameNonce)
	nothing := partHead(log[49])
	nothing.To, nothing.ToTime = log[49].Position, log[49].Time
	if f, err = openFrame(r, s.seal(t, nothing, nil, nil)); err != nil || len(f.Records) != 0 {
		t.Errorf("got %v, %v from an empty frame", f.Records, err)
	}
}

// A log that has an epoch and no records is whole too.
func TestFrameOfEmptyLog(t *testing.T) {
	s := newFrameSigner(t, "feed")
	r := newFrameReader(t, s)
	r.Ask("", frameNonce)
	if _, err := openFrame(r, s.seal(t, wholeHead(), nil, nil)); err != nil {
		t.Fatal(err)
	}
	if q := r.Ask("", frameNonce); !q.Full || q.After != (revocation.Cursor{}) {
		t.Errorf("after nothing the question is %+v", q)
	}
}

// Who changes any bit, cuts off or adds anything is found out.
func TestFrameDamage(t *testing.T) {
	s := newFrameSigner(t, "feed")
	frame := s.seal(t, wholeHead(), []revocation.Entry{{Kind: revocation.KindKey, At: frameTime, KeyID: "k"}}, frameLog(3))
	r := newFrameReader(t, s)
	refused := func(what string, at int, b []byte) {
		t.Helper()
		r.Ask("", frameNonce)
		var err *revocation.FrameError
		if _, got := openFrame(r, b); !errors.As(got, &err) {
			t.Errorf("%s at %d: %v", what, at, got)
		}
	}
	for i := range frame {
		b := bytes.Clone(frame)
		b[i] ^= 1 << (i % 8)
		refused("a bit changed", i, b)
		refused("cut", i, frame[:i])
	}
	refused("a byte more", len(frame), append(bytes.Clone(frame), 0))
	r.Ask("", frameNonce)
	if _, err := openFrame(r, frame); err != nil {
		t.Errorf("after all that, the frame itself: %v", err)
	}
}

// Every reason there is to refuse a frame.
func TestFrameRefused(t *testing.T) {
	s, other := newFrameSigner(t, "feed"), newFrameSigner(t, "other")
	log := frameLog(9)
	whole := func(change func(*revocation.FrameHead)) []byte {
		h := wholeHead()
		change(&h)
		return s.seal(t, h, nil, log[:6])
	}
	part := func(change func(*revocation.FrameHead)) []byte {
		h := partHead(log[5])
		change(&h)
		return s.seal(t, h, nil, log[6:])
	}
	same := func(*revocation.FrameHead) {}
	empty := func(time int64) []byte {
		h := partHead(log[5])
		h.To, h.ToTime = log[5].Position, time
		return s.seal(t, h, nil, nil)
	}
	// raw makes a part from a body as it is.
	raw := func(count int, body string) []byte {
		h := partHead(log[5])
		h.Count, h.To, h.ToTime = count, log[6].Position, log[6].Time
		return s.sealBody(t, h, []byte(body))
	}
	var six revocation.FrameBody
	if err := six.AddRecord(log[6]); err != nil {
		t.Fatal(err)
	}
	good := string(six.Bytes())
	edit := func(at int, b byte) []byte {
		frame := whole(same)
		size, err := revocation.FrameHeadLen(frame)
		if err != nil {
			t.Fatal(err)
		}
		head := bytes.Clone(frame[:size-64])
		head[at] = b
		return append(s.sign(head), frame[size:]...)
	}

	tests := []struct {
		name  string
		full  bool // asked for the whole log
		frame []byte
		want  string
	}{
		{"the whole", true, whole(same), ""},
		{"the whole, asked for a part", false, whole(same), ""},
		{"a part", false, part(same), ""},
		{"one record", false, raw(1, good), ""},
		{"nothing new", false, empty(log[5].Time), ""},

		{"nothing at all", true, nil, "truncated"},
		{"the beginning of the type", true, []byte("counterfoil-"), "truncated"},
		{"a token", true, []byte(tokentest.New(t).Mint(token.Claims{Subject: "alice"})), "not a frame"},
		{"an error page", true, []byte("<html><body>Bad gateway</body></html>"), "not a frame"},
		{"a newer version", true, edit(28, 2), "unknown version"},
		{"a flag that nobody knows", true, edit(29, 3), "malformed"},
		{"a head that is shorter than any", true, edit(31, 10), "malformed"},
		{"a head that is longer than any", true, edit(30, 255), "malformed"},
		{"no body", true, whole(same)[:300], "truncated"},
		{"another key", true, other.seal(t, wholeHead(), nil, log), "unknown key"},
		{"another key under this one's ID", true, frameSigner{other.private, s.key}.seal(t, wholeHead(), nil, log), "signature"},
		{"another body under this head", true, append(whole(same)[:len(whole(same))-len(good)], good...), "body of another head"},

		{"another issuer's", true, whole(func(h *revocation.FrameHead) { h.Issuer = "https://other.test" }), "other issuer"},
		{"an older answer", true, whole(func(h *revocation.FrameHead) { h.Nonce[0]++ }), "answer to another question"},
		{"an answer to nobody", true, whole(func(h *revocation.FrameHead) { h.Nonce = [16]byte{} }), "answer to another question"},
		{"a part instead of the whole", true, part(same), "part instead of the whole"},
		{"a part of another epoch", false, part(func(h *revocation.FrameHead) { h.Epoch = "epoch-2" }), "other epoch"},
		{"a part after something else", false, part(func(h *revocation.FrameHead) { h.From = log[4].Position }), "gap"},
		{"the whole of a log rolled back", false, s.seal(t, wholeHead(), nil, log[:2]), "rolled back"},
		{"the whole of an empty log", false, s.seal(t, wholeHead(), nil, nil), "rolled back"},
		{"the whole of another epoch", false, whole(func(h *revocation.FrameHead) { h.Epoch = "epoch-2" }), ""},
		{"nothing new, at another time", false, empty(log[5].Time + 1), "malformed"},

		{"less than the head says", false, raw(2, good), "malformed"},
		{"more than the head says", false, raw(1, good+good), "malformed"},
		{"a record cut off", false, raw(1, good[:len(good)-1]), "malformed"},
		{"something permanent in a part", false, raw(1, "\x03\x0ak\x00\x00\x01\xa0\xc3\xb7\xa4\x00a"+good), "malformed"},
		{"a record that does not follow", false, s.seal(t, partHead(log[5]), nil, log[7:]), "malformed"},
		{"a record that leads elsewhere", false, part(func(h *revocation.FrameHead) { h.To, h.ToTime = "elsewhere", log[8].Time }), "malformed"},
		{"a record at another time", false, part(func(h *revocation.FrameHead) { h.To, h.ToTime = log[8].Position, log[8].Time+1 }), "malformed"},
		{"a record of another epoch", false, func() []byte {
			r := log[6]
			r.Epoch = "epoch-2"
			return s.seal(t, partHead(log[5]), nil, []revocation.Record{r})
		}(), "malformed"},
		{"an item that nobody knows", false, raw(1, "\xc0"+good[1:]), "malformed"},
		{"a first record without a predecessor", false, raw(1, "\x08\x00\x00"), "malformed"},
		{"a number in a longer form than need be", false, raw(1, "\x0c\x80\x80\x00"), "malformed"},
		{"a number that does not end", false, raw(1, "\x0c"+strings.Repeat("\x80", 12)), "malformed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newFrameReader(t, s)
			r.Ask("", frameNonce)
			after := revocation.Position("")
			if !tt.full {
				f, err := openFrame(r, whole(same))
				if err != nil {
					t.Fatal(err)
				}
				after = f.To
			}
			r.Ask(after, frameNonce)
			_, err := openFrame(r, tt.frame)
			wantFrame(t, err, tt.want)
		})
	}
}

// A reader takes one frame for one question, and goes on from what it has taken only.
func TestFrameReaderOrder(t *testing.T) {
	s := newFrameSigner(t, "feed")
	log := frameLog(9)
	r := newFrameReader(t, s)
	first := s.seal(t, wholeHead(), nil, log[:6])

	_, err := openFrame(r, first)
	wantFrame(t, err, "nothing was asked")
	r.Ask("", frameNonce)
	_, err = openFrame(r, first)
	wantFrame(t, err, "")
	_, err = openFrame(r, first)
	wantFrame(t, err, "nothing was asked")

	// Positions that nothing led to are nothing to go on from.
	if q := r.Ask("elsewhere", frameNonce); !q.Full || q.After.Position != log[5].Position {
		t.Errorf("got %+v", q)
	}
	// A refused frame changes nothing,
	r.Ask(log[5].Position, frameNonce)
	_, err = openFrame(r, s.seal(t, partHead(log[5]), nil, log[7:]))
	wantFrame(t, err, "malformed")
	if q := r.Ask(log[5].Position, frameNonce); q.Full {
		t.Errorf("got %+v", q)
	}
	// but an authentic one that shows a gap makes the reader ask for the whole log until it has it.
	_, err = openFrame(r, s.seal(t, partHead(log[6]), nil, log[7:]))
	wantFrame(t, err, "gap")
	for range 2 {
		if q := r.Ask(log[5].Position, frameNonce); !q.Full || q.After.Position != log[5].Position {
			t.Errorf("got %+v", q)
		}
	}
	_, err = openFrame(r, s.seal(t, wholeHead(), nil, log))
	wantFrame(t, err, "")
	if q := r.Ask(log[8].Position, frameNonce); q.Full {
		t.Errorf("got %+v", q)
	}
}

// Frames for nobody in particular are taken only where that was declared, and then no others.
func TestFrameSkipNonce(t *testing.T) {
	s := newFrameSigner(t, "feed")
	r, err := revocation.NewFrameReader(revocation.FrameReaderConfig{Issuer: frameIssuer, Keys: []revocation.FrameKey{s.key}, SkipNonce: true})
	if err != nil {
		t.Fatal(err)
	}
	public := wholeHead()
	public.Nonce = [16]byte{}
	for _, tt := range []struct {
		name string
		ask  [16]byte
		head revocation.FrameHead
		want string
	}{
		{"nobody's", [16]byte{}, public, ""},
		{"somebody else's", [16]byte{}, wholeHead(), "answer to another question"},
		{"one's own", frameNonce, wholeHead(), ""},
		{"nobody's, but one was asked for", frameNonce, public, "answer to another question"},
	} {
		r.Ask("", tt.ask)
		_, err := openFrame(r, s.seal(t, tt.head, nil, frameLog(1)))
		if wantFrame(t, err, tt.want); t.Failed() {
			t.Fatal(tt.name)
		}
	}
	strict := newFrameReader(t, s)
	strict.Ask("", [16]byte{})
	_, err = openFrame(strict, s.seal(t, public, nil, frameLog(1)))
	wantFrame(t, err, "answer to another question")
}

// While a key is replaced both are taken.
func TestFrameKeyRotation(t *testing.T) {
	before, after := newFrameSigner(t, "before"), newFrameSigner(t, "after")
	r := newFrameReader(t, before, after)
	for _, s := range []frameSigner{before, after} {
		r.Ask("", frameNonce)
		_, err := openFrame(r, s.seal(t, wholeHead(), nil, frameLog(1)))
		wantFrame(t, err, "")
	}
	r = newFrameReader(t, after)
	r.Ask("", frameNonce)
	_, err := openFrame(r, before.seal(t, wholeHead(), nil, frameLog(1)))
	wantFrame(t, err, "unknown key")
}

func TestFrameMaxLen(t *testing.T) {
	s := newFrameSigner(t, "feed")
	frame := s.seal(t, wholeHead(), nil, frameLog(100))
	size, err := revocation.FrameHeadLen(frame)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		max  int
		want string
	}{{len(frame) - size, ""}, {len(frame) - size - 1, "oversize"}} {
		r, err := revocation.NewFrameReader(revocation.FrameReaderConfig{Issuer: frameIssuer, Keys: []revocation.FrameKey{s.key}, MaxLen: tt.max})
		if err != nil {
			t.Fatal(err)
		}
		r.Ask("", frameNonce)
		_, err = openFrame(r, frame)
		wantFrame(t, err, tt.want)
	}
}

// A head says nothing that a frame cannot be.
func TestFrameHeadRefused(t *testing.T) {
	good := partHead(revocation.Record{Position: "1-0"})
	good.To, good.ToTime = "1-0", 1
	if _, err := good.AppendBinary(nil); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*revocation.FrameHead){
		"no issuer":                    func(h *revocation.FrameHead) { h.Issuer = "" },
		"a long issuer":                func(h *revocation.FrameHead) { h.Issuer = strings.Repeat("i", 256) },
		"no epoch":                     func(h *revocation.FrameHead) { h.Epoch = "" },
		"an epoch with a tilde":        func(h *revocation.FrameHead) { h.Epoch = "a~b" },
		"a long epoch":                 func(h *revocation.FrameHead) { h.Epoch = strings.Repeat("e", 65) },
		"a position with a space":      func(h *revocation.FrameHead) { h.From, h.To = "1 0", "1 0" },
		"a part from nowhere":          func(h *revocation.FrameHead) { h.From = "" },
		"a part to nowhere":            func(h *revocation.FrameHead) { h.To, h.ToTime = "", 0 },
		"a whole from somewhere":       func(h *revocation.FrameHead) { h.Full = true },
		"records that lead nowhere":    func(h *revocation.FrameHead) { h.Count = 1 },
		"more records than bytes":      func(h *revocation.FrameHead) { h.Count, h.To = 5000, "2-0" },
		"a negative length":            func(h *revocation.FrameHead) { h.BodyLen = -1 },
		"more than a gigabyte":         func(h *revocation.FrameHead) { h.BodyLen = 1<<30 + 1 },
		"a negative age":               func(h *revocation.FrameHead) { h.Age = -1 },
		"an age of months":             func(h *revocation.FrameHead) { h.Age = 50 * 24 * time.Hour },
		"a negative as-of":             func(h *revocation.FrameHead) { h.AsOf = -1 },
		"a birth in the year 5000":     func(h *revocation.FrameHead) { h.Birth = 1 << 47 },
		"a position that has no time":  func(h *revocation.FrameHead) { h.ToTime = 0 },
		"a time without any position":  func(h *revocation.FrameHead) { h.Full, h.From, h.To = true, "", "" },
		"a time that cannot be a time": func(h *revocation.FrameHead) { h.ToTime = math.MaxInt64 },
	} {
		h := good
		change(&h)
		if b, err := h.AppendBinary(nil); err == nil || len(b) != 0 {
			t.Errorf("%s: written", name)
		}
	}
}

func TestFrameBodyRefused(t *testing.T) {
	good := revocation.Record{Position: "1-0", Prev: "0-1", Time: 1}
	for name, change := range map[string]func(*revocation.Record){
		"no position":          func(r *revocation.Record) { r.Position = "" },
		"a position in two":    func(r *revocation.Record) { r.Position = "1~0" },
		"a long position":      func(r *revocation.Record) { r.Position = revocation.Position(strings.Repeat("1", 65)) },
		"a predecessor in two": func(r *revocation.Record) { r.Prev = "\n" },
		"no time":              func(r *revocation.Record) { r.Time = 0 },
		"a time of no clock":   func(r *revocation.Record) { r.Time = 1 << 46 },
		"replicated never":     func(r *revocation.Record) { r.Replicated = -1 },
		"an epoch in two":      func(r *revocation.Record) { r.Epoch = "ä" },
		"a long entry":         func(r *revocation.Record) { r.Entry = make([]byte, revocation.MaxEntryLen+1) },
	} {
		r := good
		change(&r)
		var body revocation.FrameBody
		if err := body.AddRecord(r); err == nil || len(body.Bytes()) != 0 {
			t.Errorf("%s: written", name)
		}
	}
	var body revocation.FrameBody
	for name, e := range map[string]revocation.Entry{
		"no kind":          {At: 1},
		"no time":          {Kind: revocation.KindAll, NotBefore: 1},
		"a newer one's":    {Kind: 'z'},
		"a nameless key's": {Kind: revocation.KindKey, At: 1},
	} {
		if err := body.AddPermanent(e); err == nil || len(body.Bytes()) != 0 {
			t.Errorf("%s: written", name)
		}
	}
	if err := body.AddRecord(good); err != nil {
		t.Fatal(err)
	}
	if err := body.AddPermanent(revocation.Entry{Kind: revocation.KindAll, At: 1, NotBefore: 1}); err == nil {
		t.Error("something permanent was written after a record")
	}
}

// Whatever a log may hold arrives unchanged, and bodies can be joined.
func TestFrameBodyProperty(t *testing.T) {
	s := newFrameSigner(t, "feed")
	r := newFrameReader(t, s)
	seal := func(h revocation.FrameHead, body []byte) []byte { return s.sealBody(t, h, body) }
	asked := 0
	name := rapid.StringMatching(`[!-}]{1,64}`)
	ms := rapid.Int64Range(1, 1<<46-1)
	rapid.Check(t, func(t *rapid.T) {
		records := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) revocation.Record {
			r := revocation.Record{Time: ms.Draw(t, "time"), Position: revocation.Position(name.Draw(t, "position"))}
			switch rapid.IntRange(0, 3).Draw(t, "spelling") {
			case 0:
				r.Position = revocation.Position(fmt.Sprintf("%d-%d", r.Time, rapid.Uint64().Draw(t, "n")))
			case 1:
				r.Position = revocation.Position(fmt.Sprintf("%d-0%d", r.Time, rapid.Uint64().Draw(t, "n")))
			case 2:
				r.Position = revocation.Position(fmt.Sprintf("%d-%d", r.Time+1, rapid.Uint64().Draw(t, "n")))
			}
			if rapid.Bool().Draw(t, "has entry") {
				r.Entry = rapid.SliceOfN(rapid.Byte(), 1, revocation.MaxEntryLen).Draw(t, "entry")
			}
			if rapid.Bool().Draw(t, "says replicated") {
				r.Replicated = ms.Draw(t, "replicated")
			}
			if rapid.Bool().Draw(t, "begins epoch") {
				r.Epoch = name.Draw(t, "epoch")
			}
			if rapid.Bool().Draw(t, "has predecessor") {
				r.Prev = revocation.Position(name.Draw(t, "predecessor"))
			}
			return r
		}), 1, 20).Draw(t, "records")
		for i := range records {
			if i > 0 && rapid.Bool().Draw(t, "follows") {
				records[i].Prev = records[i-1].Position
			}
		}
		cut := rapid.IntRange(0, len(records)).Draw(t, "cut")
		var one, two revocation.FrameBody
		for i, r := range records {
			body := &one
			if i >= cut {
				body = &two
			}
			if err := body.AddRecord(r); err != nil {
				t.Fatal(err)
			}
		}
		h := wholeHead()
		last := records[len(records)-1]
		h.Count, h.To, h.ToTime = one.Count()+two.Count(), last.Position, last.Time
		r.Ask("", frameNonce)
		h.Epoch = "epoch-" + strconv.Itoa(asked) // so that none is older than the one before
		asked++
		f, err := openFrame(r, seal(h, append(bytes.Clone(one.Bytes()), two.Bytes()...)))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(f.Records, records) {
			t.Fatalf("sent %+v\ngot  %+v", records, f.Records)
		}
	})
}

func TestCursor(t *testing.T) {
	for _, tt := range []struct {
		text string
		want revocation.Cursor
		ok   bool
	}{
		{"", revocation.Cursor{}, true},
		{"epoch-1~1790000000000~1790000000000-5", revocation.Cursor{"epoch-1", frameTime, "1790000000000-5"}, true},
		{"e~1~!", revocation.Cursor{"e", 1, "!"}, true},
		{"e~1", revocation.Cursor{}, false},
		{"e~1~", revocation.Cursor{}, false},
		{"~1~p", revocation.Cursor{}, false},
		{"e~~p", revocation.Cursor{}, false},
		{"e~0~p", revocation.Cursor{}, false},
		{"e~-1~p", revocation.Cursor{}, false},
		{"e~+1~p", revocation.Cursor{}, false},
		{"e~01~p", revocation.Cursor{}, false},
		{"e~1~p~q", revocation.Cursor{}, false},
		{"e~1~p q", revocation.Cursor{}, false},
		{"e~70368744177664~p", revocation.Cursor{}, false},
		{"e~1~" + strings.Repeat("p", 65), revocation.Cursor{}, false},
	} {
		c, err := revocation.ParseCursor(tt.text)
		if c != tt.want || (err == nil) != tt.ok {
			t.Errorf("ParseCursor(%q) = %+v, %v", tt.text, c, err)
		}
		if err == nil && c.String() != tt.text {
			t.Errorf("%q comes back as %q", tt.text, c.String())
		}
	}
}

func TestFrameKey(t *testing.T) {
	s := newFrameSigner(t, "feed")
	text := s.key.String()
	if !strings.HasPrefix(text, "frame-ed25519:") {
		t.Errorf("the text is %q", text)
	}
	var back revocation.FrameKey
	if err := back.UnmarshalText([]byte(text)); err != nil || back != s.key {
		t.Errorf("the text does not come back: %v", err)
	}
	public := s.key.Public()
	if !bytes.Equal(public[:], s.private.Public().(ed25519.PublicKey)) {
		t.Error("another public key")
	}

	// It is no key for tokens, nor is its ID the ID of one.
	k, err := token.Ed25519Key(s.private.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	id := s.key.ID()
	if strings.HasPrefix(k.ID(), base64.RawURLEncoding.EncodeToString(id[:])[:20]) {
		t.Error("the same ID for tokens and for frames")
	}

	for name, bad := range map[string]string{
		"nothing":             "",
		"no prefix":           text[len("frame-ed25519:"):],
		"another prefix":      strings.Replace(text, "frame", "token", 1),
		"cut":                 text[:len(text)-1],
		"one more":            text + "A",
		"another alphabet":    text[:20] + "+" + text[21:],
		"a line break":        text[:20] + "\n" + text[21:],
		"unused bits set":     text[:len(text)-1] + string(text[len(text)-1]+1),
		"a weak key of all 0": "frame-ed25519:" + strings.Repeat("A", 43),
	} {
		if _, err := revocation.ParseFrameKey(bad); err == nil {
			t.Errorf("%s: %q is taken for a key", name, bad)
		}
	}
}

func TestNewFrameReaderRefused(t *testing.T) {
	k := newFrameSigner(t, "feed").key
	for name, cfg := range map[string]revocation.FrameReaderConfig{
		"no issuer":     {Keys: []revocation.FrameKey{k}},
		"a long issuer": {Issuer: strings.Repeat("i", 256), Keys: []revocation.FrameKey{k}},
		"no key":        {Issuer: "i"},
		"a zero key":    {Issuer: "i", Keys: []revocation.FrameKey{{}}},
		"many keys":     {Issuer: "i", Keys: make([]revocation.FrameKey, 17)},
		"negative size": {Issuer: "i", Keys: []revocation.FrameKey{k}, MaxLen: -1},
		"a large size":  {Issuer: "i", Keys: []revocation.FrameKey{k}, MaxLen: 1<<30 + 1},
	} {
		if _, err := revocation.NewFrameReader(cfg); err == nil {
			t.Errorf("%s: made", name)
		}
	}
}
