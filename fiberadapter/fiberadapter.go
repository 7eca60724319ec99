// Package fiberadapter brings sessions to Fiber v2.
//
// [New] makes the middleware of an application: handlers behind it call [Session], [Login] and [Logout]. [Verify] makes the middleware of a service
// that only has to know who is asking; handlers behind it call [Verified]. [Require] lets only those pass who are logged in. The context for session
// data is c.UserContext().
//
// # When what is saved
//
// Cookies are set and collected changes are saved when the handlers have returned. If a handler returns an error, panics, or answers a status of 500
// or more, what it set with counterfoil.Field.Set is discarded; increments, updates and pops have taken effect when they return, whatever the answer.
// If the changes cannot be saved, the handler's answer is not sent: the client gets the refusal in its place, without the handler's headers but with
// the cookies of a session that it has begun, and an upgrade that the handler prepared does not happen. A body stream runs after all that: save before
// you return it.
//
// # Fiber's reused buffers
//
// Whatever these functions return stays valid after the request; nothing of it points into Fiber's buffers. A counterfoil.Session may be kept for who
// it is and for its Done, by which a WebSocket or a body stream outlives its request. Its data are those that the request has seen, and what is set
// later is not saved by anybody.
//
// # Requests that are none
//
// What cannot be parsed is answered before any middleware, and Fiber quotes it in the answer, its cookies included. A browser sends no such request;
// whoever does reads his own. With app.Server().SecureErrorLogMessage = true it quotes nothing.
//
// # Bodies that stream
//
// With fiber.Config.StreamRequestBody, fasthttp takes what nobody has read of a body for the next request. Where this package answers by itself nothing is
// left of one: it reads up to 256 KiB of it, for as long as fiber.Config.ReadTimeout lets the client send, or closes the connection. A handler of your own
// has to read it to the end, or to call c.Response().SetConnectionClose(). If the body is longer than a small fiber.Config.BodyLimit it can only do the
// latter: fasthttp reads beyond the end of such a one, and panics.
//
// # Multipart forms
//
// fasthttp reads a multipart form no further than to its last boundary, and takes what comes behind that for the next request: a page of another site could
// put its own words in front of a request that a browser sends with its cookies. So each such form ends its connection where [New], [Verify] or [Endpoints]
// see it. With fiber.Config.DisablePreParseMultipartForm fasthttp reads it like any other body, and the connection stays.
//
// # WebSockets
//
// An upgrade counts as unsafe, so pages of other sites are refused, and its answer carries renewed cookies. The Conn of
// github.com/gofiber/contrib/websocket takes along only locals whose key is a string: a handler in front of it does c.Locals("session",
// fiberadapter.Session(c)). Package examples/frameworks has one that closes when its session ends.
//
// # Behind a proxy
//
// Where a client is, for the list of devices and [counterfoil.Config.Bind], is what c.IP() says: the proxy, unless EnableTrustedProxyCheck,
// TrustedProxies and ProxyHeader of fiber.Config say otherwise. Of X-Forwarded-For Fiber takes all or, with EnableIPValidation, the first address, which
// anybody can write. So name a header in which the proxy puts the one address that it sees, whatever came with the request, such as X-Real-IP.
//
// # Fiber's cache and idempotency
//
// They keep whole answers, by path or by a key that the client chooses, for whoever asks next, and heed no Cache-Control. In front of [New] or [Endpoints]
// they hand one user's pages and session cookies to another, and do so after the logout too. So put them behind both, where no session cookie is set yet,
// on routes whose answer is the same for everybody; or, for cache, behind [Require] as well and with the session in the key:
//
//	cache.Config{KeyGenerator: func(c *fiber.Ctx) string { return fiberadapter.Session(c).ID().String() + c.Path() }}
//
// These two, and etag, read a stream to its end before they send any of it: one more reason to have Endpoints in front, with its event streams.
//
// # Endpoints
//
// [Endpoints] serves what package httpadapter describes: refresh, logout, the page "Where you are signed in" and more. It sends people to the login with the
// parameter "return", which anybody can write: c.Redirect(c.Query("return")) would lead wherever a link says, so redirect to what [httpadapter.ReturnPath]
// makes of it, as package examples/devices does. Fiber's own csrf, limiter, idempotency and cache share the sessions' Redis through package
// fiberadapter/storage. If there has to be a csrf, it goes behind Endpoints, whose forms carry none of its tokens and need none.
//
// # Compatibility
//
// As the root package.
package fiberadapter

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

