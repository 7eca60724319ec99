package jwks_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/jwks"
	"github.com/counterfoil/counterfoil/token/tokentest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A site answers requests for a document without a network, so that synctest's clock decides.
type site struct {
	mu      sync.Mutex
	keys    []token.Key
	answer  http.HandlerFunc // instead of the keys
	fail    error
	hang    bool // until the request's context ends
	fetches []time.Time
}

func (s *site) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.fetches = append(s.fetches, time.Now())
	fail, hang, answer, keys := s.fail, s.hang, s.answer, s.keys
	s.mu.Unlock()
	if hang {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	if fail != nil {
		return nil, fail
	}
	w := httptest.NewRecorder()
	if answer != nil {
		answer(w, r)
	} else {
		jwks.Handler(func() []token.Key { return keys }).ServeHTTP(w, r)
	}
	return w.Result(), nil
}

func (s *site) set(change func(*site)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *site) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.fetches)
}

func (s *site) client(t *testing.T, change ...func(*jwks.ClientConfig)) *jwks.Client {
	t.Helper()
	config := jwks.ClientConfig{URL: "https://issuer.test/keys", HTTP: &http.Client{Transport: s}, Logger: slog.New(slog.DiscardHandler)}
	for _, c := range change {
		c(&config)
	}
	c, err := jwks.NewClient(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func ids(keys []token.Key) string {
	var s []string
	for _, k := range keys {
		s = append(s, k.ID())
	}
	return strings.Join(s, " ")
}

func publicKeys(t *testing.T, n int) []token.Key {
	keys := make([]token.Key, n)
	for i := range keys {
		keys[i] = tokentest.Key(t, "EdDSA").Public()
	}
	return keys
}

func TestClientFollowsTheDocument(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := publicKeys(t, 3)
		s := &site{keys: keys[:1]}
		began := time.Now()
		c := s.client(t)
		defer c.Close()
		if time.Since(began) > 0 || ids(c.Keys().Keys()) != ids(keys[:1]) || c.Age() != 0 {
			t.Errorf("after %v: %v, age %v", time.Since(began), c.Keys().Keys(), c.Age())
		}
		s.set(func(s *site) { s.keys = keys[:2] })
		time.Sleep(5*time.Minute - 1)
		if s.count() != 1 || c.Age() != 5*time.Minute-1 {
			t.Errorf("%d fetches, age %v", s.count(), c.Age())
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if s.count() != 2 || ids(c.Keys().Keys()) != ids(keys[:2]) || c.Age() != 0 || c.Keys().Generation() != 0 {
			t.Errorf("%d fetches, %v, age %v, generation %d", s.count(), c.Keys().Keys(), c.Age(), c.Keys().Generation())
		}
		s.set(func(s *site) { s.keys = keys[1:] }) // one removed, one added
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if ids(c.Keys().Keys()) != ids(keys[1:]) || c.Keys().Generation() != 1 {
			t.Errorf("a removed key is not forgotten: %v", c.Keys().Keys())
		}
		time.Sleep(5 * time.Minute) // an unchanged document, answered 304
		synctest.Wait()
		if s.count() != 4 || c.Age() != 0 || c.Keys().Generation() != 1 {
			t.Errorf("%d fetches, age %v", s.count(), c.Age())
		}
	})
}

func TestClientServesStaleAndRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := publicKeys(t, 2)
		s := &site{keys: keys[:1]}
		c := s.client(t)
		defer c.Close()
		s.set(func(s *site) { s.keys, s.fail = keys, errors.New("connection refused") })
		time.Sleep(5*time.Minute + 10*time.Second + 500*time.Millisecond)
		synctest.Wait()
		if n := s.count(); n != 12 || ids(c.Keys().Keys()) != ids(keys[:1]) || c.Age() < 5*time.Minute+10*time.Second {
			t.Errorf("%d fetches, %v, age %v", n, c.Keys().Keys(), c.Age())
		}
		s.set(func(s *site) { s.fail = nil })
		time.Sleep(time.Second)
		synctest.Wait()
		if n := s.count(); n != 13 || ids(c.Keys().Keys()) != ids(keys) {
			t.Errorf("after the failure: %d fetches, %v", n, c.Keys().Keys())
		}
		time.Sleep(4 * time.Minute)
		if s.count() != 13 {
			t.Error("keeps retrying after a success")
		}
	})
}

