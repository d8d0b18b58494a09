package ruletest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/clew-sec/clew/internal/rule"
)

// start is when the first event of every test happens.
var start = time.Date(2026, time.January, 15, 10, 0, 0, 0, time.UTC)

// timeLayout is how the Kubernetes audit log writes times.
const timeLayout = "2006-01-02T15:04:05.000000Z07:00"

// object is a JSON object while it is completed.
type object map[string]any

// Expand completes the partial record of a test's n-th event. What the record
// says itself stays as it is.
func Expand(e rule.TestEvent, n int) (Record, error) {
	o := object{}
	dec := json.NewDecoder(bytes.NewReader(e.Record))
	dec.UseNumber()
	if err := dec.Decode(&o); err != nil {
		return Record{}, fmt.Errorf("reading the partial record: %w", err)
	}
	at := start.Add(e.At)
	switch e.Format {
	case rule.Audit:
		completeAudit(o, at, n)
	case rule.CloudTrail:
		completeCloudTrail(o, at, n)
	case rule.GCP:
		completeGCP(o, at, n)
	case rule.Azure:
		completeAzure(o, at, n)
	default:
		return Record{}, fmt.Errorf("format %q is not known", e.Format)
	}
	raw, err := json.Marshal(o)
	if err != nil {
		return Record{}, fmt.Errorf("writing the complete record: %w", err)
	}
	return Record{Format: e.Format, Raw: raw}, nil
}

// fill sets a key that is not there.
func (o object) fill(key string, v any) {
	if _, ok := o[key]; !ok {
		o[key] = v
	}
}

// sub returns the object at a key, made when it is not there; nil when
// something else stands there.
func (o object) sub(key string) object {
	o.fill(key, map[string]any{})
	m, _ := o[key].(map[string]any)
	return m
}

func (o object) text(key string) string {
	s, _ := o[key].(string)
	return s
}

// uuid is a different one for each event of a test.
func uuid(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012x", n+1) }

func completeAudit(o object, at time.Time, n int) {
	o.fill("kind", "Event")
	o.fill("apiVersion", "audit.k8s.io/v1")
	o.fill("level", "RequestResponse")
	o.fill("stage", "ResponseComplete")
	o.fill("auditID", uuid(n))
	o.fill("requestReceivedTimestamp", at.Format(timeLayout))
	o.fill("stageTimestamp", at.Format(timeLayout))
	o.fill("sourceIPs", []string{"10.0.0.5"})
	o.fill("userAgent", "kubectl/v1.36.0 (linux/amd64) kubernetes/1")
	completeUser(o.sub("user"))
	if ref, ok := o["objectRef"].(map[string]any); ok {
		object(ref).fill("apiVersion", "v1")
		o.fill("requestURI", requestURI(o.text("verb"), ref))
	}
	if o.text("stage") != "RequestReceived" {
		if status := o.sub("responseStatus"); status != nil {
			status.fill("code", defaultCode(o.text("verb")))
		}
	}
}

func defaultCode(verb string) int {
	if verb == "create" {
		return 201
	}
	return 200
}

// completeUser adds the group that every authenticated request carries.
func completeUser(user object) {
	if user == nil || user.text("username") == "" {
		return
	}
	group := "system:authenticated"
	if user.text("username") == "system:anonymous" {
		group = "system:unauthenticated"
	}
	groups, _ := user["groups"].([]any)
	if !slices.Contains(groups, any(group)) {
		user["groups"] = append(groups, group)
	}
}

// requestURI builds the path an API client would use for an objectRef.
func requestURI(verb string, ref object) string {
	root := "/api/" + ref.text("apiVersion")
	if g := ref.text("apiGroup"); g != "" {
		root = "/apis/" + g + "/" + ref.text("apiVersion")
	}
	parts := []string{root}
	if ns := ref.text("namespace"); ns != "" && ref.text("resource") != "namespaces" {
		parts = append(parts, "namespaces", ns)
	}
	parts = append(parts, ref.text("resource"))
	sub := ref.text("subresource")
	if name := ref.text("name"); name != "" && (verb != "create" || sub != "") {
		parts = append(parts, url.PathEscape(name))
	}
	if sub != "" {
		parts = append(parts, sub)
	}
	uri := strings.Join(parts, "/")
	if verb == "watch" {
		uri += "?watch=true"
	}
	return uri
}

func completeCloudTrail(o object, at time.Time, n int) {
	o.fill("eventVersion", "1.11")
	o.fill("eventTime", at.Format(time.RFC3339))
	o.fill("eventID", uuid(n))
	o.fill("awsRegion", "eu-central-1")
	o.fill("recipientAccountId", "111122223333")
	o.fill("sourceIPAddress", "10.0.0.5")
	o.fill("eventType", "AwsApiCall")
	o.fill("userAgent", "aws-sdk-go-v2/1.36.0")
}

func completeGCP(o object, at time.Time, n int) {
	o.fill("insertId", fmt.Sprintf("t%d", n+1))
	o.fill("timestamp", at.Format(time.RFC3339Nano))
	o.fill("receiveTimestamp", at.Format(time.RFC3339Nano))
	o.fill("logName", "projects/example/logs/cloudaudit.googleapis.com%2Factivity")
	o.fill("severity", "NOTICE")
	if p := o.sub("protoPayload"); p != nil {
		p.fill("@type", "type.googleapis.com/google.cloud.audit.AuditLog")
		if m := p.sub("requestMetadata"); m != nil {
			m.fill("callerIp", "10.0.0.5")
		}
	}
}

func completeAzure(o object, at time.Time, n int) {
	o.fill("time", at.Format(time.RFC3339Nano))
	o.fill("correlationId", uuid(n))
	o.fill("category", "Administrative")
	o.fill("callerIpAddress", "10.0.0.5")
	o.fill("resultType", "Success")
	o.fill("level", "Information")
}
