// Package event holds the one normalised event that every stage reads, the keys
// of the entities it names, and the schema of fields that rules may ask about.
//
// # Ownership
//
// Strings and slices of an Event may alias the raw record it was decoded from.
// They stay valid as long as the Event is not Reset. A stage that keeps a
// string beyond its own step must clone or intern it (Interner), or it pins the
// whole input chunk in memory.
//
// # Concurrency
//
// An Event has one owner at a time. It imports nothing else of clew.
package event

import "slices"

// Kind says what was observed.
type Kind uint8

// The kinds of activity.
const (
	KindUnknown    Kind = iota
	KindAPIRequest      // a request to a Kubernetes API server
	KindCloudCall       // a call to a cloud provider's API
)

// Source names the log a record came from.
type Source uint8

// The sources. GKE's Kubernetes entries are SourceGCPAudit by origin and
// KindAPIRequest by kind.
const (
	SourceUnknown Source = iota
	SourceK8sAudit
	SourceCloudTrail
	SourceGCPAudit
	SourceAzureActivity
)

var sourceNames = [...]string{"unknown", "k8s-audit", "cloudtrail", "gcp-audit", "azure-activity"}

// String returns the source's name as rules and output write it.
func (s Source) String() string {
	if int(s) >= len(sourceNames) {
		return sourceNames[0]
	}
	return sourceNames[s]
}

// Plane is one of the three planes clew watches.
type Plane uint8

// The planes; their bits form the layer set of a trace.
const (
	PlaneNode  Plane = 1 << iota // processes and network
	PlaneK8s                     // the Kubernetes API
	PlaneCloud                   // the cloud account
)

// Plane returns the plane the event was seen on.
func (e *Event) Plane() Plane {
	if e.Kind == KindCloudCall {
		return PlaneCloud
	}
	return PlaneK8s
}

// Position is where a record stands in its input.
type Position struct {
	File   string // as the user named it; "-" is standard input
	Record int    // 1-based number of the record in the file (an item of a list counts as one)
}

// Event is one observed activity, normalised. Exactly one of the plane
// sections (K8s, Cloud) is meaningful, as Kind says; Actor and Facts serve both.
//
// An Event is large (4 KiB), most of it the two bodies of a request. It is
// passed by pointer, reused, and what every event has stands in front.
type Event struct {
	ID       ID     // derived from the record's content, see ID
	Kind     Kind   //
	Source   Source //
	Cluster  string // cluster name where the source tells it (GKE, AKS), else ""
	Pos      Position
	Time     int64 // when it happened, nanoseconds since 1970 UTC: stageTimestamp, eventTime
	Received int64 // when the request began (requestReceivedTimestamp), or Time where the source has one time only

	// Session is the key of the identity session the event belongs to: one
	// actor with one credential from one network with one kind of client. The
	// graph sets it before any other stage runs.
	Session ID

	Actor Actor
	Facts Facts // what inventory and graph knew at this event's time; empty until they ran
	K8s   Request
	Cloud CloudCall
}

// Reset empties e for reuse and keeps the capacity of its slices, but nothing
// that they held. Each part is cleared where it stands: copies of an Event
// would cost more than reading a short record.
func (e *Event) Reset() {
	e.ID, e.Session = ID{}, ID{}
	e.Kind, e.Source, e.Cluster, e.Pos = KindUnknown, SourceUnknown, "", Position{}
	e.Time, e.Received = 0, 0
	e.Actor.reset()
	e.K8s.reset()
	e.Cloud.reset()
	e.Facts.reset()
}

// ActorKind classes an actor by how it authenticated, never by a name anyone
// can take: the prefixes "system:node:" and "system:serviceaccount:" are
// assigned by the API server's authenticators.
type ActorKind uint8

