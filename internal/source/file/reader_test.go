package file

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

const (
	auditA = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a","stage":"ResponseComplete","verb":"get"}`
	auditB = `{"level":"Metadata","auditID":"b","stage":"ResponseComplete","requestURI":"/api/v1/x?a=\"}{\"","verb":"list"}`
	trail  = `{"eventVersion":"1.08","userIdentity":{"type":"IAMUser"},"eventTime":"2026-03-01T10:00:00Z","eventName":"ListBuckets","eventID":"t"}`
	gcp    = `{"insertId":"g","logName":"projects/p/logs/x","protoPayload":{"methodName":"m"}}`
	azure  = `{"time":"2026-03-01T10:00:00Z","resourceId":"/s","operationName":"o","category":"Administrative","properties":{}}`
)

// read returns one line a record or error of the input.
func read(t *testing.T, r *Reader) []string {
	t.Helper()
	var out []string
	for {
		rec, err := r.Next()
		var bad *RecordError
		switch {
		case errors.Is(err, io.EOF):
			return out
		case errors.As(err, &bad):
			out = append(out, fmt.Sprintf("%d: error at %d: %s", bad.Record, bad.Offset, bad.Reason))
		case err != nil:
			return append(out, "end: "+err.Error())
		default:
			out = append(out, fmt.Sprintf("%d: %s %s", rec.Pos.Record, rec.Format, compact(t, rec.Raw)))
		}
	}
}

// compact names the known records, which pretty-printing has changed.
func compact(t *testing.T, raw []byte) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return fmt.Sprintf("%q", raw)
	}
	for name, known := range map[string]string{"auditA": auditA, "auditB": auditB, "trail": trail, "gcp": gcp, "azure": azure} {
		if b.String() == known {
			return name
		}
	}
	return b.String()
}

func pretty(s string) string {
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(s), "", "  "); err != nil {
		panic(err)
	}
	return b.String()
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func gz(parts ...string) string {
	var b bytes.Buffer
	for _, p := range parts {
		w := gzip.NewWriter(&b)
		io.WriteString(w, p)
		w.Close()
	}
	return b.String()
}

func zst(s string) string {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return string(w.EncodeAll([]byte(s), nil))
}

