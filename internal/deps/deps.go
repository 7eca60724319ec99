// Package deps says which package of this module may import what, and why. [Rooms] and [Libraries] are the rules, [Check] holds a
// graph of imports against them; the test does so with the module as it is, for every system it is built for.
//
// # How to change it
//
// A new package needs an entry in Rooms, a new library one in Libraries, each with the reason. An entry that
// takes a rule back is a decision about the design, not a repair of the test.
package deps

import (
	"fmt"
	"slices"
	"strings"
)

// Module is the path of the module that the rules are for.
const Module = "github.com/counterfoil/counterfoil"

// The libraries of the table.
const (
	jwt       = "github.com/golang-jwt/jwt/v5"
	goRedis   = "github.com/redis/go-redis/v9"
	miniredis = "github.com/alicebob/miniredis/v2"
	fiber     = "github.com/gofiber/fiber/v2"
	fasthttp  = "github.com/valyala/fasthttp"
	goleak    = "go.uber.org/goleak"
	rapid     = "pgregory.net/rapid"
	porcupine = "github.com/anishathalye/porcupine"
	useragent = "github.com/mileusna/useragent"
)

// Room is the rule for one package, or for a tree of packages.
type Room struct {
	// Path is the package's path inside the module, "." for the root. A path that ends in "/..." stands for all
	// packages below it, and these are free: they may import anything of the module and any library.
	Path string
	// Imports are the rooms and the libraries that the package itself may import, besides the standard library.
	Imports []string
	// Not are packages of the standard library that the package itself must not import.
	Not []string
	Why string
}

// heavy is what a package that decides the size of the WebAssembly module does without. Crypto packages bring fmt along
// where they are linked natively; what counts is that nothing here adds to it.
var heavy = []string{"fmt", "encoding/json", "log/slog", "net", "net/http"}

// Time and context come to these packages from internal/lean, which is the standard library's but in the edge module, where they cost 45 KiB. What is not
// built for WebAssembly may import them itself, but then its neighbours have types of the same name.
var lean = []string{"internal/lean/time", "internal/lean/context", "internal/lean/sync"}

// Rooms is the table. Tests are not bound by it: they may import what they need to.
var Rooms = []Room{
	{"internal/lean/time", nil, heavy,
		"the standard package time, but in the edge module, where it would cost 45 KiB of 480"},
	{"internal/lean/context", []string{"internal/lean/time"}, heavy,
		"the standard package context, which brings time along"},
	{"internal/lean/sync", nil, heavy,
		"the standard package sync, but in the edge module, which has one thread"},
	{"token", lean, heavy,
		"whoever verifies trusts the standard library alone; with revocation it decides the size of the edge module, where fmt costs 134 KiB and encoding/json 252"},
	{"token/issuer", []string{"token", jwt}, nil,
		"only those who sign carry a signing library"},
	{"token/jwks", []string{"token"}, nil,
		"HTTP is here so that it is not in token"},
	{"token/tokentest", []string{"token", "token/issuer"}, nil,
		"users test what they build on tokens without a Redis"},
	{"revocation", append([]string{"token"}, lean...), heavy,
		"it is compiled into the edge module beside token, and an edge needs no client of Redis to decide"},
	{"revocation/feed", []string{"token", "revocation"}, nil,
		"HTTP is here so that it is not in revocation; it serves verifiers without Redis"},
	{"internal/backlog", nil, nil,
		"the engine's queue of what has to be tried again, apart to be tested without an engine"},
	{"internal/deadline", nil, nil,
		"engine and store bound each step, the one around the other, with one context for both"},
	{"internal/device", []string{"token", useragent}, nil,
		"what a page of devices shows of a session, apart because it needs none"},
	{".", []string{"token", "token/issuer", "revocation", "internal/backlog", "internal/deadline", "internal/device"}, nil,
		"the engine decides; where sessions are kept and how requests arrive is chosen by whoever builds a program from it"},
	{"store", []string{".", "token", "revocation", "internal/deadline", goRedis}, nil,
		"the only place that speaks to Redis"},
	{"store/embedded", []string{".", "token", "revocation", "store", goRedis, miniredis}, nil,
		"a stand-in for Redis, apart so that no server carries it unasked"},
	{"store/storetest", []string{".", "token", "revocation"}, nil,
		"the rules of a Store, for stores that know nothing of Redis as well"},
	{"internal/elapse", nil, nil,
		"both test rigs move a store's clock, one of them for users"},
	{"sessiontest", []string{".", "token", "token/issuer", "revocation", "store", "store/embedded", "internal/elapse"}, nil,
		"for the tests of applications: everything real but the network and the clock"},
	{"internal/opened", []string{"."}, nil,
		"the two adapters share the exchange of a request, and nobody else may"},
	{"httpadapter", []string{".", "token", "token/jwks", "revocation", "revocation/feed", "internal/opened"}, nil,
		"the endpoints are written once, for net/http; the store reaches them as an interface"},
	{"fiberadapter", []string{".", "token", "revocation", "httpadapter", "internal/opened", fiber, fasthttp}, nil,
		"all that knows Fiber; fasthttp because Fiber's own signatures name its types"},
	{"fiberadapter/storage", []string{goRedis}, nil,
		"Fiber's own middleware on the same Redis; apart, so that the adapter of an application with another store carries no client"},
	{"edge", append([]string{"token", "revocation"}, lean...), heavy,
		"the WebAssembly module is measured by what it downloads"},
	{"edge/module", []string{"edge", "token", "revocation"}, heavy,
		"exports package edge, and adds nothing"},

	{"cmd/...", nil, nil, "programs choose their parts"},
	{"examples/...", nil, nil, "programs choose their parts"},
	{"internal/...", nil, nil, "nobody outside can import them; a room that does must list them"},
}

