package counterfoil

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

// ErrCrossSite means that a page of another site made the browser send the request: it may not use a cookie for an unsafe method, and may not be
// given one.
var ErrCrossSite = errors.New("counterfoil: cross-site request refused")

// ErrCommitted means that it is too late to begin a session or to change its ID: the answer's header has been written, so the client would never get
// the new cookies.
var ErrCommitted = errors.New("counterfoil: the answer's header has been written, its cookies with it")

// Request is what [Manager.Begin], [Manager.RefreshCookies] and [Verify] have to know of an HTTP request. Header values that are absent are "". The
// strings are read during the call only and may lie in a buffer that is reused.
type Request struct {
	Method        string
	Host          string   // as the client named it
	Cookie        []string // the values of all Cookie headers
	Authorization string
	Origin        string
	FetchSite     string // Sec-Fetch-Site
	FetchMode     string // Sec-Fetch-Mode; it counts only if FetchSite is not "same-origin"
	FetchDest     string // Sec-Fetch-Dest; likewise
	Upgrade       string
	Client        Client // for Config.Bind
}

// Exchange is one HTTP request and its answer, as far as the session is concerned. [Manager.Begin] opens it when the request arrives,
// [Exchange.Commit] closes it when the answer's header is about to be written. It belongs to one request. It is safe for concurrent use, since a
// handler may go on beside the answer, as behind [net/http.TimeoutHandler]: then a login either has its cookies in the answer or is [ErrCommitted].
type Exchange struct {
	m       *Manager
	arrived time.Time // with its monotonic part

	busy sync.Mutex // of what follows, once Begin has returned: held by a login, a logout and Commit for as long as they take
	mu   sync.Mutex // of the session and its token, which somebody may ask for meanwhile; whoever sets them is busy

	verified token.Verified
	session  *Session
	refresh  token.Secret    // the refresh token of the cookie, if there is one that may be needed when the answer goes out
	client   *Client         // nil without Config.Bind
	cookie   bool            // the credential came as a cookie, or there was none
	clear    bool            // the cookies are to be removed
	foreign  bool            // the cookies are another application's: neither used nor cleared
	closed   bool            // the cookies have been decided on
	of       token.SessionID // what a credential is of that nobody may use, since Config.Bind did not renew it or its session is over; whoever has it may end it
	over     bool            // its session is,
	untold   bool            // and that could not be announced on arrival
	posted   bool            // barred, but possibly a form that another site had the user's browser show and send as a page of its own
	barred   error
	refusal  error
	tokens   *Tokens // made on arrival, nil if none were
	own      Session // where session points to, unless the request has got another one
}

// Begin decides who is asking. It asks the store only if the access token has expired and a refresh token came with it, or if the revocation list is
// stale.
//
// Without a credential, with one that is not ours, or with a cookie of a session that has ended, the request is nobody's: its Session is new, and
// [Exchange.Refusal] says why. Begin returns an error if the request must not be served at all:
//
//   - [ErrCrossSite]: an unsafe method, a cookie, and a page of another site;
//   - a bearer token that is refused, with the reason; [token.ErrInvalid] also if a cookie that counts is of another session;
//   - [revocation.ErrStale], [ErrUnavailable]: it cannot be known who is asking.
func (m *Manager) Begin(ctx context.Context, r Request) (*Exchange, error) {
	x := &Exchange{m: m, arrived: m.now(), cookie: true}
	if foreign(r) && !(safe(r) && r.Method == "GET" && r.FetchMode == "navigate" && r.FetchDest == "document") {
		x.barred = ErrCrossSite
		x.posted = r.Method == "POST" && r.Upgrade == "" &&
			(r.FetchMode == "navigate" && r.FetchDest == "document" || r.FetchSite+r.FetchMode+r.FetchDest == "") // a browser that does not tell
	}
	var access, refresh string
	if m.cookies.fit(r.Host) {
		access, refresh = m.cookies.find(r.Cookie)
	} else {
		x.barred, x.posted = errPlainCookies, false
	}
	if bearer, ok := bearerToken(r.Authorization); ok {
		if err := x.bearer(ctx, bearer, access); err != nil {
			return nil, err
		}
		return x, nil
	}
	if x.barred != nil && !safe(r) && (access != "" || refresh != "") {
		return nil, ErrCrossSite
	}
	if len(refresh) > maxRefreshLen {
		refresh = ""
	}
	if m.bind != nil {
		x.client = &Client{UserAgent: strings.Clone(r.Client.UserAgent), Address: strings.Clone(r.Client.Address)}
	}
	if err := x.judge(ctx, access, refresh); err != nil {
		return nil, err
	}
	if x.session == nil {
		x.own.m, x.session = m, &x.own
	}
	x.session.barred = x.barred
	// What is kept is copied, and most requests are not going to renew. One that takes longer than the window leaves that to the next.
	if refresh != "" && x.due(x.arrived.Add(m.window)) {
		x.refresh = token.NewSecret(strings.Clone(refresh))
	}
	return x, nil
}

