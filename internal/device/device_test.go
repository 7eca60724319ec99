package device_test

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/device"
	"github.com/counterfoil/counterfoil/token"
)

func TestNote(t *testing.T) {
	const firefox = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0"
	here := func(netip.Addr) string { return "Vienna\x1f\n, Austria" }
	for _, tt := range []struct {
		name string
		note device.Note
		want device.Note
	}{
		{"nothing", device.NewNote(false, "", "", "", nil), device.Note{}},
		{"a browser", device.NewNote(true, "", firefox, "203.0.113.77:1", nil),
			device.Note{Persistent: true, Label: "Firefox on Windows", Address: "203.0.113.0/24"}},
		{"a label", device.NewNote(false, "my\x1fphone", firefox, "[2001:db8:1:2::3]:443", here),
			device.Note{Label: "myphone", Address: "2001:db8:1::/48", Location: "Vienna, Austria"}},
		{"no address", device.NewNote(false, "x", "", "somewhere", here), device.Note{Label: "x"}},
		{"the address of nobody", device.NewNote(false, "x", "", "0.0.0.0", here), device.Note{Label: "x"}},
		{"this machine", device.NewNote(false, "x", "", "[::1]:443", nil), device.Note{Label: "x", Address: "::/48"}},
		{"a long label", device.NewNote(false, strings.Repeat("é", 200), "", "", nil), device.Note{Label: strings.Repeat("é", 48)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := device.ParseNote(tt.note.String()); got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
	if got := device.ParseNote("as\x1fit was"); got != (device.Note{Label: "asit was"}) {
		t.Errorf("what is no note: %+v", got)
	}
}

func TestHandles(t *testing.T) {
	secret := func(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }
	made := func(secrets ...[]byte) *device.Handles {
		t.Helper()
		h, err := device.NewHandles(secrets, "https://issuer.test", "app")
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	id := token.MustParseSessionID("abc" + strings.Repeat("A", 22))
	old := made(secret(1))
	handle := old.Seal(id, "alice")
	if handle != old.Seal(id, "alice") || handle == old.Seal(id, "bob") || strings.Contains(handle, id.String()) {
		t.Error("a handle is not one for each session and subject, or tells which")
	}
	for _, tt := range []struct {
		name    string
		handles *device.Handles
		handle  string
		subject string
		ok      bool
	}{
		{"its own", old, handle, "alice", true},
		{"after a rotation", made(secret(2), secret(1)), handle, "alice", true},
		{"with another secret", made(secret(2)), handle, "alice", false},
		{"of somebody else", old, handle, "bob", false},
		{"of nobody", old, handle, "", false},
		{"altered", old, "A" + handle[1:], "alice", handle[0] == 'A'},
		{"too long", old, handle + strings.Repeat("A", 128), "alice", false},
		{"not base64", old, "?", "alice", false},
		{"empty", old, "", "alice", false},
	} {
		got, ok := tt.handles.Open(tt.handle, tt.subject)
		if ok != tt.ok || ok && got != id {
			t.Errorf("%s: %v, %v", tt.name, got, ok)
		}
	}
}
