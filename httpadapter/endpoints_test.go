package httpadapter_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/internal/rig"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/revocation/feed"
	"github.com/counterfoil/counterfoil/token/issuer"
)

func TestReturnPath(t *testing.T) {
	for _, good := range []string{"/", "/a", "/a/b?c=d&e=%2F#f", "/a//b", "/%2Fevil.test", "/?https://evil.test", "/é", "/" + strings.Repeat("a", 2047)} {
		if got, ok := httpadapter.ReturnPath(good); !ok || !strings.HasPrefix(got, "/") {
			t.Errorf("%q is refused (%q)", good, got)
		}
	}
	for _, bad := range []string{
		"", "a", "//evil.test", "///evil.test", `/\evil.test`, `\\evil.test`, `/a\b`, "https://evil.test", "https:/evil.test", "javascript:alert(1)", "/\t/evil.test",
		"/\n/evil.test", "/a\r\nSet-Cookie: a=b", " /a", "/%zz", "data:text/html,x", "/" + strings.Repeat("a", 2048), "?a", "#a", "/\x00",
		"/%2f ", "/" + strings.Repeat("é", 400), "/?é", // spelled anew these begin otherwise, are too long, are no ASCII
	} {
		if got, ok := httpadapter.ReturnPath(bad); ok {
			t.Errorf("%q is taken as %q", bad, got)
		}
	}
}

// person is alice on one device, with the endpoints alone.
type person struct {
	t       testing.TB
	h       http.Handler
	s       *counterfoil.Session
	access  string
	refresh string
}

func signIn(t testing.TB, r *rig.Rig, h http.Handler, device string) *person {
	t.Helper()
	s, err := r.Login(t.Context(), nil, "alice", counterfoil.LoginOptions{Device: device})
	if err != nil {
		t.Fatal(err)
	}
	tokens, _ := s.Issued()
	return &person{t, h, s, tokens.Access.Reveal(), tokens.Refresh.Reveal()}
}

