package edgehost_test

import (
	"fmt"

	"github.com/counterfoil/counterfoil/internal/edgehost"
)

func Example() {
	fmt.Println(edgehost.Names)
	// Output: [node deno bun workerd chromium]
}