// TestFloodOfUnknownKeys: however many tokens name unknown keys, there is one early fetch in 30 seconds.
func TestFloodOfUnknownKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, attacker := tokentest.New(t), tokentest.New(t)
		s := &site{keys: ours.Ring().Public()}
		c := s.client(t, func(c *jwks.ClientConfig) { c.Refresh = time.Hour })
		defer c.Close()
		config := ours.Config()
		config.Keys = c.Keys()
		v, err := token.NewVerifier(config)
		if err != nil {
			t.Fatal(err)
		}
		bad, good := attacker.Mint(token.Claims{}), ours.Mint(token.Claims{})
		began := time.Now()
		for time.Since(began) < 5*time.Minute {
			for range 100 {
				if _, err := v.Verify(bad); token.Reason(err) != "unknown key" {
					t.Fatal(err)
				}
			}
			if _, err := v.Verify(good); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		if n := s.count(); n != 1+11 { // one at the start; at 0, 30, … 300 s
			t.Errorf("%d fetches in 5 minutes of flood", n)
		}
		for i, at := range s.fetches[1:] {
			if i > 0 && at.Sub(s.fetches[i]) < 30*time.Second {
				t.Errorf("two early fetches %v apart", at.Sub(s.fetches[i]))
			}
		}
		if v.Stats().Hits < 2900 {
			t.Errorf("early fetches of the same document made the verifier forget: %+v", v.Stats())
		}
	})
}

// TestNewKeyIsFoundEarly: a token of a key that was published a moment ago is taken as soon as one fetch has passed.
func TestNewKeyIsFoundEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, fresh := tokentest.New(t), tokentest.New(t)
		s := &site{keys: old.Ring().Public()}
		c := s.client(t)
		defer c.Close()
		config := fresh.Config()
		config.Keys = c.Keys()
		v, err := token.NewVerifier(config)
		if err != nil {
			t.Fatal(err)
		}
		raw := fresh.Mint(token.Claims{})
		s.set(func(s *site) { s.keys = append(fresh.Ring().Public(), s.keys...) })
		if _, err := v.Verify(raw); token.Reason(err) != "unknown key" {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, err := v.Verify(raw); err != nil {
			t.Errorf("after one fetch: %v", err)
		}
	})
}

func TestClientRefusesBadDocuments(t *testing.T) {
	good := publicKeys(t, 1)
	doc, err := token.AppendJWKS(nil, good...)
	if err != nil {
		t.Fatal(err)
	}
	member := strings.TrimSuffix(strings.TrimPrefix(string(doc), `{"keys":[`), "]}")
	body := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, s) }
	}
	for name, answer := range map[string]http.HandlerFunc{
		"empty": body(""), "an empty set": body(`{"keys":[]}`), "HTML": body("<html>"), "one key twice": body(`{"keys":[` + member + "," + member + `]}`),
		"a symmetric key": body(`{"keys":[{"kty":"oct","alg":"HS256","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}`),
		"a private key":   body(strings.Replace(string(doc), `"use"`, `"d":"AA","use"`, 1)),
		"RSA":             body(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},` + member + `]}`),
		"over 1 MiB":      body(strings.Repeat(" ", token.MaxKeySetLen) + string(doc)),
		"without end":     func(w http.ResponseWriter, _ *http.Request) { io.CopyN(w, zeros{}, 64<<20) },
		"17 keys": func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"keys":[`+strings.Repeat(member+",", 16)+member+`]}`)
		},
		"status 500":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500); w.Write(doc) },
		"status 204":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) },
		"a redirect":  func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Location", "/other"); w.WriteHeader(302) },
		"304 unasked": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) },
	} {
		synctest.Test(t, func(t *testing.T) {
			// At the start there is nothing to fall back to.
			s := &site{answer: answer}
			ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
			defer cancel()
			noRedirects := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			config := jwks.ClientConfig{URL: "https://issuer.test/keys", HTTP: &http.Client{Transport: s, CheckRedirect: noRedirects}}
			if c, err := jwks.NewClient(ctx, config); err == nil || c != nil || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", name, err)
			}
			if s.count() != 4 {
				t.Errorf("%s: %d fetches in 3.5 s", name, s.count())
			}
			if name == "304 unasked" {
				return
			}
			// Later the set stays as it was.
			s = &site{keys: good}
			config.HTTP.Transport = s
			c, err := jwks.NewClient(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			s.set(func(s *site) { s.answer = answer })
			time.Sleep(5*time.Minute + 1)
			synctest.Wait()
			if s.count() != 2 || ids(c.Keys().Keys()) != ids(good) || c.Age() < 5*time.Minute {
				t.Errorf("%s: %d fetches, %v, age %v", name, s.count(), c.Keys().Keys(), c.Age())
			}
		})
	}
}

