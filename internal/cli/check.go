package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/clew-sec/clew/internal/client"
	"github.com/clew-sec/clew/internal/config"
)

// CheckDeps is what `clew check` needs from the rest of clew.
type CheckDeps struct {
	AuditPolicyDeps
	Remote RemoteDeps
}

// The states of a finding.
const (
	checkOK   = "ok"
	checkWarn = "warn" // the server starts, but something is likely to be missed
	checkFail = "fail" // the server does not start, or not as it is configured
)

// finding is one line of `clew check`.
type finding struct {
	Check  string `json:"check"`
	State  string `json:"state"`
	Detail string `json:"detail"`
	Advice string `json:"advice,omitempty"` // what to do; "" when all is well
}

// checker collects the findings of one run.
type checker struct {
	deps     CheckDeps
	serve    serve
	remote   remote
	packs    Packs
	policy   string
	auditLog []string
	output   string

	cfg      *config.Config
	running  bool // the server that was asked answered
	findings []finding
}

func (c *checker) ok(check, format string, args ...any) {
	c.findings = append(c.findings, finding{check, checkOK, fmt.Sprintf(format, args...), ""})
}

func (c *checker) warn(check, advice string, format string, args ...any) {
	c.findings = append(c.findings, finding{check, checkWarn, fmt.Sprintf(format, args...), advice})
}

func (c *checker) fail(check, advice string, err error) {
	c.findings = append(c.findings, finding{check, checkFail, err.Error(), advice})
}

// NewCheckCommand returns `clew check`.
func NewCheckCommand(deps CheckDeps) *cobra.Command {
	c := &checker{deps: deps, remote: remote{deps: deps.Remote}}
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Say before the start what would keep the server from working",
		Long: `Say before the start what would keep the server from working: the configuration and its
secrets, the data folder and its disk, the port, TLS files, audit logs to follow, the
clock, an external log, and with --audit-policy what an API server leaves out. Nothing is
changed. Flags are those of "clew serve", and --data and --audit-log of "clew up". When
a server is known ("clew login", --server), its status is asked too.

Exit codes: 0 nothing fails (there may be warnings), 1 something fails, 2 usage.`,
		Example: `  clew check --config /etc/clew/clew.yaml
  clew check --data /var/lib/clew --audit-log /var/log/kubernetes/audit.log
  clew check --audit-policy /etc/kubernetes/audit-policy.yaml -o json`,
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: c.run,
	}
	c.serve.register(cmd)
	c.remote.connectionFlags(cmd)
	c.packs.register(cmd.Flags())
	cmd.Flags().StringVar(&c.policy, "audit-policy", "", "audit policy `FILE` of an API server to judge")
	cmd.Flags().StringSliceVar(&c.auditLog, "audit-log", nil, "audit log `FILE` to follow, or a pattern of files")
	cmd.Flags().StringVarP(&c.output, "output", "o", "table", "output `FORMAT`: table or json")
	return cmd
}

func (c *checker) run(cmd *cobra.Command, _ []string) error {
	if c.output != "table" && c.output != "json" {
		return fmt.Errorf("output format %q is not one of table, json", c.output)
	}
	if err := c.dataFlag(cmd); err != nil {
		return err
	}
	c.checkServer(cmd.Context())
	if c.checkConfig(cmd); c.cfg != nil {
		c.checkFolders()
		c.checkPort()
		c.checkTLS()
		c.checkAuditLogs()
		c.checkLog(cmd.Context())
	}
	c.checkClock()
	c.checkPolicy()
	if err := c.print(cmd.OutOrStdout()); err != nil {
		return err
	}
	for _, f := range c.findings {
		if f.State == checkFail {
			return ErrFindings
		}
	}
	return nil
}

// dataFlag takes --data for the data folder of the server, as `clew up` does. The
// profile that a server may have written there is used when there is one.
func (c *checker) dataFlag(cmd *cobra.Command) error {
	dir := c.remote.settings.Data
	if dir == "" {
		return nil
	}
	if _, err := os.Stat(filepath.Join(dir, client.DataProfile)); err != nil {
		c.remote.settings.Data = ""
	}
	if err := cmd.Flags().Set(flagName("dataDir"), dir); err != nil {
		return fmt.Errorf("--data: %w", err)
	}
	return nil
}

// statusTime bounds how long a server is waited for.
const statusTime = 5 * time.Second

// checkServer asks the server that the flags, the environment or the profile name.
// One that is only remembered need not run.
func (c *checker) checkServer(ctx context.Context) {
	const check = "running server"
	if !c.serverNamed() {
		c.ok(check, "none is known")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	s, err := c.remote.status(ctx)
	switch {
	case err != nil:
		c.warn(check, "start it, or look whether --server, --fingerprint and the token are right", "%v", err)
	case !s.Healthy:
		c.running = true
		c.warn(check, "see clew status", "unhealthy: %s", strings.Join(s.Problems, "; "))
	default:
		c.running = true
		c.ok(check, "healthy, version %s", s.Version)
	}
}

func (c *checker) serverNamed() bool {
	if c.remote.settings.Server != "" || c.remote.settings.Data != "" || c.deps.Remote.Env("CLEW_SERVER") != "" {
		return true
	}
	_, err := os.Stat(client.DefaultProfile(c.deps.Remote.Env))
	return err == nil
}

// checkConfig reads the configuration and the secrets that it names.
func (c *checker) checkConfig(cmd *cobra.Command) {
	const check = "configuration"
	cfg, err := c.serve.load(cmd)
	if err != nil {
		c.fail(check, "correct it; docs/configuration.md lists every key", err)
		return
	}
	c.cfg = cfg
	if len(c.auditLog) > 0 {
		cfg.Sources = append(cfg.Sources, config.Source{Name: "audit-log", Kind: "file", Cluster: cfg.Cluster, Paths: c.auditLog})
	}
	secrets := []config.Secret{cfg.Auth.FirstAdmin, cfg.Auth.MetricsToken, cfg.History.S3.AccessKeyID, cfg.History.S3.SecretAccessKey}
	for _, s := range cfg.Sources {
		secrets = append(secrets, s.ConnectionString, s.AccessKeyID, s.SecretAccessKey)
	}
	var errs []error
	for _, s := range secrets {
		_, err := s.Read()
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		c.fail(check, "make the file or variable readable for the user that clew runs as", err)
		return
	}
	c.ok(check, "valid, %d sources", len(cfg.Sources))
}

func (c *checker) print(w io.Writer) error {
	if c.output == "json" {
		return writeJSON(w, struct {
			Checks []finding `json:"checks"`
		}{c.findings})
	}
	var b strings.Builder
	for _, f := range c.findings {
		fmt.Fprintf(&b, "%-4s  %s: %s\n", f.State, f.Check, cleanText(f.Detail, "      "))
		if f.Advice != "" {
			fmt.Fprintf(&b, "      → %s\n", f.Advice)
		}
	}
	return writeText(w, b.String())
}
