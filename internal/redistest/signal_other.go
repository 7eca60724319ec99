//go:build !unix

package redistest

import "os"

// No process can be stopped here: the attempt is an error.
var stop, goOn os.Signal = os.Interrupt, os.Interrupt
