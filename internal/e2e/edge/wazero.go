package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/counterfoil/counterfoil/edge"
)

// wasm is the module in wazero, by its interface: edge/README.md.
type wasm struct {
	module    api.Module
	token     uint32
	functions map[string]api.Function
}

// startWasm makes an instance. closing ends it.
func startWasm(ctx context.Context, binary []byte) (w *wasm, closing func(), err error) {
	r := wazero.NewRuntime(ctx)
	closing = func() { r.Close(ctx) }
	wasi_snapshot_preview1.MustInstantiate(ctx, r)
	m, err := r.InstantiateWithConfig(ctx, binary,
		wazero.NewModuleConfig().WithStartFunctions("_initialize").WithSysNanotime().WithSysWalltime().WithRandSource(rand.Reader))
	if err != nil {
		closing()
		return nil, nil, err
	}
	w = &wasm{module: m, functions: map[string]api.Function{}}
	if v := w.call("abi"); v&0xffff != edge.ABI {
		closing()
		return nil, nil, fmt.Errorf("the module speaks version %d of its interface", v&0xffff)
	}
	w.token = w.call("token_buffer")
	return w, closing, nil
}

// call panics on a trap: the module is dead then, and so is this run.
func (w *wasm) call(name string, args ...uint64) uint32 {
	f := w.functions[name]
	if f == nil {
		f = w.module.ExportedFunction(name)
		w.functions[name] = f
	}
	r, err := f.Call(context.Background(), args...)
	if err != nil {
		panic(fmt.Errorf("%s: %w", name, err))
	}
	if len(r) == 0 {
		return 0
	}
	return uint32(r[0])
}

func ms(at int64) uint64 { return api.EncodeF64(float64(at)) }

func (w *wasm) text() []byte {
	b, ok := w.module.Memory().Read(w.call("text"), w.call("text_len"))
	if !ok {
		panic(errors.New("the text is not in memory"))
	}
	return append([]byte(nil), b...)
}

// put hands bytes in and returns how many.
func (w *wasm) put(b []byte) uint64 {
	if len(b) == 0 {
		return 0
	}
	if at := w.call("reserve", uint64(len(b))); at == 0 || !w.module.Memory().Write(at, b) {
		return 1 << 31 // more than there can be: it will be refused
	}
	return uint64(len(b))
}

// result is why a call failed, or "".
func (w *wasm) result(r uint32) string {
	if edge.Status(r&7) == edge.Done {
		return ""
	}
	return string(w.text())
}

func (w *wasm) configure(text string) string {
	return w.result(w.call("configure", w.put([]byte(text))))
}

func (w *wasm) keys(jwks []byte) string {
	return w.result(w.call("keys", w.put(jwks)))
}

func (w *wasm) check(raw []byte, at int64) string {
	switch edge.Status(w.decide(raw, at) & 7) {
	case edge.Accepted, edge.Learned:
		return "accepted"
	}
	return string(w.text())
}

// decide returns what the module answers about a token, which is not edge.Verify: that is done here.
func (w *wasm) decide(raw []byte, at int64) uint32 {
	if len(raw) <= 8192 {
		w.module.Memory().Write(w.token, raw)
	}
	r := w.call("check", uint64(len(raw)), api.EncodeI32(-1), ms(at), ms(at))
	if edge.Status(r&7) == edge.Verify {
		ok := uint64(0)
		if signed(w.text()) {
			ok = 1
		}
		if at%2 == 0 {
			w.call("ahead", uint64(r>>3))
		}
		r = w.call("finish", uint64(r>>3), ok, ms(at), ms(at))
	}
	return r
}

func (w *wasm) question(nonce []byte) (string, bool) {
	w.put(nonce)
	r := w.call("question")
	return string(w.text()), r>>3 == 1
}

func (w *wasm) frame(b []byte, at int64) (int, string) { return w.answer(b, at, at) }

// answer hands in the answer to a question that was sent at another time.
func (w *wasm) answer(b []byte, sent, at int64) (int, string) {
	r := w.call("frame", w.put(b), ms(sent), ms(sent), ms(at), ms(at))
	if edge.Status(r&7) == edge.Verify {
		t := w.text()
		n := binary.LittleEndian.Uint32(t)
		ok := uint64(0)
		if ed25519.Verify(t[4:36], b[:n], b[n:n+64]) {
			ok = 1
		}
		sum := sha256.Sum256(b[n+64:])
		w.module.Memory().Write(w.token, sum[:])
		r = w.call("finish_frame", ok, ms(at), ms(at))
	}
	return int(r >> 3), w.result(r)
}

func (w *wasm) state(at int64) string {
	w.call("state", ms(at), ms(at))
	return string(w.text())
}

// signed verifies what the module asks its host to verify.
func signed(b []byte) bool {
	n := func(i int) int { return int(binary.LittleEndian.Uint32(b[4*i:])) }
	alg, material, signature, text := n(0), n(2), n(3), n(4)
	b = b[20:]
	key, sig, message := b[:material], b[material:material+signature], b[material+signature:][:text]
	digest := sha256.Sum256(message)
	switch alg {
	case 1:
		return ed25519.Verify(key, message, sig)
	case 2:
		pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, key...))
		return err == nil && ecdsa.Verify(pub, digest[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
	case 3:
		mac := hmac.New(sha256.New, key)
		mac.Write(message)
		return hmac.Equal(mac.Sum(nil), sig)
	}
	return false
}
