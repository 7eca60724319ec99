package counterfoil_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/store/embedded"
	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/issuer"
)

// manager makes a Manager on a Redis inside this process.
func manager() (m *counterfoil.Manager, end func()) {
	ctx := context.Background()
	srv, err := embedded.Start("") // or a Redis of your own
	if err != nil {
		log.Fatal(err)
	}
	st, err := store.Open(ctx, srv.URL(), store.Config{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		log.Fatal(err)
	}
	key, err := issuer.GenerateKey("EdDSA") // kept in earnest, see issuer.OpenRing
	if err != nil {
		log.Fatal(err)
	}
	ring, err := issuer.NewRing(key)
	if err != nil {
		log.Fatal(err)
	}
	m, err = counterfoil.New(ctx, counterfoil.Config{
		Issuer: "https://login.example", Audience: "shop", Keys: ring, Store: st, Name: "shop-1",
		Secrets: [][]byte{[]byte("32 random bytes, the same in all of your processes")},
	})
	if err != nil {
		log.Fatal(err)
	}
	for range time.Tick(time.Millisecond) { // until the Manager has read the log and said so, which takes a moment after the start
		if followers, err := st.Followers(ctx); err != nil || len(followers) > 0 {
			break
		}
	}
	return m, func() { m.Close(); st.Close(); srv.Close() }
}

func Example() {
	m, end := manager()
	defer end()
	ctx := context.Background()
	visits := counterfoil.NewCounter("visits")

	visitor := m.Anonymous()
	for range 2 {
		if _, err := visits.Incr(ctx, visitor, 1); err != nil {
			log.Fatal(err)
		}
	}
	user, err := m.Login(ctx, visitor, "alice", counterfoil.LoginOptions{Carry: []string{"visits"}})
	if err != nil {
		log.Fatal(err)
	}
	n, err := visits.Incr(ctx, user, 1)
	fmt.Println(user.Subject(), n, err)

	if err := m.End(ctx, user.ID()); err != nil {
		log.Fatal(err)
	}
	_, err = visits.Incr(ctx, user, 1)
	fmt.Println("after the logout:", errors.Is(err, counterfoil.ErrNotFound))
	// Output:
	// alice 3 <nil>
	// after the logout: true
}

// Two requests read the same field and set it. The second one decided on what is no longer so, and hears of it.
func ExampleField_Set() {
	m, end := manager()
	defer end()
	ctx := context.Background()
	address := counterfoil.NewField[string]("address")

	user, err := m.Login(ctx, nil, "alice", counterfoil.LoginOptions{})
	if err != nil {
		log.Fatal(err)
	}
	tokens, _ := user.Issued()
	v, err := m.Guard().Check(ctx, tokens.Access.Reveal())
	if err != nil {
		log.Fatal(err)
	}
	one, other := m.Open(v), m.Open(v) // as two requests with the same token have it
	for _, s := range []*counterfoil.Session{one, other} {
		if _, _, err := address.Get(ctx, s); err != nil {
			log.Fatal(err)
		}
	}
	for _, s := range []*counterfoil.Session{one, other} {
		if err := address.Set(s, "1 New Street"); err != nil {
			log.Fatal(err)
		}
		err := s.Save(ctx) // the adapters do this when the handler has returned
		fmt.Println(err, errors.Is(err, counterfoil.ErrConflict))
	}
	// Output:
	// <nil> false
	// counterfoil: session changed since it was read true
}

func ExampleField_Update() {
	m, end := manager()
	defer end()
	ctx := context.Background()
	cart := counterfoil.NewField[[]string]("cart")

	s := m.Anonymous()
	for _, item := range []string{"tea", "milk"} {
		// Whatever other requests put into the cart meanwhile stays in it.
		got, err := cart.Update(ctx, s, func(c []string, _ bool) ([]string, error) { return append(c, item), nil })
		fmt.Println(got, err)
	}
	// Output:
	// [tea] <nil>
	// [tea milk] <nil>
}

// A client without cookies is handed its tokens by the request that logs it in, and renews the access token with the refresh token.
func ExampleManager_Refresh() {
	m, end := manager()
	defer end()
	ctx := context.Background()
	user, err := m.Login(ctx, nil, "alice", counterfoil.LoginOptions{})
	if err != nil {
		log.Fatal(err)
	}
	first, _ := user.Issued() // for the client: first.Access.Reveal(), first.Refresh.Reveal()

	s, tokens, err := m.Refresh(ctx, first.Refresh.Reveal(), token.Verified{})
	switch {
	case errors.Is(err, counterfoil.ErrSuperseded):
		fmt.Println("409: another request of this client has just renewed them")
	case err != nil:
		status, _ := counterfoil.Status(err)
		fmt.Println(status)
	default:
		fmt.Println(s.Subject(), "has a new access token:", !tokens.Access.IsZero())
		fmt.Println("and keeps the refresh token:", tokens.Refresh.IsZero()) // younger than Config.Window
	}
	// Output:
	// alice has a new access token: true
	// and keeps the refresh token: true
}

func ExampleManager_Revoke() {
	m, end := manager()
	defer end()
	ctx := context.Background()
	phone, err := m.Login(ctx, nil, "alice", counterfoil.LoginOptions{Device: "Phone"})
	if err != nil {
		log.Fatal(err)
	}

	done, err := m.Revoke(ctx, counterfoil.Revocation{Session: phone.ID(), Wait: 5 * time.Second})
	if err != nil {
		log.Fatal(err) // ErrNotDurable: it has ended, but a failover could bring it back
	}
	for _, c := range done.Confirmed {
		name, _, _ := strings.Cut(c.Follower, "/")
		fmt.Println(name, "refuses its tokens")
	}
	fmt.Println(len(done.Missing), "missing")
	// Output:
	// shop-1 refuses its tokens
	// 0 missing
}

// After a second factor the session goes on under another ID, and its authentication is fresh.
func ExampleManager_Rotate() {
	m, end := manager()
	defer end()
	ctx := context.Background()
	before, err := m.Login(ctx, nil, "alice", counterfoil.LoginOptions{})
	if err != nil {
		log.Fatal(err)
	}
	after, err := m.Rotate(ctx, before, counterfoil.RotateOptions{Reauthenticated: true})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("another ID:", after.ID() != before.ID())

	tokens, _ := after.Issued()
	v, err := m.Guard().Check(ctx, tokens.Access.Reveal())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(counterfoil.RequireFresh(v, 5*time.Minute, time.Now()))
	fmt.Println(counterfoil.RequireFresh(v, 5*time.Minute, time.Now().Add(time.Hour)))
	// Output:
	// another ID: true
	// <nil>
	// counterfoil: authentication is too long ago
}

// What outlives its request, such as the handler of a WebSocket, waits for the end of the session.
func ExampleSession_Done() {
	m, end := manager()
	defer end()
	ctx := context.Background()
	user, err := m.Login(ctx, nil, "alice", counterfoil.LoginOptions{})
	if err != nil {
		log.Fatal(err)
	}
	closed := make(chan struct{})
	go func() {
		<-user.Done()
		fmt.Println("the connection is closed")
		close(closed)
	}()
	if err := m.EndAll(ctx, "alice"); err != nil {
		log.Fatal(err)
	}
	<-closed
	// Output:
	// the connection is closed
}
