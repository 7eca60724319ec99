package counterfoil

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/device"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

// A refresh token is `session.generation.expiry.MAC`: everything the origin needs to know that it made it, and nothing
// that the store has to keep. The store holds counters only, so a dump of it yields no token, and a forged or outlived
// one is refused before the store is asked.
type refreshToken struct {
	session    token.SessionID
	generation uint64
	expires    int64 // Unix seconds
}

const maxRefreshLen = 128 // 25 + 20 + 20 + 43 characters and three dots fit

// sealer makes and opens refresh tokens. The keys are derived (HKDF, RFC 5869) with issuer and audience, so that one
// configured secret gives two tenants different keys.
type sealer struct {
	keys func() [][]byte // the first seals, all open. A function, because fmt follows pointers to structs where a verb does not fit, such as %s for a Manager
}

func newSealer(secrets [][]byte, issuer, audience string) (*sealer, error) {
	if len(secrets) == 0 {
		return nil, errors.New("counterfoil: Config.Secrets is empty")
	}
	keys := make([][]byte, len(secrets))
	for i, secret := range secrets {
		if len(secret) < 32 {
			return nil, fmt.Errorf("counterfoil: Config.Secrets[%d] has %d bytes, at least 32 are needed", i, len(secret))
		}
		info := "counterfoil refresh token v1\x00" + issuer + "\x00" + audience
		key, err := hkdf.Key(sha256.New, secret, nil, info, 32)
		if err != nil {
			return nil, fmt.Errorf("counterfoil: deriving the refresh key: %w", err)
		}
		keys[i] = key
	}
	return &sealer{keys: func() [][]byte { return keys }}, nil
}

func mac(key []byte, body string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(body))
	return h.Sum(nil)
}

func (s *sealer) seal(t refreshToken) token.Secret {
	body := t.session.String() + "." + strconv.FormatUint(t.generation, 10) + "." + strconv.FormatInt(t.expires, 10)
	return token.NewSecret(body + "." + base64.RawURLEncoding.EncodeToString(mac(s.keys()[0], body)))
}

// open returns the token if one of the keys made it. It says nothing about its expiry or about the session.
func (s *sealer) open(raw string) (refreshToken, error) {
	if len(raw) > maxRefreshLen {
		return refreshToken{}, token.ErrInvalid
	}
	end := strings.LastIndexByte(raw, '.')
	if end < 0 {
		return refreshToken{}, token.ErrInvalid
	}
	body := raw[:end]
	sum, err := base64.RawURLEncoding.Strict().DecodeString(raw[end+1:])
	if err != nil || len(raw[end+1:]) != base64.RawURLEncoding.EncodedLen(sha256.Size) {
		return refreshToken{}, token.ErrInvalid
	}
	made := 0
	for _, key := range s.keys() {
		if hmac.Equal(sum, mac(key, body)) {
			made = 1
		}
	}
	if made == 0 {
		return refreshToken{}, token.ErrInvalid
	}
	// From here on the text is our own: what does not parse now was made by another version.
	parts := strings.Split(body, ".")
	if len(parts) != 3 {
		return refreshToken{}, token.ErrInvalid
	}
	var t refreshToken
	if t.session, err = token.ParseSessionID(parts[0]); err != nil {
		return refreshToken{}, token.ErrInvalid
	}
	if t.generation, err = strconv.ParseUint(parts[1], 10, 53); err != nil || t.generation == 0 {
		return refreshToken{}, token.ErrInvalid
	}
	if t.expires, err = strconv.ParseInt(parts[2], 10, 64); err != nil {
		return refreshToken{}, token.ErrInvalid
	}
	return t, nil
}

// Tokens is what a client is given: the access token that every edge can check, and the refresh token that only the origin takes.
type Tokens struct {
	Access  token.Secret
	Expires time.Time // of the access token

	// Refresh is zero if the one that the client holds stays the right one.
	Refresh        token.Secret
	RefreshExpires time.Time

	// CookieAge is how long the cookies of a session that is to be remembered last; 0 = as long as the browser runs.
	CookieAge time.Duration
}

