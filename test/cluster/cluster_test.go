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
			t.Logf("score %.1f %v after the last act, in its flags: %s", found.Score, time.Since(done).Round(time.Millisecond), strings.Join(found.rules(), " "))
			for _, other := range Attacks() {
				if other.Name != s.Name && found.Has("ops-"+other.Name) {
					t.Errorf("the attack %s is in the same trace", other.Name)
				}
			}
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

// rules are those of the flags.
func (t *Trace) rules() []string {
	var out []string
	for i := range t.Flags {
		out = append(out, t.Flags[i].Rule)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func describe(traces []Trace) string {
	var b strings.Builder
	for i := range traces {
		fmt.Fprintln(&b, &traces[i])
	}
	return b.String()
}

// BenchmarkStageToTrace takes from the time that the API server writes into an audit
// event to the moment the API shows a trace with its flag, posts in blocking mode. The
// act is one that is flagged on its own: a pod that is privileged.
func BenchmarkStageToTrace(b *testing.B) {
	w := newWorld(b, false)
	st := &Stage{Cluster: w.Cluster, ctx: b.Context(), keep: map[string]string{}, known: map[string]who{}}
	ops := st.person("ops-bench", "platform-admins").from(opsDesk, kubectl)
	ops.create(namespace("bench"))
	var took []time.Duration
	for b.Loop() {
		user := fmt.Sprintf("bench-%d", len(took))
		name := fmt.Sprintf("shown-%d", len(took))
		ops.create(binding("bench", name, "edit", "User/"+user))
		h := st.person(user).from(office, kubectl)
		h.retry(func() { h.get("/api/v1/namespaces/bench/pods") })
		h.create(privilegedPod("bench", name))
		took = append(took, w.shown(b, user))
		if st.err != nil {
			b.Fatal(st.err)
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Milliseconds()), "p99-ms")
	w.checkNothingLost(b)
}

func privilegedPod(namespace, name string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: %s}\nspec: {containers: [{name: main, image: \"registry.example.com/a:1\", securityContext: {privileged: true}}]}", name, namespace)
}

// shown waits for the flag of user on a pod and returns how long it took from the
// event's own time.
func (w world) shown(b *testing.B, user string) time.Duration {
	b.Helper()
	for {
		traces, err := w.clew.Search(b.Context(), user)
		if err != nil {
			b.Fatal(err)
		}
		for i := range traces {
			for _, f := range traces[i].Flags {
				if f.Event.User == user && strings.HasPrefix(f.Rule, "k8s-privileged-pod") {
					return time.Since(f.First)
				}
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// BenchmarkRate has 16 clients read as fast as they can, posts in batches, and
// counts what arrives.
func BenchmarkRate(b *testing.B) {
	w := newWorld(b, true)
	st := &Stage{Cluster: w.Cluster, ctx: b.Context()}
	b.SetParallelism(8)
	hands := make(chan *hand, 64)
	for i := range cap(hands) {
		hands <- st.person(fmt.Sprintf("reader-%d", i), "platform-admins").from(office, kubectl)
	}
	b.RunParallel(func(pb *testing.PB) {
		h := <-hands
		for pb.Next() {
			if err := h.k.CoreV1().RESTClient().Get().AbsPath("/api/v1/namespaces/default/pods").Do(b.Context()).Error(); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	w.checkNothingLost(b)
}
