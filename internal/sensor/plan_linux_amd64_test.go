package sensor

import "testing"

func TestWhatRestsOnSystemCallsIsBlindWithoutThem(t *testing.T) {
	hooks := []Hook{
		{Name: "exec", Tier: TierTracepoint},
		{Name: "open", Tier: TierSyscall},
		{Name: "tcp", Tier: TierFunction},
		{Name: "syscall", Tier: TierNone, Refused: []Attempt{{TierTracepoint, "first"}, {TierRaw, "last"}}},
	}
	withoutSyscall(hooks)
	if hooks[0].Tier != TierTracepoint || hooks[2].Tier != TierFunction {
		t.Errorf("hooks that have their own programs changed: %+v", hooks)
	}
	if open := hooks[1]; open.Tier != TierNone || len(open.Refused) != 1 || open.Refused[0].Reason != "last" {
		t.Errorf("open: %+v", open)
	}
	hooks[1].Tier, hooks[3].Tier = TierSyscall, TierRaw
	withoutSyscall(hooks)
	if hooks[1].Tier != TierSyscall {
		t.Error("open is blind although system calls are seen")
	}
}

func TestEveryProgramOfAPlanIsInItsObject(t *testing.T) {
	withBTF, err := loadWithBTF()
	if err != nil {
		t.Fatal(err)
	}
	withoutBTF, err := loadWithoutBTF()
	if err != nil {
		t.Fatal(err)
	}
	planned := map[string]bool{}
	for _, p := range plans() {
		for _, w := range p.ways {
			for _, name := range w.programs {
				planned[name] = true
				spec := withBTF
				if w.object == objectWithoutBTF {
					spec = withoutBTF
				}
				if spec.Programs[name] == nil {
					t.Errorf("%s: there is no program %s in its object", p.name, name)
				}
			}
		}
	}
	for name := range withBTF.Programs {
		if !planned[name] {
			t.Errorf("no plan uses program %s", name)
		}
	}
}