// good are inputs of each accepted shape.
var good = []struct {
	name, in string
	want     []string
}{
	{"empty", "", nil},
	{"blank", " \n\r\n\t", nil},
	{"single event", auditA, []string{"1: Kubernetes audit auditA"}},
	{"byte order mark", "\xef\xbb\xbf" + auditA, []string{"1: Kubernetes audit auditA"}},
	{"lines", auditA + "\n" + auditB + "\r\n\n" + trail + " \n" + gcp + "\n" + azure,
		[]string{"1: Kubernetes audit auditA", "2: Kubernetes audit auditB", "3: CloudTrail trail", "4: Google Cloud audit gcp", "5: Azure azure"}},
	{"concatenated", auditA + auditA + auditB + trail + auditA + "\n" + auditA,
		[]string{"1: Kubernetes audit auditA", "2: Kubernetes audit auditA", "3: Kubernetes audit auditB", "4: CloudTrail trail", "5: Kubernetes audit auditA", "6: Kubernetes audit auditA"}},
	{"two on a line", auditA + " " + auditA + "\n" + auditA + "\t" + gcp + "\n",
		[]string{"1: Kubernetes audit auditA", "2: Kubernetes audit auditA", "3: Kubernetes audit auditA", "4: Google Cloud audit gcp"}},
	{"pretty", pretty(auditA) + "\n" + pretty(gcp), []string{"1: Kubernetes audit auditA", "2: Google Cloud audit gcp"}},
	{"array", "[" + auditA + "," + trail + "]", []string{"1: Kubernetes audit auditA", "2: CloudTrail trail"}},
	{"pretty array", pretty("[" + gcp + "," + gcp + "]"), []string{"1: Google Cloud audit gcp", "2: Google Cloud audit gcp"}},
	{"empty array", "[]\n[ ]", nil},
	{"event list", `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[` + auditA + "," + auditB + `]}`, []string{"1: Kubernetes audit auditA", "2: Kubernetes audit auditB"}},
	{"pretty event list, items first", pretty(`{"items":[` + auditA + "," + auditB + `],"kind":"EventList"}`), []string{"1: Kubernetes audit auditA", "2: Kubernetes audit auditB"}},
	{"records", `{"Records":[` + trail + "," + trail + `]}{"Records":[` + trail + `]}`, []string{"1: CloudTrail trail", "2: CloudTrail trail", "3: CloudTrail trail"}},
	{"array of records", `[{"Records":[` + trail + `]},{"Records":[]},{"Records":[` + trail + `]}]`, []string{"1: CloudTrail trail", "2: CloudTrail trail"}},
	{"azure records", `{"records": [` + azure + "," + azure + `]}`, []string{"1: Azure azure", "2: Azure azure"}},
	{"azure value", `{"value":[` + azure + `],"nextLink":"x"}`, []string{"1: Azure azure"}},
	{"gcp entries", `{"entries":[` + gcp + `]}`, []string{"1: Google Cloud audit gcp"}},
	{"lookup-events", `{"Events":[{"EventId":"t","CloudTrailEvent":` + quote(trail) + `}]}`, []string{"1: CloudTrail trail"}},
	{"eventbridge", `{"version":"0","detail-type":"AWS API Call via CloudTrail","resources":[],"detail":` + trail + `}`, []string{"1: CloudTrail trail"}},
	{"cloudwatch", `{"messageType":"DATA_MESSAGE","logGroup":"g","logEvents":[{"id":"1","timestamp":1,"message":` + quote(auditB) + `},{"id":"2","message":` + quote(trail) + `},{"id":"3","message":"I0301 klog line"}]}`,
		[]string{"1: Kubernetes audit auditB", "2: CloudTrail trail"}},
	{"cloudwatch control message", `{"messageType":"CONTROL_MESSAGE","logEvents":[{"id":"","message":"CWL CONTROL MESSAGE: Checking health of destination"}]}`, nil},
	{"filter-log-events", `{"events":[{"logStreamName":"s","message":` + quote(auditA) + `}]}`, []string{"1: Kubernetes audit auditA"}},
	{"shippers", `{"log":` + quote(auditA+"\n") + `,"stream":"stdout","time":"x"}` + "\n" + `{"message":` + quote(auditB) + `,"host":"h"}` + "\n" + `{"event":` + trail + `}` + "\n" + `{"_raw":` + quote(gcp) + `}`,
		[]string{"1: Kubernetes audit auditA", "2: Kubernetes audit auditB", "3: CloudTrail trail", "4: Google Cloud audit gcp"}},
	{"wrapped twice", `{"message":` + quote(`{"log":`+quote(auditB)+`}`) + `}`, []string{"1: Kubernetes audit auditB"}},
	{"gzip", gz(auditA + "\n" + trail), []string{"1: Kubernetes audit auditA", "2: CloudTrail trail"}},
	{"gzip members", gz(auditA, auditA, trail), []string{"1: Kubernetes audit auditA", "2: Kubernetes audit auditA", "3: CloudTrail trail"}},
	{"gzip in gzip", gz(gz(auditA, auditB)), []string{"1: Kubernetes audit auditA", "2: Kubernetes audit auditB"}},
	{"zstd", zst(auditA), []string{"1: Kubernetes audit auditA"}},
}

func TestReaderAcceptsEachShape(t *testing.T) {
	for _, tt := range good {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, read(t, NewReader("x", strings.NewReader(tt.in)))); diff != "" {
				t.Errorf("records (-want +got):\n%s", diff)
			}
		})
	}
}

