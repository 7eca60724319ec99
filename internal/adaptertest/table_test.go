package adaptertest_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/internal/adaptertest"
	"github.com/counterfoil/counterfoil/internal/rig"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		// go-redis looks for a dead server once a second, until a second after Close.
		goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"),
		// fasthttp's server, once shut down, looks after its workers once more, within ten seconds.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

const (
	session = "__Host-Http-session"
	refresh = "__Host-Http-refresh"

	setAccess    = session + "=<access>; Path=/; Secure; HttpOnly; SameSite=Lax"
	setRefresh   = refresh + "=<refresh>; Path=/; Secure; HttpOnly; SameSite=Lax"
	clearAccess  = session + "=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Secure; HttpOnly; SameSite=Lax"
	clearRefresh = refresh + "=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Secure; HttpOnly; SameSite=Lax"

	noStore      = "[Cache-Control: no-store]"
	unauthorized = noStore + "[WWW-Authenticate: Bearer]"
	stepUp       = noStore + `[WWW-Authenticate: Bearer error="insufficient_user_authentication", max_age="180"]`
	unavailable  = noStore + "[Retry-After: 1]"
)

// client is somebody who has logged in as alice.
type client struct {
	access, refresh string
	s               *counterfoil.Session
	other           string // the access token of another session
	visitor         string // the access token of somebody who is not logged in
}

