package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/issuer"
)

// driver plays the story: it runs the processes, is the browser of a visitor, and looks into Redis where a promise is about what
// is there.
type driver struct {
	out      io.Writer
	began    time.Time
	dir      string // holds the signing keys
	keys     *issuer.Ring
	settings settings
	external bool // REDIS_URL names the Redis

	inspector *inspector
	redis     *process // nil if external
	app, edge *process

	browser   *http.Client    // with the visitor's cookies
	old       []*http.Cookie  // what it held before the logout
	session   token.SessionID // that they are of
	visits    int64           // that the browser has made
	write     chan result     // what becomes of the write in flight
	logout    time.Time       // when the browser sent it
	loggedOut time.Time       // when its answer had arrived
	delay     time.Duration   // from there to the edge's refusal
	patience  time.Duration   // for how long the edge may go on accepting
}

// play runs the demo. An error means that there is no summary.
func play(ctx context.Context, redisURL string, out io.Writer) error {
	if redisURL != "" {
		if _, err := parseRedisURL(redisURL); err != nil {
			return err
		}
	}
	fmt.Fprint(out, "counterfoil demo: a session that is checked without asking anyone, and still ends at once\n\n")
	d := &driver{out: out, began: time.Now(), patience: 2 * time.Second}
	err := d.prepare(ctx, redisURL)
	if err == nil {
		if err = tell(ctx, out, d.story()); err != nil && ctx.Err() == nil {
			err = errors.Join(err, d.said())
		}
	}
	// It leaves nothing behind, even if it was interrupted.
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer done()
	if err := errors.Join(err, d.tidyUp(ctx)); err != nil {
		return err
	}
	d.summary()
	return nil
}

// step is one line of the output. It returns what held, or why it did not.
type step struct {
	name string
	do   func(context.Context) (string, error)
}

// story is what the demo shows. The steps are in steps.go.
func (d *driver) story() []step {
	return []step{
		{"start", d.start},
		{"log in", d.logIn},
		{"visit", d.visit},
		{"visit", d.visit},
		{"visit", d.visit},
		{"restart", d.restartApp},
		{"visit", d.visit},
		{"50 visits", d.visitAtOnce},
		{"edge", d.edgeAccepts},
		{"write", d.beginWrite},
		{"log out", d.logOut},
		{"edge", d.edgeRefuses},
		{"write", d.endWrite},
		{"come back", d.comeBack},
		{"log in", d.logIn},
		{"everywhere", d.logOutEverywhere},
	}
}

// tell takes the steps, up to the first one that does not hold.
func tell(ctx context.Context, out io.Writer, steps []step) error {
	for _, s := range steps {
		line, err := s.do(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			fmt.Fprintf(out, "FAILED  %-10s %v\n", s.name, err)
			return fmt.Errorf("the step %q did not hold", s.name)
		}
		fmt.Fprintf(out, "    ok  %-10s %s\n", s.name, line)
	}
	return nil
}

// summary ends with the one line that the demo is about.
func (d *driver) summary() {
	fmt.Fprintf(d.out, "\n%d visits made and counted, one restart, one write stopped; %.1f s in all\n", d.visits, time.Since(d.began).Seconds())
	fmt.Fprintf(d.out, "edge refused the token %s ms after logout; nothing lost, nothing back\n", millis(d.delay))
}

// prepare makes what the processes are given, and finds out whether the Redis of REDIS_URL can be used.
func (d *driver) prepare(ctx context.Context, redisURL string) (err error) {
	if d.browser, err = newBrowser(); err != nil {
		return err
	}

	d.settings = settings{Redis: redisURL, Prefix: "counterfoil-demo-" + rand.Text()[:8] + ":", Secret: make([]byte, 32)}
	rand.Read(d.settings.Secret)
	if d.external = redisURL != ""; d.external {
		if d.inspector, err = newInspector(ctx, redisURL, d.settings.Prefix); err != nil {
			return err
		}
	}

	if d.dir, err = os.MkdirTemp("", "counterfoil-demo-"); err != nil {
		return err
	}
	key, err := issuer.GenerateKey("EdDSA")
	if err != nil {
		return err
	}
	if d.keys, err = issuer.NewRing(key); err != nil {
		return err
	}
	d.settings.KeyFile = filepath.Join(d.dir, "keys.json")
	return d.keys.Save(d.settings.KeyFile)
}

// said returns what the processes wrote to standard error, which nobody wants to see as long as all is well.
func (d *driver) said() error {
	var errs []error
	for _, p := range []*process{d.redis, d.app, d.edge} {
		if p != nil && p.stderr.String() != "" {
			errs = append(errs, p.failure("said"))
		}
	}
	return errors.Join(errs...)
}

// tidyUp ends the processes and removes what the demo made.
func (d *driver) tidyUp(ctx context.Context) error {
	if d.browser != nil {
		d.browser.CloseIdleConnections()
	}
	var errs [2]error
	var stopping sync.WaitGroup
	for i, p := range []*process{d.edge, d.app} {
		if p != nil {
			stopping.Go(func() { errs[i] = p.stop() })
		}
	}
	stopping.Wait()
	err := errors.Join(errs[:]...)
	if d.inspector != nil {
		if d.external {
			err = errors.Join(err, d.inspector.clean(ctx))
		}
		d.inspector.close()
	}
	if d.redis != nil {
		err = errors.Join(err, d.redis.stop())
	}
	if d.dir != "" {
		err = errors.Join(err, os.RemoveAll(d.dir))
	}
	return err
}
