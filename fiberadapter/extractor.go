package fiberadapter

import (
	"slices"
	"strings"
	"sync"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"

	"github.com/counterfoil/counterfoil"
)

// An Extractor says where a request carries its credential: it returns the parts of the request that count. The strings may
// be views on Fiber's buffers, since they are read before the handler runs. [FromCookies], [FromBearer], [FromHeader] and [Chain] make one.
type Extractor func(*fiber.Ctx) Credential

// Credential is what an [Extractor] found; the zero value is none. Both fields may be set: then a cookie whose token is good must be
// of the bearer token's session.
type Credential struct {
	Bearer  string   // an access token that some program attached on purpose
	Cookies []string // values of Cookie headers, which browsers attach unasked: the rules against cross-site requests apply
}

// FromCookies finds the cookies of the request, of which the Manager or the Guard takes those with its names. In a [Chain] it goes last: any cookie is a
// find, and what comes after it would not be asked.
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

// Chain asks the extractors in order and returns what the first one finds that finds anything.
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

// The headers that the decision needs, besides Host and Cookie.
const (
	authorization = iota
	origin
	fetchSite
	fetchMode
	fetchDest
	upgrade
	wanted
)

var names = [wanted]string{fiber.HeaderAuthorization, fiber.HeaderOrigin, "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest", fiber.HeaderUpgrade}

// request fills r with views of Fiber's buffers: Begin and Verify copy what they keep. The caller gives the list back to forget.
func request(c *fiber.Ctx, extract Extractor, r *counterfoil.Request) (list *[]string) {
	h := &c.Request().Header
	var spelled [wanted][]byte
	var times [wanted]int
	plain := true // "Cookie" is spelled so, if it is there
	// One look at the names costs less than a search for each that is not there.
	for _, k := range h.PeekKeys() {
		name, i := utils.UnsafeString(k), -1
		switch name {
		case fiber.HeaderCookie:
		case "Sec-Fetch-Site":
			i = fetchSite
		case "Sec-Fetch-Mode":
			i = fetchMode
		case "Sec-Fetch-Dest":
			i = fetchDest
		case fiber.HeaderOrigin:
			i = origin
		case fiber.HeaderAuthorization:
			i = authorization
		case fiber.HeaderUpgrade:
			i = upgrade
		default:
			i = slices.IndexFunc(names[:], func(n string) bool { return len(n) == len(name) && strings.EqualFold(n, name) })
			plain = plain && (len(name) != len(fiber.HeaderCookie) || !strings.EqualFold(name, fiber.HeaderCookie))
		}
		if i >= 0 {
			spelled[i] = k
			times[i]++
		}
	}
	value := func(i int) string {
		switch times[i] {
		case 0:
			return ""
		case 1:
			return utils.UnsafeString(h.PeekBytes(spelled[i]))
		}
		return header(c, names[i])
	}
	r.Method = c.Method()
	r.Host = utils.UnsafeString(c.Context().Host()) // never X-Forwarded-Host, which a client can send
	r.Origin, r.FetchSite, r.Upgrade = value(origin), value(fetchSite), value(upgrade)
	if r.FetchSite != "same-origin" { // otherwise, as nearly always, they do not count
		r.FetchMode, r.FetchDest = value(fetchMode), value(fetchDest)
	}
	if extract != nil {
		found := extract(c)
		r.Cookie = found.Cookies
		if found.Bearer != "" {
			r.Authorization = "Bearer " + found.Bearer
		}
		return nil
	}
	list = lists.Get().(*[]string)
	if *list = (*list)[:0]; plain {
		for _, v := range h.PeekAll(fiber.HeaderCookie) {
			*list = append(*list, utils.UnsafeString(v))
		}
	} else {
		*list = all(c, fiber.HeaderCookie)
	}
	r.Cookie, r.Authorization = *list, value(authorization)
	return list
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
func header(c *fiber.Ctx, name string) string { return strings.Join(all(c, name), ", ") }

// all returns the values of all headers of that name.
func all(c *fiber.Ctx, name string) (values []string) {
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
