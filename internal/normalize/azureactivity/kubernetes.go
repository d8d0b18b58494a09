package azureactivity

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/normalize"
)

// kubernetes decodes the audit event that an AKS record wraps: as text or
// object in properties.log, in the column log_s, or spread over the columns of
// an AKSAudit row.
func (d *Decoder) kubernetes(raw []byte, r *record, e *event.Event) error {
	if d.audit == nil {
		return normalize.ErrIrrelevant
	}
	var props struct {
		Log json.RawMessage `json:"log"`
	}
	normalize.Part(r.Properties, &props)
	inner := normalize.Object(props.Log)
	if inner == nil {
		inner = normalize.Object(r.LogText)
	}
	if inner == nil {
		var err error
		if inner, err = eventOfRow(raw); err != nil {
			return err
		}
	}
	if err := d.audit.Decode(inner, e); err != nil {
		return fmt.Errorf("decoding audit event inside AKS record: %w", err)
	}
	e.Source = event.SourceK8sAudit
	e.Cluster = clusterOf(r.ResourceID)
	return nil
}

// eventOfRow puts the columns of an AKSAudit row back together.
func eventOfRow(raw []byte) (json.RawMessage, error) {
	var row auditRow
	if err := normalize.Unmarshal(raw, &row); err != nil {
		return nil, fmt.Errorf("decoding AKSAudit row: %w", err)
	}
	if row.AuditID == "" || row.Verb == "" {
		return nil, errors.New("decoding AKS audit record: it holds no audit event")
	}
	out, err := json.Marshal(auditEvent{
		Kind: "Event", APIVersion: "audit.k8s.io/v1", Level: row.Level, AuditID: row.AuditID, Stage: row.Stage, URI: row.URI, Verb: row.Verb,
		User: normalize.Object(row.User), As: normalize.Object(row.As), SourceIPs: normalize.Object(row.SourceIPs), Agent: row.Agent,
		Object: normalize.Object(row.Object), Status: normalize.Object(row.Status), Request: normalize.Object(row.Request),
		Response: normalize.Object(row.Response), Received: row.Received, StageTime: row.StageTime, Annotations: normalize.Object(row.Annotations),
	})
	if err != nil {
		return nil, fmt.Errorf("writing audit event of AKSAudit row: %w", err)
	}
	return out, nil
}
