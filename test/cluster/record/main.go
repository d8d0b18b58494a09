// Command record plays the scripts of test/cluster, each on a cluster of its own, and
// keeps the audit log of each in DIR/attack or DIR/benign.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/clew-sec/clew/test/cluster"
)

func main() {
	os.Exit(cluster.Inside(func() error { return cluster.Build(context.Background()) }, run))
}

func run() int {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: record DIR")
		return 2
	}
	for _, s := range append(cluster.Attacks(), cluster.Benign()...) {
		if err := cluster.Record(context.Background(), os.Args[1], s); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return 0
}
