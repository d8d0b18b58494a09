package bus_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clew-sec/clew/internal/bus"
)

const crashDir = "CLEW_BUS_CRASH_DIR" // set: this process is one to be killed

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		writeUntilKilled(dir)
	}
	if description := os.Getenv(natsNode); description != "" {
		serveUntilKilled(description)
	}
	os.Exit(m.Run())
}

const crashWriters = 6

// writeUntilKilled accepts batches of numbered records and prints the numbers of
// each that was acknowledged.
func writeUntilKilled(dir string) {
	l, err := bus.Open(context.Background(), bus.Config{Dir: dir, MinFreeBytes: 1 << 20}, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Println("open:", err)
		os.Exit(1)
	}
	fmt.Println("opened")
	round := time.Now().UnixNano()
	var wg sync.WaitGroup
	for w := range crashWriters {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(round), uint64(w)))
			for i := 0; ; {
				var names []string
				for range 1 + rng.IntN(20) {
					names = append(names, fmt.Sprintf("%d-%d-%08d", w, round, i))
					i++
				}
				b := batch("c")
				for _, name := range names {
					b.Records = append(b.Records, batch("c", name+" "+noise(rng.IntN(20<<10))).Records...)
				}
				if err := l.Accept(context.Background(), b); err != nil {
					fmt.Println("accept:", err)
					os.Exit(1)
				}
				fmt.Println("ack " + strings.Join(names, " "))
			}
		})
	}
	wg.Wait()
}

// TestKilledProcessesLoseNothing kills writers at random moments. Whatever was
// acknowledged is on the log once, in order; nothing is on it twice, as nothing was
// sent twice.
func TestKilledProcessesLoseNothing(t *testing.T) {
	rounds := 10
	if testing.Short() {
		rounds = 3
	}
	dir := t.TempDir()
	acknowledged := map[string]bool{}
	for range rounds {
		runAndKill(t, dir, acknowledged)
	}
	l := open(t, bus.Config{Dir: dir})
	messages, err := l.Backlog(deadline(t), "c", 0)
	if err != nil {
		t.Fatal(err)
	}
	r := read(t, l, "c", 0)
	last := map[string]string{}
	total, missing := 0, len(acknowledged)
	for range messages {
		for _, rec := range next(t, r).Batch.Records {
			name, _, _ := strings.Cut(string(rec.Raw), " ")
			total++
			if acknowledged[name] {
				missing--
			}
			if last[name[:1]] >= name {
				t.Errorf("%s stands behind %s", name, last[name[:1]])
			}
			last[name[:1]] = name
		}
	}
	if missing != 0 {
		t.Errorf("%d of %d acknowledged records are lost", missing, len(acknowledged))
	}
	t.Logf("%d kills: %d records acknowledged, %d on the log in %d messages", rounds, len(acknowledged), total, messages)
}

func runAndKill(t *testing.T, dir string, acknowledged map[string]bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewReader(out); ; {
		line, err := lines.ReadString('\n')
		if err != nil { // a line that was cut is no acknowledgement
			break
		}
		switch words := strings.Fields(line); words[0] {
		case "opened":
			time.AfterFunc(time.Duration(50+rand.IntN(700))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		case "ack":
			for _, name := range words[1:] {
				acknowledged[name] = true
			}
		default:
			t.Errorf("the writer says %q", line)
		}
	}
	_ = cmd.Wait() // it was killed
}