var bad = []struct {
	name, in string
	want     []string
}{
	{"junk line", auditA + "\nI0301 started\n" + auditB, []string{"1: Kubernetes audit auditA", `2: error at 121: not a JSON object: "I0301 started"`, "3: Kubernetes audit auditB"}},
	{"junk first", "starting\n" + auditB, []string{`1: error at 0: not a JSON object: "starting"`, "2: Kubernetes audit auditB"}},
	{"truncated line", auditA + "\n" + auditA[:60] + "\n" + auditA, []string{"1: Kubernetes audit auditA", "2: error at 121: not JSON: expected a comma or the end at byte 63 of the record", "3: Kubernetes audit auditA"}},
	{"truncated behind a colon", `{"a":` + "\n" + auditA + "\n" + auditB, []string{"1: error at 0: not JSON: expected a comma or the end at byte 127 of the record", "2: Kubernetes audit auditA", "3: Kubernetes audit auditB"}},
	{"truncated in a string", `{"a":"b` + "\n" + auditA + "\n", []string{"1: error at 0: not JSON: expected a comma or the end at byte 10 of the record", "2: Kubernetes audit auditA"}},
	{"truncated at the end", auditA + "\n" + auditA[:60], []string{"1: Kubernetes audit auditA", "2: error at 121: the input ends inside the record"}},
	{"bad one among concatenated", auditA + auditA[:60] + auditA + auditA, []string{"1: Kubernetes audit auditA", "2: error at 120: not JSON: expected a comma or the end at byte 62 of the record", "3: Kubernetes audit auditA"}},
	{"bad item in a list", `{"Records":[` + trail + "," + trail[:40] + "," + trail + `]}` + "\n" + auditA,
		[]string{"1: CloudTrail trail", "2: error at 145: not JSON: expected a colon at byte 43 of the record", "3: CloudTrail trail", "4: Kubernetes audit auditA"}},
	{"bad item in a pretty list", "[\n  " + trail + ",\n  {\"a\" 1},\n  " + trail + "\n]\n" + auditA,
		[]string{"1: CloudTrail trail", "2: error at 140: not JSON: expected a colon at byte 5 of the record", "3: CloudTrail trail", "4: Kubernetes audit auditA"}},
	{"list cut off by a line", `{"Records":[` + trail + "\n" + auditA + "\n" + auditB,
		[]string{"1: CloudTrail trail", "2: error at 145: expected a comma or the end of the list", "3: Kubernetes audit auditA", "4: Kubernetes audit auditB"}},
	{"list cut off by the end", `{"Records":[` + trail + ",", []string{"1: CloudTrail trail", "2: error at 145: the input ends inside a list"}},
	{"unknown kind", auditA + "\n" + `{"foo":1}` + "\n" + auditB, []string{"1: Kubernetes audit auditA", `2: error at 121: no known kind of record: "{\"foo\":1}"`, "3: Kubernetes audit auditB"}},
	{"scalars in a list", `[1,"x",true,null,` + auditA + `,2]`, []string{`1: error at 1: not a JSON object: "1,\"x\",true,null,{\"kind\":\"Event\",\"apiVersion\":\"au"…`,
		`2: error at 3: not a JSON object: "\"x\",true,null,{\"kind\":\"Event\",\"apiVersion\":\"audi"…`, `3: error at 7: not a JSON object: "true,null,{\"kind\":\"Event\",\"apiVersion\":\"audit.k8"…`,
		`4: error at 12: not a JSON object: "null,{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/"…`, "5: Kubernetes audit auditA", `6: error at 138: not a JSON object: "2]"`}},
	{"too deep", auditA + "\n" + strings.Repeat(`{"a":`, 600) + "\n" + auditB, []string{"1: Kubernetes audit auditA", "2: error at 121: not JSON: nested too deeply at byte 2560 of the record", "3: Kubernetes audit auditB"}},
}

