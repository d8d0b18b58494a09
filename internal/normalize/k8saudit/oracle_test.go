package k8saudit

import (
	"encoding/json"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clew-sec/clew/internal/event"
)

// The oracle reads the same records with encoding/json and net/url, into
// structs that mirror the API types. It shares no code with the decoder.

type oracleEvent struct {
	Kind                     string            `json:"kind"`
	APIVersion               string            `json:"apiVersion"`
	Level                    string            `json:"level"`
	AuditID                  string            `json:"auditID"`
	Stage                    string            `json:"stage"`
	RequestURI               string            `json:"requestURI"`
	Verb                     string            `json:"verb"`
	User                     oracleUser        `json:"user"`
	ImpersonatedUser         *oracleUser       `json:"impersonatedUser"`
	SourceIPs                []string          `json:"sourceIPs"`
	UserAgent                string            `json:"userAgent"`
	ObjectRef                oracleRef         `json:"objectRef"`
	ResponseStatus           oracleStatus      `json:"responseStatus"`
	RequestObject            json.RawMessage   `json:"requestObject"`
	ResponseObject           json.RawMessage   `json:"responseObject"`
	RequestReceivedTimestamp time.Time         `json:"requestReceivedTimestamp"`
	StageTimestamp           time.Time         `json:"stageTimestamp"`
	Annotations              map[string]string `json:"annotations"`
	AuthenticationMetadata   struct {
		ImpersonationConstraint string `json:"impersonationConstraint"`
	} `json:"authenticationMetadata"`
}

type oracleUser struct {
	Username string              `json:"username"`
	UID      string              `json:"uid"`
	Groups   []string            `json:"groups"`
	Extra    map[string][]string `json:"extra"`
}

type oracleRef struct {
	Resource    string `json:"resource"`
	Namespace   string `json:"namespace"`
	Name        string `json:"name"`
	UID         string `json:"uid"`
	APIGroup    string `json:"apiGroup"`
	APIVersion  string `json:"apiVersion"`
	Subresource string `json:"subresource"`
}

type oracleStatus struct {
	Message string `json:"message"`
	Code    int    `json:"code"`
	Details struct {
		UID string `json:"uid"`
	} `json:"details"`
}

type oracleMeta struct {
	Name              string            `json:"name"`
	GenerateName      string            `json:"generateName"`
	Namespace         string            `json:"namespace"`
	UID               string            `json:"uid"`
	CreationTimestamp *time.Time        `json:"creationTimestamp"`
	Labels            map[string]string `json:"labels"`
	Annotations       map[string]string `json:"annotations"`
	OwnerReferences   []event.Owner     `json:"ownerReferences"`
}

type named struct {
	Name string `json:"name"`
}

type oracleContainer struct {
	Name            string   `json:"name"`
	Image           string   `json:"image"`
	Command         []string `json:"command"`
	Args            []string `json:"args"`
	SecurityContext struct {
		Privileged               bool   `json:"privileged"`
		AllowPrivilegeEscalation bool   `json:"allowPrivilegeEscalation"`
		ProcMount                string `json:"procMount"`
		Capabilities             struct {
			Add []string `json:"add"`
		} `json:"capabilities"`
	} `json:"securityContext"`
	Ports []struct {
		ContainerPort int `json:"containerPort"`
		HostPort      int `json:"hostPort"`
	} `json:"ports"`
	VolumeMounts []struct {
		Name      string `json:"name"`
		MountPath string `json:"mountPath"`
		ReadOnly  bool   `json:"readOnly"`
	} `json:"volumeMounts"`
	Env []struct {
		Name      string `json:"name"`
		Value     string `json:"value"`
		ValueFrom struct {
			SecretKeyRef *named `json:"secretKeyRef"`
		} `json:"valueFrom"`
	} `json:"env"`
	EnvFrom []struct {
		SecretRef *named `json:"secretRef"`
	} `json:"envFrom"`
	Resources struct {
		Limits map[string]any `json:"limits"`
	} `json:"resources"`
	TargetContainerName string `json:"targetContainerName"`
}

type oraclePodSpec struct {
	HostPID                      bool                         `json:"hostPID"`
	HostIPC                      bool                         `json:"hostIPC"`
	HostNetwork                  bool                         `json:"hostNetwork"`
	ShareProcessNamespace        bool                         `json:"shareProcessNamespace"`
	NodeName                     string                       `json:"nodeName"`
	ServiceAccountName           string                       `json:"serviceAccountName"`
	AutomountServiceAccountToken *bool                        `json:"automountServiceAccountToken"`
	Containers                   []oracleContainer            `json:"containers"`
	InitContainers               []oracleContainer            `json:"initContainers"`
	EphemeralContainers          []oracleContainer            `json:"ephemeralContainers"`
	Volumes                      []map[string]json.RawMessage `json:"volumes"`
	Tolerations                  []struct {
		Key      string `json:"key"`
		Operator string `json:"operator"`
	} `json:"tolerations"`
}

