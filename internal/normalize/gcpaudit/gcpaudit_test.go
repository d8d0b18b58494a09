package gcpaudit_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/normalize/gcpaudit"
	"github.com/clew-sec/clew/internal/normalize/normalizetest"
)

// bodies reads kind and name only.
type bodies struct{}

func (bodies) DecodeBody(raw []byte, b *event.Body) error {
	var o struct {
		Kind     string
		Metadata struct{ Name, GenerateName string }
	}
	if err := json.Unmarshal(raw, &o); err != nil {
		return err
	}
	b.Present, b.Kind, b.Name, b.GenerateName = true, o.Kind, o.Metadata.Name, o.Metadata.GenerateName
	return nil
}

type broken struct{}

func (broken) DecodeBody([]byte, *event.Body) error { return errors.New("unreadable") }

func TestDecodeGolden(t *testing.T) {
	normalizetest.Golden(t, gcpaudit.New(bodies{}).Decode)
}

func TestDecodeMarksUnreadableBody(t *testing.T) {
	const raw = `{"protoPayload":{"methodName":"io.k8s.core.v1.pods.create","resourceName":"core/v1/namespaces/a/pods/b","request":{"x":1}},"timestamp":"2026-03-01T10:00:00Z"}`
	var e event.Event
	if err := gcpaudit.New(broken{}).Decode([]byte(raw), &e); err != nil {
		t.Fatal(err)
	}
	if !e.K8s.Object.Skipped || e.K8s.Name != "b" {
		t.Errorf("object skipped = %t, name = %q, want true and b", e.K8s.Object.Skipped, e.K8s.Name)
	}
}

func FuzzDecode(f *testing.F) {
	normalizetest.Seeds(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var e event.Event
		e.Reset()
		if gcpaudit.New(bodies{}).Decode(raw, &e) != nil {
			return
		}
		if e.Kind == event.KindUnknown || e.Time == 0 || e.ID == (event.ID{}) {
			t.Errorf("decoded without error, but kind %d, time %d, id %s", e.Kind, e.Time, e.ID)
		}
	})
}
