//go:build counterfoil_seam

package main

import (
	"bufio"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/token"
)

// own runs Counterfoil's own vectors, in the format that their README tells, through the API. An outcome counts only if its reason is right as well.
func own(dir string) []*corpus {
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	check(err)
	var all []*corpus
	for _, file := range files {
		c := &corpus{name: "counterfoil " + strings.TrimSuffix(filepath.Base(file), ".txt")}
		all = append(all, c)
		f, err := os.Open(file)
		check(err)
		config := token.VerifierConfig{}
		verifiers := map[string]*token.Verifier{}
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		for n := 1; lines.Scan(); n++ {
			field := strings.Split(lines.Text(), "\t")
			var got error
			var want string
			switch field[0] {
			case "@issuer":
				config.Issuer = field[1]
			case "@audience":
				config.Audience = field[1]
			case "@leeway":
				config.Leeway = millis(field[1])
			case "@max-life":
				config.MaxLife = millis(field[1])
			case "@keys":
				keys, err := token.ParseJWKS([]byte(field[2]))
				check(err)
				config.Keys, err = token.NewKeySet(keys...)
				check(err)
				verifiers[field[1]], err = token.NewVerifier(config)
				check(err)
			case "keys":
				_, got = token.ParseJWKS([]byte(unquote(field[1])))
				want = field[2]
			case "token":
				_, got = verifiers[field[1]].VerifyAt(unquote(field[2]), time.UnixMilli(millis(field[3]).Milliseconds()))
				want = field[4]
			}
			if want == "" {
				continue
			}
			c.add(fmt.Sprintf("line %d", n), want == "accepted", got == nil)
			if got != nil && token.Reason(got) != want {
				c.missed = append(c.missed, fmt.Sprintf("line %d: refused for %s", n, token.Reason(got)))
			}
		}
		check(lines.Err())
		f.Close()
	}
	return all
}

func millis(s string) time.Duration {
	n, err := strconv.ParseInt(s, 10, 64)
	check(err)
	return time.Duration(n) * time.Millisecond
}

func unquote(s string) string {
	if s == "-" {
		return ""
	}
	s, err := url.PathUnescape(s)
	check(err)
	return s
}
