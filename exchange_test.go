package counterfoil_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/rig"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

const (
	accessCookie  = "__Host-Http-session"
	refreshCookie = "__Host-Http-refresh"
)

func cookies(t counterfoil.Tokens) string {
	return accessCookie + "=" + t.Access.Reveal() + "; " + refreshCookie + "=" + t.Refresh.Reveal()
}

func TestBegin(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	_, alice := login(t, r, "alice")
	_, bob := login(t, r, "bob")
	endedV, ended := login(t, r, "carol")
	if err := r.End(t.Context(), endedV.Session()); err != nil {
		t.Fatal(err)
	}
	stranger := rig.New(t, rig.Embedded, func(c *counterfoil.Config) { c.Audience = "another" })
	_, foreign := login(t, stranger, "alice")

	good := accessCookie + "=" + alice.Access.Reveal()
	for _, tt := range []struct {
		name    string
		in      counterfoil.Request
		subject string // of the session
		refusal error  // why a credential did not count
		err     error  // the request is not served
	}{
		{name: "nothing"},
		{name: "both cookies", in: counterfoil.Request{Cookie: []string{cookies(alice)}}, subject: "alice"},
		{name: "access cookie alone", in: counterfoil.Request{Cookie: []string{good}}, subject: "alice"},
		{name: "refresh cookie alone", in: counterfoil.Request{Cookie: []string{refreshCookie + "=" + alice.Refresh.Reveal()}}, subject: "alice"},
		{name: "among others, odd spacing", in: counterfoil.Request{Cookie: []string{"a=b;\t " + good + " \t;c", "d=e"}}, subject: "alice"},
		{name: "twice in one header: planted", in: counterfoil.Request{Cookie: []string{good + "; " + good}}},
		{name: "twice in two headers", in: counterfoil.Request{Cookie: []string{good, good}}},
		{name: "name in another case", in: counterfoil.Request{Cookie: []string{strings.ToLower(accessCookie) + "=" + alice.Access.Reveal()}}},
		{name: "quoted", in: counterfoil.Request{Cookie: []string{accessCookie + `="` + alice.Access.Reveal() + `"`}}, refusal: token.ErrInvalid},
		{name: "plain name", in: counterfoil.Request{Cookie: []string{"session=" + alice.Access.Reveal()}}},
		{name: "of another audience", in: counterfoil.Request{Cookie: []string{cookies(foreign)}}, refusal: token.ErrInvalid},
		{name: "ended", in: counterfoil.Request{Cookie: []string{cookies(ended)}}, refusal: revocation.ErrRevoked},
		{name: "ended, refresh alone", in: counterfoil.Request{Cookie: []string{refreshCookie + "=" + ended.Refresh.Reveal()}}, refusal: counterfoil.ErrNotFound},
		{name: "64 KiB", in: counterfoil.Request{Cookie: []string{accessCookie + "=" + strings.Repeat("A", 64<<10)}}, refusal: token.ErrInvalid},
		{name: "64 KiB refresh", in: counterfoil.Request{Cookie: []string{refreshCookie + "=" + strings.Repeat("A", 64<<10)}}},
		{name: "ten thousand cookies", in: counterfoil.Request{Cookie: []string{strings.Repeat("a=b; ", 10_000) + good}}, subject: "alice"},
		{name: "garbage access, good refresh", in: counterfoil.Request{Cookie: []string{accessCookie + "=x; " + refreshCookie + "=" + alice.Refresh.Reveal()}}, subject: "alice"},

		{name: "bearer", in: counterfoil.Request{Authorization: "Bearer " + alice.Access.Reveal()}, subject: "alice"},
		{name: "bearer, scheme in lower case", in: counterfoil.Request{Authorization: "bearer " + alice.Access.Reveal()}, subject: "alice"},
		{name: "bearer beside its own cookie", in: counterfoil.Request{Authorization: "Bearer " + alice.Access.Reveal(), Cookie: []string{good}}, subject: "alice"},
		{name: "bearer beside another's cookie", in: counterfoil.Request{Authorization: "Bearer " + bob.Access.Reveal(), Cookie: []string{good}}, err: token.ErrInvalid},
		{name: "empty bearer", in: counterfoil.Request{Authorization: "Bearer "}, err: token.ErrInvalid},
		{name: "ended bearer", in: counterfoil.Request{Authorization: "Bearer " + ended.Access.Reveal()}, err: revocation.ErrRevoked},
		{name: "bearer of another audience", in: counterfoil.Request{Authorization: "Bearer " + foreign.Access.Reveal()}, err: token.ErrInvalid},
		{name: "basic credentials are not ours", in: counterfoil.Request{Authorization: "Basic YTpi", Cookie: []string{good}}, subject: "alice"},

		{name: "post from here", in: counterfoil.Request{Method: "POST", FetchSite: "same-origin", Cookie: []string{good}}, subject: "alice"},
		{name: "post by hand", in: counterfoil.Request{Method: "POST", FetchSite: "none", Cookie: []string{good}}, subject: "alice"},
		{name: "refresh cookie twice: planted", in: counterfoil.Request{Cookie: []string{refreshCookie + "=" + alice.Refresh.Reveal(), refreshCookie + "=" + alice.Refresh.Reveal()}}},
		{name: "post cross-site, refresh cookie alone", in: counterfoil.Request{Method: "POST", FetchSite: "cross-site", Cookie: []string{refreshCookie + "=" + alice.Refresh.Reveal()}}, err: counterfoil.ErrCrossSite},
		{name: "post, null Origin and no Host", in: counterfoil.Request{Method: "POST", Origin: "null", Cookie: []string{good}}, err: counterfoil.ErrCrossSite},
		{name: "post of no browser", in: counterfoil.Request{Method: "POST", Cookie: []string{good}}, subject: "alice"},
		{name: "post cross-site", in: counterfoil.Request{Method: "POST", FetchSite: "cross-site", Cookie: []string{good}}, err: counterfoil.ErrCrossSite},
		{name: "post from a sibling", in: counterfoil.Request{Method: "POST", FetchSite: "same-site", Cookie: []string{good}}, err: counterfoil.ErrCrossSite},
		{name: "post, an unknown site value", in: counterfoil.Request{Method: "POST", FetchSite: "x", Cookie: []string{good}}, err: counterfoil.ErrCrossSite},
		{name: "post, same origin by Origin", in: counterfoil.Request{Method: "POST", Host: "app.test:8080", Origin: "https://app.test:8080", Cookie: []string{good}}, subject: "alice"},
		{name: "post, another Origin", in: counterfoil.Request{Method: "POST", Host: "app.test", Origin: "https://evil.test", Cookie: []string{good}}, err: counterfoil.ErrCrossSite},
		{name: "post, null Origin", in: counterfoil.Request{Method: "POST", Host: "app.test", Origin: "null", Cookie: []string{good}}, err: counterfoil.ErrCrossSite},
		{name: "a method of its own", in: counterfoil.Request{Method: "PURGE", FetchSite: "cross-site", Cookie: []string{good}}, err: counterfoil.ErrCrossSite},
		{name: "upgrade cross-site", in: counterfoil.Request{Upgrade: "websocket", FetchSite: "cross-site", Cookie: []string{good}}, err: counterfoil.ErrCrossSite},
		{name: "upgrade cross-site that looks like a link", in: counterfoil.Request{Upgrade: "websocket", FetchSite: "cross-site", FetchMode: "navigate", FetchDest: "document", Cookie: []string{good}}, err: counterfoil.ErrCrossSite},
		{name: "post cross-site with a bearer", in: counterfoil.Request{Method: "POST", FetchSite: "cross-site", Authorization: "Bearer " + alice.Access.Reveal()}, subject: "alice"},
		{name: "post cross-site of nobody", in: counterfoil.Request{Method: "POST", FetchSite: "cross-site"}},
		{name: "a link from elsewhere", in: counterfoil.Request{FetchSite: "cross-site", FetchMode: "navigate", FetchDest: "document", Cookie: []string{good}}, subject: "alice"},
		{name: "an image elsewhere", in: counterfoil.Request{FetchSite: "cross-site", FetchMode: "no-cors", FetchDest: "image", Cookie: []string{good}}, subject: "alice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.in.Method == "" {
				tt.in.Method = "GET"
			}
			x, err := r.Begin(t.Context(), tt.in)
			if tt.err != nil {
				if !errors.Is(err, tt.err) || x != nil {
					t.Fatalf("served, or refused with %v, want %v", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatalf("refused: %v", err)
			}
			if x.Session().Subject() != tt.subject {
				t.Errorf("session of %q, want %q", x.Session().Subject(), tt.subject)
			}
			if tt.refusal == nil && x.Refusal() != nil || !errors.Is(x.Refusal(), tt.refusal) {
				t.Errorf("refusal %v, want %v", x.Refusal(), tt.refusal)
			}
			if tt.subject == "" && x.Verified().Valid() {
				t.Error("a request of nobody has a verified token")
			}
		})
	}
}

