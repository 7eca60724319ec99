// Package device makes what a subject is shown of its sessions: a [Note] of the login, which the record keeps, and a handle that names the session, which
// [Handles] makes.
package device

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mileusna/useragent"

	"github.com/counterfoil/counterfoil/token"
)

// Handles turns session IDs into names for pages: AES-GCM, with the subject as associated data and a nonce that is a MAC of both, so that
// one session has one handle. Only its own subject can use it, and it outlives nothing but the session. [NewHandles] makes it; it is safe for
// concurrent use.
type Handles struct {
	keys func() []handleKey // the first seals, all open. A function, because fmt follows pointers to structs where a verb does not fit
}

type handleKey struct {
	aead cipher.AEAD
	mac  []byte
}

const maxHandleLen = 128

// NewHandles derives a key for each secret. The first one seals, all open.
func NewHandles(secrets [][]byte, issuer, audience string) (*Handles, error) {
	var keys []handleKey
	for _, secret := range secrets {
		key, err := hkdf.Key(sha256.New, secret, nil, "counterfoil device handle v1\x00"+issuer+"\x00"+audience, 64)
		if err != nil {
			return nil, fmt.Errorf("counterfoil: deriving the key of device handles: %w", err)
		}
		block, err := aes.NewCipher(key[:32])
		if err != nil {
			return nil, fmt.Errorf("counterfoil: %w", err)
		}
		a, err := cipher.NewGCM(block)
		if err != nil {
			return nil, fmt.Errorf("counterfoil: %w", err)
		}
		keys = append(keys, handleKey{a, key[32:]})
	}
	return &Handles{keys: func() []handleKey { return keys }}, nil
}

// Seal returns the handle of a session of a subject.
func (h *Handles) Seal(id token.SessionID, subject string) string {
	k := h.keys()[0]
	nonce := mac(k.mac, id.String()+subject)[:k.aead.NonceSize()]
	return base64.RawURLEncoding.EncodeToString(k.aead.Seal(slices.Clone(nonce), nonce, []byte(id.String()), []byte(subject)))
}

// Open returns the session that a handle names to a subject, and whether it names one.
func (h *Handles) Open(handle, subject string) (token.SessionID, bool) {
	if len(handle) > maxHandleLen || subject == "" {
		return token.SessionID{}, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(handle)
	if err != nil {
		return token.SessionID{}, false
	}
	for _, k := range h.keys() {
		n := k.aead.NonceSize()
		if len(b) < n {
			continue
		}
		text, err := k.aead.Open(nil, b[:n], b[n:], []byte(subject))
		if err != nil || !hmac.Equal(b[:n], mac(k.mac, string(text)+subject)[:n]) {
			continue
		}
		id, err := token.ParseSessionID(string(text))
		return id, err == nil
	}
	return token.SessionID{}, false
}

// Note is what is remembered of a login with the record: a version, then flags, label, address and location, with unit separators
// between them. It is written once and never parsed by a store.
type Note struct {
	Persistent bool   // the cookies outlive the browser
	Label      string // such as "Firefox on Windows"
	Address    string // cut to its network
	Location   string
}

const (
	noteVersion  = "1"
	unit         = "\x1f"
	maxLabelLen  = 96
	maxPlaceLen  = 64
	maxUserAgent = 512
)

// NewNote notes a login. Without a label one is made of the User-Agent header; locate, if it is not nil, names the place of the address.
func NewNote(persistent bool, label, userAgent, address string, locate func(netip.Addr) string) Note {
	n := Note{Persistent: persistent, Label: label}
	if n.Label == "" {
		n.Label = labelOf(userAgent)
	}
	if addr, ok := parseAddress(address); ok {
		n.Address = network(addr)
		if locate != nil {
			n.Location = locate(addr)
		}
	}
	return n
}

// String is how the record keeps it.
func (n Note) String() string {
	flags := ""
	if n.Persistent {
		flags = "p"
	}
	return strings.Join([]string{noteVersion, flags, clean(n.Label, maxLabelLen), n.Address, clean(n.Location, maxPlaceLen)}, unit)
}

// ParseNote reads what String wrote. Anything else is taken for a label.
func ParseNote(s string) Note {
	parts := strings.Split(s, unit)
	if len(parts) != 5 || parts[0] != noteVersion {
		return Note{Label: clean(s, maxLabelLen)}
	}
	return Note{Persistent: parts[1] == "p", Label: parts[2], Address: parts[3], Location: parts[4]}
}

// clean makes a short text of what somebody else wrote: valid UTF-8, of at most limit bytes, without control characters, line breaks, and what
// changes the direction of its surroundings or is not seen.
func clean(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			return -1
		}
		return r
	}, s)
	for len(s) > limit {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return strings.TrimSpace(s)
}

// labelOf makes a label of a User-Agent header.
func labelOf(header string) string {
	if header == "" {
		return ""
	}
	ua := useragent.Parse(header[:min(len(header), maxUserAgent)])
	label := ua.Name
	if ua.OS != "" {
		label += " on " + ua.OS
	}
	if ua.Device != "" && ua.Device != ua.OS {
		label += " (" + ua.Device + ")"
	}
	return strings.TrimSpace(label)
}

// parseAddress takes an address with or without a port. 0.0.0.0 is none: so fasthttp calls a peer without an address, as at a Unix socket.
func parseAddress(s string) (netip.Addr, bool) {
	var a netip.Addr
	if ap, err := netip.ParseAddrPort(s); err == nil {
		a = ap.Addr()
	} else if a, err = netip.ParseAddr(strings.Trim(s, "[]")); err != nil {
		return netip.Addr{}, false
	}
	a = a.Unmap().WithZone("")
	return a, !a.IsUnspecified()
}

// network cuts an address to what tells its owner where a login was, and little more: 24 bits of IPv4, 48 of IPv6.
func network(a netip.Addr) string {
	bits := 48
	if a.Is4() {
		bits = 24
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return ""
	}
	return p.String()
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