func login(t testing.TB, r *rig.Rig) client {
	t.Helper()
	s, err := r.Login(t.Context(), nil, "alice", counterfoil.LoginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tokens, _ := s.Issued()
	return client{access: tokens.Access.Reveal(), refresh: tokens.Refresh.Reveal(), s: s}
}

// visit returns the access token of somebody who has not logged in.
func visit(t testing.TB, r *rig.Rig) string {
	t.Helper()
	s := r.Anonymous()
	if _, err := counterfoil.NewCounter("visits").Incr(t.Context(), s, 1); err != nil {
		t.Fatal(err)
	}
	tokens, _ := s.Issued()
	return tokens.Access.Reveal()
}

func (c client) cookies() string { return session + "=" + c.access + "; " + refresh + "=" + c.refresh }

func both(c client) []string   { return []string{"Cookie", c.cookies()} }
func bearer(c client) []string { return []string{"Authorization", "Bearer " + c.access} }
func nothing(client) []string  { return nil }
func anonymous(c client) []string {
	return []string{"Authorization", "Bearer " + c.visitor}
}
func largeRefresh(c client) []string {
	return []string{"Cookie", session + "=" + c.access + "; " + refresh + "=" + strings.Repeat("b", 64<<10)}
}
func beside(c client) []string { return append(bearer(c), "Cookie", session+"="+c.other) }
func plus(more ...string) func(client) []string {
	return func(c client) []string { return append(both(c), more...) }
}

// The pair of tokens that both adapters hand out.
var fresh = []string{setRefresh, setAccess}

// step is what happens between login and request.
type step func(testing.TB, *rig.Rig, client)

type row struct {
	name   string
	before step // nil: nothing
	lost   bool // the store is gone, while the list is still fresh
	method string
	path   string
	header func(client) []string
	want   string
}

// is writes an answer down. Whatever removes the cookies empties the browser's cache.
func is(status int, body, header string, cookies ...string) string {
	if slices.Contains(cookies, clearAccess) {
		header += `[Clear-Site-Data: "cache"]`
	}
	return adaptertest.Answer{Status: status, Body: body, Header: header, SetCookie: cookies}.String()
}

func after(d time.Duration) step {
	return func(_ testing.TB, r *rig.Rig, _ client) { r.Advance(d) }
}

func end(t testing.TB, r *rig.Rig, c client) {
	if err := r.End(t.Context(), c.s.ID()); err != nil {
		t.Fatal(err)
	}
}

// weak has too few replicas acknowledge what ends, until the row is over.
func weak(t testing.TB, r *rig.Rig, _ client) {
	r.Faults.On(rig.NotDurable("End", "Append"))
	t.Cleanup(func() { r.Faults.On(nil) })
}

const setOuter = "outer=1; Path=/; SameSite=Lax"

var outer = func(c client) []string { return append(both(c), adaptertest.Outer, setOuter) }

const uncertain = "Done. It is not yet certain: if one of our servers failed now, it could be undone. We go on until it is certain."

var table = []row{
	{"nobody", nil, false, "GET", "/", nothing, is(200, "/", "")},
	{"nobody writes", nil, false, "GET", "/incr", nothing, is(200, "1", noStore, fresh...)},
	{"nobody, from another site, writes", nil, false, "POST", "/incr", func(client) []string { return []string{"Sec-Fetch-Site", "cross-site"} }, is(403, "Forbidden", noStore)},
	{"nobody at a closed door", nil, false, "GET", "/me", nothing, is(401, "Unauthorized", unauthorized)},
	{"cookies", nil, false, "GET", "/", both, is(200, "alice/alice", "")},
	{"cookies, HEAD", nil, false, "HEAD", "/me", both, is(200, "", "")},
	{"cookies, POST", nil, false, "POST", "/incr", both, is(200, "1", "")},
	{"cookies, PUT, same origin", nil, false, "PUT", "/incr", plus("Sec-Fetch-Site", "same-origin"), is(200, "1", "")},
	{"cookies, DELETE, sibling", nil, false, "DELETE", "/incr", plus("Sec-Fetch-Site", "same-site"), is(403, "Forbidden", noStore)},
	{"cookies, POST, another origin", nil, false, "POST", "/", plus("Origin", "https://evil.test"), is(403, "Forbidden", noStore)},
	{"cookies, POST, null origin", nil, false, "POST", "/", plus("Origin", "null"), is(403, "Forbidden", noStore)},
	{"cookies, POST, own origin", nil, false, "POST", "/", plus("Origin", "https://app.test"), is(200, "alice/alice", "")},
	{"cookies, upgrade from another origin", nil, false, "GET", "/", plus("Origin", "https://evil.test", "Upgrade", "websocket"), is(403, "Forbidden", noStore)},
	{"cookies, followed link", nil, false, "GET", "/me", plus("Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"), is(200, "alice", "")},
	{"two values of Sec-Fetch-Site", nil, false, "POST", "/", plus("Sec-Fetch-Site", "same-origin", "Sec-Fetch-Site", "cross-site"), is(403, "Forbidden", noStore)},
	{"bearer", nil, false, "GET", "/me", bearer, is(200, "alice", "")},
	{"bearer, POST from another site", nil, false, "POST", "/incr", func(c client) []string { return append(bearer(c), "Sec-Fetch-Site", "cross-site") }, is(200, "1", "")},
	{"bearer, scheme in capitals", nil, false, "GET", "/me", func(c client) []string { return []string{"Authorization", "BEARER " + c.access} }, is(200, "alice", "")},
	{"two bearers", nil, false, "GET", "/", func(c client) []string { return append(bearer(c), bearer(c)...) }, is(401, "Unauthorized", unauthorized)},
	{"bearer that is none", nil, false, "GET", "/", func(client) []string { return []string{"Authorization", "Bearer x"} }, is(401, "Unauthorized", unauthorized)},
	{"another scheme", nil, false, "GET", "/", func(client) []string { return []string{"Authorization", "Basic YTpi"} }, is(200, "/", "")},
	{"bearer and cookies agree", nil, false, "GET", "/", func(c client) []string { return append(bearer(c), both(c)...) }, is(200, "alice/alice", "")},
	{"bearer that is none, beside good cookies", nil, false, "GET", "/", plus("Authorization", "Bearer x"), is(401, "Unauthorized", unauthorized)},
	{"bearer and another session's cookie", nil, false, "GET", "/", beside, is(401, "Unauthorized", unauthorized)},
	{"bearer and a cookie that is none", nil, false, "GET", "/", func(c client) []string { return append(bearer(c), "Cookie", session+"=x") }, is(200, "alice/alice", "")},
	{"bearer and another session's cookie, twice", nil, false, "GET", "/", func(c client) []string { return append(beside(c), "Cookie", session+"="+c.other) }, is(200, "alice/alice", "")},
	{"refresh token as bearer", nil, false, "GET", "/", func(c client) []string { return []string{"Authorization", "Bearer " + c.refresh} }, is(401, "Unauthorized", unauthorized)},
	{"two session cookies, one refresh cookie", nil, false, "GET", "/me", plus("Cookie", session+"=planted"), is(200, "alice", noStore, setAccess)},
	{"two of both", nil, false, "GET", "/me", plus("Cookie", session+"=planted; "+refresh+"=planted"), is(401, "Unauthorized", unauthorized)},
	{"two session cookies in one header", nil, false, "GET", "/me", func(c client) []string {
		return []string{"Cookie", session + "=" + c.access + "; " + session + "=" + c.access}
	}, is(401, "Unauthorized", unauthorized)},
	{"two headers, one cookie each", nil, false, "GET", "/me", func(c client) []string {
		return []string{"Cookie", session + "=" + c.access, "Cookie", refresh + "=" + c.refresh}
	}, is(200, "alice", "")},
	{"another application's cookie", nil, false, "GET", "/me", func(c client) []string { return []string{"Cookie", "session=" + c.access} }, is(401, "Unauthorized", unauthorized)},
	{"a cookie of 64 KiB", nil, false, "GET", "/me", func(c client) []string { return []string{"Cookie", session + "=" + strings.Repeat("a", 64<<10)} }, is(401, "Unauthorized", unauthorized)},
	{"a refresh cookie of 64 KiB", nil, false, "GET", "/", largeRefresh, is(200, "alice/alice", "")},
	{"a refresh cookie of 64 KiB at half of the life", after(3 * time.Minute), false, "GET", "/", largeRefresh, is(200, "alice/alice", "")},
	{"a refresh cookie of 64 KiB, expired access token", after(6 * time.Minute), false, "GET", "/me", largeRefresh, is(401, "Unauthorized", unauthorized)},
	{"another cookie of 64 KiB", nil, false, "GET", "/", plus("Cookie", "x="+strings.Repeat("b", 64<<10)), is(200, "alice/alice", "")},
	{"thousands of cookies", nil, false, "GET", "/me", plus("Cookie", strings.Repeat("x=y; ", 5000)), is(200, "alice", "")},
	{"cookies that are none", nil, false, "GET", "/", func(client) []string {
		return []string{"Cookie", ";;=;=; " + session + "; " + refresh + "=\"\";\x01=\x02"}
	}, is(200, "/", "")},
	{"login", nil, false, "POST", "/login", nothing, is(200, "", noStore, fresh...)},
	{"login with a bearer: no cookies", nil, false, "POST", "/login", bearer, is(200, "", "")},
	{"login again", nil, false, "POST", "/login", both, is(200, "", noStore, fresh...)},
	{"login from another site's form", nil, false, "POST", "/login", func(client) []string { return []string{"Origin", "https://evil.test"} }, is(403, "Forbidden", noStore)},
	{"logout", nil, false, "POST", "/logout", both, is(200, "", noStore, clearRefresh, clearAccess)},
	{"logout of nobody", nil, false, "POST", "/logout", nothing, is(200, "", noStore, clearRefresh, clearAccess)},
	{"logout everywhere", nil, false, "POST", "/everywhere", both, is(200, "", noStore, clearRefresh, clearAccess)},
	{"logout everywhere of nobody", nil, false, "POST", "/everywhere", nothing, is(401, "Unauthorized", unauthorized, clearRefresh, clearAccess)},
	{"logout everywhere of an ended session", end, false, "POST", "/everywhere", both, is(401, "Unauthorized", unauthorized, clearRefresh, clearAccess)},
	{"logout, replicas down", weak, false, "POST", "/logout", both, is(202, uncertain, noStore, clearRefresh, clearAccess)},
	{"logout everywhere, replicas down", weak, false, "POST", "/everywhere", both, is(202, uncertain, noStore, clearRefresh, clearAccess)},
	{"logout that sends away, replicas down", weak, false, "POST", "/leave", both, is(303, "", noStore+"[Location: /]", clearRefresh, clearAccess)},
	{"logout that says something, replicas down", weak, false, "POST", "/bye", both, is(202, "bye", noStore, clearRefresh, clearAccess)},
	{"logout that wants to be certain, replicas down", weak, false, "POST", "/certain", both, is(503, "Service Unavailable", unavailable, clearRefresh, clearAccess)},
	{"logout everywhere of a visitor", nil, false, "POST", "/everywhere", anonymous, is(200, "", "")},
	{"logout of a bearer, replicas down", weak, false, "POST", "/logout", bearer, is(202, uncertain, noStore)},
	{"an answer of 202 that has nothing to do with it", nil, false, "POST", "/queue", both, is(202, "", "")},
	{"a fresh login", after(time.Minute), false, "POST", "/danger", both, is(200, "alice", "")},
	{"a login long ago", after(4 * time.Minute), false, "POST", "/danger", bearer, is(401, "Unauthorized", stepUp)},
	{"the session ends under the handler", nil, false, "GET", "/end", both, is(401, "Unauthorized", unauthorized)},

	{"ended session", end, false, "GET", "/me", both, is(401, "Unauthorized", unauthorized)},
	{"ended session, open door: no cookie is cleared", end, false, "GET", "/", both, is(200, "/", "")},
	{"ended session, bearer", end, false, "GET", "/", bearer, is(401, "Unauthorized", unauthorized)},
	{"renewal at half of the life", after(3 * time.Minute), false, "GET", "/", both, is(200, "alice/alice", noStore, fresh...)},
	{"no renewal without the refresh token", after(3 * time.Minute), false, "GET", "/", func(c client) []string { return []string{"Cookie", session + "=" + c.access} }, is(200, "alice/alice", "")},
	{"no renewal of a bearer", after(3 * time.Minute), false, "GET", "/", bearer, is(200, "alice/alice", "")},
	{"no renewal by another session's refresh token", after(3 * time.Minute), false, "GET", "/", func(c client) []string {
		return []string{"Cookie", session + "=" + c.other + "; " + refresh + "=" + c.refresh}
	}, is(200, "alice/alice", "")},
	{"no renewal for another site's image", after(3 * time.Minute), false, "GET", "/", plus("Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"), is(200, "alice/alice", "")},
	{"expired access token", after(6 * time.Minute), false, "GET", "/", both, is(200, "alice/alice", noStore, fresh...)},
	{"expired access token, followed link", after(6 * time.Minute), false, "GET", "/me", plus("Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"), is(200, "alice", noStore, fresh...)},
	{"expired access token, another site's frame", after(6 * time.Minute), false, "GET", "/", plus("Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"), is(200, "/", "")},
	{"expired access token, another site's frame, at a closed door", after(6 * time.Minute), false, "GET", "/me", plus("Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"), is(403, "Forbidden", noStore)},
	{"expired bearer", after(6 * time.Minute), false, "GET", "/", bearer, is(401, "Unauthorized", unauthorized)},
	{"idle too long", after(31 * time.Minute), false, "GET", "/", both, is(200, "/", "")},
	{"store gone, only who", nil, true, "GET", "/", both, is(200, "alice/alice", "")},
	{"store gone, state needed", nil, true, "GET", "/incr", both, is(503, "Service Unavailable", unavailable)},
	{"store gone, nobody needs state", nil, true, "GET", "/incr", nothing, is(503, "Service Unavailable", unavailable)},
	{"store gone, save", nil, true, "POST", "/set", both, is(503, "Service Unavailable", unavailable)},
	{"store gone, logout", nil, true, "POST", "/logout", both, is(503, "Service Unavailable", unavailable)},

	{"verifier: nobody", nil, false, "GET", adaptertest.Verifies, nothing, is(401, "Unauthorized", unauthorized)},
	{"verifier: bearer", nil, false, "POST", adaptertest.Verifies, bearer, is(200, "alice", "")},
	{"verifier: bearer that is none, beside good cookies", nil, false, "GET", adaptertest.Verifies, plus("Authorization", "Bearer x"), is(401, "Unauthorized", unauthorized)},
	{"verifier: bearer and cookies agree", nil, false, "GET", adaptertest.Verifies, func(c client) []string { return append(bearer(c), both(c)...) }, is(200, "alice", "")},
	{"verifier: bearer and another session's cookie", nil, false, "GET", adaptertest.Verifies, beside, is(401, "Unauthorized", unauthorized)},
	{"verifier: bearer and a cookie that is none", nil, false, "GET", adaptertest.Verifies, func(c client) []string { return append(bearer(c), "Cookie", session+"=x") }, is(200, "alice", "")},
	{"verifier: bearer and two cookies", nil, false, "GET", adaptertest.Verifies, func(c client) []string {
		return append(beside(c), "Cookie", session+"="+c.access)
	}, is(200, "alice", "")},
	{"verifier: cookies", nil, false, "GET", adaptertest.Verifies, both, is(200, "alice", "")},
	{"verifier: two cookies", nil, false, "GET", adaptertest.Verifies, plus("Cookie", session+"=planted"), is(401, "Unauthorized", unauthorized)},
	{"verifier: cookies, POST, own origin", nil, false, "POST", adaptertest.Verifies, plus("Origin", "https://app.test"), is(200, "alice", "")},
	{"verifier: cookies, POST, another origin", nil, false, "POST", adaptertest.Verifies, plus("Origin", "https://evil.test"), is(403, "Forbidden", noStore)},
	{"verifier: a closed door", nil, false, "GET", adaptertest.VerifiesUsers, bearer, is(200, "alice", "")},
	{"verifier: a visitor", nil, false, "GET", adaptertest.Verifies, anonymous, is(200, "", "")},
	{"verifier: a visitor at a closed door", nil, false, "GET", adaptertest.VerifiesUsers, anonymous, is(401, "Unauthorized", unauthorized)},
	{"verifier: cookies, another site's image", nil, false, "GET", adaptertest.Verifies, plus("Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"), is(200, "alice", "")},
	{"verifier: a fresh login", nil, false, "POST", adaptertest.VerifiesFresh, bearer, is(200, "alice", "")},
	{"verifier: a visitor, who never logged in", nil, false, "POST", adaptertest.VerifiesFresh, anonymous, is(401, "Unauthorized", stepUp)},
	{"verifier: expired access token", after(6 * time.Minute), false, "GET", adaptertest.Verifies, both, is(401, "Unauthorized", unauthorized)},
	{"verifier: ended session", end, false, "GET", adaptertest.Verifies, both, is(401, "Unauthorized", unauthorized)},
	{"verifier: store gone", nil, true, "GET", adaptertest.Verifies, both, is(200, "alice", "")},

	{"endpoint: keys", nil, false, "POST", httpadapter.JWKSPath, nothing, is(405, "method not allowed", "")},
	{"endpoint: refresh", nil, false, "POST", httpadapter.RefreshPath, both, is(204, "", noStore, setAccess)},
	{"endpoint: refresh by a refresh token that is no cookie", nil, false, "POST", httpadapter.RefreshPath, func(c client) []string { return []string{"Authorization", "Bearer " + c.refresh} }, is(401, "Unauthorized", unauthorized)},
	{"endpoint: refresh of nobody", nil, false, "POST", httpadapter.RefreshPath, nothing, is(401, "Unauthorized", unauthorized)},
	{"endpoint: refresh at half of the life", after(3 * time.Minute), false, "POST", httpadapter.RefreshPath, both, is(204, "", noStore, fresh...)},
	{"endpoint: refresh of an expired token", after(6 * time.Minute), false, "POST", httpadapter.RefreshPath, both, is(204, "", noStore, fresh...)},
	{"endpoint: refresh of an ended session", end, false, "POST", httpadapter.RefreshPath, both, is(401, "Unauthorized", unauthorized)},
	{"endpoint: refresh, idle too long", after(31 * time.Minute), false, "POST", httpadapter.RefreshPath, both, is(401, "Unauthorized", unauthorized)},
	{"endpoint: renew at half of the life", after(3 * time.Minute), false, "GET", httpadapter.RenewPath + "?return=/a", both, is(303, "", noStore+"[Location: /a]", fresh...)},
	{"endpoint: renew of an expired token", after(6 * time.Minute), false, "GET", httpadapter.RenewPath + "?return=/a", both, is(303, "", noStore+"[Location: /a]", fresh...)},
	{"endpoint: renew of an expired token, followed link", after(6 * time.Minute), false, "GET", httpadapter.RenewPath + "?return=/a", plus("Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"), is(303, "", noStore+"[Location: /a]", fresh...)},
	{"endpoint: renew of nobody, followed link", nil, false, "GET", httpadapter.RenewPath + "?return=/a", func(client) []string {
		return []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}
	}, is(401, "Unauthorized", unauthorized)},
	{"endpoint: end without a handle at half of the life", after(3 * time.Minute), false, "POST", httpadapter.EndPath, both, is(400, "Bad Request", noStore, fresh...)},
	{"endpoint: active, expired token", after(6 * time.Minute), false, "GET", httpadapter.ActivePath, both, is(200, `{"active":true}`, noStore, fresh...)},
	{"endpoint: active", nil, false, "GET", httpadapter.ActivePath, both, is(200, `{"active":true}`, noStore)},
	{"endpoint: active, a cookie in quotes", nil, false, "GET", httpadapter.ActivePath, func(c client) []string {
		return []string{"Cookie", session + `="` + c.access + `"`}
	}, is(200, `{"active":false}`, noStore)},
	{"endpoint: refresh, a refresh cookie of 64 KiB", nil, false, "POST", httpadapter.RefreshPath, largeRefresh, is(401, "Unauthorized", unauthorized)},
	{"endpoint: refresh by another site", nil, false, "POST", httpadapter.RefreshPath, plus("Sec-Fetch-Site", "cross-site"), is(403, "Forbidden", noStore)},
	{"endpoint: refresh by GET", nil, false, "GET", httpadapter.RefreshPath, both, is(405, "Method Not Allowed", "")},
	{"endpoint: logout", nil, false, "POST", httpadapter.LogoutPath, both, is(204, "", noStore, clearRefresh, clearAccess)},
	{"endpoint: logout at half of the life", after(3 * time.Minute), false, "POST", httpadapter.LogoutPath, both, is(204, "", noStore, clearRefresh, clearAccess)},
	{"endpoint: logout with an expired token", after(6 * time.Minute), false, "POST", httpadapter.LogoutPath, both, is(204, "", noStore, clearRefresh, clearAccess)},
	{"endpoint: logout, own origin", nil, false, "POST", httpadapter.LogoutPath, plus("Origin", "https://app.test"), is(204, "", noStore, clearRefresh, clearAccess)},
	{"endpoint: logout, another origin", nil, false, "POST", httpadapter.LogoutPath, plus("Origin", "https://evil.test"), is(403, "Forbidden", noStore)},
	{"endpoint: logout by GET", nil, false, "GET", httpadapter.LogoutPath, both, is(405, "Method Not Allowed", "")},
	{"endpoint: logout, replicas down", weak, false, "POST", httpadapter.LogoutPath, both, is(202, uncertain, noStore, clearRefresh, clearAccess)},
	{"endpoint: logout everywhere", nil, false, "POST", httpadapter.LogoutEverywherePath, both, is(204, "", noStore, clearRefresh, clearAccess)},
	{"endpoint: logout everywhere with an expired token", after(6 * time.Minute), false, "POST", httpadapter.LogoutEverywherePath, both, is(204, "", noStore, clearRefresh, clearAccess)},
	{"endpoint: logout everywhere of nobody", nil, false, "POST", httpadapter.LogoutEverywherePath, nothing, is(401, "Unauthorized", unauthorized, clearRefresh, clearAccess)},
	{"endpoint: logout everywhere of an ended session", end, false, "POST", httpadapter.LogoutEverywherePath, both, is(401, "Unauthorized", unauthorized, clearRefresh, clearAccess)},
	{"endpoint: renew, behind one that sets a cookie", nil, false, "GET", httpadapter.RenewPath + "?return=/", outer, is(303, "", noStore+"[Location: /]", setAccess, setOuter)},
	{"endpoint: refresh of nobody, behind one that sets a cookie", nil, false, "POST", httpadapter.RefreshPath, func(client) []string { return outer(client{})[2:] }, is(401, "Unauthorized", unauthorized, setOuter)},
	{"endpoint: logout, behind one that sets a cookie", nil, false, "POST", httpadapter.LogoutPath, outer, is(204, "", noStore, clearRefresh, clearAccess, setOuter)},
	{"login behind one that sets a cookie", nil, false, "POST", "/login", outer, is(200, "", noStore, setRefresh, setAccess, setOuter)},
	{"a closed door behind one that sets a cookie", end, false, "GET", "/me", outer, is(401, "Unauthorized", unauthorized, setOuter)},
	{"endpoint: alive", nil, true, "GET", httpadapter.AlivePath, nothing, is(200, "ok", noStore)},
	{"endpoint: not ready", nil, true, "GET", httpadapter.ReadyPath, nothing, is(503, "Service Unavailable", unavailable)},
}

