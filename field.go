package counterfoil

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/counterfoil/counterfoil/token"
)

// Field is a typed piece of session data. Declare it once, as a package variable, with [NewField]; its methods take the session. Each field's value
// is stored on its own, as JSON or by [Config.Codec], so requests that set different fields never undo each other.
//
// Most handlers want Get and Set. Update is for a value that depends on the old one, Pop for one that is shown once. Besides the errors that they
// name, all methods that take a context return [ErrNotFound] if the session has ended and [ErrUnavailable] if the store cannot be reached.
//
// The zero value is of no use. A Field is safe for concurrent use.
type Field[T any] struct{ name string }

// NewField declares a field of that name. Names have 1 to [MaxNameLen] bytes; every use of a field with a wrong name is an error.
func NewField[T any](name string) Field[T] { return Field[T]{name} }

// Get returns the value and whether there is one; without one the value is the zero T. It sees what this request has set. A value that does not
// decode as T is an error of this read and does no harm to the session.
func (f Field[T]) Get(ctx context.Context, s *Session) (T, bool, error) {
	v, err := s.get(ctx, f.name, true)
	if err != nil {
		var zero T
		return zero, false, err
	}
	return f.decode(s, v)
}

// Set sets the value when the session is saved. If this request has read the field before and another one changes it in between, the save fails with
// [ErrConflict]. Set itself fails if the value cannot be encoded, or with [ErrTooLarge] if it alone is over the budget.
func (f Field[T]) Set(s *Session, value T) error {
	b, err := f.encode(s, value)
	if err != nil {
		return err
	}
	return s.put(Op{Kind: OpSet, Name: f.name, Value: b})
}

// Delete removes the field when the session is saved, with the same [ErrConflict] as Set. It is no error if there is no such field.
func (f Field[T]) Delete(s *Session) error { return s.put(Op{Kind: OpDelete, Name: f.name}) }

// Update replaces the value by what fn makes of it, at once and atomically, and returns the new value. fn may run several times, so it should change
// nothing else. If fn returns an error, nothing is changed and Update returns that error. [ErrConflict] if other requests were faster a thousand
// times in a row, or if they changed the field between a Get and a Set that this request has not saved yet.
func (f Field[T]) Update(ctx context.Context, s *Session, fn func(value T, present bool) (T, error)) (T, error) {
	var result T
	err := s.update(ctx, f.name, func(was Value) (Value, error) {
		old, present, err := f.decode(s, was)
		if err != nil {
			return Value{}, err
		}
		if result, err = fn(old, present); err != nil {
			return Value{}, err
		}
		b, err := f.encode(s, result)
		return Value{Bytes: b, Present: true}, err
	})
	if err != nil {
		var zero T
		return zero, err
	}
	return result, nil
}

// Pop removes the field at once and returns what it held, and whether it held anything. Of all requests that pop it, one gets the value. A value that
// does not decode as T is removed all the same.
func (f Field[T]) Pop(ctx context.Context, s *Session) (T, bool, error) {
	v, err := s.do(ctx, Op{Kind: OpTake, Name: f.name})
	if err != nil {
		var zero T
		return zero, false, err
	}
	return f.decode(s, v)
}

func (f Field[T]) encode(s *Session, value T) ([]byte, error) {
	b, err := s.m.codec.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("counterfoil: encoding field %q: %w", f.name, err)
	}
	return b, nil
}

func (f Field[T]) decode(s *Session, v Value) (value T, present bool, err error) {
	if !v.Present {
		return value, false, nil
	}
	if err := s.m.codec.Unmarshal(v.Bytes, &value); err != nil {
		var zero T
		return zero, false, fmt.Errorf("counterfoil: decoding field %q: %w", f.name, err)
	}
	return value, true, nil
}

// Counter is a number in the session that any number of requests may raise at once: from 0, fifty increments by one make fifty. Declare it with
// [NewCounter]. The zero value is of no use. A Counter is safe for concurrent use.
type Counter struct{ name string }

// NewCounter declares a counter of that name, of 1 to [MaxNameLen] bytes. Counters and fields share their names. A counter is stored as a decimal
// that Redis can add to, whatever the codec, and never encrypted; so a Field[int64] of the same name reads the same number as long as values are JSON
// and not encrypted.
func NewCounter(name string) Counter { return Counter{name} }

// Incr adds by, which may be negative, at once and atomically, and returns the sum. A counter that was never used stands at 0. [ErrNotInteger] if the
// sum would overflow, or if the name holds something else. After [ErrUnavailable] it is unknown whether the increment took place; it never takes
// place twice.
func (c Counter) Incr(ctx context.Context, s *Session, by int64) (int64, error) {
	v, err := s.do(ctx, Op{Kind: OpIncr, Name: c.name, By: by})
	if err != nil {
		return 0, err
	}
	return c.decode(v)
}

// Get returns where the counter stands, 0 if it was never used.
func (c Counter) Get(ctx context.Context, s *Session) (int64, error) {
	v, err := s.get(ctx, c.name, false)
	if err != nil {
		return 0, err
	}
	return c.decode(v)
}

func (c Counter) decode(v Value) (int64, error) {
	if !v.Present {
		return 0, nil
	}
	n, err := strconv.ParseInt(string(v.Bytes), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("counterfoil: counter %q: %w", c.name, ErrNotInteger)
	}
	return n, nil
}

// Codec turns the values of fields into bytes and back. It must be safe for concurrent use and keep nothing of the bytes it is given. Many libraries
// have the two methods: the modes of fxamacker/cbor, put into one struct, are a codec as they are.
type Codec interface {
	Marshal(value any) ([]byte, error)
	Unmarshal(data []byte, value any) error // value is a pointer; an error fails that one read
}

