package feed

import (
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/revocation"
)

// FuzzRequest gives the handler any query: it is refused, or it is understood and within bounds.
func FuzzRequest(f *testing.F) {
	for _, q := range []string{
		"", "full=1", "after=e~1~p&wait=1.5&nonce=AAAAAAAAAAAAAAAAAAAAAA&instance=a-1", "after=%65~1~p", "wait=.", "wait=1e9", "nonce=%0A", "a=b&a=b", "full=1;wait=2",
	} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, query string) {
		q, err := parseRequest(query)
		if err != nil {
			if q != (request{}) {
				t.Fatal("something was returned beside the error")
			}
			return
		}
		if q.wait < 0 || q.wait > 100_000_000*time.Second || len(q.instance) > 64 {
			t.Fatalf("out of bounds: %+v", q)
		}
		if q.after == (revocation.Cursor{}) && !q.full {
			t.Fatal("a part after nothing")
		}
		if c, err := revocation.ParseCursor(q.after.String()); err != nil || c != q.after {
			t.Fatalf("the cursor %q is none", q.after)
		}
	})
}