// TestSameThroughBoth runs every row through both adapters, each with a session of its own, and with the endpoints in front of the middleware and behind it.
func TestSameThroughBoth(t *testing.T) {
	for name, adapter := range placed {
		t.Run(name, func(t *testing.T) {
			healthy := rig.New(t, rig.Embedded)
			storeless := rig.New(t, rig.Embedded, func(c *counterfoil.Config) {
				c.Timeout, c.MaxStale = 100*time.Millisecond, 10*time.Minute
			})
			storeless.Fresh(t)
			had := login(t, storeless)
			storeless.StopServer()
			for _, tt := range table {
				t.Run(tt.name, func(t *testing.T) {
					r, c := healthy, client{}
					switch {
					case tt.lost:
						r, c = storeless, had
					default:
						c = login(t, r)
						c.other, c.visitor = login(t, r).access, visit(t, r)
						if tt.before != nil {
							tt.before(t, r, c)
						}
					}
					if got := adapter(t, r.Manager)(t, request(tt.method, tt.path, tt.header(c)...)).String(); got != tt.want {
						t.Errorf("\n got %s\nwant %s", got, tt.want)
					}
				})
			}
		})
	}
}

// TestRefreshSetsTheNewest: wherever the middleware is, the browser is given each cookie once, and those that it is given are the ones to go on with.
func TestRefreshSetsTheNewest(t *testing.T) {
	for name, adapter := range placed {
		r := rig.New(t, rig.Embedded)
		app := adapter(t, r.Manager)
		for _, age := range []time.Duration{0, 3 * time.Minute, 6 * time.Minute} {
			for _, to := range []struct{ method, path string }{{"POST", httpadapter.RefreshPath}, {"GET", httpadapter.RenewPath + "?return=/"}} {
				what := fmt.Sprintf("%s, %s after %v", name, to.path, age)
				c := login(t, r)
				r.Advance(age)
				jar := map[string]string{session: c.access, refresh: c.refresh}
				given := func(a adaptertest.Answer) {
					seen := map[string]bool{}
					for _, k := range a.RawCookies {
						if seen[k.Name] {
							t.Errorf("%s: %s is set twice", what, k.Name)
						}
						seen[k.Name], jar[k.Name] = true, k.Value
					}
				}
				cookies := func() string { return session + "=" + jar[session] + "; " + refresh + "=" + jar[refresh] }
				a := app(t, request(to.method, to.path, both(c)...))
				if given(a); a.Status >= 400 || len(a.RawCookies) == 0 {
					t.Errorf("%s: %s", what, a)
				}
				r.Advance(20 * time.Second) // an older refresh token is reuse by now
				if a := app(t, request("GET", "/me", "Cookie", cookies())); a.Status != 200 || len(a.SetCookie) > 0 {
					t.Errorf("%s: the next request: %s", what, a)
				}
				r.Advance(6 * time.Minute)
				a = app(t, request(to.method, to.path, "Cookie", cookies()))
				if given(a); a.Status >= 400 || len(a.RawCookies) != 2 {
					t.Errorf("%s: the next renewal: %s", what, a)
				}
			}
		}
	}
}

