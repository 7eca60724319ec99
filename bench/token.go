package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"hash/maphash"
	"math/big"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
	jwtware "github.com/gofiber/contrib/jwt"
	"github.com/gofiber/fiber/v2"
	"github.com/golang-jwt/jwt/v5"
	kataras "github.com/kataras/jwt"
	"github.com/lestrrat-go/jwx/v3/jwa"
	jwxjwt "github.com/lestrrat-go/jwx/v3/jwt"
	"github.com/valyala/fasthttp"

	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/issuer"
)

const (
	issuerName = "https://login.example.com"
	audience   = "https://shop.example.com"
	sessionID  = "abcAAECAwQFBgcICQoLDA0ODw"
)

// material is one algorithm with its keys in everybody's form.
type material struct {
	name      string
	private   any // ed25519.PrivateKey, *ecdsa.PrivateKey or a secret
	public    any
	key       *issuer.Key
	method    jwt.SigningMethod
	jose      jose.SignatureAlgorithm
	jwx       jwa.SignatureAlgorithm
	kataras   kataras.Alg
	cold      float64 // goals
	issue     float64
	sign      func(message []byte) []byte
	primitive func(message, signature []byte) func() // verification of prepared bytes
}

func materials() ([]*material, error) {
	edPublic, edPrivate, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	esPrivate, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	secret := make([]byte, 32)
	rand.Read(secret)
	all := []*material{
		{name: "Ed25519", private: edPrivate, public: edPublic, method: jwt.SigningMethodEdDSA, jose: jose.EdDSA, jwx: jwa.EdDSA(), kataras: kataras.EdDSA, cold: 1.05, issue: 1.05,
			sign: func(m []byte) []byte { return ed25519.Sign(edPrivate, m) },
			primitive: func(m, sig []byte) func() {
				return func() { must(ed25519.Verify(edPublic, m, sig)) }
			}},
		{name: "ES256", private: esPrivate, public: &esPrivate.PublicKey, method: jwt.SigningMethodES256, jose: jose.ES256, jwx: jwa.ES256(), kataras: kataras.ES256, cold: 1.05,
			sign: func(m []byte) []byte {
				digest := sha256.Sum256(m)
				der, err := esPrivate.Sign(rand.Reader, digest[:], crypto.SHA256)
				must(err == nil)
				return der
			},
			primitive: func(m, sig []byte) func() {
				der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])})
				must(err == nil)
				return func() {
					digest := sha256.Sum256(m)
					must(ecdsa.VerifyASN1(&esPrivate.PublicKey, digest[:], der))
				}
			}},
		{name: "HS256", private: secret, public: secret, method: jwt.SigningMethodHS256, jose: jose.HS256, jwx: jwa.HS256(), kataras: kataras.HS256, cold: 3.2,
			sign: func(m []byte) []byte {
				h := hmac.New(sha256.New, secret)
				h.Write(m)
				return h.Sum(nil)
			},
			primitive: func(m, sig []byte) func() {
				return func() {
					h := hmac.New(sha256.New, secret)
					h.Write(m)
					must(hmac.Equal(h.Sum(nil), sig))
				}
			}},
	}
	for _, m := range all {
		if m.name == "HS256" {
			m.key, err = issuer.NewHMACKey(secret)
		} else {
			m.key, err = issuer.NewKey(m.private.(crypto.Signer))
		}
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

func must(ok bool) {
	if !ok {
		panic("bench: a row does not do what it is measured for")
	}
}

func tokenSuite() (suite, error) {
	groups, err := tokenGroups()
	return suite{tables: groups}, err
}

func tokenGroups() ([]table, error) {
	all, err := materials()
	if err != nil {
		return nil, err
	}
	var groups []table
	for _, m := range all {
		g, err := m.verifyGroup()
		if err != nil {
			return nil, err
		}
		groups = append(groups, g)
	}
	warm, err := all[0].warmGroup()
	if err != nil {
		return nil, err
	}
	groups = append(groups, warm)
	for _, m := range all {
		g, err := m.issueGroup()
		if err != nil {
			return nil, err
		}
		groups = append(groups, g)
	}
	refused, err := all[0].refuseGroup()
	return append(groups, refused), err
}

func (m *material) claims(now time.Time) token.Claims {
	return token.Claims{
		Issuer: issuerName, Audience: audience, Subject: "user-12345678", Session: token.MustParseSessionID(sessionID), Generation: 3, IssuedAt: now, Expires: now.Add(15 * time.Minute),
		Extra: []token.Claim{{Name: "roles", JSON: `["admin","editor"]`}, {Name: "tenant", JSON: `"acme"`}},
	}
}

func (m *material) mint(now time.Time) (string, *issuer.Issuer, error) {
	ring, err := issuer.NewRing(m.key)
	if err != nil {
		return "", nil, err
	}
	i, err := issuer.New(issuer.Config{Issuer: issuerName, Audience: audience, Ring: ring})
	if err != nil {
		return "", nil, err
	}
	raw, err := i.Mint(m.claims(now))
	return raw.Reveal(), i, err
}

func (m *material) verifier(entries int) (*token.Verifier, error) {
	set, err := token.NewKeySet(m.key.Public())
	if err != nil {
		return nil, err
	}
	return token.NewVerifier(token.VerifierConfig{Issuer: issuerName, Audience: audience, Keys: set, Entries: entries})
}

// foreignClaims is the same claim set for the others.
func foreignClaims(now time.Time) map[string]any {
	return map[string]any{
		"iss": issuerName, "aud": audience, "sub": "user-12345678", "sid": sessionID, "gen": 3, "iat": now.Unix(), "exp": now.Add(15 * time.Minute).Unix(), "roles": []string{"admin", "editor"}, "tenant": "acme",
	}
}

type registered struct {
	jwt.RegisteredClaims
	Session    string   `json:"sid"`
	Generation uint64   `json:"gen"`
	Roles      []string `json:"roles"`
	Tenant     string   `json:"tenant"`
}

func (m *material) verifyGroup() (*group, error) {
	now := time.Now()
	raw, _, err := m.mint(now)
	if err != nil {
		return nil, err
	}
	ours, err := m.verifier(-1)
	if err != nil {
		return nil, err
	}
	dot := strings.LastIndexByte(raw, '.')
	signature, err := base64.RawURLEncoding.DecodeString(raw[dot+1:])
	if err != nil {
		return nil, err
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{m.method.Alg()}), jwt.WithIssuer(issuerName), jwt.WithAudience(audience), jwt.WithExpirationRequired())
	keyfunc := func(*jwt.Token) (any, error) { return m.public, nil }
	kraw, err := kataras.Sign(m.kataras, m.private, foreignClaims(now))
	if err != nil {
		return nil, err
	}
	data := []byte(raw)

	bare := fiber.New()
	bare.Get("/", func(c *fiber.Ctx) error { return nil })
	guarded := fiber.New()
	guarded.Use(jwtware.New(jwtware.Config{SigningKey: jwtware.SigningKey{JWTAlg: m.method.Alg(), Key: m.public}}))
	guarded.Get("/", func(c *fiber.Ctx) error { return nil })
	serve := func(app *fiber.App) func() {
		h := app.Handler()
		var ctx fasthttp.RequestCtx
		ctx.Request.Header.SetMethod("GET")
		ctx.Request.SetRequestURI("/")
		ctx.Request.Header.Set("Authorization", "Bearer "+raw)
		return func() {
			h(&ctx)
			must(ctx.Response.StatusCode() == 200)
		}
	}

	return &group{title: fmt.Sprintf("Verify %s, %d characters, cold", m.name, len(raw)), rows: []*row{
		{name: "the primitive on prepared bytes", run: m.primitive([]byte(raw[:dot]), signature)},
		{name: "counterfoil", ratio: m.cold, allocs: 3, run: func() {
			_, err := ours.Verify(raw)
			must(err == nil)
		}},
		{name: "golang-jwt, MapClaims", run: func() {
			_, err := parser.Parse(raw, keyfunc)
			must(err == nil)
		}},
		{name: "golang-jwt, RegisteredClaims", run: func() {
			_, err := parser.ParseWithClaims(raw, new(registered), keyfunc)
			must(err == nil)
		}},
		{name: "kataras/jwt", run: func() {
			v, err := kataras.Verify(m.kataras, m.public, kraw, kataras.Expected{Issuer: issuerName})
			must(err == nil)
			var c map[string]any
			must(v.Claims(&c) == nil)
		}},
		{name: "go-jose", run: func() {
			t, err := josejwt.ParseSigned(raw, []jose.SignatureAlgorithm{m.jose})
			must(err == nil)
			var c josejwt.Claims
			var rest map[string]any
			must(t.Claims(m.public, &c, &rest) == nil && c.Validate(josejwt.Expected{Issuer: issuerName, AnyAudience: josejwt.Audience{audience}, Time: time.Now()}) == nil)
		}},
		{name: "jwx", run: func() {
			_, err := jwxjwt.Parse(data, jwxjwt.WithKey(m.jwx, m.public), jwxjwt.WithValidate(true), jwxjwt.WithIssuer(issuerName), jwxjwt.WithAudience(audience))
			must(err == nil)
		}},
		{name: "contrib/jwt, without the bare Fiber handler", minus: "bare Fiber handler", run: serve(guarded)},
		{name: "bare Fiber handler", run: serve(bare)},
	}}, nil
}

