package redistest

import (
	"os/exec"
	"syscall"
)

// dieWithParent ends the server with the test binary, also when that is killed and no cleanup runs.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
