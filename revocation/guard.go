package revocation

import (
	"errors"
	"sync/atomic"

	"github.com/counterfoil/counterfoil/internal/lean/context"
	"github.com/counterfoil/counterfoil/internal/lean/time"
	"github.com/counterfoil/counterfoil/token"
)

// GuardConfig says how a [Guard] decides. Verifier and List are required; the zero value of everything else is the secure default.
type GuardConfig struct {
	Verifier *token.Verifier
	List     *List

	Policy   Policy        // default Strict
	MaxStale time.Duration // how old the list may be; 0 = 10 s, at most Horizon, never unlimited
	Leeway   time.Duration // between this clock and the log's; 0 = 10 s, at most 60 s; give the verifier the same

	Ask        Asker         // nil: what the list cannot prove is refused
	AskTimeout time.Duration // bounds one question; 0 = 500 ms, at most 10 s. A check waits at most twice as long

	Events Events // told when a check first finds the list stale, and when one finds it fresh again; may be nil

	// Now is the clock, also for the verifier. Nil means the machine's, where every check reads the monotonic clock, and the wall clock is read eight
	// times a second, which takes half the time of reading it always. If the whole machine is suspended and its monotonic clock stands still
	// meanwhile, that is noticed up to an eighth of a second after it goes on. Where that matters, set time.Now.
	Now func() time.Time
}

// A Guard decides on tokens: verifier, list and policy in one call, and the only place where the decision is written. [Guard.Check] is what most
// callers need; [Guard.CheckPolicy] is for routes with a stricter policy, and [Guard.Status] for readiness probes.
//
// A check that does not ask takes no lock, does no I/O and, for a token seen before, allocates nothing. There is no useful zero value; NewGuard makes
// one. It is safe for concurrent use and has no goroutine.
type Guard struct {
	verifier *token.Verifier
	list     *List
	policy   Policy
	maxStale time.Duration
	leeway   time.Duration
	asking   *asking // nil: nobody to ask
	events   Events
	clock    func() time.Time // nil: the machine's

	sights   sights
	wasStale atomic.Bool
	counts   guardCounts
}

type guardCounts struct {
	revoked, stale, expired, doubted, asked, askFailed atomic.Uint64
}

// GuardStats counts what a Guard did. Tokens that it accepts by a fresh list are not counted, so that they cost no counting.
type GuardStats struct {
	Revoked     uint64 // refused with ErrRevoked
	Stale       uint64 // refused with ErrStale
	BeforeBirth uint64 // answered like expired, because the log does not vouch for tokens so old
	Doubted     uint64 // accepted under BestEffort although the list was stale or incomplete
	Asked       uint64 // checks that asked
	AskFailed   uint64 // checks that asked and got no answer
}

// NewGuard makes a Guard. It refuses a configuration that is incomplete or out of bounds.
func NewGuard(cfg GuardConfig) (*Guard, error) {
	g := &Guard{verifier: cfg.Verifier, list: cfg.List, policy: cfg.Policy, events: cfg.Events, clock: cfg.Now}
	var ok bool
	if g.verifier == nil || g.list == nil {
		return nil, errors.New("revocation: GuardConfig.Verifier and GuardConfig.List are required")
	}
	if g.policy < BestEffort || g.policy > Paranoid {
		return nil, errors.New("revocation: GuardConfig.Policy is unknown")
	}
	if g.maxStale, ok = validMaxStale(cfg.MaxStale); !ok {
		return nil, errors.New("revocation: GuardConfig.MaxStale is negative or longer than the horizon")
	}
	if g.leeway, ok = validLeeway(cfg.Leeway); !ok {
		return nil, errors.New("revocation: GuardConfig.Leeway is not between 0 and 60 s")
	}
	if cfg.AskTimeout < 0 || cfg.AskTimeout > 10*time.Second {
		return nil, errors.New("revocation: GuardConfig.AskTimeout is not between 0 and 10 s")
	}
	if cfg.Ask != nil {
		g.asking = newAsking(cfg.Ask, cfg.AskTimeout, g.now)
	}
	return g, nil
}

