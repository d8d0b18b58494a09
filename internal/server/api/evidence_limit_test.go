package api

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"testing"
)

// TestEvidenceBeyondTheLimit: the same records are left out every time, the newest.
func TestEvidenceBeyondTheLimit(t *testing.T) {
	const records = 40
	var first []byte
	for range 3 {
		e := &evidence{Records: map[string]record{}}
		for i := range records {
			e.Records[fmt.Sprint(i)] = record{Time: int64(i), Raw: make([]byte, 1<<20)}
		}
		b, err := e.encode()
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = b
		}
		if !bytes.Equal(b, first) {
			t.Fatal("saved again, it is something else")
		}
	}
	z, err := gzip.NewReader(bytes.NewReader(first))
	if err != nil {
		t.Fatal(err)
	}
	var got evidence
	if err := json.NewDecoder(z).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if len(got.Records) != maxEvidence>>20 {
		t.Errorf("%d records are kept", len(got.Records))
	}
	for i := range maxEvidence >> 20 {
		if got.Records[fmt.Sprint(i)].Raw == nil {
			t.Errorf("record %d is left out", i)
		}
	}
}
