package token

import "github.com/counterfoil/counterfoil/internal/lean/time"

// In WebAssembly timers fire only when the host lets Go run, so the clock is asked every time. Hosts that care pass the time through VerifyAt.
type clock struct{}

func (*clock) milli() int64 { return time.Now().UnixMilli() }
