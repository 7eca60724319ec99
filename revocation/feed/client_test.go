package feed_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/revocation/feed"
	"github.com/counterfoil/counterfoil/token"
)

// network is what lies between an edge and its origin. What it does to an answer can be changed while it is in use; by default it passes
// everything on.
type network struct {
	h     http.Handler
	plain bool                         // nothing is compressed
	other atomic.Pointer[feed.Handler] // if set, requests go there
	fault atomic.Pointer[fault]
}

// fault gets a request and what was answered, and returns what arrives.
type fault func(r *http.Request, answered *http.Response) (*http.Response, error)

func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	if n.plain {
		r = r.Clone(r.Context())
		r.Header.Del("Accept-Encoding")
	}
	h := n.h
	if other := n.other.Load(); other != nil {
		h = other
	}
	resp, err := direct{h}.RoundTrip(r)
	if f := n.fault.Load(); f != nil && err == nil {
		return (*f)(r, resp)
	}
	return resp, err
}

// change makes a fault that changes the bytes of an answer.
func change(f func([]byte) []byte) fault {
	return func(_ *http.Request, resp *http.Response) (*http.Response, error) {
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			return nil, err
		}
		resp.Body = io.NopCloser(bytes.NewReader(f(b)))
		return resp, nil
	}
}

// instead makes a fault that answers something else.
func instead(status int, contentType, body string) fault {
	return func(*http.Request, *http.Response) (*http.Response, error) {
		w := httptest.NewRecorder()
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		w.WriteString(body)
		return w.Result(), nil
	}
}

// endless is a body that goes on for ever.
type endless struct{ read atomic.Int64 }

func (e *endless) Read(b []byte) (int, error) {
	clear(b)
	e.read.Add(int64(len(b)))
	return len(b), nil
}

func (e *endless) Close() error { return nil }

// Whatever is not certainly the answer of the feed to this question is refused.
func TestClientRefuses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := newOrigin(t, newLog())
		stranger := newOrigin(t, newLog())
		stranger.edges = o.edges
		for range 200 {
			o.revoke()
		}
		pass(time.Second)
		var earlier []byte
		{
			_, earlier = o.open(o.poll(revocation.Cursor{}, 0, query("nonce="+nonce())))
		}
		header := func(name, value string) fault {
			return func(_ *http.Request, resp *http.Response) (*http.Response, error) {
				resp.Header.Set(name, value)
				return resp, nil
			}
		}
		tests := []struct {
			name  string
			fault fault
			want  string // in the error
			gzip  bool
		}{
			{"a redirect elsewhere", func(_ *http.Request, resp *http.Response) (*http.Response, error) {
				resp.StatusCode = http.StatusFound
				resp.Header.Set("Location", "https://elsewhere.test/revocations")
				return resp, nil
			}, "redirects are not followed", false},
			{"a redirect to itself", func(_ *http.Request, resp *http.Response) (*http.Response, error) {
				resp.StatusCode = http.StatusTemporaryRedirect
				resp.Header.Set("Location", "/revocations")
				return resp, nil
			}, "redirects are not followed", false},
			{"an error page", instead(502, "text/html", "<html>"), "status 502", false},
			{"an error page that says 200", instead(200, "text/html", "<html>"), "content type", false},
			{"a frame by another name", header("Content-Type", "application/octet-stream"), "content type", false},
			{"no content type", header("Content-Type", ""), "content type", false},
			{"not modified", instead(304, feed.ContentType, ""), "status 304", false},
			{"no content", instead(204, feed.ContentType, ""), "status 204", false},
			{"a part of the content", instead(206, feed.ContentType, string(earlier)), "status 206", false},
			{"nothing", instead(200, feed.ContentType, ""), "unexpected EOF", false},
			{"something else", instead(200, feed.ContentType, strings.Repeat("{}", 1000)), "not a frame", false},
			{"an encoding nobody asked for", header("Content-Encoding", "br"), "encoded", false},
			{"gzip that is none", header("Content-Encoding", "gzip"), "gzip", false},
			{"cut in the head", change(func(b []byte) []byte { return b[:100] }), "unexpected EOF", false},
			{"cut in the body", change(func(b []byte) []byte { return b[:len(b)-1] }), "unexpected EOF", false},
			{"a byte more", change(func(b []byte) []byte { return append(b, 0) }), "does not end", false},
			{"compressed, one bit changed", change(func(b []byte) []byte { b[len(b)/2] ^= 1; return b }), "", true},
			{"compressed, cut", change(func(b []byte) []byte { return b[:len(b)-1] }), "unexpected EOF", true},
			{"compressed, a byte more", change(func(b []byte) []byte { return append(b, 1) }), "", true},
			{"two frames", change(func(b []byte) []byte { return append(b, b...) }), "does not end", false},
			{"one bit changed in the head", change(func(b []byte) []byte { b[130] ^= 1; return b }), "signature", false},
			{"one bit changed in the body", change(func(b []byte) []byte { b[len(b)-1] ^= 1; return b }), "body of another head", false},
			{"an earlier answer", instead(200, feed.ContentType, string(earlier)), "answer to another question", false},
			{"signed by somebody else", func(r *http.Request, _ *http.Response) (*http.Response, error) {
				r.SetBasicAuth(stranger.edge.Name, stranger.edge.Secret.Reveal())
				return direct{stranger.handler}.RoundTrip(r)
			}, "unknown key", false},
			{"no answer", func(r *http.Request, _ *http.Response) (*http.Response, error) {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}, "deadline", false},
		}
		for _, tt := range tests {
			n := &network{h: o.handler, plain: !tt.gzip}
			c := o.client(n)
			n.fault.Store(&tt.fault)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			b, err := c.Read(ctx, "", 0)
			cancel()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: got %v, want an error with %q", tt.name, err, tt.want)
			}
			if b.Full || b.Records != nil {
				t.Errorf("%s: something was returned beside the error", tt.name)
			}
			for _, secret := range []string{o.edge.Secret.Reveal(), "nonce="} {
				if err != nil && strings.Contains(err.Error(), secret) {
					t.Errorf("%s: the error tells too much: %v", tt.name, err)
				}
			}
			n.fault.Store(nil)
			if b, err := c.Read(t.Context(), "", 0); err != nil || !b.Full {
				t.Errorf("%s: afterwards: %v", tt.name, err)
			}
		}
	})
}

