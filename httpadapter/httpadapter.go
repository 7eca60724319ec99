// Package httpadapter brings sessions to net/http and to every router that speaks its types.
//
// [New] makes the middleware of an application: handlers behind it call [Session], [Login] and [Logout]. [Verify] makes the middleware of a service
// that only has to know who is asking; handlers behind it call [Verified]. [Require] lets only those pass who are logged in. The context for session
// data is r.Context().
//
// # When what is saved
//
// Cookies are set and collected changes are saved when the answer's header is written, so a handler that streams saves before it streams. An answer
// of status 500 or more, [Refuse], and a panic before the header, discard what was set with counterfoil.Field.Set;
// increments, updates and pops have taken effect when they return, whatever the answer. If the changes cannot be saved, the handler's answer is not
// sent: the client gets the refusal in its place, without the headers that the handler had set, but with the cookies of a session that it has begun.
//
// A router that answers the errors of its handlers has to do so inside the middleware. echo does it after all that echo.WrapMiddleware has wrapped, for
// which the answer of such a handler was an empty 200; so put all of echo inside, as package examples/frameworks does, or have no handler return an error.
//
// A handler that hijacks the connection writes the header itself: changes are saved before, cookies are not sent.
//
// # Endpoints
//
// [Endpoints] serves what every application with sessions needs besides its own pages: public keys, refresh, logout, the sessions of a user as JSON,
// as events and as the page "Where you are signed in", introspection and revocation for other services, health. [ReturnPath] is for redirects of an
// application's own. gRPC servers use [AuthFunc].
//
// # Compatibility
//
// As the root package.
package httpadapter

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/opened"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

// Config says how the middleware works.
type Config struct {
	Manager *counterfoil.Manager // required

	// ErrorHandler answers a request that is refused, by the middleware or by [Require] and [RequireFresh] behind it; nil = [Refuse]. It must not tell a
	// client which check failed. Nobody else logs why a request was refused, for example with which error of Redis: log err here, and call Refuse.
	ErrorHandler func(http.ResponseWriter, *http.Request, error)

	// Address returns the address of the client, for the list of devices and [counterfoil.Config.Bind]; nil = the peer of the connection. Behind a
	// proxy, take it from what that proxy writes, and from nothing that a client can write.
	Address func(*http.Request) string
}

type key int

const (
	exchangeKey key = iota
	verifiedKey
	refuseKey // the error handler of the nearest middleware in front; absent = Refuse
)

// New makes the middleware of an application with sessions. Those of several Managers may stand around each other: a handler has the session of the
// nearest one, and an answer that one further out refuses loses the cookies of those inside. Mounted twice around a handler it opens one exchange. The
// error is for a configuration without a Manager.
func New(cfg Config) (func(http.Handler) http.Handler, error) {
	if cfg.Manager == nil {
		return nil, errors.New("httpadapter: Config.Manager is required")
	}
	refuse := cfg.ErrorHandler
	if refuse == nil {
		refuse = Refuse
	}
	address := cfg.Address
	if address == nil {
		address = peer
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			nearest, _ := r.Context().Value(exchangeKey).(*mount)
			if again := nearest.of(cfg.Manager); again != nil { // mounted twice: one exchange, lest two of them renew beside each other
				ctx := refusing(r.Context(), cfg.ErrorHandler)
				if again != nearest.response {
					ctx = context.WithValue(ctx, exchangeKey, &mount{again, nearest})
				}
				next.ServeHTTP(w, r.WithContext(ctx))
				return
			}
			x := opened.From(r.Context(), cfg.Manager)
			if x == nil {
				var err error
				if x, err = cfg.Manager.Begin(r.Context(), request(r, address)); err != nil {
					refuse(w, r, err)
					return
				}
			}
			out := &response{ResponseWriter: w, x: x, refuse: refuse, address: address}
			out.mount = mount{out, nearest}
			if h := w.Header(); len(h) > 0 {
				out.before = h.Clone()
			}
			out.r = r.WithContext(context.WithValue(refusing(r.Context(), cfg.ErrorHandler), exchangeKey, &out.mount))
			next.ServeHTTP(out, out.r)
			out.finish()
		})
	}, nil
}

// Refuse answers err with its status (see [counterfoil.Status]) and a body that says no more than the status does. An error that is not of this
// module is answered with 500. What the handlers have set in the session is discarded: a request that is refused decides nothing. It logs nothing, so
// whoever wants to know logs err first.
func Refuse(w http.ResponseWriter, r *http.Request, err error) {
	status, retryAfter := counterfoil.Status(err)
	if at, ok := r.Context().Value(exchangeKey).(*mount); ok {
		at.x.Session().Discard()
	}
	if status == 0 {
		status = http.StatusInternalServerError
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	if retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(retryAfter))
	}
	http.Error(w, http.StatusText(status), status)
}

