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