// Refresh answers a presented refresh token with new tokens; [Tokens.Refresh] is zero if the presented one stays the right one. beside is the
// unexpired access token that came with it, or the zero Verified.
//
//   - [ErrSuperseded]: replaced a moment ago by a request beside this one; the session is returned and lives, there are no tokens.
//   - [ErrReuse]: the token had been replaced before; the session has been ended.
//   - [ErrNotFound]: the session had ended before.
//   - [token.ErrInvalid]: this Manager never made that refresh token.
//   - [ErrUnbound]: [Config.Bind] refused the renewal; the session lives.
//   - [ErrUnavailable], [revocation.ErrStale]: nothing is known, so nobody is logged out.
//   - [ErrKeyRevoked]: there is no key to sign with.
func (m *Manager) Refresh(ctx context.Context, refresh string, beside token.Verified) (*Session, Tokens, error) {
	t, err := m.sealer.open(refresh)
	if err != nil {
		return nil, Tokens{}, err
	}
	return m.renew(ctx, t, m.beside(beside, t), Client{})
}

// beside says that a refresh token came with an access token that is good, or with none of its session.
func (m *Manager) beside(v token.Verified, t refreshToken) Presented {
	return Presented{Beside: m.ours(v) && v.Session() == t.session}
}

// ErrUnbound means that [Config.Bind] refused a renewal. The session lives, and its access token until it expires.
var ErrUnbound = errors.New("counterfoil: renewal refused: the session is bound to another client")

// Client is what an adapter knows of the client that sent a request.
type Client struct {
	UserAgent string
	Address   string // with or without a port
}

// Renewal is what [Config.Bind] decides about.
type Renewal struct {
	// Session is the one that is to be renewed: the hook may read its subject and fields, such as the key of a device. It must not write.
	Session *Session
	// Device is what was noted at its login: label, the address cut to its network, location.
	Device Device
	// Client asks for the renewal; its fields are empty for [Manager.Refresh], which sees no request. What else the hook needs of a request
	// comes with its context.
	Client Client
}

// bound asks the hook whether a session may be renewed.
func (m *Manager) bound(ctx context.Context, id token.SessionID, client Client) error {
	if m.bind == nil {
		return nil
	}
	r, err := m.store.Find(ctx, id)
	if err != nil {
		return err
	}
	n := device.ParseNote(r.Device)
	err = m.bind(ctx, Renewal{
		Session: &Session{m: m, id: id, begun: r.Created, subject: r.Subject, authTime: r.AuthTime, fields: r.Fields},
		Device: Device{
			Handle: m.handles.Seal(id, r.Subject), Label: n.Label, Address: n.Address, Location: n.Location, LoggedIn: milli(r.Created),
			LastSeen: milli(r.Renewed), Expires: milli(r.Expires), Persistent: n.Persistent, Current: true,
		},
		Client: client,
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrUnavailable): // it could not look, so it did not decide
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnbound, err)
}

// project asks the application for the claims of a token. The session is one that nobody else has.
func (m *Manager) project(ctx context.Context, s *Session) ([]token.Claim, error) {
	if m.claims == nil {
		return nil, nil
	}
	claims, err := m.claims(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("counterfoil: projecting claims: %w", err)
	}
	return claims, nil
}

// tryMint mints a token for nobody, as long as any of the session can be. What cannot be minted for the application's claims has to show before the
// session is stored and the cap ends others for it, and not only at its first renewal.
func (m *Manager) tryMint(id token.SessionID, subject string, claims []token.Claim) error {
	if len(claims) == 0 {
		return nil
	}
	at := m.now().Truncate(time.Second).Add(2 * time.Millisecond) // with all the decimals that a time may have
	if _, err := m.issuer.Mint(token.Claims{
		Subject: subject, Session: id, Generation: 1<<53 - 1, IssuedAt: at, Expires: at.Add(m.accessLife), AuthTime: at, Began: at.Add(-time.Millisecond),
		Extra: claims,
	}); err != nil {
		return fmt.Errorf("counterfoil: issuing the access token: %w", err)
	}
	return nil
}

