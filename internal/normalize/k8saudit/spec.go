package k8saudit

import (
	"net/netip"
	"slices"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/normalize/jsonscan"
)

// spec reads an object's spec: a pod's directly, others key by key.
func (d *Decoder) spec(b *event.Body, want reads) {
	const inSpec = readPod | readTemplate | readReplicas | readCSR | readToken | readService | readReview | readPolicy | readVolume | readNode
	s := &d.scan
	switch want & inSpec {
	case 0:
		s.Skip()
	case readPod:
		d.podSpec(b, true)
	default:
		for more := s.Object(); more; more = s.NextKey() {
			d.specField(b, want)
		}
	}
}

// specField reads the value of the current key of a spec. Kinds that share a
// key are told apart by what is wanted; where several are (a merge patch that
// does not say its kind), the first that fits is taken.
func (d *Decoder) specField(b *event.Body, want reads) {
	s := &d.scan
	key := s.Key()
	switch string(key) {
	case "template":
		d.ifReads(want, readTemplate, b, templateReader(want))
	case "jobTemplate":
		if want&readTemplate == 0 {
			s.Skip()
			return
		}
		d.jobTemplate(b, want&readWorkload != 0)
	case "replicas":
		d.intIf(want, readReplicas, &b.Replicas)
	case "schedule":
		d.strIf(want, readReplicas, &b.Schedule)
	case "suspend":
		d.boolIf(want, readReplicas, &b.Suspend)
	case "providerID":
		d.strIf(want, readNode, &b.ProviderID)
	case "hostPath", "local", "nfs", "csi":
		d.ifReads(want, readVolume, b, (*Decoder).volumeOfPV)
	default:
		switch {
		case want&(readCSR|readToken) != 0 && d.credentialField(b, want):
		case want&readService != 0 && d.serviceField(b):
		case want&readReview != 0 && d.reviewField(b):
		case want&readPolicy != 0 && d.policyField(b):
		case want&readPod != 0:
			d.podField(b)
		default:
			s.Skip()
		}
	}
}

func templateReader(want reads) func(*Decoder, *event.Body) {
	if want&readWorkload != 0 {
		return (*Decoder).sureTemplate
	}
	return (*Decoder).maybeTemplate
}

func (d *Decoder) intIf(want, part reads, dst *int) {
	if want&part == 0 {
		d.scan.Skip()
		return
	}
	d.scan.Int(dst)
}

func (d *Decoder) boolIf(want, part reads, dst *bool) {
	if want&part == 0 {
		d.scan.Skip()
		return
	}
	d.scan.Bool(dst)
}

// credentialField reads a field of a certificate signing request or a token
// request and reports whether the key is one.
func (d *Decoder) credentialField(b *event.Body, want reads) bool {
	s := &d.scan
	switch string(s.Key()) {
	case "request":
		d.strIf(want, readCSR, &b.CSRRequest)
	case "signerName":
		d.strIf(want, readCSR, &b.CSRSigner)
	case "username":
		d.strIf(want, readCSR, &b.CSRUser)
	case "usages":
		b.CSRUsages = d.strs(b.CSRUsages)
	case "expirationSeconds":
		s.Int(&b.ExpirationS)
	case "audiences":
		b.Audiences = d.strs(b.Audiences)
	case "boundObjectRef":
		for more := s.Object(); more; more = s.NextKey() {
			switch string(s.Key()) {
			case "kind":
				s.Str(&b.BoundKind)
			case "name":
				s.Str(&b.BoundName)
			case "uid":
				s.Str(&b.BoundUID)
			default:
				s.Skip()
			}
		}
	default:
		return false
	}
	return true
}

func (d *Decoder) serviceField(b *event.Body) bool {
	s := &d.scan
	switch string(s.Key()) {
	case "type":
		s.Str(&b.ServiceType)
	case "externalIPs":
		b.ExternalIPs = d.strs(b.ExternalIPs)
	case "externalName":
		s.Str(&b.ExternalName)
	case "selector":
		b.Selector = d.pairs(restart(d, b.Selector))
	case "ports":
		b.Ports = restart(d, b.Ports)
		for more := s.Array(); more; more = s.NextElem() {
			port := 0
			for more := s.Object(); more; more = s.NextKey() {
				if string(s.Key()) == "port" {
					s.Int(&port)
				} else {
					s.Skip()
				}
			}
			if port != 0 {
				b.Ports = append(b.Ports, port)
			}
		}
	default:
		return false
	}
	return true
}