// Check decides on a token under the guard's own policy. It returns the verified token, or one error and nothing beside it:
//
//   - an error of package token: the token is malformed, forged, of another issuer or audience, or expired (*[token.ExpiredError]);
//   - [ErrRevoked]: it has been revoked;
//   - [ErrStale]: it cannot be known whether it has been.
//
// The context bounds asking only. The string may be a view on a buffer that is reused later.
func (g *Guard) Check(ctx context.Context, raw string) (token.Verified, error) {
	return g.CheckPolicy(ctx, raw, g.policy)
}

// CheckPolicy is Check under p or the guard's own policy, whichever is stricter.
func (g *Guard) CheckPolicy(ctx context.Context, raw string, p Policy) (token.Verified, error) {
	if !keepsLooking || g.clock != nil {
		return g.checkAt(ctx, raw, p, g.now())
	}
	s, now := g.look()
	v, err := g.verifier.VerifyAt(raw, now)
	if err != nil {
		return token.Verified{}, err
	}
	if err := g.judge(ctx, v, p, s); err != nil {
		return token.Verified{}, err
	}
	return v, nil
}

// CheckAt is Check for a caller who has just read the clock, for example to note when a request arrived: reading it again takes half as long as all
// the rest of a check. now must be from time.Now, with its monotonic part, or from [GuardConfig.Now] where that is set.
func (g *Guard) CheckAt(ctx context.Context, raw string, now time.Time) (token.Verified, error) {
	if !keepsLooking || g.clock != nil {
		return g.checkAt(ctx, raw, g.policy, now)
	}
	s := g.seen()
	if s == nil || !s.holds(g.list, now.UnixMilli()) {
		s = g.lookAnew(now)
	}
	v, err := g.verifier.VerifyAt(raw, now)
	if err != nil {
		return token.Verified{}, err
	}
	why, err := g.decide(v, g.policy, s)
	if err == nil && why != "" {
		err = g.ask(ctx, v, why)
	}
	if err != nil {
		return token.Verified{}, err
	}
	return v, nil
}

func (g *Guard) checkAt(ctx context.Context, raw string, p Policy, now time.Time) (token.Verified, error) {
	v, err := g.verifier.VerifyAt(raw, now)
	if err != nil {
		return token.Verified{}, err
	}
	s := g.lookAt(now)
	if err := g.judge(ctx, v, p, &s); err != nil {
		return token.Verified{}, err
	}
	return v, nil
}

// CheckVerified decides on a token that has been verified already, as CheckPolicy does. One that has expired since is refused, whoever has kept it: a list forgets
// what was revoked once all tokens that it hits have expired.
func (g *Guard) CheckVerified(ctx context.Context, v token.Verified, p Policy) error {
	if keepsLooking && g.clock == nil {
		s, now := g.look()
		if err := g.current(v, now); err != nil {
			return err
		}
		return g.judge(ctx, v, p, s)
	}
	now := g.now()
	if err := g.current(v, now); err != nil {
		return err
	}
	s := g.lookAt(now)
	return g.judge(ctx, v, p, &s)
}

// current refuses what is no token, and one that has expired by the guard's leeway.
func (g *Guard) current(v token.Verified, now time.Time) error {
	switch exp := v.ExpiresMilli(); {
	case !v.Valid():
		return token.ErrInvalid
	case now.UnixMilli() >= exp+g.leeway.Milliseconds():
		return &token.ExpiredError{ExpiresMilli: exp}
	}
	return nil
}

// Decide is the part of the decision that needs no I/O, for hosts that ask in their own way. Without ask, a nil error accepts the token and any other
// refuses it. With ask, the decision is that of the [Answer] about the token ([Answer.Judge]); if no answer can be had, the token is to be refused
// with err.
func (g *Guard) Decide(v token.Verified, p Policy, now time.Time) (ask bool, err error) {
	if err := g.current(v, now); err != nil {
		return false, err
	}
	s := g.lookAt(now)
	why, err := g.decide(v, p, &s)
	if err != nil {
		return false, err
	}
	if why != "" {
		return true, &refusal{is: ErrStale, reason: why, detail: "no answer"}
	}
	return false, nil
}

