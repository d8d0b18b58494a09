package graph

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/clew-sec/clew/internal/event"
)

// maxReaders bounds the readers remembered of one secret, maxSessionsPerCred
// the sessions of one credential, maxAccountUnits the workloads of one account.
const (
	maxReaders         = 8
	maxSessionsPerCred = 8
	maxAccountUnits    = 16
)

func (g *Graph) key(parts ...string) event.ID {
	return keyOf(&g.hash, parts...)
}

// linkOrigin links a new session to whatever brought its credential about.
func (g *Graph) linkOrigin(s *session, e *event.Event) {
	o, ok := g.origins.get(s.Cred)
	if ok {
		g.applyOrigin(s, e, o)
	}
	switch kind, rest, _ := strings.Cut(e.Actor.Credential, ":"); kind {
	case "legacy":
		namespace, name, _ := strings.Cut(rest, "/")
		g.linkSecret(s, e, namespace, name)
	case "bootstrap":
		g.linkSecret(s, e, "kube-system", "bootstrap-token-"+rest)
	}
	g.linkCloudOrigin(s, e)
}

// applyOrigin uses an exact origin: token issue (L8), CSR (L10), cloud key (L21).
func (g *Graph) applyOrigin(s *session, e *event.Event, o origin) {
	l := &s.Lineage
	kind := LinkToken
	switch {
	case strings.HasPrefix(e.Actor.Credential, "X509SHA256="):
		kind = LinkCertificate
		l.CertRequester = o.User
		l.CertForeign = e.Actor.Kind == event.ActorNode && o.User != s.User && !o.Joins
		if o.Approver != nil {
			l.CertApprover = o.Approver.User
		}
	case o.Lineage != nil:
		kind = LinkAssumeRole
		*l = *o.Lineage
	default:
		l.MintedBy = o.User
		l.MintedForeign = !o.Native && o.User != e.Actor.Name
	}
	if o.Approver != nil && !o.Approver.Barrier {
		g.link(s, o.Approver.Unit, Link{Type: kind, Grade: Exact, Strength: weightExact, Label: o.Label})
		s.inherit(*o.Approver)
	}
	if o.Barrier || o.Native {
		return
	}
	g.link(s, o.Unit, Link{Type: kind, Grade: Exact, Strength: weightExact, Label: o.Label})
	s.inherit(o)
}

// linkSecret links a session whose credential comes from a Secret to those who
// read or created it (L9). A credential at work in its place before the read is
// not explained by it.
func (g *Graph) linkSecret(s *session, e *event.Event, namespace, name string) {
	if f := &e.Facts.Actor; !f.FirstSeen && !s.Foreign {
		return
	}
	from := g.holders(s, namespace, name)
	for _, o := range from {
		l := Link{Type: LinkSecret, Grade: Exact, Strength: weightExact, Label: namespace + "/" + name, Candidates: len(from)}
		switch {
		case o.Made:
			l.Type, l.Grade, l.Strength = LinkMadeSecret, Strong, weightMade
		case o.Listed:
			l.Grade, l.Strength = Strong, weightListed
		}
		if len(from) > 1 && l.Grade != Exact {
			l.Grade, l.Strength = Heuristic, l.Strength/float64(len(from))
		}
		s.holdFrom(o, from)
		g.link(s, o.Unit, l)
		s.inherit(o)
	}
}

// holders returns who may hold what a Secret contains, routine readers left out.
func (g *Graph) holders(s *session, namespace, name string) []origin {
	named, _ := g.readers.get(g.key("secret", namespace, name))
	listed, _ := g.readers.get(g.key("secrets", namespace))
	wide, _ := g.readers.get(g.key("secrets", ""))
	return slices.DeleteFunc(slices.Concat(named, listed, wide), func(o origin) bool {
		return o.Native || o.Barrier || o.User == s.User
	})
}

// holdFrom says how the session came by a Secret that o read or made. Whoever
// makes a token Secret and reads it hands the token out: he issued it.
func (s *session) holdFrom(o origin, all []origin) {
	switch {
	case o.Made:
	case slices.ContainsFunc(all, func(x origin) bool { return x.Made && x.User == o.User }):
		s.Lineage.MintedBy, s.Lineage.MintedForeign = o.User, true
	case !o.Listed || s.Lineage.SecretReadBy == "": // who read it by name goes before who listed all
		s.Lineage.SecretReadBy = o.User
	}
}

