// Package gcpaudit turns Google Cloud audit log entries into events. Entries
// that GKE writes for requests to a cluster's API server become Kubernetes API
// requests, all others cloud calls.
package gcpaudit

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/normalize"
)

// BodyDecoder reads the Kubernetes objects inside GKE entries.
type BodyDecoder interface {
	// DecodeBody reads one Kubernetes object or JSON patch into b, whose
	// strings may alias raw.
	DecodeBody(raw []byte, b *event.Body) error
}

// Decoder decodes log entries. It is not safe for concurrent use.
type Decoder struct {
	bodies BodyDecoder
	hash   event.Hasher
}

// New returns a Decoder that reads Kubernetes objects with bodies; nil leaves
// them unread.
func New(bodies BodyDecoder) *Decoder { return &Decoder{bodies: bodies} }

const auditType = "type.googleapis.com/google.cloud.audit.AuditLog"

// Decode reads one LogEntry into e, which the caller has Reset. Entries that
// are not audit entries give normalize.ErrIrrelevant.
func (d *Decoder) Decode(raw []byte, e *event.Event) error {
	var r entry
	if err := normalize.Unmarshal(raw, &r); err != nil {
		return fmt.Errorf("decoding Google Cloud log entry: %w", err)
	}
	p := r.Payload
	if p == nil || p.Type != "" && p.Type != auditType || p.Type == "" && p.Method == "" {
		return normalize.ErrIrrelevant
	}
	if p.Method == "" {
		return errors.New("decoding Google Cloud audit entry: it has no methodName")
	}
	e.Time = normalize.Time(r.Timestamp)
	if e.Time == 0 {
		return fmt.Errorf("decoding Google Cloud audit entry %q: timestamp %.40q is no time", r.InsertID, r.Timestamp)
	}
	e.Received = e.Time
	e.Source = event.SourceGCPAudit
	e.Cluster = r.Resource.Labels.Cluster
	r.actor(&e.Actor)
	e.ID = d.id(&r)
	if p.Service == "k8s.io" || strings.HasPrefix(p.Method, "io.k8s.") {
		e.Kind = event.KindAPIRequest
		d.kubernetes(&r, e)
		return nil
	}
	e.Kind = event.KindCloudCall
	r.call(&e.Cloud)
	return nil
}

// call fills what was done, to what and with which result.
func (r *entry) call(c *event.CloudCall) {
	p := r.Payload
	c.Provider, c.Service, c.Action = "gcp", p.Service, p.Method
	c.Account = r.project()
	c.Region = cmp.Or(r.Resource.Labels.Location, r.Resource.Labels.Zone, r.Resource.Labels.Region)
	if c.Region == "" && len(p.Location.Current) > 0 {
		c.Region = p.Location.Current[0]
	}
	c.RequestID = cmp.Or(r.Operation.ID, r.InsertID)
	if p.Status.Code != 0 {
		c.Error, c.Message = codeName(p.Status.Code), normalize.Cut(p.Status.Message)
	}
	c.ReadOnly = p.readOnly()
	c.ManagementEvent = strings.HasSuffix(r.LogName, "activity") || strings.HasSuffix(r.LogName, "system_event")
	c.Resources = normalize.AppendNew(c.Resources, p.Resource)
	for _, g := range p.Granted {
		c.Resources = normalize.AppendNew(c.Resources, g.Resource)
	}
	r.params(c)
	r.identity(c)
}

// params lists the request and response; what a SetIamPolicy changed comes
// first, so that no bound cuts it off.
func (r *entry) params(c *event.CloudCall) {
	p := r.Payload
	for _, raw := range []json.RawMessage{p.ServiceData, p.Details} {
		var change policyChange
		normalize.Part(raw, &change)
		for _, b := range change.Delta.Bindings {
			c.Params = normalize.AppendNew(c.Params, normalize.Cut("bindingDeltas[]="+b.Action+" "+b.Role+" "+b.Member))
		}
	}
	for _, g := range p.Granted {
		if g.Permission != "" {
			c.Params = normalize.AppendNew(c.Params, normalize.Cut("permissions[]="+g.Permission))
		}
	}
	c.Params = normalize.Leaves(c.Params, "", p.Request)
	c.Params = normalize.Leaves(c.Params, "metadata", p.Details)
	c.Params = normalize.Leaves(c.Params, "serviceData", p.ServiceData)
	c.Results = normalize.Leaves(c.Results, "", p.Response)
}

// readOnly reports whether the call is a read: by the type of the permission
// it needed where the entry says so, else by the method's name.
func (p *auditLog) readOnly() bool {
	typed := false
	for _, g := range p.Granted {
		switch {
		case strings.HasSuffix(g.Type, "_WRITE"):
			return false
		case strings.HasSuffix(g.Type, "_READ"):
			typed = true
		}
	}
	if typed {
		return true
	}
	verb := strings.ToLower(p.Method[strings.LastIndexByte(p.Method, '.')+1:])
	for _, read := range []string{"get", "list", "search", "test", "query", "aggregatedlist", "lookup", "batchget"} {
		if strings.HasPrefix(verb, read) {
			return true
		}
	}
	return false
}

func (r *entry) project() string {
	if p := r.Resource.Labels.Project; p != "" {
		return p
	}
	parts := strings.Split(r.LogName, "/")
	if len(parts) > 1 {
		return parts[1] // projects/<id>/logs/…, also folders, organizations
	}
	return ""
}

// id hashes Google's own identifier of the entry together with what happened.
func (d *Decoder) id(r *entry) event.ID {
	p := r.Payload
	d.hash.Reset()
	for _, s := range []string{
		"gcp-audit", r.InsertID, r.Timestamp, r.LogName, p.Service, p.Method, p.Resource,
		p.Auth.Email, p.Auth.Subject, p.Metadata.CallerIP, string(r.Operation.First), string(r.Operation.Last),
	} {
		d.hash.Str(s)
	}
	d.hash.Int(int64(p.Status.Code))
	return d.hash.Sum()
}

// codeNames are the names of google.rpc.Code, by number.
var codeNames = [...]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
	"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
	"UNAUTHENTICATED",
}

// codeName returns the name of a google.rpc.Code. Some services write HTTP
// codes instead; those stay numbers.
func codeName(n int) string {
	if n > 0 && n < len(codeNames) {
		return codeNames[n]
	}
	return fmt.Sprint(n)
}
