package token

import "unicode/utf8"

// The scanner reads JSON (RFC 8259) more strictly than the standard: names without escapes, no duplicates at any depth, valid UTF-8 without replacement,
// no lone surrogates, bounded depth and number of members. It allocates nothing; what it accepts, every JSON parser reads alike.
type scanner struct {
	data string
	pos  int
}

const (
	maxDepth   = 16
	maxMembers = 64 // of one object
)

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// next skips space and takes c if it comes next.
func (s *scanner) next(c byte) bool {
	if s.peek() != c {
		s.space()
		if s.peek() != c {
			return false
		}
	}
	s.pos++
	return true
}

// more takes what follows a member or an element: a comma, and then there is more, or end. ok is false if it is neither.
func (s *scanner) more(end byte) (more, ok bool) {
	c := s.peek()
	if c != ',' && c != end {
		s.space()
		c = s.peek()
	}
	s.pos++
	return c == ',', c == ',' || c == end
}

// end reports whether nothing but space is left.
func (s *scanner) end() bool {
	s.space()
	return s.pos == len(s.data)
}

// peek returns the next character, or 0.
func (s *scanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

// str takes a string and returns what stands between its quotes. escaped says that unescape is needed to read it.
func (s *scanner) str() (raw string, escaped, ok bool) {
	if s.peek() != '"' {
		return "", false, false
	}
	s.pos++
	start := s.pos
	for s.pos+8 <= len(s.data) && isPlain(load64(s.data, s.pos)) {
		s.pos += 8
	}
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case c == '"':
			raw = s.data[start:s.pos]
			s.pos++
			return raw, escaped, true
		case c == '\\':
			escaped = true
			if !s.escape() {
				return "", false, false
			}
		case c < ' ':
			return "", false, false
		case c < utf8.RuneSelf:
			s.pos++
		default:
			r, size := utf8.DecodeRuneInString(s.data[s.pos:])
			if r == utf8.RuneError && size == 1 {
				return "", false, false
			}
			s.pos += size
		}
	}
	return "", false, false
}

var (
	belowSpace uint64 = (0x80 + ' ' - 1) * ones
	quoteMark  uint64 = '"' * ones
	backslash  uint64 = '\\' * ones
)

// isPlain reports whether eight characters of a string need no closer look: ASCII without control characters, quotes and backslashes. See notAlphabet.
func isPlain(x uint64) bool {
	ok := ((x ^ quoteMark) + nonZero) & ((x ^ backslash) + nonZero) &^ ((belowSpace - x) | x)
	return ok&(0x80*ones) == 0x80*ones
}

// escape takes one escape sequence, a surrogate pair being one.
func (s *scanner) escape() bool {
	if s.pos+1 >= len(s.data) {
		return false
	}
	switch s.data[s.pos+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos += 2
		return true
	case 'u':
		r, ok := hex4(s.data[s.pos+2:])
		if !ok || 0xdc00 <= r && r < 0xe000 {
			return false
		}
		s.pos += 6
		if r < 0xd800 || r >= 0xe000 {
			return true
		}
		if s.pos+6 > len(s.data) || s.data[s.pos] != '\\' || s.data[s.pos+1] != 'u' {
			return false
		}
		low, ok := hex4(s.data[s.pos+2:])
		s.pos += 6
		return ok && 0xdc00 <= low && low < 0xe000
	}
	return false
}

