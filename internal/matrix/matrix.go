// Package matrix is the catalogue of attack techniques that rules refer to, and
// draws which of them the rules cover.
//
// # Content
//
// The columns and cells are those of Microsoft's Threat Matrix for Kubernetes,
// edition of 2022: 10 tactics, 40 techniques, 48 cells (a technique may stand in
// several columns). Beside them stands a checked list of MITRE ATT&CK technique
// ids that rules may name: those of the Containers platform and those of cloud
// accounts around a cluster.
//
// # Concurrency
//
// A Matrix does not change after Load and may be shared.
package matrix

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/clew-sec/clew/internal/event"
)

//go:embed catalogue.json
var catalogue []byte

// Grade says what a kind of source can do for a technique.
type Grade string

// The grades.
const (
	Blind      Grade = ""  // shows nothing
	Supporting Grade = "S" // helps, but cannot be the first signal
	Primary    Grade = "P" // can be the first live signal
)

// Coverage grades each kind of source for one technique.
type Coverage struct {
	Agent         Grade `json:"agent,omitempty"`
	K8sAudit      Grade `json:"k8sAudit,omitempty"`
	CloudAudit    Grade `json:"cloudAudit,omitempty"`
	Posture       Grade `json:"posture,omitempty"`
	Vulnerability Grade `json:"vulnerability,omitempty"`
}

// Technique is one technique of the threat matrix or of ATT&CK.
type Technique struct {
	ID   string // "MS-TA9006" or "T1609", "T1552.007"
	Name string
	// Description is one sentence; empty for ATT&CK techniques.
	Description string
	// Tactics are the columns the technique stands in, as the catalogue orders
	// them: the first is the one it is mainly known for. ATT&CK tactics are put
	// into the column nearest to them. Never empty.
	Tactics []event.Tactic
	// AttackTactics are ATT&CK's own short names ("credential-access"); empty
	// for techniques of the threat matrix.
	AttackTactics []string
	// Attack are the ATT&CK techniques a technique of the threat matrix
	// corresponds to; empty for ATT&CK techniques.
	Attack []string
	// Coverage is known for techniques of the threat matrix only.
	Coverage Coverage
}

// Microsoft reports whether t is a technique of the threat matrix, not of ATT&CK.
func (t *Technique) Microsoft() bool { return strings.HasPrefix(t.ID, "MS-") }

// Matrix is the catalogue. Make one with Load.
type Matrix struct {
	name, attackName string
	techniques       []Technique // threat matrix first, then ATT&CK, each by id
	index            map[string]int
	columns          [event.TacticCount][]string
}

// The shape of catalogue.json.
type catalogueFile struct {
	Matrix     string             `json:"matrix"`
	Attack     string             `json:"attack"`
	Columns    []catalogueColumn  `json:"columns"`
	Techniques []catalogueEntry   `json:"techniques"`
	AttackList []catalogueEntryAT `json:"attackTechniques"`
}

type catalogueColumn struct {
	Tactic     event.Tactic `json:"tactic"`
	Techniques []string     `json:"techniques"`
}

type catalogueEntry struct {
	ID          string         `json:"id"`
	Name        string         `json:"name"`
	Tactics     []event.Tactic `json:"tactics"`
	Attack      []string       `json:"attack"`
	Description string         `json:"description"`
	Coverage    Coverage       `json:"coverage"`
}

type catalogueEntryAT struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	Tactics []string `json:"tactics"`
}

// Load parses the catalogue built into the program. The caller keeps the result
// and hands it on; every call parses anew. A catalogue that cannot be read is a
// broken build, so Load panics then; a test holds it readable.
func Load() *Matrix {
	m, err := parse(catalogue)
	if err != nil {
		panic(err)
	}
	return m
}

func parse(data []byte) (*Matrix, error) {
	var f catalogueFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("parsing the technique catalogue: %w", err)
	}
	m := &Matrix{name: f.Matrix, attackName: f.Attack, index: make(map[string]int)}
	for _, e := range f.Techniques {
		m.add(Technique{ID: e.ID, Name: e.Name, Description: e.Description, Tactics: e.Tactics, Attack: e.Attack, Coverage: e.Coverage})
	}
	for _, e := range f.AttackList {
		cols, err := columnsOf(e.Tactics)
		if err != nil {
			return nil, fmt.Errorf("technique %s: %w", e.ID, err)
		}
		m.add(Technique{ID: e.ID, Name: e.Name, Tactics: cols, AttackTactics: e.Tactics})
	}
	for _, c := range f.Columns {
		m.columns[c.Tactic] = c.Techniques
	}
	return m, nil
}

func (m *Matrix) add(t Technique) {
	m.index[t.ID] = len(m.techniques)
	m.techniques = append(m.techniques, t)
}

// attackColumn puts each ATT&CK tactic into a column of the threat matrix,
// which has none for exfiltration and for command and control. What is taken
// stands with what is collected; Microsoft itself put the proxy technique of
// command and control under defense evasion.
func attackColumn(tactic string) (event.Tactic, error) {
	switch tactic {
	case "exfiltration":
		return event.Collection, nil
	case "command-and-control":
		return event.DefenseEvasion, nil
	}
	for t := range event.Tactic(event.TacticCount) {
		if shortName(t) == tactic {
			return t, nil
		}
	}
	return 0, fmt.Errorf("ATT&CK tactic %q has no column", tactic)
}

// shortName returns ATT&CK's name of a column: "Defense Evasion" is "defense-evasion".
func shortName(t event.Tactic) string {
	return strings.ReplaceAll(strings.ToLower(t.String()), " ", "-")
}

func columnsOf(tactics []string) ([]event.Tactic, error) {
	var out []event.Tactic
	for _, name := range tactics {
		c, err := attackColumn(name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out, nil
}

// Has reports whether id is a technique rules may name.
func (m *Matrix) Has(id string) bool {
	_, ok := m.index[id]
	return ok
}

// Technique returns the technique with that id. Its slices belong to the Matrix.
func (m *Matrix) Technique(id string) (Technique, bool) {
	i, ok := m.index[id]
	if !ok {
		return Technique{}, false
	}
	return m.techniques[i], true
}

// FirstTactic returns the column the technique is mainly known for.
func (m *Matrix) FirstTactic(id string) (event.Tactic, bool) {
	i, ok := m.index[id]
	if !ok {
		return 0, false
	}
	return m.techniques[i].Tactics[0], true
}

// Techniques returns every technique: those of the threat matrix by id, then
// those of ATT&CK by id. The caller owns the slice, not the slices in it.
func (m *Matrix) Techniques() []Technique {
	return slices.Clone(m.techniques)
}

// Cells returns the ids of a column from top to bottom. The caller owns the slice.
func (m *Matrix) Cells(t event.Tactic) []string {
	if int(t) >= len(m.columns) {
		return nil
	}
	return slices.Clone(m.columns[t])
}