// TestClientContentType: a proxy may spell the media type in another way, and give it a parameter.
func TestClientContentType(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := newOrigin(t, newLog())
		n := &network{h: o.handler}
		c := o.client(n)
		for _, spelt := range []string{feed.ContentType, feed.ContentType + "; charset=utf-8", strings.ToUpper(feed.ContentType) + ";charset=utf-8"} {
			f := fault(func(_ *http.Request, resp *http.Response) (*http.Response, error) {
				resp.Header.Set("Content-Type", spelt)
				return resp, nil
			})
			n.fault.Store(&f)
			if _, err := c.Read(t.Context(), "", 0); err != nil {
				t.Errorf("%s: %v", spelt, err)
			}
		}
	})
}

// The two refusals that a caller can do something about.
func TestClientStatus(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := newOrigin(t, newLog())
		c := o.client(direct{o.handler})
		o.edges.Revoke(o.edge.Name)
		if _, err := c.Read(t.Context(), "", 0); !errors.Is(err, feed.ErrDenied) {
			t.Errorf("got %v, want ErrDenied", err)
		}
		o.edge = o.allow("edge-2")
		c = o.client(direct{o.handler})
		o.log.Cut(true)
		pass(11 * time.Second)
		if _, err := c.Read(t.Context(), "", 0); !errors.Is(err, feed.ErrBehind) {
			t.Errorf("got %v, want ErrBehind", err)
		}
	})
}

// A frame that is larger than declared is not read, and neither is what has no end.
func TestClientBounds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := newOrigin(t, newLog())
		for range 1000 {
			o.revoke()
		}
		pass(time.Second)

		read := new(endless)
		n := &network{h: o.handler}
		c := o.client(n, func(c *feed.ClientConfig) { c.MaxLen = 10_000 })
		tail := fault(func(_ *http.Request, resp *http.Response) (*http.Response, error) {
			resp.Header.Del("Content-Length")
			resp.Body = struct {
				io.Reader
				io.Closer
			}{io.MultiReader(resp.Body, read), read}
			return resp, nil
		})
		n.fault.Store(&tail)
		if _, err := c.Read(t.Context(), "", 0); err == nil || !strings.Contains(err.Error(), "oversize") {
			t.Errorf("got %v, want an error about the size", err)
		}
		if n := read.read.Load(); n != 0 {
			t.Errorf("%d bytes were read after the head", n)
		}

		// Something that unpacks to more than it may.
		var bomb bytes.Buffer
		z := gzip.NewWriter(&bomb)
		_, frame := o.open(o.poll(revocation.Cursor{}, 0))
		z.Write(frame)
		z.Write(make([]byte, 10<<20))
		z.Close()
		packed := fault(func(_ *http.Request, resp *http.Response) (*http.Response, error) {
			resp.Header.Set("Content-Encoding", "gzip")
			resp.Body = io.NopCloser(bytes.NewReader(bomb.Bytes()))
			return resp, nil
		})
		n.fault.Store(&packed)
		c = o.client(n, func(c *feed.ClientConfig) { c.SkipNonce = true })
		if _, err := c.Read(t.Context(), "", 0); err == nil || !strings.Contains(err.Error(), "does not end") {
			t.Errorf("got %v, want an error about what follows the frame", err)
		}

		// An empty gzip member, again and again.
		var empty bytes.Buffer
		gzip.NewWriter(&empty).Close()
		members := fault(func(_ *http.Request, resp *http.Response) (*http.Response, error) {
			resp.Header.Set("Content-Encoding", "gzip")
			resp.Body = io.NopCloser(&repeated{b: empty.Bytes()})
			return resp, nil
		})
		n.fault.Store(&members)
		c = o.client(n, func(c *feed.ClientConfig) { c.MaxLen = 100_000 })
		if _, err := c.Read(t.Context(), "", 0); err == nil {
			t.Error("nothing, for ever, was taken for a frame")
		}
	})
}

