package issuer

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/counterfoil/counterfoil/token"
)

// The file of a ring: a private JWK set (RFC 7517). Each key may say from when it signs, in Unix milliseconds; this member is Counterfoil's own.

type fileSet struct {
	Keys []fileKey `json:"keys"`
}

type fileKey struct {
	Kty string `json:"kty"`
	Crv string `json:"crv,omitempty"`
	Alg string `json:"alg"`
	Kid string `json:"kid"`
	Use string `json:"use"`
	X   string `json:"x,omitempty"`
	Y   string `json:"y,omitempty"`
	D   string `json:"d,omitempty"`
	K   string `json:"k,omitempty"`

	From int64 `json:"counterfoil_from,omitempty"`
}

// OpenRing reads a ring from its file, as [LoadRing] does. If there is no such file it makes a ring of one new Ed25519 key and its file, mode 0600. Processes that
// start at once end with the same ring: one of them makes the file, in one step, and the others read it. The directory has to exist, and its file system
// to know hard links.
func OpenRing(path string) (*Ring, error) {
	ring, err := LoadRing(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return ring, err
	}
	key, err := GenerateKey("EdDSA")
	if err != nil {
		return nil, err
	}
	if ring, err = NewRing(key); err != nil {
		return nil, err
	}
	switch err := ring.write(path, os.Link); {
	case errors.Is(err, fs.ErrExist): // another process was faster
		return LoadRing(path)
	case err != nil:
		return nil, err
	}
	return ring, nil
}

// LoadRing reads a ring from its file. It refuses a file that others than its owner may read or write.
func LoadRing(path string) (*Ring, error) {
	if path == "" {
		return nil, errors.New("issuer: the file of a ring needs a path")
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("issuer: %w; OpenRing makes it", err)
	}
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&^0o600 != 0 {
		return nil, fmt.Errorf("issuer: %s: must be a regular file of mode 0600 or narrower, is %v", path, info.Mode())
	}
	data, err := io.ReadAll(io.LimitReader(f, token.MaxKeySetLen+1))
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	if len(data) > token.MaxKeySetLen {
		return nil, fmt.Errorf("issuer: %s: over %d bytes", path, token.MaxKeySetLen)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var set fileSet
	if dec.Decode(&set) != nil { // the decoder's errors may quote what they stumbled over
		return nil, fmt.Errorf("issuer: %s: not a private key set", path)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("issuer: %s: more after the key set", path)
	}
	var keys []ringKey
	for i, fk := range set.Keys {
		k, err := fk.key()
		if err != nil {
			return nil, fmt.Errorf("issuer: %s: key %d: %w", path, i, err)
		}
		if k.ID() != fk.Kid || k.public.Algorithm() != fk.Alg || fk.Use != "sig" {
			return nil, fmt.Errorf("issuer: %s: key %d: kid, alg or use is not that of the key", path, i)
		}
		keys = append(keys, ringKey{k, fk.From})
	}
	if err := check(keys); err != nil {
		return nil, fmt.Errorf("%w (%s)", err, path)
	}
	return &Ring{keys: keys}, nil
}

func (fk fileKey) key() (*Key, error) {
	enc := base64.RawURLEncoding.Strict()
	bad := errors.New("bad key material")
	field := func(s string, n int) []byte {
		b, err := enc.DecodeString(s)
		if err != nil || n >= 0 && len(b) != n {
			return nil
		}
		return b
	}
	switch {
	case fk.Kty == "OKP" && fk.Crv == "Ed25519" && fk.K == "" && fk.Y == "":
		d, x := field(fk.D, ed25519.SeedSize), field(fk.X, ed25519.PublicKeySize)
		if d == nil || x == nil {
			return nil, bad
		}
		private := ed25519.NewKeyFromSeed(d)
		if !bytes.Equal(private[ed25519.SeedSize:], x) {
			return nil, bad
		}
		return NewKey(private)
	case fk.Kty == "EC" && fk.Crv == "P-256" && fk.K == "":
		d, x, y := field(fk.D, 32), field(fk.X, 32), field(fk.Y, 32)
		if d == nil || x == nil || y == nil {
			return nil, bad
		}
		private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d)
		if err != nil {
			return nil, bad
		}
		point, err := private.PublicKey.Bytes()
		if err != nil || !bytes.Equal(point[1:33], x) || !bytes.Equal(point[33:], y) {
			return nil, bad
		}
		return NewKey(private)
	case fk.Kty == "oct" && fk.Crv == "" && fk.D == "" && fk.X == "" && fk.Y == "":
		secret := field(fk.K, -1)
		if secret == nil {
			return nil, bad
		}
		return NewHMACKey(secret)
	}
	return nil, errors.New("key type not supported")
}

