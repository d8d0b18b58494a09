package pipeline

import (
	"fmt"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/normalize/azureactivity"
	"github.com/clew-sec/clew/internal/normalize/cloudtrail"
	"github.com/clew-sec/clew/internal/normalize/gcpaudit"
	"github.com/clew-sec/clew/internal/normalize/k8saudit"
	"github.com/clew-sec/clew/internal/source/file"
)

// Decoder turns records of every format into events. It is not safe for
// concurrent use.
type Decoder struct {
	k8s   *k8saudit.Decoder
	aws   *cloudtrail.Decoder
	gcp   *gcpaudit.Decoder
	azure *azureactivity.Decoder
}

// NewDecoder returns a Decoder.
func NewDecoder() *Decoder {
	k8s := &k8saudit.Decoder{}
	return &Decoder{k8s: k8s, aws: &cloudtrail.Decoder{}, gcp: gcpaudit.New(k8s), azure: azureactivity.New(k8s)}
}

// Decode fills e, which must be empty, from rec. Strings of e may alias
// rec.Raw. The error is normalize.ErrIrrelevant when the record is well formed
// but says nothing for detection.
func (d *Decoder) Decode(rec file.Record, e *event.Event) error {
	e.Pos = rec.Pos
	switch rec.Format {
	case file.K8sAudit:
		return d.k8s.Decode(rec.Raw, e)
	case file.CloudTrail:
		return d.aws.Decode(rec.Raw, e)
	case file.GCPAudit:
		return d.gcp.Decode(rec.Raw, e)
	case file.AzureRecord:
		return d.azure.Decode(rec.Raw, e)
	}
	return fmt.Errorf("no decoder for format %s", rec.Format)
}
