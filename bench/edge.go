package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/edgehost"
	"github.com/counterfoil/counterfoil/token"
	"github.com/counterfoil/counterfoil/token/issuer"
)

// The peers of the edge module are measured in the runtimes themselves, by bench/edge. All of a group take turns in a new order each time; what counts is the median of the ratios
// within the turns, which holds on a noisy machine. Cold tokens are not in any table, warm ones are. Every check is of a new string, as a
// header brings it. With the same string objects again and again a warm check of ours takes as long, or up to a tenth less.
const (
	edgeCold, edgeWarm = 300, 10_000
	firstChecks        = 15 // workers started for each of the two first answers
	mostWarm           = time.Microsecond
	mostFirst          = time.Millisecond
)

// edgeSuite prepares tokens and says who takes part.
func edgeSuite() (suite, error) {
	root, err := filepath.Abs("..")
	if err != nil {
		return suite{}, err
	}
	for _, name := range []string{"host.wasm", "own.wasm"} {
		if _, err := os.Stat(filepath.Join(root, "edge", "npm", name)); err != nil {
			return suite{}, fmt.Errorf("%w (make module builds it)", err)
		}
	}
	if err := edgehost.Install(edgehost.Dir(root)); err != nil {
		return suite{}, err
	}
	temp, err := os.MkdirTemp("", "bench-edge")
	if err != nil {
		return suite{}, err
	}
	end := func() { os.RemoveAll(temp) }
	data, err := edgeTokens()
	if err == nil {
		err = os.WriteFile(filepath.Join(temp, "data.json"), data, 0o600)
	}
	if err != nil {
		end()
		return suite{}, err
	}
	tables := []table{&edgeSizes{root: root}}
	for _, name := range edgehost.Names {
		version, err := edgehost.Version(root, name)
		if err != nil {
			fmt.Printf("%s is left out: %v\n", name, err)
			continue
		}
		tables = append(tables, &edgeTable{name: name, version: version, root: root, temp: temp})
		if name == "workerd" {
			tables = append(tables, &edgeFirst{root: root, temp: temp})
		}
	}
	return suite{tables: tables, end: end}, nil
}

// edgeTokens makes the tokens and the key set, as bench/edge reads them.
func edgeTokens() ([]byte, error) {
	var public []token.Key
	mint := func(alg string, n int, key *issuer.Key) ([]string, error) {
		ring, err := issuer.NewRing(key)
		if err != nil {
			return nil, err
		}
		i, err := issuer.New(issuer.Config{Issuer: issuerName, Audience: audience, Ring: ring})
		if err != nil {
			return nil, err
		}
		now := time.Now().Add(-time.Second)
		var random [16]byte
		raws := make([]string, n)
		for k := range raws {
			rand.Read(random[:])
			id, err := token.NewSessionID("abc", random)
			if err != nil {
				return nil, err
			}
			raw, err := i.Mint(token.Claims{Session: id, Subject: fmt.Sprint("user-", k), Generation: 1, IssuedAt: now, Expires: now.Add(14 * time.Minute)})
			if err != nil {
				return nil, err
			}
			raws[k] = raw.Reveal()
		}
		return raws, nil
	}
	tokens := map[string][]string{}
	for _, alg := range []string{"EdDSA", "ES256"} {
		key, err := issuer.GenerateKey(alg)
		if err != nil {
			return nil, err
		}
		public = append(public, key.Public())
		if tokens[alg], err = mint(alg, edgeCold, key); err != nil {
			return nil, err
		}
		if alg == "EdDSA" {
			if tokens["warm"], err = mint(alg, edgeWarm, key); err != nil {
				return nil, err
			}
		}
	}
	jwks, err := token.AppendJWKS(nil, public...)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{"issuer": issuerName, "audience": audience, "jwks": json.RawMessage(jwks), "tokens": tokens})
}

// edgeSizes is what has to be downloaded.
type edgeSizes struct {
	root, text string
	missed     int
}

