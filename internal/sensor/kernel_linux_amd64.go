package sensor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// rootCgroup is the inode of a hierarchy's root: cgroup_setup_root of the kernel's kernel/cgroup/cgroup.c.
const rootCgroup = 1

// kernel is what is known of the running kernel before anything is loaded.
type kernel struct {
	types    *btf.Spec // nil when the kernel has no BTF and none was given
	external bool
	unified  string // where the v2 hierarchy is mounted, "" when it is not
	memoryV1 bool
	cgroups  string // where the hierarchy is mounted that tells containers apart, "" when it is not
	lsms     string // comma-separated; "" when securityfs is not mounted
}

func readKernel(externalBTF string) (*kernel, error) {
	k := &kernel{memoryV1: memoryHierarchyIsV1()}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, fmt.Errorf("reading what is mounted: %w", err)
	}
	k.mounted(mounts)
	b, err := os.ReadFile("/sys/kernel/security/lsm")
	if err == nil {
		k.lsms = string(b)
	}
	if externalBTF != "" {
		if k.types, err = btf.LoadSpec(externalBTF); err != nil {
			return nil, fmt.Errorf("reading BTF %q: %w", externalBTF, err)
		}
		k.external = true
		return k, nil
	}
	if types, err := btf.LoadKernelSpec(); err == nil {
		k.types = types
	}
	return k, nil
}

// lsmListed refuses only what is known not to be called: without securityfs
// the list is not known, and attaching decides.
func (k *kernel) lsmListed() error {
	if k.lsms != "" && !strings.Contains(","+strings.TrimSpace(k.lsms)+",", ",bpf,") {
		return fmt.Errorf("bpf is not among the kernel's LSMs: %s", strings.TrimSpace(k.lsms))
	}
	return nil
}

func (k *kernel) hasUnified() error {
	if k.unified == "" {
		return errors.New("the v2 cgroup hierarchy is not mounted")
	}
	var st unix.Stat_t
	if err := unix.Stat(k.unified, &st); err != nil {
		return fmt.Errorf("looking at %q: %w", k.unified, err)
	}
	if st.Ino != rootCgroup {
		return fmt.Errorf("what is mounted at %q is not the root of the v2 hierarchy: only what is below it would be seen", k.unified)
	}
	return nil
}

func (k *kernel) acceptHasTwoArguments() error  { return k.acceptHas(2) }
func (k *kernel) acceptHasFourArguments() error { return k.acceptHas(4) }

// acceptHas checks the kernel's inet_csk_accept, which lost two arguments in 6.10.
func (k *kernel) acceptHas(n int) error {
	if k.types == nil {
		return errors.New("the kernel has no BTF")
	}
	var f *btf.Func
	if err := k.types.TypeByName("inet_csk_accept", &f); err != nil {
		return fmt.Errorf("looking up inet_csk_accept: %w", err)
	}
	p, ok := f.Type.(*btf.FuncProto)
	if !ok || len(p.Params) != n {
		return fmt.Errorf("inet_csk_accept does not have %d arguments", n)
	}
	return nil
}

// mounted takes from /proc/self/mounts where the hierarchies are, the first
// mount of each.
func (k *kernel) mounted(mounts []byte) {
	var memory string
	for line := range bytes.Lines(mounts) {
		f := bytes.Fields(line)
		switch {
		case len(f) < 4:
		case string(f[2]) == "cgroup2" && k.unified == "":
			k.unified = string(f[1])
		case string(f[2]) == "cgroup" && memory == "" && slices.Contains(strings.Split(string(f[3]), ","), "memory"):
			memory = string(f[1])
		}
	}
	if k.cgroups = k.unified; k.memoryV1 {
		k.cgroups = memory
	}
}

// memoryHierarchyIsV1 reads /proc/cgroups, where a controller of the v2
// hierarchy has hierarchy 0.
func memoryHierarchyIsV1() bool {
	b, err := os.ReadFile("/proc/cgroups")
	if err != nil {
		return false
	}
	for line := range bytes.Lines(b) {
		if f := bytes.Fields(line); len(f) > 1 && string(f[0]) == "memory" {
			return string(f[1]) != "0"
		}
	}
	return false
}
