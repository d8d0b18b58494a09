package auth_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clew-sec/clew/internal/server/auth"
)

// world is an authenticator with a clock and a store that tests reach into.
type world struct {
	*auth.Authenticator
	kv  *auth.Memory
	mu  sync.Mutex
	now time.Time
}

func newWorld(cfg auth.Config) *world {
	w := &world{kv: &auth.Memory{}, now: time.Unix(1e9, 0)}
	if cfg.KV == nil {
		cfg.KV = w.kv
	}
	cfg.Now = func() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.now }
	w.Authenticator = auth.New(cfg)
	return w
}

func (w *world) add(d time.Duration) { w.mu.Lock(); defer w.mu.Unlock(); w.now = w.now.Add(d) }

func (w *world) create(t *testing.T, n auth.NewToken) (string, auth.Record) {
	t.Helper()
	if n.Name == "" {
		n.Name = "somebody"
	}
	token, r, err := w.Create(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return token, r
}

func request(token, from string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr = from + ":1234"
	if strings.Contains(from, ":") {
		r.RemoteAddr = "[" + from + "]:1234"
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

func (w *world) want(t *testing.T, r *http.Request, want error) auth.Principal {
	t.Helper()
	p, err := w.Authenticate(r)
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
	if err != nil && p != (auth.Principal{}) {
		t.Errorf("refused, and yet %+v", p)
	}
	return p
}

func TestRoles(t *testing.T) {
	all := []auth.Role{auth.Public, auth.Viewer, auth.Analyst, auth.Admin, auth.Ingest, auth.Metrics, auth.Setup, "", "root"}
	may := map[auth.Role]string{
		auth.Viewer: "public viewer metrics", auth.Analyst: "public viewer analyst metrics", auth.Admin: "public viewer analyst admin metrics",
		auth.Ingest: "public ingest", auth.Metrics: "public metrics", auth.Setup: "public setup", "": "public", "root": "public", auth.Public: "public",
	}
	for _, r := range all {
		for _, least := range all {
			want := least != "" && strings.Contains(" "+may[r]+" ", " "+string(least)+" ")
			if got := r.May(least); got != want {
				t.Errorf("%q may what asks for %q: %v, want %v", r, least, got, want)
			}
		}
	}
}

func TestTokens(t *testing.T) {
	w := newWorld(auth.Config{})
	token, rec := w.create(t, auth.NewToken{Name: "Ada", Role: auth.Analyst, Lives: time.Hour, By: "x"})
	if p := w.want(t, request(token, "192.0.2.1"), nil); p != (auth.Principal{ID: rec.ID, Name: "Ada", Role: auth.Analyst}) {
		t.Errorf("%+v", p)
	}
	w.want(t, request("", "192.0.2.1"), auth.ErrNoToken)
	for _, wrong := range []string{"x", token[:len(token)-1] + "!", token + "x", "clew_" + rec.ID + "_", "clew_nosuchid_" + strings.Repeat("a", 52), "clew_../../x_" + strings.Repeat("a", 52)} {
		w.want(t, request(wrong, "192.0.2.2"), auth.ErrDenied)
	}
	r := request("", "192.0.2.1")
	r.Header.Set("Authorization", "Basic "+token)
	w.want(t, r, auth.ErrDenied)
	r = request("", "192.0.2.1")
	r.Header.Set("X-Amz-Firehose-Access-Key", token)
	w.want(t, r, nil)
	w.add(time.Hour)
	w.want(t, request(token, "192.0.2.1"), auth.ErrDenied)
}

// TestTokensAreStoredHashed is a claim of the threat model.
func TestTokensAreStoredHashed(t *testing.T) {
	w := newWorld(auth.Config{})
	token, rec := w.create(t, auth.NewToken{Role: auth.Admin})
	secret := token[strings.LastIndexByte(token, '_')+1:]
	if len(secret) < 50 {
		t.Errorf("a secret of %d letters", len(secret))
	}
	stored, err := w.kv.Get(t.Context(), "token."+rec.ID)
	if err != nil || strings.Contains(string(stored), secret) || !strings.Contains(string(stored), "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("stored as %s, %v", stored, err)
	}
	list, err := w.List(t.Context())
	if err != nil || len(list) != 1 || list[0].Hash != "" || rec.Hash != "" {
		t.Errorf("listed as %+v, %v", list, err)
	}
}

// TestRevokedTokenEndsAtOnce is a claim of the threat model.
func TestRevokedTokenEndsAtOnce(t *testing.T) {
	w := newWorld(auth.Config{})
	token, rec := w.create(t, auth.NewToken{Role: auth.Viewer})
	p := w.want(t, request(token, "192.0.2.1"), nil)
	c, err := w.Login(p)
	if err != nil {
		t.Fatal(err)
	}
	r := request("", "192.0.2.1")
	r.AddCookie(c)
	w.want(t, r, nil)
	if err := w.Revoke(t.Context(), rec.ID); err != nil {
		t.Fatal(err)
	}
	w.want(t, request(token, "192.0.2.1"), auth.ErrDenied)
	w.want(t, r, auth.ErrDenied)
	if err := w.Revoke(t.Context(), rec.ID); !errors.Is(err, auth.ErrNotFound) {
		t.Errorf("again: %v", err)
	}
	for _, id := range []string{"", "../x", "a.b", "*", ">"} {
		if err := w.Revoke(t.Context(), id); !errors.Is(err, auth.ErrNotFound) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	w := newWorld(auth.Config{})
	for _, n := range []auth.NewToken{
		{Name: "a", Role: "root"}, {Name: "a", Role: auth.Public}, {Name: "a", Role: auth.Setup}, {Role: auth.Viewer},
		{Name: "a\nb", Role: auth.Viewer}, {Name: strings.Repeat("a", 101), Role: auth.Viewer}, {Name: "a", Role: auth.Ingest},
		{Name: "a", Role: auth.Viewer, Source: "s"}, {Name: "a", Role: auth.Ingest, Source: "../s"},
	} {
		if token, _, err := w.Create(t.Context(), n); err == nil || token != "" {
			t.Errorf("%+v was made", n)
		}
	}
}

// TestFailedAttemptsAreLimited is a claim of the threat model.
func TestFailedAttemptsAreLimited(t *testing.T) {
	w := newWorld(auth.Config{})
	token, _ := w.create(t, auth.NewToken{Role: auth.Viewer})
	other, _ := w.create(t, auth.NewToken{Role: auth.Viewer})
	w.want(t, request(token, "2001:db8::1"), nil)
	for i := range 10 {
		w.want(t, request("clew_x_wrong", fmt.Sprintf("2001:db8::%d", i+1)), auth.ErrDenied)
	}
	w.want(t, request("clew_x_wrong", "2001:db8::99"), auth.ErrTooMany)
	w.want(t, request(other, "2001:db8::1"), auth.ErrTooMany) // or good ones could be guessed on
	w.want(t, request(token, "2001:db8::1"), nil)             // a sender at work is not shut out by its neighbour
	w.want(t, request(other, "2001:db8:0:1::1"), nil)
	w.add(time.Minute)
	w.want(t, request("clew_x_wrong", "2001:db8::1"), auth.ErrDenied)
}

func TestManyAddressesStayBounded(t *testing.T) {
	w := newWorld(auth.Config{})
	for i := range 10000 {
		w.want(t, request("wrong", fmt.Sprintf("10.%d.%d.1", i/256, i%256)), auth.ErrDenied)
	}
	for range 10 {
		w.Authenticate(request("wrong", "192.0.2.1"))
	}
	w.want(t, request("wrong", "192.0.2.1"), auth.ErrTooMany)
}

// countingKV counts reads and can break.
type countingKV struct {
	auth.Memory
	gets   atomic.Int64
	broken atomic.Bool
}

func (k *countingKV) Get(ctx context.Context, key string) ([]byte, error) {
	k.gets.Add(1)
	if k.broken.Load() {
		return nil, errors.New("disk on fire")
	}
	return k.Memory.Get(ctx, key)
}

func TestVerificationIsRemembered(t *testing.T) {
	w := newWorld(auth.Config{})
	token, rec := w.create(t, auth.NewToken{Role: auth.Viewer})
	w.want(t, request(token, "192.0.2.1"), nil)
	start := time.Now()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				if _, err := w.Authenticate(request(token, "192.0.2.1")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if took := time.Since(start); took > 4000*2*time.Millisecond {
		t.Errorf("4000 requests took %s: each was hashed", took)
	}
	// A new hash under the same id makes the old token worthless, remembered or not.
	stored, _ := w.kv.Get(t.Context(), "token."+rec.ID)
	other, err := auth.RecordOf("clew_"+rec.ID+"_"+strings.Repeat("b", 32), "other", auth.Viewer, "")
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(stored), "$argon2id")
	end := at + strings.IndexByte(string(stored[at:]), '"')
	w.kv.Put(t.Context(), "token."+rec.ID, []byte(string(stored[:at])+other.Hash+string(stored[end:])))
	w.want(t, request(token, "192.0.2.1"), auth.ErrDenied)
}

func TestBrokenStoreIsNoRefusal(t *testing.T) {
	kv := &countingKV{}
	w := newWorld(auth.Config{KV: kv})
	token, rec := w.create(t, auth.NewToken{Role: auth.Viewer})
	kv.broken.Store(true)
	for range 20 { // and it does not count as a failed attempt
		w.want(t, request(token, "192.0.2.1"), auth.ErrStore)
	}
	kv.broken.Store(false)
	w.want(t, request(token, "192.0.2.1"), nil)
	for _, text := range []string{"{", "{}", `{"id":"other","name":"a","role":"admin"}`, `{"id":"` + rec.ID + `","name":"a","role":"root"}`} {
		kv.Put(t.Context(), "token."+rec.ID, []byte(text))
		w.want(t, request(token, "192.0.2.1"), auth.ErrStore)
	}
	kv.Put(t.Context(), "token."+rec.ID, []byte(`{"id":"`+rec.ID+`","name":"a","role":"admin","hash":""}`))
	w.want(t, request(token, "192.0.2.1"), auth.ErrDenied)
}

// TestSetupTokenWorksOnce is a claim of the threat model.
func TestSetupTokenWorksOnce(t *testing.T) {
	w := newWorld(auth.Config{})
	first, err := w.Begin(t.Context())
	if err != nil || first == "" {
		t.Fatalf("%q, %v", first, err)
	}
	setup, err := w.Begin(t.Context())
	if err != nil || setup == first {
		t.Fatalf("a restart: %q, %v", setup, err)
	}
	w.want(t, request(first, "192.0.2.1"), auth.ErrDenied)
	if p := w.want(t, request(setup, "192.0.2.1"), nil); p.Role != auth.Setup {
		t.Errorf("%+v", p)
	}
	if _, _, err := w.Redeem(t.Context(), "a\nb"); err == nil {
		t.Error("a name with a line break")
	}
	var wins atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			token, _, err := w.Redeem(t.Context(), "root of it")
			if err == nil {
				wins.Add(1)
				if p := w.want(t, request(token, "192.0.2.1"), nil); p.Role != auth.Admin {
					t.Errorf("%+v", p)
				}
			} else if !errors.Is(err, auth.ErrDenied) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if wins.Load() != 1 {
		t.Errorf("%d of 8 made an administrator, want 1", wins.Load())
	}
	w.want(t, request(setup, "192.0.2.1"), auth.ErrDenied)
	if again, err := w.Begin(t.Context()); again != "" || err != nil {
		t.Errorf("with an administrator: %q, %v", again, err)
	}
}

func TestSetupTokenExpires(t *testing.T) {
	w := newWorld(auth.Config{})
	setup, _ := w.Begin(t.Context())
	w.add(24 * time.Hour)
	w.want(t, request(setup, "192.0.2.1"), auth.ErrDenied)
	if _, _, err := w.Redeem(t.Context(), "late"); !errors.Is(err, auth.ErrDenied) {
		t.Error(err)
	}
	setup, _ = w.Begin(t.Context())
	r, err := auth.RecordOf("clew_cfg_"+strings.Repeat("s", 22), "configured", auth.Admin, "")
	if err != nil {
		t.Fatal(err)
	}
	w.SetStatic([]auth.Record{r})
	if again, err := w.Begin(t.Context()); again != "" || err != nil {
		t.Errorf("an administrator in the configuration: %q, %v", again, err)
	}
	w.want(t, request(setup, "192.0.2.1"), auth.ErrDenied)
}

// TestSessionCookie is a claim of the threat model.
func TestSessionCookie(t *testing.T) {
	w := newWorld(auth.Config{})
	token, _ := w.create(t, auth.NewToken{Role: auth.Admin, Lives: time.Hour})
	p := w.want(t, request(token, "192.0.2.1"), nil)
	c, err := w.Login(p)
	if err != nil {
		t.Fatal(err)
	}
	if s := c.String(); !strings.HasPrefix(s, "__Host-") || !strings.Contains(s, "; HttpOnly; Secure; SameSite=Strict") || !strings.Contains(s, "Path=/;") || strings.Contains(s, "Domain") || strings.Contains(token, c.Value) {
		t.Errorf("cookie %s", s)
	}
	r := request("", "192.0.2.1")
	r.AddCookie(c)
	if got := w.want(t, r, nil); got != p {
		t.Errorf("%+v, want %+v", got, p)
	}
	w.add(time.Hour)
	w.want(t, r, auth.ErrDenied) // the token has expired
	token, _ = w.create(t, auth.NewToken{Role: auth.Viewer})
	c, _ = w.Login(w.want(t, request(token, "192.0.2.1"), nil))
	r = request("", "192.0.2.1")
	r.AddCookie(c)
	w.want(t, r, nil)
	if out := w.Logout(r); out.MaxAge >= 0 || out.Value != "" {
		t.Errorf("%v", out)
	}
	w.want(t, r, auth.ErrDenied)
	c, _ = w.Login(w.want(t, request(token, "192.0.2.1"), nil))
	r = request("", "192.0.2.1")
	r.AddCookie(c)
	w.add(12 * time.Hour)
	w.want(t, r, auth.ErrDenied)
	for _, role := range []auth.Role{auth.Ingest, auth.Metrics, auth.Setup} {
		if _, err := w.Login(auth.Principal{Role: role}); err == nil {
			t.Errorf("role %s has a session", role)
		}
	}
}

func TestClientCertificate(t *testing.T) {
	w := newWorld(auth.Config{ClientNames: map[string]string{"apiserver": "audit"}})
	r := request("", "192.0.2.1")
	show := func(name string, verified bool) {
		leaf := &x509.Certificate{Subject: pkix.Name{CommonName: name}}
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
		if verified {
			r.TLS.VerifiedChains = [][]*x509.Certificate{{leaf}}
		}
	}
	show("apiserver", true)
	if p := w.want(t, r, nil); p.Role != auth.Ingest || p.Source != "audit" {
		t.Errorf("%+v", p)
	}
	show("apiserver", false)
	w.want(t, r, auth.ErrNoToken)
	show("other", true)
	w.want(t, r, auth.ErrDenied)
}

type verifier struct{}

func (verifier) Verify(_ context.Context, token string) (auth.Principal, error) {
	if token == "a.b.c" {
		return auth.Principal{ID: "g", Role: auth.Ingest, Source: "ps"}, nil
	}
	return auth.Principal{}, errors.New("not signed by Google")
}

// TestLocalTokenEndsWithTheServer is a claim of the threat model.
func TestLocalTokenEndsWithTheServer(t *testing.T) {
	w := newWorld(auth.Config{})
	first := w.Local()
	token := w.Local()
	w.want(t, request(first, "192.0.2.1"), auth.ErrDenied)
	if p := w.want(t, request(token, "192.0.2.1"), nil); p.Role != auth.Admin || p.Name != "local operator" {
		t.Errorf("%+v", p)
	}
	if keys, err := w.kv.List(t.Context()); err != nil || len(keys) != 0 {
		t.Errorf("it is stored: %v, %v", keys, err)
	}
	if list, err := w.List(t.Context()); err != nil || len(list) != 1 || list[0].Hash != "" {
		t.Errorf("%+v, %v", list, err)
	}
	if setup, err := w.Begin(t.Context()); setup == "" || err != nil {
		t.Errorf("it takes the place of the first administrator: %q, %v", setup, err)
	}
	if err := w.Revoke(t.Context(), "local"); err != nil {
		t.Error(err)
	}
	w.want(t, request(token, "192.0.2.1"), auth.ErrDenied)
	if err := w.Revoke(t.Context(), "local"); !errors.Is(err, auth.ErrNotFound) {
		t.Errorf("revoked twice: %v", err)
	}
	if _, err := auth.RecordOf("clew_local_"+strings.Repeat("a", 32), "eve", auth.Viewer, ""); err == nil {
		t.Error("the configuration may have a token of its id")
	}
}

func TestForeignTokens(t *testing.T) {
	w := newWorld(auth.Config{Foreign: verifier{}})
	if p := w.want(t, request("a.b.c", "192.0.2.1"), nil); p.Source != "ps" {
		t.Errorf("%+v", p)
	}
	w.want(t, request("a.b.d", "192.0.2.1"), auth.ErrDenied)
}

func TestTokensFile(t *testing.T) {
	token := "clew_ci_" + strings.Repeat("x", 30)
	ci, err := auth.RecordOf(token, "The CI", auth.Viewer, "")
	if err != nil {
		t.Fatal(err)
	}
	hash := ci.Hash
	file := filepath.Join(t.TempDir(), "tokens")
	write := func(text string) { os.WriteFile(file, []byte(text), 0o600) }
	write("# people\n\n" + ci.Line() + "\ningest:audit other " + hash + " webhook\n")
	records, err := auth.ReadFile(file)
	if err != nil || len(records) != 2 || records[0].Name != "The CI" || records[1].Source != "audit" {
		t.Fatalf("%+v, %v", records, err)
	}
	w := newWorld(auth.Config{})
	w.SetStatic(records)
	w.want(t, request(token, "192.0.2.1"), nil)
	if list, err := w.List(t.Context()); err != nil || len(list) != 2 || list[0].Hash != "" {
		t.Errorf("%+v, %v", list, err)
	}
	w.SetStatic(nil)
	w.want(t, request(token, "192.0.2.1"), auth.ErrDenied)
	for _, bad := range []string{
		"viewer", "viewer a b c", "root a " + hash + " n", "setup a " + hash + " n", "viewer A_B " + hash + " n", "ingest a " + hash + " n",
		"viewer a " + strings.Replace(hash, "m=19456", "m=999999999", 1) + " n", "viewer a " + hash + " n\nviewer a " + hash + " n",
		"viewer a " + token + " n", "viewer local " + hash + " n", "admin setup " + hash + " n",
	} {
		write("# x\n" + bad)
		if _, err := auth.ReadFile(file); err == nil || !strings.Contains(err.Error(), file+":") || strings.Contains(err.Error(), token) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// FuzzToken holds that no text but the token passes, and that none upsets.
func FuzzToken(f *testing.F) {
	w := newWorld(auth.Config{})
	token, _, err := w.Create(f.Context(), auth.NewToken{Name: "a", Role: auth.Viewer})
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{token, "", "clew_", "clew_a_b", "Bearer", "clew_setup_" + strings.Repeat("a", 52), token + "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", "Bearer "+s)
		if _, err := w.Authenticate(r); err == nil && strings.TrimSpace(s) != token {
			t.Errorf("%q is not %q and passed", s, token)
		}
	})
}