// reviewField reads a field of a SubjectAccessReview. The token of a
// TokenReview is not kept.
func (d *Decoder) reviewField(b *event.Body) bool {
	s := &d.scan
	switch string(s.Key()) {
	case "user":
		s.Str(&b.ReviewUser)
	case "resourceAttributes":
		for more := s.Object(); more; more = s.NextKey() {
			switch string(s.Key()) {
			case "verb":
				s.Str(&b.ReviewVerb)
			case "resource":
				s.Str(&b.ReviewResource)
			case "subresource":
				s.Str(&b.ReviewSubresource)
			case "name":
				s.Str(&b.ReviewName)
			default:
				s.Skip()
			}
		}
	case "nonResourceAttributes":
		for more := s.Object(); more; more = s.NextKey() {
			switch string(s.Key()) {
			case "verb":
				s.Str(&b.ReviewVerb)
			case "path":
				s.Str(&b.ReviewResource)
			default:
				s.Skip()
			}
		}
	default:
		return false
	}
	return true
}

// volumeOfPV reads the source of a PersistentVolume.
func (d *Decoder) volumeOfPV(b *event.Body) {
	if d.scan.Kind() != jsonscan.Object {
		d.scan.Skip()
		return
	}
	var v *event.Volume
	b.Volumes, v = slot(b.Volumes)
	*v = event.Volume{Audiences: v.Audiences[:0]}
	d.volumeSource(v)
}

// status reads what the server or a kubelet says of an object.
func (d *Decoder) status(b *event.Body) {
	s := &d.scan
	for more := s.Object(); more; more = s.NextKey() {
		switch string(s.Key()) {
		case "podIP":
			var ip string
			s.Str(&ip)
			b.PodIPs = addOnce(b.PodIPs, ip)
		case "podIPs":
			for more := s.Array(); more; more = s.NextElem() {
				var ip string
				d.nameOf(&ip, "ip")
				b.PodIPs = addOnce(b.PodIPs, ip)
			}
		case "hostIP":
			s.Str(&b.HostIP)
		case "addresses":
			d.addresses(b)
		case "conditions":
			d.conditions(b)
		case "certificate":
			s.Str(&b.CSRCert)
		case "user": // of a TokenReview
			d.nameOf(&b.ReviewUser, "username")
		default:
			s.Skip()
		}
	}
}

// maxAddresses bounds the addresses kept of one object: pods and nodes have a
// few, and each new one is compared with all before it.
const maxAddresses = 64

func addOnce(list []string, v string) []string {
	if v == "" || len(list) >= maxAddresses || slices.Contains(list, v) {
		return list
	}
	return append(list, v)
}

// addresses reads a node's addresses and keeps those that are IP addresses.
func (d *Decoder) addresses(b *event.Body) {
	s := &d.scan
	b.NodeIPs = restart(d, b.NodeIPs)
	for more := s.Array(); more; more = s.NextElem() {
		var address string
		d.nameOf(&address, "address")
		if _, err := netip.ParseAddr(address); err == nil {
			b.NodeIPs = addOnce(b.NodeIPs, address)
		}
	}
}

// conditions reads the verdict on a certificate signing request.
func (d *Decoder) conditions(b *event.Body) {
	s := &d.scan
	for more := s.Array(); more; more = s.NextElem() {
		var class, status string
		for more := s.Object(); more; more = s.NextKey() {
			switch string(s.Key()) {
			case "type":
				s.Str(&class)
			case "status":
				s.Str(&status)
			default:
				s.Skip()
			}
		}
		holds := status == "" || status == "True" // v1beta1 had no status
		b.CSRApproved = b.CSRApproved || class == "Approved" && holds
		b.CSRDenied = b.CSRDenied || class == "Denied" && holds
	}
}
