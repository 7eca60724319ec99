package main

import (
	"bytes"
	"encoding/base64"
	"strconv"

	"github.com/counterfoil/counterfoil/edge"
	"github.com/counterfoil/counterfoil/revocation"
)

// A decider is the decision as a host sees it: package edge itself, or a module. What went wrong is text, "" if nothing did. Times are ms.
type decider interface {
	configure(text string) string
	keys(jwks []byte) string
	check(raw []byte, at int64) string // "accepted", or word and reason
	question(nonce []byte) (after string, full bool)
	frame(b []byte, at int64) (records int, why string)
	state(at int64) string
}

// play shows the corpus to a decider and returns a line for each of its lines. driver.js does the same.
func play(d decider, items []item) []byte {
	var out bytes.Buffer
	dead := "" // why there is nothing to check tokens with
	for _, i := range items {
		answer := ""
		switch i.Kind {
		case "set":
			if dead = d.configure(i.config()); dead == "" {
				answer = d.keys([]byte(i.JWKS))
			}
		case "reader":
			answer = d.configure(i.config())
		case "keys":
			if answer = d.configure("issuer i\naudience a\nlist 64\n"); answer == "" {
				answer = d.keys(bytesOf(i.JWKS))
			}
			if answer == "" {
				answer = "accepted"
			}
		case "token":
			answer = d.check(bytesOf(i.Token), i.At)
			if i.Often {
				for range 2 {
					if again := d.check(bytesOf(i.Token), i.At); again != answer {
						answer += ", then " + again
					}
				}
			}
		case "frame":
			nonce, _ := base64.StdEncoding.DecodeString(i.Nonce)
			b, _ := base64.StdEncoding.DecodeString(i.Frame)
			after, full := d.question(nonce)
			answer = "part"
			if full {
				answer = "whole"
			}
			if after != "" {
				answer += " " + after
			}
			n, why := d.frame(b, i.At)
			if why == "" {
				why = "ok"
			}
			answer += "|" + why + "|" + strconv.Itoa(n) + "|" + d.state(i.At)
		}
		out.WriteString(answer)
		out.WriteByte('\n')
	}
	return out.Bytes()
}

// native is package edge, compiled for this machine.
type native struct{ *edge.Edge }

func (n *native) configure(text string) string {
	e, err := edge.New([]byte(text))
	if err != nil {
		return err.Error()
	}
	n.Edge = e
	return ""
}

func moment(at int64) edge.Moment { return edge.Moment{Wall: at, Steady: at} }

func (n *native) keys(jwks []byte) string {
	if n.Keys(jwks).Status == edge.Failed {
		return string(n.Text())
	}
	return ""
}

func (n *native) check(raw []byte, at int64) string {
	switch n.Check(string(raw), revocation.BestEffort, moment(at)).Status {
	case edge.Accepted, edge.Learned:
		return "accepted"
	}
	return string(n.Text())
}

func (n *native) question(nonce []byte) (string, bool) {
	r := n.Question([revocation.FrameNonceLen]byte(nonce))
	return string(n.Text()), r.Value == 1
}

func (n *native) frame(b []byte, at int64) (int, string) {
	r := n.Frame(b, moment(at), moment(at))
	if r.Status == edge.Failed {
		return 0, string(n.Text())
	}
	return int(r.Value), ""
}

func (n *native) state(at int64) string {
	n.State(moment(at))
	return string(n.Text())
}
