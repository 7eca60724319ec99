package token

// equalWords is a == b, eight bytes at a time. In WebAssembly Go compares one byte after the other.
func equalWords(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for len(a) >= 32 && len(b) >= 32 {
		differ := (load64(a, 0) ^ load64(b, 0)) | (load64(a, 8) ^ load64(b, 8)) | (load64(a, 16) ^ load64(b, 16)) | (load64(a, 24) ^ load64(b, 24))
		if differ != 0 {
			return false
		}
		a, b = a[32:], b[32:]
	}
	return a == b
}