func (s *edgeSizes) measure(int) {
	npm := filepath.Join(s.root, "edge", "npm")
	out, err := exec.Command("node", filepath.Join(s.root, "edge", "size.mjs"), filepath.Join(npm, "host.wasm"), "480", filepath.Join(npm, "own.wasm"), "620").Output()
	s.text, s.missed = string(out), 0
	if err != nil {
		s.missed = 1
	}
}

func (s *edgeSizes) print() { fmt.Printf("\nedge module: KiB\n\n%s", s.text) }

func (s *edgeSizes) short() int { return s.missed }

// A contender is one way to check tokens.
type contender struct {
	Group string    `json:"group"`
	Name  string    `json:"name"`
	Us    []float64 `json:"us"` // µs a check, one of each turn
}

// started is how long a start takes, ms, several times; no compile where the runtime does that alone.
type started struct {
	Compile     []float64 `json:"compile"`
	Instantiate []float64 `json:"instantiate"`
}

// edgeTable is all checks in one runtime.
type edgeTable struct {
	name, version, root, temp string
	err                       error
	figures                   struct {
		Started map[string]started `json:"started"`
		Rows    []contender        `json:"rows"`
	}
}

// measure takes up to three passes, until every goal is met. All turns of all passes count, so that more of them only take noise away.
func (t *edgeTable) measure(rounds int) {
	for range 3 {
		before := t.figures.Rows
		t.figures.Rows = nil
		t.pass(rounds)
		if t.err != nil {
			return
		}
		for i := range before {
			t.figures.Rows[i].Us = append(before[i].Us, t.figures.Rows[i].Us...)
		}
		if t.short() == 0 {
			return
		}
	}
}

func (t *edgeTable) pass(rounds int) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var out []byte
	switch t.name {
	case "workerd":
		t.err = t.inWorkerd(ctx, rounds)
		return
	case "chromium":
		out, t.err = t.inChromium(ctx)
	default:
		npm := filepath.Join(t.root, "edge", "npm")
		cmd := edgehost.Command(ctx, t.root, t.name, filepath.Join(t.root, "bench", "edge", "run.mjs"), filepath.Join(npm, "host.wasm"), filepath.Join(npm, "own.wasm"),
			filepath.Join(t.temp, "data.json"), filepath.Join(edgehost.Dir(t.root), "node_modules"), fmt.Sprint(rounds))
		var errs bytes.Buffer
		cmd.Stderr = &errs
		if out, t.err = cmd.Output(); t.err != nil {
			t.err = fmt.Errorf("%w: %.2000s", t.err, errs.String())
		}
	}
	if t.err == nil {
		t.err = json.Unmarshal(out, &t.figures)
	}
}

// files are those of the wrapper, of jose and of the measurement.
func (t *edgeTable) files() (all []string, err error) {
	jose := "internal/e2e/edge/runtimes/node_modules/jose/dist/webapi/"
	for _, pattern := range []string{"edge/npm/*.js", jose + "*.js", jose + "*/*.js", jose + "*/*/*.js", "bench/edge/*.js"} {
		files, err := edgehost.Files(t.root, pattern)
		if err != nil && !strings.HasSuffix(pattern, "*/*/*.js") {
			return nil, err
		}
		all = append(all, files...)
	}
	return all, nil
}

