package bus_test

import (
	"encoding/json"
	"flag"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/clew-sec/clew/internal/bus"
)

var killRounds = flag.Int("kill-rounds", 2, "how often the leader of a NATS cluster is killed")

const natsNode = "CLEW_BUS_NATS_NODE" // set: this process is the NATS server that it describes

// node describes a NATS server that runs in a process of its own.
type node struct {
	Name, Dir, Routes  string
	Port, ClusterPort  int
	process            *exec.Cmd
	closedWhenTestEnds io.Closer // the node's standard input: it ends with it
}

// serveUntilKilled is the NATS server of a child process. It ends with the test.
func serveUntilKilled(description string) {
	var n node
	if err := json.Unmarshal([]byte(description), &n); err != nil {
		panic(err)
	}
	s, err := server.NewServer(&server.Options{
		ServerName: n.Name, Host: "127.0.0.1", Port: n.Port, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: n.Dir, JetStreamMaxStore: 1 << 30, JetStreamMaxMemory: 1 << 20,
		Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: n.ClusterPort},
		Routes:  server.RoutesFromStr(n.Routes),
	})
	if err != nil {
		panic(err)
	}
	s.Start()
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

func (n *node) start(t *testing.T) {
	t.Helper()
	description, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	n.process = exec.Command(os.Args[0])
	n.process.Env = append(os.Environ(), natsNode+"="+string(description))
	n.process.Stderr = os.Stderr
	if n.closedWhenTestEnds, err = n.process.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := n.process.Start(); err != nil {
		t.Fatal(err)
	}
}

// kill is SIGKILL: nothing is flushed, nobody is told.
func (n *node) kill() {
	_ = n.process.Process.Kill()
	_ = n.process.Wait() // says that it was killed
}

// apart are the options of three as processes.
func apart(t *testing.T, opts []server.Options) []*node {
	t.Helper()
	var nodes []*node
	for _, o := range opts {
		var routes []string
		for _, r := range o.Routes {
			routes = append(routes, r.String())
		}
		n := &node{Name: o.ServerName, Dir: o.StoreDir, Routes: strings.Join(routes, ","), Port: o.Port, ClusterPort: o.Cluster.Port}
		n.start(t)
		t.Cleanup(n.kill)
		nodes = append(nodes, n)
	}
	return nodes
}

// whole waits until the leader and both followers have all of the stream, so that
// one more may fail.
func whole(t *testing.T, opts []server.Options) {
	t.Helper()
	waitForStream(t, opts, "all servers to have caught up", func(c *jetstream.ClusterInfo) bool {
		current := 0
		for _, r := range c.Replicas {
			if r.Current && !r.Offline {
				current++
			}
		}
		return current == 2
	})
}

// TestKilledLeadersLoseNothing kills the process of the server that leads the log,
// again and again, while records come in.
func TestKilledLeadersLoseNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds a kill")
	}
	opts := three(t)
	nodes := apart(t, opts)
	l := open(t, bus.Config{URLs: urls(opts...)})
	waitFor(t, "the cluster", func() bool { return l.Accept(soon(t), batch("warm", "x")) == nil })

	p := &persistent{attempts: map[string]int{}}
	var wg sync.WaitGroup
	wg.Go(func() { p.write(t, l) })
	longest := time.Duration(0)
	for round := range *killRounds {
		waitFor(t, "records", func() bool { return p.acknowledged.Load() > 50 })
		whole(t, opts)
		time.Sleep(time.Duration(rand.IntN(1000)) * time.Millisecond)
		leader := leaderOf(t, opts)
		n := nodes[slices.IndexFunc(nodes, func(n *node) bool { return n.Name == leader })]
		before, at := p.acknowledged.Load(), time.Now()
		n.kill()
		// One that was on its way may have been stored before.
		waitFor(t, "the others to take records", func() bool { return p.acknowledged.Load() > before+1 })
		longest = max(longest, time.Since(at))
		t.Logf("round %d: killed %s after %d records, the others took over in %v", round+1, leader, before, time.Since(at).Round(time.Millisecond))
		n.start(t)
	}
	whole(t, opts)
	p.stopped.Store(true)
	wg.Wait()
	checkLog(t, l, p)
	t.Logf("%d kills: %d records acknowledged, %d attempts refused, longest wait %v", *killRounds, p.acknowledged.Load(), p.refused.Load(), longest.Round(time.Millisecond))
}

// checkLog reads the log again and checks it.
func checkLog(t *testing.T, l *bus.Log, p *persistent) {
	t.Helper()
	var c contents
	r := read(t, l, "c", 0)
	for left := messagesLeft(t, l, r); left > 0; left-- {
		c.take(next(t, r))
	}
	c.check(t, p)
}
