package browser_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/chromedp"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/rig"
)

// TestKeyboard reaches every button with the Tab key and presses one with Enter; a screen reader finds names and landmarks.
func TestKeyboard(t *testing.T) {
	browser := chromium(t)
	for name, serve := range adapters {
		t.Run(name, func(t *testing.T) {
			r := rig.New(t, rig.Embedded)
			r.Fresh(t)
			at := serve(t, r.Manager)
			if _, err := r.Login(t.Context(), nil, "alice", counterfoil.LoginOptions{Device: "Phone"}); err != nil {
				t.Fatal(err)
			}
			b := device(t, browser)
			b.signIn(at, "alice")
			const described = "document.getElementById(document.querySelector('article[data-handle] button').getAttribute('aria-describedby'))?.innerText || ''"
			if got := eval[string](b, described); !strings.Contains(got, "Last seen") {
				t.Errorf("the button, which may be one of several with that name, is described as %q", got)
			}
			for _, want := range []string{"Back", "Sign out here", "Sign out Phone", "Sign out everywhere else", "Sign out everywhere, here too"} {
				b.do(chromedp.KeyEvent("\t"))
				if got := eval[string](b, "document.activeElement.ariaLabel || document.activeElement.innerText"); got != want {
					t.Errorf("the focus is on %q, want %q", got, want)
				}
			}
			if eval[bool](b, "!document.documentElement.lang || !document.title || document.querySelectorAll('main,h1').length !== 2 || !document.querySelector('[aria-live]')") {
				t.Error("language, title, main, h1 or live region is missing")
			}
			_ = eval[bool](b, "document.querySelector('.all button').focus(), true")
			b.do(chromedp.KeyEvent("\r"))
			b.until("the others are gone", b.shows("nowhere else"))
		})
	}
}

// given returns what the browser gives a screen reader, in its order: role and name of all that has one of these roles, and of a live region how urgent it is.
func (b *tab) given(roles ...string) []string {
	b.t.Helper()
	tree := call(b, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	if len(tree.Nodes) == 0 {
		b.t.Fatal("there is nothing")
	}
	text := func(v *accessibility.Value) (s string) {
		if v != nil {
			_ = json.Unmarshal([]byte(v.Value), &s)
		}
		return s
	}
	nodes := map[accessibility.NodeID]*accessibility.Node{}
	for _, n := range tree.Nodes {
		nodes[n.NodeID] = n
	}
	var given []string
	var walk func(*accessibility.Node)
	walk = func(n *accessibility.Node) {
		if role := text(n.Role); !n.Ignored && slices.Contains(roles, role) {
			words := []string{role, text(n.Name)}
			for _, p := range n.Properties {
				if p.Name == "live" {
					words = append(words, text(p.Value))
				}
			}
			given = append(given, strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " "))
		}
		for _, id := range n.ChildIDs {
			if child := nodes[id]; child != nil {
				walk(child)
			}
		}
	}
	walk(tree.Nodes[0])
	return given
}

// TestScreenReader: whoever does not see the page finds its parts, knows of each button which device it ends, and finds the place where things are told before
// there is anything to tell: of a live region that comes with its text not every screen reader speaks (WCAG 2.2, technique ARIA22).
func TestScreenReader(t *testing.T) {
	browser := chromium(t)
	r := rig.New(t, rig.Embedded)
	r.Fresh(t)
	at := onHTTP(t, r.Manager)
	b := device(t, browser)
	b.signIn(at, "alice&device=Firefox on Linux")
	for _, label := range []string{"Safari on iPhone", ""} {
		if _, err := r.Login(t.Context(), nil, "alice", counterfoil.LoginOptions{Device: label}); err != nil {
			t.Fatal(err)
		}
		r.Advance(time.Second) // who was seen last comes first
	}
	b.do(chromedp.Reload())
	b.until("both others are listed", "document.readyState === 'complete' && document.querySelectorAll('article[data-handle]').length === 2")
	want := []string{
		"RootWebArea Where you are signed in", "main", "heading Where you are signed in",
		"status polite",
		"region This device", "heading This device", "heading Firefox on Linux", "button Sign out here",
		"region Other devices", "heading Other devices", "list",
		"listitem", "heading Unknown device", "button Sign out unknown device",
		"listitem", "heading Safari on iPhone", "button Sign out Safari on iPhone",
		"button Sign out everywhere else", "button Sign out everywhere, here too",
	}
	if got := b.given("RootWebArea", "main", "heading", "status", "region", "list", "listitem", "button"); !slices.Equal(got, want) {
		t.Errorf("a screen reader is given\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
