package push

import (
	"context"
	"crypto"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

// Whose tokens Pub/Sub sends, and where the keys are.
// https://accounts.google.com/.well-known/openid-configuration
const (
	GoogleIssuer = "https://accounts.google.com"
	GoogleKeys   = "https://www.googleapis.com/oauth2/v3/certs"
)

// OIDCConfig says which signed tokens may post. Audience and Email are required: a
// token of the right issuer alone is one that any customer of it can get.
type OIDCConfig struct {
	Issuer   string // "": GoogleIssuer
	Audience string // as set on the subscription
	Email    string // service account of the subscription

	KeysURL  string       // JWKS; "" with KeysFile "": GoogleKeys
	KeysFile string       // JWKS in a file instead, read once
	Client   *http.Client // that fetches KeysURL; nil: one with a timeout of 10 s
}

// OIDC accepts bearer tokens that an OpenID provider signed, as Pub/Sub's are. It
// may be used from several goroutines.
type OIDC struct {
	verifier *oidc.IDTokenVerifier
	email    string
}

// NewOIDC returns an Authenticator of tokens as c says. Keys of a URL are fetched
// when a token needs them; ctx lives as long as the Authenticator.
func NewOIDC(ctx context.Context, c OIDCConfig) (*OIDC, error) {
	if c.Audience == "" || c.Email == "" {
		return nil, errors.New("OIDC needs an audience and an e-mail")
	}
	if c.Issuer == "" {
		c.Issuer = GoogleIssuer
	}
	keys, err := keySet(ctx, c)
	if err != nil {
		return nil, err
	}
	return &OIDC{oidc.NewVerifier(c.Issuer, keys, &oidc.Config{ClientID: c.Audience}), c.Email}, nil
}

func keySet(ctx context.Context, c OIDCConfig) (oidc.KeySet, error) {
	if c.KeysFile != "" {
		return fileKeys(c.KeysFile)
	}
	if c.KeysURL == "" {
		c.KeysURL = GoogleKeys
	}
	if c.Client == nil {
		c.Client = &http.Client{Timeout: 10 * time.Second}
	}
	return oidc.NewRemoteKeySet(oidc.ClientContext(ctx, c.Client), c.KeysURL), nil
}

func fileKeys(path string) (oidc.KeySet, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading keys: %w", err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(raw, &set); err != nil {
		return nil, fmt.Errorf("reading keys %q: %w", path, err)
	}
	static := &oidc.StaticKeySet{}
	for _, k := range set.Keys {
		if !k.IsPublic() {
			return nil, fmt.Errorf("reading keys %q: key %q is not a public key", path, k.KeyID)
		}
		static.PublicKeys = append(static.PublicKeys, crypto.PublicKey(k.Key))
	}
	if len(static.PublicKeys) == 0 {
		return nil, fmt.Errorf("reading keys %q: there is none", path)
	}
	return static, nil
}

// Authenticate implements Authenticator.
func (o *OIDC) Authenticate(ctx context.Context, c Credential) error {
	if c.Scheme != Bearer {
		return ErrDenied
	}
	token, err := o.verifier.Verify(ctx, c.Secret)
	if err != nil {
		return fmt.Errorf("verifying a token: %w", err)
	}
	var claims struct {
		Email    string `json:"email"`
		Verified bool   `json:"email_verified"`
	}
	if err := token.Claims(&claims); err != nil {
		return fmt.Errorf("reading a token's claims: %w", err)
	}
	if !claims.Verified || subtle.ConstantTimeCompare([]byte(claims.Email), []byte(o.email)) == 0 {
		return errors.New("the token is of another account")
	}
	return nil
}
