package graph

import (
	"fmt"
	"slices"

	"github.com/clew-sec/clew/internal/event"
)

// Grade says how sure a link is.
type Grade uint8

// The grades, from least to most sure.
const (
	Heuristic Grade = iota // the best of a set of candidates
	Strong                 // keys and time, normally unique
	Exact                  // one unique key on both sides
	GradeCount
)

var gradeNames = [GradeCount]string{"heuristic", "strong", "exact"}

// String returns the grade's name.
func (g Grade) String() string {
	if g >= GradeCount {
		return gradeNames[0]
	}
	return gradeNames[g]
}

// MarshalText writes the grade's name.
func (g Grade) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// UnmarshalText reads a grade's name.
func (g *Grade) UnmarshalText(b []byte) error {
	i := slices.Index(gradeNames[:], string(b))
	if i < 0 {
		return fmt.Errorf("there is no grade %q", b)
	}
	*g = Grade(i)
	return nil
}

// LinkType says what kind of cause a link is.
type LinkType uint8

// The types of links. L… are the entries of the project's catalogue of causal
// links; the last three connect activity on nodes.
const (
	LinkUnknown        LinkType = iota
	LinkToken                   // L8: TokenRequest → use of the token
	LinkSecret                  // L9: read of a Secret → use of the credential in it
	LinkMadeSecret              // L9: creation of a token Secret → use of its token
	LinkCertificate             // L10: signing request or its approval → use of the certificate
	LinkCreated                 // L12, L13: request → object it created
	LinkModified                // L12: request → object it changed
	LinkExec                    // L15, L16: exec, attach, ephemeral container, proxy, port-forward → pod
	LinkPodToken                // L5: pod → use of its token elsewhere
	LinkGrant                   // L17: binding or role → request that needed it
	LinkMutated                 // L18: webhook or policy → object it changed
	LinkAssumeRole              // L21: call that issued a cloud credential → its use
	LinkCloudIdentity           // L21-L23: pod or service account → cloud session
	LinkCloudAccess             // L21-L23: cloud principal → cluster access it made or fetched
	LinkSameCredential          // one credential from another place or later
	LinkMetadata                // process → instance metadata → node role session
	LinkFile                    // L3: file written → file executed
	LinkConnection              // L4: connection with both ends seen
	LinkTypeCount
)

var linkNames = [LinkTypeCount]string{
	"unknown", "token", "secret", "made-secret", "certificate", "created", "modified", "exec", "pod-token", "grant",
	"mutated", "assume-role", "cloud-identity", "cloud-access", "same-credential", "metadata", "file", "connection",
}

// String returns the type's name as output writes it.
func (t LinkType) String() string {
	if t >= LinkTypeCount {
		return linkNames[0]
	}
	return linkNames[t]
}

// Link is a cause between two units: From led to To.
type Link struct {
	From, To event.ID
	Type     LinkType
	Grade    Grade
	// Strength is in (0, 1]: the type's weight, divided by the number of
	// candidates of a heuristic link.
	Strength   float64
	Candidates int    // at least 1; more than one makes a link heuristic
	Time       int64  // when it was observed to act, nanoseconds
	Label      string // what carried the cause: token id, secret, binding, pod
}

// Weights of the types, from the table of trace-algorithm.md section 2.
const (
	weightExact     = 0.95
	weightModified  = 0.9
	weightListed    = 0.5 // the secret was in a list: one of many
	weightSameUser  = 0.45
	weightForeign   = 0.8
	weightFetched   = 0.6
	weightMade      = 0.5 // whoever made a Secret rather than read it
	weightByAccount = 0.5 // only the service account is known
)
