package sync_test

import (
	"fmt"

	"github.com/counterfoil/counterfoil/internal/lean/sync"
)

func Example() {
	var mu sync.Mutex
	mu.Lock()
	defer mu.Unlock()
	fmt.Println("alone")
	// Output: alone
}
