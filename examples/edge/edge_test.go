package main

import (
	"strings"
	"testing"
)

func TestEdgeRefusesAfterLogout(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "before the logout the edge answers 200: alice\nafter it 401\n"; got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
}
