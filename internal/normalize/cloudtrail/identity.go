package cloudtrail

import (
	"cmp"
	"strings"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/normalize"
)

// actor fills who called, by the type of userIdentity.
func (r *record) actor(a *event.Actor) {
	id := &r.Identity
	a.Kind = event.ActorUser
	a.Type, a.ARN, a.Account, a.UID = id.Type, id.ARN, id.Account, id.PrincipalID
	a.AccessKey = id.AccessKey
	if id.AccessKey != "" {
		a.Credential = "aws:" + id.AccessKey
	}
	a.MFA = id.Session.Attributes.MFA.True() || strings.EqualFold(string(r.parsedAdditional.MFAUsed), "Yes")
	a.Name = cmp.Or(id.ARN, id.UserName, id.PrincipalID, id.Account)
	switch id.Type {
	case "AssumedRole":
		r.assumedRole(a)
	case "AWSService":
		a.Kind = event.ActorCloudService
		a.Name = cmp.Or(id.InvokedBy, id.UserName, id.PrincipalID, r.EventSource)
	case "WebIdentityUser", "SAMLUser":
		a.Name = cmp.Or(id.UserName, id.PrincipalID)
		a.Namespace, a.ServiceAccount, _ = event.SplitServiceAccount(id.UserName)
	case "IdentityCenterUser":
		a.Name = cmp.Or(id.OnBehalfOf.UserID, id.UserName, id.PrincipalID)
		a.UID = cmp.Or(id.OnBehalfOf.UserID, id.PrincipalID)
		if a.Credential == "" && id.CredentialID != "" {
			a.Credential = "aws:" + id.CredentialID
		}
	case "AWSAccount":
		if strings.HasPrefix(strings.ToUpper(id.Account), "ANONYMOUS") {
			a.Kind, a.Name = event.ActorAnonymous, "anonymous"
		}
	case "":
		if id.ARN == "" && id.PrincipalID == "" {
			a.Kind = event.ActorUnknown
			if id.InvokedBy != "" {
				a.Kind, a.Name = event.ActorCloudService, id.InvokedBy
			}
		}
	}
}

// assumedRole names the actor by its role and keeps the session name apart.
func (r *record) assumedRole(a *event.Actor) {
	id := &r.Identity
	role, name := roleOf(id.ARN)
	a.Role = cmp.Or(id.Session.Issuer.ARN, role)
	a.Session = name
	a.Name = cmp.Or(a.Role, id.ARN, id.PrincipalID)
	// principalId is "<role id>:<session name>".
	a.UID, _, _ = strings.Cut(id.PrincipalID, ":")
}

// roleOf splits an STS ARN "arn:aws:sts::<account>:assumed-role/<role>/<session>"
// into the role's ARN, which lacks the role's path, and the session name.
func roleOf(arn string) (role, session string) {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) < 6 {
		return "", ""
	}
	rest, ok := strings.CutPrefix(parts[5], "assumed-role/")
	if !ok {
		return "", ""
	}
	name, session, _ := strings.Cut(rest, "/")
	return "arn:" + parts[1] + ":iam::" + parts[4] + ":role/" + name, session
}

// issued fills which credential the call handed out, to act as whom.
func (r *record) issued(c *event.CloudCall) {
	p, q := &r.parsedResponse, &r.parsedRequest
	c.WebIdentity = r.webIdentity()
	c.IdentityIssuer = cmp.Or(string(p.Provider), r.Identity.Session.WebID.Provider, r.Identity.Provider)
	c.IssuedKey = cmp.Or(p.Credentials.AccessKey, p.AccessKey.ID)
	if c.Error != "" || c.IssuedKey == "" && !strings.HasPrefix(c.Action, "AssumeRole") {
		return // CloudTrail may hide the key, so AssumeRole counts without one
	}
	role, name := roleOf(p.AssumedRole.ARN)
	switch {
	case p.AccessKey.ID != "":
		c.IssuedRole = r.keyOwner()
	case p.FederatedUser.ARN != "":
		c.IssuedRole = p.FederatedUser.ARN
		c.IssuedSession = p.FederatedUser.ARN[strings.LastIndexByte(p.FederatedUser.ARN, '/')+1:]
	case q.RoleARN != "" || role != "":
		c.IssuedRole = cmp.Or(q.RoleARN, role)
		c.IssuedSession = cmp.Or(name, q.SessionName)
	case q.TargetPrincipal != "":
		c.IssuedRole = q.TargetPrincipal
	case c.Action == "GetSessionToken":
		c.IssuedRole = r.Identity.ARN
	}
}