// Library is a module that this one requires.
type Library struct {
	Path   string
	Brings []string // modules that come with it
	// For are the rooms that may end up with it, directly or through others. Free rooms always may.
	For []string
	Why string
}

// Libraries are all modules that the module may require; heavier ones live in nested modules.
var Libraries = []Library{
	{jwt, nil,
		[]string{"token/issuer", "token/tokentest", ".", "store", "store/embedded", "store/storetest", "sessiontest", "internal/opened", "httpadapter", "fiberadapter"},
		"it signs; verifying is token's own, and an edge pays 685 KiB for this library if it gets in"},
	{goRedis, []string{"github.com/cespare/xxhash/v2", "go.uber.org/atomic", "golang.org/x/sys"},
		[]string{"store", "store/embedded", "sessiontest", "fiberadapter/storage"},
		"other stores, and edges fed over HTTP, do without Redis"},
	{miniredis, []string{"github.com/yuin/gopher-lua"},
		[]string{"store/embedded", "sessiontest"},
		"it serves demos and tests; a server that linked it could start it by mistake"},
	{fiber, []string{
		fasthttp, "github.com/andybalholm/brotli", "github.com/google/uuid", "github.com/klauspost/compress", "github.com/mattn/go-colorable",
		"github.com/mattn/go-isatty", "github.com/mattn/go-runewidth", "github.com/rivo/uniseg", "github.com/valyala/bytebufferpool",
		"github.com/valyala/tcplisten", "golang.org/x/sys"},
		[]string{"fiberadapter"},
		"Fiber does not compile to WebAssembly, and a program on net/http has no use for it"},
	{useragent, nil,
		[]string{"internal/device", ".", "store", "store/embedded", "store/storetest", "internal/opened", "httpadapter", "fiberadapter", "sessiontest"},
		"it makes the label of a device from a header, once at each login; a table of names that is not ours to keep"},
	{goleak, nil, nil, "for tests: no goroutine is left behind"},
	{rapid, nil, nil, "for tests: properties over random operations"},
	{porcupine, nil, nil, "for tests: histories of concurrent calls are checked for linearizability; it has no dependencies"},
}

// Package is one package in a graph of imports.
type Package struct {
	Path    string   // import path
	Module  string   // path of its module, "" for the standard library
	Imports []string // import paths, tests left out
}

