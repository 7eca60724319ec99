package httpadapter

import (
	"bufio"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/counterfoil/counterfoil"
)

// response closes the exchange when the header is about to be written.
type response struct {
	http.ResponseWriter
	r       *http.Request
	x       *counterfoil.Exchange
	refuse  func(http.ResponseWriter, *http.Request, error)
	address func(*http.Request) string
	mount   mount       // where it began
	before  http.Header // what whoever is in front had set when the request arrived

	weak    atomic.Bool // something has ended that could come back: an answer that says nothing else says that
	done    bool
	refused bool // another answer has been written in the handler's place
}

// A mount is one middleware around the handlers of a request. Its response is its own, or that of an earlier mount of the same Manager.
type mount struct {
	*response
	outer *mount // the one in front of it, which may be another Manager's; nil if there is none
}

// of returns the response with the exchange of m, of this mount or of one further out, nil if there is none.
func (at *mount) of(m *counterfoil.Manager) *response {
	for ; at != nil; at = at.outer {
		if at.x.Manager() == m {
			return at.response
		}
	}
	return nil
}

// commit runs once. It returns false if the handler's answer must not be sent.
func (w *response) commit(status int) bool {
	if w.done {
		return !w.refused
	}
	w.done = true
	if status >= 500 {
		w.x.Session().Discard()
	}
	// What the handler did has happened, so it is saved even if the client has gone.
	cookies, err := w.x.Commit(context.WithoutCancel(w.r.Context()))
	if err != nil {
		w.answer(err, cookies)
		return false
	}
	setCookies(w.Header(), cookies)
	return true
}

// setCookies adds cookies to an answer, which is then for one client only.
func setCookies(h http.Header, cookies []counterfoil.Cookie) {
	for _, c := range cookies {
		h.Add("Set-Cookie", c.SetCookie())
		if c.ClearsCache() {
			h.Add("Clear-Site-Data", `"cache"`)
		}
	}
	if len(cookies) > 0 {
		h.Set("Cache-Control", "no-store")
	}
}

// begin writes the header of an answer whose handler has named no status: 200, or what [Accepted] answers. It returns what commit does.
func (w *response) begin() bool {
	if w.weak.Load() && !w.done {
		w.WriteHeader(http.StatusAccepted)
	}
	return w.commit(http.StatusOK)
}

// finish answers for a handler that wrote nothing.
func (w *response) finish() {
	if w.weak.Load() && !w.done {
		Accepted(w)
	}
	if !w.commit(http.StatusOK) { // trailers of the handler's would still go out, behind the refusal
		maps.DeleteFunc(w.Header(), func(name string, _ []string) bool { return strings.HasPrefix(name, http.TrailerPrefix) })
	}
}

// answer refuses in the handler's place. What the handler said of its own answer, such as Location, Content-Encoding or cookies, goes;
// what others had set before it stays, and the cookies of a session that has begun are set.
func (w *response) answer(err error, cookies []counterfoil.Cookie) {
	w.refused = true
	h := w.Header()
	clear(h)
	maps.Copy(h, w.before)
	setCookies(h, cookies)
	w.refuse(w.ResponseWriter, w.r, err)
}

// WriteHeader passes informational answers on; 101 is none of them, it is the last word of HTTP on its connection.
func (w *response) WriteHeader(status int) {
	if (status >= 200 || status == http.StatusSwitchingProtocols) && !w.commit(status) {
		return
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(b []byte) (int, error) {
	if !w.begin() {
		return len(b), nil
	}
	return w.ResponseWriter.Write(b)
}

// WriteString spares io.WriteString a copy.
func (w *response) WriteString(s string) (int, error) {
	if !w.begin() {
		return len(s), nil
	}
	return io.WriteString(w.ResponseWriter, s)
}

// ReadFrom leaves it to the server how a file gets into the connection, once the header is written.
func (w *response) ReadFrom(src io.Reader) (int64, error) {
	if w.done && !w.refused {
		return io.Copy(w.ResponseWriter, src)
	}
	return io.Copy(struct{ io.Writer }{w}, src)
}

// errRefused ends a stream of which the client is given nothing.
var errRefused = errors.New("httpadapter: what the handler set could not be saved, and another answer was given in its place")

// FlushError lets handlers stream through [http.ResponseController]. Where another answer has been given it sends that, since the handler may go on for as
// long as the client waits, and says so.
func (w *response) FlushError() error {
	sends := w.begin()
	if err := http.NewResponseController(w.ResponseWriter).Flush(); err != nil || sends {
		return err
	}
	return errRefused
}

// Flush lets handlers stream through [http.Flusher].
func (w *response) Flush() { _ = w.FlushError() }

// Hijack hands the connection over. Nothing can be saved with the header any more, so it is done now. Whoever hijacks writes the header, so
// it carries no cookies of ours, and nothing is renewed that could not be handed out.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if !w.done {
		if err := w.x.Session().Save(context.WithoutCancel(w.r.Context())); err != nil {
			w.done = true
			w.answer(err, nil)
			return nil, nil, err
		}
	} else if w.refused {
		return nil, nil, http.ErrHijacked
	}
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.done = true
		w.x.Close()
	}
	return conn, rw, err
}

// CloseNotify is for gin, whose Context.Stream panics without it. Everybody else has the context of the request.
func (w *response) CloseNotify() <-chan bool {
	gone := make(chan bool, 1)
	context.AfterFunc(w.r.Context(), func() { gone <- true })
	return gone
}

// Unwrap serves [http.ResponseController] for deadlines.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }
