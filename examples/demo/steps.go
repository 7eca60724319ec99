package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/httpadapter"
	"github.com/counterfoil/counterfoil/token"
)

const (
	subject = "ada"
	many    = 50
)

// start starts the three processes. The edge is ready once it has the keys and can prove that its list is fresh.
func (d *driver) start(ctx context.Context) (string, error) {
	var err error
	if !d.external {
		if d.redis, err = start(ctx, "redis", d.settings); err != nil {
			return "", err
		}
		d.settings.Redis = d.redis.addr
		if d.inspector, err = newInspector(ctx, d.settings.Redis, d.settings.Prefix); err != nil {
			return "", err
		}
	}
	if d.app, err = start(ctx, "app", d.settings); err != nil {
		return "", err
	}
	d.settings.Addr = d.app.addr // of the application, also after its restart
	if d.edge, err = start(ctx, "edge", settings{
		Redis: d.settings.Redis, Prefix: d.settings.Prefix, JWKS: "http://" + d.app.addr + httpadapter.JWKSPath,
	}); err != nil {
		return "", err
	}
	kind := "embedded"
	if d.external {
		kind = "REDIS_URL"
	}
	return fmt.Sprintf("Redis %s (%s), application %s, edge %s (public keys and revocation log only)",
		d.inspector.client.Options().Addr, kind, d.app.addr, d.edge.addr), nil
}

// logIn logs the visitor in and reads, from the cookie that came, which session that is.
func (d *driver) logIn(ctx context.Context) (string, error) {
	a, err := d.post(ctx, "/login", url.Values{"name": {subject}})
	if err != nil {
		return "", err
	}
	var names []string
	for _, c := range a.cookies {
		if !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" {
			return "", unexpected("cookies that only this host gets, out of the sight of scripts", "%s", c.Name)
		}
		names = append(names, c.Name)
	}
	if a.status != http.StatusOK || len(names) != 2 {
		return "", unexpected("200 and two cookies", "%d and the cookies %v", a.status, names)
	}
	d.old = d.cookies()

	keys, err := token.NewKeySet(d.keys.Public()...)
	if err != nil {
		return "", err
	}
	verifier, err := token.NewVerifier(token.VerifierConfig{Issuer: issuerName, Audience: audience, Keys: keys})
	if err != nil {
		return "", err
	}
	for _, c := range d.old {
		if v, err := verifier.Verify(c.Value); err == nil {
			d.session = v.Session()
			return fmt.Sprintf("as %s; the browser holds %s", v.Subject(), strings.Join(names, " and ")), nil
		}
	}
	return "", unexpected("an access token in one of the cookies", "none that verifies")
}

// visit makes one visit, which has to be counted as one.
func (d *driver) visit(ctx context.Context) (string, error) {
	d.visits++
	said, _, err := d.page(ctx)
	if err != nil {
		return "", err
	}
	if expected := sentence(d.visits); said != expected {
		return "", unexpected(expected, "%s", said)
	}
	return said, nil
}

// restartApp ends the application's process and starts another one at the same address, with the same keys.
func (d *driver) restartApp(ctx context.Context) (string, error) {
	was := d.app.cmd.Process.Pid
	d.browser.CloseIdleConnections()
	if err := d.app.stop(); err != nil {
		return "", err
	}
	app, err := start(ctx, "app", d.settings)
	if err != nil {
		return "", err
	}
	d.app = app
	return fmt.Sprintf("the application: process %d has ended, %d has begun", was, app.cmd.Process.Pid), nil
}

// visitAtOnce makes many visits at the same time. If no update is lost, they are told as many different numbers, without a gap.
func (d *driver) visitAtOnce(ctx context.Context) (string, error) {
	var (
		visitors sync.WaitGroup
		numbers  [many]int64
		errs     [many]error
	)
	for i := range many {
		visitors.Go(func() { _, numbers[i], errs[i] = d.page(ctx) })
	}
	visitors.Wait()
	for _, err := range errs {
		if err != nil {
			return "", err
		}
	}
	slices.Sort(numbers[:])
	for i, n := range numbers {
		if expected := d.visits + int64(i) + 1; n != expected {
			return "", unexpected(fmt.Sprintf("the numbers from %d to %d, each of them once", d.visits+1, d.visits+many), "%v", numbers)
		}
	}
	was := d.visits
	d.visits += many
	return fmt.Sprintf("all at once: the count went from %d to %d, exactly +%d", was, d.visits, many), nil
}

// edgeAccepts goes to the edge with the browser that logged in at the application.
func (d *driver) edgeAccepts(ctx context.Context) (string, error) {
	a, err := d.do(ctx, "GET", d.edge.addr, "/", nil, nil)
	if err != nil {
		return "", err
	}
	if a.status != http.StatusOK || a.body != "hello "+subject {
		return "", unexpected("200 hello "+subject, "%v", a)
	}
	a, err = d.do(ctx, "GET", d.edge.addr, "/cost", nil, nil)
	if err != nil {
		return "", err
	}
	var c cost
	if err := json.Unmarshal([]byte(a.body), &c); err != nil {
		return "", unexpected("what a decision costs", "%v", a)
	}
	return fmt.Sprintf("accepts the token and asks nobody: %.0f µs a decision with its signature, %.2f µs for a token it knows",
		micros(c.Cold), micros(c.Warm)), nil
}