// TestExchangeDoesNotPrintTokens: an exchange that is going to renew keeps the refresh token until its answer, and no verb of fmt shows it.
func TestExchangeDoesNotPrintTokens(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	_, tokens := login(t, r, "alice")
	r.Advance(3 * time.Minute) // more than half of its life
	x, err := r.Begin(t.Context(), counterfoil.Request{Method: "GET", Cookie: []string{cookies(tokens)}})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil { // what runs must not be looked at
		t.Fatal(err)
	}
	var shown []string // the ways in which a part of a token could show
	for _, secret := range []token.Secret{tokens.Access, tokens.Refresh} {
		text := secret.Reveal()
		part := text[len(text)-16:]
		shown = append(shown, part, strings.Trim(fmt.Sprint([]byte(part)), "[]"), fmt.Sprintf("%x", part), fmt.Sprintf("%X", part))
	}
	for _, verb := range "vTtbcdoOqxXUeEfFgGsp" {
		for _, v := range []any{x, struct{ x *counterfoil.Exchange }{x}, reflect.ValueOf(x).Elem(), x.Session()} {
			for _, flag := range []string{"", "+", "#"} {
				text := fmt.Sprintf("%"+flag+string(verb), v)
				for _, s := range shown {
					if strings.Contains(text, s) {
						t.Errorf("%%%s%c of %T shows %s", flag, verb, v, s)
					}
				}
			}
		}
	}
	if list, err := x.Commit(t.Context()); err != nil || len(list) != 2 {
		t.Errorf("renewed with %d cookies, %v", len(list), err)
	}
}

