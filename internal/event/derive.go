package event

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// This file holds what fields are derived from the decoded parts. None of it
// runs unless a rule's index lets the rule through.

func hourUTC(nanos int64) int64 { return int64(time.Unix(0, nanos).UTC().Hour()) }

func credentialKind(c string) string {
	switch {
	case strings.HasPrefix(c, "JTI="):
		return "jti"
	case strings.HasPrefix(c, "X509SHA256="):
		return "x509"
	}
	if kind, _, ok := strings.Cut(c, ":"); ok {
		return kind
	}
	return ""
}

// AgentFamily returns the program name a user agent begins with: the text
// before the first "/", space or "(", lower case. It is client-supplied.
func AgentFamily(agent string) string {
	end := strings.IndexAny(agent, "/ (")
	if end >= 0 {
		agent = agent[:end]
	}
	return strings.ToLower(agent)
}

// sharedNet is RFC 6598 space: carrier NAT, and pod networks of some providers.
var sharedNet = netip.MustParsePrefix("100.64.0.0/10")

// PublicIP reports whether ip is a globally routable address. Documentation
// ranges (192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24) count as public, as
// recordings use them for outside addresses.
func PublicIP(ip string) bool {
	a, err := netip.ParseAddr(ip)
	return err == nil && PublicAddr(a.Unmap())
}

// PublicAddr is PublicIP for a parsed address, which must not be an IPv4 address
// in IPv6 form.
func PublicAddr(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.IsPrivate() && !sharedNet.Contains(a)
}

// CommandLine returns the exec command joined with spaces.
func (r *Request) CommandLine() string { return strings.Join(r.Command, " ") }

// Scope returns the namespace of the request, or "all namespaces".
func (r *Request) Scope() string {
	if r.Namespace == "" {
		return "all namespaces"
	}
	return r.Namespace
}

// Target says what the request is about: "pods/exec shop/web-1", "nodes n1",
// or the path of a request that is for no resource.
func (r *Request) Target() string {
	if r.Resource == "" {
		path, _, _ := strings.Cut(r.URI, "?")
		return path
	}
	var b strings.Builder
	b.WriteString(r.Resource)
	if r.Subresource != "" {
		b.WriteByte('/')
		b.WriteString(r.Subresource)
	}
	switch {
	case r.Namespace != "" && r.Resource != "namespaces":
		b.WriteByte(' ')
		b.WriteString(r.Namespace)
		if r.Name != "" {
			b.WriteByte('/')
			b.WriteString(r.Name)
		}
	case r.Name != "":
		b.WriteByte(' ')
		b.WriteString(r.Name)
	}
	return b.String()
}

// proxiedPod returns "namespace/pod" of a kubelet path such as
// /exec/shop/web-1/app (k8s.io/kubernetes pkg/kubelet/server/server.go).
func proxiedPod(path string) string {
	verb, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch verb {
	case "run", "exec", "attach", "portForward", "checkpoint": // not containerLogs, as not pods/log
	default:
		return ""
	}
	namespace, rest, ok := strings.Cut(rest, "/")
	pod, _, _ := strings.Cut(rest, "/")
	if !ok || pod == "" {
		return ""
	}
	return namespace + "/" + pod
}

// EnteredPod returns "namespace/pod" of the pod that an exec, attach,
// port-forward or proxy request is for; "" when it names none.
func (r *Request) EnteredPod() string {
	if r.Resource == "nodes" {
		return proxiedPod(r.ProxyPath)
	}
	return r.Namespace + "/" + r.TargetName()
}

// Controller returns the controlling owner reference, nil when there is none.
func (b *Body) Controller() *Owner {
	for i := range b.Owners {
		if b.Owners[i].Controller {
			return &b.Owners[i]
		}
	}
	return nil
}

// ControllerKind returns the kind of the controlling owner, "" when none.
func (b *Body) ControllerKind() string {
	if o := b.Controller(); o != nil {
		return o.Kind
	}
	return ""
}

// ControllerName returns the name of the controlling owner, "" when none.
func (b *Body) ControllerName() string {
	if o := b.Controller(); o != nil {
		return o.Name
	}
	return ""
}

