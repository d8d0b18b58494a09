package gcpaudit

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/normalize"
)

// unauthenticated is the google.rpc.Code of a 401.
const unauthenticated = 16

// httpCodes are the HTTP codes that google.rpc.Codes stand for, by number.
var httpCodes = [...]int{200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401}

// kubernetes fills the request to the cluster's API server that r tells of.
func (d *Decoder) kubernetes(r *entry, e *event.Event) {
	p, q := r.Payload, &e.K8s
	q.AuditID = cmp.Or(r.Operation.ID, r.InsertID)
	q.Stage = event.StageResponseComplete
	q.Level = event.LevelMetadata
	target(p, q)
	labels(r.Labels, e)
	if hasBody(p.Request) {
		q.Level = event.LevelRequest
		d.body(p.Request, &q.Object)
	}
	if hasBody(p.Response) {
		q.Level = event.LevelRequestResponse
		d.body(p.Response, &q.Response)
	}
	result(p, q)
	options(p, q)
	if e.Actor.Kind == event.ActorAnonymous {
		e.Actor.Groups = append(e.Actor.Groups, "system:unauthenticated")
	}
}

func hasBody(raw json.RawMessage) bool {
	return len(raw) > 0 && (raw[0] == '{' || raw[0] == '[') && len(raw) > len("{}")
}

// body reads an object. One that cannot be read is marked as skipped: the
// request itself is known all the same.
func (d *Decoder) body(raw json.RawMessage, b *event.Body) {
	if d.bodies == nil {
		return
	}
	if err := d.bodies.DecodeBody(raw, b); err != nil {
		*b = event.Body{Skipped: true, Replicas: -1}
	}
}

// target fills verb and object from methodName,
// "io.k8s.<group>.<version>.<resource>[.<subresource>].<verb>", and
// resourceName, "<group>/<version>/[namespaces/<ns>/]<resource>[/<name>[/<subresource>]]".
// The method writes groups back to front and without ".k8s.io", so the group
// comes from the resource name where there is one.
func target(p *auditLog, q *event.Request) {
	method := strings.Split(strings.TrimPrefix(p.Method, "io.k8s."), ".")
	q.Verb = method[len(method)-1]
	v := slices.IndexFunc(method, isVersion)
	var kind string
	if v > 0 && v+1 < len(method)-1 {
		kind = method[v+1]
		q.Version, q.Resource = method[v], kind
		q.Subresource = strings.Join(method[v+2:len(method)-1], "/")
		q.Group = methodGroup(method[:v])
	}
	parts := strings.Split(p.Resource, "/")
	if len(parts) > 2 && isVersion(parts[1]) {
		q.Group, q.Version = parts[0], parts[1]
		if q.Group == "core" {
			q.Group = ""
		}
		parts = parts[2:]
	}
	if len(parts) > 2 && parts[0] == "namespaces" && kind != "namespaces" {
		q.Namespace = parts[1]
		parts = parts[2:]
	}
	object(parts, kind, q)
}

// object reads "<resource>[/<name>[/<subresource>[/<path>]]]".
func object(parts []string, kind string, q *event.Request) {
	if kind == "" && len(parts) > 0 {
		q.Resource = parts[0]
	}
	if len(parts) < 2 || parts[0] != q.Resource {
		return
	}
	q.Name = parts[1]
	if q.Resource == "namespaces" {
		q.Namespace = q.Name // as the API server's own log has it
	}
	if len(parts) < 3 {
		return
	}
	if kind == "" || q.Subresource == "" {
		q.Subresource = parts[2]
	}
	if q.Subresource == "proxy" {
		q.ProxyPath = "/" + strings.Join(parts[3:], "/")
	}
}

// methodGroup turns the group of a method name into an API group.
func methodGroup(parts []string) string {
	switch g := parts[len(parts)-1]; {
	case len(parts) == 1 && g == "core":
		return ""
	case len(parts) == 1 && slices.Contains([]string{"apps", "batch", "autoscaling", "policy", "extensions"}, g):
		return g
	}
	parts = slices.Clone(parts)
	slices.Reverse(parts)
	return strings.Join(parts, ".") + ".k8s.io"
}

// isVersion reports whether s is an API version: v1, v2beta1, ...
func isVersion(s string) bool { return len(s) > 1 && s[0] == 'v' && s[1] >= '0' && s[1] <= '9' }

