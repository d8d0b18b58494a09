// Package azureactivity turns Azure Monitor records into events: activity log,
// Entra sign-in and audit logs and other resource logs become cloud calls, and
// the Kubernetes audit events that AKS wraps become API requests.
package azureactivity

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/normalize"
)

// AuditDecoder reads the Kubernetes audit events inside AKS records.
type AuditDecoder interface {
	// Decode reads one audit Event into e, whose strings may alias raw.
	Decode(raw []byte, e *event.Event) error
}

// Decoder decodes Azure records. It is not safe for concurrent use.
type Decoder struct {
	audit AuditDecoder
	hash  event.Hasher
}

// New returns a Decoder that reads audit events with audit; nil makes them
// irrelevant.
func New(audit AuditDecoder) *Decoder { return &Decoder{audit: audit} }

// Decode reads one record into e, which the caller has Reset. An AKS audit
// record becomes what its audit event says, source k8s-audit, with Cluster
// from the record's resource id, in lower case. Categories that tell of no
// activity give normalize.ErrIrrelevant.
func (d *Decoder) Decode(raw []byte, e *event.Event) error {
	var r record
	if err := normalize.Unmarshal(raw, &r); err != nil {
		return fmt.Errorf("decoding Azure record: %w", err)
	}
	r.fold()
	category := strings.ToLower(string(r.Category))
	switch {
	case category == "kube-audit", category == "kube-audit-admin", strings.HasPrefix(r.Table, "AKSAudit"):
		return d.kubernetes(raw, &r, e)
	case r.irrelevant(category):
		return normalize.ErrIrrelevant
	}
	e.Kind, e.Source = event.KindCloudCall, event.SourceAzureActivity
	e.Cloud.Provider = "azure"
	e.Cluster = clusterOf(r.ResourceID)
	signin := strings.Contains(category, "signinlogs") || strings.Contains(strings.ToLower(r.Table), "signinlogs")
	if signin {
		r.signIn(raw, e)
	} else {
		r.activity(e)
	}
	e.Time = normalize.Time(cmp.Or(r.EventTime, r.Time, r.Generated))
	if e.Time == 0 {
		return fmt.Errorf("decoding Azure record: %.40q is no time", cmp.Or(r.EventTime, r.Time, r.Generated))
	}
	if e.Cloud.Action == "" {
		return errors.New("decoding Azure record: it has no operationName")
	}
	e.Received = e.Time
	e.ID = d.id(&r, e)
	return nil
}

// fold moves what the tables' columns are called into the members of records.
func (r *record) fold() {
	if r.OperationRow != "" {
		r.Operation = normalize.Text(r.OperationRow)
	}
	if r.CategoryRow != "" {
		r.Category = normalize.Text(r.CategoryRow)
	}
	if r.StatusRow != "" {
		r.Status = normalize.Text(r.StatusRow)
	}
	if r.SubStatusRow != "" {
		r.SubStatus = normalize.Text(r.SubStatusRow)
	}
	r.ResourceID = cmp.Or(r.ResourceID, r.ResourceIDRow)
	r.Properties = normalize.Object(r.Properties)
}

// quiet are activity log categories that tell of the platform, not of callers.
var quiet = []string{"servicehealth", "resourcehealth", "alert", "autoscale", "recommendation", "allmetrics"}

// irrelevant reports whether the record tells of no caller's activity: health
// and metrics, and the logs of AKS components (guard, kube-apiserver, …).
func (r *record) irrelevant(category string) bool {
	if slices.Contains(quiet, category) {
		return true
	}
	return strings.EqualFold(string(r.Operation), "Microsoft.ContainerService/managedClusters/diagnosticLogs/Read")
}

// activity fills a call from an activity log or resource log record.
func (r *record) activity(e *event.Event) {
	c := &e.Cloud
	c.Action = string(r.Operation)
	c.Service = serviceOf(c.Action, r.ResourceID)
	c.Region = string(r.Location)
	c.Account = cmp.Or(r.Subscription, segment(r.ResourceID, "subscriptions"))
	c.RequestID = cmp.Or(r.OperationID, r.Correlation)
	c.Error, c.Message = r.failure()
	c.ReadOnly = strings.HasSuffix(strings.ToLower(c.Action), "/read")
	c.ManagementEvent = r.Category == "" || strings.EqualFold(string(r.Category), "Administrative")
	c.Resources = normalize.AppendNew(c.Resources, r.ResourceID)
	r.caller(e)
	r.properties(c)
}

