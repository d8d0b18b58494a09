package pipeline

import (
	"maps"
	"strings"

	"github.com/clew-sec/clew/internal/event"
)

// Audited is a kind of request that an audit policy tells apart.
type Audited struct {
	Group, Resource, Subresource string
	Read                         bool // get, list or watch
}

// maxAudited bounds the kinds of requests whose level is remembered: clusters have
// hundreds of resources.
const maxAudited = 4096

// levels are the highest audit levels at which kinds of requests were logged.
type levels map[Audited]event.Level

// see takes in an event.
func (l levels) see(e *event.Event) {
	r := &e.K8s
	if e.Kind != event.KindAPIRequest || e.Source != event.SourceK8sAudit || r.Resource == "" || r.Level == event.LevelUnknown {
		return
	}
	k := Audited{r.Group, r.Resource, r.Subresource, r.Verb == "get" || r.Verb == "list" || r.Verb == "watch"}
	if had, ok := l[k]; had >= r.Level || !ok && len(l) >= maxAudited {
		return
	}
	k.Group, k.Resource, k.Subresource = strings.Clone(k.Group), strings.Clone(k.Resource), strings.Clone(k.Subresource)
	l[k] = r.Level

}

// Levels returns the highest audit level at which each kind of request was logged
// since the server started. The caller owns the map.
func (w *Worker) Levels() map[Audited]event.Level {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.levels)
}
