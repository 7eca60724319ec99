package token_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/token"
)

const (
	vectorIssuer   = "https://issuer.test"
	vectorAudience = "https://service.test"
	vectorNow      = int64(1893499200000) // 1 January 2030, 12:00 UTC, in ms
	vectorSID      = "abcAAECAwQFBgcICQoLDA0ODw"
)

// The keys of the vectors are fixed and known to everybody.
var (
	vectorEd    = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))
	vectorEd2   = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{8}, 32))
	vectorHMAC  = []byte("counterfoil test secret, 36 byte long")
	vectorP256  = mustP256()
	vectorKeyEd = mustKey(token.Ed25519Key(vectorEd.Public().(ed25519.PublicKey)))
	vectorKeyHS = mustKey(token.HS256Key(vectorHMAC))
)

func mustKey(k token.Key, err error) token.Key {
	if err != nil {
		panic(err)
	}
	return k
}

func mustP256() *ecdsa.PrivateKey {
	k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{9}, 32))
	if err != nil {
		panic(err)
	}
	return k
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// A signFunc signs as one key does; all of them are deterministic.
type signFunc func(signed string) []byte

func signEd(private ed25519.PrivateKey) signFunc {
	return func(signed string) []byte { return ed25519.Sign(private, []byte(signed)) }
}

func signHS(secret []byte) signFunc {
	return func(signed string) []byte {
		h := hmac.New(sha256.New, secret)
		h.Write([]byte(signed))
		return h.Sum(nil)
	}
}

func signES(signed string) []byte {
	digest := sha256.Sum256([]byte(signed))
	der, err := vectorP256.Sign(nil, digest[:], crypto.SHA256) // without randomness: RFC 6979
	if err != nil {
		panic(err)
	}
	var sig struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &sig); err != nil {
		panic(err)
	}
	out := make([]byte, 64)
	sig.R.FillBytes(out[:32])
	sig.S.FillBytes(out[32:])
	return out
}

func compact(header, payload string, sign signFunc) string {
	signed := b64([]byte(header)) + "." + b64([]byte(payload))
	return signed + "." + b64(sign(signed))
}

type vectorFile struct {
	bytes.Buffer
	keys string
}

func (f *vectorFile) token(raw string, now int64, outcome, requirement, note string) {
	fmt.Fprintf(f, "token\t%s\t%s\t%d\t%s\t%s\t%s\n", f.keys, quote(raw), now, outcome, requirement, note)
}

func (f *vectorFile) set(doc, outcome, requirement, note string) {
	fmt.Fprintf(f, "keys\t%s\t%s\t%s\t%s\n", quote(doc), outcome, requirement, note)
}

func vectorHeader(comment string) *vectorFile {
	f := new(vectorFile)
	fmt.Fprintf(f, "# %s\n# Format: README.md.\n@issuer\t%s\n@audience\t%s\n@leeway\t10000\n@max-life\t900000\n", comment, vectorIssuer, vectorAudience)
	return f
}

func jwk(kid, alg, rest string) string {
	return `{"kid":"` + kid + `","alg":"` + alg + `","use":"sig",` + rest + `}`
}

func jwkEd(private ed25519.PrivateKey, kid string) string {
	return jwk(kid, "EdDSA", `"kty":"OKP","crv":"Ed25519","x":"`+b64(private.Public().(ed25519.PublicKey))+`"`)
}

func jwkES(kid string) string {
	point, err := vectorP256.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	return jwk(kid, "ES256", `"kty":"EC","crv":"P-256","x":"`+b64(point[1:33])+`","y":"`+b64(point[33:])+`"`)
}

func jwkHS(secret []byte, kid string) string {
	return jwk(kid, "HS256", `"kty":"oct","k":"`+b64(secret)+`"`)
}

func keySetDoc(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }

func header(alg, kid string) string {
	return `{"alg":"` + alg + `","kid":"` + kid + `","typ":"session+jwt"}`
}

// claimSet makes a payload of the members of a good one, with changes: a nil value deletes, a json.RawMessage stands as it is.
func claimSet(changes ...any) string {
	names := []string{"iss", "aud", "sub", "sid", "gen", "iat", "exp"}
	values := map[string]string{
		"iss": `"` + vectorIssuer + `"`, "aud": `"` + vectorAudience + `"`, "sub": `"user-7"`, "sid": `"` + vectorSID + `"`, "gen": "1",
		"iat": fmt.Sprint(vectorNow / 1000), "exp": fmt.Sprint(vectorNow/1000 + 300),
	}
	for i := 0; i < len(changes); i += 2 {
		name := changes[i].(string)
		if _, known := values[name]; !known {
			names = append(names, name)
		}
		if changes[i+1] == nil {
			values[name] = ""
		} else {
			values[name] = changes[i+1].(string)
		}
	}
	var members []string
	for _, n := range names {
		if values[n] != "" {
			members = append(members, `"`+n+`":`+values[n])
		}
	}
	return "{" + strings.Join(members, ",") + "}"
}

func vectorFiles() map[string][]byte {
	return map[string][]byte{"tokens.txt": tokenVectors(), "es256.txt": es256Vectors(), "keysets.txt": keySetVectors(), "claims.txt": claimVectors()}
}

// TestVectorsAreCurrent holds the files to their generator.
func TestVectorsAreCurrent(t *testing.T) {
	for name, data := range vectorFiles() {
		path := "testdata/vectors/" + name
		if *update {
			if err := os.WriteFile(path, data, 0o666); err != nil {
				t.Fatal(err)
			}
			continue
		}
		have, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(have, data) {
			t.Errorf("%s is not what the generator writes; run with -update", path)
		}
	}
}