// repeated returns the same bytes again and again.
type repeated struct {
	b  []byte
	at int
}

func (r *repeated) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = r.b[r.at]
		r.at = (r.at + 1) % len(r.b)
	}
	return len(b), nil
}

// Two authentic frames in the wrong order are two wrong frames.
func TestClientReordered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := newOrigin(t, newLog())
		n := &network{h: o.handler}
		c := o.client(n)
		b, err := c.Read(t.Context(), "", 0)
		if err != nil {
			t.Fatal(err)
		}
		at := b.Records[len(b.Records)-1].Position
		var held *http.Response
		swap := fault(func(_ *http.Request, resp *http.Response) (*http.Response, error) {
			if held == nil {
				held = resp
				return nil, io.ErrUnexpectedEOF
			}
			held, resp = resp, held
			return resp, nil
		})
		n.fault.Store(&swap)
		for i := range 5 {
			if b, err := c.Read(t.Context(), at, time.Second); err == nil {
				t.Fatalf("frame %d was taken: %v", i, b)
			}
		}
		n.fault.Store(nil)
		if b, err = c.Read(t.Context(), at, time.Second); err != nil || b.Full || len(b.Records) == 0 {
			t.Errorf("afterwards: %v, %v", b, err)
		}
	})
}

// After a refused frame that shows a gap, and with a position that the client did not lead to, it reads the whole log.
func TestClientReadsWhole(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := newOrigin(t, newLog())
		c := o.client(direct{o.handler})
		if b, err := c.Read(t.Context(), o.log.Newest().Position, time.Second); err != nil || !b.Full {
			t.Errorf("got %v, %v", b, err)
		}
		b, err := c.Read(t.Context(), o.log.Newest().Position, 2*time.Second)
		if err != nil || b.Full || len(b.Records) != 1 {
			t.Errorf("got %v, %v", b, err)
		}
		if b, err = c.Read(t.Context(), "elsewhere", time.Second); err != nil || !b.Full {
			t.Errorf("got %v, %v", b, err)
		}
	})
}

// The client asks as the package comment says.
func TestClientRequest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := newOrigin(t, newLog())
		var seen []*http.Request
		c := o.client(roundTrip(func(r *http.Request) (*http.Response, error) {
			seen = append(seen, r)
			return direct{o.handler}.RoundTrip(r)
		}))
		b, err := c.Read(t.Context(), "", time.Second)
		if err != nil {
			t.Fatal(err)
		}
		at := b.Records[len(b.Records)-1].Position
		for range 2 {
			if _, err := c.Read(t.Context(), at, 1500*time.Millisecond); err != nil {
				t.Fatal(err)
			}
			at = o.log.Newest().Position
		}
		first, second, third := seen[0].URL.Query(), seen[1].URL.Query(), seen[2].URL.Query()
		if first.Get("full") != "1" || first.Has("after") || first.Has("wait") {
			t.Errorf("the first question is %v", first)
		}
		if second.Has("full") || second.Get("wait") != "1.500" || !strings.HasSuffix(second.Get("after"), "~"+string(b.Records[len(b.Records)-1].Position)) {
			t.Errorf("the second question is %v", second)
		}
		if first.Get("nonce") == second.Get("nonce") || second.Get("nonce") == third.Get("nonce") || len(first.Get("nonce")) != 22 {
			t.Error("a nonce is used again")
		}
		if first.Get("instance") != c.Instance() || third.Get("instance") != c.Instance() {
			t.Error("the instance is not named")
		}
		if name, secret, _ := seen[0].BasicAuth(); name != o.edge.Name || secret != o.edge.Secret.Reveal() {
			t.Error("the credential is not shown")
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Without nonces, frames may come from a cache. How old they are is then for the clock to say.
func TestClientSkipNonce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := newOrigin(t, newLog())
		var kept []byte
		var caching atomic.Bool
		c := o.client(roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.URL.Query().Has("nonce") {
				t.Error("a nonce was sent")
			}
			if caching.Load() {
				return answer(kept).RoundTrip(r)
			}
			resp, err := direct{o.handler}.RoundTrip(r)
			if err == nil && resp.StatusCode == 200 {
				kept, _ = io.ReadAll(resp.Body)
				resp.Body = io.NopCloser(bytes.NewReader(kept))
			}
			return resp, err
		}), func(c *feed.ClientConfig) { c.SkipNonce = true })
		list, f, _ := follow(t, c)
		if err := f.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		caching.Store(true)
		pass(25 * time.Second)
		if list.Freshness(time.Now(), 0, 0).Fresh {
			t.Error("a list that only hears a cache is fresh")
		}
		caching.Store(false)
		pass(5 * time.Second)
		if !list.Freshness(time.Now(), 0, 0).Fresh {
			t.Error("the list is not fresh again")
		}
	})
}