// Settled reports whether Decide would still accept, under p and at now, a token that it accepted before under p or a stricter policy and without
// asking. That holds only if since then nothing was added to the list ([List.Changes]) and the log has no other birth ([Freshness]); the caller sees
// to that. What Settled looks at is the age of the list, and nothing of the token. It counts nothing and tells nobody. It is for hosts that keep what
// was decided, as package edge does.
func (g *Guard) Settled(p Policy, now time.Time) bool {
	switch p = max(p, g.policy); {
	case p <= BestEffort:
		return true
	case p >= Paranoid:
		return false
	}
	return now.UnixMilli() >= g.list.doubt.Load() && g.list.log.Load().stale(now, g.maxStale, g.leeway) == ""
}

func (g *Guard) judge(ctx context.Context, v token.Verified, p Policy, s *sight) error {
	why, err := g.decide(v, p, s)
	if err != nil {
		return err
	}
	if why == "" {
		return nil
	}
	return g.ask(ctx, v, why)
}

// decide returns the refusal, or why the token must be asked about, or neither.
//
// s was taken before the list is looked at, and a follower adds everything to the list before it says how fresh that makes it. The other way round a
// token could be looked for in a stale list and accepted by the freshness of the next.
func (g *Guard) decide(v token.Verified, p Policy, s *sight) (why string, err error) {
	// What the list holds is true whatever its age: the union of all that was ever revoked only grows.
	// While nobody has logged out everywhere lately every session is younger than every not-before, and nearly none is there.
	l := g.list
	if v.BeganMilli() <= l.newest.Load() || l.keys.Load() != nil || l.sessions.has(v.Session()) {
		if r := l.find(v); r != nil {
			g.counts.revoked.Add(1)
			return "", r
		}
	}
	doubt := s.stale
	if doubt == "" {
		if s.ms < l.doubt.Load() {
			doubt = l.why(s.ms)
		}
	}
	switch p = max(p, g.policy); {
	case p <= BestEffort:
		if doubt != "" {
			g.counts.doubted.Add(1)
		}
		return "", nil
	case p >= Paranoid:
		if s.stale != "" {
			g.counts.stale.Add(1)
			return "", &refusal{is: ErrStale, reason: s.stale}
		}
		if v.IssuedAtMilli() < s.log.birth {
			g.counts.stale.Add(1)
			return "", &staleBeforeLog
		}
		if doubt == "" {
			doubt = reasonAlways
		}
		return doubt, nil
	}
	if v.IssuedAtMilli() < s.log.birth {
		g.counts.expired.Add(1)
		return "", &refusal{reason: reasonBirth, cause: &token.ExpiredError{ExpiresMilli: v.ExpiresMilli()}}
	}
	return doubt, nil
}

// ask asks about the token and judges it by the answer.
func (g *Guard) ask(ctx context.Context, v token.Verified, why string) error {
	if g.asking == nil {
		g.counts.stale.Add(1)
		return &refusal{is: ErrStale, reason: why, detail: "nobody to ask"}
	}
	g.counts.asked.Add(1)
	answer, detail, err := g.asking.ask(ctx, v)
	if detail != "" {
		g.counts.askFailed.Add(1)
		g.counts.stale.Add(1)
		return &refusal{is: ErrStale, reason: why, detail: detail, cause: err}
	}
	if err := answer.Judge(v); err != nil {
		g.counts.revoked.Add(1)
		return err
	}
	return nil
}

// Stats returns the counts so far.
func (g *Guard) Stats() GuardStats {
	c := &g.counts
	return GuardStats{
		Revoked: c.revoked.Load(), Stale: c.stale.Load(), BeforeBirth: c.expired.Load(),
		Doubted: c.doubted.Load(), Asked: c.asked.Load(), AskFailed: c.askFailed.Load(),
	}
}

// Policy returns the guard's own policy.
func (g *Guard) Policy() Policy { return g.policy }

// Status says whether the list is fresh now, by the guard's own bounds. A process whose list is not may still serve, by asking; a readiness probe may
// want to wait until it is.
func (g *Guard) Status() Freshness { return g.StatusAt(g.now()) }

// StatusAt is Status at a time that the caller knows.
func (g *Guard) StatusAt(now time.Time) Freshness {
	return g.list.Freshness(now, g.maxStale, g.leeway)
}

func (g *Guard) now() time.Time {
	if g.clock != nil {
		return g.clock()
	}
	return time.Now()
}