// TestClearCache: a logout, and nothing else, empties the browser's cache, unless that is not wanted.
func TestClearCache(t *testing.T) {
	for name, adapter := range adapters {
		for _, wanted := range []bool{false, true} {
			r := rig.New(t, rig.Embedded, func(c *counterfoil.Config) { c.KeepCache = !wanted })
			app := adapter(t, r.Manager)
			for _, tt := range []struct {
				method, path string
				header       func(client) []string
				more         []string
				status       int
				clears       bool
			}{
				{"GET", "/", both, nil, 200, false},
				{"POST", "/login", nothing, nil, 200, false},
				{"POST", "/login", both, nil, 200, false},
				{"POST", httpadapter.RefreshPath, both, nil, 204, false},
				{"POST", httpadapter.EndOthersPath, both, nil, 204, false},
				{"POST", "/logout", both, nil, 200, true},
				{"POST", "/leave", both, nil, 303, true},
				{"POST", "/everywhere", both, nil, 200, true},
				{"POST", httpadapter.LogoutPath, both, nil, 204, true},
				{"POST", httpadapter.LogoutEverywherePath, both, nil, 204, true},
				{"POST", httpadapter.LogoutPath, both, []string{"Sec-Fetch-Site", "cross-site"}, 403, false},
				{"POST", "/logout", bearer, nil, 200, false},
			} {
				a := app(t, request(tt.method, tt.path, append(tt.header(login(t, r)), tt.more...)...))
				if clears := strings.Contains(a.Header, `[Clear-Site-Data: "cache"]`); a.Status != tt.status || clears != (wanted && tt.clears) {
					t.Errorf("%s, wanted %v: %s %s: %s", name, wanted, tt.method, tt.path, a)
				}
			}
		}
	}
}

