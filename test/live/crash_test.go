package live_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
	"github.com/clew-sec/clew/internal/client"
	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/pipeline"
	"github.com/clew-sec/clew/internal/source/file"
	"github.com/clew-sec/clew/test/amplify"
)

// batchEvents is how many events one post has.
const batchEvents = 40

// rounds is how often the server is killed: CLEW_CRASH_ROUNDS, 3 when unset.
func rounds(t *testing.T) int {
	t.Helper()
	text := os.Getenv("CLEW_CRASH_ROUNDS")
	if text == "" {
		return 3
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// recorded returns n posts of recorded attacks and a recorded cluster, in the order
// of time, as often as it takes, each time later and with other objects.
func recorded(t *testing.T, n int) (posts [][]byte) {
	t.Helper()
	rs, err := amplify.Read("../recordings/attack", "../recordings/real/cluster-1.36.jsonl.gz", "../recordings/real/panic-stage")
	if err != nil {
		t.Fatal(err)
	}
	for size := int64(1); ; size *= 2 {
		var text bytes.Buffer
		events, err := rs.Write(&text, size, true)
		if err != nil {
			t.Fatal(err)
		}
		if events < n*batchEvents {
			size = max(size, int64(text.Len()))
			continue
		}
		for part := range slices.Chunk(slices.Collect(bytes.Lines(text.Bytes())), batchEvents) {
			posts = append(posts, bytes.Join(part, nil))
		}
		return posts[:n]
	}
}

// idsOf returns the ids of the events in posts that the history keeps.
func idsOf(t *testing.T, posts [][]byte) map[string]bool {
	t.Helper()
	ids := map[string]bool{}
	dec, e := pipeline.NewDecoder(), &event.Event{}
	for _, p := range posts {
		for raw := range bytes.Lines(p) {
			e.Reset()
			if dec.Decode(file.Record{Format: file.K8sAudit, Raw: raw}, e) == nil {
				ids[e.ID.String()] = true
			}
		}
	}
	return ids
}

// TestKilledServerLosesNothing kills a server at random moments while it is posted
// to, and starts it again. In the end the history has every acknowledged event once,
// and the traces are those of a server that was left alone.
func TestKilledServerLosesNothing(t *testing.T) {
	n := rounds(t)
	const perRound = 25
	posts := recorded(t, n*perRound)
	ids := idsOf(t, posts)
	calm := newServer(t, t.TempDir())
	send(t, calm, posts)
	want := tracesOf(t, calm)
	wantIDs(t, calm, ids)
	calm.kill(syscall.SIGTERM)

	s := newServer(t, t.TempDir())
	for i, part := range slices.Collect(slices.Chunk(posts, perRound)) {
		var wg sync.WaitGroup
		wg.Go(func() { send(t, s, part) })
		time.Sleep(rand.N(700 * time.Millisecond))
		sig := syscall.SIGKILL
		if i%5 == 4 { // an orderly end now and then writes segments
			sig = syscall.SIGTERM
		}
		s.kill(sig)
		s.start()
		wg.Wait()
		if t.Failed() {
			return
		}
	}
	wantIDs(t, s, ids)
	got := tracesOf(t, s)
	for id, w := range want {
		if got[id] != w {
			t.Errorf("trace %s is\n%s, of a server that was left alone\n%s", id, got[id], w)
		}
	}
	for id, g := range got {
		if _, ok := want[id]; !ok {
			t.Errorf("a trace too many: %s\n%s", id, g)
		}
	}
	t.Logf("%d kills, %d posts, %d events, %d traces", n, len(posts), len(ids), len(want))
}

// send delivers posts one after the other.
func send(t *testing.T, s *server, posts [][]byte) {
	web, err := s.web()
	if err != nil {
		t.Error(err)
		return
	}
	defer web.CloseIdleConnections()
	for _, p := range posts {
		if err := s.deliver(web, p); err != nil {
			t.Error(err)
			return
		}
	}
}

// wantIDs waits until the history has the events, and checks that it has each of
// them once and no other.
func wantIDs(t *testing.T, s *server, want map[string]bool) {
	t.Helper()
	api := s.api()
	eventually(t, time.Minute, func() error {
		got, err := history(api)
		if err != nil {
			return err
		}
		missing := 0
		for id := range want {
			if got[id] == 0 {
				missing++
			}
		}
		if missing > 0 {
			return fmt.Errorf("%d of %d events are not in the history", missing, len(want))
		}
		for id, n := range got {
			if n != 1 || !want[id] {
				t.Fatalf("event %s is in the history %d times, expected there: %v", id, n, want[id])
			}
		}
		return nil
	})
}

// history returns how often each event is in the history.
func history(api *client.Client) (map[string]int, error) {
	out := map[string]int{}
	req := &clewv1.SearchEventsRequest{PageSize: 1000}
	for {
		resp, err := api.Events.SearchEvents(context.Background(), connect.NewRequest(req))
		if err != nil {
			return nil, err
		}
		for _, e := range resp.Msg.Events {
			out[e.Id]++
		}
		if req.PageToken = resp.Msg.NextPageToken; req.PageToken == "" {
			return out, nil
		}
	}
}

// tracesOf returns the traces of a server that has nothing to do, in words.
func tracesOf(t *testing.T, s *server) map[string]string {
	t.Helper()
	api := s.api()
	s.idle(api)
	out := map[string]string{}
	req := &clewv1.ListTracesRequest{PageSize: 500, Filter: &clewv1.TraceFilter{IncludeContext: true}}
	for {
		resp, err := api.Traces.ListTraces(context.Background(), connect.NewRequest(req))
		if err != nil {
			t.Fatal(err)
		}
		for _, tr := range resp.Msg.Traces {
			full, err := api.Traces.GetTrace(context.Background(), connect.NewRequest(&clewv1.GetTraceRequest{Id: tr.Id}))
			if err != nil {
				t.Fatal(err)
			}
			out[tr.Id] = words(full.Msg.Trace)
		}
		if req.PageToken = resp.Msg.NextPageToken; req.PageToken == "" {
			return out
		}
	}
}

func words(tr *clewv1.Trace) string {
	out := fmt.Sprintf("score %.4f peak %.4f alert %v units %d links %d", tr.Score, tr.Peak, tr.Alert, len(tr.Units), len(tr.Links))
	for _, f := range tr.Flags {
		out += fmt.Sprintf("\n  %s %s %d times, %.4f, %s", f.Unit, f.Rule, f.Count, f.Contribution, f.Message)
	}
	return out
}
