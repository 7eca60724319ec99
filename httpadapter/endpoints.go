package httpadapter

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/revocation/feed"
	"github.com/counterfoil/counterfoil/token/jwks"
)

// Paths of [Endpoints].
const (
	JWKSPath             = "/.well-known/jwks.json"
	RefreshPath          = "/session/refresh"
	RenewPath            = "/session/renew"
	LogoutPath           = "/session/logout"
	LogoutEverywherePath = "/session/logout-everywhere"
	ActivePath           = "/session/active"
	ListPath             = "/session/list"
	EndPath              = "/session/end"
	EndOthersPath        = "/session/end-others"
	EventsPath           = "/session/events"
	PagePath             = "/session/devices"
	pageStylePath        = "/session/devices.css"
	pageScriptPath       = "/session/devices.js"
	IntrospectPath       = "/session/introspect"
	RevokePath           = "/session/revoke"
	FeedPath             = "/session/revocations"
	AlivePath            = "/health/alive"
	ReadyPath            = "/health/ready"
)

var paths = []string{
	JWKSPath, RefreshPath, RenewPath, LogoutPath, LogoutEverywherePath, ActivePath, ListPath, EndPath, EndOthersPath, EventsPath,
	PagePath, pageStylePath, pageScriptPath, IntrospectPath, RevokePath, FeedPath, AlivePath, ReadyPath,
}

// Serves reports whether path is one that [Endpoints] serves.
func Serves(path string) bool { return slices.Contains(paths, path) }

// EndpointsConfig says how [Endpoints] works. The zero value is the default.
type EndpointsConfig struct {
	// Callers may introspect and revoke tokens, with the same kind of credential that edges have; nil = nobody may. To end a session, and not only
	// refuse a token, they revoke its refresh token: for an access token that has expired the answer is 200 as well (RFC 7009, section 2.2), and its
	// session lives on.
	Callers *feed.Edges

	// Feed serves the revocation log at [FeedPath], to verifiers without Redis: a [feed.Handler]. nil = it is not served.
	Feed http.Handler

	// Login is the path of this host where people log in. Whoever is not logged in is sent there by [RenewPath], and finds a link to it on the page,
	// whose status is 401; both have the parameter "return", for the way back. Anybody can make such a link, so redirect to it only if [ReturnPath] says
	// that it is a path of this host. "" = both answer 401, and there is no link.
	Login string

	// Home is the path of this host that the page leads back to; "" = "/".
	Home string

	// Page is the page [PagePath], executed with a [PageData], and once at the start with one that is made up, so that a mistake shows then; nil = the one
	// that comes with this package, page/devices.html in its directory, which is the one to start from. The Content-Security-Policy of the answer is
	// fixed: styles and scripts are files of this host, nothing of either is in line, images are of this host or data:, and there are no fonts and no
	// frames. What a 503 or a 202 means is said on small pages that Page has no part in, in the style of the one that comes with this package.
	Page *template.Template

	// MaxStreams is how many event streams may be open at once; 0 = 1000. One subject may have 16 of them. Each asks the store twice a second. One
	// more is answered with 503, and the page tries again.
	MaxStreams int
	// Stop ends the event streams when it is closed, for a server that shuts down; nil = never.
	Stop <-chan struct{}

	// Address as in [Config].
	Address func(*http.Request) string

	Now func() time.Time // nil = time.Now
}