// The kinds of actors.
const (
	ActorUnknown         ActorKind = iota
	ActorUser                      // a person or an outside machine: certificate, OIDC, static token, cloud principal
	ActorServiceAccount            // system:serviceaccount:<namespace>:<name>
	ActorNode                      // system:node:<name>
	ActorComponent                 // system:kube-scheduler, system:kube-controller-manager, system:apiserver, ...
	ActorAnonymous                 // system:anonymous
	ActorUnauthenticated           // no user at all (401)
	ActorBootstrap                 // system:bootstrap:<token id>
	ActorCloudService              // a cloud provider's own service acting in the account
)

var actorKindNames = [...]string{"unknown", "user", "serviceaccount", "node", "component", "anonymous", "unauthenticated", "bootstrap", "cloudservice"}

// String returns the kind's name as rules write it.
func (k ActorKind) String() string {
	if int(k) >= len(actorKindNames) {
		return actorKindNames[0]
	}
	return actorKindNames[k]
}

// Actor is who did it and from where, as the authenticator and the transport
// said it.
type Actor struct {
	Kind   ActorKind
	Name   string   // Kubernetes username, or the cloud principal's ARN, e-mail, UPN or object id
	UID    string   // user.uid, or the cloud principal's unique id
	Groups []string // Kubernetes groups

	Namespace      string // of a service account
	ServiceAccount string // name without namespace

	// Credential identifies what authenticated, exactly: "JTI=<uuid>",
	// "X509SHA256=<hex>", "legacy:<namespace>/<secret>", "bootstrap:<id>",
	// "aws:<access key id>", "gcpkey:<key id>", "azure:<uti or key id>"; ""
	// when the log does not tell.
	Credential string
	PodUID     string // pod the token is bound to
	PodName    string
	NodeName   string // node of that pod, or of a node identity
	NodeUID    string

	// Cloud principal behind a Kubernetes request (EKS access key, AKS oid,
	// GKE principal e-mail), or the cloud call's own.
	AccessKey string // AWS access key id
	ARN       string // full principal ARN, session included
	Role      string // role ARN, service account e-mail or managed identity the session acts as
	Session   string // role session name; chosen by the caller, never a key
	Account   string // account, project or subscription id of the principal
	Type      string // provider's own class: AssumedRole, IAMUser, Root, ServicePrincipal, ...
	MFA       bool

	Impersonated       string   // impersonatedUser.username, or the last element of a GCP delegation
	ImpersonatedGroups []string //
	ImpersonatedUID    string

	IP        string   // the address the server itself saw: last element of sourceIPs
	ForgedIPs []string // client-supplied earlier elements (X-Forwarded-For)
	Agent     string   // user agent, client-supplied
}

// Joins reports whether the actor is an identity that nodes join the cluster
// with, before they have one of their own. The API server decides about both
// kind and groups.
func (a *Actor) Joins() bool {
	return a.Kind == ActorBootstrap || slices.Contains(a.Groups, "system:bootstrappers")
}

func (a *Actor) reset() {
	// The decoders take the last of the addresses off ForgedIPs.
	groups, impersonated, forged := emptied(a.Groups), emptied(a.ImpersonatedGroups), emptied(a.ForgedIPs[:cap(a.ForgedIPs)])
	*a = Actor{}
	a.Groups, a.ImpersonatedGroups, a.ForgedIPs = groups, impersonated, forged
}

// maxKept bounds the elements whose memory an event keeps for its next use. Of
// thousands of events that take turns each meets the largest role of the
// cluster once: without a bound all of them would keep room for it.
const maxKept = 16

// emptied returns s without its elements but with its memory, unless that is
// large. The elements are cleared: an event that waits to be used again would
// otherwise hold on to the chunk of input that their strings stand in, and
// thousands wait.
func emptied[T any](s []T) []T { return emptiedTo(s, maxKept) }

// emptiedTo is emptied for elements that are large: it keeps the memory of at
// most n.
func emptiedTo[T any](s []T, n int) []T {
	if cap(s) > n {
		return nil
	}
	clear(s)
	return s[:0]
}
