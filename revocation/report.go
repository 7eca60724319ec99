package revocation

import (
	"errors"
	"hash/maphash"
	"strconv"

	"github.com/counterfoil/counterfoil/internal/lean/context"
	"github.com/counterfoil/counterfoil/internal/lean/time"
)

const (
	// One report in so long at most, however fast the log grows; what comes meanwhile is told with the next. After a pause a few may follow each other at
	// once, so that two revocations in a row are confirmed as fast as one.
	reportEach  = 100 * time.Millisecond
	reportBurst = 4 * reportEach

	reportAgain     = 10 * time.Second       // although there is nothing new, lest the follower count as silent (Live)
	reportLimit     = time.Second            // for one report
	leaveLimit      = 250 * time.Millisecond // for the last one, since whoever ends waits for it
	maxFollowerName = 64
)

var errFollowerName = errors.New("revocation: FollowerConfig.Name is not of 1 to 64 letters, digits, '.', '-' and '_'")

// reporting is how a follower tells how far it is. It belongs to the goroutine that follows.
type reporting struct {
	to     Reporter // nil: nobody is told
	name   string
	said   Position  // what was told last; "" = nothing
	news   time.Time // when that came
	sent   time.Time // when
	paid   time.Time // until then reports were sent ahead
	failed int       // reports in a row
}

func newReporting(source Source, name string) (reporting, error) {
	if name == "" {
		return reporting{}, nil
	}
	ok := len(name) <= maxFollowerName
	for i := range len(name) {
		c := name[i]
		ok = ok && ('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '-' || c == '_')
	}
	if !ok {
		return reporting{}, errFollowerName
	}
	r := reporting{name: name + "/" + strconv.FormatUint(maphash.Bytes(maphash.MakeSeed(), nil), 36)}
	r.to, _ = source.(Reporter)
	return r, nil
}

// due returns when the next report is: at once for what is new, unless there was one a moment ago.
func (r *reporting) due(at Position) time.Time {
	switch {
	case r.failed > 0:
		return r.sent.Add(min(reportEach<<min(r.failed, 10), reportAgain))
	case at != r.said:
		return r.paid.Add(-reportBurst)
	}
	return r.sent.Add(reportAgain)
}

// patience returns how long the next read may wait: not longer than until a report is due, so that the last of many positions is told as well.
func (f *Follower) patience() time.Duration {
	at, _ := f.reportable()
	if f.report.to == nil || at == "" {
		return f.wait
	}
	return min(f.wait, max(0, time.Until(f.report.due(at))))
}

// tellProgress reports how far the follower is, if that is due. A report that fails is tried again, more and more rarely, and changes nothing else.
func (f *Follower) tellProgress(ctx context.Context) {
	r := &f.report
	at, news := f.reportable()
	now := time.Now()
	if r.to == nil || at == "" || now.Before(r.due(at)) {
		return
	}
	rctx, cancel := context.WithTimeout(ctx, reportLimit)
	defer cancel()
	err := r.to.Report(rctx, r.name, at, f.now().Sub(news).Abs())
	r.sent = now
	if r.paid.Before(now) {
		r.paid = now
	}
	r.paid = r.paid.Add(reportEach)
	if err != nil {
		r.failed++
	} else {
		r.failed, r.said, r.news = 0, at, news
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.stats.Unreported++
	} else {
		f.stats.Reported++
	}
}

// reportable returns the position up to which the list has everything, and when the newest record of that came: a position may be of a history of the log that
// is no more, and then it says nothing of what came into the log later. "" = there is nothing to say, for instance while it is not clear what the list lacks. While it
// is known to lack something, or holds something that this version does not understand, the follower stays with what it said: to report more would be to
// vouch for what it does not refuse.
func (f *Follower) reportable() (at Position, news time.Time) {
	if f.report.to == nil {
		return "", time.Time{}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	ms := f.now().UnixMilli()
	switch {
	case f.chain.whole:
		return "", time.Time{}
	case ms < f.list.lacks.Load() || ms < f.list.unknown.Load():
		return f.report.said, f.report.news
	}
	return f.chain.at, f.chain.news
}

// leave tells that the follower follows no longer, so that nobody waits for it. If the log could not be reached lately nobody is told.
func (f *Follower) leave() {
	r := &f.report
	if r.to == nil || r.said == "" || r.failed > 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveLimit)
	defer cancel()
	_ = r.to.Report(ctx, r.name, "", 0) // it would count as silent after a while
	r.said = ""
}

// Name returns the name under which the follower reports, "" if it does not.
func (f *Follower) Name() string { return f.report.name }
