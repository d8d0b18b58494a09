package auditpolicy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// request is what an audit record says about its request, as far as a policy asks.
type request struct {
	Level      auditinternal.Level
	Stage      auditinternal.Stage
	Verb       string
	RequestURI string
	User       struct {
		Username string
		Groups   []string
	}
	ObjectRef *struct {
		APIGroup, APIVersion, Resource, Subresource, Namespace, Name string
	}
}

func (r *request) attributes() authorizer.Attributes {
	a := authorizer.AttributesRecord{Verb: r.Verb}
	if r.User.Username != "" { // a request that failed to authenticate has no user
		a.User = &user.DefaultInfo{Name: r.User.Username, Groups: r.User.Groups}
	}
	if u, err := url.Parse(r.RequestURI); err == nil {
		a.Path = u.Path
	}
	if o := r.ObjectRef; o != nil {
		a.ResourceRequest = true
		a.APIGroup, a.APIVersion, a.Resource, a.Subresource, a.Namespace, a.Name = o.APIGroup, o.APIVersion, o.Resource, o.Subresource, o.Namespace, o.Name
		if o.Resource == "namespaces" && o.Namespace == "" {
			a.Namespace = o.Name // as the API server takes it from the path
		}
	}
	return a
}

// what names the request in a reason.
func (r *request) what() string {
	o := r.ObjectRef
	if o == nil {
		return r.Verb + " " + r.RequestURI
	}
	s := r.Verb + " " + o.Resource
	if o.Subresource != "" {
		s += "/" + o.Subresource
	}
	if o.APIGroup != "" {
		s += " (" + o.APIGroup + ")"
	}
	return s
}

// cut is what a policy makes of one record.
type cut struct {
	raw    []byte // nil: not logged
	reason string // why it is less than it was, "" when it is not
}

// cut strips a complete audit record to what the API server would have logged under
// the policy. A record's own level stays its upper bound.
func (p *Policy) cut(raw []byte) (cut, error) {
	var r request
	if err := json.Unmarshal(raw, &r); err != nil {
		return cut{}, fmt.Errorf("reading the record: %w", err)
	}
	a := r.attributes()
	got := p.whole.EvaluatePolicyRule(a)
	switch {
	case got.Level == auditinternal.LevelNone:
		return cut{reason: fmt.Sprintf("%s is not logged (%s)", r.what(), p.decider(a))}, nil
	case slices.Contains(got.OmitStages, r.Stage):
		return cut{reason: fmt.Sprintf("%s is not logged at stage %s (%s)", r.what(), r.Stage, p.decider(a))}, nil
	case !got.Level.Less(r.Level):
		return cut{raw: raw}, nil
	}
	out, changed, err := strip(raw, got.Level)
	if err != nil || !changed {
		return cut{raw: out}, err
	}
	return cut{raw: out, reason: fmt.Sprintf("%s is logged at level %s (%s)", r.what(), got.Level, p.decider(a))}, nil
}

// strip takes from a record what the API server writes only above level. changed
// is false when nothing but the level was taken.
func strip(raw []byte, level auditinternal.Level) (out []byte, changed bool, err error) {
	o := map[string]any{}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&o); err != nil {
		return nil, false, fmt.Errorf("reading the record: %w", err)
	}
	before := len(o)
	o["level"] = level
	delete(o, "responseObject")
	if level.Less(auditinternal.LevelRequest) {
		delete(o, "requestObject")
		changed = stripPatches(o)
	}
	out, err = json.Marshal(o)
	if err != nil {
		return nil, false, fmt.Errorf("writing the record: %w", err)
	}
	return out, changed || len(o) < before, nil
}

// stripPatches removes the annotations of mutating webhooks that hold their patch.
func stripPatches(o map[string]any) bool {
	annotations, _ := o["annotations"].(map[string]any)
	before := len(annotations)
	for k := range annotations {
		if strings.HasPrefix(k, "patch.webhook.admission.k8s.io/") {
			delete(annotations, k)
		}
	}
	return len(annotations) < before
}
