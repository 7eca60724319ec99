package deps_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/require"

	"github.com/counterfoil/counterfoil/internal/deps"
)

const (
	jwt       = "github.com/golang-jwt/jwt/v5"
	goRedis   = "github.com/redis/go-redis/v9"
	miniredis = "github.com/alicebob/miniredis/v2"
	fiber     = "github.com/gofiber/fiber/v2"
)

// Imports differ by system and by build tag.
var builds = []struct{ goos, goarch, tags string }{
	{"linux", "amd64", ""},
	{"darwin", "arm64", ""},
	{"windows", "amd64", ""},
	{"js", "wasm", ""},
	{"js", "wasm", "es256"},
	{"wasip1", "wasm", ""},
	{"wasip1", "wasm", "es256"},
}

func TestModule(t *testing.T) {
	said := map[string]bool{}
	for _, b := range builds {
		var graph []deps.Package
		for _, p := range list(t, b.goos, b.goarch, b.tags) {
			graph = append(graph, deps.Package{Path: p.ImportPath, Module: p.module(), Imports: p.Imports})
		}
		for _, line := range deps.Check(deps.Rooms, deps.Libraries, graph) {
			if !said[line] {
				said[line] = true
				t.Errorf("for %s/%s %s: %s", b.goos, b.goarch, b.tags, line)
			}
		}
	}
}

// A library enters the module with a reason.
func TestGoMod(t *testing.T) {
	var mod struct {
		Module  struct{ Path string }
		Require []struct {
			Path     string
			Indirect bool
		}
	}
	if err := json.Unmarshal(goTool(t, nil, "mod", "edit", "-json"), &mod); err != nil {
		t.Fatal(err)
	}
	if mod.Module.Path != deps.Module {
		t.Errorf("the module is %s, the table is for %s", mod.Module.Path, deps.Module)
	}
	for _, r := range mod.Require {
		if !r.Indirect && !slices.ContainsFunc(deps.Libraries, func(l deps.Library) bool {
			return l.Path == r.Path || slices.Contains(l.Brings, r.Path)
		}) {
			t.Errorf("go.mod requires %s, which is not in the table: heavy libraries live in nested modules, others are entered with a reason", r.Path)
		}
	}
}

// Every rule has its reason, and names only what there is.
func TestTable(t *testing.T) {
	known := map[string]bool{}
	for _, r := range deps.Rooms {
		if known[r.Path] {
			t.Errorf("%s is in the table twice", r.Path)
		}
		known[r.Path] = true
	}
	for _, l := range deps.Libraries {
		if l.Why == "" {
			t.Errorf("%s: no reason", l.Path)
		}
		for _, room := range l.For {
			if !known[room] {
				t.Errorf("%s is for %s, which is no room", l.Path, room)
			}
		}
	}
	for _, l := range deps.Libraries {
		for _, path := range append([]string{l.Path}, l.Brings...) {
			known[path] = true
		}
	}
	for _, r := range deps.Rooms {
		if r.Why == "" {
			t.Errorf("%s: no reason", r.Path)
		}
		for _, path := range r.Imports {
			if !known[path] {
				t.Errorf("%s may import %s, which is neither a room nor a library", r.Path, path)
			}
		}
	}
}