func (t *edgeTable) inChromium(ctx context.Context) ([]byte, error) {
	files, err := t.files()
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	edgehost.Serve(mux, t.root, append(files, "edge/npm/host.wasm", "edge/npm/own.wasm")...)
	mux.HandleFunc("GET /data.json", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, filepath.Join(t.temp, "data.json")) })
	done, failed := make(chan []byte, 1), make(chan string, 1)
	mux.HandleFunc("POST /figures", func(w http.ResponseWriter, r *http.Request) {
		if b, err := io.ReadAll(r.Body); err == nil {
			done <- b
		}
	})
	mux.HandleFunc("POST /failure", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(io.LimitReader(r.Body, 4096))
		failed <- string(b)
	})
	profile, err := os.MkdirTemp(t.temp, "profile")
	if err != nil {
		return nil, err
	}
	closing, err := edgehost.OpenChromium(ctx, mux, "/bench/edge/page.js", profile)
	if err != nil {
		return nil, err
	}
	defer closing()
	select {
	case b := <-done:
		return b, nil
	case why := <-failed:
		return nil, errors.New(why)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// inWorkerd takes the time outside: clocks stand still in there.
func (t *edgeTable) inWorkerd(ctx context.Context, rounds int) error {
	w, err := t.worker(ctx, "worker.js", map[string]string{"host.wasm": "host.wasm", "own.wasm": "own.wasm"})
	if err != nil {
		return err
	}
	defer w.Close()
	list, _, err := askWorker(ctx, w, "/list")
	if err != nil {
		return err
	}
	if err := json.Unmarshal(list, &t.figures.Rows); err != nil {
		return err
	}
	took := func(path string) time.Duration {
		if err != nil {
			return time.Second
		}
		var d time.Duration
		_, d, err = askWorker(ctx, w, path)
		return d
	}
	empty := time.Hour
	for range 50 {
		empty = min(empty, took("/empty"))
	}
	t.figures.Started = map[string]started{}
	for _, name := range []string{"host", "own"} {
		var s started
		for range 5 {
			s.Instantiate = append(s.Instantiate, (took("/start?module="+name)-empty).Seconds()*1000)
		}
		t.figures.Started[name] = s
	}
	n := make([]int, len(t.figures.Rows))
	run := func(i int) time.Duration {
		took(fmt.Sprintf("/arrive?c=%d&n=%d", i, n[i]))
		return took(fmt.Sprintf("/run?c=%d", i)) - empty
	}
	var order []int
	for i := range n {
		order = append(order, i)
		for n[i] = 1; run(i) < 8*time.Millisecond; {
			n[i] *= 2
		}
	}
	for range rounds {
		mathrand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, i := range order {
			r := &t.figures.Rows[i]
			r.Us = append(r.Us, float64(run(i).Nanoseconds())/1000/float64(n[i]))
		}
	}
	return err
}

// worker starts one of the workers of bench/edge. binaries are the modules that it imports, by the names that they have there.
func (t *edgeTable) worker(ctx context.Context, entry string, binaries map[string]string) (*edgehost.Workerd, error) {
	files, err := t.files()
	if err != nil {
		return nil, err
	}
	main := "bench/edge/" + entry
	modules := []edgehost.Module{{Name: main, Kind: "esModule", File: filepath.Join(t.root, main)}}
	for _, f := range files {
		if !strings.HasPrefix(f, "bench/") || f == "bench/edge/bench.js" {
			modules = append(modules, edgehost.Module{Name: f, Kind: "esModule", File: filepath.Join(t.root, f)})
		}
	}
	for name, file := range binaries {
		modules = append(modules, edgehost.Module{Name: "bench/edge/" + name, Kind: "wasm", File: filepath.Join(t.root, "edge", "npm", file)})
	}
	modules = append(modules, edgehost.Module{Name: "bench/edge/data.json", Kind: "json", File: filepath.Join(t.temp, "data.json")})
	dir, err := os.MkdirTemp(t.temp, "worker")
	if err != nil {
		return nil, err
	}
	return edgehost.StartWorkerd(ctx, t.root, dir, modules)
}

// askWorker asks and says how long the answer took.
func askWorker(ctx context.Context, w *edgehost.Workerd, path string) ([]byte, time.Duration, error) {
	r, err := http.NewRequestWithContext(ctx, "GET", "http://"+w.Addr+path, nil)
	if err != nil {
		return nil, 0, err
	}
	began := time.Now()
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, 0, err
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	took := time.Since(began)
	if err == nil && a.StatusCode != 200 {
		err = fmt.Errorf("%s: status %d: %.500s", path, a.StatusCode, b)
	}
	return b, took, err
}

// ratio is the median of the ratios within the turns.
func ratio(a, b contender) float64 {
	var all []float64
	for i := range min(len(a.Us), len(b.Us)) {
		all = append(all, a.Us[i]/b.Us[i])
	}
	return median(all)
}

func (t *edgeTable) peer(c contender, name string) (contender, bool) {
	for _, p := range t.figures.Rows {
		if p.Group == c.Group && p.Name == name {
			return p, true
		}
	}
	return contender{}, false
}

// verdict says what a row was to reach and whether it did.
func (t *edgeTable) verdict(c contender) (goal string, missed bool) {
	if !strings.HasPrefix(c.Name, "counterfoil, host") {
		return "", false
	}
	if jose, ok := t.peer(c, "jose"); ok {
		r := ratio(c, jose)
		return fmt.Sprintf("<= 1.00 x jose: %.2f", r), r > 1
	}
	us := median(c.Us)
	goal, missed = fmt.Sprintf("<= %v", mostWarm), us > float64(mostWarm.Nanoseconds())/1000
	if fast, ok := t.peer(c, "fast-jwt, cache"); ok {
		r := ratio(c, fast)
		goal, missed = goal+fmt.Sprintf(", < fast-jwt's cache: %.2f", r), missed || r >= 1
	}
	return goal, missed
}

func (t *edgeTable) short() (n int) {
	if t.err != nil {
		return 1
	}
	for _, c := range t.figures.Rows {
		if _, missed := t.verdict(c); missed {
			n++
		}
	}
	return n
}

func (t *edgeTable) print() {
	fmt.Printf("\nedge module in %s %s\n\n", t.name, t.version)
	if t.err != nil {
		fmt.Println("FAILED:", t.err)
		return
	}
	for _, name := range []string{"host", "own"} {
		s := t.figures.Started[name]
		if len(s.Compile) > 0 {
			fmt.Printf("%s.wasm: compile %.1f ms, instantiate %.1f ms\n", name, median(s.Compile), median(s.Instantiate))
		} else {
			fmt.Printf("%s.wasm: instantiate %.1f ms\n", name, median(s.Instantiate))
		}
	}
	fmt.Printf("\n| %-26s | %-28s | %10s | %-44s |\n|---|---|---:|---|\n", "group", "row", "us", "goal")
	for _, c := range t.figures.Rows {
		goal, missed := t.verdict(c)
		fmt.Printf("| %-26s | %-28s | %10.2f | %-44s |\n", c.Group, c.Name, median(c.Us), mark(goal, missed))
	}
}

// edgeFirst is the first check of a worker that has just started, beside an empty answer of the same one. The worker loads with the first request, which is therefore another one.
type edgeFirst struct {
	root, temp         string
	err                error
	load, empty, check []float64 // ms
}

func (t *edgeFirst) measure(int) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	for range firstChecks {
		if t.err = t.once(ctx); t.err != nil {
			return
		}
	}
}

