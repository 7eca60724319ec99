package counterfoil

import (
	"strings"

	"github.com/counterfoil/counterfoil/token"
)

// Cookie is one Set-Cookie header to be sent. Its value does not print; SetCookie reveals it.
type Cookie struct {
	Name     string
	Value    token.Secret
	insecure bool
	remove   bool
}

// SetCookie returns the value of the Set-Cookie header. Session cookies have no Max-Age: they go with the browser's session, and what they
// hold expires by itself.
func (c Cookie) SetCookie() string {
	var b strings.Builder
	b.WriteString(c.Name + "=" + c.Value.Reveal() + "; Path=/")
	if c.remove {
		// Both, since old clients know only Expires.
		b.WriteString("; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0")
	}
	if !c.insecure {
		b.WriteString("; Secure")
	}
	b.WriteString("; HttpOnly; SameSite=Lax")
	return b.String()
}

// cookieNames are the two cookies of an application. With the prefix a browser takes them only from this very host, over a secure
// channel, out of the page's sight (draft-ietf-httpbis-layered-cookies; older browsers know its first half, __Host-).
type cookieNames struct {
	access, refresh string
	insecure        bool
}

func newCookieNames(suffix string, insecure bool) cookieNames {
	prefix := "__Host-Http-"
	if insecure {
		prefix = ""
	}
	return cookieNames{prefix + "session" + suffix, prefix + "refresh" + suffix, insecure}
}

// find returns the values of both cookies. A name that comes twice counts as absent: one of the two was planted, and there is no
// telling which.
func (n cookieNames) find(headers []string) (access, refresh string) {
	var accesses, refreshes int
	for _, h := range headers {
		for h != "" {
			var pair string
			pair, h, _ = strings.Cut(h, ";")
			name, value, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
			switch name {
			case n.access:
				access = value
				accesses++
			case n.refresh:
				refresh = value
				refreshes++
			}
		}
	}
	if accesses > 1 {
		access = ""
	}
	if refreshes > 1 {
		refresh = ""
	}
	return access, refresh
}

func (n cookieNames) set(t Tokens) []Cookie {
	var out []Cookie
	if !t.Access.IsZero() {
		out = append(out, Cookie{Name: n.access, Value: t.Access, insecure: n.insecure})
	}
	if !t.Refresh.IsZero() {
		out = append(out, Cookie{Name: n.refresh, Value: t.Refresh, insecure: n.insecure})
	}
	return out
}

func (n cookieNames) clear() []Cookie {
	none := token.NewSecret("")
	return []Cookie{
		{Name: n.access, Value: none, insecure: n.insecure, remove: true},
		{Name: n.refresh, Value: none, insecure: n.insecure, remove: true},
	}
}
