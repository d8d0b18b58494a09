package daemon_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clew-sec/clew/internal/config"
	"github.com/clew-sec/clew/internal/daemon"
	"github.com/clew-sec/clew/internal/detect"
	"github.com/clew-sec/clew/internal/matrix"
	"github.com/clew-sec/clew/internal/server/auth"
)

// rare are metrics that a server serves when something went wrong or time has passed,
// which this test does not wait for.
var rare = []string{"clew_http_connections_refused_total", "clew_history_oldest_timestamp_seconds", "clew_source_dropped_total"}

// TestMetricsAreDocumented holds docs/operations.md to what a server that runs serves.
func TestMetricsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(clew_[a-z_]+)` \\|").FindAllStringSubmatch(string(page), -1) {
		names[m[1]] = true
	}
	served := scrape(t)
	for _, name := range rare {
		served[name] = true
	}
	got, want := slices.Sorted(maps.Keys(names)), slices.Sorted(maps.Keys(served))
	if !slices.Equal(got, want) {
		t.Errorf("the page has\n%s\nthe server\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// scrape runs a server, sends it an event, what is no event and a request without a
// token, and returns the names of clew's own metrics.
func scrape(t *testing.T) map[string]bool {
	t.Helper()
	token := "clew_metrics_" + strings.Repeat("m", 26)
	sender := "clew_sender_" + strings.Repeat("s", 26)
	t.Setenv("METRICS_TEST", token)
	r, err := auth.RecordOf(sender, "sender", auth.Ingest, "k8s-audit")
	if err != nil {
		t.Fatal(err)
	}
	tokens := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(tokens, []byte("ingest:k8s-audit "+r.ID+" "+r.Hash+" sender\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	url, client := start(t, map[string]string{"auth.metricsToken": "env:METRICS_TEST", "auth.tokensFile": tokens})
	const event = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a","stage":"ResponseComplete",` +
		`"requestURI":"/api/v1/pods","verb":"list","user":{"username":"anna"},"objectRef":{"resource":"pods","apiVersion":"v1"},` +
		`"responseStatus":{"code":200},"requestReceivedTimestamp":"2026-01-16T10:00:00.000000Z","stageTimestamp":"2026-01-16T10:00:00.001000Z"}`
	for body, want := range map[string]int{event: http.StatusOK, "no event": http.StatusBadRequest} {
		if code, text := call(t, client, http.MethodPost, url+"/v1/sources/k8s-audit", sender, body); code != want {
			t.Fatalf("posting %q: %d %s", body, code, text)
		}
	}
	if code, _ := call(t, client, http.MethodGet, url+"/metrics", "", ""); code != http.StatusUnauthorized {
		t.Errorf("metrics without a token: %d", code)
	}
	out := map[string]bool{}
	for end := time.Now().Add(20 * time.Second); !out["clew_worker_event_timestamp_seconds"]; { // the engine takes the event in within its window
		if time.Now().After(end) {
			t.Fatal("the engine has not taken the event in")
		}
		code, text := call(t, client, http.MethodGet, url+"/metrics", token, "")
		if code != http.StatusOK {
			t.Fatalf("metrics: %d %s", code, text)
		}
		for _, m := range regexp.MustCompile(`(?m)^# TYPE (clew_[a-z_]+) `).FindAllStringSubmatch(text, -1) {
			out[m[1]] = true
		}
	}
	return out
}

// start runs a server until the test ends.
func start(t *testing.T, flags map[string]string) (string, *http.Client) {
	t.Helper()
	flags["dataDir"], flags["listen"], flags["log.minFree"] = t.TempDir(), "127.0.0.1:0", "1MiB"
	cfg, err := config.Load(config.Input{Flags: flags})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Sources = []config.Source{{Name: "k8s-audit", Kind: "k8s-webhook", Cluster: cfg.Cluster}}
	set, err := detect.Compile(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	up, ended := make(chan daemon.Announcement, 1), make(chan error, 1)
	go func() {
		ended <- daemon.Run(ctx, daemon.Options{
			Config: cfg, Rules: set, Matrix: matrix.Load(), Version: "test", Log: slog.New(slog.DiscardHandler),
			Announce: func(a daemon.Announcement) { up <- a },
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	var a daemon.Announcement
	select {
	case a = <-up:
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	ca, err := os.ReadFile(a.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}}
	t.Cleanup(transport.CloseIdleConnections)
	return "https://" + a.Address, &http.Client{Transport: transport}
}

func call(t *testing.T, client *http.Client, method, url, token, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}
