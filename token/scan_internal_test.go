package token

import (
	"bytes"
	"encoding/json"
	"runtime"
	"strings"
	"testing"
	"time"
)

const (
	fuzzIssuer   = "https://issuer.test"
	fuzzAudience = "https://service.test"
)

func scanPayload(payload string) (*entry, error) {
	e := &entry{payload: payload}
	return e, e.scan(&Verifier{parties: &parties{fuzzIssuer, fuzzAudience}})
}

// FuzzClaims: what the scanner accepts encoding/json reads alike, token by token, and no scan reads more than it is given.
func FuzzClaims(f *testing.F) {
	good := `{"iss":"https://issuer.test","aud":"https://service.test","sub":"u","sid":"abcAAECAwQFBgcICQoLDA0ODw","gen":1,"iat":1.25,"exp":2`
	for _, s := range []string{good + "}", good + `,"x":{"a":[1,"\u00e9\ud834\udd1e",-1e5,null,true]}}`, good + `,"EXP":1}`, good + `,"exp":1}`,
		good + `,"sst":1}`, good + `,"sst":1.25}`, good + `,"sst":1.251}`, good + `,"sst":"1"}`, good + `,"SST":1}`, good + `,"sst":1,"sst":1}`,
		good + "}x", "{}", "", good + `,"x":` + strings.Repeat("[", 40)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, payload string) {
		e, err := scanPayload(payload)
		if err != nil {
			if Reason(err) == "" {
				t.Errorf("%v has no reason", err)
			}
			return
		}
		var any map[string]any
		if err := json.Unmarshal([]byte(payload), &any); err != nil { // which converts every number
			t.Fatalf("accepted what another parser refuses: %v: %q", err, payload)
		}
		var m struct {
			Iss, Aud, Sub, Sid string
			Gen                uint64
			Iat, Exp, Sst      json.Number
		}
		if err := json.Unmarshal([]byte(payload), &m); err != nil {
			t.Fatalf("%q: %v", payload, err)
		}
		if m.Iss != fuzzIssuer || m.Aud != fuzzAudience || m.Sub != e.subject || m.Sid != e.session.String() || m.Gen != e.gen {
			t.Fatalf("%q read differently: %+v", payload, m)
		}
		if m.Sst == "" {
			m.Sst = m.Iat
		}
		for _, n := range []struct {
			json json.Number
			ms   int64
		}{{m.Iat, e.iat}, {m.Exp, e.exp}, {m.Sst, e.began}} {
			if x, err := n.json.Float64(); err != nil || x != float64(n.ms)/1000 {
				t.Fatalf("%q: %v, %v ms", payload, n.json, n.ms)
			}
		}
		if dup := duplicateName(payload); dup != "" {
			t.Fatalf("%q has %q twice", payload, dup)
		}
	})
}

// duplicateName finds a name that an object holds twice, in whatever case at the top.
func duplicateName(doc string) string {
	dec := json.NewDecoder(strings.NewReader(doc))
	var walk func(top bool) string
	walk = func(top bool) string {
		tok, err := dec.Token()
		if err != nil {
			return ""
		}
		switch tok {
		case json.Delim('{'):
			seen := map[string]bool{}
			for dec.More() {
				name, _ := dec.Token()
				s := name.(string)
				if seen[s] {
					return s
				}
				seen[s] = true
				if d := walk(false); d != "" {
					return d
				}
			}
			dec.Token()
		case json.Delim('['):
			for dec.More() {
				if d := walk(false); d != "" {
					return d
				}
			}
			dec.Token()
		}
		return ""
	}
	return walk(true)
}

// FuzzKeySet: what is accepted encoding/json accepts too, comes back the same through AppendJWKS, and never holds a private member.
func FuzzKeySet(f *testing.F) {
	ed := `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	ec := `{"kty":"EC","crv":"P-256","x":"04N0xi21hshyvBp7I167sbE_bXqyqkAPfefdklMO7wY","y":"UI8exy-C06a7DUnjIdENkxeFtHM4-l_41LqEw9nVgmw","alg":"ES256","use":"sig"}`
	oct := `{"kty":"oct","alg":"HS256","kid":"h","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","key_ops":["sign","verify"]}`
	for _, s := range []string{`{"keys":[]}`, `{"keys":[` + ed + `]}`, `{"keys":[` + ec + "," + ed + `]}`, `{"keys":[` + oct + `]}`, `{"keys":[{"d":1}]}`, `{"keys":[{}]}`, `{"keys":[` + ed + "," + ed + `]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		keys, err := ParseJWKS(doc)
		if err != nil {
			if Reason(err) == "" || keys != nil {
				t.Errorf("%v, %d keys", err, len(keys))
			}
			return
		}
		if !json.Valid(doc) || len(keys) > MaxKeys {
			t.Fatalf("accepted %q", doc)
		}
		out, err := AppendJWKS(nil, keys...)
		if err != nil {
			if Reason(err) != "symmetric key" {
				t.Fatal(err)
			}
			return
		}
		again, err := ParseJWKS(out)
		if err != nil || len(again) != len(keys) {
			t.Fatalf("%s: %v", out, err)
		}
		for i := range keys {
			if !keys[i].Equal(again[i]) {
				t.Fatalf("%s: key %d is another", out, i)
			}
		}
		if bytes.Contains(out, []byte(`"d":`)) || bytes.Contains(out, []byte(`"k":`)) {
			t.Fatalf("private member in %s", out)
		}
	})
}

