//go:build !edge

package token

// nameSubject computes the name under which revocations know the subject, once, before the entry is shared.
func (e *entry) nameSubject() { e.hash = SubjectHash(e.parties.issuer, e.subject) }

func (e *entry) subjectHash() *[16]byte { return &e.hash }
