package cluster

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Record plays the script on a cluster of its own and writes a recording to
// dir/attack/NAME or dir/benign/NAME: setup.jsonl.gz and audit.jsonl.gz as the API
// server posted them, a README.md with the steps, and want.txt, what `clew replay`
// finds. For recordings in test/recordings `make golden` writes want.txt again.
func Record(ctx context.Context, dir string, s Script) error {
	kind := "benign"
	if s.Attack {
		kind = "attack"
	}
	dir = filepath.Join(dir, kind, s.Name)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	readme, err := record(ctx, dir, s)
	if err != nil {
		return fmt.Errorf("recording %s: %w", s.Name, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "README.md"), []byte(readme), 0o600); err != nil {
		return err
	}
	replay := exec.CommandContext(ctx, os.Getenv(clewVar), "replay", filepath.Join(dir, "setup.jsonl.gz"), filepath.Join(dir, "audit.jsonl.gz")) //nolint:gosec // the clew that was built
	out, err := replay.Output()
	if exit := (*exec.ExitError)(nil); err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) {
		return fmt.Errorf("replaying %s: %w", dir, err)
	}
	return os.WriteFile(filepath.Join(dir, "want.txt"), out, 0o600)
}

func record(ctx context.Context, dir string, s Script) (readme string, err error) {
	sink, err := NewSink()
	if err != nil {
		return "", err
	}
	defer sink.Close() //nolint:errcheck // nothing more is wanted of it
	setup, err := newFile(filepath.Join(dir, "setup.jsonl.gz"))
	if err != nil {
		return "", err
	}
	defer setup.close(&err)
	audit, err := newFile(filepath.Join(dir, "audit.jsonl.gz"))
	if err != nil {
		return "", err
	}
	defer audit.close(&err)
	work, err := os.MkdirTemp("", "clew-record-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work) //nolint:errcheck // a temporary folder
	if _, err := sink.To(setup.zip); err != nil {
		return "", err
	}
	c, err := Start(ctx, work, sink.Webhook())
	if err != nil {
		return "", err
	}
	defer c.Stop()
	if err := c.Found(ctx); err != nil {
		return "", err
	}
	var steps strings.Builder
	err = s.Play(ctx, c, func() error { _, err := sink.To(audit.zip); return err }, func(step Step, at time.Time) {
		techniques := step.Techniques
		if techniques == "" {
			techniques = "-"
		}
		fmt.Fprintf(&steps, "| %s | %s | %s |\n", at.UTC().Format(time.TimeOnly), techniques, step.Text)
	})
	if err != nil {
		return "", err
	}
	time.Sleep(2 * time.Second) // the controllers' part of it
	c.Stop()
	_, err = sink.To(io.Discard)
	return fmt.Sprintf("# %s\n\n%s\n\nRecorded by `make record` from a real kube-apiserver, controller manager and scheduler %s on %s; no container ran.\n\n| time (UTC) | techniques | step |\n|---|---|---|\n%s",
		s.Name, s.About, kubernetesRelease, time.Now().UTC().Format(time.DateOnly), steps.String()), err
}

// file is a compressed file.
type file struct {
	f   *os.File
	zip *gzip.Writer
}

func newFile(path string) (file, error) {
	f, err := os.Create(path)
	return file{f, gzip.NewWriter(f)}, err
}

func (f file) close(err *error) { *err = errors.Join(*err, f.zip.Close(), f.f.Close()) }
