package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/clew-sec/clew/internal/client"
)

// RemoteDeps is what commands that ask a server need from the rest of clew.
type RemoteDeps struct {
	Env func(string) string // environment
	Now func() time.Time    // for relative times
}

// remote holds the flags of commands that ask a server.
type remote struct {
	deps     RemoteDeps
	settings client.Settings
	output   string
}

// connectionFlags adds the flags that say which server is asked.
func (r *remote) connectionFlags(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringVar(&r.settings.Server, "server", "", "`URL` of the server (env CLEW_SERVER; default: the profile's, then "+client.DefaultServer+")")
	f.StringVar(&r.settings.TokenFile, "token-file", "", "`FILE` with the token (env CLEW_TOKEN holds a token)")
	f.StringVar(&r.settings.CAFile, "ca-file", "", "PEM `FILE` with the CA of the server (env CLEW_CA_FILE)")
	f.StringVar(&r.settings.Fingerprint, "fingerprint", "", "`SHA256:…` of the server's certificate or CA (env CLEW_FINGERPRINT)")
	f.StringVar(&r.settings.Data, "data", "", "data `DIR` of a server on this machine: use what it wrote there")
}

// register adds the connection flags and -o to a command and those below it.
func (r *remote) register(cmd *cobra.Command) {
	r.connectionFlags(cmd)
	cmd.PersistentFlags().StringVarP(&r.output, "output", "o", "table", "output `FORMAT`: table, json or jsonl")
	quiet(cmd)
}

// quiet leaves the printing of errors to main.
func quiet(cmd *cobra.Command) {
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	for _, sub := range cmd.Commands() {
		quiet(sub)
	}
}

// dial checks the flags and returns the client. The caller closes it.
func (r *remote) dial() (*client.Client, error) {
	switch r.output {
	case "table", "json", "jsonl", "":
	default:
		return nil, fmt.Errorf("output format %q is not one of table, json, jsonl", r.output)
	}
	r.settings.Profile = client.DefaultProfile(r.deps.Env)
	p, err := r.settings.Resolve(r.deps.Env)
	if err != nil {
		return nil, err
	}
	return client.New(p)
}

// group makes a command that only holds others.
func group(use, short string, r *remote, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(subs...)
	r.register(cmd)
	return cmd
}

// one writes one message as -o says.
func (r *remote) one(w io.Writer, msg proto.Message, table func(*strings.Builder)) error {
	var b strings.Builder
	switch r.output {
	case "table":
		table(&b)
	default:
		text, err := marshal(msg, r.output == "json")
		if err != nil {
			return err
		}
		b.Write(text)
		b.WriteByte('\n')
	}
	return writeText(w, b.String())
}

// list writes messages as -o says: json is one array.
func list[T proto.Message](r *remote, w io.Writer, items []T, t *table, row func(T) []string) error {
	var b strings.Builder
	switch r.output {
	case "table":
		for _, x := range items {
			t.row(row(x)...)
		}
		t.write(&b)
	case "jsonl":
		for _, x := range items {
			text, err := marshal(x, false)
			if err != nil {
				return err
			}
			b.Write(append(text, '\n'))
		}
	default:
		raw := make([]json.RawMessage, len(items))
		for i, x := range items {
			text, err := marshal(x, true)
			if err != nil {
				return err
			}
			raw[i] = text
		}
		return writeJSON(w, raw)
	}
	return writeText(w, b.String())
}

// marshal writes a message as JSON whose form does not change from build to build,
// as protojson's does.
func marshal(msg proto.Message, indent bool) ([]byte, error) {
	raw, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(msg)
	if err != nil {
		return nil, fmt.Errorf("writing JSON: %w", err)
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return nil, fmt.Errorf("writing JSON: %w", err)
	}
	if indent {
		compact := bytes.Clone(b.Bytes())
		b.Reset()
		if err := json.Indent(&b, compact, "", "  "); err != nil {
			return nil, fmt.Errorf("writing JSON: %w", err)
		}
	}
	return escape(b.String()), nil
}

// escape writes control and format characters above ASCII, which may stand in JSON
// as they are, as \u: a terminal would obey them.
func escape(s string) []byte {
	out := make([]byte, 0, len(s))
	for _, c := range s {
		switch {
		case c >= 0x7f && c < 0xa0, unicode.In(c, unicode.Cf, unicode.Zl, unicode.Zp):
			for _, u := range utf16.Encode([]rune{c}) {
				out = fmt.Appendf(out, `\u%04x`, u)
			}
		default:
			out = append(out, string(c)...)
		}
	}
	return out
}

// pages hands pages to take until limit items are there or no more come; limit 0 is
// all. more says that the limit ended it. A server that repeats a page token is an
// error, not an endless loop.
func pages[T any](limit, pageSize int, fetch func(size uint32, token string) ([]T, string, error), take func([]T) error) (more bool, err error) {
	token, left := "", limit
	for {
		size := pageSize
		if limit > 0 {
			size = min(size, left)
		}
		got, next, err := fetch(uint32(size), token)
		if err != nil {
			return false, err
		}
		if limit > 0 && len(got) > left {
			return true, take(got[:left])
		}
		if err := take(got); err != nil {
			return false, err
		}
		left -= len(got)
		switch {
		case next == "":
			return false, nil
		case next == token:
			return false, fmt.Errorf("the server repeats page %q", clean(next))
		case limit > 0 && left == 0:
			return true, nil
		}
		token = next
	}
}

// collect returns a function that appends pages to items.
func collect[T any](items *[]T) func([]T) error {
	return func(page []T) error {
		*items = append(*items, page...)
		return nil
	}
}

// checkLimit says what a --limit may be.
func checkLimit(n int) error {
	if n < 0 {
		return fmt.Errorf("--limit %d is negative; 0 is all", n)
	}
	return nil
}

// checkID refuses what is no id before a server is asked.
func checkID(s string) error {
	const hexDigits = "0123456789abcdef"
	if len(s) != 32 || strings.Trim(s, hexDigits) != "" {
		return fmt.Errorf("%q is not an id: 32 hex digits (0-9, a-f)", s)
	}
	return nil
}
