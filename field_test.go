package counterfoil_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/rig"
)

func key(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

// raw returns a session's fields as they are in the store.
func raw(t *testing.T, r *rig.Rig, ref counterfoil.Ref) map[string][]byte {
	t.Helper()
	rec, err := r.Faults.Redis.Load(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	return rec.Fields
}

func TestEncryptedValues(t *testing.T) {
	t.Parallel()
	rig.Each(t, func(t *testing.T, plain *rig.Rig) {
		ctx := t.Context()
		with := func(keys ...[]byte) *rig.Rig {
			return plain.Again(t, func(c *counterfoil.Config) { c.ValueKeys = keys })
		}
		r := with(key(1))
		visitor := r.Anonymous()
		_ = name.Set(visitor, "secret of a visitor")
		if _, err := visits.Incr(ctx, visitor, 4); err != nil {
			t.Fatal(err)
		}
		if err := visitor.Save(ctx); err != nil {
			t.Fatal(err)
		}
		s := must[*counterfoil.Session](t)(r.Login(ctx, visitor, "alice", counterfoil.LoginOptions{Carry: []string{"name", "visits"}}))
		ref := counterfoil.Ref{Session: s.ID(), Subject: "alice"}
		if got := raw(t, r, ref); bytes.Contains(got["name"], []byte("secret")) || got["name"][0] != 1 || string(got["visits"]) != "4" {
			t.Errorf("at rest: %q", got)
		}
		if got, _, err := name.Get(ctx, s); got != "secret of a visitor" || err != nil {
			t.Errorf("carried: %q, %v", got, err)
		}
		if n, err := visits.Incr(ctx, s, 1); n != 5 || err != nil {
			t.Errorf("counter: %d, %v", n, err)
		}
		if _, err := cart.Update(ctx, s, func(c []string, _ bool) ([]string, error) { return append(c, "a"), nil }); err != nil {
			t.Fatal(err)
		}
		if c, err := cart.Update(ctx, s, func(c []string, _ bool) ([]string, error) { return append(c, "b"), nil }); err != nil || len(c) != 2 {
			t.Errorf("update: %v, %v", c, err)
		}
		if c, ok, err := cart.Pop(ctx, s); len(c) != 2 || !ok || err != nil {
			t.Errorf("pop: %v, %v, %v", c, ok, err)
		}
		_ = name.Set(s, "changed after a read")
		if err := s.Save(ctx); err != nil {
			t.Errorf("a set of what was read: %v", err)
		}
		next := must[*counterfoil.Session](t)(r.Rotate(ctx, s, counterfoil.RotateOptions{}))
		if got, _, err := name.Get(ctx, next); got != "changed after a read" || err != nil {
			t.Errorf("rotated: %q, %v", got, err)
		}
		ref.Session = next.ID()
		tokens, _ := next.Issued()
		access := tokens.Access

		rotated := with(key(2), key(1))
		view := rotated.Open(rotated.Verify(t, access))
		if got, _, err := name.Get(ctx, view); got != "changed after a read" || err != nil {
			t.Errorf("with a new key in front: %q, %v", got, err)
		}
		_ = cart.Set(view, []string{"sealed by the new one"})
		if err := view.Save(ctx); err != nil {
			t.Fatal(err)
		}
		dropped := with(key(2))
		view = dropped.Open(dropped.Verify(t, access))
		if _, _, err := name.Get(ctx, view); err == nil {
			t.Error("a value of a dropped key opened")
		}
		if c, _, err := cart.Get(ctx, view); len(c) != 1 || err != nil {
			t.Errorf("the session's other values: %v, %v", c, err)
		}

		// What is moved, cut, turned or planted does not open, and fails its own read only.
		stored := raw(t, r, ref)
		other, _ := login(t, r, "bob")
		for what, planted := range map[string][]byte{
			"of another session": stored["name"],
			"cut":                stored["name"][:len(stored["name"])-1],
			"short":              stored["name"][:8],
			"one bit turned":     append(bytes.Clone(stored["name"][:len(stored["name"])-1]), stored["name"][len(stored["name"])-1]^1),
			"empty":              {},
			"plain":              []byte(`"planted"`),
			"a number":           []byte("1"),
		} {
			bob := counterfoil.Ref{Session: other.Session(), Subject: "bob"}
			if _, err := r.Faults.Redis.Save(ctx, bob, []counterfoil.Op{{Kind: counterfoil.OpSet, Name: "name", Value: planted}}); err != nil {
				t.Fatal(err)
			}
			view := r.Open(other)
			if got, ok, err := name.Get(ctx, view); err == nil || ok {
				t.Errorf("%s: opened as %q", what, got)
			}
			if _, err := visits.Incr(ctx, view, 1); err != nil {
				t.Errorf("%s: the session is of no use: %v", what, err)
			}
		}
		if _, err := r.Faults.Redis.Save(ctx, ref, []counterfoil.Op{{Kind: counterfoil.OpSet, Name: "cart", Value: stored["name"]}}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := counterfoil.NewField[string]("cart").Get(ctx, r.Open(r.Verify(t, access))); err == nil {
			t.Error("a value moved to another field of its session opened")
		}
	})
}

func TestPlainValuesWhileSwitchingOver(t *testing.T) {
	t.Parallel()
	plain := rig.New(t, rig.Embedded)
	ctx := t.Context()
	v, _ := login(t, plain, "alice")
	s := plain.Open(v)
	_ = name.Set(s, "old")
	if err := s.Save(ctx); err != nil {
		t.Fatal(err)
	}
	strict := plain.Again(t, func(c *counterfoil.Config) { c.ValueKeys = [][]byte{key(1)} })
	if _, _, err := name.Get(ctx, strict.Open(v)); err == nil {
		t.Error("a value that is not encrypted was read")
	}
	lenient := plain.Again(t, func(c *counterfoil.Config) { c.ValueKeys, c.InsecureReadPlainValues = [][]byte{key(1)}, true })
	if got, _, err := name.Get(ctx, lenient.Open(v)); got != "old" || err != nil {
		t.Errorf("while switching over: %q, %v", got, err)
	}
	next, err := lenient.Rotate(ctx, lenient.Open(v), counterfoil.RotateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, _, err := name.Get(ctx, strict.Open(strict.Verify(t, first(next.Issued()).Access))); got != "old" || err != nil {
		t.Errorf("a rotation encrypts: %q, %v", got, err)
	}
}

func first[A, B any](a A, _ B) A { return a }

// gobCodec stands for any codec that is not JSON.
type gobCodec struct{}

func (gobCodec) Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(v)
	return b.Bytes(), err
}
func (gobCodec) Unmarshal(data []byte, v any) error {
	return gob.NewDecoder(bytes.NewReader(data)).Decode(v)
}

func TestCodec(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded, func(c *counterfoil.Config) { c.Codec = gobCodec{} })
	ctx := t.Context()
	v, _ := login(t, r, "alice")
	s := r.Open(v)
	_ = cart.Set(s, []string{"x"})
	if _, err := visits.Incr(ctx, s, 2); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(ctx); err != nil {
		t.Fatal(err)
	}
	s = r.Open(v)
	if c, _, err := cart.Get(ctx, s); len(c) != 1 || err != nil {
		t.Errorf("%v, %v", c, err)
	}
	if n, err := visits.Get(ctx, s); n != 2 || err != nil {
		t.Errorf("counter: %d, %v", n, err)
	}
	if _, _, err := counterfoil.NewField[func()]("f").Get(ctx, s); err != nil {
		t.Errorf("an absent value: %v", err)
	}
	if err := counterfoil.NewField[func()]("f").Set(s, nil); err == nil {
		t.Error("a value that does not encode was set")
	}
}

func TestLimitsOfFields(t *testing.T) {
	t.Parallel()
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		ctx := t.Context()
		v, _ := login(t, r, "alice")
		s := r.Open(v)
		for _, n := range []string{"", strings.Repeat("n", counterfoil.MaxNameLen+1)} {
			f := counterfoil.NewField[string](n)
			if _, _, err := f.Get(ctx, s); err == nil {
				t.Errorf("a name of %d bytes: read", len(n))
			}
			if err := f.Set(s, "x"); err == nil {
				t.Errorf("a name of %d bytes: set", len(n))
			}
			if _, err := counterfoil.NewCounter(n).Incr(ctx, s, 1); err == nil {
				t.Errorf("a name of %d bytes: counted", len(n))
			}
		}
		if err := name.Set(s, strings.Repeat("x", counterfoil.MaxDataLen)); !errors.Is(err, counterfoil.ErrTooLarge) {
			t.Errorf("one value over the budget: %v", err)
		}
		_ = name.Set(s, strings.Repeat("x", 40<<10))
		_ = counterfoil.NewField[string]("more").Set(s, strings.Repeat("x", 40<<10))
		if err := s.Save(ctx); !errors.Is(err, counterfoil.ErrTooLarge) {
			t.Errorf("two values over the budget: %v", err)
		}
		s.Discard()
		const most = 1<<63 - 1
		if n, err := visits.Incr(ctx, s, most); n != most || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		if _, err := visits.Incr(ctx, s, 1); !errors.Is(err, counterfoil.ErrNotInteger) {
			t.Errorf("an overflow: %v", err)
		}
		if n, err := visits.Incr(ctx, s, -most-1); n != -1 || err != nil {
			t.Errorf("a negative increment: %d, %v", n, err)
		}
	})
}

func TestUpdateEndsWithItsContext(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	v, _ := login(t, r, "alice")
	ctx, cancel := context.WithCancel(t.Context())
	tries := 0
	_, err := visitsText.Update(ctx, r.Open(v), func(s string, _ bool) (string, error) {
		if tries++; tries == 3 {
			cancel()
		}
		o := r.Open(v)
		_ = visitsText.Set(o, s+"x")
		if err := o.Save(t.Context()); err != nil {
			t.Error(err)
		}
		return s, nil
	})
	if err == nil || tries > 4 {
		t.Errorf("%d tries, %v", tries, err)
	}
}

var visitsText = counterfoil.NewField[string]("text")
