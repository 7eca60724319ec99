package context_test

import (
	"fmt"

	"github.com/counterfoil/counterfoil/internal/lean/context"
	"github.com/counterfoil/counterfoil/internal/lean/time"
)

func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 0*time.Second)
	defer cancel()
	<-ctx.Done()
	fmt.Println(ctx.Err() == context.DeadlineExceeded)
	// Output: true
}
