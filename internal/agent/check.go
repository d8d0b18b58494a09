package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/clew-sec/clew/internal/sensor"
)

// report is what check found.
type report struct {
	Kernel string        `json:"kernel"`
	BTF    bool          `json:"btf"`
	Facts  []fact        `json:"facts"`
	Hooks  []sensor.Hook `json:"hooks"`
	Blind  []string      `json:"blind"`
}

// fact is something about the node and whether it is as it should be.
type fact struct {
	Name string `json:"name"`
	Text string `json:"text"`
	OK   bool   `json:"ok"`
}

func newCheckCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Say what the sensor can see on this node, by loading and attaching it",
		Long:  "Say what the sensor can see on this node, by loading and attaching it.\n\nExit codes: 0 everything is seen, 1 something is not, 2 the sensor cannot run.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := check()
			if err != nil {
				return err
			}
			if err := r.write(cmd.OutOrStdout(), asJSON); err != nil {
				return err
			}
			if len(r.Blind) > 0 {
				return ErrBlind
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func check() (*report, error) {
	s, err := sensor.Open(sensor.Options{})
	if err != nil {
		return nil, err
	}
	r := newReport(s.Hooks(), node())
	return r, errors.Join(s.Close())
}

// node says what is known of the node before anything is attached.
func node() report {
	n := report{Kernel: kernelRelease(), BTF: exists("/sys/kernel/btf/vmlinux")}
	n.Facts = []fact{pidNamespace()}
	return n
}

func newReport(hooks []sensor.Hook, node report) *report {
	node.Hooks = hooks
	for _, f := range node.Facts {
		if !f.OK {
			node.Blind = append(node.Blind, f.Text)
		}
	}
	for _, h := range hooks {
		if b := blindness(h); b != "" {
			node.Blind = append(node.Blind, b)
		}
	}
	return &node
}

// blindness says what is not seen because of the tier a hook runs on, "" when
// nothing is lost.
func blindness(h sensor.Hook) string {
	switch {
	case h.Tier == sensor.TierNone:
		return h.Sees
	case h.Tier == sensor.TierSyscall && h.Name == "open":
		return "files opened through io_uring (that a process sets one up is seen)"
	case h.Tier == sensor.TierSyscall && h.Name == "tcp":
		return "TCP connections made or accepted through io_uring (that a process sets one up is seen)"
	}
	return ""
}

func (r *report) write(w io.Writer, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	var b bytes.Buffer
	btf := "present"
	if !r.BTF {
		btf = "absent: only raw tracepoints can be used, with types from outside"
	}
	fmt.Fprintf(&b, "kernel\t%s\nBTF\t%s\n", r.Kernel, btf)
	for _, f := range r.Facts {
		fmt.Fprintf(&b, "%s\t%s\n", f.Name, f.Text)
	}
	b.WriteString("\nHOOK\tTIER\tSEES\n")
	for _, h := range r.Hooks {
		fmt.Fprintf(&b, "%s\t%s\t%s\n", h.Name, h.Tier, h.Sees)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if _, err := t.Write(b.Bytes()); err != nil {
		return err
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := w.Write(r.reasons())
	return err
}

// reasons say why a hook has not its best tier, and what is not seen.
func (r *report) reasons() []byte {
	var b bytes.Buffer
	for _, h := range r.Hooks {
		for _, a := range h.Refused {
			fmt.Fprintf(&b, "\n%s, not by %s: %s", h.Name, a.Tier, a.Reason)
		}
	}
	for _, blind := range r.Blind {
		fmt.Fprintf(&b, "\nblind: %s", blind)
	}
	b.WriteByte('\n')
	return b.Bytes()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
