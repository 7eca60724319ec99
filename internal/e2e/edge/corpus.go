package main

import (
	"bufio"
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
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/counterfoil/counterfoil/internal/e2e/oracle"
	"github.com/counterfoil/counterfoil/token"
)

// A line is one step of the corpus, for every host the same. Hosts read it as JSON. Strings of bytes have a character for each byte.
type line struct {
	Kind string `json:"kind"` // set: what the tokens that follow are checked with; token; keys; reader: begins a reader of frames; frame

	// of set and reader
	Issuer   string `json:"issuer,omitempty"`
	Audience string `json:"audience,omitempty"`
	Leeway   int64  `json:"leeway,omitempty"` // ms
	MaxLife  int64  `json:"maxLife,omitempty"`

	JWKS  string `json:"jwks,omitempty"`  // of set and keys
	Token string `json:"token,omitempty"` // bytes
	Often bool   `json:"often,omitempty"` // ask a second time, when the table knows a good token, and a third one, when the host does
	At    int64  `json:"at,omitempty"`    // ms: the clock

	// of reader and frame
	FrameKeys []string `json:"frameKeys,omitempty"`
	MaxFrame  int      `json:"maxFrame,omitempty"`
	SkipNonce bool     `json:"skipNonce,omitempty"`
	Nonce     string   `json:"nonce,omitempty"` // base64
	Frame     string   `json:"frame,omitempty"` // base64
}

// config is the line as the configuration of a module.
func (l line) config() string {
	c := "issuer " + l.Issuer + "\naudience " + l.Audience + "\npolicy best-effort\nlist 64\n"
	if l.Kind == "set" {
		return c + fmt.Sprintf("leeway %d\nmax-life %d\n", l.Leeway, l.MaxLife)
	}
	for _, k := range l.FrameKeys {
		c += "frame-key " + k + "\n"
	}
	if l.MaxFrame > 0 {
		c += "max-frame " + strconv.Itoa(l.MaxFrame) + "\n"
	}
	if l.SkipNonce {
		c += "skip-nonce yes\n"
	}
	return c
}

// A part is what the table counts together.
type part int

const (
	setup part = iota // no case, but what follows is about it
	vectors
	frames
	mutated
	parts
)

// An item is a line and what the papers say about it.
type item struct {
	line
	part  part
	where string // for whoever has to look for it
	want  string // what the vector file expects, or else token.Verify, as far as it goes: "accepted", a reason; "" = nothing
	es256 bool   // needs ES256
}

// makeCorpus reads the vectors and makes n mutated tokens, and es256 more with ES256.
func makeCorpus(root string, n, es256 int, seed uint64) ([]item, error) {
	var all []item
	files, err := filepath.Glob(filepath.Join(root, "token/testdata/vectors/*.txt"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no vectors: %w", err)
	}
	for _, f := range files {
		items, err := tokenVectors(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Base(f), err)
		}
		all = append(all, items...)
	}
	files, err = filepath.Glob(filepath.Join(root, "revocation/testdata/frames/*.txt"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no frames: %w", err)
	}
	for _, f := range files {
		items, err := frameVectors(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Base(f), err)
		}
		all = append(all, items...)
	}
	signers, err := signers()
	if err != nil {
		return nil, err
	}
	for i, count := range []int{n - n*3/10, n * 3 / 10, es256} { // mostly HS256: the rules are the same, and its signatures cost a hundredth
		items, err := mutations(signers[i], count, rand.New(rand.NewPCG(seed, uint64(i))))
		if err != nil {
			return nil, err
		}
		all = append(all, items...)
	}
	return all, nil
}

// tokenVectors reads a file of token/testdata/vectors, whose README tells the format.
func tokenVectors(path string) ([]item, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var all []item
	with := line{Kind: "set"}
	sets := map[string]string{}
	current := ""
	es256 := filepath.Base(path) == "es256.txt"
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		f := strings.Split(lines.Text(), "\t")
		where := fmt.Sprintf("%s:%d", filepath.Base(path), n)
		switch {
		case f[0] == "" || f[0][0] == '#':
		case f[0] == "@issuer":
			with.Issuer = f[1]
		case f[0] == "@audience":
			with.Audience = f[1]
		case f[0] == "@leeway":
			with.Leeway, err = strconv.ParseInt(f[1], 10, 64)
		case f[0] == "@max-life":
			with.MaxLife, err = strconv.ParseInt(f[1], 10, 64)
		case f[0] == "@keys":
			sets[f[1]] = f[2]
		case f[0] == "keys" && len(f) == 5:
			var jwks []byte
			jwks, err = unquote(f[1])
			all = append(all, item{line: line{Kind: "keys", JWKS: perByte(jwks)}, part: vectors, where: where, want: f[2], es256: es256})
		case f[0] == "token" && len(f) == 7:
			if f[1] != current {
				current = f[1]
				with.JWKS = sets[current]
				all = append(all, item{line: with, where: where, es256: es256})
			}
			l := line{Kind: "token", Often: true}
			var raw []byte
			if raw, err = unquote(f[2]); err == nil {
				l.At, err = strconv.ParseInt(f[3], 10, 64)
			}
			l.Token = perByte(raw)
			all = append(all, item{line: l, part: vectors, where: where, want: f[4], es256: es256})
		default:
			err = fmt.Errorf("line %d is malformed", n)
		}
		if err != nil {
			return nil, err
		}
	}
	return all, lines.Err()
}

