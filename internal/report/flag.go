// Package report writes what a replay found: for people as a table, for
// programs as JSON or JSON lines.
package report

import (
	"strconv"
	"strings"
	"time"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/rule"
)

// Flag is a flag as output writes it.
type Flag struct {
	Type       string         `json:"type"` // "flag"
	Rule       string         `json:"rule"`
	Title      string         `json:"title"`
	Severity   event.Severity `json:"severity"`
	Tactic     event.Tactic   `json:"tactic"`
	Techniques []string       `json:"techniques"`
	Message    string         `json:"message"`
	File       string         `json:"file"`
	Line       int            `json:"line"` // 1-based record number in File
	Time       string         `json:"time"` // RFC 3339, UTC
	Event      Event          `json:"event"`
	Entity     string         `json:"entity"` // what was acted on
}

// Event is the part of an event that a flag shows. Bodies and values are not in it.
type Event struct {
	ID           event.ID `json:"id"`
	Source       string   `json:"source"`
	Plane        string   `json:"plane"`
	Cluster      string   `json:"cluster,omitempty"`
	User         string   `json:"user,omitempty"`
	Impersonated string   `json:"impersonated,omitempty"`
	Credential   string   `json:"credential,omitempty"`
	Pod          string   `json:"pod,omitempty"` // pod the credential is bound to
	SourceIP     string   `json:"sourceIP,omitempty"`
	UserAgent    string   `json:"userAgent,omitempty"`
	Action       string   `json:"action"`
	Outcome      string   `json:"outcome"`
	AuditID      string   `json:"auditID,omitempty"` // to find the record in the log; chosen by the client
}

// maxShown bounds a value in output, in bytes.
const maxShown = 256

// newFlag describes a match. message is already clean.
func newFlag(r *rule.Rule, message string, e *event.Event) Flag {
	return Flag{
		Type: "flag", Rule: r.ID, Title: r.Title, Severity: r.Severity, Tactic: r.Tactic, Techniques: r.Techniques,
		Message: message, File: e.Pos.File, Line: e.Pos.Record, Time: formatTime(e.Time),
		Event: newEvent(e), Entity: clean(entity(e)),
	}
}

func newEvent(e *event.Event) Event {
	a := &e.Actor
	return Event{
		ID: e.ID, Source: e.Source.String(), Plane: planeName(e.Plane()), Cluster: clean(e.Cluster),
		User: clean(a.Name), Impersonated: clean(a.Impersonated), Credential: clean(a.Credential), Pod: clean(a.PodName),
		SourceIP: clean(a.IP), UserAgent: clean(a.Agent), Action: clean(action(e)), Outcome: clean(outcome(e)), AuditID: clean(e.K8s.AuditID),
	}
}

// clean makes foreign text safe to show on a terminal and short.
func clean(s string) string {
	if s == "" {
		return ""
	}
	return string(rule.AppendClean(nil, s, maxShown))
}

func formatTime(nanos int64) string { return time.Unix(0, nanos).UTC().Format(time.RFC3339Nano) }

func planeName(p event.Plane) string {
	switch p {
	case event.PlaneCloud:
		return "cloud"
	case event.PlaneNode:
		return "node"
	}
	return "k8s"
}

// planeNames lists the planes of a set.
func planeNames(set event.Plane) []string {
	names := []string{}
	for _, p := range []event.Plane{event.PlaneNode, event.PlaneK8s, event.PlaneCloud} {
		if set&p != 0 {
			names = append(names, planeName(p))
		}
	}
	return names
}

// action says what was asked: "create pods/exec", "eks:AssociateAccessPolicy".
func action(e *event.Event) string {
	if e.Kind == event.KindCloudCall {
		return e.Cloud.Service + ":" + e.Cloud.Action
	}
	r := &e.K8s
	if r.Resource == "" {
		path, _, _ := strings.Cut(r.URI, "?")
		return r.Verb + " " + path
	}
	if r.Subresource != "" {
		return r.Verb + " " + r.Resource + "/" + r.Subresource
	}
	return r.Verb + " " + r.Resource
}

// outcome is "ok" or says why not.
func outcome(e *event.Event) string {
	if e.Kind == event.KindCloudCall {
		if e.Cloud.Succeeded() {
			return "ok"
		}
		return e.Cloud.Error
	}
	switch r := &e.K8s; {
	case r.DryRun:
		return "dry run"
	case r.Succeeded():
		return "ok"
	case r.Code == 401:
		return "unauthenticated"
	case r.Code == 403:
		return "refused"
	case r.Code == 0:
		return "unknown"
	default:
		return "status " + strconv.Itoa(r.Code)
	}
}

// entity names what was acted on.
func entity(e *event.Event) string {
	if e.Kind == event.KindCloudCall {
		if len(e.Cloud.Resources) > 0 {
			return e.Cloud.Resources[0]
		}
		return e.Cloud.Account
	}
	r := &e.K8s
	parts := make([]string, 0, 3)
	for _, p := range []string{r.Resource, r.Namespace, r.Name} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, "/")
}
