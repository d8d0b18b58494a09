package live_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
)

// BenchmarkLatency posts single events, as an API server in blocking mode does, and
// waits until the trace that each begins is in the answer of the API. Reported are
// the milliseconds from the event's stageTimestamp.
func BenchmarkLatency(b *testing.B) {
	s := newServer(b, b.TempDir())
	web, err := s.web()
	if err != nil {
		b.Fatal(err)
	}
	defer web.CloseIdleConnections()
	api := s.api()
	var took []time.Duration
	for n := range b.N {
		user, at := fmt.Sprintf("mallory-%d", n), time.Now()
		stamp := at.UTC().Format("2006-01-02T15:04:05.000000Z")
		event := fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"7d1f0c8e-0000-4000-8000-%012d","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/shop-%d/pods/web-%d/exec?command=sh&container=web&stdin=true&stdout=true&tty=true","verb":"create","user":{"username":%q,"groups":["system:authenticated"]},"sourceIPs":["192.0.2.7"],"userAgent":"kubectl/v1.36.1","objectRef":{"resource":"pods","subresource":"exec","namespace":"shop-%d","name":"web-%d","apiVersion":"v1"},"responseStatus":{"code":101},"requestReceivedTimestamp":%q,"stageTimestamp":%q}`, n, n, n, user, n, n, stamp, stamp)
		if err := s.deliver(web, []byte(event)); err != nil {
			b.Fatal(err)
		}
		for {
			resp, err := api.Traces.ListTraces(context.Background(), connect.NewRequest(&clewv1.ListTracesRequest{Filter: &clewv1.TraceFilter{Text: user, IncludeContext: true}}))
			if err != nil {
				b.Fatal(err)
			}
			if len(resp.Msg.Traces) > 0 {
				break
			}
			if time.Since(at) > 10*time.Second {
				b.Fatal("the trace is not there after 10 s")
			}
			time.Sleep(5 * time.Millisecond)
		}
		took = append(took, time.Since(at))
	}
	slices.Sort(took)
	ms := func(q float64) float64 { return took[int(q*float64(len(took)-1))].Seconds() * 1e3 }
	b.ReportMetric(ms(.5), "p50-ms")
	b.ReportMetric(ms(.99), "p99-ms")
}
