package cloudtrail_test

import (
	"testing"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/normalize"
	"github.com/clew-sec/clew/internal/normalize/cloudtrail"
	"github.com/clew-sec/clew/internal/normalize/normalizetest"
)

func TestDecodeGolden(t *testing.T) {
	normalizetest.Golden(t, new(cloudtrail.Decoder).Decode)
}

func FuzzDecode(f *testing.F) {
	normalizetest.Seeds(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var e event.Event
		e.Reset()
		if new(cloudtrail.Decoder).Decode(raw, &e) != nil {
			return
		}
		if n := len(e.Cloud.Params); n > normalize.MaxLeaves {
			t.Errorf("%d params, want at most %d", n, normalize.MaxLeaves)
		}
		if e.Kind != event.KindCloudCall || e.Time == 0 || e.ID == (event.ID{}) {
			t.Errorf("decoded without error, but kind %d, time %d, id %s", e.Kind, e.Time, e.ID)
		}
	})
}
