package revocation

import (
	"math"

	"github.com/counterfoil/counterfoil/internal/lean/time"
)

// Defaults and bounds of freshness.
const (
	DefaultMaxStale = 10 * time.Second
	defaultLeeway   = 10 * time.Second
	maxLeeway       = 60 * time.Second
)

// logState is what a list knows of its log and how it knows it. It is immutable; every batch makes a new one.
type logState struct {
	epoch string
	birth int64 // Unix ms

	// The evidence that the list is fresh: the newest record over an unbroken chain of this epoch, which was appended after the follower began.
	// Without it why says why.
	sent   time.Time // when the request was sent that returned it; with a monotonic reading
	newest int64     // its time, Unix ms
	backed int64     // the time up to which the log vouches that replicas have it: newest, or what the heartbeat said
	why    string
}

// The reasons why freshness cannot be proved.
const (
	reasonNoLog    = "log not read yet"
	reasonNoEpoch  = "log has no epoch"
	reasonNoNews   = "nothing newer than the start of following"
	reasonBroken   = "log does not continue what was read"
	reasonOld      = "list too old"
	reasonFuture   = "newest record in the future"
	reasonBackward = "clock stepped back"
)

// age returns the larger of (a) the time since the request was sent that brought the newest record and (b) wall clock minus
// that record's time. Neither alone is enough: (a) stands still while the process is suspended and does not notice a log that
// is itself behind; (b) believes two clocks.
func (s *logState) age(now time.Time) (since, wall time.Duration) {
	return now.Sub(s.sent), sinceMilli(now, s.backed)
}

// sinceMilli is now.Sub of a time in Unix ms that a log says, however absurd it is: too much is the most there is, not a small number.
func sinceMilli(now time.Time, ms int64) time.Duration {
	const most = math.MaxInt64 / int64(time.Millisecond)
	return time.Duration(min(max(now.UnixMilli()-saneMilli(ms), -most), most)) * time.Millisecond
}

// saneMilli returns the time in Unix ms, or the nearest one that is a time at all, so that sums do not overflow.
func saneMilli(ms int64) int64 { return min(max(ms, 0), maxMilli) }

// stale returns why the list is not provably fresh at now, "" if it is.
func (s *logState) stale(now time.Time, maxStale, leeway time.Duration) string {
	if s.why != "" {
		return s.why
	}
	since, wall := s.age(now)
	switch {
	case since > maxStale || wall > maxStale+leeway:
		return reasonOld
	case since < -leeway: // only clocks without a monotonic reading do this
		return reasonBackward
	case sinceMilli(now, s.newest) < -leeway:
		return reasonFuture
	}
	return ""
}

// Freshness is how much a list can prove about its own age at some moment.
type Freshness struct {
	Fresh  bool
	Reason string        // why not, in a few words; "" if Fresh
	Age    time.Duration // the larger of the two ages that the package comment compares with MaxStale; 0 if Known is false
	Known  bool          // there is a newest record, over an unbroken chain, so that there is an age
	AsOf   time.Time     // the log's time of the newest record, or of the newest that its replicas have; zero if Known is false
	Epoch  string        // of the log
	Birth  time.Time     // the log vouches for tokens issued since; zero = not known
}

// Freshness says how old the list is at now, judged by the bound and the leeway. Zero values mean the defaults, 10 s each.
func (l *List) Freshness(now time.Time, maxStale, leeway time.Duration) Freshness {
	if maxStale <= 0 {
		maxStale = DefaultMaxStale
	}
	if leeway <= 0 {
		leeway = defaultLeeway
	}
	s := l.log.Load()
	f := Freshness{Reason: s.stale(now, maxStale, leeway), Epoch: s.epoch}
	f.Fresh = f.Reason == ""
	if s.birth > 0 {
		f.Birth = time.UnixMilli(s.birth)
	}
	if s.why == "" {
		f.Known = true
		since, wall := s.age(now)
		f.Age = max(since, wall)
		f.AsOf = time.UnixMilli(s.backed)
	}
	return f
}

// validLeeway returns the leeway, or the default for 0; false if it is out of bounds.
func validLeeway(d time.Duration) (time.Duration, bool) {
	if d == 0 {
		return defaultLeeway, true
	}
	return d, d > 0 && d <= maxLeeway
}

// validMaxStale returns the bound, or the default for 0; false if it is out of bounds.
func validMaxStale(d time.Duration) (time.Duration, bool) {
	if d == 0 {
		return DefaultMaxStale, true
	}
	return d, d > 0 && d <= Horizon
}