// Check returns one line for each rule that a package of the module breaks. The graph holds the module's packages and all that they
// import, directly or not, each after those that it imports (the order of go list -deps). What a package inherits
// from one that breaks a rule is not said again.
func Check(rooms []Room, libraries []Library, graph []Package) []string {
	c := checker{
		rooms:     map[string]Room{},
		libraries: libraries,
		graph:     map[string]Package{},
		blamed:    map[string]map[string]bool{},
	}
	for _, r := range rooms {
		c.rooms[r.Path] = r
	}
	for _, p := range graph {
		c.graph[p.Path] = p
	}
	var broken []string
	for _, p := range graph {
		if p.Module == Module {
			broken = append(broken, c.check(p)...)
		}
	}
	return broken
}

type checker struct {
	rooms     map[string]Room
	libraries []Library
	graph     map[string]Package
	blamed    map[string]map[string]bool // package -> rooms and libraries that it must not reach, and does
}

// check walks through all that p imports, and stops where a rule is broken.
func (c *checker) check(p Package) []string {
	name := roomOf(p)
	room, free, ok := c.room(name)
	if !ok {
		return []string{name + " is in no room: enter it in the table of internal/deps, with what it may import and why"}
	}
	may := c.reachable(room)
	blamed := map[string]bool{}
	c.blamed[p.Path] = blamed

	var broken []string
	from := map[string]string{p.Path: ""} // who imported it first
	for queue := []string{p.Path}; len(queue) > 0; queue = queue[1:] {
		direct := queue[0] == p.Path
		for _, path := range c.graph[queue[0]].Imports {
			if _, seen := from[path]; seen {
				continue
			}
			from[path] = queue[0]
			target := c.graph[path]
			if target.Module == "" {
				if direct && slices.Contains(room.Not, path) {
					broken = append(broken, fmt.Sprintf("%s imports %s: %s", name, path, room.Why))
				}
				continue
			}

			reached := roomOf(target)
			how := fmt.Sprintf("reaches %s (%s)", reached, c.chain(from, path))
			why := ""
			switch {
			case direct && !free && !slices.Contains(room.Imports, reached):
				how, why = "imports "+reached, room.Why
			case target.Module != Module:
				why = c.whyNotLibrary(reached, room.Path, free)
			case !free && !may[reached]:
				why = room.Why
			}
			if why == "" {
				queue = append(queue, path)
				continue
			}
			inherited := slices.ContainsFunc(p.Imports, func(q string) bool { return c.blamed[q][reached] })
			if !blamed[reached] && !inherited {
				broken = append(broken, fmt.Sprintf("%s %s: %s", name, how, why))
			}
			blamed[reached] = true
		}
	}
	return broken
}

// room returns the rule for a package of the module, and whether it is free.
func (c *checker) room(name string) (r Room, free, ok bool) {
	if r, ok = c.rooms[name]; ok {
		return r, false, true
	}
	top, _, _ := strings.Cut(name, "/")
	r, ok = c.rooms[top+"/..."]
	return r, ok, ok
}

// reachable returns the rooms that a room may reach: those it may import, and what these may.
func (c *checker) reachable(room Room) map[string]bool {
	may := map[string]bool{}
	for queue := room.Imports; len(queue) > 0; queue = queue[1:] {
		if !may[queue[0]] {
			may[queue[0]] = true
			queue = append(slices.Clone(queue), c.rooms[queue[0]].Imports...)
		}
	}
	return may
}

// whyNotLibrary returns the reason why a room must not end up with a library, "" if it may.
func (c *checker) whyNotLibrary(module, room string, free bool) string {
	why := "no library of the table is or brings this module: enter it in internal/deps with its reason"
	for _, l := range c.libraries {
		if l.Path == module || slices.Contains(l.Brings, module) {
			if free || slices.Contains(l.For, room) {
				return ""
			}
			why = l.Why
		}
	}
	return why
}

// roomOf returns the name by which the table knows a package: its path inside the module, or the library it belongs to.
func roomOf(p Package) string {
	if p.Module == Module {
		return short(p.Path)
	}
	return p.Module
}

// short returns the path of one of the module's packages inside it, and any other path as it is.
func short(path string) string {
	if path == Module {
		return "."
	}
	return strings.TrimPrefix(path, Module+"/")
}

// chain spells out how a package came to be imported.
func (c *checker) chain(from map[string]string, path string) string {
	steps := []string{}
	for ; path != ""; path = from[path] {
		steps = append(steps, roomOf(c.graph[path]))
	}
	slices.Reverse(steps)
	return strings.Join(steps, " -> ")
}
