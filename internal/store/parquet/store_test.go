package parquet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/clew-sec/clew/internal/event"
)

func open(t testing.TB, cfg Config) *Store {
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// cpu returns the processor time that this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

var errCrash = errors.New("crashed")

// memory keeps blobs in memory. It can be told to crash at its n-th change, before
// or after the change is made; whatever is asked of it afterwards fails.
type memory struct {
	mu    sync.Mutex
	blobs map[string][]byte
	left  int  // changes until the crash, -1: none
	after bool // the change that crashes is made
	gone  bool
	slow  error // every read fails with it
}

func newMemory() *memory { return &memory{blobs: map[string][]byte{}, left: -1} }

// recovered returns what is left after a crash.
func (m *memory) recovered() *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &memory{blobs: maps.Clone(m.blobs), left: -1}
}

func (m *memory) change(f func()) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.gone {
		return errCrash
	}
	if m.left == 0 {
		m.gone = true
		if m.after {
			f()
		}
		return errCrash
	}
	m.left--
	f()
	return nil
}

func (m *memory) List(_ context.Context, prefix string, f func(string, int64)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, b := range m.blobs {
		if strings.HasPrefix(name, prefix) {
			f(name, int64(len(b)))
		}
	}
	return nil
}

func (m *memory) Put(_ context.Context, name string, data []byte) error {
	return m.change(func() { m.blobs[name] = bytes.Clone(data) })
}

func (m *memory) Move(_ context.Context, from, to string) error {
	return m.change(func() { m.blobs[to] = m.blobs[from]; delete(m.blobs, from) })
}

func (m *memory) Remove(_ context.Context, name string) error {
	return m.change(func() { delete(m.blobs, name) })
}

type memoryFile struct {
	*bytes.Reader
	m *memory
}

func (f memoryFile) Close() error { return nil }

func (f memoryFile) ReadAt(p []byte, off int64) (int, error) {
	if f.m.slow != nil {
		return 0, f.m.slow
	}
	return f.Reader.ReadAt(p, off)
}

func (m *memory) Open(_ context.Context, name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.blobs[name]
	switch {
	case m.gone:
		return nil, errCrash
	case !ok:
		return nil, fmt.Errorf("%q: %w", name, fs.ErrNotExist)
	}
	return memoryFile{bytes.NewReader(b), m}, nil
}

func (m *memory) names(prefix string) (names []string) {
	_ = m.List(context.Background(), prefix, func(name string, _ int64) { names = append(names, name) })
	slices.Sort(names)
	return names
}

// message is one of the log.
type message struct {
	cluster string
	seq     uint64
	rows    []Row
}

// messages makes a log: small vocabularies, so that filters meet, repeated times, and
// events that are delivered again.
func messages(rnd *rand.Rand, n int) (log []message) {
	var all []Row
	g := newGenerator(rnd.Uint64())
	g.pods, g.raw = 40, 300
	for seq := range n {
		m := message{cluster: []string{"prod", "test/Ä b"}[rnd.IntN(2)], seq: uint64(seq + 1)}
		for range rnd.IntN(40) {
			if len(all) > 0 && rnd.IntN(10) == 0 {
				m.rows = append(m.rows, all[rnd.IntN(len(all))])
				continue
			}
			r := randomRow(rnd, g)
			all, m.rows = append(all, r), append(m.rows, r)
		}
		log = append(log, m)
	}
	return log
}

func randomRow(rnd *rand.Rand, g *generator) Row {
	r := g.row()
	if rnd.IntN(3) == 0 {
		r.Time = g.time / 1_000_000_000 * 1_000_000_000
	}
	switch rnd.IntN(5) {
	case 0:
		r.Kind, r.Plane, r.Verb, r.CloudAction, r.Entities, r.Groups = "cloud-call", "cloud", "", "AssumeRole", nil, nil
	case 1:
		r.Text = strings.Repeat("é%\x00", rnd.IntN(3)) + "Needle" + strings.Repeat("x", rnd.IntN(40))
	case 2:
		r.Executable, r.Raw = "/bin/sh", nil
	}
	return r
}

// oracle holds what the history must hold: each event of a cluster once.
type oracle map[rowKey]Row