// refusing returns the context of the handlers behind a middleware with that error handler, by which [Require] refuses as well.
func refusing(ctx context.Context, handler func(http.ResponseWriter, *http.Request, error)) context.Context {
	if handler == nil {
		if ctx.Value(refuseKey) == nil {
			return ctx // as nearly always; the other one is an allocation
		}
		handler = Refuse
	}
	return context.WithValue(ctx, refuseKey, handler)
}

// shut refuses a request as the nearest middleware in front does.
func shut(w http.ResponseWriter, r *http.Request, err error) {
	refuse, ok := r.Context().Value(refuseKey).(func(http.ResponseWriter, *http.Request, error))
	if !ok {
		refuse = Refuse
	}
	refuse(w, r, err)
}

func peer(r *http.Request) string { return r.RemoteAddr }

func request(r *http.Request, address func(*http.Request) string) counterfoil.Request {
	return counterfoil.Request{
		Method:        r.Method,
		Host:          r.Host,
		Cookie:        r.Header["Cookie"],
		Authorization: header(r, "Authorization"),
		Origin:        header(r, "Origin"),
		FetchSite:     header(r, "Sec-Fetch-Site"),
		FetchMode:     header(r, "Sec-Fetch-Mode"),
		FetchDest:     header(r, "Sec-Fetch-Dest"),
		Upgrade:       header(r, "Upgrade"),
		Client:        counterfoil.Client{UserAgent: r.UserAgent(), Address: address(r)},
	}
}

// header returns the values of a header as one list (RFC 9110, section 5.3). To look at the first one only would let whoever can plant a
// second decide which one counts.
func header(r *http.Request, name string) string { return strings.Join(r.Header[name], ", ") }

// outer returns the exchange of m that is open already because the middleware, or that of the adapter which runs these handlers, is in front; nil if none is.
func outer(r *http.Request, m *counterfoil.Manager) *counterfoil.Exchange {
	nearest, _ := r.Context().Value(exchangeKey).(*mount)
	if w := nearest.of(m); w != nil {
		return w.x
	}
	return opened.From(r.Context(), m)
}

func answering(r *http.Request) *response {
	nearest, ok := r.Context().Value(exchangeKey).(*mount)
	if !ok {
		panic("httpadapter: no session: the middleware made by New is not in front of this handler")
	}
	return nearest.response
}

// Exchange returns what the middleware has opened for the request, for what the functions of this package do not do: its Refusal says why a
// credential did not count, and its Logout returns [counterfoil.ErrNotDurable] to a handler that wants to decide what to answer. The middleware
// commits it. It panics if [New] is not in front of the handler.
func Exchange(r *http.Request) *counterfoil.Exchange { return answering(r).x }

// Session returns the session of the request, a new one if the request has none. It is never nil. It panics if [New] is not in front of the handler.
func Session(r *http.Request) *counterfoil.Session { return Exchange(r).Session() }

// Verified returns the access token that came with the request; the zero Verified if none did, and behind [Verify] always a valid one.
func Verified(r *http.Request) token.Verified {
	if v, ok := r.Context().Value(verifiedKey).(token.Verified); ok {
		return v
	}
	if w, ok := r.Context().Value(exchangeKey).(*mount); ok {
		return w.x.Verified()
	}
	return token.Verified{}
}

// Login begins a session of subject, whom the caller has authenticated; see [counterfoil.Manager.Login] for the errors. The answer sets the cookies,
// so call it before the header is written; later it returns [counterfoil.ErrCommitted]. Unless opt says otherwise, the client's User-Agent and the
// address that [Config.Address] finds are noted.
func Login(r *http.Request, subject string, opt counterfoil.LoginOptions) error {
	if opt.UserAgent == "" {
		opt.UserAgent = r.UserAgent()
	}
	if opt.Address == "" {
		opt.Address = answering(r).address(r)
	}
	return Exchange(r).Login(r.Context(), subject, opt)
}

// Rotate gives the session of the request a new ID; see [counterfoil.Manager.Rotate] for when, and for the errors. The answer sets the new cookies,
// so call it before the header is written; later it returns [counterfoil.ErrCommitted].
func Rotate(r *http.Request, opt counterfoil.RotateOptions) error {
	return Exchange(r).Rotate(r.Context(), opt)
}

// EndDevice ends the session that a handle of [counterfoil.Manager.Devices] names. If it is the request's own, this is [Logout]. Otherwise
// [counterfoil.ErrNotFound] if the handle was not made for this subject, or if the session that asks has ended. If too few replicas acknowledge, it
// does what Logout does.
func EndDevice(r *http.Request, handle string) error {
	return ended(r, Exchange(r).EndDevice(r.Context(), handle))
}

