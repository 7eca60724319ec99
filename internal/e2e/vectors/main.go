//go:build counterfoil_seam

// Command vectors runs corpora of other people, and Counterfoil's own, through the production code of package token and prints one line for each: what was to be accepted and was, what was
// to be refused and was. It exits with 1 if anything was missed.
//
// The corpora of Wycheproof sign payloads that are no claim sets, so they run below the claims layer, through a seam that exists under the build tag counterfoil_seam:
//
//	go run -tags counterfoil_seam ./vectors
package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/c2sp/wycheproof"

	"github.com/counterfoil/counterfoil/token"
)

func main() {
	var all []*corpus
	for _, run := range []func() *corpus{jws, jwk, ed25519, p256, hmac, rfc} {
		all = append(all, run())
	}
	all = append(all, own("../../token/testdata/vectors")...)
	failed := false
	for _, c := range all {
		fmt.Printf("%s: accepted %d/%d, refused %d/%d", c.name, c.accepted, c.toAccept, c.refused, c.toRefuse)
		if c.note != "" {
			fmt.Printf(" (%s)", c.note)
		}
		fmt.Println()
		for _, m := range c.missed {
			fmt.Println("  missed:", m)
		}
		failed = failed || len(c.missed) > 0 || c.toAccept+c.toRefuse == 0
	}
	if failed {
		os.Exit(1)
	}
}

// A corpus counts.
type corpus struct {
	name, note         string
	accepted, toAccept int
	refused, toRefuse  int
	missed             []string
}

func (c *corpus) add(id string, want, got bool) {
	if want {
		c.toAccept++
		if got {
			c.accepted++
		}
	} else {
		c.toRefuse++
		if !got {
			c.refused++
		}
	}
	if want != got {
		c.missed = append(c.missed, fmt.Sprintf("%s: accepted is %v", id, got))
	}
}

// load reads a file of Wycheproof.
func load[G any](name string) []G {
	data, err := fs.ReadFile(wycheproof.TestVectors, name)
	check(err)
	var doc struct{ TestGroups []G }
	check(json.Unmarshal(data, &doc))
	return doc.TestGroups
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "vectors:", err)
		os.Exit(1)
	}
}

type keyGroup struct {
	Public, Private json.RawMessage
	Tests           []struct {
		TcID         int
		Comment, Jws string
		Result       string
	}
}

// doc returns the group's public keys as a JWK set; symmetric keys have no other form than the private one.
func (g keyGroup) doc() []byte {
	doc := g.Public
	if doc == nil {
		doc = g.Private
	}
	if !bytes.HasPrefix(bytes.TrimSpace(doc), []byte(`{"keys"`)) && !bytes.Contains(doc, []byte(`"keys"`)) {
		doc = []byte(`{"keys":[` + string(doc) + `]}`)
	}
	return doc
}

func header(raw string) string {
	h, _, _ := strings.Cut(raw, ".")
	return h
}

// defects of json_web_signature_test.json: 367 and 370 repeat 357, which is valid; 372 and 373 hold a literal "?" inside base64url and are marked valid.
var defects = map[int]bool{367: true, 370: true, 372: true, 373: true}

// jws: the header segments that a group's issuer may have written are those of its valid tokens.
func jws() *corpus {
	c := &corpus{name: "wycheproof json_web_signature"}
	unsupported := 0
	for _, g := range load[keyGroup]("json_web_signature_test.json") {
		keys, err := token.ParseJWKS(g.doc())
		headers := map[string]bool{}
		for _, t := range g.Tests {
			if t.Result == "valid" && !defects[t.TcID] {
				headers[header(t.Jws)] = true
			}
		}
		for _, t := range g.Tests {
			if defects[t.TcID] {
				continue
			}
			got := false
			for h := range headers {
				if err == nil && len(keys) == 1 {
					_, err := token.SeamOpen(keys[0], h, t.Jws)
					got = got || err == nil
				}
			}
			if t.Result == "valid" && err != nil {
				unsupported++ // refused with its key, as an algorithm that is not supported
				if token.Reason(err) != "key type not supported" && token.Reason(err) != "algorithm not supported" {
					c.missed = append(c.missed, fmt.Sprintf("%d: key refused: %v", t.TcID, err))
				}
				continue
			}
			c.add(fmt.Sprint(t.TcID, " ", t.Comment), t.Result == "valid", got)
		}
	}
	c.note = fmt.Sprintf("%d valid ones of other algorithms refused as unsupported, %d defective ones left out", unsupported, len(defects))
	return c
}

// jwk: a set is refused as a whole, or its keys do not verify the token.
func jwk() *corpus {
	c := &corpus{name: "wycheproof json_web_key"}
	unsupported := 0
	for _, g := range load[keyGroup]("json_web_key_test.json") {
		keys, err := token.ParseJWKS(g.doc())
		for _, t := range g.Tests {
			got := false
			valid := map[string]bool{}
			for _, other := range g.Tests {
				valid[header(other.Jws)] = valid[header(other.Jws)] || other.Result == "valid"
			}
			for _, k := range keys {
				if h := header(t.Jws); valid[h] {
					_, err := token.SeamOpen(k, h, t.Jws)
					got = got || err == nil
				}
			}
			if reason := token.Reason(err); t.Result == "valid" && (reason == "key type not supported" || reason == "algorithm not supported") {
				unsupported++
				continue
			}
			c.add(fmt.Sprint(t.TcID, " ", t.Comment), t.Result == "valid", got)
			if t.Result == "invalid" && t.Comment != "rejectsModifiedSignature" && err == nil {
				c.missed = append(c.missed, fmt.Sprintf("%d %s: the set was not refused", t.TcID, t.Comment))
			}
		}
	}
	c.note = fmt.Sprintf("%d valid ones of other algorithms refused as unsupported", unsupported)
	return c
}