// warmGroup: 256 tokens in turn, each presented from other memory than it was first seen in.
func (m *material) warmGroup() (*group, error) {
	ours, err := m.verifier(0)
	if err != nil {
		return nil, err
	}
	var kept, shown [256]string
	for i := range kept {
		raw, _, err := m.mint(time.Now().Add(time.Duration(i) * time.Millisecond))
		if err != nil {
			return nil, err
		}
		kept[i], shown[i] = raw, strings.Clone(raw)
		if _, err := ours.Verify(raw); err != nil {
			return nil, err
		}
	}
	seed := maphash.MakeSeed()
	// A run is all 256, so that calling it costs next to nothing.
	floor := func() {
		var sum uint64
		for i := range kept {
			sum += maphash.String(seed, shown[i])
			must(shown[i] == kept[i])
		}
		must(sum != 0)
	}
	verify := func() {
		for i := range shown {
			_, err := ours.Verify(shown[i])
			must(err == nil)
		}
	}
	return &group{title: fmt.Sprintf("Verify %s, warm, 256 tokens in turn (times are of all 256)", m.name), rows: []*row{
		{name: "floor", run: floor},
		{name: "counterfoil", run: verify, ratio: 1},
		{name: "floor, two cores", cores: 2, run: floor},
		{name: "counterfoil, two cores", cores: 2, run: verify, scale: "counterfoil"},
	}}, nil
}