// bearer decides on an Authorization header. A cookie beside it must be of the same session, or none that counts.
func (x *Exchange) bearer(ctx context.Context, bearer, access string) error {
	x.cookie = false
	v, err := x.m.guard.CheckAt(ctx, bearer, x.arrived)
	if err != nil {
		return err
	}
	if access != "" {
		if c, err := x.m.guard.CheckAt(ctx, access, x.arrived); err == nil && c.Session() != v.Session() {
			return token.ErrInvalid
		}
	}
	x.verified, x.session = v, x.m.open(&x.own, v)
	return nil
}

// judge decides on the cookies. It leaves the session nil for a request of nobody. No cookie is cleared here, whatever it holds: by
// now it may be another application's, or another tab's new one.
func (x *Exchange) judge(ctx context.Context, access, refresh string) error {
	if access == "" && refresh == "" {
		return nil
	}
	err := error(token.ErrInvalid)
	if access != "" && len(access) <= token.MaxCookieLen {
		x.verified, err = x.m.guard.CheckAt(ctx, access, x.arrived)
	}
	if err == nil {
		x.session = x.m.open(&x.own, x.verified)
		return nil
	}
	var expired *token.ExpiredError
	if errors.Is(err, token.ErrInvalid) {
		_, stranger := x.m.sealer.open(refresh)
		x.foreign = stranger != nil // neither cookie is ours
	}
	switch {
	case revocation.Reason(err) == "key revoked": // the session lives, and its refresh token is no work of that key
		return x.revive(ctx, refresh, err)
	case errors.Is(err, revocation.ErrRevoked):
		x.refusal = err
		v, bad := x.m.verifier.VerifyAt(access, x.arrived)
		if bad != nil {
			return nil
		}
		x.of, x.over = v.Session(), true
		// The store told it, and not the list: somebody may have died between the end of the session and the announcement, and this be the repetition.
		if !x.m.list.Contains(v) {
			_ = x.m.gone(ctx, v.Session())
			x.untold = !x.m.list.Contains(v)
		}
		// The answer to a renewal that was under way during a login may have come after that of the login, and have put the old session's access token beside the
		// new one's refresh token.
		if t, err := x.m.sealer.open(refresh); err == nil && t.session != v.Session() {
			return x.revive(ctx, refresh, x.refusal)
		}
		return nil
	case errors.Is(err, token.ErrInvalid), errors.As(err, &expired):
		return x.revive(ctx, refresh, err)
	}
	return err
}

// revive goes on from the refresh token where the access token is of no use.
func (x *Exchange) revive(ctx context.Context, refresh string, refusal error) error {
	x.refusal = refusal
	if refresh == "" {
		return nil
	}
	if x.barred != nil { // the answer could not carry the new tokens
		x.refusal = x.barred
		return nil
	}
	t, err := x.m.sealer.open(refresh)
	if err != nil {
		x.refusal = err
		return nil
	}
	s, tokens, err := x.m.renew(ctx, t, Presented{}, x.from())
	switch {
	case err == nil, errors.Is(err, ErrSuperseded):
		x.session, x.tokens, x.refusal = s, &tokens, nil
		if !tokens.Access.IsZero() {
			x.verified, _ = x.m.guard.Check(ctx, tokens.Access.Reveal())
		}
	case errors.Is(err, ErrUnbound):
		x.refusal, x.of, x.over = err, t.session, false
	case errors.Is(err, ErrReuse), errors.Is(err, ErrNotFound):
		x.refusal, x.of, x.over, x.untold = err, t.session, true, !x.m.list.Has(t.session)
	default:
		return err
	}
	return nil
}