func (o oracle) take(m message) {
	for _, r := range m.rows {
		r.Cluster, r.Seq = m.cluster, m.seq
		if _, ok := o[key(&r)]; !ok {
			o[key(&r)] = r
		}
	}
}

// query answers q by looking at every row.
func (o oracle) query(q Query) []Row {
	var out []Row
	in := func(values []string, have ...string) bool {
		return len(values) == 0 || slices.ContainsFunc(have, func(h string) bool { return slices.Contains(values, h) })
	}
	for _, r := range o {
		if q.From != 0 && r.Time < q.From || q.To != 0 && r.Time >= q.To ||
			!in(q.Clusters, r.Cluster) || !in(q.Kinds, r.Kind) || !in(q.Planes, r.Plane) || !in(q.Namespaces, r.Namespace) ||
			!in(q.Pods, r.Pod, r.ActorPod) || !in(q.Users, r.User) || !in(q.Executables, r.Executable) ||
			!in(q.Verbs, r.Verb, r.CloudAction) || !in(q.Resources, r.Resource) ||
			len(q.IDs) > 0 && !slices.Contains(q.IDs, r.ID) ||
			len(q.Entities) > 0 && !slices.ContainsFunc(r.Entities, func(e event.ID) bool { return slices.Contains(q.Entities, e) }) ||
			!hasText(&r, q.Text) {
			continue
		}
		if !q.Raw {
			r.Raw = nil
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Row) int { return key(&b).compare(key(&a)) })
	return out
}

func hasText(r *Row, text string) bool {
	all := []string{r.Text, r.RequestURI, r.Name, r.User, r.Namespace, r.Verb, r.Resource, r.Subresource, r.Credential, r.SourceIP,
		r.UserAgent, r.ActorPod, r.Pod, r.Node, r.Executable, r.CloudService, r.CloudAction, r.CloudError}
	return text == "" || slices.ContainsFunc(all, func(s string) bool {
		return strings.Contains(asciiLower(s), asciiLower(text))
	})
}

func asciiLower(s string) string {
	return strings.Map(func(c rune) rune {
		if c >= 'A' && c <= 'Z' {
			return c + 32
		}
		return c
	}, s)
}

// randomQuery asks for values of rows that exist, mostly.
func randomQuery(rnd *rand.Rand, o oracle) Query {
	rows := slices.SortedFunc(maps.Values(o), func(a, b Row) int { return key(&a).compare(key(&b)) })
	q := Query{Limit: 1 + rnd.IntN(60), Raw: rnd.IntN(2) == 0}
	if len(rows) == 0 {
		return q
	}
	r := func() *Row { return &rows[rnd.IntN(len(rows))] }
	for range rnd.IntN(4) {
		switch rnd.IntN(14) {
		case 0:
			q.From = r().Time
		case 1:
			q.To = r().Time + rnd.Int64N(2)
		case 2:
			q.Clusters = []string{r().Cluster}
		case 3:
			q.Kinds = []string{r().Kind}
		case 4:
			q.Namespaces = []string{r().Namespace, "none"}
		case 5:
			q.Pods = []string{r().ActorPod, r().Pod}
		case 6:
			q.Users = []string{r().User}
		case 7:
			q.Executables = []string{r().Executable}
		case 8:
			q.Verbs = []string{r().Verb, "AssumeRole"}[rnd.IntN(2):]
		case 9:
			q.Resources = []string{r().Resource}
		case 10:
			if e := r().Entities; len(e) > 0 {
				q.Entities = []event.ID{e[rnd.IntN(len(e))], id(77, 1)}
			}
		case 11:
			q.IDs = []event.ID{r().ID, r().ID}
		case 12:
			q.Text = []string{"nEEDLE", "TEAM-0", "assumerole", "%\x00", "xxxxxxxxxx", "no such text", "é"}[rnd.IntN(7)]
		case 13:
			q.Planes = []string{r().Plane}
		}
	}
	return q
}

