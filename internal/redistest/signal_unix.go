//go:build unix

package redistest

import (
	"os"
	"syscall"
)

// The signals that stop a process and let it go on.
var (
	stop os.Signal = syscall.SIGSTOP
	goOn os.Signal = syscall.SIGCONT
)
