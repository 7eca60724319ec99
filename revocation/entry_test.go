package revocation_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

const someTime = 1_900_000_000_000 // Unix ms

func id(random byte) token.SessionID { return taggedID("abc", random) }

func taggedID(tag string, random byte) token.SessionID {
	id, err := token.NewSessionID(tag, [16]byte{15: random})
	if err != nil {
		panic(err)
	}
	return id
}

func TestEntryRoundTrip(t *testing.T) {
	for name, tc := range map[string]struct {
		entry  revocation.Entry
		length int
	}{
		"session":     {revocation.Entry{Kind: revocation.KindSession, At: someTime, Session: id(7)}, 28},
		"subject":     {revocation.Entry{Kind: revocation.KindSubject, At: someTime, Subject: [16]byte{1}, NotBefore: someTime + 5}, 33},
		"all":         {revocation.Entry{Kind: revocation.KindAll, At: someTime, NotBefore: 1}, 17},
		"key":         {revocation.Entry{Kind: revocation.KindKey, At: someTime, KeyID: "k"}, 10},
		"longest key": {revocation.Entry{Kind: revocation.KindKey, At: 1<<46 - 1, KeyID: strings.Repeat("-", 55)}, 64},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := tc.entry.AppendBinary([]byte("before"))
			if err != nil {
				t.Fatal(err)
			}
			b, ok := bytes.CutPrefix(b, []byte("before"))
			if !ok || len(b) != tc.length {
				t.Fatalf("wrote %d bytes, want %d after what was there", len(b), tc.length)
			}
			back, err := revocation.ParseEntry(b)
			if err != nil || back != tc.entry {
				t.Fatalf("read back %+v, %v; want %+v", back, err, tc.entry)
			}
		})
	}
}

func TestEntryNotWritten(t *testing.T) {
	for name, e := range map[string]revocation.Entry{
		"no kind":           {At: someTime},
		"unknown kind":      {Kind: 'z', At: someTime},
		"no time":           {Kind: revocation.KindSession, Session: id(1)},
		"negative time":     {Kind: revocation.KindSession, Session: id(1), At: -1},
		"time out of range": {Kind: revocation.KindSession, Session: id(1), At: 1 << 46},
		"no session":        {Kind: revocation.KindSession, At: someTime},
		"no subject":        {Kind: revocation.KindSubject, At: someTime, NotBefore: 1},
		"no not-before":     {Kind: revocation.KindSubject, At: someTime, Subject: [16]byte{1}},
		"all since never":   {Kind: revocation.KindAll, At: someTime},
		"no key":            {Kind: revocation.KindKey, At: someTime},
		"key too long":      {Kind: revocation.KindKey, At: someTime, KeyID: strings.Repeat("k", 56)},
		"key of odd bytes":  {Kind: revocation.KindKey, At: someTime, KeyID: "a b"},
	} {
		t.Run(name, func(t *testing.T) {
			if b, err := e.AppendBinary([]byte("x")); err == nil || string(b) != "x" {
				t.Fatalf("wrote %q, %v", b, err)
			}
		})
	}
}

func TestParseEntryMalformed(t *testing.T) {
	write := func(e revocation.Entry) string {
		b, err := e.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	session := write(revocation.Entry{Kind: revocation.KindSession, At: someTime, Session: id(7)})
	subject := write(revocation.Entry{Kind: revocation.KindSubject, At: someTime, Subject: [16]byte{1}, NotBefore: someTime})
	all := write(revocation.Entry{Kind: revocation.KindAll, At: someTime, NotBefore: someTime})
	key := write(revocation.Entry{Kind: revocation.KindKey, At: someTime, KeyID: "key"})
	for name, b := range map[string]string{
		"empty":                 "",
		"kind alone":            "s",
		"head cut":              session[:8],
		"kind zero":             "\x00" + session[1:],
		"session cut":           session[:27],
		"session with more":     session + "x",
		"slot tag not base64":   session[:9] + "a.c" + session[12:],
		"time zero":             "s" + strings.Repeat("\x00", 8) + session[9:],
		"time negative":         "s" + strings.Repeat("\xff", 8) + session[9:],
		"subject cut":           subject[:32],
		"subject with more":     subject + "x",
		"subject zero":          subject[:9] + strings.Repeat("\x00", 16) + subject[25:],
		"not-before zero":       subject[:25] + strings.Repeat("\x00", 8),
		"not-before negative":   subject[:25] + "\xff" + subject[26:],
		"all cut":               all[:16],
		"all not-before zero":   all[:9] + strings.Repeat("\x00", 8),
		"key empty":             key[:9],
		"key of odd bytes":      key + "\n",
		"key too long":          key[:9] + strings.Repeat("k", 56),
		"unknown kind too long": "z" + session[1:9] + strings.Repeat("x", 56),
		"unknown kind, no time": "z" + strings.Repeat("\x00", 8),
	} {
		t.Run(name, func(t *testing.T) {
			if e, err := revocation.ParseEntry([]byte(b)); err == nil || e != (revocation.Entry{}) {
				t.Fatalf("read %+v, %v", e, err)
			}
		})
	}
}

func TestParseEntryUnknownKind(t *testing.T) {
	b := []byte("z\x00\x00\x01\xba\x5d\xb4\xa8\x00whatever a newer version says")
	e, err := revocation.ParseEntry(b)
	if err != nil || e.Kind != 'z' || e.At == 0 || e.Kind.String() != "unknown" {
		t.Fatalf("read %+v, %v; want the kind, the time and no error", e, err)
	}
}

// TestEntryFormat holds the format itself: a log written by one version is read by another.
func TestEntryFormat(t *testing.T) {
	got, err := revocation.Entry{Kind: revocation.KindSession, At: 0x0102030405, Session: id(9)}.AppendBinary(nil)
	want := "s\x00\x00\x00\x01\x02\x03\x04\x05abc\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x09"
	if err != nil || string(got) != want {
		t.Fatalf("wrote %q, %v; want %q", got, err, want)
	}
}

func FuzzParseEntry(f *testing.F) {
	for _, e := range []revocation.Entry{
		{Kind: revocation.KindSession, At: someTime, Session: id(7)},
		{Kind: revocation.KindSubject, At: someTime, Subject: [16]byte{1}, NotBefore: someTime},
		{Kind: revocation.KindAll, At: someTime, NotBefore: someTime},
		{Kind: revocation.KindKey, At: someTime, KeyID: "key"},
	} {
		b, err := e.AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := revocation.ParseEntry(b)
		if err != nil {
			if e != (revocation.Entry{}) {
				t.Fatalf("an entry beside an error: %+v", e)
			}
			return
		}
		list, err := revocation.NewList(revocation.ListConfig{})
		if err != nil {
			t.Fatal(err)
		}
		if err := list.Add(e); err != nil {
			t.Fatalf("what was read cannot be added: %v", err)
		}
		if e.Kind.String() == "unknown" {
			return
		}
		// One entry, one spelling.
		again, err := e.AppendBinary(nil)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x was read as %+v and written as %x, %v", b, e, again, err)
		}
	})
}
