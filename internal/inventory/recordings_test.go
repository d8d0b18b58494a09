package inventory

import (
	"bytes"
	stdcmp "cmp"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/normalize/k8saudit"
)

const recordings = "../../test/recordings/real"

// recorded decodes recorded files in the order of event time, as the engine does.
func recorded(t testing.TB, files ...string) []*event.Event {
	t.Helper()
	var out []*event.Event
	var h event.Hasher
	for _, f := range files {
		for line := range bytes.SplitSeq(bytes.TrimSpace(unzipped(t, f)), []byte("\n")) {
			e := &event.Event{}
			e.Reset()
			d := &k8saudit.Decoder{}
			if err := d.Decode(line, e); err != nil {
				t.Fatalf("%s: %v", f, err)
			}
			h.Reset()
			h.Str(e.Actor.Name)
			h.Str(e.Actor.Credential)
			e.Session = h.Sum()
			out = append(out, e)
		}
	}
	slices.SortStableFunc(out, func(a, b *event.Event) int { return stdcmp.Compare(a.Time, b.Time) })
	return out
}

func unzipped(t testing.TB, file string) []byte {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return raw
}

func all(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob(recordings + "/benign/*.jsonl.gz")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	return append(files, recordings+"/cluster-1.36.jsonl.gz")
}

// TestSnapshotAtEveryEvent restores a snapshot before each event into another
// inventory and expects the same facts of it from then on.
func TestSnapshotAtEveryEvent(t *testing.T) {
	events := recorded(t, recordings+"/cluster-1.36.jsonl.gz")
	want := make([]event.Facts, len(events))
	whole := New(Config{})
	for i, e := range events {
		clearFacts(e)
		whole.Observe(e)
		want[i] = copyFacts(&e.Facts)
	}
	var snap bytes.Buffer
	inv := New(Config{})
	for i, e := range events {
		snap.Reset()
		if err := inv.Snapshot(&snap); err != nil {
			t.Fatal(err)
		}
		inv = New(Config{})
		if err := inv.Restore(&snap); err != nil {
			t.Fatal(err)
		}
		clearFacts(e)
		inv.Observe(e)
		if diff := cmp.Diff(want[i], copyFacts(&e.Facts), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("event %d (%s %s by %s): %s", i, e.K8s.Verb, e.K8s.URI, e.Actor.Name, diff)
		}
	}
	if diff := cmp.Diff(whole.Stats().Tables, inv.Stats().Tables); diff != "" {
		t.Error(diff)
	}
}

func copyFacts(f *event.Facts) event.Facts {
	c := *f
	for _, s := range []*[]string{&c.Target.HostPaths, &c.Change.ImagesAdded, &c.Change.ContainersAdded, &c.Change.Injected,
		&c.Change.InjectedBy, &c.Grants.Powers, &c.Grants.NewPowers} {
		*s = slices.Clone(*s)
	}
	return c
}

// TestOrdinaryWorkIsOrdinary is the benign side: nothing on a real cluster at
// work looks stolen, forged or injected.
func TestOrdinaryWorkIsOrdinary(t *testing.T) {
	for _, file := range all(t) {
		if filepath.Base(filepath.Dir(file)) != "benign" {
			continue
		}
		inv := New(Config{})
		for _, e := range recorded(t, file) {
			inv.Observe(e)
			a, tg, c := &e.Facts.Actor, &e.Facts.Target, &e.Facts.Change
			genuine := dutyOf(&e.Actor) == noDuty || a.System
			if !genuine || a.PodMismatch || a.NodeMismatch || a.NewNetwork || a.Concurrent || tg.ForgedOwner || tg.Mimics != "" || c.Unattributed || len(c.Injected) > 0 {
				t.Errorf("%s: %s %s by %s from %s: %+v %+v %+v", filepath.Base(file), e.K8s.Verb, e.K8s.URI, e.Actor.Name, e.Actor.IP, *a, *tg, *c)
			}
		}
	}
}

// TestRecordedGrants names the requests of the recorded session that new bindings
// were needed for, as their authorization reasons confirm.
func TestRecordedGrants(t *testing.T) {
	inv := New(Config{})
	needed := map[string]int{}
	for _, e := range recorded(t, recordings+"/cluster-1.36.jsonl.gz") {
		inv.Observe(e)
		if g, ok := inv.NeededGrant(e); ok {
			needed[g.String()+" by "+g.Origin.User]++
			if !g.Credited {
				t.Errorf("%s %s by %s: %v was not credited", e.K8s.Verb, e.K8s.URI, e.Actor.Name, g)
			}
		}
	}
	want := map[string]int{
		"RoleBinding/web by kubernetes-admin": 5, "RoleBinding/dev-edit by kubernetes-admin": 6, "ClusterRoleBinding/all by kubernetes-admin": 2,
	}
	if diff := cmp.Diff(want, needed); diff != "" {
		t.Error(diff)
	}
}
