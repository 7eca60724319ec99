package browser_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/rig"
	"github.com/counterfoil/counterfoil/token"
)

// narrow makes a tab as narrow as a phone is.
func (b *tab) narrow() {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(360, 740, chromedp.EmulateMobile))
}

// tooWide says whether the page needs more room than the window has. Not innerWidth: a phone zooms out until all of the page is in it, and Chromium widens
// innerWidth with that.
func (b *tab) tooWide() bool {
	b.t.Helper()
	return eval[bool](b, "document.documentElement.scrollWidth > document.documentElement.clientWidth")
}

// fits checks that a page needs no more room than a phone has.
func (b *tab) fits(what string) {
	b.t.Helper()
	b.until("the page is whole, with its style", "document.readyState === 'complete'")
	if b.tooWide() {
		b.t.Errorf("%s is wider than the phone", what)
	}
}

// TestTooWideIsSeen: the other tests say that pages fit on a phone, which is worth something only if one that does not is seen.
func TestTooWideIsSeen(t *testing.T) {
	b := device(t, chromium(t))
	b.narrow()
	for width, want := range map[int]bool{360: false, 361: true, 1000: true} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `<!DOCTYPE html><meta name="viewport" content="width=device-width"><link rel="icon" href="data:,"><body style="margin: 0"><div style="width: %dpx">box</div>`, width)
		}))
		t.Cleanup(srv.Close)
		b.do(chromedp.Navigate(srv.URL))
		if got := b.tooWide(); got != want {
			t.Errorf("a box of %d pixels is too wide for 360: %t, want %t", width, got, want)
		}
	}
}

// TestLongestContent shows, as wide as phones are and as wide as a screen, the longest subject, labels and places there can be. None has to have a space.
func TestLongestContent(t *testing.T) {
	browser := chromium(t)
	subject, label, place := strings.Repeat("W", token.MaxSubjectLen), strings.Repeat("W", 96), strings.Repeat("W", 64)
	for _, width := range []int64{320, 360, 1000} {
		t.Run(fmt.Sprint(width), func(t *testing.T) {
			r := rig.New(t, rig.Embedded, func(c *counterfoil.Config) { c.Locate = func(netip.Addr) string { return place } })
			r.Fresh(t)
			at := onHTTP(t, r.Manager)
			other := func() {
				if _, err := r.Login(t.Context(), nil, subject, counterfoil.LoginOptions{Device: label, Address: "203.0.113.7"}); err != nil {
					t.Fatal(err)
				}
			}
			other()
			b := device(t, browser)
			b.do(chromedp.EmulateViewport(width, 740, chromedp.EmulateMobile))
			b.signIn(at, subject+"&device="+label+"&from=203.0.113.7")
			for _, s := range []string{subject, label, place} {
				b.until("all of it is there", b.shows(s))
			}
			b.fits("the page of devices")
			b.click("article[data-handle] button")
			b.until("the end is told", b.shows(label+" was signed out"))
			b.fits("the page on which an end is told")
			b.until("who confirmed it is told", b.shows("every server has known since"))
			b.fits("the page on which that is confirmed")
			other()
			b.until("the other one is listed", "document.querySelector('article[data-handle]') !== null")
			r.Faults.On(rig.NotDurable("End"))
			_ = eval[bool](b, "document.querySelector('article[data-handle] form').submit(), true") // as without a script
			b.until("it is said that this is not yet certain", b.shows("not yet certain"))
			b.fits("the page of something that is not yet certain")
		})
	}
}
