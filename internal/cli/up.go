package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/clew-sec/clew/internal/auditpolicy"
	"github.com/clew-sec/clew/internal/config"
	"github.com/clew-sec/clew/internal/daemon"
	"github.com/clew-sec/clew/internal/detect"
	"github.com/clew-sec/clew/internal/matrix"
	"github.com/clew-sec/clew/internal/rule"
	"github.com/clew-sec/clew/internal/rule/ruletest"
	"github.com/clew-sec/clew/internal/source"
)

// ServerDeps is what the commands of the server need from the rest of clew.
type ServerDeps struct {
	Content
	Matrix            func() *matrix.Matrix
	Version, Revision string
	// Play sends the recordings that come with clew, see daemon.Options.
	Play func(ctx context.Context, sink source.Sink, cluster string) error
	// Engine runs the tests of rules, to say what an audit policy hides.
	Engine func(*rule.Pack) (ruletest.Engine, error)
	// Serve runs the server; daemon.Run.
	Serve func(ctx context.Context, o daemon.Options) error
}

// serve holds the flags of `clew up` and `clew serve`.
type serve struct {
	deps   ServerDeps
	file   string
	format string
	keys   map[string]*string // by key of the configuration
}

// NewUpCommand returns `clew up`: the server with no set-up.
func NewUpCommand(deps ServerDeps) *cobra.Command {
	c := &serve{deps: deps}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run the whole server in one process, without any set-up",
		Long: `Run the whole server in one process: it takes audit logs over HTTPS, keeps them on a
durable log, finds traces in them, and answers the API and the other commands.

All data is in one folder. On first start clew makes its own certificate authority,
prints its fingerprint, and prints a token, good once, that makes the first
administrator ("clew login"). A source called k8s-audit is there from the start, for an
API server's audit webhook; clew token create makes the token it posts with.`,
		Example: `  clew up --demo                      # with recorded attacks on a recorded cluster
  clew up --data /var/lib/clew --listen 0.0.0.0:8443 --cluster prod
  clew up --audit-log /var/log/kubernetes/audit.log`,
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
	}
	f := cmd.Flags()
	data := f.String("data", "", "`FOLDER` for all data; default $XDG_DATA_HOME/clew or ~/.local/share/clew")
	listen := f.String("listen", "", "`ADDRESS` to listen on, host:port; default 127.0.0.1:8080")
	cluster := f.String("cluster", "", "`NAME` of the cluster whose logs come in; default local")
	names := f.String("tls-names", "", "host `NAMES` and addresses of the certificate beside localhost, with commas")
	demo := f.Bool("demo", false, "play the recordings that come with clew")
	audit := f.StringSlice("audit-log", nil, "audit log `FILE` of an API server to follow, or a pattern of files")
	level := f.String("log-level", "", "debug, info, warn or error; default info")
	c.logFormat(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		flags := map[string]string{}
		for key, v := range map[string]string{"dataDir": *data, "listen": *listen, "cluster": *cluster, "tls.names": *names, "logLevel": *level} {
			if v != "" {
				flags[key] = v
			}
		}
		if *demo {
			flags["demo"] = "true"
		}
		cfg, err := config.Load(config.Input{Env: os.Environ(), Flags: flags})
		if err != nil {
			return err
		}
		cfg.Sources = append(cfg.Sources, config.Source{Name: "k8s-audit", Kind: "k8s-webhook", Cluster: cfg.Cluster})
		if len(*audit) > 0 {
			cfg.Sources = append(cfg.Sources, config.Source{Name: "audit-log", Kind: "file", Cluster: cfg.Cluster, Paths: *audit, From: "end"})
		}
		return c.run(cmd, cfg)
	}
	return cmd
}

// NewServeCommand returns `clew serve`: the same server, configured by a file.
func NewServeCommand(deps ServerDeps) *cobra.Command {
	c := &serve{deps: deps}
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run the server as a configuration file says",
		Long: `Run the server of "clew up" as a configuration file says. Flags win over environment
variables (CLEW_LOG_MAX_BYTES for log.maxBytes), these over the file, the file over the
defaults. An unknown key is an error. "clew config print --effective" shows what applies.`,
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := c.load(cmd)
			if err != nil {
				return err
			}
			return c.run(cmd, cfg)
		},
	}
	c.register(cmd)
	c.logFormat(cmd)
	return cmd
}

// NewConfigCommand returns `clew config`.
func NewConfigCommand(deps ServerDeps) *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Check and show the server's configuration"}
	c := &serve{deps: deps}
	effective := false
	show := &cobra.Command{
		Use: "print", Short: "Print the configuration, secrets masked", Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := c.load(cmd)
			if err != nil {
				return err
			}
			if !effective && c.file != "" {
				b, err := os.ReadFile(c.file)
				if err != nil {
					return fmt.Errorf("reading the configuration: %w", err)
				}
				_, err = cmd.OutOrStdout().Write(b)
				return err
			}
			return cfg.Effective(cmd.OutOrStdout())
		},
	}
	show.Flags().BoolVar(&effective, "effective", false, "with defaults, environment and flags applied")
	c.register(show)
	v := &serve{deps: deps}
	validate := &cobra.Command{
		Use: "validate", Short: "Say what is wrong with the configuration", Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := v.load(cmd); err != nil {
				return err
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "the configuration is valid")
			return err
		},
	}
	v.register(validate)
	cmd.AddCommand(show, validate)
	return cmd
}

