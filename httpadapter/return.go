package httpadapter

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/counterfoil/counterfoil"
)

const (
	maxReturnLen = 2048     // bytes of a return target
	maxFormLen   = 16 << 10 // bytes of a form
)

// ReturnPath returns a target that somebody asked to be sent to after a login, in the form to put into a Location header, if it is a path of
// this host: it begins with one slash, and no browser can read it as another host. Anything else is refused, never repaired.
func ReturnPath(target string) (path string, ok bool) {
	if len(target) > maxReturnLen || !strings.HasPrefix(target, "/") || strings.HasPrefix(target, "//") || strings.Contains(target, `\`) {
		return "", false
	}
	u, err := url.Parse(target) // refuses control characters, which browsers drop before they look for a host
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" {
		return "", false
	}
	// Spelled anew the path may be longer, or begin otherwise ("/%2f " becomes "//%20"), and a query is left as it came.
	path = u.String()
	if len(path) > maxReturnLen || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "", false
	}
	return path, true
}

// back sends the browser to where it wants to return to; the target has been checked when the request came.
func back(w http.ResponseWriter, r *http.Request) {
	path, ok := ReturnPath(r.FormValue("return"))
	if !ok {
		badRequest(w)
		return
	}
	redirect(w, path)
}

// toLogin sends the browser to the login, and tells it where to return to.
func (e *endpoints) toLogin(w http.ResponseWriter, r *http.Request) {
	path, ok := ReturnPath(e.login)
	if !ok {
		Refuse(w, r, errNobody)
		return
	}
	u, _ := url.Parse(path)
	q := u.Query()
	if want, ok := ReturnPath(r.FormValue("return")); ok {
		q.Set("return", want)
	}
	u.RawQuery = q.Encode()
	redirect(w, u.String())
}

func redirect(w http.ResponseWriter, path string) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Location", path)
	w.WriteHeader(http.StatusSeeOther)
}

func badRequest(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, http.StatusText(http.StatusBadRequest), http.StatusBadRequest)
}

// form reads the form of a POST; false if there is something else.
func form(w http.ResponseWriter, r *http.Request) bool {
	r.Body = http.MaxBytesReader(w, r.Body, maxFormLen)
	return r.ParseForm() == nil
}

// notDurable is what a user is told who ended something while a replica is down.
const notDurable = "Signed out. It is not yet certain that this would survive the loss of a server; we go on until it is.\n"

// then does what a POST asks for and sends the browser back, or answers 204. A target that is not of this host is refused before.
func then(do func(*http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !form(w, r) {
			badRequest(w)
			return
		}
		_, returns := r.Form["return"]
		if _, ok := ReturnPath(r.FormValue("return")); returns && !ok {
			badRequest(w)
			return
		}
		switch err := do(r); {
		case err == errBadHandle:
			badRequest(w)
			return
		case errors.Is(err, counterfoil.ErrNotDurable):
			w.Header().Set("Cache-Control", "no-store")
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.WriteHeader(http.StatusAccepted)
			_, _ = w.Write([]byte(notDurable))
			return
		case err != nil && !isNobody(err):
			Refuse(w, r, err)
			return
		}
		if returns {
			back(w, r)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNoContent)
	})
}
