// Package counterfoil keeps web sessions that are cheap to check everywhere and still end at once.
//
// A session is issued as a short-lived JWT that carries the session's ID; its data lives in a [Store], usually Redis (package store). Most programs
// need two identifiers: [New] makes the [Manager] of a service, and [NewField] declares a typed piece of session data. A web application then puts
// the middleware of package fiberadapter or httpadapter around its handlers. A service that only has to know who is asking needs no Manager, but a
// [revocation.Guard] over the public keys.
//
// # Ticket and counterfoil
//
// The token is the ticket: whoever only needs to know who is asking verifies it, with no I/O. The record in the store is the counterfoil: whoever
// needs state reads it, and it alone decides whether the session lives. When a session ends, the record goes first and then the news of it goes to
// the revocation log, which every verifier follows.
//
// # What is promised
//
// Logout stays logged out: no request in flight, no late save, no refresh brings a session back. No update is lost: [Counter.Incr], [Field.Update]
// and [Field.Pop] are atomic, and setting a field that the request has read fails with [ErrConflict] if another request changed it in between. Tabs
// that share a cookie jar never log each other out. A verifier whose list is too old says so and follows its policy; it never silently accepts.
//
// # Endings
//
// [Manager.Revoke] ends a session, all sessions of a subject, or everything, and takes signing keys out of service. It can wait until every follower
// of the log has confirmed, and says which have not. If too few replicas of the store have acknowledged an ending, it has happened, and the error is
// [ErrNotDurable]. Without an error the ending survives the loss of a master, if a replica that acknowledged it is promoted.
//
// # Lives
//
// A session ends when it is idle for too long, and at its absolute expiry at the latest; a login may choose both, and whether the cookies outlive the
// browser ([LoginOptions]). Only a renewed token extends the idle life. [Manager.Rotate] gives a session another ID when what it may do changes;
// [RequireFresh] asks for a recent proof, by the token alone. Handlers that outlive their request wait for [Session.Done].
//
// # Time
//
// The store's clock orders all events. The clock of this process only compares tokens with now, within a leeway.
//
// # Compatibility
//
// The module is at version 0: names may still change. The formats of tokens, records and log entries carry versions.
package counterfoil

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil/internal/backlog"
	"github.com/counterfoil/counterfoil/internal/device"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/issuer"
)

// Config says how a [Manager] works. Issuer, Audience, Keys, Secrets and Store are required; the zero value of
// everything else is the secure default.
type Config struct {
	Issuer   string // who issues: the "iss" of every token
	Audience string // for whom: the "aud" of every token

	// Keys signs the access tokens; verifiers know its public half.
	Keys *issuer.Ring

	// Secrets make the refresh tokens and the handles of devices, at least 32 bytes each. The first one signs, all are accepted: to rotate, put
	// the new one in front and drop the old one after the longest idle life of a session. Where several processes run, first put the new one behind the
	// old one in all of them: one that does not have it yet refuses what the others sign.
	Secrets [][]byte

	// Store keeps the sessions. It has to be a [revocation.Appender] too unless Log is set. If it is a [revocation.Source] the Manager follows the
	// revocation log through it, and if it is a [revocation.Asker] it is asked while the list is stale; without these two the default policy
	// refuses what it cannot prove.
	Store Store
	Log   revocation.Appender

	// Source is where the Manager reads the revocation log; nil = the Store, if it is one. An application that serves the feed puts its
	// feed.Tail here, so that both read the log once.
	Source revocation.Source

	AccessLife    time.Duration // of an access token; 0 = 5 min, at most 15 min
	IdleLife      time.Duration // of a session that nobody renews; 0 = 30 min, at least twice AccessLife
	AnonymousIdle time.Duration // the same before login; 0 = IdleLife or 15 min, whichever is shorter; at least twice AccessLife
	AbsoluteLife  time.Duration // of a session in all, never extended; 0 = 12 h, at least IdleLife
	Window        time.Duration // W, the longest round trip of a refresh; 0 = 10 s, 1 s to 60 s
	Leeway        time.Duration // between clocks; 0 = 10 s, at most 60 s
	MaxSessions   int           // live sessions of one subject, the longest unused end; 0 = 100, negative = no bound

	// Timeout bounds each step that the store takes; 0 = 2 s, at most 30 s. A caller's context may end it earlier.
	Timeout time.Duration

	Policy   revocation.Policy // what a stale list means for requests here; default Strict
	MaxStale time.Duration     // how old the list may be; 0 = 10 s. The log's heartbeat comes once a second: a list is often stale if this is hardly longer

	// Name is what this process is called among those who follow the revocation log, see [Revoked]; "" = the name of the host. Up to 64 letters, digits,
	// '.', '-' and '_'. Processes may share one: what tells them apart is added.
	Name string

	// Events is told what an operator wants to know: revocations, reuse of a refresh token, a list that becomes stale or fresh again, a log that
	// begins anew. The Logger is told the same. An event may be told twice. nil = nobody is told.
	Events revocation.Events

	// CookieSuffix tells applications of one host apart: it is appended to the cookie names. Up to 64 letters, digits, '-' and '_'.
	CookieSuffix string
	// InsecurePlainCookies drops Secure and the __Host-Http- prefix. Sound only for trying things out on loopback with a client that
	// refuses Secure cookies there, such as Safari. At any other host cookies are neither used nor set then, and a login is an error.
	InsecurePlainCookies bool

	// KeepCache has a logout leave the browser's cache alone. Otherwise its answer says Clear-Site-Data: "cache", so that the back button does not show
	// what the browser has kept, no-store or not, of pages that somebody saw who was signed in. For that Chromium looks through all it has cached of the
	// web: on two slow cores it took a tenth to two tenths of a second for each thousand entries, and whoever logs out waits for it.
	KeepCache bool

	// Claims returns the application's own claims for a token of a session: small, and fit to be read by every verifier. It is called for each new
	// token, so claims follow the session within an access life: a field that a handler sets after a login is not in the first token, one that it sets
	// before the login and names in [LoginOptions.Carry] is. It may read the session, which costs a command at a renewal, and must not write, nor
	// log in or out by the [Exchange] of the request, which waits for it. An error from it is one of the login or renewal. Browsers keep no cookie of
	// more than 4,096 bytes with its name; the Logger is warned of one, at most once a minute. The later tokens of a session are some thirty characters
	// longer than its first. nil = no such claims.
	Claims func(context.Context, *Session) ([]token.Claim, error)

	// Bind may refuse a renewal: an error from it becomes [ErrUnbound], unless it is [ErrUnavailable], which says that it could not decide. It sees
	// the session, what was noted of the device at login, and the client that asks. The refresh token is judged afterwards, so a refusal changes
	// nothing. It must not log in or out by the [Exchange] of the request, which waits for it. Needs a Store that is a [Finder]. nil = no renewal is
	// refused.
	Bind func(context.Context, Renewal) error

	// Locate names the place of a client's address, for the list of devices. It is asked once, at login. nil = no place is noted.
	Locate func(netip.Addr) string

	// Codec is how values of fields are stored; nil = JSON. Counters are decimals whatever it is. Changing it makes stored values unreadable.
	Codec Codec

	// ValueKeys, if there are any, encrypt the values of fields in the store (AES-256-GCM), at least 32 bytes each. The first one seals, all open: to
	// rotate, put the new one in front and drop the old one after the longest absolute life. Where several processes run, first put the new one behind
	// the old one in all of them: one that does not have it yet cannot read what the others seal, and a login or rotation there leaves it behind. Names of
	// fields and [Counter]s stay readable, because Redis adds to them. An encrypted value is 33 bytes longer.
	ValueKeys [][]byte
	// InsecureReadPlainValues also accepts values that are not encrypted. Sound only for one absolute life after ValueKeys was first
	// set, since whoever can write to the store could plant values meanwhile.
	InsecureReadPlainValues bool

	Logger *slog.Logger     // nil = slog.Default()
	Now    func() time.Time // nil = time.Now; compares tokens with now, nothing else
}

// Format implements [fmt.Formatter]. It says who issues and for whom, whatever the verb, because a Config gets printed when a program does not start, and
// [Config.Secrets] belong in no log.
func (c Config) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "counterfoil.Config{Issuer:%q, Audience:%q, …}", c.Issuer, c.Audience)
}