// While the server replaces its key, clients that know both go on.
func TestKeyRotation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := newOrigin(t, newLog())
		next, err := feed.GenerateKey()
		if err != nil {
			t.Fatal(err)
		}
		restarted, err := feed.NewHandler(feed.Config{
			Tail: o.tail, Key: next, Issuer: issuer, Edges: o.edges,
			Fresh: func() revocation.Freshness { return o.list.Freshness(time.Now(), 0, 0) },
		})
		if err != nil {
			t.Fatal(err)
		}
		only := o.client(direct{restarted})
		knows := o.client(direct{restarted}, func(c *feed.ClientConfig) { c.Keys = append(c.Keys, next.Public()) })
		if _, err := knows.Read(t.Context(), "", 0); err != nil {
			t.Error(err)
		}
		var refused *revocation.FrameError
		if _, err := only.Read(t.Context(), "", 0); !errors.As(err, &refused) || refused.Reason != "unknown key" {
			t.Errorf("got %v", err)
		}
	})
}

func TestNewClientRefused(t *testing.T) {
	key, err := feed.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	credential, err := feed.NewCredential("edge-1")
	if err != nil {
		t.Fatal(err)
	}
	good := feed.ClientConfig{URL: "https://origin.test/revocations", Credential: credential, Issuer: issuer, Keys: []revocation.FrameKey{key.Public()}}
	for name, change := range map[string]func(*feed.ClientConfig){
		"as it is":         func(*feed.ClientConfig) {},
		"127.0.0.1":        func(c *feed.ClientConfig) { c.URL = "http://127.0.0.1:8080/revocations" },
		"::1":              func(c *feed.ClientConfig) { c.URL = "http://[::1]/revocations" },
		"localhost":        func(c *feed.ClientConfig) { c.URL = "http://localhost/revocations" },
		"http from afar":   func(c *feed.ClientConfig) { c.URL = "http://origin.test/revocations" },
		"a name of this":   func(c *feed.ClientConfig) { c.URL = "http://localhost.test/revocations" },
		"a private one":    func(c *feed.ClientConfig) { c.URL = "http://10.0.0.1/revocations" },
		"another scheme":   func(c *feed.ClientConfig) { c.URL = "redis://origin.test" },
		"no host":          func(c *feed.ClientConfig) { c.URL = "https:///revocations" },
		"a user":           func(c *feed.ClientConfig) { c.URL = "https://a:b@origin.test/" },
		"a query":          func(c *feed.ClientConfig) { c.URL = "https://origin.test/?x=1" },
		"a fragment":       func(c *feed.ClientConfig) { c.URL = "https://origin.test/#x" },
		"no credential":    func(c *feed.ClientConfig) { c.Credential = feed.Credential{} },
		"a short secret":   func(c *feed.ClientConfig) { c.Credential.Secret = token.NewSecret("secret") },
		"a name in two":    func(c *feed.ClientConfig) { c.Credential.Name = "a:b" },
		"no issuer":        func(c *feed.ClientConfig) { c.Issuer = "" },
		"no key":           func(c *feed.ClientConfig) { c.Keys = nil },
		"a negative bound": func(c *feed.ClientConfig) { c.MaxLen = -1 },
	} {
		cfg := good
		change(&cfg)
		fine := name == "as it is" || name == "127.0.0.1" || name == "::1" || name == "localhost"
		c, err := feed.NewClient(cfg)
		if (err == nil) != fine {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			c.Close()
		}
	}
}

