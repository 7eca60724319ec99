package storetest

import (
	"errors"
	"strconv"
	"strings"

	"github.com/counterfoil/counterfoil"
)

const (
	maxInt = "9223372036854775807"
	minInt = "-9223372036854775808"
)

var saveRules = []rule{
	{"in order", "Operations of one save apply in order, each seeing what the ones before did", func(s *suite) {
		ref := s.create("alice", set("gone", "x"), set("n", "40"))
		saved := s.save(ref, incr("n", 2), take("n"), incr("n", 7), set("a", "1"), del("a"), set("a", "2"), del("gone"), take("gone"), set("n2", "5"), incr("n2", -6))
		want := []counterfoil.Value{{Bytes: []byte("42"), Present: true}, {Bytes: []byte("42"), Present: true}, {Bytes: []byte("7"), Present: true}, {}, {}, {}, {}, {}, {},
			{Bytes: []byte("-1"), Present: true}}
		if len(saved.Values) != len(want) {
			s.broken("%d values for %d operations", len(saved.Values), len(want))
		}
		for i, v := range saved.Values {
			if !equal(v, string(want[i].Bytes), want[i].Present) {
				s.broken("value %d is %q (present: %v), want %q", i, v.Bytes, v.Present, want[i].Bytes)
			}
		}
		s.holds(ref, map[string]string{"n": "7", "a": "2", "n2": "-1"})
	}},
	{"other fields stay", "A save touches only the fields it names", func(s *suite) {
		ref := s.create("alice", set("a", "1"), set("b", "2"))
		s.save(ref, set("a", "3"))
		s.save(ref, set("c", "4"))
		s.save(ref)
		s.holds(ref, map[string]string{"a": "3", "b": "2", "c": "4"})
	}},
	{"take", "A take answers the value once; of an absent field it answers absence", func(s *suite) {
		ref := s.create("alice", set("flash", "\x00saved!\xff"), set("empty", ""))
		if v := s.save(ref, take("flash"), take("empty")).Values; !equal(v[0], "\x00saved!\xff", true) || !equal(v[1], "", true) {
			s.broken("took %+v", v)
		}
		if v := s.save(ref, take("flash"), take("empty")).Values; v[0].Present || v[1].Present {
			s.broken("took %+v a second time", v)
		}
		s.holds(ref, nil)
	}},
	{"increments", "An increment is exact over the whole of int64, and absent counts as 0", func(s *suite) {
		for _, x := range []struct {
			from string
			by   int64
			want string
		}{
			{"", 0, "0"}, {"", 1, "1"}, {"", -1, "-1"}, {"", 1<<63 - 1, maxInt}, {"", -1 << 63, minInt},
			{"0", 5, "5"}, {"-5", 5, "0"}, {"5", -5, "0"}, {"-1", -1, "-2"},
			{"9007199254740992", 1, "9007199254740993"}, {"-9007199254740992", -1, "-9007199254740993"},
			{"999999999", 1, "1000000000"}, {"1000000000", -1, "999999999"}, {"-1000000000", 1, "-999999999"},
			{"1999999999999999999", 1, "2000000000000000000"}, {"1000000000000000000", -1, "999999999999999999"},
			{"9223372036854775806", 1, maxInt}, {"-9223372036854775807", -1, minInt}, {maxInt, -1 << 63, "-1"}, {minInt, 1<<63 - 1, "-1"},
			{"-1999999999", -1, "-2000000000"}, {"-600000000", -600000000, "-1200000000"}, {"-999999999", -999999999, "-1999999998"}, {"999999999", 999999999, "1999999998"},
			{"1000000001", -1000000001, "0"}, {"-1000000000", -1000000000, "-2000000000"}, {"1000000000", -1999999999, "-999999999"},
		} {
			ref := s.create("alice")
			if x.from != "" {
				s.save(ref, set("n", x.from))
			}
			if v := s.save(ref, incr("n", x.by)).Values; len(v) != 1 || !equal(v[0], x.want, true) {
				s.broken("%q + %d answers %q, want %s", x.from, x.by, v[0].Bytes, x.want)
			}
			s.holds(ref, map[string]string{"n": x.want})
		}
	}},
	{"not an integer", "An increment of what is no decimal int64, or beyond its range, is ErrNotInteger and changes nothing", func(s *suite) {
		for _, x := range []struct {
			from string
			by   int64
		}{
			{maxInt, 1}, {minInt, -1}, {maxInt, 1<<63 - 1}, {minInt, -1 << 63}, {"1", 1<<63 - 1}, {"-1", -1 << 63},
			{"9223372036854775808", 0}, {"-9223372036854775809", 0}, {"9223372036854775808", -1}, {"99999999999999999999", -5},
			{"", 1}, {" 1", 1}, {"1 ", 1}, {"+1", 1}, {"-", 1}, {"-0", 1}, {"01", 1}, {"1.0", 1}, {"1e3", 1}, {"0x10", 1}, {"nan", 1}, {"inf", 1},
			{"null", 1}, {`"1"`, 1}, {"1\x00", 1}, {"\x00", 1}, {"1\n", 1}, {"٣", 1},
		} {
			ref := s.create("alice", set("n", x.from), set("other", "old"))
			s.saveErr(ref, counterfoil.ErrNotInteger, set("other", "new"), incr("n", x.by))
			s.holds(ref, map[string]string{"n": x.from, "other": "old"})
		}
	}},
	{"conditions", "A save applies only if every If holds for the values before the save; else ErrConflict, and nothing is applied", func(s *suite) {
		start := []counterfoil.Op{set("a", "1"), set("empty", "")}
		for name, ops := range map[string][]counterfoil.Op{
			"another value":               {ifWas(set("a", "2"), "0")},
			"absent, but present":         {ifAbsent(set("a", "2"))},
			"present, but absent":         {ifWas(set("b", "2"), "")},
			"empty is not absent":         {ifAbsent(set("empty", "2"))},
			"one of several":              {set("c", "9"), ifWas(set("a", "2"), "1"), ifWas(del("empty"), "x")},
			"what this save set":          {set("a", "2"), ifWas(set("a", "3"), "2")},
			"on an increment":             {ifWas(incr("a", 1), "2")},
			"on a take":                   {ifAbsent(take("a"))},
			"prefix of the value":         {ifWas(set("a", "2"), "11")},
			"two that exclude each other": {ifWas(set("a", "2"), "1"), ifAbsent(set("a", "3"))},
		} {
			ref := s.create("alice", start...)
			_, err := s.under.Store.Save(s.ctx, ref, ops)
			s.is(err, counterfoil.ErrConflict, name)
			s.holds(ref, map[string]string{"a": "1", "empty": ""})
		}
		ref := s.create("alice", start...)
		s.save(ref, ifWas(set("a", "2"), "1"), ifWas(set("a", "3"), "1"), ifAbsent(set("b", "\x00")), ifWas(del("empty"), ""), ifAbsent(del("no")))
		s.save(ref, ifWas(incr("a", 4), "3"), ifWas(take("b"), "\x00"))
		s.holds(ref, map[string]string{"a": "7"})
		s.save(ref, ifWas(set("a", "longer"), "7"))
		s.save(ref, ifAbsent(set("b", "")))
		s.save(ref, ifWas(set("b", "x"), ""))
		s.holds(ref, map[string]string{"a": "longer", "b": "x"})
	}},
	{"budget", "A save that would take names and values over MaxDataLen is ErrTooLarge and changes nothing; up to it all is well", func(s *suite) {
		fill := strings.Repeat("x", counterfoil.MaxDataLen-len("a")-len("bb")-1)
		ref := s.create("alice", set("bb", "1"), set("a", fill))
		s.saveErr(ref, counterfoil.ErrTooLarge, set("a", fill+"x"))
		s.saveErr(ref, counterfoil.ErrTooLarge, set("c", ""))
		s.saveErr(ref, counterfoil.ErrTooLarge, incr("c", 1))
		s.saveErr(ref, counterfoil.ErrTooLarge, incr("bb", 9), set("d", "late"))
		s.saveErr(ref, counterfoil.ErrTooLarge, set("a", strings.Repeat("x", 4*counterfoil.MaxDataLen)))
		s.holds(ref, map[string]string{"bb": "1", "a": fill})
		s.save(ref, set("c", "123"), set("a", fill[4:])) // judged at the end of the save, not on the way
		s.save(ref, incr("bb", 8))
		s.saveErr(ref, counterfoil.ErrTooLarge, incr("bb", 1)) // 10 has a digit more
		s.save(ref, take("a"))
		s.save(ref, set("a", fill[4:]))
		s.save(ref, del("bb"), del("c"), set("a", fill+"xxx"))
		s.holds(ref, map[string]string{"a": fill + "xxx"})
	}},
	{"many operations", "A save of a thousand operations applies them all", func(s *suite) {
		ref := s.create("alice", set("gone", "x"))
		var ops []counterfoil.Op
		want := map[string]string{}
		for i := range 1000 {
			name := "field" + strconv.Itoa(i)
			ops = append(ops, set(name, strconv.Itoa(i)))
			want[name] = strconv.Itoa(i)
		}
		s.save(ref, append(ops, del("gone"))...)
		s.holds(ref, want)
		for i := range ops {
			ops[i] = take(ops[i].Name)
		}
		s.save(ref, ops...)
		s.holds(ref, nil)
		s.save(ref, set("f", strings.Repeat("x", counterfoil.MaxDataLen-1))) // the budget was given back
	}},
	{"names", "A field's name may be of any bytes up to MaxNameLen; an empty or longer one is an error", func(s *suite) {
		ref := s.create("alice")
		longest := strings.Repeat("n", counterfoil.MaxNameLen)
		s.save(ref, set(longest, "1"), set("\x00", "2"), set("ключ", "3"))
		for _, name := range []string{"", longest + "n"} {
			if _, err := s.under.Store.Save(s.ctx, ref, []counterfoil.Op{set("ok", "1"), set(name, "1")}); err == nil {
				s.broken("a name of %d bytes was accepted", len(name))
			}
		}
		s.holds(ref, map[string]string{longest: "1", "\x00": "2", "ключ": "3"})
	}},
	{"unknown operation", "An operation of an unknown kind is an error, and nothing is applied", func(s *suite) {
		ref := s.create("alice")
		for _, kind := range []counterfoil.OpKind{0, 99} {
			if _, err := s.under.Store.Save(s.ctx, ref, []counterfoil.Op{set("a", "1"), {Kind: kind, Name: "b"}}); err == nil {
				s.broken("kind %d was accepted", kind)
			}
		}
		s.holds(ref, nil)
	}},
	{"not found", "Save on a session that is absent, ended, of another subject or frozen is ErrNotFound and brings nothing back", func(s *suite) {
		ended, everywhere, frozen := s.create("alice"), s.create("bob"), s.create("carol", set("f", "old"))
		s.end(counterfoil.Ending{Session: ended.Session})
		s.end(counterfoil.Ending{Subject: "bob"})
		_, err := s.under.Store.Freeze(s.ctx, frozen)
		s.must(err, "Freeze")
		for name, ref := range map[string]counterfoil.Ref{
			"never was":       {Session: newID("alice"), Subject: "alice"},
			"ended":           ended,
			"ended with all":  everywhere,
			"frozen":          frozen,
			"another subject": {Session: frozen.Session, Subject: "dave"},
			"the zero Ref":    {},
		} {
			for _, op := range []counterfoil.Op{set("f", "v"), incr("n", 1), del("f"), take("f"), ifAbsent(set("g", "v"))} {
				_, err := s.under.Store.Save(s.ctx, ref, []counterfoil.Op{op})
				s.is(err, counterfoil.ErrNotFound, name)
			}
		}
		s.lives(ended, false, "after late saves")
		s.lives(everywhere, false, "after late saves")
		s.holds(frozen, map[string]string{"f": "old"})
	}},
	{"keeps nothing of its input", "Save keeps nothing of the slices it is given", func(s *suite) {
		ref := s.create("alice")
		value := []byte("value")
		ops := []counterfoil.Op{{Kind: counterfoil.OpSet, Name: "f", Value: value}}
		_, err := s.under.Store.Save(s.ctx, ref, ops)
		s.must(err, "Save")
		copy(value, "XXXXX")
		ops[0] = del("f")
		s.holds(ref, map[string]string{"f": "value"})
	}},
	{"nil is empty", "Setting a nil value sets an empty one", func(s *suite) {
		ref := s.create("alice")
		s.save(ref, counterfoil.Op{Kind: counterfoil.OpSet, Name: "f"})
		s.holds(ref, map[string]string{"f": ""})
	}},
	{"one error each", "The errors of a save tell apart: ErrNotFound, ErrConflict, ErrTooLarge, ErrNotInteger", func(s *suite) {
		all := []error{counterfoil.ErrNotFound, counterfoil.ErrConflict, counterfoil.ErrTooLarge, counterfoil.ErrNotInteger}
		ref := s.create("alice", set("s", "x"))
		for want, op := range map[error]counterfoil.Op{
			counterfoil.ErrConflict:   ifAbsent(set("s", "y")),
			counterfoil.ErrTooLarge:   set("s", strings.Repeat("x", counterfoil.MaxDataLen)),
			counterfoil.ErrNotInteger: incr("s", 1),
		} {
			_, err := s.under.Store.Save(s.ctx, ref, []counterfoil.Op{op})
			for _, e := range all {
				if errors.Is(err, e) != (e == want) {
					s.broken("error is %v, want %v alone", err, want)
				}
			}
		}
	}},
}
