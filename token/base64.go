package token

// Base64url without padding (RFC 4648 section 5, RFC 7515 section 2). The decoders of encoding/base64 skip CR and LF even when strict,
// which gives one token many spellings; this one knows one spelling only.

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// sextet maps a character to its six bits, and all others to 0xff.
var sextet = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xff
	}
	for i := range len(alphabet) {
		t[alphabet[i]] = byte(i)
	}
	return t
}()

// What notAlphabet adds and subtracts, eight times side by side. Variables, because the compiler would write each constant out again at every use, ten
// bytes of code, where a variable is a memory operand: the scan is twice as fast.
const ones = 0x0101010101010101

var (
	lowerCase  uint64 = 0x20 * ones
	belowA     uint64 = (0x80 + 'a' - 1) * ones
	aboveZ     uint64 = (0x7f - 'z') * ones
	belowZero  uint64 = (0x80 + '0' - 1) * ones
	aboveNine  uint64 = (0x7f - '9') * ones
	dash       uint64 = '-' * ones
	underscore uint64 = '_' * ones
	nonZero    uint64 = 0x7f * ones
)

// notAlphabet looks at eight characters at once. The high bit of each byte of the result says whether that character is outside the base64url alphabet.
// Adding 0x7f-hi sets the high bit of a byte below 0x80 if it is above hi; subtracting it from 0x80+lo-1 sets it if it is below lo. From a byte of 0x80 and
// more something carries into its neighbours, but then the word is bad in any case, and that byte stays so.
func notAlphabet(x uint64) uint64 {
	y := x | lowerCase
	notLetter := (belowA - y) | (y + aboveZ)
	notDigit := (belowZero - x) | (x + aboveNine)
	notDash := (x ^ dash) + nonZero
	notUnderscore := (x ^ underscore) + nonZero
	return notLetter&notDigit&notDash&notUnderscore | x
}

func load64(s string, i int) uint64 {
	_ = s[i+7]
	return uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24 |
		uint64(s[i+4])<<32 | uint64(s[i+5])<<40 | uint64(s[i+6])<<48 | uint64(s[i+7])<<56
}

// isAlphabet reports whether s is made of base64url characters only.
func isAlphabet(s string) bool {
	var bad uint64
	if len(s) >= 8 {
		last := load64(s, len(s)-8)
		for ; len(s) > 8; s = s[8:] {
			bad |= notAlphabet(load64(s, 0))
		}
		return (bad|notAlphabet(last))&(0x80*ones) == 0 // the last eight overlap what was looked at already
	}
	for i := range len(s) {
		bad |= uint64(sextet[s[i]])
	}
	return bad&(0x80*ones) == 0
}

// isCanonical reports whether s, of alphabet characters, has a length that encoding produces and no unused bit set at its end.
func isCanonical(s string) bool {
	switch len(s) & 3 {
	case 0:
		return true
	case 2:
		return sextet[s[len(s)-1]]&0x0f == 0
	case 3:
		return sextet[s[len(s)-1]]&0x03 == 0
	default:
		return false
	}
}

func decodedLen(n int) int { return n * 6 / 8 }

// decode decodes s, which must be canonical, to the start of dst and returns the number of bytes. It reports false for characters outside the alphabet
// and for a dst that is too short.
func decode(dst []byte, s string) (int, bool) {
	n := decodedLen(len(s))
	if len(dst) < n {
		return 0, false
	}
	var bad byte
	j := 0
	for ; len(s) >= 4; s = s[4:] {
		a, b, c, d := sextet[s[0]], sextet[s[1]], sextet[s[2]], sextet[s[3]]
		bad |= a | b | c | d
		w := uint32(a)<<18 | uint32(b)<<12 | uint32(c)<<6 | uint32(d)
		o := dst[j : j+3 : j+3]
		o[0], o[1], o[2] = byte(w>>16), byte(w>>8), byte(w)
		j += 3
	}
	switch len(s) {
	case 1:
		return 0, false
	case 2:
		a, b := sextet[s[0]], sextet[s[1]]
		bad |= a | b
		dst[j] = a<<2 | b>>4
	case 3:
		a, b, c := sextet[s[0]], sextet[s[1]], sextet[s[2]]
		bad |= a | b | c
		dst[j], dst[j+1] = a<<2|b>>4, b<<4|c>>2
	}
	return n, bad < 0x80
}

func appendBase64(dst, src []byte) []byte {
	for ; len(src) >= 3; src = src[3:] {
		dst = append(dst, alphabet[src[0]>>2], alphabet[(src[0]<<4|src[1]>>4)&63], alphabet[(src[1]<<2|src[2]>>6)&63], alphabet[src[2]&63])
	}
	switch len(src) {
	case 1:
		dst = append(dst, alphabet[src[0]>>2], alphabet[src[0]<<4&63])
	case 2:
		dst = append(dst, alphabet[src[0]>>2], alphabet[(src[0]<<4|src[1]>>4)&63], alphabet[src[1]<<2&63])
	}
	return dst
}