func tokenVectors() []byte {
	f := vectorHeader("Form, header and signature, with Ed25519 and HS256.")
	kid := vectorKeyEd.ID()
	fmt.Fprintf(f, "@keys\ted\t%s\n", keySetDoc(jwkEd(vectorEd, kid)))
	fmt.Fprintf(f, "@keys\ted-both\t%s\n", keySetDoc(jwkEd(vectorEd, kid), jwkEd(vectorEd2, "second")))
	fmt.Fprintf(f, "@keys\ths\t%s\n", keySetDoc(jwkHS(vectorHMAC, "hs")))
	fmt.Fprintf(f, "@keys\ths-long\t%s\n", keySetDoc(jwkHS(bytes.Repeat(vectorHMAC, 3), "hs")))
	fmt.Fprintf(f, "@keys\tnone\t%s\n", keySetDoc())
	f.keys = "ed"
	now := vectorNow
	good := compact(header("EdDSA", kid), claimSet(), signEd(vectorEd))
	h, p, s := cut(good)

	f.token(good, now, "accepted", "CF-1", "a good token")
	f.token(compact(header("EdDSA", kid), claimSet("sub", nil), signEd(vectorEd)), now, "accepted", "CF-1", "of an anonymous visitor")

	for _, v := range []struct{ raw, outcome, note string }{
		{"", "not three segments", "empty"}, {".", "not three segments", "one dot"}, {"..", "unknown key", "two dots"}, {"...", "not three segments", "three dots"},
		{h, "not three segments", "header alone"}, {h + "." + p, "not three segments", "no signature"}, {h + "." + p + ".", "bad signature", "empty signature"},
		{h + ".." + s, "bad signature", "empty payload"}, {"." + p + "." + s, "unknown key", "empty header"}, {good + ".", "not three segments", "a fourth segment, empty"},
		{good + "." + s, "not three segments", "a fourth segment"}, {h + "." + p + "." + s + "." + s + "." + s, "not three segments", "five segments, as JWE"},
		{good + "=", "not base64url", "padding"}, {good + "==", "not base64url", "padding"}, {h + "=." + p + "." + s, "not base64url", "padding in the header"},
		{good + "\n", "not base64url", "LF at the end"}, {good + "\r\n", "not base64url", "CR LF at the end"}, {good[:len(good)-9] + "\r\n" + good[len(good)-9:], "not base64url", "CR LF inside the signature"},
		{h + ".\n" + p + "." + s, "not base64url", "LF before the payload"}, {" " + good, "not base64url", "space before"}, {good + " ", "not base64url", "space after"},
		{h + "." + p[:5] + "\x00" + p[5:] + "." + s, "not base64url", "NUL"}, {h + "." + p[:5] + "\xff" + p[5:] + "." + s, "not base64url", "byte 0xFF"},
		{h + "." + p[:5] + "+" + p[6:] + "." + s, "not base64url", "plus, of the other base64"}, {h + "." + p[:5] + "/" + p[6:] + "." + s, "not base64url", "slash, of the other base64"},
		{h + "." + p[:5] + "%2D" + p[6:] + "." + s, "not base64url", "percent encoding"}, {`{"protected":"` + h + `","payload":"` + p + `","signature":"` + s + `"}`, "not three segments", "JSON serialisation"},
		{"Bearer " + good, "not base64url", "the scheme along"}, {strings.Repeat("A", token.MaxLen+1), "too long", "one character over 8,192"}, {strings.Repeat(".", token.MaxLen), "not three segments", "8,192 dots"},
		{h + "." + p + "." + s + strings.Repeat("A", token.MaxLen-len(good)), "bad signature", "8,192 characters"}, {h + "." + p + "." + s + strings.Repeat("A", token.MaxLen-len(good)+1), "too long", "8,193 characters"},
	} {
		id := "JWS-1"
		if v.outcome == "too long" || strings.Contains(v.note, "dots") && len(v.raw) > 3 {
			id = "CVE-2025-30204"
		}
		f.token(v.raw, now, v.outcome, id, v.note)
	}

	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, good[len(good)-1])
	for i := range 16 { // the last of 86 characters has four unused bits
		if i != last&15 {
			f.token(good[:len(good)-1]+alphabet[last&^15|i:last&^15|i+1], now, "not canonical", "JWS-2", fmt.Sprintf("unused bits %04b at the end of the signature", i))
		}
	}

	other := header("EdDSA", "second")
	for _, v := range []struct{ header, id, note string }{
		{`{"alg":"EdDSA","kid":"` + kid + `","typ":"session+jwt","crit":["exp"]}`, "JWS-3", "crit with a standard name"},
		{`{"alg":"EdDSA","kid":"` + kid + `","typ":"session+jwt","crit":["x"],"x":1}`, "CVE-2025-59420", "crit with an unknown extension"},
		{`{"alg":"EdDSA","kid":"` + kid + `","typ":"session+jwt","crit":[]}`, "JWS-3", "crit empty"},
		{`{"alg":"EdDSA","kid":"` + kid + `","typ":"session+jwt","crit":["b64"],"b64":false}`, "JWS-6", "unencoded payload, RFC 7797"},
		{`{"alg":"none","alg":"EdDSA","kid":"` + kid + `","typ":"session+jwt"}`, "JWS-4", "alg twice"},
		{`{"alg":"EdDSA","kid":"` + kid + `","kid":"` + kid + `","typ":"session+jwt"}`, "JWS-4", "kid twice"},
		{`{"alg":"EdDSA","jwk":{"kty":"OKP","crv":"Ed25519","x":"` + b64(vectorEd.Public().(ed25519.PublicKey)) + `"},"typ":"session+jwt"}`, "CVE-2026-27962", "jwk in the header"},
		{`{"alg":"EdDSA","jku":"https://issuer.test/keys","kid":"` + kid + `","typ":"session+jwt"}`, "JWS-5", "jku"},
		{`{"alg":"EdDSA","x5u":"https://issuer.test/keys","kid":"` + kid + `","typ":"session+jwt"}`, "JWS-5", "x5u"},
		{`{"alg":"EdDSA","kid":"` + kid + `","typ":"session+jwt","zip":"DEF"}`, "JWS-6", "zip"},
		{`{"alg":"EdDSA","cty":"JWT","kid":"` + kid + `","typ":"session+jwt"}`, "JWS-6", "nested token"},
		{`{"alg":"EdDSA","typ":"session+jwt"}`, "JWT-9", "no kid"},
		{`{"alg":"EdDSA","kid":1,"typ":"session+jwt"}`, "JWT-9", "kid a number"},
		{header("EdDSA", "../../dev/null"), "JWT-9", "kid a path"},
		{header("EdDSA", "' or 1=1 --"), "JWT-9", "kid an SQL fragment"},
		{header("EdDSA", "https://issuer.test/key"), "JWT-9", "kid a URL"},
		{header("EdDSA", strings.Repeat("k", 5000)), "JWT-9", "kid of 5,000 characters"},
		{header("EdDSA", strings.ToLower(kid)), "JWT-9", "kid in another case"},
		{`{"alg":"EdDSA","kid":"` + kid + `","typ":"JWT"}`, "JWT-7", "typ JWT"},
		{`{"alg":"EdDSA","kid":"` + kid + `"}`, "JWT-7", "no typ"},
		{`{"alg":"EdDSA","kid":"` + kid + `","typ":"application/session+jwt"}`, "JWT-7", "typ with the prefix"},
		{`{"alg":"EdDSA","kid":"` + kid + `","typ":"at+jwt"}`, "JWT-7", "typ of an OAuth access token"},
		{`{"alg":"EdDSA","kid":"` + kid + `","typ":"logout+jwt"}`, "JWT-7", "typ of a logout token"},
		{`{"alg":"EdDSA","kid":"` + kid + `","typ":"secevent+jwt"}`, "JWT-7", "typ of a security event"},
		{`{"alg":"EdDSA","kid":"` + kid + `","typ":"dpop+jwt"}`, "JWT-7", "typ of a proof of possession"},
		{`{"alg":"EdDSA","kid":"` + kid + `","typ":"refresh+jwt"}`, "JWT-7", "typ of a refresh token"},
		{`{"alg":"EdDSA","kid":"` + kid + `","typ":"feed+jwt"}`, "JWT-7", "typ of a feed frame"},
		{`{"kid":"` + kid + `","alg":"EdDSA","typ":"session+jwt"}`, "JWS-2", "members in another order"},
		{`{"alg": "EdDSA","kid":"` + kid + `","typ":"session+jwt"}`, "JWS-2", "a space in the header"},
		{`{"alg":"EdDSA","kid":"` + kid + `","typ":"session+jwt"} `, "JWS-2", "a space after the header"},
		{`{"alg":"EdDSA","kid":"` + kid + `","typ":"session+jw\u0074"}`, "JWS-2", "an escape in the header"},
		{"\ufeff" + header("EdDSA", kid), "JWS-2", "a byte order mark"},
		{"", "JWS-1", "an empty header"}, {"null", "JWS-1", "header null"}, {"{}", "JWS-1", "an empty header object"}, {"[]", "JWS-1", "header an array"},
		{other, "JWT-9", "a key that is not in the set"},
	} {
		f.token(compact(v.header, claimSet(), signEd(vectorEd)), now, "unknown key", v.id, v.note+"; signature right")
	}
	for _, alg := range []string{"none", "None", "NONE", "nOnE", "", "eddsa", "EDDSA", "EdDsa", "Ed25519", "HS256", "ES256", "RS256", "PS256", "ES384", "EdDSA\u0000", "ES256K"} {
		f.token(compact(header(alg, kid), claimSet(), signEd(vectorEd)), now, "unknown key", "ALG-1", "alg "+fmt.Sprintf("%q", alg)+" with an Ed25519 signature")
	}
	f.token(b64([]byte(header("none", kid)))+"."+p+".", now, "unknown key", "ALG-1", "alg none without a signature")
	pub := vectorEd.Public().(ed25519.PublicKey)
	f.token(compact(header("HS256", kid), claimSet(), signHS(pub)), now, "unknown key", "ALG-1", "HMAC keyed with the public key")
	f.token(compact(header("EdDSA", kid), claimSet(), signHS(pub)), now, "bad signature", "ALG-1", "HMAC keyed with the public key, under the right header")
	f.token(compact(header("HS256", kid), claimSet(), signHS(nil)), now, "unknown key", "ALG-3", "HMAC keyed with nothing")

	f.token(compact(header("EdDSA", kid), claimSet(), signEd(vectorEd2)), now, "bad signature", "ALG-6", "signed by another key")
	f.token(h+"."+b64([]byte(claimSet("sub", `"root"`)))+"."+s, now, "bad signature", "JWS-1", "another payload under the signature")
	f.token(h+"."+p+"."+b64(make([]byte, 64)), now, "bad signature", "ALG-6", "signature all zero")
	f.token(h+"."+p+"."+b64(signEd(vectorEd)(h + "." + p)[:63]), now, "bad signature", "ALG-6", "signature of 63 bytes")
	f.token(h+"."+p+"."+b64(append(signEd(vectorEd)(h+"."+p), 0)), now, "bad signature", "ALG-6", "signature of 65 bytes")
	f.token(h+"."+p+"."+b64(addOrder(signEd(vectorEd)(h+"."+p))), now, "bad signature", "ALG-6", "S not reduced: S + L")
	f.token(compact(header("EdDSA", kid), "not json", signEd(vectorEd2)), now, "bad signature", "CF-2", "a forged token costs no decoding of claims")
	f.token(compact(header("EdDSA", kid), claimSet("exp", fmt.Sprint(now/1000-900), "iat", fmt.Sprint(now/1000-1000)), signEd(vectorEd2)), now, "bad signature", "CVE-2024-51744", "expired and forged: forged is the answer")

	f.keys = "ed-both"
	f.token(good, now, "accepted", "JWT-9", "two keys, the first one's")
	f.token(compact(other, claimSet(), signEd(vectorEd2)), now, "accepted", "JWT-9", "two keys, the second one's")
	f.token(compact(other, claimSet(), signEd(vectorEd)), now, "bad signature", "JWT-9", "the first key's signature under the second one's ID")
	f.token(compact(header("EdDSA", kid), claimSet(), signEd(vectorEd2)), now, "bad signature", "JWT-9", "the second key's signature under the first one's ID")
	f.keys = "none"
	f.token(good, now, "unknown key", "ALG-3", "no keys at all")
	f.token(compact(header("HS256", kid), claimSet(), signHS(nil)), now, "unknown key", "ALG-3", "no keys at all, HMAC keyed with nothing")

	f.keys = "hs"
	hs := compact(header("HS256", "hs"), claimSet(), signHS(vectorHMAC))
	f.token(hs, now, "accepted", "ALG-3", "HMAC")
	hh, hp, _ := cut(hs)
	mac := signHS(vectorHMAC)(hh + "." + hp)
	f.token(hh+"."+hp+"."+b64(mac[:31]), now, "bad signature", "ALG-3", "a truncated MAC")
	f.token(hh+"."+hp+"."+b64(mac[:16]), now, "bad signature", "ALG-3", "half a MAC")
	f.token(hh+"."+hp+"."+b64(append(mac, 0)), now, "bad signature", "ALG-3", "a MAC of 33 bytes")
	f.token(hh+"."+hp+"."+b64(append(mac, mac...)), now, "bad signature", "ALG-3", "a MAC twice")
	mac = signHS(vectorHMAC)(hh + "." + hp)
	mac[31] ^= 1
	f.token(hh+"."+hp+"."+b64(mac), now, "bad signature", "ALG-3", "one bit off in the last byte")
	f.token(compact(header("HS256", "hs"), claimSet(), signHS(nil)), now, "bad signature", "ALG-3", "keyed with nothing")
	for _, alg := range []string{"HS384", "HS512", "hs256", "Hs256", "EdDSA", "none"} {
		f.token(compact(header(alg, "hs"), claimSet(), signHS(vectorHMAC)), now, "unknown key", "ALG-2", "alg "+alg+" with an HS256 MAC")
	}
	f.keys = "hs-long"
	f.token(compact(header("HS256", "hs"), claimSet(), signHS(bytes.Repeat(vectorHMAC, 3))), now, "accepted", "ALG-3", "a secret longer than a block")
	f.token(compact(header("HS256", "hs"), claimSet("x", `"`+strings.Repeat("x", 2000)+`"`), signHS(bytes.Repeat(vectorHMAC, 3))), now, "accepted", "ALG-3", "a long token")
	return f.Bytes()
}

