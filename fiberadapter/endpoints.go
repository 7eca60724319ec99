package fiberadapter

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/internal/opened"
)

// Endpoints serves the paths of [httpadapter.Endpoints] and passes every other request on: app.Use(fiberadapter.Endpoints(m)), in front of [New] or
// behind it, as is said there. Their event streams outlast fiber.Config.WriteTimeout, which is for an answer as a whole, unless the connections are wrapped, as
// by a listener of your own or for MaxConnsPerIP of app.Server(). At most one config is used. Without an Address in it the client's address is c.IP(), as it
// is to New. It panics on a configuration that cannot work, as New does.
func Endpoints(m *counterfoil.Manager, config ...httpadapter.EndpointsConfig) fiber.Handler {
	var cfg httpadapter.EndpointsConfig
	if len(config) > 0 {
		cfg = config[0]
	}
	if cfg.Address == nil {
		cfg.Address = func(r *http.Request) string { return r.Context().Value(addressKey).(string) }
	}
	endpoints, err := httpadapter.Endpoints(m, cfg)
	if err != nil {
		panic("fiberadapter: " + err.Error())
	}
	h := endpoints(http.NotFoundHandler())
	return func(c *fiber.Ctx) error {
		if !httpadapter.Serves(c.Path()) {
			return c.Next()
		}
		if unended(c) {
			defer c.Response().SetConnectionClose()
		}
		ctx := context.WithValue(lasting(c), addressKey, utils.CopyString(c.IP()))
		if x, ok := c.Context().UserValue(managerKey{m}).(*counterfoil.Exchange); ok {
			ctx = opened.With(ctx, x)
		}
		serve(ctx, c, h)
		return nil
	}
}

// serve runs a net/http handler. Fiber's own adaptor cannot stream, hands out strings that point into its buffers, and answers 500 for
// a request line that net/url does not like. The handler's context is ctx; it ends with Fiber's while the handler runs, and no more when that has returned
// and streams.
func serve(ctx context.Context, c *fiber.Ctx, h http.Handler) {
	w := &bridge{c: c, conn: c.Context().Conn(), header: http.Header{}}
	ctx, cancel := context.WithCancel(ctx)
	detach := context.AfterFunc(c.UserContext(), cancel)
	defer detach()
	r := convert(c).WithContext(ctx)
	body, streams := r.Body.(*bodyStream)
	h.ServeHTTP(w, r)
	w.WriteHeader(http.StatusOK)
	if streams {
		skip(c, body)
	}
}

// skip reads what is left of a body that streams. fasthttp would take it for the next request.
func skip(c *fiber.Ctx, body io.Reader) {
	if overlong(c) {
		c.Response().SetConnectionClose()
		return
	}
	if _, err := io.CopyN(io.Discard, body, maxLeft); err != io.EOF {
		c.Response().SetConnectionClose()
	}
}

// overlong says whether a body that streams is longer than fiber.Config.BodyLimit. Such a one must not be read: if the limit is small, fasthttp gives what
// comes behind the body as well, and panics at the next read, which ends the process.
func overlong(c *fiber.Ctx) bool {
	return c.Request().Header.ContentLength() > c.App().Config().BodyLimit
}

// refused returns what an error handler made of a request that no handler is going to see, nor to read the body of.
func refused(c *fiber.Ctx, answer error) error {
	if c.Request().IsBodyStream() {
		skip(c, c.Request().BodyStream())
	}
	return answer
}

// over returns the answer to a request whose body a handler may have read, or not. Of a body in pieces nobody can tell, and behind its end one must not read.
func over(c *fiber.Ctx, answer error) error {
	if c.Request().IsBodyStream() && c.Request().Header.ContentLength() < 0 {
		c.Response().SetConnectionClose()
		return answer
	}
	return refused(c, answer)
}

// unended says whether fasthttp has stopped at the last boundary of a multipart form, as it does without fiber.Config.DisablePreParseMultipartForm. It would
// take what comes behind that for the next request, so the connection has to end.
func unended(c *fiber.Ctx) bool {
	h := &c.Request().Header
	return h.ContentLength() > 0 && len(h.MultipartFormBoundary()) > 0 && !c.App().Config().DisablePreParseMultipartForm
}

