package browser_test

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/internal/rig"
)

// TestWhereAndSinceWhen: of each device the page says since when it is signed in, where it was then, if that is known, and when it was last seen, in the reader's
// own zone.
func TestWhereAndSinceWhen(t *testing.T) {
	browser := chromium(t)
	r := rig.New(t, rig.Embedded, func(c *counterfoil.Config) {
		c.Locate = func(a netip.Addr) string {
			if a.Is4() {
				return "Vienna, Austria"
			}
			return ""
		}
	})
	r.Fresh(t)
	at := onHTTP(t, r.Manager)
	if _, err := r.Login(t.Context(), nil, "alice", counterfoil.LoginOptions{Device: "a device of nowhere"}); err != nil {
		t.Fatal(err)
	}
	laptop, phone := device(t, browser), device(t, browser)
	call(laptop, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Asia/Kolkata"})
	phone.signIn(at, "alice&device=phone&from=2001:db8:1::7")
	r.Advance(4 * time.Minute)
	phone.do(chromedp.Navigate(at + httpadapter.PagePath)) // which renews its token, so that it is seen
	laptop.signIn(at, "alice&device=laptop&from=203.0.113.7")

	from := map[string][]string{"laptop": {"From: Vienna, Austria"}, "phone": {"From: an address that begins with 2001:db8:1"}, "a device of nowhere": nil}
	sessions, err := r.Sessions(t.Context(), "alice")
	if err != nil || len(sessions) != len(from) {
		t.Fatalf("%d sessions: %v", len(sessions), err)
	}
	for _, s := range sessions {
		when := func(ms int64) string {
			return time.UnixMilli(ms).In(time.FixedZone("", 5*3600+1800)).Format("Jan 2, 2006, 3:04 PM")
		}
		if s.Device == "phone" && s.Renewed == s.Created {
			t.Error("the phone was not seen, so that both times are one")
		}
		want := slices.Concat([]string{"Signed in: " + when(s.Created)}, from[s.Device], []string{"Last seen: " + when(s.Renewed)})
		got := eval[[]string](laptop, `[...[...document.querySelectorAll("article")].find((a) => a.querySelector("h3").innerText === "`+s.Device+`").querySelectorAll("dl > div")]
			.map((d) => (d.querySelector("dt").innerText + ": " + d.querySelector("dd").innerText).replaceAll("\u202f", " "))`)
		if !slices.Equal(got, want) {
			t.Errorf("of %s the page says %q, want %q", s.Device, got, want)
		}
	}
}

// TestRightToLeft: what is written from right to left is, whatever the rest of the page does. The first character stands to the right of the last one.
func TestRightToLeft(t *testing.T) {
	const subject, label, place = "دينا (Dina", "جهاز Samsung (غرفة)", "حيفا, Haifa (غرفة)"
	browser := chromium(t)
	r := rig.New(t, rig.Embedded, func(c *counterfoil.Config) { c.Locate = func(netip.Addr) string { return place } })
	r.Fresh(t)
	b := device(t, browser)
	b.signIn(onHTTP(t, r.Manager), url.QueryEscape(subject)+"&from=203.0.113.7&device="+url.QueryEscape(label))
	for of, text := range map[string]string{".who bdi": subject, "h3": label, "dd:not(:has(time))": place} {
		if got := eval[string](b, fmt.Sprintf("document.querySelector(%q).textContent", of)); got != text {
			t.Errorf("%s is %q, want %q", of, got, text)
		}
		if !eval[bool](b, fmt.Sprintf(`(() => {
			const text = document.createTreeWalker(document.querySelector(%q), NodeFilter.SHOW_TEXT).nextNode();
			const left = (i) => { const r = new Range(); r.setStart(text, i); r.setEnd(text, i + 1); return r.getBoundingClientRect().left; };
			return left(0) > left(text.length - 1);
		})()`, of)) {
			t.Errorf("%q is shown as if it were of English words", text)
		}
	}
}

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
			laptop.until("the stream is there", streams)
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