// TestClientRedirects: whoever is on the way of a plain request must not be able to put keys into the set, and where a document moves is no exception.
func TestClientRedirects(t *testing.T) {
	doc, err := token.AppendJWKS(nil, publicKeys(t, 1)...)
	if err != nil {
		t.Fatal(err)
	}
	const loopback = "http://127.0.0.1/keys"
	own := errors.New("the caller's own reason")
	for name, tc := range map[string]struct {
		hops  []string
		check func(*http.Request, []*http.Request) error
		want  string // in the error; "" = none
	}{
		"to https":                    {[]string{"https://issuer.test/keys", "https://other.test/keys"}, nil, ""},
		"from loopback to https":      {[]string{loopback, "https://other.test/keys"}, nil, ""},
		"from loopback to loopback":   {[]string{loopback, "http://[::1]/keys"}, nil, ""},
		"to http":                     {[]string{"https://issuer.test/keys", "http://issuer.test/keys"}, nil, "redirect"},
		"to http and back":            {[]string{"https://issuer.test/keys", "http://issuer.test/keys", "https://issuer.test/other"}, nil, "redirect"},
		"from loopback to http":       {[]string{loopback, "http://issuer.test/keys"}, nil, "redirect"},
		"from https to loopback":      {[]string{"https://issuer.test/keys", loopback}, nil, "redirect"},
		"to http, as the caller says": {[]string{"https://issuer.test/keys", "http://issuer.test/keys"}, func(*http.Request, []*http.Request) error { return nil }, "redirect"},
		"the caller says no":          {[]string{"https://issuer.test/keys", "https://other.test/keys"}, func(*http.Request, []*http.Request) error { return own }, own.Error()},
		"round and round":             {[]string{"https://issuer.test/keys", "https://issuer.test/keys"}, nil, "too many"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &site{answer: func(w http.ResponseWriter, r *http.Request) {
				if i := slices.Index(tc.hops, r.URL.String()); i < len(tc.hops)-1 {
					http.Redirect(w, r, tc.hops[i+1], http.StatusFound)
					return
				}
				w.Write(doc)
			}}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second/2) // for one try
			defer cancel()
			c, err := jwks.NewClient(ctx, jwks.ClientConfig{
				URL: tc.hops[0], HTTP: &http.Client{Transport: s, CheckRedirect: tc.check}, Logger: slog.New(slog.DiscardHandler),
			})
			if err == nil {
				defer c.Close()
			}
			if got := fmt.Sprint(err); (err == nil) != (tc.want == "") || !strings.Contains(got, tc.want) {
				t.Errorf("%s: %s after %d requests, want %q", name, got, s.count(), tc.want)
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

func TestClientConfig(t *testing.T) {
	for _, url := range []string{"", "keys.json", "http://issuer.test/keys", "ftp://issuer.test/keys", "file:///etc/passwd", "https://user:password@issuer.test/", "https:///x", "https://issuer.test/#x", ":"} {
		if c, err := jwks.NewClient(t.Context(), jwks.ClientConfig{URL: url}); err == nil || c != nil || strings.Contains(err.Error(), "password") {
			t.Errorf("%q: %v", url, err)
		}
	}
	if _, err := jwks.NewClient(t.Context(), jwks.ClientConfig{URL: "http://issuer.test/keys"}); !strings.Contains(err.Error(), "http://issuer.test/keys") {
		t.Errorf("the error does not say which URL: %v", err)
	}
	if _, err := jwks.NewClient(t.Context(), jwks.ClientConfig{}); !strings.Contains(err.Error(), "ClientConfig.URL") {
		t.Errorf("the error does not say what is missing: %v", err)
	}
	for _, refresh := range []time.Duration{-1, 1, 999 * time.Millisecond} {
		if _, err := jwks.NewClient(t.Context(), jwks.ClientConfig{URL: "https://issuer.test", Refresh: refresh}); err == nil {
			t.Errorf("refresh %v accepted", refresh)
		}
	}
}

func TestCloseWhileFetching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &site{keys: publicKeys(t, 1)}
		c := s.client(t)
		s.set(func(s *site) { s.hang = true })
		time.Sleep(5*time.Minute + time.Second)
		synctest.Wait() // the fetch hangs
		began := time.Now()
		c.Close()
		c.Close()
		if time.Since(began) > 0 || len(c.Keys().Keys()) != 1 {
			t.Errorf("Close waits %v for a fetch", time.Since(began))
		}
	})
}