// Logout ends the session of the request and removes its cookies; without a session it is no error. Nothing can be set in it any more
// ([counterfoil.ErrNotFound]): what the next page is to say goes into its address. If too few replicas of the store have
// acknowledged the end, it has happened, and there is nothing that the client could repeat. So Logout returns nil then, and the answer, unless the
// handler gives one of its own, is that of [Accepted]. The Logout of [Exchange] returns this as an error instead.
func Logout(r *http.Request) error { return ended(r, Exchange(r).Logout(r.Context())) }

// LogoutEverywhere ends all sessions of the request's subject and removes this one's cookies. [counterfoil.ErrNotFound] if the request has no
// session, or one that has ended: then nothing ends, but the cookies go. If too few replicas acknowledge, it does what [Logout] does.
func LogoutEverywhere(r *http.Request) error {
	return ended(r, Exchange(r).LogoutEverywhere(r.Context()))
}

// ended notes that the answer has to say so if what has ended could come back.
func ended(r *http.Request, err error) error {
	if errors.Is(err, counterfoil.ErrNotDurable) {
		answering(r).weak.Store(true)
		return nil
	}
	return err
}

// Require lets only requests of somebody who is logged in pass; others get 401, or what the ErrorHandler of the middleware in front answers. It goes behind
// [New], or behind [Verify]; without either nobody is logged in.
func Require(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := somebody(r); err != nil {
			shut(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// somebody returns why the request is nobody's, nil if it is somebody's.
func somebody(r *http.Request) error {
	if v, ok := r.Context().Value(verifiedKey).(token.Verified); ok {
		if v.Subject() == "" {
			return counterfoil.ErrNotFound
		}
		return nil
	}
	w, ok := r.Context().Value(exchangeKey).(*mount)
	switch {
	case !ok: // neither middleware is in front
		return counterfoil.ErrNotFound
	case w.x.Session().Subject() != "":
		return nil
	case w.x.Refusal() != nil:
		return w.x.Refusal()
	}
	return counterfoil.ErrNotFound
}

// RequireFresh lets only requests pass whose subject proved who it is within the last d. Others get 401, or what the ErrorHandler of the middleware in front
// answers, with the challenge of RFC 9470, on which the application logs the subject in again, or asks for a second factor and calls [Rotate]. It goes
// behind [New] or behind [Verify], and decides from the token alone. Whoever is not logged in is one of the others: put [Require] in front of it to tell
// the two apart.
func RequireFresh(d time.Duration) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var err error
			if out, ok := r.Context().Value(exchangeKey).(*mount); ok {
				err = out.x.RequireFresh(d)
			} else {
				err = counterfoil.RequireFresh(Verified(r), d, time.Now())
			}
			if err != nil {
				c := challenge{w, counterfoil.StepUpChallenge(d)}
				c.Header().Set("WWW-Authenticate", c.text) // for a handler that calls no WriteHeader
				shut(c, r, err)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// challenge says in a refusal how long ago the subject may have proved who it is.
type challenge struct {
	http.ResponseWriter
	text string
}

func (c challenge) WriteHeader(status int) {
	c.Header().Set("WWW-Authenticate", c.text)
	c.ResponseWriter.WriteHeader(status)
}

// Unwrap serves [http.ResponseController].
func (c challenge) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// VerifyConfig says how [Verify] works. The zero value is the default.
type VerifyConfig struct {
	// CookieSuffix is that of the application which sets the cookies, [counterfoil.Config.CookieSuffix]; "" = none.
	CookieSuffix string
	// ErrorHandler as in [Config].
	ErrorHandler func(http.ResponseWriter, *http.Request, error)
}

// Verify makes the middleware of a service that only verifies: what passes carries a valid token of a session that has not been
// revoked, as far as guard can prove it. It reads the bearer token or, if there is none, the session cookie; with both, a cookie
// whose token is good must be of the bearer token's session. For cookies it asks for a request of the same site if the method is unsafe, as [New] does. At
// most one config is used. It panics without a Guard.
func Verify(guard *revocation.Guard, config ...VerifyConfig) func(http.Handler) http.Handler {
	if guard == nil {
		panic("httpadapter: Verify needs a Guard")
	}
	var cfg VerifyConfig
	if len(config) > 0 {
		cfg = config[0]
	}
	refuse := cfg.ErrorHandler
	if refuse == nil {
		refuse = Refuse
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			v, err := counterfoil.Verify(r.Context(), guard, request(r, peer), cfg.CookieSuffix)
			if err != nil {
				refuse(w, r, err)
				return
			}
			next.ServeHTTP(w, r.WithContext(context.WithValue(refusing(r.Context(), cfg.ErrorHandler), verifiedKey, v)))
		})
	}
}
