package live_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/klauspost/compress/gzip"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
	"github.com/clew-sec/clew/internal/bus"
	"github.com/clew-sec/clew/internal/source/push"
	"github.com/clew-sec/clew/internal/store/blob"
	"github.com/clew-sec/clew/internal/store/parquet"
)

// bomb returns n bytes of text, repeated, compressed.
func bomb(t *testing.T, head, text string, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := io.WriteString(z, head)
	for chunk := []byte(strings.Repeat(text, 1<<20/len(text))); err == nil && n > 0; n -= len(chunk) {
		_, err = z.Write(chunk)
	}
	if err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestProbes asks a server what it must refuse.
func TestProbes(t *testing.T) {
	s := newServer(t, t.TempDir())
	web, err := s.web()
	if err != nil {
		t.Fatal(err)
	}
	defer web.CloseIdleConnections()
	const post, list = "/v1/sources/k8s-audit", "/clew.v1.TraceService/ListTraces"
	wrong := "clew_ingest_" + strings.Repeat("x", 30)
	huge := `{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"` + strings.Repeat("a", 17<<20) + `"}`
	for _, c := range []struct {
		name, path, token string
		gzipped           bool
		body              []byte
		want              int
	}{
		{"no token", post, "", false, nil, http.StatusUnauthorized},
		{"a wrong secret", post, wrong, false, nil, http.StatusUnauthorized},
		{"a viewer posts", post, viewerToken, false, []byte("{}"), http.StatusForbidden},
		{"a sender reads", list, ingestToken, false, []byte("{}"), http.StatusForbidden},
		{"a viewer makes tokens", "/clew.v1.SystemService/CreateToken", viewerToken, false, []byte("{}"), http.StatusForbidden},
		{"another source", "/v1/sources/other", ingestToken, false, []byte("{}"), http.StatusForbidden},
		{"a path climbs", "/v1/sources/..%2f..%2fetc%2fpasswd", ingestToken, false, []byte("{}"), http.StatusForbidden},
		{"an id climbs", "/clew.v1.TraceService/GetTrace", viewerToken, false, []byte(`{"id":"../../etc/passwd"}`), http.StatusBadRequest},
		{"an event's id climbs", "/clew.v1.EventService/GetEvent", viewerToken, false, []byte(`{"id":"../../etc/passwd"}`), http.StatusBadRequest},
		{"nothing", post, ingestToken, false, []byte{}, http.StatusBadRequest},
		{"no JSON", post, ingestToken, false, []byte("<xml>not a log</xml>"), http.StatusBadRequest},
		{"cut off", post, ingestToken, false, []byte(`{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{"kind":"Ev`), http.StatusBadRequest},
		{"no gzip", post, ingestToken, true, []byte("plain"), http.StatusBadRequest},
		// One record must not hold up a sender: it is counted as lost.
		{"a large record", post, ingestToken, false, []byte(huge), http.StatusOK},
		{"a large body", post, ingestToken, false, bytes.Repeat([]byte(" "), push.DefaultMaxBody+1), http.StatusRequestEntityTooLarge},
		{"a bomb of one record", post, ingestToken, true, bomb(t, `{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"`, "a", 1100<<20), http.StatusRequestEntityTooLarge},
		{"a bomb of nothing", post, ingestToken, true, bomb(t, "", "\n", 1100<<20), http.StatusRequestEntityTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			req, err := http.NewRequest(http.MethodPost, s.url+c.path, bytes.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			if c.token != "" {
				req.Header.Set("Authorization", "Bearer "+c.token)
			}
			if c.gzipped {
				req.Header.Set("Content-Encoding", "gzip")
			}
			resp, err := web.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			answer, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != c.want {
				t.Errorf("answered %d %s, want %d", resp.StatusCode, answer, c.want)
			}
			if bytes.Contains(answer, []byte("/internal/")) || bytes.Contains(answer, []byte(s.dir)) {
				t.Errorf("the answer tells of the inside: %s", answer)
			}
		})
	}
	if text := s.log.String(); strings.Contains(text, strings.Repeat("x", 30)) {
		t.Error("a wrong secret stands in the server's log")
	}
}

// TestSlowHeaderIsClosed sends a header that does not end.
func TestSlowHeaderIsClosed(t *testing.T) {
	t.Parallel()
	s := newServer(t, t.TempDir())
	c, err := tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true}) // nothing secret is said
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	began := time.Now()
	if err := c.SetDeadline(began.Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	go func() {
		for line := "POST / HTTP/1.1\r\n"; ; line = "X-Slow: 1\r\n" {
			if _, err := io.WriteString(c, line); err != nil {
				return
			}
			time.Sleep(time.Second)
		}
	}()
	_, _ = io.Copy(io.Discard, c) // to the end
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("the connection was open for %s", took)
	}
}