// setCookies runs one request and returns the exact Set-Cookie headers of its answer, with the tokens in them cut out.
func setCookies(t *testing.T, r *rig.Rig, in counterfoil.Request, handler func(*counterfoil.Exchange) error) ([]string, counterfoil.Tokens) {
	t.Helper()
	if in.Method == "" {
		in.Method = "GET"
	}
	x, err := r.Begin(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if handler != nil {
		if err := handler(x); err != nil {
			t.Fatal(err)
		}
	}
	list, err := x.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	var tokens counterfoil.Tokens
	for _, c := range list {
		line := c.SetCookie()
		if v := c.Value.Reveal(); v != "" {
			line = strings.Replace(line, v, "*", 1)
			if c.Name == accessCookie {
				tokens.Access = c.Value
			} else {
				tokens.Refresh = c.Value
			}
		}
		out = append(out, line)
	}
	return out, tokens
}

func TestSetCookieBytes(t *testing.T) {
	t.Parallel()
	const (
		access    = "__Host-Http-session=*; Path=/; Secure; HttpOnly; SameSite=Lax"
		refresh   = "__Host-Http-refresh=*; Path=/; Secure; HttpOnly; SameSite=Lax"
		noAccess  = "__Host-Http-session=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Secure; HttpOnly; SameSite=Lax"
		noRefresh = "__Host-Http-refresh=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Secure; HttpOnly; SameSite=Lax"
	)
	r := rig.New(t, rig.Embedded)
	ctx := t.Context()
	begin := func(x *counterfoil.Exchange) error { return x.Login(ctx, "alice", counterfoil.LoginOptions{}) }
	check := func(what string, got []string, want ...string) {
		t.Helper()
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s sets\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}

	got, _ := setCookies(t, r, counterfoil.Request{}, nil)
	check("a request of nobody", got)
	got, _ = setCookies(t, r, counterfoil.Request{}, func(x *counterfoil.Exchange) error {
		_, err := visits.Get(ctx, x.Session())
		return err
	})
	check("reading a new session", got)
	got, _ = setCookies(t, r, counterfoil.Request{}, func(x *counterfoil.Exchange) error {
		return name.Set(x.Session(), "first write")
	})
	check("the first write", got, access, refresh)
	got, tokens := setCookies(t, r, counterfoil.Request{}, begin)
	check("a login", got, access, refresh)
	jar := counterfoil.Request{Cookie: []string{cookies(tokens)}}

	got, _ = setCookies(t, r, jar, func(x *counterfoil.Exchange) error {
		_, err := visits.Incr(ctx, x.Session(), 1)
		return err
	})
	check("a write in the first half of the token's life", got)
	r.Advance(142 * time.Second) // the life is 285 to 300 s
	got, _ = setCookies(t, r, jar, nil)
	check("a request just before the second half", got)

	r.Advance(38 * time.Second)
	image := jar
	image.FetchSite, image.FetchMode, image.FetchDest = "cross-site", "no-cors", "image"
	got, _ = setCookies(t, r, image, nil)
	check("an image elsewhere in the second half", got)
	got, second := setCookies(t, r, jar, nil)
	check("a request in the second half", got, access, refresh)
	got, _ = setCookies(t, r, jar, nil)
	check("another tab's, which has not got it yet", got, access, refresh)
	jar.Cookie = []string{cookies(second)}
	got, _ = setCookies(t, r, jar, nil)
	check("a request with the new pair", got)

	r.Advance(6 * time.Minute)
	got, third := setCookies(t, r, jar, nil)
	check("a request with an expired token", got, access, refresh)
	// The client confirms the new generation, and the tab that comes late with the old one is served without cookies.
	fresh := counterfoil.Request{Cookie: []string{cookies(third)}}
	setCookies(t, r, fresh, func(x *counterfoil.Exchange) error {
		_, err := visits.Get(ctx, x.Session())
		return err
	})
	got, _ = setCookies(t, r, jar, func(x *counterfoil.Exchange) error {
		if n, err := visits.Get(ctx, x.Session()); n != 1 || err != nil {
			t.Errorf("the late tab reads %d, %v", n, err)
		}
		return nil
	})
	check("a late tab with the old pair", got)

	got, again := setCookies(t, r, fresh, func(x *counterfoil.Exchange) error {
		if err := x.Logout(ctx); err != nil {
			return err
		}
		return begin(x)
	})
	check("a logout, and a login in its place", got, access, refresh)
	fresh = counterfoil.Request{Cookie: []string{cookies(again)}}
	got, _ = setCookies(t, r, fresh, func(x *counterfoil.Exchange) error {
		_ = name.Set(x.Session(), "goes with the session")
		return x.Logout(ctx)
	})
	check("a logout", got, noAccess, noRefresh)
	got, _ = setCookies(t, r, fresh, nil)
	check("a request after the logout", got)
	got, _ = setCookies(t, r, counterfoil.Request{}, func(x *counterfoil.Exchange) error { return x.Logout(ctx) })
	check("a logout of nobody", got, noAccess, noRefresh)
}

// TestCookieThatNoBrowserKeeps has claims that make the access token a little too long for a cookie. Nobody notices but by the log.
func TestCookieThatNoBrowserKeeps(t *testing.T) {
	t.Parallel()
	var padding atomic.Int64
	r := rig.New(t, rig.Embedded, func(c *counterfoil.Config) {
		c.Claims = func(context.Context, *counterfoil.Session) ([]token.Claim, error) {
			return []token.Claim{{Name: "padding", JSON: `"` + strings.Repeat("x", int(padding.Load())) + `"`}}, nil
		}
	})
	var tokens counterfoil.Tokens
	size := func(n int64) int {
		padding.Store(n)
		_, tokens = setCookies(t, r, counterfoil.Request{Method: "POST"}, func(x *counterfoil.Exchange) error {
			return x.Login(t.Context(), "alice", counterfoil.LoginOptions{})
		})
		return len(accessCookie) + len(tokens.Access.Reveal())
	}
	n := int64(4096-size(0)) * 3 / 4
	const warning = "longer than browsers keep"
	if got := size(n - 16); got > 4096 || strings.Contains(r.Logs.String(), warning) {
		t.Errorf("a cookie of %d bytes: %q", got, r.Logs)
	}
	for i, want := range []int{1, 1, 2} { // the second one comes within a minute of the first
		if got := size(n + 16); got <= 4096 || strings.Count(r.Logs.String(), warning) != want {
			t.Errorf("%d: a cookie of %d bytes: %q, want %d warnings", i, got, r.Logs, want)
		}
		r.Advance(time.Duration(i) * time.Minute)
	}
	// What a browser would not keep is no browser's. A program may have such a token.
	size(n + 48) // now the token is too long without the cookie's name
	in := counterfoil.Request{Method: "GET", Cookie: []string{accessCookie + "=" + tokens.Access.Reveal()}}
	if x, err := r.Begin(t.Context(), in); err != nil || x.Session().Subject() != "" || !errors.Is(x.Refusal(), token.ErrInvalid) {
		t.Errorf("it is taken back: %v, %v", x.Refusal(), err)
	}
	if _, err := counterfoil.Verify(t.Context(), r.Guard(), in, ""); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("a verifier takes it: %v", err)
	}
	in = counterfoil.Request{Method: "GET", Authorization: "Bearer " + tokens.Access.Reveal()}
	if _, err := counterfoil.Verify(t.Context(), r.Guard(), in, ""); err != nil {
		t.Errorf("as a bearer token: %v", err)
	}
}

