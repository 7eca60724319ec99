// Demo shows Counterfoil's main job with real parts:
//
//	go run ./examples/demo
//
// It starts itself three more times: as a Redis (embedded; REDIS_URL names another one), as a web application, and as an edge
// service that knows nothing but the public keys and the revocation log. Then it plays a browser: it logs in, counts visits,
// restarts the application, logs out, and watches the edge refuse the very token that it accepted a moment before. Each line of its output
// is a step that held; at the first one that does not it says what it expected and what it saw, and exits with 1.
//
// Read driver.go for the story, app.go and edge.go for what a program has to write to take part in it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/redis/go-redis/v9"
)

const usage = `usage: go run ./examples/demo

The Redis is an embedded one unless REDIS_URL names another: redis://[user:password@]host:port[/db], or rediss:// for TLS.
The demo keeps to keys under a prefix of its own there, and removes them at the end.
`

// roles are what the demo starts itself as.
var roles = map[string]role{
	"redis": redisRole,
	"app":   appRole,
	"edge":  edgeRole,
}

func main() {
	redis.SetLogger(silent{})
	os.Exit(run(os.Args[1:], os.Getenv("REDIS_URL"), os.Stdin, os.Stdout, os.Stderr))
}

// run returns the exit code: 0 = every step held, 1 = one did not, 2 = the demo could not begin.
func run(args []string, redisURL string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 1 && roles[args[0]] != nil {
		if err := serve(roles[args[0]], stdin, stdout); err != nil {
			fmt.Fprintln(stderr, err)
			return 1
		}
		return 0
	}
	if len(args) == 1 && (args[0] == "-h" || args[0] == "-help" || args[0] == "--help") {
		fmt.Fprint(stdout, usage)
		return 0
	}
	if len(args) > 0 {
		fmt.Fprintf(stderr, "demo: it takes no arguments, and was given %q; -h tells more\n", args[0])
		return 2
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := play(ctx, redisURL, stdout)
	var unfit *unfitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &unfit):
		fmt.Fprintln(stderr, "demo:", err)
		return 2
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "demo: interrupted")
		return 1
	}
	fmt.Fprintln(stderr, "demo:", err)
	return 1
}

// unfitError says that what the demo was given to work with is of no use.
type unfitError struct{ reason string }

func (e *unfitError) Error() string { return e.reason }
