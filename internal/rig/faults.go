package rig

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/token"
)

// ErrFault is the error of a step that was made to fail.
var ErrFault = errors.New("rig: made to fail")

// Faults is a store that can be made to fail at any step, before the step is carried out or after it, when only the answer is lost. With
// counterfoil.ErrNotDurable after a step the answer is not lost: it is what a store says whose replicas are down.
type Faults struct {
	*store.Redis

	mu   sync.Mutex
	hook func(step string, after bool) error
}

// On has hook decide about every step from now on: nil lets it be. It is asked twice, before the step and after. Steps have the names of the
// methods; a heartbeat is "Heartbeat". No hook lets everything be.
func (f *Faults) On(hook func(step string, after bool) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = hook
}

func (f *Faults) ask(step string, after bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hook == nil {
		return nil
	}
	return f.hook(step, after)
}

func do[R any](f *Faults, step string, run func() (R, error)) (R, error) {
	var none R
	if err := f.ask(step, false); err != nil {
		return none, err
	}
	r, err := run()
	switch lost := f.ask(step, true); {
	case errors.Is(lost, counterfoil.ErrNotDurable) && err == nil:
		return r, lost
	case lost != nil:
		return none, lost
	}
	return r, err
}

// Create and the other methods are those of counterfoil.Store.
func (f *Faults) Create(ctx context.Context, r counterfoil.NewRecord) (counterfoil.Created, error) {
	return do(f, "Create", func() (counterfoil.Created, error) { return f.Redis.Create(ctx, r) })
}

// Load see Create.
func (f *Faults) Load(ctx context.Context, ref counterfoil.Ref) (counterfoil.Record, error) {
	return do(f, "Load", func() (counterfoil.Record, error) { return f.Redis.Load(ctx, ref) })
}

// Save see Create.
func (f *Faults) Save(ctx context.Context, ref counterfoil.Ref, ops []counterfoil.Op) (counterfoil.Saved, error) {
	return do(f, "Save", func() (counterfoil.Saved, error) { return f.Redis.Save(ctx, ref, ops) })
}

// Refresh see Create.
func (f *Faults) Refresh(ctx context.Context, p counterfoil.Presented) (counterfoil.Refreshed, error) {
	return do(f, "Refresh", func() (counterfoil.Refreshed, error) { return f.Redis.Refresh(ctx, p) })
}

// Freeze see Create.
func (f *Faults) Freeze(ctx context.Context, ref counterfoil.Ref) (counterfoil.Record, error) {
	return do(f, "Freeze", func() (counterfoil.Record, error) { return f.Redis.Freeze(ctx, ref) })
}

// End see Create.
func (f *Faults) End(ctx context.Context, e counterfoil.Ending) (counterfoil.Ended, error) {
	return do(f, "End", func() (counterfoil.Ended, error) { return f.Redis.End(ctx, e) })
}

// Sessions see Create.
func (f *Faults) Sessions(ctx context.Context, subject string) ([]counterfoil.Record, error) {
	return do(f, "Sessions", func() ([]counterfoil.Record, error) { return f.Redis.Sessions(ctx, subject) })
}

// Append is that of the revocation log.
func (f *Faults) Append(ctx context.Context, entries ...revocation.Entry) (revocation.Appended, error) {
	step := "Append"
	if len(entries) == 0 {
		step = "Heartbeat"
	}
	return do(f, step, func() (revocation.Appended, error) { return f.Redis.Append(ctx, entries...) })
}

// Ask is that of revocation.Asker.
func (f *Faults) Ask(ctx context.Context, v token.Verified) (revocation.Answer, error) {
	return do(f, "Ask", func() (revocation.Answer, error) { return f.Redis.Ask(ctx, v) })
}

// NotDurable returns a hook that has the named steps carried out without enough replicas.
func NotDurable(steps ...string) func(string, bool) error {
	return func(s string, after bool) error {
		if after && slices.Contains(steps, s) {
			return counterfoil.ErrNotDurable
		}
		return nil
	}
}

// Never returns a hook that makes the named step fail each time, before it is carried out.
func Never(step string) func(string, bool) error {
	return func(s string, _ bool) error {
		if s == step {
			return ErrFault
		}
		return nil
	}
}

// Find is that of counterfoil.Finder.
func (f *Faults) Find(ctx context.Context, id token.SessionID) (counterfoil.Record, error) {
	return do(f, "Find", func() (counterfoil.Record, error) { return f.Redis.Find(ctx, id) })
}
