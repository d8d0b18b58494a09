package ruletest_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/clew-sec/clew/internal/rule"
	"github.com/clew-sec/clew/internal/rule/ruletest"
)

func TestExpand(t *testing.T) {
	tests := []struct {
		name   string
		format rule.Format
		in     string
		want   string
	}{
		{
			"audit", rule.Audit,
			`{"verb":"create","user":{"username":"alice","groups":["dev"]},"objectRef":{"resource":"deployments","apiGroup":"apps","namespace":"shop","name":"web"}}`,
			`{"apiVersion":"audit.k8s.io/v1","auditID":"00000000-0000-4000-8000-000000000003","kind":"Event","level":"RequestResponse",` +
				`"objectRef":{"apiGroup":"apps","apiVersion":"v1","name":"web","namespace":"shop","resource":"deployments"},` +
				`"requestReceivedTimestamp":"2026-01-15T10:00:05.000000Z","requestURI":"/apis/apps/v1/namespaces/shop/deployments","responseStatus":{"code":201},` +
				`"sourceIPs":["10.0.0.5"],"stage":"ResponseComplete","stageTimestamp":"2026-01-15T10:00:05.000000Z",` +
				`"user":{"groups":["dev","system:authenticated"],"username":"alice"},"userAgent":"kubectl/v1.36.0 (linux/amd64) kubernetes/1","verb":"create"}`,
		},
		{
			"audit says more", rule.Audit,
			`{"verb":"watch","user":{"username":"system:anonymous"},"objectRef":{"resource":"pods","apiVersion":"v1","name":"a/b"},"responseStatus":{"reason":"x","code":403},"sourceIPs":["203.0.113.9"],"userAgent":"curl/8","level":"Metadata","auditID":"x","kind":"Event","apiVersion":"audit.k8s.io/v1beta1","stage":"ResponseStarted","stageTimestamp":"t","requestReceivedTimestamp":"t"}`,
			`{"apiVersion":"audit.k8s.io/v1beta1","auditID":"x","kind":"Event","level":"Metadata","objectRef":{"apiVersion":"v1","name":"a/b","resource":"pods"},` +
				`"requestReceivedTimestamp":"t","requestURI":"/api/v1/pods/a%2Fb?watch=true","responseStatus":{"code":403,"reason":"x"},"sourceIPs":["203.0.113.9"],` +
				`"stage":"ResponseStarted","stageTimestamp":"t","user":{"groups":["system:unauthenticated"],"username":"system:anonymous"},"userAgent":"curl/8","verb":"watch"}`,
		},
		{
			"cloudtrail", rule.CloudTrail, `{"eventName":"GetObject","awsRegion":"us-east-1"}`,
			`{"awsRegion":"us-east-1","eventID":"00000000-0000-4000-8000-000000000003","eventName":"GetObject","eventTime":"2026-01-15T10:00:05Z","eventType":"AwsApiCall",` +
				`"eventVersion":"1.11","recipientAccountId":"111122223333","sourceIPAddress":"10.0.0.5","userAgent":"aws-sdk-go-v2/1.36.0"}`,
		},
		{
			"gcp", rule.GCP, `{"protoPayload":{"methodName":"m"}}`,
			`{"insertId":"t3","logName":"projects/example/logs/cloudaudit.googleapis.com%2Factivity","protoPayload":{"@type":"type.googleapis.com/google.cloud.audit.AuditLog","methodName":"m",` +
				`"requestMetadata":{"callerIp":"10.0.0.5"}},"receiveTimestamp":"2026-01-15T10:00:05Z","severity":"NOTICE","timestamp":"2026-01-15T10:00:05Z"}`,
		},
		{
			"azure", rule.Azure, `{"operationName":"o"}`,
			`{"callerIpAddress":"10.0.0.5","category":"Administrative","correlationId":"00000000-0000-4000-8000-000000000003","level":"Information","operationName":"o","resultType":"Success","time":"2026-01-15T10:00:05Z"}`,
		},
	}
	for _, tt := range tests {
		t.Run(strings.ReplaceAll(tt.name, " ", "-"), func(t *testing.T) {
			got, err := ruletest.Expand(rule.TestEvent{At: 5 * time.Second, Format: tt.format, Record: json.RawMessage(tt.in)}, 2)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(got.Raw)); diff != "" {
				t.Errorf("record (-want +got):\n%s", diff)
			}
		})
	}
	if _, err := ruletest.Expand(rule.TestEvent{Format: "x", Record: json.RawMessage(`{}`)}, 0); err == nil {
		t.Error("an unknown format was expanded")
	}
	if _, err := ruletest.Expand(rule.TestEvent{Format: rule.Audit, Record: json.RawMessage(`[]`)}, 0); err == nil {
		t.Error("a record that is no object was expanded")
	}
}

// verbEngine matches, for a record with verb v, the rule named v.
type verbEngine struct{ short bool }

func (e verbEngine) Replay(records []ruletest.Record) ([][]string, error) {
	var out [][]string
	for _, r := range records {
		var rec struct{ Verb string }
		if err := json.Unmarshal(r.Raw, &rec); err != nil {
			return nil, err
		}
		if rec.Verb == "bad" {
			return nil, errors.New("bad record")
		}
		out = append(out, []string{rec.Verb})
	}
	if e.short {
		out = out[1:]
	}
	return out, nil
}

func testOf(name string, line int, verbs ...string) rule.Test {
	t := rule.Test{Name: name, Position: rule.Position{File: "f.yaml", Line: line, Column: 7}}
	for _, v := range verbs {
		t.Events = append(t.Events, rule.TestEvent{Format: rule.Audit, Record: json.RawMessage(`{"verb":"` + v + `"}`)})
	}
	return t
}

func TestRun(t *testing.T) {
	rules := []rule.Rule{
		{ID: "get", Tests: rule.Tests{
			Fires:  []rule.Test{testOf("ok", 1, "x", "get"), testOf("early", 2, "get", "x"), testOf("never", 3, "x")},
			Silent: []rule.Test{testOf("quiet", 4, "x", "y"), testOf("loud", 5, "x", "get", "y"), testOf("broken", 6, "bad")},
		}},
		{ID: "none"},
		{ID: "old", Status: rule.Deprecated, Tests: rule.Tests{Fires: []rule.Test{testOf("x", 7, "x")}}},
	}
	rep := ruletest.Run(verbEngine{}, rules)
	var got []string
	for _, f := range rep.Failures {
		got = append(got, f.String())
	}
	want := []string{
		`f.yaml:2:7: get: test "early": the last event did not raise the rule, event 1 of 2 did`,
		`f.yaml:3:7: get: test "never": the last event did not raise the rule; it raised x`,
		`f.yaml:5:7: get: test "loud": event 2 of 3 raised the rule`,
		`f.yaml:6:7: get: test "broken": replaying the events: bad record`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("failures (-want +got):\n%s", diff)
	}
	if rep.Rules != 1 || rep.Tests != 6 {
		t.Errorf("%d tests of %d rules, want 6 of 1", rep.Tests, rep.Rules)
	}
	if rep := ruletest.Run(verbEngine{short: true}, rules[:1]); len(rep.Failures) != rep.Tests {
		t.Errorf("an engine that answers for too few events: %d of %d fail", len(rep.Failures), rep.Tests)
	}
	if !slices.IsSortedFunc(rep.Failures, func(a, b ruletest.Failure) int { return a.Line - b.Line }) {
		t.Error("failures are not in the file's order")
	}
}
