package client

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Settings is what a user said about the server to talk to. What is empty comes from
// the environment, then from a profile.
type Settings struct {
	Server      string
	TokenFile   string
	CAFile      string
	Fingerprint string
	Data        string // data folder of a server on this machine: use the profile in it
	Profile     string // profile file of the user, "" for none
}

// DefaultServer is where `clew up` listens.
const DefaultServer = "https://127.0.0.1:8080"

// DefaultProfile returns where `clew login` keeps what it learned, from the
// environment: $XDG_CONFIG_HOME/clew/client.yaml or ~/.config/clew/client.yaml; ""
// when there is no home.
func DefaultProfile(env func(string) string) string {
	if dir := env("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "clew", DataProfile)
	}
	if home := env("HOME"); home != "" {
		return filepath.Join(home, ".config", "clew", DataProfile)
	}
	return ""
}

// Resolve completes the settings: a setting given, then the environment
// (CLEW_SERVER, CLEW_TOKEN, CLEW_CA_FILE, CLEW_FINGERPRINT), then the profile. The
// profile's token and certificate are for its own server only: when another is asked
// for they are not used, so that no token goes to a stranger.
func (s Settings) Resolve(env func(string) string) (Profile, error) {
	base, err := s.base()
	if err != nil {
		return base, err
	}
	server := first(s.Server, fromEnv(env, s.Data, "CLEW_SERVER"), base.Server, DefaultServer)
	if server, err = origin(server); err != nil {
		return base, err
	}
	if known, err := origin(base.Server); err != nil || known != server {
		base = Profile{}
	}
	out := Profile{Server: server, Token: first(fromEnv(env, s.Data, "CLEW_TOKEN"), base.Token)}
	if s.TokenFile != "" {
		if out.Token, err = readToken(s.TokenFile); err != nil {
			return out, err
		}
	}
	out.CAFile, out.Fingerprint = first(s.CAFile, fromEnv(env, s.Data, "CLEW_CA_FILE")), first(s.Fingerprint, fromEnv(env, s.Data, "CLEW_FINGERPRINT"))
	if out.CAFile == "" && out.Fingerprint == "" {
		out.CAFile, out.Fingerprint = base.CAFile, base.Fingerprint
	}
	return out, nil
}

// fromEnv reads the environment, unless a data folder was named: that says which
// server is meant.
func fromEnv(env func(string) string, data, key string) string {
	if data != "" {
		return ""
	}
	return env(key)
}

// base reads the profile, the one of a data folder when that is given.
func (s Settings) base() (Profile, error) {
	if s.Data != "" {
		p, err := ReadProfile(filepath.Join(s.Data, DataProfile))
		if absent(err) {
			return p, fmt.Errorf("no server has written %s into %q; is it the --data folder of clew up?", DataProfile, s.Data)
		}
		return p, err
	}
	if s.Profile == "" {
		return Profile{}, nil
	}
	p, err := ReadProfile(s.Profile)
	if absent(err) {
		return Profile{}, nil
	}
	return p, err
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// origin checks the address of a server and returns it without a path.
func origin(s string) (string, error) {
	u, err := url.Parse(s)
	switch {
	case s == "":
		return "", errors.New("no server")
	case err != nil || u.Host == "":
		return "", fmt.Errorf("server %q is not an address like %s", s, DefaultServer)
	case u.Scheme != "https":
		return "", fmt.Errorf("server %q: clew speaks https only", s)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		return "", fmt.Errorf("server %q has more than scheme, host and port", s)
	}
	return "https://" + strings.ToLower(u.Host), nil
}

// maxToken bounds a token in bytes; JSON web tokens with many groups are the longest.
const maxToken = 16 << 10

func readToken(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	token, err := CheckToken(string(text))
	if err != nil {
		return "", fmt.Errorf("reading the token from %q: %w", path, err)
	}
	return token, nil
}

// CheckToken returns a token without white space around it; one that cannot be sent
// is an error, which does not hold it.
func CheckToken(s string) (string, error) {
	s = strings.TrimSpace(s)
	switch {
	case s == "":
		return "", errors.New("it is empty")
	case len(s) > maxToken:
		return "", fmt.Errorf("it has %d bytes, the limit is %d", len(s), maxToken)
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", errors.New("it has characters that no token has")
	}
	return s, nil
}
