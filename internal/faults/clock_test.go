package faults_test

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/counterfoil/counterfoil/internal/require"

	"github.com/counterfoil/counterfoil/internal/redistest"
)

// behind returns t with a monotonic reading that is smaller by d, and the same wall clock: what a process sees whose machine was suspended. Package time
// has no way to make such a Time, so its representation is used (time.Time, field ext), and [TestBehind] says whether that is still so.
func behind(t time.Time, d time.Duration) time.Time {
	x := (*struct {
		wall uint64
		ext  int64
		loc  *time.Location
	})(unsafe.Pointer(&t))
	x.ext -= int64(d)
	return t
}

func TestBehind(t *testing.T) {
	now := time.Now()
	late := behind(now, time.Minute)
	if d := now.Sub(late); d != time.Minute {
		t.Errorf("the monotonic clock is %v behind", d)
	}
	if !late.Round(0).Equal(now.Round(0)) {
		t.Errorf("the wall clock shows %v instead of %v", late, now)
	}
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		set := behind(now.Add(by), by)
		if d := set.Sub(now); d != 0 {
			t.Errorf("the monotonic clock has moved by %v", d)
		}
		if d := set.Round(0).Sub(now.Round(0)); d != by {
			t.Errorf("the wall clock was set by %v instead of %v", d, by)
		}
	}
}

// clocked starts a server whose wall clock moves by what set is given. It needs a C compiler, since only code inside the server can do that.
func (r *run) clocked() (backend, func(time.Duration)) {
	gcc, err := exec.LookPath("gcc")
	if err != nil || runtime.GOOS != "linux" {
		require.Missing(r.T, "gcc", "no C compiler, or not Linux: no server with a clock of its own")
	}
	dir := r.TempDir()
	shim, file := filepath.Join(dir, "clock.so"), filepath.Join(dir, "offset")
	if out, err := exec.Command(gcc, "-shared", "-fPIC", "-O1", "-o", shim, "testdata/clock.c").CombinedOutput(); err != nil {
		r.Fatalf("clock.c: %v\n%s", err, out)
	}
	f, err := os.Create(file)
	r.must(err)
	r.Cleanup(func() { f.Close() })
	set := func(d time.Duration) {
		var us [8]byte
		binary.NativeEndian.PutUint64(us[:], uint64(d.Microseconds()))
		_, err := f.WriteAt(us[:], 0)
		r.must(err)
	}
	set(0)
	s, b := r.solo(redistest.Options{Env: []string{"LD_PRELOAD=" + shim, "FAULTS_CLOCK=" + file}})
	c := r.admin(s)
	return b, func(d time.Duration) {
		set(d)
		if off := time.Until(c.Time(r.ctx).Val()); (off - d).Abs() > 10*time.Second {
			r.Errorf("the server's clock is off by %v instead of %v", off, d)
		}
	}
}

// jumped moves the clock of the Redis server for six seconds. What a clock ahead has stamped is in the future afterwards, until it is past, so it
// may take as long until all is whole.
func jumped(by time.Duration) func(*run) {
	return func(r *run) {
		b, set := r.clocked()
		r.begin(b, false)
		set(by)
		r.hold(6 * time.Second)
		set(0)
		r.patience = 90 * time.Second
		r.heal()
	}
}

var clocks = []fault{
	{"Redis' clock 60 s ahead for 6 s", false, jumped(time.Minute)},
	{"Redis' clock 60 s behind for 6 s", false, jumped(-time.Minute)},
	{"Redis' clock one hour ahead for 6 s", true, jumped(time.Hour)},
	{"Redis' clock one hour behind for 6 s", false, jumped(-time.Hour)},
}
