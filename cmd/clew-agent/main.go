// Command clew-agent sees what runs on a node.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/clew-sec/clew/internal/agent"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first interrupt ends the work in order, a second one ends the process.
	defer context.AfterFunc(ctx, stop)()
	info, _ := debug.ReadBuildInfo()
	version := "unknown"
	if info != nil {
		version = info.Main.Version
	}
	err := agent.NewCommand(version).ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, agent.ErrBlind):
		return 1
	}
	fmt.Fprintln(os.Stderr, "clew-agent:", err)
	return 2
}
