package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/clew-sec/clew/internal/bus"
	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/normalize"
	"github.com/clew-sec/clew/internal/store/parquet"
)

// Archive is the history of one cluster. parquet.Writer implements it.
type Archive interface {
	// Append takes the rows of message seq, none of them if the error is not nil.
	Append(ctx context.Context, rows []parquet.Row, seq uint64) error
	// Position is the last message whose rows are kept for good.
	Position() uint64
	// Flush keeps all rows taken so far for good.
	Flush(ctx context.Context) error
}

// Archiver writes the events of one cluster from the log to the history.
type Archiver struct {
	Cluster string
	Archive Archive
	Log     *slog.Logger
	Missed  func(messages uint64) // is told what was gone before it was read

	decoder *Decoder
	scratch event.Event
}

// Run archives what the reader gives until ctx ends or the log fails. The reader
// begins behind Archive.Position.
func (a *Archiver) Run(ctx context.Context, r Reader) error {
	a.decoder = NewDecoder()
	a.scratch.Reset()
	for {
		m, err := nextMessage(ctx, r, a.Log, a.Cluster, a.Missed)
		if ctx.Err() != nil {
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
			defer cancel()
			return a.Archive.Flush(last)
		}
		if err != nil {
			return fmt.Errorf("reading the log of cluster %q for the history: %w", a.Cluster, err)
		}
		a.append(ctx, m.Seq, a.rows(m))
	}
}

// retryAppend is the pause after the history took no rows.
const retryAppend = time.Second

// append hands rows over until the history takes them or ctx ends: the log keeps
// them meanwhile.
func (a *Archiver) append(ctx context.Context, seq uint64, rows []parquet.Row) {
	for {
		err := a.Archive.Append(ctx, rows, seq)
		if err == nil || ctx.Err() != nil {
			return
		}
		a.Log.Error("the history takes no rows; trying again", "cluster", a.Cluster, "error", err)
		select {
		case <-time.After(retryAppend):
		case <-ctx.Done():
		}
	}
}

func (a *Archiver) rows(m bus.Message) []parquet.Row {
	rows := make([]parquet.Row, 0, len(m.Batch.Records))
	for _, rec := range m.Batch.Records {
		e := &a.scratch
		e.Reset()
		err := a.decoder.Decode(rec, e)
		switch {
		case err == nil:
			rows = append(rows, parquet.RowOf(e, rec.Raw))
		case !errors.Is(err, normalize.ErrIrrelevant):
			a.Log.Debug("record cannot be archived", "cluster", a.Cluster, "source", rec.Pos.File, "record", rec.Pos.Record, "error", err)
		}
	}
	return rows
}

// nextMessage is r.Next that reports what is missing on the log and goes on behind
// it.
func nextMessage(ctx context.Context, r Reader, log *slog.Logger, cluster string, missed func(uint64)) (bus.Message, error) {
	for {
		m, err := r.Next(ctx)
		var gap *bus.GapError
		var damaged *bus.DamagedError
		if !errors.As(err, &gap) && !errors.As(err, &damaged) {
			return m, err
		}
		n := uint64(1)
		if gap != nil {
			n = gap.To - gap.From + 1
		}
		missed(n)
		log.Error("going on behind what is missing on the log", "cluster", cluster, "error", err)
	}
}