type jsonCodec struct{}

func (jsonCodec) Marshal(value any) ([]byte, error)      { return json.Marshal(value) }
func (jsonCodec) Unmarshal(data []byte, value any) error { return json.Unmarshal(data, value) }

// vault encrypts the values of fields at rest: AES-256-GCM under a key of each session's own, with the session's ID and the field's name as
// associated data. So a value moved to another session or field does not open, and how many values a key has sealed is bounded by
// what one session writes. nil encrypts nothing.
//
// A sealed value is one byte 0x01, four bytes that name the key, the nonce, and the ciphertext with its tag. A counter is a decimal, so
// the two are never taken for each other.
type vault struct {
	keys  func() []vaultKey // the first seals, all open; why a function: see sealer
	plain bool              // what is not sealed may be read
}

type vaultKey struct {
	name   [4]byte
	secret []byte
}

const (
	sealedForm  = 0x01
	vaultPrefix = 1 + 4
	nonceLen    = 12
)

// errSealed is one for all that may be wrong with a value at rest.
var errSealed = errors.New("counterfoil: value does not open: it was sealed by another key, for another place, or not at all")

func newVault(secrets [][]byte, plain bool, issuer, audience string) (*vault, error) {
	if len(secrets) == 0 {
		return nil, nil
	}
	keys := make([]vaultKey, len(secrets))
	for i, secret := range secrets {
		if len(secret) < 32 {
			return nil, fmt.Errorf("counterfoil: Config.ValueKeys[%d] has %d bytes, at least 32 are needed", i, len(secret))
		}
		info := "counterfoil value v1\x00" + issuer + "\x00" + audience
		key, err := hkdf.Key(sha256.New, secret, nil, info, 32+4)
		if err != nil {
			return nil, fmt.Errorf("counterfoil: deriving the key of values: %w", err)
		}
		keys[i] = vaultKey{name: [4]byte(key[32:]), secret: key[:32]}
	}
	return &vault{keys: func() []vaultKey { return keys }, plain: plain}, nil
}

func (k vaultKey) aead(id token.SessionID) (cipher.AEAD, error) {
	key, err := hkdf.Expand(sha256.New, k.secret, id.String(), 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func associated(id token.SessionID, name string) []byte { return []byte(id.String() + "\x00" + name) }

// seal returns the value as it is stored in that session's field.
func (v *vault) seal(id token.SessionID, name string, value []byte) ([]byte, error) {
	if v == nil {
		return value, nil
	}
	k := v.keys()[0]
	a, err := k.aead(id)
	if err != nil {
		return nil, fmt.Errorf("counterfoil: sealing field %q: %w", name, err)
	}
	out := make([]byte, vaultPrefix+nonceLen, vaultPrefix+nonceLen+len(value)+a.Overhead())
	out[0] = sealedForm
	copy(out[1:], k.name[:])
	rand.Read(out[vaultPrefix:])
	return a.Seal(out, out[vaultPrefix:], value, associated(id, name)), nil
}

// open returns the value that is stored in that session's field.
func (v *vault) open(id token.SessionID, name string, stored []byte) ([]byte, error) {
	switch {
	case v == nil:
		return stored, nil
	case len(stored) == 0 || stored[0] != sealedForm:
		if v.plain {
			return stored, nil
		}
		return nil, errSealed
	case len(stored) < vaultPrefix+nonceLen:
		return nil, errSealed
	}
	for _, k := range v.keys() {
		if k.name != [4]byte(stored[1:vaultPrefix]) {
			continue
		}
		a, err := k.aead(id)
		if err != nil {
			return nil, err
		}
		if value, err := a.Open(nil, stored[vaultPrefix:vaultPrefix+nonceLen], stored[vaultPrefix+nonceLen:], associated(id, name)); err == nil {
			return value, nil
		}
	}
	return nil, errSealed
}

// sealOps returns the operations as the store is to carry them out on that session.
func (v *vault) sealOps(id token.SessionID, ops []Op) ([]Op, error) {
	if v == nil {
		return ops, nil
	}
	out := make([]Op, len(ops))
	for i, op := range ops {
		if op.Kind == OpSet {
			b, err := v.seal(id, op.Name, op.Value)
			if err != nil {
				return nil, err
			}
			op.Value = b
		}
		out[i] = op
	}
	return out, nil
}

// move returns a stored value as it is to be stored in the same field of another session. Counters go as they are.
func (v *vault) move(from, to token.SessionID, name string, stored []byte) ([]byte, error) {
	if v == nil || isInteger(stored) {
		return stored, nil
	}
	value, err := v.open(from, name, stored)
	if err != nil {
		return nil, err
	}
	return v.seal(to, name, value)
}

func isInteger(b []byte) bool {
	n, err := strconv.ParseInt(string(b), 10, 64)
	return err == nil && strconv.FormatInt(n, 10) == string(b)
}

// Claim decodes one of the application's own claims of a token, as [Config.Claims] made it, and says whether there is one. Values are JSON, whatever
// [Config.Codec] is. It needs no store, so it serves services that only verify. A claim that does not decode as T is an error, and no reason to
// refuse the token.
func Claim[T any](v token.Verified, name string) (value T, present bool, err error) {
	raw, present := v.Claim(name)
	if !present {
		return value, false, nil
	}
	if err := json.Unmarshal([]byte(raw), &value); err != nil {
		var zero T
		return zero, false, fmt.Errorf("counterfoil: decoding claim %q: %w", name, err)
	}
	return value, true, nil
}
