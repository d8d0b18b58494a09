package inventory

import (
	"slices"
	"strings"

	"github.com/clew-sec/clew/internal/event"
)

// describeChange fills what a mutation changes of a pod or pod template,
// compared with what was known of the object.
func (inv *Inventory) describeChange(e *event.Event, o *Object) {
	r := &e.K8s
	if r.Subresource != "" && r.Subresource != "ephemeralcontainers" {
		return
	}
	switch r.Verb {
	case "create", "update", "patch", "apply":
	default:
		return
	}
	b := templateBodies(r)
	if b.any() == nil {
		return
	}
	var known *PodFacts
	if o != nil && r.Verb != "create" {
		known = o.Pod
	}
	inv.describeTemplate(e, b, known)
	inv.describeInjection(e, b)
}

func (inv *Inventory) describeTemplate(e *event.Event, b bodies, known *PodFacts) {
	r, f := &e.K8s, &e.Facts.Change
	if known == nil {
		inv.describeUnknown(r, b, f)
		return
	}
	f.PodSpec = inv.differs(b, known)
	if !f.PodSpec {
		return
	}
	images, names := known.Images(), known.names()
	now := b.any()
	for i := range now.Containers {
		c := &now.Containers[i]
		if c.Image != "" && !slices.Contains(images, c.Image) && !slices.Contains(f.ImagesAdded, c.Image) {
			f.ImagesAdded = append(f.ImagesAdded, c.Image)
		}
		if !slices.Contains(names, c.Name) && c.Name != "" {
			f.ContainersAdded = append(f.ContainersAdded, c.Name)
		}
	}
}

// describeUnknown tells what a request says of a template that was not known: all
// of a new object, and of an older one what a patch names.
func (inv *Inventory) describeUnknown(r *event.Request, b bodies, f *event.ChangeFacts) {
	said := b.part
	if r.Verb == "create" {
		said = b.any()
	}
	f.PodSpec = said != nil || r.Verb == "update"
	if said == nil {
		return
	}
	f.ImagesAdded = append(f.ImagesAdded, said.Images()...)
	if r.Verb != "create" && (r.Subresource == "ephemeralcontainers" || addsContainer(&r.Object)) {
		f.ContainersAdded = append(f.ContainersAdded, addedNames(r)...)
	}
}

// addsContainer reports whether a JSON patch adds an element to a list of
// containers.
func addsContainer(b *event.Body) bool {
	return slices.ContainsFunc(b.Patch, func(op string) bool {
		verb, path, _ := strings.Cut(op, " ")
		return verb == "add" && strings.HasSuffix(strings.TrimRight(path, "-0123456789"), "ontainers/")
	})
}

// addedNames returns the containers a patch of an unknown object surely adds.
func addedNames(r *event.Request) []string {
	var out []string
	for i := range r.Object.Containers {
		c := &r.Object.Containers[i]
		if c.Name != "" && (r.Subresource == "" || c.Class == event.ContainerEphemeral) {
			out = append(out, c.Name)
		}
	}
	return out
}

// differs reports whether the template is another than was known.
func (inv *Inventory) differs(b bodies, known *PodFacts) bool {
	switch {
	case b.stored != nil && known.Stored != 0:
		return inv.templateHash(b.stored) != known.Stored
	case b.sent != nil && known.Sent != 0:
		return inv.templateHash(b.sent) != known.Sent
	case b.part != nil:
		return inv.partDiffers(b.part, known)
	case b.whole() != nil:
		now := inv.podFacts(b.whole())
		return !slices.Equal(now.Containers, known.Containers) || now.Privileged != known.Privileged
	}
	return false
}

// partDiffers reports whether a patch names something of the template other than
// the containers' images as they are.
func (inv *Inventory) partDiffers(part *event.Body, known *PodFacts) bool {
	for i := range part.Containers {
		c := &part.Containers[i]
		at := slices.IndexFunc(known.Containers, func(k ContainerFacts) bool { return k.Name == c.Name })
		if at < 0 || c.Image != "" && known.Containers[at].Image != c.Image {
			return true
		}
		if c.Privileged || len(c.Command)+len(c.Args)+len(c.CapsAdd)+len(c.EnvNames)+len(c.Mounts) > 0 {
			return true
		}
	}
	return len(part.Volumes) > 0 || part.HostPID || part.HostIPC || part.HostNetwork ||
		part.ServiceAccount != "" && part.ServiceAccount != known.ServiceAccount
}

// describeInjection compares what was sent with what was stored. Only a complete
// object can be compared: what a patch does not name is not injected.
func (inv *Inventory) describeInjection(e *event.Event, b bodies) {
	r, f := &e.K8s, &e.Facts.Change
	if b.sent == nil || b.stored == nil || r.Truncated || !r.Succeeded() || r.Level != event.LevelRequestResponse {
		return
	}
	for i := range b.stored.Containers {
		if c := &b.stored.Containers[i]; container(b.sent, c) == nil {
			f.Injected = append(f.Injected, c.Name)
		}
	}
	if len(r.MutatedBy) == 0 {
		f.Unattributed = len(f.Injected) > 0 || addsVolume(b.sent, b.stored) || addsEnv(b.sent, b.stored)
		return
	}
	if len(f.Injected) > 0 {
		inv.describeInjector(e)
	}
}

func container(b *event.Body, like *event.Container) *event.Container {
	for i := range b.Containers {
		if c := &b.Containers[i]; c.Name == like.Name && c.Class == like.Class {
			return c
		}
	}
	return nil
}

func addsVolume(sent, stored *event.Body) bool {
	return slices.ContainsFunc(stored.Volumes, func(v event.Volume) bool {
		return !builtinVolume(v.Name) && !slices.ContainsFunc(sent.Volumes, func(s event.Volume) bool { return s.Name == v.Name })
	})
}

func addsEnv(sent, stored *event.Body) bool {
	return slices.ContainsFunc(stored.Containers, func(c event.Container) bool {
		s := container(sent, &c)
		return s != nil && slices.ContainsFunc(c.EnvNames, func(n string) bool { return !slices.Contains(s.EnvNames, n) })
	})
}

// describeInjector names the webhook configurations that changed the object and
// tells the youngest one's age and maker.
func (inv *Inventory) describeInjector(e *event.Event) {
	f := &e.Facts.Change
	var youngest Origin
	for _, name := range e.K8s.MutatedBy { // one entry for each call
		if slices.Contains(f.InjectedBy, name) {
			continue
		}
		f.InjectedBy = append(f.InjectedBy, name)
		o := inv.live("admissionregistration.k8s.io", "mutatingwebhookconfigurations", "", name)
		if o != nil && o.Created.Time > youngest.Time {
			youngest = o.Created
		}
	}
	if youngest.Seen() {
		f.InjectorAgeS, f.InjectorBy = ageSeconds(e.Time, youngest.Time), youngest.User
	}
}
