package event

import (
	"slices"
	"testing"
)

func TestGrantedMembers(t *testing.T) {
	tests := []struct {
		name, actor, role, member string
		self                      bool
		outside                   []string
	}{
		{"himself", "bob@example.com", "", "user:Bob@example.com", true, nil},
		{"colleague", "bob@example.com", "", "user:eve@example.com", false, nil},
		{"stranger", "bob@example.com", "", "user:eve@partner.example", false, []string{"eve@partner.example"}},
		{"account of a service", "bob@example.com", "", "serviceAccount:x@p.iam.gserviceaccount.com", false, nil},
		{"partner, by a machine", "ci@p.iam.gserviceaccount.com", "ci@p.iam.gserviceaccount.com", "user:eve@partner.example", false, nil},
		{"consumer, by a machine", "ci@p.iam.gserviceaccount.com", "ci@p.iam.gserviceaccount.com", "user:eve@gmail.com", false, []string{"eve@gmail.com"}},
		{"everybody", "bob@example.com", "", "allUsers", false, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := Event{Actor: Actor{Name: tt.actor, Role: tt.role}}
			e.Cloud.Params = []string{"bindingDeltas[]=REMOVE roles/owner user:gone@gmail.com", "bindingDeltas[]=ADD roles/owner " + tt.member}
			if got := e.GrantsSelf(); got != tt.self {
				t.Errorf("GrantsSelf = %v", got)
			}
			if got := e.OutsideMembers(); !slices.Equal(got, tt.outside) {
				t.Errorf("OutsideMembers = %v, want %v", got, tt.outside)
			}
		})
	}
}