// TestAppendJSONBegan: no token says that its session began after it, and only one that is not the first of its session says when.
func TestAppendJSONBegan(t *testing.T) {
	iat := time.UnixMilli(1893499200123)
	for _, tt := range []struct {
		began time.Time
		want  string // of the claim; "-" = none
		err   error
	}{
		{time.Time{}, "-", nil}, {iat, "-", nil}, {iat.Add(time.Millisecond - 1), "-", nil},
		{iat.Add(-time.Millisecond), "1893499200.122", nil}, {iat.Add(-1), "1893499200.122", nil}, {time.UnixMilli(1), "0.001", nil},
		{iat.Add(time.Millisecond), "", errRange}, {iat.Add(time.Hour), "", errRange}, {time.UnixMilli(0), "", errRange}, {time.UnixMilli(-1), "", errRange},
	} {
		c := Claims{Issuer: fuzzIssuer, Audience: fuzzAudience, Session: MustParseSessionID("abcAAECAwQFBgcICQoLDA0ODw"), IssuedAt: iat, Expires: iat.Add(time.Minute), Began: tt.began}
		doc, err := c.AppendJSON([]byte("before"))
		doc, kept := bytes.CutPrefix(doc, []byte("before"))
		if !kept || err != tt.err || err != nil && len(doc) > 0 {
			t.Errorf("began %v after: %v, %q", tt.began.Sub(iat), err, doc)
		}
		if err != nil {
			continue
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(doc, &members); err != nil {
			t.Fatal(err)
		}
		if sst, has := members["sst"]; has != (tt.want != "-") || has && string(sst) != tt.want {
			t.Errorf("began %v after: %s, want %s", tt.began.Sub(iat), doc, tt.want)
		}
	}
}

// FuzzAppendJSON: what is appended the verifier reads back as it was, and a standard parser too; names cannot break out.
func FuzzAppendJSON(f *testing.F) {
	f.Add("user", uint64(1), int64(1000), int64(2000), "plan", `"pro"`)
	f.Add(`a"b\c`, uint64(0), int64(0), int64(1), `x","admin":true,"y`, `{}`)
	f.Add("Zoë", uint64(1)<<53, int64(1)<<50, int64(1)<<51, "exp", `1`)
	f.Add("\xff", uint64(1)<<53-1, int64(-1), int64(5), "nbf", `[`)
	f.Add("s", uint64(7), int64(1893499200123), int64(1893499500999), "y", ` {"a" : [ 1 ] } `)
	f.Fuzz(func(t *testing.T, subject string, gen uint64, iat, exp int64, name, value string) {
		c := Claims{Issuer: fuzzIssuer, Audience: fuzzAudience, Subject: subject, Session: MustParseSessionID("abcAAECAwQFBgcICQoLDA0ODw"), Generation: gen,
			IssuedAt: time.UnixMilli(iat), Expires: time.UnixMilli(exp), Began: time.UnixMilli(iat - int64(gen%1000)), Extra: []Claim{{name, value}}}
		doc, err := c.AppendJSON(nil)
		if err != nil {
			if Reason(err) == "" || len(doc) != 0 {
				t.Errorf("%v, %q", err, doc)
			}
			return
		}
		e, err := scanPayload(string(doc))
		if err != nil {
			t.Fatalf("the verifier refuses %s: %v", doc, err)
		}
		if e.subject != subject || e.gen != gen || e.iat != iat || e.exp != exp || e.began != c.Began.UnixMilli() || e.session != c.Session {
			t.Fatalf("%s reads differently", doc)
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(doc, &members); err != nil {
			t.Fatal(err)
		}
		want := 7
		if subject != "" {
			want++
		}
		if e.began < e.iat {
			want++
		}
		if len(members) != want || string(members[name]) != strings.Trim(value, " \t\r\n") {
			t.Fatalf("%s: %q is %s", doc, name, members[name])
		}
	})
}

// TestScannerAgainstTheStandardLibrary walks over small documents: whatever value the scanner takes is valid JSON, and what it does not take is invalid, or has
// one of the things that are refused on purpose.
func TestScannerAgainstTheStandardLibrary(t *testing.T) {
	pieces := []string{"{", "}", "[", "]", ",", ":", `"a"`, `"b"`, "1", "-", "0", ".", "e", "true", "null", " "}
	var docs []string
	for _, a := range pieces {
		for _, b := range pieces {
			for _, c := range pieces {
				docs = append(docs, a+b+c)
				for _, d := range []string{"}", "]", "1", `"a"`, ":1}"} {
					docs = append(docs, a+b+c+d, "{"+`"k":`+a+b+c+d)
				}
			}
		}
	}
	for _, doc := range docs {
		s := scanner{data: doc}
		s.space()
		ok := s.value(0) && s.end()
		if valid := json.Valid([]byte(doc)); ok != valid && !(valid && duplicateName(doc) != "") {
			t.Errorf("%q: scanner %v, encoding/json %v", doc, ok, valid)
		}
	}
}

func TestNoAllocationGrowsFasterThanItsInput(t *testing.T) {
	for name, doc := range map[string]string{
		"members": `{"keys":[],` + strings.Repeat(`"a":1,`, 1000), "nesting": strings.Repeat("[", 100_000), "string": `{"keys":"` + strings.Repeat(`\u0041`, 100_000) + `"}`,
		"keys": `{"keys":[` + strings.Repeat(`{},`, 10_000), "kid": `{"keys":[{"kid":"` + strings.Repeat("\\u0041", 100_000) + `"}]}`,
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		ParseJWKS([]byte(doc))
		runtime.ReadMemStats(&after)
		if per := float64(after.TotalAlloc-before.TotalAlloc) / float64(len(doc)); per > 6 {
			t.Errorf("%s: %.1f bytes allocated for each byte of input", name, per)
		}
	}
}
