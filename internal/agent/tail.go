package agent

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/clew-sec/clew/internal/sensor"
	"github.com/clew-sec/clew/internal/sensor/cgroup"
)

// flushEvery is how long a printed line may wait in the buffer.
const flushEvery = 100 * time.Millisecond

type tailOptions struct {
	json     bool
	kinds    []string
	snapshot bool
}

func newTailCommand() *cobra.Command {
	var o tailOptions
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Print what happens on this node, one line an event, until interrupted",
		Long:  "Print what happens on this node, one line an event, until interrupted.\n\nArguments of programs are printed as they are, with the passwords people put there.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			wanted, err := o.wanted()
			if err != nil {
				return err
			}
			return tail(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), o, wanted)
		},
	}
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON, one object a line")
	cmd.Flags().StringSliceVar(&o.kinds, "kind", nil, "only these kinds: fork, exec, exit, cred, priv, net, dns, file, name, cgroup")
	cmd.Flags().BoolVar(&o.snapshot, "snapshot", false, "print the processes and sockets that are there at the start, too")
	return cmd
}

// wanted returns the kinds asked for, all when none is.
func (o *tailOptions) wanted() (map[sensor.Kind]bool, error) {
	wanted, names := map[sensor.Kind]bool{}, []string(nil)
	for k := sensor.KindFork; k <= sensor.KindCgroup; k++ {
		names = append(names, k.String())
		if len(o.kinds) == 0 || slices.Contains(o.kinds, k.String()) {
			wanted[k] = true
		}
	}
	for _, k := range o.kinds {
		if !slices.Contains(names, k) {
			return nil, fmt.Errorf("--kind %q is none of %s", k, strings.Join(names, ", "))
		}
	}
	return wanted, nil
}

func tail(ctx context.Context, out, status io.Writer, o tailOptions, wanted map[sensor.Kind]bool) error {
	s, err := sensor.Open(sensor.Options{})
	if err != nil {
		return err
	}
	err = tellBlind(newReport(s.Hooks(), node()), status)
	if err == nil {
		err = show(ctx, s, out, o, wanted)
	}
	return errors.Join(err, tellLosses(s, status), s.Close())
}

func show(ctx context.Context, s *sensor.Sensor, out io.Writer, o tailOptions, wanted map[sensor.Kind]bool) error {
	v, err := newView(s.CgroupRoot())
	if err != nil {
		return err
	}
	return newPrinter(out, v, o.json, wanted).run(ctx, s, o.snapshot)
}

func tellBlind(r *report, w io.Writer) error {
	for _, b := range r.Blind {
		if _, err := fmt.Fprintln(w, "clew-agent: blind:", b); err != nil {
			return err
		}
	}
	return nil
}

func tellLosses(s *sensor.Sensor, w io.Writer) error {
	l, err := s.Losses()
	if err != nil || l.Lost() == 0 {
		return err
	}
	var b bytes.Buffer
	for k, t := range l.Kinds {
		if t.Lost > 0 {
			fmt.Fprintf(&b, "clew-agent: lost %d of %d %s records\n", t.Lost, t.Lost+t.Sent, sensor.Kind(k))
		}
	}
	if l.Bad > 0 {
		fmt.Fprintf(&b, "clew-agent: %d records could not be read\n", l.Bad)
	}
	_, err = w.Write(b.Bytes())
	return err
}

// view is what records are shown with: names for their numbers.
type view struct {
	boot      time.Time
	bootID    string
	processes *sensor.Processes
	cgroups   *cgroup.Table
}

func newView(root string) (*view, error) {
	v := &view{processes: sensor.NewProcesses(), cgroups: cgroup.NewTable()}
	var err error
	if v.boot, err = bootTime(); err != nil {
		return nil, err
	}
	if v.bootID, err = sensor.BootID(); err != nil {
		return nil, err
	}
	if err := v.cgroups.Scan(root); err != nil {
		return nil, fmt.Errorf("reading the cgroups below %q: %w", root, err)
	}
	return v, nil
}

// learn takes what later records are shown with.
func (v *view) learn(r *sensor.Record) {
	switch r.Kind {
	case sensor.KindCgroup:
		v.cgroups.Add(r.Made.ID, r.Made.Path)
	case sensor.KindExec:
		v.cgroups.AddNames(r.Cgroup, r.Exec.CgroupParent, r.Exec.Cgroup)
	}
	v.processes.Update(r)
}

// printer writes records; a second goroutine flushes what a quiet node leaves
// in the buffer.
type printer struct {
	mu     sync.Mutex // guards out, err
	out    *bufio.Writer
	err    error
	view   *view
	json   bool
	wanted map[sensor.Kind]bool
	line   []byte
}

func newPrinter(w io.Writer, v *view, asJSON bool, wanted map[sensor.Kind]bool) *printer {
	return &printer{out: bufio.NewWriterSize(w, 64<<10), view: v, json: asJSON, wanted: wanted}
}

func (p *printer) run(ctx context.Context, s *sensor.Sensor, snapshot bool) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var flusher sync.WaitGroup
	flusher.Go(func() { p.flushUntil(ctx, stop) })
	err := s.Snapshot(func(r *sensor.Record) {
		if snapshot {
			p.print(r)
		} else {
			p.view.learn(r)
		}
	})
	if err == nil {
		err = s.Run(ctx, p.print)
	}
	stop()
	flusher.Wait()
	return errors.Join(err, p.err)
}

// flushUntil flushes until ctx ends, or ends it when the output cannot be
// written.
func (p *printer) flushUntil(ctx context.Context, stop func()) {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			p.flush()
			return
		case <-tick.C:
			if !p.flush() {
				stop()
			}
		}
	}
}

func (p *printer) flush() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.out.Flush(); err != nil && p.err == nil {
		p.err = fmt.Errorf("writing events: %w", err)
	}
	return p.err == nil
}

func (p *printer) print(r *sensor.Record) {
	if r.Kind == sensor.KindExit {
		defer p.view.learn(r) // it is shown with what was known of it
	} else {
		p.view.learn(r)
	}
	if !p.wanted[r.Kind] {
		return
	}
	if p.json {
		p.line = p.view.appendJSON(p.line[:0], r)
	} else {
		p.line = p.view.appendText(p.line[:0], r)
	}
	p.line = append(p.line, '\n')
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := p.out.Write(p.line); err != nil && p.err == nil {
		p.err = fmt.Errorf("writing events: %w", err)
	}
}
