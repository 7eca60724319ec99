// Package require decides what becomes of a test whose machine lacks something: it is skipped, unless the environment variable COUNTERFOIL_REQUIRE, a
// list of names with commas between them, says that it has to be there.
package require

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// Named reports whether COUNTERFOIL_REQUIRE holds the name: redis, valkey, browser, edge, netns, gcc, go, ipv6.
func Named(name string) bool {
	return slices.Contains(strings.Split(os.Getenv("COUNTERFOIL_REQUIRE"), ","), name)
}

// Missing ends a test that needs what is not there.
func Missing(t testing.TB, name, format string, args ...any) {
	t.Helper()
	if Named(name) {
		t.Fatalf("COUNTERFOIL_REQUIRE="+name+": "+format, args...)
	}
	t.Skipf(format, args...)
}
