package event

import "strings"

// Stage is the audit stage of a request (k8s.io/apiserver/pkg/apis/audit/v1).
type Stage uint8

// The stages, in the order they happen.
const (
	StageUnknown Stage = iota
	StageRequestReceived
	StageResponseStarted
	StageResponseComplete
	StagePanic
)

var stageNames = [...]string{"", "RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"}

// String returns the stage as the audit log writes it.
func (s Stage) String() string {
	if int(s) >= len(stageNames) {
		return ""
	}
	return stageNames[s]
}

// Level is the audit level: how much of the request was recorded.
type Level uint8

// The levels, from least to most.
const (
	LevelUnknown Level = iota
	LevelMetadata
	LevelRequest
	LevelRequestResponse
)

var levelNames = [...]string{"", "Metadata", "Request", "RequestResponse"}

// String returns the level as the audit log writes it.
func (l Level) String() string {
	if int(l) >= len(levelNames) {
		return ""
	}
	return levelNames[l]
}

// Request is a request to a Kubernetes API server.
type Request struct {
	AuditID     string // chosen by the client if it likes: never a key
	Stage       Stage
	Level       Level
	Verb        string
	Group       string // API group, "" is core
	Version     string
	Resource    string // plural, lower case
	Subresource string
	Namespace   string
	Name        string // of the object; from the response where generateName made it
	UID         string // of the object: objectRef.uid, or the response's metadata.uid
	URI         string // path and query
	Code        int    // HTTP status; 0 when the record has none
	Message     string // responseStatus.message
	Decision    string // authorization.k8s.io/decision
	Reason      string // authorization.k8s.io/reason
	DryRun      bool   // ?dryRun=All: nothing was stored whatever the code says
	Truncated   bool   // bodies were dropped for size

	// From the URI's query.
	Command       []string // exec and attach: the command
	Container     string
	TTY           bool
	Stdin         bool
	FieldManager  string
	LabelSelector string
	FieldSelector string
	Limit         int    // list page size, 0 when absent
	ProxyPath     string // path behind nodes/, pods/ or services/ proxy, with leading "/"

	// From annotations.
	IssuedCredential string   // authentication.kubernetes.io/issued-credential-id: the token this request minted
	StaleToken       bool     // authentication.k8s.io/stale-token
	MutatedBy        []string // MutatingWebhookConfigurations that changed the object (mutated=true)
	MutationPatch    []string // raw JSON patches of those, where the level carries them
	FailedOpen       []string // webhooks that failed open, "configuration/webhook"
	PSAViolations    string   // pod-security.kubernetes.io/audit-violations
	PSAEnforce       string   // pod-security.kubernetes.io/enforce-policy
	PolicyFailure    string   // validation.policy.admission.k8s.io/validation_failure
	Constraint       string   // authenticationMetadata.impersonationConstraint

	// The bodies. One with neither Present nor Skipped set is empty; it costs
	// neither decoding nor Reset a write.
	Object   Body // what the caller sent
	Response Body // what the server stored, where the level carries it
}

// reset clears field by field: an assignment of a whole Request would write
// both bodies, which most requests do not have, four times.
func (r *Request) reset() {
	r.AuditID, r.Stage, r.Level = "", StageUnknown, LevelUnknown
	r.Verb, r.Group, r.Version, r.Resource, r.Subresource = "", "", "", "", ""
	r.Namespace, r.Name, r.UID, r.URI = "", "", "", ""
	r.Code, r.Message, r.Decision, r.Reason = 0, "", "", ""
	r.DryRun, r.Truncated = false, false

	r.Command, r.Container, r.TTY, r.Stdin = emptied(r.Command), "", false, false
	r.FieldManager, r.LabelSelector, r.FieldSelector, r.Limit, r.ProxyPath = "", "", "", 0, ""

	r.IssuedCredential, r.StaleToken = "", false
	r.MutatedBy, r.MutationPatch, r.FailedOpen = emptied(r.MutatedBy), emptied(r.MutationPatch), emptied(r.FailedOpen)
	r.PSAViolations, r.PSAEnforce, r.PolicyFailure, r.Constraint = "", "", "", ""

	r.Object.reset()
	r.Response.reset()
}

