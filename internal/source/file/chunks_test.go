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

// TestGiveBackGoesOn holds that what is not yet read stays when chunks are given back.
func TestGiveBackGoesOn(t *testing.T) {
	var chunks Chunks
	line := string(auditLine())
	var in strings.Builder
	for i := range 2000 {
		in.WriteString(strings.Replace(line, "web-1", fmt.Sprint("web-", i), 1) + "\n")
	}
	r := NewReader("x", strings.NewReader(in.String()))
	r.Borrow(&chunks)
	for i := range 2000 {
		rec, err := r.Next()
		if want := strings.Replace(line, "web-1", fmt.Sprint("web-", i), 1); err != nil || string(rec.Raw) != want {
			t.Fatalf("record %d is %q (%v)", i, rec.Raw, err)
		}
		if i%7 == 0 {
			r.GiveBack()
			clear(chunks.take()[:]) // somebody else's now
		}
		if len(r.borrowed) > 2 {
			t.Fatalf("%d chunks are borrowed", len(r.borrowed))
		}
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
