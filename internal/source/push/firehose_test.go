package push

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/clew-sec/clew/internal/source"
)

func firehoseBody(id string, records ...[]byte) string {
	var list []string
	for _, r := range records {
		list = append(list, fmt.Sprintf(`{"data":%q}`, base64.StdEncoding.EncodeToString(r)))
	}
	return fmt.Sprintf(`{"requestId":%q,"timestamp":1578090901599,"records":[%s]}`, id, strings.Join(list, ","))
}

// logs is what a CloudWatch Logs subscription puts into one Firehose record.
func logs(n int) []byte {
	var events []string
	for i := range n {
		message, _ := json.Marshal(fmt.Sprintf(auditEvent, i))
		events = append(events, fmt.Sprintf(`{"id":"3%d","timestamp":1,"message":%s}`, i, message))
	}
	return zipped(fmt.Appendf(nil, `{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"/aws/eks/prod/cluster","logStream":"kube-apiserver-audit-1","subscriptionFilters":["f"],"logEvents":[%s]}`,
		strings.Join(events, ","))).Bytes()
}

func TestFirehose(t *testing.T) {
	control := zipped([]byte(`{"messageType":"CONTROL_MESSAGE","owner":"CloudwatchLogs","logGroup":"","logStream":"","subscriptionFilters":[],"logEvents":[{"id":"","timestamp":1,"message":"CWL CONTROL MESSAGE: Checking health of destination Firehose."}]}`)).Bytes()
	trails := fmt.Appendf(nil, `{"Records":[`+trail+`,`+trail+`]}`, 1, 2)
	l := &log{}
	cfg := config(t, l)
	h := Firehose(cfg)
	for _, c := range []struct {
		name    string
		body    string
		headers []string
		status  int
		reason  string
		records int
	}{
		{"EKS audit and CloudTrail", firehoseBody("r1", logs(3), control, trails), nil, 200, "", 5},
		{"gzip", zipped([]byte(firehoseBody("r1", logs(3)))).String(), []string{"Content-Encoding", "gzip"}, 200, "", 3},
		{"unknown record", firehoseBody("r1", []byte("hello"), logs(1), []byte("\x1f\x8bbroken")), nil, 200, "", 1},
		{"no records", firehoseBody("r1"), nil, 200, "", 0},
		{"wrong key", firehoseBody("r1", logs(1)), []string{"X-Amz-Firehose-Access-Key", "wrong"}, 401, "unauthenticated", 0},
		{"no key, but a token", firehoseBody("r1", logs(1)), []string{"X-Amz-Firehose-Access-Key", ""}, 401, "unauthenticated", 0},
		{"other id", firehoseBody("r2", logs(1)), nil, 400, "protocol", 0},
		{"no id", firehoseBody("", logs(1)), []string{requestIDHeader, ""}, 400, "protocol", 0},
		{"protocol 2", firehoseBody("r1", logs(1)), []string{"X-Amz-Firehose-Protocol-Version", "2.0"}, 400, "protocol", 0},
		{"bare records", list(1), nil, 400, "protocol", 0},
		{"array", "[]", nil, 400, "protocol", 0},
		{"no base64", `{"requestId":"r1","records":[{"data":"%"}]}`, nil, 400, "unreadable_body", 0},
		{"cut off", firehoseBody("r1", logs(1))[:120], nil, 400, "unreadable_body", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			l.records = nil
			headers := append([]string{"X-Amz-Firehose-Protocol-Version", "1.0", requestIDHeader, "r1", "X-Amz-Firehose-Access-Key", "right"}, c.headers...)
			w := post(h, strings.NewReader(c.body), headers...)
			var answer struct {
				RequestID    string
				Timestamp    int64
				ErrorMessage string
			}
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Header().Get("Content-Type") != "application/json" {
				t.Fatalf("answer %q: %v", w.Body, err)
			}
			if w.Code != c.status || answer.ErrorMessage != c.reason || l.count() != c.records {
				t.Errorf("status %d %q, %d records; want %d %q, %d", w.Code, answer.ErrorMessage, l.count(), c.status, c.reason, c.records)
			}
			if sent := time.UnixMilli(answer.Timestamp); time.Since(sent).Abs() > time.Minute || answer.RequestID != "r1" && c.name != "no id" {
				t.Errorf("answer %+v", answer)
			}
		})
	}
	s := cfg.Meter.Status()
	if s.Dropped[source.DropUnknown] != 1 || s.Dropped[source.DropUnreadable] != 1 {
		t.Errorf("dropped %v", s.Dropped)
	}
}

func TestFirehoseIsToldToRetry(t *testing.T) {
	cfg := config(t, &log{fail: func(source.Batch) error { return source.ErrUnavailable }})
	w := post(Firehose(cfg), strings.NewReader(firehoseBody("r1", logs(1))), "X-Amz-Firehose-Protocol-Version", "1.0", requestIDHeader, "r1", "X-Amz-Firehose-Access-Key", "right")
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), `"errorMessage":"unavailable"`) {
		t.Errorf("status %d %s", w.Code, w.Body)
	}
}
