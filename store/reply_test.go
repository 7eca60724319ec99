package store_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/store"
)

// answer writes records as Redis answers XRANGE.
func answer(rs []revocation.Record) []byte {
	var b bytes.Buffer
	bulk := func(s string) { fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(s), s) }
	fmt.Fprintf(&b, "*%d\r\n", len(rs))
	for _, r := range rs {
		fields := []string{"r", string(r.Entry), "p", string(r.Prev)}
		if r.Prev == "" {
			fields[3] = "0-0"
		}
		if r.Epoch != "" {
			fields = append(fields, "e", r.Epoch)
		}
		if r.Replicated != 0 {
			fields = append(fields, "a", fmt.Sprint(r.Replicated))
		}
		b.WriteString("*2\r\n")
		bulk(string(r.Position))
		fmt.Fprintf(&b, "*%d\r\n", len(fields))
		for _, f := range fields {
			bulk(f)
		}
	}
	return b.Bytes()
}

// sample is a log of some kinds of records.
func sample() []revocation.Record {
	return []revocation.Record{
		{Position: "1700000000000-0", Time: 1700000000000, Epoch: "first", Replicated: 1},
		{Position: "1700000000000-1", Prev: "1700000000000-0", Time: 1700000000000, Entry: []byte("an entry")},
		{Position: "1700000000500-0", Prev: "1700000000000-1", Time: 1700000000500, Entry: bytes.Repeat([]byte("x\r\n"), 500)},
		{Position: "1700000000600-0", Prev: "1699999999999-7", Time: 1700000000600, Entry: []byte{0, 255}},
		{Position: "1700000001600-18446744073709551615", Prev: "1700000000600-0", Time: 1700000001600, Replicated: 1700000000600},
		{Position: "1700000099999-0", Time: 1700000099999, Epoch: "second", Entry: []byte("y")},
	}
}

func TestParseRecords(t *testing.T) {
	for n := range len(sample()) + 1 {
		want := sample()[:n]
		raw := answer(want)
		got, err := store.ParseRecords(raw)
		if err != nil || len(got) != n {
			t.Fatalf("%d records: %d, %v", n, len(got), err)
		}
		clear(raw) // nothing of it is kept
		for i, r := range got {
			if fmt.Sprintf("%+v", r) != fmt.Sprintf("%+v", want[i]) || (r.Entry == nil) != (want[i].Entry == nil) {
				t.Errorf("record %d is %+v, want %+v", i, r, want[i])
			}
			if len(r.Entry) != cap(r.Entry) {
				t.Errorf("record %d: appending to its entry would overwrite another's", i)
			}
		}
	}
	whole := string(answer(sample()))
	for i := range len(whole) {
		if _, err := store.ParseRecords([]byte(whole[:i])); err == nil {
			t.Errorf("cut to %d bytes it was accepted", i)
		}
	}
	for name, x := range map[string][2]string{
		"more than said":     {whole, whole + "x"},
		"a huge list":        {"*6\r\n", "*600000000000\r\n"},
		"a list too long":    {"*6\r\n", "*7\r\n"},
		"a list too short":   {"*6\r\n", "*5\r\n"},
		"a negative length":  {"$15\r\n", "$-1\r\n"},
		"a huge string":      {"$15\r\n", "$9223372036854775807\r\n"},
		"no number":          {"$15\r\n", "$1x\r\n"},
		"odd fields":         {"*8\r\n", "*7\r\n"},
		"another type":       {"$15\r\n", "+15\r\n"},
		"no time":            {"1700000000500-0\r\n*4", "x700000000500-0\r\n*4"},
		"no sequence":        {"1700000000500-0\r\n*4", "1700000000500-x\r\n*4"},
		"time zero":          {"$15\r\n1700000000500-0\r\n*4", "$3\r\n0-1\r\n*4"},
		"replicated nothing": {"$1\r\n1\r\n", "$1\r\n0\r\n"},
		"replicated text":    {"$1\r\n1\r\n", "$1\r\nx\r\n"},
	} {
		bad := strings.Replace(whole, x[0], x[1], 1)
		if bad == whole {
			t.Fatalf("%s: nothing was changed", name)
		}
		if rs, err := store.ParseRecords([]byte(bad)); err == nil {
			t.Errorf("%s: accepted as %+v", name, rs)
		}
	}
	if _, err := store.ParseRecords([]byte("-WRONGTYPE Operation against a key\r\n")); err == nil || !strings.HasPrefix(err.Error(), "WRONGTYPE") {
		t.Errorf("an error of Redis: %v", err)
	}
}

// FuzzParseRecords: whatever comes, nothing panics, and what is accepted says the same when it is written out again.
func FuzzParseRecords(f *testing.F) {
	f.Add(answer(sample()))
	f.Add(answer(nil))
	f.Add([]byte("-ERR x\r\n"))
	f.Add([]byte("*1\r\n*2\r\n$3\r\n1-0\r\n*0\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		rs, err := store.ParseRecords(raw)
		if err != nil {
			if rs != nil {
				t.Error("records beside an error")
			}
			return
		}
		again, err := store.ParseRecords(answer(rs))
		if err != nil || fmt.Sprintf("%+v", again) != fmt.Sprintf("%+v", rs) {
			t.Errorf("%+v became %+v, %v", rs, again, err)
		}
	})
}
