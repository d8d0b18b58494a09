package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/clew-sec/clew/internal/cli"
	"github.com/clew-sec/clew/internal/matrix"
	"github.com/clew-sec/clew/rules"
)

// recordings of the repository.
const (
	attack = "../../test/recordings/attack/leaked-kubeconfig/audit.jsonl.gz"
	quiet  = "../../test/recordings/real/benign/developer-reads.jsonl.gz"
)

// now is the clock of relative times.
var now = time.Date(2026, 1, 16, 10, 0, 0, 0, time.UTC)

// outcome is what a run of the command gave.
type outcome struct {
	code           int
	stdout, stderr string
}

// replay runs `clew replay` with arguments, as main does.
func replay(t *testing.T, args ...string) outcome {
	t.Helper()
	return replayContext(t, context.Background(), args...)
}

func replayContext(t *testing.T, ctx context.Context, args ...string) outcome { //nolint:revive // t comes first in tests
	t.Helper()
	cmd := cli.NewReplayCommand(cli.ReplayDeps{
		Content: cli.Content{Rules: rules.FS, Catalogue: matrix.Load()}, Now: func() time.Time { return now },
	})
	var stdout, stderr bytes.Buffer
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	code := cli.ExitCode(err)
	if code == cli.ExitUsage && !errors.Is(err, cli.ErrUnreadable) {
		stderr.WriteString("clew: " + err.Error())
	}
	return outcome{code, stdout.String(), stderr.String()}
}

// pack is a folder with one rule that flags reads of secrets, each, with a
// severity.
func pack(t *testing.T, severity string) string {
	t.Helper()
	text := strings.NewReplacer(
		"severity: high", "severity: "+severity,
		`k8s.verb == "get" && user.groups.filter(g, g == "x").size() > 0`, `k8s.resource == "secrets"`,
		`flag: "{user.name}"`, `flag: "{user.name} {k8s.verb} {k8s.name}"`).Replace(minimal)
	return packDir(t, text)
}

// record is an audit record of a read of a secret, second n of the day.
func record(n int, user, name string) string {
	return fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a-%d","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/shop/secrets/%s","verb":"get","user":{"username":%q,"groups":["system:authenticated"]},"sourceIPs":["203.0.113.9"],"userAgent":"curl/8","objectRef":{"resource":"secrets","namespace":"shop","name":%q,"apiVersion":"v1"},"responseStatus":{"code":200},"requestReceivedTimestamp":"2026-01-15T10:%02d:%02d.000000Z","stageTimestamp":"2026-01-15T10:%02d:%02d.100000Z"}`,
		n, name, user, name, n/60, n%60, n/60, n%60) + "\n"
}

