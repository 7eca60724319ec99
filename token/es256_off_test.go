//go:build hostcrypto || (wasm && !es256)

package token_test

const hasES256 = false