// Succeeded reports whether the server did what was asked: a 2xx or the
// protocol switch of a streaming session (101), and not a dry run.
// authorization.k8s.io/decision says nothing about that.
func (r *Request) Succeeded() bool {
	return (r.Code >= 200 && r.Code < 300 || r.Code == 101) && !r.DryRun
}

// TargetName returns the name of the object the request is about: of
// pods/proxy and services/proxy, whose names are [scheme:]name[:port], without
// scheme and port.
func (r *Request) TargetName() string {
	if r.Subresource != "proxy" {
		return r.Name
	}
	first, rest, _ := strings.Cut(r.Name, ":")
	if name, _, ok := strings.Cut(rest, ":"); ok {
		return name
	}
	return first
}

// Refused reports whether the server refused the caller (401 or 403).
func (r *Request) Refused() bool { return r.Code == 401 || r.Code == 403 }

// Mutates reports whether the verb changes an object.
func (r *Request) Mutates() bool {
	switch r.Verb {
	case "create", "update", "patch", "delete", "deletecollection", "apply":
		return true
	}
	return false
}

// Body holds what clew reads of a request or response object. A partial
// object (merge patch) fills what it names; a JSON patch (array) is applied
// to an empty body path by path, its operations listed in Patch.
type Body struct {
	Present  bool     // the record carried a body that was read
	Skipped  bool     // the body was replaced (truncated, "skipped-too-big-size-object")
	Replicas int      // spec.replicas, -1 when absent; here because reset looks at it first
	Raw      string   // the body's JSON as recorded; never printed, may hold values
	Patch    []string // JSON patch operations as "op path"

	Kind         string
	Name         string
	GenerateName string
	Namespace    string
	UID          string
	Created      int64 // metadata.creationTimestamp, nanoseconds since 1970 UTC; 0 when absent
	Owners       []Owner
	Labels       []string // "key=value"
	Annotations  []string // "key=value"

	HasPodSpec     bool // the object is a pod or carries a pod template
	HostPID        bool
	HostIPC        bool
	HostNetwork    bool
	ShareProcess   bool
	NodeName       string
	ServiceAccount string
	Automount      int8 // automountServiceAccountToken: 0 unset, 1 true, -1 false
	TolerateAll    bool // a toleration with operator Exists and no key
	Containers     []Container
	Volumes        []Volume

	Schedule    string // CronJob
	Suspend     bool
	TemplateKey string // pod-template-hash label of the object's own metadata

	RoleKind string
	RoleName string
	Subjects []Subject
	Rules    []PolicyRule
	// AggregateTo lists the labels rbac.authorization.k8s.io/aggregate-to-*
	// set to "true", by their last part.
	AggregateTo []string
	// AggregateFrom lists the selectors of a ClusterRole's aggregationRule, one
	// string each: requirements joined by commas, as "key=value", "key=a|b" (one
	// of), "key" (is there), each with "!" before it when it must not hold.
	AggregateFrom []string

	Webhooks []Webhook // webhook configurations; admission policies fill Policy

	// ValidatingAdmissionPolicy, MutatingAdmissionPolicy and their bindings.
	PolicyName        string // binding: spec.policyName
	PolicyResources   []string
	PolicyExpressions []string

	CSRSigner   string
	CSRUser     string // spec.username: who asked, set by the server
	CSRRequest  string // base64 PEM as recorded
	CSRUsages   []string
	CSRApproved bool   // a condition of type Approved
	CSRDenied   bool   // a condition of type Denied
	CSRCert     string // status.certificate, base64 PEM as recorded
	ExpirationS int    // expirationSeconds of a CSR or TokenRequest, 0 when absent

	Audiences []string // TokenRequest
	BoundKind string   // TokenRequest spec.boundObjectRef
	BoundName string
	BoundUID  string

	ServiceType  string
	ExternalIPs  []string
	ExternalName string
	Ports        []int // Service ports
	Selector     []string

	SecretType string
	DataKeys   []string // keys of data/stringData of a ConfigMap or Secret

	// SubjectAccessReview, TokenReview as sent by kubelets and aggregated servers.
	ReviewUser        string
	ReviewVerb        string
	ReviewResource    string
	ReviewSubresource string
	ReviewName        string

	TargetNode string // Binding: target.name
	PodIPs     []string
	HostIP     string
	ProviderID string // Node
	NodeIPs    []string

	PreconditionUID string // DeleteOptions.preconditions.uid
}

