package feed

import (
	"compress/gzip"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil/revocation"
)

// ErrBehind means that the server knows less than this client, or does not know whether what it knows is current; the server's own log says why. The
// client's list grows old meanwhile.
var ErrBehind = errors.New("feed: the server is behind; its log says why")

// ErrDenied means that the server did not accept the credential. Trying again does not help until somebody changes that.
var ErrDenied = errors.New("feed: the server refused the credential")

// ClientConfig says which feed a [Client] reads. URL, Credential, Issuer and Keys are required.
type ClientConfig struct {
	URL        string                // https, or http on a loopback address, since it is sent the credential; without query
	Credential Credential            // of this edge
	Issuer     string                // whose tokens are checked by the list
	Keys       []revocation.FrameKey // 1 to 16 that may sign; more than one while a key is replaced
	MaxLen     int                   // bytes of a frame's body; 0 = revocation.DefaultMaxFrameLen

	// HTTP makes the requests, such as a client whose Transport has RootCAs of its own, inside a cluster. Nil means one that trusts what the system trusts, with
	// one connection. Redirects are not followed in either case. After a read that was given up, or a server that is behind, its idle connections are
	// closed, since HTTP/2 would use the same one again: one that is half open, or that leads to the same server.
	HTTP *http.Client

	// SkipNonce reads frames that answer nobody in particular, such as those of a cache in front of the feed. See revocation.FrameReaderConfig for when
	// that is sound.
	SkipNonce bool
}

// A Client reads a feed. It is a revocation.Source: give it to a revocation.Follower. It refuses what is not certainly an answer of the feed to its own question, in
// line with what it has read before; package revocation says what that means at FrameReader.
//
// There is no useful zero value; NewClient makes one. It is safe for concurrent use, one read at a time. It has no goroutine of its own.
type Client struct {
	url        string
	credential Credential
	instance   string
	http       *http.Client
	own        *http.Transport // nil: the caller's
	maxLen     int
	skipNonce  bool
	known      atomic.Bool // a server may have reported it

	mu     sync.Mutex
	reader *revocation.FrameReader
	slow   bool // the last answer did not begin in time
	leave  bool // the connection of the last read: it may be half open, or lead to a server that is behind and not to another of that name
}

const (
	// How much later than it was asked to an answer may begin, and how long it may stop in the middle. With the second that a Follower waits this is the time in
	// which a half-open connection is noticed.
	answerGrace = time.Second
	// How much later where that may take longer: a connection has to be made, or a transport of the caller's does not say that there is one; the server
	// has to put the whole log together; or it was too slow the last time.
	slowGrace     = 4 * time.Second
	leaveLimit    = 250 * time.Millisecond
	maxClientWait = time.Minute // no server waits longer than a third of MaxStale anyway
)

// NewClient makes a Client. It makes no request. It refuses a configuration that is incomplete or out of bounds.
func NewClient(cfg ClientConfig) (*Client, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return nil, errors.New("feed: ClientConfig.URL is not an absolute URL without user, query and fragment")
	}
	if u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname())) {
		return nil, fmt.Errorf("feed: %q: a feed comes over https, or over http from this machine", cfg.URL)
	}
	if _, err := cfg.Credential.Digest(); err != nil {
		return nil, err
	}
	c := &Client{url: cfg.URL, credential: cfg.Credential, maxLen: cfg.MaxLen, skipNonce: cfg.SkipNonce}
	if c.maxLen == 0 {
		c.maxLen = revocation.DefaultMaxFrameLen
	}
	c.reader, err = revocation.NewFrameReader(revocation.FrameReaderConfig{Issuer: cfg.Issuer, Keys: cfg.Keys, MaxLen: c.maxLen, SkipNonce: cfg.SkipNonce})
	if err != nil {
		return nil, err
	}
	instance := make([]byte, 9)
	rand.Read(instance)
	c.instance = b64.EncodeToString(instance)

	c.http = &http.Client{}
	if cfg.HTTP != nil {
		*c.http = *cfg.HTTP
	} else {
		c.own = newTransport()
		c.http.Transport = c.own
	}
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c, nil
}

// newTransport makes a transport for one connection. It speaks HTTP/1.1, where a request that is given up takes its connection along: one that is half open
// is not used again.
func newTransport() *http.Transport {
	t := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 2 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout:    2 * time.Second,
		MaxIdleConnsPerHost:    1,
		IdleConnTimeout:        time.Minute,
		MaxResponseHeaderBytes: 16 << 10,
		DisableCompression:     true, // it is done here, where it is bounded
		Protocols:              new(http.Protocols),
	}
	t.Protocols.SetHTTP1(true)
	return t
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// Instance returns the ID by which confirmations tell this client from others with the same credential. It is drawn at random.
func (c *Client) Instance() string { return c.instance }

// Close tells the server that this client follows no longer, so that nobody waits for it, and closes the idle connections of the client's own
// transport. It takes a quarter of a second at most. If the server does not hear of it, the client counts as silent after a while. It does not end a
// Read that is under way; the context of that does. The error is always nil.
func (c *Client) Close() error {
	if c.known.CompareAndSwap(true, false) {
		ctx, cancel := context.WithTimeout(context.Background(), leaveLimit)
		defer cancel()
		if resp, err := c.send(ctx, http.MethodDelete, url.Values{paramInstance: {c.instance}}); err == nil {
			resp.Body.Close()
		}
	}
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
	return nil
}

