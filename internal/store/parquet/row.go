// Package parquet keeps the history of events: Parquet segments in a folder or a
// bucket, written from the log and searched newest first.
//
// A segment is an ordinary Parquet file that any tool reads; docs/history.md names
// its columns. Its name carries cluster, sequence range and time range, so names
// alone say where the log is to be read on after a crash, which segments a query
// skips, and which were replaced by a merge.
package parquet

import (
	"strings"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/graph"
)

// Row is one event of the history. The tags are the Parquet schema; the columns
// table documents them. Strings may alias the record the event was decoded from:
// a row keeps that memory alive until it is written into a segment.
type Row struct {
	Time     int64    `parquet:"time,delta,timestamp(nanosecond)"`
	Received int64    `parquet:"received,delta,timestamp(nanosecond)"`
	ID       event.ID `parquet:"id"`
	Seq      uint64   `parquet:"seq,delta"`
	Cluster  string   `parquet:"cluster,dict"`
	Source   string   `parquet:"source,dict"`
	Plane    string   `parquet:"plane,dict"`
	Kind     string   `parquet:"kind,dict"`

	Verb        string `parquet:"verb,dict"`
	APIGroup    string `parquet:"api_group,dict"`
	Resource    string `parquet:"resource,dict"`
	Subresource string `parquet:"subresource,dict"`
	Namespace   string `parquet:"namespace,dict"`
	Name        string `parquet:"name,dict"`
	ObjectUID   string `parquet:"object_uid,dict"`
	Stage       string `parquet:"stage,dict"`
	Code        int32  `parquet:"code,dict"`
	RequestURI  string `parquet:"request_uri"`

	User        string   `parquet:"user,dict"`
	Groups      []string `parquet:"groups,dict"`
	Credential  string   `parquet:"credential,dict"`
	SourceIP    string   `parquet:"source_ip,dict"`
	UserAgent   string   `parquet:"user_agent,dict"`
	ActorPod    string   `parquet:"actor_pod,dict"`
	ActorPodUID string   `parquet:"actor_pod_uid,dict"`
	Pod         string   `parquet:"pod,dict"`
	Node        string   `parquet:"node,dict"`
	Executable  string   `parquet:"executable,dict"`

	CloudService string `parquet:"cloud_service,dict"`
	CloudAction  string `parquet:"cloud_action,dict"`
	CloudAccount string `parquet:"cloud_account,dict"`
	CloudRegion  string `parquet:"cloud_region,dict"`
	CloudError   string `parquet:"cloud_error,dict"`

	Entities []event.ID `parquet:"entities,dict"`
	Text     string     `parquet:"text"`
	Raw      []byte     `parquet:"raw"`
}

// maxText bounds the text column, in bytes; what a message or command line says
// beyond is in the raw record.
const maxText = 4 << 10

var planeNames = map[event.Plane]string{event.PlaneNode: "node", event.PlaneK8s: "k8s", event.PlaneCloud: "cloud"}

// RowOf returns the row of e with raw, the redacted record it was decoded from.
// Strings and raw are aliased, slices of e are copied: e may be reset afterwards.
// Cluster and Seq are the Writer's to set.
func RowOf(e *event.Event, raw []byte) Row {
	r := Row{Time: e.Time, Received: e.Received, ID: e.ID, Source: e.Source.String(), Plane: planeNames[e.Plane()], Raw: raw}
	r.actor(&e.Actor)
	switch e.Kind {
	case event.KindAPIRequest:
		r.Kind = "api-request"
		r.request(&e.K8s)
	case event.KindCloudCall:
		r.Kind = "cloud-call"
		r.call(&e.Cloud)
	}
	var h event.Hasher
	r.Entities = graph.AppendNamed(make([]event.ID, 0, 6), &h, e)
	return r
}

func (r *Row) actor(a *event.Actor) {
	r.User, r.Credential, r.SourceIP, r.UserAgent = a.Name, a.Credential, a.IP, a.Agent
	r.Groups = append([]string(nil), a.Groups...)
	r.ActorPodUID, r.Node = a.PodUID, a.NodeName
	if a.PodName != "" {
		r.ActorPod = a.Namespace + "/" + a.PodName
	}
}

func (r *Row) request(k *event.Request) {
	r.Verb, r.APIGroup, r.Resource, r.Subresource = k.Verb, k.Group, k.Resource, k.Subresource
	r.Namespace, r.Name, r.ObjectUID = k.Namespace, k.Name, k.UID
	r.Stage, r.Code, r.RequestURI = k.Stage.String(), int32(k.Code), k.URI
	switch {
	case k.Resource == "pods" && k.Name != "":
		r.Pod = k.Namespace + "/" + k.TargetName()
	case k.Resource == "nodes":
		r.Node = k.Name
		r.Pod = k.EnteredPod()
	}
	r.Text = joined(k.CommandLine(), k.Message, strings.Join(k.Object.Images(), " "), strings.Join(k.Object.CommandLines(), " "))
}

func (r *Row) call(c *event.CloudCall) {
	r.CloudService, r.CloudAction, r.CloudAccount, r.CloudRegion, r.CloudError = c.Service, c.Action, c.Account, c.Region, c.Error
	r.Text = joined(c.Message, strings.Join(c.Resources, " "), strings.Join(c.Params, " "))
	if c.PodName != "" {
		r.ActorPod, r.ActorPodUID = c.PodNamespace+"/"+c.PodName, c.PodUID
	}
}

// joined joins what is not empty with newlines, no more than maxText bytes.
func joined(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		if p == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(p[:min(len(p), max(0, maxText-b.Len()))])
	}
	return b.String()
}

// bytes estimates the memory r holds.
func (r *Row) bytes() int { return rowOverhead + len(r.Raw) + len(r.Text) + 16*len(r.Entities) }

// rowOverhead is the size of a Row with the strings that are not in its raw record.
const rowOverhead = 700
