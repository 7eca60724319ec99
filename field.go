package counterfoil

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
)

// Field is a typed piece of session data. Declare it once, as a package variable, with [NewField]; its methods take the session.
// Values are stored as JSON, each field on its own, so requests that set different fields never undo each other.
//
// Most handlers want Get and Set. Update is for a value that depends on the old one, Pop for one that is shown once.
// The zero value is of no use. A Field is safe for concurrent use.
type Field[T any] struct{ name string }

// NewField names a field. Names have 1 to [MaxNameLen] bytes; a wrong one is an error of each use.
func NewField[T any](name string) Field[T] { return Field[T]{name} }

// Get returns the value and whether there is one. A value that does not decode as T fails this read and nothing else.
func (f Field[T]) Get(ctx context.Context, s *Session) (T, bool, error) {
	v, err := s.get(ctx, f.name)
	if err != nil {
		var zero T
		return zero, false, err
	}
	return f.decode(v)
}

// Set sets the value when the session is saved. If this request has read the field before and another one changes it
// meanwhile, the save fails with [ErrConflict].
func (f Field[T]) Set(s *Session, value T) error {
	b, err := f.encode(value)
	if err != nil {
		return err
	}
	return s.put(Op{Kind: OpSet, Name: f.name, Value: b})
}

// Delete removes the field when the session is saved, under the condition that Set describes.
func (f Field[T]) Delete(s *Session) error { return s.put(Op{Kind: OpDelete, Name: f.name}) }

// Update replaces the value by what fn makes of it, at once and atomically. fn may run several times; it should do nothing else.
// If fn returns an error nothing is changed and that error is returned.
func (f Field[T]) Update(ctx context.Context, s *Session, fn func(value T, present bool) (T, error)) (T, error) {
	var result T
	err := s.update(ctx, f.name, func(was Value) (Value, error) {
		old, present, err := f.decode(was)
		if err != nil {
			return Value{}, err
		}
		if result, err = fn(old, present); err != nil {
			return Value{}, err
		}
		b, err := f.encode(result)
		return Value{Bytes: b, Present: true}, err
	})
	if err != nil {
		var zero T
		return zero, err
	}
	return result, nil
}

// Pop removes the field at once and returns what it held: of all requests that pop it, one gets the value.
func (f Field[T]) Pop(ctx context.Context, s *Session) (T, bool, error) {
	v, err := s.do(ctx, Op{Kind: OpTake, Name: f.name})
	if err != nil {
		var zero T
		return zero, false, err
	}
	return f.decode(v)
}

func (f Field[T]) encode(value T) ([]byte, error) {
	b, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("counterfoil: encoding field %q: %w", f.name, err)
	}
	return b, nil
}

func (f Field[T]) decode(v Value) (value T, present bool, err error) {
	if !v.Present {
		return value, false, nil
	}
	if err := json.Unmarshal(v.Bytes, &value); err != nil {
		var zero T
		return zero, false, fmt.Errorf("counterfoil: decoding field %q: %w", f.name, err)
	}
	return value, true, nil
}

// Counter is a number in the session that any number of requests may raise at once: fifty increments by one end at fifty.
// Declare it with [NewCounter]. The zero value is of no use. A Counter is safe for concurrent use.
type Counter struct{ name string }

// NewCounter names a counter. It shares its names with fields; a Field[int64] of the same name reads the same number.
func NewCounter(name string) Counter { return Counter{name} }

// Incr adds by, at once and atomically, and returns the sum. A counter that was never used stands at 0. On an error other than
// [ErrNotFound] it is unknown whether the sum was stored, but it never was stored twice.
func (c Counter) Incr(ctx context.Context, s *Session, by int64) (int64, error) {
	v, err := s.do(ctx, Op{Kind: OpIncr, Name: c.name, By: by})
	if err != nil {
		return 0, err
	}
	return c.decode(v)
}

// Get returns where the counter stands.
func (c Counter) Get(ctx context.Context, s *Session) (int64, error) {
	v, err := s.get(ctx, c.name)
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
