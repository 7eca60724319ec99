package sessiontest_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/sessiontest"
)

// profile is the application to be tested.
func profile(m *counterfoil.Manager) (http.Handler, error) {
	sessions, err := httpadapter.New(httpadapter.Config{Manager: m})
	if err != nil {
		return nil, err
	}
	return sessions(httpadapter.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello %s", httpadapter.Session(r).Subject())
	}))), nil
}

// In an application this is func TestProfile.
func testProfile(t *testing.T) {
	sessions := sessiontest.New(t)
	handler, err := profile(sessions.Manager)
	if err != nil {
		t.Fatal(err)
	}
	alice := sessions.Login("alice")
	res := alice.Do(handler, "GET", "/profile")
	if body, _ := io.ReadAll(res.Body); string(body) != "hello alice" {
		t.Errorf("the page says %q", body)
	}
	sessions.Advance(31 * time.Minute) // idle for too long
	if res := alice.Do(handler, "GET", "/profile"); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("after half an hour the page answers %d", res.StatusCode)
	}
}

// A test of a handler. It is an ordinary one, since sessiontest takes a *testing.T.
func Example() {
	_ = testProfile
}
