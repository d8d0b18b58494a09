package cgroup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	id      = "3f7c6f9a53bca5a9f0a4f1e1d8d3c1a9b2e4d6f8091a2b3c4d5e6f708192a3b4"
	inner   = "aaaabbbbccccddddeeeeffff0000111122223333444455556666777788889999"
	uid     = "8dbc04a4-1e5a-4b0e-9c3e-0d6a5a1b2c3d"
	escaped = "8dbc04a4_1e5a_4b0e_9c3e_0d6a5a1b2c3d"
	static  = "c0d5a0b5a3d1f4f0a2e2b1a7c9d8e7f6"
)

func TestParse(t *testing.T) {
	pod := Ref{Container: id, PodUID: uid}
	with := func(runtime string) Ref { return Ref{Container: id, PodUID: uid, Runtime: runtime} }
	for _, c := range []struct {
		name, path string
		want       Ref
	}{
		{"cgroupfs, guaranteed", "/kubepods/pod" + uid + "/" + id, pod},
		{"cgroupfs, burstable", "/kubepods/burstable/pod" + uid + "/" + id, pod},
		{"cgroupfs, best effort, no leading slash", "kubepods/besteffort/pod" + uid + "/" + id, pod},
		{"cgroupfs, CRI-O", "/kubepods/burstable/pod" + uid + "/crio-" + id, with("crio")},
		{"systemd, guaranteed, containerd", "/kubepods.slice/kubepods-pod" + escaped + ".slice/cri-containerd-" + id + ".scope", with("containerd")},
		{"systemd, burstable, containerd", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + escaped + ".slice/cri-containerd-" + id + ".scope", with("containerd")},
		{"systemd, best effort, CRI-O", "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + escaped + ".slice/crio-" + id + ".scope", with("crio")},
		{"CRI-O with crun's container below", "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + escaped + ".slice/crio-" + id + ".scope/container", with("crio")},
		{"systemd, cri-dockerd", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + escaped + ".slice/docker-" + id + ".scope", with("docker")},
		{"kind: kubelet's own root", "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod" + escaped + ".slice/cri-containerd-" + id + ".scope", with("containerd")},
		{"k3s: containerd below its service on v1", "/system.slice/k3s.service/kubepods/burstable/pod" + uid + "/" + id, pod},
		{"containerd, systemd driver misread", "/system.slice/containerd.service/kubepods-burstable-pod" + escaped + ".slice:cri-containerd:" + id, Ref{Container: id, Runtime: "containerd"}},
		{"static pod, cgroupfs", "/kubepods/burstable/pod" + static + "/" + id, Ref{Container: id, PodUID: static, Static: true}},
		{"static pod, systemd", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + static + ".slice/cri-containerd-" + id + ".scope", Ref{Container: id, PodUID: static, Static: true, Runtime: "containerd"}},
		{"the pod itself, no container", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + escaped + ".slice", Ref{PodUID: uid}},
		{"Docker, cgroupfs", "/docker/" + id, Ref{Container: id, Runtime: "docker"}},
		{"Docker, systemd", "/system.slice/docker-" + id + ".scope", Ref{Container: id, Runtime: "docker"}},
		{"Podman", "/machine.slice/libpod-" + id + ".scope/container", Ref{Container: id, Runtime: "podman"}},
		{"nerdctl", "/system.slice/nerdctl-" + id + ".scope", Ref{Container: id, Runtime: "containerd"}},
		{"ctr: the namespace and a bare id", "/default/" + id, Ref{Container: id}},
		{"Docker in a pod: the outermost", "/kubepods/burstable/pod" + uid + "/" + id + "/docker/" + inner, pod},
		{"systemd in a container", "/kubepods/pod" + uid + "/" + id + "/system.slice/sshd.service", pod},
		{"a container that makes itself a pod's cgroup", "/docker/" + id + "/kubepods/pod" + uid + "/" + inner, Ref{Container: id, Runtime: "docker"}},
		{"two components of an exec, systemd", ".../kubepods-burstable-pod" + escaped + ".slice/cri-containerd-" + id + ".scope", with("containerd")},
		{"two components of an exec, cgroupfs", ".../pod" + uid + "/" + id, pod},
		{"a service of the node", "/system.slice/kubelet.service", Ref{}},
		{"the root", "/", Ref{}},
		{"nothing", "", Ref{}},
		{"an id too short", "/kubepods/pod" + uid + "/" + id[:63], Ref{PodUID: uid}},
		{"an id in capitals is none", "/docker/" + strings.ToUpper(id), Ref{}},
		{"a UID with a letter out of hex", "/kubepods/podzdbc04a4-1e5a-4b0e-9c3e-0d6a5a1b2c3d/" + id, Ref{Container: id}},
		{"a user slice called pod", "/user.slice/user-pod.slice/x", Ref{}},
	} {
		if got := Parse(c.path); got != c.want {
			t.Errorf("%s: Parse(%q)\n got %+v\nwant %+v", c.name, c.path, got, c.want)
		}
	}
}

func TestParseDoesNotAllocate(t *testing.T) {
	path := "/kubepods/burstable/pod" + uid + "/" + id
	if n := testing.AllocsPerRun(100, func() { Parse(path) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestTableKeepsTheBetterPath(t *testing.T) {
	tab := NewTable()
	if _, _, ok := tab.Lookup(7); ok {
		t.Fatal("an empty table knows cgroup 7")
	}
	tab.AddNames(7, []byte("pod"+uid), []byte(id))
	if _, ref, _ := tab.Lookup(7); ref.PodUID != uid || ref.Container != id {
		t.Errorf("from two names: %+v", ref)
	}
	full := "/kubepods/burstable/pod" + uid + "/" + id
	tab.Add(7, []byte(full))
	tab.AddNames(7, []byte("x"), []byte("y"))
	if path, _, _ := tab.Lookup(7); path != full {
		t.Errorf("path %q, want %q", path, full)
	}
}

func TestTableIsBounded(t *testing.T) {
	tab := NewTable()
	for i := range maxCgroups + 100 {
		tab.Add(uint64(i), []byte("/a"))
	}
	if len(tab.byID) > maxCgroups {
		t.Errorf("%d cgroups, bound %d", len(tab.byID), maxCgroups)
	}
}

func TestScanFindsCgroupsByTheirInode(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "kubepods", "pod"+uid, id)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	tab := NewTable()
	if err := tab.Scan(root); err != nil {
		t.Fatal(err)
	}
	ino, ok := inode(dir)
	if !ok {
		t.Skip("no inode numbers on this platform")
	}
	path, ref, ok := tab.Lookup(ino)
	if !ok || path != "/kubepods/pod"+uid+"/"+id || ref.PodUID != uid {
		t.Errorf("Lookup: %q %+v %v", path, ref, ok)
	}
}