// Read implements [revocation.Source]. The server may answer earlier than wait says. The errors include [ErrBehind], [ErrDenied] and, for a frame
// that was refused, a *[revocation.FrameError].
func (c *Client) Read(ctx context.Context, after revocation.Position, wait time.Duration) (_ revocation.Batch, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var nonce [revocation.FrameNonceLen]byte
	if !c.skipNonce {
		rand.Read(nonce[:])
	}
	q := c.reader.Ask(after, nonce)
	if wait = min(max(wait, 0), maxClientWait); q.Full {
		wait = 0
	}
	// A large answer may take long, as long as ctx allows, but it must begin soon and go on: a connection that is half open says nothing.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if c.leave {
		c.http.CloseIdleConnections()
	}
	defer func() { c.leave = ctx.Err() != nil || errors.Is(err, ErrBehind) }()
	silence := time.AfterFunc(wait+slowGrace, func() { cancel(errSilence) })
	defer silence.Stop()
	grace := answerGrace
	if q.Full || c.slow {
		grace = slowGrace
	}
	connected := httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { silence.Reset(wait + grace) }}
	resp, err := c.ask(httptrace.WithClientTrace(ctx, &connected), q, nonce, wait)
	c.slow = context.Cause(ctx) == errSilence
	if err != nil {
		return revocation.Batch{}, errOf(ctx, err)
	}
	defer resp.Body.Close()
	silence.Reset(answerGrace)
	resp.Body = progressBody{resp.Body, silence}
	f, err := c.open(resp)
	if err != nil {
		return revocation.Batch{}, errOf(ctx, fmt.Errorf("feed: %w", err))
	}
	c.known.Store(true)
	return f.Batch(), nil
}

// errOf returns what ended a read: silence, where that was it, otherwise err.
func errOf(ctx context.Context, err error) error {
	if context.Cause(ctx) == errSilence {
		return errSilence
	}
	return err
}

// progressBody is a body that must not stop in the middle.
type progressBody struct {
	io.ReadCloser
	silence *time.Timer
}

func (b progressBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.silence.Reset(answerGrace)
	}
	return n, err
}

// ask sends the question and looks at the status of the answer.
func (c *Client) ask(ctx context.Context, q revocation.FrameQuery, nonce [revocation.FrameNonceLen]byte, wait time.Duration) (*http.Response, error) {
	params := url.Values{paramInstance: {c.instance}}
	if q.After != (revocation.Cursor{}) {
		params.Set(paramAfter, q.After.String())
	}
	if q.Full {
		params.Set(paramFull, "1")
	}
	if wait > 0 {
		params.Set(paramWait, strconv.FormatFloat(wait.Seconds(), 'f', 3, 64))
	}
	if !c.skipNonce {
		params.Set(paramNonce, b64.EncodeToString(nonce[:]))
	}
	resp, err := c.send(ctx, http.MethodGet, params)
	if err != nil {
		return nil, err
	}
	switch status := resp.StatusCode; {
	case status == http.StatusOK:
		return resp, nil
	case status == StatusBehind:
		err = ErrBehind
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		err = ErrDenied
	case status >= 300 && status < 400 && resp.Header.Get("Location") != "":
		err = errRedirect
	default:
		err = fmt.Errorf("feed: the server answered with status %d", status)
	}
	resp.Body.Close()
	return nil, err
}

// send sends a request with the credential.
func (c *Client) send(ctx context.Context, method string, params url.Values) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.url+"?"+params.Encode(), nil)
	if err != nil {
		return nil, fmt.Errorf("feed: %w", err)
	}
	req.SetBasicAuth(c.credential.Name, c.credential.Secret.Reveal())
	req.Header.Set("Accept", ContentType)
	req.Header.Set("Accept-Encoding", "gzip")
	resp, err := c.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) { // it names the whole URL, which helps nobody
			err = u.Err
		}
		return nil, fmt.Errorf("feed: %w", err)
	}
	return resp, nil
}

var (
	errSilence  = errors.New("feed: the server does not answer")
	errRedirect = errors.New("feed: the server points elsewhere; redirects are not followed")
	errMedia    = errors.New("the answer is no frame by its content type")
	errEncoding = errors.New("the answer is encoded in a way that was not asked for")
	errMore     = errors.New("the answer does not end with the frame")
)

// open reads the frame of an answer: the head, and only if that is right the body, and nothing after it.
func (c *Client) open(resp *http.Response) (revocation.Frame, error) {
	// Parameters mean nothing; nginx adds a charset to whatever it is told to.
	if media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); media != ContentType {
		return revocation.Frame{}, errMedia
	}
	const slack = 4 << 10 // head, and what compressing adds
	in := io.Reader(io.LimitReader(resp.Body, int64(c.maxLen)+int64(c.maxLen)/1000+slack))
	switch resp.Header.Get("Content-Encoding") {
	case "":
	case "gzip":
		z, err := gzip.NewReader(in)
		if err != nil {
			return revocation.Frame{}, err
		}
		in = z
	default:
		return revocation.Frame{}, errEncoding
	}

	head := make([]byte, revocation.FramePrefixLen)
	if err := fill(in, head); err != nil {
		return revocation.Frame{}, err
	}
	size, err := revocation.FrameHeadLen(head)
	if err != nil {
		return revocation.Frame{}, err
	}
	head = append(head, make([]byte, size-len(head))...)
	if err := fill(in, head[revocation.FramePrefixLen:]); err != nil {
		return revocation.Frame{}, err
	}
	n, err := c.reader.OpenHead(head)
	if err != nil {
		return revocation.Frame{}, err
	}
	body := make([]byte, n)
	if err := fill(in, body); err != nil {
		return revocation.Frame{}, err
	}
	var more [1]byte
	if n, err := io.ReadFull(in, more[:]); n > 0 {
		return revocation.Frame{}, errMore
	} else if err != io.EOF { // a broken sum, or the connection broke
		return revocation.Frame{}, err
	}
	return c.reader.OpenBody(body)
}

func fill(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}