// TestStoreGoneWhenItIsNeededToKnowWho has a token that only the store could replace.
func TestStoreGoneWhenItIsNeededToKnowWho(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	c := login(t, r)
	apps := []adaptertest.App{adaptertest.HTTP(t, r.Manager), adaptertest.Fiber(t, r.Manager)}
	r.Advance(6 * time.Minute)
	r.StopServer()
	for _, app := range apps {
		if got, want := app(t, request("GET", "/", both(c)...)).String(), is(503, "Service Unavailable", unavailable); got != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
	}
}

// TestSlowRequestRestoresNothing: while a request is under way, another tab renews, logs in anew or logs out. Whatever the slow one then
// answers, it sets no cookie, for it could only be an older one.
func TestSlowRequestRestoresNothing(t *testing.T) {
	for name, adapter := range map[string]func(testing.TB, *counterfoil.Manager, ...func()) adaptertest.App{"net/http": adaptertest.HTTP, "Fiber": adaptertest.Fiber} {
		r := rig.New(t, rig.Embedded)
		for meanwhile, other := range map[string]struct {
			method, path string
			sets         int
		}{"renewal": {"GET", "/", 2}, "login": {"POST", "/login", 2}, "logout": {"POST", "/logout", 2}} {
			// The token that comes is due for renewal, or has expired and is renewed on arrival; the request takes longer than a round trip, or not.
			for _, age := range []time.Duration{3 * time.Minute, 6 * time.Minute} {
				for _, takes := range []time.Duration{30 * time.Second, 2 * time.Second} {
					if meanwhile == "renewal" && takes < 10*time.Second {
						continue // then both are given the same
					}
					c := login(t, r)
					r.Advance(age)
					fast := adapter(t, r.Manager)
					slow := adapter(t, r.Manager, func() {
						r.Advance(takes / 2)
						if a := fast(t, request(other.method, other.path, both(c)...)); a.Status != 200 || len(a.SetCookie) != other.sets {
							t.Errorf("%s, %s: %s", name, meanwhile, a)
						}
						r.Advance(takes / 2)
					})
					if a := slow(t, request("POST", "/slow", both(c)...)); a.Status != 200 || len(a.SetCookie) != 0 {
						t.Errorf("%s, token %v old, request of %v, after a %s meanwhile: %s", name, age, takes, meanwhile, a)
					}
				}
			}
		}
	}
}

