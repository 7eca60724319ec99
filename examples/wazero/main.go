// Wazero checks a token by way of the WebAssembly module, in a Go program that knows nothing of Counterfoil: any host of WASI can do this, in
// whatever language. The module is the self-contained one, which needs no cryptography of its host. Compiling it takes a second or two, so what was
// compiled is kept in a directory.
//
//	make module
//	cd examples/wazero && go run . -module ../../edge/npm/own.wasm -keys keys.json -issuer https://app.example -audience https://app.example <token
//
// keys.json is what the application serves at /.well-known/jwks.json, and the file token holds one of its access tokens, such as the value of the
// session cookie. The program prints the claims, or why the token is refused. edge/README.md describes the interface. There is no revocation list
// here: a service that runs for long hands the module the frames of the feed, with question and frame.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

const version = 1 // of the module's interface

// An Edge decides about tokens. It is safe for concurrent use, one check at a time.
type Edge struct {
	runtime wazero.Runtime
	cache   wazero.CompilationCache
	began   time.Time

	mu     sync.Mutex
	module api.Module
	token  uint32 // where tokens go
	room   uint32 // bytes there
	dead   error  // the module trapped
}

// Open makes an Edge of a module, its configuration and a JWK set. cacheDir keeps what was compiled.
func Open(ctx context.Context, module []byte, cacheDir, config string, jwks []byte) (*Edge, error) {
	cache, err := wazero.NewCompilationCacheWithDir(cacheDir)
	if err != nil {
		return nil, err
	}
	e := &Edge{cache: cache, began: time.Now().Add(-time.Second), room: 8192}
	e.runtime = wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCompilationCache(cache).WithMemoryLimitPages(1024)) // 64 MiB
	if err := e.start(ctx, module, config, jwks); err != nil {
		e.Close(ctx)
		return nil, err
	}
	return e, nil
}

func (e *Edge) start(ctx context.Context, module []byte, config string, jwks []byte) error {
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, e.runtime); err != nil {
		return err
	}
	// A clock that runs and randomness are all that it gets of this machine: no files, no environment, no network.
	settings := wazero.NewModuleConfig().WithStartFunctions("_initialize").WithSysWalltime().WithSysNanotime().WithRandSource(rand.Reader).WithStderr(os.Stderr)
	var err error
	if e.module, err = e.runtime.InstantiateWithConfig(ctx, module, settings); err != nil {
		return err
	}
	switch abi, err := e.call(ctx, "abi"); {
	case err != nil:
		return err
	case abi&0xffff != version:
		return fmt.Errorf("the module speaks version %d of its interface, not %d", abi&0xffff, version)
	case abi&(1<<16) != 0:
		return errors.New("the module leaves signatures to its host: take own.wasm")
	}
	if e.token, err = e.call(ctx, "token_buffer"); err != nil {
		return err
	}
	if err := e.hand(ctx, "configure", []byte(config)); err != nil {
		return err
	}
	return e.hand(ctx, "keys", jwks)
}

// Close frees the module and what was compiled, in memory.
func (e *Edge) Close(ctx context.Context) error {
	return errors.Join(e.runtime.Close(ctx), e.cache.Close(ctx))
}

// What check answers, in the lowest three bits.
const (
	accepted = 0
	learned  = 1
	done     = 5
)

// Check returns the claims of a good token as JSON, or why it is refused: a word for what to do, and a reason for logs.
func (e *Edge) Check(ctx context.Context, raw string) (claims []byte, refusal string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.dead != nil {
		return nil, "", e.dead
	}
	// A length over that of the buffer is refused inside; what is written must not go further.
	if len(raw) <= int(e.room) && !e.module.Memory().WriteString(e.token, raw) {
		return nil, "", errors.New("no room for the token")
	}
	now := time.Now()
	const policy = -1 // what was configured
	r, err := e.call(ctx, "check", uint64(len(raw)), api.EncodeI32(policy), api.EncodeF64(float64(now.UnixMilli())), api.EncodeF64(float64(now.Sub(e.began).Milliseconds())))
	if err != nil {
		return nil, "", err
	}
	if r&7 == accepted { // as it was learned before
		if r, err = e.call(ctx, "claims", uint64(r>>3)); err != nil {
			return nil, "", err
		}
	}
	text, err := e.text(ctx)
	if err != nil {
		return nil, "", err
	}
	if r&7 == learned {
		return text, "", nil
	}
	return nil, string(text), nil // whatever else it is
}

// hand gives the module bytes for a call that takes them.
func (e *Edge) hand(ctx context.Context, name string, b []byte) error {
	at, err := e.call(ctx, "reserve", uint64(len(b)))
	if err != nil {
		return err
	}
	if at == 0 || !e.module.Memory().Write(at, b) {
		return fmt.Errorf("%s: too long, or empty", name)
	}
	r, err := e.call(ctx, name, uint64(len(b)))
	if err != nil || r&7 == done {
		return err
	}
	why, err := e.text(ctx)
	if err != nil {
		return err
	}
	return fmt.Errorf("%s: %s", name, why)
}

// text copies the text of the last answer.
func (e *Edge) text(ctx context.Context) ([]byte, error) {
	at, err := e.call(ctx, "text")
	if err != nil {
		return nil, err
	}
	n, err := e.call(ctx, "text_len")
	if err != nil {
		return nil, err
	}
	b, ok := e.module.Memory().Read(at, n)
	if !ok {
		return nil, errors.New("the text is not in memory")
	}
	return append([]byte(nil), b...), nil
}

// call calls the module. After a trap it is dead, and everything is refused.
func (e *Edge) call(ctx context.Context, name string, args ...uint64) (uint32, error) {
	f := e.module.ExportedFunction(name)
	if f == nil {
		return 0, fmt.Errorf("this is not the module: it has no %s", name)
	}
	r, err := f.Call(ctx, args...)
	if err != nil {
		e.dead = fmt.Errorf("%s: %w", name, err)
		return 0, e.dead
	}
	return uint32(r[0]), nil
}

func main() {
	module := flag.String("module", "own.wasm", "the self-contained module")
	keys := flag.String("keys", "keys.json", "a JWK set")
	issuer := flag.String("issuer", "", "who must have issued the token")
	audience := flag.String("audience", "", "for whom")
	flag.Parse()
	if err := run(context.Background(), *module, *keys, *issuer, *audience); err != nil {
		fmt.Fprintln(os.Stderr, "wazero:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, module, keys, issuer, audience string) error {
	binary, err := os.ReadFile(module)
	if err != nil {
		return err
	}
	jwks, err := os.ReadFile(keys)
	if err != nil {
		return err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	e, err := Open(ctx, binary, filepath.Join(cache, "counterfoil-wazero"), config(issuer, audience), jwks)
	if err != nil {
		return err
	}
	defer e.Close(ctx)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20) // what is far too long for a token is refused as the rest is
	for lines.Scan() {
		claims, refusal, err := e.Check(ctx, lines.Text())
		switch {
		case err != nil:
			return err
		case refusal != "":
			fmt.Println("refused:", refusal)
		default:
			fmt.Printf("%s\n", claims)
		}
	}
	return lines.Err()
}

// config is without a feed: whether a session has ended is not known then, and the policy must say that this is accepted.
func config(issuer, audience string) string {
	return "issuer " + issuer + "\naudience " + audience + "\npolicy best-effort\n"
}
