// Command load writes a large Kubernetes audit log made of the recordings of a
// real cluster, for load tests by hand:
//
//	go run ./test/load -mb 2048 -fresh > audit.log
//	go run ./cmd/clew replay --stats audit.log
//
// It is run from the root of the repository.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"os"

	"github.com/clew-sec/clew/test/amplify"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run() error {
	mb := flag.Int64("mb", 256, "size of the log in MiB")
	fresh := flag.Bool("fresh", false, "give each round UUIDs of its own: other objects, pods and tokens")
	flag.Parse()
	inputs := flag.Args()
	if len(inputs) == 0 {
		inputs = []string{"test/recordings/real/cluster-1.36.jsonl.gz", "test/recordings/real/benign"}
	}
	rs, err := amplify.Read(inputs...)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(os.Stdout, 1<<20)
	events, err := rs.Write(w, *mb<<20, *fresh)
	if err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("writing events: %w", err)
	}
	fmt.Fprintf(os.Stderr, "%d events\n", events)
	return nil
}