// upload is a body during which something else happens.
type upload struct {
	parts []string
	do    func()
}

func (u *upload) Read(b []byte) (int, error) {
	if len(u.parts) == 0 {
		return 0, io.EOF
	}
	n := copy(b, u.parts[0])
	if u.parts = u.parts[1:]; len(u.parts) == 1 {
		u.do()
	}
	return n, nil
}

// net/http hands the request over before its body is there, and Fiber afterwards, when the cookies that came with it are old.
func TestSlowUploadRestoresNothing(t *testing.T) {
	for name, adapter := range map[string]func(testing.TB, *counterfoil.Manager, ...func()) adaptertest.App{"net/http": adaptertest.HTTP, "Fiber": adaptertest.Fiber} {
		r := rig.New(t, rig.Embedded)
		app := adapter(t, r.Manager)
		for meanwhile, other := range map[string]struct {
			method, path string
			gone         bool // the session that the upload belongs to
		}{"renewal": {"GET", "/", false}, "login": {"POST", "/login", true}, "logout": {"POST", "/logout", true}} {
			c := login(t, r)
			r.Advance(3 * time.Minute) // the token is due for renewal
			var newest []*http.Cookie
			req := request("POST", "/upload", both(c)...)
			req.Body = io.NopCloser(&upload{parts: []string{"first", "last"}, do: func() {
				a := app(t, request(other.method, other.path, both(c)...))
				if newest = a.RawCookies; a.Status != 200 || len(newest) != 2 {
					t.Errorf("%s, %s: %s", name, meanwhile, a)
				}
				r.Advance(30 * time.Second) // longer than a round trip may take
			}})
			req.ContentLength = 9
			a := app(t, req)
			if other.gone && len(a.SetCookie) != 0 || name == "net/http" && (a.Status != 200 || a.Body != "9" || len(a.SetCookie) != 0) {
				t.Errorf("%s, after a %s meanwhile: %s", name, meanwhile, a)
			}
			if other.path == "/logout" {
				continue
			}
			// Whatever was set, the browser has what is good now.
			jar := map[string]string{}
			for _, k := range append(newest, a.RawCookies...) {
				jar[k.Name] = k.Value
			}
			var cookies []string
			for k, v := range jar {
				cookies = append(cookies, k+"="+v)
			}
			if a := app(t, request("GET", "/me", "Cookie", strings.Join(cookies, "; "))); a.Status != 200 || a.Body != "alice" {
				t.Errorf("%s, after an upload and a %s: %s", name, meanwhile, a)
			}
		}
	}
}

