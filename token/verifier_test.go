//go:build !hostcrypto

package token_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/issuer"
	"github.com/counterfoil/counterfoil/token/tokentest"
)

func algorithms() []string {
	if hasES256 {
		return []string{"EdDSA", "ES256", "HS256"}
	}
	return []string{"EdDSA", "HS256"}
}

func TestVerifyGivesTheClaims(t *testing.T) {
	for _, alg := range algorithms() {
		t.Run(alg, func(t *testing.T) {
			key := tokentest.Key(t, alg)
			i := tokentest.NewWith(t, key)
			want := token.Claims{
				Subject: `Zoë "the" \ 日本`, Session: tokentest.SessionID(t), Generation: 1<<53 - 1,
				IssuedAt: tokentest.Start.Add(123 * time.Millisecond), Expires: tokentest.Start.Add(299_990 * time.Millisecond), AuthTime: tokentest.Start.Add(-time.Hour),
				Began: tokentest.Start.Add(-time.Minute - time.Millisecond),
				Extra: []token.Claim{{Name: "plan", JSON: ` {"tier" : "pro","n":[1,2.5e3,null]} `}, {Name: "https://example.test/claim", JSON: "true"}},
			}
			v := i.Verifier()
			raw := i.Mint(want)
			for _, way := range []string{"cold", "warm"} {
				got, err := v.Verify(raw)
				if err != nil {
					t.Fatalf("%s: %v", way, err)
				}
				at, has := got.AuthTime()
				if !got.Valid() || got.Issuer() != tokentest.IssuerName || got.Audience() != tokentest.Audience || got.Subject() != want.Subject || got.Session() != want.Session ||
					got.Generation() != want.Generation || !got.IssuedAt().Equal(want.IssuedAt) || !got.Expires().Equal(want.Expires) || !got.Began().Equal(want.Began) || got.BeganMilli() != want.Began.UnixMilli() || !has || !at.Equal(want.AuthTime) || got.KeyID() != key.ID() ||
					got.IssuedAtMilli() != want.IssuedAt.UnixMilli() || got.ExpiresMilli() != want.Expires.UnixMilli() || got.SubjectHash() != token.SubjectHash(tokentest.IssuerName, want.Subject) {
					t.Errorf("%s: not what was minted", way)
				}
				for _, c := range want.Extra {
					if json, ok := got.Claim(c.Name); !ok || json != strings.TrimSpace(c.JSON) {
						t.Errorf("%s: claim %s is %q, %v", way, c.Name, json, ok)
					}
				}
				for _, name := range []string{"", "sub", "SUB", "exp", "Plan", "tier", "nothing"} {
					if json, ok := got.Claim(name); ok || json != "" {
						t.Errorf("%s: claim %q is %q", way, name, json)
					}
				}
			}
			if s := v.Stats(); s.Hits != 1 || s.Misses != 1 || s.Refused != 0 || s.Entries != 4096 {
				t.Errorf("stats: %+v", s)
			}
		})
	}
}

func TestAnonymous(t *testing.T) {
	v := tokentest.New(t).Verified(token.Claims{})
	if v.Subject() != "" || v.SubjectHash() != [16]byte{} {
		t.Error("an anonymous token has a subject")
	}
	if _, has := v.AuthTime(); has {
		t.Error("auth_time out of nothing")
	}
	if !v.Began().Equal(v.IssuedAt()) || v.BeganMilli() != v.IssuedAtMilli() {
		t.Error("a session whose token does not say when it began did not begin with it")
	}
}

func TestZeroVerified(t *testing.T) {
	var v token.Verified
	_, claim := v.Claim("x")
	at, has := v.AuthTime()
	if v.Valid() || v.Issuer()+v.Audience()+v.Subject()+v.KeyID() != "" || !v.Session().IsZero() || v.Generation() != 0 || !v.IssuedAt().IsZero() || !v.Expires().IsZero() ||
		!v.Began().IsZero() || v.BeganMilli() != 0 || v.IssuedAtMilli() != 0 || v.ExpiresMilli() != 0 || has || !at.IsZero() || claim || v.SubjectHash() != [16]byte{} {
		t.Error("the zero Verified says something")
	}
}