// TestHangingServer: a fetch ends after ten seconds, and is tried again a second later.
func TestHangingServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &site{keys: publicKeys(t, 1)}
		c := s.client(t)
		defer c.Close()
		s.set(func(s *site) { s.hang = true })
		time.Sleep(5*time.Minute + 10*time.Second + 500*time.Millisecond)
		s.set(func(s *site) { s.hang = false })
		time.Sleep(time.Second)
		synctest.Wait()
		if s.count() != 3 || c.Age() > time.Second {
			t.Errorf("%d fetches, age %v", s.count(), c.Age())
		}
	})
}

// TestKeysOfTwoIssuersStayApart: each client has a set of its own.
// halfOpen is a transport whose connection says nothing any more, and that uses it, as HTTP/2 does, until it is told to close what is idle.
type halfOpen struct{ *site }

func (h halfOpen) CloseIdleConnections() { h.set(func(s *site) { s.hang = false }) }

func TestHalfOpenConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := publicKeys(t, 2)
		s := &site{keys: keys[:1]}
		c := s.client(t, func(c *jwks.ClientConfig) { c.HTTP = &http.Client{Transport: halfOpen{s}} })
		defer c.Close()
		s.set(func(s *site) { s.keys, s.hang = keys, true })
		time.Sleep(5*time.Minute + 15*time.Second)
		synctest.Wait()
		if ids(c.Keys().Keys()) != ids(keys) {
			t.Errorf("after %d fetches it has %v", s.count(), c.Keys().Keys())
		}
	})
}

func TestKeysOfTwoIssuersStayApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := tokentest.New(t), tokentest.New(t)
		ca, cb := (&site{keys: a.Ring().Public()}).client(t), (&site{keys: b.Ring().Public()}).client(t)
		defer ca.Close()
		defer cb.Close()
		config := a.Config()
		config.Keys = cb.Keys()
		v, err := token.NewVerifier(config)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Verify(a.Mint(token.Claims{})); token.Reason(err) != "unknown key" {
			t.Errorf("one issuer's token under the other's keys: %v", err)
		}
		if _, err := v.Verify(b.Mint(token.Claims{})); err != nil {
			t.Errorf("%v", err)
		}
	})
}

func TestLogHoldsNoKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := &site{fail: errors.New("connection refused")}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		logger := slog.New(slog.NewTextHandler(&log, nil))
		jwks.NewClient(ctx, jwks.ClientConfig{URL: "https://issuer.test/keys", HTTP: &http.Client{Transport: s}, Logger: logger})
		const secret = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3I"
		s = &site{keys: publicKeys(t, 1)}
		c := s.client(t, func(c *jwks.ClientConfig) { c.Logger = logger })
		defer c.Close()
		s.set(func(s *site) {
			s.answer = func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprintf(w, `{"keys":[{"kty":"oct","alg":"HS256","kid":"x","k":"%s"}]}`, secret)
			}
		})
		time.Sleep(6 * time.Minute)
		synctest.Wait()
		if !strings.Contains(log.String(), "connection refused") || !strings.Contains(log.String(), "symmetric key") || strings.Contains(log.String(), secret[:12]) {
			t.Errorf("%s", log.String())
		}
	})
}

// TestLogTellsOnce: a failure is told when it begins and every five minutes, with its reason then, and its end is told.
func TestLogTellsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := &site{keys: publicKeys(t, 1)}
		c := s.client(t, func(c *jwks.ClientConfig) {
			c.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			}}))
		})
		defer c.Close()
		const warn = `level=WARN msg="jwks: fetching the key set fails; trying again every second" err="https://issuer.test/keys: `
		for _, step := range []struct {
			change func(*site)
			after  time.Duration
			want   string
		}{
			{func(s *site) { s.fail = errors.New("connection refused") }, 6 * time.Minute, warn + "connection refused\"\n"},
			{func(s *site) {
				s.fail, s.answer = nil, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }
			}, 5 * time.Minute, warn + "status 401\"\n"},
			{func(s *site) { s.answer = nil }, 10 * time.Minute, "level=INFO msg=\"jwks: the key set is fetched again\"\n"},
			{func(s *site) { s.fail = errors.New("no such host") }, 4 * time.Minute, warn + "no such host\"\n"},
		} {
			log.Reset()
			s.set(step.change)
			time.Sleep(step.after)
			synctest.Wait()
			if got := log.String(); got != step.want {
				t.Fatalf("got  %s\nwant %s", got, step.want)
			}
		}
	})
}

