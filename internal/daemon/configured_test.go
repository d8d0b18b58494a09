package daemon_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestConfiguredIsApplied holds that what the configuration says of sources and
// redaction is done.
func TestConfiguredIsApplied(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "audit.log")
	appendTo := func(user string) {
		f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(strings.Replace(exec, `"u"`, `"`+user+`"`, 1) + "\n"); err != nil {
			t.Fatal(err)
		}
	}
	appendTo("before")
	r := startWith(t, filepath.Join(dir, "data"), map[string]string{"redact.patterns": "planted-[0-9]+"}, `
- {name: k8s, kind: k8s-webhook, cluster: prod}
- {name: log, kind: file, cluster: prod, paths: [`+file+`], from: end}
- {name: ps, kind: pubsub, cluster: prod, audience: x, serviceAccount: y}
`)
	defer func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	}()
	search := func(filter string) string {
		code, answer := r.call(t, "/clew.v1.EventService/SearchEvents", r.LocalToken, `{"includeRaw":true,"filter":`+filter+`}`)
		if code != http.StatusOK {
			t.Fatalf("%d %s", code, answer)
		}
		return answer
	}
	eventually := func(filter, want string) string {
		for begin := time.Now(); ; time.Sleep(50 * time.Millisecond) {
			answer := search(filter)
			if strings.Contains(answer, want) {
				return answer
			}
			if time.Since(begin) > 20*time.Second {
				t.Fatalf("no %s: %s", want, answer)
			}
		}
	}
	time.Sleep(200 * time.Millisecond) // the end was found
	appendTo("after")
	if answer := eventually(`{}`, `"user":"after"`); strings.Contains(answer, `"user":"before"`) {
		t.Errorf("what stood in the file before is read: %s", answer)
	}

	_, answer := r.call(t, "/clew.v1.SystemService/CreateToken", r.LocalToken, `{"name":"api server","role":"ROLE_INGEST","source":"k8s"}`)
	ingest := member(t, answer, "secret")
	planted := strings.Replace(exec, `"verb"`, `"userAgent":"tool planted-123","verb"`, 1)
	if code, answer := r.call(t, "/v1/sources/k8s", ingest, strings.Replace(planted, `"u"`, `"planter"`, 1)); code != http.StatusOK {
		t.Fatalf("%d %s", code, answer)
	}
	if answer := eventually(`{"user":"planter"}`, `"user":"planter"`); strings.Contains(answer, "planted-123") || !strings.Contains(answer, "tool [redacted:") {
		t.Errorf("the pattern is not applied: %s", answer)
	}
}

// TestTrailNamesTheSetUp holds that the first thing that anybody does is told with
// the role it was done in.
func TestTrailNamesTheSetUp(t *testing.T) {
	r := start(t, t.TempDir(), nil)
	defer func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	}()
	if code, answer := r.call(t, "/v1/setup", r.SetupToken, `{"name":"ana"}`); code != http.StatusOK {
		t.Fatalf("%d %s", code, answer)
	}
	_, answer := r.call(t, "/clew.v1.SystemService/ListActions", r.LocalToken, `{}`)
	if !strings.Contains(answer, `"ROLE_SETUP"`) || !strings.Contains(answer, "/v1/setup") {
		t.Error(answer)
	}
	if code, answer := r.call(t, "/clew.v1.SystemService/CreateToken", r.LocalToken, `{"name":"eve","role":"ROLE_SETUP"}`); code != http.StatusBadRequest {
		t.Errorf("a set-up token at run time: %d %s", code, answer)
	}
}

// TestLongPosts holds that the server lets through what its sources take.
func TestLongPosts(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds")
	}
	r := start(t, t.TempDir(), nil)
	defer func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	}()
	_, answer := r.call(t, "/clew.v1.SystemService/CreateToken", r.LocalToken, `{"name":"api server","role":"ROLE_INGEST","source":"k8s"}`)
	ingest := member(t, answer, "secret")
	// As much as Firehose sends at most, and the end of it.
	long := strings.Replace(exec, `"verb"`, `"x":"`+strings.Repeat("a", 15<<20)+`","verb"`, 1) + "\n"
	if code, answer := r.call(t, "/v1/sources/k8s", ingest, strings.Repeat(long, 5)); code != http.StatusOK {
		t.Errorf("a post of 75 MiB: %d %s", code, answer)
	}
	if code, _ := r.call(t, "/v1/sources/k8s", ingest, strings.Repeat(long, 9)); code != http.StatusRequestEntityTooLarge {
		t.Errorf("a post of 135 MiB: %d", code)
	}
}
