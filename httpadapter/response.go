package httpadapter

import (
	"bufio"
	"context"
	"net"
	"net/http"

	"github.com/counterfoil/counterfoil"
)

// response closes the exchange when the header is about to be written.
type response struct {
	http.ResponseWriter
	r       *http.Request
	x       *counterfoil.Exchange
	refuse  func(http.ResponseWriter, *http.Request, error)
	done    bool
	refused bool // another answer has been written in the handler's place
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
		w.refused = true
		w.refuse(w.ResponseWriter, w.r, err)
		return false
	}
	for _, c := range cookies {
		w.Header().Add("Set-Cookie", c.SetCookie())
	}
	if len(cookies) > 0 {
		w.Header().Set("Cache-Control", "no-store")
	}
	return true
}

func (w *response) WriteHeader(status int) {
	if status >= 200 && !w.commit(status) {
		return
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(b []byte) (int, error) {
	if !w.commit(http.StatusOK) {
		return len(b), nil
	}
	return w.ResponseWriter.Write(b)
}

// FlushError lets handlers stream through [http.ResponseController].
func (w *response) FlushError() error {
	if !w.commit(http.StatusOK) {
		return nil
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Flush lets handlers stream through [http.Flusher].
func (w *response) Flush() { _ = w.FlushError() }

// Hijack hands the connection over. Nothing can be saved with the header any more, so it is done now; cookies cannot be set.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.commit(http.StatusSwitchingProtocols)
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// Unwrap serves [http.ResponseController] for deadlines.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }
