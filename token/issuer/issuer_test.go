package issuer_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/issuer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

func claims(at time.Time) token.Claims {
	return token.Claims{Subject: "user-7", Session: token.MustParseSessionID("abcAAECAwQFBgcICQoLDA0ODw"), Generation: 1, IssuedAt: at, Expires: at.Add(5 * time.Minute)}
}

func generate(t testing.TB, alg string) *issuer.Key {
	t.Helper()
	k, err := issuer.GenerateKey(alg)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newIssuer(t testing.TB, r *issuer.Ring) *issuer.Issuer {
	t.Helper()
	i, err := issuer.New(issuer.Config{Issuer: "i", Audience: "a", Ring: r})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func newRing(t testing.TB, keys ...*issuer.Key) *issuer.Ring {
	t.Helper()
	r, err := issuer.NewRing(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// signedBy returns the ID of the key that verifies a token, or nothing.
func signedBy(t testing.TB, raw token.Secret, at time.Time, keys []token.Key) string {
	t.Helper()
	set, err := token.NewKeySet(keys...)
	if err != nil {
		t.Fatal(err)
	}
	v, err := token.NewVerifier(token.VerifierConfig{Issuer: "i", Audience: "a", Keys: set})
	if err != nil {
		t.Fatal(err)
	}
	verified, err := v.VerifyAt(raw.Reveal(), at)
	if err != nil {
		return ""
	}
	return verified.KeyID()
}

// A remote is a signer that keeps its private key to itself, as a KMS does.
type remote struct {
	inner crypto.Signer
	spoil func([]byte) []byte
	err   error
}

func (r remote) Public() crypto.PublicKey { return r.inner.Public() }
func (r remote) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if r.err != nil {
		return nil, r.err
	}
	sig, err := r.inner.Sign(random, digest, opts)
	if r.spoil != nil {
		sig = r.spoil(sig)
	}
	return sig, err
}

func TestRemoteSigners(t *testing.T) {
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	for name, inner := range map[string]crypto.Signer{"EdDSA": ed, "ES256": ec} {
		mint := func(r remote) (token.Secret, *issuer.Key, error) {
			k, err := issuer.NewKey(r)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := newIssuer(t, newRing(t, k)).Mint(claims(start))
			return raw, k, err
		}
		for range 20 { // signatures whose R or S is short come now and then
			raw, k, err := mint(remote{inner: inner})
			if err != nil || signedBy(t, raw, start, []token.Key{k.Public()}) != k.ID() {
				t.Fatalf("%s: %v", name, err)
			}
			if k.Public().Algorithm() != name {
				t.Errorf("algorithm %s", k.Public().Algorithm())
			}
		}
		fault := errors.New("the KMS is away")
		if raw, _, err := mint(remote{inner: inner, err: fault}); !errors.Is(err, fault) || !raw.IsZero() {
			t.Errorf("%s: %v", name, err)
		}
		for what, spoil := range map[string]func([]byte) []byte{
			"a flipped bit": func(b []byte) []byte { b[len(b)-1] ^= 1; return b }, "nothing": func([]byte) []byte { return nil }, "cut short": func(b []byte) []byte { return b[:len(b)-1] },
			"too long": func(b []byte) []byte { return append(b, 0) }, "zeros": func(b []byte) []byte { clear(b); return b },
		} {
			if raw, _, err := mint(remote{inner: inner, spoil: spoil}); err == nil || !raw.IsZero() {
				t.Errorf("%s: a signer that returns %s: %v", name, what, err)
			}
		}
		k, err := issuer.NewKey(remote{inner: inner})
		if err != nil {
			t.Fatal(err)
		}
		if err := newRing(t, k).Save(filepath.Join(t.TempDir(), "ring")); err == nil {
			t.Errorf("%s: a key that lives elsewhere was saved", name)
		}
	}
}

func TestKeysThatAreRefused(t *testing.T) {
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	crossed := append(bytes.Clone(ed[:32]), make([]byte, 32)...)
	for name, s := range map[string]crypto.Signer{"none": nil, "RSA": rsaKey, "P-384": p384, "halves of two keys": ed25519.PrivateKey(crossed)} {
		if k, err := issuer.NewKey(s); err == nil || k != nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := issuer.NewHMACKey(make([]byte, 31)); err == nil || !strings.Contains(err.Error(), "32 to 1024 bytes, this one has 31") {
		t.Errorf("a short secret: %v", err)
	}
	if _, err := issuer.NewHMACKey(make([]byte, 1025)); err == nil || !strings.Contains(err.Error(), "32 to 1024 bytes, this one has 1025") {
		t.Errorf("a long secret: %v", err)
	}
	for _, alg := range []string{"", "none", "RS256", "eddsa", "Ed25519"} {
		if _, err := issuer.GenerateKey(alg); err == nil {
			t.Errorf("%q: accepted", alg)
		}
	}
	a, b := generate(t, "EdDSA"), generate(t, "HS256")
	for name, keys := range map[string][]*issuer.Key{"none": nil, "nil": {nil}, "zero": {new(issuer.Key)}, "twice": {a, a}, "mixed kinds": {a, b}} {
		if _, err := issuer.NewRing(keys...); err == nil {
			t.Errorf("ring of %s: accepted", name)
		}
	}
	ring := newRing(t, a)
	for name, c := range map[string]issuer.Config{"no issuer": {Audience: "a", Ring: ring}, "no audience": {Issuer: "i", Ring: ring}, "no ring": {Issuer: "i", Audience: "a"}, "life": {Issuer: "i", Audience: "a", Ring: ring, MaxLife: time.Hour}, "negative life": {Issuer: "i", Audience: "a", Ring: ring, MaxLife: -1}} {
		if _, err := issuer.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestMintRefuses(t *testing.T) {
	i, err := issuer.New(issuer.Config{Issuer: "i", Audience: "a", Ring: newRing(t, generate(t, "EdDSA")), MaxLife: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	ok := claims(start)
	ok.Expires = start.Add(time.Minute)
	if _, err := i.Mint(ok); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*token.Claims){
		"another issuer": func(c *token.Claims) { c.Issuer = "j" }, "life over the limit": func(c *token.Claims) { c.Expires = start.Add(time.Minute + 1) },
		"no session": func(c *token.Claims) { c.Session = token.SessionID{} }, "too long": func(c *token.Claims) {
			c.Extra = []token.Claim{{Name: "x", JSON: `"` + strings.Repeat("x", 7000) + `"`}}
		},
		"a session that began after its token": func(c *token.Claims) { c.Began = c.IssuedAt.Add(time.Millisecond) },
		"a session older than time":            func(c *token.Claims) { c.Began = time.UnixMilli(-1) },
	} {
		c := ok
		change(&c)
		if raw, err := i.Mint(c); !errors.Is(err, issuer.ErrRefused) || !raw.IsZero() {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRingFile(t *testing.T) {
	dir := t.TempDir()
	for _, algs := range [][]string{{"EdDSA"}, {"EdDSA", "ES256", "EdDSA"}, {"HS256", "HS256"}} {
		var keys []*issuer.Key
		for _, alg := range algs {
			keys = append(keys, generate(t, alg))
		}
		ring := newRing(t, keys...)
		path := filepath.Join(dir, strings.Join(algs, "-"))
		if err := ring.Save(path); err != nil {
			t.Fatal(err)
		}
		if err := ring.Save(path); err != nil { // over the old one
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%v, %v", info.Mode(), err)
		}
		loaded, err := issuer.LoadRing(path)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := newIssuer(t, loaded).Mint(claims(start))
		if err != nil || signedBy(t, raw, start, ring.Public()) != keys[0].ID() {
			t.Errorf("%v: the first key does not sign after a load: %v", algs, err)
		}
		if got := fmt.Sprint(loaded.Public()); got != fmt.Sprint(ring.Public()) {
			t.Errorf("%v: %v, want %v", algs, got, ring.Public())
		}
	}
	if names, _ := filepath.Glob(filepath.Join(dir, ".*")); len(names) > 0 {
		t.Errorf("left behind: %v", names)
	}
}

func TestRingFileRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ring")
	ring := newRing(t, generate(t, "EdDSA"))
	if err := ring.Save(path); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o700, 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := issuer.LoadRing(path); err == nil || !strings.Contains(err.Error(), "0600") {
			t.Errorf("mode %v: %v", mode, err)
		}
	}
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	if _, err := issuer.LoadRing(path); err != nil {
		t.Errorf("mode 0400: %v", err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal(good, &set); err != nil {
		t.Fatal(err)
	}
	other := newRing(t, generate(t, "EdDSA"))
	otherPath := filepath.Join(t.TempDir(), "other")
	if err := other.Save(otherPath); err != nil {
		t.Fatal(err)
	}
	with := func(name string, value any) string {
		doc, err := json.Marshal(map[string]any{"keys": []any{merge(set.Keys[0], name, value)}})
		if err != nil {
			t.Fatal(err)
		}
		return string(doc)
	}
	for name, doc := range map[string]string{
		"empty": "", "no keys": `{"keys":[]}`, "no set": `[]`, "trailing text": string(good) + "x", "trailing object": string(good) + "{}", "unknown member": with("n", "x"),
		"another kid": with("kid", "x"), "another alg": with("alg", "ES256"), "use": with("use", "enc"), "type": with("kty", "RSA"), "curve": with("crv", "X25519"), "no private half": with("d", ""),
		"public half of another": with("x", "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"), "padding": with("d", set.Keys[0]["d"].(string)+"="), "with k": with("k", "AAAA"), "order": with("counterfoil_from", "x"),
		"a megabyte": strings.Repeat(" ", token.MaxKeySetLen) + string(good),
	} {
		path := filepath.Join(t.TempDir(), "ring")
		if err := os.WriteFile(path, []byte(doc), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := issuer.LoadRing(path)
		if err == nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), set.Keys[0]["d"].(string)) {
			t.Errorf("%s: the error holds the private key", name)
		}
		if ring.Reload(path) == nil {
			t.Errorf("%s: reloaded", name)
		}
	}
	if _, err := issuer.LoadRing(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := issuer.LoadRing(t.TempDir()); err == nil {
		t.Error("a directory was accepted")
	}
	if err := ring.Save(filepath.Join(t.TempDir(), "no", "such", "folder")); err == nil {
		t.Error("saved into no folder")
	}
	if err := ring.Reload(otherPath); err != nil || ring.Public()[0].ID() != other.Public()[0].ID() {
		t.Errorf("reload: %v", err)
	}
}

func merge(m map[string]any, name string, value any) map[string]any {
	out := map[string]any{name: value}
	for k, v := range m {
		if k != name {
			out[k] = v
		}
	}
	return out
}

func TestPEM(t *testing.T) {
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	block := func(kind string, der []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	pkcs8 := func(k any) []byte { der, err := x509.MarshalPKCS8PrivateKey(k); return block("PRIVATE KEY", der, err) }
	sec1, err := x509.MarshalECPrivateKey(ec)
	for name, c := range map[string]struct {
		data []byte
		alg  string
	}{"Ed25519": {pkcs8(ed), "EdDSA"}, "P-256": {pkcs8(ec), "ES256"}, "SEC 1": {block("EC PRIVATE KEY", sec1, err), "ES256"}, "with space around": {append([]byte("\n \n"), append(pkcs8(ed), "\n\n"...)...), "EdDSA"}} {
		k, err := issuer.ParsePEM(c.data)
		if err != nil || k.Public().Algorithm() != c.alg {
			t.Errorf("%s: %v", name, err)
			continue
		}
		raw, err := newIssuer(t, newRing(t, k)).Mint(claims(start))
		if err != nil || signedBy(t, raw, start, []token.Key{k.Public()}) != k.ID() {
			t.Errorf("%s: %v", name, err)
		}
	}
	public, err := x509.MarshalPKIXPublicKey(ed.Public())
	withHeaders := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED"}, Bytes: []byte{1}})
	for name, data := range map[string][]byte{
		"empty": nil, "no PEM": []byte("hello"), "P-384": pkcs8(p384), "RSA": pkcs8(rsaKey), "public key": block("PUBLIC KEY", public, err), "headers": withHeaders, "two blocks": append(pkcs8(ed), pkcs8(ec)...),
		"text before": append([]byte("x\n"), pkcs8(ed)...), "text after": append(pkcs8(ed), 'x'), "RSA block": block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey), nil), "garbage": block("PRIVATE KEY", []byte{1, 2, 3}, nil),
		"SEC 1 as PKCS 8": block("PRIVATE KEY", sec1, nil), "too long": append(pkcs8(ed), bytes.Repeat([]byte("\n"), 64<<10)...), "encrypted": block("ENCRYPTED PRIVATE KEY", []byte{1}, nil),
	} {
		if k, err := issuer.ParsePEM(data); err == nil || k != nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// FuzzPEM: no input panics, and whatever key comes out signs.
func FuzzPEM(f *testing.F) {
	ed := ed25519.NewKeyFromSeed(make([]byte, 32))
	der, err := x509.MarshalPKCS8PrivateKey(ed)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := issuer.ParsePEM(data)
		if (err == nil) != (k != nil) {
			t.Fatal("a key beside an error")
		}
		if err == nil {
			if _, err := newIssuer(t, newRing(t, k)).Mint(claims(start)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestRotation turns the clock for a year and mints all the while. At every moment a key that signs was public for Ahead before, and every token that
// lives has its key among the public ones.
func TestRotation(t *testing.T) {
	schedule := issuer.Schedule{Every: 7 * 24 * time.Hour, Ahead: 2 * time.Hour, Life: 20 * time.Minute}
	ring := newRing(t, generate(t, "EdDSA"))
	i := newIssuer(t, ring)
	published := map[string]time.Time{}
	first := map[string]time.Time{} // when a key first signed
	type live struct {
		key     string
		expires time.Time
	}
	var tokens []live
	changes := 0
	for now := start; now.Before(start.Add(100 * 24 * time.Hour)); now = now.Add(10 * time.Minute) {
		changed, err := ring.Rotate(now, schedule)
		if err != nil {
			t.Fatal(err)
		}
		if changed {
			changes++
			if again, err := ring.Rotate(now, schedule); again || err != nil {
				t.Fatalf("rotating twice at one time: %v, %v", again, err)
			}
		}
		public := map[string]bool{}
		for _, k := range ring.Public() {
			public[k.ID()] = true
			if published[k.ID()].IsZero() {
				published[k.ID()] = now
			}
		}
		if len(public) > 3 {
			t.Fatalf("%d keys", len(public))
		}
		raw, err := i.Mint(claims(now))
		if err != nil {
			t.Fatal(err)
		}
		by := signedBy(t, raw, now, ring.Public())
		if by == "" {
			t.Fatal("nobody verifies a new token")
		}
		if first[by].IsZero() {
			first[by] = now
			if now != start && now.Sub(published[by]) < schedule.Ahead {
				t.Errorf("a key signs %v after it was published", now.Sub(published[by]))
			}
		}
		tokens = append(tokens, live{by, now.Add(15 * time.Minute)})
		keep := tokens[:0]
		for _, l := range tokens {
			if l.expires.After(now) {
				keep = append(keep, l)
				if !public[l.key] {
					t.Fatalf("a token lives whose key is not public any more")
				}
			}
		}
		tokens = keep
	}
	if n := len(first); n < 14 || n > 16 {
		t.Errorf("%d keys signed in 100 days", n)
	}
	if len(published) > len(first)+1 || changes < 28 {
		t.Errorf("%d keys published, %d changes", len(published), changes)
	}
}

// TestRotationAfterALongSleep: even then the successor is published before it signs, and the old key signs meanwhile.
func TestRotationAfterALongSleep(t *testing.T) {
	old := generate(t, "ES256")
	ring := newRing(t, old)
	if _, err := ring.Rotate(start, issuer.Schedule{}); err != nil {
		t.Fatal(err)
	}
	later := start.Add(365 * 24 * time.Hour)
	if changed, err := ring.Rotate(later, issuer.Schedule{}); err != nil || !changed {
		t.Fatal(changed, err)
	}
	keys := ring.Public()
	if len(keys) != 2 || keys[1].ID() != old.ID() || keys[0].Algorithm() != "ES256" {
		t.Fatalf("%v", keys)
	}
	i := newIssuer(t, ring)
	for _, c := range []struct {
		after time.Duration
		want  string
	}{{0, old.ID()}, {time.Hour - time.Millisecond, old.ID()}, {time.Hour, keys[0].ID()}} {
		raw, err := i.Mint(claims(later.Add(c.after)))
		if err != nil || signedBy(t, raw, later.Add(c.after), keys) != c.want {
			t.Errorf("after %v: another key signs (%v)", c.after, err)
		}
	}
	if changed, _ := ring.Rotate(later.Add(time.Hour+17*time.Minute-1), issuer.Schedule{}); changed {
		t.Error("the old key went before its last token")
	}
	if changed, _ := ring.Rotate(later.Add(time.Hour+17*time.Minute), issuer.Schedule{}); !changed || len(ring.Public()) != 1 {
		t.Error("the old key stays for ever")
	}
	if _, err := ring.Rotate(later, issuer.Schedule{Every: time.Hour, Ahead: time.Hour}); err == nil {
		t.Error("a schedule without room for its keys was accepted")
	}
}

// TestScheduleIsChecked: what would make the next rotation fail, weeks from now, fails at the first call.
func TestScheduleIsChecked(t *testing.T) {
	symmetric, err := issuer.GenerateKey("HS256")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		key      *issuer.Key
		schedule issuer.Schedule
		want     string // in the error; "" = none
	}{
		"an algorithm that is none":           {generate(t, "EdDSA"), issuer.Schedule{Algorithm: "RS256"}, "Schedule.Algorithm"},
		"symmetric keys after asymmetric":     {generate(t, "EdDSA"), issuer.Schedule{Algorithm: "HS256"}, "Schedule.Algorithm"},
		"asymmetric keys after symmetric":     {symmetric, issuer.Schedule{Algorithm: "ES256"}, "Schedule.Algorithm"},
		"no room for the keys":                {generate(t, "EdDSA"), issuer.Schedule{Every: time.Hour, Ahead: time.Hour}, "Schedule.Every"},
		"negative":                            {generate(t, "EdDSA"), issuer.Schedule{Ahead: -time.Hour}, "Schedule.Ahead"},
		"another algorithm of the same trust": {generate(t, "EdDSA"), issuer.Schedule{Algorithm: "ES256"}, ""},
		"symmetric keys after symmetric":      {symmetric, issuer.Schedule{Algorithm: "HS256"}, ""},
	} {
		_, err := newRing(t, c.key).Rotate(start, c.schedule)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q in it", name, err, c.want)
		}
	}
}

// TestSaveThroughALink: a ring whose path is a link, as deployments have it that keep such files elsewhere, is saved where the others read it.
func TestSaveThroughALink(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "shared"), filepath.Join(dir, "link")
	if _, err := issuer.OpenRing(file); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("shared", link); err != nil {
		if runtime.GOOS == "windows" {
			t.Skip(err) // not everybody may
		}
		t.Fatal(err)
	}
	ring, err := issuer.OpenRing(link)
	if err != nil {
		t.Fatal(err)
	}
	if err := ring.Add(generate(t, "EdDSA"), start); err != nil {
		t.Fatal(err)
	}
	if err := ring.Save(link); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v, %v", info.Mode(), err)
	}
	if read, err := issuer.LoadRing(file); err != nil || len(read.Public()) != 2 {
		t.Errorf("whoever reads the file does not see what was saved: %v", err)
	}
}

// TestEmptyRing: the zero Ring has no key. That is an error of whoever is given it, and no panic.
func TestEmptyRing(t *testing.T) {
	ring := new(issuer.Ring)
	if _, err := issuer.New(issuer.Config{Issuer: "https://issuer.test", Audience: "app", Ring: ring}); err == nil {
		t.Error("an issuer without a key was made")
	}
	if _, err := ring.Rotate(start, issuer.Schedule{}); err == nil {
		t.Error("a ring without a key was rotated")
	}
	if err := ring.Add(generate(t, "EdDSA"), start); err != nil {
		t.Error(err)
	}
	if _, err := issuer.New(issuer.Config{Issuer: "https://issuer.test", Audience: "app", Ring: ring}); err != nil {
		t.Error(err)
	}
}

// TestRotationIsShared: processes that share a file change over at the same moment, whoever rotates.
func TestRotationIsShared(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ring")
	a := newRing(t, generate(t, "EdDSA"))
	schedule := issuer.Schedule{Every: 24 * time.Hour}
	for _, at := range []time.Time{start, start.Add(23*time.Hour + time.Minute)} {
		if _, err := a.Rotate(at, schedule); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Save(path); err != nil {
		t.Fatal(err)
	}
	b, err := issuer.LoadRing(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []time.Time{start, start.Add(24*time.Hour + time.Minute - time.Millisecond), start.Add(24*time.Hour + time.Minute)} {
		var by [2]string
		for n, ring := range []*issuer.Ring{a, b} {
			raw, err := newIssuer(t, ring).Mint(claims(at))
			if err != nil {
				t.Fatal(err)
			}
			by[n] = signedBy(t, raw, at, a.Public())
		}
		if by[0] == "" || by[0] != by[1] {
			t.Errorf("at %v: %v", at, by)
		}
	}
}

func TestLeakedKey(t *testing.T) {
	leaked, fresh := generate(t, "EdDSA"), generate(t, "EdDSA")
	ring := newRing(t, leaked)
	if ring.Remove(leaked.ID()) == nil || ring.Remove("x") == nil {
		t.Error("removed the only key, or one that is not there")
	}
	if err := ring.Add(fresh, start); err != nil {
		t.Fatal(err)
	}
	if ring.Add(fresh, start) == nil || ring.Add(generate(t, "EdDSA"), start.Add(-1*time.Second)) == nil || ring.Add(generate(t, "HS256"), start) == nil || ring.Add(nil, start) == nil {
		t.Error("a bad key was added")
	}
	if err := ring.Remove(leaked.ID()); err != nil {
		t.Fatal(err)
	}
	if keys := ring.Public(); len(keys) != 1 || keys[0].ID() != fresh.ID() {
		t.Errorf("%v", keys)
	}
}

func TestNothingPrintsAKey(t *testing.T) {
	dir := t.TempDir()
	for _, alg := range []string{"EdDSA", "ES256", "HS256"} {
		k := generate(t, alg)
		ring := newRing(t, k)
		path := filepath.Join(dir, alg)
		if err := ring.Save(path); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var set struct {
			Keys []struct{ D, K string }
		}
		if err := json.Unmarshal(data, &set); err != nil {
			t.Fatal(err)
		}
		private := []byte(set.Keys[0].D + set.Keys[0].K)
		material := make([]byte, 32)
		if n, err := decode(material, string(private)); err != nil || n != 32 {
			t.Fatal(err)
		}
		i := newIssuer(t, ring)
		var b bytes.Buffer
		for _, v := range []any{k, *k, ring, i, *i, struct{ k *issuer.Key }{k}, []any{k, ring, i}, k.Public()} {
			for _, verb := range "vTtbcdoOqxXUeEfFgGsp" {
				for _, flags := range []string{"", "+", "#", " "} {
					fmt.Fprintf(&b, "%"+flags+string(verb)+"\n", v)
				}
			}
			if doc, err := json.Marshal(v); err == nil {
				b.Write(doc)
			}
		}
		decimal := strings.Trim(fmt.Sprint(material[8:16]), "[]")
		for _, s := range []string{string(private), string(private[10:26]), decimal, strings.ReplaceAll(decimal, " ", ", "), fmt.Sprintf("%x", material[8:16]), fmt.Sprintf("%X", material[8:16]), fmt.Sprintf("% x", material[8:16])} {
			if strings.Contains(b.String(), s) {
				t.Errorf("%s: a private key prints, as %q", alg, s)
			}
		}
	}
}
