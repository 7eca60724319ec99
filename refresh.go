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
	keys [][]byte // the first seals, all open
}

func newSealer(secrets [][]byte, issuer, audience string) (*sealer, error) {
	if len(secrets) == 0 {
		return nil, errors.New("counterfoil: Config.Secrets is empty")
	}
	s := &sealer{}
	for i, secret := range secrets {
		if len(secret) < 32 {
			return nil, fmt.Errorf("counterfoil: Config.Secrets[%d] has %d bytes, at least 32 are needed", i, len(secret))
		}
		info := "counterfoil refresh token v1\x00" + issuer + "\x00" + audience
		key, err := hkdf.Key(sha256.New, secret, nil, info, 32)
		if err != nil {
			return nil, fmt.Errorf("counterfoil: deriving the refresh key: %w", err)
		}
		s.keys = append(s.keys, key)
	}
	return s, nil
}

func mac(key []byte, body string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(body))
	return h.Sum(nil)
}

func (s *sealer) seal(t refreshToken) token.Secret {
	body := t.session.String() + "." + strconv.FormatUint(t.generation, 10) + "." + strconv.FormatInt(t.expires, 10)
	return token.NewSecret(body + "." + base64.RawURLEncoding.EncodeToString(mac(s.keys[0], body)))
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
	for _, key := range s.keys {
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

// Tokens is what a client is given: the access token that every edge can check, and the refresh token that only the
// origin takes.
type Tokens struct {
	Access  token.Secret
	Expires time.Time // of the access token

	// Refresh is zero if the one that the client holds stays the right one.
	Refresh        token.Secret
	RefreshExpires time.Time
}

// Refresh answers a presented refresh token. beside is the unexpired access token that came with it, if there was one.
//
//   - [ErrSuperseded]: replaced a moment ago by a request beside this one; the session is returned and lives, there are no tokens.
//   - [ErrReuse]: the session has been ended.
//   - [ErrNotFound]: it had ended before. [token.ErrInvalid]: this Manager never made that refresh token.
//   - [ErrUnavailable]: nothing is known, so nobody is logged out.
func (m *Manager) Refresh(ctx context.Context, refresh string, beside token.Verified) (*Session, Tokens, error) {
	t, err := m.sealer.open(refresh)
	if err != nil {
		return nil, Tokens{}, err
	}
	return m.renew(ctx, t, Presented{Beside: m.ours(beside) && beside.Session() == t.session})
}

// renew has the store judge t, as how says, and makes the tokens that the verdict grants.
func (m *Manager) renew(ctx context.Context, t refreshToken, how Presented) (*Session, Tokens, error) {
	if m.now().Add(-m.leeway).Unix() > t.expires {
		return nil, Tokens{}, ErrNotFound
	}
	if m.list.Has(t.session) {
		return nil, Tokens{}, m.endAgain(ctx, t.session)
	}
	how.Session, how.Generation, how.Window = t.session, t.generation, m.window
	r, err := m.store.Refresh(ctx, how)
	if err != nil {
		return nil, Tokens{}, err
	}
	if r.Verdict == Reused {
		m.log.WarnContext(ctx, "counterfoil: refresh token reused, session ended", "session", m.blur(t.session))
		return nil, Tokens{}, errors.Join(ErrReuse, m.announce(ctx, revocation.Entry{Kind: revocation.KindSession, At: r.At, Session: t.session}))
	}
	notBefore := m.list.AllNotBefore()
	if r.Subject != "" {
		notBefore = max(notBefore, m.list.SubjectNotBefore(token.SubjectHash(m.issuerName, r.Subject)))
	}
	if notBefore >= r.Created {
		return nil, Tokens{}, m.endAgain(ctx, t.session)
	}
	// The client has not got the new generation yet, so what this request does confirms none: generation 0.
	s := &Session{m: m, id: t.session, subject: r.Subject, authTime: milli(r.AuthTime)}
	if r.Verdict == Superseded {
		return s, Tokens{}, ErrSuperseded
	}
	tokens, err := m.mint(t.session, r.Subject, grant{
		generation: r.Generation, at: r.At, expires: r.Expires, idleEnds: r.IdleEnds, authTime: r.AuthTime,
		pair: r.Verdict != Renewed && r.Verdict != Adopted,
	})
	if err != nil {
		return nil, Tokens{}, err
	}
	return s, tokens, nil
}

// grant is what the store said a client may now hold.
type grant struct {
	generation            uint64
	at, expires, idleEnds int64 // Unix ms of the store's clock
	authTime              int64
	pair                  bool // with a refresh token
}

// mint turns a grant into tokens. All times come from the store's clock; the access token lives up to 5 % less than
// configured, so that tokens made at one moment are not renewed at one moment, and never longer than its session.
func (m *Manager) mint(id token.SessionID, subject string, g grant) (Tokens, error) {
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
	})
	if err != nil {
		return Tokens{}, fmt.Errorf("counterfoil: issuing the access token: %w", err)
	}
	t := Tokens{Access: access, Expires: milli(expires)}
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
