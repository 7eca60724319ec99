package time_test

import (
	"fmt"

	"github.com/counterfoil/counterfoil/internal/lean/time"
)

func Example() {
	asked := time.At(1893499200000, 1_000)
	now := time.At(1893499207000, 8_000)
	fmt.Println(now.Sub(asked).Milliseconds())
	// Output: 7000
}
