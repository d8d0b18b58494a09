package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// process is a program that runs until it is stopped.
type process struct {
	name string
	log  string // file with what it printed
	stop context.CancelFunc
	done chan struct{} // closed when it ended
	err  error         // why, after done
}

// start runs a program with its output in dir/name.log. It is asked to end when
// ctx ends, killed when it does not within two seconds.
func start(ctx context.Context, dir, name, program string, env []string, args ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	ctx, p.stop = context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // the programs of this module
	cmd.Stdout, cmd.Stderr, cmd.Dir, cmd.Env = out, out, dir, append(os.Environ(), env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 2 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt is for this process, which stops them in order
	if err := cmd.Start(); err != nil {
		p.stop()
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		defer close(p.done)
		defer out.Close() //nolint:errcheck // a log
		p.err = cmd.Wait()
	}()
	return p, nil
}

// end stops the process and waits for it.
func (p *process) end() {
	p.stop()
	<-p.done
}

// tail is the end of what it printed.
func (p *process) tail() string {
	b, _ := os.ReadFile(p.log)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-8):], "\n")
}

// until calls ready again and again until it returns nil. It gives up when ctx
// ends or the process does.
func (p *process) until(ctx context.Context, ready func(context.Context) error) error {
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-p.done:
			return fmt.Errorf("%s ended (%w) before it was ready:\n%s", p.name, p.err, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready (%w):\n%s", p.name, err, p.tail())
		}
	}
}