type oracleTemplate struct {
	Spec *oraclePodSpec `json:"spec"`
}

type oracleResourceRule struct {
	APIGroups  []string `json:"apiGroups"`
	Resources  []string `json:"resources"`
	Operations []string `json:"operations"`
}

func (o *oracleEvent) bodyOf(t *testing.T, raw json.RawMessage, want reads) event.Body {
	b := event.Body{Replicas: -1}
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return b
	case raw[0] == '[':
		t.Skip("JSON patches have tests of their own")
	}
	b.Present, b.Raw = true, string(raw)
	var top struct {
		Kind                         string          `json:"kind"`
		Metadata                     oracleMeta      `json:"metadata"`
		Spec                         json.RawMessage `json:"spec"`
		Status                       json.RawMessage `json:"status"`
		AutomountServiceAccountToken *bool           `json:"automountServiceAccountToken"`
		RoleRef                      struct {
			Kind string `json:"kind"`
			Name string `json:"name"`
		} `json:"roleRef"`
		Subjects []event.Subject `json:"subjects"`
		Rules    []struct {
			Verbs           []string `json:"verbs"`
			APIGroups       []string `json:"apiGroups"`
			Resources       []string `json:"resources"`
			ResourceNames   []string `json:"resourceNames"`
			NonResourceURLs []string `json:"nonResourceURLs"`
		} `json:"rules"`
		AggregationRule struct {
			ClusterRoleSelectors []oracleSelector `json:"clusterRoleSelectors"`
		} `json:"aggregationRule"`
		Webhooks []struct {
			Name         string `json:"name"`
			ClientConfig struct {
				URL     string `json:"url"`
				Service *struct{ Namespace, Name string }
			} `json:"clientConfig"`
			Rules             []oracleResourceRule `json:"rules"`
			FailurePolicy     string               `json:"failurePolicy"`
			NamespaceSelector map[string]any       `json:"namespaceSelector"`
			ObjectSelector    map[string]any       `json:"objectSelector"`
		} `json:"webhooks"`
		Type          string                     `json:"type"`
		Data          map[string]json.RawMessage `json:"data"`
		StringData    map[string]json.RawMessage `json:"stringData"`
		Target        named                      `json:"target"`
		Preconditions struct{ UID string }       `json:"preconditions"`
	}
	mustUnmarshal(t, raw, &top)
	m := top.Metadata
	b.Kind, b.Name, b.GenerateName, b.Namespace, b.UID, b.Owners = top.Kind, m.Name, m.GenerateName, m.Namespace, m.UID, m.OwnerReferences
	if m.CreationTimestamp != nil {
		b.Created = m.CreationTimestamp.UnixNano()
	}
	if want&readLabels != 0 {
		delete(m.Annotations, "kubectl.kubernetes.io/last-applied-configuration")
		b.Labels, b.Annotations = joined(m.Labels), joined(m.Annotations)
		b.TemplateKey = m.Labels["pod-template-hash"]
		for k, v := range m.Labels {
			if v == "true" && strings.HasPrefix(k, "rbac.authorization.k8s.io/aggregate-to-") {
				b.AggregateTo = append(b.AggregateTo, k[len("rbac.authorization.k8s.io/aggregate-to-"):])
			}
		}
	}
	if want&readAutomount != 0 {
		b.Automount = tristate(top.AutomountServiceAccountToken)
	}
	if want&readBinding != 0 {
		b.TargetNode = top.Target.Name
	}
	if want&readDelete != 0 {
		b.PreconditionUID = top.Preconditions.UID
	}
	if want&readRBAC != 0 {
		b.RoleKind, b.RoleName, b.Subjects = top.RoleRef.Kind, top.RoleRef.Name, top.Subjects
		for _, r := range top.Rules {
			b.Rules = append(b.Rules, event.PolicyRule{Verbs: r.Verbs, Groups: r.APIGroups, Resources: r.Resources, Names: r.ResourceNames, URLs: r.NonResourceURLs})
		}
		for _, sel := range top.AggregationRule.ClusterRoleSelectors {
			b.AggregateFrom = append(b.AggregateFrom, sel.text())
		}
	}
	if want&readWebhooks != 0 {
		for _, w := range top.Webhooks {
			out := event.Webhook{Name: w.Name, URL: w.ClientConfig.URL, FailurePolicy: w.FailurePolicy}
			if w.ClientConfig.Service != nil {
				out.ServiceNamespace, out.ServiceName = w.ClientConfig.Service.Namespace, w.ClientConfig.Service.Name
			}
			out.Resources, out.Operations = product(w.Rules)
			out.NamespaceSelector = len(w.NamespaceSelector)+len(w.ObjectSelector) > 0
			b.Webhooks = append(b.Webhooks, out)
		}
	}
	if want&readData != 0 {
		b.SecretType = top.Type
		b.DataKeys = append(slices.Collect(maps.Keys(top.Data)), slices.Collect(maps.Keys(top.StringData))...)
	}
	if len(top.Spec) > 0 {
		oracleSpec(t, top.Spec, want, &b)
	}
	if len(top.Status) > 0 && want&readStatus != 0 {
		oracleStatusOf(t, top.Status, &b)
	}
	return b
}

