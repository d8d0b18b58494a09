package client

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/goccy/go-yaml"
)

// Profile is what a client needs to know of a server, as a file keeps it. The file
// holds a token: only its owner may read it.
type Profile struct {
	Server      string `yaml:"server"`                // https://HOST:PORT
	Token       string `yaml:"token"`                 // as the server gave it
	CAFile      string `yaml:"caFile,omitempty"`      // PEM; relative to the profile's folder
	Fingerprint string `yaml:"fingerprint,omitempty"` // SHA256:… of the server's certificate or its CA
}

// DataProfile is the name of the profile that a server writes into its data folder.
const DataProfile = "client.yaml"

// maxProfile bounds a profile file in bytes.
const maxProfile = 64 << 10

// ReadProfile reads a profile strictly. A file that others may read is an error, and
// so is an unknown key. The error wraps fs.ErrNotExist when there is no file.
func ReadProfile(path string) (Profile, error) {
	var p Profile
	info, err := os.Stat(path)
	if err != nil {
		return p, fmt.Errorf("reading the profile: %w", err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return p, fmt.Errorf("reading the profile %q: others may read it (mode %04o) and it holds a token; chmod 600 it", path, info.Mode().Perm())
	}
	if info.Size() > maxProfile {
		return p, fmt.Errorf("reading the profile %q: it has %d bytes, the limit is %d", path, info.Size(), maxProfile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return p, fmt.Errorf("reading the profile: %w", err)
	}
	if err := yaml.UnmarshalWithOptions(text, &p, yaml.Strict()); err != nil {
		return p, profileError(path, err)
	}
	if p.Server == "" {
		return p, fmt.Errorf("reading the profile %q: it has no server", path)
	}
	if p.CAFile != "" && !filepath.IsAbs(p.CAFile) {
		p.CAFile = filepath.Join(filepath.Dir(path), p.CAFile)
	}
	return p, nil
}

// profileError leaves out the excerpt of the text that the YAML package shows: the
// token may stand in it.
func profileError(path string, err error) error {
	if e, ok := errors.AsType[yaml.Error](err); ok && e.GetToken() != nil {
		return fmt.Errorf("reading the profile: %s:%d: not a profile: keys are server, token, caFile, fingerprint", path, e.GetToken().Position.Line)
	}
	return fmt.Errorf("reading the profile: %s: not YAML", path)
}

// Write replaces the profile at path, which only its owner may read, whole or not at
// all. Its folder is made when it is not there.
func (p Profile) Write(path string) error {
	text, err := yaml.Marshal(p)
	if err != nil {
		return fmt.Errorf("writing the profile: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("writing the profile: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".client-*") // mode 0600
	if err != nil {
		return fmt.Errorf("writing the profile: %w", err)
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first error says more
		return fmt.Errorf("writing the profile: %w", err)
	}
	return nil
}

// absent reports that there is no file.
func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) }
