package k8saudit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/normalize/jsonscan"
)

// DecodeBody reads one Kubernetes object or JSON patch into b, which must be
// empty (as in an Event that was Reset). The object's kind says what is read
// of it; what has no kind, as a merge patch, is read for any field of any
// kind. The error wraps a *jsonscan.SyntaxError. Strings of b alias raw.
func (d *Decoder) DecodeBody(raw []byte, b *event.Body) error {
	want, err := d.kindOf(raw)
	if err == nil {
		err = d.body(raw, want, b)
	}
	if err != nil {
		return fmt.Errorf("reading Kubernetes object: %w", err)
	}
	return nil
}

// DecodeRequestBody is DecodeBody for the body of the request r, whose verb,
// group, resource and subresource say what is read.
func (d *Decoder) DecodeRequestBody(raw []byte, r *event.Request, b *event.Body) error {
	return d.checkedBody(raw, requestReads(r), b)
}

// DecodeResponseBody is DecodeRequestBody for the object the server answered
// with.
func (d *Decoder) DecodeResponseBody(raw []byte, r *event.Request, b *event.Body) error {
	return d.checkedBody(raw, responseReads(r), b)
}

func (d *Decoder) checkedBody(raw []byte, want reads, b *event.Body) error {
	if err := d.body(raw, want, b); err != nil {
		return fmt.Errorf("reading Kubernetes object: %w", err)
	}
	return nil
}

// kindOf looks for the kind of an object, or the "@type" that Google's audit
// log puts in its place ("core.k8s.io/v1.Pod").
func (d *Decoder) kindOf(raw []byte) (reads, error) {
	s := &d.scan
	s.Reset(raw)
	var kind, typeURL string
	if s.Kind() == jsonscan.Object {
		for more := s.Object(); more; more = s.NextKey() {
			switch string(s.Key()) {
			case "kind":
				s.Str(&kind)
			case "@type":
				s.Str(&typeURL)
			default:
				s.Skip()
			}
		}
	} else {
		s.Skip()
	}
	if kind == "" {
		kind = typeURL[strings.LastIndexAny(typeURL, "./")+1:]
		if kind == "Patch" {
			kind = ""
		}
	}
	return kindReads(kind), s.End()
}

// body reads one recorded body.
func (d *Decoder) body(raw []byte, want reads, b *event.Body) error {
	s := &d.scan
	s.Reset(raw)
	switch s.Kind() {
	case jsonscan.Object:
		d.begin(b)
		d.object(b, want)
		b.Raw = jsonscan.Text(raw)
	case jsonscan.Array:
		d.begin(b)
		b.Raw = jsonscan.Text(raw)
		return d.jsonPatch(raw, b, want)
	case jsonscan.String: // AKS: "skipped-too-big-size-object"
		b.Skipped = true
		s.Skip()
	default:
		s.Skip()
	}
	return s.End()
}

// begin starts on an empty body.
func (d *Decoder) begin(b *event.Body) {
	b.Present, b.Replicas, d.lists = true, -1, [3]span{}
}

// object reads a Kubernetes object.
func (d *Decoder) object(b *event.Body, want reads) {
	s := &d.scan
	for more := s.Object(); more; more = s.NextKey() {
		switch string(s.Key()) {
		case "kind":
			s.Str(&b.Kind)
		case "metadata":
			d.metadata(b, want)
		case "spec":
			d.spec(b, want)
		case "status":
			d.ifReads(want, readStatus, b, (*Decoder).status)
		case "template":
			d.ifReads(want, readTemplate, b, (*Decoder).sureTemplate)
		case "rules":
			d.ifReads(want, readRBAC, b, (*Decoder).rules)
		case "aggregationRule":
			d.ifReads(want, readRBAC, b, (*Decoder).aggregationRule)
		case "roleRef":
			d.ifReads(want, readRBAC, b, (*Decoder).roleRef)
		case "subjects":
			d.ifReads(want, readRBAC, b, (*Decoder).subjects)
		case "webhooks":
			d.ifReads(want, readWebhooks, b, (*Decoder).webhooks)
		case "type":
			d.strIf(want, readData, &b.SecretType)
		case "data", "stringData", "binaryData":
			d.ifReads(want, readData, b, (*Decoder).dataKeys)
		case "target":
			d.ifReads(want, readBinding, b, (*Decoder).bindingTarget)
		case "automountServiceAccountToken":
			d.ifReads(want, readAutomount, b, (*Decoder).automount)
		case "deleteOptions":
			d.ifReads(want, readDelete, b, (*Decoder).deleteOptions)
		case "preconditions":
			d.ifReads(want, readDelete, b, (*Decoder).preconditions)
		case "dryRun":
			d.ifReads(want, readDelete, b, (*Decoder).deleteDryRun)
		default:
			s.Skip()
		}
	}
}

// ifReads reads the next value with f when it is wanted and skips it otherwise.
func (d *Decoder) ifReads(want, part reads, b *event.Body, f func(*Decoder, *event.Body)) {
	if want&part == 0 {
		d.scan.Skip()
		return
	}
	f(d, b)
}

func (d *Decoder) strIf(want, part reads, dst *string) {
	if want&part == 0 {
		d.scan.Skip()
		return
	}
	d.scan.Str(dst)
}

// lastApplied is the annotation in which kubectl keeps the whole object it
// sent, the values of a Secret included: it is not kept.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

