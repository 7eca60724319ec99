// Package backlog keeps what has to be tried again until it succeeds. [Backlog] is all there is.
package backlog

import (
	"container/list"
	"time"
)

// The pause after a try that failed, and what it grows to by doubling.
const (
	FirstPause = time.Second
	MaxPause   = 30 * time.Second
)

// Backlog is a bounded set of things to do. What was never tried is due first, so that what fails again and again keeps nothing else waiting; after that
// what has waited longest. [New] makes one. It is not safe for concurrent use.
type Backlog[T comparable] struct {
	max    int
	where  map[T]*list.Element // of an *item
	fresh  list.List           // never tried, the oldest first
	failed list.List           // the one that failed longest ago first
}

type item[T comparable] struct {
	what  T
	due   time.Time
	pause time.Duration // 0 = never tried
}

// New makes a Backlog of at most max things.
func New[T comparable](max int) *Backlog[T] {
	return &Backlog[T]{max: max, where: map[T]*list.Element{}}
}

// Len returns how many things are left.
func (b *Backlog[T]) Len() int { return len(b.where) }

// Add adds what is not there yet. If there is no room the oldest goes: what has failed, if anything has.
func (b *Backlog[T]) Add(what ...T) {
	for _, x := range what {
		if b.where[x] != nil {
			continue
		}
		if len(b.where) >= b.max {
			oldest := b.failed.Front()
			if oldest == nil {
				oldest = b.fresh.Front()
			}
			b.Done(oldest.Value.(*item[T]).what)
		}
		b.where[x] = b.fresh.PushBack(&item[T]{what: x})
	}
}

// Due returns what is to be tried now, n things at most. They stay until they are Done.
func (b *Backlog[T]) Due(now time.Time, n int) []T {
	var due []T
	for _, l := range []*list.List{&b.fresh, &b.failed} {
		for e := l.Front(); e != nil && len(due) < n; e = e.Next() {
			if i := e.Value.(*item[T]); !now.Before(i.due) {
				due = append(due, i.what)
			}
		}
	}
	return due
}

// Done removes things.
func (b *Backlog[T]) Done(what ...T) {
	for _, x := range what {
		if e := b.where[x]; e != nil {
			b.fresh.Remove(e) // each removes only what is in it
			b.failed.Remove(e)
			delete(b.where, x)
		}
	}
}

// Failed says that a try of something has failed. It is due again after a pause that doubles each time.
func (b *Backlog[T]) Failed(what T, now time.Time) {
	e := b.where[what]
	if e == nil {
		return
	}
	i := e.Value.(*item[T])
	i.pause = min(max(FirstPause, 2*i.pause), MaxPause)
	i.due = now.Add(i.pause)
	b.fresh.Remove(e)
	b.failed.Remove(e)
	b.where[what] = b.failed.PushBack(i)
}