// Session returns the session of the request; a new one if the request is nobody's. It is never nil.
func (x *Exchange) Session() *Session { x.mu.Lock(); defer x.mu.Unlock(); return x.session }

// Verified returns the access token that came with the request, if it is good now, or the one that was made in its place on arrival; otherwise, and
// after a login or rotation, the zero Verified.
func (x *Exchange) Verified() token.Verified { x.mu.Lock(); defer x.mu.Unlock(); return x.verified }

// Refusal says why a credential that came with the request did not count; nil if none came, or if it counted.
func (x *Exchange) Refusal() error { return x.refusal }

// Login begins a session of subject in place of the request's own; see [Manager.Login]. After Commit it returns [ErrCommitted], and nothing begins.
// [ErrCrossSite] if a page of another site sent the request, other than by a link; see [LoginOptions.UnsafeFromOtherSite].
func (x *Exchange) Login(ctx context.Context, subject string, opt LoginOptions) error {
	x.busy.Lock()
	defer x.busy.Unlock()
	if x.closed {
		return ErrCommitted
	}
	if opt.UnsafeFromOtherSite && x.posted && x.cookie {
		// Begin has refused the request if a cookie came with it, so the session is nobody's and there is nothing that it could be made to do.
		x.barred = nil
		x.session.bar(nil)
	}
	s, err := x.m.Login(ctx, x.session, subject, opt)
	if err != nil {
		return err
	}
	x.goOn(s)
	return nil
}

// Rotate gives the request's session a new ID; see [Manager.Rotate]. After Commit it returns [ErrCommitted], and nothing changes.
func (x *Exchange) Rotate(ctx context.Context, opt RotateOptions) error {
	x.busy.Lock()
	defer x.busy.Unlock()
	if x.closed {
		return ErrCommitted
	}
	s, err := x.m.Rotate(ctx, x.session, opt)
	if err != nil {
		return err
	}
	x.goOn(s)
	return nil
}

// goOn gives the request another session, whose tokens are on their way.
func (x *Exchange) goOn(s *Session) {
	x.tokens, x.clear = nil, false
	x.mu.Lock()
	defer x.mu.Unlock()
	x.session, x.verified = s, token.Verified{}
}

// EndDevice ends the session that a handle of [Manager.Devices] names. If that is the request's own session, this is [Exchange.Logout]. [ErrNotFound]
// if the handle was not made for this subject. If the session that asks has ended, nothing ends, and the error wraps ErrNotFound: whoever has to tell
// the two apart compares with == first.
func (x *Exchange) EndDevice(ctx context.Context, handle string) error {
	x.busy.Lock()
	defer x.busy.Unlock()
	id, ok := x.m.handles.Open(handle, x.session.Subject())
	switch {
	case !ok:
		return ErrNotFound
	case id == x.session.ID():
		return x.logout(ctx)
	}
	if err := x.session.lives(ctx); errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%w: it is the one that asks for another's end", ErrNotFound)
	} else if err != nil {
		return err
	}
	return x.m.End(ctx, id)
}

// Manager returns the Manager that opened the exchange.
func (x *Exchange) Manager() *Manager { return x.m }

// WantsClient reports whether [Request.Client] is used, for adapters that have to do work to fill it in.
func (m *Manager) WantsClient() bool { return m.bind != nil }

// Logout ends the session of the request, also if [Config.Bind] has refused to renew it, and has its cookies removed. Without a session it only has
// the cookies removed, unless they are another application's; but the end of a session that this process could not announce it announces first, or
// returns the error, since this may be the repetition of the logout that failed. If the request came with a bearer token, it leaves all cookies alone. After
// [ErrNotDurable] the logout is done, cookies included, and the Manager goes on by itself until it is safe: there is nothing that the client could
// repeat.
func (x *Exchange) Logout(ctx context.Context) error {
	x.busy.Lock()
	defer x.busy.Unlock()
	return x.logout(ctx)
}

func (x *Exchange) logout(ctx context.Context) error {
	return x.leave(func(id token.SessionID) error { return x.m.End(ctx, id) })
}

