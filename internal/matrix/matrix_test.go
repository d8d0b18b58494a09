package matrix_test

import (
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/matrix"
)

func TestLoadHasTheMatrixOf2022(t *testing.T) {
	m := matrix.Load()
	cells, ids := 0, map[string]bool{}
	for tactic := range event.Tactic(event.TacticCount) {
		for _, id := range m.Cells(tactic) {
			cells++
			ids[id] = true
			tech, ok := m.Technique(id)
			if !ok || !slices.Contains(tech.Tactics, tactic) {
				t.Errorf("cell %s of %s is not a technique of that tactic", id, tactic)
			}
		}
	}
	if cells != 48 || len(ids) != 40 {
		t.Errorf("got %d cells of %d techniques, want 48 of 40", cells, len(ids))
	}
	if m.Has("MS-TA9032") {
		t.Error("MS-TA9032 was dropped in 2022")
	}
}

func TestEveryTechniqueIsComplete(t *testing.T) {
	m := matrix.Load()
	attackID := regexp.MustCompile(`^T\d{4}(\.\d{3})?$`)
	var last matrix.Technique
	for _, tech := range m.Techniques() {
		if tech.Name == "" || len(tech.Tactics) == 0 {
			t.Errorf("%s: name %q, tactics %v", tech.ID, tech.Name, tech.Tactics)
		}
		if tech.Microsoft() == (tech.Description == "") {
			t.Errorf("%s: description %q", tech.ID, tech.Description)
		}
		if !tech.Microsoft() && (!attackID.MatchString(tech.ID) || len(tech.AttackTactics) == 0) {
			t.Errorf("%s is not a complete ATT&CK technique: %+v", tech.ID, tech)
		}
		for _, a := range tech.Attack {
			if !m.Has(a) {
				t.Errorf("%s corresponds to %s, which the catalogue lacks", tech.ID, a)
			}
		}
		if tech.Microsoft() == last.Microsoft() && tech.ID <= last.ID {
			t.Errorf("%s stands after %s", tech.ID, last.ID)
		}
		last = tech
	}
}

func TestFirstTactic(t *testing.T) {
	m := matrix.Load()
	tests := []struct {
		id   string
		want event.Tactic
		ok   bool
	}{
		{"MS-TA9001", event.InitialAccess, true},
		{"MS-TA9016", event.CredentialAccess, true},
		{"MS-TA9020", event.PrivilegeEscalation, true},
		{"T1530", event.Collection, true},
		{"T1537", event.Collection, true}, // exfiltration
		{"T1090", event.DefenseEvasion, true},
		{"T1562.008", event.DefenseEvasion, true},
		{"T0000", 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.id, func(t *testing.T) {
			got, ok := m.FirstTactic(tt.id)
			if got != tt.want || ok != tt.ok {
				t.Errorf("got %v %v, want %v %v", got, ok, tt.want, tt.ok)
			}
		})
	}
}

func TestCallersOwnTheirSlices(t *testing.T) {
	m := matrix.Load()
	m.Cells(event.Impact)[0] = "changed"
	m.Techniques()[0].ID = "changed"
	if diff := cmp.Diff([]string{"MS-TA9038", "MS-TA9039", "MS-TA9040"}, m.Cells(event.Impact)); diff != "" {
		t.Errorf("cells (-want +got):\n%s", diff)
	}
	if !m.Has("MS-TA9001") || m.Techniques()[0].ID != "MS-TA9001" {
		t.Error("the catalogue changed with the caller's slice")
	}
	if m.Cells(event.TacticCount) != nil {
		t.Error("a tactic that does not exist has cells")
	}
}
