package jwks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil/token"
)

// ClientConfig says where a client gets its keys.
type ClientConfig struct {
	// URL of the JWK set: https, or http on a loopback address, because whoever can change the document on its way makes tokens that everybody accepts. Inside a
	// cluster it is https too, with an HTTP that trusts the cluster's certificate authority. One client serves one issuer.
	URL string

	// HTTP is the client to fetch with, such as one whose Transport has RootCAs of its own. Nil means one that trusts what the system trusts, without redirects.
	// A redirect is followed only to what URL may be, and never from https to http. Each fetch has a deadline of 10 s besides; after one that has met it
	// the idle connections are closed, since HTTP/2 would use one that is half open again.
	HTTP *http.Client

	// Refresh is the time between fetches. 0 means 5 min; at least 1 s.
	Refresh time.Duration

	// Logger is told of changes of the set, when fetching it begins to fail, every five minutes while it fails, and when that is over. Nil means slog.Default().
	Logger *slog.Logger
}

const (
	defaultRefresh = 5 * time.Minute
	minRefresh     = time.Second
	retryAfter     = time.Second
	earlyEvery     = 30 * time.Second
	fetchTimeout   = 10 * time.Second
	tellAgain      = 5 * time.Minute
	maxRedirects   = 10 // as many as net/http follows
)

func (c ClientConfig) refresh() time.Duration {
	if c.Refresh == 0 {
		return defaultRefresh
	}
	return c.Refresh
}

func (c ClientConfig) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.Default()
	}
	return c.Logger
}

// A Client keeps a key set up to date with a document on the web. Verifiers read the set and never wait for the network. It runs one goroutine until it is closed.
//
// The document is fetched again after Refresh, one second after a failure, and early when a token names an unknown key, but that at most once in
// 30 seconds, however many tokens do. While fetching fails the set stays as it is; [Client.Age] says for how long. A document that token.ParseJWKS refuses, that is empty or that holds
// a symmetric key, is a failure. A key that the document no longer has is forgotten at once.
//
// It is made by [NewClient] and safe for concurrent use.
type Client struct {
	config ClientConfig
	name   string // of the document: its URL without the query, which may hold a secret
	http   *http.Client
	log    *slog.Logger
	keys   token.KeySet
	stop   context.CancelFunc
	done   chan struct{}

	givenUp bool      // the last fetch was, so its connection may be half open
	told    time.Time // when the logger was told last that fetching fails; zero = it does not

	mu   sync.Mutex
	asOf time.Time // when the request was sent that returned the present set
	last []byte    // the document of the present set
	etag string
}

// NewClient fetches the set, trying again every second until ctx ends, and then keeps it up to date until Close. ctx is for the start only.
func NewClient(ctx context.Context, config ClientConfig) (*Client, error) {
	u, err := url.Parse(config.URL)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return nil, errors.New("jwks: ClientConfig.URL is not an absolute URL without user and fragment")
	}
	name := (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
	if !isTrusted(u) {
		return nil, fmt.Errorf("jwks: %s: key sets come over https, or over http from this machine", name)
	}
	if config.Refresh != 0 && config.Refresh < minRefresh {
		return nil, fmt.Errorf("jwks: refresh must be at least %v", minRefresh)
	}
	c := &Client{config: config, name: name, http: &http.Client{}, log: config.logger(), done: make(chan struct{})}
	if config.HTTP != nil {
		*c.http = *config.HTTP
		c.http.CheckRedirect = trustedRedirects(config.HTTP.CheckRedirect)
	} else {
		// One request in minutes is not worth a connection kept open, and the goroutines that keep it.
		c.http.Transport = &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, ForceAttemptHTTP2: true}
		c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	var last error // what is wrong; that the last fetch was cut short says nothing of it
	for {
		err := c.fetch(ctx)
		if err == nil {
			break
		}
		if ctx.Err() == nil || last == nil {
			last = err
			c.failed(err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("jwks: no key set: %w; %w", ctx.Err(), last)
		case <-time.After(retryAfter):
		}
	}
	background, stop := context.WithCancel(context.Background())
	c.stop = stop
	go c.run(background, c.keys.Missed())
	return c, nil
}

// isTrusted reports whether a key set may come from there.
func isTrusted(u *url.URL) bool {
	return u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname())
}