// TestErrorsNameTheDocument: what is said of a failure has the URL without its query, and the reason, even if the start ends while a fetch is under way.
func TestErrorsNameTheDocument(t *testing.T) {
	for name, c := range map[string]struct {
		url    string
		change func(*site)
		want   string
	}{
		"not to be trusted": {"http://issuer.test/keys?key=hidden", func(*site) {}, "http://issuer.test/keys: key sets come over https"},
		"unreachable":       {"https://issuer.test/keys?key=hidden", func(s *site) { s.fail = errors.New("connection refused") }, "https://issuer.test/keys: connection refused"},
		"at last no answer": {"https://issuer.test/keys?key=hidden", func(s *site) {
			s.answer = func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusUnauthorized)
				s.set(func(s *site) { s.hang = true })
			}
		}, "https://issuer.test/keys: status 401"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				s := &site{}
				c.change(s)
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				_, err := jwks.NewClient(ctx, jwks.ClientConfig{URL: c.url, HTTP: &http.Client{Transport: s}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
				if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error()+log.String(), "hidden") {
					t.Errorf("%v\n%s", err, log.String())
				}
			})
		})
	}
}

func TestHandler(t *testing.T) {
	keys := publicKeys(t, 2)
	serve := func(method, ifNoneMatch string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "/keys", nil)
		if ifNoneMatch != "" {
			r.Header.Set("If-None-Match", ifNoneMatch)
		}
		w := httptest.NewRecorder()
		jwks.Handler(func() []token.Key { return keys }).ServeHTTP(w, r)
		return w
	}
	w := serve("GET", "")
	etag := w.Header().Get("ETag")
	got, err := token.ParseJWKS(w.Body.Bytes())
	if err != nil || ids(got) != ids(keys) || w.Code != 200 || etag == "" || w.Header().Get("Cache-Control") != "public, max-age=300" || w.Header().Get("Content-Type") != "application/jwk-set+json" {
		t.Errorf("%d %v %v: %v", w.Code, w.Header(), err, got)
	}
	for _, private := range []string{`"d"`, `"k"`, `"p"`, `"q"`} {
		if strings.Contains(w.Body.String(), private) {
			t.Errorf("the document has a member %s", private)
		}
	}
	if h := serve("HEAD", ""); h.Code != 200 || h.Body.Len() > 0 || h.Header().Get("ETag") != etag || h.Header().Get("Content-Length") != fmt.Sprint(w.Body.Len()) {
		t.Errorf("HEAD: %d %v", h.Code, h.Header())
	}
	for value, code := range map[string]int{etag: 304, "W/" + etag: 304, `"x", ` + etag: 304, "*": 304, `"x"`: 200, etag + "x": 200} {
		if h := serve("GET", value); h.Code != code || code == 304 && h.Body.Len() > 0 {
			t.Errorf("If-None-Match %s: %d", value, h.Code)
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS"} {
		if h := serve(method, ""); h.Code != 405 || h.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %d", method, h.Code)
		}
	}
	keys = keys[:1]
	if serve("GET", "").Header().Get("ETag") == etag {
		t.Error("another set has the same ETag")
	}
	keys = []token.Key{tokentest.Key(t, "HS256").Public()}
	if h := serve("GET", ""); h.Code != 500 || strings.Contains(h.Body.String(), "keys") || h.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("a symmetric key: %d %s", h.Code, h.Body)
	}
}

// TestOverRealHTTP runs client and handler against each other once, over a loopback connection.
func TestOverRealHTTP(t *testing.T) {
	keys := publicKeys(t, 2)
	server := httptest.NewServer(jwks.Handler(func() []token.Key { return keys }))
	defer server.Close()
	c, err := jwks.NewClient(t.Context(), jwks.ClientConfig{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if ids(c.Keys().Keys()) != ids(keys) {
		t.Errorf("%v", c.Keys().Keys())
	}
}
