package auth

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"
)

// Record is a token as it is stored.
type Record struct {
	ID        string    `json:"id"` // the middle part of the token
	Name      string    `json:"name"`
	Role      Role      `json:"role"`
	Source    string    `json:"source,omitempty"` // of an Ingest token
	Hash      string    `json:"hash"`             // argon2id in PHC form
	CreatedBy string    `json:"createdBy,omitempty"`
	Created   time.Time `json:"created"`
	Expires   time.Time `json:"expires,omitzero"` // zero: never
}

// tokenPattern is clew_<id>_<secret>. An id may stand in keys and paths; a secret
// has 128 bits or more when it is made of random letters.
var tokenPattern = regexp.MustCompile(`^clew_([a-z0-9]{1,32})_([A-Za-z0-9-]{22,128})$`)

// sourcePattern is the form of a source's name.
var sourcePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// ErrToken says that a text is no token of clew's. It does not quote it.
var ErrToken = errors.New("not a token of the form clew_<id>_<secret>, secret of 22 to 128 letters and digits")

// split returns the two parts of a token.
func split(token string) (id, secret string, err error) {
	m := tokenPattern.FindStringSubmatch(token)
	if m == nil {
		return "", "", ErrToken
	}
	return m[1], m[2], nil
}

var letters = base32.StdEncoding.WithPadding(base32.NoPadding)

// random returns n random bytes as lower-case letters and digits.
func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return strings.ToLower(letters.EncodeToString(b))
}

// The cost of a hash: OWASP's least for argon2id, 19 MiB and 2 passes, some 20 ms.
// Secrets are random and long, so that a higher one would buy nothing.
const (
	hashMemoryKiB = 19 << 10
	hashPasses    = 2
	hashBytes     = 32
	saltBytes     = 16
)

var hashPrefix = fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=1$", argon2.Version, hashMemoryKiB, hashPasses)

func hash(secret string) string {
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // never fails
	sum := argon2.IDKey([]byte(secret), salt, hashPasses, hashMemoryKiB, 1, hashBytes)
	return hashPrefix + base64.RawStdEncoding.EncodeToString(salt) + "$" + base64.RawStdEncoding.EncodeToString(sum)
}

// matches compares in constant time.
func matches(hash, secret string) bool {
	salt, want, ok := parseHash(hash)
	if !ok {
		return false
	}
	got := argon2.IDKey([]byte(secret), salt, hashPasses, hashMemoryKiB, 1, hashBytes)
	return subtle.ConstantTimeCompare(got, want) == 1
}

// parseHash takes hashes of our own cost only: whoever writes a hash must not
// choose what checking it costs.
func parseHash(hash string) (salt, sum []byte, ok bool) {
	rest, ok := strings.CutPrefix(hash, hashPrefix)
	s, h, cut := strings.Cut(rest, "$")
	if !ok || !cut {
		return nil, nil, false
	}
	salt, err := base64.RawStdEncoding.DecodeString(s)
	sum, err2 := base64.RawStdEncoding.DecodeString(h)
	return salt, sum, err == nil && err2 == nil && len(salt) == saltBytes && len(sum) == hashBytes
}

// RecordOf returns the record of a token that was chosen elsewhere.
func RecordOf(token, name string, role Role, source string) (Record, error) {
	id, secret, err := split(token)
	if err != nil {
		return Record{}, err
	}
	if err := reserved(id); err != nil {
		return Record{}, err
	}
	r := Record{ID: id, Name: name, Role: role, Source: source, Hash: hash(secret)}
	return r, r.check()
}

// maxNameBytes bounds the name of a token: it stands in every entry of the trail.
const maxNameBytes = 100

var namePattern = regexp.MustCompile(`^[\p{L}\p{N}][\p{L}\p{N} ._@-]*$`)

// check reports what is wrong with a record.
func (r *Record) check() error {
	switch {
	case !r.Role.Valid():
		return fmt.Errorf("there is no role %q", r.Role)
	case len(r.Name) > maxNameBytes || !namePattern.MatchString(r.Name):
		return fmt.Errorf("the name %q must be letters, digits, spaces and ._@-, %d bytes at most", r.Name, maxNameBytes)
	case (r.Role == Ingest) != (r.Source != ""):
		return errors.New("a source goes with the role ingest, and only with it")
	case r.Source != "" && !sourcePattern.MatchString(r.Source):
		return fmt.Errorf("%q is no name of a source", r.Source)
	}
	return nil
}

// principal returns whom a record stands for.
func (r *Record) principal() Principal {
	return Principal{ID: r.ID, Name: r.Name, Role: r.Role, Source: r.Source}
}
