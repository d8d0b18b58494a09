package azureactivity_test

import (
	"encoding/json"
	"testing"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/normalize/azureactivity"
	"github.com/clew-sec/clew/internal/normalize/normalizetest"
)

// audits reads a few members of an audit event.
type audits struct{}

func (audits) Decode(raw []byte, e *event.Event) error {
	var a struct {
		AuditID, Verb, RequestURI string
		User                      struct{ Username string }
		ObjectRef                 struct{ Resource string }
		SourceIPs                 []string
	}
	if err := json.Unmarshal(raw, &a); err != nil {
		return err
	}
	e.Kind, e.Source, e.Time = event.KindAPIRequest, event.SourceK8sAudit, 1
	e.K8s.AuditID, e.K8s.Verb, e.K8s.URI, e.Actor.Name = a.AuditID, a.Verb, a.RequestURI, a.User.Username
	e.K8s.Resource, e.Actor.ForgedIPs = a.ObjectRef.Resource, a.SourceIPs
	e.ID[0] = 1
	return nil
}

func TestDecodeGolden(t *testing.T) {
	normalizetest.Golden(t, azureactivity.New(audits{}).Decode)
}

func FuzzDecode(f *testing.F) {
	normalizetest.Seeds(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var e event.Event
		e.Reset()
		if azureactivity.New(audits{}).Decode(raw, &e) != nil {
			return
		}
		if e.Kind == event.KindUnknown || e.Time == 0 || e.ID == (event.ID{}) {
			t.Errorf("decoded without error, but kind %d, time %d, id %s", e.Kind, e.Time, e.ID)
		}
	})
}
