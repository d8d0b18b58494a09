package api

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"connectrpc.com/connect"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/matrix"
	"github.com/clew-sec/clew/internal/rule"
	"github.com/clew-sec/clew/internal/source"
)

// provenRules lists the rules that recorded attacks of the repository raise; a
// test makes it from their golden results.
//
//go:embed proven.txt
var provenRules string

// carries says what the kinds of sources can bring. Kinds that are not named take
// whatever is sent.
var carries = map[string][]event.Source{
	"webhook":  {event.SourceK8sAudit},
	"firehose": {event.SourceK8sAudit, event.SourceCloudTrail},
	"pubsub":   {event.SourceK8sAudit, event.SourceGCPAudit},
	"eventhub": {event.SourceK8sAudit, event.SourceAzureActivity},
	"sqs":      {event.SourceCloudTrail},
}

var allSources = []event.Source{event.SourceK8sAudit, event.SourceCloudTrail, event.SourceGCPAudit, event.SourceAzureActivity}

// managed are the sources of clusters whose audit policy nobody can change, and
// managedBlind the rules that it leaves nothing to see for: EKS and GKE follow the
// policy of GCE's scripts, which drops requests for core events.
var (
	managed      = map[string]string{"firehose": "EKS", "pubsub": "GKE"}
	managedBlind = []string{"k8s-event-deleted", "k8s-events-deleted"}
)

// view is what the live sources let clew see.
type view struct {
	live    map[event.Source]bool
	managed []string // names of clusters' offers, set when all live Kubernetes sources are such
}

func (s *Server) view() view {
	v := view{live: map[event.Source]bool{}}
	free := false
	for _, m := range s.cfg.Sources() {
		if state := s.stateOf(&m); state != sourceLive && state != sourceQuiet {
			continue
		}
		v.add(&m)
		free = free || managed[m.Kind] == "" && v.live[event.SourceK8sAudit] && slices.Contains(sourcesOf(&m), event.SourceK8sAudit)
	}
	if free {
		v.managed = nil
	}
	return v
}

func (v *view) add(m *source.Status) {
	for _, x := range sourcesOf(m) {
		v.live[x] = true
	}
	if name := managed[m.Kind]; name != "" && !slices.Contains(v.managed, name) {
		v.managed = append(v.managed, name)
	}
}

func sourcesOf(m *source.Status) []event.Source {
	if list, ok := carries[m.Kind]; ok {
		return list
	}
	return allSources
}

// planes names the planes that are live.
func (v *view) planes() []string {
	var out []string
	if v.live[event.SourceK8sAudit] {
		out = append(out, "k8s")
	}
	if v.live[event.SourceCloudTrail] || v.live[event.SourceGCPAudit] || v.live[event.SourceAzureActivity] {
		out = append(out, "cloud")
	}
	return out
}

// blind says why a rule sees nothing, "" when it does see.
func (s *Server) blind(v *view, r *rule.Rule) string {
	switch {
	case !v.live[r.Source]:
		return "no source of " + r.Source.String() + " is live"
	case len(v.managed) > 0 && slices.Contains(managedBlind, r.ID):
		return "the audit policy of " + strings.Join(v.managed, " and ") + " drops requests for events"
	case s.cfg.Blind != nil:
		return s.cfg.Blind(r.ID)
	}
	return ""
}

// GetMatrix implements SystemService.
func (s *Server) GetMatrix(context.Context, *connect.Request[clewv1.GetMatrixRequest]) (*connect.Response[clewv1.GetMatrixResponse], error) {
	rules, index := s.matrixRules()
	report := s.cfg.Matrix.Cover(rules)
	v, hits, proven := s.view(), s.hits(), strings.Fields(provenRules)
	out := &clewv1.GetMatrixResponse{LivePlanes: v.planes()}
	for _, t := range s.cfg.Matrix.Techniques() {
		if !t.Microsoft() {
			continue
		}
		c, _ := report.Technique(t.ID)
		m := &clewv1.Technique{Id: t.ID, Name: t.Name, Coverage: clewv1.Coverage_COVERAGE_BLIND, Reason: c.Reason}
		for _, tactic := range t.Tactics {
			m.Tactics = append(m.Tactics, tactic.String())
		}
		for _, r := range c.Rules {
			i := index[r.ID]
			m.Rules = append(m.Rules, r.ID)
			m.Flags += hits[i]
		}
		s.grade(m, &v, index, proven)
		out.Techniques = append(out.Techniques, m)
	}
	return connect.NewResponse(out), nil
}

func (s *Server) matrixRules() (rules []matrix.Rule, index map[string]int32) {
	index = map[string]int32{}
	for i := range int32(s.cfg.Rules.Len()) {
		r := s.cfg.Rules.Rule(i)
		index[r.ID] = i
		rules = append(rules, matrix.Rule{ID: r.ID, Severity: r.Severity, Techniques: r.Techniques})
	}
	return rules, index
}

// grade says how well a technique that has rules is seen, and why no better.
func (s *Server) grade(m *clewv1.Technique, v *view, index map[string]int32, proven []string) {
	var seeing int
	var why []string
	for _, id := range m.GetRules() {
		reason := s.blind(v, s.cfg.Rules.Rule(index[id]))
		switch {
		case reason != "":
			if !slices.Contains(why, reason) {
				why = append(why, reason)
			}
		case slices.Contains(proven, id):
			m.Coverage = clewv1.Coverage_COVERAGE_PROVEN
			seeing++
		default:
			seeing++
		}
	}
	switch {
	case len(m.GetRules()) == 0, m.GetCoverage() == clewv1.Coverage_COVERAGE_PROVEN && len(why) == 0:
		return
	case seeing == 0:
		m.Reason = strings.Join(why, "; ")
	case m.GetCoverage() == clewv1.Coverage_COVERAGE_BLIND:
		m.Coverage, m.Reason = clewv1.Coverage_COVERAGE_CLAIMED, "no recorded attack raises a rule that sees it"
	}
	if seeing > 0 && len(why) > 0 {
		m.Reason = strings.TrimPrefix(fmt.Sprintf("%s; %d of %d rules see nothing: %s", m.GetReason(), len(m.GetRules())-seeing, len(m.GetRules()), strings.Join(why, "; ")), "; ")
	}
}
