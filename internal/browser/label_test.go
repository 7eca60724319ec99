package browser_test

import (
	"net/url"
	"testing"

	"github.com/counterfoil/counterfoil/internal/rig"
)

// TestHostileLabel has a device whose label is a script appear on the page of another and be ended there. Whatever the page does with a label while it changes
// by itself, it is shown as text.
func TestHostileLabel(t *testing.T) {
	const label = "<img src=/stolen onerror=alert(1)>"
	browser := chromium(t)
	for name, serve := range adapters {
		t.Run(name, func(t *testing.T) {
			r := rig.New(t, rig.Embedded)
			r.Fresh(t)
			at := serve(t, r.Manager)
			laptop, stranger := device(t, browser), device(t, browser)
			laptop.signIn(at, "alice")
			laptop.until("the stream is there", "listening.then(() => { window.listens = true }), window.listens === true")
			laptop.listen()
			_ = eval[bool](laptop, `window.ran = [], window.alert = () => ran.push("a dialog"),
				addEventListener("securitypolicyviolation", (e) => ran.push(e.violatedDirective + " is violated")), true`)
			stranger.signIn(at, "alice&device="+url.QueryEscape(label))
			stranger.until("it is shown on its own page", stranger.shows(label))
			laptop.until("it is told", laptop.hears(label+" was signed in."))
			laptop.until("it is listed", laptop.shows(label))
			laptop.click("article[data-handle] button")
			laptop.until("its end is told", laptop.hears(label+" was signed out."))
			laptop.until("who confirmed it is told", laptop.shows(label+": signed out; every server has known since"))
			laptop.until("that is told to those who do not see it", laptop.hears(label+": signed out; every server has known since"))
			laptop.until("the list is empty", laptop.shows("nowhere else"))
			if got := eval[string](laptop, `ran.concat(performance.getEntriesByType("resource").map((e) => e.name).filter((n) => n.includes("stolen"))).join(", ")`); got != "" {
				t.Errorf("of the label ran: %s", got)
			}
		})
	}
}
