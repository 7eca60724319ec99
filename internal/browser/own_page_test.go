package browser_test

import (
	"html/template"
	"net/http"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/internal/rig"
)

// least has what the documentation of httpadapter.PageData says that the script looks for, and nothing else.
var least = template.Must(template.New("").Parse(`<!DOCTYPE html><title>Least</title><link rel="icon" href="data:,"><script src="{{.Script}}" defer></script>
<body data-events="{{if .SignedIn}}{{.Events}}{{end}}">
{{if .SignedIn}}<p class="who">{{.Subject}}</p><h1>Where you are signed in</h1><p id="news" aria-live="polite"></p>
<div id="sessions">
{{range .Others}}<article data-handle="{{.Handle}}"><h3>{{.Label}}</h3>
<form method="post" action="{{$.End}}" data-live><input type="hidden" name="return" value="{{$.Path}}"><input type="hidden" name="handle" value="{{.Handle}}">
<button>End</button></form></article>
{{else}}You are signed in nowhere else.{{end}}
</div>
<div id="past" hidden><ul></ul></div>
{{else}}You are not signed in.{{end}}`))

// TestPageOfOnesOwn: the script does all it does for a page of the application's own that has no more than it must.
func TestPageOfOnesOwn(t *testing.T) {
	browser := chromium(t)
	r := rig.New(t, rig.Embedded)
	r.Fresh(t)
	at := onHTTP(t, r.Manager, func(next http.Handler) http.Handler {
		endpoints, err := httpadapter.Endpoints(r.Manager, httpadapter.EndpointsConfig{Page: least})
		if err != nil {
			t.Fatal(err)
		}
		return endpoints(next)
	})
	laptop, phone := device(t, browser), device(t, browser)
	laptop.signIn(at, "alice&device=laptop")
	phone.signIn(at, "alice&device=phone")
	laptop.until("the phone is listed", laptop.shows("phone"))
	_ = eval[bool](laptop, "window.stayed = true")
	laptop.listen()
	laptop.click("article[data-handle] button")
	laptop.until("its end is told", laptop.hears("phone was signed out."))
	laptop.until("who confirmed it is told", laptop.hears("phone: signed out; every server has known since")+" && "+laptop.shows("every server has known since"))
	laptop.until("the list is empty", laptop.shows("nowhere else"))
	if !eval[bool](laptop, "window.stayed === true && !past.hidden") {
		t.Error("the page was left, or what is past is hidden")
	}
	phone.until("the phone is signed out", phone.shows("You are not signed in"))
	if _, err := r.Login(t.Context(), nil, "alice", counterfoil.LoginOptions{Device: "tablet"}); err != nil {
		t.Fatal(err)
	}
	laptop.until("the tablet is told", laptop.hears("tablet was signed in."))
}
