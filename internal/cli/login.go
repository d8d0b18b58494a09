package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
	"github.com/clew-sec/clew/internal/client"
)

// setupPrefix begins the token that a server prints at its first start.
const setupPrefix = "clew_setup_"

// NewLoginCommand returns `clew login`.
func NewLoginCommand(deps RemoteDeps) *cobra.Command {
	c := &remote{deps: deps}
	name := ""
	cmd := &cobra.Command{
		Use:   "login",
		Short: "Remember a server and a token",
		Long: `Read a token from the terminal or standard input, try it, and remember it with the
server in ~/.config/clew/client.yaml, which only you can read.

With the set-up token that a server prints at its first start, the token of the first
administrator is made and remembered; --name says whose it is.`,
		Example: `  clew login --server https://clew.example:8443 --fingerprint SHA256:…
  clew login --server https://clew.example:8443 --ca-file ca.crt < token`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.login(cmd, name) },
	}
	cmd.Flags().StringVar(&name, "name", "", "`NAME` of the first administrator, with a set-up token (default: $USER)")
	c.connectionFlags(cmd)
	quiet(cmd)
	return cmd
}

func (r *remote) login(cmd *cobra.Command, name string) error {
	path := client.DefaultProfile(r.deps.Env)
	if path == "" {
		return errors.New("there is no home to remember the server in: set HOME")
	}
	p, err := r.settings.Resolve(r.deps.Env)
	if err != nil {
		return err
	}
	if r.settings.TokenFile == "" {
		if p.Token, err = readSecret(cmd); err != nil {
			return err
		}
	}
	if p.CAFile != "" {
		if p.CAFile, err = filepath.Abs(p.CAFile); err != nil {
			return fmt.Errorf("finding the CA: %w", err)
		}
	}
	first := strings.HasPrefix(p.Token, setupPrefix)
	if first {
		p.Token, err = r.setUp(cmd, p, name)
	} else {
		err = try(cmd, p)
	}
	if err != nil {
		return err
	}
	if err := p.Write(path); err != nil {
		if first { // the server shows it once: better on the terminal than lost
			_, _ = fmt.Fprintln(cmd.OutOrStdout(), p.Token)
		}
		return err
	}
	_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "logged in to %s; remembered in %s\n", p.Server, path)
	return nil
}

// readSecret reads a token without showing it.
func readSecret(cmd *cobra.Command) (string, error) {
	var text []byte
	var err error
	if f, ok := cmd.InOrStdin().(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		_, _ = fmt.Fprint(cmd.ErrOrStderr(), "token: ")
		text, err = term.ReadPassword(int(f.Fd()))
		_, _ = fmt.Fprintln(cmd.ErrOrStderr())
	} else {
		text, err = io.ReadAll(io.LimitReader(cmd.InOrStdin(), 64<<10))
	}
	if err != nil {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	token, err := client.CheckToken(string(text))
	if err != nil {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	return token, nil
}

// try asks the server something that every token of a person may ask.
func try(cmd *cobra.Command, p client.Profile) error {
	api, err := client.New(p)
	if err != nil {
		return err
	}
	defer api.Close()
	_, err = api.System.GetStatus(cmd.Context(), connect.NewRequest(&clewv1.GetStatusRequest{}))
	return err
}

// setUp makes the first administrator's token with the set-up token of p.
func (r *remote) setUp(cmd *cobra.Command, p client.Profile, name string) (string, error) {
	if name == "" {
		if name = r.deps.Env("USER"); name == "" {
			return "", errors.New("say whose token the first one is: --name")
		}
	}
	api, err := client.New(p)
	if err != nil {
		return "", err
	}
	defer api.Close()
	return api.SetUp(cmd.Context(), name)
}
