package live_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
)

// TestFullDiskRefusesAndRecovers fills the disk under a server that is posted to. It
// says so and takes nothing until there is room again; then it goes on by itself.
func TestFullDiskRefusesAndRecovers(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("clew-test", dir, "tmpfs", 0, "size=128m"); err != nil {
		t.Skipf("needs to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { // behind the server's end
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	s := newServer(t, dir, "CLEW_LOG_MIN_FREE=16MiB")
	posts := recorded(t, 120)
	send(t, s, posts[:40])

	var wg sync.WaitGroup
	wg.Go(func() { send(t, s, posts[40:80]) }) // some of it waits for room
	ballast := fill(t, dir)
	web, err := s.web()
	if err != nil {
		t.Fatal(err)
	}
	defer web.CloseIdleConnections()
	status, answer, err := s.post(web, ingestToken, posts[80])
	if err != nil || status != http.StatusServiceUnavailable || answer == "" {
		t.Errorf("a post to a full disk is answered %d %q, %v", status, answer, err)
	}
	if err := s.ready(); err == nil {
		t.Error("the server says it is ready although its log takes nothing")
	}
	api := s.api()
	resp, err := api.System.GetStatus(context.Background(), connect.NewRequest(&clewv1.GetStatusRequest{}))
	switch {
	case err != nil:
		t.Errorf("asking how it does: %v", err)
	case resp.Msg.Log.Writable || resp.Msg.Log.Problem == "":
		t.Errorf("the log is said to be %v", resp.Msg.Log)
	default:
		t.Logf("refused with %d %q, status: %s", status, answer, resp.Msg.Log.Problem)
	}
	time.Sleep(3 * time.Second) // state and snapshots meet the full disk

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	eventually(t, 20*time.Second, s.ready)
	t.Logf("ready %s after there was room", time.Since(began).Round(100*time.Millisecond))
	wg.Wait()
	send(t, s, posts[80:])
	wantIDs(t, s, idsOf(t, posts))
	s.kill(syscall.SIGKILL)
	s.start()
	wantIDs(t, s, idsOf(t, posts))
}

// fill takes all that is free below dir and returns the file that does.
func fill(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for chunk := make([]byte, 1<<20); err == nil; {
		_, err = f.Write(chunk)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	return path
}
