package k8saudit

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/clew-sec/clew/internal/event"
)

// maxGrowth is how many bytes of text may come of one byte of input: strings
// that alias it, joined copies, and the same text in several fields.
const maxGrowth = 16

// textBytes sums the lengths of all strings in v.
func textBytes(v reflect.Value) int {
	n := 0
	switch v.Kind() {
	case reflect.String:
		return v.Len()
	case reflect.Struct:
		for _, field := range v.Fields() {
			n += textBytes(field)
		}
	case reflect.Slice:
		for i := range v.Len() {
			n += textBytes(v.Index(i))
		}
	}
	return n
}

func seeds(f *testing.F) [][]byte {
	var out [][]byte
	for i, raw := range allRecords(f) {
		if i%97 == 0 && len(raw) < 20_000 {
			out = append(out, raw)
		}
	}
	return out
}

func FuzzDecode(f *testing.F) {
	for _, raw := range seeds(f) {
		f.Add(raw)
	}
	f.Add([]byte(`{"verb":"patch","stage":"Panic","requestURI":"/a?command=%41&dryRun=All","stageTimestamp":"2026-11-22T05:28:14Z","objectRef":{"resource":"pods"},"requestObject":[{"op":"add","path":"/spec/containers/-","value":{"name":"a"}}]}`))
	f.Add([]byte(`{"annotations":{"mutation.webhook.admission.k8s.io/round_0_index_0":"{\"configuration\":\"c\",\"mutated\":true}"}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, e, again := new(Decoder), newEvent(), newEvent()
		if err := d.Decode(raw, e); err != nil {
			return
		}
		if err := d.Decode(raw, again); err != nil || !cmp.Equal(e, again, cmpopts.EquateEmpty()) {
			t.Fatalf("read again, with what is remembered: %v %s", err, cmp.Diff(e, again))
		}
		if n := textBytes(reflect.ValueOf(*e)); n > maxGrowth*len(raw)+64 {
			t.Fatalf("%d bytes of text from %d bytes", n, len(raw))
		}
		if !json.Valid(raw) {
			t.Fatalf("accepted what is no JSON: %q", raw)
		}
		if utf8.Valid(raw) {
			compareTopLevel(t, raw, e)
		}
	})
}

// compareTopLevel checks the plain fields against encoding/json. A map is used
// as it tells keys apart by case, which structs there do not.
func compareTopLevel(t *testing.T, raw []byte, e *event.Event) {
	var top map[string]json.RawMessage
	if err := json.Unmarshal(raw, &top); err != nil {
		t.Fatalf("encoding/json: %v", err)
	}
	for key, got := range map[string]string{"verb": e.K8s.Verb, "auditID": e.K8s.AuditID, "requestURI": e.K8s.URI, "userAgent": e.Actor.Agent} {
		var want string
		if json.Unmarshal(top[key], &want) == nil && want != "" && want != got {
			t.Fatalf("%s = %q, want %q", key, got, want)
		}
	}
}

func FuzzDecodeBody(f *testing.F) {
	for _, raw := range seeds(f) {
		var o oracleEvent
		if json.Unmarshal(raw, &o) == nil {
			f.Add([]byte(o.RequestObject))
			f.Add([]byte(o.ResponseObject))
		}
	}
	f.Add([]byte(`[{"op":"add","path":"/rules/0/resources/-","value":"secrets"},{"op":"replace","path":"/metadata/labels/a~1b","value":"x"}]`))
	f.Add([]byte(`{"kind":"MutatingWebhookConfiguration","webhooks":[{"rules":[{"apiGroups":["a","b"],"resources":["c","d"]}]}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var b event.Body
		if err := new(Decoder).DecodeBody(raw, &b); err != nil {
			return
		}
		if !json.Valid(raw) {
			t.Fatalf("accepted what is no JSON: %q", raw)
		}
		if n := textBytes(reflect.ValueOf(b)); n > maxGrowth*len(raw)+64 {
			t.Fatalf("%d bytes of text from %d bytes", n, len(raw))
		}
	})
}

func FuzzParseTime(f *testing.F) {
	f.Add("2026-11-22T05:28:14.341071Z")
	f.Add("2024-02-29T23:59:59.1+05:30")
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := parseTime(s)
		want, err := time.Parse(time.RFC3339Nano, s)
		if ok && (err != nil || got != want.UnixNano()) {
			t.Fatalf("%q = %d, want %d, %v", s, got, want.UnixNano(), err)
		}
	})
}