func oracleSpec(t *testing.T, raw json.RawMessage, want reads, b *event.Body) {
	if want&readPod != 0 {
		var spec oraclePodSpec
		mustUnmarshal(t, raw, &spec)
		b.HasPodSpec = true
		oraclePod(t, &spec, b)
		return
	}
	var probe map[string]json.RawMessage
	mustUnmarshal(t, raw, &probe)
	if want&readTemplate != 0 {
		var spec struct {
			Template    json.RawMessage `json:"template"`
			JobTemplate struct {
				Spec struct {
					Template oracleTemplate `json:"template"`
				} `json:"spec"`
			} `json:"jobTemplate"`
			Replicas *int   `json:"replicas"`
			Schedule string `json:"schedule"`
			Suspend  bool   `json:"suspend"`
		}
		if json.Unmarshal(raw, &spec) != nil {
			return // not a workload
		}
		pod := spec.JobTemplate.Spec.Template.Spec
		if len(spec.Template) > 0 {
			var template oracleTemplate
			mustUnmarshal(t, spec.Template, &template)
			pod = template.Spec
		}
		if pod != nil {
			b.HasPodSpec = true
			oraclePod(t, pod, b)
		}
		b.Schedule, b.Suspend = spec.Schedule, spec.Suspend
	}
	if want&(readReplicas) != 0 && probe["replicas"] != nil {
		mustUnmarshal(t, probe["replicas"], &b.Replicas)
	}
	if want&readNode != 0 {
		optional(t, probe["providerID"], &b.ProviderID)
	}
	if want&(readCSR|readToken) != 0 {
		optional(t, probe["request"], &b.CSRRequest)
		optional(t, probe["signerName"], &b.CSRSigner)
		optional(t, probe["username"], &b.CSRUser)
		optional(t, probe["usages"], &b.CSRUsages)
		optional(t, probe["expirationSeconds"], &b.ExpirationS)
		optional(t, probe["audiences"], &b.Audiences)
		var ref struct{ Kind, Name, UID string }
		optional(t, probe["boundObjectRef"], &ref)
		b.BoundKind, b.BoundName, b.BoundUID = ref.Kind, ref.Name, ref.UID
	}
	if want&readService != 0 {
		optional(t, probe["type"], &b.ServiceType)
		var selector map[string]string
		optional(t, probe["selector"], &selector)
		b.Selector = joined(selector)
		var ports []struct{ Port int }
		optional(t, probe["ports"], &ports)
		for _, p := range ports {
			b.Ports = append(b.Ports, p.Port)
		}
	}
	if want&readReview != 0 {
		optional(t, probe["user"], &b.ReviewUser)
		var a struct{ Verb, Resource, Subresource, Name string }
		optional(t, probe["resourceAttributes"], &a)
		b.ReviewVerb, b.ReviewResource, b.ReviewSubresource, b.ReviewName = a.Verb, a.Resource, a.Subresource, a.Name
	}
	if want&readPolicy != 0 {
		oraclePolicy(t, probe, b)
	}
}

