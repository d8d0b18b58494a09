package parquet

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/graph"
)

func TestColumnsAreTheFieldsOfRow(t *testing.T) {
	schema := parquet.SchemaOf(Row{})
	leaves := schema.Columns()
	if len(leaves) != len(columns) {
		t.Fatalf("%d columns are documented, Row has %d", len(columns), len(leaves))
	}
	for i, path := range leaves {
		if path[0] != columns[i].name {
			t.Errorf("column %d is %q in Row, documented as %q", i, path[0], columns[i].name)
		}
		if columns[i].doc == "" || (columns[i].str == nil) == (columns[i].set == nil) {
			t.Errorf("column %q: want a description, and either str or set", columns[i].name)
		}
	}
}

// TestColumnsAreDocumented holds docs/history.md to the table; WRITE=1 writes it.
func TestColumnsAreDocumented(t *testing.T) {
	const file, begin, end = "../../../docs/history.md", "<!-- columns -->\n", "<!-- end of columns -->"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	table, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("docs/history.md lacks the marks around the table of columns")
	}
	if table == Columns() {
		return
	}
	if os.Getenv("WRITE") == "" {
		t.Fatal("docs/history.md does not list the columns as they are: run WRITE=1 go test ./internal/store/parquet -run Documented")
	}
	if err := os.WriteFile(file, []byte(before+begin+Columns()+end+after), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestRowOfARequest(t *testing.T) {
	e := &event.Event{ID: event.ID{1}, Kind: event.KindAPIRequest, Source: event.SourceK8sAudit, Time: 5, Received: 4, Session: event.ID{9}}
	e.Actor = event.Actor{Name: "eve", Groups: []string{"g"}, Credential: "JTI=1", IP: "10.0.0.1", Agent: "kubectl", Namespace: "shop", PodName: "web-1", PodUID: "u1"}
	e.K8s = event.Request{Verb: "create", Resource: "pods", Subresource: "exec", Namespace: "shop", Name: "db-0", Code: 101, Stage: event.StageResponseStarted, Command: []string{"sh", "-c", "id"}}
	r := RowOf(e, []byte("raw"))
	e.Actor.Groups[0] = "changed"
	if r.Plane != "k8s" || r.Kind != "api-request" || r.Source != "k8s-audit" || r.Pod != "shop/db-0" || r.ActorPod != "shop/web-1" || r.Text != "sh -c id" || r.Groups[0] != "g" || r.Code != 101 {
		t.Errorf("row %+v", r)
	}
	var h event.Hasher
	if want := graph.AppendNamed(nil, &h, e); len(want) < 5 || !slices.Equal(r.Entities, want) {
		t.Errorf("entities %v, want the graph's %v", r.Entities, want)
	}
}

func TestRowOfACloudCall(t *testing.T) {
	e := &event.Event{Kind: event.KindCloudCall, Source: event.SourceCloudTrail}
	e.Cloud = event.CloudCall{Service: "sts", Action: "AssumeRole", Account: "1", Region: "eu-west-1", Error: "AccessDenied", Message: strings.Repeat("m", 2*maxText), PodNamespace: "a", PodName: "b"}
	r := RowOf(e, nil)
	if r.Plane != "cloud" || r.CloudAction != "AssumeRole" || r.CloudError != "AccessDenied" || len(r.Text) != maxText || r.ActorPod != "a/b" {
		t.Errorf("row %+v", r)
	}
}

func TestLoweredFoldsEveryByteAlone(t *testing.T) {
	var all []byte
	for i := range 3 * 256 {
		all = append(all, byte(i*7), byte(i))
	}
	for cut := range 9 { // every place within eight bytes
		got := lowered(nil, all[cut:])
		for i, c := range all[cut:] {
			want := c
			if c >= 'A' && c <= 'Z' {
				want += 'a' - 'A'
			}
			if got[i] != want {
				t.Fatalf("%#x became %#x, want %#x", c, got[i], want)
			}
		}
	}
}
