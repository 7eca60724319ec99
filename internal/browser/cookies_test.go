package browser_test

import (
	"net/http"
	"testing"

	"github.com/chromedp/cdproto/network"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/rig"
)

// cookies returns those that the browser would send to a URL.
func (b *tab) cookies(url string) []*network.Cookie {
	b.t.Helper()
	return call(b, network.GetCookies, network.GetCookiesParams{URLs: []string{url}}).Cookies
}

func TestCookies(t *testing.T) {
	browser := chromium(t)
	for name, serve := range adapters {
		t.Run(name, func(t *testing.T) {
			r := rig.New(t, rig.Embedded)
			r.Fresh(t)
			at := serve(t, r.Manager)
			b := device(t, browser)
			b.signIn(at, "alice")
			if got := eval[string](b, "document.cookie"); got != "" {
				t.Error("a script sees cookies")
			}
			// A script, as of a page that was broken into, plants twins. The browser refuses them, because of the names.
			for _, twin := range []string{"; path=/; secure", "; path=/session; secure", "; path=/"} {
				_ = eval[string](b, "document.cookie = '__Host-Http-session=planted"+twin+"'")
			}
			if got := eval[string](b, "fetch('/me').then((r) => r.text())"); got != "alice" {
				t.Errorf("after planting the service says %q", got)
			}
			if got := b.cookies(at); len(got) != 2 {
				t.Errorf("%d cookies, want 2", len(got))
			}
			for _, c := range b.cookies(at) {
				if !c.HTTPOnly || !c.Secure || c.Path != "/" || !c.Session || c.SameSite != network.CookieSameSiteLax {
					t.Errorf("cookie %s: %+v", c.Name, c)
				}
			}
			b.click("#this ~ article button")
			b.until("it is signed out", b.shows("You are not signed in"))
			if got := b.cookies(at); len(got) != 0 {
				t.Errorf("%d cookies after the logout", len(got))
			}
			_ = eval[bool](b, "window.leaving = true; setTimeout(() => history.back(), 10); true")
			b.until("the page before is there", "!window.leaving && document.readyState === 'complete' && document.body.innerText !== ''")
			if eval[bool](b, b.shows("alice")) {
				t.Error("the back button shows what was private")
			}
			if got := eval[int](b, "fetch('/me').then((r) => r.status)"); got != http.StatusUnauthorized {
				t.Errorf("after the logout the service says %d", got)
			}
		})
	}
}

// TestPlantedTwins: without the prefix the browser takes the twins of another user that a script plants, for a path of their own, and sends them first. There is
// no telling which of two is meant, so the request is neither user's.
func TestPlantedTwins(t *testing.T) {
	browser := chromium(t)
	for name, serve := range adapters {
		t.Run(name, func(t *testing.T) {
			r := rig.New(t, rig.Embedded, func(c *counterfoil.Config) { c.InsecurePlainCookies = true })
			r.Fresh(t)
			at := serve(t, r.Manager)
			mallory, err := r.Login(t.Context(), nil, "mallory", counterfoil.LoginOptions{})
			if err != nil {
				t.Fatal(err)
			}
			issued, _ := mallory.Issued()
			b := device(t, browser)
			b.signIn(at, "alice")
			me := func() string {
				return eval[string](b, "fetch('/me').then(async (r) => r.status + ' ' + await r.text())")
			}
			if got := me(); got != "200 alice" {
				t.Errorf("before planting the service says %q", got)
			}
			for name, value := range map[string]string{"session": issued.Access.Reveal(), "refresh": issued.Refresh.Reveal()} {
				_ = eval[string](b, "document.cookie = '"+name+"="+value+"; path=/me'")
			}
			// A page's cookies reach the jar a moment after they are set.
			rig.Poll(t, "the jar has two cookies and their twins", func() bool { return len(b.cookies(at+"/me")) == 4 })
			if got := eval[int](b, "fetch('/me').then((r) => r.status)"); got != http.StatusUnauthorized {
				t.Errorf("beside their twins the cookies are answered with %d: %s", got, me())
			}
			if list, err := r.Sessions(t.Context(), "alice"); err != nil || len(list) != 1 {
				t.Errorf("alice has %d sessions: %v", len(list), err)
			}
			for _, name := range []string{"session", "refresh"} {
				_ = eval[string](b, "document.cookie = '"+name+"=; path=/me; max-age=0'")
			}
			rig.Poll(t, "the twins are gone", func() bool { return len(b.cookies(at+"/me")) == 2 })
			if got := me(); got != "200 alice" {
				t.Errorf("without the twins the service says %q", got)
			}
		})
	}
}