// Config says how the middleware works.
type Config struct {
	Manager *counterfoil.Manager // required

	// Next skips the middleware for a request when it returns true; nil = never.
	Next func(*fiber.Ctx) bool

	// ErrorHandler answers a request that is refused, by the middleware or by [Require] and [RequireFresh] behind it; nil = [Refuse]. It must not tell a
	// client which check failed. Errors that handlers return come to it as well if they have a status (see [counterfoil.Status]). Nobody else logs why a
	// request was refused, for example with which error of Redis: log err here, and return Refuse(c, err).
	ErrorHandler fiber.ErrorHandler

	// Extractor says which credential of a request counts; nil = the bearer token or, if there is none, the session cookies. With
	// both, a cookie whose token is good must be of the bearer token's session.
	Extractor Extractor
}

type key int

const (
	exchangeKey key = iota
	verifiedKey
	weakKey    // something has ended that could come back
	quitKey    // a handler has logged out, which reads no body
	refuseKey  // the error handler of the nearest middleware in front; absent = Refuse
	shutKey    // Require has refused the request
	addressKey // c.IP(), for Endpoints
)

// managerKey has the exchange that a Manager has opened for the request. It is as wide as a pointer, so making one allocates nothing.
type managerKey struct{ m *counterfoil.Manager }

// New makes the middleware of an application with sessions. Those of several Managers may stand around each other: a handler has the session of the
// nearest one, and an answer that one further out refuses loses the cookies of those inside. Mounted twice around a handler it opens one exchange. It
// panics without a Manager, as Fiber's own middlewares do on a configuration that cannot work.
func New(cfg Config) fiber.Handler {
	if cfg.Manager == nil {
		panic("fiberadapter: Config.Manager is required")
	}
	refuse := cfg.ErrorHandler
	if refuse == nil {
		refuse = Refuse
	}
	return func(c *fiber.Ctx) error {
		if cfg.Next != nil && cfg.Next(c) {
			return c.Next()
		}
		if again, ok := c.Context().UserValue(managerKey{cfg.Manager}).(*counterfoil.Exchange); ok {
			return inside(c, again, cfg.ErrorHandler) // mounted twice: one exchange, lest two of them renew beside each other
		}
		if unended(c) {
			defer c.Response().SetConnectionClose()
		}
		var r counterfoil.Request
		list := request(c, cfg.Extractor, &r)
		if cfg.Manager.WantsClient() {
			r.Client = counterfoil.Client{UserAgent: c.Get(fiber.HeaderUserAgent), Address: c.IP()}
		}
		x, err := cfg.Manager.Begin(c.UserContext(), r)
		forget(list)
		if err != nil {
			return refused(c, refuse(c, err))
		}
		c.Context().SetUserValue(managerKey{cfg.Manager}, x)
		before := headers.Get().(*fasthttp.ResponseHeader)
		c.Response().Header.CopyTo(before)
		failed := inside(c, x, cfg.ErrorHandler)
		err = commit(c, x, failed, before, refuse)
		headers.Put(before)
		return err
	}
}

// inside runs the handlers behind the middleware with its exchange and its error handler. What is in front may have those of another Manager, which it gets
// back.
func inside(c *fiber.Ctx, x *counterfoil.Exchange, handler fiber.ErrorHandler) error {
	if outer := c.Context().UserValue(exchangeKey); outer != nil { // otherwise a handler in front may still want to know who it was
		defer c.Context().SetUserValue(exchangeKey, outer)
	}
	if outer := refusing(c, handler); outer != nil {
		defer c.Context().SetUserValue(refuseKey, outer)
	}
	c.Context().SetUserValue(exchangeKey, x)
	return c.Next()
}