func (m *material) issueGroup() (*group, error) {
	now := time.Now()
	raw, ours, err := m.mint(now)
	if err != nil {
		return nil, err
	}
	message := []byte(raw[:strings.LastIndexByte(raw, '.')])
	claims := m.claims(now)
	kid := m.key.ID()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: m.jose, Key: m.private}, (&jose.SignerOptions{}).WithType("session+jwt").WithHeader("kid", kid))
	if err != nil {
		return nil, err
	}
	return &group{title: "Issue " + m.name, rows: []*row{
		{name: "the primitive on prepared bytes", run: func() { must(len(m.sign(message)) > 0) }},
		{name: "counterfoil", ratio: m.issue, allocs: -1, run: func() {
			_, err := ours.Mint(claims)
			must(err == nil)
		}},
		{name: "golang-jwt, MapClaims", run: func() {
			t := jwt.NewWithClaims(m.method, jwt.MapClaims(foreignClaims(now)))
			t.Header["kid"], t.Header["typ"] = kid, "session+jwt"
			_, err := t.SignedString(m.private)
			must(err == nil)
		}},
		{name: "golang-jwt, RegisteredClaims", run: func() {
			t := jwt.NewWithClaims(m.method, &registered{jwt.RegisteredClaims{Issuer: issuerName, Audience: jwt.ClaimStrings{audience}, Subject: "user-12345678", IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(15 * time.Minute))}, sessionID, 3, []string{"admin", "editor"}, "acme"})
			t.Header["kid"], t.Header["typ"] = kid, "session+jwt"
			_, err := t.SignedString(m.private)
			must(err == nil)
		}},
		{name: "kataras/jwt", run: func() {
			_, err := kataras.Sign(m.kataras, m.private, foreignClaims(now))
			must(err == nil)
		}},
		{name: "go-jose", run: func() {
			_, err := josejwt.Signed(signer).Claims(foreignClaims(now)).Serialize()
			must(err == nil)
		}},
		{name: "jwx", run: func() {
			b := jwxjwt.NewBuilder()
			for name, value := range foreignClaims(now) {
				b = b.Claim(name, value)
			}
			t, err := b.Build()
			must(err == nil)
			_, err = jwxjwt.Sign(t, jwxjwt.WithKey(m.jwx, m.private))
			must(err == nil)
		}},
	}}, nil
}

