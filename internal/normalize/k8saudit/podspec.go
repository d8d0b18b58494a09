package k8saudit

import (
	"slices"
	"strings"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/normalize/jsonscan"
)

// sureTemplate reads a pod template that is one for sure.
func (d *Decoder) sureTemplate(b *event.Body) { d.template(b, true) }

// maybeTemplate reads what may be a pod template: it is one if it has containers.
func (d *Decoder) maybeTemplate(b *event.Body) { d.template(b, false) }

func (d *Decoder) template(b *event.Body, sure bool) {
	s := &d.scan
	for more := s.Object(); more; more = s.NextKey() {
		if string(s.Key()) == "spec" {
			d.podSpec(b, sure)
		} else {
			s.Skip()
		}
	}
}

// jobTemplate reads the template a CronJob makes jobs from.
func (d *Decoder) jobTemplate(b *event.Body, sure bool) {
	s := &d.scan
	for more := s.Object(); more; more = s.NextKey() {
		if string(s.Key()) != "spec" {
			s.Skip()
			continue
		}
		for more := s.Object(); more; more = s.NextKey() {
			if string(s.Key()) == "template" {
				d.template(b, sure)
			} else {
				s.Skip()
			}
		}
	}
}

func (d *Decoder) podSpec(b *event.Body, sure bool) {
	s := &d.scan
	if sure && s.Kind() == jsonscan.Object {
		b.HasPodSpec = true
	}
	for more := s.Object(); more; more = s.NextKey() {
		d.podField(b)
	}
}

// podField reads the value of the current key of a pod spec.
func (d *Decoder) podField(b *event.Body) {
	s := &d.scan
	switch string(s.Key()) {
	case "hostPID":
		s.Bool(&b.HostPID)
	case "hostIPC":
		s.Bool(&b.HostIPC)
	case "hostNetwork":
		s.Bool(&b.HostNetwork)
	case "shareProcessNamespace":
		s.Bool(&b.ShareProcess)
	case "nodeName":
		s.Str(&b.NodeName)
	case "serviceAccountName":
		s.Str(&b.ServiceAccount)
	case "serviceAccount": // deprecated alias: counts where the name is not set
		var v string
		s.Str(&v)
		if b.ServiceAccount == "" {
			b.ServiceAccount = v
		}
	case "automountServiceAccountToken":
		d.automount(b)
	case "tolerations":
		d.tolerations(b)
	case "containers":
		d.containers(b, event.ContainerMain)
	case "initContainers":
		d.containers(b, event.ContainerInit)
	case "ephemeralContainers":
		d.containers(b, event.ContainerEphemeral)
	case "volumes":
		d.volumes(b)
	default:
		s.Skip()
	}
}

func (d *Decoder) tolerations(b *event.Body) {
	s := &d.scan
	for more := s.Array(); more; more = s.NextElem() {
		var key, operator string
		for more := s.Object(); more; more = s.NextKey() {
			switch string(s.Key()) {
			case "key":
				s.Str(&key)
			case "operator":
				s.Str(&operator)
			default:
				s.Skip()
			}
		}
		if key == "" && operator == "Exists" {
			b.TolerateAll = true
		}
	}
}

// containers reads one of the three lists of containers. A repeated list
// replaces the earlier one of its class.
func (d *Decoder) containers(b *event.Body, class event.ContainerClass) {
	s := &d.scan
	if s.Kind() == jsonscan.Array {
		b.HasPodSpec = true
	}
	if !d.adding {
		d.dropContainers(b, class)
	}
	for more := s.Array(); more; more = s.NextElem() {
		if s.Kind() != jsonscan.Object {
			s.Skip()
			continue
		}
		var c *event.Container
		b.Containers, c = slot(b.Containers)
		*c = event.Container{
			Class: class, Command: c.Command[:0], Args: c.Args[:0], CapsAdd: c.CapsAdd[:0], Ports: c.Ports[:0], HostPorts: c.HostPorts[:0],
			Mounts: c.Mounts[:0], EnvNames: c.EnvNames[:0], EnvValues: c.EnvValues[:0], SecretRefs: c.SecretRefs[:0],
		}
		if deleted := d.container(c); deleted {
			b.Containers = b.Containers[:len(b.Containers)-1]
		}
	}
	d.lists[class].to = len(b.Containers)
}

