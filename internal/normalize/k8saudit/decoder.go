// Package k8saudit turns Kubernetes API server audit events (audit.k8s.io/v1
// and v1beta1) into normalised events.
//
// Decoding takes two steps. One pass over the record reads the top level in any
// key order and notes where the request and response bodies stand; then, when
// verb and resource are known, the bodies are read as far as that kind of
// object matters. Reads never look inside a body.
//
// # What the record cannot tell
//
// Facts that decide how fields are to be read, each shown by a test on a
// recorded event:
//   - Request.Code says what happened; Request.Decision does not.
//   - A refused authentication (401) has no user and only the stage
//     ResponseStarted: Actor.Kind is ActorUnauthenticated.
//   - Request.UID of a create is the stored object's where the response was
//     recorded. Below that level only mirror pods carry one, and it is the
//     static pod's.
//   - Request.MutatedBy holds one entry for each webhook call that changed the
//     object and MutationPatch the patches in the same order; levels below
//     Request carry no patches.
//   - Request.FailedOpen is "configuration/webhook" for mutating webhooks and
//     the webhook's name alone for validating ones, whose annotation does not
//     name the configuration.
//   - DryRun is set only where the server honours it: not for token requests,
//     reviews and streaming or proxy subresources, which act all the same.
//
// # Ownership
//
// Strings of a decoded event alias the record or memory that the Decoder does
// not use again; slices belong to the event. A Decoder is not safe for
// concurrent use.
package k8saudit

import (
	"fmt"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/normalize/jsonscan"
)

// NotAuditError says that a record is JSON but no audit event.
type NotAuditError struct{ Reason string }

// Error returns the reason.
func (e *NotAuditError) Error() string { return "not a Kubernetes audit event: " + e.Reason }

// Decoder decodes audit events. The zero Decoder is ready; it keeps scratch
// memory between calls.
type Decoder struct {
	scan            jsonscan.Scanner // the record, then its bodies
	inner           jsonscan.Scanner // JSON inside annotation values
	hash            event.Hasher
	top             topLevel
	rounds          []round
	identities      memo[identity]
	reasons         memo[string]
	groups, plurals []string // of one resource rule
	lists           [3]span  // where the containers of each class stand in the body
	wrap            []byte   // one JSON patch operation as a document, see patch.go
	bodyDryRun      bool     // DeleteOptions in the body ask for a dry run
	adding          bool     // lists of a body are added to: several documents make up one body
}

// topLevel holds what is needed of a record only while it is decoded.
type topLevel struct {
	kind, apiVersion string
	stage, level     string
	stageTime        string // stageTimestamp
	created          string // metadata.creationTimestamp: the stage's time in old v1beta1
	received         string // requestReceivedTimestamp
	timestamp        string // timestamp: when it was received in old v1beta1
	statusUID        string // responseStatus.details.uid
	accessKey        string // user.extra
	principal        string // user.extra
	actorRead        bool   // something was read into the actor
	legacySecret     string // annotation: Secret of a legacy token
	request          recordedBody
	response         recordedBody
}

// recordedBody is a body as it stands in the record.
type recordedBody struct {
	raw  []byte // nil when absent
	done bool   // it was read in passing, and as much of it as
	want reads
}

// Decode reads one audit Event object into e, which the caller has Reset. The
// error is, or wraps, a *jsonscan.SyntaxError for what is no JSON and a
// *NotAuditError for what is no audit event; e is then of no use. Strings of e
// alias raw.
func (d *Decoder) Decode(raw []byte, e *event.Event) error {
	d.top, d.rounds, d.bodyDryRun = topLevel{}, d.rounds[:0], false
	d.scan.Reset(raw)
	if kind := d.scan.Kind(); kind != jsonscan.Object && kind != jsonscan.Invalid {
		return &NotAuditError{"the record is no JSON object"}
	}
	d.topLevel(e)
	if err := d.scan.End(); err != nil {
		return fmt.Errorf("reading audit event: %w", err)
	}
	if err := d.identify(e); err != nil {
		return err
	}
	d.actor(e)
	d.query(&e.K8s)
	d.resolveRounds(&e.K8s)
	if err := d.bodies(&e.K8s); err != nil {
		return err
	}
	d.complete(&e.K8s)
	e.ID = d.id(e)
	return nil
}

// topLevel reads the record's own keys.
func (d *Decoder) topLevel(e *event.Event) {
	s, t, r := &d.scan, &d.top, &e.K8s
	for more := s.Object(); more; more = s.NextKey() {
		if string(s.Key()) == "user" && !d.identity(&e.Actor) {
			return
		}
		switch string(s.Key()) {
		case "kind":
			s.Str(&t.kind)
		case "apiVersion":
			s.Str(&t.apiVersion)
		case "level":
			s.Str(&t.level)
		case "auditID":
			s.Str(&r.AuditID)
		case "stage":
			s.Str(&t.stage)
		case "requestURI":
			s.Str(&r.URI)
		case "verb":
			s.Str(&r.Verb)
		case "user", "impersonatedUser", "sourceIPs", "userAgent":
			d.actorMember(&e.Actor)
		case "authenticationMetadata":
			d.scan.Member("impersonationConstraint", &r.Constraint)
		case "objectRef":
			d.objectRef(r)
		case "responseStatus":
			d.responseStatus(r)
		case "requestObject":
			d.recorded(&t.request, r, requestReads)
		case "responseObject":
			d.recorded(&t.response, r, responseReads)
		case "requestReceivedTimestamp":
			s.Str(&t.received)
		case "stageTimestamp":
			s.Str(&t.stageTime)
		case "timestamp":
			s.Str(&t.timestamp)
		case "metadata":
			d.scan.Member("creationTimestamp", &d.top.created)
		case "annotations":
			d.annotations(r)
		default:
			s.Skip()
		}
	}
}

func (d *Decoder) objectRef(r *event.Request) {
	s := &d.scan
	for more := s.Object(); more; more = s.NextKey() {
		switch string(s.Key()) {
		case "resource":
			s.Str(&r.Resource)
		case "subresource":
			s.Str(&r.Subresource)
		case "namespace":
			s.Str(&r.Namespace)
		case "name":
			s.Str(&r.Name)
		case "uid":
			s.Str(&r.UID)
		case "apiGroup":
			s.Str(&r.Group)
		case "apiVersion":
			s.Str(&r.Version)
		default:
			s.Skip()
		}
	}
}

func (d *Decoder) responseStatus(r *event.Request) {
	s := &d.scan
	for more := s.Object(); more; more = s.NextKey() {
		switch string(s.Key()) {
		case "code":
			s.Int(&r.Code)
		case "message":
			s.Str(&r.Message)
		case "details":
			s.Member("uid", &d.top.statusUID)
		default:
			s.Skip()
		}
	}
}

// identify checks that the record is an audit event and sets what says so.
func (d *Decoder) identify(e *event.Event) error {
	if reason := d.notAudit(&e.K8s); reason != "" {
		return &NotAuditError{reason}
	}
	e.Kind, e.Source = event.KindAPIRequest, event.SourceK8sAudit
	e.K8s.Stage, e.K8s.Level = stageOf(d.top.stage), levelOf(d.top.level)
	return d.times(e)
}

// notAudit says why the record is no audit event, "" when it is one. kind and
// apiVersion may be absent: log shippers drop them.
func (d *Decoder) notAudit(r *event.Request) string {
	switch t := &d.top; {
	case t.kind != "" && t.kind != "Event":
		return fmt.Sprintf("kind is %q, want \"Event\"", t.kind)
	case t.apiVersion != "" && t.apiVersion != "audit.k8s.io/v1" && t.apiVersion != "audit.k8s.io/v1beta1":
		return fmt.Sprintf("apiVersion is %q, want audit.k8s.io/v1 or audit.k8s.io/v1beta1", t.apiVersion)
	case r.Verb == "" && t.stage == "":
		return "it has neither verb nor stage"
	case r.Verb == "":
		return "it has no verb"
	case t.stage == "":
		return "it has no stage"
	case r.URI == "":
		return "it has no requestURI"
	}
	return ""
}

// times sets e.Time and e.Received.
func (d *Decoder) times(e *event.Event) error {
	stage, err := readTime("stageTimestamp", d.top.stageTime, "metadata.creationTimestamp", d.top.created)
	if err != nil {
		return err
	}
	received, err := readTime("requestReceivedTimestamp", d.top.received, "timestamp", d.top.timestamp)
	if err != nil {
		return err
	}
	if stage == 0 && received == 0 {
		return &NotAuditError{"it has neither stageTimestamp nor requestReceivedTimestamp"}
	}
	if stage == 0 {
		stage = received
	}
	if received == 0 {
		received = stage
	}
	e.Time, e.Received = stage, received
	return nil
}

// readTime parses text, or old when text is empty; 0 when both are.
func readTime(name, text, oldName, old string) (int64, error) {
	if text == "" {
		name, text = oldName, old
	}
	if text == "" {
		return 0, nil
	}
	t, ok := parseTime(text)
	if !ok {
		return 0, &NotAuditError{fmt.Sprintf("%s %q is no RFC 3339 time", name, text)}
	}
	return t, nil
}

