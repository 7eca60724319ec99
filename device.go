package counterfoil

import (
	"context"
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
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mileusna/useragent"

	"github.com/counterfoil/counterfoil/token"
)

// Device is one session of a subject, as a page shows it to that subject: where am I logged in, and what can I end?
type Device struct {
	// Handle names the session to [Manager.EndDevice]. It is not the session's ID, tells nothing, and is of no use to another subject.
	Handle string

	Label    string // such as "Firefox on Windows"; "" if the login did not say
	Address  string // of the login, cut to its network, such as "203.0.113.0/24"
	Location string // what Config.Locate made of the address

	LoggedIn   time.Time // when this session began
	LastSeen   time.Time // when its tokens were last renewed; exact to about half an access life
	Expires    time.Time // at the latest
	Persistent bool      // its cookies outlive the browser
	Current    bool      // it is the one that asks
}

// Devices lists the sessions of the subject of s, oldest first. [ErrNotFound] for an anonymous one.
func (m *Manager) Devices(ctx context.Context, s *Session) ([]Device, error) {
	if s.Subject() == "" {
		return nil, ErrNotFound
	}
	records, err := m.sessions(ctx, s.Subject())
	if err != nil {
		return nil, err
	}
	list := make([]Device, 0, len(records))
	for _, r := range records {
		if r.Frozen {
			continue // it is being replaced
		}
		note := parseNote(r.Device)
		list = append(list, Device{
			Handle: m.handles.seal(r.Session, s.Subject()), Label: note.label, Address: note.address, Location: note.location,
			LoggedIn: milli(r.Created), LastSeen: milli(r.Renewed), Expires: milli(r.Expires),
			Persistent: note.persistent, Current: r.Session == s.ID(),
		})
	}
	return list, nil
}

// EndDevice ends the session of the subject of s that a handle names; it may be s itself. [ErrNotFound] if the handle is none that was made for this
// subject. Like [Manager.End] it is idempotent.
func (m *Manager) EndDevice(ctx context.Context, s *Session, handle string) error {
	id, ok := m.handles.open(handle, s.Subject())
	if !ok {
		return ErrNotFound
	}
	return m.End(ctx, id)
}

// handles turns session IDs into names for pages: AES-GCM, with the subject as associated data and a nonce that is a MAC of both, so that
// one session has one handle. Only its own subject can use it, and it outlives nothing but the session.
type handles struct {
	keys []handleKey // the first seals, all open
}

type handleKey struct {
	aead cipher.AEAD
	mac  []byte
}

const maxHandleLen = 128

func newHandles(secrets [][]byte, issuer, audience string) (*handles, error) {
	h := &handles{}
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
		h.keys = append(h.keys, handleKey{a, key[32:]})
	}
	return h, nil
}

func (h *handles) seal(id token.SessionID, subject string) string {
	k := h.keys[0]
	nonce := mac(k.mac, id.String()+subject)[:k.aead.NonceSize()]
	return base64.RawURLEncoding.EncodeToString(k.aead.Seal(slices.Clone(nonce), nonce, []byte(id.String()), []byte(subject)))
}

func (h *handles) open(handle, subject string) (token.SessionID, bool) {
	if len(handle) > maxHandleLen || subject == "" {
		return token.SessionID{}, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(handle)
	if err != nil {
		return token.SessionID{}, false
	}
	for _, k := range h.keys {
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

// note is what is remembered of the login in [Record.Device]: a version, then flags, label, address and location, with unit separators
// between them. It is written once and never parsed by a store.
type note struct {
	persistent               bool
	label, address, location string
}

const (
	noteVersion  = "1"
	unit         = "\x1f"
	maxLabelLen  = 96
	maxPlaceLen  = 64
	maxUserAgent = 512
)

// newNote notes a login.
func (m *Manager) newNote(opt LoginOptions) note {
	n := note{persistent: opt.Remember, label: opt.Device}
	if n.label == "" {
		n.label = deviceLabel(opt.UserAgent)
	}
	if addr, ok := parseAddress(opt.Address); ok {
		n.address = network(addr)
		if m.locate != nil {
			n.location = m.locate(addr)
		}
	}
	return n
}

func (n note) String() string {
	flags := ""
	if n.persistent {
		flags = "p"
	}
	return strings.Join([]string{noteVersion, flags, clean(n.label, maxLabelLen), n.address, clean(n.location, maxPlaceLen)}, unit)
}

// parseNote reads what String wrote. Anything else is taken for a label.
func parseNote(s string) note {
	parts := strings.Split(s, unit)
	if len(parts) != 5 || parts[0] != noteVersion {
		return note{label: clean(s, maxLabelLen)}
	}
	return note{persistent: parts[1] == "p", label: parts[2], address: parts[3], location: parts[4]}
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

// deviceLabel makes a label of a User-Agent header.
func deviceLabel(header string) string {
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

// parseAddress takes an address with or without a port.
func parseAddress(s string) (netip.Addr, bool) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	a, err := netip.ParseAddr(strings.Trim(s, "[]"))
	return a.Unmap().WithZone(""), err == nil
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