// The rules, each broken on purpose: a checker that finds nothing looks just like a module in order.
func TestBrokenRules(t *testing.T) {
	tests := []struct {
		name  string
		added string   // imports added to a module in order: "who what", separated by commas
		want  []string // how the lines begin
	}{
		{"in order", "", nil},
		{"programs choose freely", "examples/demo httpadapter, examples/demo " + miniredis + ", cmd/counterfoil store", nil},
		{"the edge gets the signing library", "revocation " + jwt, []string{"revocation imports " + jwt + ": "}},
		{"token uses fmt", "token fmt", []string{"token imports fmt: "}},
		{"revocation uses encoding/json", "revocation encoding/json", []string{"revocation imports encoding/json: "}},
		{"token speaks HTTP", "token net/http", []string{"token imports net/http: "}},
		{"token fetches its keys", "token token/jwks", []string{"token imports token/jwks: "}},
		{"token learns of revocation", "token revocation", []string{"token imports revocation: "}},
		{"the engine signs by itself", ". " + jwt, []string{". imports " + jwt + ": "}},
		{"the engine picks a store", ". store", []string{". imports store: "}},
		{"the engine picks a framework", ". fiberadapter", []string{". imports fiberadapter: "}},
		{"net/http brings Fiber", "httpadapter " + fiber, []string{"httpadapter imports " + fiber + ": "}},
		{"a store brings Fiber", "store " + fiber, []string{"store imports " + fiber + ": "}},
		{"a store picks an adapter", "store httpadapter", []string{"store imports httpadapter: "}},
		{"every server carries miniredis", "store store/embedded", []string{"store imports store/embedded: "}},
		{"an internal package is not listed", "revocation internal/clock", []string{"revocation imports internal/clock: "}},
		{"a new room", "cookies token", []string{"cookies is in no room: "}},
		{"a new library", "store example.com/retry", []string{"store imports example.com/retry: "}},
		{"a new library in a program", "examples/demo example.com/retry", []string{
			"examples/demo reaches example.com/retry (examples/demo -> example.com/retry): no library of the table"}},
		{"a library brings another one", fiber + " example.com/telemetry", []string{
			"fiberadapter reaches example.com/telemetry (fiberadapter -> " + fiber + " -> example.com/telemetry): no library of the table"}},
		{"two at once", "token fmt, revocation " + goRedis, []string{"token imports fmt: ", "revocation imports " + goRedis + ": "}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			compare(t, deps.Check(deps.Rooms, deps.Libraries, inOrder(tt.added)), tt.want)
		})
	}
}

// An entry that allows one import does not allow what comes behind it.
func TestWeakenedTable(t *testing.T) {
	tests := []struct {
		name          string
		room, entered string // entered in the table
		added         string
		want          []string
	}{
		{"the engine may import a store", ".", "store", ". store", []string{
			". reaches " + goRedis + " (. -> store -> " + goRedis + "): "}},
		{"net/http may import Fiber's adapter", "httpadapter", "fiberadapter", "httpadapter fiberadapter", []string{
			"httpadapter reaches " + fiber + " (httpadapter -> fiberadapter -> " + fiber + "): "}},
		{"a library behind an internal package", "revocation", "internal/clock", "revocation internal/clock, internal/clock " + goRedis, []string{
			"revocation reaches " + goRedis + " (revocation -> internal/clock -> " + goRedis + "): "}},
		{"a room behind an internal package", "revocation", "internal/clock", "revocation internal/clock, internal/clock token/issuer", []string{
			"revocation reaches token/issuer (revocation -> internal/clock -> token/issuer): "}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rooms := slices.Clone(deps.Rooms)
			at := slices.IndexFunc(rooms, func(r deps.Room) bool { return r.Path == tt.room })
			rooms[at].Imports = append(slices.Clone(rooms[at].Imports), tt.entered)
			compare(t, deps.Check(rooms, deps.Libraries, inOrder(tt.added)), tt.want)
		})
	}
}

