package token

// JWK sets (RFC 7517, RFC 8037), read by the scanner that reads claims.

var (
	errKeySetTooLong = &refusal{"key set too long"}
	errKeySetJSON    = &refusal{"key set not strict JSON"}
	errKeyCount      = &refusal{"too many keys"}
	errKeyMember     = &refusal{"key member"}
	errKeyType       = &refusal{"key type not supported"}
	errKeyUse        = &refusal{"key use"}
	errKeyID         = &refusal{"key ID"}
	errDuplicateKey  = &refusal{"duplicate key ID"}
	errMixedKinds    = &refusal{"symmetric and asymmetric keys in one set"}
	errPrivate       = &refusal{"private key member"}
	errSymmetric     = &refusal{"symmetric key"}
	errZeroKey       = &refusal{"zero key"}
)

// ParseJWKS reads a JWK set document. One bad key refuses the whole set, because a set that is understood in part is a set that two readers understand differently.
//
// Accepted are keys for Ed25519 (kty OKP), P-256 (kty EC) and HMAC-SHA-256 (kty oct with alg HS256, at least 32 bytes), each with use "sig" or none and key_ops
// that allow "verify" or none. A missing kid stands for the RFC 7638 thumbprint. Refused are documents over 1 MiB, more than 16 keys, duplicate members and key IDs,
// symmetric beside asymmetric keys, private members, any other type, curve or algorithm, and weak keys. Members that RFC 7517 does not
// give a meaning here are ignored.
//
// The error's rule is named by [Reason], and errors.Is(err, [ErrInvalid]) holds.
func ParseJWKS(data []byte) ([]Key, error) {
	if len(data) > MaxKeySetLen {
		return nil, errKeySetTooLong
	}
	s := scanner{data: string(data)}
	var keys []Key
	var refused error
	seen := false
	ok := s.members(func(name string) bool {
		if name != "keys" {
			return !equalFold(name, "keys") && s.value(1)
		}
		seen = true
		keys, refused = s.keys()
		return refused == nil
	})
	switch {
	case refused != nil:
		return nil, refused
	case !ok || !seen || !s.end():
		return nil, errKeySetJSON
	}
	if err := checkSet(keys); err != nil {
		return nil, err
	}
	return keys, nil
}

// checkSet applies the rules that concern a set of keys as a whole.
func checkSet(keys []Key) error {
	if len(keys) > MaxKeys {
		return errKeyCount
	}
	for i, k := range keys {
		if k.p == nil {
			return errZeroKey
		}
		if (k.key().alg == algHS256) != (keys[0].key().alg == algHS256) {
			return errMixedKinds
		}
		for _, earlier := range keys[:i] {
			if earlier.key().id == k.key().id {
				return errDuplicateKey
			}
		}
	}
	return nil
}

// members takes an object and calls member after each name, to take the value. Names are unique and have no escapes.
func (s *scanner) members(member func(name string) bool) bool {
	if !s.next('{') {
		return false
	}
	if s.next('}') {
		return true
	}
	var names [maxMembers]string
	for n := 0; n < maxMembers; n++ {
		s.space()
		name, ok := s.name()
		if !ok {
			return false
		}
		for _, earlier := range names[:n] {
			if earlier == name {
				return false
			}
		}
		names[n] = name
		if !member(name) {
			return false
		}
		if more, ok := s.more('}'); !more {
			return ok
		}
	}
	return false
}

// keys takes the array of keys.
func (s *scanner) keys() ([]Key, error) {
	if !s.next('[') {
		return nil, errKeySetJSON
	}
	if s.next(']') {
		return nil, nil
	}
	var keys []Key
	for {
		if len(keys) == MaxKeys {
			return nil, errKeyCount
		}
		k, err := s.key()
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
		more, ok := s.more(']')
		if !ok {
			return nil, errKeySetJSON
		}
		if !more {
			return keys, nil
		}
	}
}

// The members of a key that have a meaning here: strings but for key_ops.
var keyMembers = [...]string{"kty", "alg", "kid", "use", "crv", "x", "y", "k", "key_ops"}

const (
	memberKty = iota
	memberAlg
	memberKid
	memberUse
	memberCrv
	memberX
	memberY
	memberK
	memberKeyOps
)

