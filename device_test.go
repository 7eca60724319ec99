package counterfoil_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/rig"
	"github.com/counterfoil/counterfoil/revocation"
)

const firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"

// TestLabelsAreText: a label is what it looks like, and leaves the text around it alone.
func TestLabelsAreText(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	for label, want := range map[string]string{
		"\u202egnirts/1.0": "gnirts/1.0", // right-to-left override
		"a\u202ab\u202bc\u202cd\u202de\u2066f\u2067g\u2068h\u2069i\u200ej\u200fk\u061cl": "abcdefghijkl",
		"soft\u00adhyphen, zero\u200bwidth, \ufeffmark, tag\U000e0041":                   "softhyphen, zerowidth, mark, tag",
		"two\u2028lines\u2029 more":      "twolines more",
		"\x00\x1b[31mred\x7f\u0085":      "[31mred",
		"\xff\xfebytes":                  "bytes",
		"\u202e\u2066":                   "",
		"Laptop von Jürgen – نهاد، 日本 💻": "Laptop von Jürgen – نهاد، 日本 💻",
	} {
		for how, opt := range map[string]counterfoil.LoginOptions{"its own": {Device: label}, "the browser's": {UserAgent: label}} {
			s := must[*counterfoil.Session](t)(r.Login(t.Context(), nil, "alice", opt))
			list, err := r.Devices(t.Context(), s)
			if err != nil || len(list) != 1 {
				t.Fatalf("%v, %v", list, err)
			}
			got := list[0].Label
			if how == "its own" && got != want || strings.ContainsFunc(got, func(r rune) bool { return unicode.In(r, unicode.C, unicode.Zl, unicode.Zp, unicode.Bidi_Control) }) {
				t.Errorf("%q as %s label becomes %q, want %q", label, how, got, want)
			}
			if err := r.End(t.Context(), s.ID()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestTheDeadSeeAndEndNobody: a session whose record is gone is nobody's, also where the news has not arrived and its token still passes.
func TestTheDeadSeeAndEndNobody(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded)
	ctx := t.Context()
	v, tokens := login(t, r, "alice")
	w, _ := login(t, r, "alice")
	handle := ""
	for _, d := range must[[]counterfoil.Device](t)(r.Devices(ctx, r.Open(v))) {
		if !d.Current {
			handle = d.Handle
		}
	}
	if _, err := r.Config.Store.End(ctx, counterfoil.Ending{Session: v.Session()}); err != nil { // and nobody announces it
		t.Fatal(err)
	}
	if _, err := r.Devices(ctx, r.Open(v)); !errors.Is(err, counterfoil.ErrNotFound) {
		t.Errorf("the list: %v", err)
	}
	if err := r.EndOthers(ctx, r.Open(v)); !errors.Is(err, counterfoil.ErrNotFound) {
		t.Errorf("ending the others: %v", err)
	}
	x, err := r.Begin(ctx, counterfoil.Request{Method: "POST", Cookie: []string{accessCookie + "=" + tokens.Access.Reveal()}})
	if err != nil {
		t.Fatal(err)
	}
	if err := x.EndDevice(ctx, handle); !errors.Is(err, counterfoil.ErrNotFound) {
		t.Errorf("ending the other by its handle: %v", err)
	}
	if _, _, err := name.Get(ctx, r.Open(w)); err != nil {
		t.Errorf("the other one: %v", err)
	}
}

func TestDevices(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded, func(c *counterfoil.Config) {
		c.Locate = func(a netip.Addr) string {
			if a.Is4() {
				return "Vienna\x1f\x00, Austria"
			}
			return ""
		}
	})
	ctx := t.Context()
	var tokens []counterfoil.Tokens
	for _, opt := range []counterfoil.LoginOptions{
		{UserAgent: firefox, Address: "203.0.113.77:50123"},
		{UserAgent: strings.Repeat("Evil\x00\x1b[31m", 10_000), Address: "[2001:db8:1:2:3:4:5:6]:443"},
		{Device: "my\x1fphone\n" + strings.Repeat("é", 200), UserAgent: firefox, Address: "::ffff:198.51.100.9", Remember: true},
		{Address: "no address"},
	} {
		s := must[*counterfoil.Session](t)(r.Login(ctx, nil, "alice", opt))
		issued, _ := s.Issued()
		tokens = append(tokens, issued)
		r.Advance(time.Second)
	}
	login(t, r, "bob")
	this := r.Open(r.Verify(t, tokens[0].Access))
	list, err := r.Devices(ctx, this)
	if err != nil || len(list) != 4 {
		t.Fatalf("%+v, %v", list, err)
	}
	if d := list[0]; d.Label != "Firefox on Linux" || d.Address != "203.0.113.0/24" || d.Location != "Vienna, Austria" || !d.Current || d.Persistent {
		t.Errorf("%+v", d)
	}
	if d := list[1]; strings.ContainsAny(d.Label, "\x00\x1b") || len(d.Label) > 96 || d.Address != "2001:db8:1::/48" || d.Current {
		t.Errorf("%+v", d)
	}
	if d := list[2]; !strings.HasPrefix(d.Label, "myphoneé") || len(d.Label) > 96 || d.Address != "198.51.100.0/24" || !d.Persistent {
		t.Errorf("%+v", d)
	}
	if d := list[3]; d.Label != "" || d.Address != "" || d.LoggedIn.IsZero() || d.Expires.Sub(d.LoggedIn) != 12*time.Hour {
		t.Errorf("%+v", d)
	}

	// Seen when renewed.
	r.Advance(20 * time.Second)
	if _, _, err := r.Refresh(ctx, tokens[1].Refresh.Reveal(), r.Verify(t, tokens[1].Access)); err != nil {
		t.Fatal(err)
	}
	if again, _ := r.Devices(ctx, this); !again[1].LastSeen.After(list[1].LastSeen) || again[1].Handle != list[1].Handle {
		t.Errorf("last seen %v, then %v", list[1].LastSeen, again[1].LastSeen)
	}

	// A handle is nothing but a name, and to nobody else.
	_, bobs := login(t, r, "bob")
	bob := r.Open(r.Verify(t, bobs.Access))
	for i, d := range list {
		if strings.Contains(d.Handle, r.Verify(t, tokens[i].Access).Session().String()) {
			t.Error("a handle shows the ID")
		}
		if err := r.EndDevice(ctx, bob, d.Handle); !errors.Is(err, counterfoil.ErrNotFound) {
			t.Errorf("bob ends a device of alice: %v, want ErrNotFound", err)
		}
		if err := r.EndDevice(ctx, r.Anonymous(), d.Handle); !errors.Is(err, counterfoil.ErrNotFound) {
			t.Errorf("nobody ends a device of alice: %v, want ErrNotFound", err)
		}
	}
	for _, bad := range []string{"", "x", list[1].Handle + "A", list[1].Handle[1:], strings.Repeat("A", 1<<16), this.ID().String()} {
		if err := r.EndDevice(ctx, this, bad); !errors.Is(err, counterfoil.ErrNotFound) {
			t.Errorf("handle of %d characters: %v, want ErrNotFound", len(bad), err)
		}
	}
	for range 2 { // idempotent
		if err := r.EndDevice(ctx, this, list[1].Handle); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Guard().Check(ctx, tokens[1].Access.Reveal()); !errors.Is(err, revocation.ErrRevoked) {
		t.Errorf("the ended device: %v, want ErrRevoked", err)
	}
	if left, _ := r.Devices(ctx, this); len(left) != 3 {
		t.Errorf("%d devices left", len(left))
	}
	// Ending the own one is a logout.
	lines, _ := setCookies(t, r, counterfoil.Request{Cookie: []string{cookies(tokens[0])}}, func(x *counterfoil.Exchange) error {
		return x.EndDevice(ctx, list[0].Handle)
	})
	if len(lines) != 2 || !strings.Contains(lines[0], "Max-Age=0") {
		t.Errorf("ending the own device sets %q", lines)
	}
}

func TestCapEndsTheLongestUnused(t *testing.T) {
	t.Parallel()
	r := rig.New(t, rig.Embedded, func(c *counterfoil.Config) { c.MaxSessions = 3 })
	ctx := t.Context()
	var all []counterfoil.Tokens
	for range 3 {
		_, tokens := login(t, r, "alice")
		all = append(all, tokens)
		r.Advance(11 * time.Second)
	}
	if _, _, err := r.Refresh(ctx, all[0].Refresh.Reveal(), r.Verify(t, all[0].Access)); err != nil { // the oldest, but used
		t.Fatal(err)
	}
	login(t, r, "alice")
	for i, want := range []error{nil, revocation.ErrRevoked, nil} {
		if _, err := r.Guard().Check(ctx, all[i].Access.Reveal()); !errors.Is(err, want) {
			t.Errorf("session %d: %v, want %v", i, err, want)
		}
	}
}
