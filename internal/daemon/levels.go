package daemon

import (
	"context"
	"maps"
	"time"

	"github.com/clew-sec/clew/internal/auditpolicy"
	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/pipeline"
)

// levelsEvery is how often the audit levels that were observed are looked at. What
// they mean takes seconds of processor time and is asked only when they changed.
const levelsEvery = time.Minute

// watchLevels keeps what the observed audit levels hide.
func (d *daemon) watchLevels(ctx context.Context) {
	t := time.NewTicker(levelsEvery)
	defer t.Stop()
	var last map[pipeline.Audited]event.Level
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		seen := d.observedLevels()
		if len(seen) == 0 || maps.Equal(seen, last) {
			continue
		}
		blind, err := d.Lint(observations(seen))
		if err != nil {
			d.Log.Error("working out what the audit policy hides", "error", err)
			continue
		}
		last = seen
		d.blind.Store(&blind)
	}
}

// observedLevels are the least of all clusters: what one of them hides is hidden.
func (d *daemon) observedLevels() map[pipeline.Audited]event.Level {
	out := map[pipeline.Audited]event.Level{}
	for _, name := range d.live.Clusters() {
		w, ok := d.live.Worker(name)
		if !ok {
			continue
		}
		for k, l := range w.Levels() {
			if had, ok := out[k]; !ok || l < had {
				out[k] = l
			}
		}
	}
	return out
}

func observations(seen map[pipeline.Audited]event.Level) []auditpolicy.Observed {
	out := make([]auditpolicy.Observed, 0, len(seen))
	for k, l := range seen {
		out = append(out, auditpolicy.Observed{Group: k.Group, Resource: k.Resource, Subresource: k.Subresource, Read: k.Read, Level: l.String()})
	}
	return out
}

// blindTo says why a rule sees nothing, "" when it sees.
func (d *daemon) blindTo(rule string) string {
	if m := d.blind.Load(); m != nil {
		return (*m)[rule]
	}
	return ""
}