// span is a range of indexes, to excluded.
type span struct{ from, to int }

// dropContainers removes an earlier list of the class and notes where the new
// one begins. A list that was dropped comes back at the end, so that no
// sequence of repeated keys moves the others around more than once.
func (d *Decoder) dropContainers(b *event.Body, class event.ContainerClass) {
	old := d.lists[class]
	if n := old.to - old.from; n > 0 {
		b.Containers = slices.Delete(b.Containers, old.from, old.to)
		for i := range d.lists {
			if d.lists[i].from >= old.to {
				d.lists[i].from -= n
				d.lists[i].to -= n
			}
		}
	}
	d.lists[class] = span{len(b.Containers), len(b.Containers)}
}

// container reads one container. It reports whether the element is a strategic
// merge patch's order to delete the container of that name.
func (d *Decoder) container(c *event.Container) (deleted bool) {
	s := &d.scan
	for more := s.Object(); more; more = s.NextKey() {
		switch string(s.Key()) {
		case "name":
			s.Str(&c.Name)
		case "image":
			s.Str(&c.Image)
		case "command":
			c.Command = s.Strs(c.Command[:0])
		case "args":
			c.Args = s.Strs(c.Args[:0])
		case "securityContext":
			d.securityContext(c)
		case "ports":
			d.ports(c)
		case "volumeMounts":
			d.mounts(c)
		case "env":
			d.env(c)
		case "envFrom":
			d.envFrom(c)
		case "resources":
			d.resources(c)
		case "targetContainerName":
			s.Str(&c.Target)
		case "$patch":
			var v string
			s.Str(&v)
			deleted = v == "delete"
		default:
			s.Skip()
		}
	}
	return deleted
}

func (d *Decoder) securityContext(c *event.Container) {
	s := &d.scan
	for more := s.Object(); more; more = s.NextKey() {
		switch string(s.Key()) {
		case "privileged":
			s.Bool(&c.Privileged)
		case "allowPrivilegeEscalation":
			s.Bool(&c.Escalation)
		case "procMount":
			var v string
			s.Str(&v)
			c.Unmasked = v == "Unmasked"
		case "capabilities":
			for more := s.Object(); more; more = s.NextKey() {
				if string(s.Key()) == "add" {
					c.CapsAdd = capabilities(s.Strs(c.CapsAdd[:0]))
				} else {
					s.Skip()
				}
			}
		default:
			s.Skip()
		}
	}
}

// capabilities brings names into one form: runtimes take them in any case, and
// some with the prefix.
func capabilities(names []string) []string {
	for i, n := range names {
		names[i] = strings.TrimPrefix(strings.ToUpper(n), "CAP_")
	}
	return names
}

func (d *Decoder) ports(c *event.Container) {
	s := &d.scan
	c.Ports, c.HostPorts = c.Ports[:0], c.HostPorts[:0]
	for more := s.Array(); more; more = s.NextElem() {
		port, host := 0, 0
		for more := s.Object(); more; more = s.NextKey() {
			switch string(s.Key()) {
			case "containerPort":
				s.Int(&port)
			case "hostPort":
				s.Int(&host)
			default:
				s.Skip()
			}
		}
		if port != 0 {
			c.Ports = append(c.Ports, port)
		}
		if host != 0 {
			c.HostPorts = append(c.HostPorts, host)
		}
	}
}

func (d *Decoder) mounts(c *event.Container) {
	s := &d.scan
	c.Mounts = c.Mounts[:0]
	for more := s.Array(); more; more = s.NextElem() {
		var m event.Mount
		for more := s.Object(); more; more = s.NextKey() {
			switch string(s.Key()) {
			case "name":
				s.Str(&m.Volume)
			case "mountPath":
				s.Str(&m.Path)
			case "readOnly":
				s.Bool(&m.ReadOnly)
			default:
				s.Skip()
			}
		}
		c.Mounts = append(c.Mounts, m)
	}
}