// beginWrite sends a request that reads the session, and returns while it is under way.
func (d *driver) beginWrite(ctx context.Context) (string, error) {
	if there, err := d.inspector.hasSession(ctx, d.session); err != nil || !there {
		return "", orElse(err, unexpected("the session's record in Redis", "none"))
	}
	d.old = d.cookies()
	d.write = make(chan result, 1)
	go func() {
		a, err := d.post(ctx, "/note", nil)
		d.write <- result{a, err}
	}()
	a, err := d.do(ctx, "GET", d.app.addr, "/reached", nil, nil)
	if err != nil {
		return "", err
	}
	if a.status != http.StatusOK {
		return "", unexpected("a request that stands between reading and writing", "%v", a)
	}
	return "a request has read the session, and is held before it writes", nil
}

func (d *driver) logOut(ctx context.Context) (string, error) {
	d.logout = time.Now()
	a, err := d.post(ctx, "/logout", nil)
	d.loggedOut = a.arrived
	if err != nil {
		return "", err
	}
	if left := d.cookies(); a.status != http.StatusOK || len(left) > 0 {
		return "", unexpected("200 and no cookies left", "%v and %d cookies", a, len(left))
	}
	return fmt.Sprintf("answered after %s ms; the browser's cookies are gone", millis(d.loggedOut.Sub(d.logout))), nil
}

// edgeRefuses asks the edge with the old cookies again and again, from the moment at which the logout's answer arrived until it refuses. So
// what is measured includes the way to the edge and back.
func (d *driver) edgeRefuses(ctx context.Context) (string, error) {
	for accepted := int64(0); ; accepted++ {
		a, err := d.do(ctx, "GET", d.edge.addr, "/", nil, d.old)
		if err != nil {
			return "", err
		}
		d.delay = a.arrived.Sub(d.loggedOut)
		switch {
		case a.status == http.StatusUnauthorized:
			line := fmt.Sprintf("401 for the same token, %s ms after the logout's answer and %s ms after it was sent",
				millis(d.delay), millis(a.arrived.Sub(d.logout)))
			if accepted > 0 {
				line += ", accepted " + times(accepted) + " in between"
			}
			return line, nil
		case a.status != http.StatusOK:
			return "", unexpected("200, then 401", "%v", a)
		case d.delay > d.patience:
			return "", unexpected(fmt.Sprintf("401 within %v", d.patience), "200, %d times", accepted+1)
		}
	}
}

// endWrite lets the request go on that had read the session while it lived.
func (d *driver) endWrite(ctx context.Context) (string, error) {
	if a, err := d.post(ctx, "/release", nil); err != nil || a.status != http.StatusOK {
		return "", orElse(err, unexpected("200", "%v", a))
	}
	r := <-d.write
	if r.err != nil {
		return "", r.err
	}
	if r.answer.status != http.StatusUnauthorized {
		return "", unexpected("401: the session has ended", "%v", r.answer)
	}
	return "401 for the request in flight: it went on, wrote, and found the session ended", nil
}

// comeBack tries everything that the old cookies could be good for.
func (d *driver) comeBack(ctx context.Context) (string, error) {
	for _, try := range []struct{ method, addr, path string }{
		{"GET", d.app.addr, "/"},
		{"POST", d.app.addr, httpadapter.RefreshPath},
		{"GET", d.edge.addr, "/"},
	} {
		a, err := d.do(ctx, try.method, try.addr, try.path, nil, d.old)
		if err != nil {
			return "", err
		}
		if a.status != http.StatusUnauthorized || len(a.cookies) > 0 {
			return "", unexpected("401 for the old cookies, and no new ones", "%v and %d cookies at %s %s", a, len(a.cookies), try.method, try.path)
		}
	}
	if there, err := d.inspector.hasSession(ctx, d.session); err != nil || there {
		return "", orElse(err, unexpected("no record of the session in Redis", "one"))
	}
	return "401 for the old cookies at the page, the renewal and the edge; Redis has no record of the session", nil
}

// logOutEverywhere ends all sessions of the visitor, and has the answer only when everybody knows. So the edge refuses the first time that it is asked.
func (d *driver) logOutEverywhere(ctx context.Context) (string, error) {
	a, err := d.post(ctx, "/logout-everywhere", nil)
	if err != nil {
		return "", err
	}
	var done counterfoil.Revoked
	if err := json.Unmarshal([]byte(a.body), &done); a.status != http.StatusOK || err != nil {
		return "", unexpected("200, and who has confirmed", "%v", a)
	}
	var who []string
	for _, c := range done.Confirmed {
		name, _, _ := strings.Cut(c.Follower, "/")
		who = append(who, fmt.Sprintf("%s after %s ms", name, millis(c.After)))
	}
	if said := strings.Join(who, ", "); len(done.Missing) > 0 || len(who) != 2 || !strings.Contains(said, "application") || !strings.Contains(said, "edge") {
		return "", unexpected("application and edge have confirmed", "%v", a)
	}
	a, err = d.do(ctx, "GET", d.edge.addr, "/", nil, d.old)
	if err != nil {
		return "", err
	}
	if a.status != http.StatusUnauthorized {
		return "", unexpected("401 at the edge, the first time", "%v", a)
	}
	return "all verifiers had confirmed when the answer came: " + strings.Join(who, ", "), nil
}
