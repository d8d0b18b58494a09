package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/clew-sec/clew/internal/auditpolicy"
	"github.com/clew-sec/clew/internal/matrix"
)

// AuditPolicyDeps is what the audit-policy commands need from the rest of clew.
type AuditPolicyDeps struct {
	RuleDeps
	// Matrix returns the technique catalogue.
	Matrix func() *matrix.Matrix
}

// NewAuditPolicyCommand returns `clew audit-policy` with its subcommands.
func NewAuditPolicyCommand(deps AuditPolicyDeps) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit-policy",
		Short: "Write an audit policy for a cluster, or say what a policy loses",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(auditPolicyGenerate(), auditPolicyLint(deps))
	for _, sub := range cmd.Commands() {
		sub.SilenceUsage, sub.SilenceErrors = true, true
	}
	return cmd
}

func auditPolicyGenerate() *cobra.Command {
	var name string
	names := strings.Join(auditpolicy.Distributions(), ", ")
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Print the audit policy that the rules need",
		Long: `Print the audit policy that the rules need, with comments on how to give it to the
API server. For managed clusters, whose policy cannot be changed, say what can be done.`,
		Example: "  clew audit-policy generate --for kubeadm > audit-policy.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := auditpolicy.Generate(name)
			if err != nil {
				return fmt.Errorf("--for: %w", err)
			}
			return writeText(cmd.OutOrStdout(), text)
		},
	}
	cmd.Flags().StringVar(&name, "for", "kubeadm", "the `DISTRIBUTION`: "+names)
	return cmd
}

func auditPolicyLint(deps AuditPolicyDeps) *cobra.Command {
	c := &auditPolicyLinter{deps: deps}
	cmd := &cobra.Command{
		Use:   "lint POLICY.yaml|-",
		Short: "Say which techniques and rules an audit policy loses",
		Long: `Say which techniques and rules an audit policy loses: the tests that rules carry run
with what the API server would have logged under the policy, by its own evaluator.

A technique is kept when all of its rules are, lost when none raises anything any
more, else partly kept. Rules that read other logs are left out.

Exit codes: 0 no technique is lost, 1 some are, 2 the policy is wrong.`,
		Example: `  clew audit-policy lint /etc/kubernetes/audit-policy.yaml
  clew audit-policy generate --for eks | clew audit-policy lint -`,
		Args: cobra.ExactArgs(1),
		RunE: c.run,
	}
	cmd.Flags().StringVarP(&c.output, "output", "o", "table", "output `FORMAT`: table or json")
	c.packs.register(cmd.Flags())
	return cmd
}

type auditPolicyLinter struct {
	deps   AuditPolicyDeps
	packs  Packs
	output string
}

func (c *auditPolicyLinter) run(cmd *cobra.Command, args []string) error {
	if c.output != "table" && c.output != "json" {
		return fmt.Errorf("output format %q is not one of table, json", c.output)
	}
	policy, err := readPolicy(args[0], cmd.InOrStdin())
	if err != nil {
		return err
	}
	pack, err := c.packs.load(c.deps.Content)
	if err != nil {
		return err
	}
	if c.deps.Engine == nil {
		return errors.New("this program has no engine to run tests with")
	}
	engine, err := c.deps.Engine(pack)
	if err != nil {
		return fmt.Errorf("building the engine: %w", err)
	}
	rep, err := policy.Check(engine, c.deps.Matrix(), pack.Rules)
	if err != nil {
		return fmt.Errorf("running the tests of the rules: %w", err)
	}
	if err := c.print(cmd.OutOrStdout(), &rep); err != nil {
		return err
	}
	if rep.Lost() > 0 {
		return ErrFindings
	}
	return nil
}

func readPolicy(name string, in io.Reader) (*auditpolicy.Policy, error) {
	if name == "-" {
		text, err := io.ReadAll(io.LimitReader(in, 1<<20))
		if err != nil {
			return nil, fmt.Errorf("reading the policy: %w", err)
		}
		return auditpolicy.Parse("<stdin>", text)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("reading the policy: %w", err)
	}
	return auditpolicy.Parse(name, text)
}

func (c *auditPolicyLinter) print(w io.Writer, rep *auditpolicy.Report) error {
	if c.output == "json" {
		return writeJSON(w, rep)
	}
	t := newTable("TECHNIQUE", "STATE", "RULES", "NAME")
	for _, x := range rep.Techniques {
		t.row(x.ID, string(x.State), fmt.Sprintf("%d/%d", x.Kept, x.Rules), x.Name)
	}
	var b strings.Builder
	t.write(&b)
	damaged := 0
	for _, x := range rep.Rules {
		if x.State == auditpolicy.Kept {
			continue
		}
		damaged++
		fmt.Fprintf(&b, "\n%s: %s, %d of %d tests fire\n", x.ID, x.State, x.Fire, x.Tests)
		for _, reason := range x.Reasons {
			fmt.Fprintf(&b, "  %s\n", clean(reason))
		}
	}
	fmt.Fprintf(&b, "\n%d of %d techniques lost, %d of %d rules lose something\n", rep.Lost(), len(rep.Techniques), damaged, len(rep.Rules))
	return writeText(w, b.String())
}