// refuseGroup measures what an attacker can make a verifier do.
func (m *material) refuseGroup() (*group, error) {
	now := time.Now()
	raw, _, err := m.mint(now)
	if err != nil {
		return nil, err
	}
	others, err := materials()
	if err != nil {
		return nil, err
	}
	foreign, _, err := others[0].mint(now)
	if err != nil {
		return nil, err
	}
	ours, err := m.verifier(0)
	if err != nil {
		return nil, err
	}
	keys := map[string]any{m.key.ID(): m.public}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{m.method.Alg()}), jwt.WithIssuer(issuerName), jwt.WithAudience(audience), jwt.WithExpirationRequired())
	keyfunc := func(t *jwt.Token) (any, error) {
		if k, ok := keys[fmt.Sprint(t.Header["kid"])]; ok {
			return k, nil
		}
		return nil, fmt.Errorf("unknown key")
	}
	junk := base64.RawURLEncoding.EncodeToString(append(append([]byte(`{"x":"`), bytes.Repeat([]byte("x"), 780_000)...), `"}`...))
	tokens := map[string]string{
		"malformed in the last character": raw[:len(raw)-1] + "=",
		"forged":                          raw[:len(raw)-8] + "AAAAAAAA",
		"of an unknown key":               foreign,
		"of 1 MiB":                        strings.Replace(foreign, ".", "."+junk, 1),
		"of 1 Mi dots":                    strings.Repeat(".", 1<<20),
	}
	g := &group{title: "Refuse " + m.name + " (ratios to the primitive)"}
	dot := strings.LastIndexByte(raw, '.')
	signature, err := base64.RawURLEncoding.DecodeString(raw[dot+1:])
	if err != nil {
		return nil, err
	}
	g.rows = append(g.rows, &row{name: "the primitive on prepared bytes", run: m.primitive([]byte(raw[:dot]), signature)})
	for _, c := range []struct {
		kind         string
		nanos, ratio float64
		allocs       int
	}{{"malformed in the last character", 150, 0, 0}, {"of an unknown key", 150, 0, 0}, {"forged", 0, 1.05, 1}, {"of 1 MiB", 1000, 0, 0}, {"of 1 Mi dots", 1000, 0, 0}} {
		raw := tokens[c.kind]
		g.rows = append(g.rows, &row{name: "counterfoil, " + c.kind, nanos: c.nanos, ratio: c.ratio, allocs: c.allocs, run: func() {
			_, err := ours.Verify(raw)
			must(err != nil)
		}}, &row{name: "golang-jwt, " + c.kind, run: func() {
			_, err := parser.Parse(raw, keyfunc)
			must(err != nil)
		}})
	}
	return g, nil
}