func cut(raw string) (h, p, s string) {
	parts := strings.Split(raw, ".")
	return parts[0], parts[1], parts[2]
}

// addOrder adds the order of the group to S, which gives another spelling of the same signature where S is not checked.
func addOrder(sig []byte) []byte {
	l, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	le := bytes.Clone(sig[32:])
	for i := range 16 {
		le[i], le[31-i] = le[31-i], le[i]
	}
	s := new(big.Int).Add(new(big.Int).SetBytes(le), l).FillBytes(make([]byte, 32))
	for i := range 16 {
		s[i], s[31-i] = s[31-i], s[i]
	}
	return append(bytes.Clone(sig[:32]), s...)
}

func es256Vectors() []byte {
	f := vectorHeader("ES256. Implementations without it skip this file.")
	fmt.Fprintf(f, "@keys\tes\t%s\n", keySetDoc(jwkES("es")))
	f.keys = "es"
	good := compact(header("ES256", "es"), claimSet(), signES)
	h, p, _ := cut(good)
	sig := signES(h + "." + p)
	with := func(sig []byte) string { return h + "." + p + "." + b64(sig) }
	n := elliptic.P256().Params().N
	r, s := new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])
	der, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
	if err != nil {
		panic(err)
	}
	pair := func(r, s *big.Int) []byte {
		b := make([]byte, 64)
		r.FillBytes(b[:32])
		s.FillBytes(b[32:])
		return b
	}
	f.token(good, vectorNow, "accepted", "ALG-4", "a good token")
	f.token(with(pair(r, new(big.Int).Sub(n, s))), vectorNow, "accepted", "ALG-4", "N - S verifies too: ECDSA is malleable, so nothing may be keyed by the token's text")
	f.token(with(der), vectorNow, "bad signature", "ALG-4", "ASN.1 instead of R and S")
	f.token(with(sig[:63]), vectorNow, "bad signature", "ALG-4", "63 bytes")
	f.token(with(append(bytes.Clone(sig), 0)), vectorNow, "bad signature", "ALG-4", "65 bytes")
	f.token(with(append([]byte{0}, sig...)), vectorNow, "bad signature", "ALG-4", "a leading zero")
	f.token(with(make([]byte, 64)), vectorNow, "bad signature", "ALG-4", "R = S = 0")
	f.token(with(pair(new(big.Int), s)), vectorNow, "bad signature", "ALG-4", "R = 0")
	f.token(with(pair(r, new(big.Int))), vectorNow, "bad signature", "ALG-4", "S = 0")
	f.token(with(pair(n, s)), vectorNow, "bad signature", "ALG-4", "R = N")
	f.token(with(pair(r, n)), vectorNow, "bad signature", "ALG-4", "S = N")
	f.token(with(pair(s, r)), vectorNow, "bad signature", "ALG-4", "R and S exchanged")
	f.token(with(bytes.Repeat([]byte{0xff}, 64)), vectorNow, "bad signature", "ALG-4", "all ones")
	for _, alg := range []string{"es256", "ES384", "ES512", "ES256K", "EdDSA", "HS256", "none"} {
		f.token(compact(header(alg, "es"), claimSet(), signES), vectorNow, "unknown key", "ALG-1", "alg "+alg+" with an ES256 signature")
	}
	point, _ := vectorP256.PublicKey.Bytes()
	f.token(compact(header("HS256", "es"), claimSet(), signHS(point)), vectorNow, "unknown key", "ALG-1", "HMAC keyed with the public key")
	jwkRest := func(crv, x, y string) string {
		return keySetDoc(jwk("es", "ES256", `"kty":"EC","crv":"`+crv+`","x":"`+x+`","y":"`+y+`"`))
	}
	x, y := b64(point[1:33]), b64(point[33:])
	off := bytes.Clone(point[33:])
	off[31] ^= 1
	f.set(jwkRest("P-256", x, y), "accepted", "JWK-1", "a good key")
	f.set(jwkRest("P-256", x, b64(off)), "key material", "JWK-1", "not a point of the curve")
	f.set(jwkRest("P-256", b64(make([]byte, 32)), b64(make([]byte, 32))), "key material", "JWK-1", "zero, zero")
	f.set(jwkRest("P-384", x, y), "key type not supported", "JWK-1", "another curve's name")
	f.set(jwkRest("P-256", b64(point[2:33]), y), "key material", "JWK-1", "X of 31 bytes")
	f.set(jwkRest("P-256", x+"=", y), "key material", "JWK-1", "padding")
	f.set(keySetDoc(jwk("es", "ES256", `"kty":"EC","crv":"P-256","x":"`+x+`"`)), "key member", "JWK-1", "no y")
	f.set(keySetDoc(jwk("es", "ES512", `"kty":"EC","crv":"P-256","x":"`+x+`","y":"`+y+`"`)), "algorithm not supported", "JWK-1", "alg of another curve")
	return f.Bytes()
}