var errRedirect = errors.New("redirect to where key sets may not come from")

// trustedRedirects returns a CheckRedirect that refuses what cannot be trusted and asks next, if there is one, about the rest.
func trustedRedirects(next func(*http.Request, []*http.Request) error) func(*http.Request, []*http.Request) error {
	return func(r *http.Request, via []*http.Request) error {
		switch {
		case !isTrusted(r.URL), r.URL.Scheme != "https" && via[len(via)-1].URL.Scheme == "https":
			return errRedirect
		case next != nil:
			return next(r, via)
		case len(via) >= maxRedirects:
			return errors.New("too many redirects")
		}
		return nil
	}
}

// Keys returns the set that the client keeps up to date, for token.VerifierConfig.
func (c *Client) Keys() *token.KeySet { return &c.keys }

// Age returns how long ago the request was sent whose answer confirmed the present set.
func (c *Client) Age() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.asOf)
}

// Close stops the client and waits for its goroutine. The set stays as it is. Closing again is harmless.
func (c *Client) Close() error {
	c.stop()
	<-c.done
	return nil
}

func (c *Client) run(ctx context.Context, missed <-chan struct{}) {
	defer close(c.done)
	timer := time.NewTimer(c.config.refresh())
	defer timer.Stop()
	early := missed            // nil while no early refresh is allowed
	var allow <-chan time.Time // when it is allowed again
	for {
		select {
		case <-ctx.Done():
			return
		case <-allow:
			early, allow = missed, nil
			continue
		case <-early:
			early, allow = nil, time.After(earlyEvery)
		case <-timer.C:
		}
		next := c.config.refresh()
		if err := c.fetch(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			c.failed(err)
			next = retryAfter
		}
		timer.Reset(next)
	}
}

// failed tells that fetching fails: once, and now and then while it goes on, for the reason may have become another one.
func (c *Client) failed(err error) {
	if now := time.Now(); c.told.IsZero() || now.Sub(c.told) >= tellAgain {
		c.told = now
		c.log.Warn("jwks: fetching the key set fails; trying again every second", "err", err)
	}
}

// fetch gets the document once and applies it. The error names the document, but for its query.
func (c *Client) fetch(ctx context.Context) error {
	err := c.get(ctx)
	if err == nil {
		return nil
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return fmt.Errorf("%s: %w", c.name, err)
}

func (c *Client) get(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	if c.givenUp {
		c.http.CloseIdleConnections()
	}
	defer func() { c.givenUp = ctx.Err() != nil }()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.config.URL, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	if c.etag != "" {
		req.Header.Set("If-None-Match", c.etag)
	}
	sent := time.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotModified && c.etag != "":
		c.confirmed(sent)
		return nil
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	doc, err := io.ReadAll(io.LimitReader(resp.Body, token.MaxKeySetLen+1))
	if err != nil {
		return err
	}
	if c.last == nil || !bytes.Equal(doc, c.last) {
		if err := c.apply(doc); err != nil {
			return err
		}
	}
	c.etag = resp.Header.Get("ETag")
	c.confirmed(sent)
	return nil
}

func (c *Client) apply(doc []byte) error {
	keys, err := token.ParseJWKS(doc)
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		return errors.New("empty key set")
	}
	if _, err := token.AppendJWKS(nil, keys...); err != nil { // refuses symmetric keys
		return err
	}
	if err := c.keys.Replace(keys...); err != nil {
		return err
	}
	c.last = doc
	c.log.Info("jwks: key set changed", "keys", len(keys), "generation", c.keys.Generation())
	return nil
}

func (c *Client) confirmed(sent time.Time) {
	if !c.told.IsZero() {
		c.told = time.Time{}
		c.log.Info("jwks: the key set is fetched again")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asOf = sent
}