// Save writes the ring to its file, mode 0600, in one step: whoever reads it sees the old ring or the new one. A ring with a key that lives elsewhere
// (see [NewKey]) cannot be saved. If path is a link, the file that it leads to is replaced, and not the link.
func (r *Ring) Save(path string) error {
	if file, err := filepath.EvalSymlinks(path); err == nil {
		path = file
	}
	return r.write(path, os.Rename)
}

// write writes the ring to a file beside path, and has put bring that to its place: no reader ever sees half of it.
func (r *Ring) write(path string, put func(from, to string) error) (err error) {
	r.mu.RLock()
	keys := slices.Clone(r.keys)
	r.mu.RUnlock()
	var set fileSet
	for _, k := range keys {
		fk, err := k.key.file()
		if err != nil {
			return err
		}
		fk.From = k.from
		set.Keys = append(set.Keys, fk)
	}
	data, err := json.MarshalIndent(set, "", "  ")
	if err != nil {
		return errors.New("issuer: the ring cannot be written as JSON")
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("issuer: %w", err)
	}
	defer func() {
		f.Close()
		os.Remove(f.Name()) // which a rename has left no name to
		if err != nil {
			err = fmt.Errorf("issuer: %w", err)
		}
	}()
	if err := f.Chmod(0o600); err != nil {
		return err
	}
	if _, err := f.Write(append(data, '\n')); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := put(f.Name(), path); err != nil {
		return err
	}
	if dir, err := os.Open(filepath.Dir(path)); err == nil { // so that the name outlives a crash, where directories can be synced
		dir.Sync()
		dir.Close()
	}
	return nil
}

// Reload replaces the keys of the ring by those of its file, as another process may have rotated it. On an error nothing changes.
func (r *Ring) Reload(path string) error {
	other, err := LoadRing(path)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys = other.keys
	return nil
}

func (k *Key) file() (fileKey, error) {
	enc := base64.RawURLEncoding
	fk := fileKey{Alg: k.public.Algorithm(), Kid: k.ID(), Use: "sig"}
	switch private := k.m().key.(type) {
	case ed25519.PrivateKey:
		fk.Kty, fk.Crv = "OKP", "Ed25519"
		fk.X, fk.D = enc.EncodeToString(private[ed25519.SeedSize:]), enc.EncodeToString(private.Seed())
	case *ecdsa.PrivateKey:
		point, err := private.PublicKey.Bytes()
		if err != nil {
			return fk, fmt.Errorf("issuer: key %s: %w", k.ID(), err)
		}
		d, err := private.Bytes()
		if err != nil {
			return fk, fmt.Errorf("issuer: key %s: %w", k.ID(), err)
		}
		fk.Kty, fk.Crv = "EC", "P-256"
		fk.X, fk.Y, fk.D = enc.EncodeToString(point[1:33]), enc.EncodeToString(point[33:]), enc.EncodeToString(d)
	case []byte:
		fk.Kty, fk.K = "oct", enc.EncodeToString(private)
	default:
		return fk, fmt.Errorf("issuer: key %s lives elsewhere and cannot be saved", k.ID())
	}
	return fk, nil
}