func (p *person) do(method, path string, form ...string) *httptest.ResponseRecorder {
	p.t.Helper()
	values := url.Values{}
	for i := 0; i < len(form); i += 2 {
		values.Add(form[i], form[i+1])
	}
	r := httptest.NewRequest(method, path, strings.NewReader(values.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if p.s != nil {
		r.Header.Set("Cookie", "__Host-Http-session="+p.access+"; __Host-Http-refresh="+p.refresh)
	}
	w := httptest.NewRecorder()
	p.h.ServeHTTP(w, r)
	for _, secret := range []string{p.access, p.refresh} {
		if secret != "" && strings.Contains(w.Body.String(), secret) {
			p.t.Errorf("%s %s: a token is in the body", method, path)
		}
	}
	if p.s != nil && strings.Contains(w.Body.String(), p.s.ID().String()) {
		p.t.Errorf("%s %s: a session ID is in the body", method, path)
	}
	return w
}

func (p *person) list() []httpadapter.Device {
	p.t.Helper()
	var answer struct{ Sessions []httpadapter.Device }
	if w := p.do("GET", httpadapter.ListPath); w.Code != 200 || w.Header().Get("X-Content-Type-Options") != "nosniff" || json.Unmarshal(w.Body.Bytes(), &answer) != nil {
		p.t.Fatalf("list: %d %s", w.Code, w.Body)
	}
	return answer.Sessions
}

func handler(t testing.TB, r *rig.Rig, cfg httpadapter.EndpointsConfig) http.Handler {
	t.Helper()
	r.Fresh(t) // or else each request asks the store whether the session lives
	endpoints, err := httpadapter.Endpoints(r.Manager, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return endpoints(http.NotFoundHandler())
}

func TestMySessions(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	h := handler(t, r, httpadapter.EndpointsConfig{})
	phone := signIn(t, r, h, "Phone")
	r.Advance(time.Second)
	laptop := signIn(t, r, h, "Laptop")
	r.Advance(time.Second)
	tablet := signIn(t, r, h, "Tablet")
	mallory, err := r.Login(t.Context(), nil, "mallory", counterfoil.LoginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	mt, _ := mallory.Issued()
	other := &person{t, h, mallory, mt.Access.Reveal(), mt.Refresh.Reveal()}

	list := laptop.list()
	if len(list) != 3 || !list[0].Current || list[0].Label != "Laptop" || list[1].Label != "Tablet" || list[2].Label != "Phone" || list[1].Current || list[1].Since.IsZero() || list[1].Seen.IsZero() {
		t.Fatalf("%+v", list)
	}
	handle := func(label string) string {
		for _, d := range list {
			if d.Label == label {
				return d.Handle
			}
		}
		t.Fatal(label)
		return ""
	}
	for _, tt := range []struct {
		name string
		who  *person
		form []string
		code int
		left int
	}{
		{"no handle", laptop, nil, 400, 3},
		{"two handles", laptop, []string{"handle", handle("Phone"), "handle", handle("Tablet")}, 400, 3},
		{"a handle of nobody's", laptop, []string{"handle", strings.Repeat("a", 22)}, 204, 3},
		{"somebody else's session", other, []string{"handle", handle("Phone")}, 204, 3},
		{"and then to another host", laptop, []string{"handle", handle("Phone"), "return", "//evil.test"}, 400, 3},
		{"another device", laptop, []string{"handle", handle("Phone"), "return", "/settings?tab=2"}, 303, 2},
		{"the same again", laptop, []string{"handle", handle("Phone")}, 204, 2},
	} {
		w := tt.who.do("POST", httpadapter.EndPath, tt.form...)
		if w.Code != tt.code || tt.code == 303 && w.Header().Get("Location") != "/settings?tab=2" {
			t.Errorf("%s: %d %v, want %d", tt.name, w.Code, w.Header(), tt.code)
		}
		if got := len(laptop.list()); got != tt.left {
			t.Errorf("%s: %d sessions, want %d", tt.name, got, tt.left)
		}
	}
	if w := phone.do("GET", httpadapter.ListPath); w.Code != 401 {
		t.Errorf("the ended session lists: %d", w.Code)
	}
	if w := laptop.do("POST", httpadapter.EndOthersPath); w.Code != 204 || len(laptop.list()) != 1 {
		t.Errorf("end others: %d", w.Code)
	}
	if w := tablet.do("GET", httpadapter.ListPath); w.Code != 401 {
		t.Errorf("the tablet still lists: %d", w.Code)
	}
	w := laptop.do("POST", httpadapter.EndPath, "handle", laptop.list()[0].Handle)
	if w.Code != 204 || len(w.Header()["Set-Cookie"]) != 2 {
		t.Errorf("ending this session: %d %v, want its cookies removed", w.Code, w.Header())
	}
	if got := len(other.list()); got != 1 {
		t.Errorf("somebody else has %d sessions, want 1", got)
	}
	nobody := &person{t: t, h: h}
	for _, path := range []string{httpadapter.ListPath, httpadapter.EventsPath} {
		if w := nobody.do("GET", path); w.Code != 401 {
			t.Errorf("nobody, %s: %d", path, w.Code)
		}
	}
}

func TestLogoutReturns(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	h := handler(t, r, httpadapter.EndpointsConfig{})
	p := signIn(t, r, h, "")
	for _, bad := range []string{"", "https://evil.test/", "//evil.test", `/\evil.test`, "/\r\nX: y"} {
		if w := p.do("POST", httpadapter.LogoutPath, "return", bad); w.Code != 400 || w.Header().Get("Location") != "" {
			t.Errorf("return %q: %d %v", bad, w.Code, w.Header())
		}
	}
	if w := p.do("POST", httpadapter.LogoutPath+"?return="+url.QueryEscape("https://evil.test")); w.Code != 400 {
		t.Errorf("return in the query: %d", w.Code)
	}
	if len(p.list()) != 1 {
		t.Error("a refused logout has logged out")
	}
	if w := p.do("POST", httpadapter.LogoutPath, "return", "/bye"); w.Code != 303 || w.Header().Get("Location") != "/bye" || len(w.Header()["Set-Cookie"]) != 2 {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if w := p.do("POST", httpadapter.LogoutPath, "junk", strings.Repeat("x", 1<<20)); w.Code != 400 {
		t.Errorf("a form of 1 MiB: %d", w.Code)
	}
}

// Who looks at the page without a script and has been signed out meanwhile is told that nothing was ended.
func TestEndingByNobody(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	h := handler(t, r, httpadapter.EndpointsConfig{Login: "/login?theme=dark"})
	other := signIn(t, r, h, "")
	handle := other.list()[0].Handle
	ended := signIn(t, r, h, "")
	if w := ended.do("POST", httpadapter.LogoutPath); w.Code != 204 {
		t.Fatal(w.Code)
	}
	for _, who := range []struct {
		name string
		p    *person
	}{{"ended", ended}, {"nobody", &person{t: t, h: h}}} {
		for _, path := range []string{httpadapter.EndPath, httpadapter.EndOthersPath, httpadapter.LogoutEverywherePath} {
			w := who.p.do("POST", path, "return", "/devices?sort=a&b=\"c", "handle", handle)
			if w.Code != 401 || w.Header().Get("Location") != "" || !strings.Contains(w.Body.String(), "nothing else was signed out") || !strings.Contains(w.Body.String(), `href="/login?return=%2Fdevices%3Fsort%3Da%26b%3D%22c&amp;theme=dark"`) {
				t.Errorf("%s, %s: %d %v %s", who.name, path, w.Code, w.Header(), w.Body)
			}
			if w := who.p.do("POST", path, "handle", handle); w.Code != 401 || strings.Contains(w.Body.String(), "<html") {
				t.Errorf("%s, %s, for a program: %d %s", who.name, path, w.Code, w.Body)
			}
			if w := who.p.do("POST", path, "return", "//evil.test", "handle", handle); w.Code != 400 {
				t.Errorf("%s, %s, to somewhere else: %d", who.name, path, w.Code)
			}
		}
	}
	if len(other.list()) != 1 {
		t.Error("somebody's session was ended by nobody")
	}
	r.StopServer()
	if w := other.do("POST", httpadapter.LogoutPath, "return", "/"); w.Code != 503 || !strings.Contains(w.Body.String(), "may still be signed in") {
		t.Errorf("by somebody, when it cannot be done: %d %s", w.Code, w.Body)
	}
}

func TestRenewForGateways(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	h := handler(t, r, httpadapter.EndpointsConfig{Login: "/login?theme=dark"})
	plain := handler(t, r, httpadapter.EndpointsConfig{})
	p := signIn(t, r, h, "")
	if w := p.do("GET", httpadapter.RenewPath+"?return=https://evil.test"); w.Code != 400 {
		t.Errorf("another host: %d", w.Code)
	}
	w := p.do("GET", httpadapter.RenewPath+"?return=/report%3Fq=1")
	if w.Code != 303 || w.Header().Get("Location") != "/report?q=1" || len(w.Header()["Set-Cookie"]) != 1 {
		t.Errorf("good tokens: %d %v, want a new access token and no loop", w.Code, w.Header())
	}
	r.Advance(6 * time.Minute)
	if w := p.do("GET", httpadapter.RenewPath+"?return=/report"); w.Code != 303 || w.Header().Get("Location") != "/report" || len(w.Header()["Set-Cookie"]) != 2 {
		t.Errorf("expired: %d %v", w.Code, w.Header())
	}
	// A link on another site led to the gateway, which sent the browser here.
	fresh := signIn(t, r, h, "")
	r.Advance(6 * time.Minute)
	req := httptest.NewRequest("GET", httpadapter.RenewPath+"?return=/report", nil)
	req.Header.Set("Cookie", "__Host-Http-session="+fresh.access+"; __Host-Http-refresh="+fresh.refresh)
	for k, v := range map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"} {
		req.Header.Set(k, v)
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	if rec.Code != 303 || rec.Header().Get("Location") != "/report" || len(rec.Header()["Set-Cookie"]) != 2 {
		t.Errorf("from another site: %d %v", rec.Code, rec.Header())
	}
	nobody := &person{t: t, h: h}
	if w := nobody.do("GET", httpadapter.RenewPath+"?return=/report"); w.Code != 303 || w.Header().Get("Location") != "/login?return=%2Freport&theme=dark" {
		t.Errorf("nobody: %d %v", w.Code, w.Header())
	}
	if w := (&person{t: t, h: plain}).do("GET", httpadapter.RenewPath+"?return=/report"); w.Code != 401 {
		t.Errorf("nobody, no login known: %d", w.Code)
	}
	// Another tab has renewed, and its answer has arrived.
	late := signIn(t, r, h, "")
	r.Advance(6 * time.Minute)
	renewed := *late
	for _, c := range late.do("POST", httpadapter.RefreshPath).Result().Cookies() {
		if strings.HasSuffix(c.Name, "refresh") {
			renewed.refresh = c.Value
		} else {
			renewed.access = c.Value
		}
	}
	renewed.do("POST", httpadapter.RefreshPath)
	if w := late.do("GET", httpadapter.RenewPath+"?return=/report"); w.Code != 303 || w.Header().Get("Location") != "/report" || len(w.Header()["Set-Cookie"]) != 0 {
		t.Errorf("after another tab: %d %v", w.Code, w.Header())
	}
	r.StopServer()
	if w := late.do("GET", httpadapter.RenewPath+"?return=/report"); w.Code != 503 {
		t.Errorf("store gone: %d", w.Code)
	}
}

// TestRefreshBehindAHandler has a handler in front of the endpoints that writes to the session.
func TestRefreshBehindAHandler(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	sessions, _ := httpadapter.New(httpadapter.Config{Manager: r.Manager})
	endpoints, _ := httpadapter.Endpoints(r.Manager)
	h := sessions(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = note.Set(httpadapter.Session(r), "x")
		endpoints(nil).ServeHTTP(w, r)
	}))
	p := signIn(t, r, h, "")
	r.Faults.On(rig.Never("Save"))
	if w := p.do("POST", httpadapter.RefreshPath); w.Code != 503 || len(w.Header()["Set-Cookie"]) != 0 {
		t.Errorf("when that cannot be saved: %d %v", w.Code, w.Header())
	}
	r.Faults.On(nil)
	if err := r.End(t.Context(), p.s.ID()); err != nil {
		t.Fatal(err)
	}
	if w := p.do("POST", httpadapter.RefreshPath); w.Code != 401 || len(w.Header()["Set-Cookie"]) != 2 {
		t.Errorf("with the session that it began in place of one that has ended: %d %v", w.Code, w.Header())
	}
}

// unread is a body that nobody has to read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

// TestRenewReadsNoBody: who may send a GET to the renew page, which is everybody, has no file put onto the server's disk.
func TestRenewReadsNoBody(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	h := handler(t, r, httpadapter.EndpointsConfig{Login: "/login"})
	p := signIn(t, r, h, "")
	for cookies, to := range map[string]string{
		"": "/login?return=%2Freport",
		"__Host-Http-session=" + p.access + "; __Host-Http-refresh=" + p.refresh: "/report",
	} {
		req := httptest.NewRequest("GET", httpadapter.RenewPath+"?return=/report", unread{t})
		req.Header.Set("Content-Type", "multipart/form-data; boundary=B")
		req.Header.Set("Cookie", cookies)
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, req); w.Code != 303 || w.Header().Get("Location") != to {
			t.Errorf("%d %v, want %s", w.Code, w.Header(), to)
		}
	}
}

func TestActive(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	h := handler(t, r, httpadapter.EndpointsConfig{})
	p := signIn(t, r, h, "")
	ask := func(bearer string) string {
		req := httptest.NewRequest("GET", httpadapter.ActivePath, nil)
		if bearer != "" {
			req.Header.Set("Authorization", "Bearer "+bearer)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		return fmt.Sprint(w.Code, " ", w.Body)
	}
	if got := ask(p.access); got != "200 {\"active\":true}\n" {
		t.Error(got)
	}
	if w := p.do("GET", httpadapter.ActivePath); w.Body.String() != "{\"active\":true}\n" {
		t.Error(w.Body)
	}
	_ = r.End(t.Context(), p.s.ID())
	for _, bearer := range []string{"", "x", p.access, p.refresh} {
		if got := ask(bearer); got != "200 {\"active\":false}\n" {
			t.Errorf("%.5s…: %s", bearer, got)
		}
	}
}

// caller returns who may introspect and revoke, which is the one of that name, and its secret.
func caller(t *testing.T, name string) (*feed.Edges, string) {
	t.Helper()
	credential, err := feed.NewCredential(name)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := credential.Digest()
	if err != nil {
		t.Fatal(err)
	}
	edges := new(feed.Edges)
	if err := edges.Allow(name, digest); err != nil {
		t.Fatal(err)
	}
	return edges, credential.Secret.Reveal()
}

// TestIntrospectionOfInactiveTokens: of a token that would not be accepted here nothing is said, not even why, though each has a session that lives.
func TestIntrospectionOfInactiveTokens(t *testing.T) {
	key := func() *issuer.Key {
		k, err := issuer.GenerateKey("EdDSA")
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	signedBy := func(keys ...*issuer.Key) func(*counterfoil.Config) {
		ring, err := issuer.NewRing(keys...)
		if err != nil {
			t.Fatal(err)
		}
		return func(c *counterfoil.Config) { c.Keys = ring }
	}
	second := key()
	r := rig.New(t, rig.Embedded, signedBy(key(), second))
	edges, secret := caller(t, "edge-1")
	h := handler(t, r, httpadapter.EndpointsConfig{Callers: edges})
	introspect := func(raw string) (int, string) {
		req := httptest.NewRequest("POST", httpadapter.IntrospectPath, strings.NewReader(url.Values{"token": {raw}}.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth("edge-1", secret)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		return w.Code, strings.TrimSuffix(w.Body.String(), "\n")
	}
	active := func(raw string) {
		t.Helper()
		if status, body := introspect(raw); status != 200 || !strings.HasPrefix(body, `{"active":true,`) {
			t.Errorf("a good token: %d %s", status, body)
		}
	}
	r.Fresh(t)
	for name, tt := range map[string]struct {
		change func(*counterfoil.Config)
		before func(raw string)
	}{
		"of another audience":     {func(c *counterfoil.Config) { c.Audience = "other" }, nil},
		"of another issuer":       {func(c *counterfoil.Config) { c.Issuer = "https://other.test" }, nil},
		"signed by a foreign key": {signedBy(key()), nil},
		"signed by a revoked key": {signedBy(second), func(raw string) {
			active(raw)
			if _, err := r.Revoke(t.Context(), counterfoil.Revocation{Key: second.ID()}); err != nil {
				t.Fatal(err)
			}
		}},
		"that has expired": {func(*counterfoil.Config) {}, func(raw string) {
			active(raw)
			r.Advance(6 * time.Minute)
		}},
	} {
		by := r.Again(t, tt.change)
		p := signIn(t, by, h, "")
		if tt.before != nil {
			tt.before(p.access)
		}
		if list, err := by.Sessions(t.Context(), "alice"); err != nil || !slices.ContainsFunc(list, func(r counterfoil.Record) bool { return r.Session == p.s.ID() }) {
			t.Errorf("the session of a token %s does not live: %v", name, err)
		}
		if status, body := introspect(p.access); status != 200 || body != `{"active":false}` {
			t.Errorf("a token %s: %d %s", name, status, body)
		}
		active(signIn(t, r, h, "").access)
	}
}

func TestIntrospectionAndRevocation(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	edges, secret := caller(t, "edge-1")
	h := handler(t, r, httpadapter.EndpointsConfig{Callers: edges})
	call := func(name, password, path string, raw ...string) *httptest.ResponseRecorder {
		req := httptest.NewRequest("POST", path, strings.NewReader(url.Values{"token": raw}.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if name != "" {
			req.SetBasicAuth(name, password)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		return w
	}
	p := signIn(t, r, h, "")
	for _, who := range [][2]string{{"", ""}, {"edge-1", ""}, {"edge-1", secret[1:]}, {"edge-2", secret}, {"edge-2", strings.Repeat("\x00", 32)}} {
		for _, path := range []string{httpadapter.IntrospectPath, httpadapter.RevokePath} {
			w := call(who[0], who[1], path, p.access)
			if w.Code != 401 || !strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "Basic") || !isError(w, "invalid_client") {
				t.Errorf("%s as %q: %d %v %s", path, who, w.Code, w.Header(), w.Body)
			}
		}
	}
	for _, path := range []string{httpadapter.IntrospectPath, httpadapter.RevokePath} {
		for what, raw := range map[string][]string{"no token": nil, "an empty one": {""}, "two tokens": {p.access, p.refresh}} {
			if w := call("edge-1", secret, path, raw...); w.Code != 400 || !isError(w, "invalid_request") {
				t.Errorf("%s, %s: %d %v %s", path, what, w.Code, w.Header(), w.Body)
			}
		}
	}
	visitor := r.Anonymous()
	if _, err := visits.Incr(t.Context(), visitor, 1); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*counterfoil.Session{p.s, visitor} {
		tokens, _ := s.Issued()
		v := r.Verify(t, tokens.Access)
		want := map[string]any{
			"active": true, "token_type": "Bearer", "iss": r.Config.Issuer, "aud": r.Config.Audience, "iat": v.IssuedAt().Unix(), "exp": v.Expires().Unix(),
		}
		if s == p.s {
			want["sub"], want["auth_time"] = "alice", s.AuthTime().Unix()
		}
		body, _ := json.Marshal(want)
		w := call("edge-1", secret, httpadapter.IntrospectPath, tokens.Access.Reveal())
		if w.Code != 200 || w.Body.String() != string(body)+"\n" || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%d %s %v, want %s", w.Code, w.Body, w.Header(), body)
		}
	}
	for i, raw := range []string{"x", p.refresh, p.access + "x", strings.Repeat("a", 9000)} {
		if w := call("edge-1", secret, httpadapter.IntrospectPath, raw); w.Code != 200 || w.Body.String() != "{\"active\":false}\n" {
			t.Errorf("token %d: %d %s", i, w.Code, w.Body)
		}
		if raw != p.refresh {
			if w := call("edge-1", secret, httpadapter.RevokePath, raw); w.Code != 200 || w.Body.Len() > 0 {
				t.Errorf("revoke token %d: %d %s", i, w.Code, w.Body)
			}
		}
	}
	byRefresh := signIn(t, r, h, "")
	for _, tt := range []struct{ revoke, access string }{{p.access, p.access}, {byRefresh.refresh, byRefresh.access}} {
		for range 2 {
			if w := call("edge-1", secret, httpadapter.RevokePath, tt.revoke); w.Code != 200 {
				t.Errorf("revoke: %d", w.Code)
			}
		}
		if w := call("edge-1", secret, httpadapter.IntrospectPath, tt.access); w.Body.String() != "{\"active\":false}\n" {
			t.Errorf("after revoking: %s", w.Body)
		}
	}
	callable := h
	h = handler(t, r, httpadapter.EndpointsConfig{})
	if w := call("edge-1", secret, httpadapter.IntrospectPath, p.access); w.Code != 401 {
		t.Errorf("nobody may call, and somebody gets %d", w.Code)
	}
	h = callable
	old := signIn(t, r, h, "")
	r.Advance(6 * time.Minute)
	for _, tt := range []struct {
		name, raw string
		sessions  int
	}{{"an access token that has expired", old.access, 1}, {"the refresh token of its session", old.refresh, 0}} {
		if w := call("edge-1", secret, httpadapter.RevokePath, tt.raw); w.Code != 200 {
			t.Errorf("%s: %d", tt.name, w.Code)
		}
		if list, err := r.Sessions(t.Context(), "alice"); err != nil || len(list) != tt.sessions {
			t.Errorf("%s: %d sessions afterwards, want %d; %v", tt.name, len(list), tt.sessions, err)
		}
	}
	alive := signIn(t, r, h, "")
	r.StopServer()
	if w := call("edge-1", secret, httpadapter.RevokePath, alive.access); w.Code != 503 {
		t.Errorf("revoke without a store: %d, want 503", w.Code)
	}
	if w := call("edge-1", secret, httpadapter.IntrospectPath, alive.access); w.Code != 503 {
		t.Errorf("introspect without a store: %d, want 503", w.Code)
	}
}

// isError says whether an answer is the error of RFC 6749, section 5.2, with that code and nothing else.
func isError(w *httptest.ResponseRecorder, code string) bool {
	return w.Header().Get("Content-Type") == "application/json" && w.Header().Get("X-Content-Type-Options") == "nosniff" && w.Header().Get("Cache-Control") == "no-store" && w.Body.String() == `{"error":"`+code+`"}`+"\n"
}

// deaf never reads the log.
type deaf struct{}

func (deaf) Read(ctx context.Context, _ revocation.Position, _ time.Duration) (revocation.Batch, error) {
	<-ctx.Done()
	return revocation.Batch{}, ctx.Err()
}

// TestReady: who asks whether to send requests here is told no as soon as one of the two things is missing that every request needs, and that the process lives all the same.
func TestReady(t *testing.T) {
	healthy := rig.New(t, rig.Embedded)
	stale := healthy.Again(t, func(c *counterfoil.Config) { c.Source = deaf{} })
	storeless := rig.New(t, rig.Embedded, func(c *counterfoil.Config) { c.Timeout, c.MaxStale = 100*time.Millisecond, 10*time.Minute })
	storeless.Fresh(t)
	storeless.StopServer()
	healthy.Fresh(t)
	for _, tt := range []struct {
		name    string
		r       *rig.Rig
		answers bool // the store
		fresh   bool
		want    int
	}{
		{"the store answers, the list is fresh", healthy, true, true, 200},
		{"the store answers, the list is stale", stale, true, false, 503},
		{"the store is gone, the list is still fresh", storeless, false, true, 503},
	} {
		_, err := tt.r.Sessions(t.Context(), "alice")
		if fresh := tt.r.Guard().Status().Fresh; (err == nil) != tt.answers || fresh != tt.fresh {
			t.Fatalf("%s: the store says %v, and fresh is %v", tt.name, err, fresh)
		}
		endpoints, err := httpadapter.Endpoints(tt.r.Manager)
		if err != nil {
			t.Fatal(err)
		}
		nobody := &person{t: t, h: endpoints(http.NotFoundHandler())}
		w := nobody.do("GET", httpadapter.ReadyPath)
		if w.Code != tt.want || w.Header().Get("Cache-Control") != "no-store" || (w.Header().Get("Retry-After") != "") != (tt.want == 503) {
			t.Errorf("%s: ready is %d %v, want %d", tt.name, w.Code, w.Header(), tt.want)
		}
		if w := nobody.do("GET", httpadapter.AlivePath); w.Code != 200 {
			t.Errorf("%s: alive is %d", tt.name, w.Code)
		}
	}
}

func TestPageOfTheApplicationsOwn(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	own := template.Must(template.New("own").Funcs(httpadapter.PageFuncs).Parse(`{{.Subject}} on {{.This.Label}} since {{iso .This.Since}}{{range .Others}}, {{.Label}}{{end}}`))
	h := handler(t, r, httpadapter.EndpointsConfig{Page: own})
	p := signIn(t, r, h, "Laptop")
	signIn(t, r, h, "Phone & Co")
	if w := p.do("GET", httpadapter.PagePath); w.Code != 200 || !strings.HasPrefix(w.Body.String(), "alice on Laptop since 2") || !strings.HasSuffix(w.Body.String(), ", Phone &amp; Co") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	moody := func(name string) (string, error) { return name, map[string]error{"alice": io.ErrUnexpectedEOF}[name] }
	broken := template.Must(template.New("broken").Funcs(template.FuncMap{"moody": moody}).Parse(`half a page {{moody .Subject}}`))
	p.h = handler(t, r, httpadapter.EndpointsConfig{Page: broken})
	if w := p.do("GET", httpadapter.PagePath); w.Code != 500 || strings.Contains(w.Body.String(), "half") {
		t.Errorf("a template that fails: %d %s", w.Code, w.Body)
	}
}

func TestFeedIsServedIfThereIsOne(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	nobody := &person{t: t, h: handler(t, r, httpadapter.EndpointsConfig{})}
	if w := nobody.do("GET", httpadapter.FeedPath); w.Code != 404 {
		t.Errorf("without one: %d", w.Code)
	}
	nobody.h = handler(t, r, httpadapter.EndpointsConfig{Feed: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })})
	for method, want := range map[string]int{"GET": http.StatusTeapot, "DELETE": http.StatusTeapot, "POST": http.StatusMethodNotAllowed} {
		if w := nobody.do(method, httpadapter.FeedPath); w.Code != want {
			t.Errorf("%s with one: %d", method, w.Code)
		}
	}
}

func TestPage(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	h := handler(t, r, httpadapter.EndpointsConfig{Login: "/login", Home: "/account"})
	p := signIn(t, r, h, "Firefox on Linux")
	signIn(t, r, h, `<script>alert(1)</script>" onload="x`)
	w := p.do("GET", httpadapter.PagePath)
	body := w.Body.String()
	if w.Code != 200 || !strings.Contains(body, "Firefox on Linux") || strings.Count(strings.ToLower(body), "this device") != 1 || !strings.Contains(body, `<a href="/account">Back</a>`) || !strings.Contains(body, `action="/session/logout-everywhere"`) || !strings.Contains(body, `action="/session/end"`) || !strings.Contains(body, `"/session/devices.css"`) || !strings.Contains(body, `"/session/devices.js"`) || !strings.Contains(body, `"/session/events"`) {
		t.Errorf("%d %s", w.Code, body)
	}
	if strings.Contains(body, "<script>alert") || strings.Contains(body, `" onload="`) {
		t.Error("a device's label gets into the page as it is")
	}
	if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
		t.Error(csp)
	}
	has := func(w *httptest.ResponseRecorder, header ...string) {
		t.Helper()
		for i := 0; i < len(header); i += 2 {
			if got := w.Header().Get(header[i]); got != header[i+1] {
				t.Errorf("%s is %q, want %q", header[i], got, header[i+1])
			}
		}
	}
	has(w, "Cache-Control", "no-store", "Content-Type", "text/html; charset=utf-8", "X-Content-Type-Options", "nosniff", "Referrer-Policy", "same-origin", "Cross-Origin-Opener-Policy", "same-origin")
	if strings.Contains(body, "style=") || strings.Contains(body, "<style") || strings.Contains(body, "javascript:") {
		t.Error("something inline is in the page")
	}
	nobody := &person{t: t, h: h}
	w = nobody.do("GET", httpadapter.PagePath)
	if w.Code != 401 || !strings.Contains(w.Body.String(), "<h1>You are not signed in</h1>") || !strings.Contains(w.Body.String(), `href="/login?return=%2Fsession%2Fdevices"`) {
		t.Errorf("nobody: %d %s", w.Code, w.Body)
	}
	has(w, "Cache-Control", "no-store", "WWW-Authenticate", "Bearer")
	for asset, kind := range map[string]string{"/session/devices.css": "text/css; charset=utf-8", "/session/devices.js": "text/javascript; charset=utf-8"} {
		w := nobody.do("GET", asset)
		if w.Code != 200 || w.Body.Len() < 500 {
			t.Errorf("%s: %d", asset, w.Code)
		}
		has(w, "Content-Type", kind, "Content-Length", strconv.Itoa(w.Body.Len()), "X-Content-Type-Options", "nosniff", "Cache-Control", "public, max-age=300")
	}
	r.StopServer()
	if w := p.do("GET", httpadapter.PagePath); w.Code != 503 || strings.Contains(w.Body.String(), "Firefox") {
		t.Errorf("store gone: %d %s", w.Code, w.Body)
	}
}

// TestPeopleWithoutTheStore: whoever looks at the answer reads what it means that the store cannot be reached, and finds the way on; a script gets the status.
func TestPeopleWithoutTheStore(t *testing.T) {
	for name, expired := range map[string]bool{"token that is good": false, "token that has expired": true} {
		t.Run(name, func(t *testing.T) {
			r := rig.New(t, rig.Embedded)
			h := handler(t, r, httpadapter.EndpointsConfig{})
			p := signIn(t, r, h, "Laptop")
			handle := p.list()[0].Handle
			if expired {
				r.Advance(6 * time.Minute)
			}
			r.StopServer()
			for _, tt := range []struct {
				method, path string
				form         []string
				says         string // "" = nothing more than the status does
			}{
				{"GET", httpadapter.PagePath, nil, `<a href="/session/devices">Try again</a>`},
				{"POST", httpadapter.LogoutPath, []string{"return", "/home"}, `may still be signed in. Try again in a moment.</p><p class="back"><a href="/home">`},
				{"POST", httpadapter.LogoutEverywherePath, []string{"return", "/home"}, `<a href="/home">`},
				{"POST", httpadapter.EndPath, []string{"handle", handle, "return", "/home"}, `<a href="/home">`},
				{"POST", httpadapter.EndOthersPath, []string{"return", "/home"}, `<a href="/home">`},
				{"POST", httpadapter.EndOthersPath, []string{"return", "//elsewhere.example"}, ""},
				{"POST", httpadapter.EndOthersPath, nil, ""},
				{"GET", httpadapter.ListPath, nil, ""},
			} {
				w := p.do(tt.method, tt.path, tt.form...)
				code, h := w.Code, w.Header()
				if tt.says == "" {
					if code == 503 && w.Body.String() != "Service Unavailable\n" || code != 503 && code != 400 {
						t.Errorf("%s %v: %d %s", tt.path, tt.form, code, w.Body)
					}
					continue
				}
				if code != 503 || h.Get("Retry-After") == "" || h.Get("Cache-Control") != "no-store" || h.Get("Content-Security-Policy") == "" || !strings.Contains(w.Body.String(), tt.says) {
					t.Errorf("%s %v: %d %v %s", tt.path, tt.form, code, h, w.Body)
				}
			}
		})
	}
}

// TestPageSaysNothingOfTheCredential: whatever came with the request and was refused, the page for whoever is signed out is the same.
func TestPageSaysNothingOfTheCredential(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	h := handler(t, r, httpadapter.EndpointsConfig{})
	gone := signIn(t, r, h, "Laptop")
	if err := r.End(t.Context(), gone.s.ID()); err != nil {
		t.Fatal(err)
	}
	garbled := *gone
	garbled.access, garbled.refresh = "no-token", "nor-this"
	want := (&person{t: t, h: h}).do("GET", httpadapter.PagePath).Body.String()
	for name, p := range map[string]*person{"ended": gone, "garbled": &garbled} {
		if w := p.do("GET", httpadapter.PagePath); w.Code != 401 || w.Body.String() != want {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

func TestAddressesForPeople(t *testing.T) {
	near := httpadapter.PageFuncs["near"].(func(string) string)
	for network, want := range map[string]string{
		"203.0.113.0/24": "an address that begins with 203.0.113", "2001:db8:1::/48": "an address that begins with 2001:db8:1", "2001:db8::/48": "an address that begins with 2001:db8",
		"127.0.0.0/24": "the service's own computer", "::/48": "the service's own computer", "": "", "the moon": "the moon",
	} {
		if got := near(network); got != want {
			t.Errorf("%q is shown as %q, want %q", network, got, want)
		}
	}
}

func TestEndpointsConfigIsChecked(t *testing.T) {
	m := rig.New(t, rig.Embedded).Manager
	for what, cfg := range map[string]httpadapter.EndpointsConfig{
		"Home elsewhere": {Home: "https://evil.test"}, "Login elsewhere": {Login: "//evil.test"}, "negative MaxStreams": {MaxStreams: -1},
	} {
		if _, err := httpadapter.Endpoints(m, cfg); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
}

// TestPageIsTried: whoever wrote a page that can never be shown is told so and why, at the start and not by answers that are 500.
func TestPageIsTried(t *testing.T) {
	m := rig.New(t, rig.Embedded).Manager
	for text, want := range map[string]string{
		"{{.NoSuchField}}": "NoSuchField", "{{if not .SignedIn}}{{.This.Name}}{{end}}": "Name", "{{range .Others}}{{.ID}}{{end}}": "ID",
		"<a href='{{.Home}}": "non-text context", `{{template "foot"}}`: "foot",
	} {
		page := template.Must(template.New("mine").Parse(text))
		if _, err := httpadapter.Endpoints(m, httpadapter.EndpointsConfig{Page: page}); err == nil || !strings.Contains(err.Error(), "EndpointsConfig.Page: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := httpadapter.Endpoints(m, httpadapter.EndpointsConfig{Page: template.New("mine")}); err == nil { // what was read is of another name
		t.Error("a template without text is taken")
	}
	good := template.Must(template.New("mine").Parse("{{.Subject}}"))
	for range 2 {
		if _, err := httpadapter.Endpoints(m, httpadapter.EndpointsConfig{Page: good}); err != nil {
			t.Error(err)
		}
		if _, err := good.New("more").Parse("{{.}}"); err != nil {
			t.Errorf("it cannot be added to any more: %v", err)
		}
	}
	_ = good.Execute(io.Discard, httpadapter.PageData{})
	if _, err := httpadapter.Endpoints(m, httpadapter.EndpointsConfig{Page: good}); err != nil {
		t.Errorf("after it was executed: %v", err)
	}
}

// follow opens the event stream of p and returns its events, one "name data" a string; the channel closes with the stream.
func follow(t *testing.T, url string, p *person) <-chan string {
	t.Helper()
	req, _ := http.NewRequestWithContext(t.Context(), "GET", url+httpadapter.EventsPath, nil)
	req.Header.Set("Cookie", "__Host-Http-session="+p.access+"; __Host-Http-refresh="+p.refresh)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	events := make(chan string, 16)
	go func() {
		defer close(events)
		defer res.Body.Close()
		name := ""
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			if v, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				name = v
			} else if v, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				events <- name + " " + v
			}
		}
	}()
	return events
}

func next(t *testing.T, events <-chan string) string {
	t.Helper()
	select {
	case e := <-events:
		return e
	case <-time.After(5 * time.Second):
		t.Fatal("no event within five seconds")
		return ""
	}
}

func TestEvents(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	stop := make(chan struct{})
	r.Second(t) // another process, which has to confirm as well
	h := handler(t, r, httpadapter.EndpointsConfig{Stop: stop, MaxStreams: 2})
	srv := httptest.NewUnstartedServer(h)
	srv.Config.WriteTimeout = 100 * time.Millisecond // for an answer as a whole; a stream lasts longer
	srv.Start()
	defer srv.Close()
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	laptop, phone := signIn(t, r, h, "Laptop"), signIn(t, r, h, "Phone")
	onLaptop, onPhone := follow(t, srv.URL, laptop), follow(t, srv.URL, phone)
	if w := laptop.do("GET", httpadapter.EventsPath); w.Code != 503 {
		t.Errorf("a third stream: %d, want 503", w.Code)
	}
	tablet := signIn(t, r, h, "Tablet")
	handle := ""
	for _, d := range laptop.list() {
		if d.Label == "Tablet" {
			handle = d.Handle
		}
	}
	of := fmt.Sprintf(`{"device":"Tablet","handle":%q}`, handle)
	for _, events := range []<-chan string{onLaptop, onPhone} {
		if e := next(t, events); e != "began "+of {
			t.Errorf("after a login: %s", e)
		}
	}
	_ = r.End(t.Context(), tablet.s.ID())
	if e := next(t, onLaptop); e != "ended "+of {
		t.Errorf("after an end: %s", e)
	}
	if e := next(t, onLaptop); !strings.HasPrefix(e, "confirmed ") || !strings.Contains(e, `"verifiers":2`) || !strings.Contains(e, fmt.Sprintf(`"handle":%q`, handle)) {
		t.Errorf("after that: %s", e)
	}
	_ = r.End(t.Context(), phone.s.ID())
	for e := range onPhone {
		if !strings.HasPrefix(e, "gone") && !strings.HasPrefix(e, "confirmed") && !strings.Contains(e, "Tablet") {
			t.Errorf("on the phone: %s", e)
		}
	}
	close(stop)
	for e := range onLaptop {
		if !strings.Contains(e, "Phone") && !strings.HasPrefix(e, "confirmed") {
			t.Errorf("on the laptop: %s", e)
		}
	}
}

// TestEndedUnheard: a session whose record has gone, without news of it, ends nobody else's, is told so, and its stream says that it is gone.
func TestEndedUnheard(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	stop := make(chan struct{})
	h := handler(t, r, httpadapter.EndpointsConfig{Stop: stop, Login: "/login", MaxStreams: 1})
	srv := httptest.NewServer(h)
	defer srv.Close()
	defer close(stop)
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	laptop, phone := signIn(t, r, h, "Laptop"), signIn(t, r, h, "Phone")
	devices, err := r.Devices(t.Context(), laptop.s)
	if err != nil {
		t.Fatal(err)
	}
	var handle string
	for _, d := range devices {
		if !d.Current {
			handle = d.Handle
		}
	}
	events := follow(t, srv.URL, laptop)
	if _, err := r.Config.Store.End(t.Context(), counterfoil.Ending{Session: laptop.s.ID()}); err != nil {
		t.Fatal(err)
	}
	if e := next(t, events); !strings.HasPrefix(e, "gone") {
		t.Errorf("on its stream: %s", e)
	}
	for e := range events {
		t.Errorf("after that: %s", e)
	}
	for range 2 { // neither takes the one place
		if w := laptop.do("GET", httpadapter.EventsPath); w.Code != 401 {
			t.Errorf("another stream: %d, want 401", w.Code)
		}
	}
	for _, tt := range []struct {
		path string
		form []string
	}{
		{httpadapter.EndPath, []string{"handle", handle}},
		{httpadapter.EndPath, []string{"handle", handle, "return", "/"}},
		{httpadapter.EndOthersPath, nil},
		{httpadapter.EndOthersPath, []string{"return", "/"}},
	} {
		if w := laptop.do("POST", tt.path, tt.form...); w.Code != 401 {
			t.Errorf("POST %s %v: %d, want 401", tt.path, tt.form, w.Code)
		}
	}
	if w := laptop.do("GET", httpadapter.ListPath); w.Code != 401 {
		t.Errorf("its list: %d, want 401", w.Code)
	}
	if w := phone.do("POST", httpadapter.EndPath, "handle", "nobody's"); w.Code != 204 {
		t.Errorf("a handle of nobody's, by the one that lives: %d, want 204", w.Code)
	}
}

// bare is the ResponseWriter of a server or a middleware that can neither flush nor be looked behind.
type bare struct{ w http.ResponseWriter }

func (b bare) Header() http.Header         { return b.w.Header() }
func (b bare) Write(p []byte) (int, error) { return b.w.Write(p) }
func (b bare) WriteHeader(status int)      { b.w.WriteHeader(status) }

// gone is the ResponseWriter of a client that has gone before the header was written.
type gone struct{ http.ResponseWriter }

func (gone) FlushError() error { return net.ErrClosed }

// TestStreamsAreGivenBack opens more event streams than may be open at once, none of which comes to anything.
func TestStreamsAreGivenBack(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	for name, wrap := range map[string]func(http.ResponseWriter) http.ResponseWriter{
		"a writer that cannot flush": func(w http.ResponseWriter) http.ResponseWriter { return bare{w} },
		"a client that has gone":     func(w http.ResponseWriter) http.ResponseWriter { return gone{w} },
	} {
		h := handler(t, r, httpadapter.EndpointsConfig{MaxStreams: 2})
		p := signIn(t, r, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(wrap(w), r) }), "Laptop")
		for i := range 4 {
			if w := p.do("GET", httpadapter.EventsPath); w.Code != 200 {
				t.Errorf("%s: stream %d is answered %d", name, i+1, w.Code)
			}
		}
	}
}

// TestOnlyForms: a body that is no urlencoded form is refused before anything is done, since what it asks for would be ignored.
func TestOnlyForms(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	h := handler(t, r, httpadapter.EndpointsConfig{})
	s, err := r.Login(t.Context(), nil, "alice", counterfoil.LoginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tokens, _ := s.Issued()
	for _, path := range []string{httpadapter.EndOthersPath, httpadapter.EndPath, httpadapter.LogoutEverywherePath, httpadapter.LogoutPath} {
		for kind, body := range map[string]string{
			"multipart/form-data; boundary=B":   "--B\r\nContent-Disposition: form-data; name=\"return\"\r\n\r\n//evil.test\r\n--B--\r\n",
			"application/json":                  `{"return":"//evil.test"}`,
			"text/plain":                        "return=//evil.test",
			"":                                  "return=//evil.test",
			"application/x-www-form-urlencoded": "return=//evil.test",
		} {
			req := httptest.NewRequestWithContext(t.Context(), "POST", path, strings.NewReader(body))
			req.Header.Set("Cookie", "__Host-Http-session="+tokens.Access.Reveal())
			if kind != "" {
				req.Header.Set("Content-Type", kind)
			}
			w := httptest.NewRecorder()
			if h.ServeHTTP(w, req); w.Code != 400 {
				t.Errorf("POST %s with %q is answered %d, want 400", path, kind, w.Code)
			}
		}
	}
	if _, err := visits.Get(t.Context(), r.Open(r.Verify(t, tokens.Access))); err != nil {
		t.Errorf("afterwards the session: %v", err)
	}
}

// TestStreamsOfOneSubject: nobody can have so many event streams that there are none for others, by however many sessions.
func TestStreamsOfOneSubject(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	stop := make(chan struct{})
	h := handler(t, r, httpadapter.EndpointsConfig{Stop: stop, MaxStreams: 20})
	srv := httptest.NewServer(h)
	defer srv.Close()
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	laptop, phone := signIn(t, r, h, "Laptop"), signIn(t, r, h, "Phone")
	var onLaptop, onPhone []<-chan string
	for range 8 {
		onLaptop, onPhone = append(onLaptop, follow(t, srv.URL, laptop)), append(onPhone, follow(t, srv.URL, phone))
	}
	full := func(who ...*person) {
		t.Helper()
		for _, p := range who {
			if w := p.do("GET", httpadapter.EventsPath); w.Code != 503 || w.Header().Get("Retry-After") == "" {
				t.Errorf("a seventeenth stream of one subject: %d %v", w.Code, w.Header())
			}
		}
	}
	full(laptop, phone)
	s, err := r.Login(t.Context(), nil, "bob", counterfoil.LoginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tokens, _ := s.Issued()
	bob := follow(t, srv.URL, &person{t, h, s, tokens.Access.Reveal(), tokens.Refresh.Reveal()})
	_ = r.End(t.Context(), phone.s.ID())
	over := func(streams ...<-chan string) {
		for _, events := range streams {
			for range events {
			}
		}
	}
	over(onPhone...) // which gives their places back, and no more
	for range 8 {
		onLaptop = append(onLaptop, follow(t, srv.URL, laptop))
	}
	full(laptop)
	close(stop)
	over(append(onLaptop, bob)...)
}

// A HEAD request has no body that anybody could read, so it opens no stream.
func TestNoStreamForHead(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	h := handler(t, r, httpadapter.EndpointsConfig{MaxStreams: 1})
	srv := httptest.NewServer(h)
	defer srv.Close()
	p := signIn(t, r, h, "Laptop")
	for i := range 3 {
		req, _ := http.NewRequestWithContext(t.Context(), "HEAD", srv.URL+httpadapter.EventsPath, nil)
		req.Header.Set("Cookie", "__Host-Http-session="+p.access)
		res, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
			t.Errorf("request %d: %d %v", i+1, res.StatusCode, res.Header)
		}
	}
}

func TestAuthFunc(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	s, err := r.Login(t.Context(), nil, "alice", counterfoil.LoginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tokens, _ := s.Issued()
	type metadata struct{}
	cfg := httpadapter.AuthConfig{
		Guard: r.Guard(),
		Metadata: func(ctx context.Context, key string) []string {
			return ctx.Value(metadata{}).(map[string][]string)[key]
		},
		Fail: func(code uint32, text string) error { return fmt.Errorf("%d %s", code, text) },
	}
	auth, err := httpadapter.AuthFunc(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(auth func(context.Context) (context.Context, error), values []string) string {
		ctx, err := auth(context.WithValue(t.Context(), metadata{}, map[string][]string{"authorization": values}))
		if err != nil {
			return err.Error()
		}
		return httpadapter.VerifiedFrom(ctx).Subject()
	}
	good := "Bearer " + tokens.Access.Reveal()
	for _, tt := range []struct {
		name   string
		values []string
		want   string
	}{
		{"good", []string{good}, "alice"},
		{"none", nil, "16 unauthenticated"},
		{"two", []string{good, good}, "16 unauthenticated"},
		{"another scheme", []string{"Basic YTpi"}, "16 unauthenticated"},
		{"no token", []string{"Bearer x"}, "16 unauthenticated"},
	} {
		if got := ask(auth, tt.values); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	stale := cfg
	stale.Guard = r.Again(t, func(c *counterfoil.Config) { c.Source = deaf{} }).Guard()
	r.StopServer()
	if auth, err = httpadapter.AuthFunc(stale); err != nil {
		t.Fatal(err)
	}
	if got, want := ask(auth, []string{good}), "14 unavailable"; got != want {
		t.Errorf("when it cannot be known: %s, want %s", got, want)
	}
	for what, change := range map[string]func(*httpadapter.AuthConfig){
		"Guard":    func(c *httpadapter.AuthConfig) { c.Guard = nil },
		"Metadata": func(c *httpadapter.AuthConfig) { c.Metadata = nil },
		"Fail":     func(c *httpadapter.AuthConfig) { c.Fail = nil },
	} {
		bad := cfg
		change(&bad)
		if _, err := httpadapter.AuthFunc(bad); err == nil {
			t.Errorf("accepted no %s", what)
		}
	}
}

// What a user ends while a replica is down has ended, and the user is told what is true. Another service is told to repeat it, and can.
func TestEndingsThatAreNotDurable(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	callers, secret := caller(t, "service")
	h := handler(t, r, httpadapter.EndpointsConfig{Callers: callers})
	laptop, phone, tablet := signIn(t, r, h, "Laptop"), signIn(t, r, h, "Phone"), signIn(t, r, h, "Tablet")
	handle := ""
	for _, d := range laptop.list() {
		if d.Label == "Phone" {
			handle = d.Handle
		}
	}
	r.Faults.On(rig.NotDurable("End", "Append"))
	defer r.Faults.On(nil)
	for _, tt := range []struct {
		who     *person
		path    string
		form    []string
		cookies int
	}{
		{laptop, httpadapter.EndPath, []string{"handle", handle, "return", "/a?b=\"c"}, 0},
		{laptop, httpadapter.EndOthersPath, nil, 0},
		{laptop, httpadapter.LogoutPath, []string{"return", "/a?b=\"c"}, 2},
	} {
		w := tt.who.do("POST", tt.path, tt.form...)
		// Whoever wanted to be sent somewhere finds the way there.
		if back := strings.Contains(w.Body.String(), `<a href="/a?b=%22c">`); back != (tt.form != nil) || back != (w.Header().Get("Content-Security-Policy") != "") || back != (w.Header().Get("Content-Type") == "text/html; charset=utf-8") {
			t.Errorf("%s: %v %s", tt.path, w.Header(), w.Body)
		}
		if w.Code != 202 || strings.Count(w.Body.String(), "Done") != 1 || !strings.Contains(w.Body.String(), "not yet certain") || len(w.Result().Cookies()) != tt.cookies || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %q, %d cookies", tt.path, w.Code, w.Body, len(w.Result().Cookies()))
		}
	}
	for _, p := range []*person{laptop, phone, tablet} {
		if w := p.do("GET", httpadapter.ListPath); w.Code != 401 {
			t.Errorf("a session that has ended: %d", w.Code)
		}
	}
	revoke := func(raw string) int {
		req := httptest.NewRequest("POST", httpadapter.RevokePath, strings.NewReader(url.Values{"token": {raw}}.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth("service", secret)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		return w.Code
	}
	for name, raw := range map[string]func(*person) string{
		"access token":  func(p *person) string { return p.access },
		"refresh token": func(p *person) string { return p.refresh },
	} {
		r.Faults.On(rig.NotDurable("End"))
		p := signIn(t, r, h, "Watch")
		for range 2 {
			if code := revoke(raw(p)); code != 503 {
				t.Errorf("%s: %d, want 503", name, code)
			}
		}
		r.Faults.On(nil)
		if code := revoke(raw(p)); code != 200 {
			t.Errorf("%s, when replicas answer: %d, want 200", name, code)
		}
	}
}
