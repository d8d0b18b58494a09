package cli

import (
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
)

// liveMatrix is `clew matrix --live`.
type liveMatrix struct {
	remote
	on bool
}

func (l *liveMatrix) run(cmd *cobra.Command, format string) error {
	switch format {
	case "text":
		l.output = "table"
	case "json", "jsonl":
		l.output = format
	default:
		return fmt.Errorf("output format %q is not one of text, json, jsonl with --live", format)
	}
	api, err := l.dial()
	if err != nil {
		return err
	}
	defer api.Close()
	resp, err := api.System.GetMatrix(cmd.Context(), connect.NewRequest(&clewv1.GetMatrixRequest{}))
	if err != nil {
		return err
	}
	t := newTable("TECHNIQUE", "COVERAGE", "RULES", "FLAGS", "NAME", "WHY NO BETTER")
	seen := map[clewv1.Coverage]int{}
	for _, x := range resp.Msg.Techniques {
		seen[x.Coverage]++
	}
	err = list(&l.remote, cmd.OutOrStdout(), resp.Msg.Techniques, t, func(x *clewv1.Technique) []string {
		return []string{x.Id, enumName(x.Coverage.String(), "COVERAGE_"), fmt.Sprint(len(x.Rules)), fmt.Sprint(x.Flags), x.Name, x.Reason}
	})
	if err != nil || l.output != "table" {
		return err
	}
	return writeText(cmd.OutOrStdout(), fmt.Sprintf("\nlive: %s; %d proven, %d claimed, %d blind\n", clean(strings.Join(resp.Msg.LivePlanes, ", ")),
		seen[clewv1.Coverage_COVERAGE_PROVEN], seen[clewv1.Coverage_COVERAGE_CLAIMED], seen[clewv1.Coverage_COVERAGE_BLIND]))
}
