// Package auth says who calls and what they may: principals with roles, the tokens
// they show, the sessions of the console, and the trail of what they did.
//
// Tokens are stored hashed. Nothing here logs or returns a token except the call
// that makes it.
package auth

import (
	"context"
	"slices"
)

// Role is what a principal may do.
type Role string

// The roles. Viewer, Analyst and Admin are people's: each may what the one before
// may. The others are good for one thing only, so that a token that lies about on
// some machine opens nothing else.
const (
	Public  Role = "public"  // minimum of routes that need nobody; no principal has it
	Viewer  Role = "viewer"  // reads
	Analyst Role = "analyst" // triages, comments, suppresses
	Admin   Role = "admin"   // tokens, sources, configuration
	Ingest  Role = "ingest"  // posts to the one source it is bound to
	Metrics Role = "metrics" // reads /metrics; viewers may too
	Setup   Role = "setup"   // makes the first administrator, once
)

// people are the roles that stand in a row.
var people = [...]Role{Viewer, Analyst, Admin}

// Valid reports whether a principal can have r.
func (r Role) Valid() bool {
	return r == Ingest || r == Metrics || r == Setup || slices.Contains(people[:], r)
}

// May reports whether a principal with role r may call what asks for least. Only
// the relations of the constants hold: an administrator may not post events.
func (r Role) May(least Role) bool {
	if least == Public || r == least {
		return r.Valid() || least == Public
	}
	have := slices.Index(people[:], r)
	return have >= 0 && (least == Metrics || slices.Index(people[:], least) >= 0 && slices.Index(people[:], least) <= have)
}

// Principal is who calls.
type Principal struct {
	ID     string // of the token, or "cert:" and the name in a client certificate
	Name   string // given by whoever made the token; not unique
	Role   Role
	Source string // the one source an Ingest principal may post to
}

type principalKey struct{}

// WithPrincipal returns a context that carries p.
func WithPrincipal(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// FromContext returns the principal of a request, false on a public route.
func FromContext(ctx context.Context) (Principal, bool) {
	p, ok := ctx.Value(principalKey{}).(Principal)
	return p, ok
}
