package token

func equal(a, b string) bool { return equalWords(a, b) }
