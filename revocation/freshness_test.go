package revocation

import (
	"testing"
	"time"
)

// TestStale is the definition of staleness, boundary by boundary: MaxStale 10 s, leeway 5 s.
func TestStale(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	ms := func(d time.Duration) int64 { return now.UnixMilli() - d.Milliseconds() }
	const s = time.Second
	for name, tc := range map[string]struct {
		log  logState
		want string
	}{
		"fresh":                                {logState{sent: ago(s), newest: ms(s), backed: ms(s)}, ""},
		"request at the bound":                 {logState{sent: ago(10 * s), newest: ms(s), backed: ms(s)}, ""},
		"request beyond it":                    {logState{sent: ago(10*s + 1), newest: ms(s), backed: ms(s)}, reasonOld},
		"record at bound and leeway":           {logState{sent: ago(s), newest: ms(15 * s), backed: ms(15 * s)}, ""},
		"record beyond: monotonic stood still": {logState{sent: ago(s), newest: ms(15*s + time.Millisecond), backed: ms(15*s + time.Millisecond)}, reasonOld},
		"suspended for an hour":                {logState{sent: ago(0), newest: ms(time.Hour), backed: ms(time.Hour)}, reasonOld},
		"replicas beyond":                      {logState{sent: ago(s), newest: ms(s), backed: ms(16 * s)}, reasonOld},
		"record in the future, within":         {logState{sent: ago(s), newest: ms(-5 * s), backed: ms(-5 * s)}, ""},
		"record in the future, beyond":         {logState{sent: ago(s), newest: ms(-5*s - time.Millisecond), backed: ms(s)}, reasonFuture},
		"record an hour in the future":         {logState{sent: ago(s), newest: ms(-time.Hour), backed: ms(-time.Hour)}, reasonFuture},
		"record of the year 4199":              {logState{sent: ago(s), newest: maxMilli, backed: maxMilli}, reasonFuture},
		"record of no time":                    {logState{sent: ago(s)}, reasonOld},
		"record of a hostile time":             {logState{sent: ago(s), newest: -1 << 63, backed: -1 << 63}, reasonOld},
		"record of another hostile time":       {logState{sent: ago(s), newest: 1<<63 - 1, backed: 1<<63 - 1}, reasonFuture},
		"request from the future, within":      {logState{sent: ago(-5 * s), newest: ms(s), backed: ms(s)}, ""},
		"request from the future, beyond":      {logState{sent: ago(-5*s - 1), newest: ms(s), backed: ms(s)}, reasonBackward},
		"record whose age overflows to 0":      {logState{sent: ago(s), newest: ms(s), backed: now.UnixMilli() - 1<<58}, reasonOld},
		"no evidence":                          {logState{sent: ago(s), newest: ms(s), backed: ms(s), why: reasonNoNews}, reasonNoNews},
		"nothing":                              {logState{why: reasonNoLog}, reasonNoLog},
		"nothing, and no reason":               {logState{}, reasonOld},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.log.stale(now, 10*s, 5*s); got != tc.want {
				t.Errorf("stale: %q, want %q", got, tc.want)
			}
		})
	}
}

// TestFreshnessAge: the age is the larger of the two.
func TestFreshnessAge(t *testing.T) {
	now := time.Now()
	for _, tc := range []struct{ since, wall, want time.Duration }{
		{3 * time.Second, time.Second, 3 * time.Second},
		{time.Second, 3 * time.Second, 3 * time.Second},
		{time.Second, -time.Second, time.Second},
		{time.Second, time.Hour, time.Hour},
	} {
		at := now.UnixMilli() - tc.wall.Milliseconds()
		l := &List{}
		l.log.Store(&logState{sent: now.Add(-tc.since), newest: at, backed: at})
		if got := l.Freshness(now, 0, 0); got.Age != tc.want || got.AsOf.UnixMilli() != at {
			t.Errorf("request %v ago, record %v ago: age %v, as of %v", tc.since, tc.wall, got.Age, got.AsOf)
		}
	}
}
