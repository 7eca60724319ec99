package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// bound is how old the guards' lists may be, and so how late a logout may be seen.
const bound = 3 * time.Second

// A guard decides in some runtime.
type guard interface {
	// check returns "ok: " and the subject, or word and reason of the refusal. The error says that the guard has failed to decide, which is a failure of the test.
	check(ctx context.Context, token string) (string, error)
}

// Times are how long a guard took to answer as it must.
type times struct {
	accepted time.Duration // since it began
	session  time.Duration // since the session was ended
	subject  time.Duration // since all sessions of the subject were ended
	stale    time.Duration // since the feed was cut
}

// A place is where things are.
type place struct {
	root  string // the project
	temp  string // room for more
	named string // the package, installed
}

// logouts shows the logout to a guard in every runtime, all of them edges of one origin, and prints a row for each. It returns whether all were as they must be.
func logouts(root, temp string, require bool, flavours []flavour, runtimes []runtime) (ok bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	o, closing, err := startOrigin(ctx, root, temp)
	if err != nil {
		return false, err
	}
	defer closing()
	p := place{root: root, temp: temp, named: filepath.Join(temp, "named")}
	missing := installPackage(ctx, root, p.named)
	if missing != nil && (require || !errors.Is(missing, exec.ErrNotFound)) {
		return false, missing
	}
	fmt.Printf("\nthe logout, by a feed whose list may be %v old; times in ms\n\n", bound)
	fmt.Printf("| %-24s | %-14s | %-26s | %-10s | %8s | %20s | %13s | %10s |\n|---|---|---|---|---:|---:|---:|---:|\n",
		"runtime", "flavour", "package", "feed", "accepted", "refused after logout", "subject ended", "cut: stale")
	ok = true
	for _, rt := range runtimes {
		found, feed := "by its files", "long poll"
		switch rt.name {
		case "node", "deno", "bun":
			if found = "by name, condition " + rt.name; missing != nil {
				fmt.Printf("| %-24s | left out: %v\n", rt, missing)
				continue
			}
		case "wazero":
			found = "none: the module itself"
		case "workerd":
			feed = "on request"
		}
		for _, f := range flavours {
			t, err := logout(ctx, o, p, rt.name, f)
			if err != nil {
				fmt.Printf("| %-24s | %-14s | FAILED: %v\n", rt, f.name, err)
				ok = false
				continue
			}
			fmt.Printf("| %-24s | %-14s | %-26s | %-10s | %8d | %20d | %13d | %10d |\n",
				rt, f.name, found, feed, t.accepted.Milliseconds(), t.session.Milliseconds(), t.subject.Milliseconds(), t.stale.Milliseconds())
		}
	}
	return ok, nil
}

// logout starts a guard in a runtime and shows it the story.
func logout(ctx context.Context, o *origin, p place, name string, f flavour) (times, error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp(p.temp, name)
	if err != nil {
		return times{}, err
	}
	n, err := newNetwork(o)
	if err != nil {
		return times{}, err
	}
	defer n.cut()
	var g guard
	var closing func()
	switch name {
	case "wazero":
		g, closing, err = guardInWazero(ctx, fail, o, n, f.file)
	case "workerd":
		g, closing, err = guardInWorkerd(ctx, o, n, p.root, dir, f.file)
	case "chromium":
		g, closing, err = guardInChromium(ctx, o, n, p.root, dir, f.file)
	default:
		g, closing, err = guardByName(ctx, fail, o, n, p, name, f.file)
	}
	if err != nil {
		return times{}, err
	}
	defer closing()
	t, err := story(ctx, o, n, g)
	if polls := n.polls.Load(); err == nil && (polls > 0) != (name != "workerd") {
		err = fmt.Errorf("%d questions to the feed waited for news", polls)
	}
	return t, err
}

// story logs in three users, one of them twice, and ends what they have one after the other: a session, a subject, the feed. The guard knows all of it by its list: the origin is not asked.
func story(ctx context.Context, o *origin, n *network, g guard) (t times, err error) {
	var alice, bob, elsewhere, carol string
	for _, login := range []struct {
		subject string
		token   *string
	}{{"alice", &alice}, {"bob", &bob}, {"bob", &elsewhere}, {"carol", &carol}} {
		if *login.token, err = o.login(ctx, login.subject); err != nil {
			return t, err
		}
	}
	if t.accepted, err = settle(ctx, n, g, alice); err != nil {
		return t, err
	}
	asked := n.questions.Load()
	for _, c := range []struct{ token, want string }{{alice, "ok: alice"}, {bob, "ok: bob"}, {elsewhere, "ok: bob"}, {carol, "ok: carol"}} {
		if _, err := within(ctx, g, 0, c.token, "", c.want); err != nil {
			return t, fmt.Errorf("a good token: %w", err)
		}
	}

	if _, err := o.post(ctx, "/session/logout", nil, alice, http.StatusNoContent); err != nil {
		return t, err
	}
	if t.session, err = within(ctx, g, bound, alice, "ok: alice", "revoked: session revoked"); err != nil {
		return t, fmt.Errorf("after the logout: %w", err)
	}
	if _, err := within(ctx, g, 0, bob, "", "ok: bob"); err != nil {
		return t, fmt.Errorf("after the logout of another: %w", err)
	}

	if _, err := o.post(ctx, "/session/logout-everywhere", nil, elsewhere, http.StatusNoContent); err != nil {
		return t, err
	}
	if t.subject, err = within(ctx, g, bound, bob, "ok: bob", "revoked: subject revoked"); err != nil {
		return t, fmt.Errorf("after the logout everywhere: %w", err)
	}
	if _, err := within(ctx, g, 0, carol, "", "ok: carol"); err != nil {
		return t, fmt.Errorf("after the logout everywhere of another: %w", err)
	}
	if more := n.questions.Load() - asked; more != 0 {
		return t, fmt.Errorf("with a fresh list the origin was asked %d times", more)
	}

	n.cut()
	if t.stale, err = within(ctx, g, bound+2*time.Second, carol, "ok: carol", "stale: list too old"); err != nil {
		return t, fmt.Errorf("without a feed: %w", err)
	}
	if n.questions.Load() == asked {
		return t, errors.New("without a feed it did not ask")
	}
	if _, err := within(ctx, g, 0, alice, "", "revoked: session revoked"); err != nil {
		return t, fmt.Errorf("a session that has ended, without a feed: %w", err)
	}
	return t, nil
}

// settle waits until the guard takes a token without asking, and returns how long that took.
func settle(ctx context.Context, n *network, g guard, token string) (time.Duration, error) {
	began := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		asked := n.questions.Load()
		got, err := g.check(ctx, token)
		if err != nil {
			return 0, err
		}
		if got == "ok: alice" && n.questions.Load() == asked {
			return time.Since(began), nil
		}
		if time.Since(began) > 20*time.Second {
			return 0, fmt.Errorf("a good token is not accepted without a question: %s", got)
		}
		<-tick.C
	}
}

// within asks about a token until the answer is want, for at most as long, and returns how long that took. Until then it must be before.
func within(ctx context.Context, g guard, most time.Duration, token, before, want string) (time.Duration, error) {
	began := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		got, err := g.check(ctx, token)
		took := time.Since(began)
		switch {
		case err != nil:
			return 0, err
		case got == want:
			return took, nil
		case got != before, took > most:
			return 0, fmt.Errorf("%q after %v, want %q within %v", got, took.Round(time.Millisecond), want, most)
		}
		<-tick.C
	}
}
