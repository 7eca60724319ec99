package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil/edge"
)

// A wazeroGuard is the module in wazero and what is left to its host: to fetch the keys, to follow the feed, to ask the origin. edge/README.md describes the interface.
type wazeroGuard struct {
	at   string // the network's
	name string
	key  string // the secret

	mu sync.Mutex // one call at a time
	w  *wasm
}

// guardInWazero starts it. fail is told if it does not follow any more.
func guardInWazero(ctx context.Context, fail context.CancelCauseFunc, o *origin, n *network, module string) (guard, func(), error) {
	binary, err := os.ReadFile(module)
	if err != nil {
		return nil, nil, err
	}
	at, unlisten, err := n.listen()
	if err != nil {
		return nil, nil, err
	}
	w, free, err := startWasm(ctx, binary)
	if err != nil {
		unlisten()
		return nil, nil, err
	}
	g := &wazeroGuard{at: at, name: o.told.Credential["name"], key: o.told.Credential["secret"], w: w}
	ctx, stop := context.WithCancel(ctx)
	followed := make(chan struct{})
	closing := func() {
		stop()
		<-followed
		free()
		unlisten()
	}
	config := fmt.Sprintf("issuer %s\naudience %s\nframe-key %s\npolicy strict\nmax-stale %d\n", o.told.Issuer, o.told.Audience, o.told.FrameKey, bound.Milliseconds())
	if why := w.configure(config); why != "" {
		err = fmt.Errorf("the configuration: %s", why)
	}
	if err == nil {
		err = g.fetchKeys(ctx)
	}
	go func() {
		defer close(followed)
		if err == nil {
			g.follow(ctx, fail)
		}
	}()
	if err != nil {
		closing()
		return nil, nil, err
	}
	return g, closing, nil
}

func (g *wazeroGuard) fetchKeys(ctx context.Context) error {
	b, err := g.fetch(ctx, time.Second, "GET", "/.well-known/jwks.json", nil)
	if err != nil {
		return err
	}
	if why := g.w.keys(b); why != "" {
		return fmt.Errorf("the keys: %s", why)
	}
	return nil
}

// follow reads the feed until ctx ends, and waits for news each time. A module that traps is dead, and this is told.
func (g *wazeroGuard) follow(ctx context.Context, fail context.CancelCauseFunc) {
	defer func() {
		if trap := recover(); trap != nil {
			fail(fmt.Errorf("%v", trap))
		}
	}()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for ctx.Err() == nil {
		if g.read(ctx) != nil { // the list grows old, which is for the module to judge
			<-again.C
		}
	}
}

// read asks the feed once.
func (g *wazeroGuard) read(ctx context.Context) error {
	nonce := make([]byte, 16)
	rand.Read(nonce)
	g.mu.Lock()
	after, full := g.w.question(nonce)
	g.mu.Unlock()
	q := url.Values{"instance": {"wazero"}, "nonce": {base64.RawURLEncoding.EncodeToString(nonce)}}
	if after != "" {
		q.Set("after", after)
	}
	if full {
		q.Set("full", "1")
	} else {
		q.Set("wait", fmt.Sprint((bound / 3).Seconds()))
	}
	sent := time.Now().UnixMilli()
	b, err := g.fetch(ctx, bound, "GET", "/session/revocations?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, why := g.w.answer(b, sent, time.Now().UnixMilli()); why != "" {
		return fmt.Errorf("the frame: %s", why)
	}
	return nil
}

func (g *wazeroGuard) check(ctx context.Context, token string) (answer string, err error) {
	defer func() {
		if trap := recover(); trap != nil {
			err = fmt.Errorf("%v", trap)
		}
	}()
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now().UnixMilli()
	r := g.w.decide([]byte(token), now)
	if edge.Status(r&7) == edge.Ask {
		otherwise := string(g.w.text())
		var active uint64
		switch lives, err := g.ask(ctx, token); {
		case err != nil:
			g.w.call("drop", uint64(r>>3))
			return otherwise, nil
		case lives:
			active = 1
		}
		r = g.w.call("judge", uint64(r>>3), active, ms(now), ms(now))
	}
	switch edge.Status(r & 7) {
	case edge.Accepted:
		g.w.call("claims", uint64(r>>3))
		fallthrough
	case edge.Learned:
		var claims struct{ Sub string }
		err := json.Unmarshal(g.w.text(), &claims)
		return "ok: " + claims.Sub, err
	}
	return string(g.w.text()), nil
}

// ask asks the origin whether a session lives.
func (g *wazeroGuard) ask(ctx context.Context, token string) (bool, error) {
	b, err := g.fetch(ctx, 500*time.Millisecond, "POST", "/session/introspect", url.Values{"token": {token}})
	if err != nil {
		return false, err
	}
	var a struct{ Active *bool }
	if err := json.Unmarshal(b, &a); err != nil {
		return false, err
	}
	if a.Active == nil {
		return false, fmt.Errorf("the answer does not say whether the token is active")
	}
	return *a.Active, nil
}

func (g *wazeroGuard) fetch(ctx context.Context, most time.Duration, method, path string, form url.Values) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, g.at+path, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.SetBasicAuth(g.name, g.key)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	var b bytes.Buffer
	if _, err := io.Copy(&b, io.LimitReader(a.Body, 8<<20)); err != nil {
		return nil, err
	}
	if a.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: status %d", path, a.StatusCode)
	}
	return b.Bytes(), nil
}
