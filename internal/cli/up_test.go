package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/clew-sec/clew/internal/client"
	"github.com/clew-sec/clew/internal/daemon"
	"github.com/clew-sec/clew/internal/matrix"
	"github.com/clew-sec/clew/internal/server/auth"
	"github.com/clew-sec/clew/rules"
)

// up runs `clew up` on dir until the test stops it.
func up(t *testing.T, dir string) (stop func()) {
	t.Helper()
	t.Setenv("CLEW_LOG_MIN_FREE", "1MiB")
	cmd := NewUpCommand(ServerDeps{
		Content: Content{Rules: rules.FS, Catalogue: matrix.Load()}, Matrix: matrix.Load, Version: "test", Serve: daemon.Run,
	})
	cmd.SetArgs([]string{"--data", dir, "--listen", "127.0.0.1:0"})
	cmd.SetOut(&bytes.Buffer{})
	cmd.SetErr(&bytes.Buffer{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- cmd.ExecuteContext(ctx) }()
	for {
		if p, err := client.ReadProfile(filepath.Join(dir, client.DataProfile)); err == nil && strings.HasPrefix(p.Token, "clew_local_") {
			break
		}
		select {
		case err := <-ended:
			t.Fatal("ended: ", err)
		case <-t.Context().Done():
			t.Fatal("no profile")
		case <-time.After(20 * time.Millisecond):
		}
	}
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func ask(t *testing.T, new func(RemoteDeps) *cobra.Command, args ...string) (string, error) {
	t.Helper()
	cmd := new(RemoteDeps{Env: func(string) string { return "" }, Now: time.Now})
	var out bytes.Buffer
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

// TestDataFolderLetsItsOwnerIn is a claim of the threat model: who may read the data
// folder asks the server at once; nobody else can read what that takes, and it is
// worth nothing after the server's end.
func TestDataFolderLetsItsOwnerIn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	stop := up(t, dir)
	out, err := ask(t, NewStatusCommand, "--data", dir)
	if err != nil || !strings.Contains(out, ", healthy,") || !strings.Contains(out, "k8s-audit is waiting for its first event") {
		t.Errorf("a fresh server: %v\n%s", err, out)
	}
	if out, err := ask(t, NewActionsCommand, "--data", dir); err != nil {
		t.Errorf("actions: %v\n%s", err, out)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700 | os.ModeDir, filepath.Join(dir, client.DataProfile): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	before, err := client.ReadProfile(filepath.Join(dir, client.DataProfile))
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if err := os.Remove(filepath.Join(dir, client.DataProfile)); err != nil {
		t.Fatal(err)
	}
	defer up(t, dir)()
	after, err := client.ReadProfile(filepath.Join(dir, client.DataProfile))
	if err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(old, []byte(before.Token), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := ask(t, NewStatusCommand, "--server", after.Server, "--ca-file", after.CAFile, "--token-file", old); err == nil || before.Token == after.Token {
		t.Errorf("the token of the server before is good: %s", out)
	}
}

// TestTokenHash holds that the line is one that a server's tokens file may have.
func TestTokenHash(t *testing.T) {
	const token = "clew_ci_0123456789abcdefghijklmnop"
	hash := func(text string, args ...string) (string, error) {
		cmd := NewTokenCommand(RemoteDeps{Env: func(string) string { return "" }, Now: time.Now})
		var out bytes.Buffer
		cmd.SetArgs(append([]string{"hash"}, args...))
		cmd.SetIn(strings.NewReader(text))
		cmd.SetOut(&out)
		err := cmd.ExecuteContext(t.Context())
		return out.String(), err
	}
	line, err := hash(token+"\n", "--role", "ingest", "--source", "audit", "--name", "The CI")
	if err != nil || strings.Contains(line, "0123456789abcdef") {
		t.Fatalf("%s, %v", line, err)
	}
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	records, err := auth.ReadFile(file)
	if err != nil || len(records) != 1 || records[0].ID != "ci" || records[0].Role != auth.Ingest || records[0].Source != "audit" || records[0].Name != "The CI" {
		t.Errorf("%+v, %v", records, err)
	}
	for _, args := range [][]string{{"--role", "setup"}, {"--role", "root"}, {"--role", "ingest"}, {"--name", "a\nb"}} {
		if line, err := hash(token, args...); err == nil {
			t.Errorf("%v: %s", args, line)
		}
	}
	if _, err := hash("hunter2"); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("no token: %v", err)
	}
}