func TestPlainCookies(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded, func(c *counterfoil.Config) { c.InsecurePlainCookies, c.CookieSuffix = true, "-app" })
	x, err := r.Begin(t.Context(), counterfoil.Request{Method: "GET", Host: "localhost:3000"})
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Login(t.Context(), "alice", counterfoil.LoginOptions{}); err != nil {
		t.Fatal(err)
	}
	list, err := x.Commit(t.Context())
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	for i, name := range []string{"session-app", "refresh-app"} {
		if got, want := list[i].SetCookie(), name+"="+list[i].Value.Reveal()+"; Path=/; HttpOnly; SameSite=Lax"; got != want {
			t.Errorf("got %s", got)
		}
	}
	access := list[0].Value.Reveal()
	cookies := "session-app=" + access + "; refresh-app=" + list[1].Value.Reveal()
	for _, tt := range []struct {
		host string
		used bool
	}{
		{"localhost", true}, {"LOCALHOST:3000", true}, {"127.0.0.1:3000", true}, {"[::1]:3000", true}, {"::1", true},
		{"app.test", false}, {"app.test:3000", false}, {"192.168.1.7:3000", false}, {"localhost.app.test", false}, {"127.0.0.1.app.test", false}, {"0.0.0.0:3000", false}, {"", false},
	} {
		in := counterfoil.Request{Method: "POST", Host: tt.host, Cookie: []string{cookies}}
		x, err := r.Begin(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		if got := x.Session().Subject() == "alice"; got != tt.used {
			t.Errorf("at %q the cookies are used: %v", tt.host, got)
		}
		renewed, err := r.RefreshCookies(t.Context(), in)
		if (len(renewed) > 0) != tt.used || !tt.used && !errors.Is(err, token.ErrInvalid) {
			t.Errorf("at %q a refresh sets %d cookies, %v", tt.host, len(renewed), err)
		}
		if tt.used {
			gone, _ := setCookies(t, r, counterfoil.Request{Host: tt.host}, func(x *counterfoil.Exchange) error { return x.Logout(t.Context()) })
			const how = "=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; HttpOnly; SameSite=Lax"
			if want := "session-app" + how + "\nrefresh-app" + how; strings.Join(gone, "\n") != want {
				t.Errorf("at %q a logout sets %q", tt.host, gone)
			}
			continue
		}
		if err := x.Logout(t.Context()); err != nil {
			t.Errorf("at %q a logout: %v", tt.host, err)
		}
		if list, err := x.Commit(t.Context()); len(list) > 0 || err != nil {
			t.Errorf("at %q a logout sets %d cookies, %v", tt.host, len(list), err)
		}
		for what, in := range map[string]counterfoil.Request{
			"a login":                        {Method: "POST", Host: tt.host},
			"a login by another site's form": {Method: "POST", Host: tt.host, FetchSite: "cross-site", FetchMode: "navigate", FetchDest: "document"},
		} {
			x, err := r.Begin(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			err = x.Login(t.Context(), "alice", counterfoil.LoginOptions{UnsafeFromOtherSite: true})
			if status, _ := counterfoil.Status(err); status != 403 {
				t.Errorf("at %q %s is let through, or answered %d: %v", tt.host, what, status, err)
			}
			if list, err := x.Commit(t.Context()); len(list) > 0 || err != nil {
				t.Errorf("at %q %s sets %d cookies, %v", tt.host, what, len(list), err)
			}
		}
		if x, err := r.Begin(t.Context(), counterfoil.Request{Method: "POST", Host: tt.host, Authorization: "Bearer " + access}); err != nil || x.Session().Subject() != "alice" {
			t.Errorf("at %q a bearer token, which is no cookie: %v", tt.host, err)
		}
	}
}

func TestNoSessionFromElsewhere(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	ctx := t.Context()
	for _, in := range []counterfoil.Request{
		{Method: "POST", FetchSite: "cross-site"},
		{Method: "GET", FetchSite: "cross-site", FetchMode: "no-cors", FetchDest: "image"},
		{Method: "POST", Origin: "https://evil.test", Host: "app.test"},
	} {
		x, err := r.Begin(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Login(ctx, "mallory", counterfoil.LoginOptions{}); !errors.Is(err, counterfoil.ErrCrossSite) {
			t.Errorf("%+v: login answers %v, want ErrCrossSite", in, err)
		}
		x, _ = r.Begin(ctx, in)
		if _, err := visits.Incr(ctx, x.Session(), 1); !errors.Is(err, counterfoil.ErrCrossSite) {
			t.Errorf("%+v: first write answers %v, want ErrCrossSite", in, err)
		}
		if list, err := x.Commit(ctx); len(list) != 0 || err != nil {
			t.Errorf("%+v: sets %v, %v", in, list, err)
		}
	}
	if keys := r.SessionKeys(t); len(keys) != 0 {
		t.Errorf("records were made: %q", keys)
	}
}

// TestFormPostLogin logs in by the answer of an identity provider, which another site's page posts. Only the login itself is let through, only if it says so,
// and nothing that is no page's form.
func TestFormPostLogin(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	ctx := t.Context()
	_, tokens := login(t, r, "alice")
	form := counterfoil.Request{Method: "POST", FetchSite: "cross-site", FetchMode: "navigate", FetchDest: "document"}
	unsafe := counterfoil.LoginOptions{UnsafeFromOtherSite: true}

	for name, in := range map[string]counterfoil.Request{
		"a form":           form,
		"an old browser's": {Method: "POST", Host: "app.test", Origin: "https://idp.test"},
	} {
		x, err := r.Begin(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := visits.Incr(ctx, x.Session(), 1); !errors.Is(err, counterfoil.ErrCrossSite) {
			t.Errorf("%s: a write before the login: %v", name, err)
		}
		if err := x.Login(ctx, "bob", unsafe); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		set, err := x.Commit(ctx)
		if err != nil || len(set) != 2 || x.Session().Subject() != "bob" {
			t.Errorf("%s: %d cookies for %q, %v", name, len(set), x.Session().Subject(), err)
		}
	}

	change := func(f func(*counterfoil.Request)) counterfoil.Request { r := form; f(&r); return r }
	for name, in := range map[string]counterfoil.Request{
		"a script's request":   change(func(r *counterfoil.Request) { r.FetchMode, r.FetchDest = "cors", "empty" }),
		"a document by script": change(func(r *counterfoil.Request) { r.FetchMode = "cors" }),
		"a form in a frame":    change(func(r *counterfoil.Request) { r.FetchDest = "iframe" }),
		"an image":             {Method: "GET", FetchSite: "cross-site", FetchMode: "no-cors", FetchDest: "image"},
		"another method":       change(func(r *counterfoil.Request) { r.Method = "PUT" }),
		"an upgrade":           change(func(r *counterfoil.Request) { r.Upgrade = "websocket" }),
		"half of the headers":  {Method: "POST", FetchSite: "cross-site"},
	} {
		x, err := r.Begin(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Login(ctx, "mallory", unsafe); !errors.Is(err, counterfoil.ErrCrossSite) {
			t.Errorf("%s: login answers %v, want ErrCrossSite", name, err)
		}
		if set, err := x.Commit(ctx); len(set) != 0 || err != nil {
			t.Errorf("%s: sets %v, %v", name, set, err)
		}
	}
	if _, err := r.Begin(ctx, change(func(r *counterfoil.Request) { r.Cookie = []string{cookies(tokens)} })); !errors.Is(err, counterfoil.ErrCrossSite) {
		t.Errorf("a form with cookies: %v, want ErrCrossSite", err)
	}
	x, err := r.Begin(ctx, change(func(r *counterfoil.Request) { r.Authorization = "Bearer " + tokens.Access.Reveal() }))
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Login(ctx, "bob", unsafe); err != nil {
		t.Errorf("a form with a bearer token, which no page can send: %v", err)
	}
	if set, err := x.Commit(ctx); len(set) != 0 || err != nil {
		t.Errorf("a form with a bearer token sets %v, %v", set, err)
	}
}

func TestCommitAfterTheSessionEnded(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	v, tokens := login(t, r, "alice")
	x, err := r.Begin(t.Context(), counterfoil.Request{Method: "GET", Cookie: []string{cookies(tokens)}})
	if err != nil {
		t.Fatal(err)
	}
	_ = name.Set(x.Session(), "late")
	if err := r.End(t.Context(), v.Session()); err != nil {
		t.Fatal(err)
	}
	if list, err := x.Commit(t.Context()); !errors.Is(err, counterfoil.ErrNotFound) || len(list) != 0 {
		t.Errorf("commit answers %v, %v, want ErrNotFound", list, err)
	}
}

// TestNothingIsSentBesideALogin: what was made on arrival stays here once somebody else is about to put another session in the place of this one.
func TestNothingIsSentBesideALogin(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	_, tokens := login(t, r, "alice")
	r.Advance(6 * time.Minute)
	got, _ := setCookies(t, r, counterfoil.Request{Cookie: []string{cookies(tokens)}}, func(x *counterfoil.Exchange) error {
		_, err := r.Config.Store.Freeze(t.Context(), counterfoil.Ref{Session: x.Session().ID(), Subject: "alice"})
		return err
	})
	if len(got) != 0 {
		t.Errorf("sets %q", got)
	}
}

// TestCommitAgain: whoever is in front commits too. What has been set since is saved, and the cookies have gone out once.
func TestCommitAgain(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	for what, age := range map[string]time.Duration{"due": 3 * time.Minute, "expired": 6 * time.Minute} {
		_, tokens := login(t, r, "alice")
		r.Advance(age)
		x, err := r.Begin(t.Context(), counterfoil.Request{Method: "GET", Cookie: []string{cookies(tokens)}})
		if err != nil {
			t.Fatal(err)
		}
		if list, err := x.Commit(t.Context()); len(list) != 2 || err != nil {
			t.Errorf("%s: the first commit answers %d cookies, %v", what, len(list), err)
		}
		if err := name.Set(x.Session(), what); err != nil {
			t.Error(err)
		}
		if list, err := x.Commit(t.Context()); len(list) != 0 || err != nil {
			t.Errorf("%s: the second commit answers %d cookies, %v", what, len(list), err)
		}
		again, err := r.Begin(t.Context(), counterfoil.Request{Method: "GET", Cookie: []string{cookies(tokens)}})
		if err != nil {
			t.Fatal(err)
		}
		if got, _, err := name.Get(t.Context(), again.Session()); got != what || err != nil {
			t.Errorf("%s: what was set between the two is %q, %v", what, got, err)
		}
	}
}

// TestTooLate: once the cookies are decided on, nothing begins that no client would hear of, and what lives goes on.
func TestTooLate(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	ctx := t.Context()
	_, tokens := login(t, r, "alice")
	begin := func(cookie ...string) *counterfoil.Exchange {
		x, err := r.Begin(ctx, counterfoil.Request{Method: "GET", Cookie: cookie})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := x.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		return x
	}
	for what, do := range map[string]func(nobody, alice *counterfoil.Exchange) error{
		"a login":           func(x, _ *counterfoil.Exchange) error { return x.Login(ctx, "bob", counterfoil.LoginOptions{}) },
		"a login over one":  func(_, x *counterfoil.Exchange) error { return x.Login(ctx, "bob", counterfoil.LoginOptions{}) },
		"a new ID":          func(_, x *counterfoil.Exchange) error { return x.Rotate(ctx, counterfoil.RotateOptions{}) },
		"a visitor's count": func(x, _ *counterfoil.Exchange) error { _, err := visits.Incr(ctx, x.Session(), 1); return err },
		"a visitor's field": func(x, _ *counterfoil.Exchange) error {
			_ = name.Set(x.Session(), "late")
			return x.Session().Save(ctx)
		},
	} {
		x := begin()
		if err := do(x, begin(cookies(tokens))); !errors.Is(err, counterfoil.ErrCommitted) {
			t.Errorf("%s after the header: %v, want ErrCommitted", what, err)
		}
		if id := x.Session().ID(); !id.IsZero() {
			t.Errorf("%s after the header has begun session %v", what, id)
		}
	}
	bob, err := r.Login(ctx, nil, "bob", counterfoil.LoginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if devices, err := r.Devices(ctx, bob); err != nil || len(devices) != 1 {
		t.Errorf("bob, who has logged in once, has %v, %v", devices, err)
	}
	x := begin(cookies(tokens))
	if n, err := visits.Incr(ctx, x.Session(), 1); n != 1 || err != nil {
		t.Errorf("a count in a session that lives: %d, %v", n, err)
	}
	if err := x.Logout(ctx); err != nil {
		t.Errorf("a logout, which the cookies need not hear of: %v", err)
	}
}

func TestRefreshCookies(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	ctx := t.Context()
	_, tokens := login(t, r, "alice")
	in := counterfoil.Request{Method: "POST", Cookie: []string{cookies(tokens)}}
	foreign := in
	foreign.FetchSite = "cross-site"
	if _, err := r.RefreshCookies(ctx, foreign); !errors.Is(err, counterfoil.ErrCrossSite) {
		t.Errorf("cross-site: %v", err)
	}
	r.Advance(11 * time.Second)
	list, err := r.RefreshCookies(ctx, in)
	if err != nil || len(list) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	if _, err := r.RefreshCookies(ctx, counterfoil.Request{Method: "POST"}); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("without a cookie: %v", err)
	}
	// Reuse while the old access token is still good is judged later: nobody is logged out by it now.
	r.Advance(30 * time.Second)
	next := counterfoil.Request{Method: "POST", Cookie: []string{accessCookie + "=" + list[0].Value.Reveal() + "; " + refreshCookie + "=" + list[1].Value.Reveal()}}
	if _, err := r.RefreshCookies(ctx, next); err != nil {
		t.Fatal(err)
	}
	r.Advance(30 * time.Second)
	if _, err := r.RefreshCookies(ctx, in); !errors.Is(err, counterfoil.ErrSuperseded) {
		t.Errorf("an old refresh token beside its good access token: %v, want ErrSuperseded", err)
	}
}

func TestPlainNamesCountOnLoopbackOnly(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	_, tokens := login(t, r, "alice")
	for host, want := range map[string]error{
		"localhost:3000": nil, "127.0.0.1:3000": nil, "[::1]:3000": nil, "LOCALHOST": nil,
		"app.test": token.ErrInvalid, "": token.ErrInvalid, "localhost.evil.test": token.ErrInvalid, "10.0.0.1": token.ErrInvalid,
	} {
		in := counterfoil.Request{Method: "GET", Host: host, Cookie: []string{"session=" + tokens.Access.Reveal()}}
		if _, err := counterfoil.Verify(t.Context(), r.Guard(), in, ""); !errors.Is(err, want) {
			t.Errorf("host %q: %v, want %v", host, err, want)
		}
	}
}

// TestSuffixOfCookies: where several applications share a host, each has its cookies.
func TestSuffixOfCookies(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	_, tokens := login(t, r, "alice")
	for _, tt := range []struct {
		cookie, suffix string
		want           error
	}{
		{accessCookie + "-a", "-a", nil}, {accessCookie, "", nil},
		{accessCookie + "-a", "-b", token.ErrInvalid}, {accessCookie, "-a", token.ErrInvalid}, {accessCookie + "-a", "", token.ErrInvalid},
	} {
		in := counterfoil.Request{Method: "GET", Cookie: []string{tt.cookie + "=" + tokens.Access.Reveal()}}
		if _, err := counterfoil.Verify(t.Context(), r.Guard(), in, tt.suffix); !errors.Is(err, tt.want) {
			t.Errorf("%s, suffix %q: %v, want %v", tt.cookie, tt.suffix, err, tt.want)
		}
	}
}

// TestCookiesOfOthersStay shows what a logout does not clear.
func TestCookiesOfOthersStay(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	ctx := t.Context()
	stranger := rig.New(t, rig.Embedded, func(c *counterfoil.Config) { c.Audience = "another" })
	_, theirs := login(t, stranger, "alice")
	_, ours := login(t, r, "alice")
	logout := func(x *counterfoil.Exchange) error { return x.Logout(ctx) }
	if got, _ := setCookies(t, r, counterfoil.Request{Cookie: []string{cookies(theirs)}}, logout); len(got) != 0 {
		t.Errorf("another application's: cleared %q", got)
	}
	if got, _ := setCookies(t, r, counterfoil.Request{Authorization: "Bearer " + ours.Access.Reveal()}, logout); len(got) != 0 {
		t.Errorf("after a bearer token: cleared %q", got)
	}
	if got, _ := setCookies(t, r, counterfoil.Request{Cookie: []string{cookies(ours)}}, logout); len(got) != 2 {
		t.Errorf("our own, of a session that has ended: cleared %q", got)
	}
}

// TestRenewalThatArrivesAfterALogin has the answer to a renewal of the old session reach the jar after the login's: its access cookie lies over the new one.
func TestRenewalThatArrivesAfterALogin(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(*counterfoil.Exchange) error{
		"login":    func(x *counterfoil.Exchange) error { return x.Login(t.Context(), "alice", counterfoil.LoginOptions{}) },
		"rotation": func(x *counterfoil.Exchange) error { return x.Rotate(t.Context(), counterfoil.RotateOptions{}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rig.New(t, rig.Embedded)
			_, old := login(t, r, "alice")
			late := must[[]counterfoil.Cookie](t)(r.RefreshCookies(t.Context(), counterfoil.Request{Method: "POST", Cookie: []string{cookies(old)}}))
			if len(late) != 1 || late[0].Name != accessCookie {
				t.Fatalf("a renewal within the window sets %d cookies", len(late))
			}
			_, fresh := setCookies(t, r, counterfoil.Request{Method: "POST", Cookie: []string{cookies(old)}}, begin)
			jar := []string{accessCookie + "=" + late[0].Value.Reveal() + "; " + refreshCookie + "=" + fresh.Refresh.Reveal()}
			got, _ := setCookies(t, r, counterfoil.Request{Cookie: jar}, func(x *counterfoil.Exchange) error {
				if subject := x.Session().Subject(); subject != "alice" || x.Refusal() != nil {
					t.Errorf("session of %q, refusal %v", subject, x.Refusal())
				}
				return nil
			})
			if len(got) != 1 || !strings.HasPrefix(got[0], accessCookie+"=*;") {
				t.Errorf("cookies set: %q, want the access cookie", got)
			}
			ended := []string{accessCookie + "=" + late[0].Value.Reveal() + "; " + refreshCookie + "=" + old.Refresh.Reveal()}
			x := must[*counterfoil.Exchange](t)(r.Begin(t.Context(), counterfoil.Request{Method: "GET", Cookie: ended}))
			if !errors.Is(x.Refusal(), revocation.ErrRevoked) || !x.Session().ID().IsZero() {
				t.Errorf("the old pair: %v", x.Refusal())
			}
		})
	}
}

// TestReuseIsNotJudgedInTheDark presents a refresh token beside an access token of which it cannot be known whether it is good.
func TestReuseIsNotJudgedInTheDark(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	_, tokens := login(t, r, "alice")
	// A Manager that follows no log and has nobody to ask, on the same store: its list is stale for ever.
	cfg := r.Config
	cfg.Store, cfg.Log = struct{ counterfoil.Store }{r.Config.Store}, r.Faults
	dark, err := counterfoil.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer dark.Close()
	in := counterfoil.Request{Method: "POST", Cookie: []string{cookies(tokens)}}
	if _, err := dark.RefreshCookies(t.Context(), in); !errors.Is(err, revocation.ErrStale) {
		t.Errorf("%v, want ErrStale", err)
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]int{
		nil:                        0,
		errors.New("other"):        0,
		counterfoil.ErrSubject:     400,
		counterfoil.ErrCrossSite:   403,
		counterfoil.ErrConflict:    409,
		counterfoil.ErrSuperseded:  409,
		counterfoil.ErrNotFound:    401,
		counterfoil.ErrReuse:       401,
		counterfoil.ErrTooLarge:    413,
		counterfoil.ErrNotInteger:  500,
		counterfoil.ErrUnavailable: 503,
		revocation.ErrRevoked:      401,
		revocation.ErrStale:        503,
		token.ErrInvalid:           401,
		&token.ExpiredError{}:      401,
	} {
		if got, _ := counterfoil.Status(err); got != want {
			t.Errorf("%v: status %d, want %d", err, got, want)
		}
	}
}