// An identity provider has the browser post its answer: another site's form, which logs somebody in only where the application says so.
func TestFormPostLogin(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	for name, app := range map[string]adaptertest.App{"net/http": adaptertest.HTTP(t, r.Manager), "Fiber": adaptertest.Fiber(t, r.Manager)} {
		form := []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}
		if a := app(t, request("POST", "/idp", form...)); a.Status != 200 || len(a.SetCookie) != 2 {
			t.Errorf("%s: %s", name, a)
		}
		if a := app(t, request("POST", "/login", form...)); a.Status != 403 || len(a.SetCookie) != 0 {
			t.Errorf("%s, where it is not expected: %s", name, a)
		}
		script := []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"}
		if a := app(t, request("POST", "/idp", script...)); a.Status != 403 || len(a.SetCookie) != 0 {
			t.Errorf("%s, a script: %s", name, a)
		}
		if a := app(t, request("POST", "/idp", append(both(login(t, r)), form...)...)); a.Status != 403 || len(a.SetCookie) != 0 {
			t.Errorf("%s, with cookies: %s", name, a)
		}
	}
}

func request(method, path string, header ...string) *http.Request {
	r := httptest.NewRequest(method, "https://app.test"+path, nil)
	r.Host = "app.test"
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

// TestCrossSiteAgainstTheStandardLibrary compares the decision with http.CrossOriginProtection over a matrix of requests. Wherever they differ the
// difference is one of those listed, and each of those occurs.
func TestCrossSiteAgainstTheStandardLibrary(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	c := login(t, r)
	apps := map[string]adaptertest.App{"net/http": adaptertest.HTTP(t, r.Manager), "Fiber": adaptertest.Fiber(t, r.Manager)}
	differences := []struct {
		why     string
		applies func(req *http.Request, credential string) bool
		refused bool // what ours says
		seen    int
	}{
		{"without a cookie there is nothing that the other site could misuse", func(_ *http.Request, cred string) bool { return cred == "nothing" }, false, 0},
		{"a bearer token is attached on purpose, never by the browser", func(_ *http.Request, cred string) bool { return cred == "bearer" }, false, 0},
		{"an upgrade opens a channel that can change anything, so it counts as unsafe", func(r *http.Request, cred string) bool {
			return cred == "cookies" && r.Header.Get("Upgrade") != ""
		}, true, 0},
		{"host names have no case", func(r *http.Request, _ string) bool { return r.Header.Get("Origin") == "https://APP.test" }, false, 0},
	}
	asked := 0
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"} {
		for _, site := range []string{"", "same-origin", "none", "same-site", "cross-site", "unheard-of", "SAME-ORIGIN"} {
			for _, origin := range []string{"", "null", "https://app.test", "http://app.test", "https://APP.test", "https://sub.app.test", "https://app.test:8443", "https://app.test.evil.test", "https://evil.test", "https://app.test@evil.test", "%", "file://"} {
				for _, upgrade := range []string{"", "websocket"} {
					for credential, header := range map[string]func(client) []string{"nothing": nothing, "cookies": both, "bearer": bearer} {
						req := func() *http.Request {
							h := header(c)
							for k, v := range map[string]string{"Sec-Fetch-Site": site, "Origin": origin, "Upgrade": upgrade} {
								if v != "" {
									h = append(h, k, v)
								}
							}
							return request(method, "/", h...)
						}
						theirs := new(http.CrossOriginProtection).Check(req()) != nil
						what := fmt.Sprintf("%s, %s, Sec-Fetch-Site %q, Origin %q, Upgrade %q", method, credential, site, origin, upgrade)
						names := []string{"net/http"}
						if asked%7 == 0 || credential == "cookies" { // Fiber's test harness is slow
							names = append(names, "Fiber")
						}
						for _, name := range names {
							a := apps[name](t, req())
							ours := a.Status == 403
							if !ours && a.Status != 200 {
								t.Errorf("%s: %s: %s", name, what, a)
							}
							if ours == theirs {
								continue
							}
							listed := false
							for i := range differences {
								if d := &differences[i]; d.refused == ours && d.applies(req(), credential) {
									d.seen++
									listed = true
								}
							}
							if !listed {
								t.Errorf("%s: %s: refused here %v, there %v, and no listed difference says why", name, what, ours, theirs)
							}
						}
						asked++
					}
				}
			}
		}
	}
	for _, d := range differences {
		if d.seen == 0 {
			t.Errorf("this difference never shows: %s", d.why)
		}
	}
	t.Logf("%d requests compared", asked)
}

// TestLargeHeadersAreTheClientsFault shows that headers which the server lets through are read to the end, and nothing comes of them.
func TestLargeHeadersAreTheClientsFault(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	for name, app := range map[string]adaptertest.App{"net/http": adaptertest.HTTP(t, r.Manager), "Fiber": adaptertest.Fiber(t, r.Manager)} {
		if a := app(t, request("GET", "/", "Cookie", strings.Repeat("a=b; ", 100_000))); a.Status != 200 {
			t.Errorf("%s: 500 KB of cookies: %d", name, a.Status)
		}
	}
}