type signatureGroup struct {
	PublicKeyJwk json.RawMessage
	PublicKey    struct{ Pk, Uncompressed string }
	TagSize      int
	Tests        []struct {
		TcID               int
		Comment            string
		Key, Msg, Sig, Tag string
		Result             string
	}
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	check(err)
	return b
}

func ed25519() *corpus { return signatures("ed25519_test.json") }

func p256() *corpus { return signatures("ecdsa_secp256r1_sha256_p1363_test.json") }

func signatures(file string) *corpus {
	c := &corpus{name: "wycheproof " + strings.TrimSuffix(file, "_test.json")}
	for _, g := range load[signatureGroup](file) {
		var k token.Key
		if file == "ed25519_test.json" {
			var err error
			k, err = token.Ed25519Key(unhex(g.PublicKey.Pk))
			check(err)
		} else {
			point := unhex(g.PublicKey.Uncompressed)
			k = p256Key(point)
		}
		for _, t := range g.Tests {
			c.add(fmt.Sprint(t.TcID, " ", t.Comment), t.Result == "valid", token.SeamVerify(k, unhex(t.Msg), unhex(t.Sig)))
		}
	}
	return c
}

// hmac: a tag that is cut short is refused, though the corpus calls it valid for a tag size of its own.
func hmac() *corpus {
	c := &corpus{name: "wycheproof hmac_sha256", note: "truncated tags refused"}
	for _, g := range load[signatureGroup]("hmac_sha256_test.json") {
		for _, t := range g.Tests {
			want := t.Result == "valid" && g.TagSize == 256
			c.add(fmt.Sprint(t.TcID, " ", t.Comment), want, token.SeamVerify(token.SeamHS256Key(unhex(t.Key)), unhex(t.Msg), unhex(t.Tag)))
		}
	}
	return c
}

// rfc: the examples of RFC 7515 (A.1, A.3), RFC 7520 (4.4) and RFC 8037 (A.4) for our algorithms, each also with every single character of its signature replaced; and
// those of other algorithms (RFC 7515 A.2, A.4 and A.5), which are refused.
func rfc() *corpus {
	c := &corpus{name: "rfc7515 rfc7520 rfc8037"}
	const payload = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
	const frodo = "SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4"
	for _, v := range []struct{ name, key, raw string }{
		{"RFC 7515 A.1", `{"kty":"oct","alg":"HS256","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}`,
			"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." + payload + ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"},
		{"RFC 7515 A.3", `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`,
			"eyJhbGciOiJFUzI1NiJ9." + payload + ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"},
		{"RFC 7520 4.4", `{"kty":"oct","kid":"018c0ae5-4d9b-471b-bfd6-eef314bc7037","use":"sig","alg":"HS256","k":"hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg"}`,
			"eyJhbGciOiJIUzI1NiIsImtpZCI6IjAxOGMwYWU1LTRkOWItNDcxYi1iZmQ2LWVlZjMxNGJjNzAzNyJ9." + frodo + ".s0h6KThzkfBBBkLspW1h84VsJZFTsPPqMDA7g1Md7p0"},
		{"RFC 8037 A.4", `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
			"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"},
	} {
		keys, err := token.ParseJWKS([]byte(`{"keys":[` + v.key + `]}`))
		check(err)
		try := func(raw string) bool {
			_, err := token.SeamOpen(keys[0], header(v.raw), raw)
			return err == nil
		}
		c.add(v.name, true, try(v.raw))
		from := strings.LastIndexByte(v.raw, '.') + 1
		for at := from; at < len(v.raw); at++ {
			other := byte('A')
			if v.raw[at] == 'A' {
				other = 'B'
			}
			c.add(fmt.Sprintf("%s, character %d", v.name, at-from), false, try(v.raw[:at]+string(other)+v.raw[at+1:]))
		}
	}
	// RFC 7515 A.5 is unsecured, A.2 signed with RS256, A.4 with ES512: under whatever key, they have no header that one of ours writes.
	keys, err := token.ParseJWKS([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`))
	check(err)
	for name, raw := range map[string]string{"RFC 7515 A.5": "eyJhbGciOiJub25lIn0." + payload + ".", "RFC 7515 A.2, header": "eyJhbGciOiJSUzI1NiJ9." + payload + ".AAAA", "RFC 7515 A.4, header": "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AAAA"} {
		_, err := token.SeamOpen(keys[0], keys[0].HeaderSegment(), raw)
		c.add(name, false, err == nil)
	}
	for name, key := range map[string]string{"RSA": `{"kty":"RSA","n":"AQAB","e":"AQAB"}`, "P-521": `{"kty":"EC","crv":"P-521","x":"AA","y":"AA"}`} {
		_, err := token.ParseJWKS([]byte(`{"keys":[` + key + `]}`))
		c.add("key "+name, false, err == nil)
	}
	return c
}