func claimVectors() []byte {
	f := vectorHeader("Claims, all with right signatures.")
	kid := vectorKeyEd.ID()
	fmt.Fprintf(f, "@keys\ted\t%s\n", keySetDoc(jwkEd(vectorEd, kid)))
	f.keys = "ed"
	at := func(payload string, now int64, outcome, requirement, note string) {
		f.token(compact(header("EdDSA", kid), payload, signEd(vectorEd)), now, outcome, requirement, note)
	}
	now := vectorNow
	sec := now / 1000
	num := func(n int64) string { return fmt.Sprint(n) }

	for _, name := range []string{"iss", "aud", "sid", "gen", "iat", "exp"} {
		at(claimSet(name, nil), now, "claim missing", "CVE-2026-55669", name+" missing")
		at(claimSet(name, "null"), now, "claim type", "JWT-2", name+" null")
		at(claimSet(name, "[]"), now, "claim type", "JWT-2", name+" an array")
		at(claimSet(name, "{}"), now, "claim type", "JWT-2", name+" an object")
		at(claimSet(name, "true"), now, "claim type", "JWT-2", name+" true")
		at(claimSet(strings.ToUpper(name), "1"), now, "claim name", "JWT-3", name+" again in capitals")
		at(claimSet(strings.ToUpper(name[:1])+name[1:], "1"), now, "claim name", "JWT-3", name+" again with a capital")
	}
	for _, name := range []string{"iss", "aud", "sub", "sid"} {
		at(claimSet(name, "1"), now, "claim type", "JWT-2", name+" a number")
	}
	for _, name := range []string{"gen", "iat", "exp", "auth_time", "sst"} {
		at(claimSet(name, `"`+num(sec)+`"`), now, "claim type", "JWT-2", name+" a string")
		for _, n := range []string{"-1", "1e307", "1e3", "1E3", "18446744073709551616", "9999999999999999", "99999999999999999999999999"} {
			at(claimSet(name, n), now, "claim out of range", "JWT-2", name+" "+n)
		}
		for _, n := range []string{"NaN", "Infinity", "01", "+1", ".5", "1.", "0x10", "1_000", "1e", "--1"} {
			want := "payload not strict JSON"
			at(claimSet(name, n), now, want, "JWT-2", name+" "+n)
		}
	}
	at(claimSet("gen", "1.5"), now, "claim out of range", "JWT-2", "gen with decimals")
	at(claimSet("gen", "0"), now, "accepted", "CF-1", "gen 0")
	at(claimSet("gen", "9007199254740991"), now, "accepted", "CF-1", "gen 2^53 - 1")
	at(claimSet("gen", "9007199254740992"), now, "claim out of range", "CF-1", "gen 2^53")
	at(claimSet("iat", num(sec)+".123", "exp", num(sec)+".999"), now, "accepted", "CF-1", "milliseconds")
	at(claimSet("iat", num(sec)+".5"), now, "accepted", "CF-1", "one decimal")
	at(claimSet("iat", num(sec)+".1234"), now, "claim out of range", "CF-1", "four decimals")
	at(claimSet("iat", "1099511627776"), now, "claim out of range", "JWT-2", "iat 2^40")
	at(claimSet("auth_time", num(sec-3600)), now, "accepted", "CF-1", "auth_time")
	at(claimSet("sst", num(sec-3600)+".001"), now, "accepted", "CF-1", "a session older than its token")
	at(claimSet("sst", num(sec)), now, "accepted", "CF-1", "a session as old as its token")
	at(claimSet("sst", "0"), now, "claim out of range", "CF-1", "a session older than every not-before, and than none")
	at(claimSet("sst", "0.001"), now, "accepted", "CF-1", "a session of 1970")
	at(strings.Replace(claimSet(), `"iat":`, `"sst":`+num(sec-1)+`,"iat":`, 1), now, "accepted", "CF-1", "sst before iat")
	at(strings.Replace(claimSet(), `"iat":`, `"sst":`+num(sec+1)+`,"iat":`, 1), now, "claim out of range", "CF-1", "sst before iat, and later")
	at(claimSet("sst", num(sec)+".001"), now, "claim out of range", "CF-1", "a session younger than its token")
	at(claimSet("sst", "null"), now, "claim type", "JWT-2", "sst null")
	at(claimSet("SST", "1"), now, "claim name", "JWT-3", "sst in capitals")

	at(claimSet("iss", `"https://other.test"`), now, "issuer", "JWT-5", "another issuer")
	at(claimSet("iss", `"https://issuer.test/"`), now, "issuer", "JWT-5", "the issuer with a slash")
	at(claimSet("iss", `"https://ISSUER.test"`), now, "issuer", "JWT-5", "the issuer in another case")
	at(claimSet("iss", `""`), now, "issuer", "JWT-5", "an empty issuer")
	at(claimSet("iss", `"https:\/\/issuer.test"`), now, "accepted", "JWT-5", "the issuer with escapes that JSON allows")
	at(claimSet("aud", `"https://other.test"`), now, "audience", "JWT-6", "another audience")
	at(claimSet("aud", `""`), now, "audience", "JWT-6", "an empty audience")
	at(claimSet("aud", `["`+vectorAudience+`"]`), now, "claim type", "CVE-2020-26160", "aud an array with the right one")
	at(claimSet("aud", `["https://other.test","`+vectorAudience+`"]`), now, "claim type", "CVE-2020-26160", "aud an array with another one first")
	at(claimSet("aud", `[""]`), now, "claim type", "CVE-2020-26160", "aud an array with the empty string")

	life := int64(300_000)
	exp := now + life
	at(claimSet(), exp-1, "accepted", "JWT-1", "exp - 1 ms")
	at(claimSet(), exp, "accepted", "JWT-1", "at exp, within the leeway")
	at(claimSet(), exp+9_999, "accepted", "JWT-1", "exp + leeway - 1 ms")
	at(claimSet(), exp+10_000, "expired", "JWT-1", "exp + leeway")
	at(claimSet(), exp+10_001, "expired", "JWT-1", "exp + leeway + 1 ms")
	at(claimSet(), exp+1_000_000_000, "expired", "JWT-1", "long after exp")
	at(claimSet(), now-10_000, "accepted", "JWT-1", "iat in the future by the leeway")
	at(claimSet(), now-10_001, "issued in the future", "JWT-1", "iat in the future by the leeway + 1 ms")
	at(claimSet(), 0, "issued in the future", "JWT-1", "a clock at zero")
	at(claimSet("exp", num(sec)), now, "lifetime", "JWT-8", "exp = iat")
	at(claimSet("exp", num(sec-1)), now, "lifetime", "JWT-8", "exp before iat")
	at(claimSet("exp", num(sec+900)), now, "accepted", "JWT-8", "the longest life")
	at(claimSet("exp", num(sec+900)+".001"), now, "lifetime", "JWT-8", "the longest life + 1 ms")
	at(claimSet("exp", num(sec+50*365*86400)), now, "lifetime", "JWT-8", "50 years")
	at(claimSet("iat", "0"), now, "lifetime", "JWT-8", "iat 0")
	at(claimSet("iss", `"https://other.test"`), exp+10_000, "issuer", "CF-3", "expired and of another issuer: expiry is not told")
	at(claimSet("aud", `"https://other.test"`), exp+10_000, "audience", "CF-3", "expired and for another audience: expiry is not told")
	at(claimSet("exp", num(sec+901)), exp+1_000_000, "lifetime", "CF-3", "expired and too long: expiry is not told")
	at(claimSet("nbf", num(sec)), now, "unsupported claim", "CF-4", "nbf, which nobody here would honour")
	at(claimSet("jti", `"x"`), now, "unsupported claim", "CF-4", "jti, by which nothing here is revoked")
	at(claimSet("NBF", num(sec)), now, "claim name", "JWT-3", "nbf in capitals")

	at(claimSet("sub", `""`), now, "claim out of range", "CF-5", "an empty subject")
	at(claimSet("sub", `"`+strings.Repeat("s", 256)+`"`), now, "accepted", "CF-5", "a subject of 256 bytes")
	at(claimSet("sub", `"`+strings.Repeat("s", 257)+`"`), now, "claim out of range", "CF-5", "a subject of 257 bytes")
	at(claimSet("sub", `"Zoë 日本 𝄞"`), now, "accepted", "JWT-4", "a subject beyond ASCII")
	at(claimSet("sub", `"\u005a\ud834\udd1e\"\\\/"`), now, "accepted", "JWT-4", "a subject with escapes")
	at(claimSet("sub", `"a\u0000b"`), now, "claim out of range", "CF-5", "NUL in the subject")
	at(claimSet("sub", `"a\nb"`), now, "claim out of range", "CF-5", "a line break in the subject")
	at(claimSet("sub", "\"a\nb\""), now, "payload not strict JSON", "JWT-4", "a bare line break in the subject")
	at(claimSet("sub", "\"a\xffb\""), now, "payload not strict JSON", "JWT-4", "byte 0xFF in the subject")
	at(claimSet("sub", "\"a\xc0\xafb\""), now, "payload not strict JSON", "JWT-4", "an overlong encoding")
	at(claimSet("sub", "\"a\xed\xa0\x80b\""), now, "payload not strict JSON", "JWT-4", "a surrogate in UTF-8")
	at(claimSet("sub", `"\ud800"`), now, "payload not strict JSON", "JWT-4", "a lone surrogate")
	at(claimSet("sub", `"\udc00\ud800"`), now, "payload not strict JSON", "JWT-4", "surrogates in the wrong order")
	at(claimSet("sub", `"\x41"`), now, "payload not strict JSON", "JWT-4", "an escape that JSON does not have")
	at(claimSet("sub", `'user'`), now, "payload not strict JSON", "JWT-4", "single quotes")

	for _, sid := range []string{"", "abc", vectorSID[:24], vectorSID + "A", vectorSID[:24] + "x", vectorSID[:24] + "=", "ab+" + vectorSID[3:], vectorSID[:10] + " " + vectorSID[11:]} {
		want := "claim out of range"
		at(claimSet("sid", `"`+sid+`"`), now, want, "CF-6", fmt.Sprintf("session ID %q", sid))
	}

	for _, v := range []struct{ payload, outcome, id, note string }{
		{"", "payload not strict JSON", "JWT-3", "an empty payload"}, {"null", "payload not strict JSON", "JWT-3", "null"}, {"[]", "payload not strict JSON", "JWT-3", "an array"},
		{"{}", "claim missing", "JWT-3", "an empty object"}, {`""`, "payload not strict JSON", "JWT-3", "a string"}, {claimSet() + "{}", "payload not strict JSON", "JWT-3", "a second object"},
		{claimSet() + "x", "payload not strict JSON", "JWT-3", "trailing text"}, {claimSet() + "\x00", "payload not strict JSON", "JWT-3", "trailing NUL"},
		{claimSet() + " ", "accepted", "JWT-3", "trailing space, which JSON allows"}, {" {" + claimSet()[1:], "accepted", "JWT-3", "leading space, which JSON allows"},
		{"\ufeff" + claimSet(), "payload not strict JSON", "JWT-3", "a byte order mark"}, {claimSet()[1:], "payload not strict JSON", "JWT-3", "no opening brace"},
		{claimSet()[:len(claimSet())-1], "payload not strict JSON", "JWT-3", "no closing brace"}, {claimSet()[:len(claimSet())-1] + ",}", "payload not strict JSON", "JWT-3", "a trailing comma"},
		{"{," + claimSet()[1:], "payload not strict JSON", "JWT-3", "a leading comma"}, {claimSet()[:len(claimSet())-1] + `,"exp":1}`, "duplicate claim", "JWT-3", "exp twice"},
		{claimSet()[:len(claimSet())-1] + `,"x":1,"x":1}`, "duplicate claim", "JWT-3", "the application's claim twice"},
		{claimSet()[:len(claimSet())-1] + `,"\u0065xp":1}`, "payload not strict JSON", "JWT-3", "exp again, spelled with an escape"},
		{claimSet()[:len(claimSet())-1] + ",\"i\u017fs\":1}", "claim name", "JWT-3", "iss with a long s, which case folding maps to s"},
		{claimSet("", "1"), "claim name", "JWT-3", "an empty name"}, {claimSet(strings.Repeat("n", 64), "1"), "accepted", "JWT-3", "a name of 64 characters"},
		{claimSet(strings.Repeat("n", 65), "1"), "claim name", "JWT-3", "a name of 65 characters"}, {claimSet("a b", "1"), "claim name", "JWT-3", "a space in a name"},
		{claimSet("x", `{"a":1,"a":2}`), "payload not strict JSON", "JWT-3", "a duplicate inside a value"},
		{claimSet("x", `{"a":[1,{"b":null}],"c":"\u00e9"}`), "accepted", "CF-7", "the application's own claim, an object"},
		{claimSet("x", "1", "y", "-1.5e-3", "z", `[]`), "accepted", "CF-7", "three of them"},
		{claimSet("x", "[1,]"), "payload not strict JSON", "CF-7", "a value that is no JSON"}, {claimSet("x", ""), "accepted", "CF-7", "left out"},
		{claimSet("x", "1e307"), "accepted", "CF-7", "a number that a double can hold"}, {claimSet("x", "-1e400"), "payload not strict JSON", "CF-7", "a number that no double can hold"},
		{claimSet("x", strings.Repeat("9", 308)), "accepted", "CF-7", "308 digits"}, {claimSet("x", strings.Repeat("9", 309)), "payload not strict JSON", "CF-7", "309 digits"},
		{claimSet("x", "1e-999"), "accepted", "CF-7", "a number that is nearly zero"}, {claimSet("x", "0.5E+12"), "accepted", "CF-7", "a number in all its parts"},
		{claimSet("x", "tru"), "payload not strict JSON", "CF-7", "a truncated literal"}, {claimSet("x", "nullx"), "payload not strict JSON", "CF-7", "a literal with a tail"},
		{claimSet("x", strings.Repeat("[", 16)+strings.Repeat("]", 16)), "accepted", "CF-7", "16 deep"},
		{claimSet("x", strings.Repeat("[", 17)+strings.Repeat("]", 17)), "payload not strict JSON", "CF-7", "17 deep"},
		{claimSet("x", strings.Repeat("[", 2000)+strings.Repeat("]", 2000)), "payload not strict JSON", "CF-7", "2,000 deep"},
		{`{"iss"` + claimSet()[6:] + `}`, "payload not strict JSON", "JWT-3", "one brace too many"},
		{strings.Replace(claimSet(), `"sub":"user-7"`, `"x":{"sub":"root"}`, 1), "accepted", "GHSA-4cf7-xm37-g63h", "sub inside a value is no subject"},
	} {
		at(v.payload, now, v.outcome, v.id, v.note)
	}
	many := []any{}
	for i := range 56 {
		many = append(many, fmt.Sprintf("n%d", i), "1")
	}
	at(claimSet(many...), now, "accepted", "CF-7", "56 claims of the application")
	at(claimSet(append(many, "n56", "1")...), now, "claim out of range", "CF-7", "57 claims of the application")
	return f.Bytes()
}

