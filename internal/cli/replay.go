package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/clew-sec/clew/internal/detect"
	"github.com/clew-sec/clew/internal/engine"
	"github.com/clew-sec/clew/internal/pipeline"
	"github.com/clew-sec/clew/internal/report"
	"github.com/clew-sec/clew/internal/trace"
)

// ReplayDeps is what the replay command needs from the rest of clew.
type ReplayDeps struct {
	Content
	Now func() time.Time // for relative --since and --until
}

// replay holds the flags of `clew replay`.
type replay struct {
	deps         ReplayDeps
	packs        Packs
	output       string
	minScore     float64
	hideInfo     bool // table without --min-score: leave out what scores 0
	since, until string
	suppressions string
	trusted      []string // fingerprints of keys that sign archives
	stats        bool
	quiet        bool
}

// maxReported bounds the unreadable records named on standard error; the rest
// is counted.
const maxReported = 20

// NewReplayCommand returns `clew replay`.
func NewReplayCommand(deps ReplayDeps) *cobra.Command {
	c := &replay{deps: deps}
	cmd := &cobra.Command{
		Use:   "replay FILE|DIR|- ...",
		Short: "Read recorded logs and print the traces in them",
		Long: `Read recorded logs and print the attacks in them: traces by score, each with its
flags in causal order, and why they belong together.

Kubernetes audit logs (audit.k8s.io v1 and v1beta1), CloudTrail, Google Cloud audit
logs and Azure activity or AKS diagnostic logs are recognised by content, as single
objects, lists or lines, plain, gzip or zstd, from files, folders or standard input (-).
Several inputs are merged by time.

An archive that clew trace export wrote is verified and its trace scored again.

Exit codes: 0 no alert, 1 at least one alert, 2 usage or unreadable input.`,
		Example: `  clew replay audit.log
  clew replay audit/ cloudtrail/*.json.gz --min-score 30
  kubectl logs -n kube-system audit-forwarder | clew replay - -o jsonl`,
		Args:          needInput,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          c.run,
	}
	f := cmd.Flags()
	f.StringVarP(&c.output, "output", "o", "table", "output `FORMAT`: table, json or jsonl")
	f.Float64Var(&c.minScore, "min-score", 0, "show only traces of at least this `SCORE`, 0-100; a table leaves out traces that only inform unless this says 0")
	f.StringVar(&c.since, "since", "", "raise flags only from this `TIME` on: RFC 3339, a date, or a duration before now (24h)")
	f.StringVar(&c.until, "until", "", "ignore events after this `TIME`: as --since")
	f.StringVar(&c.suppressions, "suppressions", "", "YAML `FILE` with shapes of traces that are known to be benign")
	f.BoolVar(&c.stats, "stats", false, "print records and bytes a second, peak memory and hits per rule to standard error")
	f.StringSliceVar(&c.trusted, "trusted-key", nil, "`FINGERPRINT` of a key whose archives need no note")
	f.BoolVarP(&c.quiet, "quiet", "q", false, "no progress on the terminal")
	c.packs.register(f)
	return cmd
}

func needInput(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return errors.New("replay needs at least one file, folder or - for standard input; see clew replay --help")
	}
	return nil
}

func (c *replay) run(cmd *cobra.Command, args []string) error {
	c.hideInfo = c.output == "table" && !cmd.Flags().Changed("min-score")
	cfg, err := c.config()
	if err != nil {
		return err
	}
	list, err := archives(args)
	if err != nil {
		return err
	}
	if len(list) > 0 {
		return c.replayArchives(cmd.OutOrStdout(), cmd.ErrOrStderr(), list)
	}
	pack, err := c.packs.load(c.deps.Content)
	if err != nil {
		return err
	}
	set, err := detect.Compile(pack.Rules, pack.ListValues())
	if err != nil {
		return fmt.Errorf("compiling rules: %w", err)
	}
	collector := report.NewCollector(set)
	defer func() { _ = collector.Close() }() // a temporary file without a name
	errs := &errorLog{w: cmd.ErrOrStderr()}
	cfg.Bad = errs.add
	started := time.Now()
	defer limitMemory(replayMemory)()
	r := pipeline.NewReplay(cfg, set, collector)
	stop := c.progress(cmd.ErrOrStderr(), r)
	eng, totals, err := r.Run(cmd.Context(), args)
	stop()
	if err != nil {
		if errors.Is(err, context.Canceled) {
			return errors.New("interrupted")
		}
		return err
	}
	errs.flush(totals)
	traces := eng.Traces()
	if err := c.write(cmd.OutOrStdout(), collector, eng, traces, totals); err != nil {
		return err
	}
	if c.stats {
		if err := writeStats(cmd.ErrOrStderr(), set, totals, time.Since(started)); err != nil {
			return err
		}
	}
	return verdict(traces, totals)
}