// key takes one key.
func (s *scanner) key() (Key, error) {
	var value [memberKeyOps]string
	var has [memberKeyOps]bool
	var refused error
	ok := s.members(func(name string) bool {
		if isPrivateMember(name) {
			refused = errPrivate
			return false
		}
		for i, known := range keyMembers {
			if name == known {
				if i == memberKeyOps {
					refused = s.keyOps()
					return refused == nil
				}
				var ok bool
				value[i], ok = s.text()
				if !ok {
					refused = errKeyMember
				}
				has[i] = true
				return ok
			}
			if equalFold(name, known) {
				refused = errKeyMember
				return false
			}
		}
		return s.value(3)
	})
	switch {
	case refused != nil:
		return Key{}, refused
	case !ok:
		return Key{}, errKeySetJSON
	}
	if has[memberUse] && value[memberUse] != "sig" {
		return Key{}, errKeyUse
	}
	id := value[memberKid]
	// want says which of the members that hold material the type has; any other would mean that the document is confused about what it holds.
	want := func(alg string, members ...int) error {
		if has[memberAlg] && value[memberAlg] != alg {
			return errAlgorithm
		}
		for m := memberCrv; m <= memberK; m++ {
			wanted := false
			for _, w := range members {
				wanted = wanted || w == m
			}
			if has[m] != wanted {
				return errKeyMember
			}
		}
		if has[memberKid] && (id == "" || len(id) > maxKeyIDLen || !isAlphabet(id)) {
			return errKeyID
		}
		return nil
	}
	switch value[memberKty] {
	case "OKP":
		if err := want(algEdDSA, memberCrv, memberX); err != nil {
			return Key{}, err
		}
		if value[memberCrv] != "Ed25519" {
			return Key{}, errKeyType
		}
		x, err := material(value[memberX], 32)
		if err != nil {
			return Key{}, err
		}
		return newEd25519(x, id)
	case "EC":
		if err := want(algES256, memberCrv, memberX, memberY); err != nil {
			return Key{}, err
		}
		if value[memberCrv] != "P-256" {
			return Key{}, errKeyType
		}
		x, err := material(value[memberX], 32)
		if err != nil {
			return Key{}, err
		}
		y, err := material(value[memberY], 32)
		if err != nil {
			return Key{}, err
		}
		return newES256(append(x, y...), id)
	case "oct":
		if !has[memberAlg] { // the type alone does not say which algorithm the secret is for
			return Key{}, errAlgorithm
		}
		if err := want(algHS256, memberK); err != nil {
			return Key{}, err
		}
		secret, err := material(value[memberK], -1)
		if err != nil {
			return Key{}, err
		}
		return newHS256(secret, id)
	}
	return Key{}, errKeyType
}

func isPrivateMember(name string) bool {
	switch name {
	case "d", "p", "q", "dp", "dq", "qi", "oth", "priv":
		return true
	}
	return false
}

// keyOps takes key_ops: unique strings, "verify" among them, and none but "sign" besides, which symmetric keys have.
func (s *scanner) keyOps() error {
	if !s.next('[') {
		return errKeyMember
	}
	verify, sign := false, false
	for {
		s.space()
		op, ok := s.text()
		if !ok {
			return errKeyMember
		}
		switch {
		case op == "verify" && !verify:
			verify = true
		case op == "sign" && !sign:
			sign = true
		default:
			return errKeyUse
		}
		more, ok := s.more(']')
		if !ok {
			return errKeyMember
		}
		if !more {
			break
		}
	}
	if !verify {
		return errKeyUse
	}
	return nil
}

// material decodes canonical base64url of n bytes, or of any number if n is negative.
func material(s string, n int) ([]byte, error) {
	if !isAlphabet(s) || !isCanonical(s) {
		return nil, errKeyMaterial
	}
	b := make([]byte, decodedLen(len(s)))
	if _, ok := decode(b, s); !ok || n >= 0 && len(b) != n {
		return nil, errKeyMaterial
	}
	return b, nil
}

// AppendJWKS appends the JWK set document of public keys. Symmetric keys are an error: what verifies with them can also mint.
func AppendJWKS(b []byte, keys ...Key) ([]byte, error) {
	if err := checkSet(keys); err != nil {
		return b, err
	}
	start := len(b)
	b = append(b, `{"keys":[`...)
	for i, k := range keys {
		if k.key().alg == algHS256 {
			return b[:start], errSymmetric
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = k.key().appendRequired(b)
		b = append(b[:len(b)-1], `,"alg":"`+k.key().alg+`","kid":"`+k.key().id+`","use":"sig"}`...)
	}
	return append(b, `]}`...), nil
}
