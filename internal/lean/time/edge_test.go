//go:build edge

package time_test

import (
	"math"
	"testing"
	std "time"

	"github.com/counterfoil/counterfoil/internal/lean/time"
)

// Whatever both can say, both say.
func TestAsTheStandardLibrary(t *testing.T) {
	if time.Millisecond != time.Duration(std.Millisecond) || time.Second != time.Duration(std.Second) ||
		time.Minute != time.Duration(std.Minute) || time.Hour != time.Duration(std.Hour) {
		t.Error("constants differ")
	}
	moments := []int64{0, 1, 999, 1893499200000, 1893499200001, 1<<46 - 1}
	durations := []int64{0, 1, -1, 999_999, 1_000_000, -1_500_000, 17 * 60e9, math.MaxInt64, math.MinInt64}
	for _, a := range moments {
		for _, b := range moments {
			x, y := time.UnixMilli(a), time.UnixMilli(b)
			p, q := std.UnixMilli(a), std.UnixMilli(b)
			if int64(x.Sub(y)) != int64(p.Sub(q))/1e6*1e6 || x.Before(y) != p.Before(q) || x.After(y) != p.After(q) {
				t.Errorf("%d and %d", a, b)
			}
		}
		for _, d := range durations[:7] {
			if got, want := time.UnixMilli(a).Add(time.Duration(d/1e6*1e6)).UnixMilli(), std.UnixMilli(a).Add(std.Duration(d/1e6*1e6)).UnixMilli(); got != want {
				t.Errorf("%d + %d: %d, want %d", a, d, got, want)
			}
		}
	}
	for _, d := range durations {
		if time.Duration(d).Milliseconds() != std.Duration(d).Milliseconds() || int64(time.Duration(d).Abs()) != int64(std.Duration(d).Abs()) ||
			time.Duration(d).Seconds() != std.Duration(d).Seconds() {
			t.Errorf("%d", d)
		}
	}
}

// The clock that only runs forward decides how long ago something was, whatever the wall clock does meanwhile.
func TestSteady(t *testing.T) {
	before, after := time.At(1893499200000, 5_000), time.At(1893499200000-3_600_000, 12_000)
	if d := after.Sub(before); d != 7*time.Second || !before.Before(after) {
		t.Errorf("%v", d)
	}
	if d := after.Sub(time.UnixMilli(1893499200000)); d != -time.Hour {
		t.Errorf("one of them does not know it: %v", d)
	}
	if !(time.Time{}).IsZero() || before.IsZero() || !time.Now().IsZero() {
		t.Error("zero")
	}
}

// Nothing happens by itself.
func TestTimer(t *testing.T) {
	timer := time.AfterFunc(0, func() { t.Error("a timer fired") })
	timer.Reset(0)
	select {
	case <-timer.C:
		t.Error("a timer fired")
	default:
	}
	if !timer.Stop() {
		t.Error("a timer has fired")
	}
}