func TestReaderGoesOnBehindBadRecords(t *testing.T) {
	for _, tt := range bad {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, read(t, NewReader("x", strings.NewReader(tt.in)))); diff != "" {
				t.Errorf("records (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReaderDoesNotDependOnReadSizes(t *testing.T) {
	for _, tt := range append(good, bad...) {
		t.Run(tt.name, func(t *testing.T) {
			want := read(t, NewReader("x", strings.NewReader(tt.in)))
			for _, in := range []io.Reader{
				iotest.OneByteReader(strings.NewReader(tt.in)), iotest.HalfReader(strings.NewReader(tt.in)), iotest.DataErrReader(strings.NewReader(tt.in)),
			} {
				if diff := cmp.Diff(want, read(t, NewReader("x", in))); diff != "" {
					t.Errorf("records (-whole +in pieces):\n%s", diff)
				}
			}
		})
	}
}

func TestReaderNamesUnknownFormats(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"binary", "\x7fELF\x02\x01\x01\x00\x00\x00", `the file begins with "\x7fELF`},
		{"utf-16", "\xff\xfe{\x00\"\x00", `\xff\xfe`},
		{"text", "hello\nworld\n", `record 1: not a JSON object: "hello"`},
		{"other json", `{"kind":"PodList","items":[{"kind":"Pod"}]}`, `record 1: no known kind of record: "{\"kind\":\"Pod\"}"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewReader("some.file", strings.NewReader(tt.in)).Next()
			if _, ok := errors.AsType[*UnknownFormatError](err); !ok {
				t.Fatalf("Next = %v, want an UnknownFormatError", err)
			}
			if !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "some.file") || !strings.Contains(err.Error(), "CloudTrail") {
				t.Errorf("error %q lacks file, what was tried, or %q", err, tt.want)
			}
		})
	}
}

func TestReaderKeepsRecordsBeforeAReadError(t *testing.T) {
	whole := gz(strings.Repeat(auditA+"\n", 200))
	r := NewReader("x.gz", strings.NewReader(whole[:len(whole)-12]))
	n := 0
	for {
		_, err := r.Next()
		if err != nil {
			if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "x.gz") {
				t.Errorf("Next = %v, want an unexpected end naming the file", err)
			}
			break
		}
		n++
	}
	if n < 100 {
		t.Errorf("%d records before the error, want most of 200", n)
	}
}

// sized returns an audit event of exactly n bytes.
func sized(n int) string {
	head := auditA[:len(auditA)-1] + `,"userAgent":"`
	return head + strings.Repeat("x", n-len(head)-2) + `"}`
}

func TestReaderBoundsRecords(t *testing.T) {
	fits, long := sized(MaxRecord), sized(MaxRecord+1)
	skipped := fmt.Sprintf("2: error at %%d: longer than %d MiB", MaxRecord>>20)
	tests := []struct {
		name, in string
		at       int
	}{
		{"lines", auditA + "\n" + long + "\n" + auditA + "\n", len(auditA) + 1},
		{"concatenated", auditA + long + auditA, len(auditA)},
		{"list", "[" + auditA + "," + long + "," + auditA + "]", len(auditA) + 2},
		{"much longer", auditA + "\n" + sized(3*MaxRecord) + "\n" + auditA + "\n", len(auditA) + 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := []string{"1: Kubernetes audit auditA", fmt.Sprintf(skipped, tt.at), "3: Kubernetes audit auditA"}
			if diff := cmp.Diff(want, read(t, NewReader("x", strings.NewReader(tt.in)))); diff != "" {
				t.Errorf("records (-want +got):\n%s", diff)
			}
		})
	}
	rec, err := NewReader("x", strings.NewReader(fits+"\n")).Next()
	if err != nil || len(rec.Raw) != MaxRecord {
		t.Errorf("a record of the greatest size: %d bytes, %v", len(rec.Raw), err)
	}
}

func TestReaderStreamsLists(t *testing.T) {
	const items = 200_000 // 24 MB in one list, more than a record may have
	in := io.MultiReader(strings.NewReader(`{"kind":"EventList","items":[`+auditA), strings.NewReader(strings.Repeat(","+auditA, items-1)), strings.NewReader("]}"))
	r := NewReader("x", in)
	if n := drain(t, r); n != items {
		t.Errorf("%d records, want %d", n, items)
	}
	if cap(r.buf) > 4*chunkSize {
		t.Errorf("the buffer grew to %d bytes", cap(r.buf))
	}
}

func TestRecordsStayValid(t *testing.T) {
	const n = 20_000
	r := NewReader("x", strings.NewReader(strings.Repeat(auditA+"\n", n)))
	var all [][]byte
	for {
		rec, err := r.Next()
		if err != nil {
			break
		}
		all = append(all, rec.Raw)
	}
	for i, raw := range all {
		if string(raw) != auditA {
			t.Fatalf("record %d was overwritten: %q", i, raw)
		}
	}
	if len(all) != n {
		t.Errorf("%d records, want %d", len(all), n)
	}
}

func TestSkippedCountsOtherProgramsLines(t *testing.T) {
	r := NewReader("x", strings.NewReader(`{"messageType":"DATA_MESSAGE","logEvents":[{"message":"klog"},{"message":"x"}]}`))
	if got := read(t, r); got != nil || r.Skipped() != 2 {
		t.Errorf("records %q, skipped %d, want none and 2", got, r.Skipped())
	}
}

func TestExpand(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{"b.log", "a/z.gz", "a/c.json", ".hidden", ".git/x"} {
		path := filepath.Join(dir, f)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(auditA), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Expand([]string{"-", filepath.Join(dir, ".hidden"), dir})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"-", filepath.Join(dir, ".hidden"), filepath.Join(dir, "a/c.json"), filepath.Join(dir, "a/z.gz"), filepath.Join(dir, "b.log")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Expand (-want +got):\n%s", diff)
	}
	if _, err := Expand([]string{filepath.Join(dir, "missing")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Expand of a missing path = %v, want ErrNotExist", err)
	}
}

func TestOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, []byte(zst(auditA)), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, r); len(got) != 1 {
		t.Errorf("records %q, want one", got)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := Open(filepath.Dir(path)); err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("Open of a directory = %v", err)
	}
}

