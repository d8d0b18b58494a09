package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/clew-sec/clew/internal/detect"
	"github.com/clew-sec/clew/internal/pipeline"
)

// progressAfter is how long an input must take before progress is shown, and
// how often it is refreshed.
const (
	progressAfter = time.Second
	progressEvery = 250 * time.Millisecond
)

// progress shows how far r is when w is a terminal. The function returned ends
// it and waits for it.
func (c *replay) progress(w io.Writer, r *pipeline.Replay) (stop func()) {
	f, ok := w.(*os.File)
	if c.quiet || !ok || !term.IsTerminal(int(f.Fd())) {
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		showProgress(w, r, done)
	}()
	return func() {
		close(done)
		<-ended
	}
}

// showProgress ignores errors of the terminal: there is nobody else to tell.
func showProgress(w io.Writer, r *pipeline.Replay, done <-chan struct{}) {
	started := time.Now()
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-done:
			_, _ = fmt.Fprint(w, "\r\x1b[K")
			return
		case <-tick.C:
			took := time.Since(started)
			if took < progressAfter {
				continue
			}
			p := r.Progress()
			_, _ = fmt.Fprintf(w, "\r\x1b[K%s records, %s, %s records/s, %d flags  %s", count(p.Records), size(p.Bytes), count(int64(float64(p.Records)/took.Seconds())), p.Flags, p.File)
		}
	}
}

func count(n int64) string {
	switch {
	case n >= 10_000_000:
		return fmt.Sprintf("%d M", n/1_000_000)
	case n >= 10_000:
		return fmt.Sprintf("%d K", n/1000)
	}
	return fmt.Sprint(n)
}

func size(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 10<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}

// writeStats prints what --stats asks for.
func writeStats(w io.Writer, set *detect.Set, t pipeline.Totals, took time.Duration) error {
	b := &strings.Builder{}
	s := max(took.Seconds(), 1e-9)
	fmt.Fprintf(b, "%d records, %s in %s: %s records/s, %s/s, peak memory %s\n",
		t.Records, size(t.Bytes), took.Round(time.Millisecond), count(int64(float64(t.Records)/s)), size(int64(float64(t.Bytes)/s)), size(peakMemory()))
	fmt.Fprintf(b, "%d links; hits (repeats) per rule:\n", t.Engine.Links)
	for i := range t.Engine.RuleHits {
		if n, r := t.Engine.RuleHits[i], t.Engine.RuleRepeat[i]; n+r > 0 {
			fmt.Fprintf(b, "%8d %8s  %-8s %s\n", n, repeats(r), set.Rule(int32(i)).Severity, set.Rule(int32(i)).ID)
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("writing statistics: %w", err)
	}
	return nil
}

func repeats(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("(+%d)", n)
}
