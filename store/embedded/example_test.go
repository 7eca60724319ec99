package embedded_test

import (
	"context"
	"fmt"
	"log"

	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/store/embedded"
)

func Example() {
	srv, err := embedded.Start("")
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	st, err := store.Open(context.Background(), srv.URL(), store.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer st.Close()
	sessions, err := st.Sessions(context.Background(), "alice")
	fmt.Println(len(sessions), err)
	// Output: 0 <nil>
}