// refusing notes the error handler of a middleware for [Require] behind it, nil = Refuse, and returns that of what is in front. Where there is none, as
// nearly always, nothing is noted.
func refusing(c *fiber.Ctx, handler fiber.ErrorHandler) (outer any) {
	outer = c.Context().UserValue(refuseKey)
	switch {
	case handler != nil:
		c.Context().SetUserValue(refuseKey, handler)
	case outer != nil:
		c.Context().SetUserValue(refuseKey, fiber.ErrorHandler(Refuse))
	}
	return outer
}

// headers are the headers of answers as they were before the handler; they are copied, never handed out.
var headers = sync.Pool{New: func() any { return new(fasthttp.ResponseHeader) }}

// commit closes the exchange when the handlers have returned.
func commit(c *fiber.Ctx, x *counterfoil.Exchange, failed error, before *fasthttp.ResponseHeader, refuse fiber.ErrorHandler) error {
	if failed != nil || c.Response().StatusCode() >= fiber.StatusInternalServerError {
		x.Session().Discard()
	}
	cookies, err := x.Commit(lasting(c))
	if err == nil && failed != nil && c.Context().UserValue(shutKey) == nil { // what Require was told to answer is the answer
		if status, _ := counterfoil.Status(failed); status != 0 {
			err = failed // the application's error handler would tell the client what failed
		}
	}
	if err != nil {
		// The handler's answer claims what did not happen: all of it goes, with its Location, cookies, stream and upgrade. What others had set
		// before it stays.
		c.Response().Reset()
		before.CopyTo(&c.Response().Header)
		c.Context().Hijack(nil)
	}
	for _, cookie := range cookies {
		c.Response().Header.Add(fiber.HeaderSetCookie, cookie.SetCookie())
		if cookie.ClearsCache() {
			c.Response().Header.Add(fiber.HeaderClearSiteData, `"cache"`)
		}
	}
	if len(cookies) > 0 {
		c.Set(fiber.HeaderCacheControl, "no-store")
	}
	if err != nil {
		return over(c, refuse(c, err))
	}
	if failed == nil && c.Response().StatusCode() == fiber.StatusAccepted && c.Context().UserValue(weakKey) != nil &&
		!c.Response().IsBodyStream() && len(c.Response().Body()) == 0 {
		httpadapter.Accepted(&bridge{c: c, header: http.Header{}})
	}
	if c.Request().IsBodyStream() && c.Context().UserValue(quitKey) != nil {
		return over(c, failed)
	}
	return failed
}

// lasting returns the context of the request for what comes after its handlers. What they did has happened, and is to be saved; but whoever bounds a handler,
// as Fiber's timeout does, leaves a context in its place that is over when the handler has returned. The Manager bounds each of its steps by itself.
func lasting(c *fiber.Ctx) context.Context {
	ctx := c.UserContext()
	if ctx.Done() == nil {
		return ctx // as nearly always; the other one is an allocation
	}
	return context.WithoutCancel(ctx)
}

// Refuse answers err with its status (see [counterfoil.Status]) and a body that says no more than the status does. An error that is not of this
// module is answered with 500. What the handlers have set in the session is discarded: a request that is refused decides nothing. It logs nothing, so
// whoever wants to know logs err first.
func Refuse(c *fiber.Ctx, err error) error {
	status, retryAfter := counterfoil.Status(err)
	if x, ok := c.Locals(exchangeKey).(*counterfoil.Exchange); ok {
		x.Session().Discard()
	}
	if status == 0 {
		status = fiber.StatusInternalServerError
	}
	c.Set(fiber.HeaderCacheControl, "no-store")
	if status == fiber.StatusUnauthorized {
		c.Set(fiber.HeaderWWWAuthenticate, "Bearer")
	}
	if retryAfter > 0 {
		c.Set(fiber.HeaderRetryAfter, strconv.Itoa(retryAfter))
	}
	c.Response().ResetBody()
	return c.SendStatus(status)
}

