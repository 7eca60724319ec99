package store_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/store"
	"github.com/counterfoil/counterfoil/store/embedded"
	"github.com/counterfoil/counterfoil/token"
)

func Example() {
	srv, err := embedded.Start("") // or a Redis of your own: redis://:password@host/0
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	ctx := context.Background()
	st, err := store.Open(ctx, srv.URL(), store.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer st.Close()

	id, err := token.NewSessionID(counterfoil.SubjectTag("alice"), [16]byte{1}) // random in earnest
	if err != nil {
		log.Fatal(err)
	}
	if _, err := st.Create(ctx, counterfoil.NewRecord{Session: id, Subject: "alice", Idle: time.Hour, Absolute: 12 * time.Hour}); err != nil {
		log.Fatal(err)
	}
	ref := counterfoil.Ref{Session: id, Subject: "alice"}
	visit := []counterfoil.Op{{Kind: counterfoil.OpIncr, Name: "visits", By: 1}}
	for range 3 {
		saved, err := st.Save(ctx, ref, visit)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("visit %s\n", saved.Values[0].Bytes)
	}
	if _, err := st.End(ctx, counterfoil.Ending{Session: id}); err != nil {
		log.Fatal(err)
	}
	_, err = st.Save(ctx, ref, visit)
	fmt.Println("after the logout:", errors.Is(err, counterfoil.ErrNotFound))
	// Output:
	// visit 1
	// visit 2
	// visit 3
	// after the logout: true
}

func ExampleLogReader() {
	srv, err := embedded.Start("")
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	ctx := context.Background()
	app, err := store.Open(ctx, srv.URL(), store.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer app.Close()
	edge, err := store.OpenLogReader(ctx, srv.URL(), store.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer edge.Close()

	id, err := token.NewSessionID("abc", [16]byte{1})
	if err != nil {
		log.Fatal(err)
	}
	entry := revocation.Entry{Kind: revocation.KindSession, At: time.Now().UnixMilli(), Session: id}
	if _, err := app.Append(ctx, entry); err != nil {
		log.Fatal(err)
	}
	batch, err := edge.Read(ctx, "", 0) // a revocation.Follower does this, and keeps a list up to date
	if err != nil {
		log.Fatal(err)
	}
	got, err := revocation.ParseEntry(batch.Records[0].Entry)
	fmt.Println(got.Kind, got.Session == id, err)
	// Output: session true <nil>
}