func (b *Body) anyContainer(f func(*Container) bool) bool {
	for i := range b.Containers {
		if f(&b.Containers[i]) {
			return true
		}
	}
	return false
}

// gather concatenates what f yields for each container, without duplicates.
func (b *Body) gather(f func(*Container) []string) []string {
	var out []string
	for i := range b.Containers {
		for _, s := range f(&b.Containers[i]) {
			if !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	return out
}

// Privileged reports whether any container is privileged.
func (b *Body) Privileged() bool {
	return b.anyContainer(func(c *Container) bool { return c.Privileged })
}

// Unmasked reports whether any container has procMount Unmasked.
func (b *Body) Unmasked() bool { return b.anyContainer(func(c *Container) bool { return c.Unmasked }) }

// NoLimits reports whether any main container lacks resource limits.
func (b *Body) NoLimits() bool {
	return b.anyContainer(func(c *Container) bool { return c.Class == ContainerMain && !c.HasLimits })
}

// Capabilities returns the capabilities added by any container.
func (b *Body) Capabilities() []string {
	return b.gather(func(c *Container) []string { return c.CapsAdd })
}

// Images returns the images of all containers.
func (b *Body) Images() []string {
	return b.gather(func(c *Container) []string { return one(c.Image) })
}

// ContainerNames returns the names of all containers.
func (b *Body) ContainerNames() []string {
	return b.gather(func(c *Container) []string { return one(c.Name) })
}

// CommandLines returns command and args of each container that has any.
func (b *Body) CommandLines() []string {
	return b.gather(func(c *Container) []string {
		return one(strings.Join(append(append([]string(nil), c.Command...), c.Args...), " "))
	})
}

// EnvNames returns the environment variable names of all containers.
func (b *Body) EnvNames() []string {
	return b.gather(func(c *Container) []string { return c.EnvNames })
}

// secretWords mark a variable name as one that holds a secret.
var secretWords = []string{"PASSWORD", "PASSWD", "SECRET", "TOKEN", "API_KEY", "APIKEY", "ACCESS_KEY", "PRIVATE_KEY", "CREDENTIAL"}

// PlainSecrets returns the names of environment variables that say secret and
// carry a literal value.
func (b *Body) PlainSecrets() []string {
	return b.gather(func(c *Container) (out []string) {
		for i, n := range c.EnvNames {
			if i >= len(c.EnvValues) || c.EnvValues[i] == "" {
				continue
			}
			up := strings.ToUpper(n)
			if slices.ContainsFunc(secretWords, func(w string) bool { return strings.Contains(up, w) }) && !strings.HasSuffix(up, "_FILE") && !strings.HasSuffix(up, "_NAME") {
				out = append(out, n)
			}
		}
		return out
	})
}

// PortStrings returns the container ports.
func (b *Body) PortStrings() []string {
	return b.gather(func(c *Container) []string { return itoas(c.Ports) })
}

// HostPortStrings returns the host ports.
func (b *Body) HostPortStrings() []string {
	return b.gather(func(c *Container) []string { return itoas(c.HostPorts) })
}

// EphemeralTarget returns the container an ephemeral one targets, "" when none.
func (b *Body) EphemeralTarget() string {
	for i := range b.Containers {
		if b.Containers[i].Class == ContainerEphemeral {
			return b.Containers[i].Target
		}
	}
	return ""
}

// HostPaths returns the paths of hostPath volumes (and of a PersistentVolume's
// hostPath or local source).
func (b *Body) HostPaths() []string { return b.volumes(func(v *Volume) string { return v.HostPath }) }

// Claims returns the persistentVolumeClaims mounted.
func (b *Body) Claims() []string { return b.volumes(func(v *Volume) string { return v.Claim }) }

// SecretNames returns the secrets mounted as volumes or named by env.
func (b *Body) SecretNames() []string {
	out := b.volumes(func(v *Volume) string { return v.Secret })
	for _, s := range b.gather(func(c *Container) []string { return c.SecretRefs }) {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// VolumeAudiences returns the audiences of projected service account tokens.
func (b *Body) VolumeAudiences() []string {
	var out []string
	for i := range b.Volumes {
		out = append(out, b.Volumes[i].Audiences...)
	}
	return out
}

// WritableHostPaths returns the host paths that some container mounts without
// readOnly, and those that no container named in the body mounts (a partial
// body does not tell).
func (b *Body) WritableHostPaths() []string {
	return b.volumes(func(v *Volume) string {
		if v.HostPath == "" {
			return ""
		}
		mounted := false
		for i := range b.Containers {
			for _, m := range b.Containers[i].Mounts {
				if m.Volume == v.Name {
					mounted = true
					if !m.ReadOnly {
						return v.HostPath
					}
				}
			}
		}
		if mounted {
			return ""
		}
		return v.HostPath
	})
}

func (b *Body) volumes(f func(*Volume) string) []string {
	var out []string
	for i := range b.Volumes {
		if s := f(&b.Volumes[i]); s != "" && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// SubjectStrings returns the RBAC subjects as User:name, Group:name or
// ServiceAccount:namespace/name.
func (b *Body) SubjectStrings() []string {
	out := make([]string, 0, len(b.Subjects))
	for _, s := range b.Subjects {
		out = append(out, s.String())
	}
	return out
}

// String returns the subject as User:name, Group:name or
// ServiceAccount:namespace/name.
func (s Subject) String() string {
	if s.Kind == "ServiceAccount" {
		return s.Kind + ":" + s.Namespace + "/" + s.Name
	}
	return s.Kind + ":" + s.Name
}

func (b *Body) webhooks(f func(*Webhook) []string) []string {
	var out []string
	for i := range b.Webhooks {
		for _, s := range f(&b.Webhooks[i]) {
			if !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	return out
}

// WebhookURLs returns the clientConfig.url of each webhook that has one.
func (b *Body) WebhookURLs() []string {
	return b.webhooks(func(w *Webhook) []string { return one(w.URL) })
}

// WebhookServices returns the services behind webhooks as namespace/name.
func (b *Body) WebhookServices() []string {
	return b.webhooks(func(w *Webhook) []string {
		if w.ServiceName == "" {
			return nil
		}
		return one(w.ServiceNamespace + "/" + w.ServiceName)
	})
}

// WebhookResources returns the resources webhooks see as group/resource.
func (b *Body) WebhookResources() []string {
	return b.webhooks(func(w *Webhook) []string { return w.Resources })
}

// WebhookOperations returns the operations webhooks see.
func (b *Body) WebhookOperations() []string {
	return b.webhooks(func(w *Webhook) []string { return w.Operations })
}

// FailurePolicies returns the distinct failure policies.
func (b *Body) FailurePolicies() []string {
	return b.webhooks(func(w *Webhook) []string { return one(w.FailurePolicy) })
}

// CSRCommonName returns the subject CN of a certificate signing request, ""
// when there is none or it does not parse.
func (b *Body) CSRCommonName() string {
	if r := parseCSR(b.CSRRequest); r != nil {
		return r.Subject.CommonName
	}
	return ""
}

// CSROrganizations returns the subject O values of a certificate signing
// request: the groups a client certificate made from it carries.
func (b *Body) CSROrganizations() []string {
	if r := parseCSR(b.CSRRequest); r != nil {
		return r.Subject.Organization
	}
	return nil
}

// maxPEMBytes bounds what is parsed of a request or certificate; real ones
// are below 16 KiB.
const maxPEMBytes = 64 << 10

func parseCSR(b64 string) *x509.CertificateRequest {
	block := DecodePEM(b64)
	if block == nil {
		return nil
	}
	r, err := x509.ParseCertificateRequest(block)
	if err != nil {
		return nil
	}
	return r
}

// DecodePEM returns the DER bytes of the first PEM block in base64 text, as
// Kubernetes writes spec.request and status.certificate; nil when it is not.
func DecodePEM(b64 string) []byte {
	if b64 == "" || len(b64) > maxPEMBytes {
		return nil
	}
	text, err := base64.StdEncoding.DecodeString(b64)
	if err != nil {
		return nil
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil
	}
	return block.Bytes
}

func one(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func itoas(ns []int) []string {
	out := make([]string, len(ns))
	for i, n := range ns {
		out[i] = strconv.Itoa(n)
	}
	return out
}
