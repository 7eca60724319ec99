package httpadapter_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/httpadapter"
)

// FuzzReturnPath holds what is let through against how browsers read a Location: they drop tabs and line breaks, trim spaces and controls, take
// a backslash for a slash, and then resolve it.
func FuzzReturnPath(f *testing.F) {
	for _, seed := range []string{"/", "/a?b=c#d", "//evil.test", `/\evil.test`, "/\t/evil.test", "/%2f/evil.test", "/..//evil.test", "/.//evil.test", "https://evil.test", "/é\u2028", "/a b", "/\x7f"} {
		f.Add(seed)
	}
	base, _ := url.Parse("https://app.test/session/logout")
	f.Fuzz(func(t *testing.T, target string) {
		path, ok := httpadapter.ReturnPath(target)
		if !ok {
			if path != "" {
				t.Errorf("%q is refused, and %q comes with it", target, path)
			}
			return
		}
		read := strings.Trim(strings.NewReplacer("\t", "", "\n", "", "\r", "", `\`, "/").Replace(path), " \x00\x1f")
		u, err := base.Parse(read)
		if err != nil || u.Host != "app.test" || u.Scheme != "https" || u.User != nil || strings.HasPrefix(read, "//") {
			t.Errorf("%q leads as %q to %v, %v", target, path, u, err)
		}
		for i := range len(path) {
			if path[i] <= ' ' || path[i] == 0x7f {
				t.Errorf("%q: %q has a character that no header may carry", target, path)
			}
		}
		if again, ok := httpadapter.ReturnPath(path); !ok || again != path {
			t.Errorf("%q becomes %q and then %q, %v", target, path, again, ok)
		}
	})
}
