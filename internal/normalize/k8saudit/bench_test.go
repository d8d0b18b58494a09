package k8saudit

import (
	"encoding/json"
	"testing"
)

// BenchmarkDecode decodes the recorded events one by one. encoding/json reads
// the same top level and leaves the bodies raw, which is less work.
func BenchmarkDecode(b *testing.B) {
	for _, set := range []struct{ name, pattern string }{
		{"features", "cluster-1.36.jsonl.gz"},
		{"facts", "kube-apiserver-1.36.1.jsonl.gz"},
		{"benign", "benign/*.jsonl.gz"},
	} {
		records := readRecords(b, set.pattern)
		b.Run(set.name+"/clew", func(b *testing.B) {
			d, e := new(Decoder), newEvent()
			run(b, records, func(raw []byte) error {
				e.Reset()
				return d.Decode(raw, e)
			})
		})
		b.Run(set.name+"/encoding-json", func(b *testing.B) {
			run(b, records, func(raw []byte) error {
				var o oracleEvent
				return json.Unmarshal(raw, &o)
			})
		})
	}
}

// run reports per event, so that B/op and allocs/op are an event's too.
func run(b *testing.B, records [][]byte, decode func([]byte) error) {
	size := 0
	for _, raw := range records {
		size += len(raw)
	}
	b.ReportAllocs()
	b.SetBytes(int64(size / len(records)))
	for i := 0; b.Loop(); i++ {
		if err := decode(records[i%len(records)]); err != nil {
			b.Fatal(err)
		}
	}
}