// maxLeft is how many bytes of a body that nobody wants are read, lest the connection be lost for them; net/http reads as many.
const maxLeft = 256 << 10

// convert copies the request, except for its body, which is valid while the handler runs. A body that streams is left to the handler, which knows how much
// of it there may be.
func convert(c *fiber.Ctx) *http.Request {
	r := &http.Request{
		Method:     utils.CopyString(c.Method()),
		URL:        &url.URL{Path: utils.CopyString(c.Path()), RawQuery: string(c.Request().URI().QueryString())},
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Header:     http.Header{},
		Host:       string(c.Context().Host()),
		RemoteAddr: c.Context().RemoteAddr().String(),
		TLS:        c.Context().TLSConnectionState(),
	}
	switch length := c.Request().Header.ContentLength(); {
	case c.Request().IsBodyStream() && overlong(c):
		r.Body, r.ContentLength = &bodyStream{err: errTooLarge}, int64(length)
	case c.Request().IsBodyStream():
		r.Body, r.ContentLength = &bodyStream{from: c.Request().BodyStream()}, max(-1, int64(length))
	case length > maxLeft && c.App().Config().StreamRequestBody:
		// A multipart form, which fasthttp has put into files; Body would put it back together in memory.
		r.Body, r.ContentLength = &bodyStream{err: errTooLarge}, int64(length)
	default:
		body := c.Request().Body()
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	r.RequestURI = r.URL.RequestURI()
	cookies := all(c, fiber.HeaderCookie)
	for i, v := range cookies {
		cookies[i] = utils.CopyString(v)
	}
	c.Request().Header.VisitAll(func(k, v []byte) {
		name := http.CanonicalHeaderKey(string(k))
		r.Header[name] = append(r.Header[name], string(v))
	})
	if len(cookies) > 0 {
		r.Header["Cookie"] = cookies // as they came; the walk above spells them anew
	}
	return r
}

// bodyStream is the body of a request with fiber.Config.StreamRequestBody. It remembers its end: fasthttp's, asked again, reads on into the next request.
type bodyStream struct {
	from io.Reader
	err  error
}

func (b *bodyStream) Read(p []byte) (n int, err error) {
	if b.err == nil {
		n, b.err = b.from.Read(p)
	}
	return n, b.err
}

func (*bodyStream) Close() error { return nil }

var errTooLarge = &http.MaxBytesError{Limit: maxLeft}

// bridge writes a net/http answer into Fiber's.
type bridge struct {
	c      *fiber.Ctx
	conn   net.Conn
	header http.Header
	wrote  bool
}

var _ httpadapter.Streamer = (*bridge)(nil)

func (w *bridge) Header() http.Header { return w.header }

func (w *bridge) WriteHeader(status int) {
	if w.wrote || status < 200 {
		return
	}
	w.wrote = true
	w.c.Status(status)
	h := &w.c.Response().Header
	for name, values := range w.header {
		if name != fiber.HeaderSetCookie { // others' cookies, set before, are not ours to take back
			h.Del(name)
		}
		for _, v := range values {
			h.Add(name, v)
		}
	}
}

func (w *bridge) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.c.Write(b)
}

// Stream leaves the body to a function that runs when the handler has returned, which is how fasthttp streams. The connection ends with it, since fasthttp
// does not take back a deadline that is not its own.
func (w *bridge) Stream(produce func(*bufio.Writer)) {
	w.WriteHeader(http.StatusOK)
	w.c.Response().SetConnectionClose()
	w.c.Context().SetBodyStreamWriter(produce)
}

// SetWriteDeadline serves [http.ResponseController]. A stream calls it when the context is another request's, and the connection may have been closed.
// These take that for an error. The ones that fasthttp puts around them for MaxConnsPerIP panic, or are another client's by then.
func (w *bridge) SetWriteDeadline(t time.Time) error {
	switch w.conn.(type) {
	case *net.TCPConn, *net.UnixConn, *tls.Conn:
		return w.conn.SetWriteDeadline(t)
	}
	return http.ErrNotSupported
}
