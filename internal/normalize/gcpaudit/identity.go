package gcpaudit

import (
	"cmp"
	"strings"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/normalize"
)

// actor fills who called and from where. Kubernetes users are classed by the
// prefixes that only the API server's authenticators assign; a Google account
// is an e-mail address and can have none of them.
func (r *entry) actor(a *event.Actor) {
	auth := &r.Payload.Auth
	a.Name = cmp.Or(auth.Email, auth.Subject)
	a.Impersonated = auth.Selector
	a.IP = normalize.Address(r.Payload.Metadata.CallerIP)
	a.Agent = r.Payload.Metadata.Agent
	if i := strings.LastIndex(auth.KeyName, "/keys/"); i >= 0 {
		a.Credential = "gcpkey:" + auth.KeyName[i+len("/keys/"):]
	}
	a.Kind = event.ActorUser
	switch {
	case a.Name == "" && r.Payload.Status.Code == unauthenticated:
		a.Kind = event.ActorUnauthenticated
	case a.Name == "":
		a.Kind = event.ActorUnknown
	case strings.HasPrefix(a.Name, "system:"):
		kubernetesActor(a)
	default:
		r.googleActor(a)
	}
}

func kubernetesActor(a *event.Actor) {
	kind, rest, _ := strings.Cut(strings.TrimPrefix(a.Name, "system:"), ":")
	a.Kind = event.ActorComponent
	switch kind {
	case "serviceaccount":
		ns, sa, ok := strings.Cut(rest, ":")
		if ok {
			a.Kind, a.Namespace, a.ServiceAccount = event.ActorServiceAccount, ns, sa
		}
	case "node":
		a.Kind, a.NodeName = event.ActorNode, rest
	case "bootstrap":
		a.Kind, a.Credential = event.ActorBootstrap, "bootstrap:"+rest
	case "anonymous":
		a.Kind = event.ActorAnonymous
	}
}

const serviceAccountDomain = ".gserviceaccount.com"

// googleActor fills the account behind an e-mail address or a federated subject.
func (r *entry) googleActor(a *event.Actor) {
	auth := &r.Payload.Auth
	a.Type = "User"
	a.UID = auth.Subject
	_, domain, _ := strings.Cut(a.Name, "@")
	switch {
	case strings.HasSuffix(domain, serviceAccountDomain):
		a.Type, a.Role = "ServiceAccount", a.Name
		a.Account = strings.TrimSuffix(domain, ".iam"+serviceAccountDomain)
		if a.Account == domain { // default accounts: no project in the address
			a.Account = ""
		}
	case auth.Email == "":
		a.Type = "FederatedIdentity"
	}
}

// identity fills whose credential was used or handed out.
func (r *entry) identity(c *event.CloudCall) {
	p := r.Payload
	c.WebIdentity, c.IdentityIssuer = workloadIdentity(p.Auth.Subject)
	for _, d := range p.Auth.Delegation {
		who := cmp.Or(d.FirstParty.Email, d.Subject)
		c.Delegation = normalize.AppendNew(c.Delegation, who)
		if id, issuer := workloadIdentity(who); id != "" && c.WebIdentity == "" {
			c.WebIdentity, c.IdentityIssuer = id, issuer
		}
	}
	if ns, sa, ok := event.SplitServiceAccount(c.WebIdentity); ok {
		c.PodNamespace, c.PodSA = ns, sa
	}
	method := p.Method[strings.LastIndexByte(p.Method, '.')+1:]
	switch method {
	case "GenerateAccessToken", "GenerateIdToken", "SignBlob", "SignJwt":
		c.IssuedRole = r.targetAccount()
	case "CreateServiceAccountKey":
		var made named
		normalize.Part(p.Response, &made)
		name := string(made.Name) // projects/<p>/serviceAccounts/<e-mail>/keys/<id>
		if i := strings.LastIndex(name, "/keys/"); i >= 0 {
			c.IssuedKey = name[i+len("/keys/"):]
		}
		c.IssuedRole = cmp.Or(accountOf(name), r.targetAccount())
	}
}

// targetAccount returns the e-mail address or unique id of the service account
// that the call is about.
func (r *entry) targetAccount() string {
	var req named
	normalize.Part(r.Payload.Request, &req)
	return cmp.Or(r.Resource.Labels.Email, accountOf(string(req.Name)), accountOf(r.Payload.Resource))
}

func accountOf(name string) string {
	_, rest, ok := strings.Cut(name, "serviceAccounts/")
	if !ok {
		return ""
	}
	account, _, _ := strings.Cut(rest, "/")
	return account
}

// workloadIdentity returns the Kubernetes service account in a principal
// subject of Workload Identity Federation for GKE, as
// system:serviceaccount:<namespace>:<name>, and the pool that issued it.
// Known forms are "serviceAccount:<project>.svc.id.goog[<ns>/<name>]" and
// "principal://iam.googleapis.com/<pool>/subject/ns/<ns>/sa/<name>".
func workloadIdentity(subject string) (id, issuer string) {
	s := strings.TrimPrefix(subject, "serviceAccount:")
	if pool, rest, ok := strings.Cut(s, "["); ok && strings.HasSuffix(pool, ".svc.id.goog") {
		if ns, sa, ok := strings.Cut(strings.TrimSuffix(rest, "]"), "/"); ok {
			return event.ServiceAccountUser(ns, sa), pool
		}
	}
	s, ok := strings.CutPrefix(subject, "principal://iam.googleapis.com/")
	if !ok {
		return "", ""
	}
	pool, rest, ok := strings.Cut(s, "/subject/ns/")
	if !ok {
		return "", ""
	}
	ns, sa, ok := strings.Cut(rest, "/sa/")
	if !ok {
		return "", ""
	}
	return event.ServiceAccountUser(ns, sa), pool
}