// LogoutEverywhere ends all sessions of the request's subject, this one included, and has the cookies removed. If the request has no session nothing
// ends, the cookies are removed, and the error is [ErrNotFound], so that nobody takes it for done.
func (x *Exchange) LogoutEverywhere(ctx context.Context) error {
	x.busy.Lock()
	defer x.busy.Unlock()
	if x.session.ID().IsZero() {
		// There is nothing to end, or one session, of somebody who has not proved who it is.
		if err := x.logout(ctx); err != nil {
			return err
		}
		return ErrNotFound
	}
	// The store is not asked whether the session lives: somebody may have died between the end of all sessions and the announcement, and this be the
	// repetition, which has to go through.
	return x.leave(func(id token.SessionID) error {
		if x.session.Subject() == "" {
			return x.m.End(ctx, id)
		}
		return x.m.EndAll(ctx, x.session.Subject())
	})
}

func (x *Exchange) leave(end func(token.SessionID) error) error {
	id := x.session.ID()
	// Of a session that is over this may be the repetition of what ended it and could not tell the log: it would be acknowledged.
	if id.IsZero() && (!x.over || x.untold || x.m.hasUntold()) {
		id = x.of
	}
	var weak error
	if !id.IsZero() {
		if weak = end(id); weak != nil && !errors.Is(weak, ErrNotDurable) {
			return weak
		}
	}
	x.session.mu.Lock()
	x.session.note(ErrNotFound)
	x.session.issued = nil
	x.session.mu.Unlock()
	x.clear, x.tokens = x.cookie && x.barred == nil && !x.foreign, nil
	return weak
}

// Commit saves what the handler set, renews the tokens if half of the access token's life is over, and returns the cookies to set, usually none. Call
// it before the header is written. Called again it saves what has been set since, and returns no cookies. A session that has not begun by then does
// not begin any more: a first write to it is [ErrCommitted].
//
// Its errors are those of [Session.Save]. After one, the handler's answer claims what did not happen, and must not be sent. Cookies beside an error go
// with the answer in its place: they are those of a session that this request has begun, and the one before it has ended. A renewal that fails is no
// error; the next request tries again.
func (x *Exchange) Commit(ctx context.Context) ([]Cookie, error) {
	x.busy.Lock()
	defer x.busy.Unlock()
	again := x.closed
	err := x.session.Save(ctx)
	issued := x.close()
	switch {
	case again:
		return nil, err
	case x.clear:
		return x.m.cookies.clear(!x.m.keepCache), err
	case !x.cookie || x.barred != nil:
		return nil, err
	case issued != nil:
		return x.m.setCookies(ctx, *issued), err
	case err != nil:
		return nil, err
	case x.tokens != nil:
		if x.newest(ctx) {
			return x.m.setCookies(ctx, *x.tokens), nil
		}
	case !x.refresh.IsZero() && x.due(x.m.now()):
		return x.m.setCookies(ctx, x.renew(ctx)), nil
	}
	return nil, nil
}

// Close notes that no cookie can go out any more, because somebody else writes the answer's header, as after an upgrade. It saves nothing. Commit
// closes the exchange by itself.
func (x *Exchange) Close() {
	x.busy.Lock()
	defer x.busy.Unlock()
	x.close()
}

// close returns the tokens that the request's session was given when this request began it, nil if it did not.
func (x *Exchange) close() (issued *Tokens) {
	x.closed = true
	x.session.mu.Lock()
	defer x.session.mu.Unlock()
	if x.session.id.IsZero() {
		x.session.barred = ErrCommitted
	}
	return x.session.issued
}

// RefreshCookies answers a browser at the refresh endpoint: it judges the refresh cookie and returns the cookies to set. The errors are those of
// [Manager.Refresh], and [ErrCrossSite] if a page of another site sent the request.
func (m *Manager) RefreshCookies(ctx context.Context, r Request) ([]Cookie, error) {
	if foreign(r) {
		return nil, ErrCrossSite
	}
	if !m.cookies.fit(r.Host) {
		return nil, token.ErrInvalid
	}
	access, refresh := m.cookies.find(r.Cookie)
	var beside token.Verified
	if access != "" && len(access) <= token.MaxCookieLen {
		var err error
		if beside, err = m.guard.Check(ctx, access); errors.Is(err, revocation.ErrStale) {
			return nil, err // reuse is not judged without knowing what came beside it
		}
	}
	t, err := m.sealer.open(refresh)
	if err != nil {
		return nil, err
	}
	_, tokens, err := m.renew(ctx, t, m.beside(beside, t), r.Client)
	if err != nil {
		return nil, err
	}
	return m.setCookies(ctx, tokens), nil
}