// Exchange returns what the middleware has opened for the request, for what the functions of this package do not do: its Refusal says why a
// credential did not count, and its Logout returns [counterfoil.ErrNotDurable] to a handler that wants to decide what to answer. The middleware
// commits it. It panics if [New] is not in front of the handler.
func Exchange(c *fiber.Ctx) *counterfoil.Exchange {
	x, ok := c.Locals(exchangeKey).(*counterfoil.Exchange)
	if !ok {
		panic("fiberadapter: no session: the middleware made by New is not in front of this handler")
	}
	return x
}

// Session returns the session of the request, a new one if the request has none. It is never nil. It panics if [New] is not in front of the handler.
func Session(c *fiber.Ctx) *counterfoil.Session { return Exchange(c).Session() }

// Verified returns the access token that came with the request; the zero Verified if none did, and behind [Verify] always a valid one.
func Verified(c *fiber.Ctx) token.Verified {
	if v, ok := c.Locals(verifiedKey).(token.Verified); ok {
		return v
	}
	if x, ok := c.Locals(exchangeKey).(*counterfoil.Exchange); ok {
		return x.Verified()
	}
	return token.Verified{}
}

// Login begins a session of subject, whom the caller has authenticated; see [counterfoil.Manager.Login] for the errors. The answer sets the cookies.
// Subject and options may be views of Fiber's buffers. Unless opt says otherwise, the client's User-Agent and c.IP() are noted.
func Login(c *fiber.Ctx, subject string, opt counterfoil.LoginOptions) error {
	if opt.UserAgent == "" {
		opt.UserAgent = c.Get(fiber.HeaderUserAgent)
	}
	if opt.Address == "" {
		opt.Address = c.IP()
	}
	return Exchange(c).Login(c.UserContext(), subject, opt)
}

// Logout ends the session of the request and removes its cookies; without a session it is no error. Nothing can be set in it any more
// ([counterfoil.ErrNotFound]): what the next page is to say goes into its address. If too few replicas of the store have
// acknowledged the end, it has happened, and there is nothing that the client could repeat. So Logout returns nil then, and the answer, unless the
// handler gives one of its own, is 202 with the text of [httpadapter.Accepted]. The Logout of [Exchange] returns this as an error instead.
func Logout(c *fiber.Ctx) error {
	quit(c)
	return ended(c, Exchange(c).Logout(c.UserContext()))
}

// LogoutEverywhere ends all sessions of the request's subject and removes this one's cookies. [counterfoil.ErrNotFound] if the request has no
// session, or one that has ended: then nothing ends, but the cookies go. If too few replicas acknowledge, it does what [Logout] does.
func LogoutEverywhere(c *fiber.Ctx) error {
	quit(c)
	return ended(c, Exchange(c).LogoutEverywhere(c.UserContext()))
}

// quit notes that the body may be left when the handlers have returned; until then they may want to read it.
func quit(c *fiber.Ctx) {
	if c.Request().IsBodyStream() {
		c.Context().SetUserValue(quitKey, true)
	}
}

// ended notes that the answer has to say so if what has ended could come back.
func ended(c *fiber.Ctx, err error) error {
	if errors.Is(err, counterfoil.ErrNotDurable) {
		c.Status(fiber.StatusAccepted).Context().SetUserValue(weakKey, true)
		return nil
	}
	return err
}

// Rotate gives the session of the request a new ID; see [counterfoil.Manager.Rotate] for when, and for the errors. The answer sets the new cookies.
func Rotate(c *fiber.Ctx, opt counterfoil.RotateOptions) error {
	return Exchange(c).Rotate(c.UserContext(), opt)
}

// EndDevice ends the session that a handle of [counterfoil.Manager.Devices] names. If it is the request's own, this is [Logout]. Otherwise
// [counterfoil.ErrNotFound] if the handle was not made for this subject, or if the session that asks has ended. If too few replicas acknowledge, it
// does what Logout does.
func EndDevice(c *fiber.Ctx, handle string) error {
	return ended(c, Exchange(c).EndDevice(c.UserContext(), handle))
}

