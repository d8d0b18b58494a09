package event

// Facts is what inventory and graph knew when the event happened: the lineage
// of the actor's credential, what the actor did before, and what the object was.
// Ages are in seconds, -1 when the beginning was not seen.
type Facts struct {
	// SessionEnd is set on the ResponseComplete record of a streaming request
	// whose ResponseStarted record was seen: nothing new happened but the end.
	SessionEnd bool
	// Cascade is set on requests that an earlier one explains: deletes of the
	// namespace controller in a namespace being deleted, of the garbage
	// collector after an owner's deletion.
	Cascade bool

	Actor  ActorFacts
	Target TargetFacts
	Change ChangeFacts
	Grants GrantFacts
}

// ActorFacts is the lineage and recent behaviour of the credential in use.
type ActorFacts struct {
	System       bool // a genuine control-plane component or built-in controller
	Controller   bool // a workload's own service account from its own pod, with a routine older than an hour of log or a list+watch pattern
	Proxy        bool // an authenticating proxy in its own place: it acts for at least three people and does nearly nothing for itself
	Suspect      bool // a lineage fact speaks against the credential, see docs/fields.md
	FirstSeen    bool // first event of this credential
	AgeS         int  // since the credential was first seen or issued
	NewNetwork   bool // seen before, but never from this network (/24, /64)
	Networks     int  // networks it was seen from, this one included
	Concurrent   bool // another network used it within the last 10 minutes
	NetworkAgeS  int  // since its first use from this network when another one was known before: 0 with NewNetwork; -1 on its first network
	YoungNetwork bool // from a network younger than seven days for it (NetworkAgeS), which neither the cluster nor two other people's home vouch for
	NewAgent     bool // seen before, but never with this user-agent family
	Usual        bool // this identity did such a thing before the last 10 minutes, from a place that was established then
	PodMismatch  bool // bound to a pod, used from neither that pod's nor its node's addresses
	NodeMismatch bool // node identity from an address other than that node's
	MintedBy     string
	// MintedForeign is set when the token was issued by TokenRequest of an
	// identity that is neither a kubelet, nor a control-plane component, nor
	// the service account itself.
	MintedForeign bool
	// SecretReadBy names the other identity that read the Secret this
	// credential comes from (legacy token, bootstrap token).
	SecretReadBy  string
	CertRequester string // who created the CSR this certificate comes from
	CertApprover  string // who approved it
	Settled       bool   // the credential or identity was at home in its first network for an hour or more
	CertForeign   bool   // a node's: neither the node itself nor an identity that nodes join with asked for it

	// A grant made in this log without which the request would have been refused.
	NeedsGrant  string // binding or role, "ClusterRoleBinding/name"
	GrantAgeS   int
	GrantBy     string // who made it
	SelfGranted bool   // made by this identity or by one its lineage leads back to

	// Counted over the last 10 minutes of event time, this event included.
	Refusals        int // 403 to this credential
	AuthFailures    int // 401 to this address
	ListedResources int // distinct resources listed
	SecretsRead     int // distinct secrets got by name
	SecretLists     int // lists of secrets
	Deletes         int // distinct objects deleted, cascades excluded
	DeletedKinds    int // distinct resources among them
	DataDeletes     int // those among the deleted that hold data: volumes, claims, StatefulSets, snapshots, backups
	Namespaces      int // distinct namespaces deleted
	Execs           int // distinct pods entered
	PodLogs         int // distinct pods whose log was read
	RulesReviews    int // selfsubject*reviews
	Requests        int // all requests
	CloudServices   int // distinct cloud services called
	CloudErrors     int // refused cloud calls

	// Cloud lineage.
	IssuedVia     string // web-identity, pod-identity, assume-role, instance, federation, key, ""
	IssuedTo      string // principal that obtained the credential
	IssuedToPod   string // "namespace/serviceaccount" or pod behind it
	ForeignIssued bool   // used from another network than the one it was issued to
	NodeRole      bool   // the credential of a node (instance profile, kubelet identity)
}

// TargetFacts is what was known of the object acted on.
type TargetFacts struct {
	Known          bool
	AgeS           int
	Creator        string // who created it, as far as the log shows
	CreatedByActor bool   // by this identity
	NamespaceAgeS  int
	OwnerKind      string // top of the owner chain
	OwnerName      string
	ServiceAccount string   // of the pod entered or proxied to
	Privileged     bool     // the pod entered: privileged, host namespaces or sensitive hostPath
	HostPaths      []string // of the pod entered
	ForgedOwner    bool     // pod claims a controller owner but its creator is not that controller
	Mimics         string   // existing controller whose pods' names this new name imitates
	NodeElsewhere  bool     // a certificate is asked for in the name of a node that works at another address
	Foreign        bool     // the object belongs to another identity's namespace or creator
}

// ChangeFacts is what the request changed.
type ChangeFacts struct {
	PodSpec         bool     // the pod template differs from what was known, or nothing was known
	ImagesAdded     []string // images not in the template before
	ContainersAdded []string // names of containers not in the template before (existing object only)
	Injected        []string // containers in the response that the request did not name
	InjectedBy      []string // webhook configurations credited for it
	Unattributed    bool     // the stored object has containers, env or volumes that neither request nor webhook annotation explains
	InjectorAgeS    int      // age of the youngest injecting configuration, -1 when older than the log
	InjectorBy      string   // who configured it
	InjectorChart   bool     // the configuration came with its service or namespace, by one identity: an installation
}

// GrantFacts is what an RBAC object gives, in the vocabulary of docs/fields.md.
type GrantFacts struct {
	Powers      []string // what the role or the bound role allows
	NewPowers   []string // of those, what its subjects or the role did not have before
	ClusterWide bool
	// Widens names the ClusterRoles that gain powers because they aggregate the
	// role, AggregatedPowers what they gain.
	Widens, AggregatedPowers []string

	SubjectNew   bool // every subject is a service account created by the same identity in this log (an installation)
	SubjectSelf  bool // a subject is the actor itself, whoever it acts as, a group of these, or an identity its lineage leads to
	WebhookAgeS  int  // webhook configurations: age of the service behind it
	WebhookChart bool // the service or its namespace was created by the same identity in this log
}

func (f *Facts) reset() {
	t, c, g := &f.Target, &f.Change, &f.Grants
	f.SessionEnd, f.Cascade = false, false
	f.Actor = ActorFacts{}
	f.Actor.AgeS, f.Actor.GrantAgeS, f.Actor.NetworkAgeS = -1, -1, -1

	hostPaths := emptied(t.HostPaths)
	*t = TargetFacts{}
	t.AgeS, t.NamespaceAgeS, t.HostPaths = -1, -1, hostPaths

	images, containers, injected, by := emptied(c.ImagesAdded), emptied(c.ContainersAdded), emptied(c.Injected), emptied(c.InjectedBy)
	*c = ChangeFacts{}
	c.InjectorAgeS, c.ImagesAdded, c.ContainersAdded, c.Injected, c.InjectedBy = -1, images, containers, injected, by

	powers, fresh, widens, aggregated := emptied(g.Powers), emptied(g.NewPowers), emptied(g.Widens), emptied(g.AggregatedPowers)
	*g = GrantFacts{}
	g.WebhookAgeS, g.Powers, g.NewPowers, g.Widens, g.AggregatedPowers = -1, powers, fresh, widens, aggregated
}
