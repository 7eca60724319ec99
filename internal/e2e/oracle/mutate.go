package oracle

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	mathrand "math/rand/v2"
	"strconv"
	"strings"

	"github.com/counterfoil/counterfoil/token"
)

// Signers makes a signer for each algorithm, with new keys.
func Signers() ([]Signer, error) {
	secret := make([]byte, 32)
	rand.Read(secret)
	hs, err := token.HS256Key(secret)
	if err != nil {
		return nil, err
	}
	edPublic, edPrivate, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	ed, err := token.Ed25519Key(edPublic)
	if err != nil {
		return nil, err
	}
	esPrivate, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	es, err := token.ES256Key(&esPrivate.PublicKey)
	if err != nil {
		return nil, err
	}
	return []Signer{
		{"HS256", hs, secret, func(signed []byte) []byte {
			h := hmac.New(sha256.New, secret)
			h.Write(signed)
			return h.Sum(nil)
		}},
		{"EdDSA", ed, edPublic, func(signed []byte) []byte { return ed25519.Sign(edPrivate, signed) }},
		{"ES256", es, &esPrivate.PublicKey, func(signed []byte) []byte {
			digest := sha256.Sum256(signed)
			r, s, err := ecdsa.Sign(rand.Reader, esPrivate, digest[:])
			if err != nil {
				panic(err)
			}
			out := make([]byte, 64)
			r.FillBytes(out[:32])
			s.FillBytes(out[32:])
			return out
		}},
	}, nil
}

// A Mutator makes tokens that are good but for a change or two, in form, header, claims or signature. The changes to header and claims are signed for, so that they
// reach whatever comes after the signature.
type Mutator struct {
	*mathrand.Rand
}

func (m Mutator) pick(s ...string) string { return s[m.IntN(len(s))] }

// Token makes one.
func (m Mutator) Token(s Signer) string {
	header := `{"alg":"` + s.Alg + `","kid":"` + s.Key.ID() + `","typ":"session+jwt"}`
	members := m.claims()
	trailer, opener := "", ""
	for range m.IntN(3) {
		switch m.IntN(12) {
		case 0:
			header = m.header(header, s)
		case 1:
			trailer = m.pick(" ", "\n", "x", "{}", "\x00", ",", "}")
		case 2:
			opener = m.pick(" ", "\n", "\ufeff", "[", "\x00")
		default:
			members = m.change(members)
		}
	}
	payload := opener + "{" + strings.Join(members, m.pick(",", ",", ",", ",", " , ", ",,", ";")) + "}" + trailer
	enc := base64.RawURLEncoding
	signed := enc.EncodeToString([]byte(header)) + "." + enc.EncodeToString([]byte(payload))
	raw := signed + "." + enc.EncodeToString(s.Sign([]byte(signed)))
	if m.IntN(4) == 0 {
		raw = m.spoil(raw)
	}
	return raw
}

func (m Mutator) claims() []string {
	now := Now.Unix()
	return []string{
		`"iss":"` + Issuer + `"`, `"aud":"` + Audience + `"`, `"sub":"user-` + strconv.Itoa(m.IntN(1000)) + `"`, `"sid":"abcAAECAwQFBgcICQoLDA0ODw"`, `"gen":` + strconv.Itoa(m.IntN(100)),
		`"iat":` + strconv.FormatInt(now-int64(m.IntN(100)), 10), `"exp":` + strconv.FormatInt(now+int64(m.IntN(700)), 10),
	}
}

func (m Mutator) header(h string, s Signer) string {
	if h == "" {
		return h
	}
	body := strings.TrimSuffix(h, "}")
	switch m.IntN(14) {
	case 0:
		return body + `,"crit":` + m.pick(`["exp"]`, `[]`, `["b64"],"b64":false`, `["x"],"x":1`, `null`) + "}"
	case 1:
		return strings.Replace(h, `"session+jwt"`, m.pick(`"JWT"`, `"at+jwt"`, `""`, `null`, `1`, `"SESSION+JWT"`), 1)
	case 2:
		return strings.Replace(h, `,"typ":"session+jwt"`, "", 1)
	case 3:
		return strings.Replace(h, s.Key.ID(), m.pick("", "other", "../../dev/null", strings.Repeat("k", 3000)), 1)
	case 4:
		return strings.Replace(h, `"kid":"`+s.Key.ID()+`",`, m.pick("", `"kid":1,`, `"kid":null,`), 1)
	case 5:
		return strings.Replace(h, `"`+s.Alg+`"`, m.pick(`"none"`, `"HS256"`, `"HS384"`, `"ES256"`, `"EdDSA"`, `"eddsa"`, `"RS256"`, `"PS256"`, `null`, `[]`), 1)
	case 6:
		return `{"alg":"none",` + h[1:]
	case 7:
		return body + `,"alg":"` + s.Alg + `"}`
	case 8:
		return m.pick(" ", "\n", "\ufeff") + h
	case 9:
		return h + m.pick(" ", "x", "{}")
	case 10:
		return body + m.pick(`,"jwk":{}`, `,"jku":"https://x.test"`, `,"x5u":"https://x.test"`, `,"zip":"DEF"`, `,"cty":"JWT"`, `,"x5c":[]`, `,"nonce":"x"`) + "}"
	case 11:
		return strings.Replace(h, `"alg":"`+s.Alg+`","kid":"`+s.Key.ID()+`"`, `"kid":"`+s.Key.ID()+`","alg":"`+s.Alg+`"`, 1)
	case 12:
		return strings.Replace(h, `"alg"`, m.pick(`"ALG"`, `"Alg"`, `"\u0061lg"`, `"alg" `), 1)
	}
	return m.pick("", "{}", "null", "[]", "{", `"x"`)
}

func (m Mutator) change(members []string) []string {
	if len(members) < 3 {
		return members
	}
	members = append([]string(nil), members...)
	i := m.IntN(len(members))
	name, value, _ := strings.Cut(members[i], ":")
	now := Now.Unix()
	switch m.IntN(14) {
	case 0:
		return append(members[:i], members[i+1:]...)
	case 1:
		members[i] = name + ":" + m.value(2)
	case 2:
		return append(members, members[i])
	case 3:
		return append(members, name+":"+m.value(1))
	case 4:
		return append(members, strings.ToUpper(name)+":"+value)
	case 5:
		return append(members, strings.Replace(name, `"`, `"\u00`+fmt.Sprintf("%02x", name[1]), 1)[:6]+name[1:]+":"+value)
	case 6, 7:
		at := m.pick("iat", "exp", "nbf", "auth_time", "sst")
		offset := []int64{-100000, -901, -900, -300, -11, -10, -9, -1, 0, 1, 9, 10, 11, 300, 899, 900, 901, 100000, 1 << 40}[m.IntN(19)]
		number := strconv.FormatInt(now+offset, 10) + m.pick("", "", "", ".0", ".5", ".999", ".1234", "e0", "E1")
		for j := range members {
			if strings.HasPrefix(members[j], `"`+at+`"`) {
				members[j] = `"` + at + `":` + number
				return members
			}
		}
		return append(members, `"`+at+`":`+number)
	case 8:
		members[2] = `"sub":"` + m.pick("", "a\xffb", `\ud800`, `\ud834\udd1e`, "日本", `a\u0000`, `\/`, strings.Repeat("s", 300), "a\nb", `\x`, `"`) + `"`
	case 9:
		members[1] = `"aud":` + m.pick(`["`+Audience+`"]`, `["x","`+Audience+`"]`, `[]`, `""`, `"`+Audience+`/"`, `{"a":1}`)
	case 10:
		members[0] = `"iss":` + m.pick(`"https:\/\/issuer.test"`, `"https://other.test"`, `""`, `null`, `["`+Issuer+`"]`)
	case 11:
		return append(members, m.pick(`"jti":"x"`, `"cnf":{}`, `"":1`, `"a b":1`, "\"i\u017fs\":1", `"\u0041":1`, `"admin":true`, `"x":{"exp":1,"exp":2}`, `"deep":`+strings.Repeat("[", 30)+strings.Repeat("]", 30)))
	default:
		return append(members, `"`+m.pick("plan", "role", "x", "tenant", "n")+`":`+m.value(3))
	}
	return members
}

func (m Mutator) value(depth int) string {
	switch n := m.IntN(12); {
	case n < 3:
		return m.pick("0", "1", "-1", "1.5", "1e3", "1e400", "12345678901234567890", "-0", "01", "1.", "NaN")
	case n < 6:
		return m.pick(`""`, `"x"`, `"\u00e9"`, `"1893499200"`, "\"\xc0\x80\"", `"unterminated`, `"a\tb"`)
	case n < 8:
		return m.pick("true", "false", "null", "tru", "nil")
	case n < 10 && depth > 0:
		return "[" + m.value(depth-1) + m.pick(",", ", ") + m.value(depth-1) + m.pick("]", "]", "]", "")
	case depth > 0:
		return `{"a":` + m.value(depth-1) + `,"` + m.pick("a", "b", "c") + `":` + m.value(depth-1) + "}"
	}
	return "7"
}

func (m Mutator) spoil(raw string) string {
	at := m.IntN(len(raw))
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	other := string(alphabet[m.IntN(64)])
	switch m.IntN(14) {
	case 0:
		return raw[:at] + raw[at+1:]
	case 1:
		return raw[:at] + other + raw[at+1:]
	case 2:
		return raw[:at] + other + raw[at:]
	case 3:
		return raw[:at]
	case 4:
		return raw[:at] + m.pick("\n", "\r\n", "=", " ", ".", "\x00", "\xff", "%", "+", "/") + raw[at:]
	case 5:
		return raw + m.pick("\n", "\r\n", "=", "==", ".", " ", other)
	case 6:
		return m.pick("\n", " ", ".", "Bearer ") + raw
	case 7, 8: // the unused bits of the last character
		i := strings.IndexByte(alphabet, raw[len(raw)-1])
		return raw[:len(raw)-1] + string(alphabet[i&^15|m.IntN(16)])
	case 9:
		parts := strings.Split(raw, ".")
		m.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		return strings.Join(parts, ".")
	case 10:
		return raw[:strings.LastIndexByte(raw, '.')+1]
	case 11:
		return raw + "." + raw
	case 12:
		return raw[:strings.LastIndexByte(raw, '.')+1] + strings.Repeat("A", 86)
	}
	return raw + strings.Repeat("A", m.IntN(9000))
}