func orDefault[T int | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

func (c Config) accessLife() time.Duration   { return orDefault(c.AccessLife, 5*time.Minute) }
func (c Config) idleLife() time.Duration     { return orDefault(c.IdleLife, 30*time.Minute) }
func (c Config) absoluteLife() time.Duration { return orDefault(c.AbsoluteLife, 12*time.Hour) }
func (c Config) window() time.Duration       { return orDefault(c.Window, 10*time.Second) }
func (c Config) leeway() time.Duration       { return orDefault(c.Leeway, 10*time.Second) }
func (c Config) timeout() time.Duration      { return orDefault(c.Timeout, 2*time.Second) }
func (c Config) anonymousIdle() time.Duration {
	return orDefault(c.AnonymousIdle, min(c.idleLife(), max(15*time.Minute, 2*c.accessLife())))
}
func (c Config) maxSessions() int { return max(0, orDefault(c.MaxSessions, MaxSessions)) }

// name returns the name of the follower. That of a host may be anything.
func (c Config) name() string {
	if c.Name != "" {
		return c.Name
	}
	host, _ := os.Hostname()
	host = strings.Map(func(r rune) rune {
		if ofName(r) {
			return r
		}
		return '-'
	}, host)
	if host == "" {
		return "counterfoil"
	}
	return host[:min(len(host), maxName)]
}

const maxName = 64 // bytes of a name and a cookie suffix, as a follower's

func ofName(r rune) bool {
	return r == '.' || r == '-' || r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

func (c Config) check() error {
	switch {
	case c.Issuer == "" || c.Audience == "":
		return errors.New("counterfoil: Config.Issuer and Config.Audience are required")
	case c.Keys == nil:
		return errors.New("counterfoil: Config.Keys is required")
	case c.Store == nil:
		return errors.New("counterfoil: Config.Store is required")
	case c.accessLife() < time.Second || c.accessLife() > 15*time.Minute:
		return errors.New("counterfoil: Config.AccessLife is not between 1 s and 15 min")
	case c.idleLife() < 2*c.accessLife():
		return errors.New("counterfoil: Config.IdleLife is shorter than twice AccessLife")
	case c.anonymousIdle() < 2*c.accessLife():
		return errors.New("counterfoil: Config.AnonymousIdle is shorter than twice AccessLife")
	case c.absoluteLife() < c.idleLife():
		return errors.New("counterfoil: Config.AbsoluteLife is shorter than IdleLife")
	case c.window() < time.Second || c.window() > time.Minute:
		return errors.New("counterfoil: Config.Window is not between 1 s and 60 s")
	case c.timeout() < time.Millisecond || c.timeout() > 30*time.Second:
		return errors.New("counterfoil: Config.Timeout is not between 1 ms and 30 s")
	case c.leeway() < 0 || c.leeway() > time.Minute:
		return errors.New("counterfoil: Config.Leeway is not between 0 and 60 s")
	case c.absoluteLife() > maxAbsolute:
		return errors.New("counterfoil: Config.AbsoluteLife is longer than 400 days")
	case len(c.Name) > maxName || strings.ContainsFunc(c.Name, func(r rune) bool { return !ofName(r) }):
		return errors.New("counterfoil: Config.Name is not of up to 64 letters, digits, '.', '-' and '_'")
	}
	if _, ok := c.Store.(Finder); c.Bind != nil && !ok {
		return errors.New("counterfoil: Config.Bind needs a Store that is a Finder")
	}
	if len(c.CookieSuffix) > maxName || strings.ContainsFunc(c.CookieSuffix, func(r rune) bool { return r == '.' || !ofName(r) }) {
		return errors.New("counterfoil: Config.CookieSuffix is not of up to 64 letters, digits, '-' and '_'")
	}
	return nil
}

// Manager issues, opens, renews and ends the sessions of one issuer and audience.
//
// Web applications use [Manager.Begin] through an adapter. For other transports there are [Manager.Login], [Manager.Open], [Manager.Refresh],
// [Manager.Rotate] and [Manager.Devices]. [Manager.Revoke] ends whatever is to end, and can wait until every verifier knows; [Manager.End],
// [Manager.EndAll] and [Manager.EndOthers] are its short forms, and [Manager.EndToken] serves other services.
//
// There is no useful zero value; New makes one. It is safe for concurrent use. It owns four goroutines until Close: one follows the revocation log,
// one keeps the log's heartbeat, one makes endings safe that too few replicas have acknowledged, and one looks after [Session.Done] and has up to
// sixteen more while it asks the store.
type Manager struct {
	issuerName    string
	audience      string
	issuer        *issuer.Issuer
	ring          *issuer.Ring
	keys          *token.KeySet
	sealer        *sealer
	store         bounded // the sessions and the writing side of the log
	list          *revocation.List
	verifier      *token.Verifier
	guard         *revocation.Guard
	follower      *revocation.Follower // nil if the store is no Source
	census        revocation.Census    // nil: nobody knows who follows the log
	probe         token.Verified       // of no session: what the store is asked about when only its facts count
	cookies       cookieNames
	keepCache     bool
	accessLife    time.Duration
	idleLife      time.Duration
	anonymousIdle time.Duration
	absoluteLife  time.Duration
	window        time.Duration
	leeway        time.Duration
	maxSessions   int
	log           *slog.Logger
	salt          [16]byte // of the session IDs in logs
	now           func() time.Time
	handles       *device.Handles
	vault         *vault // nil = values are not encrypted
	codec         Codec
	claims        func(context.Context, *Session) ([]token.Claim, error)
	bind          func(context.Context, Renewal) error
	locate        func(netip.Addr) string
	watch         *watch
	events        revocation.Events // may be nil

	stop    context.CancelFunc
	running sync.WaitGroup

	keyGone atomic.Bool // some key has been revoked: the ring is looked through before it signs
	barren  atomic.Bool // the ring has no key that is not

	warned atomic.Int64 // when a cookie was last found too long, Unix s

	mu     sync.Mutex
	untold *backlog.Backlog[revocation.Entry] // revocations that the log has not taken yet: the heartbeat tries again
	owed   *backlog.Backlog[debt]             // endings that too few replicas have acknowledged: another goroutine tries again
	trail  trail
}

// New checks the configuration, opens the revocation log and starts to follow it. ctx bounds the start only. It fails if the store cannot be reached,
// and with [ErrKeyRevoked] if the ring has no key that is not revoked. It does not wait until the list is fresh, which takes about a second; see
// [Manager.Ready].
func New(ctx context.Context, cfg Config) (*Manager, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	m := &Manager{
		issuerName:    cfg.Issuer,
		audience:      cfg.Audience,
		ring:          cfg.Keys,
		store:         bounded{store: cfg.Store, log: cfg.Log, timeout: cfg.timeout()},
		cookies:       newCookieNames(cfg.CookieSuffix, cfg.InsecurePlainCookies),
		keepCache:     cfg.KeepCache,
		accessLife:    cfg.accessLife(),
		idleLife:      cfg.idleLife(),
		anonymousIdle: cfg.anonymousIdle(),
		absoluteLife:  cfg.absoluteLife(),
		window:        cfg.window(),
		leeway:        cfg.leeway(),
		maxSessions:   cfg.maxSessions(),
		log:           cfg.Logger,
		now:           cfg.Now,
		codec:         cfg.Codec,
		claims:        cfg.Claims,
		bind:          cfg.Bind,
		locate:        cfg.Locate,
		events:        cfg.Events,
		untold:        backlog.New[revocation.Entry](maxLeft),
		owed:          backlog.New[debt](maxLeft),
	}
	m.watch = newWatch(m)
	if m.codec == nil {
		m.codec = jsonCodec{}
	}
	if m.store.log == nil {
		l, ok := cfg.Store.(revocation.Appender)
		if !ok {
			return nil, errors.New("counterfoil: Config.Log is required: the Store keeps no revocation log")
		}
		m.store.log = l
	}
	if m.log == nil {
		m.log = slog.Default()
	}
	if m.now == nil {
		m.now = time.Now
	}
	rand.Read(m.salt[:])

	var err error
	if m.issuer, err = issuer.New(issuer.Config{Issuer: cfg.Issuer, Audience: cfg.Audience, Ring: cfg.Keys}); err != nil {
		return nil, fmt.Errorf("counterfoil: %w", err)
	}
	if m.sealer, err = newSealer(cfg.Secrets, cfg.Issuer, cfg.Audience); err != nil {
		return nil, err
	}
	if m.handles, err = device.NewHandles(cfg.Secrets, cfg.Issuer, cfg.Audience); err != nil {
		return nil, err
	}
	if m.vault, err = newVault(cfg.ValueKeys, cfg.InsecureReadPlainValues, cfg.Issuer, cfg.Audience); err != nil {
		return nil, err
	}
	if m.keys, err = token.NewKeySet(cfg.Keys.Public()...); err != nil {
		return nil, fmt.Errorf("counterfoil: %w", err)
	}
	verifier, err := token.NewVerifier(token.VerifierConfig{
		Issuer: cfg.Issuer, Audience: cfg.Audience, Keys: m.keys, Leeway: m.leeway, Now: cfg.Now,
	})
	if err != nil {
		return nil, fmt.Errorf("counterfoil: %w", err)
	}
	if m.list, err = revocation.NewList(revocation.ListConfig{}); err != nil {
		return nil, fmt.Errorf("counterfoil: %w", err)
	}
	m.verifier = verifier
	m.store.asker, _ = cfg.Store.(revocation.Asker)
	if m.guard, err = revocation.NewGuard(revocation.GuardConfig{
		Verifier: verifier, List: m.list, Policy: cfg.Policy, MaxStale: cfg.MaxStale, Leeway: m.leeway, Ask: m.store.asker, Now: cfg.Now,
	}); err != nil {
		return nil, fmt.Errorf("counterfoil: %w", err)
	}
	if err := m.follow(cfg); err != nil {
		return nil, fmt.Errorf("counterfoil: %w", err)
	}
	if m.probe, err = m.newProbe(); err != nil {
		return nil, err
	}
	// The first heartbeat opens the log's epoch before the first session can exist.
	if _, err := m.store.Append(ctx); errors.Is(err, ErrNotDurable) {
		m.log.WarnContext(ctx, "counterfoil: fewer replicas than configured acknowledge the revocation log", "error", err)
	} else if err != nil {
		return nil, fmt.Errorf("counterfoil: opening the revocation log: %w", err)
	}
	if m.store.asker != nil {
		if err := m.ask(ctx); err != nil {
			return nil, fmt.Errorf("counterfoil: asking what is revoked for good: %w", err)
		}
	}
	if m.retire(); m.barren.Load() {
		// It would make tokens that everybody refuses.
		return nil, fmt.Errorf("%w: give Config.Keys another one", ErrKeyRevoked)
	}
	m.start()
	return m, nil
}

// follow makes the follower of the revocation log, if there is something to follow, and finds out who counts the others.
func (m *Manager) follow(cfg Config) error {
	source := cfg.Source
	if source == nil {
		source, _ = cfg.Store.(revocation.Source)
	}
	for _, from := range []any{cfg.Log, cfg.Source, cfg.Store} {
		if census, ok := from.(revocation.Census); ok {
			m.census = census
			break
		}
	}
	if source == nil {
		return nil
	}
	if reporter, ok := cfg.Store.(revocation.Reporter); ok {
		if _, ok := source.(revocation.Reporter); !ok {
			source = struct {
				revocation.Source
				revocation.Reporter
			}{source, reporter}
		}
	}
	var err error
	m.follower, err = revocation.NewFollower(revocation.FollowerConfig{
		Source: source, List: m.list, Name: cfg.name(), MaxStale: cfg.MaxStale, Leeway: m.leeway, Log: m.store, Events: (*hook)(m), Now: cfg.Now,
	})
	return err
}

// newProbe makes a token that nobody is given.
func (m *Manager) newProbe() (token.Verified, error) {
	id, err := newSessionID(slotTag(""))
	if err != nil {
		return token.Verified{}, err
	}
	now := m.now()
	raw, err := m.issuer.Mint(token.Claims{Session: id, Generation: 1, IssuedAt: now, Expires: now.Add(time.Second)})
	if err != nil {
		return token.Verified{}, fmt.Errorf("counterfoil: %w", err)
	}
	v, err := m.verifier.VerifyAt(raw.Reveal(), now)
	if err != nil {
		return token.Verified{}, fmt.Errorf("counterfoil: %w", err)
	}
	return v, nil
}

// start runs the Manager's goroutines until Close.
func (m *Manager) start() {
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	if m.follower != nil {
		m.running.Go(func() { m.follower.Follow(ctx) })
	}
	m.running.Go(func() { m.beat(ctx) })
	m.running.Go(func() { m.settle(ctx) })
	m.running.Go(func() { m.watch.run(ctx) })
}

// beat keeps the log's heartbeat, so that followers can tell an idle log from a broken one, and tells the verifier about new keys.
func (m *Manager) beat(ctx context.Context) {
	// Twice as often as a heartbeat is due, since one that is found a moment too young waits for the next tick.
	tick := time.NewTicker(revocation.Heartbeat / 2)
	defer tick.Stop()
	for trouble := ""; ; {
		select {
		case <-ctx.Done():
			return
		case <-m.keys.Missed(): // a token by a key that the ring has got meanwhile
		case <-tick.C:
			err := m.beatOnce(ctx)
			if ctx.Err() != nil {
				return
			}
			now := ""
			switch {
			case errors.Is(err, ErrNotDurable):
				now = "counterfoil: fewer replicas than configured acknowledge the revocation log"
			case err != nil:
				now = "counterfoil: heartbeat of the revocation log failed; verifiers will find their lists stale"
			}
			if now != "" && now != trouble {
				m.log.WarnContext(ctx, now, "error", err)
			}
			trouble = now
		}
		m.retire()
	}
}

// Close stops the Manager's goroutines and waits for them. What the log has not taken yet is sent to it once more, and so are endings that too few
// replicas have acknowledged; the error says what is left then. A second Close is harmless. The Store stays open: its maker closes it.
func (m *Manager) Close() error {
	m.stop()
	m.running.Wait()
	left := func() (untold, owed int) {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.untold.Len(), m.owed.Len()
	}
	untold, owed := left()
	if untold+owed == 0 {
		return nil
	}
	err := m.beatOnce(context.Background())
	ctx, done := context.WithTimeout(context.Background(), m.store.timeout)
	defer done()
	for untold, _ = left(); untold > 0 && (err == nil || errors.Is(err, ErrNotDurable)); untold, _ = left() {
		err = m.beatOnce(ctx) // which tells some of them
	}
	for _, d := range m.due(time.Now().Add(backlog.MaxPause), maxLeft) {
		if ctx.Err() == nil {
			m.pay(ctx, d)
		}
	}
	switch untold, owed = left(); {
	case untold > 0:
		return fmt.Errorf("counterfoil: %d revocations are not announced to verifiers: %w", untold, err)
	case owed > 0:
		return fmt.Errorf("counterfoil: %d endings may be undone by the loss of a master: %w", owed, ErrNotDurable)
	}
	return nil
}

// Guard returns the Guard with which this Manager decides on access tokens, for its Status and Stats, or to check tokens elsewhere in the same
// process.
func (m *Manager) Guard() *revocation.Guard { return m.guard }

// PublicKeys returns the keys that verifiers should know, for a JWKS endpoint: those of the ring that have not been revoked. The slice is the
// caller's.
func (m *Manager) PublicKeys() []token.Key {
	return slices.DeleteFunc(m.ring.Public(), func(k token.Key) bool { return m.list.HasKey(k.ID()) })
}

// mayNotSign reports whether the ring has a key that the list knows to be revoked. The list knows first, and whoever asks it, such as PublicKeys, must not
// be given a token that it refuses.
func (m *Manager) mayNotSign() bool {
	return slices.ContainsFunc(m.ring.Public(), func(k token.Key) bool { return m.list.HasKey(k.ID()) })
}

// retire takes revoked keys out of the ring, so that another one signs, and tells the verifier which are left. The ring may have got them back, from a file
// that nobody has changed, so this is done again and again.
func (m *Manager) retire() {
	for _, k := range m.ring.Public() {
		if !m.list.HasKey(k.ID()) {
			continue
		}
		m.keyGone.Store(true)
		if m.ring.Remove(k.ID()) == nil { // the last key of a ring stays
			m.log.Warn("counterfoil: a revoked key was taken out of the ring", "key", k.ID())
		}
	}
	good := m.PublicKeys()
	if was := m.barren.Swap(len(good) == 0); len(good) == 0 {
		if !was {
			m.log.Error("counterfoil: the only signing key has been revoked: nobody can log in or renew until the ring has another one")
		}
		return
	}
	if err := m.keys.Replace(good...); err != nil {
		m.log.Error("counterfoil: signing keys not taken over", "error", err)
	}
}

// Ready reports whether this process can serve: nil if the store answers, the revocation list is fresh, and there is a key to sign with. Otherwise
// the error is [ErrUnavailable], [revocation.ErrStale], whose text says why, or [ErrKeyRevoked].
func (m *Manager) Ready(ctx context.Context) error {
	if _, err := m.store.Append(ctx); err != nil && !errors.Is(err, ErrNotDurable) {
		return err
	}
	if m.barren.Load() {
		return ErrKeyRevoked
	}
	if f := m.guard.Status(); !f.Fresh {
		err := fmt.Errorf("%w: %s", revocation.ErrStale, f.Reason)
		if m.follower != nil {
			if read := m.follower.Stats().LastError; read != nil {
				err = fmt.Errorf("%w; the last read: %w", err, read)
			}
		}
		return err
	}
	return nil
}

// jitter returns a random duration in [0, limit).
func (m *Manager) jitter(limit time.Duration) time.Duration {
	if limit <= 0 {
		return 0
	}
	var b [8]byte
	rand.Read(b[:])
	return time.Duration(binary.LittleEndian.Uint64(b[:]) % uint64(limit))
}

// blur returns what logs may say of a session: equal for equal sessions, of no use to anybody else.
func (m *Manager) blur(id token.SessionID) string {
	sum := sha256.Sum256(append(m.salt[:], id.String()...))
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}