func oraclePolicy(t *testing.T, spec map[string]json.RawMessage, b *event.Body) {
	type expression struct{ Expression string }
	optional(t, spec["policyName"], &b.PolicyName)
	var match struct{ ResourceRules []oracleResourceRule }
	optional(t, spec["matchConstraints"], &match)
	optional(t, spec["matchResources"], &match)
	b.PolicyResources, _ = product(match.ResourceRules)
	var all []expression
	for _, key := range []string{"validations", "variables", "matchConditions"} {
		var list []expression
		optional(t, spec[key], &list)
		all = append(all, list...)
	}
	var mutations []struct{ ApplyConfiguration, JSONPatch expression }
	optional(t, spec["mutations"], &mutations)
	for _, m := range mutations {
		all = append(all, m.ApplyConfiguration, m.JSONPatch)
	}
	for _, x := range all {
		if x.Expression != "" {
			b.PolicyExpressions = append(b.PolicyExpressions, x.Expression)
		}
	}
}

func oracleStatusOf(t *testing.T, raw json.RawMessage, b *event.Body) {
	var status struct {
		PodIP     string                          `json:"podIP"`
		PodIPs    []struct{ IP string }           `json:"podIPs"`
		HostIP    string                          `json:"hostIP"`
		Addresses []struct{ Address string }      `json:"addresses"`
		Cert      string                          `json:"certificate"`
		Verdicts  []struct{ Type, Status string } `json:"conditions"`
		User      struct{ Username string }       `json:"user"`
	}
	mustUnmarshal(t, raw, &status)
	for _, p := range status.PodIPs {
		b.PodIPs = append(b.PodIPs, p.IP)
	}
	if status.PodIP != "" && !slices.Contains(b.PodIPs, status.PodIP) {
		b.PodIPs = append(b.PodIPs, status.PodIP)
	}
	b.HostIP, b.CSRCert = status.HostIP, status.Cert
	for _, a := range status.Addresses {
		if _, err := netip.ParseAddr(a.Address); err == nil {
			b.NodeIPs = append(b.NodeIPs, a.Address)
		}
	}
	for _, c := range status.Verdicts {
		b.CSRApproved = b.CSRApproved || c.Type == "Approved"
		b.CSRDenied = b.CSRDenied || c.Type == "Denied"
	}
	if status.User.Username != "" {
		b.ReviewUser = status.User.Username
	}
}

func oraclePod(t *testing.T, spec *oraclePodSpec, b *event.Body) {
	b.HostPID, b.HostIPC, b.HostNetwork, b.ShareProcess = spec.HostPID, spec.HostIPC, spec.HostNetwork, spec.ShareProcessNamespace
	b.NodeName, b.ServiceAccount, b.Automount = spec.NodeName, spec.ServiceAccountName, tristate(spec.AutomountServiceAccountToken)
	for _, tol := range spec.Tolerations {
		b.TolerateAll = b.TolerateAll || tol.Key == "" && tol.Operator == "Exists"
	}
	for class, list := range [][]oracleContainer{spec.Containers, spec.InitContainers, spec.EphemeralContainers} {
		for i := range list {
			b.Containers = append(b.Containers, oracleContainerOf(event.ContainerClass(class), &list[i]))
		}
	}
	for _, v := range spec.Volumes {
		b.Volumes = append(b.Volumes, oracleVolume(t, v))
	}
}

func oracleContainerOf(class event.ContainerClass, c *oracleContainer) event.Container {
	out := event.Container{
		Class: class, Name: c.Name, Image: c.Image, Command: c.Command, Args: c.Args, Privileged: c.SecurityContext.Privileged,
		Escalation: c.SecurityContext.AllowPrivilegeEscalation, Unmasked: c.SecurityContext.ProcMount == "Unmasked",
		CapsAdd: c.SecurityContext.Capabilities.Add, HasLimits: len(c.Resources.Limits) > 0, Target: c.TargetContainerName,
	}
	for _, p := range c.Ports {
		if p.ContainerPort != 0 {
			out.Ports = append(out.Ports, p.ContainerPort)
		}
		if p.HostPort != 0 {
			out.HostPorts = append(out.HostPorts, p.HostPort)
		}
	}
	for _, m := range c.VolumeMounts {
		out.Mounts = append(out.Mounts, event.Mount{Volume: m.Name, Path: m.MountPath, ReadOnly: m.ReadOnly})
	}
	for _, e := range c.Env {
		out.EnvNames, out.EnvValues = append(out.EnvNames, e.Name), append(out.EnvValues, e.Value)
		if e.ValueFrom.SecretKeyRef != nil {
			out.SecretRefs = append(out.SecretRefs, e.ValueFrom.SecretKeyRef.Name)
		}
	}
	for _, e := range c.EnvFrom {
		if e.SecretRef != nil {
			out.SecretRefs = append(out.SecretRefs, e.SecretRef.Name)
		}
	}
	return out
}

