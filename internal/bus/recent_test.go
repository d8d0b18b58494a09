package bus_test

import (
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"

	"github.com/clew-sec/clew/internal/bus"
)

func TestWhatIsAtHandIsWhatIsStored(t *testing.T) {
	l := remembering(t, bus.Config{Dir: t.TempDir()})
	const batches = 50
	var wg sync.WaitGroup
	for _, source := range []string{"one", "two", "three"} {
		wg.Go(func() {
			for i := range batches {
				b := batch("c", fmt.Sprint(source, i), "", noise(i*100))
				b.Source = source
				accept(t, l, b)
			}
		})
	}
	wg.Wait()
	atHand := read(t, l, "c", 0)
	stored := read(t, l, "c", 0)
	var want []bus.Message
	for n := messagesLeft(t, l, atHand); n > 0; n-- {
		want = append(want, next(t, atHand))
	}
	l.Forget()
	for i, m := range want {
		if got := next(t, stored); !reflect.DeepEqual(got, m) {
			t.Fatalf("message %d is %+v, and at hand was %+v", i, got, m)
		}
	}
}

func TestReadersThatKeepUpDoNotAskTheLog(t *testing.T) {
	l := remembering(t, bus.Config{Dir: t.TempDir()})
	for i := range 10 {
		accept(t, l, batch("c", fmt.Sprint(i)))
	}
	r := read(t, l, "c", 0)
	if err := l.Trim(deadline(t), "c", 10); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if m := next(t, r); m.Seq != uint64(i+1) || string(m.Batch.Records[0].Raw) != fmt.Sprint(i) {
			t.Fatalf("%+v", m)
		}
	}
}

func TestLittleStaysAtHand(t *testing.T) {
	l := remembering(t, bus.Config{Dir: t.TempDir()})
	for range 40 {
		accept(t, l, batch("c", noise(1<<20)))
	}
	if n := l.AtHand(); n > 32<<20 || n < 24<<20 {
		t.Errorf("%d bytes are at hand", n)
	}
	r := read(t, l, "c", 0) // the first is on the log alone
	for i := range 40 {
		if m := next(t, r); m.Seq != uint64(i+1) || len(m.Batch.Records[0].Raw) != 1<<20 {
			t.Fatalf("message %d: %d bytes", m.Seq, len(m.Batch.Records[0].Raw))
		}
	}
}

// TestNothingOfAnotherLogIsAtHand takes the stream away under a log that is open, as
// who restores a cluster does: what is acknowledged afterwards is what is read.
func TestNothingOfAnotherLogIsAtHand(t *testing.T) {
	l := remembering(t, bus.Config{Dir: t.TempDir()})
	for i := range 5 {
		accept(t, l, batch("c", fmt.Sprint("old", i)))
	}
	r := read(t, l, "c", 5)
	l.Lose(t, "c")
	for i := range 2 {
		accept(t, l, batch("c", fmt.Sprint("new", i)))
	}
	_, err := r.Next(deadline(t))
	if _, ahead := errors.AsType[*bus.AheadError](err); !ahead {
		t.Fatal(err)
	}
	for i := 2; i < 4; i++ {
		accept(t, l, batch("c", fmt.Sprint("new", i)))
	}
	again := read(t, l, "c", 0)
	for i := range 4 {
		if m := next(t, again); string(m.Batch.Records[0].Raw) != fmt.Sprint("new", i) {
			t.Errorf("message %d is %s", m.Seq, m.Batch.Records[0].Raw)
		}
	}
}

// TestSmallRecordsAtHand holds that records without much in them count too.
func TestSmallRecordsAtHand(t *testing.T) {
	l := remembering(t, bus.Config{Dir: t.TempDir()})
	accept(t, l, batch("c", make([]string, 1000)...))
	if n := l.AtHand(); n < 64*1000 {
		t.Errorf("1000 records count as %d bytes", n)
	}
}
