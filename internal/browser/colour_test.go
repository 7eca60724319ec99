package browser_test

import (
	"testing"

	"github.com/chromedp/cdproto/emulation"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/rig"
)

// prefers has the tab's user prefer "light" or "dark" pages.
func (b *tab) prefers(scheme string) {
	b.t.Helper()
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
}

// texts are all texts that are shown, each with its contrast to what is behind it, which is 21 at most (WCAG 2.2, "contrast ratio").
const texts = `(() => {
	const parts = (colour) => {
		const [r, g, b, a = 1] = colour.match(/^rgba?\((.*)\)$/)[1].split(/, | \/ /).map(Number);
		if (a !== 0 && a !== 1) throw new Error(colour + " is not opaque");
		return { a, luminance: [r, g, b].map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4).reduce((l, c, i) => l + c * [0.2126, 0.7152, 0.0722][i], 0) };
	};
	const behind = (e) => {
		const { a, luminance } = parts(getComputedStyle(e).backgroundColor);
		return a ? luminance : behind(e.parentElement);
	};
	return [...document.body.querySelectorAll("*")]
		.filter((e) => e.checkVisibility() && [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.data.trim()))
		.map((e) => {
			const [low, high] = [parts(getComputedStyle(e).color).luminance, behind(e)].sort((a, b) => a - b);
			return { kind: e.localName, text: e.textContent.trim(), contrast: (high + 0.05) / (low + 0.05) };
		});
})()`

// TestLightAndDark: the page follows what its reader prefers, and every text on it can be read: contrast as WCAG 2.2 demands it (1.4.3, level AA).
func TestLightAndDark(t *testing.T) {
	browser := chromium(t)
	r := rig.New(t, rig.Embedded)
	r.Fresh(t)
	at := onHTTP(t, r.Manager)
	ground := map[string]string{}
	for _, scheme := range []string{"light", "dark"} {
		b := device(t, browser)
		b.prefers(scheme)
		readable := func(page string, kinds ...string) {
			t.Helper()
			seen := map[string]bool{}
			for _, text := range eval[[]struct {
				Kind, Text string
				Contrast   float64
			}](b, texts) {
				seen[text.Kind] = true
				if text.Contrast < 4.5 {
					t.Errorf("%s, %s: the contrast of %s %q is %.1f", scheme, page, text.Kind, text.Text, text.Contrast)
				}
			}
			for _, kind := range kinds {
				if !seen[kind] {
					t.Errorf("%s, %s: there is no %s", scheme, page, kind)
				}
			}
		}
		for _, name := range []string{"tablet", "phone"} {
			if _, err := r.Login(t.Context(), nil, "alice", counterfoil.LoginOptions{Device: name}); err != nil {
				t.Fatal(err)
			}
		}
		b.signIn(at, "alice")
		ground[scheme] = eval[string](b, "getComputedStyle(document.body).backgroundColor")
		b.click("article[data-handle] button")
		b.until("its end is told", b.shows("every server has known since"))
		b.until("the list is shorter", "document.querySelectorAll('article[data-handle]').length === 1")
		readable("devices", "p", "h1", "h2", "bdi", "dt", "time", "button", "a", "li")
		b.click(".all form:last-child button")
		b.until("it is signed out", b.shows("You are not signed in"))
		b.until("the page is whole", "document.readyState === 'complete'")
		readable("signed out", "p", "h1", "a")
	}
	if ground["light"] == ground["dark"] {
		t.Errorf("light and dark are one: %s", ground["light"])
	}
}
