package event

import "fmt"

// Tactic is a column of Microsoft's Threat Matrix for Kubernetes, in its order.
type Tactic uint8

// The ten tactics.
const (
	InitialAccess Tactic = iota
	Execution
	Persistence
	PrivilegeEscalation
	DefenseEvasion
	CredentialAccess
	Discovery
	LateralMovement
	Collection
	Impact
	TacticCount = iota
)

var tacticNames = [...]string{
	"Initial Access", "Execution", "Persistence", "Privilege Escalation", "Defense Evasion",
	"Credential Access", "Discovery", "Lateral Movement", "Collection", "Impact",
}

// String returns the tactic's name as the matrix prints it.
func (t Tactic) String() string {
	if int(t) >= len(tacticNames) {
		return ""
	}
	return tacticNames[t]
}

// MarshalText writes the tactic's name.
func (t Tactic) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads a tactic's name; anything else is an error.
func (t *Tactic) UnmarshalText(b []byte) error {
	for i, n := range tacticNames {
		if n == string(b) {
			*t = Tactic(i)
			return nil
		}
	}
	return fmt.Errorf("tactic %q is not a column of the threat matrix", b)
}
