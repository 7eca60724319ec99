package token_test

import "unsafe"

// viewOf returns a string whose bytes change with the buffer's, as those of fasthttp do.
func viewOf(buf []byte) string { return unsafe.String(unsafe.SliceData(buf), len(buf)) }
