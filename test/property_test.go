package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/clew-sec/clew/internal/detect"
	"github.com/clew-sec/clew/internal/engine"
	"github.com/clew-sec/clew/internal/pipeline"
	"github.com/clew-sec/clew/internal/report"
	"github.com/clew-sec/clew/internal/source/file"
)

// The properties of this file hold for every recording: whatever way the same
// records come in, the same flags, traces and scores come out. Results are
// compared as the JSON lines a user gets, less where a record stood.

// replayConfig is what `clew replay` uses: the order buffer stays full whatever
// the times.
func replayConfig() engine.Config {
	return engine.Config{Window: 10 * 365 * 24 * time.Hour}
}

// records returns the records of a recording's files, compacted to one line
// each, in file order.
func records(t testing.TB, inputs []string) []file.Record {
	t.Helper()
	var out []file.Record
	for _, path := range inputs {
		r, err := file.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		for {
			rec, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			if err := json.Compact(&b, rec.Raw); err != nil {
				t.Fatal(err)
			}
			rec.Raw = b.Bytes()
			out = append(out, rec)
		}
		r.Close()
	}
	return out
}

// result is the JSON lines of a replay without file, line and the counts of
// what was read.
type result struct {
	Lines []map[string]any
	Hits  []int64
}

func jsonLines(t testing.TB, write func(io.Writer) error) []map[string]any {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	var out []map[string]any
	dec := json.NewDecoder(&b)
	dec.UseNumber()
	for {
		var line map[string]any
		if err := dec.Decode(&line); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		dropPosition(line)
		out = append(out, line)
	}
}

func dropPosition(line map[string]any) {
	delete(line, "file")
	delete(line, "line")
	flags, _ := line["flags"].([]any)
	for _, f := range flags {
		dropPosition(f.(map[string]any))
	}
}

// replayed runs inputs as `clew replay` does.
func replayed(t testing.TB, set *detect.Set, inputs ...string) result {
	t.Helper()
	c := report.NewCollector(set)
	defer c.Close()
	cfg := pipeline.Config{Engine: replayConfig(), Bad: func(err error) { t.Errorf("unreadable: %v", err) }}
	eng, totals, err := pipeline.NewReplay(cfg, set, c).Run(context.Background(), inputs)
	if err != nil {
		t.Fatal(err)
	}
	return finish(t, c, eng, totals.Engine)
}

func finish(t testing.TB, c *report.Collector, eng *engine.Engine, stats engine.Stats) result {
	t.Helper()
	if stats.Late > 0 {
		t.Errorf("%d events too late for their place", stats.Late)
	}
	described, err := c.Describe(eng.Traces(), eng)
	if err != nil {
		t.Fatal(err)
	}
	lines := jsonLines(t, func(w io.Writer) error { return c.WriteJSONLines(w, eng, described) })
	return result{lines, append([]int64(nil), stats.RuleHits...)}
}