// check compares all pages of q with the oracle.
func check(t testing.TB, s *Store, o oracle, q Query) {
	t.Helper()
	want := o.query(q)
	var got []Row
	pages := q
	for {
		res, err := s.Query(context.Background(), pages)
		if err != nil {
			t.Fatalf("%+v: %v", q, err)
		}
		got = append(got, res.Rows...)
		if res.Next == "" {
			break
		}
		pages.Cursor = res.Next
	}
	if len(got) != len(want) {
		t.Fatalf("%+v: %d rows, want %d", q, len(got), len(want))
	}
	for i := range got {
		if !reflect.DeepEqual(plain(got[i]), plain(want[i])) {
			t.Fatalf("%+v, row %d:\n%+v\nwant\n%+v", q, i, got[i], want[i])
		}
	}
}

// plain makes rows comparable: which of two deliveries counts is open, and a list
// without elements may be nil.
func plain(r Row) Row {
	r.Seq, r.Entities, r.Groups, r.Raw = 0, append([]event.ID{}, r.Entities...), append([]string{}, r.Groups...), append([]byte{}, r.Raw...)
	return r
}

func small(b Blobs) Config {
	return Config{Blobs: b, SegmentRows: 300, groupRows: 60, Workers: 2}
}

// replay gives a store the messages of the log that its segments do not hold.
func replay(t testing.TB, s *Store, log []message) {
	t.Helper()
	for _, m := range log {
		if err := appendTo(s, m); err != nil {
			t.Fatal(err)
		}
	}
}

func appendTo(s *Store, m message) error {
	w, err := s.Writer(context.Background(), m.cluster)
	if err != nil || m.seq <= w.Position() {
		return err
	}
	return w.Append(context.Background(), slices.Clone(m.rows), m.seq)
}

func TestQueriesAgreeWithALookAtEveryRow(t *testing.T) {
	for seed := range uint64(4) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		log, o, blobs := messages(rnd, 40), oracle{}, newMemory()
		s := open(t, small(blobs))
		for i, m := range log {
			if err := appendTo(s, m); err != nil {
				t.Fatal(err)
			}
			o.take(m)
			switch rnd.IntN(12) {
			case 0, 1:
				w, _ := s.Writer(t.Context(), m.cluster)
				if err := w.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
			case 2:
				if err := s.Compact(t.Context()); err != nil {
					t.Fatal(err)
				}
			case 3: // killed
				s = open(t, small(blobs))
				replay(t, s, log[:i+1])
			case 4:
				if err := s.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				s = open(t, small(blobs))
			}
			for range 3 {
				check(t, s, o, randomQuery(rnd, o))
			}
			if st := s.Status(); st.DamagedSegments > 0 {
				t.Fatalf("damaged: %v", st.Damaged)
			}
		}
		check(t, s, o, Query{Limit: 37, Raw: true})
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCrashLosesAndDoublesNothing crashes at every change of the backend in turn.
func TestCrashLosesAndDoublesNothing(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 3))
	log := messages(rnd, 24)
	o := oracle{}
	for _, m := range log {
		o.take(m)
	}
	crashes := 0
	for at := 0; ; at++ {
		blobs := newMemory()
		blobs.left, blobs.after = at/2, at%2 == 1
		crashed := false
		s := open(t, small(blobs))
		for i, m := range log {
			err := appendTo(s, m)
			if err == nil && i%2 == 0 {
				w, _ := s.Writer(t.Context(), m.cluster)
				err = w.Flush(t.Context())
			}
			if err == nil && i%3 == 2 {
				err = s.Maintain(t.Context(), time.Now())
			}
			if err != nil {
				if !errors.Is(err, errCrash) {
					t.Fatal(err)
				}
				crashed = true
				break
			}
		}
		s = open(t, small(blobs.recovered()))
		replay(t, s, log)
		check(t, s, o, Query{Raw: true, Limit: 50})
		if err := s.Maintain(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		check(t, s, o, Query{Raw: true, Limit: 50})
		if !crashed {
			break
		}
		crashes++
	}
	if crashes < 15 {
		t.Fatalf("%d crashes: the test does not reach the backend", crashes)
	}
}

