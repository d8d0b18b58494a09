package pipeline

import (
	"context"
	"testing"

	"github.com/clew-sec/clew/internal/bus"
)

// written is a history up to a position.
type written struct {
	Archive
	pos uint64
}

func (w written) Position() uint64            { return w.pos }
func (w written) Flush(context.Context) error { return nil }

// LoadMark and SaveMark are those of a history that was written from log 1.
func (written) LoadMark(context.Context, string) (Mark, bool, error) { return Mark{Log: 1}, true, nil }
func (written) SaveMark(context.Context, string, Mark) error         { return nil }

// TestNothingIsKeptOfTwoLogs holds that nothing is trimmed from a log that only one of
// its readers knows to be another.
func TestNothingIsKeptOfTwoLogs(t *testing.T) {
	a := written{pos: 500}
	c := &live{worker: &Worker{}, archive: newNumbered(a)}
	c.worker.status.Saved, c.worker.keptLog = 10, 2 // of the new log already
	if _, err := c.archive.place(t.Context(), a, "c", bus.Identity{ID: 1, Last: 500}, false); err != nil {
		t.Fatal(err)
	}
	if n := c.kept(); n != 0 {
		t.Errorf("%d messages would be trimmed that the history has not read", n)
	}
	c.worker.keptLog = 1
	if n := c.kept(); n != 10 {
		t.Errorf("both have %d messages, want 10", n)
	}
}