// setCookies returns the cookies that hold tokens. One that browsers do not keep logs nobody out, since the refresh token goes on; but then every request renews,
// and verifiers never see a token.
func (m *Manager) setCookies(ctx context.Context, t Tokens) []Cookie {
	list := m.cookies.set(t)
	for _, c := range list {
		if n := len(c.Name) + len(c.Value.Reveal()); n > maxCookie && m.mayWarn() {
			m.log.WarnContext(ctx, "counterfoil: a cookie is longer than browsers keep: the claims of Config.Claims are too many", "cookie", c.Name, "bytes", n, "most", maxCookie)
		}
	}
	return list
}

// mayWarn limits the warnings of setCookies to one a minute: where one answer has such a cookie, all others have as well.
func (m *Manager) mayWarn() bool {
	last, now := m.warned.Load(), m.now().Unix()
	return uint64(now-last) >= 60 && m.warned.CompareAndSwap(last, now) // uint64: if the clock was set back that is long ago too
}

// maxCookie is how many bytes the name and the value of a cookie may have together (draft-ietf-httpbis-rfc6265bis, section 5.7).
const maxCookie = 4096

// from returns who asks, as far as Config.Bind wants to know.
func (x *Exchange) from() Client {
	if x.client == nil {
		return Client{}
	}
	return *x.client
}

// due says whether half of the life of the access token that came is over at that time.
func (x *Exchange) due(at time.Time) bool {
	v := x.verified
	return v.Valid() && 2*at.UnixMilli() > v.IssuedAtMilli()+v.ExpiresMilli() && x.session.ID() == v.Session()
}

// newest says whether the tokens made on arrival are still those to have. Meanwhile somebody else may have logged in with this browser, logged out or renewed,
// and an answer that is later than theirs would put older cookies over their cookies. If it cannot be known, nothing is sent: to the store that is an
// answer that was lost.
func (x *Exchange) newest(ctx context.Context) bool {
	id := x.verified.Session()
	if id.IsZero() || id != x.session.ID() {
		return false
	}
	r, err := x.m.store.Load(ctx, Ref{Session: id, Subject: x.session.Subject()})
	return err == nil && !r.Frozen && r.Generation == x.verified.Generation() && !x.m.list.Has(id) && r.Created > x.m.notBefore(r.Subject)
}

// renew asks for new tokens on the request's own account. It never judges reuse, since the client did not ask, and a request that was
// slower than the window renews only what is still current, lest it bring back an older cookie.
func (x *Exchange) renew(ctx context.Context) Tokens {
	t, err := x.m.sealer.open(x.refresh.Reveal())
	if err != nil || t.session != x.verified.Session() {
		return Tokens{}
	}
	_, tokens, err := x.m.renew(ctx, t, Presented{Quiet: true, OnlyCurrent: x.m.now().Sub(x.arrived) > x.m.window}, x.from())
	switch {
	case err == nil:
		return tokens
	case errors.Is(err, ErrSuperseded), errors.Is(err, ErrNotFound), errors.Is(err, ErrUnbound):
	default:
		x.m.log.WarnContext(ctx, "counterfoil: renewal failed; the next request tries again", "error", err)
	}
	return Tokens{}
}

// safe says whether the method promises to change nothing. An upgrade opens a channel that can change anything.
func safe(r Request) bool {
	return (r.Method == "GET" || r.Method == "HEAD" || r.Method == "OPTIONS") && r.Upgrade == ""
}

// foreign says whether a page of another origin made the browser send the request: by Sec-Fetch-Site, which pages cannot forge, or in
// older browsers by Origin. A client that sends neither is no browser. Sibling domains ("same-site") count as foreign.
func foreign(r Request) bool {
	switch r.FetchSite {
	case "same-origin", "none":
		return false
	case "":
	default:
		return true
	}
	if r.Origin == "" {
		return false
	}
	o, err := url.Parse(r.Origin)
	return err != nil || r.Host == "" || !strings.EqualFold(o.Host, r.Host)
}