// TestSecretsAreStoredNowhere plants secrets in headers and bodies and looks for them
// in everything that a server keeps or says.
func TestSecretsAreStoredNowhere(t *testing.T) {
	t.Parallel()
	const planted = "hunter2-planted-value"
	record := `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":"7d1f0c8e-0000-4000-8000-000000000001","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/shop/secrets?token=` + planted + `","verb":"create","user":{"username":"mallory","groups":["system:masters"]},"sourceIPs":["192.0.2.7"],"objectRef":{"resource":"secrets","namespace":"shop","name":"db","apiVersion":"v1"},"responseStatus":{"code":201},"requestObject":{"kind":"Secret","apiVersion":"v1","metadata":{"name":"db","namespace":"shop","annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"stringData\":{\"password\":\"` + planted + `\"}}"}},"stringData":{"password":"` + planted + `"}},"requestReceivedTimestamp":"` + stamp() + `","stageTimestamp":"` + stamp() + `"}`
	s := newServer(t, t.TempDir(), "CLEW_LOG_LEVEL=debug")
	web, err := s.web()
	if err != nil {
		t.Fatal(err)
	}
	defer web.CloseIdleConnections()
	if err := s.deliver(web, []byte(record)); err != nil {
		t.Fatal(err)
	}
	if status, _, err := s.post(web, "clew_ingest_"+planted+"-wrong", nil); err != nil || status != http.StatusUnauthorized {
		t.Fatal(status, err)
	}
	if status, _, err := s.post(web, ingestToken, []byte(`{"password":"`+planted+`"`)); err != nil || status != http.StatusBadRequest {
		t.Fatal(status, err)
	}
	api := s.api()
	var found *connect.Response[clewv1.SearchEventsResponse]
	eventually(t, 20*time.Second, func() (err error) {
		found, err = api.Events.SearchEvents(context.Background(), connect.NewRequest(&clewv1.SearchEventsRequest{}))
		if err == nil && len(found.Msg.Events) != 1 {
			err = fmt.Errorf("%d events", len(found.Msg.Events))
		}
		return err
	})
	got, err := api.Events.GetEvent(context.Background(), connect.NewRequest(&clewv1.GetEventRequest{Id: found.Msg.Events[0].Id}))
	if err != nil {
		t.Fatal(err)
	}
	for id, text := range tracesOf(t, s) {
		lookFor(t, "trace "+id, []byte(text), planted)
	}
	said := fmt.Appendf(nil, "%v", got.Msg)
	if !bytes.Contains(said, []byte("mallory")) || len(got.Msg.Event.Raw) == 0 {
		t.Fatalf("the event is not there: %s", said)
	}
	lookFor(t, "the API", append(said, got.Msg.Event.Raw...), planted)

	s.kill(syscall.SIGKILL) // an orderly end might trim the log
	data := filepath.Join(s.dir, "data")
	onLog := logRecords(t, filepath.Join(data, "log"))
	if !bytes.Contains(onLog, []byte("mallory")) {
		t.Error("the event is not on the log")
	}
	lookFor(t, "the log", onLog, planted)
	s.start()
	s.idle(api)
	s.kill(syscall.SIGTERM)
	inHistory := historyRecords(t, filepath.Join(data, "history"))
	if !bytes.Contains(inHistory, []byte("mallory")) {
		t.Error("the event is not in a segment")
	}
	lookFor(t, "the history", inHistory, planted)
	lookFor(t, "the server's own log", []byte(s.log.String()), planted)
	everyFile(t, data, func(path string, b []byte) {
		lookFor(t, path, b, planted)
		lookFor(t, path, b, strings.TrimPrefix(ingestToken, "clew_ingest_"))
		lookFor(t, path, b, strings.TrimPrefix(adminToken, "clew_admin_"))
	})
	lookFor(t, "the server's own log", []byte(s.log.String()), strings.TrimPrefix(ingestToken, "clew_ingest_"))
	lookFor(t, "the server's own log", []byte(s.log.String()), strings.TrimPrefix(adminToken, "clew_admin_"))
}

func stamp() string { return time.Now().UTC().Format("2006-01-02T15:04:05.000000Z") }

func lookFor(t *testing.T, where string, in []byte, secret string) {
	t.Helper()
	if i := bytes.Index(in, []byte(secret)); i >= 0 {
		t.Errorf("%s holds a secret: …%s…", where, in[max(0, i-80):min(len(in), i+80)])
	}
}

// logRecords returns all records on the log of a server that has ended.
func logRecords(t *testing.T, dir string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	l, err := bus.Open(ctx, bus.Config{Dir: dir, MaxBytes: 1 << 30}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close(ctx)
	n, err := l.Backlog(ctx, "local", 0)
	if err != nil {
		t.Fatal(err)
	}
	r, err := l.Read(ctx, "local", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var out []byte
	for range n {
		m, err := r.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range m.Batch.Records {
			out = append(out, rec.Raw...)
		}
	}
	return out
}

// historyRecords returns all rows of a history, in words.
func historyRecords(t *testing.T, dir string) []byte {
	t.Helper()
	ctx := context.Background()
	blobs, err := blob.NewFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	h, err := parquet.Open(ctx, parquet.Config{Blobs: blobs, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close(ctx)
	res, err := h.Query(ctx, parquet.Query{Raw: true, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	for i := range res.Rows {
		out = fmt.Appendf(out, "%+v\n%s\n", res.Rows[i], res.Rows[i].Raw)
	}
	return out
}

func everyFile(t *testing.T, dir string, each func(path string, b []byte)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		each(path, b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
