package api_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
	"github.com/clew-sec/clew/internal/engine"
	"github.com/clew-sec/clew/internal/server/api"
	"github.com/clew-sec/clew/internal/store/state"
)

// TestExportPastRetention: the evidence of an alert outlives the worker's memory and
// the history, and is removed with the trace.
func TestExportPastRetention(t *testing.T) {
	w := newWorld(t, leaked)
	one := w.firstTrace(t)
	w.history.events = []*clewv1.Event{{Id: one.GetFlags()[0].GetEvent().GetId(), Raw: []byte(`{"n":1}`), Time: timestamppb.New(now)}}
	stray, gone := strings.Repeat("7", 32), strings.Repeat("8", 32)
	if err := w.evidence.Save(t.Context(), gone, []byte("of a trace that went while the server was down")); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	kept := make(chan error, 1)
	go func() { kept <- api.KeepEvidence(ctx, w.config) }()
	within(t, func() bool { b, _ := w.evidence.Load(ctx, one.GetId()); return b != nil })
	stop()
	if err := <-kept; err != nil {
		t.Fatal(err)
	}
	w.engine = engine.New(engine.Config{}, compiled(t), nil)
	w.history.events = nil
	a := w.export(t, one.GetId())
	again, err := a.Restore()
	if err != nil || again.Score != a.Manifest.Score || a.Manifest.Score.Float() != one.GetScore() {
		t.Errorf("score %v, exported %v, was %v (%v)", again.Score, a.Manifest.Score, one.GetScore(), err)
	}
	if len(a.Records) != 1 || string(a.Records[0]) != `{"n":1}` {
		t.Errorf("records %q", a.Records)
	}
	ctx, stop = context.WithCancel(t.Context())
	defer stop()
	go func() { kept <- api.KeepEvidence(ctx, w.config) }() // a restart: what is saved stays
	if err := w.state.Put(t.Context(), []state.Found{{Trace: &clewv1.Trace{Id: stray, Alert: true, MergedFrom: []string{one.GetId()}}}}, nil); err != nil {
		t.Fatal(err)
	}
	within(t, func() bool { b, _ := w.evidence.Load(ctx, one.GetId()); return b == nil })
	within(t, func() bool { b, _ := w.evidence.Load(ctx, gone); return b == nil })
	stop()
	if err := <-kept; err != nil {
		t.Error(err)
	}
}

// within waits until ok, 30 seconds at most.
func within(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not happen")
		}
	}
}