// compare wants exactly these lines, whose beginnings are given.
func compare(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// inOrder returns the graph of a small module that keeps all rules, with imports added to it.
func inOrder(added string) []deps.Package {
	imports := "crypto/ed25519 fmt, token crypto/ed25519, " + // fmt comes with crypto: only an import of its own counts
		"token/issuer token, token/issuer " + jwt + ", token/jwks token, token/jwks net/http, " +
		"revocation token, edge revocation, . token/issuer, . revocation, " +
		goRedis + " github.com/cespare/xxhash/v2, store ., store " + goRedis + ", " +
		"store/embedded store, store/embedded " + miniredis + ", " +
		"httpadapter ., httpadapter token/jwks, fiberadapter httpadapter, fiberadapter " + fiber + ", " +
		"examples/demo fiberadapter, examples/demo store, " + added
	std := []string{"crypto/ed25519", "encoding/json", "fmt", "net/http"}
	var graph []deps.Package
	at := map[string]int{}
	enter := func(path string) int {
		p := deps.Package{Path: path}
		switch {
		case path == ".":
			p = deps.Package{Path: deps.Module, Module: deps.Module}
		case strings.Contains(path, "."):
			p.Module = path
		case !slices.Contains(std, path):
			p = deps.Package{Path: deps.Module + "/" + path, Module: deps.Module}
		}
		if _, ok := at[path]; !ok {
			at[path] = len(graph)
			graph = append(graph, p)
		}
		return at[path]
	}
	for edge := range strings.SplitSeq(imports, ",") {
		if pair := strings.Fields(edge); len(pair) == 2 {
			who, what := enter(pair[0]), enter(pair[1])
			graph[who].Imports = append(graph[who].Imports, graph[what].Path)
		}
	}
	return graph
}

// Whoever opens a package's page reads one comment, and it says what the package is.
func TestPackageComments(t *testing.T) {
	dirs := map[string]string{} // package name by directory
	for _, b := range builds {
		for _, p := range list(t, b.goos, b.goarch, b.tags) {
			if p.module() == deps.Module && p.Name != "" {
				dirs[p.Dir] = p.Name
			}
		}
	}
	for dir, name := range dirs {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		var commented []string
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Error(err)
				continue
			}
			if parsed.Doc == nil {
				continue
			}
			commented = append(commented, filepath.Base(file))
			if want := "Package " + name + " "; name != "main" && !strings.HasPrefix(parsed.Doc.Text(), want) {
				t.Errorf("%s: the package comment does not begin with %q", file, want)
			}
		}
		if len(commented) != 1 {
			t.Errorf("%s: %d files with a package comment, want 1: %v", dir, len(commented), commented)
		}
	}
}

func Example() {
	graph := []deps.Package{
		{Path: deps.Module + "/token", Module: deps.Module, Imports: []string{"fmt"}},
		{Path: "fmt"},
	}
	rooms := []deps.Room{{Path: "token", Not: []string{"fmt"}, Why: "fmt costs 134 KiB in WebAssembly"}}
	for _, line := range deps.Check(rooms, nil, graph) {
		fmt.Println(line)
	}
	// Output: token imports fmt: fmt costs 134 KiB in WebAssembly
}

// listed is what go list says of one package.
type listed struct {
	ImportPath, Name, Dir string
	Standard              bool
	Module                *struct{ Path string }
	Imports               []string
}

// module returns the path of the package's module. A package that none provides stands for a module of its own, which no table has.
func (p listed) module() string {
	switch {
	case p.Standard:
		return ""
	case p.ImportPath == deps.Module || strings.HasPrefix(p.ImportPath, deps.Module+"/"):
		return deps.Module
	case p.Module == nil:
		return p.ImportPath
	default:
		return p.Module.Path
	}
}

// list returns the module's packages and all that they import when built for a system with tags.
func list(t *testing.T, goos, goarch, tags string) []listed {
	t.Helper()
	out := goTool(t, []string{"GOOS=" + goos, "GOARCH=" + goarch, "CGO_ENABLED=0"},
		"list", "-e", "-deps", "-buildvcs=false", "-tags="+tags, "-json=ImportPath,Name,Dir,Standard,Module,Imports", "./...")
	var packages []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// goTool returns what the go command prints in the root of the module.
func goTool(t *testing.T, env []string, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		require.Missing(t, "go", "the go command is not on PATH")
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = new(bytes.Buffer)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, cmd.Stderr)
	}
	return out
}
