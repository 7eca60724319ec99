package store

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
)

// FuzzParseRecord gives the parser of a record whatever a server may answer: it neither panics nor takes a length on trust, and what it reads out is in
// the answer.
func FuzzParseRecord(f *testing.F) {
	for _, reply := range []string{
		"%2\r\n$2\r\nid\r\n$1\r\nx\r\n$3\r\nf:a\r\n$0\r\n\r\n", "*4\r\n$1\r\nu\r\n$5\r\nalice\r\n$4\r\nf:\r\n\r\n$2\r\n\r\n\r\n", "*0\r\n", "%0\r\n",
		"*3\r\n$1\r\nu\r\n$1\r\na\r\n$1\r\nb\r\n", "%1\r\n$1\r\nu\r\n", "%1\r\n$1\r\nu\r\n$9\r\nx\r\n", "%999999999\r\n", "%99999999999999999999\r\n", "$-1\r\n",
		"-MOVED 1 127.0.0.1:1\r\n", "-WRONGTYPE\r\n", "_\r\n", "%-1\r\n", "%1\r", "%", "", "%1\r\n:1\r\n:2\r\n", "*2\r\n$1073741824\r\n", "\r\n",
	} {
		f.Add([]byte(reply))
	}
	f.Fuzz(func(t *testing.T, reply []byte) {
		r := parseRecord(reply, counterfoil.Ref{})
		for name, value := range r.Fields {
			if !strings.Contains(string(reply), name) || !strings.Contains(string(reply), string(value)) {
				t.Errorf("%q = %q is not in the answer", name, value)
			}
		}
		if n, ok := parseNotBefore(reply); ok && n != 0 && !strings.Contains(string(reply), strings.TrimPrefix(fmt.Sprint(n), "-")) && len(reply) < 24 {
			t.Errorf("%d is not in the answer %q", n, reply)
		}
	})
}

// TestParseRecord reads both protocols alike.
func TestParseRecord(t *testing.T) {
	want := map[string]string{"a": "1", "bytes": "\r\n$5\r\n\x00", "empty": "", "f:": "x"}
	for _, head := range []string{"%6\r\n", "*12\r\n"} {
		reply := head + "$2\r\nid\r\n$2\r\nme\r\n$1\r\ng\r\n$1\r\n7\r\n"
		for _, name := range slices.Sorted(maps.Keys(want)) {
			reply += fmt.Sprintf("$%d\r\nf:%s\r\n$%d\r\n%s\r\n", len(name)+2, name, len(want[name]), want[name])
		}
		r := parseRecord([]byte(reply), counterfoil.Ref{})
		if r.own != "me" || r.Generation != 7 || len(r.Fields) != len(want) {
			t.Fatalf("%q: %+v", head, r)
		}
		for name, value := range want {
			if got, ok := r.Fields[name]; !ok || string(got) != value || len(got) != cap(got) {
				t.Errorf("%q: %s is %q, want %q, and nothing behind it in reach", head, name, got, value)
			}
		}
	}
}