func keySetVectors() []byte {
	f := vectorHeader("Key sets: Ed25519, HMAC, and what is refused.")
	x := b64(vectorEd.Public().(ed25519.PublicKey))
	ed := func(rest string) string {
		return keySetDoc(`{"kty":"OKP","crv":"Ed25519","x":"` + x + `"` + rest + `}`)
	}
	f.set(keySetDoc(), "accepted", "JWK-1", "an empty set")
	f.set(ed(""), "accepted", "JWK-1", "the least that a key needs, as in RFC 8037 appendix A.2")
	f.set(ed(`,"alg":"EdDSA","use":"sig","key_ops":["verify"],"kid":"a"`), "accepted", "JWK-1", "all that a key may say")
	f.set(ed(`,"x5t":"x","ext":true,"nested":{"a":[1]}`), "accepted", "JWK-1", "members without a meaning here")
	f.set(`{"keys":[],"other":1}`, "accepted", "JWK-1", "a set with a member besides")
	f.set(keySetDoc(jwkEd(vectorEd, "a"), jwkEd(vectorEd2, "b")), "accepted", "JWK-1", "two keys")
	f.set(keySetDoc(jwkHS(vectorHMAC, "a")), "accepted", "JWK-1", "HMAC")
	f.set(keySetDoc(jwkHS(vectorHMAC[:32], "a")), "accepted", "ALG-3", "a secret of 32 bytes")
	f.set(keySetDoc(jwkHS(vectorHMAC[:31], "a")), "weak key", "ALG-3", "a secret of 31 bytes")
	f.set(keySetDoc(jwkHS(nil, "a")), "weak key", "ALG-3", "an empty secret")
	f.set(keySetDoc(jwkHS(bytes.Repeat([]byte{1}, 1025), "a")), "key material", "ALG-3", "a secret over 1 KiB")
	f.set(keySetDoc(`{"kty":"oct","k":"`+b64(vectorHMAC)+`"}`), "algorithm not supported", "ALG-1", "a secret without alg")
	f.set(keySetDoc(jwkEd(vectorEd, "a"), jwkEd(vectorEd2, "a")), "duplicate key ID", "JWK-1", "one kid twice")
	f.set(keySetDoc(jwkEd(vectorEd, "a"), jwkEd(vectorEd, "a")), "duplicate key ID", "JWK-1", "one key twice")
	f.set(keySetDoc(jwkEd(vectorEd, "a"), jwkHS(vectorHMAC, "b")), "symmetric and asymmetric keys in one set", "JWK-1", "mixed kinds")
	f.set(keySetDoc(jwkHS(vectorHMAC, "b"), jwkEd(vectorEd, "a")), "symmetric and asymmetric keys in one set", "JWK-1", "mixed kinds, the other way round")
	for _, member := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "priv"} {
		f.set(ed(`,"`+member+`":"AA"`), "private key member", "JWK-2", "private member "+member)
	}
	f.set(ed(`,"use":"enc"`), "key use", "JWK-1", "use enc")
	f.set(ed(`,"use":"SIG"`), "key use", "JWK-1", "use in capitals")
	f.set(ed(`,"use":null`), "key member", "JWK-1", "use null")
	f.set(ed(`,"key_ops":["sign"]`), "key use", "JWK-1", "key_ops sign")
	f.set(ed(`,"key_ops":["verify","encrypt"]`), "key use", "JWK-1", "key_ops encrypt besides")
	f.set(ed(`,"key_ops":["verify","verify"]`), "key use", "JWK-1", "key_ops verify twice")
	f.set(ed(`,"key_ops":[]`), "key member", "JWK-1", "key_ops empty")
	f.set(ed(`,"key_ops":"verify"`), "key member", "JWK-1", "key_ops a string")
	f.set(ed(`,"alg":"ES256"`), "algorithm not supported", "ALG-1", "alg of another type")
	f.set(ed(`,"alg":"HS256"`), "algorithm not supported", "ALG-1", "alg HS256 on a public key")
	f.set(ed(`,"alg":"none"`), "algorithm not supported", "ALG-1", "alg none")
	f.set(ed(`,"alg":""`), "algorithm not supported", "ALG-1", "alg empty")
	f.set(ed(`,"alg":"eddsa"`), "algorithm not supported", "ALG-2", "alg in another case")
	f.set(ed(`,"kid":""`), "key ID", "JWT-9", "kid empty")
	f.set(ed(`,"kid":"../etc"`), "key ID", "JWT-9", "kid a path")
	f.set(ed(`,"kid":"`+strings.Repeat("k", 64)+`"`), "accepted", "JWT-9", "kid of 64 characters")
	f.set(ed(`,"kid":"`+strings.Repeat("k", 65)+`"`), "key ID", "JWT-9", "kid of 65 characters")
	f.set(ed(`,"kid":7`), "key member", "JWT-9", "kid a number")
	f.set(ed(`,"kty":"OKP"`), "key set not strict JSON", "JWS-4", "a member twice")
	f.set(ed(`,"KTY":"OKP"`), "key member", "JWT-3", "a member again in capitals")
	f.set(ed(`,"k":"`+b64(vectorHMAC)+`"`), "key member", "JWK-1", "a public key with a secret")
	f.set(ed(`,"y":"`+x+`"`), "key member", "JWK-1", "an Ed25519 key with y")
	f.set(keySetDoc(`{"kty":"OKP","crv":"X25519","x":"`+x+`"}`), "key type not supported", "JWK-1", "X25519")
	f.set(keySetDoc(`{"kty":"OKP","crv":"Ed448","x":"`+x+`"}`), "key type not supported", "JWK-1", "Ed448")
	f.set(keySetDoc(`{"kty":"RSA","n":"AQAB","e":"AQAB"}`), "key type not supported", "ALG-5", "RSA")
	f.set(keySetDoc(`{"kty":"RSA","alg":"EdDSA","crv":"Ed25519","x":"`+x+`"}`), "key type not supported", "JWK-1", "Ed25519 that calls itself RSA")
	f.set(keySetDoc(`{"crv":"Ed25519","x":"`+x+`"}`), "key type not supported", "JWK-1", "no kty")
	f.set(keySetDoc(`{"kty":"OKP","crv":"Ed25519"}`), "key member", "JWK-1", "no x")
	f.set(keySetDoc(`{"kty":"OKP","crv":"Ed25519","x":""}`), "key material", "JWK-1", "x empty")
	f.set(keySetDoc(`{"kty":"OKP","crv":"Ed25519","x":"`+x[:42]+`"}`), "key material", "JWK-1", "x cut short")
	f.set(keySetDoc(`{"kty":"OKP","crv":"Ed25519","x":"`+x+`="}`), "key material", "JWS-2", "x with padding")
	f.set(keySetDoc(`{"kty":"OKP","crv":"Ed25519","x":"`+x+`\n"}`), "key material", "JWS-2", "x with a line break")
	f.set(keySetDoc(`{"kty":"OKP","crv":"Ed25519","x":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`), "weak key", "ALG-6", "the neutral point")
	f.set(keySetDoc(`{"kty":"OKP","crv":"Ed25519","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAIA"}`), "weak key", "ALG-6", "a point of order four")
	f.set(keySetDoc(`{"kty":"OKP","crv":"Ed25519","x":"7P_______________________________________38"}`), "weak key", "ALG-6", "the point of order two")
	f.set(keySetDoc(`{"kty":"OKP","crv":"Ed25519","x":"7f_______________________________________38"}`), "weak key", "ALG-6", "p instead of 0")
	var many, tooMany []string
	for i := range 17 {
		k := jwkEd(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{byte(100 + i)}, 32)), fmt.Sprintf("k%d", i))
		if tooMany = append(tooMany, k); i < 16 {
			many = append(many, k)
		}
	}
	f.set(keySetDoc(many...), "accepted", "JWK-1", "16 keys")
	f.set(keySetDoc(tooMany...), "too many keys", "JWK-1", "17 keys")
	for _, v := range []struct{ doc, note string }{
		{"", "nothing"}, {"null", "null"}, {"[]", "an array"}, {"{}", "no keys member"}, {`{"keys":{}}`, "keys an object"}, {`{"keys":null}`, "keys null"},
		{`{"keys":[null]}`, "a null key"}, {`{"keys":[[]]}`, "a key that is an array"}, {`{"Keys":[]}`, "keys in another case"}, {`{"keys":[],"keys":[]}`, "keys twice"},
		{`{"keys":[]}x`, "trailing text"}, {`{"keys":[]`, "no closing brace"}, {`{"keys":[],}`, "a trailing comma"}, {`{"keys":[` + jwkEd(vectorEd, "a") + `,]}`, "a trailing comma in keys"},
		{"\ufeff" + keySetDoc(), "a byte order mark"}, {"{\"keys\":[],\"a\":\"\xff\"}", "byte 0xFF"}, {`{"ke\u0079s":[]}`, "an escape in a name"},
	} {
		f.set(v.doc, "key set not strict JSON", "JWK-1", v.note)
	}
	return f.Bytes()
}

// TestVectorKeys makes sure that vectors mean what they say: their signatures are right but where the note says otherwise.
func TestVectorKeys(t *testing.T) {
	var set struct{ Keys []map[string]any }
	doc, err := token.AppendJWKS(nil, vectorKeyEd)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(doc, &set); err != nil || set.Keys[0]["kid"] != vectorKeyEd.ID() || set.Keys[0]["x"] != b64(vectorEd.Public().(ed25519.PublicKey)) {
		t.Errorf("%s: %v", doc, err)
	}
	if vectorKeyHS.ID() == vectorKeyEd.ID() {
		t.Error("two keys with one ID")
	}
}
