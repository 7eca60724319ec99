package rig

import (
	"fmt"
	"testing"

	"github.com/counterfoil/counterfoil"
)

// recorder is a test that fails in place of ours.
type recorder struct {
	testing.TB
	failed int
}

func (r *recorder) Errorf(string, ...any) { r.failed++ }

// TestLogsAreSearched shows that the search finds what it looks for.
func TestLogsAreSearched(t *testing.T) {
	for _, what := range []string{"nothing", "access token", "refresh token", "session ID"} {
		t.Run(what, func(t *testing.T) {
			r := New(t, Embedded)
			s, err := r.Login(t.Context(), nil, "alice", counterfoil.LoginOptions{})
			if err != nil {
				t.Fatal(err)
			}
			tokens, _ := s.Issued()
			id := r.Verify(t, tokens.Access).Session().String()
			logged := map[string]string{"access token": tokens.Access.Reveal(), "refresh token": tokens.Refresh.Reveal(), "session ID": id}[what]

			own := *r
			own.Logs = &Buffer{}
			fmt.Fprintf(own.Logs, "level=WARN msg=%q tokens=%v\n", "a line with "+logged+" in it", tokens)
			rec := &recorder{TB: t}
			own.checkLogs(rec)
			if want := what != "nothing"; (rec.failed > 0) != want {
				t.Errorf("%d findings", rec.failed)
			}
		})
	}
}
