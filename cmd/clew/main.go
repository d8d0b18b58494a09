// Command clew finds attacks on Kubernetes clusters in their logs.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/clew-sec/clew/internal/cli"
	"github.com/clew-sec/clew/internal/daemon"
	"github.com/clew-sec/clew/internal/matrix"
	"github.com/clew-sec/clew/internal/pipeline"
	"github.com/clew-sec/clew/internal/rule"
	"github.com/clew-sec/clew/internal/rule/ruletest"
	"github.com/clew-sec/clew/rules"
	"github.com/clew-sec/clew/test/recordings"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	// The first interrupt ends the work in order, a second one ends the process.
	defer context.AfterFunc(ctx, stop)()
	err := root().ExecuteContext(ctx)
	code := cli.ExitCode(err)
	if code == cli.ExitUsage && !errors.Is(err, cli.ErrUnreadable) {
		fmt.Fprintln(os.Stderr, "clew:", err)
	}
	return code
}

func root() *cobra.Command {
	info, _ := debug.ReadBuildInfo()
	version := cli.Version(info)
	content := cli.Content{Rules: rules.FS, Catalogue: matrix.Load()}
	remote := cli.RemoteDeps{Env: os.Getenv, Now: time.Now}
	server := cli.ServerDeps{Content: content, Matrix: matrix.Load, Version: version, Play: daemon.Play(recordings.FS), Engine: newRuleEngine, Serve: daemon.Run}
	cmd := &cobra.Command{Use: "clew", Short: "Runtime threat detection for Kubernetes", Version: version, SilenceUsage: true, SilenceErrors: true}
	policy := cli.AuditPolicyDeps{RuleDeps: cli.RuleDeps{Content: content, Engine: newRuleEngine}, Matrix: matrix.Load}
	cmd.SetVersionTemplate("clew {{.Version}}\n")
	cmd.AddCommand(
		cli.NewReplayCommand(cli.ReplayDeps{Content: content, Now: time.Now}),
		cli.NewRuleCommand(cli.RuleDeps{Content: content, Engine: newRuleEngine}),
		cli.NewAuditPolicyCommand(policy),
		cli.NewMatrixCommand(cli.MatrixDeps{Matrix: matrix.Load, Rules: cli.PackRules(content), Remote: remote}),
		cli.NewUpCommand(server),
		cli.NewServeCommand(server),
		cli.NewConfigCommand(server),
		cli.NewCheckCommand(cli.CheckDeps{AuditPolicyDeps: policy, Remote: remote}),
		cli.NewLoginCommand(remote),
		cli.NewStatusCommand(remote),
		cli.NewTraceCommand(remote),
		cli.NewEventCommand(remote),
		cli.NewEntityCommand(remote),
		cli.NewSourceCommand(remote),
		cli.NewTokenCommand(remote),
		cli.NewActionsCommand(remote),
		cli.NewVersionCommand(version),
	)
	return cmd
}

// newRuleEngine builds what the tests of rules run through: the same engine.
func newRuleEngine(pack *rule.Pack) (ruletest.Engine, error) {
	return pipeline.NewRuleEngine(pack)
}
