package graph_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/graph"
	"github.com/clew-sec/clew/internal/inventory"
	"github.com/clew-sec/clew/internal/pipeline"
	"github.com/clew-sec/clew/internal/rule"
	"github.com/clew-sec/clew/internal/rule/ruletest"
	"github.com/clew-sec/clew/internal/source/file"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the second half of the scripts from what the code does now")

// TestLinks runs the scripts in testdata/links. A script is records, one a line:
// the offset from its beginning, the format, and the partial record as in the
// tests of rules. "forbid" lines name types of links that must not occur. Behind
// the line of dashes stands what came of each record: its unit, the links it
// proved and the lineage facts it got. Units are letters in order of appearance.
func TestLinks(t *testing.T) {
	paths, err := filepath.Glob("testdata/links/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			script, want, _ := strings.Cut(string(text), "----\n")
			got := runScript(t, script)
			if *rewrite {
				if err := os.WriteFile(path, []byte(script+"----\n"+got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// story runs a script.
type story struct {
	inv     *inventory.Inventory
	graph   *graph.Graph
	decoder *pipeline.Decoder
	units   map[event.ID]string
	out     strings.Builder
}

func runScript(t *testing.T, script string) string {
	t.Helper()
	inv := inventory.New(inventory.Config{})
	s := &story{inv: inv, graph: graph.New(graph.Config{}, inv), decoder: pipeline.NewDecoder(), units: map[event.ID]string{}}
	var forbidden []string
	n := 0
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if types, ok := strings.CutPrefix(line, "forbid "); ok {
			forbidden = append(forbidden, strings.Fields(types)...)
			continue
		}
		s.event(t, line, n)
		n++
	}
	for _, typ := range forbidden {
		if strings.Contains(s.out.String(), " by "+typ+" (") {
			t.Errorf("a link of the forbidden type %s", typ)
		}
	}
	return s.out.String()
}

func (s *story) event(t *testing.T, line string, n int) {
	t.Helper()
	at, rest, _ := strings.Cut(line, " ")
	format, partial, _ := strings.Cut(rest, " ")
	offset, err := time.ParseDuration(at)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	record, err := yaml.YAMLToJSON([]byte(partial))
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	whole, err := ruletest.Expand(rule.TestEvent{Format: rule.Format(format), At: offset, Record: record}, n)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	formats := map[string]file.Format{"audit": file.K8sAudit, "cloudtrail": file.CloudTrail, "gcp": file.GCPAudit, "azure": file.AzureRecord}
	e := &event.Event{}
	e.Reset()
	if err := s.decoder.Decode(file.Record{Raw: whole.Raw, Format: formats[format]}, e); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	s.graph.Identify(e)
	s.inv.Observe(e)
	step := s.graph.Observe(e)
	s.write(at, e, step)
	s.named(t, e, step.Unit)
}

// named holds what an event names itself against what the graph made of it: whoever
// has an entity of the graph finds its events by it, and the other way round.
func (s *story) named(t *testing.T, e *event.Event, unit event.ID) {
	t.Helper()
	var h event.Hasher
	ids := graph.AppendNamed(nil, &h, e)
	span, ok := s.graph.Session(e.Session)
	if !ok || !slices.Contains(ids, span.Actor) || e.Time < span.First || e.Time > span.Last {
		t.Errorf("event of %s at %d: session %v, %v is not among %v", e.Actor.Name, e.Time, span, ok, ids)
	}
	if back, ok := s.graph.Thing(span.Actor); !ok || back.ID != e.Session {
		t.Errorf("actor of %s leads to %v, want session %v", e.Actor.Name, back, e.Session)
	}
	own := unit == e.Session || e.Facts.Actor.System || e.Facts.Actor.Controller || e.Actor.Kind == event.ActorNode
	if !own && e.Actor.PodName != "" && !slices.Contains(ids, unit) {
		t.Errorf("pod %s of %s is not among %v", unit, e.Actor.Name, ids)
	}
}

func (s *story) write(at string, e *event.Event, step graph.Step) {
	what := e.K8s.Verb + " " + e.K8s.Resource
	if e.K8s.Subresource != "" {
		what += "/" + e.K8s.Subresource
	}
	if e.Kind == event.KindCloudCall {
		what = e.Cloud.Action
	}
	who := e.Actor.Name
	if who == "" {
		who = "nobody"
	}
	fmt.Fprintf(&s.out, "%s %s: %s %s\n", at, s.unit(step.Unit), who, what)
	s.links("", step.Links)
	s.links("until it acts: ", s.graph.Awaited(e.Time))
	if facts := lineage(&e.Facts); facts != "" {
		fmt.Fprintf(&s.out, "\t%s\n", facts)
	}
}

func (s *story) links(when string, links []graph.Link) {
	for _, l := range links {
		of := ""
		if l.Candidates > 1 {
			of = fmt.Sprintf(" of %d", l.Candidates)
		}
		fmt.Fprintf(&s.out, "\t%s%s → %s by %s (%s%s, %.2f): %s\n", when, s.unit(l.From), s.unit(l.To), l.Type, l.Grade, of, l.Strength, l.Label)
	}
}

func (s *story) unit(id event.ID) string {
	name, ok := s.units[id]
	if !ok {
		name = string(rune('A' + len(s.units)))
		s.units[id] = name
	}
	return name
}

// lineage lists the facts that graph and inventory derive from causes.
func lineage(f *event.Facts) string {
	a, c := &f.Actor, &f.Change
	var out []string
	text := func(name, v string) {
		if v != "" {
			out = append(out, name+"="+v)
		}
	}
	flag := func(name string, v bool) {
		if v {
			out = append(out, name)
		}
	}
	flag("system", a.System)
	flag("suspect", a.Suspect)
	flag("newNetwork", a.NewNetwork)
	flag("podMismatch", a.PodMismatch)
	flag("nodeMismatch", a.NodeMismatch)
	text("mintedBy", a.MintedBy)
	flag("mintedForeign", a.MintedForeign)
	text("secretReadBy", a.SecretReadBy)
	text("certRequester", a.CertRequester)
	text("certApprover", a.CertApprover)
	flag("certForeign", a.CertForeign)
	text("needsGrant", a.NeedsGrant)
	text("grantBy", a.GrantBy)
	flag("selfGranted", a.SelfGranted)
	text("issuedVia", a.IssuedVia)
	text("issuedTo", a.IssuedTo)
	text("issuedToPod", a.IssuedToPod)
	flag("foreignIssued", a.ForeignIssued)
	flag("nodeRole", a.NodeRole)
	flag("cascade", f.Cascade)
	flag("unattributed", c.Unattributed)
	text("injected", strings.Join(c.Injected, ","))
	text("injectorBy", c.InjectorBy)
	return strings.Join(out, " ")
}
