package httpadapter

import (
	"bytes"
	"html/template"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
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
	if err != nil {
		return "", false
	}
	// Spelled anew the path may be longer, or begin otherwise ("/%2f " becomes "//%20"), and a query is left as it came.
	path = u.String()
	if len(path) > maxReturnLen || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "", false
	}
	return path, true
}

// target returns where whoever sends a GET wants to return to. A body that it has is not looked at.
func target(r *http.Request) (path string, ok bool) { return ReturnPath(r.URL.Query().Get("return")) }

// back sends the browser to where it wants to return to; the target has been checked when the request came.
func back(w http.ResponseWriter, r *http.Request) {
	path, _ := target(r)
	redirect(w, path)
}

// toLogin sends the browser to the login, and tells it where to return to.
func (e *endpoints) toLogin(w http.ResponseWriter, r *http.Request) {
	want, _ := target(r)
	path := e.loginFor(want)
	if path == "" {
		Refuse(w, r, counterfoil.ErrNotFound)
		return
	}
	redirect(w, path)
}

// loginFor returns the path of the login of somebody who wants to get to another path of this host; "" if none is known.
func (e *endpoints) loginFor(want string) string {
	if e.login == "" {
		return ""
	}
	u, _ := url.Parse(e.login) // ReturnPath has spelled it
	q := u.Query()
	q.Set("return", want)
	u.RawQuery = q.Encode()
	return u.String()
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

// form reads the form of a POST, application/x-www-form-urlencoded; false if there is something else. In a body of another kind nothing would be found, and
// what it asks for, such as where to go afterwards, be ignored. A body of unknown length may be none: some proxies send every POST in chunks.
func form(w http.ResponseWriter, r *http.Request) bool {
	r.Body = http.MaxBytesReader(w, r.Body, maxFormLen)
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); r.ContentLength != 0 && (err != nil || kind != "application/x-www-form-urlencoded") {
		if r.ContentLength > 0 {
			return false
		}
		if _, err := io.ReadFull(r.Body, make([]byte, 1)); err != io.EOF {
			return false
		}
	}
	return r.ParseForm() == nil
}

// only returns a field of the form, "" if it is not there once. Of several that name what is to end, one would end and the answer seem to speak of all of them
// (RFC 6749, section 3.2, forbids them for tokens).
func only(r *http.Request, field string) string {
	if values := r.PostForm[field]; len(values) == 1 {
		return values[0]
	}
	return ""
}

// notDurable is what a user is told who ended something while a replica is down.
const notDurable = "Done. It is not yet certain: if one of our servers failed now, it could be undone. We go on until it is certain."

// Accepted answers a user whose session has ended, although too few replicas of the store have acknowledged it ([counterfoil.ErrNotDurable]): with
// 202, and a text that says so. The Manager goes on until it is safe.
func Accepted(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusAccepted)
	_, _ = w.Write([]byte(notDurable + "\n"))
}

var wordPage = template.Must(template.New("").Parse(`<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<title>{{.Title}}</title><link rel="icon" href="data:,"><link rel="stylesheet" href="` + pageStylePath + `">
<main><h1>{{.Title}}</h1><p>{{.Text}}</p><p class="back"><a href="{{.Path}}">{{.Link}}</a></p></main></html>
`))

// word is a page for somebody who wanted to be sent somewhere and has to be told something before: with the way there.
type word struct{ Title, Text, Path, Link string }

func (p word) show(w http.ResponseWriter, status int) {
	var b bytes.Buffer
	_ = wordPage.Execute(&b, p)
	dress(w.Header())
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

// refusePeople is Refuse, unless the answer is 503 and somebody looks at it, because it is the page's or the form says where to be sent: then it says what
// that means. What a form asked for may have happened.
func refusePeople(w http.ResponseWriter, r *http.Request, err error) {
	p := word{"This page cannot be shown just now", "It cannot be found out where you are signed in. Try again in a moment.", PagePath, "Try again"}
	looks := true
	if r.Method == http.MethodPost {
		p.Title, p.Text, p.Link = "This may not have worked", "What you wanted to sign out may still be signed in. Try again in a moment.", "Go on"
		looks = form(w, r)
		if looks {
			p.Path, looks = ReturnPath(r.FormValue("return"))
		}
	}
	status, retryAfter := counterfoil.Status(err)
	if status != http.StatusServiceUnavailable || !looks {
		Refuse(w, r, err)
		return
	}
	if retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	}
	p.show(w, status)
}

// then does what a POST asks for and sends the browser back, or answers 204. A target that is not of this host is refused before. Who is not signed in, and wants to be
// sent somewhere, is told so by the page: it is somebody who looks at it.
func (e *endpoints) then(do func(*http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !form(w, r) {
			badRequest(w)
			return
		}
		_, returns := r.Form["return"]
		path, ok := ReturnPath(r.FormValue("return"))
		if returns && !ok {
			badRequest(w)
			return
		}
		err := do(r)
		switch {
		case err == errBadHandle:
			badRequest(w)
		case returns && unauthorized(err):
			e.show(w, r, PageData{Refused: true}, path)
		case err != nil:
			refusePeople(w, r, err)
		case answering(r).weak.Load() && returns:
			word{"Signed out", notDurable, path, "Go on"}.show(w, http.StatusAccepted)
		case answering(r).weak.Load():
			Accepted(w)
		case returns:
			redirect(w, path)
		default:
			w.Header().Set("Cache-Control", "no-store")
			w.WriteHeader(http.StatusNoContent)
		}
	})
}

func unauthorized(err error) bool {
	status, _ := counterfoil.Status(err)
	return status == http.StatusUnauthorized
}
