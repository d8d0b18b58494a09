package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/clew-sec/clew/internal/server"
	"github.com/clew-sec/clew/internal/server/auth"
	"github.com/clew-sec/clew/internal/server/cert"
)

// logbook collects what is logged.
type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.b.Write(p) }

func (l *logbook) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

// trail collects entries, or refuses them.
type trail struct {
	mu      sync.Mutex
	entries []auth.Entry
	err     error
}

func (tr *trail) Append(_ context.Context, e auth.Entry) error {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.err != nil {
		return tr.err
	}
	tr.entries = append(tr.entries, e)
	return nil
}

func (tr *trail) last() auth.Entry {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if len(tr.entries) == 0 {
		return auth.Entry{}
	}
	return tr.entries[len(tr.entries)-1]
}

// world is a server on loopback, as a person would run it.
type world struct {
	*server.Server
	t      *testing.T
	auth   *auth.Authenticator
	trail  *trail
	log    *logbook
	addr   string
	tls    *tls.Config
	client *http.Client
	tokens map[auth.Role]string
	served chan error
}

// start runs a server with what mount adds.
func start(t *testing.T, cfg server.Config, mount func(*server.Server)) *world {
	t.Helper()
	w := &world{t: t, auth: auth.New(auth.Config{KV: &auth.Memory{}, Now: time.Now}), trail: &trail{}, log: &logbook{}, served: make(chan error, 1), tokens: map[auth.Role]string{}}
	cfg.Log = slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	k, err := cert.Open(cert.Config{Dir: t.TempDir()}, time.Now, cfg.Log)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Auth, cfg.Trail, cfg.TLS = w.auth, w.trail, k.TLS()
	w.Server = server.New(cfg)
	if mount != nil {
		mount(w.Server)
	}
	w.makeTokens()
	ca, err := os.ReadFile(k.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	w.tls = &tls.Config{RootCAs: pool, ServerName: "localhost"}
	w.client = w.newClient(false)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = l.Addr().String()
	go func() { w.served <- w.Serve(l) }()
	t.Cleanup(func() {
		w.client.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := w.Stop(ctx); err != nil {
			t.Errorf("stopping: %v", err)
		}
		if err := <-w.served; err != nil {
			t.Errorf("serving: %v", err)
		}
	})
	return w
}

func (w *world) newClient(h2 bool) *http.Client {
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: w.tls.Clone(), ForceAttemptHTTP2: h2}, Timeout: 20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	w.t.Cleanup(c.CloseIdleConnections)
	return c
}

func (w *world) makeTokens() {
	w.t.Helper()
	setup, err := w.auth.Begin(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	w.tokens[auth.Setup] = setup
	for _, role := range []auth.Role{auth.Viewer, auth.Analyst, auth.Admin, auth.Ingest, auth.Metrics} {
		n := auth.NewToken{Name: string(role), Role: role}
		if role == auth.Ingest {
			n.Source = "audit"
		}
		token, _, err := w.auth.Create(w.t.Context(), n)
		if err != nil {
			w.t.Fatal(err)
		}
		w.tokens[role] = token
	}
}

// answer is a response that was read.
type answer struct {
	code   int
	header http.Header
	body   string
}

func (w *world) do(method, path, token string, body io.Reader, edit ...func(*http.Request)) answer {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, "https://"+w.addr+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for _, e := range edit {
		e(r)
	}
	resp, err := w.client.Do(r)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

func (w *world) want(a answer, code int) answer {
	w.t.Helper()
	if a.code != code {
		w.t.Errorf("got %d %s, want %d", a.code, a.body, code)
	}
	return a
}

func ok(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		server.BodyError(w, err)
		return
	}
	server.JSON(w, http.StatusOK, "ok")
}