func (t *edgeFirst) once(ctx context.Context) error {
	of := edgeTable{root: t.root, temp: t.temp}
	w, err := of.worker(ctx, "first.js", map[string]string{"module.wasm": "host.wasm"})
	if err != nil {
		return err
	}
	defer w.Close()
	for _, ask := range []struct {
		path, want string
		all        *[]float64
	}{{"/empty", "empty", &t.load}, {"/empty", "empty", &t.empty}, {"/check", "good", &t.check}} {
		b, took, err := askWorker(ctx, w, ask.path)
		if err != nil {
			return err
		}
		if string(b) != ask.want {
			return fmt.Errorf("%s: %s", ask.path, b)
		}
		*ask.all = append(*ask.all, took.Seconds()*1000)
	}
	return nil
}

func (t *edgeFirst) above() float64 { return median(t.check) - median(t.empty) }

func (t *edgeFirst) short() int {
	if t.err != nil || t.above() > mostFirst.Seconds()*1000 {
		return 1
	}
	return 0
}

func (t *edgeFirst) print() {
	fmt.Print("\nedge module in workerd: the first check of a worker that has just started\n\n")
	if t.err != nil {
		fmt.Println("FAILED:", t.err)
		return
	}
	fmt.Printf("loading the worker %.0f ms, then an empty answer %.2f ms, the first check %.2f ms: %s\n", median(t.load), median(t.empty), median(t.check),
		mark(fmt.Sprintf("<= %v above it: %.2f ms", mostFirst, t.above()), t.short() > 0))
}
