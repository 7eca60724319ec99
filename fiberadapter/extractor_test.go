package fiberadapter_test

import (
	"testing"

	"github.com/gofiber/fiber/v2"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/fiberadapter"
	"github.com/counterfoil/counterfoil/internal/rig"
)

// TestExtractors sends one token in each place, to a verifier and to an application that look in some places only.
func TestExtractors(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	r.Fresh(t)
	s, err := r.Login(t.Context(), nil, "alice", counterfoil.LoginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tokens, _ := s.Issued()
	access := tokens.Access.Reveal()
	places := map[string][]string{
		"cookie": {"Cookie", "__Host-Http-session=" + access},
		"bearer": {"Authorization", "bearer  " + access},
		"header": {"X-Token", access},
		"digest": {"Authorization", "Digest " + access}, // another scheme, whose name is as long
	}
	cookies, bearer, header := fiberadapter.FromCookies(), fiberadapter.FromBearer(), fiberadapter.FromHeader("X-Token")
	for name, tt := range map[string]struct {
		extract fiberadapter.Extractor
		finds   map[string]bool
	}{
		"default":              {nil, map[string]bool{"cookie": true, "bearer": true}},
		"cookies":              {cookies, map[string]bool{"cookie": true}},
		"bearer":               {bearer, map[string]bool{"bearer": true}},
		"header":               {header, map[string]bool{"header": true}},
		"header, then cookies": {fiberadapter.Chain(header, cookies), map[string]bool{"header": true, "cookie": true}},
		"nothing":              {fiberadapter.Chain(), nil},
	} {
		a := fiber.New()
		who := func(c *fiber.Ctx) error { return c.SendString(fiberadapter.Verified(c).Subject()) }
		a.All("/verify", fiberadapter.Verify(r.Guard(), fiberadapter.VerifyConfig{Extractor: tt.extract}), who)
		a.All("/session", fiberadapter.New(fiberadapter.Config{Manager: r.Manager, Extractor: tt.extract}), fiberadapter.Require, who)
		for place, h := range places {
			for _, path := range []string{"/verify", "/session"} {
				b := &browser{t, a, map[string]string{}}
				want := 401
				if tt.finds[place] {
					want = 200
				}
				if res, body := b.do("GET", path, h...); res.StatusCode != want || want == 200 && body != "alice" {
					t.Errorf("%s, token as %s, %s: %d %q, want %d", name, place, path, res.StatusCode, body, want)
				}
				// Only what browsers attach unasked is refused to pages of other sites.
				if want == 200 && place == "cookie" {
					want = 403
				}
				if res, _ := b.do("POST", path, append([]string{"Sec-Fetch-Site", "cross-site"}, h...)...); want != 401 && res.StatusCode != want {
					t.Errorf("%s, token as %s, %s, from another site: %d, want %d", name, place, path, res.StatusCode, want)
				}
			}
		}
	}
}

// TestTwoCredentials sends two tokens at once. A chain stops at the first find, whatever it is worth; what is found together must be of one session.
func TestTwoCredentials(t *testing.T) {
	r := rig.New(t, rig.Embedded)
	r.Fresh(t)
	login := func(subject string) string {
		s, err := r.Login(t.Context(), nil, subject, counterfoil.LoginOptions{})
		if err != nil {
			t.Fatal(err)
		}
		tokens, _ := s.Issued()
		return tokens.Access.Reveal()
	}
	alice, bob, again := login("alice"), login("bob"), login("alice")
	cookies, bearer, header := fiberadapter.FromCookies(), fiberadapter.FromBearer(), fiberadapter.FromHeader("X-Token")
	both := func(c *fiber.Ctx) fiberadapter.Credential {
		return fiberadapter.Credential{Bearer: header(c).Bearer, Cookies: cookies(c).Cookies}
	}
	for name, tt := range map[string]struct {
		extract                fiberadapter.Extractor
		header, bearer, cookie string
		want                   string // the subject; "" = refused
	}{
		"header, then cookies":                       {fiberadapter.Chain(header, cookies), alice, "", bob, "alice"},
		"cookies, then header":                       {fiberadapter.Chain(cookies, header), alice, "", bob, "bob"},
		"bearer, then cookies":                       {fiberadapter.Chain(bearer, cookies), "", alice, bob, "alice"},
		"header, then bearer, then cookies":          {fiberadapter.Chain(header, bearer, cookies), "", bob, alice, "bob"},
		"header, then bearer":                        {fiberadapter.Chain(header, bearer), bob, alice, alice, "bob"},
		"a chain in a chain":                         {fiberadapter.Chain(fiberadapter.Chain(), fiberadapter.Chain(bearer, cookies), header), alice, "", bob, "bob"},
		"a header that is none, then cookies":        {fiberadapter.Chain(header, cookies), "x", "", bob, ""},
		"a cookie that is none, then header":         {fiberadapter.Chain(cookies, header), alice, "", "x", ""},
		"cookies alone":                              {cookies, alice, alice, bob, "bob"},
		"header alone":                               {header, alice, bob, bob, "alice"},
		"default, two users":                         {nil, "", alice, bob, ""},
		"default, one session":                       {nil, "", alice, alice, "alice"},
		"both at once, one session":                  {both, alice, "", alice, "alice"},
		"both at once, two users":                    {both, alice, "", bob, ""},
		"both at once, two users, the other way":     {both, bob, "", alice, ""},
		"both at once, two sessions of one user":     {both, alice, "", again, ""},
		"both at once, the header is none":           {both, "x", "", alice, ""},
		"both at once, where only one is":            {both, "", "", alice, "alice"},
		"both at once in a chain, two users":         {fiberadapter.Chain(bearer, both), alice, "", bob, ""},
		"both at once in a chain, but another first": {fiberadapter.Chain(bearer, both), alice, bob, alice, "bob"},
	} {
		a := fiber.New()
		who := func(c *fiber.Ctx) error { return c.SendString(fiberadapter.Verified(c).Subject()) }
		a.All("/verify", fiberadapter.Verify(r.Guard(), fiberadapter.VerifyConfig{Extractor: tt.extract}), who)
		a.All("/session", fiberadapter.New(fiberadapter.Config{Manager: r.Manager, Extractor: tt.extract}), fiberadapter.Require, who)
		var h []string
		if tt.header != "" {
			h = append(h, "X-Token", tt.header)
		}
		if tt.bearer != "" {
			h = append(h, "Authorization", "Bearer "+tt.bearer)
		}
		if tt.cookie != "" {
			h = append(h, "Cookie", "__Host-Http-session="+tt.cookie)
		}
		for _, path := range []string{"/verify", "/session"} {
			b := &browser{t, a, map[string]string{}}
			status, want := 200, tt.want
			if want == "" {
				status, want = 401, "Unauthorized"
			}
			if res, body := b.do("GET", path, h...); res.StatusCode != status || body != want {
				t.Errorf("%s, %s: %d %q, want %d %q", name, path, res.StatusCode, body, status, want)
			}
		}
	}
}
