package revocation_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/counterfoil/counterfoil/revocation"
)

// FuzzFrame gives a reader anything, and then the same with a digest and a signature that are right, as if the server had made it: a reader
// must not trust its server to know the format.
func FuzzFrame(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "frames", "*.txt"))
	if err != nil || len(files) == 0 {
		f.Fatal("no vectors: ", err)
	}
	for _, name := range files {
		file, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		v, err := parseFrameVector(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, s := range v.steps {
			f.Add(s.frame)
		}
	}
	s := newFrameSigner(f, "feed")
	log := frameLog(6)
	f.Fuzz(func(t *testing.T, frame []byte) {
		r := newFrameReader(t, s)
		r.Ask("", frameNonce)
		if _, err := openFrame(r, frame); err == nil {
			t.Fatal("a frame that answers nothing that was asked is taken")
		}

		frame = resign(s, bytes.Clone(frame))
		if frame == nil {
			return
		}
		// Two readers, one at the beginning and one in the middle of a log.
		for _, after := range []revocation.Position{"", log[5].Position} {
			r := newFrameReader(t, s)
			if after != "" {
				r.Ask("", frameNonce)
				if _, err := openFrame(r, s.seal(t, wholeHead(), nil, log)); err != nil {
					t.Fatal(err)
				}
			}
			var nonce [16]byte
			copy(nonce[:], frame[revocation.FramePrefixLen+16:])
			r.Ask(after, nonce)
			got, err := openFrame(r, frame)
			if err != nil {
				continue
			}
			again := got.FrameHead
			again.To, again.ToTime = "", 0
			if got.Count == 0 {
				again.To, again.ToTime = got.To, got.ToTime
			}
			r = newFrameReader(t, s)
			if after != "" {
				r.Ask("", frameNonce)
				if _, err := openFrame(r, s.seal(t, wholeHead(), nil, log)); err != nil {
					t.Fatal(err)
				}
			}
			r.Ask(after, nonce)
			twice, err := openFrame(r, s.seal(t, again, got.Permanent, got.Records))
			if err != nil {
				t.Fatalf("%v, when what was read is written again", err)
			}
			if !reflect.DeepEqual(got.Records, twice.Records) || !reflect.DeepEqual(got.Permanent, twice.Permanent) {
				t.Fatalf("read %+v\nthen %+v", got, twice)
			}
		}
	})
}

// resign puts length, digest, key and signature right, nil if there is no head to put them in.
func resign(s frameSigner, frame []byte) []byte {
	size, err := revocation.FrameHeadLen(frame)
	if err != nil || size > len(frame) {
		return nil
	}
	head, body := frame[:size-64], frame[size:]
	id, sum := s.key.ID(), sha256.Sum256(body)
	copy(head[revocation.FramePrefixLen:], id[:])
	copy(head[revocation.FramePrefixLen+32:], sum[:])
	binary.BigEndian.PutUint32(head[revocation.FramePrefixLen+64:], uint32(len(body)))
	return append(s.sign(bytes.Clone(head)), body...)
}
