package sessiontest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/sessiontest"
)

func Example() {
	test := func(t *testing.T) { // func TestIdle(t *testing.T) in earnest
		sessions := sessiontest.New(t)
		alice := sessions.Login("alice")
		fmt.Println(alice.Session().Subject())
		sessions.Advance(31 * time.Minute)
		fmt.Printf("%q\n", alice.Session().Subject())
	}
	testing.RunTests(func(string, string) (bool, error) { return true, nil }, []testing.InternalTest{{Name: "Idle", F: test}})
	// Output:
	// alice
	// ""
}
