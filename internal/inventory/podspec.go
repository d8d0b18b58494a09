package inventory

import (
	"slices"
	"strings"

	"github.com/clew-sec/clew/internal/event"
)

// PodFacts is what is known of a pod, or of the pods a workload makes. It is
// the inventory's own and must not be changed.
type PodFacts struct {
	ServiceAccount string
	Node           string
	Privileged     bool // a privileged container, a host namespace or a sensitive host path
	HostPaths      []string
	Containers     []ContainerFacts

	// Hashes of the template as it was last sent and as it was last stored, 0
	// when unknown: the server fills in defaults, so like is compared with like.
	Sent, Stored uint64
}

// ContainerFacts is one container of a pod.
type ContainerFacts struct{ Name, Image string }

// Images returns the images of the containers, in their order.
func (p *PodFacts) Images() []string {
	var out []string
	for _, c := range p.Containers {
		if !slices.Contains(out, c.Image) {
			out = append(out, c.Image)
		}
	}
	return out
}

func (p *PodFacts) names() []string {
	out := make([]string, 0, len(p.Containers))
	for _, c := range p.Containers {
		out = append(out, c.Name)
	}
	return out
}

// sensitivePaths on a node give it away to whoever can read or write them
// (detection rules of MS-TA9013); so does everything below them.
var sensitivePaths = []string{
	"/boot", "/dev", "/etc", "/home/admin", "/home/kubernetes", "/proc", "/root", "/sys/fs/cgroup", "/var/lib/containerd",
	"/var/lib/docker", "/var/lib/etcd", "/var/lib/kubelet", "/run/containerd", "/run/docker.sock", "/run/crio",
	"/var/run/containerd", "/var/run/docker.sock", "/var/run/crio", "/var/spool/cron",
}

func sensitivePath(path string) bool {
	path = "/" + strings.Trim(path, "/")
	switch path {
	case "/", "/var", "/var/lib", "/var/log", "/var/run", "/run", "/home":
		return true
	case "/etc/localtime", "/etc/machine-id", "/etc/os-release", "/etc/ssl/certs", "/etc/ca-certificates", "/etc/pki", "/etc/resolv.conf":
		return false
	}
	return slices.ContainsFunc(sensitivePaths, func(s string) bool {
		return path == s || strings.HasPrefix(path, s+"/")
	})
}

func hostAccess(b *event.Body) bool {
	return b.Privileged() || b.HostPID || b.HostIPC || b.HostNetwork || slices.ContainsFunc(b.HostPaths(), sensitivePath)
}

// builtinVolume reports whether the ServiceAccount admission plugin adds a volume
// of this name to every pod.
func builtinVolume(name string) bool {
	return strings.HasPrefix(name, "kube-api-access-") || strings.Contains(name, "-token-")
}

// templateHash hashes what a pod template runs and may reach. What the server's own
// admission adds is left out.
func (inv *Inventory) templateHash(b *event.Body) uint64 {
	h := &inv.h
	h.Reset()
	for i := range b.Containers {
		hashContainer(h, &b.Containers[i])
	}
	for i := range b.Volumes {
		v := &b.Volumes[i]
		if builtinVolume(v.Name) {
			continue
		}
		hashStrings(h, v.Name, v.Type, v.HostPath, v.Secret, v.Claim)
		hashStrings(h, v.Audiences...)
	}
	account := b.ServiceAccount
	if account == "default" {
		account = ""
	}
	h.Str(account)
	h.Int(flags(b.HostPID, b.HostIPC, b.HostNetwork, b.ShareProcess, b.TolerateAll))
	sum := h.Sum()
	n := uint64(0)
	for _, c := range sum[:8] {
		n = n<<8 | uint64(c)
	}
	return max(n, 1) // 0 means unknown
}