// Shorten makes another access token of the session of v that expires after life, for a place where a token may be seen, such as the query of a URL.
// It expires no later than v, has the issue time of v, says as v does when the session began, and is revoked with the session like every other. The
// claims of [Config.Claims] are made anew.
// [token.ErrInvalid] if v is not of this Manager, a [*token.ExpiredError] if life is not positive or v has expired.
func (m *Manager) Shorten(ctx context.Context, v token.Verified, life time.Duration) (token.Secret, error) {
	if !m.ours(v) {
		return token.Secret{}, token.ErrInvalid
	}
	now := m.now()
	expires := now.Add(life)
	if v.Expires().Before(expires) {
		expires = v.Expires()
	}
	if life <= 0 || !expires.After(now) || !expires.After(v.IssuedAt()) {
		return token.Secret{}, &token.ExpiredError{ExpiresMilli: expires.UnixMilli()}
	}
	s := m.Open(v)
	s.generation = 0
	claims, err := m.project(ctx, s)
	if err != nil {
		return token.Secret{}, err
	}
	at, _ := v.AuthTime()
	return m.issuer.Mint(token.Claims{
		Subject: v.Subject(), Session: v.Session(), Generation: v.Generation(), IssuedAt: v.IssuedAt(), Expires: expires, AuthTime: at, Began: v.Began(),
		Extra: claims,
	})
}

// renew has the store judge t, as how says, and makes the tokens that the verdict grants.
func (m *Manager) renew(ctx context.Context, t refreshToken, how Presented, client Client) (*Session, Tokens, error) {
	if m.now().Add(-m.leeway).Unix() > t.expires {
		return nil, Tokens{}, ErrNotFound
	}
	if m.list.Has(t.session) {
		return nil, Tokens{}, m.endAgain(ctx, t.session)
	}
	if err := m.learn(ctx); err != nil {
		return nil, Tokens{}, err
	}
	if m.barren.Load() {
		return nil, Tokens{}, ErrKeyRevoked
	}
	r, err := m.judge(ctx, t, how, client)
	switch {
	case errors.Is(err, ErrNotFound) && !how.Quiet:
		return nil, Tokens{}, m.gone(ctx, t.session)
	case err != nil:
		return nil, Tokens{}, err
	case r.Verdict == Reused:
		return nil, Tokens{}, m.reused(ctx, t.session, r.At)
	case r.Created <= m.notBefore(r.Subject):
		return nil, Tokens{}, m.endAgain(ctx, t.session)
	}
	// The client has not got the new generation yet, so what this request does confirms none: generation 0.
	s := &Session{m: m, id: t.session, begun: r.Created, subject: r.Subject, authTime: r.AuthTime}
	if r.Verdict == Superseded {
		return s, Tokens{}, ErrSuperseded
	}
	snapshot := &Session{m: m, id: s.id, subject: s.subject, authTime: s.authTime}
	claims, err := m.project(ctx, snapshot)
	if err != nil {
		return nil, Tokens{}, err
	}
	s.fields = snapshot.fields // read once is enough
	tokens, err := m.mint(t.session, r.Subject, grant{
		generation: r.Generation, began: r.Created, at: r.At, expires: r.Expires, idleEnds: r.IdleEnds, authTime: r.AuthTime,
		pair: r.Verdict != Renewed && r.Verdict != Adopted, persistent: device.ParseNote(r.Device).Persistent, claims: claims,
	})
	if err != nil {
		return nil, Tokens{}, err
	}
	return s, tokens, nil
}

