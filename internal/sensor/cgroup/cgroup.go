// Package cgroup reads from a cgroup's path which container and which pod its
// processes belong to, and keeps the paths of the node's cgroups by their ids.
//
// The shapes are those of the kubelet's cgroup drivers (kubelet:
// pkg/kubelet/cm/cgroup_manager_linux.go, pkg/kubelet/stats/cri_stats_provider.go)
// and of containerd, CRI-O, cri-dockerd and Docker, on v1, hybrid and v2.
package cgroup

import "strings"

// Ref is what a path tells. Its strings alias the path, but for a PodUID that
// had to be rewritten.
type Ref struct {
	// Container is the runtime's id, 64 hex digits; "" outside a container.
	Container string
	// PodUID is the UID as the API has it; for a static pod the hash of its
	// manifest, which the mirror pod carries as kubernetes.io/config.hash.
	// "" outside a pod.
	PodUID string
	// Static: PodUID is such a hash.
	Static bool
	// Runtime is "containerd", "crio", "docker" or "podman" where the path says
	// so; the cgroupfs driver's do not.
	Runtime string
}

// prefixes are those of the scopes that runtimes make under systemd.
var prefixes = [...]struct{ prefix, runtime string }{
	{"cri-containerd-", "containerd"},
	{"nerdctl-", "containerd"},
	{"crio-", "crio"},
	{"docker-", "docker"},
	{"libpod-", "podman"},
}

// Parse reads a path below the hierarchy's root, with or without a leading
// slash. Names that only look like a container's further down (Docker in a
// pod, systemd in a container) do not count: the outermost does, because it is
// what the kubelet started.
func Parse(path string) Ref {
	var r Ref
	docker := false
	for name := range strings.SplitSeq(path, "/") {
		if r.PodUID == "" && r.Container == "" {
			if uid, static := podUID(name); uid != "" {
				r.PodUID, r.Static = uid, static
				continue
			}
		}
		if id, runtime := containerID(name); id != "" {
			r.Container, r.Runtime = id, runtime
			if runtime == "" && docker {
				r.Runtime = "docker"
			}
			return r
		}
		docker = name == "docker"
	}
	return r
}

// podUID reads "pod<uid>" of the cgroupfs driver and
// "kubepods[-qos]-pod<uid with _ for ->.slice" of the systemd driver.
func podUID(name string) (uid string, static bool) {
	if s, ok := strings.CutSuffix(name, ".slice"); ok {
		i := strings.LastIndex(s, "-pod")
		if i < 0 {
			return "", false
		}
		uid = s[i+len("-pod"):]
		if strings.IndexByte(uid, '_') >= 0 {
			uid = strings.ReplaceAll(uid, "_", "-")
		}
	} else if uid, ok = strings.CutPrefix(name, "pod"); !ok {
		return "", false
	}
	switch {
	case len(uid) == 32 && hex(uid):
		return uid, true
	case len(uid) == 36 && uid[8] == '-' && uid[13] == '-' && uid[18] == '-' && uid[23] == '-' &&
		hex(uid[:8]) && hex(uid[9:13]) && hex(uid[14:18]) && hex(uid[19:23]) && hex(uid[24:]):
		return uid, false
	}
	return "", false
}

// containerID reads a container's id off a path's component: bare, with a
// runtime's prefix, as a systemd scope, or containerd's "slice:prefix:id" of
// the systemd driver handed to a runtime that does not know it.
func containerID(name string) (id, runtime string) {
	if i := strings.LastIndexByte(name, ':'); i >= 0 {
		if head := name[:i]; strings.HasSuffix(head, ":cri-containerd") {
			runtime = "containerd"
		}
		name = name[i+1:]
	}
	name = strings.TrimSuffix(name, ".scope")
	for _, p := range prefixes {
		if rest, ok := strings.CutPrefix(name, p.prefix); ok {
			name, runtime = rest, p.runtime
			break
		}
	}
	if len(name) != 64 || !hex(name) {
		return "", ""
	}
	return name, runtime
}

func hex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
