package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestBorrowedChunks(t *testing.T) {
	var chunks Chunks
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for round := range 20 {
				name := fmt.Sprintf("%d-%d-", worker, round)
				line := strings.Replace(string(auditLine()), "web-1", name+strings.Repeat("x", round*500), 1)
				in := strings.Repeat(line+"\n", 300)
				r := NewReader("x", strings.NewReader(in))
				r.Borrow(&chunks)
				records := all(t, r)
				want := slices.Repeat([]string{line}, 300)
				if !slices.EqualFunc(records, want, func(a []byte, b string) bool { return string(a) == b }) {
					t.Errorf("%s: other records", name)
				}
				r.Return()
			}
		})
	}
	wg.Wait()
	if chunks.pool.Get() == nil {
		t.Error("nothing was given back")
	}
}

func all(t *testing.T, r *Reader) (raw [][]byte) {
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return raw
		}
		if err != nil {
			t.Error(err)
			return raw
		}
		if !bytes.HasPrefix(rec.Raw, []byte("{")) {
			t.Errorf("%.40q", rec.Raw)
		}
		raw = append(raw, rec.Raw)
	}
}
