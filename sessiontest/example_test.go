package sessiontest_test

import (
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/sessiontest"
)

func TestIdle(t *testing.T) {
	sessions := sessiontest.New(t)
	alice := sessions.Login("alice")
	if got := alice.Session().Subject(); got != "alice" {
		t.Errorf("the session is %q's", got)
	}
	sessions.Advance(31 * time.Minute)
	if got := alice.Session().Subject(); got != "" {
		t.Errorf("after half an hour it is still %q's", got)
	}
}

// A session that idles too long, in no time. The test is an ordinary one, since sessiontest takes a *testing.T.
func Example() {
	_ = TestIdle
}
