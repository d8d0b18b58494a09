package file

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// auditLine is one audit event of about 1.75 KB, the mean of a recorded cluster.
func auditLine() []byte {
	return []byte(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":"38d1f414-a403-44dd-99da-da57c9e5ec90","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/shop/pods/web-1","verb":"patch","user":{"username":"system:serviceaccount:kube-system:ttl-controller","uid":"ee7ead88-3814-47de-99d5-e23ffcc2e9a3","groups":["system:serviceaccounts","system:authenticated"],"extra":{"authentication.kubernetes.io/credential-id":["JTI=5e180c85-a361-40cb-9cf8-3efb8144770b"]}},"sourceIPs":["192.0.2.1"],"userAgent":"kube-controller-manager/v1.36.3 (linux/amd64)","objectRef":{"resource":"pods","namespace":"shop","name":"web-1","apiVersion":"v1"},"responseStatus":{"metadata":{},"code":200},"requestObject":{"metadata":{"annotations":{"note":"` + strings.Repeat("x", 300) + `"}}},"responseObject":{"kind":"Pod","metadata":{"labels":{"a":"b"},"managedFields":[{"f:spec":{"f:containers":{"k":{}}}}],"x":"` + strings.Repeat("y", 420) + `"}},"requestReceivedTimestamp":"2026-01-01T00:00:00.000000Z","stageTimestamp":"2026-01-01T00:00:00.000000Z","annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":"RBAC: allowed by ClusterRoleBinding \"x\" of ClusterRole \"x\" to User \"y\""}}`)
}

func BenchmarkReader(b *testing.B) {
	const events = 8192
	line := auditLine()
	inputs := []struct {
		name string
		data []byte
	}{
		{"ndjson", bytes.Repeat(append(line, '\n'), events)},
		{"concatenated", bytes.Repeat(line, events)},
		{"list", []byte(`{"kind":"EventList","items":[` + strings.Repeat(string(line)+",", events-1) + string(line) + `]}`)},
	}
	for _, in := range inputs {
		b.Run(in.name, func(b *testing.B) {
			b.SetBytes(int64(len(in.data)))
			b.ReportAllocs()
			for b.Loop() {
				if n := drain(b, NewReader("x", bytes.NewReader(in.data))); n != events {
					b.Fatalf("read %d records, want %d", n, events)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/events, "ns/event")
		})
	}
}

// drain counts the records of r.
func drain(tb testing.TB, r *Reader) int {
	tb.Helper()
	n := 0
	for {
		_, err := r.Next()
		if errors.Is(err, io.EOF) {
			return n
		}
		if err != nil {
			tb.Fatal(err)
		}
		n++
	}
}