func TestZeroVerifierRefuses(t *testing.T) {
	var v token.Verifier
	if got, err := v.VerifyAt("a.b.c", time.Now()); got.Valid() || !errors.Is(err, token.ErrInvalid) {
		t.Errorf("%v, %v", got.Valid(), err)
	}
}

// TestOneSpelling puts every byte at every place of a good token, and takes every byte away: nothing but the token itself is accepted.
func TestOneSpelling(t *testing.T) {
	i := tokentest.NewWith(t, tokentest.Key(t, "HS256")) // cheap to verify
	raw := i.Mint(token.Claims{})
	v := i.Verifier()
	if _, err := v.Verify(raw); err != nil {
		t.Fatal(err)
	}
	check := func(bad string) {
		if bad == raw {
			return
		}
		if got, err := v.Verify(bad); err == nil || got.Valid() || !errors.Is(err, token.ErrInvalid) {
			t.Fatalf("accepted a token that is not what was minted: %q", bad)
		}
	}
	for at := range len(raw) + 1 {
		for b := range 256 {
			check(raw[:at] + string([]byte{byte(b)}) + raw[at:])
			if at < len(raw) {
				check(raw[:at] + string([]byte{byte(b)}) + raw[at+1:])
			}
		}
		check(raw[:at])
		check(raw[at:])
		if at < len(raw) {
			check(raw[:at] + raw[at+1:])
			check(raw[:at] + "%" + fmt.Sprintf("%02X", raw[at]) + raw[at+1:])
		}
	}
}

func TestEveryKeyOnlyItsOwnAlgorithm(t *testing.T) {
	var issuers []*tokentest.Issuer
	for _, alg := range algorithms() {
		issuers = append(issuers, tokentest.NewWith(t, tokentest.Key(t, alg)), tokentest.NewWith(t, tokentest.Key(t, alg)))
	}
	for a, mint := range issuers {
		raw := mint.Mint(token.Claims{})
		_, rest, _ := strings.Cut(raw, ".")
		for b, check := range issuers {
			_, err := check.Verifier().Verify(raw)
			if (err == nil) != (a == b) {
				t.Errorf("token of %d at %d: %v", a, b, err)
			}
			forged := check.Keys().Keys()[0].HeaderSegment() + "." + rest // claims to be of the key that checks
			if _, err := check.Verifier().Verify(forged); (err == nil) != (a == b) {
				t.Errorf("token of %d with the header of %d: %v", a, b, err)
			}
		}
	}
}

// TestExpiredMeansNothingElseWrong: what is forged, foreign or malformed is never "expired".
func TestExpiredMeansNothingElseWrong(t *testing.T) {
	i := tokentest.New(t)
	raw := i.Mint(token.Claims{})
	v := i.Verifier()
	for _, warm := range []bool{false, true} {
		if warm {
			if _, err := v.Verify(raw); err != nil {
				t.Fatal(err)
			}
		}
		late := tokentest.Start.Add(6 * time.Minute)
		got, err := v.VerifyAt(raw, late)
		var expired *token.ExpiredError
		if got.Valid() || !errors.As(err, &expired) || errors.Is(err, token.ErrInvalid) || !expired.Expires().Equal(tokentest.Start.Add(5*time.Minute)) || token.Reason(err) != "expired" {
			t.Errorf("warm %v: %v", warm, err)
		}
		forged := raw[:len(raw)-8] + "AAAAAAAA"
		if _, err := v.VerifyAt(forged, late); errors.As(err, &expired) || !errors.Is(err, token.ErrInvalid) {
			t.Errorf("forged and expired: %v", err)
		}
		if _, err := v.VerifyAt(raw, tokentest.Start.Add(-11*time.Second)); token.Reason(err) != "issued in the future" {
			t.Errorf("warm %v, before its time: %v", warm, err)
		}
	}
}

