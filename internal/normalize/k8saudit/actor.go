package k8saudit

import (
	"strings"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/normalize/jsonscan"
)

// user reads the authenticated user.
func (d *Decoder) user(a *event.Actor) {
	s := &d.scan
	for more := s.Object(); more; more = s.NextKey() {
		switch string(s.Key()) {
		case "username":
			s.Str(&a.Name)
		case "uid":
			s.Str(&a.UID)
		case "groups":
			a.Groups = s.Strs(a.Groups[:0])
		case "extra":
			d.extra(a)
		default:
			s.Skip()
		}
	}
}

func (d *Decoder) impersonated(a *event.Actor) {
	s := &d.scan
	for more := s.Object(); more; more = s.NextKey() {
		switch string(s.Key()) {
		case "username":
			s.Str(&a.Impersonated)
		case "uid":
			s.Str(&a.ImpersonatedUID)
		case "groups":
			a.ImpersonatedGroups = s.Strs(a.ImpersonatedGroups[:0])
		default:
			s.Skip()
		}
	}
}

// extra reads user.extra: what the authenticator knows beyond the name. Values
// are lists, of which the first counts.
func (d *Decoder) extra(a *event.Actor) {
	s := &d.scan
	for more := s.Object(); more; more = s.NextKey() {
		switch string(s.Key()) {
		case "authentication.kubernetes.io/credential-id":
			first(s, &a.Credential)
		case "authentication.kubernetes.io/pod-name":
			first(s, &a.PodName)
		case "authentication.kubernetes.io/pod-uid":
			first(s, &a.PodUID)
		case "authentication.kubernetes.io/node-name":
			first(s, &a.NodeName)
		case "authentication.kubernetes.io/node-uid":
			first(s, &a.NodeUID)
		case "arn":
			first(s, &a.ARN)
		case "canonicalArn":
			first(s, &a.Role)
		case "sessionName":
			first(s, &a.Session)
		case "accessKeyId":
			first(s, &d.top.accessKey)
		case "principalId", "sigs.k8s.io/aws-iam-authenticator/principalId", "oid":
			first(s, &d.top.principal)
		default:
			s.Skip()
		}
	}
}

// first reads the first string of a list into dst.
func first(s *jsonscan.Scanner, dst *string) {
	more := s.Array()
	if more {
		s.Str(dst)
		more = s.NextElem()
	}
	for ; more; more = s.NextElem() {
		s.Skip()
	}
}

// actor derives what the record does not say in so many words.
func (d *Decoder) actor(e *event.Event) {
	a := &e.Actor
	if n := len(a.ForgedIPs); n > 0 {
		a.IP, a.ForgedIPs = a.ForgedIPs[n-1], a.ForgedIPs[:n-1]
	}
	classify(a, e.K8s.Code)
	a.AccessKey = d.top.accessKey
	if a.UID == "" {
		a.UID = d.top.principal
	}
	if a.ARN != "" {
		awsPrincipal(a)
	}
	if a.Credential == "" {
		a.Credential = d.credential(a)
	}
}

// classify sets Kind from the prefixes that only the API server's
// authenticators hand out, and the names they contain.
func classify(a *event.Actor, code int) {
	switch {
	case a.Name == "":
		if code == 401 {
			a.Kind = event.ActorUnauthenticated
		}
		return
	case a.Name == "system:anonymous":
		a.Kind = event.ActorAnonymous
		return
	case !strings.HasPrefix(a.Name, "system:"):
		a.Kind = event.ActorUser
		return
	}
	a.Kind = event.ActorComponent
	if namespace, name, ok := event.SplitServiceAccount(a.Name); ok {
		a.Kind, a.Namespace, a.ServiceAccount = event.ActorServiceAccount, namespace, name
	} else if node, ok := strings.CutPrefix(a.Name, "system:node:"); ok && node != "" {
		a.Kind = event.ActorNode
		if a.NodeName == "" {
			a.NodeName = node
		}
	} else if id, ok := strings.CutPrefix(a.Name, "system:bootstrap:"); ok && id != "" {
		a.Kind = event.ActorBootstrap
	}
}

// awsPrincipal reads account and class of principal from the ARN that the
// aws-iam-authenticator reports, arn:partition:service:region:account:resource.
func awsPrincipal(a *event.Actor) {
	rest := a.ARN
	for range 4 {
		_, rest, _ = strings.Cut(rest, ":")
	}
	account, resource, ok := strings.Cut(rest, ":")
	if !ok {
		return
	}
	a.Account = account
	class, _, _ := strings.Cut(resource, "/")
	switch class {
	case "assumed-role":
		a.Type = "AssumedRole"
	case "user":
		a.Type = "IAMUser"
	case "federated-user":
		a.Type = "FederatedUser"
	case "root":
		a.Type = "Root"
	}
	if a.Type != "AssumedRole" {
		a.Role = "" // canonicalArn repeats the principal itself
	}
}

// credential names the credential where the authenticator gave it no id.
func (d *Decoder) credential(a *event.Actor) string {
	arena := &d.scan.Arena
	switch {
	case d.top.accessKey != "":
		return arena.Join("aws:", d.top.accessKey, "")
	case d.top.legacySecret != "" && a.Kind == event.ActorServiceAccount:
		return arena.Join(arena.Join("legacy:", a.Namespace, "/"), d.top.legacySecret, "")
	case a.Kind == event.ActorBootstrap:
		return strings.TrimPrefix(a.Name, "system:") // leaves "bootstrap:<id>"
	}
	return ""
}