func unquote(s string) ([]byte, error) {
	if s == "-" {
		return nil, nil
	}
	s, err := url.PathUnescape(s)
	return []byte(s), err
}

// perByte returns a string with a character for each byte, and bytesOf what it was made of.
func perByte(b []byte) string {
	r := make([]rune, len(b))
	for i, c := range b {
		r[i] = rune(c)
	}
	return string(r)
}

func bytesOf(s string) []byte {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		b = append(b, byte(r))
	}
	return b
}

// frameVectors reads a file of revocation/testdata/frames, whose README tells the format.
func frameVectors(path string) ([]item, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	reader := item{line: line{Kind: "reader", Audience: "https://service.test"}, where: filepath.Base(path)}
	all := []item{reader}
	for n, text := range strings.Split(string(data), "\n") {
		name, value, _ := strings.Cut(text, ":")
		value = strings.TrimPrefix(value, " ")
		last := &all[len(all)-1]
		switch name {
		case "issuer":
			last.Issuer = value
		case "key":
			last.FrameKeys = append(last.FrameKeys, value)
		case "max":
			last.MaxFrame, err = strconv.Atoi(value)
		case "skip-nonce":
			last.SkipNonce = value == "yes"
		case "ask":
			all = append(all, item{line: line{Kind: "frame"}, part: frames, where: fmt.Sprintf("%s:%d", filepath.Base(path), n+1)})
		case "nonce":
			var nonce []byte
			nonce, err = fromHex(value)
			last.Nonce = base64.StdEncoding.EncodeToString(nonce)
		case "query":
			last.want = strings.TrimSpace(value) + "|"
		case "clock":
			last.At, err = strconv.ParseInt(value, 10, 64)
		case "frame":
			last.Frame = value
		case "expect":
			last.want += value
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n+1, err)
		}
	}
	return all, nil
}

func fromHex(s string) ([]byte, error) {
	b := make([]byte, len(s)/2)
	_, err := fmt.Sscanf(s, "%x", &b)
	return b, err
}

// signers have keys that everybody knows, so that a seed makes the same tokens everywhere.
func signers() ([]oracle.Signer, error) {
	seed := func(name string) []byte {
		sum := sha256.Sum256([]byte("counterfoil edge corpus " + name))
		return sum[:]
	}
	secret := seed("HS256")
	hs, err := token.HS256Key(secret)
	if err != nil {
		return nil, err
	}
	edPrivate := ed25519.NewKeyFromSeed(seed("EdDSA"))
	ed, err := token.Ed25519Key(edPrivate.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	esPrivate, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), seed("ES256"))
	if err != nil {
		return nil, err
	}
	es, err := token.ES256Key(&esPrivate.PublicKey)
	if err != nil {
		return nil, err
	}
	return []oracle.Signer{
		{Alg: "HS256", Key: hs, Sign: func(signed []byte) []byte {
			h := hmac.New(sha256.New, secret)
			h.Write(signed)
			return h.Sum(nil)
		}},
		{Alg: "EdDSA", Key: ed, Sign: func(signed []byte) []byte { return ed25519.Sign(edPrivate, signed) }},
		{Alg: "ES256", Key: es, Sign: func(signed []byte) []byte {
			digest := sha256.Sum256(signed)
			return rawECDSA(esPrivate, digest[:])
		}},
	}, nil
}

// mutations makes n tokens of one signer, and lets token.Verify say what they are.
func mutations(s oracle.Signer, n int, r *rand.Rand) ([]item, error) {
	jwks, err := token.AppendJWKS(nil, s.Key)
	if s.Alg == "HS256" { // which is not for publication
		jwks, err = secretJWKS(s.Key.ID())
	}
	if err != nil {
		return nil, err
	}
	set := line{
		Kind: "set", Issuer: oracle.Issuer, Audience: oracle.Audience, Leeway: 10_000, MaxLife: 900_000, JWKS: string(jwks),
	}
	v, err := oracle.Ours(s.Key)
	if err != nil {
		return nil, err
	}
	es256 := s.Alg == "ES256"
	all := []item{{line: set, where: "mutated " + s.Alg, es256: es256}}
	m := oracle.Mutator{Rand: r}
	for i := range n {
		raw := m.Token(s)
		want := "accepted"
		if _, err := v.VerifyAt(raw, oracle.Now); err != nil {
			want = token.Reason(err)
		}
		all = append(all, item{
			line: line{Kind: "token", Token: perByte([]byte(raw)), At: oracle.Now.UnixMilli()},
			part: mutated, where: fmt.Sprintf("mutated %s %d", s.Alg, i), want: want, es256: es256,
		})
	}
	return all, nil
}

func secretJWKS(id string) ([]byte, error) {
	secret := sha256.Sum256([]byte("counterfoil edge corpus HS256"))
	return json.Marshal(map[string]any{"keys": []any{map[string]string{
		"kty": "oct", "alg": "HS256", "use": "sig", "kid": id, "k": base64.RawURLEncoding.EncodeToString(secret[:]),
	}}})
}

// encode returns the corpus as hosts read it.
func encode(items []item) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	for _, i := range items {
		if err := enc.Encode(i.line); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// rawECDSA signs deterministically, as RFC 6979 says, and spells the signature as JWS does.
func rawECDSA(key *ecdsa.PrivateKey, digest []byte) []byte {
	der, err := key.Sign(nil, digest, crypto.SHA256)
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
