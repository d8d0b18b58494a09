package cluster

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	os.Exit(Inside(func() error { return Build(context.Background()) }, m.Run))
}

// soon is how long an alert may take after the last act of an attack. It is a bound
// for a busy machine; the benchmark measures.
const soon = 15 * time.Second

// world is a cluster whose audit events go to a clew.
type world struct {
	*Cluster
	clew *Clew
}

func newWorld(t testing.TB, batch bool) world {
	t.Helper()
	began := time.Now()
	clew, err := StartClew(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(clew.Stop)
	hook, err := clew.Webhook(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hook.Batch = batch
	ready := time.Now()
	c, err := Start(t.Context(), t.TempDir(), hook)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	if err := c.Found(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("clew is up after %v, the cluster %v later", ready.Sub(began).Round(time.Millisecond), time.Since(ready).Round(time.Millisecond))
	return world{c, clew}
}

func (w world) play(t testing.TB, s Script) {
	t.Helper()
	if err := s.Play(t.Context(), w.Cluster, nil, func(Step, time.Time) {}); err != nil {
		t.Fatal(err)
	}
}

func TestAttacksAlert(t *testing.T) {
	w := newWorld(t, false)
	for _, s := range Attacks() {
		t.Run(s.Name, func(t *testing.T) {
			w.play(t, s)
			done := time.Now()
			found := w.alert(t, s.Suspect)
			t.Logf("%v after the last act: %v", time.Since(done).Round(time.Millisecond), found)
		})
	}
	w.checkNothingLost(t)
}

// alert waits for an alert of which the suspect is an actor.
func (w world) alert(t *testing.T, suspect string) *Trace {
	t.Helper()
	for end := time.Now().Add(soon); ; time.Sleep(50 * time.Millisecond) {
		traces, err := w.clew.Traces(t.Context(), true)
		if err != nil {
			t.Fatal(err)
		}
		if i := slices.IndexFunc(traces, func(tr Trace) bool { return tr.Has(suspect) }); i >= 0 {
			return &traces[i]
		}
		if time.Now().After(end) {
			all, err := w.clew.Traces(t.Context(), false)
			t.Fatalf("no alert on %s within %v (%v):\n%s", suspect, soon, err, describe(all))
		}
	}
}

func TestBenignIsQuiet(t *testing.T) {
	w := newWorld(t, false)
	for _, s := range Benign() {
		w.play(t, s)
	}
	w.checkNothingLost(t)
	traces, err := w.clew.Traces(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	// There is something to be quiet about: the twins do raise flags.
	if len(traces) == 0 {
		t.Error("no trace at all: did the events arrive?")
	}
	for i := range traces {
		if traces[i].Alert {
			t.Errorf("an alert on ordinary work: %v", &traces[i])
		}
	}
	t.Logf("%d traces without alert:\n%s", len(traces), describe(traces))
}

// checkNothingLost waits for a moment in which clew has accepted and worked all the
// events that the API server says it made.
func (w world) checkNothingLost(t testing.TB) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		sent, failed := w.sent(t)
		p, err := w.clew.Progress(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if failed > 0 || time.Now().After(end) {
			t.Fatalf("the API server made %d audit events and could not send %d; clew accepted %d and worked %d; its problems: %q",
				sent, failed, p.Accepted, p.Worked, p.Problems)
		}
		if p.Accepted == sent && p.Worked >= sent {
			t.Logf("%d audit events made, accepted and worked", sent)
			return
		}
	}
}

// sent reads from the API server's metrics how many audit events it made and how many
// it could not send.
func (w world) sent(t testing.TB) (events, errors uint64) {
	t.Helper()
	text, err := w.metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		name, _, _ = strings.Cut(name, "{")
		n, _ := strconv.ParseFloat(value[strings.LastIndex(value, " ")+1:], 64)
		switch name {
		case "apiserver_audit_event_total":
			events += uint64(n)
		case "apiserver_audit_error_total":
			errors += uint64(n)
		}
	}
	return events, errors
}

func describe(traces []Trace) string {
	var b strings.Builder
	for i := range traces {
		fmt.Fprintln(&b, &traces[i])
	}
	return b.String()
}
