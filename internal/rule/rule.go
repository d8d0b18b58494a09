// Package rule is the format of detection content: one YAML file a rule, with
// its condition in CEL, its message, its benign twins and its own tests, and
// lists of values that conditions name.
//
// Parsing is strict: whatever is not understood is a Problem with file, line and
// column, and all problems of a file are reported at once. Load reads a whole
// pack; Lint says what is allowed but unwise. Package condition holds the
// language, package ruletest runs the tests of a rule.
package rule

import (
	"encoding/json"
	"time"

	"github.com/clew-sec/clew/internal/event"
)

// Status says how far a rule can be trusted.
type Status uint8

// The statuses.
const (
	Stable     Status = iota
	Incubating        // new: reported, not yet proven on benign recordings
	Deprecated        // kept for its id, never evaluated
)

var statusNames = [...]string{"stable", "incubating", "deprecated"}

// String returns the status as a rule file writes it.
func (s Status) String() string {
	if int(s) >= len(statusNames) {
		return ""
	}
	return statusNames[s]
}

// MarshalText writes the status's name.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Rule is one rule file that parsed without a problem.
type Rule struct {
	ID             string
	Title          string
	Severity       event.Severity
	Techniques     []string     // MS-TA… and ATT&CK ids, as written, at least one MS-TA…
	Tactic         event.Tactic // of the file, or the first of the first MS technique
	Source         event.Source // SourceK8sAudit stands for every Kubernetes API request, whatever log it came from
	Status         Status
	Description    string
	When           string        // CEL, see package condition
	Once           time.Duration // 0: every match is a flag
	Flag           string        // message template, see Template
	FalsePositives []string
	Response       string
	Reviewed       string // why an exemption by name was accepted; "" when there is none
	Tests          Tests

	File      string   // path within the pack
	whenField *node    // where the condition stands, to map its positions
	flagField *node    // likewise the message
	src       *source  // text of the file
	position  Position // of the id
}

// Kind returns the kind of events the rule looks at.
func (r *Rule) Kind() event.Kind {
	if r.Source == event.SourceK8sAudit {
		return event.KindAPIRequest
	}
	return event.KindCloudCall
}

// Text returns the file as it was read.
func (r *Rule) Text() string { return r.src.text }

// ConditionPosition returns where the character at offset (in code points) of
// When stands in the file.
func (r *Rule) ConditionPosition(offset int) Position { return r.src.place(r.whenField, offset) }

// Tests are the samples a rule carries.
type Tests struct {
	Fires  []Test // the last event of each must raise the rule
	Silent []Test // no event of any may raise it
}

// Test is one named sequence of events.
type Test struct {
	Name     string
	Events   []TestEvent
	Position Position
}

// TestEvent is one partial native record.
type TestEvent struct {
	At       time.Duration // offset from the first event, never before the previous one
	HasAt    bool          // the file says At; otherwise it is one second after the previous event
	Format   Format
	Record   json.RawMessage // the partial record as a JSON object
	Position Position
}

// Format is the native format of a test's record.
type Format string

// The formats, as a rule file writes them.
const (
	Audit      Format = "audit"
	CloudTrail Format = "cloudtrail"
	GCP        Format = "gcp"
	Azure      Format = "azure"
)

// Formats returns all formats.
func Formats() []Format { return []Format{Audit, CloudTrail, GCP, Azure} }

// List is a data file of values that conditions name as list.<name>.
type List struct {
	Name        string
	Description string
	Source      string // where the values come from
	Values      []string
	File        string
}

// Catalogue is the checked list of techniques.
type Catalogue interface {
	// Has reports whether id is a technique of the threat matrix (MS-TA…) or of
	// ATT&CK (T…).
	Has(id string) bool
	// FirstTactic returns the leftmost column of the matrix an MS-TA… id
	// stands in.
	FirstTactic(id string) (event.Tactic, bool)
}