func TestBoundsOfConfiguration(t *testing.T) {
	good := token.VerifierConfig{Issuer: "i", Audience: "a", Keys: new(token.KeySet)}
	if _, err := token.NewVerifier(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*token.VerifierConfig){
		"no issuer":            func(c *token.VerifierConfig) { c.Issuer = "" },
		"no audience":          func(c *token.VerifierConfig) { c.Audience = "" },
		"issuer not UTF-8":     func(c *token.VerifierConfig) { c.Issuer = "\xff" },
		"issuer with NUL":      func(c *token.VerifierConfig) { c.Issuer = "a\x00b" },
		"no keys":              func(c *token.VerifierConfig) { c.Keys = nil },
		"negative leeway":      func(c *token.VerifierConfig) { c.Leeway = -1 },
		"leeway over a minute": func(c *token.VerifierConfig) { c.Leeway = time.Minute + 1 },
		"negative life":        func(c *token.VerifierConfig) { c.MaxLife = -1 },
		"life over 15 min":     func(c *token.VerifierConfig) { c.MaxLife = 15*time.Minute + 1 },
		"too many entries":     func(c *token.VerifierConfig) { c.Entries = 1<<20 + 1 },
	} {
		c := good
		change(&c)
		if v, err := token.NewVerifier(c); err == nil || v != nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestVerifyKeepsNothingOfTheBuffer: frameworks hand out strings that are views on buffers they use again.
func TestVerifyKeepsNothingOfTheBuffer(t *testing.T) {
	i := tokentest.New(t)
	a, b := i.Mint(token.Claims{Subject: "alice"}), i.Mint(token.Claims{Subject: "bobby"})
	v := i.Verifier()
	buf := []byte(a)
	alice, err := v.Verify(viewOf(buf))
	if err != nil {
		t.Fatal(err)
	}
	copy(buf, b) // the next request
	bobby, err := v.Verify(viewOf(buf))
	if err != nil {
		t.Fatal(err)
	}
	clear(buf)
	if alice.Subject() != "alice" || bobby.Subject() != "bobby" {
		t.Errorf("%q and %q", alice.Subject(), bobby.Subject())
	}
	if again, err := v.Verify(a); err != nil || again.Subject() != "alice" {
		t.Errorf("%q, %v", again.Subject(), err)
	}
}

func TestKeySets(t *testing.T) {
	i := tokentest.New(t)
	second := tokentest.Key(t, "EdDSA")
	raw := i.Mint(token.Claims{})
	v := i.Verifier()
	set := i.Keys()
	first := set.Keys()[0]
	generation := set.Generation()
	ok := func(what string, want bool) {
		t.Helper()
		if _, err := v.Verify(raw); (err == nil) != want {
			t.Errorf("%s: %v", what, err)
		}
	}
	ok("cold", true)
	if err := set.Replace(first, second.Public()); err != nil || set.Generation() != generation {
		t.Errorf("adding a key: %v, generation %d", err, set.Generation())
	}
	ok("key added", true)
	if v.Stats().Hits != 1 {
		t.Error("adding a key made the verifier forget")
	}
	if err := set.Replace(second.Public(), first); err != nil || set.Generation() != generation {
		t.Errorf("another order: %v, generation %d", err, set.Generation())
	}
	if err := set.Replace(second.Public()); err != nil || set.Generation() == generation {
		t.Errorf("removing a key: %v, generation %d", err, set.Generation())
	}
	ok("key removed", false)
	if err := set.Replace(first); err != nil {
		t.Fatal(err)
	}
	hits := v.Stats().Hits
	ok("key back", true)
	if v.Stats().Hits != hits {
		t.Error("a token verified under another generation was a hit")
	}
	if set.Replace(first, token.Key{}) == nil || set.Replace(first, first) == nil || set.Replace(first, vectorKeyHS) == nil {
		t.Error("bad sets accepted")
	}
	ok("after refused replacements", true)
}

func TestWindow(t *testing.T) {
	i := tokentest.New(t)
	v, other := i.Verifier(), i.Verifier()
	holds := func(by *token.Verifier, known token.Verified, at time.Time) bool {
		from, until, ok := by.Window(known)
		return ok && !at.Before(from) && at.Before(until)
	}
	known, err := v.Verify(i.Mint(token.Claims{}))
	if err != nil {
		t.Fatal(err)
	}
	leeway := 10 * time.Second
	for _, c := range []struct {
		name  string
		known token.Verified
		by    *token.Verifier
		at    time.Time
		want  bool
	}{
		{"still good", known, v, tokentest.Start.Add(time.Minute), true},
		{"in the last millisecond", known, v, known.Expires().Add(leeway - time.Millisecond), true},
		{"expired", known, v, known.Expires().Add(leeway), false},
		{"the clock was set back", known, v, known.IssuedAt().Add(-leeway - time.Millisecond), false},
		{"nothing was verified", token.Verified{}, v, tokentest.Start, false},
		{"another verifier", known, other, tokentest.Start, false},
		{"the zero verifier", known, new(token.Verifier), tokentest.Start, false},
	} {
		if got := holds(c.by, c.known, c.at); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	first := i.Keys().Keys()[0]
	for _, c := range []struct {
		name string
		keys []token.Key
		want bool
	}{
		{"a key more", []token.Key{first, tokentest.Key(t, "EdDSA").Public()}, true},
		{"its key removed", []token.Key{tokentest.Key(t, "EdDSA").Public()}, false},
		{"its key back", []token.Key{first}, false}, // it has to be verified anew
	} {
		if err := i.Keys().Replace(c.keys...); err != nil {
			t.Fatal(err)
		}
		if got := holds(v, known, tokentest.Start); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// TestAlteredKey: the same ID with other material is another key.
func TestAlteredKey(t *testing.T) {
	sets := [2][]token.Key{}
	for n := range sets {
		public := ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune('a'+n)), 32))).Public().(ed25519.PublicKey)
		keys, err := token.ParseJWKS([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"same","x":"` + b64(public) + `"}]}`))
		if err != nil {
			t.Fatal(err)
		}
		sets[n] = keys
	}
	set, err := token.NewKeySet(sets[0]...)
	if err != nil {
		t.Fatal(err)
	}
	before := set.Generation()
	if err := set.Replace(sets[1]...); err != nil || set.Generation() == before {
		t.Errorf("%v, generation %d", err, set.Generation())
	}
	if sets[0][0].Equal(sets[1][0]) || !sets[0][0].Equal(sets[0][0]) {
		t.Error("Equal does not look at the material")
	}
}

func TestMissed(t *testing.T) {
	i, other := tokentest.New(t), tokentest.New(t)
	v := i.Verifier()
	raw := other.Mint(token.Claims{})
	v.Verify(raw) // nobody listens yet: nothing happens
	missed := i.Keys().Missed()
	for range 3 {
		if _, err := v.Verify(raw); token.Reason(err) != "unknown key" {
			t.Fatal(err)
		}
	}
	<-missed
	select {
	case <-missed:
		t.Error("more than one value for a flood")
	default:
	}
	v.Verify(i.Mint(token.Claims{}))
	v.Verify("a.b")
	select {
	case <-missed:
		t.Error("a known key, or a malformed token, counts as missed")
	default:
	}
}

func TestTwoIssuersTwoKeys(t *testing.T) {
	keys := [2]*issuer.Key{tokentest.Key(t, "EdDSA"), tokentest.Key(t, "EdDSA")}
	for a := range keys {
		for b := range keys {
			i := tokentest.NewWith(t, keys[a])
			config := tokentest.NewWith(t, keys[b]).Config()
			for _, issuerName := range []string{tokentest.IssuerName, "https://other.test"} {
				config.Issuer = issuerName
				v, err := token.NewVerifier(config)
				if err != nil {
					t.Fatal(err)
				}
				_, err = v.VerifyAt(i.Mint(token.Claims{}), tokentest.Start)
				if (err == nil) != (a == b && issuerName == tokentest.IssuerName) {
					t.Errorf("key %d at a verifier with key %d and issuer %s: %v", a, b, issuerName, err)
				}
			}
		}
	}
}

// TestSmallOrderKeys shows why points of small order are refused: some signature that no private key made verifies for some message.
func TestSmallOrderKeys(t *testing.T) {
	neutral := make([]byte, 32)
	neutral[0] = 1
	forged := append(append([]byte{}, neutral...), make([]byte, 32)...) // R = 0, S = 0
	if !ed25519.Verify(neutral, []byte("any message"), forged) {
		t.Fatal("the premise of this test does not hold")
	}
	if _, err := token.Ed25519Key(neutral); token.Reason(err) != "weak key" {
		t.Errorf("%v", err)
	}
	for range 100 { // and that no ordinary key is
		public, _, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := token.Ed25519Key(public); err != nil {
			t.Error(err)
		}
	}
	for _, n := range []int{0, 31, 33, 64} {
		if _, err := token.Ed25519Key(make([]byte, n)); token.Reason(err) != "key material" {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// TestThumbprint: RFC 8037 appendix A.3.
func TestThumbprint(t *testing.T) {
	keys, err := token.ParseJWKS([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`))
	if err != nil || keys[0].ID() != "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" {
		t.Errorf("%v, %v", keys, err)
	}
	doc, err := token.AppendJWKS(nil, keys...)
	if err != nil {
		t.Fatal(err)
	}
	again, err := token.ParseJWKS(doc)
	if err != nil || !again[0].Equal(keys[0]) {
		t.Errorf("%s: %v", doc, err)
	}
}