func hex4(s string) (rune, bool) {
	if len(s) < 4 {
		return 0, false
	}
	var r rune
	for i := range 4 {
		c := s[i]
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// unescape returns the text of a raw string that str accepted.
func unescape(raw string) string {
	b := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); {
		if raw[i] != '\\' {
			b = append(b, raw[i])
			i++
			continue
		}
		switch c := raw[i+1]; c {
		case 'u':
			r, _ := hex4(raw[i+2:])
			i += 6
			if 0xd800 <= r && r < 0xe000 {
				low, _ := hex4(raw[i+2:])
				r = 0x10000 + (r-0xd800)<<10 + (low - 0xdc00)
				i += 6
			}
			b = utf8.AppendRune(b, r)
			continue
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		default:
			b = append(b, c)
		}
		i += 2
	}
	return string(b)
}

// text takes a string and returns what it means.
func (s *scanner) text() (string, bool) {
	raw, escaped, ok := s.str()
	if ok && escaped {
		return unescape(raw), true
	}
	return raw, ok
}

// isText reports whether s may be an issuer, audience or subject: not empty, valid UTF-8, no control characters.
func isText(s string) bool {
	ascii := true
	for i := range len(s) {
		c := s[i]
		if c < ' ' || c == 0x7f {
			return false
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	return s != "" && (ascii || utf8.ValidString(s))
}

// name takes a member's name and the colon after it.
func (s *scanner) name() (string, bool) {
	raw, escaped, ok := s.str()
	if !ok || escaped {
		return "", false
	}
	if !s.next(':') {
		return "", false
	}
	s.space()
	return raw, true
}

// number takes a JSON number and returns its text. It must be one that a double can hold, since some parsers refuse others and some make them infinite.
func (s *scanner) number() (string, bool) {
	start := s.pos
	if s.peek() == '-' {
		s.pos++
	}
	first := s.pos
	if c := s.peek(); c == '0' {
		s.pos++
	} else if !s.digits() {
		return "", false
	}
	magnitude := s.pos - first // of the number: it is below ten to this power
	if s.peek() == '.' {
		s.pos++
		if !s.digits() {
			return "", false
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.pos++
		negative := s.peek() == '-'
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		exponent := s.pos
		if !s.digits() || s.pos-exponent > 3 {
			return "", false
		}
		if !negative {
			e := 0
			for i := exponent; i < s.pos; i++ {
				e = e*10 + int(s.data[i]-'0')
			}
			magnitude += e
		}
	}
	return s.data[start:s.pos], magnitude <= 308
}

func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.data) && '0' <= s.data[s.pos] && s.data[s.pos] <= '9' {
		s.pos++
	}
	return s.pos > start
}

func (s *scanner) literal(word string) bool {
	if len(s.data)-s.pos < len(word) || s.data[s.pos:s.pos+len(word)] != word {
		return false
	}
	s.pos += len(word)
	return true
}

// value takes any value. depth is that of the value itself, the claim set being 0.
func (s *scanner) value(depth int) bool {
	if depth > maxDepth {
		return false
	}
	switch s.peek() {
	case '"':
		_, _, ok := s.str()
		return ok
	case '{':
		return s.object(depth)
	case '[':
		return s.array(depth)
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	default:
		_, ok := s.number()
		return ok
	}
}

func (s *scanner) array(depth int) bool {
	s.pos++
	if s.next(']') {
		return true
	}
	for {
		s.space()
		if !s.value(depth + 1) {
			return false
		}
		if more, ok := s.more(']'); !more {
			return ok
		}
	}
}

func (s *scanner) object(depth int) bool {
	s.pos++
	if s.next('}') {
		return true
	}
	var names [maxMembers]span
	for n := 0; ; n++ {
		if n == maxMembers {
			return false
		}
		s.space()
		start := s.pos + 1
		name, ok := s.name()
		if !ok || !s.value(depth+1) {
			return false
		}
		for _, earlier := range names[:n] {
			if s.data[earlier.from:earlier.to] == name {
				return false
			}
		}
		names[n] = span{int32(start), int32(start + len(name))}
		if more, ok := s.more('}'); !more {
			return ok
		}
	}
}

// span is a part of the scanned text; half the size of a string and no pointer.
type span struct{ from, to int32 }

// milliseconds reads a number of seconds, from 0 to below 2^40, with up to three decimals. No sign, no exponent.
func milliseconds(number string) (int64, bool) {
	var ms int64
	i := 0
	for ; i < len(number) && number[i] != '.'; i++ {
		c := number[i]
		if c < '0' || c > '9' || i > 13 {
			return 0, false
		}
		ms = ms*10 + int64(c-'0')
	}
	ms *= 1000
	if i < len(number) {
		decimals := number[i+1:]
		if len(decimals) > 3 {
			return 0, false
		}
		scale := int64(100)
		for j := range len(decimals) {
			c := decimals[j]
			if c < '0' || c > '9' {
				return 0, false
			}
			ms += int64(c-'0') * scale
			scale /= 10
		}
	}
	return ms, ms < maxTime
}

// whole reads a whole number below 2^53. No sign, no decimals, no exponent.
func whole(number string) (uint64, bool) {
	if len(number) > 16 {
		return 0, false
	}
	var n uint64
	for i := range len(number) {
		c := number[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, n < maxGen
}