// RequireFresh lets only requests pass whose subject proved who it is within the last d. Others get 401, or what the ErrorHandler of the middleware in front
// answers, with the challenge of RFC 9470, on which the application logs the subject in again, or asks for a second factor and calls [Rotate]. It goes
// behind [New] or behind [Verify], and decides from the token alone. Whoever is not logged in is one of the others: put [Require] in front of it to tell
// the two apart.
func RequireFresh(d time.Duration) fiber.Handler {
	return func(c *fiber.Ctx) error {
		var err error
		if x, ok := c.Locals(exchangeKey).(*counterfoil.Exchange); ok {
			err = x.RequireFresh(d)
		} else {
			err = counterfoil.RequireFresh(Verified(c), d, time.Now())
		}
		if err == nil {
			return c.Next()
		}
		err = shut(c, err)
		c.Set(fiber.HeaderWWWAuthenticate, counterfoil.StepUpChallenge(d))
		return err
	}
}

// Require lets only requests of somebody who is logged in pass; others get 401, or what the ErrorHandler of the middleware in front answers. Put it behind
// [New], or behind [Verify]. Where neither has looked at the request, for example after Config.Next, nobody is logged in.
func Require(c *fiber.Ctx) error {
	if err := somebody(c); err != nil {
		return shut(c, err)
	}
	return c.Next()
}

// shut refuses a request as the nearest middleware in front does.
func shut(c *fiber.Ctx, err error) error {
	refuse, ok := c.Context().UserValue(refuseKey).(fiber.ErrorHandler)
	if !ok {
		refuse = Refuse
	}
	c.Context().SetUserValue(shutKey, true)
	return refused(c, refuse(c, err))
}

// somebody returns why the request is nobody's, nil if it is somebody's.
func somebody(c *fiber.Ctx) error {
	if v, ok := c.Context().UserValue(verifiedKey).(token.Verified); ok {
		if v.Subject() == "" {
			return counterfoil.ErrNotFound
		}
		return nil
	}
	x, ok := c.Locals(exchangeKey).(*counterfoil.Exchange)
	switch {
	case !ok: // neither middleware is in front, or Next has skipped it
		return counterfoil.ErrNotFound
	case x.Session().Subject() != "":
		return nil
	case x.Refusal() != nil:
		return x.Refusal()
	}
	return counterfoil.ErrNotFound
}

// VerifyConfig says how [Verify] works. The zero value is the default.
type VerifyConfig struct {
	// CookieSuffix is that of the application which sets the cookies, [counterfoil.Config.CookieSuffix]; "" = none.
	CookieSuffix string
	// Next, ErrorHandler and Extractor as in [Config].
	Next         func(*fiber.Ctx) bool
	ErrorHandler fiber.ErrorHandler
	Extractor    Extractor
}

// Verify makes the middleware of a service that only verifies: what passes carries a valid token of a session that has not been revoked, as far
// as guard can prove it. It reads the bearer token or, if there is none, the session cookie; with both, a cookie whose token is good must be of
// the bearer token's session. For cookies it asks for a request of the same site if the method is unsafe, as [New] does. At most one config is
// used. It panics without a Guard.
func Verify(guard *revocation.Guard, config ...VerifyConfig) fiber.Handler {
	if guard == nil {
		panic("fiberadapter: Verify needs a Guard")
	}
	var cfg VerifyConfig
	if len(config) > 0 {
		cfg = config[0]
	}
	refuse := cfg.ErrorHandler
	if refuse == nil {
		refuse = Refuse
	}
	return func(c *fiber.Ctx) error {
		if cfg.Next != nil && cfg.Next(c) {
			return c.Next()
		}
		if unended(c) {
			defer c.Response().SetConnectionClose()
		}
		var r counterfoil.Request
		list := request(c, cfg.Extractor, &r)
		v, err := counterfoil.Verify(c.UserContext(), guard, r, cfg.CookieSuffix)
		forget(list)
		if err != nil {
			return refused(c, refuse(c, err))
		}
		if outer := c.Context().UserValue(verifiedKey); outer != nil { // as in inside
			defer c.Context().SetUserValue(verifiedKey, outer)
		}
		if outer := refusing(c, cfg.ErrorHandler); outer != nil {
			defer c.Context().SetUserValue(refuseKey, outer)
		}
		c.Context().SetUserValue(verifiedKey, v)
		return c.Next()
	}
}