// TestFlushIsRetried keeps the store alive over a backend that fails for a while.
func TestFlushIsRetried(t *testing.T) {
	blobs := newMemory()
	s := open(t, small(blobs))
	rnd := rand.New(rand.NewPCG(6, 3))
	o := oracle{}
	for i, m := range messages(rnd, 30) {
		blobs.gone = i%3 != 0
		blobs.left = -1
		for appendTo(s, m) != nil { // memory is full and the backend takes nothing
			blobs.gone = false
		}
		o.take(m)
		w, _ := s.Writer(t.Context(), m.cluster)
		if err := w.Flush(t.Context()); (err != nil) != blobs.gone && w.last != w.Position() {
			t.Fatalf("flush: %v, backend gone: %v", err, blobs.gone)
		}
		blobs.gone = false
		check(t, s, o, Query{Raw: true, Limit: 70})
	}
	s = open(t, small(blobs))
	if s.Status().Segments == 0 {
		t.Fatal("nothing was ever stored")
	}
}

// TestDamageIsFoundAndTheRestServed flips single bytes everywhere in a segment.
func TestDamageIsFoundAndTheRestServed(t *testing.T) {
	blobs, all := newMemory(), oracle{}
	s := open(t, small(blobs))
	g := newGenerator(9)
	sets := [][]Row{g.rows(150), g.rows(150)}
	for i, rows := range sets {
		m := message{"prod", uint64(i + 1), rows}
		if err := appendTo(s, m); err != nil {
			t.Fatal(err)
		}
		w, _ := s.Writer(t.Context(), "prod")
		if err := w.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			all.take(m)
		}
	}
	name := blobs.names(segmentsFolder)[0]
	whole := blobs.blobs[name]
	damage := func(what string, data []byte) {
		b := blobs.recovered()
		b.blobs[name] = data
		s := open(t, small(b))
		var got []Row
		q := Query{Raw: true, Limit: 500, Verbs: genVerbs}
		res, err := s.Query(t.Context(), q)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		got = res.Rows
		if len(res.Plan.Damaged) != 1 || !strings.HasSuffix(name, res.Plan.Damaged[0]) {
			t.Fatalf("%s: damaged %v, want %s", what, res.Plan.Damaged, name)
		}
		for _, r := range got {
			if r.Seq == 2 {
				continue
			}
			t.Fatalf("%s: row of the damaged segment: %+v", what, r)
		}
		check(t, s, all, q)
		if st := s.Status(); st.DamagedSegments != 1 || len(st.Damaged) != 1 || st.Segments != 1 {
			t.Fatalf("%s: status %+v", what, st)
		}
		if got := b.names(damagedFolder); len(got) != 1 || strings.TrimPrefix(got[0], damagedFolder) != strings.TrimPrefix(name, segmentsFolder) {
			t.Fatalf("%s: set aside %v", what, got)
		}
		if w, err := open(t, small(b)).Writer(t.Context(), "prod"); err != nil || w.Position() != 2 {
			t.Fatalf("%s: position goes back: %v, %v", what, w, err)
		}
	}
	step := max(1, len(whole)/150)
	for at := 0; at < len(whole); at += step {
		flipped := bytes.Clone(whole)
		flipped[at] ^= 1 << (at % 8)
		damage(fmt.Sprintf("byte %d of %d", at, len(whole)), flipped)
	}
	for _, n := range []int{0, 3, 11, len(whole) / 3, len(whole) - 1} {
		damage(fmt.Sprintf("cut to %d bytes", n), whole[:n])
	}
}

// TestBackendFailureDamagesNothing: a segment that cannot be reached is not damaged.
func TestBackendFailureDamagesNothing(t *testing.T) {
	blobs := newMemory()
	s := open(t, small(blobs))
	if err := appendTo(s, message{"prod", 1, newGenerator(1).rows(100)}); err != nil {
		t.Fatal(err)
	}
	w, _ := s.Writer(t.Context(), "prod")
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	blobs.slow = errors.New("network is down")
	if _, err := s.Query(t.Context(), Query{}); !errors.Is(err, blobs.slow) {
		t.Fatalf("error %v, want the backend's", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Query(ctx, Query{}); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want canceled", err)
	}
	blobs.slow = nil
	if res, err := s.Query(t.Context(), Query{Limit: 1000}); err != nil || len(res.Rows) != 100 || s.Status().DamagedSegments != 0 {
		t.Fatalf("%d rows, %v, %+v", len(res.Rows), err, s.Status())
	}
}
