package main

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/require"

	"github.com/tetratelabs/wazero/api"

	"github.com/counterfoil/counterfoil/edge"
)

// modules starts each flavour in wazero.
func modules(t *testing.T, do func(*testing.T, *wasm)) {
	for _, name := range []string{"host", "own"} {
		t.Run(name, func(t *testing.T) {
			binary, err := os.ReadFile(filepath.Join("..", "..", "..", "edge", "npm", name+".wasm"))
			if err != nil {
				require.Missing(t, "edge", "make module builds it: %v", err)
			}
			w, closing, err := startWasm(t.Context(), binary)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(closing)
			do(t, w)
		})
	}
}

// TestMemoryIsFlat: a million checks of hostile tokens do not make the module grow by more than Go's collector plays with, in wazero; edge/npm/test does the same in Node.
func TestMemoryIsFlat(t *testing.T) {
	modules(t, func(t *testing.T, w *wasm) {
		s, err := signers()
		if err != nil {
			t.Fatal(err)
		}
		items, err := mutations(s[0], 20_000, rand.New(rand.NewPCG(7, 7)))
		if err != nil {
			t.Fatal(err)
		}
		if why := w.configure(items[0].config()); why != "" {
			t.Fatal(why)
		}
		if why := w.keys([]byte(items[0].JWKS)); why != "" {
			t.Fatal(why)
		}
		at := items[1].At
		signed, malformed := items[1:], [][]byte{nil, []byte("."), []byte(strings.Repeat("A", 8192)), []byte(strings.Repeat("a.", 4096)), make([]byte, 8192)}
		answered := func(raw []byte) edge.Status {
			w.module.Memory().Write(w.token, raw)
			r := w.call("check", uint64(len(raw)), api.EncodeI32(-1), ms(at), ms(at))
			if edge.Status(r&7) == edge.Verify {
				r = w.call("finish", uint64(r>>3), 0, ms(at), ms(at))
			}
			return edge.Status(r & 7)
		}
		for _, i := range signed[:200] {
			raw := bytesOf(i.Token)
			malformed = append(malformed, raw[:len(raw)/3], append([]byte("."), raw...))
		}
		round := func(n int) {
			for i := range n {
				if i%5 == 0 {
					raw := signed[i/5%len(signed)].Token
					if len(raw) <= 8192 {
						answered(bytesOf(raw))
					}
					continue
				}
				if got := answered(malformed[i%len(malformed)]); got != edge.Refused {
					t.Fatalf("status %d: %q", got, malformed[i%len(malformed)])
				}
			}
		}
		round(300_000)
		before := w.module.Memory().Size()
		round(700_000)
		after := w.module.Memory().Size()
		t.Logf("%.1f MiB after 300,000 checks, %.1f MiB after 1,000,000", float64(before)/(1<<20), float64(after)/(1<<20))
		if after > before+2<<20 { // Go's collector comes first when 4 MiB have been used, and so little is thrown away that this takes long
			t.Errorf("grew by %d bytes", after-before)
		}
	})
}

// TestHostileHost: lengths that are none, tickets that nobody was given, times that are none and calls out of order are refused, and the module goes on.
func TestHostileHost(t *testing.T) {
	modules(t, func(t *testing.T, w *wasm) {
		numbers := []uint64{0, 1, 2, 31, 8192, 8193, 1 << 16, 1<<27 + 1, math.MaxInt32, 1 << 31, math.MaxUint32}
		times := []uint64{0, api.EncodeF64(-1), api.EncodeF64(math.NaN()), api.EncodeF64(math.Inf(1)), api.EncodeF64(math.Inf(-1)), api.EncodeF64(1e300), ms(1)}
		refused := func(name string, args ...uint64) {
			t.Helper()
			switch s := edge.Status(w.call(name, args...) & 7); s {
			case edge.Refused, edge.Failed:
			default:
				t.Errorf("%s(%v): status %d", name, args, s)
			}
		}
		all := func(configured bool) {
			for _, n := range numbers {
				for _, at := range times {
					refused("check", n, n, at, at)
					refused("again", n, n, at, at)
					refused("finish", n, 1, at, at)
					refused("judge", n, 1, at, at)
					refused("frame", n, at, at, at, at)
					refused("finish_frame", 1, at, at)
				}
				refused("claims", n)
				refused("seed", n)
				w.call("drop", n)
				w.call("ahead", n)
				if n != 0 {
					refused("keys", n) // nothing was reserved
				}
				if !configured {
					refused("configure", n)
				}
			}
			for _, n := range []uint64{0, 1<<27 + 1, math.MaxInt32, math.MaxUint32} {
				if at := w.call("reserve", n); at != 0 {
					t.Errorf("reserve(%d) = %d", n, at)
				}
			}
			refused("question")
		}
		all(false)
		s, err := signers()
		if err != nil {
			t.Fatal(err)
		}
		items, err := mutations(s[0], 100, rand.New(rand.NewPCG(7, 7)))
		if err != nil {
			t.Fatal(err)
		}
		if why := w.configure(items[0].config()); why != "" {
			t.Fatal(why)
		}
		w.call("reserve", 0) // what was reserved before is gone
		all(true)
		for _, bad := range []string{"", "issuer", "issuer \n", "\x00", "frame-key x\n", "leeway -5\n", "entries 99999999999\n"} {
			if w.configure(bad) == "" {
				t.Errorf("the configuration %q was taken", bad)
			}
		}
		// It still decides.
		if why := w.configure(items[0].config()); why != "" {
			t.Fatal(why)
		}
		if why := w.keys([]byte(items[0].JWKS)); why != "" {
			t.Fatal(why)
		}
		accepted := 0
		for _, i := range items[1:] {
			if w.check(bytesOf(i.Token), i.At) == "accepted" {
				accepted++
				if i.want != "accepted" {
					t.Errorf("%s: accepted", i.where)
				}
			}
		}
		if accepted == 0 {
			t.Error("nothing is accepted any more")
		}
	})
}
