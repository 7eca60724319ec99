package revocation_test

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/revocation"
)

var update = flag.Bool("update", false, "write testdata/frames again")

// frameVector is one file of testdata/frames, see the README there.
type frameVector struct {
	name, comment string
	reader        revocation.FrameReaderConfig
	steps         []frameStep
}

type frameStep struct {
	after revocation.Position
	nonce [16]byte
	clock int64
	frame []byte
}

// The reader does with every file what the file says. Each is also what this version writes, byte for byte, so that whoever reads today's frames
// reads tomorrow's.
func TestFrameVectors(t *testing.T) {
	dir := filepath.Join("testdata", "frames")
	made := frameVectors(t)
	if *update {
		for _, v := range made {
			if err := os.WriteFile(filepath.Join(dir, v.name+".txt"), v.play(t), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil || len(files) != len(made) {
		t.Fatalf("%d files (%v), want %d", len(files), err, len(made))
	}
	for _, v := range made {
		t.Run(v.name, func(t *testing.T) {
			file, err := os.ReadFile(filepath.Join(dir, v.name+".txt"))
			if err != nil {
				t.Fatal(err)
			}
			read, err := parseFrameVector(file)
			if err != nil {
				t.Fatal(err)
			}
			if got := read.play(t); !bytes.Equal(got, file) {
				t.Errorf("played, the file is\n%s\nwant\n%s", got, file)
			}
			if got := v.play(t); !bytes.Equal(got, file) {
				t.Errorf("written today, the file is\n%s\nwant\n%s", got, file)
			}
		})
	}
}

// play gives a reader the frames and returns the file with what came of it.
func (v frameVector) play(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	line := func(name, format string, args ...any) {
		b.WriteString(strings.TrimRight(name+": "+fmt.Sprintf(format, args...), " ") + "\n")
	}
	fmt.Fprintf(&b, "# %s\n", v.comment)
	line("issuer", "%s", v.reader.Issuer)
	for _, k := range v.reader.Keys {
		line("key", "%v", k)
	}
	if v.reader.MaxLen > 0 {
		line("max", "%d", v.reader.MaxLen)
	}
	if v.reader.SkipNonce {
		line("skip-nonce", "yes")
	}
	r, err := revocation.NewFrameReader(v.reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range v.steps {
		b.WriteString("\n")
		q := r.Ask(s.after, s.nonce)
		line("ask", "%s", s.after)
		line("nonce", "%x", s.nonce)
		kind := "part"
		if q.Full {
			kind = "whole"
		}
		line("query", "%s %v", kind, q.After)
		line("clock", "%d", s.clock)
		line("frame", "%s", base64.StdEncoding.EncodeToString(s.frame))
		f, err := openFrame(r, s.frame)
		if err != nil {
			var refused *revocation.FrameError
			if !errors.As(err, &refused) {
				t.Fatal(err)
			}
			line("expect", "%s", refused.Reason)
			continue
		}
		line("expect", "ok")
		line("full", "%s", map[bool]string{true: "yes", false: "no"}[f.Full])
		line("epoch", "%s", f.Epoch)
		line("from", "%s", f.From)
		line("to", "%s", f.To)
		line("to-time", "%d", f.ToTime)
		line("as-of", "%d", f.AsOf)
		line("age", "%d", f.Age.Milliseconds())
		line("birth", "%d", f.Birth)
		line("wall-age", "%d", s.clock-f.AsOf)
		for _, e := range f.Permanent {
			raw, err := e.AppendBinary(nil)
			if err != nil {
				t.Fatal(err)
			}
			line("permanent", "%x", raw)
		}
		for _, r := range f.Records {
			replicated := "-"
			if r.Replicated != 0 {
				replicated = strconv.FormatInt(r.Replicated, 10)
			}
			line("record", "%s %s %d %s %s %s", r.Position, cmp.Or(r.Prev, "-"), r.Time, replicated, cmp.Or(r.Epoch, "-"), cmp.Or(hex.EncodeToString(r.Entry), "-"))
		}
	}
	return b.Bytes()
}

// parseFrameVector reads what makes the reader and the questions; what is expected is for play to find again.
func parseFrameVector(file []byte) (v frameVector, err error) {
	var s *frameStep
	for text := range strings.Lines(string(file)) {
		text = strings.TrimRight(text, "\n")
		if c, ok := strings.CutPrefix(text, "# "); ok {
			v.comment = c
			continue
		}
		if text == "" {
			v.steps = append(v.steps, frameStep{})
			s = &v.steps[len(v.steps)-1]
			continue
		}
		name, value, _ := strings.Cut(text, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "issuer":
			v.reader.Issuer = value
		case "key":
			var k revocation.FrameKey
			k, err = revocation.ParseFrameKey(value)
			v.reader.Keys = append(v.reader.Keys, k)
		case "max":
			v.reader.MaxLen, err = strconv.Atoi(value)
		case "skip-nonce":
			v.reader.SkipNonce = value == "yes"
		case "ask":
			s.after = revocation.Position(value)
		case "nonce":
			_, err = hex.Decode(s.nonce[:], []byte(value))
		case "clock":
			s.clock, err = strconv.ParseInt(value, 10, 64)
		case "frame":
			s.frame, err = base64.StdEncoding.DecodeString(value)
		}
		if err != nil {
			return v, fmt.Errorf("%s: %w", name, err)
		}
	}
	return v, nil
}

func frameVectors(t *testing.T) []frameVector {
	feed, other := newFrameSigner(t, "feed"), newFrameSigner(t, "other")
	log := frameLog(9)
	reader := revocation.FrameReaderConfig{Issuer: frameIssuer, Keys: []revocation.FrameKey{feed.key}}
	permanent := []revocation.Entry{
		{Kind: revocation.KindAll, At: frameTime, NotBefore: frameTime - 1},
		{Kind: revocation.KindKey, At: frameTime, KeyID: "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U"},
	}
	nonce := func(n byte) (b [16]byte) {
		for i := range b {
			b[i] = n
		}
		return b
	}
	whole := func(change func(*revocation.FrameHead)) []byte {
		h := wholeHead()
		h.Nonce = nonce(1)
		change(&h)
		return feed.seal(t, h, permanent, log[:6])
	}
	part := func(change func(*revocation.FrameHead)) []byte {
		h := partHead(log[5])
		h.Nonce = nonce(2)
		change(&h)
		return feed.seal(t, h, nil, log[6:])
	}
	same := func(*revocation.FrameHead) {}
	flip := func(frame []byte, i int) []byte {
		frame[i] ^= 1
		return frame
	}
	first := frameStep{after: "", nonce: nonce(1), clock: frameTime + 1000, frame: whole(same)}
	second := func(frame []byte) []frameStep {
		return []frameStep{first, {after: log[5].Position, nonce: nonce(2), clock: frameTime + 2000, frame: frame}}
	}
	one := func(frame []byte) []frameStep {
		return []frameStep{{after: "", nonce: nonce(1), clock: frameTime + 1000, frame: frame}}
	}
	nothing := partHead(log[8])
	nothing.Nonce, nothing.To, nothing.ToTime = nonce(3), log[8].Position, log[8].Time
	unknown := log[6]
	unknown.Entry = []byte("z\x00\x00\x01\xa0\xc4\x8f\x44\x00whatever")
	size, err := revocation.FrameHeadLen(first.frame)
	if err != nil {
		t.Fatal(err)
	}
	vector := func(name, comment string, steps []frameStep) frameVector {
		return frameVector{name: name, comment: comment, reader: reader, steps: steps}
	}
	short := vector("oversize", "A body that is longer than the reader takes.", one(whole(same)))
	short.reader.MaxLen = 100
	rotated := vector("rotated-key", "Two keys may sign while one replaces the other.", one(func() []byte {
		h := wholeHead()
		h.Nonce = nonce(1)
		return other.seal(t, h, nil, log[:2])
	}()))
	rotated.reader.Keys = []revocation.FrameKey{feed.key, other.key}
	cached := vector("skip-nonce", "A frame from a cache, where that was declared. Its age is known by the clock alone.", []frameStep{
		{clock: frameTime + 4000, frame: whole(func(h *revocation.FrameHead) { h.Nonce = [16]byte{} })},
	})
	cached.reader.SkipNonce = true

	return []frameVector{
		vector("following", "The whole log, then what is new, then nothing new.",
			append(second(part(same)), frameStep{after: log[8].Position, nonce: nonce(3), clock: frameTime + 3000, frame: feed.seal(t, nothing, nil, nil)})),
		vector("whole-again", "The whole log although a part was asked for: the log does not go on from there.",
			second(func() []byte {
				h := wholeHead()
				h.Nonce, h.Epoch = nonce(2), "epoch-2"
				return feed.seal(t, h, nil, []revocation.Record{{Position: "p1", Prev: "p0", Time: frameTime + 1, Epoch: "epoch-2"}, {Position: "p2", Prev: "p1", Time: frameTime + 2}})
			}())),
		vector("hole", "A log with a hole: readers of the whole have to see it.",
			one(func() []byte {
				h := wholeHead()
				h.Nonce = nonce(1)
				return feed.seal(t, h, nil, append(append([]revocation.Record{}, log[:3]...), log[4:]...))
			}())),
		vector("empty", "A log with an epoch and nothing else.", one(func() []byte {
			h := wholeHead()
			h.Nonce = nonce(1)
			return feed.seal(t, h, nil, nil)
		}())),
		vector("unknown-kind", "An entry of a kind that is not known is passed on: it is for the list to make verifiers ask.",
			second(func() []byte {
				h := partHead(log[5])
				h.Nonce = nonce(2)
				return feed.seal(t, h, nil, []revocation.Record{unknown})
			}())),
		rotated,
		cached,
		vector("unknown-key", "Signed by a key that the reader does not have.", one(func() []byte {
			h := wholeHead()
			h.Nonce = nonce(1)
			return other.seal(t, h, nil, log[:2])
		}())),
		vector("forged", "Signed by another key under the ID of the right one.", one(func() []byte {
			h := wholeHead()
			h.Nonce = nonce(1)
			return frameSigner{other.private, feed.key}.seal(t, h, nil, log[:2])
		}())),
		vector("changed-head", "One bit of the head changed.", one(flip(whole(same), size-64-1))),
		vector("changed-signature", "One bit of the signature changed.", one(flip(whole(same), size-1))),
		vector("changed-body", "One bit of the body changed.", one(flip(whole(same), size+20))),
		vector("truncated-head", "Cut in the head.", one(whole(same)[:100])),
		vector("truncated-body", "Cut in the body.", one(first.frame[:len(first.frame)-1])),
		vector("trailing", "A byte too many.", one(append(whole(same), 0))),
		vector("version", "A version of the format that is not known.", one(flip(whole(same), len(revocation.FrameType)))),
		vector("no-frame", "Something else.", one([]byte("HTTP/1.1 502 Bad Gateway\r\n\r\n"))),
		short,
		vector("other-issuer", "The list of another issuer.", one(whole(func(h *revocation.FrameHead) { h.Issuer = "https://other.test" }))),
		vector("replayed", "The answer to an earlier question.", second(whole(same))),
		vector("no-nonce", "An answer to nobody in particular.", one(whole(func(h *revocation.FrameHead) { h.Nonce = [16]byte{} }))),
		vector("part-first", "A part where the whole was asked for.", one(part(func(h *revocation.FrameHead) { h.Nonce = nonce(1) }))),
		vector("other-epoch", "A part of another epoch. The next question is for the whole log.",
			append(second(part(func(h *revocation.FrameHead) { h.Epoch = "epoch-2" })),
				frameStep{after: log[5].Position, nonce: nonce(1), clock: frameTime + 3000, frame: whole(same)})),
		vector("gap", "A part that begins later than was asked for. The next question is for the whole log.",
			append(second(func() []byte {
				h := partHead(log[6])
				h.Nonce = nonce(2)
				return feed.seal(t, h, nil, log[7:])
			}()), frameStep{after: log[5].Position, nonce: nonce(1), clock: frameTime + 3000, frame: whole(same)})),
		vector("hole-in-part", "A part that does not hang together.", second(func() []byte {
			h := partHead(log[5])
			h.Nonce = nonce(2)
			return feed.seal(t, h, nil, append(append([]revocation.Record{}, log[6]), log[8]))
		}())),
		vector("rolled-back", "The whole log, as it was before.", second(func() []byte {
			h := wholeHead()
			h.Nonce = nonce(2)
			return feed.seal(t, h, nil, log[:3])
		}())),
	}
}