// properties lists request and response. The bodies stand as JSON text inside
// the properties; they are taken apart too.
func (r *record) properties(c *event.CloudCall) {
	var bodies struct {
		Request  json.RawMessage `json:"requestbody"`
		Response json.RawMessage `json:"responseBody"`
	}
	normalize.Part(r.Properties, &bodies)
	c.Params = normalize.Leaves(c.Params, "requestbody", normalize.Object(bodies.Request))
	c.Results = normalize.Leaves(c.Results, "responseBody", normalize.Object(bodies.Response))
	for _, leaf := range normalize.Leaves(nil, "", r.Properties) {
		key, _, _ := strings.Cut(leaf, "=")
		if !strings.EqualFold(key, "requestbody") && !strings.EqualFold(key, "responseBody") {
			c.Params = append(c.Params, leaf)
		}
	}
}

// succeeded are the results that are no error; a long operation is recorded
// when it starts and again when it ends.
var succeeded = []string{"", "success", "succeeded", "start", "started", "begin", "accept", "accepted", "in progress", "inprogress", "active", "0", "ok", "created", "updated", "resolved"}

// failure returns the error code and message, "" for success.
func (r *record) failure() (code, message string) {
	result := cmp.Or(string(r.ResultType), string(r.Status))
	if slices.Contains(succeeded, strings.ToLower(result)) {
		// Key Vault and others write Success and an HTTP code that is none;
		// Entra audit logs say it in the properties only.
		var p struct {
			HTTP   normalize.Text `json:"httpStatusCode"`
			Result normalize.Text `json:"result"`
			Reason normalize.Text `json:"resultReason"`
		}
		normalize.Part(r.Properties, &p)
		if strings.EqualFold(string(p.Result), "failure") {
			return "failure", normalize.Cut(string(p.Reason))
		}
		if n := cmp.Or(string(p.HTTP), string(r.ResultSign)); len(n) == 3 && (n[0] == '4' || n[0] == '5') {
			return cmp.Or(string(r.ResultSign), n), normalize.Cut(string(r.ResultText))
		}
		return "", ""
	}
	_, detail, _ := strings.Cut(string(r.ResultSign), ".") // "Failed.Forbidden"
	return cmp.Or(detail, string(r.SubStatus), result), normalize.Cut(string(r.ResultText))
}

// serviceOf returns the resource provider in lower case.
func serviceOf(operation, resource string) string {
	if provider, _, ok := strings.Cut(operation, "/"); ok && strings.Contains(provider, ".") {
		return strings.ToLower(provider)
	}
	return strings.ToLower(segment(resource, "providers"))
}

// segment returns what follows name in a resource id, without regard to case.
func segment(id, name string) string {
	parts := strings.Split(id, "/")
	for i := len(parts) - 2; i >= 0; i-- {
		if strings.EqualFold(parts[i], name) {
			return parts[i+1]
		}
	}
	return ""
}

// clusterOf returns the AKS or Arc cluster in a resource id. Azure compares
// resource ids without regard to case and writes them in several.
func clusterOf(id string) string {
	return strings.ToLower(cmp.Or(segment(id, "managedClusters"), segment(id, "connectedClusters")))
}

// id hashes Azure's own identifiers of the record together with what happened.
func (d *Decoder) id(r *record, e *event.Event) event.ID {
	d.hash.Reset()
	for _, s := range []string{
		"azure", r.EventDataID, r.Correlation, r.OperationID, string(r.Operation), string(r.Category), string(r.ResultType), string(r.ResultSign),
		string(r.Status), strings.ToLower(r.ResourceID), e.Actor.Name, e.Actor.UID, e.Actor.IP, e.Cloud.RequestID,
	} {
		d.hash.Str(s)
	}
	d.hash.Int(e.Time)
	return d.hash.Sum()
}
