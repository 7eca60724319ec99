package store

import (
	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/token"
)

// keys spells the names of keys. The first braces of each choose its Cluster slot, and the prefix holds none.
type keys struct{ prefix string }

func (k keys) sessions(tag string) string           { return k.prefix + "{" + tag + "}s:" }
func (k keys) session(id token.SessionID) string    { return k.sessions(id.Tag()) + id.String() }
func (k keys) notBefore(tag, subject string) string { return k.prefix + "{" + tag + "}n:" + subject }
func (k keys) index(tag, subject string) string     { return k.prefix + "{" + tag + "}u:" + subject }
func (k keys) log() string                          { return k.prefix + "{rev}log" }
func (k keys) meta() string                         { return k.prefix + "{rev}meta" }
func (k keys) edges() string                        { return k.prefix + "{rev}edges" }

// both are the keys of a step on one session: its record, and its subject's not-before. They are made in one piece, since every step needs them.
func (k keys) both(ref counterfoil.Ref) (session, notBefore string) {
	tag := ref.Session.Tag()
	all := k.prefix + "{" + tag + "}s:" + ref.Session.String() + k.prefix + "{" + tag + "}n:" + ref.Subject
	n := len(all) - len(k.prefix) - len("{}n:") - len(tag) - len(ref.Subject)
	return all[:n], all[n:]
}

// belongs reports whether a session of this ID can be the subject's: it carries the subject's slot tag, or the subject is anonymous.
// Where it does not, the keys of one step would lie in two slots, and no such session was ever created.
func belongs(id token.SessionID, subject string) bool {
	return !id.IsZero() && len(subject) <= token.MaxSubjectLen && (subject == "" || id.Tag() == counterfoil.SubjectTag(subject))
}