func hashContainer(h *event.Hasher, c *event.Container) {
	h.Int(int64(c.Class))
	hashStrings(h, c.Name, c.Image, c.Target)
	hashStrings(h, c.Command...)
	hashStrings(h, c.Args...)
	hashStrings(h, c.CapsAdd...)
	hashStrings(h, c.EnvNames...)
	hashStrings(h, c.EnvValues...)
	hashStrings(h, c.SecretRefs...)
	h.Int(flags(c.Privileged, c.Escalation, c.Unmasked))
	for _, m := range c.Mounts {
		if !builtinVolume(m.Volume) {
			hashStrings(h, m.Volume, m.Path)
			h.Int(flags(m.ReadOnly))
		}
	}
}

func hashStrings(h *event.Hasher, ss ...string) {
	h.Int(int64(len(ss)))
	for _, s := range ss {
		h.Str(s)
	}
}

func flags(bs ...bool) (n int64) {
	for i, b := range bs {
		if b {
			n |= 1 << i
		}
	}
	return n
}

// bodies tells which bodies of a request say what the pod template is.
type bodies struct {
	sent   *event.Body // the complete template as sent, nil for a patch
	part   *event.Body // what a patch names of the template
	stored *event.Body // the template as stored
}

func templateBodies(r *event.Request) bodies {
	var out bodies
	if o := &r.Object; o.Present && !o.Skipped && o.HasPodSpec {
		if r.Verb == "create" || r.Verb == "update" {
			out.sent = o
		} else {
			out.part = o
		}
	}
	if s := &r.Response; s.Present && !s.Skipped && s.HasPodSpec {
		out.stored = s
	}
	return out
}

// whole returns the most complete template, nil when there is only a part.
func (b bodies) whole() *event.Body {
	if b.stored != nil {
		return b.stored
	}
	return b.sent
}

// any returns whatever tells of the template, nil when nothing does.
func (b bodies) any() *event.Body {
	if w := b.whole(); w != nil {
		return w
	}
	return b.part
}

// learnTemplate takes over the pod template a request leaves behind.
func (inv *Inventory) learnTemplate(o *Object, e *event.Event) {
	b := templateBodies(&e.K8s)
	if b.any() == nil {
		return
	}
	node := ""
	if o.Pod != nil {
		node = o.Pod.Node
	}
	if w := b.whole(); w != nil {
		o.Pod = inv.podFacts(w)
		if b.sent != nil {
			o.Pod.Sent = inv.templateHash(b.sent)
		}
		if b.stored != nil {
			o.Pod.Stored = inv.templateHash(b.stored)
		}
	} else {
		o.Pod = inv.mergePart(o.Pod, b.part)
	}
	if o.Pod.Node == "" {
		o.Pod.Node = node
	}
}

func (inv *Inventory) podFacts(b *event.Body) *PodFacts {
	p := &PodFacts{
		ServiceAccount: inv.keep(b.ServiceAccount), Node: inv.keep(b.NodeName),
		Privileged: hostAccess(b), HostPaths: clone(b.HostPaths()),
	}
	for i := range b.Containers {
		c := &b.Containers[i]
		p.Containers = append(p.Containers, ContainerFacts{inv.keep(c.Name), inv.keep(c.Image)})
	}
	return p
}

// mergePart applies what a patch names to what was known: containers by name.
func (inv *Inventory) mergePart(old *PodFacts, part *event.Body) *PodFacts {
	p := inv.podFacts(part)
	if old == nil {
		return p
	}
	merged := *old
	merged.Sent, merged.Stored = 0, 0
	merged.Privileged = old.Privileged || p.Privileged
	if p.ServiceAccount != "" {
		merged.ServiceAccount = p.ServiceAccount
	}
	merged.HostPaths = slices.Clone(old.HostPaths)
	for _, h := range p.HostPaths {
		if !slices.Contains(merged.HostPaths, h) {
			merged.HostPaths = append(merged.HostPaths, h)
		}
	}
	merged.Containers = mergeContainers(old.Containers, p.Containers)
	return &merged
}

func mergeContainers(old, part []ContainerFacts) []ContainerFacts {
	out := slices.Clone(old)
	for _, c := range part {
		at := slices.IndexFunc(out, func(o ContainerFacts) bool { return o.Name == c.Name })
		switch {
		case at < 0:
			out = append(out, c)
		case c.Image != "":
			out[at].Image = c.Image
		}
	}
	return out
}