// reset empties b unless nothing was read into it. Whoever writes into a body
// sets Present or Skipped (TestUnreadPartsAreEmpty in test/ holds the decoders
// to it), and only a body never reset has other Replicas than -1.
func (b *Body) reset() {
	if !b.Present && !b.Skipped && b.Replicas == -1 {
		return
	}
	// Element slices keep their capacity; the elements' own slices are dropped.
	*b = Body{
		Patch: emptied(b.Patch), Owners: emptied(b.Owners), Labels: emptied(b.Labels), Annotations: emptied(b.Annotations),
		Containers: emptiedTo(b.Containers, 4), Volumes: emptied(b.Volumes), Subjects: emptied(b.Subjects), Rules: emptiedTo(b.Rules, 4),
		AggregateTo: emptied(b.AggregateTo), AggregateFrom: emptied(b.AggregateFrom), Webhooks: emptied(b.Webhooks), PolicyResources: emptied(b.PolicyResources),
		PolicyExpressions: emptied(b.PolicyExpressions), CSRUsages: emptied(b.CSRUsages), Audiences: emptied(b.Audiences),
		ExternalIPs: emptied(b.ExternalIPs), Ports: emptied(b.Ports), Selector: emptied(b.Selector), DataKeys: emptied(b.DataKeys),
		PodIPs: emptied(b.PodIPs), NodeIPs: emptied(b.NodeIPs), Replicas: -1,
	}
}

// Owner is one metadata.ownerReferences entry.
type Owner struct {
	Kind, Name, UID string
	Controller      bool
}

// ContainerClass says which list of a pod spec a container stands in.
type ContainerClass uint8

// The classes of containers.
const (
	ContainerMain ContainerClass = iota
	ContainerInit
	ContainerEphemeral
)

// Container is one container of a pod spec.
type Container struct {
	Class      ContainerClass
	Name       string
	Image      string
	Command    []string
	Args       []string
	Privileged bool
	Escalation bool     // allowPrivilegeEscalation: true, said explicitly
	Unmasked   bool     // procMount: Unmasked
	CapsAdd    []string // capabilities.add without "CAP_"
	Ports      []int    // containerPort
	HostPorts  []int
	Mounts     []Mount
	EnvNames   []string
	EnvValues  []string // literal values beside EnvNames, "" for valueFrom; never printed
	SecretRefs []string // secrets named by env valueFrom and envFrom
	HasLimits  bool
	Target     string // ephemeral: targetContainerName
}

// Mount is a volumeMount.
type Mount struct {
	Volume, Path string
	ReadOnly     bool
}

// Volume is one volume of a pod spec, or the source of a PersistentVolume.
type Volume struct {
	Name      string
	Type      string // hostPath, secret, configMap, persistentVolumeClaim, projected, emptyDir, csi, local, nfs, ...
	HostPath  string // hostPath or local path
	Secret    string // secret name, also of a projected source
	Claim     string // persistentVolumeClaim
	Audiences []string
}

// Subject is an RBAC subject.
type Subject struct{ Kind, Name, Namespace string }

// PolicyRule is one rule of a Role or ClusterRole.
type PolicyRule struct {
	Verbs, Groups, Resources, Names, URLs []string
}

// Webhook is one entry of a webhook configuration.
type Webhook struct {
	Name              string
	URL               string // clientConfig.url
	ServiceNamespace  string
	ServiceName       string
	FailurePolicy     string
	Resources         []string // "group/resource", core group as "/pods"
	Operations        []string
	NamespaceSelector bool // a namespaceSelector or objectSelector narrows it
}
