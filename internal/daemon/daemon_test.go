package daemon_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/clew-sec/clew/internal/config"
	"github.com/clew-sec/clew/internal/daemon"
	"github.com/clew-sec/clew/internal/detect"
	"github.com/clew-sec/clew/internal/matrix"
	"github.com/clew-sec/clew/internal/rule"
	"github.com/clew-sec/clew/rules"
	"github.com/clew-sec/clew/test/recordings"
)

// running is a server in this process.
type running struct {
	daemon.Announcement
	stop   func() error
	reload chan *config.Config
	client *http.Client
}

func start(t *testing.T, dir string, flags map[string]string) *running {
	t.Helper()
	return startWith(t, dir, flags, "- {name: k8s, kind: k8s-webhook, cluster: prod}\n")
}

// startWith is start with sources of the test's own.
func startWith(t *testing.T, dir string, flags map[string]string, sources string) *running {
	t.Helper()
	pack, err := rule.Load(matrix.Load(), rules.FS)
	if err != nil {
		t.Fatal(err)
	}
	set, err := detect.Compile(pack.Rules, pack.ListValues())
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{"dataDir": dir, "listen": "127.0.0.1:0", "log.minFree": "1MiB"}
	maps.Copy(all, flags)
	cfg, err := config.Parse(config.Input{File: "clew.yaml", Flags: all}, []byte("apiVersion: clew/v1\nkind: Server\nsources:\n"+sources))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{reload: make(chan *config.Config)}
	up, ended := make(chan daemon.Announcement, 1), make(chan error, 1)
	go func() {
		ended <- daemon.Run(ctx, daemon.Options{
			Config: cfg, Rules: set, Matrix: matrix.Load(), Version: "test", Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
			Announce: func(a daemon.Announcement) { up <- a }, Play: daemon.Play(recordings.FS), Reload: r.reload,
		})
	}()
	r.stop = func() error { cancel(); return <-ended }
	select {
	case r.Announcement = <-up:
	case err := <-ended:
		t.Fatal(err)
	}
	pem, err := os.ReadFile(r.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	r.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	return r
}

// call posts a body and returns the status and the answer.
func (r *running) call(t *testing.T, path, token, body string) (int, string) {
	t.Helper()
	return r.ask(t, http.MethodPost, path, token, body)
}

// ask sends a request and returns the status and the answer.
func (r *running) ask(t *testing.T, method, path, token, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "https://"+r.Address+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, b.String()
}

func member(t *testing.T, text, name string) string {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	s, _ := m[name].(string)
	return s
}

const exec = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/a/pods/p/exec?command=sh&stdin=true&tty=true","verb":"create","user":{"username":"u","groups":["system:authenticated"]},"sourceIPs":["10.0.0.1"],"objectRef":{"resource":"pods","namespace":"a","name":"p","apiVersion":"v1","subresource":"exec"},"responseStatus":{"code":101},"requestReceivedTimestamp":"2026-03-01T10:00:00.000000Z","stageTimestamp":"2026-03-01T10:00:01.000000Z"}`

// TestServer goes from an empty folder to a trace, and finds it again after a
// restart that needs no set-up.
func TestServer(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir, nil)
	code, answer := r.call(t, "/v1/setup", r.SetupToken, `{"name":"ana"}`)
	if code != http.StatusOK {
		t.Fatalf("set-up: %d %s", code, answer)
	}
	admin := member(t, answer, "token")
	code, answer = r.call(t, "/clew.v1.SystemService/CreateToken", admin, `{"name":"api server","role":"ROLE_INGEST","source":"k8s"}`)
	if code != http.StatusOK {
		t.Fatalf("making an ingest token: %d %s", code, answer)
	}
	ingest := member(t, answer, "secret")
	if code, answer = r.call(t, "/v1/sources/k8s", ingest, exec); code != http.StatusOK {
		t.Fatalf("posting an event: %d %s", code, answer)
	}
	if code, _ = r.call(t, "/clew.v1.TraceService/ListTraces", ingest, `{}`); code != http.StatusForbidden {
		t.Errorf("an ingest token lists traces: %d", code)
	}
	if code, _ = r.call(t, "/v1/setup", r.SetupToken, `{"name":"eve"}`); code != http.StatusUnauthorized {
		t.Errorf("the set-up token works twice: %d", code)
	}
	listed := func(r *running) string {
		deadline := time.Now().Add(20 * time.Second)
		for time.Now().Before(deadline) {
			if _, answer := r.call(t, "/clew.v1.TraceService/ListTraces", admin, `{"filter":{"includeContext":true}}`); strings.Contains(answer, `"cluster":"prod"`) {
				return answer
			}
			time.Sleep(50 * time.Millisecond)
		}
		return ""
	}
	before := listed(r)
	if before == "" {
		t.Fatal("no trace of an interactive shell")
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}

	r = start(t, dir, nil)
	defer func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	}()
	if r.SetupToken != "" {
		t.Error("a set-up token though there is an administrator")
	}
	if listed(r) == "" {
		t.Error("the trace is gone after a restart")
	}
	if code, answer = r.call(t, "/v1/sources/k8s", ingest, exec); code != http.StatusOK {
		t.Fatalf("posting the event again: %d %s", code, answer)
	}
	time.Sleep(time.Second)
	if _, answer = r.call(t, "/clew.v1.EventService/SearchEvents", admin, `{"filter":{"user":"u"}}`); strings.Count(answer, `"requestUri"`) != 1 {
		t.Errorf("the event sent twice is not in the history once: %s", answer)
	}
}

// TestDemo plays the recordings until there is an alert.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("takes up to a minute and a half")
	}
	r := start(t, t.TempDir(), map[string]string{"demo": "true"})
	defer func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	}()
	_, answer := r.call(t, "/v1/setup", r.SetupToken, `{"name":"ana"}`)
	admin := member(t, answer, "token")
	deadline := time.Now().Add(100 * time.Second)
	for time.Now().Before(deadline) {
		if _, answer = r.call(t, "/clew.v1.TraceService/ListTraces", admin, `{"filter":{"alertsOnly":true}}`); strings.Contains(answer, `"alert":true`) {
			return
		}
		time.Sleep(500 * time.Millisecond)
	}
	t.Error("no alert in the demonstration")
}
