package graph

import (
	"encoding/gob"
	"fmt"
	"io"

	"github.com/clew-sec/clew/internal/event"
)

// state is what a snapshot holds beside the entity table.
type state struct {
	Sessions recent[event.ID, *session]
	Origins  recent[event.ID, origin]
	Readers  recent[event.ID, []origin]
	ByCred   recent[event.ID, []peer]
	Accounts recent[event.ID, []event.ID]
	Fetched  recent[event.ID, origin]
	Access   recent[event.ID, origin]
	Charts   recent[event.ID, bool]
	Weighty  recent[event.ID, bool]
	Who      recent[event.ID, string]
	Acts     recent[event.ID, []Link]
	Policies []policy
	Swept    int64
	Spans    recent[event.ID, Span]
}

// Snapshot writes the whole state of g: a Graph restored from it goes on as g
// would.
func (g *Graph) Snapshot(w io.Writer) error {
	s := state{g.sessions, g.origins, g.readers, g.byCred, g.accounts, g.fetched, g.access, g.charts, g.weighty, g.who, g.acts, g.policies, g.swept, g.spans}
	if err := gob.NewEncoder(w).Encode(s); err != nil {
		return fmt.Errorf("writing sessions and origins: %w", err)
	}
	if err := g.table.Snapshot(w); err != nil {
		return fmt.Errorf("writing the entity table: %w", err)
	}
	return nil
}

// Restore replaces the state of g by a snapshot. After an error g must not be
// used.
func (g *Graph) Restore(r io.Reader) error {
	var s state
	if err := gob.NewDecoder(asByteReader(r)).Decode(&s); err != nil {
		return fmt.Errorf("reading sessions and origins: %w", err)
	}
	if err := g.table.Restore(r); err != nil {
		return fmt.Errorf("reading the entity table: %w", err)
	}
	g.sessions.restore(s.Sessions)
	g.spans.restore(s.Spans)
	g.origins.restore(s.Origins)
	g.readers.restore(s.Readers)
	g.byCred.restore(s.ByCred)
	g.accounts.restore(s.Accounts)
	g.fetched.restore(s.Fetched)
	g.access.restore(s.Access)
	g.charts.restore(s.Charts)
	g.weighty.restore(s.Weighty)
	g.who.restore(s.Who)
	g.acts.restore(s.Acts)
	g.policies, g.swept = s.Policies, s.Swept
	return nil
}

// asByteReader keeps gob from reading ahead, which would take bytes of the
// table behind it.
func asByteReader(r io.Reader) io.Reader {
	if _, ok := r.(io.ByteReader); ok {
		return r
	}
	return &byteReader{r: r}
}

type byteReader struct {
	r io.Reader
	b [1]byte
}

// Read implements io.Reader.
func (r *byteReader) Read(p []byte) (int, error) { return r.r.Read(p) }

// ReadByte implements io.ByteReader.
func (r *byteReader) ReadByte() (byte, error) {
	_, err := io.ReadFull(r.r, r.b[:])
	return r.b[0], err
}
