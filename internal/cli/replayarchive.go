package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/clew-sec/clew/internal/report"
	"github.com/clew-sec/clew/internal/report/archive"
	"github.com/clew-sec/clew/internal/trace"
)

// openArchive opens a file that is an archive of a trace by its first bytes; nil
// when it is none.
func openArchive(path string) (*archive.Archive, error) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return nil, nil // the replay of logs says what is wrong
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil
	}
	defer func() { _ = f.Close() }() // read only
	var head [4]byte
	if _, err := io.ReadFull(f, head[:]); err != nil || !archive.Is(head[:]) {
		return nil, nil
	}
	a, err := archive.Open(f, info.Size())
	if err != nil {
		return nil, fmt.Errorf("reading archive %q: %w", path, err)
	}
	return a, nil
}

// archives opens the inputs when they are archives; none when they are logs.
func archives(paths []string) ([]*archive.Archive, error) {
	var out []*archive.Archive
	for _, p := range paths {
		a, err := openArchive(p)
		if err != nil {
			return nil, err
		}
		if a != nil {
			out = append(out, a)
		}
	}
	if len(out) > 0 && len(out) < len(paths) {
		return nil, errors.New("archives of traces and logs cannot be replayed together")
	}
	return out, nil
}

// replayArchives scores the traces of archives again and prints them.
func (c *replay) replayArchives(out, errOut io.Writer, list []*archive.Archive) error {
	var traces []trace.Trace
	var shown []report.Trace
	sum := report.Totals{Files: len(list), Traces: len(list)}
	for _, a := range list {
		t, err := a.Restore()
		if err != nil {
			return err
		}
		if t.ID != a.Trace.ID || t.Score != a.Trace.Score || t.Alert != a.Trace.Alert {
			return fmt.Errorf("trace %s scores %s, its archive says %s", t.ID, t.Score, a.Trace.Score)
		}
		c.noteKey(errOut, a)
		sum.Records += int64(len(a.Records))
		for _, k := range t.Kinds {
			sum.Flags += int64(k.Count)
		}
		if t.Alert {
			sum.Alerts++
		}
		traces = append(traces, t)
		if t.Score.Float() >= c.minScore {
			shown = append(shown, a.Trace)
		} else {
			sum.Hidden++
		}
	}
	if err := c.writeArchived(out, shown, sum); err != nil {
		return err
	}
	if slices.ContainsFunc(traces, func(t trace.Trace) bool { return t.Alert }) {
		return ErrFindings
	}
	return nil
}

// noteKey says who signed, unless that was expected.
func (c *replay) noteKey(w io.Writer, a *archive.Archive) {
	if m := &a.Manifest; !slices.Contains(c.trusted, m.Fingerprint) {
		_, _ = fmt.Fprintf(w, "clew: trace %s of cluster %q: signed by the key %s, which is not among --trusted-key\n", m.Trace, m.Cluster, m.Fingerprint)
	}
}

func (c *replay) writeArchived(w io.Writer, traces []report.Trace, sum report.Totals) error {
	enc := json.NewEncoder(w)
	switch c.output {
	case "json":
		enc.SetIndent("", "  ")
		return enc.Encode(report.Result{Traces: slices.Concat([]report.Trace{}, traces), Flags: []json.RawMessage{}, Totals: sum})
	case "jsonl":
		for i := range traces {
			if err := enc.Encode(&traces[i]); err != nil {
				return fmt.Errorf("writing trace %s: %w", traces[i].ID, err)
			}
		}
		return nil
	}
	width, color := terminal(w)
	return report.Table{Color: color, Width: width}.Write(w, traces, sum)
}