// FuzzReader checks that the reader ends, numbers records in order, gives the
// same in pieces as in whole, and finds each object of valid concatenated JSON.
func FuzzReader(f *testing.F) {
	for _, tt := range append(good, bad...) {
		f.Add([]byte(tt.in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		whole := read(t, NewReader("x", bytes.NewReader(in)))
		if diff := cmp.Diff(whole, read(t, NewReader("x", iotest.OneByteReader(bytes.NewReader(in))))); diff != "" {
			t.Errorf("records (-whole +in pieces):\n%s", diff)
		}
	})
}

// FuzzConcatenated compares the splitting with encoding/json's.
func FuzzConcatenated(f *testing.F) {
	f.Add([]byte(`{"a":1}{"b":[1,2,{"c":"\"}{"}]}`), []byte("\n"))
	f.Add([]byte(`{"log":"x"}`), []byte(""))
	f.Fuzz(func(t *testing.T, in, sep []byte) {
		var stream bytes.Buffer
		want := 0
		dec := json.NewDecoder(bytes.NewReader(in))
		for {
			var obj map[string]json.RawMessage
			if err := dec.Decode(&obj); err != nil || obj == nil {
				break
			}
			// As the known record, whatever it holds.
			body, err := json.Marshal(struct {
				A string `json:"auditID"`
				S string `json:"stage"`
				O any    `json:"requestObject"`
			}{"a", "s", obj})
			if err != nil {
				return
			}
			if bytes.Count(body, []byte("["))+bytes.Count(body, []byte("{")) > maxDepth {
				return
			}
			stream.Write(body)
			if len(bytes.Trim(sep, " \t\r\n")) == 0 {
				stream.Write(sep)
			}
			want++
		}
		got := 0
		r := NewReader("x", &stream)
		for {
			rec, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil || !json.Valid(rec.Raw) {
				t.Fatalf("record %d: %v: %q", got+1, err, rec.Raw)
			}
			got++
		}
		if got != want {
			t.Errorf("%d records, encoding/json finds %d", got, want)
		}
	})
}
