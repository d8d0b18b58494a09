package cli_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/clew-sec/clew/internal/cli"
	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/matrix"
)

func TestMatrixCommand(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want string // first characters of the output
		err  string
	}{
		{name: "list_when_no_terminal", want: "Initial Access\n"},
		{name: "grid", args: []string{"--width", "150"}, want: "INITIAL ACCESS EXECUTION"},
		{name: "json", args: []string{"-o", "json"}, want: "{\n  \"matrix\""},
		{name: "markdown", args: []string{"-o", "markdown"}, want: "| Initial Access |"},
		{name: "navigator", args: []string{"-o", "navigator"}, want: "{\n  \"name\": \"clew\""},
		{name: "unknown_format", args: []string{"-o", "yaml"}, err: `output format "yaml" is not one of`},
		{name: "argument", args: []string{"x"}, err: "unknown command"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := runMatrix(t, cli.MatrixDeps{Matrix: matrix.Load, Rules: oneRule}, tt.args)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil || !strings.HasPrefix(got, tt.want) {
				t.Errorf("error %v, got %.60q, want %q", err, got, tt.want)
			}
		})
	}
}

func TestMatrixCommandAsksForTheWidth(t *testing.T) {
	deps := cli.MatrixDeps{Matrix: matrix.Load, Rules: oneRule, Width: func(io.Writer) int { return 150 }}
	got, err := runMatrix(t, deps, nil)
	if err != nil || !strings.HasPrefix(got, "INITIAL ACCESS") {
		t.Errorf("error %v, got %.60q", err, got)
	}
}

func TestMatrixCommandRulesError(t *testing.T) {
	broken := errors.New("rule x.yaml:3:1: unknown key")
	_, err := runMatrix(t, cli.MatrixDeps{Matrix: matrix.Load, Rules: func(cli.Packs) ([]matrix.Rule, error) { return nil, broken }}, nil)
	if !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
}

func oneRule(cli.Packs) ([]matrix.Rule, error) {
	return []matrix.Rule{{ID: "k8s-exec-into-pod", Severity: event.Low, Techniques: []string{"MS-TA9006"}}}, nil
}

func runMatrix(t *testing.T, deps cli.MatrixDeps, args []string) (string, error) {
	t.Helper()
	cmd := cli.NewMatrixCommand(deps)
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(io.Discard)
	cmd.SetArgs(args)
	err := cmd.Execute()
	return out.String(), err
}