// result fills code, message and what the server named. The code of a
// Kubernetes Status in the response is exact; the entry's own is Google's.
func result(p *auditLog, q *event.Request) {
	var resp named
	normalize.Part(p.Response, &resp)
	status := resp.Kind == "Status" || strings.HasSuffix(resp.Type, ".Status")
	q.Message = p.Status.Message
	switch n := p.Status.Code; {
	case status && resp.Code > 0:
		q.Code = resp.Code
		q.Message = cmp.Or(q.Message, resp.Message)
	case n == 0:
		q.Code = successCode(q)
	case n > 0 && n < len(httpCodes):
		q.Code = httpCodes[n]
	default:
		q.Code = n // already an HTTP code
	}
	if !status {
		q.Name = cmp.Or(q.Name, resp.Metadata.Name)
		q.UID = resp.Metadata.UID
	}
}

// successCode returns the HTTP code that the API server answers with when all
// is well; Google writes 0 for each.
func successCode(q *event.Request) int {
	switch {
	case q.Subresource == "exec", q.Subresource == "attach", q.Subresource == "portforward":
		return 101
	case q.Verb == "create":
		return 201
	}
	return 200
}

// options fills what an exec or attach asked for.
func options(p *auditLog, q *event.Request) {
	if q.Subresource != "exec" && q.Subresource != "attach" {
		return
	}
	var opt struct {
		Command   []string       `json:"command"`
		Container string         `json:"container"`
		TTY       normalize.Text `json:"tty"`
		Stdin     normalize.Text `json:"stdin"`
	}
	normalize.Part(p.Request, &opt)
	if len(opt.Command) > 0 {
		q.Command = append(q.Command[:0], opt.Command...)
	}
	q.Container, q.TTY, q.Stdin = opt.Container, opt.TTY.True(), opt.Stdin.True()
}

// labels fills what GKE copies from the audit event's annotations.
func labels(all map[string]string, e *event.Event) {
	q := &e.K8s
	for _, k := range sortedKeys(all) {
		v := all[k]
		switch k {
		case "authorization.k8s.io/decision":
			q.Decision = v
		case "authorization.k8s.io/reason":
			q.Reason = v
		case "command.gke.io/command":
			q.Command = append(q.Command[:0], strings.Fields(v)...)
		case "authentication.kubernetes.io/issued-credential-id":
			q.IssuedCredential = v
		case "authentication.kubernetes.io/credential-id":
			e.Actor.Credential = v
		case "authentication.kubernetes.io/pod-name":
			e.Actor.PodName = v
		case "authentication.kubernetes.io/pod-uid":
			e.Actor.PodUID = v
		case "authentication.k8s.io/stale-token":
			q.StaleToken = v != ""
		case "authentication.k8s.io/legacy-token-manual-secret", "authentication.k8s.io/legacy-token-autogenerated-secret":
			e.Actor.Credential = "legacy:" + e.Actor.Namespace + "/" + v
		case "pod-security.kubernetes.io/audit-violations":
			q.PSAViolations = v
		case "pod-security.kubernetes.io/enforce-policy":
			q.PSAEnforce = v
		case "validation.policy.admission.k8s.io/validation_failure":
			q.PolicyFailure = v
		case "audit.k8s.io/truncated":
			q.Truncated = v == "true"
		default:
			admission(k, v, q)
		}
	}
}

// admission reads the annotations that admission webhooks leave.
func admission(key, value string, q *event.Request) {
	switch kind, _, _ := strings.Cut(key, "/"); kind {
	case "mutation.webhook.admission.k8s.io":
		var m struct {
			Configuration string `json:"configuration"`
			Mutated       bool   `json:"mutated"`
		}
		if json.Unmarshal([]byte(value), &m) == nil && m.Mutated {
			q.MutatedBy = normalize.AppendNew(q.MutatedBy, m.Configuration)
		}
	case "patch.webhook.admission.k8s.io":
		q.MutationPatch = append(q.MutationPatch, value)
	case "failed-open.mutating.webhook.admission.k8s.io", "failed-open.validating.webhook.admission.k8s.io":
		q.FailedOpen = normalize.AppendNew(q.FailedOpen, value)
	}
}

// sortedKeys makes the order of labels that share a field the same each time.
func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