// register adds --config and a flag for each key, as --log-max-bytes for
// log.maxBytes.
func (c *serve) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.file, "config", "", "configuration `FILE`")
	c.keys = map[string]*string{}
	for _, key := range config.Keys() {
		c.keys[key] = f.String(flagName(key), "", "value of "+key)
	}
}

// flagName is a key of the configuration as a flag.
func flagName(key string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(config.EnvName(key), "CLEW_")), "_", "-")
}

func (c *serve) logFormat(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.format, "log-format", "json", "json or text, on standard error")
}

func (c *serve) load(cmd *cobra.Command) (*config.Config, error) {
	flags := map[string]string{}
	for key, v := range c.keys {
		if cmd.Flags().Changed(flagName(key)) {
			flags[key] = *v
		}
	}
	return config.Load(config.Input{File: c.file, Env: os.Environ(), Flags: flags})
}

// run serves until the process is told to end.
func (c *serve) run(cmd *cobra.Command, cfg *config.Config) error {
	defer limitMemory(serverMemory)()
	logger, level, err := newLogger(cmd.ErrOrStderr(), c.format, cfg.LogLevel)
	if err != nil {
		return err
	}
	pack, err := (&Packs{}).load(c.deps.Content)
	if err != nil {
		return err
	}
	set, err := detect.Compile(pack.Rules, pack.ListValues())
	if err != nil {
		return fmt.Errorf("compiling rules: %w", err)
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM)
	defer stop()
	reload, ended := c.reloads(ctx, cmd, level, logger)
	defer func() { stop(); <-ended }()
	return c.deps.Serve(ctx, daemon.Options{
		Config: cfg, Rules: set, Matrix: c.deps.Matrix(), Version: c.deps.Version, Revision: c.deps.Revision, Log: logger,
		Play: c.deps.Play, Reload: reload, Lint: c.lint(pack),
		Announce: func(a daemon.Announcement) {
			if err := writeProfile(cfg, a); err != nil {
				logger.Error("commands with --data will not find the server", "error", err)
			}
			announce(cmd.OutOrStdout(), cfg, a)
		},
	})
}

// lint says which rules lose all of their tests under an observed policy.
func (c *serve) lint(pack *rule.Pack) func([]auditpolicy.Observed) (map[string]string, error) {
	return func(seen []auditpolicy.Observed) (map[string]string, error) {
		policy, err := auditpolicy.FromObserved(seen)
		if err != nil {
			return nil, err
		}
		engine, err := c.deps.Engine(pack)
		if err != nil {
			return nil, fmt.Errorf("building the engine: %w", err)
		}
		rep, err := policy.Check(engine, c.deps.Matrix(), pack.Rules)
		if err != nil {
			return nil, fmt.Errorf("running the tests of the rules: %w", err)
		}
		out := map[string]string{}
		for _, r := range rep.Rules {
			if r.State == auditpolicy.Lost {
				out[r.ID] = "the audit policy drops what it needs: " + strings.Join(r.Reasons, "; ")
			}
		}
		return out, nil
	}
}

// reloads gives the configuration anew at each SIGHUP, when there is a file, until ctx
// ends; ended is closed then.
func (c *serve) reloads(ctx context.Context, cmd *cobra.Command, level *slog.LevelVar, logger *slog.Logger) (reload <-chan *config.Config, ended <-chan struct{}) {
	out, done := make(chan *config.Config), make(chan struct{})
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	go func() {
		defer close(done)
		defer signal.Stop(hup)
		for {
			select {
			case <-hup:
			case <-ctx.Done():
				return
			}
			if c.file == "" {
				logger.Info("there is no configuration file to read again")
				continue
			}
			next, err := c.load(cmd)
			if err != nil {
				logger.Error("the configuration stays as it is", "error", err)
				continue
			}
			_ = level.UnmarshalText([]byte(next.LogLevel)) // validated
			select {
			case out <- next:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, done
}

// newLogger logs to w; its level can be changed.
func newLogger(w io.Writer, format, level string) (*slog.Logger, *slog.LevelVar, error) {
	v := &slog.LevelVar{}
	if err := v.UnmarshalText([]byte(level)); err != nil {
		return nil, nil, fmt.Errorf("log level %q: %w", level, err)
	}
	opts := &slog.HandlerOptions{Level: v}
	switch format {
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), v, nil
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), v, nil
	}
	return nil, nil, errors.New("--log-format is json or text")
}

// announce tells a person what to do next.
func announce(w io.Writer, cfg *config.Config, a daemon.Announcement) {
	url := "https://" + a.Address
	var b strings.Builder
	fmt.Fprintf(&b, "clew is up at %s\n  data         %s\n  fingerprint  %s\n", url, cfg.DataDir, a.Fingerprint)
	for _, s := range cfg.Sources {
		if s.Kind == "file" || s.Kind == "eventhub" || s.Kind == "sqs" {
			continue
		}
		fmt.Fprintf(&b, "  source       %s (%s of cluster %s): POST %s/v1/sources/%s\n", s.Name, s.Kind, s.Cluster, url, s.Name)
	}
	if a.SetupToken != "" {
		fmt.Fprintf(&b, "\nFirst administrator, once, within 24 hours, in another terminal:\n  clew login --server %s --fingerprint %s\n  set-up token: %s\n", url, a.Fingerprint, a.SetupToken)
	}
	fmt.Fprintf(&b, "\nOn this machine, as this user: clew status --data %s, clew trace list --data …\n", cfg.DataDir)
	_, _ = io.WriteString(w, b.String()) // nobody may be listening
}
