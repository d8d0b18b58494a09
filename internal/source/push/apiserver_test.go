//go:build !race

// Kubernetes takes minutes to build with the race detector; the other tests of this
// package run the same handlers under it.

package push

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/plugin/pkg/audit/webhook"

	"github.com/clew-sec/clew/internal/source"
)

// The API server's own webhook plug-in sends.
func TestAPIServerPlugin(t *testing.T) {
	refused := 0
	l := &log{}
	l.fail = func(source.Batch) error {
		if refused++; refused <= 2 {
			return source.ErrUnavailable
		}
		return nil
	}
	cfg := config(t, l)
	s := httptest.NewTLSServer(Webhook(cfg))
	defer s.Close()
	backend := apiserver(t, s, "right")

	var group sync.WaitGroup
	for post := range 8 {
		group.Go(func() {
			if !backend.ProcessEvents(events(post, 400)...) {
				t.Error("the API server gave up")
			}
		})
	}
	group.Wait()
	for i := range 20 { // mode blocking
		if !backend.ProcessEvents(events(100+i, 1)...) {
			t.Error("the API server gave up")
		}
	}
	seen := map[string]bool{}
	for _, r := range l.records {
		seen[r] = true
	}
	if len(seen) != 8*400+20 {
		t.Errorf("%d events of %d arrived", len(seen), 8*400+20)
	}
	if got := cfg.Meter.Status(); got.Rejected["unavailable"] != 2 {
		t.Errorf("meter %+v", got)
	}
	if apiserver(t, s, "wrong").ProcessEvents(events(0, 1)...) {
		t.Error("a wrong token is accepted")
	}
}

func apiserver(t *testing.T, s *httptest.Server, token string) audit.Backend {
	t.Helper()
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	kubeconfig := filepath.Join(dir, "webhook.kubeconfig")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c",
"clusters":[{"name":"clew","cluster":{"server":"%s/audit","certificate-authority":"%s"}}],
"contexts":[{"name":"c","context":{"cluster":"clew","user":"api"}}],
"users":[{"name":"api","user":{"token":"%s"}}]}`, s.URL, ca, token)
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	backend, err := webhook.NewBackend(kubeconfig, auditv1.SchemeGroupVersion, wait.Backoff{Duration: time.Millisecond, Steps: 4, Factor: 2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return backend
}

func events(post, n int) []*auditinternal.Event {
	var out []*auditinternal.Event
	for i := range n {
		out = append(out, &auditinternal.Event{
			Level: auditinternal.LevelMetadata, AuditID: types.UID(fmt.Sprintf("%d-%d", post, i)), Stage: auditinternal.StageResponseComplete,
			RequestURI: "/api/v1/pods", Verb: "list", StageTimestamp: metav1.NowMicro(),
		})
	}
	return out
}

// TestDocumentedKubeconfig holds that the kubeconfig of docs/connect.md works with the
// API server's own plug-in: address, authority and token are all that is put in.
func TestDocumentedKubeconfig(t *testing.T) {
	page, err := os.ReadFile("../../../docs/connect.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(page), "<!-- kubeconfig -->\n```yaml\n")
	text, _, end := strings.Cut(after, "```")
	if !ok || !end {
		t.Fatal("the page has no kubeconfig")
	}
	l := &log{}
	mux := http.NewServeMux()
	mux.Handle("POST /v1/sources/k8s-audit", Webhook(config(t, l)))
	s := httptest.NewTLSServer(mux)
	defer s.Close()
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.crt")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	text = strings.NewReplacer("https://clew.example.org:8443", s.URL, "/etc/kubernetes/clew/ca.crt", ca, "TOKEN", "right").Replace(text)
	kubeconfig := filepath.Join(dir, "webhook.kubeconfig")
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	backend, err := webhook.NewBackend(kubeconfig, auditv1.SchemeGroupVersion, wait.Backoff{Duration: time.Millisecond, Steps: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !backend.ProcessEvents(events(0, 3)...) || len(l.records) != 3 {
		t.Errorf("%d events of 3 arrived", len(l.records))
	}
}
