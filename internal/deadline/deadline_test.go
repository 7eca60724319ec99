package deadline_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/counterfoil/counterfoil/internal/deadline"
)

type key struct{}

func TestAfter(t *testing.T) {
	tests := []struct {
		name   string
		parent time.Duration // 0 = without a deadline
		waits  bool          // somebody asks for Done before anything happens
		do     func(cancel context.CancelFunc, c *deadline.Context)
		want   error
		after  time.Duration
	}{
		{"ends after its time", 0, true, nil, context.DeadlineExceeded, time.Second},
		{"by the clock, if nobody waits", 0, false, func(context.CancelFunc, *deadline.Context) { time.Sleep(time.Second) }, context.DeadlineExceeded, time.Second},
		{"no later than its parent", 100 * time.Millisecond, true, nil, context.DeadlineExceeded, 100 * time.Millisecond},
		{"no later than its parent, by the clock", 100 * time.Millisecond, false, func(context.CancelFunc, *deadline.Context) { time.Sleep(100 * time.Millisecond) },
			context.DeadlineExceeded, 100 * time.Millisecond},
		{"with its parent", 0, true, func(cancel context.CancelFunc, _ *deadline.Context) { cancel() }, context.Canceled, 0},
		{"with its parent, if nobody waits", 0, false, func(cancel context.CancelFunc, _ *deadline.Context) { cancel() }, context.Canceled, 0},
		{"when it is released", 0, true, func(_ context.CancelFunc, c *deadline.Context) { c.Release() }, context.Canceled, 0},
		{"when it is released, if nobody waits", 0, false, func(_ context.CancelFunc, c *deadline.Context) { c.Release(); c.Release() }, context.Canceled, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				parent, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "v"))
				defer cancel()
				if tt.parent > 0 {
					var over context.CancelFunc
					parent, over = context.WithTimeout(parent, tt.parent)
					defer over()
				}
				began := time.Now()
				c := deadline.After(parent, time.Second)
				defer c.Release()
				if err := c.Err(); err != nil {
					t.Fatalf("Err at the beginning: %v", err)
				}
				if c.Value(key{}) != "v" {
					t.Error("its parent's value is lost")
				}
				if tt.waits {
					select {
					case <-c.Done():
						t.Fatal("done at the beginning")
					default:
					}
				}
				if tt.do != nil {
					tt.do(cancel, c)
				}
				if !tt.waits && !errors.Is(c.Err(), tt.want) {
					t.Errorf("Err: %v, want %v", c.Err(), tt.want)
				}
				<-c.Done()
				if !errors.Is(c.Err(), tt.want) {
					t.Errorf("Err when it is done: %v, want %v", c.Err(), tt.want)
				}
				if took := time.Since(began); took != tt.after {
					t.Errorf("done after %v, want %v", took, tt.after)
				}
			})
		})
	}
}

// Whoever watches the time alone still sees the parent end, and makes no timer.
func TestApart(t *testing.T) {
	parent, cancel := context.WithCancel(t.Context())
	c := deadline.After(parent, time.Hour)
	defer c.Release()
	rest, at, ok := deadline.Apart(c)
	if want, _ := c.Deadline(); !ok || !at.Equal(want) {
		t.Errorf("Apart: %v, %v, want %v", at, ok, want)
	}
	if rest.Done() != parent.Done() {
		t.Error("waits for something else than its parent")
	}
	cancel()
	if !errors.Is(rest.Err(), context.Canceled) {
		t.Errorf("the rest after its parent has ended: %v", rest.Err())
	}
	if _, _, ok := deadline.Apart(context.Background()); ok {
		t.Error("a context without a deadline has one")
	}
}

// Whoever looks at Done once makes no timer; whoever looks again is woken when the time is over.
func TestGlanced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithCancel(t.Context())
		defer cancel()
		whole := deadline.After(parent, 1500*time.Millisecond)
		defer whole.Release()
		for _, tt := range []struct {
			of   context.Context
			want time.Duration
		}{{parent, time.Second}, {whole, 500 * time.Millisecond}} { // of which a second is over
			began := time.Now()
			c := deadline.Glanced(tt.of, time.Second)
			defer c.Release()
			if c.Done() != parent.Done() {
				t.Error("the first look has made a timer")
			}
			<-c.Done()
			if took := time.Since(began); took != tt.want || c.Err() != context.DeadlineExceeded {
				t.Errorf("%v after %v, want %v", c.Err(), took, tt.want)
			}
		}
		late := deadline.Glanced(parent, 0)
		defer late.Release()
		released := deadline.Glanced(parent, time.Second)
		released.Release()
		for _, c := range []context.Context{late, released} {
			select {
			case <-c.Done():
			default:
				t.Errorf("not over at the first look, and Err is %v", c.Err())
			}
		}
		ended := deadline.Glanced(parent, time.Second)
		defer ended.Release()
		cancel()
		<-ended.Done()
		if ended.Err() != context.Canceled {
			t.Errorf("Err after its parent has ended: %v", ended.Err())
		}
	})
}

func TestAfterAllocates(t *testing.T) {
	ctx := context.Background()
	if n := testing.AllocsPerRun(100, func() { deadline.After(ctx, time.Second).Release() }); n > 1 {
		t.Errorf("%v allocations, want 1", n)
	}
	if n := testing.AllocsPerRun(100, func() { c := deadline.Glanced(ctx, time.Second); c.Done(); c.Release() }); n > 1 {
		t.Errorf("%v allocations for a glance, want 1", n)
	}
}