// bearerToken returns the token of an Authorization header of that scheme (RFC 6750, section 2.1).
func bearerToken(header string) (string, bool) {
	const scheme = "bearer "
	if len(header) < len(scheme) || !strings.EqualFold(header[:len(scheme)], scheme) {
		return "", false
	}
	return strings.TrimLeft(header[len(scheme):], " "), true
}

// Verify decides for a service that only verifies: it takes the bearer token or, if there is none, the session cookie with the given suffix (see
// [Config.CookieSuffix]; "" = none), and has guard check it. A cookie with the plain name of [Config.InsecurePlainCookies] counts on loopback only.
//
// [token.ErrInvalid] if there is no credential, if two cookies have the name, or if bearer and cookie count and are not of one session; [ErrCrossSite]
// as for [Manager.Begin]; otherwise the errors of [revocation.Guard.Check].
func Verify(ctx context.Context, guard *revocation.Guard, r Request, suffix string) (token.Verified, error) {
	names := defaultNames
	if suffix != "" {
		names = newCookieNames(suffix, false)
	}
	access, _ := names.find(r.Cookie)
	if access == "" && loopback(r.Host) {
		// On loopback an application may run with plain names. Elsewhere a sibling domain could plant them.
		access, _ = newCookieNames(suffix, true).find(r.Cookie)
	}
	if bearer, ok := bearerToken(r.Authorization); ok {
		v, err := guard.Check(ctx, bearer)
		if err != nil || access == "" {
			return v, err
		}
		if c, err := guard.Check(ctx, access); err == nil && c.Session() != v.Session() {
			return token.Verified{}, token.ErrInvalid
		}
		return v, nil
	}
	if access == "" || len(access) > token.MaxCookieLen {
		return token.Verified{}, token.ErrInvalid
	}
	if foreign(r) && !safe(r) {
		return token.Verified{}, ErrCrossSite
	}
	return guard.Check(ctx, access)
}

// ErrNotFresh means that the subject has to prove again who it is before it may do what it asked for. The session lives.
var ErrNotFresh = errors.New("counterfoil: authentication is too long ago")

// RequireFresh decides from the token alone whether its subject proved who it is within the last d before now: nil, or [ErrNotFresh]. A login, and a
// [Manager.Rotate] with Reauthenticated, is such a proof. The token has its time from the store, so d is exact to within the difference between that
// clock and now's.
func RequireFresh(v token.Verified, d time.Duration, now time.Time) error {
	at, ok := v.AuthTime()
	if !ok || now.Sub(at) > d {
		return ErrNotFresh
	}
	return nil
}

// StepUpChallenge returns the WWW-Authenticate header that asks for a proof within the last d, in whole seconds (RFC 9470, section 3).
func StepUpChallenge(d time.Duration) string {
	return `Bearer error="insufficient_user_authentication", max_age="` + strconv.FormatInt(int64(d/time.Second), 10) + `"`
}

// RequireFresh is like the function [RequireFresh], for the session of the request, which this request may have renewed or begun.
func (x *Exchange) RequireFresh(d time.Duration) error {
	at := x.Session().AuthTime()
	if at.IsZero() || x.m.now().Sub(at) > d {
		return ErrNotFresh
	}
	return nil
}

// loopback says whether a Host header names this machine.
func loopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return strings.EqualFold(host, "localhost") || ip.IsLoopback()
}

// Status returns the HTTP status for an error of this module, and how many seconds later the client may try again: the Retry-After header, or 0 for
// none. The status is 0 for an error that is not of this module, or that is a mistake of the program's, such as [ErrCommitted]: the Refuse of
// an adapter answers these with 500. It is written once, so that every adapter answers alike; a body never says more than the status.
func Status(err error) (status, retryAfter int) {
	is := func(target error) bool { return errors.Is(err, target) }
	var expired *token.ExpiredError
	var paused *PausedError
	switch {
	case err == nil:
		return 0, 0
	case is(ErrSubject):
		return 400, 0
	case is(ErrCrossSite), is(errPlainCookies):
		return 403, 0
	case is(ErrConflict), is(ErrSuperseded):
		return 409, 0
	case is(ErrTooLarge):
		return 413, 0 // nearly always it is the content of the request that does not fit
	case is(ErrNotInteger):
		return 500, 0
	case errors.As(err, &paused):
		return 503, max(1, int((time.Until(paused.Until)+time.Second-1)/time.Second))
	case is(ErrUnavailable), is(revocation.ErrStale), is(ErrNotDurable), is(ErrKeyRevoked):
		return 503, 1
	case is(ErrNotFound), is(ErrReuse), is(ErrUnbound), is(ErrNotFresh), is(revocation.ErrRevoked), is(token.ErrInvalid), errors.As(err, &expired):
		return 401, 0
	}
	return 0, 0
}

