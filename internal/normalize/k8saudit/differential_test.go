package k8saudit

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/clew-sec/clew/internal/event"
)

var looseCompare = cmp.Options{
	cmpopts.EquateEmpty(),
	cmpopts.SortSlices(func(a, b string) bool { return a < b }),
	cmpopts.SortSlices(func(a, b event.Container) bool { return a.Class < b.Class }),
}

func TestDecodeAgreesWithEncodingJSON(t *testing.T) {
	d := new(Decoder) // one for all, so that nothing may leak from event to event
	e := newEvent()
	for i, raw := range allRecords(t) {
		t.Run("", func(t *testing.T) {
			var o oracleEvent
			mustUnmarshal(t, raw, &o)
			e.Reset()
			if err := d.Decode(raw, e); err != nil {
				t.Fatalf("record %d: %v", i, err)
			}
			compareEvent(t, &o, e)
		})
	}
}

func compareEvent(t *testing.T, o *oracleEvent, e *event.Event) {
	t.Helper()
	want := o.request()
	got := e.K8s
	mutates := got.Mutates()
	if mutates {
		want.Object = o.bodyOf(t, o.RequestObject, requestReads(&want))
		want.Response = o.bodyOf(t, o.ResponseObject, responseReads(&want))
	} else {
		want.Object.Replicas, want.Response.Replicas = -1, -1
	}
	// Checked by tests of their own.
	ignore := cmpopts.IgnoreFields(event.Request{}, "Stage", "Level", "Name", "UID", "ProxyPath", "MutatedBy", "MutationPatch", "FailedOpen")
	if diff := cmp.Diff(want, got, looseCompare, ignore); diff != "" {
		t.Errorf("%s %s (-encoding/json +decoder):\n%s", o.Verb, o.RequestURI, diff)
	}
	if got.Stage.String() != o.Stage || got.Level.String() != o.Level {
		t.Errorf("stage, level = %v, %v, want %v, %v", got.Stage, got.Level, o.Stage, o.Level)
	}
	if e.Time != o.StageTimestamp.UnixNano() || e.Received != o.RequestReceivedTimestamp.UnixNano() {
		t.Errorf("times = %d, %d, want %v, %v", e.Time, e.Received, o.StageTimestamp, o.RequestReceivedTimestamp)
	}
	a, extra := e.Actor, func(k string) string { return strings.Join(o.User.Extra["authentication.kubernetes.io/"+k], ",") }
	gotActor := []string{a.Name, a.UID, a.PodName, a.PodUID, a.NodeUID, a.Agent, a.IP}
	wantActor := []string{o.User.Username, o.User.UID, extra("pod-name"), extra("pod-uid"), extra("node-uid"), o.UserAgent, o.SourceIPs[len(o.SourceIPs)-1]}
	if diff := cmp.Diff(wantActor, gotActor); diff != "" {
		t.Errorf("actor (-encoding/json +decoder):\n%s", diff)
	}
	if diff := cmp.Diff(o.User.Groups, a.Groups, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("groups (-encoding/json +decoder):\n%s", diff)
	}
	if o.ImpersonatedUser != nil {
		if diff := cmp.Diff(*o.ImpersonatedUser, oracleUser{Username: a.Impersonated, UID: a.ImpersonatedUID, Groups: a.ImpersonatedGroups},
			cmpopts.EquateEmpty(), cmpopts.IgnoreFields(oracleUser{}, "Extra")); diff != "" {
			t.Errorf("impersonated (-encoding/json +decoder):\n%s", diff)
		}
	}
}
