//go:build edge

package token

// In the edge module, where there is one thread, the name of a subject is computed when somebody asks for it: a revocation list does so only for tokens whose session is
// older than the newest not-before that it holds of any subject. It is a tenth of what a new token costs there.

func (e *entry) nameSubject() {}

func (e *entry) subjectHash() *[16]byte {
	if e.hash == ([16]byte{}) {
		e.hash = SubjectHash(e.parties.issuer, e.subject)
	}
	return &e.hash
}