// Endpoints makes the middleware that serves what every application with sessions needs besides its own pages, and passes everything else on:
// endpoints(sessions(mux)), where sessions is what [New] makes. At most one config is used. The error is for a configuration that cannot work.
//
//	GET  /.well-known/jwks.json         the public keys
//	POST /session/refresh               renews the cookies: 204; 409 = another tab did just now, read the jar again; 401 = log in
//	GET  /session/renew?return=/path    renews the cookies of a browser that a gateway sent here, and sends it back
//	POST /session/logout                ends the session
//	POST /session/logout-everywhere     ends all sessions of the subject; 401 = the one that asks has ended, and nothing else has
//	GET  /session/active                {"active":true} or {"active":false} for the token that comes with the request
//	GET  /session/list                  the sessions of the subject, as JSON; each has an opaque handle
//	POST /session/end                   ends the one with the handle of the form field "handle"
//	POST /session/end-others            ends all but this one
//	GET  /session/events                server-sent events when one of them begins or ends
//	GET  /session/devices               the same for people: "Where you are signed in"
//	POST /session/introspect            RFC 7662, for Callers
//	POST /session/revoke                RFC 7009, for Callers: ends the session of a refresh token, or of an access token that has not expired
//	GET  /session/revocations           the revocation log, by Feed
//	DELETE the same                     an edge takes its leave, by Feed
//	GET  /health/alive                  200 while the process serves
//	GET  /health/ready                  200 while the store answers and the revocation list is fresh, 503 otherwise
//
// The paths that end something answer 204 or, if the form has a field "return" with a path of this host, 303 to there; any other target is refused
// with 400 before anything is done. For whoever is not signed in all of them but logout answer 401; with "return" the answer is the page, which says
// that nothing was ended. While the store cannot be reached the page, and with "return" these paths, say in a page of their own what the 503 means. If
// too few replicas of the store have acknowledged an ending ([counterfoil.ErrNotDurable]) they answer 202 and say so: it has happened, the cookies are
// gone, and the Manager goes on until it is safe, since a browser without its cookies could repeat nothing. RFC 7009 callers can repeat their request,
// and get 503.
//
// The endpoints need no middleware in front of them, and may stand in front of what [New] makes or behind it. Behind it they go on with the exchange
// that it has opened, and each cookie is set once at most; but then it is New that refuses, in its own words, a request whose bearer token does not
// count, or of which only the store could say whose it is. No token and no session ID is ever in a body.
func Endpoints(m *counterfoil.Manager, config ...EndpointsConfig) (func(http.Handler) http.Handler, error) {
	var cfg EndpointsConfig
	if len(config) > 0 {
		cfg = config[0]
	}
	sessions, err := New(Config{Manager: m, Address: cfg.Address})
	if err != nil {
		return nil, err
	}
	people, err := New(Config{Manager: m, Address: cfg.Address, ErrorHandler: refusePeople})
	if err != nil {
		return nil, err
	}
	e, err := newEndpoints(m, cfg)
	if err != nil {
		return nil, err
	}
	tolerant, err := New(Config{Manager: m, Address: cfg.Address, ErrorHandler: inactive})
	if err != nil {
		return nil, err
	}

	mux := http.NewServeMux()
	mux.Handle(JWKSPath, jwks.Handler(m.PublicKeys))
	mux.HandleFunc("POST "+RefreshPath, e.refresh)
	mux.HandleFunc("GET "+RenewPath, e.renew(sessions))
	mux.Handle("POST "+LogoutPath, people(e.then(Logout)))
	mux.Handle("POST "+LogoutEverywherePath, people(e.then(LogoutEverywhere)))
	mux.Handle("GET "+ActivePath, tolerant(http.HandlerFunc(e.active)))
	mux.Handle("GET "+ListPath, sessions(Require(http.HandlerFunc(e.list))))
	mux.Handle("POST "+EndPath, people(e.then(end)))
	mux.Handle("POST "+EndOthersPath, people(e.then(endOthers)))
	mux.Handle("GET "+EventsPath, sessions(Require(http.HandlerFunc(e.events))))
	mux.Handle("GET "+PagePath, people(http.HandlerFunc(e.page)))
	mux.HandleFunc("GET "+pageStylePath, asset("text/css; charset=utf-8", style))
	mux.HandleFunc("GET "+pageScriptPath, asset("text/javascript; charset=utf-8", script))
	mux.HandleFunc("POST "+IntrospectPath, e.called(e.introspect))
	mux.HandleFunc("POST "+RevokePath, e.called(e.revoke))
	if cfg.Feed != nil {
		mux.Handle("GET "+FeedPath, cfg.Feed)
		mux.Handle("DELETE "+FeedPath, cfg.Feed)
	}
	mux.HandleFunc("GET "+AlivePath, func(w http.ResponseWriter, _ *http.Request) { healthy(w) })
	mux.HandleFunc("GET "+ReadyPath, func(w http.ResponseWriter, r *http.Request) {
		if err := m.Ready(r.Context()); err != nil {
			Refuse(w, r, err)
			return
		}
		healthy(w)
	})
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if Serves(r.URL.Path) {
				mux.ServeHTTP(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	}, nil
}

type endpoints struct {
	m             *counterfoil.Manager
	callers       *feed.Edges
	login         string // "" = nowhere known
	home          string
	template      *template.Template
	streams       streams
	confirmations confirmations
	stop          <-chan struct{}
	address       func(*http.Request) string
	now           func() time.Time
}

func newEndpoints(m *counterfoil.Manager, cfg EndpointsConfig) (*endpoints, error) {
	login, ok := ReturnPath(cfg.Login)
	if cfg.Login != "" && !ok {
		return nil, errors.New("httpadapter: EndpointsConfig.Login is not a path of this host")
	}
	if cfg.Home == "" {
		cfg.Home = "/"
	}
	home, ok := ReturnPath(cfg.Home)
	if !ok {
		return nil, errors.New("httpadapter: EndpointsConfig.Home is not a path of this host")
	}
	if cfg.MaxStreams < 0 {
		return nil, errors.New("httpadapter: EndpointsConfig.MaxStreams is negative")
	}
	e := &endpoints{
		m: m, callers: cfg.Callers, login: login, home: home, template: cfg.Page, stop: cfg.Stop,
		address: cfg.Address, now: cfg.Now,
	}
	if e.address == nil {
		e.address = peer
	}
	if e.template == nil {
		e.template = defaultPage
	}
	if e.now == nil {
		e.now = time.Now
	}
	if cfg.MaxStreams == 0 {
		cfg.MaxStreams = 1000
	}
	e.streams = streams{limit: cfg.MaxStreams, of: map[string]int{}}
	e.confirmations.ask = m.Confirmed
	if cfg.Page != nil {
		if err := e.try(); err != nil {
			return nil, fmt.Errorf("httpadapter: EndpointsConfig.Page: %w", err)
		}
	}
	return e, nil
}

func healthy(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n"))
}

func (e *endpoints) refresh(w http.ResponseWriter, r *http.Request) {
	if !e.renewed(w, r, func(err error) { Refuse(w, r, err) }) {
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// renewed sets the cookies that the refresh cookie of the request is worth, or calls refuse.
func (e *endpoints) renewed(w http.ResponseWriter, r *http.Request, refuse func(error)) bool {
	cookies, err := e.newest(r)
	setCookies(w.Header(), cookies)
	if err != nil {
		refuse(err)
		return false
	}
	return true
}

// newest renews the cookies. A middleware in front may have done so when the request arrived, or be about to: it is closed here, for what it sets is the
// newest there is, and a pair beside it would be one too many. Only where it sets nothing the refresh cookie is judged by itself.
func (e *endpoints) newest(r *http.Request) ([]counterfoil.Cookie, error) {
	if x := outer(r, e.m); x != nil {
		cookies, err := x.Commit(context.WithoutCancel(r.Context()))
		if err != nil {
			x.Session().Discard() // it is refused here, not again by the middleware, without the cookies
			return cookies, err
		}
		if len(cookies) > 0 {
			return cookies, x.Refusal() // some handler in between may have begun a session for whoever came with an old one
		}
	}
	return e.m.RefreshCookies(r.Context(), request(r, e.address))
}

// renew serves browsers that a gateway sent here because their access token has expired there. The refresh token is judged even if the
// access token is good by this clock, lest a gateway whose clock is ahead sends the browser back at once. Only for whoever came from
// another site that is not allowed; then it is the middleware that renews, if the token has expired here too.
func (e *endpoints) renew(sessions func(http.Handler) http.Handler) http.HandlerFunc {
	byMiddleware := sessions(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if Session(r).ID().IsZero() {
			e.toLogin(w, r)
			return
		}
		back(w, r)
	}))
	return func(w http.ResponseWriter, r *http.Request) {
		if _, ok := target(r); !ok {
			badRequest(w)
			return
		}
		if e.renewed(w, r, func(err error) {
			switch status, _ := counterfoil.Status(err); status {
			case http.StatusForbidden:
				byMiddleware.ServeHTTP(w, r)
			case http.StatusConflict: // another request has just renewed: the jar is good
				back(w, r)
			case http.StatusUnauthorized:
				e.toLogin(w, r)
			default:
				Refuse(w, r, err)
			}
		}) {
			back(w, r)
		}
	}
}