// judge asks the binding hook and then the store about a refresh token.
func (m *Manager) judge(ctx context.Context, t refreshToken, how Presented, client Client) (Refreshed, error) {
	if err := m.bound(ctx, t.session, client); err != nil {
		return Refreshed{}, err
	}
	how.Session, how.Generation, how.Window = t.session, t.generation, m.window
	r, err := m.store.Refresh(ctx, how)
	if errors.Is(err, ErrNotDurable) { // of a verdict that ends the session, and that is waited for where it is told
		err = nil
	}
	return r, err
}

// reused tells that a session was ended because a refresh token came back. Here, and not in the step that judged it, replicas are waited for. If too few
// answer, the client is told what it would be told anyway, since it is not the client who could do anything about it: this process goes on by itself.
func (m *Manager) reused(ctx context.Context, id token.SessionID, at int64) error {
	(*hook)(m).Event(revocation.Event{
		Kind: revocation.EventReuse, Time: m.now(), Entry: revocation.Entry{Kind: revocation.KindSession, At: at, Session: id},
	})
	ctx = context.WithoutCancel(ctx) // whoever presented it may have gone, and need not come again
	err := m.End(ctx, id)
	if errors.Is(err, ErrNotDurable) {
		m.log.WarnContext(ctx, "counterfoil: the session may come back if the master is lost now", "session", m.blur(id), "error", err)
		err = nil
	}
	return errors.Join(ErrReuse, err)
}

// gone tells verifiers of a session that has no record any more, although a token of ours came for it that has not expired. Usually they know. But if a
// refresh was judged reuse, or the session was logged out, and the process died or the answer was lost before they were told, this is the repetition. Once
// this process's list has the session, its tokens are refused before anything is asked or told, so nobody can fill the log with them.
func (m *Manager) gone(ctx context.Context, id token.SessionID) error {
	if err := m.End(ctx, id); err != nil && !errors.Is(err, ErrNotDurable) {
		m.log.WarnContext(ctx, "counterfoil: the end of a session without a record is not yet announced to verifiers", "session", m.blur(id), "error", err)
	}
	return ErrNotFound
}

// grant is what the store said a client may now hold.
type grant struct {
	generation            uint64
	began                 int64 // Unix ms of the store's clock, as all times here
	at, expires, idleEnds int64
	authTime              int64
	pair                  bool // with a refresh token
	persistent            bool // the cookies outlive the browser
	claims                []token.Claim
}

// mint turns a grant into tokens. All times come from the store's clock; the access token lives up to 5 % less than
// configured, so that tokens made at one moment are not renewed at one moment, and never longer than its session.
func (m *Manager) mint(id token.SessionID, subject string, g grant) (Tokens, error) {
	if m.keyGone.Load() || m.mayNotSign() {
		m.retire() // the ring may have been given a revoked key again, or the list has just heard of it
	}
	if m.barren.Load() {
		return Tokens{}, ErrKeyRevoked
	}
	life := m.accessLife - m.jitter(m.accessLife/20)
	expires := min(g.at+life.Milliseconds(), g.expires)
	if expires <= g.at {
		return Tokens{}, ErrNotFound // nothing of its life is left
	}
	access, err := m.issuer.Mint(token.Claims{
		Subject:    subject,
		Session:    id,
		Generation: g.generation,
		IssuedAt:   milli(g.at),
		Expires:    milli(expires),
		AuthTime:   milli(g.authTime),
		Began:      milli(g.began),
		Extra:      g.claims,
	})
	if err != nil {
		return Tokens{}, fmt.Errorf("counterfoil: issuing the access token: %w", err)
	}
	t := Tokens{Access: access, Expires: milli(expires)}
	if g.persistent {
		t.CookieAge = time.Duration(g.idleEnds-g.at) * time.Millisecond
	}
	if g.pair {
		r := refreshToken{session: id, generation: g.generation, expires: (g.idleEnds + 999) / 1000}
		t.Refresh, t.RefreshExpires = m.sealer.seal(r), time.Unix(r.expires, 0)
	}
	return t, nil
}

// milli converts the store's time; 0 stays "none".
func milli(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}
