package push

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"
)

// Scheme is how a credential is sent.
type Scheme uint8

// The schemes.
const (
	Bearer    Scheme = iota + 1 // Authorization: Bearer
	Basic                       // Authorization: Basic
	AccessKey                   // X-Amz-Firehose-Access-Key
)

// Credential is what a sender says of itself.
type Credential struct {
	Scheme Scheme
	User   string // of Basic
	Secret string // token, password or key
}

// Authenticator decides who may post.
type Authenticator interface {
	// Authenticate returns nil when c may post. It compares secrets in constant time
	// and does not put them into its error. The error wraps source.ErrUnavailable when
	// the answer cannot be known now. It may be called from several goroutines.
	Authenticate(ctx context.Context, c Credential) error
}

// ErrDenied says that a credential is not known.
var ErrDenied = errors.New("the credential is not known")

// Static knows a fixed set of credentials. It may be used from several goroutines.
type Static struct{ known [][sha256.Size]byte }

// NewStatic returns an Authenticator of known. It keeps digests only.
func NewStatic(known ...Credential) (*Static, error) {
	s := &Static{}
	for _, c := range known {
		if c.Secret == "" || c.Scheme == 0 {
			return nil, errors.New("a credential needs a scheme and a secret")
		}
		s.known = append(s.known, c.digest())
	}
	return s, nil
}

// Authenticate implements Authenticator. Digests of one length are compared, all
// of them, so that time tells nothing of the secrets.
func (s *Static) Authenticate(_ context.Context, c Credential) error {
	digest, match := c.digest(), 0
	for i := range s.known {
		match |= subtle.ConstantTimeCompare(digest[:], s.known[i][:])
	}
	if match == 0 {
		return ErrDenied
	}
	return nil
}

func (c Credential) digest() [sha256.Size]byte {
	user := sha256.Sum256([]byte(c.User)) // of one length, so that the parts cannot shift
	return sha256.Sum256([]byte(string(rune(c.Scheme)) + string(user[:]) + c.Secret))
}

// authorization reads the Authorization header.
func authorization(r *http.Request) (Credential, bool) {
	if user, password, ok := r.BasicAuth(); ok {
		return Credential{Scheme: Basic, User: user, Secret: password}, true
	}
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return Credential{}, false
	}
	return Credential{Scheme: Bearer, Secret: token}, true
}
