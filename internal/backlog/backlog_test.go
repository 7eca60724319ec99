package backlog_test

import (
	"slices"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/backlog"
)

func TestOrder(t *testing.T) {
	start := time.Now()
	after := func(d time.Duration) time.Time { return start.Add(d) }
	for _, tt := range []struct {
		name string
		do   func(b *backlog.Backlog[string])
		at   time.Duration
		n    int
		want []string
		left int
	}{
		{"nothing", func(*backlog.Backlog[string]) {}, 0, 9, nil, 0},
		{"the oldest first", func(b *backlog.Backlog[string]) { b.Add("a", "b", "c") }, 0, 2, []string{"a", "b"}, 3},
		{"each once", func(b *backlog.Backlog[string]) { b.Add("a", "b"); b.Add("a") }, 0, 9, []string{"a", "b"}, 2},
		{"not what is done", func(b *backlog.Backlog[string]) { b.Add("a", "b", "c"); b.Done("b", "x") }, 0, 9, []string{"a", "c"}, 2},
		{"not what has just failed", func(b *backlog.Backlog[string]) { b.Add("a", "b"); b.Failed("a", start) }, 0, 9, []string{"b"}, 2},
		{"what has failed, after the pause", func(b *backlog.Backlog[string]) { b.Add("a"); b.Failed("a", start) }, backlog.FirstPause, 9, []string{"a"}, 1},
		{"after twice the pause", func(b *backlog.Backlog[string]) {
			b.Add("a")
			b.Failed("a", after(-backlog.FirstPause))
			b.Failed("a", start)
		}, 2*backlog.FirstPause - 1, 9, nil, 1},
		{"never after more than the longest pause", func(b *backlog.Backlog[string]) {
			b.Add("a")
			for range 100 {
				b.Failed("a", start)
			}
		}, backlog.MaxPause, 9, []string{"a"}, 1},
		{"what was never tried before what has failed", func(b *backlog.Backlog[string]) {
			b.Add("a", "b", "c")
			b.Failed("b", start)
			b.Failed("a", start)
			b.Add("d")
		}, time.Hour, 3, []string{"c", "d", "b"}, 4},
		{"what is unknown cannot fail", func(b *backlog.Backlog[string]) { b.Failed("a", start) }, time.Hour, 9, nil, 0},
		{"the oldest goes", func(b *backlog.Backlog[string]) { b.Add("a", "b", "c", "d", "e") }, 0, 9, []string{"b", "c", "d", "e"}, 4},
		{"what has failed goes first", func(b *backlog.Backlog[string]) {
			b.Add("a", "b", "c", "d")
			b.Failed("c", start)
			b.Add("e")
		}, time.Hour, 9, []string{"a", "b", "d", "e"}, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := backlog.New[string](4)
			tt.do(b)
			if got := b.Due(after(tt.at), tt.n); !slices.Equal(got, tt.want) || b.Len() != tt.left {
				t.Errorf("due are %q of %d, want %q of %d", got, b.Len(), tt.want, tt.left)
			}
		})
	}
}
