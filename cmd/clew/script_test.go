package main

import (
	"context"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/clew-sec/clew/internal/client"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"clew": main})
}

// TestScripts runs the scripts of testdata/script: the program as people call it,
// against a server that answers from memory. $SERVER, $CA and $FINGERPRINT name it.
func TestScripts(t *testing.T) {
	ts := startFake(t)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ts.Certificate().Raw})
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		UpdateScripts:       os.Getenv("UPDATE") != "",
		Setup: func(e *testscript.Env) error {
			e.Setenv("SERVER", ts.URL)
			e.Setenv("FINGERPRINT", client.Fingerprint(ts.Certificate()))
			e.Setenv("CA", filepath.Join(e.WorkDir, "ca.crt"))
			e.Setenv("HOME", filepath.Join(e.WorkDir, "home"))
			e.Setenv("USER", "alice")
			return os.WriteFile(filepath.Join(e.WorkDir, "ca.crt"), ca, 0o600)
		},
	})
}

// stopper interrupts the program when it first writes something.
type stopper struct{ stop context.CancelFunc }

func (s stopper) Write(p []byte) (int, error) {
	s.stop()
	return len(p), nil
}

// TestWatchEndsWhenInterrupted holds that an interrupt is the ordinary end of a watch.
func TestWatchEndsWhenInterrupted(t *testing.T) {
	ts := startFake(t)
	t.Setenv("HOME", t.TempDir())
	t.Setenv("CLEW_SERVER", ts.URL)
	t.Setenv("CLEW_FINGERPRINT", client.Fingerprint(ts.Certificate()))
	t.Setenv("CLEW_TOKEN", "clew_viewer_x")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := root()
	cmd.SetOut(stopper{cancel})
	cmd.SetArgs([]string{"trace", "watch", "--text", "wait"})
	if err := cmd.ExecuteContext(ctx); err != nil {
		t.Error(err)
	}
	if ctx.Err() == nil {
		t.Error("nothing was printed")
	}
}