// Cookie is one Set-Cookie header to be sent. Its value does not print; SetCookie reveals it.
type Cookie struct {
	Name     string
	Value    token.Secret
	age      time.Duration // 0 = as long as the browser runs
	insecure bool
	remove   bool
	cache    bool
}

// ClearsCache says that the answer with this cookie is to say Clear-Site-Data: "cache" besides; see [Config.KeepCache].
func (c Cookie) ClearsCache() bool { return c.cache }

// SetCookie returns the value of the Set-Cookie header. Only the cookies of a session that is to be remembered have a Max-Age; others go with
// the browser's session, and what they hold expires by itself.
func (c Cookie) SetCookie() string {
	var b strings.Builder
	b.WriteString(c.Name + "=" + c.Value.Reveal() + "; Path=/")
	if c.remove {
		// Both, since old clients know only Expires.
		b.WriteString("; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0")
	}
	if c.age > 0 {
		b.WriteString("; Max-Age=" + strconv.FormatInt(int64((c.age+time.Second-1)/time.Second), 10))
	}
	if !c.insecure {
		b.WriteString("; Secure")
	}
	b.WriteString("; HttpOnly; SameSite=Lax")
	return b.String()
}

// cookieNames are the two cookies of an application. With the prefix a browser takes them only from this very host, over a secure
// channel, out of the page's sight (draft-ietf-httpbis-layered-cookies; older browsers know its first half, __Host-).
type cookieNames struct {
	access, refresh string
	insecure        bool
}

var defaultNames = newCookieNames("", false)

func newCookieNames(suffix string, insecure bool) cookieNames {
	prefix := "__Host-Http-"
	if insecure {
		prefix = ""
	}
	return cookieNames{prefix + "session" + suffix, prefix + "refresh" + suffix, insecure}
}

// errPlainCookies is what a request gets that would begin a session where its cookies could be read and planted by others.
var errPlainCookies = errors.New("counterfoil: Config.InsecurePlainCookies is for loopback only")

// fit says whether cookies with these names may be used at that host: plain ones on loopback only.
func (n cookieNames) fit(host string) bool { return !n.insecure || loopback(host) }

// find returns the values of both cookies. A name that comes twice counts as absent: one of the two was planted, and there is no
// telling which.
func (n cookieNames) find(headers []string) (access, refresh string) {
	var accesses, refreshes int
	for _, h := range headers {
		for h != "" {
			var pair string
			pair, h, _ = strings.Cut(h, ";")
			for pair != "" && (pair[0] == ' ' || pair[0] == '\t') {
				pair = pair[1:]
			}
			for pair != "" && (pair[len(pair)-1] == ' ' || pair[len(pair)-1] == '\t') {
				pair = pair[:len(pair)-1]
			}
			name, value, _ := strings.Cut(pair, "=")
			switch name {
			case n.access:
				access = value
				accesses++
			case n.refresh:
				refresh = value
				refreshes++
			}
		}
	}
	if accesses > 1 {
		access = ""
	}
	if refreshes > 1 {
		refresh = ""
	}
	return access, refresh
}

func (n cookieNames) set(t Tokens) []Cookie {
	var out []Cookie
	if !t.Access.IsZero() {
		out = append(out, Cookie{Name: n.access, Value: t.Access, age: t.CookieAge, insecure: n.insecure})
	}
	if !t.Refresh.IsZero() {
		out = append(out, Cookie{Name: n.refresh, Value: t.Refresh, age: t.CookieAge, insecure: n.insecure})
	}
	return out
}

// clear returns what removes both cookies, and, if cache says so, what the browser keeps of pages.
func (n cookieNames) clear(cache bool) []Cookie {
	none := token.NewSecret("")
	return []Cookie{
		{Name: n.access, Value: none, insecure: n.insecure, remove: true, cache: cache},
		{Name: n.refresh, Value: none, insecure: n.insecure, remove: true},
	}
}