func writeFile(t testing.TB, dir, name string, parts ...[]byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, bytes.Join(parts, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// lines joins records, one a line.
func lines(recs []file.Record) []byte {
	var b bytes.Buffer
	for _, r := range recs {
		b.Write(r.Raw)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func shuffled(recs []file.Record, seed int64) []file.Record {
	out := append([]file.Record(nil), recs...)
	rand.New(rand.NewSource(seed)).Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func twice(recs []file.Record, seed int64) []file.Record {
	rng := rand.New(rand.NewSource(seed))
	var out []file.Record
	for _, r := range recs {
		out = append(out, r)
		if rng.Intn(3) == 0 {
			out = append(out, r)
		}
	}
	return out
}

func reversed(recs []file.Record) []file.Record {
	var out []file.Record
	for i := range recs {
		out = append(out, recs[len(recs)-1-i])
	}
	return out
}

// scattered deals records to n files.
func scattered(t testing.TB, dir string, recs []file.Record, n int, seed int64) []string {
	t.Helper()
	rng := rand.New(rand.NewSource(seed))
	dealt := make([][]file.Record, n)
	for _, r := range recs {
		i := rng.Intn(n)
		dealt[i] = append(dealt[i], r)
	}
	var paths []string
	for i, part := range dealt {
		if len(part) > 0 {
			paths = append(paths, writeFile(t, dir, fmt.Sprintf("part-%d-%d", seed, i), lines(part)))
		}
	}
	rng.Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
	return paths
}

// byFormat groups records by their format, in order.
func byFormat(recs []file.Record) map[file.Format][]file.Record {
	out := map[file.Format][]file.Record{}
	for _, r := range recs {
		out[r.Format] = append(out[r.Format], r)
	}
	return out
}

// list wraps records as their provider's list.
func list(format file.Format, recs []file.Record) []byte {
	open, end := map[file.Format]string{
		file.K8sAudit:    `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[`,
		file.CloudTrail:  `{"Records":[`,
		file.AzureRecord: `{"records":[`,
		file.GCPAudit:    `[`,
	}[format], map[file.Format]string{file.K8sAudit: "]}", file.CloudTrail: "]}", file.AzureRecord: "]}", file.GCPAudit: "]"}[format]
	var b bytes.Buffer
	b.WriteString(open)
	for i, r := range recs {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(r.Raw)
	}
	b.WriteString(end)
	return b.Bytes()
}

func gzipped(t testing.TB, raw []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstandard(t testing.TB, raw []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	return z.EncodeAll(raw, nil)
}

// arrivals returns the ways the records of a recording may come in: name →
// input files.
func arrivals(t testing.TB, dir string, recs []file.Record) map[string][]string {
	t.Helper()
	all := lines(recs)
	half := len(recs) / 2
	out := map[string][]string{
		"shuffled":              {writeFile(t, dir, "shuffled", lines(shuffled(recs, 1)))},
		"shuffled otherwise":    {writeFile(t, dir, "shuffled2", lines(shuffled(recs, 2)))},
		"newest first":          {writeFile(t, dir, "reversed", lines(reversed(recs)))},
		"file twice":            {writeFile(t, dir, "whole-a", all), writeFile(t, dir, "whole-b", all)},
		"file doubled":          {writeFile(t, dir, "doubled", all, all)},
		"records twice":         {writeFile(t, dir, "records-twice", lines(twice(recs, 1)))},
		"records twice, shuff.": {writeFile(t, dir, "records-twice-2", lines(shuffled(twice(recs, 2), 2)))},
		"later half first":      {writeFile(t, dir, "b", lines(recs[half:])), writeFile(t, dir, "a", lines(recs[:half]))},
		"scattered over 2":      scattered(t, dir, recs, 2, 3),
		"scattered over 5":      scattered(t, dir, recs, 5, 4),
		"gzip":                  {writeFile(t, dir, "gz", gzipped(t, all))},
		"gzip of two members":   {writeFile(t, dir, "gz2", gzipped(t, lines(recs[:half])), gzipped(t, lines(recs[half:])))},
		"zstd":                  {writeFile(t, dir, "zst", zstandard(t, all))},
	}
	var joined, lists, arrays []string
	for format, part := range byFormat(recs) {
		var raw [][]byte
		for _, r := range part {
			raw = append(raw, r.Raw)
		}
		n := int(format)
		joined = append(joined, writeFile(t, dir, fmt.Sprint("joined", n), raw...))
		lists = append(lists, writeFile(t, dir, fmt.Sprint("list", n), list(format, part)))
		arrays = append(arrays, writeFile(t, dir, fmt.Sprint("lists", n), list(format, part[:len(part)/2]), []byte("\n"), list(format, part[len(part)/2:])))
	}
	out["without line breaks"], out["lists"], out["two lists a file"] = joined, lists, arrays
	return out
}

func TestArrivalDoesNotMatter(t *testing.T) {
	set := compiled(t)
	for n, r := range recordings(t) {
		if testing.Short() && n%4 != 0 {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			want := replayed(t, set, r.inputs...)
			recs := records(t, r.inputs)
			for name, inputs := range arrivals(t, t.TempDir(), recs) {
				if diff := cmp.Diff(want, replayed(t, set, inputs...)); diff != "" {
					t.Errorf("%s (-as recorded +so):\n%s", name, shorten(diff))
				}
			}
		})
	}
}

// shorten keeps the first lines of a difference.
func shorten(diff string) string {
	const limit = 3000
	if len(diff) > limit {
		return diff[:limit] + "\n…"
	}
	return diff
}