// verdict turns the outcome into an exit code. A file that cannot be read says
// that the answer is incomplete, whatever it is; so do records when none of them
// could be read.
func verdict(traces []trace.Trace, totals pipeline.Totals) error {
	switch {
	case totals.BadFiles > 0, totals.Unreadable > 0 && totals.Events == 0:
		return ErrUnreadable
	case slices.ContainsFunc(traces, func(t trace.Trace) bool { return t.Alert }):
		return ErrFindings
	}
	return nil
}

func (c *replay) config() (pipeline.Config, error) {
	cfg := pipeline.Config{Engine: engine.Config{Window: replayWindow}}
	switch c.output {
	case "table", "json", "jsonl":
	default:
		return cfg, fmt.Errorf("output format %q is not one of table, json, jsonl", c.output)
	}
	if !(c.minScore >= 0 && c.minScore <= 100) { // not a number is neither
		return cfg, fmt.Errorf("--min-score %v is not between 0 and 100", c.minScore)
	}
	var err error
	if cfg.Engine.FlagFrom, err = timeFlag(c.deps.Now, "--since", c.since); err != nil {
		return cfg, err
	}
	if cfg.Until, err = timeFlag(c.deps.Now, "--until", c.until); err != nil {
		return cfg, err
	}
	if cfg.Until != 0 && cfg.Engine.FlagFrom > cfg.Until {
		return cfg, fmt.Errorf("--since %s is after --until %s", c.since, c.until)
	}
	if c.suppressions != "" {
		cfg.Engine.Trace.Suppressions, err = readSuppressions(c.suppressions)
	}
	return cfg, err
}

// replayWindow keeps a replay's order buffer full: files are sorted as far as
// memory allows, however far apart their records are.
const replayWindow = 10 * 365 * 24 * time.Hour

func (c *replay) write(w io.Writer, collector *report.Collector, eng *engine.Engine, traces []trace.Trace, totals pipeline.Totals) error {
	shown := slices.DeleteFunc(slices.Clone(traces), func(t trace.Trace) bool {
		return t.Score.Float() < c.minScore || c.hideInfo && t.Score == 0
	})
	described, err := collector.Describe(shown, eng)
	if err != nil {
		return fmt.Errorf("describing traces: %w", err)
	}
	sum := summary(traces, totals)
	sum.Hidden, sum.Unnamed = len(traces)-len(shown), collector.Unnamed()
	switch c.output {
	case "json":
		return collector.WriteJSON(w, eng, described, sum)
	case "jsonl":
		return collector.WriteJSONLines(w, eng, described)
	}
	width, color := terminal(w)
	return report.Table{Color: color, Width: width}.Write(w, described, sum)
}

func summary(traces []trace.Trace, t pipeline.Totals) report.Totals {
	out := report.Totals{
		Files: t.Files, BadFiles: t.BadFiles, Strangers: t.Strangers, Records: t.Records, Bytes: t.Bytes, Unreadable: t.Unreadable,
		Skipped: t.Skipped + t.Engine.Received, Outside: t.Outside,
		Duplicates: t.Engine.Duplicates, Late: t.Engine.Late, Cascades: t.Engine.Cascades,
		Flags: t.Engine.Flags, Repeats: t.Engine.Repeats, Traces: len(traces),
	}
	for i := range traces {
		if traces[i].Alert {
			out.Alerts++
		}
	}
	return out
}

// terminal returns the width of w and whether to use colours; NO_COLOR is
// honoured.
func terminal(w io.Writer) (width int, color bool) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		width = 0
	}
	return width, os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// errorLog names the first unreadable records and counts the rest. That standard
// error cannot be written to must not stop a replay.
type errorLog struct {
	w io.Writer
	n int
}

func (l *errorLog) add(err error) {
	l.n++
	if l.n <= maxReported {
		_, _ = fmt.Fprintln(l.w, "clew:", oneLine(err.Error()))
	}
}

func (l *errorLog) flush(t pipeline.Totals) {
	if l.n > maxReported {
		_, _ = fmt.Fprintf(l.w, "clew: and %d more; %d of %d records unreadable\n", l.n-maxReported, t.Unreadable, t.Records)
	}
}

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", " ") }
