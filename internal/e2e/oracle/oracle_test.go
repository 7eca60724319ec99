package oracle

import (
	"encoding/base64"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/token"
)

// TestDisagreements is a short run of the program in ../differential.
func TestDisagreements(t *testing.T) {
	signers, err := Signers()
	if err != nil {
		t.Fatal(err)
	}
	m := Mutator{rand.New(rand.NewPCG(1, 2))}
	for _, s := range signers {
		ours, err := Ours(s.Key)
		if err != nil {
			t.Fatal(err)
		}
		peers := Peers(s.Foreign)
		for range 1000 {
			raw := m.Token(s)
			_, verdict := ours.VerifyAt(raw, Now)
			for _, p := range peers {
				if err := Disagree(raw, verdict, p, p.Verify(raw)); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// compact signs a payload under the right header.
func compact(s Signer, payload string) []byte {
	enc := base64.RawURLEncoding
	b := enc.AppendEncode([]byte(s.Key.HeaderSegment()+"."), []byte(payload))
	sig := s.Sign(b)
	return enc.AppendEncode(append(b, '.'), sig)
}

// FuzzOracle signs the fuzzer's payload, splices something in, and compares.
func FuzzOracle(f *testing.F) {
	signers, err := Signers()
	if err != nil {
		f.Fatal(err)
	}
	s := signers[0]
	ours, err := Ours(s.Key)
	if err != nil {
		f.Fatal(err)
	}
	peers := Peers(s.Foreign)
	m := Mutator{rand.New(rand.NewPCG(3, 4))}
	for range 50 {
		_, rest, _ := strings.Cut(m.Token(s), ".")
		payload, _, _ := strings.Cut(rest, ".")
		if b, err := base64.RawURLEncoding.DecodeString(payload); err == nil {
			f.Add(string(b), "", 0)
		}
	}
	f.Fuzz(func(t *testing.T, payload, splice string, at int) {
		raw := string(compact(s, payload))
		if at >= 0 && at < len(raw) && splice != "" {
			raw = raw[:at] + splice + raw[at:]
		}
		_, verdict := ours.VerifyAt(raw, Now)
		if verdict != nil && token.Reason(verdict) == "" {
			t.Errorf("%v has no reason", verdict)
		}
		for _, p := range peers {
			if err := Disagree(raw, verdict, p, p.Verify(raw)); err != nil {
				t.Error(err)
			}
		}
	})
}