// noteSecretRead remembers who may hold what a Secret contains.
func (g *Graph) noteSecretRead(s *session, e *event.Event) {
	r := &e.K8s
	if r.Resource != "secrets" || r.Group != "" || r.Subresource != "" || !r.Succeeded() {
		return
	}
	o := s.originOf(e)
	k := g.key("secret", r.Namespace, r.Name)
	switch r.Verb {
	case "get", "update", "patch":
	case "create":
		o.Made = true
	case "list", "watch":
		o.Listed = true
		if r.Name == "" {
			k = g.key("secrets", r.Namespace)
		}
	default:
		return
	}
	if o.Native {
		return
	}
	known, _ := g.readers.get(k)
	known = slices.DeleteFunc(slices.Clone(known), func(x origin) bool { return x.Unit == o.Unit && x.Made == o.Made })
	if len(known) >= maxReaders {
		known = known[1:]
	}
	g.readers.put(k, append(known, o))
}

// noteIssue remembers what this request brought about: tokens and certificates.
func (g *Graph) noteIssue(s *session, e *event.Event) {
	r := &e.K8s
	if !r.Succeeded() {
		return
	}
	if r.IssuedCredential != "" {
		o := s.originOf(e)
		o.Label = g.keep(event.ServiceAccountUser(r.Namespace, r.Name))
		g.origins.put(g.key(r.IssuedCredential), o)
	}
	if r.Resource == "certificatesigningrequests" {
		g.noteCSR(s, e)
	}
}

// noteCSR follows a certificate signing request: created, approved, signed.
// The certificate's hash is the credential id of whoever presents it.
func (g *Graph) noteCSR(s *session, e *event.Event) {
	r := &e.K8s
	k := g.key("csr", r.Name)
	switch {
	case r.Verb == "create":
		o := s.originOf(e)
		o.Label = g.keep(r.Name)
		o.Joins = e.Actor.Joins()
		g.origins.put(k, o)
	case r.Subresource == "approval":
		o, _ := g.origins.get(k)
		by := s.originOf(e)
		o.Approver = &by
		g.origins.put(k, o)
	}
	cert := r.Response.CSRCert
	if cert == "" {
		cert = r.Object.CSRCert
	}
	der := event.DecodePEM(cert)
	if der == nil {
		return
	}
	o, ok := g.origins.get(k)
	if !ok {
		return
	}
	sum := sha256.Sum256(der)
	g.origins.put(g.key("X509SHA256="+hex.EncodeToString(sum[:])), o)
}

// linkedFrom reports whether this event has shown a more exact link from unit.
func (g *Graph) linkedFrom(unit event.ID) bool {
	return slices.ContainsFunc(g.links, func(l Link) bool { return l.From == unit })
}

// peer is a session as others of its credential see it.
type peer struct {
	Base, Unit       event.ID
	Foreign, Barrier bool
}

// linkSameCredential links a session to others of the same credential: what a
// stolen credential does from one place belongs to what it does from the next.
func (g *Graph) linkSameCredential(s *session, e *event.Event) {
	others, _ := g.byCred.get(s.Cred)
	for _, o := range others {
		if o.Barrier || s.Barrier || o.Unit == s.Unit || g.linkedFrom(o.Unit) {
			continue
		}
		l := Link{Type: LinkSameCredential, Grade: Exact, Strength: weightExact, Label: e.Actor.Credential}
		switch {
		case o.Base == s.Base:
			l.Strength = weightForeign
		case o.Foreign && s.Foreign:
			l.Grade, l.Strength = Strong, weightForeign
		case e.Facts.Actor.Concurrent:
			l.Grade, l.Strength = Heuristic, weightSameUser
		default:
			continue
		}
		l.Label = g.keep(l.Label)
		g.link(s, o.Unit, l)
	}
	if len(others) >= maxSessionsPerCred {
		others = others[1:]
	}
	g.byCred.put(s.Cred, append(slices.Clone(others), peer{s.Base, s.Unit, s.Foreign, s.Barrier}))
}