// keyOwner returns the ARN of the user that CreateAccessKey made a key for.
// The user's path is not in the record unless it is the caller itself.
func (r *record) keyOwner() string {
	user := cmp.Or(r.parsedResponse.AccessKey.UserName, r.parsedRequest.UserName)
	if user == "" || user == r.Identity.UserName {
		return r.Identity.ARN
	}
	return "arn:" + r.partition() + ":iam::" + cmp.Or(string(r.Recipient), r.Identity.Account) + ":user/" + user
}

func (r *record) webIdentity() string {
	if s := string(r.parsedResponse.WebSubject); s != "" {
		return s
	}
	if r.Identity.Type == "WebIdentityUser" {
		return r.Identity.UserName
	}
	return ""
}

// workload fills the instance or pod behind the session. Read from a session
// name it is what the caller claims; the issuing call's record tells for sure.
func (r *record) workload(c *event.CloudCall) {
	s := &r.Identity.Session
	c.RoleDelivery = string(s.Delivery)
	c.SessionCreated = normalize.Time(s.Attributes.Created)
	name := ""
	if r.Identity.Type == "AssumedRole" {
		_, name = roleOf(r.Identity.ARN)
	}
	if instanceID(name) {
		c.InstanceID = name
	}
	c.PodName = podOfSession(name)
	if ns, sa, ok := event.SplitServiceAccount(c.WebIdentity); ok {
		c.PodNamespace, c.PodSA = ns, sa
	}
	if sub := r.parsedResponse.Subject; sub.ServiceAccount != "" {
		c.PodNamespace, c.PodSA = sub.Namespace, sub.ServiceAccount
	}
	// Anyone may choose such a session name or tags; here EKS itself does.
	if c.InvokedBy != "pods.eks.amazonaws.com" && c.Action != "AssumeRoleForPodIdentity" {
		return
	}
	c.PodName = podOfSession(c.IssuedSession)
	for _, t := range r.parsedRequest.Tags {
		switch t.Key {
		case "kubernetes-pod-name":
			c.PodName = t.Value
		case "kubernetes-pod-uid":
			c.PodUID = t.Value
		case "kubernetes-namespace":
			c.PodNamespace = t.Value
		case "kubernetes-service-account":
			c.PodSA = t.Value
		}
	}
}

// instanceID reports whether a session name is an EC2 instance id.
func instanceID(s string) bool {
	hex, ok := strings.CutPrefix(s, "i-")
	return ok && (len(hex) == 8 || len(hex) == 17) && isHex(hex)
}

// podOfSession returns the pod in an EKS Pod Identity session name,
// "eks-<cluster>-<pod>-<uuid>". The cluster is taken to end at its first dash:
// where its name has one, the rest of it begins the pod name returned. EKS cuts
// long names, so what is returned is at best a pod name's beginning.
func podOfSession(s string) string {
	const uuidLen = 36
	rest, ok := strings.CutPrefix(s, "eks-")
	if !ok || len(rest) <= uuidLen+1 {
		return ""
	}
	names, uuid := rest[:len(rest)-uuidLen-1], rest[len(rest)-uuidLen:]
	if rest[len(names)] != '-' || strings.Count(uuid, "-") != 4 || !isHex(strings.ReplaceAll(uuid, "-", "")) {
		return ""
	}
	_, pod, _ := strings.Cut(names, "-")
	return pod
}

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }
