// Package cloudtrail turns AWS CloudTrail records into events.
package cloudtrail

import (
	"errors"
	"fmt"
	"strings"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/normalize"
)

// Decoder decodes CloudTrail records. Its zero value is ready. It is not safe
// for concurrent use.
type Decoder struct{ hash event.Hasher }

// Decode reads one record into e, which the caller has Reset. Insights events
// and digest files give normalize.ErrIrrelevant.
//
// The actor's Name is what stays the same over sessions: the role's ARN for an
// assumed role (the session name, which callers choose, is in Session and ARN),
// the user's ARN, the web identity's subject, the service's name.
func (d *Decoder) Decode(raw []byte, e *event.Event) error {
	var r record
	if err := normalize.Unmarshal(raw, &r); err != nil {
		return fmt.Errorf("decoding CloudTrail record: %w", err)
	}
	if len(r.InsightDetails) > 0 || r.EventCategory == "Insight" || r.DigestObject != "" {
		return normalize.ErrIrrelevant
	}
	if r.EventName == "" {
		return errors.New("decoding CloudTrail record: it has no eventName")
	}
	e.Time = normalize.Time(r.EventTime)
	if e.Time == 0 {
		return fmt.Errorf("decoding CloudTrail record %q: eventTime %.40q is no time", r.EventID, r.EventTime)
	}
	e.Received = e.Time
	e.Kind, e.Source = event.KindCloudCall, event.SourceCloudTrail
	r.parse()
	r.actor(&e.Actor)
	r.call(e)
	r.issued(&e.Cloud)
	r.workload(&e.Cloud)
	e.ID = d.id(&r)
	return nil
}

// parse reads the members of the free-form parts that identities are followed
// by. What does not parse stays empty: services write anything there.
func (r *record) parse() {
	normalize.Part(r.Request, &r.parsedRequest)
	normalize.Part(r.Response, &r.parsedResponse)
	normalize.Part(r.Additional, &r.parsedAdditional)
}

// call fills what was done, where, to what and with which result.
func (r *record) call(e *event.Event) {
	c := &e.Cloud
	c.Provider = "aws"
	c.Service = strings.TrimSuffix(r.EventSource, ".amazonaws.com")
	c.Action = r.EventName
	c.Region = r.Region
	c.Account = string(r.Recipient)
	if c.Account == "" {
		c.Account = r.Identity.Account
	}
	c.RequestID = r.RequestID
	c.Error, c.Message = r.failure()
	c.ReadOnly = r.ReadOnly.True()
	c.ManagementEvent = r.Management.True() || r.EventCategory == "Management"
	c.ViaVPCEndpoint = r.VPCEndpoint != ""
	c.Params = normalize.Leaves(c.Params, "", r.Request)
	c.Results = normalize.Leaves(c.Results, "", r.Response)
	c.Results = normalize.Leaves(c.Results, "additionalEventData", r.Additional)
	c.Results = normalize.Leaves(c.Results, "serviceEventDetails", r.ServiceDetails)
	r.resources(c)
	r.source(e)
	if c.Service == "eks" || c.Service == "eks-auth" {
		e.Cluster = r.cluster()
	}
}

// failure returns the error code and message. Console sign-ins say failure in
// the response and carry a message only.
func (r *record) failure() (code, message string) {
	code, message = string(r.ErrorCode), string(r.ErrorMessage)
	p := &r.parsedResponse
	if code == "" && (p.ConsoleLogin == "Failure" || p.SwitchRole == "Failure" || p.CheckMFA == "Failure") {
		code = "Failure"
	}
	return code, normalize.Cut(message)
}

func (r *record) cluster() string {
	if r.parsedRequest.ClusterName != "" {
		return string(r.parsedRequest.ClusterName)
	}
	if strings.Contains(r.EventName, "Cluster") {
		return string(r.parsedRequest.Name)
	}
	return ""
}

// source fills the caller's address. AWS services calling on somebody's behalf
// stand there by name.
func (r *record) source(e *event.Event) {
	e.Actor.Agent = r.Agent
	e.Cloud.InvokedBy = r.Identity.InvokedBy
	ip := normalize.Address(r.SourceIP)
	service := strings.HasSuffix(r.SourceIP, ".amazonaws.com") || r.SourceIP == "AWS Internal"
	switch {
	case ip != "":
		e.Actor.IP = ip
	case service && e.Cloud.InvokedBy == "":
		e.Cloud.InvokedBy = r.SourceIP
	case !service:
		e.Actor.IP = r.SourceIP
	}
}

// resources lists the ARNs that the record names.
func (r *record) resources(c *event.CloudCall) {
	for _, res := range r.Resources {
		c.Resources = normalize.AppendNew(c.Resources, res.ARN)
	}
	for _, leaf := range c.Params {
		key, value, _ := strings.Cut(leaf, "=")
		if strings.HasPrefix(value, "arn:") && strings.HasSuffix(strings.ToLower(strings.TrimSuffix(key, "[]")), "arn") {
			c.Resources = normalize.AppendNew(c.Resources, value)
		}
	}
	p := &r.parsedRequest
	if p.BucketName != "" {
		bucket := "arn:" + r.partition() + ":s3:::" + string(p.BucketName)
		c.Resources = normalize.AppendNew(c.Resources, bucket)
		if p.Key != "" {
			c.Resources = normalize.AppendNew(c.Resources, bucket+"/"+string(p.Key))
		}
	}
}

// partition returns the AWS partition of the call: aws, aws-cn, aws-us-gov.
func (r *record) partition() string {
	parts := strings.SplitN(r.Identity.ARN, ":", 3)
	if len(parts) == 3 && parts[0] == "arn" && parts[1] != "" {
		return parts[1]
	}
	return "aws"
}

// id hashes AWS's own identifier of the event together with what happened.
func (d *Decoder) id(r *record) event.ID {
	d.hash.Reset()
	for _, s := range []string{
		"cloudtrail", r.EventID, r.EventTime, r.EventSource, r.EventName, r.RequestID, r.Region,
		r.Identity.ARN, r.Identity.PrincipalID, r.Identity.AccessKey, r.SourceIP, string(r.Recipient), string(r.ErrorCode),
	} {
		d.hash.Str(s)
	}
	return d.hash.Sum()
}
