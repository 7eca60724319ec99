package jwks_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"time"

	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/issuer"
	"github.com/counterfoil/counterfoil/token/jwks"
)

func Example() {
	key, _ := issuer.GenerateKey("EdDSA")
	ring, _ := issuer.NewRing(key)
	server := httptest.NewServer(jwks.Handler(ring.Public))
	defer server.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	client, err := jwks.NewClient(ctx, jwks.ClientConfig{URL: server.URL})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	_, err = token.NewVerifier(token.VerifierConfig{Issuer: "https://login.example", Audience: "https://shop.example", Keys: client.Keys()})
	fmt.Println(len(client.Keys().Keys()), err)
	// Output: 1 <nil>
}
