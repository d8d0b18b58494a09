package parquet

import (
	"reflect"
	"strings"

	"github.com/parquet-go/parquet-go"

	"github.com/clew-sec/clew/internal/event"
)

// column is one column of a segment.
type column struct {
	name  string
	doc   string
	bloom bool                // has a bloom filter per row group
	str   func(*Row) *string  // of a string column
	set   func(*Row, []value) // of any other; values are those of one row
}

type value = parquet.Value

func text(name, doc string, f func(*Row) *string) column { return column{name: name, doc: doc, str: f} }

// keyed is a text column that queries ask for by value.
func keyed(name, doc string, f func(*Row) *string) column {
	return column{name: name, doc: doc, str: f, bloom: true}
}

func other(name, doc string, set func(*Row, []value)) column {
	return column{name: name, doc: doc, set: set}
}

// columns are the columns in the order of Row's fields, which is theirs in the
// file. docs/history.md is this table.
var columns = [...]column{
	other("time", "when it happened: stageTimestamp, eventTime", func(r *Row, v []value) { r.Time = v[0].Int64() }),
	other("received", "when the request began; `time` where the source has one time only", func(r *Row, v []value) { r.Received = v[0].Int64() }),
	{name: "id", doc: "event id: 16 bytes derived from the record's content", bloom: true, set: func(r *Row, v []value) { copy(r.ID[:], v[0].ByteArray()) }},
	other("seq", "sequence of the log message that carried it", func(r *Row, v []value) { r.Seq = v[0].Uint64() }),
	text("cluster", "cluster, as the source is configured", func(r *Row) *string { return &r.Cluster }),
	text("source", "log it came from: k8s-audit, cloudtrail, gcp-audit, azure-activity", func(r *Row) *string { return &r.Source }),
	text("plane", "node, k8s or cloud", func(r *Row) *string { return &r.Plane }),
	text("kind", "api-request or cloud-call", func(r *Row) *string { return &r.Kind }),
	keyed("verb", "verb of a request", func(r *Row) *string { return &r.Verb }),
	text("api_group", "API group, empty for the core group", func(r *Row) *string { return &r.APIGroup }),
	keyed("resource", "resource, plural", func(r *Row) *string { return &r.Resource }),
	text("subresource", "subresource", func(r *Row) *string { return &r.Subresource }),
	keyed("namespace", "namespace of the request", func(r *Row) *string { return &r.Namespace }),
	text("name", "name of the object", func(r *Row) *string { return &r.Name }),
	text("object_uid", "UID of the object", func(r *Row) *string { return &r.ObjectUID }),
	text("stage", "audit stage", func(r *Row) *string { return &r.Stage }),
	other("code", "HTTP status, 0 when there is none", func(r *Row, v []value) { r.Code = v[0].Int32() }),
	text("request_uri", "path and query of the request", func(r *Row) *string { return &r.RequestURI }),
	keyed("user", "user name, or the cloud principal", func(r *Row) *string { return &r.User }),
	other("groups", "groups of the user", func(r *Row, v []value) { r.Groups = stringsOf(v) }),
	text("credential", "what authenticated: JTI=…, X509SHA256=…, aws:…", func(r *Row) *string { return &r.Credential }),
	text("source_ip", "address the server itself saw", func(r *Row) *string { return &r.SourceIP }),
	text("user_agent", "user agent; the client chooses it", func(r *Row) *string { return &r.UserAgent }),
	keyed("actor_pod", "pod that acted, namespace/name, where its token says so", func(r *Row) *string { return &r.ActorPod }),
	text("actor_pod_uid", "UID of that pod", func(r *Row) *string { return &r.ActorPodUID }),
	keyed("pod", "pod acted on, namespace/name", func(r *Row) *string { return &r.Pod }),
	text("node", "node acted on, or the actor's", func(r *Row) *string { return &r.Node }),
	keyed("executable", "path of the program (node plane)", func(r *Row) *string { return &r.Executable }),
	text("cloud_service", "service called", func(r *Row) *string { return &r.CloudService }),
	keyed("cloud_action", "action called", func(r *Row) *string { return &r.CloudAction }),
	text("cloud_account", "account, project or subscription acted on", func(r *Row) *string { return &r.CloudAccount }),
	text("cloud_region", "region", func(r *Row) *string { return &r.CloudRegion }),
	text("cloud_error", "error code, empty on success", func(r *Row) *string { return &r.CloudError }),
	{name: "entities", doc: "entities that the record itself names: credential, actor (credential and network), pods, object", bloom: true,
		set: func(r *Row, v []value) { r.Entities = idsOf(v) }},
	text("text", "command line, message, images, parameters: words that have no column of their own, one thing a line", func(r *Row) *string { return &r.Text }),
	other("raw", "the redacted record as received; read only when asked for", func(r *Row, v []value) { r.Raw = append([]byte(nil), v[0].ByteArray()...) }),
}

// The indices of the columns that code names.
var (
	colTime, colID, colPlane, colKind                             = index("time"), index("id"), index("plane"), index("kind")
	colVerb, colResource, colSubresource, colNamespace            = index("verb"), index("resource"), index("subresource"), index("namespace")
	colName, colURI, colUser, colCredential, colIP, colAgent      = index("name"), index("request_uri"), index("user"), index("credential"), index("source_ip"), index("user_agent")
	colActorPod, colPod, colNode, colExecutable                   = index("actor_pod"), index("pod"), index("node"), index("executable")
	colService, colAction, colError, colEntities, colText, colRaw = index("cloud_service"), index("cloud_action"), index("cloud_error"), index("entities"), index("text"), index("raw")
)

// searched are the columns that a query's text is looked for in.
var searched = []int{
	colText, colURI, colName, colUser, colNamespace, colVerb, colResource, colSubresource, colCredential, colIP, colAgent,
	colActorPod, colPod, colNode, colExecutable, colService, colAction, colError,
}

func index(name string) int {
	for i := range columns {
		if columns[i].name == name {
			return i
		}
	}
	panic("no column " + name)
}

func stringsOf(vs []value) []string {
	var out []string
	for _, v := range vs {
		if !v.IsNull() {
			out = append(out, string(v.ByteArray()))
		}
	}
	return out
}

func idsOf(vs []value) []event.ID {
	var out []event.ID
	for _, v := range vs {
		if !v.IsNull() {
			out = append(out, event.ID(v.ByteArray()))
		}
	}
	return out
}

// Columns returns the documentation of the columns as a Markdown table.
func Columns() string {
	var b strings.Builder
	b.WriteString("| column | type | what it holds |\n| --- | --- | --- |\n")
	t := reflect.TypeFor[Row]()
	for i, c := range columns {
		b.WriteString("| `" + c.name + "` | " + typeName(t.Field(i)) + " | " + c.doc + " |\n")
	}
	return b.String()
}

func typeName(f reflect.StructField) string {
	if strings.Contains(f.Tag.Get("parquet"), "timestamp") {
		return "timestamp, ns UTC"
	}
	switch f.Type {
	case reflect.TypeFor[event.ID]():
		return "16 bytes"
	case reflect.TypeFor[[]event.ID]():
		return "list of 16 bytes"
	case reflect.TypeFor[[]string]():
		return "list of strings"
	case reflect.TypeFor[[]byte]():
		return "bytes"
	}
	return f.Type.String()
}
