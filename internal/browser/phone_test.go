package browser_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/chromedp/chromedp"
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
