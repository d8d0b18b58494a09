package push

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/clew-sec/clew/internal/source"
)

const entry = `{"insertId":"i1","logName":"projects/p/logs/cloudaudit.googleapis.com%2Factivity","protoPayload":{"@type":"type.googleapis.com/google.cloud.audit.AuditLog","methodName":"google.iam.admin.v1.CreateServiceAccountKey"},"timestamp":"2026-01-01T00:00:00Z"}`

func pubsubBody(data []byte) string {
	return fmt.Sprintf(`{"deliveryAttempt":1,"message":{"attributes":{"logging.googleapis.com/timestamp":"2026-01-01T00:00:00Z"},"data":%q,"messageId":"2070443601311540","message_id":"2070443601311540","publishTime":"2026-01-01T00:00:00Z"},"subscription":"projects/p/subscriptions/s"}`,
		base64.StdEncoding.EncodeToString(data))
}

func TestPubSub(t *testing.T) {
	l := &log{}
	cfg := config(t, l)
	h := PubSub(cfg)
	for _, c := range []struct {
		name, body, token string
		status, records   int
	}{
		{"entry", pubsubBody([]byte(entry)), "right", 200, 1},
		{"gzip", pubsubBody(zipped([]byte(entry)).Bytes()), "right", 200, 1},
		{"unknown", pubsubBody([]byte("hello")), "right", 200, 0},
		{"no data", pubsubBody(nil), "right", 200, 0},
		{"wrong token", pubsubBody([]byte(entry)), "wrong", 401, 0},
		{"no token", pubsubBody([]byte(entry)), "", 401, 0},
		{"no envelope", entry, "right", 400, 0},
		{"no JSON", "hello", "right", 400, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			l.records = nil
			w := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodPost, "/?token=right", strings.NewReader(c.body)) // of no use there
			r.Header.Set("Authorization", "Bearer "+c.token)
			h.ServeHTTP(w, r)
			if w.Code != c.status || l.count() != c.records {
				t.Errorf("status %d %s, %d records", w.Code, w.Body, l.count())
			}
		})
	}
	if s := cfg.Meter.Status(); s.Dropped[source.DropUnknown] != 2 {
		t.Errorf("dropped %v", s.Dropped)
	}
}

// signer makes tokens as Google does.
type signer struct {
	key *rsa.PrivateKey
	id  string
}

func newSigner(t *testing.T, id string) signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return signer{key, id}
}

func (s signer) keys() []byte {
	out, _ := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: s.key.Public(), KeyID: s.id, Algorithm: "RS256", Use: "sig"}}})
	return out
}

func (s signer) token(t *testing.T, change func(map[string]any)) string {
	t.Helper()
	sig, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: s.key}, (&jose.SignerOptions{}).WithHeader("kid", s.id))
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]any{
		"iss": GoogleIssuer, "aud": "https://clew.example/pubsub", "azp": "1", "sub": "1", "email": "push@p.iam.gserviceaccount.com",
		"email_verified": true, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}
	if change != nil {
		change(claims)
	}
	out, err := jwt.Signed(sig).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestOIDC(t *testing.T) {
	right, wrong := newSigner(t, "k1"), newSigner(t, "k1")
	served := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(right.keys())
	}))
	defer served.Close()
	path := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(path, right.keys(), 0o600); err != nil {
		t.Fatal(err)
	}
	base := OIDCConfig{Audience: "https://clew.example/pubsub", Email: "push@p.iam.gserviceaccount.com"}
	for source, c := range map[string]func(*OIDCConfig){
		"url":  func(c *OIDCConfig) { c.KeysURL, c.Client = served.URL, served.Client() },
		"file": func(c *OIDCConfig) { c.KeysFile = path },
	} {
		oidcConfig := base
		c(&oidcConfig)
		auth, err := NewOIDC(t.Context(), oidcConfig)
		if err != nil {
			t.Fatal(err)
		}
		l := &log{}
		cfg := config(t, l)
		cfg.Auth = auth
		h := PubSub(cfg)
		for name, x := range map[string]struct {
			token  string
			status int
		}{
			"right":        {right.token(t, nil), 200},
			"other key":    {wrong.token(t, nil), 401},
			"audience":     {right.token(t, func(c map[string]any) { c["aud"] = "https://other" }), 401},
			"issuer":       {right.token(t, func(c map[string]any) { c["iss"] = "https://other" }), 401},
			"expired":      {right.token(t, func(c map[string]any) { c["exp"] = time.Now().Add(-time.Hour).Unix() }), 401},
			"email":        {right.token(t, func(c map[string]any) { c["email"] = "x@p.iam.gserviceaccount.com" }), 401},
			"not verified": {right.token(t, func(c map[string]any) { c["email_verified"] = false }), 401},
			"no algorithm": {"eyJhbGciOiJub25lIn0." + strings.Split(right.token(t, nil), ".")[1] + ".", 401},
			"no token":     {"x", 401},
		} {
			t.Run(source+"/"+name, func(t *testing.T) {
				w := post(h, strings.NewReader(pubsubBody([]byte(entry))), "Authorization", "Bearer "+x.token)
				if w.Code != x.status {
					t.Errorf("status %d, want %d: %s", w.Code, x.status, cfg.Meter.Status().LastError)
				}
			})
		}
	}
	for _, bad := range []OIDCConfig{{Audience: "a"}, {Email: "e"}, {Audience: "a", Email: "e", KeysFile: "/none"}} {
		if _, err := NewOIDC(t.Context(), bad); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}