func (d *Decoder) metadata(b *event.Body, want reads) {
	s := &d.scan
	for more := s.Object(); more; more = s.NextKey() {
		switch string(s.Key()) {
		case "name":
			s.Str(&b.Name)
		case "generateName":
			s.Str(&b.GenerateName)
		case "namespace":
			s.Str(&b.Namespace)
		case "uid":
			s.Str(&b.UID)
		case "creationTimestamp":
			var v string
			s.Str(&v)
			if t, ok := parseTime(v); ok {
				b.Created = t
			}
		case "ownerReferences":
			d.owners(b)
		case "labels":
			d.ifReads(want, readLabels, b, (*Decoder).labels)
		case "annotations":
			d.ifReads(want, readLabels, b, (*Decoder).objectAnnotations)
		default:
			s.Skip()
		}
	}
}

func (d *Decoder) owners(b *event.Body) {
	s := &d.scan
	b.Owners = restart(d, b.Owners)
	for more := s.Array(); more; more = s.NextElem() {
		var o *event.Owner
		b.Owners, o = slot(b.Owners)
		*o = event.Owner{}
		for more := s.Object(); more; more = s.NextKey() {
			switch string(s.Key()) {
			case "kind":
				s.Str(&o.Kind)
			case "name":
				s.Str(&o.Name)
			case "uid":
				s.Str(&o.UID)
			case "controller":
				s.Bool(&o.Controller)
			default:
				s.Skip()
			}
		}
	}
}

func (d *Decoder) labels(b *event.Body) {
	b.Labels = d.pairs(restart(d, b.Labels))
	b.AggregateTo = b.AggregateTo[:0]
	for _, label := range b.Labels {
		key, value, _ := strings.Cut(label, "=")
		if key == "pod-template-hash" {
			b.TemplateKey = value
		}
		if to, ok := strings.CutPrefix(key, "rbac.authorization.k8s.io/aggregate-to-"); ok && value == "true" {
			b.AggregateTo = append(b.AggregateTo, to)
		}
	}
}

func (d *Decoder) objectAnnotations(b *event.Body) {
	b.Annotations = d.pairs(restart(d, b.Annotations))
}

// pairs reads an object of strings, appended to dst as "key=value". Of a
// repeated key the last value stays; null, which a merge patch deletes keys
// with, is left out.
func (d *Decoder) pairs(dst []string) []string {
	s := &d.scan
	start := len(dst)
	for more := s.Object(); more; more = s.NextKey() {
		if s.Kind() != jsonscan.String || string(s.Key()) == lastApplied {
			s.Skip()
			continue
		}
		key := s.KeyString()
		var value string
		s.Str(&value)
		dst = append(dst, s.Arena.Join(key, "=", value))
	}
	return slices.Delete(dst, start, start+dropRepeated(dst[start:]))
}

// fewPairs is up to how many pairs a comparison of each with each is cheaper
// than a map.
const fewPairs = 32

// dropRepeated moves the pairs whose key does not come again to the end, in
// order, and returns how many before them are left over.
func dropRepeated(pairs []string) int {
	keep := len(pairs)
	var met map[string]struct{}
	if len(pairs) > fewPairs {
		met = make(map[string]struct{}, len(pairs))
	}
	for _, pair := range slices.Backward(pairs) {
		key, _, _ := strings.Cut(pair, "=")
		if repeated(pairs[keep:], met, key) {
			continue
		}
		keep--
		pairs[keep] = pair
		if met != nil {
			met[key] = struct{}{}
		}
	}
	return keep
}

func repeated(kept []string, met map[string]struct{}, key string) bool {
	if met != nil {
		_, ok := met[key]
		return ok
	}
	return slices.ContainsFunc(kept, func(p string) bool {
		return len(p) > len(key) && p[len(key)] == '=' && p[:len(key)] == key
	})
}

func (d *Decoder) dataKeys(b *event.Body) {
	s := &d.scan
	for more := s.Object(); more; more = s.NextKey() {
		if s.Kind() == jsonscan.String {
			b.DataKeys = append(b.DataKeys, s.KeyString())
		}
		s.Skip()
	}
}

func (d *Decoder) bindingTarget(b *event.Body) { d.scan.Member("name", &b.TargetNode) }

func (d *Decoder) preconditions(b *event.Body) { d.scan.Member("uid", &b.PreconditionUID) }

func (d *Decoder) automount(b *event.Body) {
	switch s := &d.scan; s.Kind() {
	case jsonscan.Bool:
		var v bool
		s.Bool(&v)
		b.Automount = -1
		if v {
			b.Automount = 1
		}
	default:
		s.Skip()
	}
}

func (d *Decoder) deleteOptions(b *event.Body) {
	s := &d.scan
	for more := s.Object(); more; more = s.NextKey() {
		switch string(s.Key()) {
		case "preconditions":
			d.preconditions(b)
		case "dryRun":
			d.deleteDryRun(b)
		default:
			s.Skip()
		}
	}
}

func (d *Decoder) deleteDryRun(*event.Body) {
	s := &d.scan
	for more := s.Array(); more; more = s.NextElem() {
		var v string
		s.Str(&v)
		d.bodyDryRun = d.bodyDryRun || v == "All"
	}
}

// restart empties a list that is about to be read. While several documents make
// up one body (the operations of a JSON patch), lists are added to instead.
func restart[T any](d *Decoder, list []T) []T {
	if d.adding {
		return list
	}
	return list[:0]
}

// strs reads a list of strings of the body.
func (d *Decoder) strs(list []string) []string { return d.scan.Strs(restart(d, list)) }

// slot lengthens list by one and returns the new element as an earlier event
// left it, so that the element's own slices can be used again.
func slot[T any](list []T) ([]T, *T) {
	if n := len(list); n < cap(list) {
		list = list[:n+1]
	} else {
		var zero T
		list = append(list, zero)
	}
	return list, &list[len(list)-1]
}