func (d *Decoder) env(c *event.Container) {
	s := &d.scan
	c.EnvNames, c.EnvValues = c.EnvNames[:0], c.EnvValues[:0]
	for more := s.Array(); more; more = s.NextElem() {
		var name, value string
		for more := s.Object(); more; more = s.NextKey() {
			switch string(s.Key()) {
			case "name":
				s.Str(&name)
			case "value":
				s.Str(&value)
			case "valueFrom":
				d.secretRef(c, "secretKeyRef")
			default:
				s.Skip()
			}
		}
		c.EnvNames = append(c.EnvNames, name)
		c.EnvValues = append(c.EnvValues, value)
	}
}

func (d *Decoder) envFrom(c *event.Container) {
	for more := d.scan.Array(); more; more = d.scan.NextElem() {
		d.secretRef(c, "secretRef")
	}
}

// secretRef reads an object that may name a Secret under the key ref.
func (d *Decoder) secretRef(c *event.Container, ref string) {
	s := &d.scan
	for more := s.Object(); more; more = s.NextKey() {
		if string(s.Key()) != ref {
			s.Skip()
			continue
		}
		var name string
		d.nameOf(&name, "name")
		if name != "" {
			c.SecretRefs = append(c.SecretRefs, name)
		}
	}
}

// nameOf reads the string under one key of an object.
func (d *Decoder) nameOf(dst *string, key string) {
	s := &d.scan
	for more := s.Object(); more; more = s.NextKey() {
		if string(s.Key()) == key {
			s.Str(dst)
		} else {
			s.Skip()
		}
	}
}

func (d *Decoder) resources(c *event.Container) {
	s := &d.scan
	for more := s.Object(); more; more = s.NextKey() {
		if string(s.Key()) != "limits" {
			s.Skip()
			continue
		}
		c.HasLimits = false
		for more := s.Object(); more; more = s.NextKey() {
			c.HasLimits = true
			s.Skip()
		}
	}
}

func (d *Decoder) volumes(b *event.Body) {
	s := &d.scan
	b.Volumes = restart(d, b.Volumes)
	for more := s.Array(); more; more = s.NextElem() {
		var v *event.Volume
		b.Volumes, v = slot(b.Volumes)
		*v = event.Volume{Audiences: v.Audiences[:0]}
		deleted := false
		for more := s.Object(); more; more = s.NextKey() {
			switch string(s.Key()) {
			case "name":
				s.Str(&v.Name)
			case "$patch":
				var p string
				s.Str(&p)
				deleted = p == "delete"
			default:
				d.volumeSource(v)
			}
		}
		if deleted {
			b.Volumes = b.Volumes[:len(b.Volumes)-1]
		}
	}
}

// volumeSource reads a source, whose key is the volume's type.
func (d *Decoder) volumeSource(v *event.Volume) {
	s := &d.scan
	if s.Kind() != jsonscan.Object {
		s.Skip()
		return
	}
	v.Type = s.KeyString()
	for more := s.Object(); more; more = s.NextKey() {
		switch string(s.Key()) {
		case "path":
			if v.Type == "hostPath" || v.Type == "local" {
				s.Str(&v.HostPath)
			} else {
				s.Skip()
			}
		case "secretName":
			s.Str(&v.Secret)
		case "secretRef":
			d.nameOf(&v.Secret, "name")
		case "claimName":
			s.Str(&v.Claim)
		case "sources":
			d.projected(v)
		default:
			s.Skip()
		}
	}
}

// projected reads the sources of a projected volume; of several Secrets the
// first is kept.
func (d *Decoder) projected(v *event.Volume) {
	s := &d.scan
	for more := s.Array(); more; more = s.NextElem() {
		for more := s.Object(); more; more = s.NextKey() {
			var secret, audience string
			switch string(s.Key()) {
			case "secret":
				d.nameOf(&secret, "name")
			case "serviceAccountToken":
				d.nameOf(&audience, "audience")
			default:
				s.Skip()
			}
			if v.Secret == "" {
				v.Secret = secret
			}
			if audience != "" {
				v.Audiences = append(v.Audiences, audience)
			}
		}
	}
}
