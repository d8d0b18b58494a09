package push

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/clew-sec/clew/internal/source"
)

// heap is a sink that notes the most memory that was alive when it was given a batch.
type heap struct{ most uint64 }

func (h *heap) Accept(context.Context, source.Batch) error {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	h.most = max(h.most, m.HeapAlloc)
	return nil
}

// TestLongPostsTakeLittleMemory holds that a post takes some pieces of memory, however
// long it is and however many messages it packs.
func TestLongPostsTakeLittleMemory(t *testing.T) {
	line := strings.Replace(fmt.Sprintf(auditEvent, 1), `"verb"`, `"x":"`+strings.Repeat("a", 1000)+`","verb"`, 1) + "\n"
	messages := make([][]byte, 1000)
	for i := range messages {
		messages[i] = []byte(line)
	}
	firehose := firehoseBody("r1", messages...)
	for _, c := range []struct {
		name    string
		handler func(Config) http.Handler
		body    io.Reader
		want    uint64
	}{
		{"long", Webhook, io.MultiReader(repeated(line, 100)...), 100 * (1 << 20) / uint64(len(line))},
		{"many messages", Firehose, strings.NewReader(firehose), 1000},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h heap
			cfg := config(t, &h)
			before := h
			_ = before.Accept(t.Context(), source.Batch{})
			w := post(c.handler(cfg), c.body, requestIDHeader, "r1", "X-Amz-Firehose-Protocol-Version", "1.0", "X-Amz-Firehose-Access-Key", "right")
			if n := cfg.Meter.Status().Accepted; w.Code != http.StatusOK || n < c.want {
				t.Fatalf("%d %s: %d records, want %d", w.Code, w.Body, n, c.want)
			}
			if took := int64(h.most) - int64(before.most); took > 32<<20 {
				t.Errorf("%d MiB are held", took>>20)
			}
		})
	}
}

// repeated returns n readers of line after line, a MiB each.
func repeated(line string, n int) []io.Reader {
	mib := []byte(strings.Repeat(line, 1<<20/len(line)+1))
	all := make([]io.Reader, n)
	for i := range all {
		all[i] = bytes.NewReader(mib)
	}
	return all
}