func TestSessionID(t *testing.T) {
	random := [16]byte{1, 2, 3, 250, 251, 252}
	id, err := token.NewSessionID("a-_", random)
	if err != nil || id.Tag() != "a-_" || id.Random() != random || id.IsZero() || len(id.String()) != 25 {
		t.Fatalf("%v, %v", id, err)
	}
	if back, err := token.ParseSessionID(id.String()); err != nil || back != id {
		t.Errorf("%v, %v", back, err)
	}
	var text token.SessionID
	marshalled, err := id.MarshalText()
	if err != nil || text.UnmarshalText(marshalled) != nil || text != id {
		t.Errorf("%s: %v", marshalled, text)
	}
	if text.UnmarshalText(nil) != nil || !text.IsZero() || text.String() != "" || text.Tag() != "" {
		t.Error("the zero ID does not travel as empty text")
	}
	for _, tag := range []string{"", "ab", "abcd", "a b", "a{b", "é"} {
		if id, err := token.NewSessionID(tag, random); err == nil || !id.IsZero() {
			t.Errorf("tag %q accepted", tag)
		}
	}
	s := id.String()
	for at := range s {
		for b := range 256 {
			mutant := s[:at] + string([]byte{byte(b)}) + s[at+1:]
			if got, err := token.ParseSessionID(mutant); err == nil && got.String() != mutant {
				t.Fatalf("%q has two spellings", mutant)
			}
		}
	}
}

func TestVerifierIsItsOwnTable(t *testing.T) {
	i := tokentest.New(t)
	raw := i.Mint(token.Claims{})
	a, b := i.Verifier(), i.Verifier()
	if _, err := a.Verify(raw); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Verify(raw); err != nil || b.Stats().Hits != 0 || b.Stats().Misses != 1 {
		t.Errorf("%v, %+v", err, b.Stats())
	}
	config := i.Config()
	config.Audience = "https://other.test"
	c, err := token.NewVerifier(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Verify(raw); token.Reason(err) != "audience" {
		t.Errorf("another audience, same keys: %v", err)
	}
}
