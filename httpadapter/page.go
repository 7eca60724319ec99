package httpadapter

import (
	"bytes"
	_ "embed"
	"errors"
	"html/template"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	text "text/template"
	"time"

	"github.com/counterfoil/counterfoil"
)

var (
	//go:embed page/devices.html
	html string
	//go:embed page/devices.css
	style []byte
	//go:embed page/devices.js
	script []byte

	defaultPage = template.Must(template.New("devices").Funcs(PageFuncs).Parse(html))
)

// PageFuncs are the functions that the page's template uses besides those of html/template. A template of your own needs them only
// if it calls them: template.New("page").Funcs(httpadapter.PageFuncs).
var PageFuncs = template.FuncMap{
	// when writes a time for readers without JavaScript; the script puts it into the reader's own zone and words.
	"when": func(t time.Time) string { return t.UTC().Format("2 Jan 2006, 15:04 UTC") },
	// iso writes a time for the datetime attribute.
	"iso": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	// near writes the network of [Device] for people: "an address that begins with 203.0.113".
	"near": near,
}

func near(network string) string {
	p, err := netip.ParsePrefix(network)
	if err != nil {
		return network
	}
	a := p.Addr()
	if a.IsLoopback() || a == netip.IPv6Unspecified() { // "::/48" is where ::1 is
		return "the service's own computer"
	}
	begin := a.String()
	if p.Bits()%8 == 0 && a.Is4() {
		begin = strings.Join(strings.Split(begin, ".")[:p.Bits()/8], ".")
	}
	return "an address that begins with " + strings.TrimRight(begin, ":")
}

// PageData is what the template of the page "Where you are signed in" is executed with. The page works without a script. That at Script changes it while
// it is open, and needs:
//
//	<body data-events>            Events; empty if nobody is SignedIn
//	.who                          says who is signed in, so that the list of somebody else does not take this one's place
//	#sessions                     the list: what is replaced when it changes
//	<article data-handle>         in it: one of Others, with its Handle, and its Label in an <h3>
//	<form data-live>              in it: one to End or EndOthers, sent without leaving the page
//	#news                         where it is told what happens
//	#past                         hidden, until in the <ul> in it there is something: what has ended since the page was opened, and when all servers knew
type PageData struct {
	SignedIn bool
	Refused  bool // somebody who is not signed in wanted to end something: nothing has been ended
	Subject  string
	This     Device   // the session that looks on
	Others   []Device // those seen last come first
	Login    string   // where to log in, with the parameter "return" for the way back; "" = nowhere known
	Home     string   // the application's own page

	Path, End, EndOthers, Logout, LogoutEverywhere, Style, Script, Events string // paths
}

// page shows the sessions of the subject. Reading and ending work without a script; with one the list changes by itself.
func (e *endpoints) page(w http.ResponseWriter, r *http.Request) {
	s := Session(r)
	list, err := e.devices(r.Context(), s)
	switch {
	case errors.Is(err, counterfoil.ErrNotFound):
		e.show(w, r, PageData{}, PagePath)
	case err != nil:
		refusePeople(w, r, err)
	default:
		e.show(w, r, PageData{SignedIn: true, Subject: s.Subject(), This: list[0], Others: list[1:]}, PagePath)
	}
}

// execute writes the page with what does not depend on who asks. The way to the login leads to another path of this host afterwards.
func (e *endpoints) execute(w io.Writer, page *template.Template, data PageData, then string) error {
	data.Login = e.loginFor(then)
	data.Home = e.home
	data.Path, data.End, data.EndOthers, data.Logout, data.LogoutEverywhere = PagePath, EndPath, EndOthersPath, LogoutPath, LogoutEverywherePath
	data.Style, data.Script, data.Events = pageStylePath, pageScriptPath, EventsPath
	return page.Execute(w, data)
}

// try executes a page of the application's own, for nobody and for somebody, since at a request nobody would be told why it fails. What a function
// of the application says of this somebody, whom it does not know, is no reason to refuse the page.
func (e *endpoints) try() error {
	page, err := e.template.Clone() // lest nothing can be added to it any more
	if err != nil {
		page = e.template // it was executed before
	}
	one := Device{Handle: "handle", Label: "Firefox on Linux", Address: "203.0.113.0/24", Since: e.now(), Seen: e.now(), Expires: e.now()}
	for _, data := range []PageData{{}, {SignedIn: true, Subject: "alice", This: one, Others: []Device{one}}} {
		err := e.execute(io.Discard, page, data, PagePath)
		var failed text.ExecError
		if err != nil && !(errors.As(err, &failed) && errors.Unwrap(failed.Err) != nil) {
			return err
		}
	}
	return nil
}

// show answers with the page. For nobody its status is 401.
func (e *endpoints) show(w http.ResponseWriter, r *http.Request, data PageData, then string) {
	var b bytes.Buffer
	if err := e.execute(&b, e.template, data, then); err != nil {
		Refuse(w, r, err)
		return
	}
	h := w.Header()
	dress(h)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "text/html; charset=utf-8")
	status := http.StatusOK
	if !data.SignedIn {
		status = http.StatusUnauthorized
		h.Set("WWW-Authenticate", "Bearer")
	}
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

// dress tells browsers that the page is made of what this host serves and of nothing else.
func dress(h http.Header) {
	h.Set("Content-Security-Policy",
		"default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
}

func asset(contentType string, content []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", contentType)
		h.Set("Content-Length", strconv.Itoa(len(content)))
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "public, max-age=300")
		_, _ = w.Write(content)
	}
}
