// Package live_test holds a whole server of clew, in a process of its own, to its
// promises: nothing that it acknowledged is lost, whatever happens to it.
package live_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
	"github.com/clew-sec/clew/internal/client"
	"github.com/clew-sec/clew/internal/server/auth"
)

// Tokens of the servers under test. They are made up here and open nothing else.
const (
	adminToken  = "clew_admin_0123456789abcdefghijklmnop"
	ingestToken = "clew_ingest_zyxwvutsrqponmlkjihgfedcba"
	viewerToken = "clew_viewer_0a1b2c3d4e5f6g7h8i9j0k1l2m"
)

// binary is clew, built once.
var binary string

func TestMain(m *testing.M) {
	code, err := withBinary(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func withBinary(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "clew-live-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	binary = filepath.Join(dir, "clew")
	if out, err := exec.Command("go", "build", "-o", binary, "../../cmd/clew").CombinedOutput(); err != nil {
		return 0, fmt.Errorf("building clew: %w\n%s", err, out)
	}
	return m.Run(), nil
}

// server is one that can be killed and started again.
type server struct {
	t    testing.TB
	dir  string // of data, below it
	url  string
	addr string
	env  []string

	cmd    *exec.Cmd
	exited chan struct{}
	log    logText
}

// logText is what all runs of a server wrote to standard error and output.
type logText struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newServer starts a server whose data is in dir. env are settings as
// CLEW_LOG_MAX_BYTES=1GiB. It ends with the test.
func newServer(t testing.TB, dir string, env ...string) *server {
	t.Helper()
	s := &server{t: t, dir: dir, addr: freeAddress(t)}
	s.url = "https://" + s.addr
	keys := t.TempDir()
	write(t, filepath.Join(keys, "admin"), adminToken)
	var lines strings.Builder
	for _, x := range []struct {
		token  string
		role   auth.Role
		source string
	}{{ingestToken, auth.Ingest, "k8s-audit"}, {viewerToken, auth.Viewer, ""}} {
		r, err := auth.RecordOf(x.token, "a test", x.role, x.source)
		if err != nil {
			t.Fatal(err)
		}
		lines.WriteString(r.Line() + "\n")
	}
	write(t, filepath.Join(keys, "tokens"), lines.String())
	s.env = append(append(os.Environ(),
		"CLEW_AUTH_FIRST_ADMIN=file:"+filepath.Join(keys, "admin"), "CLEW_AUTH_TOKENS_FILE="+filepath.Join(keys, "tokens"),
		"CLEW_LOG_MIN_FREE=64MiB", "CLEW_ENGINE_SNAPSHOT_INTERVAL=1s"), env...)
	t.Cleanup(func() {
		s.kill(syscall.SIGKILL)
		if t.Failed() {
			text := s.log.String()
			t.Logf("the server's log, its end:\n%s", text[max(0, len(text)-8000):])
		}
	})
	s.start()
	return s
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start starts the process and waits until it is ready.
func (s *server) start() {
	s.t.Helper()
	s.cmd = exec.Command(binary, "up", "--data", filepath.Join(s.dir, "data"), "--listen", s.addr)
	s.cmd.Env, s.cmd.Stdout, s.cmd.Stderr = s.env, &s.log, &s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.exited = make(chan struct{})
	go func() {
		_ = s.cmd.Wait() // killed on purpose
		close(s.exited)
	}()
	eventually(s.t, 30*time.Second, func() error {
		select {
		case <-s.exited:
			s.t.Fatal("the server ended by itself")
		default:
		}
		return s.ready()
	})
}

func (s *server) ready() error {
	web, err := s.web()
	if err != nil {
		return err
	}
	defer web.CloseIdleConnections()
	resp, err := web.Get(s.url + "/readyz")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("not ready: %s: %s", resp.Status, b)
	}
	return nil
}

// kill sends sig and waits for the end.
func (s *server) kill(sig syscall.Signal) {
	_ = s.cmd.Process.Signal(sig) // it may have ended
	<-s.exited
}

// web returns a client that believes this server.
func (s *server) web() (*http.Client, error) {
	pem, err := os.ReadFile(filepath.Join(s.dir, "data", "tls", "ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &http.Client{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true},
		Timeout:   30 * time.Second,
	}, nil
}

// api returns the API with the token of an administrator.
func (s *server) api() *client.Client {
	s.t.Helper()
	c, err := client.New(client.Profile{Server: s.url, Token: adminToken, CAFile: filepath.Join(s.dir, "data", "tls", "ca.crt")})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}

// post sends one body as a webhook does and returns the answer.
func (s *server) post(web *http.Client, token string, body []byte) (status int, answer string, err error) {
	req, err := http.NewRequest(http.MethodPost, s.url+"/v1/sources/k8s-audit", bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := web.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// deliver sends a body until the server acknowledges it.
func (s *server) deliver(web *http.Client, body []byte) error {
	end := time.Now().Add(time.Minute)
	for {
		status, answer, err := s.post(web, ingestToken, body)
		switch {
		case err == nil && status == http.StatusOK:
			return nil
		case err == nil && status != http.StatusTooManyRequests && status < 500:
			return fmt.Errorf("refused for good: %d %s", status, answer)
		case time.Now().After(end):
			return fmt.Errorf("not taken within a minute: %d %s %w", status, answer, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// idle waits until the engine has taken in all that is on the log and has held
// nothing back.
func (s *server) idle(api *client.Client) {
	s.t.Helper()
	var last uint64
	still := 0
	eventually(s.t, time.Minute, func() error {
		resp, err := api.System.GetStatus(context.Background(), connect.NewRequest(&clewv1.GetStatusRequest{}))
		if err != nil {
			return err
		}
		w := resp.Msg.Workers[0]
		if w.Backlog > 0 || w.Error != "" || w.Events != last {
			last, still = w.Events, 0
			return fmt.Errorf("behind: %v", w)
		}
		if still++; still < 6 { // 0.6 s: longer than the window
			return errors.New("it may hold events")
		}
		return nil
	})
}

func eventually(t testing.TB, within time.Duration, f func() error) {
	t.Helper()
	end := time.Now().Add(within)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within %s: %v", within, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
