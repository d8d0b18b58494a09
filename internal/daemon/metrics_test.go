package daemon_test

import (
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clew-sec/clew/internal/server/auth"
)

// rare are metrics that a server serves when something went wrong or time has passed,
// which this test does not wait for.
var rare = []string{"clew_http_connections_refused_total", "clew_history_oldest_timestamp_seconds", "clew_source_dropped_total", "clew_log_replaced_timestamp_seconds"}

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
	r, err := auth.RecordOf(sender, "sender", auth.Ingest, "k8s")
	if err != nil {
		t.Fatal(err)
	}
	tokens := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(tokens, []byte("ingest:k8s "+r.ID+" "+r.Hash+" sender\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	server := start(t, t.TempDir(), map[string]string{"auth.metricsToken": "env:METRICS_TEST", "auth.tokensFile": tokens})
	defer func() {
		if err := server.stop(); err != nil {
			t.Error(err)
		}
	}()
	const event = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a","stage":"ResponseComplete",` +
		`"requestURI":"/api/v1/pods","verb":"list","user":{"username":"anna"},"objectRef":{"resource":"pods","apiVersion":"v1"},` +
		`"responseStatus":{"code":200},"requestReceivedTimestamp":"2026-01-16T10:00:00.000000Z","stageTimestamp":"2026-01-16T10:00:00.001000Z"}`
	for body, want := range map[string]int{event: http.StatusOK, "no event": http.StatusBadRequest} {
		if code, text := server.call(t, "/v1/sources/k8s", sender, body); code != want {
			t.Fatalf("posting %q: %d %s", body, code, text)
		}
	}
	if code, _ := server.ask(t, http.MethodGet, "/metrics", "", ""); code != http.StatusUnauthorized {
		t.Errorf("metrics without a token: %d", code)
	}
	out := map[string]bool{}
	for end := time.Now().Add(20 * time.Second); !out["clew_worker_event_timestamp_seconds"]; { // the engine takes the event in within its window
		if time.Now().After(end) {
			t.Fatal("the engine has not taken the event in")
		}
		code, text := server.ask(t, http.MethodGet, "/metrics", token, "")
		if code != http.StatusOK {
			t.Fatalf("metrics: %d %s", code, text)
		}
		for _, m := range regexp.MustCompile(`(?m)^# TYPE (clew_[a-z_]+) `).FindAllStringSubmatch(text, -1) {
			out[m[1]] = true
		}
	}
	return out
}
