// Command load makes a large Kubernetes audit log of the recordings of a real
// cluster, for load tests by hand. It writes it:
//
//	go run ./test/load -mb 2048 -fresh > audit.log
//	go run ./cmd/clew replay --stats audit.log
//
// or posts it to a server as API servers do in batch mode, at a rate:
//
//	CLEW_LOAD_TOKEN=clew_… go run ./test/load -post https://127.0.0.1:8080/v1/sources/k8s-audit \
//	  -ca DATA/tls/ca.crt -rate 10000 -connections 4 -duration 1m
//
// It is run from the root of the repository.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"time"

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
	p := &poster{token: os.Getenv("CLEW_LOAD_TOKEN")}
	flag.StringVar(&p.url, "post", "", "post to this URL instead, with the token in CLEW_LOAD_TOKEN")
	flag.StringVar(&p.caFile, "ca", "", "certificate authority of the server")
	flag.IntVar(&p.rate, "rate", 0, "events a second; 0: as many as are taken")
	flag.IntVar(&p.connections, "connections", 4, "connections to post over")
	flag.IntVar(&p.batch, "batch", 400, "events a post")
	flag.DurationVar(&p.duration, "duration", time.Minute, "how long to post")
	flag.Parse()
	inputs := flag.Args()
	if len(inputs) == 0 {
		inputs = []string{"test/recordings/real/cluster-1.36.jsonl.gz", "test/recordings/real/benign"}
	}
	rs, err := amplify.Read(inputs...)
	if err != nil {
		return err
	}
	if p.fresh = *fresh; p.url != "" {
		return p.run(rs)
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