func stageOf(s string) event.Stage {
	switch s {
	case "RequestReceived":
		return event.StageRequestReceived
	case "ResponseStarted":
		return event.StageResponseStarted
	case "ResponseComplete":
		return event.StageResponseComplete
	case "Panic":
		return event.StagePanic
	}
	return event.StageUnknown
}

func levelOf(s string) event.Level {
	switch s {
	case "Metadata":
		return event.LevelMetadata
	case "Request":
		return event.LevelRequest
	case "RequestResponse":
		return event.LevelRequestResponse
	}
	return event.LevelUnknown
}

// recorded meets a body at the top level. API servers write verb, objectRef
// and responseStatus before it, so it can mostly be read in the same pass. In
// any other order it is only noted, and bodies reads it.
func (d *Decoder) recorded(body *recordedBody, r *event.Request, wanted func(*event.Request) reads) {
	s := &d.scan
	inPassing := body.raw == nil && r.Mutates() && r.Resource != "" && s.Kind() == jsonscan.Object
	if !inPassing {
		*body = recordedBody{raw: s.Raw()}
		return
	}
	into := &r.Object
	if body == &d.top.response {
		into = &r.Response
	}
	start := s.Offset()
	want := wanted(r)
	d.begin(into)
	d.object(into, want)
	*body = recordedBody{raw: s.Since(start), done: true, want: want}
}

// bodies reads the recorded bodies of requests that change something, as far
// as that was not done in passing.
func (d *Decoder) bodies(r *event.Request) error {
	if !r.Mutates() {
		d.forget(&d.top.request, &r.Object)
		d.forget(&d.top.response, &r.Response)
		return nil
	}
	if err := d.finish(&d.top.request, requestReads(r), &r.Object); err != nil {
		return fmt.Errorf("reading requestObject: %w", err)
	}
	if err := d.finish(&d.top.response, responseReads(r), &r.Response); err != nil {
		return fmt.Errorf("reading responseObject: %w", err)
	}
	if r.Truncated {
		r.Object.Skipped = r.Object.Skipped || !r.Object.Present
		r.Response.Skipped = r.Response.Skipped || !r.Response.Present
	}
	return nil
}

// finish reads a body unless that was done in passing with the same outcome.
func (d *Decoder) finish(body *recordedBody, want reads, b *event.Body) error {
	switch {
	case body.raw == nil:
		d.forget(body, b)
		return nil
	case body.done && body.want == want:
		b.Raw = jsonscan.Text(body.raw)
		return nil
	}
	d.forget(body, b)
	return d.body(body.raw, want, b)
}

// forget empties a body that was read in passing and should not have been: a
// key was repeated after it.
func (d *Decoder) forget(body *recordedBody, b *event.Body) {
	if body.done || b.Present {
		*b = event.Body{Replicas: -1}
	}
}

// complete fills name and UID of the object from the response where the
// request could not know them, and a dry run that only the body asks for.
func (d *Decoder) complete(r *event.Request) {
	if d.bodyDryRun && (r.Verb == "delete" || r.Verb == "deletecollection" || r.Subresource == "eviction") {
		r.DryRun = true
	}
	stored := &r.Response
	isObject := stored.Present && stored.Kind != "Status"
	switch r.Verb {
	case "create":
		if isObject && r.Name == "" {
			r.Name = stored.Name
		}
		if isObject && stored.UID != "" && !r.DryRun {
			r.UID = stored.UID
		}
	case "update", "patch", "apply":
		if isObject && r.UID == "" {
			r.UID = stored.UID
		}
	case "delete":
		if isObject && r.UID == "" {
			r.UID = stored.UID
		}
		if r.UID == "" {
			r.UID = d.top.statusUID
		}
	}
}

// id hashes what tells one record from another. The audit ID alone does not:
// the client may send any.
func (d *Decoder) id(e *event.Event) event.ID {
	h := &d.hash
	h.Reset()
	h.Int(int64(e.Source))
	for _, s := range [...]string{
		e.K8s.AuditID, d.top.stage, e.K8s.Verb, e.K8s.URI, e.Actor.Name,
		e.Actor.Impersonated, e.Actor.IP, e.K8s.Response.UID,
	} {
		h.Str(s)
	}
	h.Int(e.Received)
	h.Int(e.Time)
	h.Int(int64(e.K8s.Code))
	return h.Sum()
}
