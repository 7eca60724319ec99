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
