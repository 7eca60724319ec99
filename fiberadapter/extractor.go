package fiberadapter

import (
	"strings"
	"sync"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"

	"github.com/counterfoil/counterfoil"
)

// An Extractor says where a request carries its credential: it returns the parts of the request that count. The strings may
// be views on Fiber's buffers, since they are read before the handler runs. [FromCookies], [FromBearer], [FromHeader] and [Chain] make one.
type Extractor func(*fiber.Ctx) Credential

// Credential is what an [Extractor] found; the zero value is none. Both fields may be set: then they must be of one session.
type Credential struct {
	Bearer  string   // an access token that some program attached on purpose
	Cookies []string // values of Cookie headers, which browsers attach unasked: the rules against cross-site requests apply
}

// FromCookies finds the session cookies.
func FromCookies() Extractor {
	return func(c *fiber.Ctx) Credential { return Credential{Cookies: all(c, fiber.HeaderCookie)} }
}

// FromBearer finds the token of an Authorization header with the scheme Bearer.
func FromBearer() Extractor {
	const scheme = "bearer "
	return func(c *fiber.Ctx) Credential {
		v := header(c, fiber.HeaderAuthorization)
		if len(v) < len(scheme) || !strings.EqualFold(v[:len(scheme)], scheme) {
			return Credential{}
		}
		return Credential{Bearer: strings.TrimLeft(v[len(scheme):], " ")}
	}
}

// FromHeader finds a token that is the whole value of a header. Pages of other sites cannot set it unless a CORS answer lets them.
func FromHeader(name string) Extractor {
	return func(c *fiber.Ctx) Credential { return Credential{Bearer: header(c, name)} }
}

// Chain finds what the first of the extractors finds that finds anything.
func Chain(extractors ...Extractor) Extractor {
	return func(c *fiber.Ctx) Credential {
		for _, extract := range extractors {
			if found := extract(c); found.Bearer != "" || len(found.Cookies) > 0 {
				return found
			}
		}
		return Credential{}
	}
}

// request hands out views of Fiber's buffers: Begin and Verify copy what they keep. The caller gives the list back to forget.
func request(c *fiber.Ctx, extract Extractor) (r counterfoil.Request, list *[]string) {
	r = counterfoil.Request{
		Method:    c.Method(),
		Host:      utils.UnsafeString(c.Context().Host()), // never X-Forwarded-Host, which a client can send
		Origin:    header(c, fiber.HeaderOrigin),
		FetchSite: header(c, "Sec-Fetch-Site"),
		FetchMode: header(c, "Sec-Fetch-Mode"),
		FetchDest: header(c, "Sec-Fetch-Dest"),
		Upgrade:   header(c, fiber.HeaderUpgrade),
	}
	if extract != nil {
		found := extract(c)
		r.Cookie = found.Cookies
		if found.Bearer != "" {
			r.Authorization = "Bearer " + found.Bearer
		}
		return r, nil
	}
	list = lists.Get().(*[]string)
	*list = appendAll((*list)[:0], c, fiber.HeaderCookie)
	r.Cookie, r.Authorization = *list, header(c, fiber.HeaderAuthorization)
	return r, list
}

// lists holds the slices of cookie headers between requests, since nearly every request needs one.
var lists = sync.Pool{New: func() any { return new([]string) }}

func forget(list *[]string) {
	if list != nil {
		clear(*list)
		lists.Put(list)
	}
}

// header returns the values of a header as one list (RFC 9110, section 5.3). To look at the first one only would let whoever can plant a
// second decide which one counts.
func header(c *fiber.Ctx, name string) string {
	h := &c.Request().Header
	if values := h.PeekAll(name); len(values) == 1 {
		return utils.UnsafeString(values[0])
	} else if len(values) == 0 && !folds(c) {
		return ""
	}
	return strings.Join(all(c, name), ", ")
}

// all returns the values of all headers of that name.
func all(c *fiber.Ctx, name string) []string { return appendAll(nil, c, name) }

func appendAll(values []string, c *fiber.Ctx, name string) []string {
	h := &c.Request().Header
	if folds(c) {
		h.VisitAll(func(k, v []byte) {
			if strings.EqualFold(utils.UnsafeString(k), name) {
				values = append(values, string(v)) // what is visited may be overwritten by the next look
			}
		})
		return values
	}
	for _, v := range h.PeekAll(name) {
		values = append(values, utils.UnsafeString(v))
	}
	return values
}

// folds says whether header names have to be compared without regard to case here. Fiber spells them alike when it reads them, unless
// Config.DisableHeaderNormalizing is set; then "sec-fetch-site" of a proxy would be overlooked, which is the one header that must not be.
func folds(c *fiber.Ctx) bool {
	h := &c.Request().Header
	return len(h.Peek("host")) == 0 && len(h.Host()) > 0
}