func file(t *testing.T, parts ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(path, []byte(strings.Join(parts, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReplayExitCodes(t *testing.T) {
	three := record(0, "alice", "a") + record(1, "alice", "b") + record(2, "alice", "c")
	compressed := func(s string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		if _, err := z.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	received := strings.Replace(strings.Replace(three, "ResponseComplete", "RequestReceived", 3), `"responseStatus":{"code":200},`, "", 3)
	critical, high := pack(t, "critical"), pack(t, "high")
	tests := []struct {
		name   string
		args   []string
		code   int
		stdout string // a part of it
		stderr string
	}{
		{"no alert", []string{file(t, three), "--rules", high}, 0, "3 records in 1 files: 3 flags in 1 traces, 0 alerts", ""},
		{"an alert", []string{file(t, three), "--rules", critical}, 1, "1 alert\n", ""},
		{"shipped rules on an attack", []string{attack, strings.Replace(attack, "audit", "setup", 1)}, 1, "ALERT", ""},
		{"shipped rules on ordinary work", []string{quiet}, 0, "0 alerts", ""},
		{"empty file", []string{file(t)}, 0, "0 records in 1 files", ""},
		{"a folder", []string{filepath.Dir(file(t, three)), "--rules", critical}, 1, "3 records in 1 files", ""},
		{"two inputs", []string{file(t, three), file(t, three), "--rules", high}, 0, "3 duplicates dropped", ""},
		{"nothing named", []string{}, 2, "", "at least one file, folder or -"},
		{"not there", []string{"no-such-file"}, 2, "", "no-such-file"},
		{"unknown output", []string{file(t), "-o", "xml"}, 2, "", `"xml" is not one of table, json, jsonl`},
		{"unknown flag", []string{file(t), "--rule", "x"}, 2, "", "unknown flag"},
		{"score above 100", []string{file(t), "--min-score", "101"}, 2, "", "not between 0 and 100"},
		{"score not a number", []string{file(t), "--min-score", "NaN"}, 2, "", "not between 0 and 100"},
		{"not a time", []string{file(t), "--since", "yesterday"}, 2, "", `--since "yesterday" is neither a time`},
		{"since after until", []string{file(t), "--since", "2026-01-02", "--until", "2026-01-01"}, 2, "", "--since 2026-01-02 is after --until 2026-01-01"},
		{"rules not there", []string{file(t), "--rules", "no-such-folder"}, 2, "", "no-such-folder"},
		{"binary", []string{file(t, "\x00\x01\xfe\xff\x00binary\x00")}, 2, "0 records", "no record of a known format (tried Kubernetes audit"},
		{"other JSON", []string{file(t, `{"hello":"world"}`+"\n")}, 2, "", "no record of a known format"},
		{"one bad file among good ones", []string{file(t, "garbage"), file(t, three), "--rules", critical}, 2, "3 flags", "known format"},
		{"truncated gzip", []string{file(t, compressed(strings.Repeat(three, 50))[:300]), "--rules", critical}, 2, "1 files not readable at all", "unexpected EOF"},
		{"bad record in the middle", []string{file(t, record(0, "a", "b"), `{"kind":"Event","apiVersion":"audit.k8s.io/v1","verb":`+"\n", record(2, "a", "c")), "--rules", high}, 0, "2 flags in 1 traces, 0 alerts\n1 unreadable", "audit.log: record 2"},
		{"bad time in the middle", []string{file(t, record(0, "a", "b"), strings.Replace(record(1, "a", "x"), "2026-01-15T10:00:01.1", "yesterday", 1), record(2, "a", "c")), "--rules", high}, 0, "1 unreadable", "audit.log: record 2: "},
		{"no record readable", []string{file(t, strings.ReplaceAll(three, "2026-01-15T", "then ")), "--rules", high}, 2, "3 unreadable", "record 1"},
		{"too long a record", []string{file(t, record(0, "a", "b"), strings.Replace(record(1, "a", "x"), "curl/8", strings.Repeat("c", 17<<20), 1), record(2, "a", "c")), "--rules", high}, 0, "1 unreadable", "record 2 at byte"},
		{"a record just short enough", []string{file(t, strings.Replace(record(1, "a", "x"), "curl/8", strings.Repeat("c", 15<<20), 1)), "--rules", high}, 0, "1 records in 1 files: 1 flags", ""},
		{"only RequestReceived", []string{file(t, received), "--rules", critical}, 0, "3 records in 1 files: 0 flags in 0 traces, 0 alerts\n3 not relevant", ""},
		{"stage Panic", []string{file(t, strings.Replace(three, "ResponseComplete", "Panic", 1)), "--rules", high}, 0, "3 flags", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := tt.args
			if !strings.HasPrefix(tt.name, "shipped") && !slices.Contains(args, "--rules") {
				args = append(args, "--rules", high) // quicker to compile
			}
			got := replay(t, args...)
			if got.code != tt.code || !strings.Contains(got.stdout, tt.stdout) || !strings.Contains(got.stderr, tt.stderr) {
				t.Errorf("exit %d, want %d\nstdout, want %q:\n%s\nstderr, want %q:\n%.2000s", got.code, tt.code, tt.stdout, got.stdout, tt.stderr, got.stderr)
			}
			if tt.stderr == "" && got.stderr != "" {
				t.Errorf("stderr %q, want nothing", got.stderr)
			}
			if len(got.stderr) > 8<<10 {
				t.Errorf("%d bytes on stderr", len(got.stderr))
			}
		})
	}
}

func TestReplayManyBadRecords(t *testing.T) {
	bad := strings.Replace(record(1, "a", "x"), "2026-01-15T10:00:01.1", "never", 1)
	got := replay(t, file(t, record(0, "a", "b"), strings.Repeat(bad, 100)), "--rules", pack(t, "high"))
	if n := strings.Count(got.stderr, "audit.log: record "); n != 20 || !strings.Contains(got.stderr, "and 80 more; 100 of 101 records unreadable") {
		t.Errorf("%d records named, stderr:\n%s", n, got.stderr)
	}
}

// line is any line of JSON lines.
type line struct {
	Type       string   `json:"type"`
	Rule       string   `json:"rule"`
	Severity   string   `json:"severity"`
	Techniques []string `json:"techniques"`
	File       string   `json:"file"`
	Line       int      `json:"line"`
	Event      struct {
		ID     string `json:"id"`
		User   string `json:"user"`
		Action string `json:"action"`
	} `json:"event"`
	Entity string `json:"entity"`
	Trace  string `json:"trace"`

	ID          string      `json:"id"`
	Score       json.Number `json:"score"`
	Alert       bool        `json:"alert"`
	Tactics     []string    `json:"tactics"`
	Planes      []string    `json:"planes"`
	Fingerprint string      `json:"fingerprint"`
	Flags       []struct {
		Rule         string      `json:"rule"`
		Contribution json.Number `json:"contribution"`
		Suppressed   bool        `json:"suppressed"`
		Count        int         `json:"count"`
	} `json:"flags"`
	Units []struct {
		Fingerprint string `json:"fingerprint"`
	} `json:"units"`
	First string `json:"first"`
	Last  string `json:"last"`
}

func jsonLines(t *testing.T, text string) (flags, traces []line) {
	t.Helper()
	for s := range strings.Lines(text) {
		var keys map[string]json.RawMessage
		var l line
		if err := json.Unmarshal([]byte(s), &l); err != nil {
			t.Fatalf("%v: %s", err, s)
		}
		if err := json.Unmarshal([]byte(s), &keys); err != nil {
			t.Fatal(err)
		}
		want := []string{"rule", "severity", "techniques", "file", "line", "event", "entity", "trace"}
		if l.Type == "trace" {
			want = []string{"id", "score", "alert", "techniques", "tactics", "planes", "flags", "first", "last", "fingerprint"}
			traces = append(traces, l)
		} else {
			flags = append(flags, l)
			if len(traces) > 0 {
				t.Errorf("a flag behind a trace: %s", s)
			}
		}
		for _, k := range want {
			if v, ok := keys[k]; !ok || string(v) == "null" {
				t.Errorf("%q is missing in %s", k, s)
			}
		}
	}
	return flags, traces
}

// tenths returns a number with at most one decimal as a whole number of tenths.
func tenths(t *testing.T, n json.Number) int {
	t.Helper()
	f, err := n.Float64()
	if err != nil {
		t.Fatal(err)
	}
	return int(f*10 + 0.5)
}

func TestReplayJSONLines(t *testing.T) {
	for _, in := range []string{attack, "../../test/recordings/attack/rbac-quiet/audit.jsonl.gz", "../../test/recordings/cloud/aws-access-entry/attack/cloudtrail.json"} {
		got := replay(t, in, "-o", "jsonl")
		flags, traces := jsonLines(t, got.stdout)
		if len(flags) == 0 || len(traces) == 0 {
			t.Fatalf("%s: %d flags, %d traces", in, len(flags), len(traces))
		}
		ids := map[string]bool{}
		for _, x := range traces {
			ids[x.ID] = true
			sum := 0
			for _, f := range x.Flags {
				sum += tenths(t, f.Contribution)
			}
			if score := tenths(t, x.Score); sum != score {
				t.Errorf("%s: contributions of trace %s add up to %d, score is %d tenths", in, x.ID, sum, score)
			}
			if x.First > x.Last || len(x.Fingerprint) != 32 || x.Units[0].Fingerprint != x.Fingerprint {
				t.Errorf("trace %+v", x)
			}
		}
		for _, f := range flags {
			if !ids[f.Trace] || f.Line < 1 || f.Rule == "" || len(f.Techniques) == 0 || f.Event.ID == "" || !strings.HasPrefix(f.File, in) {
				t.Errorf("%s: flag %+v", in, f)
			}
		}
	}
}

// TestReplayNamesTheRecord holds file and line against the record they point at.
func TestReplayNamesTheRecord(t *testing.T) {
	first := file(t, record(5, "alice", "five"), record(1, "alice", "one"))
	second := file(t, "\n\n", record(3, "alice", "three"), "\n", record(4, "alice", "four"))
	flags, _ := jsonLines(t, replay(t, first, second, "-o", "jsonl", "--rules", pack(t, "low")).stdout)
	var got []string
	for _, f := range flags {
		name := "first"
		if f.File == second {
			name = "second"
		}
		got = append(got, fmt.Sprint(f.Entity, " ", name, " ", f.Line))
	}
	want := "secrets/shop/one first 2, secrets/shop/three second 1, secrets/shop/four second 2, secrets/shop/five first 1"
	if strings.Join(got, ", ") != want {
		t.Errorf("flags %s\nwant  %s", strings.Join(got, ", "), want)
	}
}

func TestReplayJSON(t *testing.T) {
	var got struct {
		Traces []line         `json:"traces"`
		Flags  []line         `json:"flags"`
		Totals map[string]int `json:"totals"`
	}
	if err := json.Unmarshal([]byte(replay(t, file(t, record(0, "a", "b"), "{\n", record(1, "a", "c")), "--rules", pack(t, "high"), "-o", "json").stdout), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Traces) != 1 || len(got.Flags) != 2 || got.Flags[0].Trace != got.Traces[0].ID || got.Totals["flags"] != 2 || got.Totals["unreadable"] != 1 {
		t.Errorf("%+v", got)
	}
	empty := replay(t, file(t), "-o", "json").stdout
	if !strings.Contains(empty, `"traces": []`) || !strings.Contains(empty, `"flags": []`) {
		t.Errorf("empty input gives null lists:\n%s", empty)
	}
}

func TestReplayBounds(t *testing.T) {
	in := file(t, record(0, "alice", "a"), record(60, "alice", "b"), record(120, "alice", "c"))
	high := pack(t, "high")
	tests := []struct {
		args  []string
		flags int
	}{
		{nil, 3},
		{[]string{"--since", "2026-01-15T10:01:00Z"}, 2},
		{[]string{"--since", "2026-01-15 10:01:00"}, 2},
		{[]string{"--until", "2026-01-15T10:01:00.1Z"}, 2}, // inclusive
		{[]string{"--until", "2026-01-15T10:01:00Z"}, 1},
		{[]string{"--since", "2026-01-15T10:00:30Z", "--until", "2026-01-15T10:01:30Z"}, 1},
		{[]string{"--since", "2026-01-15"}, 3},
		{[]string{"--since", "24h"}, 3},
		{[]string{"--since", "23h59m"}, 2},
		{[]string{"--until", "-25h"}, 0},
	}
	for _, tt := range tests {
		flags, _ := jsonLines(t, replay(t, append([]string{in, "--rules", high, "-o", "jsonl"}, tt.args...)...).stdout)
		if len(flags) != tt.flags {
			t.Errorf("%v: %d flags, want %d", tt.args, len(flags), tt.flags)
		}
	}
	if got := replay(t, in, "--rules", high, "--until", "2026-01-15T10:01:00Z").stdout; !strings.Contains(got, "2 later than asked for") {
		t.Errorf("--until is not told:\n%s", got)
	}
}

func TestReplayMinScore(t *testing.T) {
	in, high := file(t, record(0, "alice", "a")), pack(t, "high")
	for score, want := range map[string]int{"0": 1, "42": 1, "60": 0} {
		flags, traces := jsonLines(t, replay(t, in, "--rules", high, "-o", "jsonl", "--min-score", score).stdout)
		if len(traces) != want || len(flags) != 1 {
			t.Errorf("--min-score %s: %d traces, %d flags", score, len(traces), len(flags))
		}
	}
	if got := replay(t, in, "--rules", pack(t, "critical"), "--min-score", "100"); got.code != cli.ExitFindings {
		t.Errorf("hiding an alert changed the exit code to %d", got.code)
	}
}

func TestReplayRules(t *testing.T) {
	in := file(t, record(0, "alice", "a"))
	rulesOf := func(args ...string) string {
		flags, _ := jsonLines(t, replay(t, append([]string{in, "-o", "jsonl"}, args...)...).stdout)
		var ids []string
		for _, f := range flags {
			ids = append(ids, f.Rule+":"+f.Severity)
		}
		return strings.Join(ids, " ")
	}
	low, high := pack(t, "low"), pack(t, "high")
	if got := rulesOf("--rules", high); got != "mine:high" {
		t.Errorf("--rules: %s", got)
	}
	if got := rulesOf("--rules", high, "--add-rules", low); got != "mine:low" {
		t.Errorf("--add-rules does not replace the same id: %s", got)
	}
	if got := rulesOf("--add-rules", high); !strings.Contains(got, "mine:high") {
		t.Errorf("--add-rules: %s", got)
	}
	broken := packDir(t, strings.Replace(minimal, "k8s.verb", "k8s.verbs", 1))
	if got := replay(t, in, "--rules", broken); got.code != cli.ExitUsage || !strings.Contains(got.stderr, "mine.yaml:7") {
		t.Errorf("a broken rule: exit %d, %s", got.code, got.stderr)
	}
}

func TestReplayStats(t *testing.T) {
	got := replay(t, file(t, record(0, "alice", "a")), "--rules", pack(t, "high"), "--stats")
	for _, want := range []string{"1 records, ", " records/s, ", "/s, peak memory ", "hits (repeats) per rule:", "1           high     mine"} {
		if !strings.Contains(got.stderr, want) {
			t.Errorf("--stats lacks %q:\n%s", want, got.stderr)
		}
	}
}

func suppressions(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "suppressions.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const suppression = `apiVersion: clew/v1
kind: Suppressions
suppressions:
  - fingerprint: FINGERPRINT
    allowedKinds: [mine]
    reason: a nightly job
    owner: team-shop
`

func TestReplaySuppressions(t *testing.T) {
	in, critical := file(t, record(0, "alice", "a"), record(1, "alice", "b")), pack(t, "critical")
	plain := replay(t, in, "--rules", critical, "-o", "jsonl")
	_, traces := jsonLines(t, plain.stdout)
	if plain.code != cli.ExitFindings || len(traces) != 1 {
		t.Fatalf("exit %d, %d traces", plain.code, len(traces))
	}
	if table := replay(t, in, "--rules", critical).stdout; !strings.Contains(table, "id "+traces[0].ID+"  fingerprint "+traces[0].Fingerprint) {
		t.Errorf("the table does not offer the fingerprint:\n%s", table)
	}
	known := suppressions(t, strings.Replace(suppression, "FINGERPRINT", traces[0].Fingerprint, 1))
	run := func(args ...string) (outcome, []line) {
		got := replay(t, append([]string{"--suppressions", known, "-o", "jsonl"}, args...)...)
		_, traces := jsonLines(t, got.stdout)
		return got, traces
	}
	got, traces := run(in, "--rules", critical)
	if got.code != 0 || len(traces) != 1 || traces[0].Score != "0.0" || !traces[0].Flags[0].Suppressed {
		t.Errorf("suppressed: exit %d, traces %+v", got.code, traces)
	}
	// Another shape: the same rule, but another user.
	other := file(t, record(0, "mallory", "a"))
	if got, _ := run(other, "--rules", critical); got.code != cli.ExitFindings {
		t.Errorf("another user is suppressed too: exit %d", got.code)
	}
	// The same shape, but something new happens: it opens again.
	second := packDirNamed(t, "other", strings.NewReplacer("id: mine", "id: other", "severity: high", "severity: critical",
		`k8s.verb == "get" && user.groups.filter(g, g == "x").size() > 0`, `k8s.name == "b"`).Replace(minimal))
	got, traces = run(in, "--rules", critical, "--add-rules", second)
	if got.code != cli.ExitFindings || len(traces) != 1 || traces[0].Score == "0.0" {
		t.Errorf("a new kind of flag does not open the trace: exit %d, %+v", got.code, traces)
	}
	for _, f := range traces[0].Flags {
		if f.Suppressed != (f.Rule == "mine") {
			t.Errorf("flag %+v", f)
		}
	}
}

func packDirNamed(t *testing.T, id, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, id+".yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestReplaySuppressionsStrict(t *testing.T) {
	good := strings.Replace(suppression, "FINGERPRINT", strings.Repeat("ab", 16), 1)
	tests := []struct{ name, text, want string }{
		{"unknown key", good + "    until: 2027-01-01\n", "[8:5]"},
		{"no reason", strings.Replace(good, "    reason: a nightly job\n", "", 1), "suppressions.yaml:4: suppression 1 has no reason"},
		{"no owner, second", good + strings.Replace(good[strings.Index(good, "  - "):], "    owner: team-shop\n", "", 1), "suppressions.yaml:8: suppression 2 has no owner"},
		{"no kinds", strings.Replace(good, "[mine]", "[]", 1), "has no allowedKinds"},
		{"no fingerprint", strings.Replace(good, "  - fingerprint: "+strings.Repeat("ab", 16)+"\n    allowedKinds", "  - allowedKinds", 1), "has no fingerprint"},
		{"short fingerprint", strings.Replace(good, "abab", "", 1), "is not 32 hex digits"},
		{"long fingerprint", strings.Replace(good, "abab", "ababab", 1), "is not 32 hex digits"},
		{"not hex", strings.Replace(good, "abab", "xyxy", 1), "is not 32 hex digits"},
		{"another kind", strings.Replace(good, "kind: Suppressions", "kind: Rules", 1), "want apiVersion clew/v1 and kind Suppressions"},
		{"not YAML", "a: [", "suppressions.yaml"},
		{"empty", "", "want apiVersion"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := replay(t, file(t), "--suppressions", suppressions(t, tt.text))
			if got.code != cli.ExitUsage || !strings.Contains(got.stderr, tt.want) {
				t.Errorf("exit %d, stderr %q, want %q", got.code, got.stderr, tt.want)
			}
		})
	}
	if got := replay(t, file(t), "--suppressions", "nowhere.yaml"); got.code != cli.ExitUsage || !strings.Contains(got.stderr, "nowhere.yaml") {
		t.Errorf("a missing file: %+v", got)
	}
	if got := replay(t, file(t), "--suppressions", suppressions(t, good+"    users: [alice]\n    expires: 2027-01-01T00:00:00Z\n")); got.code != 0 {
		t.Errorf("all keys: %+v", got)
	}
}

func TestReplayUnreadableFile(t *testing.T) {
	in := filepath.Join(t.TempDir(), "audit.log")
	socket, err := net.Listen("unix", in) // nobody can open it, not even root
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	got := replay(t, in, file(t, record(1, "alice", "b")), "--rules", pack(t, "high"))
	if got.code != cli.ExitUsage || !strings.Contains(got.stderr, "open "+in) || !strings.Contains(got.stdout, "1 flags") {
		t.Errorf("%+v", got)
	}
}

// TestReplayDirectoryWithDanglingLink: log directories hold links to files that
// were rotated away; the rest is read all the same.
func TestReplayDirectoryWithDanglingLink(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "audit.log"), []byte(record(1, "alice", "b")), 0o600); err != nil {
		t.Fatal(err)
	}
	gone := filepath.Join(dir, "gone.log")
	if err := os.Symlink(filepath.Join(dir, "rotated"), gone); err != nil {
		t.Fatal(err)
	}
	got := replay(t, dir, "--rules", pack(t, "high"))
	if got.code != cli.ExitUsage || !strings.Contains(got.stderr, "open "+gone) || !strings.Contains(got.stdout, "1 flags") {
		t.Errorf("%+v", got)
	}
}

// TestReplayNamedPipes reads each of several pipes once: what the shell's <(…)
// gives cannot be read twice.
func TestReplayNamedPipes(t *testing.T) {
	dir := t.TempDir()
	var pipes []string
	for i := range 2 {
		path := filepath.Join(dir, fmt.Sprint("pipe", i))
		if err := syscall.Mkfifo(path, 0o600); err != nil {
			t.Skip(err)
		}
		pipes = append(pipes, path)
		go func() {
			if err := os.WriteFile(path, []byte(record(i, "alice", fmt.Sprint(i))), 0o600); err != nil {
				t.Error(err)
			}
		}()
	}
	if got := replay(t, append(pipes, "--rules", pack(t, "high"))...); !strings.Contains(got.stdout, "2 records in 2 files: 2 flags") {
		t.Errorf("%+v", got)
	}
}

// TestReplayInterrupted ends a replay that waits for a pipe nobody writes to.
func TestReplayInterrupted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	opened := make(chan *os.File)
	go func() {
		w, err := os.OpenFile(path, os.O_WRONLY, 0) // returns when the replay reads
		if err != nil {
			t.Error(err)
		}
		cancel()
		opened <- w
	}()
	got := replayContext(t, ctx, path)
	if w := <-opened; w != nil {
		w.Close()
	}
	if got.code != cli.ExitUsage || !strings.Contains(got.stderr, "interrupted") || got.stdout != "" {
		t.Errorf("%+v", got)
	}
}