func oracleVolume(t *testing.T, v map[string]json.RawMessage) event.Volume {
	var out event.Volume
	for key, raw := range v {
		if key == "name" {
			mustUnmarshal(t, raw, &out.Name)
			continue
		}
		out.Type = key
		var src struct {
			Path, SecretName, ClaimName string
			Sources                     []struct {
				Secret              *named
				ServiceAccountToken *struct{ Audience string }
			}
		}
		mustUnmarshal(t, raw, &src)
		out.Secret, out.Claim = src.SecretName, src.ClaimName
		if key == "hostPath" {
			out.HostPath = src.Path
		}
		for _, p := range src.Sources {
			if p.Secret != nil && out.Secret == "" {
				out.Secret = p.Secret.Name
			}
			if p.ServiceAccountToken != nil && p.ServiceAccountToken.Audience != "" {
				out.Audiences = append(out.Audiences, p.ServiceAccountToken.Audience)
			}
		}
	}
	return out
}

func product(rules []oracleResourceRule) (resources, operations []string) {
	for _, r := range rules {
		for _, g := range r.APIGroups {
			for _, p := range r.Resources {
				resources = append(resources, g+"/"+p)
			}
		}
		for _, op := range r.Operations {
			if !slices.Contains(operations, op) {
				operations = append(operations, op)
			}
		}
	}
	return resources, operations
}

func tristate(v *bool) int8 {
	switch {
	case v == nil:
		return 0
	case *v:
		return 1
	}
	return -1
}

func joined(m map[string]string) []string {
	var out []string
	for k, v := range m {
		out = append(out, k+"="+v)
	}
	return out
}

func mustUnmarshal(t *testing.T, raw []byte, dst any) {
	t.Helper()
	if err := json.Unmarshal(raw, dst); err != nil {
		t.Fatalf("oracle: %.200s: %v", raw, err)
	}
}

func optional(t *testing.T, raw json.RawMessage, dst any) {
	t.Helper()
	if len(raw) > 0 {
		mustUnmarshal(t, raw, dst)
	}
}

// request builds what the decoder should make of the record, bodies excepted.
func (o *oracleEvent) request() event.Request {
	u, _ := url.Parse(o.RequestURI)
	q := u.Query()
	r := event.Request{
		AuditID: o.AuditID, Verb: o.Verb, Group: o.ObjectRef.APIGroup, Version: o.ObjectRef.APIVersion, Resource: o.ObjectRef.Resource,
		Subresource: o.ObjectRef.Subresource, Namespace: o.ObjectRef.Namespace, Name: o.ObjectRef.Name, UID: o.ObjectRef.UID,
		URI: o.RequestURI, Code: o.ResponseStatus.Code, Message: o.ResponseStatus.Message,
		Decision: o.Annotations["authorization.k8s.io/decision"], Reason: o.Annotations["authorization.k8s.io/reason"],
		Command: q["command"], Container: q.Get("container"), TTY: q.Get("tty") == "true", Stdin: q.Get("stdin") == "true",
		FieldManager: q.Get("fieldManager"), LabelSelector: q.Get("labelSelector"), FieldSelector: q.Get("fieldSelector"),
		DryRun:           q.Get("dryRun") == "All",
		IssuedCredential: o.Annotations["authentication.kubernetes.io/issued-credential-id"],
		PSAViolations:    o.Annotations["pod-security.kubernetes.io/audit-violations"],
		PSAEnforce:       o.Annotations["pod-security.kubernetes.io/enforce-policy"],
		PolicyFailure:    o.Annotations["validation.policy.admission.k8s.io/validation_failure"],
		Constraint:       o.AuthenticationMetadata.ImpersonationConstraint,
	}
	if r.Subresource == "proxy" {
		r.Command = append(r.Command, q["cmd"]...) // as the kubelet calls it
	}
	if limit := q.Get("limit"); limit != "" {
		_ = json.Unmarshal([]byte(limit), &r.Limit)
	}
	return r
}

type oracleSelector struct {
	MatchLabels      map[string]string `json:"matchLabels"`
	MatchExpressions []struct {
		Key      string   `json:"key"`
		Operator string   `json:"operator"`
		Values   []string `json:"values"`
	} `json:"matchExpressions"`
}

func (o oracleSelector) text() string {
	parts := joined(o.MatchLabels)
	slices.Sort(parts)
	for _, x := range o.MatchExpressions {
		p := x.Key
		if len(x.Values) > 0 {
			p += "=" + strings.Join(x.Values, "|")
		}
		if x.Operator == "NotIn" || x.Operator == "DoesNotExist" {
			p = "!" + p
		}
		parts = append(parts, p)
	}
	return strings.Join(parts, ",")
}
