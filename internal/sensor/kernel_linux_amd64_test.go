package sensor

import "testing"

func TestCgroupsAreThoseOfTheHierarchyThatRecordsName(t *testing.T) {
	const mounts = `cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0
cgroup2 /mnt/again cgroup2 rw 0 0
`
	for v1, want := range map[bool]string{true: "/sys/fs/cgroup/memory", false: "/sys/fs/cgroup/unified"} {
		k := kernel{memoryV1: v1}
		k.mounted([]byte(mounts))
		if k.cgroups != want || k.unified != "/sys/fs/cgroup/unified" {
			t.Errorf("memory on v1 %v: %+v", v1, k)
		}
	}
}

func TestDNSIsBlindBelowTheRootOfTheHierarchy(t *testing.T) {
	if err := (&kernel{unified: t.TempDir()}).hasUnified(); err == nil {
		t.Error("a folder that is not the root of a hierarchy was taken for it")
	}
}