// A secret is as good as no text: nothing prints it.
func TestSecretsDoNotPrint(t *testing.T) {
	key, err := feed.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	credential, err := feed.NewCredential("edge-1")
	if err != nil {
		t.Fatal(err)
	}
	var shown []string // the ways in which a part of a secret could show
	for _, secret := range []string{credential.Secret.Reveal(), strings.TrimPrefix(key.Secret().Reveal(), "frame-ed25519-secret:")} {
		seed, err := base64.RawURLEncoding.DecodeString(secret)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range [][]byte{[]byte(secret)[:8], seed[:8]} {
			shown = append(shown, string(b), strings.Trim(fmt.Sprint(b), "[]"), fmt.Sprintf("%x", b), fmt.Sprintf("%X", b), fmt.Sprintf("% x", b))
		}
	}
	for _, verb := range "vTtbcdoOqxXUeEfFgGsp" {
		for _, v := range []any{key, *key, credential, &credential, []any{key, credential}, []feed.Key{*key}, feed.Config{Key: key}, feed.ClientConfig{Credential: credential}} {
			for _, flag := range []string{"", "+", "#"} {
				text := fmt.Sprintf("%"+flag+string(verb), v)
				for _, s := range shown {
					if strings.Contains(text, s) {
						t.Errorf("%%%s%c of %T shows a secret: %s", flag, verb, v, text)
					}
				}
			}
		}
	}
	if b, err := key.MarshalText(); err != nil || string(b) != "[redacted]" {
		t.Errorf("the key marshals as %q", b)
	}
}

func TestKey(t *testing.T) {
	key, err := feed.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	text := key.Secret().Reveal()
	again, err := feed.ParseKey(key.Secret())
	if err != nil || again.Public() != key.Public() {
		t.Errorf("the text does not come back: %v", err)
	}
	for name, bad := range map[string]string{
		"nothing": "", "the public key": key.Public().String(), "cut": text[:len(text)-1], "more": text + "A",
		"no prefix": strings.TrimPrefix(text, "frame-ed25519-secret:"), "a line break": text[:30] + "\n" + text[31:],
	} {
		if _, err := feed.ParseKey(token.NewSecret(bad)); err == nil {
			t.Errorf("%s: taken for a key", name)
		}
	}
}

func TestEdges(t *testing.T) {
	c, err := feed.NewCredential("edge-1.eu_west")
	if err != nil {
		t.Fatal(err)
	}
	d, err := c.Digest()
	if err != nil {
		t.Fatal(err)
	}
	var back feed.Digest
	if text, err := d.MarshalText(); err != nil || back.UnmarshalText(text) != nil || back != d || !strings.HasPrefix(string(text), "sha256:") {
		t.Errorf("the digest does not come back from %s", text)
	}
	for _, bad := range []string{"", d.String()[7:], d.String() + "A", d.String()[:49], "sha512:" + d.String()[7:]} {
		if _, err := feed.ParseDigest(bad); err == nil {
			t.Errorf("%q is taken for a digest", bad)
		}
	}
	var e feed.Edges
	for _, name := range []string{"", "a b", "a:b", "ä", strings.Repeat("a", 65)} {
		if _, err := feed.NewCredential(name); err == nil {
			t.Errorf("%q is taken for a name", name)
		}
		if e.Allow(name, d) == nil {
			t.Errorf("%q is let in", name)
		}
	}
	if e.Allow("a") == nil || e.Allow("a", d, d, d) == nil {
		t.Error("none or three secrets are accepted")
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.SetBasicAuth(c.Name, c.Secret.Reveal())
	if _, ok := e.Authenticate(r); ok {
		t.Error("the zero value lets somebody in")
	}
	for _, name := range []string{"z", c.Name, "a"} {
		if err := e.Allow(name, d); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(e.Names(), " "); got != "a edge-1.eu_west z" {
		t.Errorf("the names are %s", got)
	}
	if name, ok := e.Authenticate(r); !ok || name != c.Name {
		t.Errorf("got %q, %v", name, ok)
	}
	e.Revoke(c.Name)
	e.Revoke(c.Name)
	if _, ok := e.Authenticate(r); ok {
		t.Error("a revoked one is let in")
	}
}

var (
	_ revocation.Source = (*feed.Client)(nil)
	_ revocation.Source = (*feed.Tail)(nil)
)
